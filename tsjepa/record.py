"""The diagnostics of an epoch from plain tensors: of a model of this library, or of any other JEPA.

Pure functions: float64 on the CPU, without gradient, nothing gathered over ranks.
"""

import math

import torch
from torch import Tensor

from tsjepa.batches import keyed_generator
from tsjepa.diagnostics import as_float64, effective_rank, encoder_target_gap, lidar, relative_gap
from tsjepa.embedding import pool
from tsjepa.gaussianity import sigreg_score
from tsjepa.history import EpochDiagnostics
from tsjepa.positional import cross_series, position_share
from tsjepa.spread import (
    alignment,
    dead_dimensions,
    normalized_std,
    relative_spread,
    self_cluster,
    spread,
    uniformity,
)
from tsjepa.threads import threads

# Directions of the SIGReg score, the same at each epoch
SLICES_KEY = (0, 2**31, 0)
# What says which tokens and predictions count, in the order in which it is checked
MASKS = ("valid", "token_valid")


def epoch_diagnostics(
    epoch: int,
    *,
    last: Tensor,
    target: Tensor,
    predicted: Tensor,
    index: Tensor,
    loss: float = math.nan,
    step: float = math.nan,
    valid: Tensor | None = None,
    token_valid: Tensor | None = None,
    slow: Tensor | None = None,
    latents: Tensor | None = None,
    regularized: bool = False,
    probe: float = math.nan,
) -> EpochDiagnostics:
    """Measure any JEPA after an epoch: what `tsjepa.judge` reads, from plain tensors.

    Measure the same series with the same masks each time, some dozens at least, in evaluation mode; first before
    training, as epoch 0, since the verdict compares with that.

    Parameters
    ----------
    epoch : int
        Finished epochs; 0 is the initialisation.
    last : Tensor of shape (B, N, D)
        The encoder's last level for whole series, nothing hidden: N tokens of each of B series.
    target : Tensor of shape (B, N, E)
        What is predicted, at all positions, as the loss sees it: normalised and projected if it is there.
    predicted : Tensor of shape (B, M, E)
        Predictions for M hidden tokens of each series.
    index : int Tensor of shape (B, M)
        Their positions, from 0 to N - 1.
    loss : float, optional
        Mean over the epoch's steps; without any no collapse phase is seen, and an epoch without one is neither the
        beginning nor the end of a fall.
    step : float, optional
        Optimiser steps so far; without it five epochs of predictions that carry nothing of their series count, however
        few steps they had.
    valid : bool Tensor of shape (B, M), optional
        Which predictions count; None means all.
    token_valid : bool Tensor of shape (B, N), optional
        Which tokens count; None means all. Predictions of the others do not count either.
    slow : Tensor of shape (B, N, D), optional
        The EMA target's last level for the same series, where there is one.
    latents : Tensor of shape (B, N, E), optional
        The target before a mean over the batch is taken from it, where the loss sees it less that mean, of which
        `position_share` would always be 0; None where it is `target`.
    regularized : bool, default=False
        Whether a regularizer acts on `target`, as it does where the encoder is trained through it: `sigreg_score` is
        then that of `target`, else that of `latents`.
    probe : float, optional
        Accuracy of a probe, which is quoted beside the verdict.

    Returns
    -------
    EpochDiagnostics
        Without `parameter_mismatch`, `lidar`, `alignment` and `predictor_sensitivity`, which no verdict reads.

    Raises
    ------
    ValueError
        If shapes or types do not fit, a position is out of range, there is nothing to measure, or a number that counts
        is not finite.

    Examples
    --------
    >>> tokens = torch.randn(32, 10, 16, generator=torch.Generator().manual_seed(0))
    >>> index = torch.arange(5).expand(32, 5)
    >>> record = epoch_diagnostics(0, last=tokens, target=tokens, predicted=tokens[:, :5], index=index)
    >>> round(record.cross_series_share, 3), record.effective_rank > 15
    (1.0, True)
    """
    check(last, target, predicted, index, valid=valid, token_valid=token_valid, slow=slow, latents=latents)
    found = measure(
        last,
        target if latents is None else latents,
        target,
        predicted,
        index.long(),  # to index by int32 or uint8 is not possible everywhere
        predicted_valid=valid,
        token_valid=token_valid,
        slow=slow,
        regularized=regularized,
    )
    return EpochDiagnostics(epoch, loss, probe=probe, step=step, **found)


