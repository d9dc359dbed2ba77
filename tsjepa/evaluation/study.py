"""The experiments of the early-collapse paper on sensor data: one training run after another, measured as it goes.

After Ennadir, Zólyomi and Smirnov 2026, "Understanding Early Collapse in Predictive World-Model Pretraining": loss,
accuracy of a probe and the distance between encoder and EMA target over training (its Figures 3 and 4), over EMA decays
(Figure 5), and over masks (Section 4.3). Runs are counted in steps, and measured at the ends of epochs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import Series
from tsjepa.batches import Batches, ShuffledBatches
from tsjepa.build import build_model, configure, resolve
from tsjepa.callbacks import Progress
from tsjepa.checkpoint import Header
from tsjepa.config import Config, ProbeConfig
from tsjepa.embedding import embed
from tsjepa.evaluation.rows import Arm, Measurement, Run, StudyError, runs_of
from tsjepa.monitor import Monitor, measuring
from tsjepa.objective import JEPA
from tsjepa.probe import cross_validate

RECIPE = "ts-jepa-paper"
BASE = Arm(0.998)
DECAYS = tuple(Arm(decay) for decay in (0.9, 0.99, 0.996, BASE.decay, 0.999, 0.9999))
MASKS = (
    *(Arm(BASE.decay, "random", ratio) for ratio in (0.3, 0.5, 0.9)),
    *(Arm(BASE.decay, "block", ratio) for ratio in (0.3, 0.5, 0.7, 0.9)),
    Arm(BASE.decay, "bernoulli", BASE.ratio),
)
QUICK_ARMS = (
    *(Arm(0.9), Arm(0.99), BASE),
    *(Arm(BASE.decay, "random", 0.3), Arm(BASE.decay, "random", 0.9), Arm(BASE.decay, "block", 0.7)),
)
# The paper probes the last level, mean over tokens, as the recipe does
PROBE = ProbeConfig(levels="last", pool=("mean",))
# Series that the probe looks at: cross-validated accuracy has an error of about 0.01 then, for little time
PROBED = 1000


class Settings(NamedTuple):
    """How long runs are, how often they are measured, and which there are.

    Examples
    --------
    >>> FULL.steps, len(FULL.arms), QUICK.steps, len(QUICK.arms)
    (3600, 14, 600, 6)
    """

    steps: int
    interval: int
    seeds: int
    arms: tuple[Arm, ...]


FULL = Settings(3600, 100, 3, (*DECAYS, *MASKS))
QUICK = Settings(600, 50, 1, QUICK_ARMS)


class Subject(NamedTuple):
    """A data set's training part; labels serve the probe alone."""

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


class Job(NamedTuple):
    """A run to be done."""

    subject: Subject
    arm: Arm
    seed: int
    schedule: Schedule


