"""The files of a log as streams of record batches, whatever their format."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_cells import without_blanks
from tsjepa.datasets.log_dialect import (
    COMMENT,
    STAMP,
    UNNAMED,
    Dialect,
    are_values,
    cells_in,
    decimal_of,
    delimiter_of,
    is_comment,
    line_of_names,
    names_of,
    plain_names,
    with_index,
)
from tsjepa.datasets.log_files import LogFile, first_line

PIECE_ROWS = 1 << 20
CSV_BLOCK = 1 << 22
HEAD_BYTES = 1 << 16
# what Spark and Hive call the folder of rows without a value
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
# how each message of an Arrow stream begins
STREAM = b"\xff\xff\xff\xff"


class Piece(NamedTuple):
    """What is read in one go and journalled as finished: a few parts of a file, or the whole of it.

    Attributes
    ----------
    file : LogFile
        The file.
    parts : tuple of int
        Row groups (Parquet) or record batches (Arrow); empty for the whole file.
    first_row : int
        Number of the piece's first row in its file, from 0.
    weight : int
        Bytes, for a progress bar.
    rows : int or None
        How many; None of a CSV file, which is not read for that.
    before : int
        Rows in the files before this one, of CSV files where rows are all that orders them.
    """

    file: LogFile
    parts: tuple[int, ...]
    first_row: int
    weight: int
    rows: int | None
    before: int = 0


@contextlib.contextmanager
def reading(file: LogFile, part: str = "") -> Iterator[None]:
    """Make one sentence of whatever pyarrow and the file system say about a file that cannot be read."""
    try:
        yield
    except DataError:
        raise
    except UnicodeDecodeError:  # of the names of columns, which are decoded when they are asked for
        raise DataError(f"{file.shown} is not UTF-8 text: save it as UTF-8") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        if "invalid UTF8" in str(error):
            raise DataError(f"{file.shown} is not UTF-8 text: save it as UTF-8") from None
        raise DataError(f"{file.shown}{part} cannot be read ({first_line(error)}); copy or export it again") from error


def read_schema(file: LogFile) -> pa.Schema | None:
    """Read the names and types of a file's columns, None where it has no rows.

    Columns that the names of its folders give come last. The types of a CSV file are those of its first block.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    if file.schema is not None:
        return file.schema
    with reading(file):
        if file.kind == "parquet":
            with _parquet(file) as opened:
                schema, rows = opened.schema_arrow, opened.metadata.num_rows
        elif file.kind == "arrow":
            with _arrow(file) as reader:
                schema, rows = reader.schema, reader.num_record_batches
        else:
            first = _first_rows(file)
            schema, rows = (None, 0) if first is None else (_finer_times(_named_once(first.schema)), first.num_rows)
    if not rows:
        return None
    with reading(file):
        schema.names  # noqa: B018  they are decoded here
    return _with_folders(schema, file.partition).remove_metadata()


def _first_rows(file: LogFile) -> pa.RecordBatch | None:
    """Read the first block of a CSV file, and tell where names of columns are not in its first line.

    A file of nothing but ends of lines has no rows.
    """
    try:
        return next(_csv(file, None), None)
    except pa.ArrowInvalid:
        lines = _head(file)
        if not any(line.strip("\r") for line in lines):
            return None
        at = line_of_names(lines)
        if at is None:
            raise
        raise DataError(
            f"{file.shown}, line {at + 1}: the names of columns, '{lines[at].strip()[:40]}', have to come first; "
            "delete the lines above them"
        ) from None


def _with_folders(schema: pa.Schema, partition: tuple[tuple[str, str], ...]) -> pa.Schema:
    for name, value in partition:
        whole = value == NO_VALUE or value.lstrip("-").isdecimal()
        schema = schema.append(pa.field(name, pa.int64() if whole else pa.string()))
    return schema


