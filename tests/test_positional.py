"""Positional collapse and predictor sensitivity against loops over numpy, and known values."""

from functools import partial

import numpy as np
import pytest
import torch
from random_values import gen, normal
from torch import Tensor, nn

from tsjepa.build import build_model, configure, resolve
from tsjepa.masking import bernoulli_mask, random_mask
from tsjepa.positional import cross_series_gap, cross_series_share, position_share, predictor_sensitivity


def cosine(u: np.ndarray, v: np.ndarray) -> float:
    return float(u @ v / np.sqrt((u @ u) * (v @ v)))


def looped_gap(predicted: Tensor, target: Tensor, index: Tensor, valid: Tensor, token_valid: Tensor) -> float:
    p, t = predicted.numpy(), target.numpy()
    gaps = []
    for b, m in valid.nonzero().tolist():
        at = index[b, m]
        if not token_valid[b, at]:
            continue
        others = [cosine(p[b, m], t[c, at]) for c in range(len(t)) if c != b and token_valid[c, at]]
        if others:
            gaps.append(cosine(p[b, m], t[b, at]) - np.mean(others))
    return float(np.mean(gaps))


def everything(shape: tuple[int, ...]) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


def test_positions_that_no_token_has_are_told_with_those_that_there_are() -> None:
    target = normal(3, 4, 2)
    with pytest.raises(IndexError, match=r"^tokens have positions 0 to 3, but 4 to 4 are asked for\.$"):
        cross_series_gap(target[:, :1], target, torch.full((3, 1), 4))


@pytest.mark.parametrize("shape", [(2, 4, 3), (7, 10, 16), (30, 5, 2)])
def test_gap_equals_all_pairs_of_series(shape: tuple[int, int, int]) -> None:
    target = normal(*shape) + 0.5
    index = random_mask(shape[0], shape[1], gen(), ratio=0.6).target
    assert not (index == index[0]).all() or shape[0] == 2  # rows are masked differently
    predicted = normal(*index.shape, shape[2], seed=1) + target.gather(1, index.unsqueeze(-1).expand(-1, -1, shape[2]))
    want = looped_gap(predicted, target, index, everything(index.shape), everything(target.shape[:2]))
    assert cross_series_gap(predicted, target, index).item() == pytest.approx(want)


def test_padding_does_not_count() -> None:
    target, token_valid = normal(6, 8, 4), everything((6, 8))
    token_valid[0, 3:] = False
    token_valid[1:, 0] = False  # position 0 is left to one series
    mask = bernoulli_mask(6, 8, gen(), token_valid, ratio=0.5)
    assert mask.target_valid is not None
    predicted = normal(*mask.target.shape, 4, seed=1)
    want = looped_gap(predicted, target, mask.target, mask.target_valid, token_valid)
    predicted = torch.where(mask.target_valid.unsqueeze(-1), predicted, torch.nan)
    target = torch.where(token_valid.unsqueeze(-1), target, torch.nan)
    got = cross_series_gap(predicted, target, mask.target, mask.target_valid, token_valid)
    assert got.item() == pytest.approx(want)


def test_predictions_where_their_own_series_has_nothing_do_not_count() -> None:
    target, token_valid = normal(5, 7, 4), torch.rand(5, 7, generator=gen()) < 0.6
    index = random_mask(5, 7, gen(), ratio=0.6).target
    assert not token_valid.gather(1, index).all()
    predicted = normal(*index.shape, 4, seed=1) + target.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
    own = target.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
    want, best = (looped_gap(p, target, index, everything(index.shape), token_valid) for p in (predicted, own))
    spoiled = torch.where(token_valid.unsqueeze(-1), target, torch.nan)
    assert cross_series_gap(predicted, spoiled, index, token_valid=token_valid).item() == pytest.approx(want)
    share = cross_series_share(predicted, spoiled, index, token_valid=token_valid).item()
    assert share == pytest.approx(want / best)


def test_perfect_and_position_only_predictions() -> None:
    position = normal(1, 6, 32)
    target = position + normal(40, 6, 32, seed=1)
    index = random_mask(40, 6, gen(), ratio=0.5).target
    own = target.gather(1, index.unsqueeze(-1).expand(-1, -1, 32))
    at_position = position[0][index]
    assert cross_series_share(own, target, index).item() == pytest.approx(1)
    assert cross_series_gap(own, target, index).item() == pytest.approx(0.5, abs=0.05)
    # what every series has in common fits every series alike
    assert cross_series_gap(at_position, target, index).item() == pytest.approx(0, abs=0.02)
    assert cross_series_share(at_position, target, index).item() == pytest.approx(0, abs=0.04)


def test_a_common_part_shrinks_the_gap_and_not_the_share() -> None:
    varying = normal(40, 6, 32)
    index = random_mask(40, 6, gen(), ratio=0.5).target
    pick = index.unsqueeze(-1).expand(-1, -1, 32)
    gaps, shares = [], []
    for common in (0.0, 100.0):
        target = varying + common
        predicted = (0.5 * varying + common).gather(1, pick)
        gaps.append(cross_series_gap(predicted, target, index).item())
        shares.append(cross_series_share(predicted, target, index).item())
    assert gaps[1] < 1e-3 * gaps[0]
    assert min(shares) > 0.4


