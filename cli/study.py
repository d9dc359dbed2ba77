"""`tsjepa collapse-study`: runs one after another, each kept as it ends, then claims, figures and the page."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from tsjepa.arrays import counted
from tsjepa.cli.data import load_data, say_remarks
from tsjepa.cli.errors import INTERRUPTED, USAGE, Failure, say, told
from tsjepa.cli.inputs import OTHER_FOLDER, refuse_input
from tsjepa.cli.locking import LOCK, locked
from tsjepa.cli.options import StudyOptions
from tsjepa.cli.outdir import make_writable, refuse_file, replace_file, writing
from tsjepa.cli.render import count_bar
from tsjepa.cli.report import StudyReport
from tsjepa.cli.training import pick_device
from tsjepa.datasets.lookup import data_folder, find_local
from tsjepa.evaluation.benchmark_table import Table
from tsjepa.evaluation.claims import Claim, judge_claims
from tsjepa.evaluation.recorder import Job, Subject
from tsjepa.evaluation.rows import Measurement, Run, runs_of
from tsjepa.evaluation.study import FULL, QUICK, Settings, carry_out, check_names, plan
from tsjepa.evaluation.study_figures import figures, image
from tsjepa.evaluation.study_page import page, without_probe
from tsjepa.training_error import TrainingError

DEFAULT_DATA = "FordA"
# Bearings, of the paper and of this repository: taken where they are at hand, since they are large to fetch
WHERE_PRESENT = ("FaultDetectionA", "PaderbornKAT")
TABLE, CLAIMS, PAGE = "study.csv", "claims.json", "index.html"


def collapse_study(options: StudyOptions) -> StudyReport:
    """Carry out a study, or go on with the one in the folder."""
    started = time.monotonic()
    device = pick_device(options.device)
    refuse_input(options.out / TABLE, *options.data, advice=OTHER_FOLDER)  # the next call would read it with the data
    finished_rows(options.out)  # what is no study is refused before anything is downloaded
    subjects = [load_subject(name, options.data_dir) for name in data_names(options)]
    with told(USAGE):
        check_names(subjects)
    make_writable(options.out)
    with locked(options.out / LOCK, f"another study is running in {options.out}"):
        runs = study_alone(subjects, options, device)
        claims = write_results(options.out, runs)
    if blind := without_probe(runs):
        say(f"note: {blind[0].lower()}{blind[1:]}")
    data = tuple(dict.fromkeys(run.data for run in runs))
    seconds = time.monotonic() - started
    return StudyReport(options.out, data, len(runs), seconds, [claim._asdict() for claim in claims])


def study_alone(subjects: Sequence[Subject], options: StudyOptions, device: str) -> list[Run]:
    """Train what is left in a folder that no other study writes into, and return all its runs."""
    rows = finished_rows(options.out)
    with told(USAGE):
        jobs = plan(subjects, choose_settings(options), rows)
    say(summary(jobs, rows))
    return runs_of(carry_on(jobs, rows, options.out, device))


def choose_settings(options: StudyOptions) -> Settings:
    """Return the settings of the full or the quick study, with what is asked for."""
    settings = QUICK if options.quick else FULL
    return settings._replace(steps=options.steps or settings.steps, seeds=options.seeds or settings.seeds)


def data_names(options: StudyOptions) -> Sequence[str]:
    """Return the data sets that are asked for, or FordA and the bearings that are on this machine."""
    if options.data:
        return options.data
    folder = data_folder(options.data_dir)
    return [DEFAULT_DATA, *(name for name in WHERE_PRESENT if find_local(name, folder) is not None)]


def load_subject(name: str, data_dir: Path | None) -> Subject:
    """Load a data set and keep its training part: a study never looks at the test part."""
    data = load_data(name, data_dir)
    say_remarks(data, None, test=False)
    return Subject(data.name, data.train.in_memory(), data.train.y)


def finished_rows(out: Path) -> list[Measurement]:
    """Return the rows of the runs that are finished in a folder."""
    with writing(out), told():
        refuse_file(out)
        return Table(out / TABLE, Measurement).read()


def summary(jobs: Sequence[Job], rows: Sequence[Measurement]) -> str:
    """Say what there is to do."""
    done = len(runs_of(rows))
    before = f"; {counted(done, 'is', 'are')} finished already" if done else ""
    if not jobs:
        return f"nothing is left to train{before}."
    names = ", ".join(dict.fromkeys(job.subject.name for job in jobs))
    lengths = " or ".join(map(str, dict.fromkeys(job.schedule.steps for job in jobs)))
    return f"collapse study: {counted(len(jobs), 'run')} of {lengths} steps on {names}{before}."


def carry_on(jobs: Sequence[Job], rows: list[Measurement], out: Path, device: str) -> list[Measurement]:
    """Train what is left, and add each run to the table as it ends."""
    total, table = sum(job.schedule.steps for job in jobs), Table(out / TABLE, Measurement)
    try:
        with count_bar("steps", total) as report:
            for new in carry_out(jobs, device, report):
                rows = [*rows, *new]
                with writing(out):
                    table.append(new)
    except KeyboardInterrupt as error:
        runs = counted(len(runs_of(rows)), "run is", "runs are")
        kept = f"{runs} kept in {out / TABLE}, and the same command goes on from there."
        raise Failure(f"stopped: {kept}", INTERRUPTED) from error
    except TrainingError as error:
        raise Failure(str(error)) from error
    return rows


def write_results(out: Path, runs: Sequence[Run]) -> list[Claim]:
    """Write figures, claims and the page."""
    drawn = figures(runs)
    images = {name: image(figure, "svg") for name, figure in drawn.items()}
    for name, figure in drawn.items():
        replace_file(out / f"{name}.png", image(figure, "png"))
        replace_file(out / f"{name}.svg", images[name])
    claims = judge_claims(runs)
    text = json.dumps([claim._asdict() for claim in claims], indent=2, ensure_ascii=False)
    replace_file(out / CLAIMS, f"{text}\n".encode())
    replace_file(out / PAGE, page(runs, claims, images).encode())
    return claims
