"""Series cut into windows: never across a gap, and no row left out without a word."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_settings import WindowLabel
from tsjepa.datasets.log_store import Block, Field, RowFiles

CHUNK = 1 << 20
# Labels that say by themselves that a row is normal, in any case
NORMAL = ("0", "false", "normal", "no")


class Segments(NamedTuple):
    """Some stretches of rows without a gap, in order.

    Attributes
    ----------
    start, stop : ndarray of int64, shape (n,)
        Their rows.
    series : ndarray of int64, shape (n,)
        The id's number of each.
    gaps : int
        How many of them start after a gap inside an id.
    uneven : int
        Steps of time inside them that are off the id's median step by more than half of it.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    series: NDArray[np.int64]
    gaps: int
    uneven: int


class Cut(NamedTuple):
    """Some windows, in order.

    Attributes
    ----------
    start, length, series : ndarray of int64, shape (n,)
        First row, number of rows, and the id's number of each window.
    short, shifted : int
        How many hold fewer rows than asked for, and how many start earlier than the stride asks.
    """

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    series: NDArray[np.int64]
    short: int
    shifted: int


def segments(
    rows: RowFiles,
    offsets: NDArray[np.int64],
    steps: NDArray[np.float64],
    gaps: NDArray[np.float64],
) -> Iterator[Segments]:
    """Divide rows where the id changes or a step of time is a gap.

    Parameters
    ----------
    rows : RowFiles
        With a column ``time``, sorted by id and time.
    offsets : ndarray of int64, shape (n_ids + 1,)
        The first row of each id, and the end.
    steps, gaps : ndarray of float64, shape (n_ids,)
        The median step of each id, and the longest step that is no gap.

    Yields
    ------
    Segments
        Those that end in a chunk.
    """
    total, begun, before = int(offsets[-1]), 0, None
    for low in range(0, total, CHUNK):
        high = min(low + CHUNK, total)
        time = rows.read(low, high, ("time",))["time"]
        series = np.searchsorted(offsets, np.arange(low, high), side="right") - 1
        step = np.diff(time, prepend=time[:1] if before is None else before)
        inner = np.ones(high - low, bool)
        first = np.searchsorted(offsets, [low, high])
        inner[offsets[first[0] : first[1]] - low] = False
        gap = inner & (step > gaps[series])
        uneven = inner & ~gap & (np.abs(step - steps[series]) > steps[series] / 2)
        breaks = np.flatnonzero(~inner | gap) + low
        edges = np.concatenate([[begun], breaks[breaks > begun], [total] if high == total else []]).astype(np.int64)
        owner = np.searchsorted(offsets, edges[:-1], side="right") - 1
        yield Segments(edges[:-1], edges[1:], owner, int(gap.sum()), int(uneven.sum()))
        begun, before = int(edges[-1]), time[-1:]


