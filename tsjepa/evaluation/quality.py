"""What one model's latents are worth without labels: the diagnostics of training and more, in one place.

Tokens are looked at on the sample of training series that `tsjepa.monitor` watches, so that a number here is that of
the last row of a run's `diagnostics.csv`; series on a larger one.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsjepa.arrays import Series
from tsjepa.batches import keyed_generator, tensors
from tsjepa.diagnostics import as_float64, effective_rank, participation_ratio, spectrum
from tsjepa.embedding import pool, sample_cases
from tsjepa.evaluation.finite import Number, number
from tsjepa.monitor import Monitor, measuring
from tsjepa.objective import JEPA
from tsjepa.positional import predictor_sensitivity
from tsjepa.record import can_hide, chosen_tokens, compare_means
from tsjepa.spread import dead_dimensions
from tsjepa.views import masked_views, sensitivity
from tsjepa.world import WorldModel

# Token sequences of which whole series are compared: more than encoders are wide, as LiDAR needs
SEQUENCES = 512
# Masked views of each, as in LiDAR's paper
VIEWS = 10
# Fields of the training's own record, in the order of the table
RECORDED = (
    *("effective_rank", "latent_effective_rank", "normalized_std", "relative_spread", "latent_spread"),
    *("sigreg_score", "cross_series_gap", "cross_series_share", "position_share"),
    *("encoder_target_gap", "relative_gap", "parameter_mismatch"),
)
# Numbers that target, projector or predictor has a part in; labels move the encoder alone, away from these
OF_PRETRAINING = (
    *("latent_effective_rank", "latent_spread", "sigreg_score", "cross_series_gap", "cross_series_share"),
    *("position_share", "encoder_target_gap", "relative_gap", "parameter_mismatch", "predictor_sensitivity"),
)


class Quality(NamedTuple):
    """What is known of a model without labels.

    Attributes
    ----------
    numbers : dict of str to float or None
        None where a number does not exist: of one series, without an EMA target, or of a fine-tuned encoder.
    spectrum : float64 array of shape (D,)
        Eigenvalues of the covariance of the last level's tokens, descending.
    position_variance : float64 array of shape (N,)
        Variance over series at each position, mean over dimensions; nan where there are no two series.
    """

    numbers: dict[str, Number]
    spectrum: NDArray[np.float64]
    position_variance: NDArray[np.float64]


def measure(model: JEPA, series: Series, seed: int = 0, *, tuned: bool = False) -> Quality:
    """Measure a model on series, with no label.

    Parameters
    ----------
    model : JEPA
        Left in its mode.
    series : Series
        Training series, of at least two patches.
    seed : int, default=0
        Of masked views and directions; the record of training has its own fixed masks.
    tuned : bool, default=False
        Whether the encoder was fine-tuned: numbers that compare it with target or predictor of its pretraining, or are
        of these, are left out.

    Returns
    -------
    Quality

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.build import build_model, configure, resolve
    >>> series = as_series(np.random.default_rng(0).normal(size=(20, 60)))
    >>> found = measure(build_model(resolve(configure("tiny"), 60), 1), series)
    >>> len(found.spectrum), found.numbers["encoder_target_gap"]
    (32, None)
    """
    monitor = Monitor(model, series)
    with torch.no_grad(), measuring(model):
        record = monitor.record(0, math.nan)
        x, valid, attend = sequences(model, monitor.x, monitor.valid)
        (last,) = model.encoder(x, valid=valid, attend=attend)
        tokens = chosen_tokens(last, attend)
        numbers = {name: number(getattr(record, name)) for name in RECORDED}
        numbers |= {
            "effective_rank_uncentred": number(effective_rank(tokens)),
            "participation_ratio": number(participation_ratio(tokens)),
            "dead_dimensions": number(dead_dimensions(tokens)),
            "predictor_sensitivity": number(answer(model, monitor.x, monitor.valid, seed)),
        }
        numbers |= compare_series(model, *sequences(model, *sample(series, model.encoder.channels)), seed)
    numbers |= dict.fromkeys(OF_PRETRAINING if tuned else ())
    return Quality(numbers, spectrum(tokens).numpy(), position_variance(last, attend).numpy())


def sample(series: Series, channels: int) -> tuple[Tensor, Tensor | None]:
    """Return series of about SEQUENCES token sequences; the sample that training watches is part of it."""
    return tensors(series.take(sample_cases(series, channels, SEQUENCES)))


def sequences(model: JEPA, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return values and mask as the encoder takes them, on its device, and which tokens are valid."""
    x, valid = model.encoder.sequences(*to_device(model, x, valid))
    return x, valid, model.encoder.token_valid(valid)