def check(last: Tensor, target: Tensor, predicted: Tensor, index: Tensor, **optional: Tensor | None) -> None:
    """Raise ValueError, naming the first tensor at fault, unless all of them fit together."""
    given = {"last": last, "target": target, "predicted": predicted, "index": index}
    given |= {name: tensor for name, tensor in optional.items() if tensor is not None}
    check_types(given)
    check_shapes(given)
    check_numbers(given)


def check_types(given: dict[str, Tensor]) -> None:
    """Refuse what is no tensor, masks of another type than bool, and latents that are not floating-point numbers."""
    for name, tensor in given.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a torch.Tensor, but is a {type(tensor).__name__}.")
        if name in MASKS and tensor.dtype != torch.bool:
            raise ValueError(f"{name} must be of type torch.bool, but is {tensor.dtype}: give {name}.bool().")
        if name not in (*MASKS, "index") and not tensor.is_floating_point():
            raise ValueError(f"{name} must hold floating-point numbers, but is {tensor.dtype}: give {name}.float().")


def check_shapes(given: dict[str, Tensor]) -> None:
    """Refuse shapes that do not fit together, and positions that are none."""
    last, target, index = given["last"], given["target"], given["index"]
    if last.ndim != 3 or not last.numel():
        raise ValueError(f"last must hold tokens [B, N, D] of some series, but has the shape {list(last.shape)}.")
    rows, n_tokens, dim = last.shape
    if target.ndim != 3 or target.shape[:2] != last.shape[:2]:
        raise ValueError(f"target must be [{rows}, {n_tokens}, E], as last is, but is {list(target.shape)}.")
    if index.ndim != 2 or len(index) != rows or not index.numel():
        raise ValueError(f"index must hold the positions [{rows}, M] of predictions, but is {list(index.shape)}.")
    if index.is_floating_point() or index.dtype == torch.bool or int(index.min()) < 0 or int(index.max()) >= n_tokens:
        raise ValueError(f"index must hold whole numbers from 0 to {n_tokens - 1}, the positions of {n_tokens} tokens.")
    wanted = {
        "predicted": [*index.shape, target.shape[2]],
        "valid": [*index.shape],
        "token_valid": [rows, n_tokens],
        "slow": [rows, n_tokens, dim],
        "latents": [*target.shape],
    }
    for name, shape in wanted.items():
        if name in given and [*given[name].shape] != shape:
            raise ValueError(f"{name} must be {shape}, but is {list(given[name].shape)}.")


