"""What the tests of the objective share: methods, maskings, small models, and series with and without gaps."""

from functools import partial

import pytest
import torch
from random_values import gen
from torch import Tensor

from tsjepa.build import build_model, configure, resolve
from tsjepa.encoder import Encoder
from tsjepa.masking import bernoulli_mask, block_mask, future_mask, random_mask
from tsjepa.objective import JEPA
from tsjepa.predictor import Predictor
from tsjepa.targets import SelfTarget
from tsjepa.tokenizers import LinearPatches

OBJECTIVES = ("ema", "sigreg", "vicreg")
MASKS = {
    "bernoulli": partial(bernoulli_mask, ratio=0.5),
    "random": partial(random_mask, ratio=0.5),
    "block": partial(block_mask, ratio=0.5, block_length=2),
    "future": partial(future_mask, ratio=0.5),
}
objectives = pytest.mark.parametrize("objective", OBJECTIVES)
maskings = pytest.mark.parametrize("masking", MASKS)
SMALL = ["encoder.dim=16", "encoder.depth=1", "predictor.dim=16", "regularizer.slices=32", "projector.hidden=32"]


def build(objective: str, masking: str = "random", *overrides: str, n_channels: int = 1) -> JEPA:
    config = configure(
        f"ts-jepa-{objective}", objective, [*SMALL, f"mask.kind={masking}", "mask.ratio=0.5", *overrides]
    )
    return build_model(resolve(config, 60), n_channels)


def sines(cases: int = 32, seed: int = 0) -> Tensor:
    generator = gen(seed)
    frequency, phase = (
        1 + 5 * torch.rand(cases, 2, 1, generator=generator),
        torch.rand(cases, 2, 1, generator=generator),
    )
    t = torch.linspace(0, 1, 60)
    x = torch.sin(2 * torch.pi * (frequency * t + phase)).sum(1, keepdim=True)
    return x + 0.05 * torch.randn(x.shape, generator=generator)


def ragged_valid(cases: int, n_channels: int = 1) -> Tensor:
    """Return series that end early, with a gap, with one token, without any point, and complete ones."""
    valid = torch.ones(cases, n_channels, 60, dtype=torch.bool)
    valid[0, :, 33:] = False
    valid[1, :, 10:31] = False
    valid[2, :, 4:] = False
    valid[3] = False
    return valid


def plain_model(**options) -> JEPA:
    encoder = Encoder(LinearPatches(6, 8), depth=1, heads=2)
    levels = options.get("levels", (-1,))
    predictor = Predictor(8, dim=8, depth=1, heads=2, out_dim=8 * len(levels))
    return JEPA(encoder, predictor, mask=MASKS["random"], **options)


def its_own_target(stop_gradient: bool, **options) -> JEPA:
    encoder = Encoder(LinearPatches(6, 8), depth=1, heads=2)
    target = SelfTarget(encoder, stop_gradient=stop_gradient)
    predictor = Predictor(8, dim=8, depth=1, heads=2)
    return JEPA(encoder, predictor, mask=MASKS["random"], target=target, normalize_target=False, **options)
