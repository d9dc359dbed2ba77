"""Record batches of a log as checked arrays: ids, int64 or float64 times, float32 values."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_cells import BadCell, cast, known
from tsjepa.datasets.log_columns import Layout
from tsjepa.datasets.log_dialect import WITH_POINT
from tsjepa.datasets.log_files import LogFile
from tsjepa.datasets.log_reading import Piece, batches, dialect, read_schema
from tsjepa.datasets.log_types import TimeKind, has_padded, is_number, is_text, odd_text
from tsjepa.datasets.values import TOO_LARGE

BATCH_BYTES = 1 << 24
# how a CSV file may write a whole number
INTEGER = r"^\s*([-+]?\d+|0[xX][0-9a-fA-F]+)\s*$"


class Log(NamedTuple):
    """A log as it is read.

    Attributes
    ----------
    layout : Layout
        How its columns are read.
    pieces : list of Piece
        All of it, in the order in which it stands in its files.
    names : dict of str to str
        What each file is called where there is no column of ids.
    """

    layout: Layout
    pieces: list[Piece]
    names: dict[str, str]


class Rows(NamedTuple):
    """Some rows of a log, in the order of their file.

    Attributes
    ----------
    number : ndarray of int64, shape (n,)
        Where each row stands in its file, from 1.
    id, group, label, channel : pyarrow.Array or None
        int64 or text; a label may be float64. None where the log has none.
    time : ndarray of int64 or float64, shape (n,)
        In the layout's unit.
    values : ndarray of float32, shape (n, n_channels), or None
        NaN where one is missing; one column in the long form; None where they were not asked for.
    """

    number: NDArray[np.int64]
    id: pa.Array | None
    time: NDArray[Any]
    group: pa.Array | None
    label: pa.Array | None
    channel: pa.Array | None
    values: NDArray[np.float32] | None


def read_rows(layout: Layout, piece: Piece, with_values: bool) -> Iterator[Rows]:
    """Stream the rows of a piece.

    Parameters
    ----------
    layout : Layout
        How columns are read.
    piece : Piece
        What is read.
    with_values : bool
        Whether the channels are read too.

    Raises
    ------
    DataError
        If something cannot be read, an id or a time is missing, or an entry has a wrong type, naming file,
        column and row.
    """
    columns = layout.columns
    width = len(columns.channels or "v") if with_values else 4
    names = [columns.id, columns.time, columns.group, columns.label, layout.channel or None]
    if with_values or layout.form == "lists":
        names += [layout.value] if layout.form == "long" else (columns.channels or ())[: None if with_values else 1]
    wanted = [name for name in dict.fromkeys(names) if name is not None]
    counted = [] if wanted else list(columns.channels or ())[:1]  # whatever it holds
    rows = min(max(BATCH_BYTES // (4 * width), 1 << 12), 1 << 18)
    convert = _list_rows if layout.form == "lists" else _point_rows
    first, types = piece.first_row + 1, csv_types(layout, piece.file)
    # the first pass sees keys as they are written: as a number, 01 would be 1
    keys = [] if with_values else [name for name in _number_keys(layout) if name in types]
    read_as = types | dict.fromkeys([*keys, *counted], pa.string())
    try:
        for batch in batches(piece, wanted or counted, read_as, rows if layout.form != "lists" else 1 << 10):
            for name in keys:
                batch = _with_number_key(batch, name, types[name], piece.file, first)
            yield convert(layout, piece, batch, first, with_values)
            first += batch.num_rows
    except BadCell:
        raise
    except DataError as error:
        if piece.file.kind == "csv" and error.__cause__ is not None:
            _explain(layout, piece, wanted)
        raise


def csv_types(layout: Layout, file: LogFile) -> dict[str, pa.DataType]:
    """Tell what a CSV file's columns are read as, whatever its first block looks like."""
    if file.kind != "csv":
        return {}
    columns, held = layout.columns, {field.name: field.type for field in read_schema(file) or ()}
    types = dict.fromkeys([*(columns.channels or ()), layout.value], pa.float64())
    for name, is_number_key in ((columns.id, layout.id_is_number), (columns.group, layout.group_is_number)):
        whole = pa.float64() if held.get(name) == pa.float64() else pa.int64()  # 3.0 is 3
        types[name or ""] = whole if is_number_key else pa.string()
    types |= {columns.label or "": pa.float64() if layout.label_is_number else pa.string()}
    if columns.time in held:
        types[columns.time] = _time_type(layout.time, held[columns.time])
    types |= {name: pa.bool_() for name in columns.channels or () if held.get(name) == pa.bool_()}
    types[layout.channel] = pa.string()
    return {name: kind for name, kind in types.items() if name}


def _time_type(time: TimeKind, held: pa.DataType) -> pa.DataType:
    """Tell what times of a CSV file are read as: what all files' times are brought to, but text as text."""
    if is_text(held):
        return held
    if time.kind == "timestamp":
        return pa.timestamp(time.unit, "UTC" if time.zoned else None)
    return pa.float64() if time.kind == "float" else held


