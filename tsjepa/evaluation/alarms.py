"""How good alarms are beside labels, row by row, as the SKAB benchmark counts them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class AlarmScore(NamedTuple):
    """F1, false-alarm rate and missed-alarm rate; None where they are 0 / 0.

    Attributes
    ----------
    f1 : float or None
        Two times the hits over two times the hits, misses and false alarms.
    far : float or None
        Share of the normal rows that are alarms.
    mar : float or None
        Share of the abnormal rows that are none.
    """

    f1: float | None
    far: float | None
    mar: float | None


def score_alarms(alarm: NDArray[np.bool_], abnormal: NDArray[Any]) -> AlarmScore:
    """Compare alarms with labels, over all rows of all runs together.

    Parameters
    ----------
    alarm : bool array of shape (n_rows,)
    abnormal : array of shape (n_rows,)
        1 or 0; NaN for a row without a label, which does not count.

    Returns
    -------
    AlarmScore
        As the Skoltech Anomaly Benchmark defines them (Katser and Kozitsin 2020, doi 10.34740/KAGGLE/DSV/1693952).

    Examples
    --------
    >>> score_alarms(np.array([True, True, False, False]), np.array([1, 0, 1, 0]))
    AlarmScore(f1=0.5, far=0.5, mar=0.5)
    """
    known = ~np.isnan(np.asarray(abnormal, np.float64))
    alarm, fault = alarm[known], abnormal[known] == 1
    hits, misses, false = (int(x.sum()) for x in (alarm & fault, ~alarm & fault, alarm & ~fault))
    return AlarmScore(
        ratio(2 * hits, 2 * hits + misses + false), ratio(false, int((~fault).sum())), ratio(misses, hits + misses)
    )


def ratio(part: int, whole: int) -> float | None:
    """Return a share, None of nothing."""
    return part / whole if whole else None
