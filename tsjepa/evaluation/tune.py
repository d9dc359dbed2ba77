"""The regularizer's weight by bisection, without labels.

Too small a weight lets latents collapse, and too large a one drowns the prediction: what predictions carry of their own
series falls. So what is looked for is the smallest weight that is enough, and enough means two things of the end of a
short run: its verdict is no collapse that runs do not come back from, and the normalised SIGReg score of its latents
(0: standard normal, 1: collapsed) is below a threshold. The score falls as the weight grows, which is what bisection
needs; on FordA over weights of 0.0001, 0.001, 0.01, 0.05, 0.1 and 1, six epochs each, 0.60, 0.20, 0.15, 0.08, 0.05,
0.02 (recipe tiny) and 0.42, 0.25, 0.14, 0.08, 0.06, 0.05 (ts-jepa-sigreg). A verdict of `collapse-phase` is allowed: a
short run may end inside of one with a good weight.

LeJEPA (Balestriero and LeCun 2025, arXiv 2511.08544) has this weight as its only number to tune; a search in O(log n)
runs for it is proposed in LeWorldModel (arXiv 2603.19312).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from tsjepa.arrays import SeriesSource
from tsjepa.build import build_model
from tsjepa.checkpoint import Header
from tsjepa.config import Config, ConfigError
from tsjepa.monitor import Monitor
from tsjepa.training import Options, fit
from tsjepa.verdict import HOPELESS, State

# Between the scores of weights that end in a collapse, 0.14 and more, and those that predict best, 0.08
THRESHOLD = 0.1
# The two ends, and at least one weight between them
LEAST_RUNS = 3


class TuneError(ValueError):
    """A search that cannot be made or found nothing, said in one sentence."""


class Trial(NamedTuple):
    """A run of the search: its weight, and score, verdict and mean loss of its last epoch."""

    weight: float
    score: float
    verdict: State
    loss: float

    @property
    def enough(self) -> bool:
        """Whether the weight keeps latents from collapsing."""
        return self.verdict not in HOPELESS and self.score < THRESHOLD


class Tuned(NamedTuple):
    """The smallest weight that was enough, and all runs in the order in which they were made."""

    weight: float
    trials: list[Trial]


def bisect_weight(evaluate: Callable[[float], Trial], low: float = 1e-4, high: float = 1.0, runs: int = 6) -> Tuned:
    """Find the smallest weight that is enough, by bisection on its logarithm.

    Of n weights in geometric progression it takes 2 + log2(n) runs: `runs` of them leave a factor of
    ``(high / low) ** (0.5 ** (runs - 2))`` between a weight that is enough and one that is not.

    Parameters
    ----------
    evaluate : callable
        Makes a run with a weight.
    low, high : float
        Ends of the search, 0 < low < high. Where `low` is enough already, it is the result, after two runs.
    runs : int, default=6
        At most this many runs, the ends included.

    Returns
    -------
    Tuned

    Raises
    ------
    TuneError
        If the ends or the number of runs make no search, or `high` is not enough, so that no weight may be.

    Examples
    --------
    >>> found = bisect_weight(lambda w: Trial(w, 0.01 / w, "healthy", 1.0), runs=12)
    >>> round(found.weight, 3), len(found.trials)
    (0.1, 12)
    """
    check_search(low, high, runs)
    trials = [evaluate(high)]
    if not trials[0].enough:
        raise TuneError(not_enough(trials[0]))
    trials.append(evaluate(low))
    best = low if trials[1].enough else high
    while best > low and len(trials) < runs:
        middle = evaluate(math.sqrt(low * best))
        trials.append(middle)
        low, best = (low, middle.weight) if middle.enough else (middle.weight, best)
    return Tuned(best, trials)


def check_search(low: float, high: float, runs: int) -> None:
    """Refuse ends and numbers of runs that make no search.

    Raises
    ------
    TuneError
        If they do not.
    """
    if not 0 < low < high < math.inf:
        raise TuneError(f"the search goes from a low weight above 0 to a higher one, but got {low:g} and {high:g}.")
    if runs < LEAST_RUNS:
        raise TuneError(f"a bisection takes {LEAST_RUNS} runs or more, the two ends included, but got {runs}.")


def not_enough(trial: Trial) -> str:
    """Say why there is nothing to find."""
    return (
        f"even a weight of {trial.weight:g} is not enough ({trial.verdict}, score {trial.score:.3f} of {THRESHOLD} at "
        "most), so there is nothing to bisect: raise --high, or train for longer with --epochs."
    )


def check_tunable(config: Config) -> None:
    """Refuse a configuration whose regularizer has no weight to look for by the score.

    Raises
    ------
    ConfigError
        If its regularizer is not SIGReg, whose statistic the score is, or its target is one that no weight changes.

    Examples
    --------
    >>> from tsjepa.config import load_config
    >>> check_tunable(load_config("tiny"))
    """
    if config.regularizer.kind != "sigreg":
        raise ConfigError(
            f"the search for a weight goes by the score of SIGReg, but regularizer.kind is {config.regularizer.kind}: "
            "choose a recipe with SIGReg, such as ts-jepa-sigreg."
        )
    still = {"frozen": "a frozen teacher", "values": "a target of values"}.get(config.target.kind)
    if still is not None:
        raise ConfigError(
            f"{still} cannot collapse, so there is no weight to look for: set target.kind to self or ema, or choose a "
            "recipe with one of them, such as ts-jepa-sigreg."
        )


def try_weight(
    config: Config,
    series: SeriesSource,
    weight: float,
    device: str = "cpu",
    report: Callable[[int], None] | None = None,
) -> Trial:
    """Train a model with a weight from its initialisation, and say how it ended.

    Parameters
    ----------
    config : Config
        Resolved.
    series : Series
    weight : float
    device : str, default="cpu"
    report : callable, optional
        Called with the number of each finished epoch.

    Raises
    ------
    TrainingError
        If a loss or the latents are not finite.
    """
    section = config.regularizer.model_copy(update={"weight": weight})
    config = config.model_copy(update={"regularizer": section})
    model = build_model(config, series.n_channels)
    header = Header(config, config.data, series.n_channels, series.n_timepoints)
    tell = None if report is None else lambda progress: report(progress.epoch)
    result = fit(model, series, header, Options(device=device, report=tell))
    monitor = Monitor(model, series)
    monitor.measure(result.epochs)
    assert result.verdict is not None  # the run begins with its initialisation
    return Trial(weight, monitor.history[-1].sigreg_score, result.verdict.verdict, result.loss)
