"""What stands in the lines of a CSV log: ids, times and values, or which line is bad."""

import csv
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from tsjepa.cli.errors import Failure
from tsjepa.column_names import CHANNEL, VALUE, called
from tsjepa.datasets.log_dialect import UNNAMED, WITH_COMMA, delimiters_of, names_of, plain_names, with_index
from tsjepa.datasets.naming import listed

DEFAULTS = pyarrow.csv.ConvertOptions()
EMPTY = frozenset(DEFAULTS.null_values)
WORDS = frozenset((*DEFAULTS.true_values, *DEFAULTS.false_values))
# among numbers as well as among true and false
EITHER = EMPTY | {"1", "0"}
TEXT, NUMBER, WORD, DATE, ZONED = pa.string(), pa.float64(), pa.bool_(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")
# of dates, and of each channel, by what stood there so far; None where that does not tell
Kinds = tuple[pa.DataType | None, ...]
KINDS = {str(kind): kind for kind in (None, NUMBER, WORD, DATE, ZONED)}


class BadLine(Failure):
    """A line that cannot be read; those before it can."""

    def __init__(self, source: str, number: int, problem: str) -> None:
        super().__init__(f"{source}, line {number}{problem}")
        self.number = number


class Layout(NamedTuple):
    """Places of the columns in a line.

    Attributes
    ----------
    id, time : int or None
    channels : list of int
    dated : bool
        Whether times are dates, and not numbers.
    mark : str
        What stands between two values.
    names : list of str
        Of all columns, so that a line with more or fewer values is known.
    """

    id: int | None
    time: int | None
    channels: list[int]
    dated: bool
    mark: str
    names: list[str]


class Rows(NamedTuple):
    """What stands in some lines.

    Attributes
    ----------
    ids, shown : list of str
        Ids, and times as they are written.
    time : int64 or float64 array of shape (n,)
        Nanoseconds of dates, else the numbers that stand there: floats where not all of them are integers.
    values : float32 array of shape (n_channels, n)
    numbers : list of int
        Of the lines.
    kinds : tuple of pyarrow.DataType or None
        What dates and channels are, by these lines and those before them.
    """

    ids: list[str]
    shown: list[str]
    time: NDArray[Any]
    values: NDArray[np.float32]
    numbers: list[int]
    kinds: Kinds


def find_columns(
    source: str, header: str, columns: tuple[str | None, str | None, tuple[str, ...]], dated: bool
) -> Layout:
    """Find id, time and channels in the first line, in which blanks around names do not count."""
    check_utf8(source, 1, header)
    identity, moment = (None if name is None else name.strip() for name in columns[:2])
    channels = [name.strip() for name in columns[2]]
    flags = ((identity, " (--id)"), (moment, " (--time)"), *((name, "") for name in channels))
    wanted = {name: flag for name, flag in flags if name is not None}
    text = header.removeprefix("\ufeff")
    readings = [(mark, plain_names(names_of(text, mark))) for mark in delimiters_of(text)]
    if dated and moment == UNNAMED:
        readings = [(mark, with_index(names)) for mark, names in readings]
    # no row may be there yet: of several marks, the one between the names that are known
    mark, names = next((reading for reading in readings if wanted.keys() <= set(reading[1])), readings[0])
    for name, flag in wanted.items():
        if name not in names:
            refuse_long(source, names)
            advice = "" if flag else "; it is one of the channels that were trained on: add it"
            raise Failure(f"{source} has no column {name!r}{flag}; it has {listed(names)}{advice}")
        if names.count(name) > 1:
            raise Failure(f"{source} has two columns {name!r}: rename one.")
    at_id, at_time = (None if name is None else names.index(name) for name in (identity, moment))
    return Layout(at_id, at_time, [names.index(name) for name in channels], dated, mark, names)


def refuse_long(source: str, names: list[str]) -> None:
    """Refuse the long form, whose rows are complete only when a later one comes."""
    channel, value = (next((name for name in names if called(name, kind)), None) for kind in (CHANNEL, VALUE))
    if channel is not None and value is not None:
        raise Failure(
            f"{source} has one value a line, in {value!r}, of the channel in {channel!r}, which --follow cannot score: "
            "send one line a time, with a column for each channel, or leave out --follow."
        )


def check_utf8(source: str, number: int, text: str) -> None:
    """Refuse a line with bytes that are no text: two names must not become one."""
    try:
        text.encode()
    except UnicodeEncodeError:  # they are decoded to what cannot be encoded
        raise BadLine(source, number, " is not UTF-8: export it as such.") from None


def read_rows(source: str, lines: list[tuple[int, str]], layout: Layout, counted: int, kinds: Kinds = ()) -> Rows:
    """Read ids, times and values of lines; without a column of time, rows are counted on from `counted`.

    A column is of one kind, as in a batch: of that of the lines before, if these tell.
    """
    lines = [(number, bare) for number, text in lines if (bare := text.rstrip("\r"))]
    kinds = kinds or (None,) * (1 + len(layout.channels))
    try:
        return read_together(lines, layout, counted, kinds)
    except ValueError as error:
        if len(lines) == 1:
            number, text = lines[0]
            check_utf8(source, number, text)
            row = read_line(source, number, text, layout)
            raise BadLine(source, number, problem_of(text, row, layout, kinds)) from error
    half = len(lines) // 2
    first = read_rows(source, lines[:half], layout, counted, kinds)
    second = read_rows(source, lines[half:], layout, counted + half, first.kinds)
    time, values = np.concatenate([first.time, second.time]), np.concatenate([first.values, second.values], 1)
    numbers = first.numbers + second.numbers
    return Rows(first.ids + second.ids, first.shown + second.shown, time, values, numbers, second.kinds)


def read_together(lines: list[tuple[int, str]], layout: Layout, counted: int, kinds: Kinds) -> Rows:
    """Read lines at once; a ValueError says that one is bad, or that a quote takes the next one, too."""
    text, (when, *words) = "\n".join(text for _, text in lines), kinds
    if "\r" in text and len(lines) > 1:
        raise ValueError("a line may end in its middle")
    types = {at: kind or TEXT for at, kind in zip(layout.channels, words, strict=True)}
    types |= {at: TEXT for at in (layout.id, layout.time) if at is not None}
    cells = read_columns(text, layout, types)
    words = [kind or kind_of(cells[at]) for at, kind in zip(layout.channels, words, strict=True)]
    # what they are is known now
    again = {at: kind or NUMBER for at, kind in zip(layout.channels, words, strict=True) if types[at] == TEXT}
    found = cells | read_columns(text, layout, again)
    values = as_values([found[at] for at in layout.channels])
    if values.shape[1] != len(lines):
        raise ValueError("a quote that does not end takes the next line")
    ids, time = [""] * len(lines), np.arange(counted, counted + len(lines))
    shown = list(map(str, time))
    if layout.id is not None:
        ids = pc.utf8_trim_whitespace(cells[layout.id]).to_pylist()
        if not EMPTY.isdisjoint(ids):
            raise ValueError("an id is empty")
    if layout.time is not None:
        trimmed = pc.utf8_trim_whitespace(cells[layout.time])
        when = when or (date_kind(trimmed) if layout.dated else None)
        shown, time = trimmed.to_pylist(), read_times(trimmed, when)
    return Rows(ids, shown, time, values, [number for number, _ in lines], (when, *words))


def read_columns(text: str, layout: Layout, types: dict[int, pa.DataType]) -> dict[int, pa.ChunkedArray]:
    """Read some columns of lines, as those of a log that is not followed are read."""
    if not types:
        return {}
    names = list(map(str, range(len(layout.names))))
    content = "\n".join([layout.mark.join(names), text]).encode()
    # one block, however long a line is
    read = pyarrow.csv.ReadOptions(use_threads=False, block_size=len(content) + 1)
    parse = pyarrow.csv.ParseOptions(delimiter=layout.mark)
    named = {names[at]: kind for at, kind in types.items()}
    convert = pyarrow.csv.ConvertOptions(include_columns=list(named), column_types=named)
    table = pyarrow.csv.open_csv(pa.BufferReader(content), read, parse, convert).read_all()
    return dict(zip(types, table.columns, strict=True))


def read_times(texts: pa.ChunkedArray, kind: pa.DataType | None) -> NDArray[Any]:
    """Return nanoseconds of dates, or else numbers: whole ones if all are, which floats would round.

    Examples
    --------
    >>> [read_times(pa.chunked_array([texts]), None) for texts in (["1704067200000000001"], ["1", "1.5"])]
    [array([1704067200000000001]), array([1. , 1.5])]
    """
    if kind is None:
        found = texts.cast(pa.int64() if casts(texts, pa.int64()) else NUMBER).to_numpy()
    else:
        found = texts.cast(kind).cast(pa.int64()).to_numpy()
    if not np.isfinite(found).all():
        raise ValueError("a time is not finite")
    return found


def as_values(columns: list[pa.ChunkedArray]) -> NDArray[np.float32]:
    """Return the channels' values; what is empty is missing."""
    with np.errstate(over="ignore"):
        values = np.array([column.cast(NUMBER).to_numpy() for column in columns], np.float32)
    if np.isinf(values).any():
        raise ValueError("a value is too large")
    return values


def kind_of(texts: pa.ChunkedArray) -> pa.DataType | None:
    """Tell a channel of true and false from one of numbers, by the first cell that may not be of both."""
    first = next((text for text in texts.unique().to_pylist() if text not in EITHER), None)
    return None if first is None else WORD if first in WORDS else NUMBER


def date_kind(texts: pa.ChunkedArray) -> pa.DataType | None:
    """Tell dates with a UTC offset from those without, by the first one, if there is one."""
    return None if not len(texts) else ZONED if casts(texts[:1], ZONED) else DATE


def is_date(text: str) -> bool:
    """Tell a date, with a UTC offset or without, from other text."""
    return any(casts(pa.array([text]), kind) for kind in (DATE, ZONED))


def casts(texts: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> bool:
    """Tell whether all texts can be read as a kind."""
    try:
        texts.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def read_line(source: str, number: int, text: str, layout: Layout) -> list[str]:
    """Return what stands in a line, nothing where it is empty, and tell it where it is bad."""
    try:
        row = next(csv.reader([text], delimiter=layout.mark))
    except csv.Error as error:
        raise BadLine(source, number, f" cannot be read ({error}); mend it or take it out.") from error
    if row and len(row) != len(layout.names):
        names = f"the first line names {len(layout.names)}"
        raise BadLine(source, number, f" has {len(row)} values, and {names}; mend it or take it out.")
    return row


def problem_of(text: str, row: list[str], layout: Layout, kinds: Kinds) -> str:
    """Tell what is bad in a line that cannot be read."""
    if layout.id is not None and row[layout.id].strip() in EMPTY:
        return f": column {layout.names[layout.id]!r} is empty; fill it or take this line out."
    problem = "" if layout.time is None else time_problem(row[layout.time].strip(), layout.dated, kinds[0])
    for at, kind in zip(layout.channels, kinds[1:], strict=True):
        problem = problem or value_problem(text, row[at], layout, at, kind)
    return problem or " is not written as CSV; mend it or take it out."


def time_problem(shown: str, dated: bool, kind: pa.DataType | None) -> str:
    """Tell what is bad in a time, "" if nothing is."""
    texts = pa.chunked_array([[shown]])
    own = date_kind(texts) if dated else None
    try:
        read_times(texts, own)
    except ValueError:
        needed = "a date as in 2020-03-01 15:44:06, from 1678 to 2261," if dated else "a number"
        return f": {shown!r} is no time; {needed} is needed."
    if kind in (None, own):
        return ""
    offset, others = ("no UTC offset", "one") if kind == ZONED else ("a UTC offset", "none")
    return f": {shown!r} has {offset}, and times before it have {others}; mend it."


def value_problem(text: str, cell: str, layout: Layout, at: int, kind: pa.DataType | None) -> str:
    """Tell what is bad in the cell of a line that is in a channel, "" if nothing is."""
    own, comma = kind_of(pa.chunked_array([[cell]])), WITH_COMMA.fullmatch(cell.strip())
    try:
        as_values([*read_columns(text, layout, {at: own or NUMBER}).values()])
    except pa.ArrowInvalid:
        advice = "write decimals with a point" if comma else "leave it empty if it is missing"
        return f": {cell!r} is no number; {advice}."
    except ValueError:
        return f": {cell!r} is too large; leave it empty if it is missing."
    if None in (own, kind) or own == kind:
        return ""
    held = "numbers" if kind == NUMBER else "true or false"
    return f": column {layout.names[at]!r} holds {cell!r}, and held {held} before; mend it."
