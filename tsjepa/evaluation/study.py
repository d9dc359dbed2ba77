"""The experiments of the early-collapse paper on sensor data: one training run after another, measured as it goes.

After Ennadir, Zólyomi and Smirnov 2026, "Understanding Early Collapse in Predictive World-Model Pretraining": loss,
accuracy of a probe and the distance between encoder and EMA target over training (its Figures 3 and 4), over EMA decays
(Figure 5), and over masks (Section 4.3). Runs are counted in steps, and measured at the ends of epochs.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tsjepa.batches import Batches, ShuffledBatches
from tsjepa.build import build_model, configure, resolve
from tsjepa.callbacks import Progress
from tsjepa.checkpoint import Header
from tsjepa.config import Config
from tsjepa.evaluation.recorder import Job, Recorder, Schedule, Subject, data_digest
from tsjepa.evaluation.rows import BASE, Arm, Measurement, Run, StudyError, runs_of
from tsjepa.training import Options, fit

RECIPE = "ts-jepa-paper"
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


def make_schedule(subject: Subject, settings: Settings) -> Schedule:
    """Turn steps into epochs of a data set, at least as many.

    Examples
    --------
    >>> import numpy as np
    >>> from tsjepa.arrays import as_series
    >>> make_schedule(Subject("FordA", as_series(np.ones((577, 500))), None), FULL)
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
        If two data sets have one name, or a finished run was of another length or on other data of that name.
    """
    check_names(subjects)
    schedules = {subject.name: make_schedule(subject, settings) for subject in subjects}
    finished = runs_of(rows)
    digests = {subject.name: data_digest(subject) for subject in subjects}
    for run in finished:
        check_length(run, schedules)
        check_data(run, digests)
    done = {run[:3] for run in finished}
    return [
        Job(subject, arm, seed, schedules[subject.name])
        for seed in range(settings.seeds)
        for subject in subjects
        for arm in settings.arms
        if (subject.name, arm, seed) not in done
    ]


def check_names(subjects: Sequence[Subject]) -> None:
    """Refuse two data sets of one name, whose runs the table would not tell apart."""
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        raise StudyError(f"two data sets have the same name in {', '.join(names)}: give each of them once.")


def check_length(run: Run, schedules: dict[str, Schedule]) -> None:
    """Refuse to mix runs of different lengths on one data set: each has a learning-rate schedule of its own."""
    schedule = schedules.get(run.data)
    if schedule is not None and run.steps != schedule.steps:
        raise StudyError(
            f"study.csv holds runs of {run.steps} steps on {run.data}, but those now asked for have {schedule.steps}: "
            "name another folder, or ask for runs of the same length."
        )
    if schedule is not None and (first := run.curve[1].step) != schedule.first:
        raise StudyError(
            f"study.csv holds runs on {run.data} that were measured after {first} steps, but those now asked for are "
            f"after {schedule.first}: name another folder, or ask as before (--quick)."
        )


def check_data(run: Run, digests: dict[str, str]) -> None:
    """Refuse to take a run for one on the data now given, which have its data's name and other content."""
    before = run.curve[0].data_digest
    if before and before != digests.get(run.data, before):
        raise StudyError(
            f"study.csv holds runs on {run.data} that were trained on other series or labels than {run.data} has now: "
            "name another folder, or give the data that they were trained on."
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
        If a loss or the latents are not finite.
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
    config, series = arm_config(job), job.subject.series
    recorder = Recorder(build_model(config, series.n_channels), job)

    def report(progress: Progress) -> None:
        recorder.epoch(progress)
        tell(progress)

    header = Header(config, job.subject.name, series.n_channels, series.n_timepoints)
    fit(recorder.model, series, header, Options(device=device, report=report, diagnose=False))
    return recorder.rows
