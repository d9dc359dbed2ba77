"""Times, steps and durations of a log, in its own units and in words."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_settings import DEFAULT_GAP_STEPS, UNITS, points_or_duration
from tsjepa.datasets.log_types import PRECISIONS, TimeKind

NANOSECONDS = {unit: UNITS[unit] for unit in PRECISIONS}


def time_dtype(kind: TimeKind) -> str:
    """Return the type that times are kept in.

    Examples
    --------
    >>> time_dtype(TimeKind("timestamp", "us")), time_dtype(TimeKind("float"))
    ('int64', 'float64')
    """
    return "float64" if kind.kind == "float" else "int64"


def as_arrow(time: NDArray[Any], kind: TimeKind) -> pa.Array:
    """Return times as Arrow has them.

    Examples
    --------
    >>> as_arrow(np.array([1_000_000]), TimeKind("timestamp", "us", True)).type
    TimestampType(timestamp[us, tz=UTC])
    """
    if kind.kind != "timestamp":
        return pa.array(time)
    return pa.array(np.asarray(time, np.int64)).cast(pa.timestamp(kind.unit, "UTC" if kind.zoned else None))


def shown_time(time: float, kind: TimeKind) -> str:
    """Write a time as people do.

    Examples
    --------
    >>> shown_time(1_000_000, TimeKind("timestamp", "us")), shown_time(20260301, TimeKind("integer"))
    ('1970-01-01 00:00:01', '20260301')
    """
    if kind.kind == "timestamp":
        return str(as_arrow(np.array([time]), kind)[0])
    return f"{time:.15g}" if kind.kind == "float" else str(int(time))


def shown_step(step: float, kind: TimeKind) -> str:
    """Write the difference of two times as people do.

    Examples
    --------
    >>> shown_step(1_500_000, TimeKind("timestamp", "us")), shown_step(1.0, TimeKind("integer"))
    ('1.5 s', '1')
    """
    return shown_duration(step * NANOSECONDS[kind.unit]) if kind.kind == "timestamp" else f"{step:g}"


def shown_duration(nanoseconds: float) -> str:
    """Write a duration as people do: of a minute and more in whole units, rounded to a millisecond.

    Examples
    --------
    >>> [shown_duration(seconds * 1e9) for seconds in (0.25, 10, 256, 5400, 90_000.5)]
    ['250 ms', '10 s', '4 min 16 s', '1 h 30 min', '1 d 1 h 0.5 s']
    """
    small = (("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0))
    if nanoseconds < 60e9:
        name, size = next(((name, size) for name, size in small if nanoseconds >= size), small[-1])
        return f"{nanoseconds / size:.6g} {name}"
    left, found = round(nanoseconds / 1e6), []
    for name, milliseconds in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        whole, left = divmod(left, milliseconds)
        found += [f"{whole} {name}"] if whole else []
    return " ".join([*found, f"{left / 1000:g} s"] if left else found)


def in_ticks(value: int | float | str, name: str, kind: TimeKind) -> tuple[float | None, float | None]:
    """Tell points from a duration in the log's own unit of time.

    Parameters
    ----------
    value : int, float or str
        Points, or a duration.
    name : str
        The option, for the message.
    kind : TimeKind
        The log's times.

    Returns
    -------
    points : float or None
        Where it is a number.
    ticks : float or None
        Where it is a duration.

    Raises
    ------
    DataError
        If it is a duration and times are numbers without a unit.

    Examples
    --------
    >>> in_ticks("10s", "--window", TimeKind("timestamp", "ms")), in_ticks(5, "--window", TimeKind("integer"))
    ((None, 10000.0), (5.0, None))
    """
    points, nanoseconds = points_or_duration(value, name)
    if nanoseconds is None:
        return points, None
    if kind.kind != "timestamp":
        raise DataError(f"{name} {value!r} is a duration, but the log's times have no unit; give a plain number")
    return None, nanoseconds / NANOSECONDS[kind.unit]


def gap_limits(
    max_gap: int | float | str | None, step: NDArray[np.float64], kind: TimeKind
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the longest steps of time that are no gaps where rows are `step` apart.

    Parameters
    ----------
    max_gap : int, float, str or None
        In steps, or a duration; None is the default.
    step : ndarray of float64
        Usual steps of time, in the log's own unit.
    kind : TimeKind
        The log's times.

    Returns
    -------
    asked : ndarray of float64
        As `max_gap` says it.
    kept : ndarray of float64
        What steps are compared with. Floats are rounded, by more the larger they are, and so are the differences of
        two: where times are such, a limit is wider by a hundredth, and by half a step at most.

    Raises
    ------
    DataError
        If `max_gap` is a duration and times have no unit.

    Examples
    --------
    >>> [limit.tolist() for limit in gap_limits(3, np.array([0.1]), TimeKind("float"))]
    [[0.30000000000000004], [0.303]]
    """
    points, ticks = in_ticks(DEFAULT_GAP_STEPS if max_gap is None else max_gap, "--max-gap", kind)
    if points is None:
        return np.full_like(step, ticks), np.full_like(step, ticks)
    wider = min(points / 100, 0.5) if kind.kind == "float" else 0.0
    return points * step, (points + wider) * step