def to_device(model: JEPA, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return values and mask on the model's device."""
    device = next(model.parameters()).device
    return x.to(device), None if valid is None else valid.to(device)


def answer(model: JEPA, x: Tensor, valid: Tensor | None, seed: int) -> Tensor:
    """Return how strongly predictions answer to the context, of one draw of masks."""
    generator = keyed_generator(seed, 2**31, 1)
    if isinstance(model, WorldModel):
        return foresight(model, x, valid, generator)
    x, valid, attend = sequences(model, x, valid)
    return sensitivity(model, masked_views(model, x, valid, attend, generator, 1), generator, rows=can_hide(attend))


def foresight(model: WorldModel, x: Tensor, valid: Tensor | None, generator: torch.Generator) -> Tensor:
    """Return how strongly a world model's predictions answer to its latents; blind patches have no part in either."""
    told = model.inputs(*to_device(model, x, valid))
    x, valid, attend = sequences(model, x, valid)
    (tokens,) = model.encoder(x, valid=valid, attend=attend)
    latents = model.project(tokens, attend)
    counted = model.mask(len(latents), latents.shape[1], generator, attend).target_valid
    if attend is not None and counted is not None:
        rows = counted.any(1)
        latents, attend, counted = latents[rows], attend[rows], counted[rows]
        told = None if told is None else told[rows]

    def predict(z: Tensor) -> Tensor:
        predicted = model.predictor(z, told, horizons=model.horizons, attend=attend)
        return predicted if counted is None else predicted * counted.unsqueeze(-1)

    return predictor_sensitivity(predict, latents, generator, valid=attend)


def compare_series(model: JEPA, x: Tensor, valid: Tensor | None, attend: Tensor | None, seed: int) -> dict[str, Number]:
    """Return the numbers that compare series, or masked views of them, as mean tokens of the last level.

    A world model hides nothing, so it has no views.
    """
    found: dict[str, Number] = dict.fromkeys(("lidar", "alignment", "uniformity", "self_cluster"))
    views = None
    if not isinstance(model, WorldModel):
        views = masked_views(model, x, valid, attend, keyed_generator(seed, 2**31, 2), VIEWS).means
    (last,) = model.encoder(x, valid=valid, attend=attend)
    compared = compare_means(pool(last, attend, "mean"), views, attend)
    return found | {name: number(value) for name, value in compared.items()}


def position_variance(tokens: Tensor, attend: Tensor | None) -> Tensor:
    """Return the variance over series at each position of tokens [B, N, D], mean over dimensions.

    Examples
    --------
    >>> position_variance(torch.tensor([[[1.0], [2.0]], [[1.0], [4.0]]]), None).tolist()
    [0.0, 2.0]
    """
    z = as_float64(tokens)
    weight = torch.ones(z.shape[:2], dtype=torch.float64) if attend is None else attend.cpu().double()
    weight = weight.unsqueeze(-1)
    count = weight.sum(0)
    mean = (weight * z).sum(0) / count.clamp(min=1)
    squares = (weight * (z - mean).square()).sum(0)
    return torch.where(count > 1, squares / (count - 1).clamp(min=1), torch.nan).mean(-1)