def cut(found: Segments, window: int, stride: int, at_most: int = CHUNK) -> Iterator[Cut]:
    """Lay windows over stretches of rows.

    A stretch shorter than a window is one window. Where the last window does not reach the end of its stretch
    and the next would start inside it, one more is laid so that it ends with the stretch.

    Parameters
    ----------
    found : Segments
        The stretches.
    window, stride : int
        In rows.
    at_most : int
        Windows given at a time.

    Examples
    --------
    >>> ten_rows = Segments(np.array([0]), np.array([10]), np.array([0]), 0, 0)
    >>> next(cut(ten_rows, 4, 4)).start.tolist()
    [0, 4, 6]
    """
    rows = found.stop - found.start
    whole = np.maximum((rows - window) // stride + 1, 0)
    more = (rows < window) | ((whole * stride < rows) & ((whole - 1) * stride + window < rows))
    ends = np.cumsum(whole + more)
    total = int(ends[-1]) if len(ends) else 0
    for low in range(0, total, at_most):
        number = np.arange(low, min(low + at_most, total))
        at = np.searchsorted(ends, number, side="right")
        nth = number - (ends - whole - more)[at]
        last = np.maximum(rows - window, 0)[at]
        start = found.start[at] + np.minimum(nth * stride, last)
        length = np.minimum(rows, window)[at]
        yield Cut(start, length, found.series[at], int((length < window).sum()), int((nth * stride > last).sum()))


def near(windows: Cut, rows: int) -> Iterator[Cut]:
    """Divide windows into bands, those of each of which start within so many rows of each other.

    Examples
    --------
    >>> four = Cut(np.array([0, 3, 5, 90]), np.array([4] * 4), np.array([0] * 4), 0, 0)
    >>> [band.start.tolist() for band in near(four, 5)]
    [[0, 3], [5], [90]]
    """
    band = windows.start // rows
    edges = [0, *(np.flatnonzero(np.diff(band)) + 1).tolist(), len(band)]
    for low, high in pairwise(edges):
        part = slice(low, high)
        yield Cut(windows.start[part], windows.length[part], windows.series[part], 0, 0)


def named_normal(classes: Sequence[str]) -> list[int]:
    """Return the codes of the classes that say by their name that a row is normal.

    Examples
    --------
    >>> named_normal(["Fault", "Normal"]), named_normal(["a", "b"])
    ([1], [])
    """
    return [code for code, name in enumerate(classes) if name.strip().lower() in NORMAL]


class Describe:
    """Says of windows which hold a value at all, and what their labels are.

    Parameters
    ----------
    rows : RowFiles
        With columns ``present`` and, where there are labels, ``label``.
    how : {"last", "majority", "any"}
        Which label a window has.
    classes : tuple of str or None
        Names behind the codes in ``label``; None for a numeric target, or no labels.
    normal : list of int
        The codes of normal classes.
    """

    def __init__(self, rows: RowFiles, how: WindowLabel, classes: tuple[str, ...] | None, normal: list[int]) -> None:
        self.rows, self.how, self.classes, self.normal = rows, how, classes, normal
        self.labelled = "label" in rows.fields
        if self.labelled and how != "last" and classes is None:
            raise DataError(f"--window-label {how} needs classes, and the label is a numeric target; use last")

    def __call__(self, windows: Cut) -> Block:
        """Return columns ``measured`` and, where there are labels, ``label``."""
        first, end = int(windows.start.min()), int((windows.start + windows.length).max())
        block = self.rows.read(first, end, ("present", "label") if self.labelled else ("present",))
        start, stop = windows.start - first, windows.start + windows.length - first
        found: Block = {"measured": _counts(block["present"] > 0, start, stop) > 0}
        if self.labelled:
            found["label"] = self._labels(block["label"], start, stop)
        return found

    def _labels(self, label: NDArray[Any], start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[Any]:
        if self.how == "last":
            return label[stop - 1]
        if self.how == "any":
            normal = np.isin(label, self.normal)
            odd, fine = _latest((label >= 0) & ~normal, stop), _latest(normal, stop)
            chosen = np.where(odd >= start, odd, fine)
            return np.where(chosen >= start, label[chosen], -1).astype(label.dtype)
        best, chosen = np.zeros(len(start), np.int64), np.full(len(start), -1, label.dtype)
        for code in range(len(self.classes or ())):
            counts = _counts(label == code, start, stop)
            chosen[counts > best] = code
            best = np.maximum(best, counts)
        return chosen


def _counts(hit: NDArray[np.bool_], start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    sums = np.concatenate([[0], np.cumsum(hit)])
    return np.asarray(sums[stop] - sums[start])


def _latest(hit: NDArray[np.bool_], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the last hit before each stop, -1 where there is none."""
    return np.asarray(np.maximum.accumulate(np.where(hit, np.arange(len(hit)), -1))[stop - 1])


def window_fields(label: Field | None) -> dict[str, Field]:
    """Return the columns that windows are kept in."""
    fields = {"start": Field("int64"), "length": Field("int64"), "series": Field("int32"), "measured": Field("uint8")}
    return fields if label is None else fields | {"label": label}
