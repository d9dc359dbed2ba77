"""Transfer: pretrain on some data sets, fit the head on another, score a third; one row a pair and number of labels.

Several sources of different length are joined into one pretraining: every channel is a sequence of its own, shorter
ones filled up with missing points, and patches are as long as the recipe cuts the shortest source, so that each source
has at least the recipe's number of patches.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsjepa.arrays import Series
from tsjepa.evaluation.accuracy import Labels
from tsjepa.evaluation.benchmark_check import Versions, check_data, check_recipe, join_digests, unchanged
from tsjepa.evaluation.benchmark_features import Fitted, fit_method, pretrain, reading, seeded, warm_up
from tsjepa.evaluation.benchmark_join import join
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_methods import Method, kind_of
from tsjepa.evaluation.benchmark_process import RunError, call, sentence
from tsjepa.evaluation.benchmark_run import Known, Parts, fit_reader, load_parts, rank_of, score, versions
from tsjepa.evaluation.benchmark_table import Row, Table, in_order

TRANSFER, RECORDINGS, ALL = "transfer.csv", "recordings.csv", "all"
PER_CLASS = (1, 5, 20)
BEARINGS = tuple(f"PaderbornKAT{condition}" for condition in range(4))
BETWEEN = "+"
# Of a table without rows
UNKNOWN = Versions(Path(TRANSFER), frozenset(), {})


class Transferred(NamedTuple):
    """A row of `transfer.csv`: one head, fitted on `fit_on` with so many labels and scored on `target`.

    Attributes
    ----------
    pretrain_on : str
        Data sets that the encoder was pretrained on, joined by `+`; other methods do not look at them.
    method, seed, fit_on, target, labels, draw
        `labels` is `all`, or as `5/class`.
    n_labels, n_test : int, optional
        Labels of the head, series of the target that were scored.
    accuracy : float, optional
    effective_rank : float, optional
        Of the features of the scored series, centred: what can be told without labels.
    fit_seconds : float, optional
        Of the method, without its head and without loading data; pairs of one pretraining have that one's.
    status, reason, recipe, versions, data_digest
        As in `results.csv`; the digest is one of all data sets of the row.
    """

    pretrain_on: str
    method: str
    seed: int
    fit_on: str
    target: str
    labels: str
    draw: int
    n_labels: int | None
    n_test: int | None
    accuracy: float | None
    effective_rank: float | None
    fit_seconds: float | None
    status: str
    reason: str
    recipe: str
    versions: str
    data_digest: str = ""

    @property
    def is_last(self) -> bool:
        """Whether it is the last of its draws, which are written in order: without it a write was cut short."""
        return self.labels == ALL or self.n_labels == 0 or self.draw + 1 == LabelBudget.parse(self.labels).n_draws()


class Recording(NamedTuple):
    """A row of `recordings.csv`: windows of one recording of the target; each class of a condition is one recording."""

    pretrain_on: str
    method: str
    seed: int
    fit_on: str
    target: str
    recording: int
    n_windows: int
    accuracy: float


class Job(NamedTuple):
    """One pretraining and all that is read from it: pairs of the set that the head is fitted on, and the target."""

    pretrain_on: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    whole_target: bool
    method: Method
    seed: int
    per_class: tuple[int, ...]
    data_dir: Path | None
    device: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What names the run in tables."""
        return BETWEEN.join(self.pretrain_on), self.method.name, self.seed


class Outcome(NamedTuple):
    """Rows of one run, and the digest of each data set that they were made of."""

    scores: tuple[Transferred, ...]
    recordings: tuple[Recording, ...] = ()
    digests: tuple[tuple[str, str], ...] = ()


