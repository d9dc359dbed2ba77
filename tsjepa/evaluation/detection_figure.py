"""A picture of a detection: the channels of a log, the score with its threshold, and the events."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tsjepa.evaluation.drawn_text import plain_text

# Points of a curve that a picture shows: more rows are drawn from the lowest to the highest of each bin
COLUMNS = 2000
# Least width of what is marked, as a share of the axis: about three pixels, however long the log
LEAST = 1 / 400
CHANNEL, SCORE, ALARM, LABEL = "#4c72b0", "#333333", "#d62728", "#2ca02c"


class Detection(NamedTuple):
    """What is drawn.

    Attributes
    ----------
    x : array of shape (n_rows,)
        Times or numbers of rows, ascending.
    values : array of shape (n_channels, n_rows)
    names : sequence of str
        Of the channels.
    score : array of shape (n_rows,)
    threshold : float
    events : sequence of (int, int)
        First and last row of each.
    runs : sequence of int
        First rows of further runs.
    breaks : sequence of int
        First rows behind gaps in time, and of further runs: no curve is drawn across them.
    abnormal : array of shape (n_rows,), optional
        Labels: 1 or 0, NaN for none.
    """

    x: NDArray[Any]
    values: NDArray[Any]
    names: Sequence[str]
    score: NDArray[Any]
    threshold: float
    events: Sequence[tuple[int, int]]
    runs: Sequence[int] = ()
    abnormal: NDArray[Any] | None = None
    breaks: Sequence[int] = ()


def draw(found: Detection, title: str) -> Figure:
    """Draw a detection.

    Parameters
    ----------
    found : Detection
    title : str

    Returns
    -------
    Figure

    Examples
    --------
    >>> x = np.arange(100)
    >>> detection = Detection(x, np.sin(x)[None], ["flow"], np.abs(np.sin(x)), 0.9, [(10, 20)])
    >>> len(draw(detection, "pump").axes)
    2
    """
    rows = len(found.values) + 1 + (found.abnormal is not None)
    heights = [1.0] * len(found.values) + [2.0] + [0.25] * (found.abnormal is not None)
    figure = Figure(figsize=(12, 1.2 + 0.8 * sum(heights)), layout="constrained")
    axes: list[Axes] = list(figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    for axis, values, name in zip(axes, found.values, found.names, strict=False):
        curve(axis, found.x, values, CHANNEL, found.breaks)
        axis.set_ylabel(plain_text(name), rotation=0, ha="right", va="center", fontsize=8)
        axis.tick_params(labelsize=7)
    score_curve(axes[len(found.values)], found)
    if found.abnormal is not None:
        label_strip(axes[-1], found)
    for axis in axes[: len(found.values) + 1]:
        marks(axis, found)
    rows_or_dates(axes[-1], found.x)
    axes[0].set_xlim(found.x[0], found.x[-1])
    axes[0].set_title(plain_text(title), fontsize=10, loc="left")
    return figure


def score_curve(axis: Axes, found: Detection) -> None:
    """Draw the score, and the threshold with its value."""
    curve(axis, found.x, found.score, SCORE, found.breaks)
    axis.axhline(found.threshold, color=ALARM, lw=1, ls="--")
    axis.annotate(
        f"threshold {found.threshold:.2f}", (1, found.threshold), (3, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", color=ALARM, fontsize=8, va="center", annotation_clip=False,
    )  # fmt: skip
    axis.set_ylabel("score", rotation=0, ha="right", va="center")


def marks(axis: Axes, found: Detection) -> None:
    """Mark events, and where runs begin."""
    for start, end in found.events:
        ends = span(found.x, start, end)
        axis.axvspan(*ends, color=ALARM, alpha=0.2, lw=0)
        top = axis.get_xaxis_transform()
        axis.plot(ends, (1, 1), transform=top, color=ALARM, lw=6, solid_capstyle="butt")
    axis.vlines(found.x[list(found.runs)], 0, 1, transform=axis.get_xaxis_transform(), color="0.6", lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def span(x: NDArray[Any], start: int, end: int) -> tuple[Any, Any]:
    """Return where the mark of some rows begins and ends: inside the axis, and wide enough to be seen.

    Examples
    --------
    >>> x = np.arange(6001.0)
    >>> [[float(at) for at in span(x, *rows)] for rows in ((3000, 3002), (0, 2), (2000, 4000))]
    [[2993.5, 3008.5], [0.0, 15.0], [2000.0, 4000.0]]
    """
    nothing = 0 * (x[-1] - x[0])
    wider = max(LEAST * (x[-1] - x[0]) - (x[end] - x[start]), nothing) / 2
    low, high = x[start] - wider, x[end] + wider
    moved = max(x[0] - low, nothing) - max(high - x[-1], nothing)
    return low + moved, high + moved


def rows_or_dates(axis: Axes, x: NDArray[Any]) -> None:
    """Say what the horizontal axis counts."""
    if np.issubdtype(x.dtype, np.datetime64):
        locator = AutoDateLocator()
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        axis.set_xlabel("row")


def label_strip(axis: Axes, found: Detection) -> None:
    """Mark the rows that are labelled abnormal."""
    assert found.abnormal is not None
    edges = np.flatnonzero(np.diff(found.abnormal == 1, prepend=False, append=False))
    for start, stop in edges.reshape(-1, 2):
        axis.axvspan(*span(found.x, start, stop - 1), color=LABEL, alpha=0.6, lw=0)
    axis.set_yticks([])
    axis.set_ylabel("labels", rotation=0, ha="right", va="center", fontsize=8)
    axis.spines[["top", "right", "left"]].set_visible(False)


def curve(axis: Axes, x: NDArray[Any], y: NDArray[Any], color: str, breaks: Sequence[int] = ()) -> None:
    """Draw a curve without what would join rows before and behind breaks.

    A long one is the band from the lowest to the highest value of each bin.
    """
    cuts = seen_breaks(x, breaks)
    if len(x) <= 2 * COLUMNS:
        axis.plot(np.insert(x, cuts, x[cuts]), np.insert(np.asarray(y, float), cuts, np.nan), color=color, lw=0.8)
        return
    starts = np.union1d(np.linspace(0, len(y), COLUMNS, endpoint=False).astype(int), cuts)
    high = np.maximum.reduceat(np.where(np.isnan(y), -np.inf, y), starts)
    low = np.minimum.reduceat(np.where(np.isnan(y), np.inf, y), starts)
    seen = np.isfinite(high)
    # a bin reaches from its first to its last row
    ends = np.stack([starts, np.append(starts[1:], len(y)) - 1], 1).ravel()
    low, high = (np.repeat(np.where(seen, edge, np.nan), 2) for edge in (low, high))
    at = 2 * np.searchsorted(starts, cuts)
    x, low, high = (np.insert(part, at, gap) for part, gap in ((x[ends], x[cuts]), (low, np.nan), (high, np.nan)))
    axis.fill_between(x, low, high, color=color, lw=0.8)


def seen_breaks(x: NDArray[Any], breaks: Sequence[int]) -> NDArray[np.intp]:
    """Return those breaks that are wider than a bin, which are no more than bins.

    Examples
    --------
    >>> seen_breaks(np.array([0, 1, 2, 9000, 9001, 9003]), [3, 5])
    array([3])
    """
    cuts = np.array(breaks, np.intp)
    return cuts[x[cuts] - x[cuts - 1] > (x[-1] - x[0]) / COLUMNS]