def check_numbers(given: dict[str, Tensor]) -> None:
    """Refuse masks that leave nothing to measure, and numbers among the rest that are not finite."""
    token_valid = given.get("token_valid")
    if token_valid is not None and not bool(token_valid.any()):
        raise ValueError("token_valid leaves no token to measure: True means that it counts.")
    predictions = counted_predictions(given["index"], given.get("valid"), token_valid)
    if predictions is not None and not bool(predictions.any()):
        raise ValueError(
            f"no prediction is left to measure by {' and '.join(name for name in MASKS if name in given)}: True means "
            "that it counts, and so must the token at its position."
        )
    for name, tensor in given.items():
        those = predictions if name == "predicted" else token_valid
        if name not in (*MASKS, "index") and not bool(chosen_tokens(tensor, those).isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite.")


def counted_predictions(index: Tensor, valid: Tensor | None, token_valid: Tensor | None) -> Tensor | None:
    """Return which predictions count [B, M]: valid ones of tokens that count; None for all.

    Examples
    --------
    >>> counted_predictions(torch.tensor([[0, 2]]), None, torch.tensor([[True, True, False]]))
    tensor([[ True, False]])
    """
    if token_valid is None:
        return valid
    there = token_valid.cpu().gather(1, index.cpu().long())
    return there if valid is None else there & valid.cpu()


def measure(
    last: Tensor,
    latents: Tensor,
    target: Tensor,
    predicted: Tensor,
    index: Tensor,
    *,
    predicted_valid: Tensor | None = None,
    token_valid: Tensor | None = None,
    slow: Tensor | None = None,
    views: Tensor | None = None,
    regularized: bool = False,
) -> dict[str, float]:
    """Return the fields of `EpochDiagnostics` that follow from tensors; see `epoch_diagnostics`.

    Parameters
    ----------
    last, latents, target, predicted, index, predicted_valid, token_valid, slow, regularized
        See there; `latents` are given, also where they are `target`.
    views : Tensor of shape (B, V, D), optional
        The mean visible token of two or more masked views of each series.
    """
    with threads(1):  # of matrices as small as these a second thread takes longer to wake than it saves
        tokens, chosen = chosen_tokens(last, token_valid), chosen_tokens(latents, token_valid)
        found = {
            "effective_rank": float(effective_rank(tokens, centred=True)),
            "relative_spread": float(relative_spread(tokens)),
            "latent_spread": float(spread(chosen)),
            "latent_effective_rank": float(effective_rank(chosen, centred=True)),
            "position_share": float(position_share(latents, token_valid)),
            "normalized_std": float(normalized_std(tokens)),
            "dead_dimensions": float(dead_dimensions(tokens)),
        }
        if len(latents) > 1:
            gap, share = cross_series(predicted, target, index, predicted_valid, token_valid)
            there = None if token_valid is None else token_valid.cpu()
            # a mean in 16 bits has few digits, and its sum may leave their range
            found |= compare_means(pool(as_float64(last), there, "mean"), views, there)
            found |= {"cross_series_share": float(share), "cross_series_gap": float(gap)}
        if slow is not None:
            other = chosen_tokens(slow, token_valid)
            found["encoder_target_gap"] = float(encoder_target_gap(tokens, other))
            found["relative_gap"] = float(relative_gap(tokens, other))
    # fewer samples that are zero are not told from a normal law
    scored = chosen_tokens(target, token_valid) if regularized else chosen
    score = float(sigreg_score(scored, keyed_generator(*SLICES_KEY))) if len(scored) >= 3 else math.nan
    return {**found, "sigreg_score": score}


def compare_means(whole: Tensor, views: Tensor | None, token_valid: Tensor | None) -> dict[str, float]:
    """Return what compares series as mean tokens.

    Parameters
    ----------
    whole : Tensor of shape (B, D)
        Of whole series.
    views : Tensor of shape (B, V, D), optional
        Of two or more masked views.
    token_valid : bool Tensor of shape (B, N), optional
        Which tokens count; sequences without any have no part, in views those of one token neither, which is all that
        each view of them shows, and of less than two there is nothing to compare.
    """
    if token_valid is not None:
        whole, views = whole[token_valid.any(1)], None if views is None else views[can_hide(token_valid)]
    if len(whole) < 2:
        return {}
    two = {}
    if views is not None and len(views) > 1:
        two = {"lidar": lidar(views), "alignment": alignment(views[:, 0], views[:, 1])}
    # in one dimension all samples lie on one line
    crowding = {"self_cluster": self_cluster(whole)} if whole.shape[1] > 1 else {}
    found = {"uniformity": uniformity(whole), **crowding, **two}
    return {name: float(value) for name, value in found.items()}


def can_hide(token_valid: Tensor | None) -> Tensor | None:
    """Return which sequences have tokens enough for some to be hidden and others to be seen, None for all."""
    return None if token_valid is None else token_valid.sum(1) > 1


def chosen_tokens(tokens: Tensor, token_valid: Tensor | None) -> Tensor:
    """Return the ones of tokens [B, N, D] that count as samples [n, D]."""
    return tokens.flatten(0, 1) if token_valid is None else tokens[token_valid]