def make_schedule(subject: Subject, settings: Settings) -> Schedule:
    """Turn steps into epochs of a data set, at least as many.

    Examples
    --------
    >>> FORDA = Subject("FordA", Series(np.ones((577, 1, 500), np.float32)), None)
    >>> make_schedule(FORDA, FULL)
    Schedule(epochs=200, every=6, epoch_steps=18)
    """
    size = configure(RECIPE).train.batch_size
    epoch_steps = len(ShuffledBatches(len(Batches(subject.series)), size, seed=0))
    epochs = -(-settings.steps // epoch_steps)
    return Schedule(epochs, max(1, round(settings.interval / epoch_steps)), epoch_steps)


def plan(subjects: Sequence[Subject], settings: Settings, rows: Sequence[Measurement] = ()) -> list[Job]:
    """Return the runs that are left to do, seed by seed, so that a stopped study has all arms of its first seeds.

    Parameters
    ----------
    subjects : sequence of Subject
    settings : Settings
    rows : sequence of Measurement
        Of the runs that are finished.

    Raises
    ------
    StudyError
        If two data sets have one name, or a finished run was of another length.
    """
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        raise StudyError(f"two data sets have the same name in {', '.join(names)}: give each of them once.")
    schedules = {subject.name: make_schedule(subject, settings) for subject in subjects}
    finished = runs_of(rows)
    for run in finished:
        check_length(run, schedules)
    done = {run[:3] for run in finished}
    return [
        Job(subject, arm, seed, schedules[subject.name])
        for seed in range(settings.seeds)
        for subject in subjects
        for arm in settings.arms
        if (subject.name, arm, seed) not in done
    ]


def check_length(run: Run, schedules: dict[str, Schedule]) -> None:
    """Refuse to mix runs of different lengths on one data set: each has a learning-rate schedule of its own."""
    schedule = schedules.get(run.data)
    if schedule is not None and run.steps != schedule.steps:
        raise StudyError(
            f"study.csv holds runs of {run.steps} steps on {run.data}, but those now asked for have {schedule.steps}: "
            "name another folder, or ask for runs of the same length."
        )


def carry_out(
    jobs: Sequence[Job], device: str = "cpu", report: Callable[[int], None] | None = None
) -> Iterator[list[Measurement]]:
    """Train one run after another and yield its rows when it is finished.

    Parameters
    ----------
    jobs : sequence of Job
        From `plan`.
    device : str, default="cpu"
    report : callable, optional
        Called with the number of steps done, after each epoch.

    Raises
    ------
    TrainingError
        If a loss is not finite.
    """
    before = 0
    for job in jobs:

        def tell(progress: Progress, before: int = before, job: Job = job) -> None:
            if report is not None:
                report(before + progress.epoch * job.schedule.epoch_steps)

        yield train(job, device, tell)
        before += job.schedule.steps


def arm_config(job: Job) -> Config:
    """Return the configuration of a run."""
    arm = job.arm
    settings = {
        "target.momentum": arm.decay,
        "mask.kind": arm.masking,
        "mask.ratio": arm.ratio,
        "train.epochs": job.schedule.epochs,
        "train.seed": job.seed,
    }
    config = configure(RECIPE, None, [f"{key}={value}" for key, value in settings.items()])
    return resolve(config, job.subject.series.n_timepoints)


def train(job: Job, device: str, tell: Callable[[Progress], None]) -> list[Measurement]:
    """Train one run and return its rows."""
    from tsjepa.training import Options, fit  # lightning, which takes seconds to import

    config, series = arm_config(job), job.subject.series
    recorder = Recorder(build_model(config, series.n_channels), job)

    def report(progress: Progress) -> None:
        recorder.epoch(progress)
        tell(progress)

    header = Header(config, job.subject.name, series.n_channels, series.n_timepoints)
    fit(recorder.model, series, header, Options(device=device, report=report, diagnose=False))
    return recorder.rows


class Recorder:
    """Measures a run at its initialisation, every few epochs and at its end."""

    def __init__(self, model: JEPA, job: Job) -> None:
        self.model, self.job = model, job
        self.monitor = Monitor(model, job.subject.series)
        self.probed = choose(job.subject)
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
            )
        )

    def probe(self) -> float:
        """Return the cross-validated accuracy; nan where there are no classes to tell apart."""
        if self.probed.labels is None:
            return math.nan
        device = next(self.model.parameters()).device
        with measuring(self.model):
            Z = embed(self.model.encoder, self.probed.series, PROBE, device)
        accuracy = cross_validate(Z, self.probed.labels)
        return math.nan if accuracy is None else accuracy


def choose(subject: Subject) -> Subject:
    """Return the part of the training series that the probe looks at, the same for all runs."""
    if subject.labels is None or subject.series.n_cases <= PROBED:
        return subject
    chosen = np.sort(np.random.default_rng(0).permutation(subject.series.n_cases)[:PROBED])
    values, valid = subject.series
    series = Series(values[chosen], None if valid is None else valid[chosen])
    return Subject(subject.name, series, subject.labels[chosen])
