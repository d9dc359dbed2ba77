"""What stands in the lines of a CSV log: ids, times and values, or which line is bad."""

import csv
import re
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyarrow.csv import ConvertOptions

from tsjepa.cli.errors import Failure
from tsjepa.column_names import CHANNEL, VALUE, called
from tsjepa.datasets.log_dialect import UNNAMED, WITH_COMMA, delimiters_of, names_of, plain_names, with_index
from tsjepa.datasets.log_time import NANOSECONDS
from tsjepa.datasets.naming import listed

LARGEST = float(np.finfo(np.float32).max)
# what is read elsewhere by pyarrow means the same here
EMPTY = frozenset(ConvertOptions().null_values)
WORDS = {
    **dict.fromkeys(EMPTY, float("nan")),
    **dict.fromkeys(ConvertOptions().true_values, 1.0),
    **dict.fromkeys(ConvertOptions().false_values, 0.0),
}
# what a cell tells of its column: of numbers, of true and false, or either, as 1, 0 and what is missing may be
NUMBER, EITHER, WORD = -1, 0, 1
TOLD = {text: EITHER if text in EMPTY | {"1", "0"} else WORD for text in WORDS}
# what pyarrow takes for a date; numpy takes plain numbers for years, and words such as now, too
DATE = re.compile(
    r"(\d{4}-\d\d-\d\d([ T]\d\d(?::\d\d(?::\d\d(?:\.\d{1,9})?)?)?)?)"
    r"(?(2)(?:Z|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?)",
    re.ASCII,
)
# the first year that nanoseconds of 64 bits can count from its start, and the first one that they cannot to its end
YEARS = ("1678", "2262")


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


class Kinds(NamedTuple):
    """What columns hold, by what stood in them so far: further down, too, as a batch reads a column as one kind.

    Attributes
    ----------
    zoned : bool or None
        Whether times say how far they are off UTC.
    words : tuple of int
        `NUMBER`, `EITHER` or `WORD` for each channel; empty where no line was read.
    """

    zoned: bool | None = None
    words: tuple[int, ...] = ()


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
    kinds : Kinds
        By these lines, and those before them.
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


def read_rows(
    source: str, lines: list[tuple[int, str]], layout: Layout, counted: int, kinds: Kinds | None = None
) -> Rows:
    """Read ids, times and values of lines; without a column of time, rows are counted on from `counted`.

    Columns hold what they held in the lines before, if that is known.
    """
    for number, text in lines:
        if not text.isascii():
            check_utf8(source, number, text)
    found = read_cells(source, lines, layout.mark, len(layout.names))
    cells = [(number, row) for (number, _), row in zip(lines, found, strict=True) if row]
    numbers = [number for number, _ in cells]
    if layout.id is None:
        ids = [""] * len(cells)
    else:
        ids = read_ids(source, [row[layout.id].strip() for _, row in cells], numbers, layout.names[layout.id])
    zoned, words = kinds or Kinds()
    if layout.time is None:
        time: NDArray[Any] = np.arange(counted, counted + len(cells))
        shown = list(map(str, time))
    else:
        shown = [row[layout.time].strip() for _, row in cells]
        time = read_times(source, shown, numbers, layout.dated)
        if layout.dated:
            zoned = check_zones(source, shown, numbers, zoned)
    values = read_values(source, cells, layout)
    return Rows(ids, shown, time, values, numbers, Kinds(zoned, check_words(source, cells, layout, words)))


def read_cells(source: str, lines: list[tuple[int, str]], mark: str, width: int) -> list[list[str]]:
    """Return what stands in each line, nothing where one is empty."""
    try:
        found = list(csv.reader([text for _, text in lines], delimiter=mark))
    except csv.Error:
        found = []
    # a quote that does not end takes the next line, too
    if len(found) == len(lines) and all(len(row) == width or not row for row in found):
        return found
    return [read_line(source, number, text, mark, width) for number, text in lines]


def read_line(source: str, number: int, text: str, mark: str, width: int) -> list[str]:
    """Return what stands in a line, and tell it where it is bad."""
    try:
        row = next(csv.reader([text], delimiter=mark))
    except csv.Error as error:
        raise BadLine(source, number, f" cannot be read ({error}).") from error
    if row and len(row) != width:
        raise BadLine(source, number, f" has {len(row)} values, and the first line names {width}.")
    return row


def read_ids(source: str, ids: list[str], numbers: list[int], name: str) -> list[str]:
    """Return ids, of which none may be empty."""
    if not EMPTY.isdisjoint(ids):
        first = next(number for number, text in zip(numbers, ids, strict=True) if text in EMPTY)
        raise BadLine(source, first, f": column {name!r} is empty; fill it or take this line out.")
    return ids


