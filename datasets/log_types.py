"""Types of a log's columns: which can be an id, a time or a channel, and whether all files have the same."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_files import LogFile
from tsjepa.datasets.log_reading import PIECE_ROWS, batches, first_cells, pieces

Schemas = Sequence[tuple[LogFile, pa.Schema]]
PRECISIONS = ("s", "ms", "us", "ns")
# a number that would lose a zero: 01 and 1 are two machines
PADDED = r"^\s*[-+]?0\d"


class TimeKind(NamedTuple):
    """What the time column holds.

    Attributes
    ----------
    kind : {"timestamp", "integer", "float", "rows"}
        Rows: there is no time column, and rows are counted.
    unit : str
        Of a timestamp: s, ms, us or ns.
    zoned : bool
        A timestamp with a time zone, kept as UTC.
    """

    kind: Literal["timestamp", "integer", "float", "rows"]
    unit: str = ""
    zoned: bool = False


def mostly_numbers(file: LogFile, name: str) -> bool:
    """Tell text most of which is numbers, by its first rows; in a CSV file also those with a comma."""
    values = [cell for cell in first_cells(file, name) if cell is not None]
    point = "[.,]" if file.kind == "csv" else r"\."
    number = re.compile(rf"\s*[-+]?(\d+{point}?\d*|{point}\d+)([eE][-+]?\d+)?\s*")
    return 2 * sum(bool(number.fullmatch(value)) for value in values) > len(values)


def odd_text(column: pa.Array, pattern: str, fitting: bool = False) -> str | None:
    """Return a text that a pattern does not fit, or else one that it does, None where there is none.

    Examples
    --------
    >>> import pyarrow as pa
    >>> odd_text(pa.array(["1", None, "b"]), "^[0-9]"), odd_text(pa.array(["1", "b"]), "^[0-9]", fitting=True)
    ('b', '1')
    """
    texts = column.unique().drop_null()
    found = pc.match_substring_regex(texts, pattern)
    left = texts.filter(found if fitting else pc.invert(found))
    return left[0].as_py() if len(left) else None


def has_padded(column: pa.Array) -> str | None:
    """Return a text that begins with a zero which a number would lose, such as 007.

    Examples
    --------
    >>> import pyarrow as pa
    >>> has_padded(pa.array(["7", "0", "0.5", "007"])), has_padded(pa.array([7]))
    ('007', None)
    """
    return odd_text(column, PADDED, fitting=True) if is_text(column.type) else None


def inner(kind: pa.DataType) -> pa.DataType:
    """Return the type of what a dictionary stands for, which tables of pandas have for categories; else the type."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_number(kind: pa.DataType) -> bool:
    """Tell a type of values."""
    types, kind = pa.types, inner(kind)
    return any(check(kind) for check in (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)) or (
        types.is_null(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Tell text."""
    types, kind = pa.types, inner(kind)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Tell bytes, as which some programs write text."""
    types, kind = pa.types, inner(kind)
    checks = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(check(kind) for check in checks)


def may_be_fraction(kind: pa.DataType) -> bool:
    """Tell a type of numbers that need not be whole."""
    kind = inner(kind)
    return bool(pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and kind.scale > 0))


def is_key(kind: pa.DataType) -> bool:
    """Tell a type that ids come in: text, and whole numbers, which some programs write as decimals or with a point."""
    types, kind = pa.types, inner(kind)
    numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    return bool(numbers or is_text(kind) or is_bytes(kind))


def is_day(kind: pa.DataType) -> bool:
    """Tell dates without a time of day."""
    return bool(pa.types.is_date(inner(kind)))


def is_stamp(kind: pa.DataType) -> bool:
    """Tell a date with a time of day."""
    return bool(pa.types.is_timestamp(inner(kind)))


def is_time(kind: pa.DataType) -> bool:
    """Tell a type that times come in."""
    return is_stamp(kind) or is_day(kind) or bool(pa.types.is_null(kind)) or (is_key(kind) and not is_bytes(kind))


def without_folders(file: LogFile, schema: pa.Schema) -> pa.Schema:
    """Return the columns that a file has itself, without those that its folders give."""
    folders = dict(file.partition)
    return pa.schema([field for field in schema if field.name not in folders])


def with_text_keys(file: LogFile, schema: pa.Schema, *names: str | None) -> tuple[LogFile, pa.Schema]:
    """Take ids and groups of a CSV file that look like dates or times of day for the text that they are written as."""
    for name in names if file.kind == "csv" else ():
        at = -1 if name is None else schema.get_field_index(name)
        if at >= 0 and pa.types.is_temporal(schema.field(at).type):
            schema = schema.set(at, schema.field(at).with_type(pa.string()))
            file = replace(file, schema=schema)
    return file, schema


def is_number_key(schemas: Schemas, name: str | None, option: str) -> bool:
    """Tell whether an id or a group is a whole number in all files.

    What looks like a number in a CSV file or in the name of a folder is text where another file has text, or where one
    begins with a zero.
    """
    if name is None:
        return False
    kinds = [(file, schema.field(name).type) for file, schema in schemas]
    for file, kind in kinds:
        if not is_key(kind):
            raise DataError(f"{file.shown}: column '{name}' ({option}) holds {kind}; give whole numbers or text")
    texts = [(file, kind) for file, kind in kinds if _are_words(kind)]
    typed = [
        (f, kind) for f, kind in kinds if not _are_words(kind) and f.kind != "csv" and name not in dict(f.partition)
    ]
    if texts and typed:
        raise DataError(
            f"column '{name}' is {texts[0][1]} in {texts[0][0].shown} and {typed[0][1]} in {typed[0][0].shown}; write "
            "one type in all files"
        )
    return not texts and not any(_is_padded(file, name) for file, _ in schemas)


def _is_padded(file: LogFile, name: str) -> bool:
    """Tell a folder, or the first block of a CSV file, that has a number which begins with a zero."""
    if name in dict(file.partition):
        return has_padded(pa.array([dict(file.partition)[name]])) is not None
    if file.kind != "csv":
        return False
    blocks = batches(pieces(file)[0], [name], {name: pa.string()}, PIECE_ROWS)
    return has_padded(next(blocks).column(name)) is not None


def _are_words(kind: pa.DataType) -> bool:
    return is_text(kind) or is_bytes(kind)


def is_target(schemas: Schemas, name: str | None) -> bool:
    """Tell labels that are numbers with a point in all files."""
    kinds = [] if name is None else [inner(schema.field(name).type) for _, schema in schemas]
    return any(pa.types.is_floating(kind) or pa.types.is_decimal(kind) for kind in kinds) and not any(
        map(is_text, kinds)
    )


def time_kind(schemas: Schemas, name: str | None) -> TimeKind:
    """Bring the kinds of time of all files to one."""
    if name is None:
        return TimeKind("rows")
    kinds = [(file, _one_time_kind(file, schema.field(name).type, name)) for file, schema in schemas]
    (first, kind), merged = kinds[0], kinds[0][1]
    for file, other in kinds[1:]:
        if (other.kind == "timestamp") != (kind.kind == "timestamp"):
            raise DataError(
                f"column '{name}' holds {_words(kind)} in {first.shown} and {_words(other)} in {file.shown}; "
                "write one kind in all files"
            )
        if other.zoned != kind.zoned:
            zoned, naive = (file, first) if other.zoned else (first, file)
            raise DataError(
                f"column '{name}' has a time zone in {zoned.shown} and none in {naive.shown}; give all files a zone "
                "or none"
            )
        finer = max(merged.unit, other.unit, key=lambda unit: PRECISIONS.index(unit) if unit else -1)
        merged = TimeKind("float" if "float" in (merged.kind, other.kind) else kind.kind, finer, kind.zoned)
    return merged


def _words(kind: TimeKind) -> str:
    return "timestamps" if kind.kind == "timestamp" else "numbers"


def _one_time_kind(file: LogFile, kind: pa.DataType, name: str) -> TimeKind:
    types, kind = pa.types, inner(kind)
    if types.is_timestamp(kind):
        return TimeKind("timestamp", kind.unit, kind.tz is not None)
    if types.is_date(kind):
        return TimeKind("timestamp", "us" if file.kind == "csv" else "s" if types.is_date32(kind) else "ms")
    if types.is_integer(kind):
        return TimeKind("integer")
    if types.is_floating(kind) or types.is_decimal(kind):
        return TimeKind("float")
    if is_text(kind):
        cells = [cell for cell in first_cells(file, name) if cell]
        zoned = bool(cells) and re.search(r"\d(Z|[-+]\d\d(:?\d\d)?)$", cells[0][10:]) is not None
        fine = any(re.search(r"\.\d{7}", cell) for cell in cells)
        return TimeKind("timestamp", "ns" if fine else "us", zoned)
    raise DataError(f"{file.shown}: column '{name}' holds {kind}, not times; name another by --time")
