"""Probes on frozen embeddings: how much a simple head finds in them, beside what it finds without pretraining."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, RidgeCV
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tsjepa.ridge import LeanRidge

Kind = Literal["ridge", "logistic", "knn"]
Array = NDArray[Any]
PENALTIES = np.logspace(-3, 5, 12)
# Numbers of a training part from which on the ridge must not hold several copies of them
LARGE = 2**24


class ProbeError(ValueError):
    """Labels that cannot be probed, said in one sentence."""


def is_numeric(y: Array) -> bool:
    """Return whether a target is a number to regress on rather than a class."""
    return y.dtype.kind == "f"


def make_head(kind: Kind = "ridge", *, numeric: bool = False, seed: int = 0) -> Pipeline:
    """Return a head that standardises its features first.

    Parameters
    ----------
    kind : {"ridge", "logistic", "knn"}, default="ridge"
        Ridge with its penalty chosen by leave-one-out in closed form, logistic regression, or 5 nearest neighbours;
        of classes they count by the inverse of their distance.
    numeric : bool, default=False
        Whether the target is a number.
    seed : int, default=0

    Raises
    ------
    ProbeError
        If a logistic head is asked for a numeric target.

    Examples
    --------
    >>> make_head("ridge").fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]).predict([[2.5]])
    array([1])
    """
    head: BaseEstimator
    if kind == "ridge":
        head = RidgeCV(PENALTIES) if numeric else RidgeClassifierCV(PENALTIES)
    elif kind == "knn":
        # near ones count more: among more neighbours than it has labels, a class would be outvoted amid its own
        head = KNeighborsRegressor() if numeric else KNeighborsClassifier(weights="distance")
    elif numeric:
        raise ProbeError("a logistic probe needs classes, but the target is numeric: use the ridge or the knn probe.")
    else:
        head = LogisticRegression(max_iter=2000, random_state=seed)
    return make_pipeline(StandardScaler(), head)


def check_labels(y: Array | None) -> Array:
    """Return labels that a probe can be fitted on.

    Raises
    ------
    ProbeError
        If there are none, or one class only.
    """
    if y is None:
        raise ProbeError("the data have no labels, and a probe needs them.")
    if len(y) < 2:
        raise ProbeError("there is one training case only, and a probe needs two or more.")
    if not is_numeric(y) and len(np.unique(y)) < 2:
        raise ProbeError("the training labels hold one class only, and a probe needs two or more.")
    return y


def refuse_missing(labels: Any, instead: str, name: str = "labels") -> None:
    """Raise ValueError where labels are missing, which says what to do `instead` of giving them.

    Examples
    --------
    >>> refuse_missing(["calm", None], "leave such series out", "labels in y")
    Traceback (most recent call last):
    ValueError: 1 of 2 labels in y is missing: give each series one, or leave such series out.
    """
    found = np.asarray(labels)
    if found.dtype.kind in "SU":  # NumPy writes a missing one among texts as text
        found = np.asarray(labels, dtype=object)
    missing = sum(map(is_missing, found.ravel()))
    if missing:
        are = "is" if missing == 1 else "are"
        raise ValueError(f"{missing} of {found.size} {name} {are} missing: give each series one, or {instead}.")


def is_missing(label: Any) -> bool:
    """Return whether a label is none: None, NaN, or pandas' NaT or NA.

    Examples
    --------
    >>> [is_missing(label) for label in (None, float("nan"), "calm", 0)]
    [True, True, False, False]
    """
    try:
        return label is None or bool(label != label)
    except TypeError:  # NA does not say whether it is itself
        return True


def draw_labels(y: Array, fraction: float, seed: int) -> NDArray[np.int64]:
    """Draw a stratified share of the training cases, at least one a class.

    Parameters
    ----------
    y : array of shape (n_cases,)
        Labels.
    fraction : float
        Share of the cases, in (0, 1].
    seed : int

    Returns
    -------
    int64 array
        Sorted indices of the drawn cases.

    Raises
    ------
    ProbeError
        If the fraction is not in (0, 1].

    Examples
    --------
    >>> len(draw_labels(np.repeat([0, 1], 50), 0.1, seed=0))
    10
    """
    if not 0 < fraction <= 1:
        raise ProbeError(f"a fraction of labels must lie in (0, 1], but is {fraction:g}.")
    if fraction == 1:
        return np.arange(len(y))
    rng = np.random.default_rng(seed)
    if is_numeric(y):
        return np.sort(rng.choice(len(y), max(2, count_of(fraction, len(y))), replace=False))
    names, counts = np.unique(y, return_counts=True)
    first = np.array([rng.choice(np.flatnonzero(y == c)) for c in names])
    wanted = max(count_of(fraction, len(y)), len(first))
    if wanted == len(first):
        return np.sort(first)
    alone = np.isin(y, names[counts == 1])  # the only case of a class is drawn, and the others are split
    cases = np.flatnonzero(~alone)
    try:
        drawn, _ = train_test_split(cases, train_size=wanted - alone.sum(), stratify=y[cases], random_state=seed)
        drawn = np.concatenate([drawn, np.flatnonzero(alone)])
    except ValueError:  # fewer are left than there are classes: one of each class, then any
        rest = np.setdiff1d(np.arange(len(y)), first)
        return np.sort(np.concatenate([first, rng.choice(rest, wanted - len(first), replace=False)]))
    return np.sort(np.concatenate([drawn, first[~np.isin(y[first], y[drawn])]]))


def count_of(fraction: float, n: int) -> int:
    """Return how many of `n` cases a fraction is, rounded down, but not for what a product of floats falls short.

    Examples
    --------
    >>> count_of(0.29, 100), count_of(0.05, 577)
    (29, 28)
    """
    return int(fraction * n + 1e-9)


class Score(NamedTuple):
    """Result of one probe: accuracy of a classifier, or R2 and RMSE of a regression."""

    accuracy: float | None
    r2: float | None = None
    rmse: float | None = None


def score(head: Pipeline | LeanRidge, Z: Array, y: Array) -> Score:
    """Score a fitted head on embeddings Z [n, F] and labels y [n]."""
    predicted = head.predict(Z)
    if is_numeric(y):
        return Score(None, float(r2_score(y, predicted)), float(root_mean_squared_error(y, predicted)))
    return Score(float(np.mean(predicted == y)))


def probe(
    Z_train: Array,
    y_train: Array,
    Z_test: Array,
    y_test: Array,
    *,
    kind: Kind = "ridge",
    fraction: float = 1.0,
    seeds: tuple[int, ...] = (0,),
) -> list[Score]:
    """Fit a head on a share of the training part, once a seed, and score it on the whole test part.

    Parameters
    ----------
    Z_train, Z_test : array of shape (n_cases, n_features)
        Frozen embeddings.
    y_train, y_test : array of shape (n_cases,)
        Classes, or floats for a regression.
    kind : {"ridge", "logistic", "knn"}, default="ridge"
        See `make_head`; with fewer than 5 labels "knn" asks all of them.
    fraction : float, default=1.0
        Share of the training labels that is used.
    seeds : tuple of int, default=(0,)
        One draw of labels each.

    Returns
    -------
    list of Score
        One a seed.

    Raises
    ------
    ProbeError
        If the labels cannot be probed.

    Examples
    --------
    >>> Z, y = np.array([[0.0], [0.1], [1.0], [1.1]]), np.array([0, 0, 1, 1])
    >>> probe(Z, y, Z, y)
    [Score(accuracy=1.0, r2=None, rmse=None)]
    """
    y_train = check_labels(y_train)
    scores = []
    for seed in seeds:
        drawn = draw_labels(y_train, fraction, seed)
        Z, y = (Z_train, y_train) if len(drawn) == len(y_train) else (Z_train[drawn], y_train[drawn])
        scores.append(score(fit_head(Z, y, kind, seed), Z_test, y_test))
    return scores


def fit_head(Z: Array, y: Array, kind: Kind, seed: int) -> Pipeline | LeanRidge:
    """Fit a head on embeddings Z [n, F] and labels y [n], the ridge of many numbers in little memory."""
    if kind == "ridge" and Z.size > LARGE:
        return LeanRidge(PENALTIES.tolist()).fit(Z, y)
    head = make_head(kind, numeric=is_numeric(y), seed=seed)
    if kind == "knn":
        head.set_params(**{f"{head.steps[-1][0]}__n_neighbors": min(5, len(y))})
    return head.fit(Z, y)


def majority(y_train: Array, y_test: Array) -> Score:
    """Score the guess that needs no features: the most frequent class, or the mean of the training part.

    Examples
    --------
    >>> majority(np.array([0, 0, 1]), np.array([0, 1])).accuracy
    0.5
    """
    if is_numeric(y_train):
        guess = np.full(len(y_test), y_train.mean())
        return Score(None, float(r2_score(y_test, guess)), float(root_mean_squared_error(y_test, guess)))
    classes, counts = np.unique(y_train, return_counts=True)
    return Score(float(np.mean(y_test == classes[counts.argmax()])))


def cross_validate(Z: Array, y: Array, *, folds: int = 5) -> float | None:
    """Return the ridge probe's accuracy by cross-validation inside the training part.

    This is what choices may look at; the test part is scored once, after training. A class of one case cannot be held
    out and fitted on, and is left out; where fewer than two classes are left, there is nothing to tell apart: None.

    Examples
    --------
    >>> Z, y = np.repeat([0.0, 1.0], 10)[:, None], np.repeat([0, 1], 10)
    >>> cross_validate(Z, y)
    1.0
    """
    names, counts = np.unique(y, return_counts=True)
    if is_numeric(y) or (counts > 1).sum() < 2:
        return None
    if counts.min() < 2:
        kept = np.isin(y, names[counts > 1])
        Z, y, counts = Z[kept], y[kept], counts[counts > 1]
    split = StratifiedKFold(min(folds, int(counts.min())), shuffle=True, random_state=0)
    # of a small probe most of the time would go into scikit-learn's checks
    fits = ((LeanRidge(PENALTIES.tolist()).fit(Z[a], y[a]), b) for a, b in split.split(Z, y))
    return float(np.mean([np.mean(head.predict(Z[held_out]) == y[held_out]) for head, held_out in fits]))
