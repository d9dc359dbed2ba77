"""From which score on to alarm: as often falsely as a budget allows, by scores of normal data alone.

What a budget counts are alarms, and not rows: scores that follow each other closely belong to one alarm. Where normal
data are ten times as long as the interval between two allowed alarms, their peaks are counted. Where they are shorter
the tail of their peaks is extrapolated: peaks over a high threshold follow a generalised Pareto law (Pickands 1975,
Ann. Stat. 3, 119; Coles 2001, An Introduction to Statistical Modeling of Extreme Values, chapters 4 and 5).
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.stats import gamma  # type: ignore[import-untyped]

from tsjepa.events import GAP, Alarms

# Normal data longer than this many intervals are counted, shorter ones extrapolated, but nowhere below what counting
# gives for the alarms that are allowed, or for a few: one or two more than expected are chance, or faults without label
ENOUGH, FEW = 10, 3
# Share of normal scores above which peaks begin, and as many of them as are enough: where there are more they begin
# higher, since the higher they begin the more their law is Pareto's
BODY, ENOUGH_PEAKS = 0.95, 100
# Scores that a threshold can be told from at all
LEAST = 20
# Shapes from -0.5 to 0.5, none of them 0, and numbers of scales and rates, that are weighed; the likelihood, beside the
# greatest, below which no scale is weighed
SHAPES, SCALES, RATES, HARDLY = (np.arange(50) + 0.5) / 50 - 0.5, 150, 15, 1e-6
# Quantiles of levels by weight: an interval of 95 %, and what is as likely too high as too low
QUANTILES = (0.025, 0.5, 0.975)
SECONDS = {"s": 1, "min": 60, "h": 3600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400, "year": 365 * 86_400}
BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/|per)\s*(\d+(?:\.\d+)?)?\s*([a-z]*)\s*")


class Budget(NamedTuple):
    """So many false alarms in an interval: of time in seconds, or of rows.

    Examples
    --------
    >>> Budget.parse("2/day")
    Budget(alarms=2.0, seconds=86400.0, rows=None, text='2/day')
    >>> Budget.parse("1/10000").interval(step=None)
    10000.0
    """

    alarms: float
    seconds: float | None
    rows: float | None
    text: str

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read ``1/day``, ``3/8h`` or, in rows, ``1/10000``.

        Raises
        ------
        ValueError
            If the text is none of these.
        """
        found = BUDGET.fullmatch(text.lower())
        if found is not None:
            alarms, count, unit = float(found[1]), float(found[2] or 1), found[3].removesuffix("s") or found[3]
            if alarms > 0 and count > 0 and unit in SECONDS:
                return cls(alarms, count * SECONDS[unit], None, text)
            if alarms > 0 and count > 1 and not unit:
                return cls(alarms, None, count, text)
        raise ValueError(
            f"{text!r} is no budget of false alarms: give a number per s, min, h, day, week, month or year, as in "
            "1/day, or per rows, as in 1/10000."
        )

    def interval(self, step: float | None) -> float:
        """Return the rows between two allowed alarms; `step` is the time between rows in seconds.

        Raises
        ------
        ValueError
            If the budget is in time, and rows have none.
        """
        if self.rows is not None:
            return self.rows / self.alarms
        if step is None:
            raise ValueError(
                f"false alarms of {self.text} need times with a unit, and this log has none: give a budget in rows, "
                "as in 1/10000."
            )
        assert self.seconds is not None
        return float(Fraction(self.seconds) / Fraction(step) / Fraction(self.alarms))


