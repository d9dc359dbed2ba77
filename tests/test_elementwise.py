"""A number's result is the same wherever it stands, however many threads compute."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from tsjepa.arrays import Series, as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.elementwise import GELU, GRAIN, in_place
from tsjepa.embedding import embed


@pytest.fixture(params=[1, 2, 3, 5, 7])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [3, 1000, 1111, 3601])
def test_every_number_is_treated_alike(threads: int, rows: int) -> None:
    assert GRAIN % 64 == 0
    for seed in range(4):
        x = (3 * torch.randn(64, generator=torch.Generator().manual_seed(seed))).repeat(rows, 1)
        with torch.inference_mode():
            for found in (in_place(torch.Tensor.sigmoid_, x.clone()), GELU()(x.clone())):
                assert torch.equal(found, found[:1].expand_as(found))


def test_it_is_torchs_function(threads: int) -> None:
    x = torch.randn(3, GRAIN + 11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(in_place(torch.Tensor.sigmoid_, x.clone()), x.sigmoid())
    wanted = nn.GELU()(x)
    with torch.inference_mode():
        torch.testing.assert_close(GELU()(x.clone()), wanted)
    kept = x.clone().requires_grad_()
    GELU()(kept).sum().backward()
    assert kept.grad is not None
    torch.testing.assert_close(kept.detach(), x)


@pytest.mark.parametrize("recipe", ["ts-jepa-paper", "ts-jepa-ema"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_an_embedding_does_not_depend_on_its_place_in_the_batch(threads: int, recipe: str, missing: float) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((3, 128)).cumsum(-1)
    x[random.random(x.shape) < missing] = np.nan
    config = resolve(configure(recipe), 128)
    model = build_model(config, 1).eval()
    for case in range(len(x)):
        series = as_series(np.repeat(x[case : case + 1], 64, 0))
        Z = embed(model.encoder, Series(*series), config.probe)
        np.testing.assert_array_equal(Z, np.repeat(Z[:1], 64, 0))
