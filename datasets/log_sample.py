"""Rows from all over a log, by which columns are guessed where names and types do not say enough."""

import math
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TypeVar

import pyarrow as pa

from tsjepa.datasets.log_files import LogFile
from tsjepa.datasets.log_reading import Piece, batches, pieces
from tsjepa.datasets.log_types import Schemas, is_bytes

# enough to meet an id again among some ten thousand machines that report in turns
SAMPLE_ROWS = 1 << 16
# opening one takes several calls where it lies far away
SAMPLE_PIECES = 8
# enough to meet an id again among a million of them
KEY_ROWS = 1 << 20
WHOLE = re.compile(r"\d+([.,]0*)?")

T = TypeVar("T")


class Sample:
    r"""Cells of some rows of a log, as text; each column is read once, and only when it is asked for.

    Parameters
    ----------
    schemas : list of (LogFile, pyarrow.Schema)
        The log.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from tsjepa.datasets.log_files import find_files
    >>> from tsjepa.datasets.log_reading import with_schema
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = Path(folder, "pump.csv")
    ...     _ = log.write_text("unit,time,flow\na,0,2.5\na,1,3\n")
    ...     rows = Sample([with_schema(find_files(log)[0][0])])
    ...     rows.texts("unit"), rows.repeats("unit"), rows.repeats("time"), rows.are_whole("flow")
    (['a', 'a'], True, False, False)
    """

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._read: dict[str, list[list[str | None]]] = {}

    @cached_property
    def _files(self) -> list[LogFile]:
        names = set(self._schemas[0][1].names)
        return [file for file, schema in self._schemas if names <= set(schema.names)]

    @cached_property
    def parts(self) -> list[Piece]:
        """Where its rows stand: pieces that are spread over files that have all columns of the first."""
        files = spread(self._files, SAMPLE_PIECES)
        return spread([piece for file in files for piece in pieces(file)], SAMPLE_PIECES)

    def texts(self, name: str) -> list[str | None]:
        """Return the cells of a column, None where one is empty; row i of one column is row i of another."""
        return [cell for part in self._texts(name) for cell in part]

    def _texts(self, name: str) -> list[list[str | None]]:
        if name not in self._read:
            rows = SAMPLE_ROWS // max(len(self.parts), 1)
            self._read[name] = [list(islice(self._cells(piece, name, rows), rows)) for piece in self.parts]
        return self._read[name]

    def _cells(self, piece: Piece, name: str, rows: int) -> Iterator[str | None]:
        # what the name of a folder says is repeated for each row that is read
        names = [self._schemas[0][1].names[0], name] if name in dict(piece.file.partition) else [name]
        for batch in batches(piece, names, dict.fromkeys(names, pa.string()), min(rows, 1 << 14)):
            yield from _as_text(batch.column(name))

    def held(self, name: str) -> list[str]:
        """Return the cells of a column that are not empty, without blanks around them."""
        return [text.strip() for text in self.texts(name) if text is not None]

    def rows(self, *names: str) -> list[tuple[str, ...]]:
        """Return what stands in some columns, of the rows that have all of them."""
        rows = zip(*(self.texts(name) for name in names), strict=True)
        return [tuple(map(str, row)) for row in rows if None not in row]

    def kinds(self, *names: str) -> int:
        """Count what stands in some columns, the same in several rows once."""
        return len(set(self.rows(*names)))

    def repeats(self, *names: str) -> bool:
        """Tell whether two rows have the same in some columns."""
        rows = self.rows(*names)
        return len(set(rows)) < len(rows)

    def most_in_a_part(self, name: str) -> int:
        """Count what stands in a column in that of the places where there is most, the same in several rows once."""
        return max((len(set(part) - {None}) for part in self._texts(name)), default=0)

    def never_again(self, name: str) -> str:
        """Tell where all cells of a column differ, for which more rows are read than the sample has; else nothing."""
        met: set[str] = set()
        everything = (piece for file in self._files for piece in pieces(file))
        cells = (cell for piece in everything for cell in self._cells(piece, name, KEY_ROWS))
        for at, cell in enumerate(cells):
            if at == KEY_ROWS:
                return f"in each of the first {KEY_ROWS:,} rows"
            if cell in met:
                return ""
            if cell is not None:
                met.add(cell)
        return "in every row"

    def are_whole(self, name: str) -> bool:
        """Tell whether a column of numbers holds whole ones from 0 on, as ids and names are."""
        return self.all_are(WHOLE, name)

    def all_are(self, pattern: re.Pattern[str], name: str) -> bool:
        """Tell whether all cells that are not empty are written in one way."""
        return all(pattern.fullmatch(text) for text in set(self.held(name)))


def spread(items: Sequence[T], count: int) -> list[T]:
    """Choose some of many, evenly, the first and the last among them.

    Examples
    --------
    >>> spread("abcdefg", 3), spread("ab", 3)
    (['a', 'd', 'g'], ['a', 'b'])
    """
    if len(items) <= count:
        return list(items)
    return [items[at * (len(items) - 1) // (count - 1)] for at in range(count)]


def _as_text(column: pa.Array) -> list[str | None]:
    if pa.types.is_dictionary(column.type):
        words = _as_text(column.dictionary)
        return [None if at is None else words[at] for at in column.indices.to_pylist()]
    if is_bytes(column.type):  # they need not be text
        return [None if cell is None else cell.hex() for cell in column.to_pylist()]
    if pa.types.is_floating(column.type):
        cells = (None if cell is None else float(cell) for cell in column.to_pylist())
        return [None if cell is None or math.isnan(cell) else _digits(cell) for cell in cells]
    if pa.types.is_duration(column.type):  # which Arrow writes as a number without its unit
        return [None if cell is None else str(cell) for cell in column.to_pylist()]
    found: list[str | None] = column.cast(pa.string()).to_pylist()
    return found


def _digits(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
