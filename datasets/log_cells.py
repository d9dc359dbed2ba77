"""Cells of a log that do not fit what their column is read as."""

import re

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import ConvertOptions

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_dialect import WITH_COMMA
from tsjepa.datasets.log_files import LogFile

# texts of a CSV file that stand for none
MISSING = pa.array(ConvertOptions().null_values)


class BadCell(DataError):
    """A cell that does not fit what its column is read as.

    Attributes
    ----------
    file : LogFile
        Where it stands.
    column : str
        The name of its column.
    is_text : bool
        Whether it shows that the column is text, even if all of it may be read as numbers.
    """

    def __init__(self, problem: str, file: LogFile, column: str, is_text: bool = False) -> None:
        super().__init__(problem)
        self.file, self.column, self.is_text = file, column, is_text


def without_blanks(column: pa.Array) -> pa.Array:
    """Take blanks off the ends of texts; what is no text stays as it is.

    Examples
    --------
    >>> import pyarrow as pa
    >>> without_blanks(pa.array([" worn", "worn ", None])).to_pylist()
    ['worn', 'worn', None]
    """
    return pc.utf8_trim_whitespace(column) if pa.types.is_string(column.type) else column


def known(column: pa.Array, file: LogFile, name: str) -> pa.Array:
    """Make missing what stands for no text in a CSV file, now that blanks are off; what a folder is called is meant."""
    if file.kind != "csv" or name in dict(file.partition) or not pa.types.is_string(column.type):
        return column
    return pc.if_else(pc.is_in(column, MISSING), pa.scalar(None, pa.string()), column)


def cast(column: pa.Array, kind: pa.DataType, file: LogFile, name: str, first: int) -> pa.Array:
    """Convert a column, naming the first row that cannot be."""
    if column.type == kind:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    # whole ones keep their digits
    if pa.types.is_decimal(column.type) and column.type.scale and not pa.types.is_integer(kind):
        column = column.cast(pa.float64())
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        row = next(row for row in range(len(column)) if not _casts(column.slice(row, 1), kind))
        held = str(column[row].as_py())
        shorter = re.sub(r"(\.\d{6})\d+", r"\1", held)
        if pa.types.is_integer(kind) and re.fullmatch(r"[-+]?\d+", held):
            problem = "too large for a whole number of 64 bits; write ids as text, and times in a coarser unit"
        elif pa.types.is_timestamp(kind) and shorter != held and _casts(pa.array([shorter]), kind):
            problem = "a time of too many decimals of a second; give all times of the column nine, or six at most"
        else:
            advice = "write decimals with a point" if WITH_COMMA.fullmatch(held) else "mend it or drop the row"
            problem = f"not {_in_words(kind)}; {advice}"
        told = f"{file.shown}, row {first + row}: column '{name}' holds {held[:40]!r}, which is {problem}"
        raise BadCell(told, file, name) from error


def _casts(column: pa.Array, kind: pa.DataType) -> bool:
    try:
        column.cast(kind)
    except pa.ArrowException:
        return False
    return True


def _in_words(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        with_zone = "with a zone (2026-03-01T13:00:00Z)" if kind.tz else "(2026-03-01 13:00:00)"
        return f"a time in ISO 8601 {with_zone}"
    if pa.types.is_boolean(kind):
        return "true or false"
    return "a whole number" if pa.types.is_integer(kind) else "a number" if pa.types.is_floating(kind) else "text"
