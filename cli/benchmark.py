"""`tsjepa benchmark`: runs one after another, each kept as it ends, then the summary, pictures and aeon's tables."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from tsjepa.arrays import counted
from tsjepa.cli.arguments import parse_names
from tsjepa.cli.data import check_data_dir
from tsjepa.cli.errors import INTERRUPTED, USAGE, Failure, say, told
from tsjepa.cli.locking import LOCK, locked
from tsjepa.cli.options import BenchmarkOptions
from tsjepa.cli.outdir import make_writable, refuse_file, replace_file, writing
from tsjepa.cli.render import count_bar
from tsjepa.cli.report import BenchmarkReport
from tsjepa.cli.training import pick_device
from tsjepa.datasets.home import user_path
from tsjepa.datasets.lookup import data_folder, find_local
from tsjepa.evaluation.benchmark import Store, carry_out, left_to_run, plan
from tsjepa.evaluation.benchmark_aeon import aeon_tables
from tsjepa.evaluation.benchmark_figures import Pictures, picture, pictures
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_methods import Method, find_methods, has_places
from tsjepa.evaluation.benchmark_names import each_once, named_before, transfers_named_before
from tsjepa.evaluation.benchmark_run import Job
from tsjepa.evaluation.benchmark_suites import load_suite
from tsjepa.evaluation.benchmark_summary import means, summary
from tsjepa.evaluation.benchmark_table import Key, Result
from tsjepa.evaluation.benchmark_transfer import (
    PER_CLASS,
    Transferred,
    TransferStore,
    bearing_jobs,
    carry_out_transfers,
    transfer_jobs,
    transfer_left,
)
from tsjepa.evaluation.benchmark_transfer_summary import transfer_figures, transfer_means, transfer_summary
from tsjepa.evaluation.study_figures import DRAWN_BY, file_names

DEFAULT_METHODS = ("default", "random-init", "minirocket", "majority")
Row = TypeVar("Row")
Means = dict[str, dict[str, float | int | None]]
KINDS: tuple[Literal["png", "svg"], ...] = ("png", "svg")
PICTURES = ("critical-difference", "scatter-*", "few-labels*", "time")
SUMMARY, TASK = "summary.md", "classification"


class Runs(NamedTuple):
    """How many runs a command asked for, in how many something failed, and whether there is anything good."""

    asked: int
    failed: int
    good: bool


def benchmark(options: BenchmarkOptions) -> BenchmarkReport:
    """Make all runs that are left, and write what the tables say."""
    started = time.monotonic()
    check_kind(options)
    folder = data_folder(options.data_dir)
    refuse_joined("--data", "data set", options.data, lambda name: find_local(name, folder) is not None)
    refuse_joined("--method", "method", options.methods)
    with writing(options.out):
        refuse_file(options.out)
    device = pick_device(options.device)
    methods = find_methods(options.methods or DEFAULT_METHODS, options.config, options.epochs)
    check_data_dir(options.data_dir)
    names = () if options.pretrain_on or options.transfer else data_names(options)
    jobs = plan_of(options, names, methods, device)
    make_writable(options.out)
    with locked(options.out / LOCK, f"another benchmark is running in {options.out}"), told():
        if names:
            found, runs = compare(options, names, jobs)
        else:
            found, runs = transfer(options, methods, device)
    if not runs.good:
        raise Failure(f"every run failed, for the reasons above; {options.out / SUMMARY} sums up the folder.")
    seconds = time.monotonic() - started
    return BenchmarkReport(options.out, found, runs.asked, runs.failed, seconds, "data sets" if names else "pairs")


def check_kind(options: BenchmarkOptions) -> None:
    """Refuse what does not say which data, or says it twice."""
    chosen = [bool(options.suite), bool(options.data), bool(options.pretrain_on or options.probe_on)]
    chosen.append(options.transfer is not None)
    if sum(chosen) != 1:
        raise Failure(
            "name the data in one way: --suite, or --data, or --pretrain-on with --probe-on, or --transfer bearings.",
            USAGE,
        )
    if bool(options.pretrain_on) != bool(options.probe_on):
        raise Failure("--pretrain-on and --probe-on go together.", USAGE)
    if options.transfer not in (None, "bearings"):
        raise Failure(f"the only protocol of --transfer is bearings, but got {options.transfer}.", USAGE)
    if options.folds > 1 and (options.pretrain_on or options.transfer):
        raise Failure("--folds does not go with transfer, which keeps the splits of the data sets.", USAGE)
    if options.fractions and (options.pretrain_on or options.transfer):
        raise Failure("--labels does not go with transfer, which counts labels with --per-class.", USAGE)
    own = next((name for name in options.methods if has_places(name)), None)
    if own and (options.pretrain_on or options.transfer):
        raise Failure(f"{{data}} and {{seed}} do not go with transfer: name one checkpoint in place of {own}.", USAGE)


def refuse_joined(flag: str, thing: str, names: Sequence[str], known: Callable[[str], bool] = lambda _: False) -> None:
    """Refuse several names in one value of a flag that takes one; a path or a known name may have a comma."""
    for name in names:
        parts = parse_names([name])
        if parts and "," in name and not os.path.exists(user_path(name)) and not known(name):
            apart = " ".join(f"{flag} {part}" for part in parts)
            advice = f"if these are several, give {flag} once for each {thing}: {apart}"
            raise Failure(f"there is no {thing} {name!r}: {advice}.", USAGE)


def data_names(options: BenchmarkOptions) -> tuple[str, ...]:
    """Return the data sets that are asked for, each once."""
    return each_once(load_suite(options.suite) if options.suite else options.data, options.data_dir)


def plan_of(options: BenchmarkOptions, names: Sequence[str], methods: Sequence[Method], device: str) -> list[Job]:
    """Return the runs of a comparison."""
    budgets = tuple(LabelBudget("share", share) for share in options.fractions)
    budgets += tuple(LabelBudget("per_class", number) for number in options.per_class)
    return plan(names, methods, options.seeds, options.folds, budgets, options.data_dir, device)


def compare(options: BenchmarkOptions, names: Sequence[str], jobs: Sequence[Job]) -> tuple[Means, Runs]:
    """Make the runs of a comparison, and write its summary, pictures and tables."""
    store = Store.at(options.out)
    jobs = named_before(jobs, store.results.read())
    left = left_to_run(jobs, store)
    runs, sets = counted(len(jobs), "run"), counted(len(names), "data set")
    say(f"benchmark of {runs} on {sets}; {counted(len(jobs) - len(left), 'is', 'are')} finished already.")
    made = carry_on(carry_out(left, store), len(left), options.out, told_result)
    results, few, levels = store.read(jobs)
    drawn = pictures(results, few)
    write(options.out, summary(results, few, levels, drawn.missing), drawn)
    tables = aeon_tables(results)
    files = file_names(tables)
    for method, table in tables.items():
        path = options.out / TASK / "accuracy" / f"{files[method]}_accuracy.csv"
        make_writable(path.parent)
        replace_file(path, table.encode())
    return means(results), judged(len(jobs), len(left) < len(jobs), [(row.status, row[:4]) for row in made])


def transfer(options: BenchmarkOptions, methods: Sequence[Method], device: str) -> tuple[Means, Runs]:
    """Make the runs of a transfer, and write its summary and pictures."""
    store, per_class = TransferStore.at(options.out), options.per_class
    if options.transfer:
        jobs = bearing_jobs(methods, options.seeds, per_class, options.data_dir, device)
    else:
        per_class = per_class or PER_CLASS
        sources, targets = (each_once(own, options.data_dir) for own in (options.pretrain_on, options.probe_on))
        jobs = transfer_jobs(sources, targets, methods, options.seeds, per_class, options.data_dir, device)
    jobs = transfers_named_before(jobs, store.scores.read())
    left = transfer_left(jobs, store)
    say(f"transfer of {counted(len(jobs), 'run')}; {counted(len(jobs) - len(left), 'is', 'are')} finished already.")
    n_pairs = sum(len(job.pairs) for job in left)
    made = carry_on(carry_out_transfers(left, store), n_pairs, options.out, told_transfer)
    rows, recordings = store.read(jobs)
    drawn = transfer_figures(rows)
    write(options.out, transfer_summary(rows, recordings, drawn.missing), drawn)
    # sources of a bearing target may be named by --pretrain-on, too: only of one protocol do the scores compare
    asked = {(job.key[0], fit_on != target) for job in jobs for fit_on, target in job.pairs}
    found = transfer_means([row for row in rows if (row.pretrain_on, row.fit_on != row.target) in asked])
    some = n_pairs < sum(len(job.pairs) for job in jobs)
    return found, judged(len(jobs), some, [(row.status, row[:3]) for row in made])


def judged(asked: int, some: bool, made: Sequence[tuple[str, Key]]) -> Runs:
    """Return how the runs of a command went: whether some was finished before, and status and key of what was made."""
    failed = {key for status, key in made if status == "failed"}
    return Runs(asked, len(failed), some or any(status == "ok" for status, _ in made))


def carry_on(runs: Iterator[Row], total: int, out: Path, sentence: Callable[[Row], str]) -> list[Row]:
    """Make runs or pairs of them, tell of each, and return them."""
    made = []
    try:
        # each run has a process of its own: in this one its rows are written
        with writing(out), count_bar("runs", total) as report:
            for row in runs:
                made.append(row)
                say(sentence(row))
                report(len(made))
    except KeyboardInterrupt as error:
        kept = f"all finished runs are kept in {out}, and the same command goes on from there."
        raise Failure(f"stopped: {kept}", INTERRUPTED) from error
    return made


def told_result(row: Result) -> str:
    """Say how a run went."""
    name = f"{row.data}, {row.method}, seed {row.seed}" + (f", fold {row.fold}" if row.fold else "")
    if row.accuracy is None:
        return f"{name}: failed: {row.reason}"
    seconds = (row.fit_seconds or 0) + (row.transform_seconds or 0)
    return f"{name}: accuracy {row.accuracy:.4f} in {seconds:.1f} s"


def told_transfer(row: Transferred) -> str:
    """Say how a transfer went."""
    name = f"{row.pretrain_on}, head on {row.fit_on}, target {row.target}, {row.method}, seed {row.seed}"
    return f"{name}: failed: {row.reason}" if row.accuracy is None else f"{name}: accuracy {row.accuracy:.4f}"


def write(out: Path, text: str, drawn: Pictures) -> None:
    """Write summary and pictures, whole or not at all, and take away those of before that are not drawn any more."""
    kept = {f"{name}.{kind}" for name in drawn.figures for kind in KINDS}
    with writing(out):
        for path in [path for name in PICTURES for kind in KINDS for path in out.glob(f"{name}.{kind}")]:
            if path.name not in kept and DRAWN_BY.encode() in path.read_bytes():
                path.unlink()
    for name, figure in drawn.figures.items():
        for kind in KINDS:
            replace_file(out / f"{name}.{kind}", picture(figure, kind))
    replace_file(out / SUMMARY, text.encode())