class TransferStore(NamedTuple):
    """The tables of a transfer; a pair is in them once its rows of scores are, which are written last, in one write."""

    scores: Table[Transferred]
    recordings: Table[Recording]

    @classmethod
    def at(cls, folder: Path) -> "TransferStore":
        """Return the tables in a folder."""
        return cls(Table(folder / TRANSFER, Transferred, 5), Table(folder / RECORDINGS, Recording, 5))

    def read(self, jobs: Sequence[Job]) -> tuple[list[Transferred], list[Recording]]:
        """Return all rows, methods and pairs in the order of these runs: a run that is made again changes no order."""
        pairs = [(job.key[0], *pair) for job in jobs for pair in job.pairs]

        def ordered(rows: list[Row]) -> list[Row]:
            by_pair = in_order(rows, pairs, lambda row: (row[0], row[3], row[4]))
            return in_order(by_pair, (job.method.name for job in jobs), lambda row: row[1])

        return ordered(self.scores.read()), ordered(self.recordings.read())

    def commit(self, outcome: Outcome) -> None:
        """Write the rows of a run in place of the old ones of its pairs; a failure takes no result away."""
        good = {row[:5] for row in self.scores.read() if row.status == "ok"}
        scores = [row for row in outcome.scores if row.status == "ok" or row[:5] not in good]
        made = {row[:5] for row in scores}
        for table in (self.scores, self.recordings):
            table.keep(lambda key: key not in made)
        self.recordings.append(outcome.recordings)
        self.scores.append(scores)


def transfer_jobs(
    sources: tuple[str, ...],
    targets: Sequence[str],
    methods: Sequence[Method],
    seeds: int,
    per_class: tuple[int, ...] = PER_CLASS,
    data_dir: Path | None = None,
    device: str = "auto",
) -> list[Job]:
    """Return the runs that pretrain on `sources`, and fit and score a head on each target's own two parts.

    Examples
    --------
    >>> from tsjepa.evaluation.benchmark_methods import find_method
    >>> transfer_jobs(("FordA",), ["FordB"], [find_method("raw")], seeds=1)[0].pairs
    (('FordB', 'FordB'),)
    """
    pairs = tuple((target, target) for target in targets)
    return [
        Job(sources, pairs, False, method, seed, per_class, data_dir, device)
        for seed in range(seeds)
        for method in methods
    ]


def bearing_jobs(
    methods: Sequence[Method],
    seeds: int,
    per_class: tuple[int, ...] = (),
    data_dir: Path | None = None,
    device: str = "auto",
) -> list[Job]:
    """Return the runs of the bearing protocol, twelve ordered pairs of working conditions.

    For each target condition: pretrain without labels on the training parts of the other three, fit the head on the
    training part of one of them, and score all windows of the target, none of which was seen before.

    Examples
    --------
    >>> from tsjepa.evaluation.benchmark_methods import find_method
    >>> jobs = bearing_jobs([find_method("raw")], seeds=1)
    >>> len(jobs), jobs[0].pairs[0]
    (4, ('PaderbornKAT1', 'PaderbornKAT0'))
    """
    jobs = []
    for seed in range(seeds):
        for target in BEARINGS:
            others = tuple(name for name in BEARINGS if name != target)
            pairs = tuple((other, target) for other in others)
            jobs += [Job(others, pairs, True, method, seed, per_class, data_dir, device) for method in methods]
    return jobs


def transfer_left(jobs: Sequence[Job], store: TransferStore) -> list[Job]:
    """Return the runs that are not finished, each with the pairs that are not there, failed, or lack rows.

    Raises
    ------
    BenchmarkError
        If a finished pair of a method that is asked for was made with another recipe, any pair of other data of the
        same name, or a table is damaged.
    """
    rows = [row for row in store.scores.read() if row.status == "ok"]
    asked = {(job.key[0], *pair): job for job in jobs for pair in job.pairs}
    methods = {job.method.name: job.method for job in jobs}
    for row in rows:
        if job := asked.get((row.pretrain_on, row.fit_on, row.target)):
            names = looked_at(job.pretrain_on, row.method, row.fit_on, row.target)
            check_data(row, names, job.data_dir, store.scores.path)
        if row.method in methods:  # of any pair: what is told is the mean over all
            names = tuple(dict.fromkeys([row.fit_on, row.target]))
            check_recipe(row, methods[row.method], names, store.scores.path)
    left = [still_asked(job, [row for row in rows if row[:3] == job.key]) for job in jobs]
    return [job for job in left if job.pairs]


