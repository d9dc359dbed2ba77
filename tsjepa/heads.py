"""The linear head of a classifier: fitted on frozen embeddings, trained on with the encoder, kept in its checkpoint."""

from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_class_weight

from tsjepa.checkpoint import HEAD, CheckpointError
from tsjepa.probe import Array, ProbeError, check_labels, is_numeric, make_head

Floats = NDArray[np.float64]
# What scikit-learn calls so: how much a label counts, by its class
ClassWeight = Literal["balanced"] | dict[Any, float] | None
FOLDS = 5
# Factors of the ridge's decisions, which aim at -1 and 1, and the one where no label can be held out to find it
SCALES, COLD_SCALE = np.geomspace(0.1, 10, 41), 2.0
PARTS = ("mean", "scale", "weight", "bias", "prior")
# Types of classes that a checkpoint holds
PLAIN = (bool, int, float, str)


class LinearHead(NamedTuple):
    """A linear classifier on standardised embeddings of F features.

    Attributes
    ----------
    classes : array of shape (n_classes,)
        Sorted labels.
    mean, scale : float64 array of shape (F,)
        By which features are standardised.
    weight : float64 array of shape (n_classes, F)
    bias : float64 array of shape (n_classes,)
    prior : float64 array of shape (n_classes,)
        Logarithm of the classes' shares of the training labels, as they count: the logits of what has no value.
    """

    classes: Array
    mean: Floats
    scale: Floats
    weight: Floats
    bias: Floats
    prior: Floats

    def logits(self, Z: Array) -> Floats:
        """Return the logits [n_cases, n_classes] of embeddings Z [n_cases, F]; without a value, those of the prior."""
        found = (Z.astype(np.float64) - self.mean) / self.scale @ self.weight.T + self.bias
        return np.where(without_values(Z)[:, None], self.prior, found)

    def predict(self, Z: Array) -> Array:
        """Return the most probable classes [n_cases] of embeddings Z [n_cases, F]."""
        return self.classes[self.logits(Z).argmax(1)]

    def plain(self) -> dict[str, Any]:
        """Return it as plain types and tensors, as a checkpoint holds it.

        Raises
        ------
        ValueError
            If the classes are something else than text, numbers and times.
        """
        names = {"classes": plain_classes(self.classes), "dtype": self.classes.dtype.str}
        return {**names, **{name: torch.tensor(getattr(self, name)) for name in PARTS}}


def without_values(Z: Array) -> NDArray[np.bool_]:
    """Return which embeddings [n_cases, F] are zeros, as those of series without any value are, and hardly another.

    Examples
    --------
    >>> without_values(np.array([[0.0, 0.0], [0.0, 0.5]]))
    array([ True, False])
    """
    return np.asarray(~Z.any(1))


def plain_classes(classes: Array) -> list[Any]:
    """Return classes as plain types, times as whole numbers: what a checkpoint holds of another type is not loaded.

    Examples
    --------
    >>> plain_classes(np.array(["1970-01-01", "1970-01-03"], "datetime64[D]"))
    [0, 2]
    """
    if classes.dtype.kind in "mM":
        classes = classes.astype(np.int64)
    elif all(isinstance(name, str) for name in classes):
        classes = classes.astype(str)
    plain = classes.tolist()
    if not all(type(name) in PLAIN for name in plain):
        raise ValueError(
            f"labels of type {classes.dtype} cannot be saved: fit with labels that are text, numbers or datetime64."
        )
    return list(plain)


def read_classes(values: dict[str, Any]) -> Array:
    """Return the classes of `LinearHead.plain`, those of older checkpoints without their type."""
    classes, dtype = values["classes"], values.get("dtype", "")
    if not isinstance(classes, list) or not isinstance(dtype, str):
        raise TypeError(f"its classes are {type(classes).__name__} of type {dtype!r}")
    return np.array(classes, dtype or None)


def refuse_other_kind(classes: NDArray[Any], y: Any) -> None:
    """Raise ValueError where classes are text and labels numbers, or the other way round.

    Parameters
    ----------
    classes : array of shape (n_classes,)
    y : array-like of shape (n_cases,)

    Examples
    --------
    >>> refuse_other_kind(np.array(["0", "1"]), [0, 1, 1])
    Traceback (most recent call last):
    ValueError: the classes of this classifier are text ('0', '1'), but y holds numbers: give the names of classes.
    """
    instead = {("text", "numbers"): "give the names of classes", ("numbers", "text"): "give the numbers"}
    kinds = kind_of_labels(classes), kind_of_labels(y)
    if kinds in instead:
        shown = ", ".join([*map(repr, classes.tolist()[:3]), *["..."] * (len(classes) > 3)])
        raise ValueError(
            f"the classes of this classifier are {kinds[0]} ({shown}), but y holds {kinds[1]}: {instead[kinds]}."
        )


def kind_of_labels(labels: Any) -> str:
    """Return whether labels are text, numbers, or anything else.

    Examples
    --------
    >>> kind_of_labels(np.array(["calm", "worn"], object)), kind_of_labels([0, 1]), kind_of_labels([(0,), "calm"])
    ('text', 'numbers', 'others')
    """
    kinds = {
        "text" if isinstance(label, str) else "numbers" if isinstance(label, Real) else "others"
        for label in np.asarray(labels, object).ravel()
    }
    return kinds.pop() if len(kinds) == 1 else "others"


