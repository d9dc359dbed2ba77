"""A benchmark in its folder: what is left to run, run after run, and rows that are kept as they come."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tsjepa.checkpoint import CheckpointError
from tsjepa.evaluation.benchmark_check import Versions, check_data, check_recipe, unchanged
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_methods import Method, for_run
from tsjepa.evaluation.benchmark_process import RunError, call
from tsjepa.evaluation.benchmark_run import Job, Outcome, measure, versions
from tsjepa.evaluation.benchmark_table import FewLabels, Key, LevelScore, Result, Row, Table, in_order

RESULTS, FEW_LABELS, LEVELS = "results.csv", "few_labels.csv", "levels.csv"
Carry = Callable[[Job], Outcome]


class Store(NamedTuple):
    """The tables of a benchmark; a run is in them once its row of results is, which is written last."""

    results: Table[Result]
    few_labels: Table[FewLabels]
    levels: Table[LevelScore]

    @classmethod
    def at(cls, folder: Path) -> "Store":
        """Return the tables in a folder."""
        return cls(
            Table(folder / RESULTS, Result),
            Table(folder / FEW_LABELS, FewLabels),
            Table(folder / LEVELS, LevelScore),
        )

    def read(self, jobs: Sequence[Job]) -> tuple[list[Result], list[FewLabels], list[LevelScore]]:
        """Return all rows, methods and data in the order of these runs: a run that is made again changes no order."""

        def ordered(rows: list[Row]) -> list[Row]:
            by_data = in_order(rows, (job.data for job in jobs), lambda row: row[0])
            return in_order(by_data, (job.method.name for job in jobs), lambda row: row[1])

        return ordered(self.results.read()), ordered(self.few_labels.read()), ordered(self.levels.read())

    def commit(self, outcome: Outcome, *, again: bool) -> None:
        """Write the rows of a run, in place of its old ones where it was made again."""
        key = outcome.result[:4]
        if again:
            self.keep(lambda other: other != key)
        self.few_labels.append(outcome.few_labels)
        self.levels.append(outcome.levels)
        self.results.append([outcome.result])

    def keep(self, wanted: Callable[[Key], bool]) -> None:
        """Drop the rows of runs that are not wanted, the row of results first."""
        for table in (self.results, self.few_labels, self.levels):
            table.keep(wanted)

    def mend(self) -> None:
        """Drop the rows of a run that was killed before its row of results was written."""
        finished = {row[:4] for row in self.results.read()}
        for table in (self.few_labels, self.levels):
            table.keep(lambda key: key in finished)


def plan(
    data: Sequence[str],
    methods: Sequence[Method],
    seeds: int,
    folds: int = 1,
    budgets: tuple[LabelBudget, ...] = (),
    data_dir: Path | None = None,
    device: str = "auto",
) -> list[Job]:
    """Return all runs, data set by data set, so that an early look at the table compares methods.

    Raises
    ------
    CheckpointError
        If a method whose path has a place for the data or the seed lacks the checkpoint of a run.

    Examples
    --------
    >>> from tsjepa.evaluation.benchmark_methods import find_methods
    >>> jobs = plan(["GunPoint", "ECG200"], find_methods(("raw", "majority")), seeds=3)
    >>> len(jobs), jobs[1].key
    (12, ('GunPoint', 'majority', 0, 0))
    """
    own = {
        (name, seed): [for_run(method, name, seed, data_dir) for method in methods]
        for name in data
        for seed in range(seeds)
    }
    return [
        Job(name, method, seed, fold, budgets, data_dir, device)
        for name in data
        for fold in range(folds)
        for seed in range(seeds)
        for method in own[name, seed]
    ]


def left_to_run(jobs: Sequence[Job], store: Store) -> list[Job]:
    """Return the runs that are not finished: not there, failed, or without draws of labels that are asked for.

    Raises
    ------
    BenchmarkError
        If a finished run of a method that is asked for was made with another recipe, any run of other data of the same
        name, or a table is damaged.
    """
    results = {row[:4]: row for row in store.results.read()}
    asked = {job.data: job.data_dir for job in jobs}
    methods = {job.method.name: job for job in jobs}
    own = {job.key[:3]: job.method for job in jobs}
    for row in results.values():
        if row.data in asked:
            check_data(row, (row.data,), asked[row.data], store.results.path)
        if row.status == "ok" and row.method in methods:  # of any data: what is told is the mean over all
            job = methods[row.method]
            with suppress(CheckpointError):  # what is not there is not compared
                method = own.get(row[:3]) or for_run(job.method, row.data, row.seed, job.data_dir)
                check_recipe(row, method, (row.data,), store.results.path)
    drawn: dict[Key, dict[str, None]] = {}  # in the order in which they were asked for
    for few in store.few_labels.read():
        drawn.setdefault(few[:4], {})[few.labels] = None
    left = []
    for job in jobs:
        made = results.get(job.key)
        if made is None or made.status != "ok":
            left.append(job)
            continue
        there = tuple(map(LabelBudget.parse, drawn.get(job.key, {})))
        if not set(job.budgets) <= set(there):  # what is there is made again, and not lost
            left.append(job._replace(budgets=(*there, *(own for own in job.budgets if own not in there))))
    return left


def carry_out(jobs: Sequence[Job], store: Store, carry: Carry | None = None) -> Iterator[Result]:
    """Make runs one after another, each in a process of its own, and keep each as it ends; a failure is a row, too.

    Parameters
    ----------
    jobs : sequence of Job
    store : Store
    carry : callable, optional
        Makes a run; by default `measure` in a process of its own.

    Yields
    ------
    Result
        As it was written.
    """
    store.mend()
    rows = store.results.read()
    before = {row[:4]: row.status for row in rows}
    versions = Versions(store.results.path, frozenset(((row.data,), row.data_digest) for row in rows), {})
    for job in jobs:
        try:
            with unchanged(job.method):
                outcome = (carry or in_own_process)(job)
            versions.take(job.data, outcome.result.data_digest)
        except RunError as error:
            outcome = Outcome(failed(job, str(error)))
        if before.get(job.key) != "ok" or outcome.result.status == "ok":  # a failure takes no result away
            store.commit(outcome, again=job.key in before)
        yield outcome.result


def in_own_process(job: Job) -> Outcome:
    """Make a run in a process of its own, forked where that does not meet CUDA."""
    return call(measure, job, fork=job.device == "cpu")


def failed(job: Job, reason: str) -> Result:
    """Return the row of a run that failed.

    Examples
    --------
    >>> from tsjepa.evaluation.benchmark_methods import find_method
    >>> failed(Job("pump", find_method("raw"), 0), "no labels.").accuracy is None
    True
    """
    nothing = (None, None, None, None, None, None, None, None, None)
    return Result(*job.key, *nothing, False, "failed", reason, job.method.digest, versions())
