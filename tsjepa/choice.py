"""Whether to fine-tune: frozen and fine-tuned encoder compared by cross-validation on the training labels alone."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

from tsjepa.arrays import Series
from tsjepa.embedding import embed
from tsjepa.encoder import Encoder
from tsjepa.finetuning import DEFAULT, Tuned, Tuning, check_labelled, finetune
from tsjepa.heads import Floats, fit_linear_head
from tsjepa.probe import Array
from tsjepa.sections import ProbeConfig

FOLDS = 3
Tune = Literal["auto"] | bool


def comparable(y: Array) -> bool:
    """Return whether labels are enough for `compare`: 3 or more of each class.

    Examples
    --------
    >>> comparable(np.arange(6) % 2), comparable(np.arange(5) % 2)
    (True, False)
    """
    return bool(np.unique(y, return_counts=True)[1].min() >= FOLDS)


class Comparison(NamedTuple):
    """Accuracy of the frozen and of the fine-tuned encoder on held-out training labels, as their classes count."""

    frozen: float
    tuned: float


def compare(
    encoder: Encoder,
    series: Series,
    y: Array,
    probe: ProbeConfig,
    tuning: Tuning = DEFAULT,
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
    weights: Floats | None = None,
) -> Comparison | None:
    """Compare fine-tuning with the frozen encoder by 3-fold stratified cross-validation.

    Parameters
    ----------
    encoder, series, y, probe, tuning, device, seed, weights
        See `tsjepa.finetuning.finetune`.

    Returns
    -------
    Comparison or None
        None where a class has fewer than 3 labels.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1).eval()
    >>> series = Series(np.random.default_rng(0).normal(size=(4, 1, 20)).astype(np.float32))
    >>> compare(encoder, series, np.arange(4) % 2, ProbeConfig()) is None
    True
    """
    if not comparable(y):
        return None
    Z = embed(encoder.to(device), series, probe, device)
    counted = np.ones(len(y)) if weights is None else weights[np.unique(y, return_inverse=True)[1]]
    right = np.zeros(2)
    for fitted, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(Z, y):
        frozen = fit_linear_head(Z[fitted], y[fitted], seed=seed, weights=weights)
        rows, labels = series.take(fitted), y[fitted]
        tuned = finetune(encoder, rows, labels, probe, tuning, device=device, seed=seed, weights=weights)
        Z_tuned = embed(tuned.encoder.to(device), series.take(held_out), probe, device)
        for arm, predicted in enumerate((frozen.predict(Z[held_out]), tuned.head.predict(Z_tuned))):
            right[arm] += np.sum(counted[held_out], where=predicted == y[held_out])
    encoder.cpu()
    return Comparison(*(right / counted.sum()).tolist())


def fit_classifier(
    encoder: Encoder,
    series: Series,
    y: Array,
    probe: ProbeConfig,
    tuning: Tuning = DEFAULT,
    *,
    tune: Tune = True,
    device: str | torch.device = "cpu",
    seed: int = 0,
    weights: Floats | None = None,
) -> tuple[Tuned, Comparison | None]:
    """Fit a head on an encoder, fine-tuned or frozen.

    Parameters
    ----------
    encoder, series, y, probe, tuning, device, seed, weights
        See `tsjepa.finetuning.finetune`.
    tune : {True, False, "auto"}, default=True
        Whether to fine-tune. "auto" keeps the encoder frozen where `compare` does not find fine-tuning better, and
        fine-tunes where there are too few labels to compare.

    Returns
    -------
    Tuned
        The encoder itself where it stays frozen.
    Comparison or None
        What "auto" went by.

    Raises
    ------
    ValueError
        See `tsjepa.finetuning.finetune`.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1).eval()
    >>> series = Series(np.random.default_rng(0).normal(size=(4, 1, 20)).astype(np.float32))
    >>> fitted, found = fit_classifier(encoder, series, np.arange(4) % 2, ProbeConfig(), tune=False)
    >>> fitted.encoder is encoder, found
    (True, None)
    """
    check_labelled(series, y, weights)
    found = None
    if tune == "auto":
        found = compare(encoder, series, y, probe, tuning, device=device, seed=seed, weights=weights)
    wanted = tune is not False if found is None else found.tuned > found.frozen
    if wanted:
        return finetune(encoder, series, y, probe, tuning, device=device, seed=seed, weights=weights), found
    Z = embed(encoder.to(device), series, probe, device)
    return Tuned(encoder.cpu(), fit_linear_head(Z, y, seed=seed, weights=weights)), found