def read_head(content: dict[str, Any], path: str | Path) -> LinearHead:
    """Return the head in a checkpoint's content, see `tsjepa.checkpoint.read_checkpoint`.

    Raises
    ------
    CheckpointError
        If there is none, or it is damaged.

    Examples
    --------
    >>> head = fit_linear_head(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]))
    >>> read_head({"head": head.plain()}, "finetuned.ckpt").predict(np.array([[2.5]]))
    array([1])
    """
    if HEAD not in content:
        raise CheckpointError(
            f"{path} holds an encoder without a head: fine-tune it with `tsjepa finetune {path} --out DIR`, or give it "
            "as checkpoint=... to TSJEPAClassifier and fit that."
        )
    try:
        values = content[HEAD]
        parts = {"prior": values["bias"], **values}  # older checkpoints have none
        head = LinearHead(read_classes(values), *(parts[name].double().numpy() for name in PARTS))
        n_classes, n_features = head.weight.shape
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"the head of {path} is damaged: {error!r}.") from error
    wanted = [(n_classes,), (n_features,), (n_features,), (n_classes, n_features), (n_classes,), (n_classes,)]
    if [part.shape for part in head] != wanted:
        raise CheckpointError(f"the head of {path} is damaged: its parts differ in classes or features.")
    return head


def check_classes(y: Array | None) -> Array:
    """Return labels that a classifier can be fitted on.

    Raises
    ------
    ProbeError
        If there are none, one class only, or numbers to regress on.
    """
    y = check_labels(y)
    if is_numeric(y):
        raise ProbeError("a classifier needs classes, but the target is numeric.")
    return y


def weigh_classes(class_weight: ClassWeight, classes: Array, y: Array) -> Floats | None:
    """Return how much a label of each class counts, None where all count the same.

    Parameters
    ----------
    class_weight : {"balanced"}, dict of class to float, or None
        "balanced" weighs a class by n_cases / (n_classes * its labels); a class that a dict leaves out counts 1.
    classes : array of shape (n_classes,)
        Sorted.
    y : array of shape (n_cases,)
        Labels.

    Raises
    ------
    ValueError
        If it is something else, names what is no class, or a weight is not a finite number above 0.

    Examples
    --------
    >>> y = np.array(["calm", "calm", "calm", "worn"])
    >>> weigh_classes("balanced", np.unique(y), y)
    array([0.66666667, 2.        ])
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str) and class_weight == "balanced":
        return np.asarray(compute_class_weight(class_weight, classes=classes, y=y), np.float64)
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"class_weight is 'balanced', a dict of class to weight, or None, but got {class_weight!r}.")
    if unknown := [name for name in class_weight if name not in set(classes)]:
        raise ValueError(f"class_weight names {unknown[0]!r}, which is no class: there are {classes.tolist()}.")
    weights = np.array([class_weight.get(name, 1.0) for name in classes], np.float64)
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError(f"a class_weight is a finite number above 0, but they are {weights.tolist()}.")
    return weights


def fit_linear_head(Z: Array, y: Array, *, seed: int = 0, weights: Floats | None = None) -> LinearHead:
    """Fit the ridge probe as a linear head whose logits are its decisions times one scale.

    It predicts what the ridge probe predicts. The scale makes the cross-entropy of held-out labels smallest, in
    stratified cross-validation (temperature scaling, Guo et al. 2017, arXiv 1706.04599); where a class has a single
    label it is 2.

    Parameters
    ----------
    Z : array of shape (n_cases, F)
        Frozen embeddings.
    y : array of shape (n_cases,)
        Two classes or more.
    seed : int, default=0
        Of the folds.
    weights : array of shape (n_classes,), optional
        How much a label of each class counts, see `weigh_classes`.

    Returns
    -------
    LinearHead

    Examples
    --------
    >>> Z, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["a", "a", "b", "b"])
    >>> fit_linear_head(Z, y).predict(np.array([[2.5]]))
    array(['b'], dtype='<U1')
    """
    classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    there = ~without_values(Z)
    if len(np.unique(codes[there])) == len(classes):  # what has no value is answered by the prior, and not by a fit
        Z, codes = Z[there], codes[there]
    scaler, ridge = (step for _, step in make_ridge(weights).fit(Z, codes).steps)
    scale = held_out_scale(Z, codes, seed, weights)
    weight, bias = np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
    if len(classes) == 2:  # scikit-learn gives the second class alone
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    counted = counts if weights is None else counts * weights
    prior = np.log(counted / counted.sum())
    return LinearHead(classes, scaler.mean_, scaler.scale_, scale * weight, scale * bias, prior)


def make_ridge(weights: Floats | None) -> Pipeline:
    """Return the ridge probe of labels that are numbers of classes, each class with its weight."""
    by_class = None if weights is None else dict(enumerate(weights.tolist()))
    return make_head("ridge").set_params(ridgeclassifiercv__class_weight=by_class)


def held_out_scale(Z: Array, codes: Array, seed: int, weights: Floats | None) -> float:
    """Return the factor of the ridge's decisions under which labels that it has not seen are most probable."""
    folds = min(FOLDS, int(np.bincount(codes).min()))
    if folds < 2:
        return COLD_SCALE
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    decisions = cross_val_predict(make_ridge(weights), Z, codes, cv=split, method="decision_function")
    if decisions.ndim == 1:
        decisions = np.stack([-decisions, decisions], 1)
    log_probabilities = torch.from_numpy(SCALES[:, None, None] * decisions).log_softmax(-1).numpy()
    counted = None if weights is None else weights[codes]
    return float(SCALES[np.average(log_probabilities[:, np.arange(len(codes)), codes], 1, counted).argmax()])