def read_times(source: str, shown: list[str], numbers: list[int], dated: bool) -> NDArray[Any]:
    """Return times as numbers: nanoseconds of dates, or the numbers that stand there."""
    try:
        if dated:
            return read_dates(shown)
        found = read_plain(shown)
        if not np.isfinite(found).all() or not are_plain(*shown):
            raise ValueError("a time is finite, and written in digits")
        return found
    except ValueError as error:
        if len(shown) == 1:
            kind = "a date as in 2020-03-01 15:44:06, from 1678 to 2261," if dated else "a number"
            raise BadLine(source, numbers[0], f": {shown[0]!r} is no time; {kind} is needed.") from error
        middle = len(shown) // 2
        parts = [(shown[:middle], numbers[:middle]), (shown[middle:], numbers[middle:])]
        return np.concatenate([read_times(source, *part, dated) for part in parts])


def read_plain(shown: list[str]) -> NDArray[Any]:
    """Return numbers: integers if all are, which floats would round where they count nanoseconds.

    Examples
    --------
    >>> read_plain(["1704067200000000001"]), read_plain(["1", "1.5"])
    (array([1704067200000000001]), array([1. , 1.5]))
    """
    try:
        return np.array(shown, np.int64)
    except (ValueError, OverflowError):
        return np.array(shown, np.float64)


def read_dates(shown: list[str]) -> NDArray[np.int64]:
    """Return dates in nanoseconds; all are taken for UTC but those that say how far they are off it."""
    found = [match for text in shown if (match := DATE.fullmatch(text))]
    if len(found) < len(shown):
        raise ValueError("a date is written as in ISO 8601")
    bare = [match[1] for match in found]
    minutes = [int(f"{date[3]}1") * (60 * int(date[4]) + int(date[5] or 0)) if date[3] else 0 for date in found]
    if bare and not YEARS[0] <= min(bare) <= max(bare) < YEARS[1]:
        raise ValueError("nanoseconds of other years are more than 64 bits hold")
    dates = np.array(bare, "datetime64[ns]").astype(np.int64)
    return np.asarray(dates - np.array(minutes, np.int64) * (60 * NANOSECONDS["s"]))


def check_zones(source: str, shown: list[str], numbers: list[int], zoned: bool | None) -> bool | None:
    """Return whether dates say how far they are off UTC, as all of a log do, or none."""
    found = [bool(text[10:].strip("0123456789 T:.")) for text in shown]
    if zoned is None and found:
        zoned = found[0]
    if (not zoned) in found:
        at = found.index(not zoned)
        own, others = ("no UTC offset", "one") if zoned else ("a UTC offset", "none")
        raise BadLine(source, numbers[at], f": {shown[at]!r} has {own}, and times before it have {others}; mend it.")
    return zoned


def check_words(
    source: str, cells: list[tuple[int, list[str]]], layout: Layout, words: tuple[int, ...]
) -> tuple[int, ...]:
    """Return which channels are of numbers, and which of true and false; none is of both."""
    places = layout.channels
    before = words or (EITHER,) * len(places)
    told = np.array([before, *([TOLD.get(row[place], NUMBER) for place in places] for _, row in cells)], np.int8)
    kinds = told[(told != EITHER).argmax(0), np.arange(len(places))]
    bad = np.argwhere(told * kinds < 0)
    if len(bad):
        at, channel = bad[0]
        number, row = cells[at - 1]
        place, held = places[channel], "numbers" if kinds[channel] == NUMBER else "true or false"
        problem = f": column {layout.names[place]!r} holds {row[place]!r}, and held {held} before; mend it."
        raise BadLine(source, number, problem)
    return tuple(kinds.tolist())


def read_values(source: str, cells: list[tuple[int, list[str]]], layout: Layout) -> NDArray[np.float32]:
    """Return the channels' values; what is empty is missing."""
    places = layout.channels
    found = [read_numbers(source, number, [row[place] for place in places]) for number, row in cells]
    values = np.array(found, np.float64).reshape(-1, len(places))
    large = np.argwhere(np.abs(values) > LARGEST)
    if len(large):
        at, channel = large[0]
        number, row = cells[at]
        text = row[places[channel]]
        raise BadLine(source, number, f": {text!r} is too large; leave it empty if it is missing.")
    return np.ascontiguousarray(values.T, np.float32)


def read_numbers(source: str, number: int, texts: list[str]) -> list[float]:
    """Return the values that stand in a line, all at once where they are plain numbers."""
    try:
        values = list(map(float, texts))
    except ValueError:
        return [read_number(source, number, text) for text in texts]
    return values if are_plain(*texts) else [read_number(source, number, text) for text in texts]


def are_plain(*texts: str) -> bool:
    """Tell whether numbers in texts are those of pyarrow, too: Python also reads 1_0, and digits of other scripts."""
    joined = "".join(texts)
    return joined.isascii() and "_" not in joined


def read_number(source: str, number: int, text: str) -> float:
    """Return a number, 1 or 0 for what is true or false, and NaN for what means that there is no value."""
    with suppress(ValueError):
        if are_plain(text):
            return float(text)
    if text in WORDS:
        return WORDS[text]
    comma = WITH_COMMA.fullmatch(text.strip())
    advice = "write decimals with a point" if comma else "leave it empty if it is missing"
    raise BadLine(source, number, f": {text!r} is no number; {advice}.")