class Threshold(NamedTuple):
    """A threshold and what it rests on.

    Attributes
    ----------
    value : float
        Scores above it are alarms.
    low, high : float or None
        Interval that the level lies in with a probability of 95 % where the tail was extrapolated, None where alarms
        were counted.
    rows : int
        Normal rows with a score.
    interval : float
        Rows between two allowed alarms.
    """

    value: float
    low: float | None
    high: float | None
    rows: int
    interval: float

    @property
    def extrapolated(self) -> bool:
        """Whether normal data are too short to count alarms in."""
        return self.low is not None

    def sentence(self) -> str:
        """Say what the threshold rests on."""
        if not self.extrapolated:
            return f"threshold {self.value:.3f}: counted in {self.span()}"
        return (
            f"threshold {self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}): extrapolated, peaks over "
            f"threshold, from {self.span()}"
        )

    def span(self) -> str:
        """Write how long normal data are beside the interval of the budget."""
        return f"{self.rows} normal rows, {self.rows / self.interval:.3g} times the interval of the budget"


def fit_threshold(
    scores: Sequence[NDArray[Any]], interval: float, patch_length: int, more: str = "give more normal data"
) -> Threshold:
    """Find the threshold that normal data are over once an interval.

    Parameters
    ----------
    scores : sequence of array of shape (n_rows,)
        Scores of normal stretches, NaN where nothing is known.
    interval : float
        Rows between two allowed alarms.
    patch_length : int
        Rows that share a score.
    more : str
        What to do where there are too few rows, for the message.

    Returns
    -------
    Threshold

    Raises
    ------
    ValueError
        If too few normal rows have a score.

    Examples
    --------
    >>> scores = np.random.default_rng(0).normal(size=100_000)
    >>> threshold = fit_threshold([scores], 10_000, 1)
    >>> threshold.extrapolated, int((scores > threshold.value).sum())
    (False, 10)
    >>> fit_threshold([scores], 1e6, 1).extrapolated
    True
    """
    scores = [np.where(np.isfinite(x), x, -np.inf) for x in scores]  # what is not known is over no level
    known = np.concatenate([x[x > -np.inf] for x in scores]).astype(np.float64)
    if len(known) < LEAST * patch_length:
        raise ValueError(
            f"{len(known)} normal rows have a score, and a threshold needs {LEAST * patch_length}: {more}."
        )
    body = float(np.quantile(known, BODY))
    gap, allowed = GAP * patch_length, len(known) / interval
    peaks = peaks_over(scores, body, gap)
    # where there are fewer peaks than allowed alarms, as many patches; a stricter budget is nowhere below that
    most = max(allowed, FEW)
    least = float(np.quantile(known, max(1 - patch_length * max(most, len(peaks)) / len(known), 0.0)))
    counted = Threshold(lowest_level(scores, most, gap, least), None, None, len(known), interval)
    if allowed >= min(ENOUGH, len(peaks)):  # if all peaks are allowed, there is nothing beyond them to tell
        return counted
    lower = peaks[peaks < peaks[:ENOUGH_PEAKS].min()]
    if len(lower):
        body = float(lower[0])
        peaks = peaks_over(scores, body, gap)
    low, value, high = (extrapolate(peaks - body, len(known), interval, gap + patch_length) + body).tolist()
    # peaks of scores that wander are joined at a low level and part at a higher one, where counting finds them
    return counted._replace(value=max(value, counted.value), low=low, high=max(high, counted.value))


def lowest_level(scores: Sequence[NDArray[Any]], allowed: float, gap: int, least: float) -> float:
    """Return the lowest level, but no lower than `least`, from which on no level gives more alarms than are allowed.

    All levels above count, for a higher one may give more alarms than a lower one: it cuts events into several. No
    score may be NaN; one that is not known is -inf.

    Examples
    --------
    >>> lowest_level([np.array([1.0, 5.0, 2.0, 3.0, 1.0])], allowed=1, gap=0, least=1.0)
    3.0
    """
    first, before = (np.sort(np.concatenate(part)) for part in zip(*(beginnings(x, gap) for x in scores), strict=True))
    levels = first[first > least]
    alarms = np.searchsorted(before, levels) - np.searchsorted(first, levels)  # just below each level
    exceeded = levels[alarms > allowed]
    return float(exceeded[-1]) if len(exceeded) else least


