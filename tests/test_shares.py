"""Shares of fixed random filters: counted as a loop counts them, and pooled over what was measured."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tsjepa.encoder import Encoder
from tsjepa.readout import Readout
from tsjepa.shares import LARGEST, SMALLEST, Shares
from tsjepa.tokenizers import LinearPatches

PATCH = 5
channel_counts = pytest.mark.parametrize("channels", [1, 3])


@pytest.mark.parametrize("n_timepoints", [20, 21, 3])
@channel_counts
def test_they_are_what_a_loop_counts(n_timepoints: int, channels: int) -> None:
    x, shares = torch.randn(2, channels, n_timepoints), Shares(PATCH, channels, filters=3, dilations=(1, 4))
    n_patches = -(-n_timepoints // PATCH)
    values = np.zeros((2, channels, n_patches * PATCH))
    values[..., :n_timepoints] = x.numpy()
    weight, rows = shares.weight.double().numpy(), []
    for group, dilation in enumerate(shares.dilations):
        response = np.zeros((2, 3, values.shape[2]))
        for t in range(values.shape[2]):
            for k in range(9):
                source = t + (k - 4) * dilation
                if 0 <= source < values.shape[2]:
                    response[:, :, t] += values[:, :, source] @ weight[group, :, :, k].T
        above = response[:, None] > shares.thresholds[group].double().numpy().T[None, :, :, None]
        rows.append(above.reshape(2, 4, 3, -1, PATCH).sum(-1).reshape(2, 12, -1))
    want = np.concatenate(rows, 1).transpose(0, 2, 1)
    assert shares.size == want.shape[2] == 24
    np.testing.assert_array_equal(shares(x), want)
    np.testing.assert_array_equal(shares.plain(x), want)


def test_thresholds_have_both_signs_and_two_decades() -> None:
    sizes = Shares(PATCH, filters=64, thresholds=6).thresholds
    assert sizes.shape == (5, 64, 6)
    assert torch.equal(sizes[..., :3], -sizes[..., 3:])
    edges = LARGEST * (SMALLEST / LARGEST) ** np.linspace(0, 1, 4)
    for part, (high, low) in enumerate(pairwise(edges)):
        found = sizes[..., part]
        assert low <= found.min() < 1.2 * low < high / 1.2 < found.max() <= high


@channel_counts
def test_filters_are_zero_sum_and_of_unit_norm_and_nothing_is_trained(channels: int) -> None:
    shares = Shares(PATCH, channels)
    assert shares.weight.sum((2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(shares.weight.flatten(2).norm(dim=2), torch.ones(5, 32))
    assert not list(shares.parameters())


def test_pooled_they_are_arcsines_of_the_share_of_all_measured_points() -> None:
    shares = Shares(PATCH, filters=2, dilations=(1,))
    counts = torch.randint(0, PATCH + 1, (3, 4, 8)).float()
    want = np.arcsin(np.sqrt(counts.double().numpy().sum(1) / (4 * PATCH)))
    np.testing.assert_allclose(shares.pool(counts), want, atol=1e-6)
    valid = torch.tensor([[True, False, True, False]]).expand(3, 4)
    want = np.arcsin(np.sqrt(counts[:, ::2].double().numpy().sum(1) / (2 * PATCH)))
    np.testing.assert_allclose(shares.pool(counts, valid), want, atol=1e-6)
    assert not shares.pool(counts, torch.zeros(3, 4, dtype=torch.bool)).any()


def test_equal_totals_are_equal_to_the_bit_whatever_the_patches() -> None:
    """A feature that is equal for two series must not differ by rounding: a standardising head would blow it up."""
    shares = Shares(7, filters=1, dilations=(1,), thresholds=2)
    counts = torch.tensor([[[7.0], [0.0], [3.0]], [[1.0], [4.0], [5.0]]])
    first, second = shares.pool(counts)
    assert torch.equal(first, second)


def test_an_encoder_without_them_says_so() -> None:
    encoder = Encoder(LinearPatches(PATCH, 4), depth=1, heads=1)
    with pytest.raises(ValueError, match="built without shares"):
        encoder.read_shares(torch.zeros(1, 1, 10))
    encoder.readout = Readout(Shares(PATCH), None)
    assert encoder.read_shares(torch.randn(2, 1, 10)).shape == (2, 640)


def test_they_see_neither_level_nor_scale() -> None:
    encoder, x = Encoder(LinearPatches(PATCH, 4), depth=1, heads=1), torch.randn(2, 1, 40)
    encoder.readout = Readout(Shares(PATCH), None)
    torch.testing.assert_close(encoder.read_shares(x), encoder.read_shares(8 * x + 64), atol=0.2, rtol=0)
    assert not torch.equal(encoder.read_shares(x), encoder.read_shares(x.flip(2)))
