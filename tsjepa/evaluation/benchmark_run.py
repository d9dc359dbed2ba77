"""One run of a benchmark: fit a method on the training part, read it with a ridge head, score the test part once."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.metrics import recall_score

from tsjepa.arrays import Series, as_series
from tsjepa.datasets import Dataset, load
from tsjepa.datasets.archives import archive_size
from tsjepa.datasets.dataset import LogError, UncutError
from tsjepa.datasets.labels import has_label
from tsjepa.diagnostics import effective_rank
from tsjepa.embedding import some_cases
from tsjepa.evaluation.accuracy import Labels
from tsjepa.evaluation.benchmark_features import Features, Fitted, Levels, fit_method, warm_up
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_methods import Method
from tsjepa.evaluation.benchmark_table import BenchmarkError, FewLabels, LevelScore, Result, RunKey
from tsjepa.evaluation.digest import content_digest
from tsjepa.heads import LinearHead
from tsjepa.memory import peak_megabytes
from tsjepa.probe import check_labels, is_numeric, make_head

# Series that the effective rank is taken of: thousands of wide features would cost more than the head
RANK_SERIES = 500
NO_LOGS = (
    "a benchmark takes no sensor logs: save windows of it as X_train, y_train, X_test and y_test in an .npz file, or "
    "pretrain on it with --window, and then probe or finetune"
)


class Head(Protocol):
    """What tells classes from features."""

    def predict(self, Z: Features) -> Labels:
        """Return the classes of features Z [n_cases, n_features]."""


Fit = Callable[[Method, Series, Labels, int, str], Fitted]


class Job(NamedTuple):
    """What one run needs to know; plain values, since it is carried out in a process of its own."""

    data: str
    method: Method
    seed: int
    fold: int = 0
    budgets: tuple[LabelBudget, ...] = ()
    data_dir: Path | None = None
    device: str = "auto"

    @property
    def key(self) -> RunKey:
        """What names the run in tables."""
        return self.data, self.method.name, self.seed, self.fold


class Outcome(NamedTuple):
    """Rows of one run."""

    result: Result
    few_labels: tuple[FewLabels, ...] = ()
    levels: tuple[LevelScore, ...] = ()


class Known(NamedTuple):
    """What a method and its head may see: both parts' series, and the labels of the training part alone.

    Series without a label are in `whole` alone, which holds all training series.
    """

    train: Series
    y: Labels
    test: Series
    whole: Series

    def seen_by(self, method: Method) -> Series:
        """Return the training series that a method is fitted on: all, but where it learns from labels."""
        return self.train if method.kind == "supervised" else self.whole


class Parts(NamedTuple):
    """A data set with the labels of its test part, which only `score` looks at, and a digest of all of it."""

    known: Known
    y_test: Labels
    partial: bool
    digest: str


def load_parts(name: str, fold: int = 0, data_dir: Path | None = None) -> Parts:
    """Load a labelled data set, resampled where a fold other than the default split is asked for.

    Parameters
    ----------
    name : str
        Name or path.
    fold : int, default=0
        0 is the default split; k draws both parts anew with seed k, by aeon's convention: of the same size and with
        the same number of each class. Training series without a label stay where they are.
    data_dir : Path, optional

    Returns
    -------
    Parts

    Raises
    ------
    DataError
        If the data cannot be loaded.
    BenchmarkError
        If they are not labelled with classes in both parts.
    ProbeError
        If the training part has one class or one series only.
    """
    data = load_set(name, data_dir)
    if data.X_test is None:
        raise BenchmarkError(
            f"{name} cannot be scored without a test part: put it beside the training part, as in pump_TRAIN.csv and "
            "pump_TEST.csv, or save X_train, y_train, X_test and y_test as .npz."
        )
    if data.y_test is None or data.y_train is None:
        raise BenchmarkError(f"{name} cannot be scored: both parts need labels.")
    if is_numeric(data.y_train):
        raise BenchmarkError(f"{name} has a numeric target, and a benchmark compares accuracies of classes.")
    check_labels(data.y_train[has_label(data.y_train)])
    full = archive_size(data.name)
    partial = full is not None and len(data.X_train) < full[0]
    train, test = as_series(data.X_train, "the training part"), as_series(data.X_test, "the test part")
    digest = content_digest(*train, data.y_train, *test, data.y_test)
    if fold:
        data = resample(data, fold)
        train, test = as_series(data.X_train, "the training part"), as_series(data.X_test, "the test part")
    whole, (train, y), (test, y_test) = train, labelled(train, data.y_train), labelled(test, data.y_test)
    return Parts(Known(train, y, test, whole), y_test, partial, digest)


def labelled(series: Series, y: Labels | None) -> tuple[Series, Labels]:
    """Return the series of a part that have a label, and their labels."""
    assert y is not None
    known = has_label(y)
    return (series, y) if known.all() else (series.take(np.flatnonzero(known)), y[known])


def load_set(name: str, data_dir: Path | None) -> Dataset:
    """Load a data set, and say of a sensor log what to do instead.

    Raises
    ------
    DataError
        If the data cannot be loaded.
    BenchmarkError
        If they are a log.
    """
    try:
        return load(name, data_dir, announce=_say)
    except UncutError as error:
        raise BenchmarkError(f"{error}; {NO_LOGS}") from error
    except LogError as error:  # which names ways that a benchmark has not
        raise BenchmarkError(f"{name} is taken for a sensor log; {NO_LOGS}") from error


def resample(data: Dataset, fold: int) -> Dataset:
    """Return both parts of a fold; aeon draws class by class in the order of names, in which '10' is before '2'.

    What has no label stays in training, behind the others, and is left out of the test part.

    Raises
    ------
    BenchmarkError
        If a class is in one part only, of which a fold cannot have as many in each part.
    """
    assert data.y_train is not None
    assert data.y_test is not None
    assert data.classes is not None
    known, scored = has_label(data.y_train), has_label(data.y_test)
    lone = [data.classes[code] for code in np.setxor1d(data.y_train[known], data.y_test[scored])]
    if lone:
        raise BenchmarkError(
            f"{data.name} cannot be drawn anew for fold {fold}: of class {', '.join(lone)} there are series in one "
            "part only. Ask for it without --folds."
        )
    from aeon.benchmarking.resampling import stratified_resample_data

    names = np.array(data.classes)
    parts = ((data.X_train, data.y_train, known), (data.X_test, data.y_test, scored))
    given = (part for X, y, there in parts for part in (chosen(X, there), names[y[there]]))
    X_train, y_train, X_test, y_test = stratified_resample_data(*given, random_state=fold)
    codes = {name: code for code, name in enumerate(data.classes)}
    y_train, y_test = (np.array([codes[name] for name in part], np.int64) for part in (y_train, y_test))
    rest = chosen(data.X_train, ~known)
    X_train = X_train + rest if isinstance(rest, list) else np.concatenate([X_train, rest])
    y_train = np.append(y_train, np.full(len(rest), -1))
    return replace(data, X_train=X_train, y_train=y_train, X_test=X_test, y_test=y_test)


def chosen(X: Any, there: NDArray[np.bool_]) -> Any:
    """Return some of the series in an array or a list."""
    return [X[case] for case in np.flatnonzero(there)] if isinstance(X, list) else X[there]


def measure(job: Job, fit: Fit = fit_method) -> Outcome:
    """Carry out one run.

    Parameters
    ----------
    job : Job
    fit : callable, default=fit_method
        Makes a fitted method of the training part.

    Returns
    -------
    Outcome

    Raises
    ------
    DataError, BenchmarkError, ProbeError, ConfigError, CheckpointError
        If data, labels, recipe or checkpoint do not fit.
    """
    known, y_test, partial, data_digest = load_parts(job.data, job.fold, job.data_dir)
    warm_up(job.method, known.train, job.device)
    started = time.perf_counter()
    fitted = fit(job.method, known.seen_by(job.method), known.y, job.seed, job.device)
    trained = time.perf_counter()
    Z_train, Z_test = fitted.transform(known.train), fitted.transform(known.test)
    embedded = time.perf_counter()
    head = fit_reader(fitted, Z_train, known.y)
    fit_seconds = trained - started + time.perf_counter() - embedded
    predicted = head.predict(Z_test)
    few = tuple(few_labels(job, known, y_test, fitted, Z_train, Z_test, fit))
    levels = tuple(by_level(job, fitted, known, y_test, Z_train, Z_test))
    return Outcome(
        Result(
            data=job.data,
            method=job.method.name,
            seed=job.seed,
            fold=job.fold,
            accuracy=score(predicted, y_test),
            balanced_accuracy=balanced_accuracy(predicted, y_test),
            log_loss=log_loss(head, Z_test, y_test),
            fit_seconds=round(fit_seconds, 4),
            transform_seconds=round(embedded - trained, 4),
            peak_mb=peak_megabytes(),
            effective_rank=rank_of(Z_train),
            n_train=known.train.n_cases,
            n_test=known.test.n_cases,
            partial=partial,
            status="ok",
            reason="",
            recipe=job.method.digest,
            versions=versions(),
            data_digest=data_digest,
        ),
        few,
        levels,
    )


def fit_reader(fitted: Fitted, Z: Features, y: Labels) -> Head:
    """Return the head, fitted: ridge on standardised features, or the method's own.

    Where there are no features it is the most frequent class, with the classes' shares as probabilities.
    """
    if fitted.head is not None:
        return fitted.head
    head: Head = (make_head("ridge") if Z.shape[1] else DummyClassifier(strategy="prior")).fit(Z, y)
    return head


def score(predicted: Labels, y_test: Labels) -> float:
    """Return the share of test series that were told right."""
    return float(np.mean(predicted == y_test))


def balanced_accuracy(predicted: Labels, y_test: Labels) -> float:
    """Return the mean over the classes of the test part of the share that was told right.

    Examples
    --------
    >>> balanced_accuracy(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]))
    0.5
    """
    return float(recall_score(y_test, predicted, labels=np.unique(y_test), average="macro"))


def log_loss(head: Head, Z: Features, y_test: Labels) -> float | None:
    """Return the mean of -log of the probability of the right class.

    None for a head without probabilities, such as ridge, and where it has not seen a class of the test part.

    Examples
    --------
    >>> head = DummyClassifier(strategy="prior").fit(np.zeros((4, 0)), [0, 0, 1, 1])
    >>> round(log_loss(head, np.zeros((2, 0)), np.array([0, 1])), 4)
    0.6931
    """
    if isinstance(head, LinearHead):
        classes, logs = head.classes, torch.from_numpy(head.logits(Z)).log_softmax(1).numpy()
    elif isinstance(head, DummyClassifier):
        classes, logs = head.classes_, head.predict_log_proba(Z)
    else:
        return None
    if not np.isin(y_test, classes).all():
        return None
    return float(-logs[np.arange(len(y_test)), np.searchsorted(classes, y_test)].mean())


def few_labels(
    job: Job, known: Known, y_test: Labels, fitted: Fitted, Z_train: Features, Z_test: Features, fit: Fit
) -> Iterator[FewLabels]:
    """Yield the accuracy of each draw of labels; features are made once, but by a method that learns from labels."""
    for budget in job.budgets:
        if not budget.fits(known.y):
            yield FewLabels(*job.key, str(budget), 0, 0, None)
            continue
        for draw in range(budget.n_draws()):
            cases = budget.draw(known.y, draw)
            y = known.y[cases]
            if job.method.kind == "supervised":
                labelled = known.train.take(cases)
                fitted = fit(job.method, labelled, y, job.seed, job.device)
                predicted = fit_reader(fitted, Z_train[:0], y).predict(fitted.transform(known.test))
            else:
                predicted = fit_reader(fitted, Z_train[cases], y).predict(Z_test)
            yield FewLabels(*job.key, str(budget), len(cases), draw, score(predicted, y_test))


def by_level(
    job: Job, fitted: Fitted, known: Known, y_test: Labels, Z_train: Features, Z_test: Features
) -> Iterator[LevelScore]:
    """Yield the accuracy of a head on each level of an encoder alone, and on all of them."""
    if fitted.reader is None:
        return
    levels = Levels(fitted.reader)
    if fitted.reader.probe != levels.probe:
        Z_train, Z_test = levels.embed(known.train), levels.embed(known.test)
    for level in range(fitted.reader.encoder.depth + 1):
        head = fit_reader(Fitted(levels.embed), levels.one(Z_train, level), known.y)
        yield LevelScore(*job.key, str(level), score(head.predict(levels.one(Z_test, level)), y_test))
    everything = fit_reader(Fitted(levels.embed), Z_train, known.y).predict(Z_test)
    yield LevelScore(*job.key, "all", score(everything, y_test))


def rank_of(Z: Features) -> float | None:
    """Return the effective rank of at most RANK_SERIES rows of features, None where there are no features."""
    if not Z.shape[1]:
        return None
    chosen = np.asarray(Z[some_cases(len(Z), RANK_SERIES)], np.float32)
    rank = effective_rank(torch.from_numpy(chosen), centred=True).item()
    return round(rank, 4) if math.isfinite(rank) else None


@cache
def versions() -> str:
    """Return the versions of what computes, in one text."""
    return " ".join(f"{name} {version(name)}" for name in ("tsjepa", "torch", "aeon", "scikit-learn", "numpy"))


def _say(line: str) -> None:
    """Tell of a download on standard error, before it begins."""
    sys.stderr.write(f"{line}\n")