def still_asked(job: Job, rows: Sequence[Transferred]) -> Job:
    """Return a run with the pairs that are not finished, and with the labels that are there already of these."""
    there = {(row.fit_on, row.target, row.labels) for row in rows if row.is_last}
    asked = [ALL, *(str(LabelBudget("per_class", number)) for number in job.per_class)]
    pairs = tuple(pair for pair in job.pairs if any((*pair, labels) not in there for labels in asked))
    budgets = [LabelBudget.parse(row.labels) for row in rows if row.labels != ALL and (row.fit_on, row.target) in pairs]
    per_class = dict.fromkeys([*(int(budget.amount) for budget in budgets), *job.per_class])
    return job._replace(pairs=pairs, per_class=tuple(per_class))


def looked_at(pretrain_on: Sequence[str], method: str, fit_on: str, target: str) -> tuple[str, ...]:
    """Return the data sets that a row depends on, each once: the sources, where there is pretraining, and the pair's.

    Examples
    --------
    >>> looked_at(["FordA"], "tiny", "FordB", "FordB"), looked_at(["FordA"], "raw", "FordB", "FordB")
    (('FordA', 'FordB'), ('FordB',))
    """
    sources = pretrain_on if kind_of(method) == "pretrained" else ()
    return tuple(dict.fromkeys([*sources, fit_on, target]))


def carry_out_transfers(jobs: Sequence[Job], store: TransferStore) -> Iterator[Transferred]:
    """Make runs one after another, each in a process of its own, and keep each as it ends; yield a row a pair."""
    versions = versions_of(store, jobs)
    for job in jobs:
        try:
            with unchanged(job.method):
                outcome = call(partial(measure_transfer, versions=versions), job, fork=job.device == "cpu")
        except RunError as error:
            outcome = Outcome(tuple(failures(job, str(error))))
        store.commit(outcome)
        versions.digests.update(outcome.digests)
        yield from (row for row in outcome.scores if row.labels == ALL)


def versions_of(store: TransferStore, jobs: Sequence[Job]) -> Versions:
    """Return the versions of data sets that the rows of a table are of."""
    joined = {job.key[0]: job.pretrain_on for job in jobs}
    rows = set()
    for row in store.scores.read():
        sources = joined.get(row.pretrain_on) or row.pretrain_on.split(BETWEEN)
        rows.add((looked_at(sources, row.method, row.fit_on, row.target), row.data_digest))
    return Versions(store.scores.path, frozenset(rows), {})


def failures(job: Job, reason: str) -> Iterator[Transferred]:
    """Yield the rows of a run that failed, one a pair."""
    for pair in job.pairs:
        where = (*job.key, *pair, ALL, 0)
        yield Transferred(*where, None, None, None, None, None, "failed", reason, job.method.digest, versions())


def measure_transfer(job: Job, versions: Versions = UNKNOWN) -> Outcome:
    """Carry out one run: one pretraining, and every pair that is read from it; one that fails leaves the others."""
    versions = versions._replace(digests=dict(versions.digests))
    shared = pretrained(job, versions)
    found = []
    for pair in job.pairs:
        try:
            found.append(measure_pair(job, pair, shared, versions))
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            found.append(Outcome(tuple(failures(job._replace(pairs=(pair,)), sentence(error)))))
    scores, recordings, digests = zip(*found, strict=True)
    return Outcome(tuple(chain(*scores)), tuple(chain(*recordings)), tuple(chain(*digests)))


class Timed(NamedTuple):
    """A fitted method, and the seconds that fitting took."""

    fitted: Fitted
    seconds: float


def measure_pair(job: Job, pair: tuple[str, str], shared: Timed | None, versions: Versions) -> Outcome:
    """Load a pair and read it, with the encoder that all pairs share, if there is one."""
    fit_on, target = pair
    parts = load_noted(fit_on, job, versions)
    fitted, seconds = shared or fitted_on(parts.known, job)
    goal = parts if target == fit_on else load_noted(target, job, versions)
    digests = {name: versions.digests[name] for name in looked_at(job.pretrain_on, job.method.name, fit_on, target)}
    fitted_pair = Pair(job, fit_on, target, fitted, round(seconds, 4), join_digests(list(digests.values())))
    found = read_pair(fitted_pair, parts, *scored_part(goal, whole=job.whole_target))
    return found._replace(digests=tuple(digests.items()))


