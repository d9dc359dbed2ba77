"""What a user says about a log: which columns mean what, and how series are cut into windows."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from tsjepa.datasets.dataset import DataError

Fill = Literal["linear", "previous"]
WindowLabel = Literal["last", "majority", "any"]
UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "sec": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
    "w": 7 * 86_400 * 10**9,
}
DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|min|sec|s|m|h|d|w)\s*")
# wide of what jitter and a few lost rows do (a 1 Hz log over a network has steps of 2 to 5 s), and short of a pause
DEFAULT_GAP_STEPS = 10.0
# what ids are called that no column gives, those of files
OWN_ID = "id"


@dataclass(frozen=True)
class Columns:
    """Names of a log's columns; None is guessed from names and types, and the guess is said.

    Attributes
    ----------
    id : str or None
        The machine, run or unit that a row belongs to. ``""``: the whole log is one series.
    time : str or None
        Timestamps, dates or numbers that grow within an id. ``""``: rows are in order as they stand.
    channels : tuple of str or None
        The sensors, in this order. None: all columns of numbers that nothing else is.
    label : str or None
        The column to be predicted by a probe; never a channel. ``""``: there is none.
    group : str or None
        Rows of one group stay on one side of a split. Never guessed. ``"id"``, where no column has that name, or one
        of files that has another value in every row, and none gives ids: each file, or each row of lists, is a group of
        its own.

    Examples
    --------
    >>> Columns(id="unit", time="cycle").channels is None
    True
    """

    id: str | None = None
    time: str | None = None
    channels: tuple[str, ...] | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Windowing:
    """How the series of a log are cut.

    Attributes
    ----------
    window : int, str or None
        Length of a window, in points or as a duration (``"10s"``), which is turned into points by the median
        step. None: each id is one series.
    stride : int, str or None
        From the start of a window to the start of the next; None is the window's length.
    max_gap : float, str or None
        The longest step between rows that a window may span, in steps (multiples of the id's median step) or
        as a duration. None is 10 steps.
    resample : str or None
        The step of a regular grid (``"1s"``) that rows are brought onto before they are cut; a plain number is
        in the units of a time column of numbers.
    fill : {"linear", "previous"}
        How a point of that grid gets its value: between the neighbours, or the one before it, where these are
        no further apart than `max_gap`; else it is missing.
    window_label : {"last", "majority", "any"}
        The label of a window: its last row's; the most frequent one; or the last that is not normal, where
        ``0`` or ``false`` is normal, or else the most frequent label of the log.

    Raises
    ------
    DataError
        If a value is none of these.

    Examples
    --------
    >>> Windowing(window="10s", stride=5).stride
    5
    >>> Windowing(window="ten")
    Traceback (most recent call last):
        ...
    tsjepa.datasets.dataset.DataError: --window 'ten': give a number of points or a duration such as 10s or 500ms
    """

    window: int | str | None = None
    stride: int | str | None = None
    max_gap: int | float | str | None = None
    resample: str | None = None
    fill: Fill = "linear"
    window_label: WindowLabel = "last"

    def __post_init__(self) -> None:
        for name, value in (("--window", self.window), ("--stride", self.stride)):
            if value is not None:
                points_or_duration(value, name, whole=True)
        for name, other in (("--max-gap", self.max_gap), ("--resample", self.resample)):
            if other is not None:
                points_or_duration(other, name)
        if self.window is None and self.stride is not None:
            raise DataError("--stride needs --window: without it each id is one series")
        for name, chosen, known in (("fill", self.fill, Fill), ("--window-label", self.window_label, WindowLabel)):
            if chosen not in get_args(known):
                raise DataError(f"{name} {chosen!r}: give one of {', '.join(get_args(known))}")


def points_or_duration(value: int | float | str, name: str, whole: bool = False) -> tuple[float | None, int | None]:
    """Tell a number of points from a duration.

    Parameters
    ----------
    value : int, float or str
        A number, a number as text, or a duration: numbers with ns, us, ms, s, min, h, d or w, as in ``1h30min``.
    name : str
        The option, for the message.
    whole : bool, default=False
        Points must be whole.

    Returns
    -------
    points : float or None
        Where it is a number.
    duration : int or None
        Nanoseconds, where it is a duration.

    Raises
    ------
    DataError
        If it is neither, or not above 0.

    Examples
    --------
    >>> points_or_duration("60", "--window"), points_or_duration("1.5ms", "--window")
    ((60.0, None), (None, 1500000))
    >>> points_or_duration("1min 30s", "--max-gap")
    (None, 90000000000)
    """
    need = f"a number of {'points' if whole else 'steps'} or a duration such as 10s or 500ms"
    if name == "--resample":  # whose step is a time
        need = "a duration such as 10s or 500ms (a number where times are plain numbers)"
    refused = DataError(f"{name} {value!r}: give {need}")
    try:
        points = float(value)
    except ValueError:
        duration = _nanoseconds(str(value))
        if duration is None:
            raise refused from None
        return None, duration
    if not 0 < points < 2**62 or (whole and points != int(points)):
        raise refused
    return points, None


def _nanoseconds(text: str) -> int | None:
    parts = re.findall(DURATION, text.strip().lower())
    if not parts or re.sub(DURATION, "", text.strip().lower()):
        return None
    nanoseconds = round(sum(Fraction(number) * UNITS[unit] for number, unit in parts))
    return nanoseconds if 0 < nanoseconds < 2**62 else None
