"""A run's diagnostics epoch by epoch, and the collapse phase in them.

The collapse phase is the early one of Ennadir et al. 2026, "Understanding Early Collapse in Predictive World-Model
Pretraining": the loss falls while latents get worse than random ones. Here, without labels, while what predictions
carry of the series is below its value at initialisation, or the effective rank is and predictions carry next to
nothing.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

# A phase begins below the first share of the rank at initialisation and ends above the second, so that a rank that
# trembles around its first value is none. Measured on FordA: healthy EMA runs dip to 0.77, others stay above 0.98.
PHASE_ENTER, PHASE_LEAVE = 0.9, 0.95
# Predictions that carry this share of what they could of their series are no phase, whatever the rank: a trained
# encoder may need fewer directions than a random one. Measured: below 0.1 in the phase, 0.18 to 0.7 at the end of
# healthy runs.
SEEING = 0.15
# How far the share of the cross-series gap has to be below, likewise: of a random initialisation it is about 0.
SHARE_ENTER, SHARE_LEAVE = 0.05, 0.025
# The loss counts as fallen once it is below its highest epoch by this share; less is noise of the batches.
LOSS_FALL = 0.01


class EpochDiagnostics(NamedTuple):
    """What is known after an epoch. What was not measured is nan, and nothing is concluded from it.

    The first record of a history is the initialisation, epoch 0, before any step. "Last level" is the encoder's last
    level alone, of whole series, all tokens together; "latents" are what the loss compares, so the target's at the
    predicted levels, normalised and projected as in the objective (batch norm in a projector as in training).

    Attributes
    ----------
    epoch : int
    loss : float
        Mean over the epoch's steps; nan at initialisation.
    effective_rank : float
        Of the last level, centred.
    relative_spread : float
        Of the last level.
    latent_spread : float
        `tsjepa.spread.spread` of the latents.
    latent_effective_rank : float
        Of the latents, centred.
    cross_series_share : float
        Of predictions against latents.
    position_share : float
        Of the latents.
    sigreg_score : float
        Of the latents; where the encoder is trained through them, so that a regularizer acts on them, as it sees them:
        less the batch's mean at each position, if the objective takes that off.
    cross_series_gap, normalized_std, encoder_target_gap, relative_gap : float
        Recorded beside the others. No verdict reads these or the score, nor any of those that follow.
    parameter_mismatch : float
        Largest spectral norm of a weight less its EMA: of the bound of Theorem 4.2 the parameter-mismatch term, which
        bounds no output of a transformer, see `tsjepa.bounds.parameter_mismatch`.
    dead_dimensions : float
        Of the last level.
    uniformity, self_cluster : float
        Of series, as mean tokens of the last level.
    lidar, alignment : float
        Of two masked views of each series, as mean visible tokens; the paper of LiDAR takes ten.
    predictor_sensitivity : float
        Along one random direction a series.
    probe : float
        Accuracy of a probe on the last level, where there are labels.
    step : float
        Optimiser steps so far; nan in tables of before it was recorded.

    Examples
    --------
    >>> EpochDiagnostics(0, effective_rank=20.5).relative_spread
    nan
    """

    epoch: int
    loss: float = math.nan
    effective_rank: float = math.nan
    relative_spread: float = math.nan
    latent_spread: float = math.nan
    latent_effective_rank: float = math.nan
    cross_series_share: float = math.nan
    position_share: float = math.nan
    cross_series_gap: float = math.nan
    normalized_std: float = math.nan
    encoder_target_gap: float = math.nan
    relative_gap: float = math.nan
    sigreg_score: float = math.nan
    probe: float = math.nan
    parameter_mismatch: float = math.nan
    dead_dimensions: float = math.nan
    uniformity: float = math.nan
    self_cluster: float = math.nan
    lidar: float = math.nan
    alignment: float = math.nan
    predictor_sensitivity: float = math.nan
    step: float = math.nan


def fallen(losses: Sequence[float]) -> list[bool]:
    """Tell for each loss whether it lies below the highest so far by more than noise; where it is nan, as before it.

    Examples
    --------
    >>> fallen([math.nan, 0.9, 0.899, 0.5, math.nan])
    [False, False, False, True, True]
    """
    below, lower, highest = [], False, -math.inf
    for loss in losses:
        if not math.isnan(loss):
            lower = loss < highest - LOSS_FALL * abs(highest)
        below.append(lower)
        highest = max(highest, loss) if math.isfinite(loss) else highest
    return below


def phase(history: Sequence[EpochDiagnostics]) -> list[bool]:
    """Tell for each epoch whether it lies in a collapse phase.

    Parameters
    ----------
    history : sequence of EpochDiagnostics
        In the order of training, the initialisation first.

    Returns
    -------
    list of bool
        One an epoch; never True for initialisation and the first epoch, before which there is no loss to fall from.

    Examples
    --------
    >>> ranks, losses = (20, 15, 12, 21), (math.nan, 0.9, 0.5, 0.4)
    >>> pairs = zip(losses, ranks, strict=True)
    >>> phase([EpochDiagnostics(k, loss, effective_rank=rank) for k, (loss, rank) in enumerate(pairs)])
    [False, False, True, False]
    """
    inside = [False]
    for now, lower in zip(history[1:], fallen([record.loss for record in history[1:]]), strict=True):
        inside.append(lower and bool(below_start(history[0], now, already=inside[-1])))
    return inside


def below_start(start: EpochDiagnostics, now: EpochDiagnostics, *, already: bool) -> str:
    """Say which label-free measure is below its value at initialisation; empty if none is."""
    rank, share = (PHASE_LEAVE, SHARE_LEAVE) if already else (PHASE_ENTER, SHARE_ENTER)
    seeing = now.cross_series_share >= SEEING
    if now.effective_rank < rank * start.effective_rank and not seeing:
        return f"the effective rank, {now.effective_rank:.1f}, is below its {start.effective_rank:.1f} at the start"
    if now.cross_series_share < start.cross_series_share - share:
        now_share, start_share = now.cross_series_share, start.cross_series_share
        return f"what predictions carry of the series, {now_share:.2f}, is below its {start_share:.2f} at the start"
    return ""
