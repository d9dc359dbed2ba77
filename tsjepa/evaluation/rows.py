"""The table of a collapse study: one row a measurement, grouped into runs."""

import math
from collections.abc import Iterable
from typing import NamedTuple


class StudyError(ValueError):
    """A study that cannot be carried out or gone on with, said in one sentence."""


class Arm(NamedTuple):
    """What differs between the runs of a study: the EMA decay, the kind of mask and its ratio.

    Examples
    --------
    >>> str(Arm(0.998, "block", 0.7))
    'decay 0.998, block 0.7'
    """

    decay: float
    masking: str = "random"
    ratio: float = 0.7

    def __str__(self) -> str:
        return f"decay {self.decay:g}, {self.masking} {self.ratio:g}"


# The paper's own setting
BASE = Arm(0.998)


class Measurement(NamedTuple):
    """A row of `study.csv`; what was not measured is nan.

    Attributes
    ----------
    data, decay, masking, ratio, seed
        The run.
    epoch, step : int
        When; 0 is the initialisation.
    loss : float
        Mean over the epochs since the last measurement.
    probe : float
        Accuracy on the last level by cross-validation inside the training part.
    gap, relative_gap : float
        Encoder-EMA distance (Ennadir et al. 2026, eq. 3, l2), and relative to the spread of the encoder's tokens.
    effective_rank : float
        Of the last level, centred.
    cross_series_share : float
        Of predictions against targets.
    data_digest : str
        Digest of series and labels; empty in tables of before it was kept.
    """

    data: str
    decay: float
    masking: str
    ratio: float
    seed: int
    epoch: int
    step: int
    loss: float
    probe: float
    gap: float
    relative_gap: float
    effective_rank: float
    cross_series_share: float
    data_digest: str = ""


class Run(NamedTuple):
    """The measurements of one run in the order of training, the initialisation first."""

    data: str
    arm: Arm
    seed: int
    curve: tuple[Measurement, ...]

    @property
    def steps(self) -> int:
        """How long it was."""
        return self.curve[-1].step

    @property
    def probed(self) -> bool:
        """Whether there was a probe, for which there have to be classes to tell apart."""
        return not math.isnan(self.curve[0].probe)

    @property
    def decided(self) -> bool:
        """Whether it was as long as the memory of its EMA, 1 / (1 - decay) steps; a shorter run shows nothing of it."""
        # rounded: 1 / (1 - 0.9) is a little more than 10
        return round(self.steps * (1 - self.arm.decay), 9) >= 1


def runs_of(rows: Iterable[Measurement]) -> list[Run]:
    """Return the runs in the order in which they began.

    Examples
    --------
    >>> start = Measurement("FordA", 0.998, "random", 0.7, 0, 0, 0, *[float("nan")] * 6)
    >>> [run.steps for run in runs_of([start, start._replace(epoch=1, step=18)])]
    [18]
    """
    curves: dict[tuple[str, Arm, int], list[Measurement]] = {}
    for row in rows:
        curves.setdefault((row.data, Arm(row.decay, row.masking, row.ratio), row.seed), []).append(row)
    return [Run(*key, tuple(sorted(curve, key=lambda row: row.step))) for key, curve in curves.items()]
