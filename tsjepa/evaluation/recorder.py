"""One run of a collapse study, measured at its initialisation, every few epochs and at its end."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import Series
from tsjepa.callbacks import Progress
from tsjepa.datasets.labels import has_label
from tsjepa.embedding import embed, some_cases
from tsjepa.evaluation.digest import content_digest
from tsjepa.evaluation.rows import Arm, Measurement
from tsjepa.monitor import Monitor, measuring
from tsjepa.objective import JEPA
from tsjepa.probe import cross_validate, draw_labels
from tsjepa.sections import ProbeConfig

# The paper probes the last level, mean over tokens, as the recipe does
PROBE = ProbeConfig(levels="last", pool=("mean",))
# Series that the probe looks at: cross-validated accuracy has an error of about 0.01 then, for little time
PROBED = 1000


class Subject(NamedTuple):
    """A data set's training part; labels serve the probe alone, which reads the series that have one."""

    name: str
    series: Series
    labels: NDArray[Any] | None


class Schedule(NamedTuple):
    """A run's length in epochs of one data set, and every how many epochs it is measured."""

    epochs: int
    every: int
    epoch_steps: int

    @property
    def steps(self) -> int:
        """Length in steps."""
        return self.epochs * self.epoch_steps

    @property
    def first(self) -> int:
        """Steps before the first measurement of training."""
        return min(self.every * self.epoch_steps, self.steps)


class Job(NamedTuple):
    """A run to be done."""

    subject: Subject
    arm: Arm
    seed: int
    schedule: Schedule


class Recorder:
    """Measures a run at its initialisation, every few epochs and at its end."""

    def __init__(self, model: JEPA, job: Job) -> None:
        self.model, self.job = model, job
        self.monitor = Monitor(model, job.subject.series)
        self.probed, self.digest = choose(job.subject), data_digest(job.subject)
        self.rows: list[Measurement] = []
        self.losses: list[float] = []
        self.measure(0)

    def epoch(self, progress: Progress) -> None:
        """Take note of an epoch's loss, and measure where it is time."""
        self.losses.append(progress.loss)
        schedule = self.job.schedule
        if progress.epoch % schedule.every == 0 or progress.epoch == schedule.epochs:
            self.measure(progress.epoch)

    def measure(self, epoch: int) -> None:
        """Add a row."""
        loss = float(np.mean(self.losses)) if self.losses else math.nan
        self.losses = []
        self.monitor.measure(epoch, loss)
        found, (subject, arm, seed, schedule) = self.monitor.history[-1], self.job
        self.rows.append(
            Measurement(
                *(subject.name, *arm, seed, epoch, epoch * schedule.epoch_steps, loss),
                probe=self.probe(),
                gap=found.encoder_target_gap,
                relative_gap=found.relative_gap,
                effective_rank=found.effective_rank,
                cross_series_share=found.cross_series_share,
                data_digest=self.digest,
            )
        )

    def probe(self) -> float:
        """Return the cross-validated accuracy; nan where there are no two classes of two series to tell apart."""
        if self.probed.labels is None:
            return math.nan
        device = next(self.model.parameters()).device
        with measuring(self.model):
            Z = embed(self.model.encoder, self.probed.series, PROBE, device)
        accuracy = cross_validate(Z, self.probed.labels)
        return math.nan if accuracy is None else accuracy


def data_digest(subject: Subject) -> str:
    """Return a digest of the series and labels that a run is trained and probed on."""
    return content_digest(*subject.series, subject.labels)


def choose(subject: Subject) -> Subject:
    """Return the part of the training series that the probe looks at, drawn by class, the same for all runs."""
    if subject.labels is None:
        return subject
    chosen = np.flatnonzero(has_label(subject.labels))
    if len(chosen) > PROBED:
        share = (PROBED + 0.5) / len(chosen)  # rounds down to so many
        drawn = draw_labels(subject.labels[chosen], share, seed=0)
        chosen = chosen[drawn[some_cases(len(drawn), PROBED)]]  # there may be more classes than that
    return Subject(subject.name, subject.series.take(chosen), subject.labels[chosen])