def test_equal_targets_leave_nothing_to_tell_apart() -> None:
    target = normal(1, 5, 4, dtype=torch.float32).expand(9, 5, 4)
    index = torch.arange(5).expand(9, 5)
    assert cross_series_gap(normal(9, 5, 4, seed=1), target, index).item() == pytest.approx(0, abs=1e-12)
    assert torch.isnan(cross_series_share(normal(9, 5, 4, seed=1), target, index))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_targets_that_differ_by_rounding_alone_leave_nothing_to_tell_apart(dtype: torch.dtype) -> None:
    noise = 1 + (0.5 if dtype.itemsize == 2 else 1) * torch.finfo(dtype).eps * normal(9, 5, 4, seed=1)
    target = (normal(1, 5, 4) * noise).to(dtype)
    index = torch.arange(5).expand(9, 5)
    assert cross_series_gap(target, target, index).item() != 0
    assert torch.isnan(cross_series_share(target, target, index))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_targets_with_a_large_mean_can_be_told_apart(dtype: torch.dtype) -> None:
    target, index = (normal(40, 5, 16) + 20).to(dtype), torch.arange(5).expand(40, 5)
    assert cross_series_share(target, target, index).item() == pytest.approx(1)


def test_one_series_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        cross_series_gap(torch.zeros(1, 1, 2), torch.zeros(1, 3, 2), torch.zeros(1, 1, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(2, 3, 4), (50, 10, 8)])
@pytest.mark.parametrize("scale", [1.0, 1e-20])
def test_position_share_equals_the_ratio_of_variances(shape: tuple[int, int, int], scale: float) -> None:
    z = scale * (normal(*shape) + normal(1, *shape[1:], seed=1))
    rows = z.numpy() / scale
    want = rows.mean(0).var(0).sum() / rows.reshape(-1, shape[2]).var(0).sum()
    assert position_share(z).item() == pytest.approx(want)


def test_position_share_counts_valid_tokens_only() -> None:
    z = normal(9, 5, 3) + normal(1, 5, 3, seed=1)
    valid = torch.rand(9, 5, generator=gen()) < 0.7
    valid[:, 4] = False
    rows, at = z[valid].numpy(), valid.nonzero()[:, 1].numpy()
    means = np.stack([rows[at == p].mean(0) for p in at])
    want = ((means - rows.mean(0)) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum()
    spoiled = torch.where(valid.unsqueeze(-1), z, torch.nan)
    assert position_share(spoiled, valid).item() == pytest.approx(want)
    assert position_share(z, torch.ones_like(valid)).item() == pytest.approx(position_share(z).item())


def test_position_share_of_known_latents() -> None:
    code = torch.eye(10, 64, dtype=torch.float64).expand(200, 10, 64)
    noise = normal(200, 10, 64)
    assert position_share(code).item() == pytest.approx(1)
    assert position_share(noise).item() == pytest.approx(1 / 200, rel=0.2)
    assert position_share(noise[:, :1].expand(200, 10, 64)).item() == pytest.approx(0, abs=1e-12)
    assert torch.isnan(position_share(normal(3, dtype=torch.float32).expand(20, 4, 3)))


@pytest.mark.parametrize("size", [1e-3, 0.5])
def test_sensitivity_of_a_linear_predictor(size: float) -> None:
    matrix = normal(6, 6)
    context = normal(400, 1, 6, seed=1)
    got = predictor_sensitivity(lambda h: h @ matrix, context, gen(), size=size)
    directions = np.random.default_rng(0).normal(size=(100_000, 6))
    want = np.mean(np.linalg.norm(directions @ matrix.numpy(), axis=1) / np.linalg.norm(directions, axis=1))
    assert got.item() == pytest.approx(want, rel=0.01)


def test_sensitivity_is_of_each_row_and_of_the_size_asked_for() -> None:
    sizes = []

    def predict(h: Tensor) -> Tensor:
        sizes.append(h.flatten(1).norm(dim=1))
        return torch.stack([2 * h[0], 4 * h[1]])

    assert predictor_sensitivity(predict, torch.zeros(2, 3, 5), gen(), n=7, size=0.25).item() == pytest.approx(3)
    assert len(sizes) == 8
    torch.testing.assert_close(torch.stack(sizes[1:]), torch.full((7, 2), 0.25))


def test_sensitivity_is_of_the_change_that_the_dtype_holds() -> None:
    context = normal(3, 4, 5, dtype=torch.float32).bfloat16()
    assert predictor_sensitivity(lambda h: 2 * h, context, gen(), size=0.1).item() == pytest.approx(2, rel=1e-12)


@pytest.mark.parametrize("objective", [None, "ema", "deep"])
def test_sensitivity_in_float32_is_that_in_float64(objective: str | None) -> None:
    found = []
    model = build_model(resolve(configure("tiny", objective), 200), 1).eval()
    mask = random_mask(30, 10, gen(), ratio=0.5)
    for dtype, size in ((torch.float32, {}), (torch.float64, {}), (torch.float64, {"size": 1e-4})):
        model.to(dtype)
        with torch.no_grad():
            context = model.encoder(normal(30, 1, 200).cumsum(-1).to(dtype), keep=mask.context)[0]
        found.append(predictor_sensitivity(partial(model.predictor, mask=mask), context, gen(1), n=3, **size).item())
    assert found[0] == pytest.approx(found[1], rel=0.01)
    assert found[1] == pytest.approx(found[2], rel=0.01)


def test_sensitivity_of_a_predictor_that_ignores_the_context() -> None:
    assert predictor_sensitivity(torch.zeros_like, normal(3, 4, 5), gen()).item() == 0
    network = nn.Linear(5, 2)
    got = predictor_sensitivity(network, normal(3, 4, 5, dtype=torch.float32), gen())
    assert not got.requires_grad
    assert 0 < got.item() <= torch.linalg.matrix_norm(network.weight, 2).item() * 1.01