def beginnings(score: NDArray[Any], gap: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the scores of rows that begin alarms, and the highest ones of the rows that these would be joined with.

    An alarm begins at such a row at each level that is below the one and not below the other.
    """
    before = sliding_window_view(np.concatenate([np.full(gap + 1, -np.inf), score]), gap + 1)[:-1].max(1)
    rising = score > before
    return score[rising], before[rising]


def peaks_over(scores: Sequence[NDArray[Any]], level: float, gap: int) -> NDArray[np.float64]:
    """Return the highest score of each alarm that a threshold at `level` would give, the highest first."""
    found = []
    for x in scores:
        alarms = Alarms(level, gap)
        alarms.push(x, np.empty((0, len(x)), np.float32))
        found += [event.score for event in alarms.take(last=True)]
    return np.sort(np.array(found, np.float64))[::-1]


def extrapolate(excess: NDArray[np.float64], rows: int, interval: float, near: int) -> NDArray[np.float64]:
    """Return the `QUANTILES` of how far the level that peaks are over once an interval is above where they begin.

    Each shape, scale and rate of peaks gives such a level (Coles 2001, section 4.3.3), which is weighed by how likely
    they make these excesses; before, all shapes, orders of scales and of rates are equally likely. The level in the
    middle is to be taken: the one of greatest likelihood is mostly too low, for it is certain of a shape that few peaks
    leave open.

    Peaks of different causes are one where they chance to be within `near` rows, and then small ones are missing.

    Examples
    --------
    >>> excess = np.random.default_rng(0).exponential(size=50)
    >>> extrapolate(excess, rows=1000, interval=1000, near=5).round(1)
    array([3.3, 4.7, 8.7])
    """
    count = len(excess)
    alone = float(np.exp(-near * count / rows))
    # one peak far out moves the mean to where no scale is likely, and many that are hardly over the body the median
    middle, mean = float(np.median(excess)), float(excess.mean())
    scales = np.geomspace(HARDLY * min(middle, mean), mean / HARDLY, SCALES)
    step = scales[1] / scales[0]
    likely = scales[likelihoods(excess, scales, alone).max(0) > np.log(HARDLY)]
    scales = np.geomspace(likely[0] / step, likely[-1] * step, SCALES)
    weights = np.exp(likelihoods(excess, scales, alone))
    rates = gamma.ppf((np.arange(RATES) + 0.5) / RATES, count) / rows / alone
    times = np.log(np.maximum(rates * interval, 1.0))
    reach = np.expm1(SHAPES[:, None] * times) / SHAPES[:, None]
    levels = (scales[:, None] * reach[:, None]).ravel()
    order = levels.argsort()
    share = np.repeat(weights, RATES)[order].cumsum()
    return np.interp(QUANTILES, share / share[-1], levels[order])


def likelihoods(excess: NDArray[np.float64], scales: NDArray[np.float64], alone: float) -> NDArray[np.float64]:
    """Return the log-likelihood of each shape and scale, that of the likeliest taken as 0."""
    found = np.array([pareto_likelihood(excess, shape, scales, alone) for shape in SHAPES])
    return found - found.max()


def pareto_likelihood(
    excess: NDArray[np.float64], shape: float, scales: NDArray[np.float64], alone: float
) -> NDArray[np.float64]:
    """Return the log-likelihood of excesses by generalised Pareto laws of a shape, one a scale.

    An excess is the highest of peaks that are one. If a share `alone` of peaks is not followed closely by another, it
    is over a level with probability p / (alone + (1 - alone) p), where a single peak is with probability p.

    Examples
    --------
    >>> pareto_likelihood(np.array([0.5, 1.0, 3.0]), 0.5, np.array([1.0, 2.0]), alone=1.0).round(3)
    array([-4.635, -4.781])
    """
    part = excess[:, None] / scales
    with np.errstate(divide="ignore"):  # a bounded law has no excess beyond its end
        over = np.log(np.maximum(1 + shape * part, 0)) / -shape
    found: NDArray[np.float64] = ((1 + shape) * over - 2 * np.log(alone + (1 - alone) * np.exp(over))).sum(0)
    return found + len(excess) * np.log(alone / scales)