def _number_keys(layout: Layout) -> list[str]:
    keys = ((layout.columns.id, layout.id_is_number), (layout.columns.group, layout.group_is_number))
    return [name for name, is_number_key in keys if name is not None and is_number_key]


def _with_number_key(batch: pa.RecordBatch, name: str, kind: pa.DataType, file: LogFile, first: int) -> pa.RecordBatch:
    """Bring an id or a group that was read as text to the type of its numbers, unless one begins with a zero."""
    at = batch.schema.get_field_index(name)
    column = batch.column(at)
    padded = has_padded(column)
    if padded:
        problem = f"{file.shown}: column '{name}' holds {padded!r}, which as a number loses its zero; write it as text"
        raise BadCell(problem, file, name, is_text=True)
    if pa.types.is_string(column.type):
        column = _from_text(column, kind, dialect(file).decimal == ",", file, name, first)
        if odd_text(column, "[eE]", fitting=True):  # 1e3 is read only as a number with a point
            column = cast(column, kind, file, name, first)
    return batch.set_column(at, name, column)


def _explain(layout: Layout, piece: Piece, names: list[str]) -> None:
    """Find the row that a CSV file could not be read at, by reading it as text."""
    first, texts, types = 1, dict.fromkeys(names, pa.string()), csv_types(layout, piece.file)
    with_comma = dialect(piece.file).decimal == ","
    for batch in batches(piece, names, texts, 1 << 16):
        held = batch.schema.names
        if with_comma:
            _check_commas(batch, types, piece.file, first)
        columns = [
            _from_text(column, types.get(name), with_comma, piece.file, name, first)
            for column, name in zip(batch.columns, held, strict=True)
        ]
        _point_rows(layout, piece, pa.record_batch(columns, held), first, with_values=True)
        first += batch.num_rows


def _check_commas(batch: pa.RecordBatch, types: dict[str, pa.DataType], file: LogFile, first: int) -> None:
    """Refuse a point before decimals in text that stands for numbers whose decimals have a comma."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        cells = column.to_pylist() if pa.types.is_floating(types.get(name, pa.null())) else []
        row = next((row for row, cell in enumerate(cells, first) if cell and WITH_POINT.fullmatch(cell.strip())), None)
        if row is not None:
            raise DataError(
                f"{file.shown}, row {row}: column '{name}' holds {cells[row - first].strip()[:40]!r} among numbers "
                "with a decimal comma; write all of them with one"
            )


def _from_text(
    column: pa.Array, kind: pa.DataType | None, with_comma: bool, file: LogFile, name: str, first: int
) -> pa.Array:
    """Bring text to what is read in its place: true or false, and a number without blanks and with a point.

    What is no number stays as it is.
    """
    if kind is None or not (pa.types.is_string(column.type) and is_number(kind)):
        return column
    if pa.types.is_boolean(kind):
        return cast(column, kind, file, name, first)
    column = pc.utf8_trim_whitespace(column)
    if with_comma:
        column = pc.replace_substring_regex(column, r"^([-+]?\d*),(\d+([eE][-+]?\d+)?)$", r"\1.\2")
    # whole ids are not read as whole numbers from text with a point
    return pc.replace_substring_regex(column, r"^([-+]?\d+)\.0*$", r"\1") if pa.types.is_floating(kind) else column


def _point_rows(layout: Layout, piece: Piece, batch: pa.RecordBatch, first: int, with_values: bool) -> Rows:
    columns, file = layout.columns, piece.file
    number = np.arange(first, first + batch.num_rows, dtype=np.int64)
    wanted = (layout.value,) if layout.form == "long" else (columns.channels or ()) if with_values else ()
    channels = [name for name in wanted if name in batch.schema.names]
    return Rows(
        number,
        _identity(layout, batch, file, first),
        piece.before + number - 1 if columns.time is None else _times(layout, batch.column(columns.time), file, first),
        key(batch, columns.group, layout.group_is_number, file, first),
        _label(layout, batch, file, first),
        key(batch, layout.channel or None, False, file, first),
        numbers(batch.select(channels), file, first) if channels else None,
    )


def key(batch: pa.RecordBatch, name: str | None, number: bool, file: LogFile, first: int) -> pa.Array | None:
    """Read an id, a group or a channel's name, which must be there in every row."""
    if name is None:
        return None
    column = known(cast(batch.column(name), pa.int64() if number else pa.string(), file, name, first), file, name)
    if column.null_count:
        row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{file.shown}, row {row}: column '{name}' is empty; fill it or drop the row")
    return column


def _identity(layout: Layout, batch: pa.RecordBatch, file: LogFile, first: int) -> pa.Array | None:
    try:
        return key(batch, layout.columns.id, layout.id_is_number, file, first)
    except DataError as error:
        if not layout.id_is_guessed:
            raise
        error.args = (f"{error}; this column was guessed to be the id: name another by --id, or add --id ''",)
        raise


