"""Numbers out of the curves of runs: when one was in the collapse phase, and how series of numbers agree."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from tsjepa.evaluation.rows import Run
from tsjepa.history import EpochDiagnostics, fallen, phase

# How far the probe has to be below its accuracy at initialisation: less is noise, of 577 series 0.01 is six
PROBE_MARGIN = 0.01

Inside = Callable[[Run], list[bool]]


def by_probe(run: Run) -> list[bool]:
    """Tell for each measurement whether the loss has fallen while the probe is below its accuracy at initialisation.

    This is the collapse phase as Section 4.1 of Ennadir et al. 2026 describes it: "the reconstruction objective
    improves, yet the learned representations perform no better than random features". Fallen is as in
    `tsjepa.history.fallen`, so that nothing is said of initialisation and of the first measurement.
    """
    trained, least = run.curve[1:], run.curve[0].probe - PROBE_MARGIN
    lower = fallen([row.loss for row in trained])
    return [False, *(below and row.probe < least for row, below in zip(trained, lower, strict=True))]


def label_free(run: Run) -> list[bool]:
    """Tell the same from the effective rank and the cross-series share, see `tsjepa.history.phase`."""
    return phase(
        [
            EpochDiagnostics(
                row.step, row.loss, effective_rank=row.effective_rank, cross_series_share=row.cross_series_share
            )
            for row in run.curve
        ]
    )


def in_phase(run: Run) -> list[bool]:
    """Tell the phase by the probe, and without labels by the label-free measures."""
    return by_probe(run) if run.probed else label_free(run)


def phase_steps(run: Run, inside: Inside = in_phase) -> int:
    """Return how many steps a run spent in the phase; each measurement stands for the steps since the last one."""
    steps = [row.step for row in run.curve]
    return sum(now - last for (last, now), flag in zip(pairwise(steps), inside(run)[1:], strict=True) if flag)


def escape_step(run: Run) -> int:
    """Return the step at which the phase was left for good: 0 without a phase, the run's end if it was not left."""
    flags = in_phase(run)
    if not any(flags):
        return 0
    last = len(flags) - 1 - flags[::-1].index(True)
    return run.curve[min(last + 1, len(flags) - 1)].step


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the rank correlation over the pairs that are finite; nan for less than three, or constants.

    Examples
    --------
    >>> spearman([1, 2, 3, 4], [1, 4, 9, 16]), spearman([1, 2, 3], [5, 5, 5])
    (1.0, nan)
    """
    pairs = np.array([x, y], float)
    pairs = pairs[:, np.isfinite(pairs).all(0)]
    if pairs.shape[1] < 3 or (pairs.min(1) == pairs.max(1)).any():
        return math.nan
    return round(float(spearmanr(*pairs).statistic), 12)


def final_probe(run: Run) -> float:
    """Return the accuracy at the end of a run."""
    return run.curve[-1].probe


def mean_gap(run: Run, share: float = 1.0) -> float:
    """Return the mean encoder-EMA distance over the first share of a run; at initialisation it is zero by definition.

    At least one measurement counts.
    """
    rows = run.curve[1:]
    return float(np.mean([row.gap for row in rows[: max(1, round(share * len(rows)))]]))