class Pair(NamedTuple):
    """A fitted method, the set that its head is fitted on, the target, and a digest of all the data."""

    job: Job
    fit_on: str
    target: str
    fitted: Fitted
    fit_seconds: float
    data_digest: str


def scored_part(parts: Parts, *, whole: bool) -> tuple[tuple[Series, ...], Labels]:
    """Return the series of the target that are scored, the test part or both, and their labels."""
    if whole:
        return (parts.known.train, parts.known.test), np.concatenate([parts.known.y, parts.y_test])
    return (parts.known.test,), parts.y_test


def read_pair(pair: Pair, parts: Parts, series: tuple[Series, ...], y: Labels) -> Outcome:
    """Fit heads on all and on few labels, and score the target with each."""
    job, known = pair.job, parts.known
    Z, Z_target = pair.fitted.transform(known.train), np.concatenate([pair.fitted.transform(one) for one in series])
    rank, digest = rank_of(Z_target), job.method.digest

    def row(labels: str, draw: int, n_labels: int, accuracy: float | None) -> Transferred:
        where = (*job.key, pair.fit_on, pair.target, labels, draw)
        found = (n_labels, len(y), accuracy, rank, pair.fit_seconds)
        return Transferred(*where, *found, "ok", "", digest, versions(), pair.data_digest)

    predicted = fit_reader(pair.fitted, Z, known.y).predict(Z_target)
    scores = [row(ALL, 0, len(known.y), score(predicted, y))]
    for budget in (LabelBudget("per_class", number) for number in job.per_class):
        if not budget.fits(known.y):
            scores.append(row(str(budget), 0, 0, None))
            continue
        for draw in range(budget.n_draws()):
            cases = budget.draw(known.y, draw)
            guessed = read_few(pair, known, series, cases, Z, Z_target)
            scores.append(row(str(budget), draw, len(cases), score(guessed, y)))
    key = (*job.key, pair.fit_on, pair.target)
    by_class = [(int(label), y == label) for label in np.unique(y)] if job.whole_target else []
    found = [Recording(*key, label, int(own.sum()), score(predicted[own], y[own])) for label, own in by_class]
    return Outcome(tuple(scores), tuple(found))


def read_few(pair: Pair, known: Known, series: tuple[Series, ...], cases: Any, Z: Any, Z_target: Any) -> Labels:
    """Return what a head says that saw the labels of some cases; a method that learns from labels sees no others."""
    method, y = pair.job.method, known.y[cases]
    if method.kind != "supervised":
        return fit_reader(pair.fitted, Z[cases], y).predict(Z_target)
    fitted = fit_method(method, known.train.take(cases), y, pair.job.seed, pair.job.device)
    return fit_reader(fitted, Z[cases], y).predict(np.concatenate([fitted.transform(one) for one in series]))


def load_noted(name: str, job: Job, versions: Versions) -> Parts:
    """Load a data set and note its digest, or refuse it where there are rows of another version."""
    parts = load_parts(name, data_dir=job.data_dir)
    versions.take(name, parts.digest)
    return parts


def fitted_on(known: Known, job: Job) -> Timed:
    """Return a method that is fitted on the training part of a pair."""
    warm_up(job.method, known.train, job.device)
    begun = time.perf_counter()
    fitted = fit_method(job.method, known.seen_by(job.method), known.y, job.seed, job.device)
    return Timed(fitted, time.perf_counter() - begun)


def pretrained(job: Job, versions: Versions) -> Timed | None:
    """Return the encoder that was pretrained on the sources, None for a method that is fitted on each pair.

    Digests of the sources are noted.
    """
    method = job.method
    if method.kind != "pretrained":
        return None
    assert method.config is not None
    sources = [load_noted(name, job, versions).known.whole for name in job.pretrain_on]
    config = seeded(method.config, job.seed)
    series = sources[0] if len(sources) == 1 else join(sources, mixed=config.tokenizer.channels == "mixed")
    shortest = min(source.n_timepoints for source in sources)
    warm_up(method, series, job.device)
    begun = time.perf_counter()
    fitted = Fitted(*reading(pretrain(config, series, job.device, n_timepoints=shortest), config, job.device))
    return Timed(fitted, time.perf_counter() - begun)