def _label(layout: Layout, batch: pa.RecordBatch, file: LogFile, first: int) -> pa.Array | None:
    name = layout.columns.label
    if name is None:
        return None
    kind = pa.float64() if layout.label_is_number else pa.string()
    column = known(cast(batch.column(name), kind, file, name, first), file, name)
    kind = (read_schema(file) or batch.schema).field(name).type if file.kind == "csv" else column.type
    if not layout.label_is_number and (pa.types.is_integer(kind) or pa.types.is_null(kind)):
        other = odd_text(column, INTEGER)
        if other is not None:  # classes by the first block, maybe numbers with a point by the whole of the file
            raise BadCell(f"{file.shown}: column '{name}' holds {other!r} among whole numbers", file, name)
    return column


def _times(layout: Layout, column: pa.Array, file: LogFile, first: int) -> NDArray[Any]:
    """Bring times to int64 counts of the layout's unit, or to float64."""
    name, kind = str(layout.columns.time), layout.time
    if kind.kind == "timestamp":
        column = cast(column, pa.timestamp(kind.unit, "UTC" if kind.zoned else None), file, name, first)
    else:
        column = cast(column, pa.int64() if kind.kind == "integer" else pa.float64(), file, name, first)
    missing = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    if missing.any():
        row = first + int(missing.argmax())
        raise DataError(f"{file.shown}, row {row}: column '{name}' has no time; fill it or drop the row")
    found = (column.cast(pa.int64()) if kind.kind == "timestamp" else column).to_numpy(zero_copy_only=False)
    if kind.kind == "float" and np.isinf(found).any():
        row = first + int(np.isinf(found).argmax())
        raise DataError(f"{file.shown}, row {row}: column '{name}' has an infinite time; mend it or drop the row")
    return found


def numbers(batch: pa.RecordBatch, file: LogFile, first: int) -> NDArray[np.float32]:
    """Bring columns of numbers into one float32 array of shape (n, n_channels), NaN where one is missing."""
    values = np.empty((batch.num_rows, batch.num_columns), np.float32)
    for at, name in enumerate(batch.schema.names):
        values[:, at] = _float32(batch.column(at), file, name, first)
    infinite = np.isinf(values)
    if infinite.any():
        row, at = (int(i) for i in np.argwhere(infinite)[0])
        raise DataError(f"{file.shown}, row {first + row}: column '{batch.schema.names[at]}' holds {TOO_LARGE}")
    return values


def _float32(column: pa.Array, file: LogFile, name: str, first: int) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # becomes infinite, which is reported
        return plain_numbers(column, file, name, first).astype(np.float32, copy=False)


def plain_numbers(column: pa.Array, file: LogFile, name: str, first: int) -> NDArray[Any]:
    """Return a column of numbers as exactly as it stands, NaN where one is missing."""
    types = pa.types
    if types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if not (types.is_integer(column.type) or types.is_floating(column.type)):
        column = cast(column, pa.float64(), file, name, first)
    found: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found


def _list_rows(layout: Layout, piece: Piece, batch: pa.RecordBatch, first: int, with_values: bool) -> Rows:
    """Turn rows of lists, one series each, into the rows of a log: one a point, the position as its time."""
    columns, file = layout.columns, piece.file
    names = [name for name in columns.channels or () if name in batch.schema.names]
    lengths = np.stack([_lengths(batch.column(name)) for name in names])
    for row in np.flatnonzero((lengths != lengths[0]).any(0) | (lengths[0] == 0))[:1]:
        found = ", ".join(str(n) for n in sorted(set(lengths[:, row].tolist())))
        raise DataError(
            f"{file.shown}, row {first + row}: lists of {found} values; all channels of a row need the same number, "
            "and at least one"
        )
    number = np.arange(first, first + batch.num_rows, dtype=np.int64)
    spread = np.repeat(np.arange(batch.num_rows), lengths[0])
    starts = np.repeat(np.cumsum(lengths[0]) - lengths[0], lengths[0])
    identity = key(batch, columns.id, layout.id_is_number, file, first)
    group, label = key(batch, columns.group, layout.group_is_number, file, first), _label(layout, batch, file, first)
    values = None
    if with_values:
        flat = [batch.column(name).flatten() for name in names]
        values = np.stack([_flat(column, file, name, number[spread]) for column, name in zip(flat, names, strict=True)])
        values = np.ascontiguousarray(values.T)
    return Rows(
        number[spread],
        (pa.array(piece.before + number - 1) if identity is None else identity).take(pa.array(spread)),
        np.arange(len(spread), dtype=np.int64) - starts,
        None if group is None else group.take(pa.array(spread)),
        None if label is None else label.take(pa.array(spread)),
        None,
        values,
    )


def _lengths(column: pa.Array) -> NDArray[np.int64]:
    counts = pc.list_value_length(column).fill_null(0).cast(pa.int64())
    return np.asarray(counts.to_numpy(zero_copy_only=False))


def _flat(column: pa.Array, file: LogFile, name: str, number: NDArray[np.int64]) -> NDArray[Any]:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"{file.shown}: column '{name}' holds lists of {column.type}; lists must hold numbers")
    found = _float32(column, file, name, int(number[0]))
    if np.isinf(found).any():
        raise DataError(f"{file.shown}, row {number[np.isinf(found).argmax()]}: column '{name}' holds {TOO_LARGE}")
    return found
