"""How a claim is put to the vote of a study's runs, and how numbers of groups of runs are told."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from tsjepa.evaluation.curves import final_probe, spearman
from tsjepa.evaluation.rows import BASE, Run

Outcome = Literal["confirmed", "refuted", "undecided"]

STRONG = 0.5  # rank correlation
# Arms without which there is none
FEWEST_ARMS = 3
MAJORITY = 2 / 3
# Why a correlation over arms may not be known
OVER_ARMS = "nothing varies or too few arms have a vote"


def settle(votes: Iterable[int], least: int = 3) -> Outcome:
    """Return what votes of 1, 0 and -1 decide; fewer than `least` of them decide nothing.

    Examples
    --------
    >>> settle([1, 1, 0]), settle([-1, -1, -1, 1]), settle([1, -1, 0]), settle([1, 1])
    ('confirmed', 'refuted', 'undecided', 'undecided')
    """
    votes = list(votes)
    if len(votes) < least:
        return "undecided"
    needed = MAJORITY * len(votes)
    if votes.count(1) >= needed:
        return "confirmed"
    return "refuted" if votes.count(-1) >= needed else "undecided"


def votes(values: Iterable[float], least: float = STRONG, most: float = 0.0) -> list[int]:
    """Return the votes of numbers, as of rank correlations: for a claim from `least` on, against it up to `most`.

    A correlation that is nan, since what was measured does not vary, speaks neither for nor against.

    Examples
    --------
    >>> votes([0.9, 0.3, -0.2, math.nan])
    [1, 0, -1, 0]
    """
    return [int(value >= least) - int(value <= most) for value in values]


def known(values: Iterable[float]) -> list[float]:
    """Return the numbers that are not nan.

    Examples
    --------
    >>> known([0.5, math.nan])
    [0.5]
    """
    return [value for value in values if not math.isnan(value)]


def probed(runs: Iterable[Run]) -> list[Run]:
    """Return the runs on data that have a probe: others have no vote on what claims say of one."""
    return [run for run in runs if run.probed]


def decay(run: Run) -> float:
    """Return the EMA decay of a run."""
    return run.arm.decay


def ratio(run: Run) -> float:
    """Return the mask ratio of a run."""
    return run.arm.ratio


def decay_arms(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that differ from the paper's setting in their decay alone."""
    return [run for run in runs if run.arm._replace(decay=BASE.decay) == BASE]


def at_base(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with the paper's decay."""
    return [run for run in runs if run.arm.decay == BASE.decay]


def grouped(runs: Sequence[Run], key: Callable[[Run], object]) -> list[list[Run]]:
    """Return the runs in groups of one key, in the order of their first ones."""
    groups: dict[object, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def seeds_of(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the arms of each seed on each data set, where there are enough for a rank correlation over them."""
    return [arms for arms in grouped(runs, lambda run: (run.data, run.seed)) if len(arms) >= FEWEST_ARMS]


def over_arms(group: Sequence[Run], x: Callable[[Run], float], y: Callable[[Run], float]) -> float:
    """Return the rank correlation of two numbers over the arms of a group."""
    return spearman([x(run) for run in group], [y(run) for run in group])


def separation(runs: Sequence[Run]) -> float:
    """Return the range of the arms' mean final probe in standard deviations within arms; nan if none is known."""
    arms = [[final_probe(run) for run in arm] for arm in grouped(runs, lambda run: run.arm)]
    if len(arms) < 2 or min(map(len, arms)) < 2:
        return math.nan
    means, within = [np.mean(arm) for arm in arms], math.sqrt(np.mean([np.var(arm, ddof=1) for arm in arms]))
    return float(max(means) - min(means)) / within if within > 0 else math.nan


def wider(runs: Sequence[Run], other: str = "random") -> float:
    """Return how much wider block runs spread than others of the same ratio; nan if there are not two of each."""
    spreads = {}
    for kind in ("block", other):
        curves = [[row.probe for row in run.curve[1:]] for run in runs if run.arm.masking == kind]
        spreads[kind] = float(np.std(curves, axis=0, ddof=1).mean()) if len(curves) > 1 else math.nan
    return spreads["block"] / spreads[other] if spreads[other] > 0 else math.nan


def told(rhos: Sequence[float], unknown: str = OVER_ARMS) -> str:
    """Write correlations: their median, and how many speak for and against the claim, or why none is known.

    Examples
    --------
    >>> told([0.9, 0.7, -0.2])
    '0.70 in the median of 3, 2 for and 1 against'
    >>> told([0.9, math.nan], "nothing varies")
    '0.90 in the median of 1, 1 for and 0 against, 1 neither, since nothing varies'
    >>> told([], "no run was measured")
    'not known, since no run was measured'
    """
    found, cast = known(rhos), votes(rhos)
    if not found:
        return f"not known, since {unknown}"
    rest = len(rhos) - len(found)
    neither = f", {rest} neither, since {unknown}" if rest else ""
    sides = f"{cast.count(1)} for and {cast.count(-1)} against{neither}"
    return f"{np.median(found):.2f} in the median of {len(found)}, {sides}"


def listed(values: Sequence[float]) -> str:
    """Write numbers one after another, those that are known."""
    return ", ".join(f"{value:.2f}" for value in known(values))


def mean(values: Iterable[float], form: str) -> str:
    """Write the mean of numbers, a dash where it is not known.

    Examples
    --------
    >>> mean([0.5, 1.0], ".3f"), mean([math.nan], ".3f")
    ('0.750', '-')
    """
    found = float(np.mean(list(values)))
    return "-" if math.isnan(found) else f"{found:{form}}"


def by_arm(runs: Sequence[Run], x: Callable[[Run], float], number: Callable[[Run], float], form: str) -> str:
    """Write a number's mean over seeds against what the arms differ in, one data set after another."""
    return "; ".join(by_value(group, x, number, form) for group in grouped(runs, lambda run: run.data)) or "not known"


def by_value(runs: Sequence[Run], x: Callable[[Run], float], number: Callable[[Run], float], form: str) -> str:
    """Write the same for one data set."""
    arms = sorted(grouped(runs, x), key=lambda arm: x(arm[0]))
    means = [f"{x(arm[0]):g}: {mean(map(number, arm), form)}" for arm in arms]
    return f"{runs[0].data} {', '.join(means)}"
