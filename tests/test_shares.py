"""Shares of fixed random filters: as a loop counts them, over the points that were measured."""

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from sketched import config_of

from tsjepa import shares as module
from tsjepa.build import build_model, configure, resolve
from tsjepa.counting import count_above
from tsjepa.encoder import Encoder, normalized
from tsjepa.loops import compiled
from tsjepa.readout import Readout
from tsjepa.shares import LARGEST, SMALLEST, Shares
from tsjepa.tokenizers import LinearPatches

channel_counts = pytest.mark.parametrize("channels", [1, 3])
# float32 is counted by a compiled loop, anything else by torch
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


noises = pytest.mark.parametrize("noise", [None, 0.3])


def small(channels: int, noise: float | None = None) -> Shares:
    """Return shares of few filters."""
    return Shares(channels, filters=3, dilations=(1, 4), noise=noise)


def counted(shares: Shares, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Count point by point, in float64; values [B, C, T], valid [B, T]."""
    weight, rows = shares.weight.double().numpy(), []
    for group, dilation in enumerate(shares.dilations):
        response = np.zeros((len(values), weight.shape[1], values.shape[2]))
        for t in range(values.shape[2]):
            for k in range(9):
                source = t + (k - 4) * dilation
                if 0 <= source < values.shape[2]:
                    response[:, :, t] += values[:, :, source] @ weight[group, :, :, k].T
        for level in shares.thresholds[group].double().numpy().T:
            over = response - level[:, None]
            hits = over > 0 if shares.noise is None else np.clip(0.5 + over / (2 * shares.noise), 0, 1)
            rows.append((hits * valid[:, None]).sum(2))
    return np.arcsin(np.sqrt(np.concatenate(rows, 1) / np.maximum(valid.sum(1, keepdims=True), 1)))


@pytest.mark.parametrize("n_timepoints", [20, 21, 3])
@channel_counts
@pytest.mark.parametrize("holes", [False, True])
@precisions
@noises
def test_they_are_what_a_loop_counts(
    n_timepoints: int,
    channels: int,
    holes: bool,
    dtype: torch.dtype,
    noise: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, shares = torch.randn(5, channels, n_timepoints, dtype=dtype), small(channels, noise).to(dtype)
    valid = torch.rand(5, n_timepoints) < 0.6 if holes else torch.ones(5, n_timepoints, dtype=torch.bool)
    valid[1] = not holes
    want = counted(shares, x.double().numpy(), valid.numpy())
    assert shares.size == want.shape[1] == 24
    found = shares(x, valid if holes else None)
    np.testing.assert_allclose(found, want, atol=1e-6)
    monkeypatch.setitem(module.BLOCK, "cpu", 2 * 3 * n_timepoints)  # blocks of two series
    assert torch.equal(shares(x, valid if holes else None), found)


def test_filters_sum_to_zero_over_all_channels_but_not_over_each() -> None:
    sums = Shares(channels=3).weight.sum(3)
    torch.testing.assert_close(sums.sum(2), torch.zeros_like(sums[:, :, 0]), atol=1e-5, rtol=0)
    assert sums.abs().max() > 0.1  # or a difference between two levels would go unseen


@noises
def test_threads_and_company_change_nothing(noise: float | None) -> None:
    x, shares, before = torch.randn(37, 1, 50), Shares(noise=noise), torch.get_num_threads()
    found = shares(x)
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            assert torch.equal(shares(x), found)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.cat([shares(part) for part in x.split(1)]), found)


def test_they_are_counted_where_nothing_compiled_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    assert compiled()(lambda x: x + 1)(1) == 2


@pytest.mark.parametrize("given", [False, True])
def test_an_answer_that_equals_its_threshold_is_not_above_it(given: bool) -> None:
    itself = torch.eye(9)[4].view(1, 1, 1, 9)
    points = torch.ones(1, 6) if given else None
    counts = count_above(
        torch.tensor([[[1.0, 2.0, 2.0, 3.0, 2.0, 4.0]]]), itself, torch.full((1, 1, 1), 2.0), (1,), 3, points
    )
    assert counts.flatten().tolist() == [0, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_was_forked_has_threads_of_its_own() -> None:
    # torch's own threads do not outlive a fork, so that more than this it cannot do there
    program = """
import os, torch
from tsjepa.counting import count_above
torch.set_num_threads(2)
given = torch.randn(32, 1, 50), torch.randn(2, 4, 1, 9), torch.randn(2, 4, 3), (1, 2), 50
found = count_above(*given)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(count_above(*given), found) else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_thresholds_have_both_signs_and_two_decades() -> None:
    sizes = Shares(filters=64, thresholds=6).thresholds
    assert sizes.shape == (5, 64, 6)
    assert torch.equal(sizes[..., :3], -sizes[..., 3:])
    edges = LARGEST * (SMALLEST / LARGEST) ** np.linspace(0, 1, 4)
    for part, (high, low) in enumerate(pairwise(edges)):
        found = sizes[..., part]
        assert 0.999 * low <= found.min() < 1.2 * low < high / 1.2 < found.max() <= 1.001 * high


@channel_counts
def test_filters_are_zero_sum_and_of_unit_norm_and_nothing_is_trained(channels: int) -> None:
    shares = Shares(channels)
    assert shares.weight.sum((2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(shares.weight.flatten(2).norm(dim=2), torch.ones(5, 32))
    assert not list(shares.parameters())


def test_with_noise_they_are_the_mean_of_what_noise_in_answers_makes_of_them() -> None:
    itself = torch.eye(9)[4].view(1, 1, 1, 9)
    x, levels = torch.tensor([[[0.0, 0.3, 0.6, 0.9]]]), torch.tensor([[[0.5]]])
    drawn = x + 0.4 * (2 * torch.rand(20_000, 1, 4) - 1)
    found = count_above(x, itself, levels, (1,), 4, None, 0.4)
    torch.testing.assert_close(found[0], count_above(drawn, itself, levels, (1,), 4).mean(0), atol=0.02, rtol=0)


def test_a_recipe_for_noise_reads_shares_that_a_little_noise_changes_less() -> None:
    x = torch.linspace(0, 6, 200).sin().view(1, 1, 200)
    noisy, moved = x + 0.05 * torch.randn(8, 1, 200), {}
    for recipe in ("default", "noise-tolerant"):
        torch.manual_seed(0)
        encoder = build_model(resolve(configure(recipe), 200), 1).encoder
        moved[recipe] = (encoder.shares(noisy) - encoder.shares(x)).square().mean()
    assert moved["noise-tolerant"] < moved["default"] / 4


def test_without_a_point_they_are_zero() -> None:
    assert not Shares()(torch.randn(2, 1, 9), torch.zeros(2, 9, dtype=torch.bool)).any()


def test_a_constant_series_answers_to_nothing() -> None:
    shares = Shares()
    found = shares(torch.zeros(1, 1, 30))[0]
    sizes = shares.thresholds.transpose(1, 2).flatten()  # a response of zero is above what lies below it
    torch.testing.assert_close(found, torch.where(sizes < 0, torch.pi / 2, 0.0))


def test_an_encoder_without_them_says_so() -> None:
    encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    with pytest.raises(ValueError, match="built without shares"):
        encoder.shares(torch.zeros(1, 1, 10))
    encoder.readout = Readout(Shares(), None)
    assert encoder.shares(torch.randn(2, 1, 10)).shape == (2, 640)


def test_they_see_neither_level_nor_scale() -> None:
    encoder, x = Encoder(LinearPatches(5, 4), depth=1, heads=1), torch.randn(2, 1, 40)
    encoder.readout = Readout(Shares(), None)
    assert torch.equal(encoder.shares(x), encoder.shares(8 * x))
    torch.testing.assert_close(encoder.shares(x), encoder.shares(x + 64), atol=0.2, rtol=0)
    assert not torch.equal(encoder.shares(x), encoder.shares(x.flip(2)))


@pytest.mark.parametrize("holes", [False, True])
@precisions
@noises
def test_those_of_patches_are_what_a_loop_counts_inside_each(
    holes: bool, dtype: torch.dtype, noise: float | None
) -> None:
    x, shares = torch.randn(5, 1, 24, dtype=dtype), small(1, noise).to(dtype)
    valid = torch.rand(5, 24) < 0.6 if holes else torch.ones(5, 24, dtype=torch.bool)
    valid[1, :8] = not holes
    found = shares.of_patches(x, 8, valid if holes else None)
    assert found.shape == (5, 3, 24)
    for patch in range(3):
        inside = torch.zeros_like(valid)
        inside[:, 8 * patch : 8 * patch + 8] = True
        want = counted(shares, x.double().numpy(), (valid & inside).numpy())
        np.testing.assert_allclose(found[:, patch], want, atol=1e-6)


def test_series_that_are_not_whole_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="series of 70 points are not whole patches of 20"):
        Shares().of_patches(torch.zeros(1, 1, 70), 20)


def test_filters_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="filters must have 9 taps, but these have 7"):
        count_above(torch.zeros(1, 1, 20), torch.zeros(1, 2, 1, 7), torch.zeros(1, 2, 4), (1,), 20)


def test_what_a_checkpoint_does_not_hold_stays_as_it_is() -> None:
    assert Shares().dilations == (1, 2, 4, 8, 16)
    assert (LARGEST, SMALLEST) == (1.5, 0.015)


def test_an_encoder_counts_over_what_was_measured() -> None:
    encoder = build_model(config_of(), 1).encoder
    x, valid = torch.randn(4, 1, 60), torch.rand(4, 1, 60) < 0.6
    values = normalized(x, valid, "instance", encoder.tokenizer.patch_length)
    assert encoder.readout is not None
    shares = encoder.readout.shares
    assert shares is not None
    found = encoder.shares(x, valid)
    assert torch.equal(found, shares(values, valid.any(1)))
    assert not torch.equal(found, shares(values))
