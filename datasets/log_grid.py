"""Rows brought onto a regular grid of time, on demand."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.datasets.log_cut import Segments
from tsjepa.datasets.log_settings import Fill
from tsjepa.datasets.log_store import Block, Column, Field, RowFiles

POINTS = 1 << 18


def resampled(
    time: NDArray[Any], values: NDArray[np.float32], grid: NDArray[Any], reach: float, fill: Fill
) -> NDArray[np.float32]:
    """Give each channel a value at each point of a grid.

    Parameters
    ----------
    time : ndarray of shape (n,)
        Times of the rows, ascending.
    values : ndarray of float32, shape (n, n_channels)
        NaN where one is missing.
    grid : ndarray of shape (m,)
        Times of the points.
    reach : float
        How far apart two values may be for a point to lie between them, or how old the one before it.
    fill : {"linear", "previous"}
        A straight line between the values on either side, or the one before.

    Returns
    -------
    ndarray of float32, shape (m, n_channels)
        NaN where no value is near enough. A value at the very time of a point is kept.

    Examples
    --------
    >>> time, values = np.array([0, 2, 9]), np.array([[0.0], [4.0], [5.0]], np.float32)
    >>> resampled(time, values, np.arange(4), reach=3, fill="linear")[:, 0].tolist()
    [0.0, 2.0, 4.0, nan]
    """
    found = np.full((len(grid), values.shape[1]), np.nan, np.float32)
    for channel in range(values.shape[1]):
        known = np.flatnonzero(~np.isnan(values[:, channel]))
        if not len(known):
            continue
        at, value = time[known], values[known, channel].astype(np.float64)
        left = np.searchsorted(at, grid, side="right") - 1
        some = np.flatnonzero(left >= 0)
        before = left[some]
        age = grid[some] - at[before]
        if fill == "previous":
            near = age <= reach
            found[some[near], channel] = value[before[near]]
            continue
        after = np.minimum(before + 1, len(at) - 1)
        width = at[after] - at[before]
        near = (age == 0) | ((after > before) & (width <= reach))
        share = np.divide(age, width, out=np.zeros(len(age)), where=(age > 0) & (width > 0))
        found[some[near], channel] = (value[before] + share * (value[after] - value[before]))[near]
    return found


def grid_blocks(
    rows: RowFiles,
    stretches: Iterable[Segments],
    offsets: NDArray[np.int64],
    step: float,
    gaps: NDArray[np.float64],
    fill: Fill,
) -> Iterator[tuple[int, Block]]:
    """Bring stretches of rows onto grids, each starting at the time of its first row.

    Parameters
    ----------
    rows : RowFiles
        Rows sorted by id and time.
    stretches : iterable of Segments
        Rows without a gap; the grid stops at gaps, so that they stay gaps.
    offsets : ndarray of int64, shape (n_ids + 1,)
        The first row of each id, and the end.
    step : float
        Of the grid, in the log's unit of time.
    gaps : ndarray of float64, shape (n_ids,)
        How far apart two values may be for a point to lie between them.
    fill : {"linear", "previous"}
        How points get their values.

    Yields
    ------
    series : int
        The id's number.
    block : dict of str to ndarray
        Points as rows, with ``row``, the row of the id, from 0, at or before each.
    """
    for found in stretches:
        # mapped, since a stretch may be the whole log, and anew for each of these, which gives the pages back
        times = Column(rows.folder / "time", rows.fields["time"]).mapped(int(offsets[-1]))
        for start, stop, series in zip(found.start.tolist(), found.stop.tolist(), found.series.tolist(), strict=True):
            time = times[start:stop]
            origin, reach = time[0], float(gaps[series])
            points = int(np.floor((time[-1] - origin) / step + rounding(time[-1], step))) + 1
            for low in range(0, points, POINTS):
                number = np.arange(low, min(low + POINTS, points))
                grid = (origin + number * (int(step) if step == int(step) else step)).astype(time.dtype)
                block = _points(rows, time, start, grid, reach, fill)
                block["row"] += start - offsets[series]
                yield series, block


def _points(rows: RowFiles, time: NDArray[Any], start: int, grid: NDArray[Any], reach: float, fill: Fill) -> Block:
    far = reach if np.isfinite(reach) else 0.0
    low = int(np.searchsorted(time, grid[0] - far, side="left"))
    high = int(np.searchsorted(time, grid[-1] + far, side="right"))
    near = rows.read(start + low, start + high)
    values = resampled(near["time"], near["values"], grid, reach, fill)
    row = np.searchsorted(near["time"], grid, side="right") - 1
    block: Block = {"time": grid, "values": values, "present": np.asarray(~np.isnan(values).all(1)), "row": row + low}
    if "label" in near:
        block["label"] = near["label"][row]
    return block


def grid_fields(fields: dict[str, Field]) -> dict[str, Field]:
    """Return the columns of a grid, given those of the rows."""
    return fields | {"row": Field("int64")}


def rounding(time: Any, step: float) -> float:
    """Return by what share of a step a difference of two such times may be off: numbers of seconds are rounded.

    Examples
    --------
    >>> rounding(np.float64(1.7e9), 0.1) > 1e-6, rounding(np.int64(7), 2.0)
    (True, 1e-06)
    """
    exact = np.dtype(type(time)).kind != "f"
    return 1e-6 if exact else max(1e-6, float(4 * np.spacing(abs(time)) / step))