def with_schema(file: LogFile) -> tuple[LogFile, pa.Schema | None]:
    """Read the columns of a file as `read_schema` does, and tell those that its folders only repeat.

    A CSV file keeps its columns.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    schema = read_schema(replace(file, partition=()))
    if schema is None:
        return file, None
    repeated = tuple(pair for pair in file.partition if pair[0] in schema.names)
    file = replace(file, partition=tuple(pair for pair in file.partition if pair not in repeated), repeated=repeated)
    schema = _with_folders(schema, file.partition)
    return replace(file, schema=schema if file.kind == "csv" else None), schema


def _named_once(schema: pa.Schema) -> pa.Schema:
    """Keep one column without a name, and give it one if it holds times, as the index of a table from pandas does.

    Others are left out: Excel writes several behind the last one of a CSV file.
    """
    names = schema.names
    fields = zip(with_index(names), schema, strict=True)
    named = [field.with_name(name) if pa.types.is_temporal(field.type) else field for name, field in fields]
    unnamed = [at for at, field in enumerate(named) if not field.name]
    times = (at for at in unnamed if pa.types.is_temporal(named[at].type))  # which are refused where they are guessed
    kept = next(times, min(unnamed, default=None))
    return pa.schema([field for at, field in enumerate(named) if field.name or at == kept])


def _finer_times(schema: pa.Schema) -> pa.Schema:
    """Expect fractions of a second further down in a CSV file whose first block has none."""
    for at, field in enumerate(schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "s":
            schema = schema.set(at, field.with_type(pa.timestamp("us", field.type.tz)))
    return schema


def pieces(file: LogFile, before: int = 0) -> list[Piece]:
    """Divide a file, behind so many rows of others, into pieces of about a million rows; a CSV file is one piece.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    if file.kind == "csv":
        return [Piece(file, (), 0, file.size, None, before)]
    with reading(file):
        if file.kind == "parquet":
            with _parquet(file) as opened:
                sizes = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
        else:
            with _arrow(file) as reader:
                sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
    total, found, parts, first, rows = max(sum(sizes), 1), [], [], 0, 0
    for part, size in enumerate(sizes):
        parts.append(part)
        rows += size
        if rows >= PIECE_ROWS or part == len(sizes) - 1:
            found.append(Piece(file, tuple(parts), first, file.size * rows // total, rows, before))
            parts, first, rows = [], first + rows, 0
    return found


def rows_in(piece: Piece) -> int:
    """Count the rows of a piece, for which a CSV file is read."""
    if piece.rows is not None:
        return piece.rows
    schema = read_schema(piece.file)
    names = [] if schema is None else schema.names[:1]
    return sum(batch.num_rows for batch in batches(piece, names, dict.fromkeys(names, pa.binary()), PIECE_ROWS))


def batches(piece: Piece, names: list[str], types: dict[str, pa.DataType], rows: int) -> Iterator[pa.RecordBatch]:
    """Stream some columns of a piece.

    Parameters
    ----------
    piece : Piece
        What to read.
    names : list of str
        The columns, of which each batch has these and no other.
    types : dict of str to pyarrow.DataType
        Types that a CSV file's columns are read as.
    rows : int
        Rows a batch holds at most (a CSV file's blocks have a size of their own).

    Raises
    ------
    DataError
        If the file cannot be read, naming the row group where there are several.
    """
    file, folders = piece.file, dict(piece.file.partition)
    repeated = [(name, value) for name, value in file.repeated if name in names]
    inside = [name for name in names if name not in folders]
    stream = {"parquet": _parquet_batches, "arrow": _arrow_batches, "csv": _csv_batches}[file.kind]
    for batch in stream(piece, inside, types, rows):
        for name, value in repeated:
            _check_repeated(batch.column(name), file, name, value)
        for name, value in file.partition:
            if name in names:
                of = pa.scalar(None if value == NO_VALUE else value, pa.string())
                batch = batch.append_column(name, pa.repeat(of, batch.num_rows))
        yield batch


def _check_repeated(column: pa.Array, file: LogFile, name: str, value: str) -> None:
    """Refuse a column that holds something else than the folder of its file says."""
    for held in column.unique().cast(pa.string()).to_pylist():
        if held is not None and held.lstrip("0") != value.lstrip("0"):
            raise DataError(
                f"{file.shown}: column '{name}' holds {held[:40]!r}, and the folder says '{name}={value}'; rename one"
            )


def _parquet_batches(piece: Piece, names: list[str], _: object, rows: int) -> Iterator[pa.RecordBatch]:
    with reading(piece.file), _parquet(piece.file) as opened:
        try:
            yield from opened.iter_batches(rows, row_groups=list(piece.parts), columns=names, use_threads=False)
        except (OSError, pa.ArrowException):
            _find_damage(piece, opened, names)
            raise


def _find_damage(piece: Piece, opened: pq.ParquetFile, names: list[str]) -> None:
    """Name the first row group that cannot be read."""
    first = piece.first_row + 1
    for part in piece.parts:
        count = opened.metadata.row_group(part).num_rows
        with reading(piece.file, f", rows {first} to {first + count - 1} (row group {part}, from 0)"):
            for _ in opened.iter_batches(row_groups=[part], columns=names, use_threads=False):
                pass
        first += count


def _arrow_batches(piece: Piece, names: list[str], _: object, rows: int) -> Iterator[pa.RecordBatch]:
    with reading(piece.file), _arrow(piece.file) as reader:
        for part in piece.parts:
            batch = _without_views(reader.get_batch(part).select(names))
            yield from (batch.slice(at, rows) for at in range(0, batch.num_rows, rows))


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Turn dictionaries of string views, as polars writes them, into those of strings, which pyarrow can decode."""
    for at, (column, name) in enumerate(zip(batch.columns, batch.schema.names, strict=True)):
        if pa.types.is_dictionary(column.type) and pa.types.is_string_view(column.type.value_type):
            words = column.dictionary.cast(pa.string())
            batch = batch.set_column(at, name, pa.DictionaryArray.from_arrays(column.indices, words))
    return batch


def _csv_batches(piece: Piece, names: list[str], types: dict[str, pa.DataType], rows: int) -> Iterator[pa.RecordBatch]:
    with reading(piece.file):
        for batch in _csv(piece.file, names, types):
            yield from (batch.slice(at, rows) for at in range(0, batch.num_rows, rows))


@contextlib.contextmanager
def _parquet(file: LogFile) -> Iterator[pq.ParquetFile]:
    # without a buffer of its own the reader would hold whole column chunks, however long the row groups are
    with file.filesystem.open_input_file(file.key) as stream:
        opened = pq.ParquetFile(stream, buffer_size=1 << 16, pre_buffer=False)
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def _arrow(file: LogFile) -> Iterator[pa.ipc.RecordBatchFileReader]:
    with file.filesystem.open_input_file(file.key) as stream:
        if stream.read(len(STREAM)) == STREAM:
            raise DataError(
                f"{file.shown} is an Arrow stream, which has no table of its parts; write it as an Arrow file "
                "(pyarrow.ipc.new_file, or write_ipc of polars)"
            )
        with pa.ipc.open_file(stream) as reader:
            yield reader


def _csv(
    file: LogFile, names: list[str] | None, types: dict[str, pa.DataType] | None = None
) -> Iterator[pa.RecordBatch]:
    written = dialect(file)
    own = dict(zip(reversed(plain_names(written.names)), reversed(written.names), strict=True))
    if "" in own:
        own.setdefault(UNNAMED, own[""])
    convert = csv.ConvertOptions(
        include_columns=None if names is None else [own.get(name, name) for name in names],
        column_types={own.get(name, name): kind for name, kind in (types or {}).items()},
        strings_can_be_null=True,
        decimal_point=written.decimal,
    )
    parse = csv.ParseOptions(delimiter=written.delimiter)
    # one thread keeps the row's number in pyarrow's errors
    read = csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK)
    # not closed but forgotten: pyarrow still reads ahead when its reader is closed, and would take the next block from
    # whatever file was opened meanwhile under the same descriptor
    for batch in csv.open_csv(_text(file), read, parse, convert):
        columns = [without_blanks(column) for column in batch.columns]
        yield pa.record_batch(columns, names or plain_names(batch.schema.names))


def _text(file: LogFile) -> pa.NativeFile:  # pyarrow knows the end of a name in lower case only
    return file.filesystem.open_input_stream(file.key, compression="gzip" if file.key.lower().endswith(".gz") else None)


def _head(file: LogFile) -> list[str]:
    """Read the whole lines in the first 64 KB of a CSV file, but at least the first one."""
    with _text(file) as stream:
        head = stream.read(HEAD_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{file.shown} is UTF-16 text: save it as UTF-8")
    first, *lines = head.decode("utf-8-sig", errors="replace").split("\n")
    return [first, *(lines if len(head) < HEAD_BYTES else lines[:-1])]


def dialect(file: LogFile) -> Dialect:
    """Tell how a CSV file is written, by its first 64 KB.

    Raises
    ------
    DataError
        If it begins with something else than names of columns.
    OSError
        If it cannot be read.
    """
    # pyarrow passes over empty lines, above the names of columns, too
    first, *lines = [line for line in _head(file) if line.strip("\r")] or [""]
    mark = delimiter_of(first, lines)
    if re.fullmatch(r"sep=.?\s*", first, re.IGNORECASE):
        raise DataError(f"{file.shown} begins with '{first.strip()}', which is for Excel alone: delete that line")
    own = tuple(names_of(first, mark))
    names = next((line for line in lines if not line.startswith("#")), first)
    is_other = first.startswith("#") and cells_in(first, mark) != cells_in(names, mark)
    if is_other or is_comment(first.split(mark)[0], "".join(lines[:1])):
        raise DataError(f"{file.shown} {COMMENT.format(first.strip()[:40])}")
    if are_values(own):
        names = "" if any(map(STAMP.fullmatch, own)) else "; names that are all numbers have to rise or fall"
        raise DataError(f"{file.shown} starts with a row of values; put a line with column names before it{names}")
    return Dialect(mark, decimal_of(lines, mark), own)


def first_cells(file: LogFile, name: str) -> list[str | None]:
    """Read the first cells of one column as text, of a thousand rows at most; None where one is missing.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    for piece in pieces(file):
        for batch in batches(piece, [name], {}, 1000):
            if batch.num_rows:
                found: list[str | None] = batch.column(name).cast(pa.string()).to_pylist()
                return found
    return []
