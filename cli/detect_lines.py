"""Lines of a CSV log as they are appended to a file or come on standard input, and what stands in them."""

import csv
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from tsjepa.cli.errors import Failure
from tsjepa.datasets.log_reading import delimiter_of

STDIN = "-"
CHUNK_BYTES = 1 << 18
POLL_SECONDS = 0.2
LARGEST = float(np.finfo(np.float32).max)
MISSING = ("", "nan", "null", "none", "na", "n/a")


class Lines(NamedTuple):
    """Some whole lines.

    Attributes
    ----------
    text : list of str
    first : int
        Number of the first one in this reading, from 1.
    offset : int
        Bytes up to the end of the last one.
    """

    text: list[str]
    first: int
    offset: int


def read_lines(source: str, offset: int, idle_timeout: float | None) -> Iterator[Lines]:
    """Yield whole lines as they come: standard input until it ends, a file for ever or until it rests for too long."""
    left, number, rested = b"", 1, 0.0
    with opened(source, offset) as stream:
        while True:
            new = stream.read1(CHUNK_BYTES)
            left += new
            if not new and source == STDIN:
                if left:
                    yield Lines([left.decode(errors="replace")], number, offset + len(left))
                return
            whole, mark, left = left.rpartition(b"\n")
            if mark:
                text = whole.decode(errors="replace").split("\n")
                offset += len(whole) + 1
                yield Lines(text, number, offset)
                number += len(text)
            if new:
                rested = 0.0
            elif idle_timeout is not None and rested >= idle_timeout:
                return
            else:
                time.sleep(POLL_SECONDS)
                rested += POLL_SECONDS


@contextmanager
def opened(source: str, offset: int) -> Iterator[BufferedReader]:
    """Open a file at a place, or standard input."""
    if source == STDIN:
        yield cast(BufferedReader, sys.stdin.buffer)
        return
    path = Path(source)
    if not path.is_file():
        raise Failure(f"{source} is no file: --follow reads a CSV file, or - for standard input.")
    if offset > path.stat().st_size:
        raise Failure(f"{source} is shorter than what was read of it before: start anew with --overwrite.")
    with path.open("rb") as stream:
        stream.seek(offset)
        yield stream


def check_text(source: str) -> None:
    """Refuse what is no text before anything is written: Parquet, Arrow, and whatever is compressed."""
    if source == STDIN:
        return
    with opened(source, 0) as stream:
        if b"\0" in stream.read(CHUNK_BYTES):
            raise Failure(f"{source} is no text: --follow reads a CSV file as it is, not compressed, or -.")


class Layout(NamedTuple):
    """Places of the columns in a line.

    Attributes
    ----------
    id, time : int or None
    channels : list of int
    unit : str or None
        Of times that are dates, as numpy calls it; None for numbers.
    mark : str
        What stands between two values.
    """

    id: int | None
    time: int | None
    channels: list[int]
    unit: str | None
    mark: str


class Rows(NamedTuple):
    """What stands in some lines.

    Attributes
    ----------
    ids, shown : list of str
        Ids, and times as they are written.
    time : array of shape (n,)
    values : float32 array of shape (n_channels, n)
    numbers : list of int
        Of the lines.
    """

    ids: list[str]
    shown: list[str]
    time: NDArray[np.generic]
    values: NDArray[np.float32]
    numbers: list[int]


def find_columns(
    source: str, header: str, columns: tuple[str | None, str | None, tuple[str, ...]], unit: str | None
) -> Layout:
    """Find id, time and channels in the first line."""
    mark = delimiter_of(header)
    names = [name.strip().removeprefix("\ufeff") for name in next(csv.reader([header], delimiter=mark))]
    identity, moment, channels = columns
    for name, flag in ((identity, " (--id)"), (moment, " (--time)"), *((name, "") for name in channels)):
        if name is not None and name not in names:
            raise Failure(f"{source} has no column {name!r}{flag}, which the log of training had: {header.strip()}")
    at_id, at_time = (None if name is None else names.index(name) for name in (identity, moment))
    return Layout(at_id, at_time, [names.index(name) for name in channels], unit, mark)


def read_rows(source: str, lines: Lines, layout: Layout, counted: int) -> Rows:
    """Read ids, times and values of lines; without a column of time, rows are counted on from `counted`."""
    cells = [(lines.first + at, row) for at, row in enumerate(csv.reader(lines.text, delimiter=layout.mark)) if row]
    need = 1 + max(layout.channels + [at for at in (layout.id, layout.time) if at is not None])
    for number, row in cells:
        if len(row) < need:
            raise Failure(f"{source}, line {number} has {len(row)} values, and {need} are needed.")
    ids = [row[layout.id] if layout.id is not None else "" for _, row in cells]
    numbers = [number for number, _ in cells]
    if layout.time is None:
        time: NDArray[np.generic] = np.arange(counted, counted + len(cells))
        return Rows(ids, list(map(str, time)), time, read_values(source, cells, layout), numbers)
    shown = [row[layout.time] for _, row in cells]
    return Rows(
        ids, shown, read_times(source, shown, numbers, layout.unit), read_values(source, cells, layout), numbers
    )


def read_times(source: str, shown: list[str], numbers: list[int], unit: str | None) -> NDArray[np.generic]:
    """Return times as numbers: ticks of a unit, or the numbers that stand there."""
    try:
        if unit is None:
            found = np.array(shown, np.float64)
            if not np.isfinite(found).all():
                raise ValueError("a time is not finite")
            return found
        if not all(text[:1].isdigit() for text in shown):  # numpy takes words such as now for a time, too
            raise ValueError("a date begins with its year")
        # all times are taken for UTC, which is what dates without a zone are compared as
        return np.array(
            [text.removesuffix("Z").removesuffix("+00:00") for text in shown], f"datetime64[{unit}]"
        ).astype(np.int64)
    except ValueError as error:
        if len(shown) == 1:
            kind = "a number" if unit is None else "a date as in 2020-03-01 15:44:06"
            raise Failure(f"{source}, line {numbers[0]}: {shown[0]!r} is no time; {kind} is needed.") from error
        middle = len(shown) // 2
        parts = [(shown[:middle], numbers[:middle]), (shown[middle:], numbers[middle:])]
        return np.concatenate([read_times(source, *part, unit) for part in parts])


def read_values(source: str, cells: list[tuple[int, list[str]]], layout: Layout) -> NDArray[np.float32]:
    """Return the channels' values; what is empty is missing."""
    values = np.empty((len(layout.channels), len(cells)), np.float32)
    for at, (number, row) in enumerate(cells):
        for channel, place in enumerate(layout.channels):
            try:
                value = float(row[place])
            except ValueError:
                value = read_missing(source, number, row[place])
            if abs(value) > LARGEST:
                raise Failure(f"{source}, line {number}: {row[place]!r} is too large; leave it empty if it is missing.")
            values[channel, at] = value
    return values


def read_missing(source: str, number: int, text: str) -> float:
    """Return NaN for what means that there is no value."""
    if text.strip().lower() not in MISSING:
        raise Failure(f"{source}, line {number}: {text!r} is no number; leave it empty if it is missing.")
    return float("nan")
