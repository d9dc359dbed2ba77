"""Gaps inside a patch, against the mean of a Gaussian process given the patch's valid points."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjepa.encoder import Encoder, patch_values
from tsjepa.gaps import MEMORY, bridge, running_max
from tsjepa.layers import instance_normalize
from tsjepa.tokenizers import ConvStem, LinearPatches


def kriged(values: np.ndarray, valid: np.ndarray, patch_length: int) -> np.ndarray:
    """Condition an Ornstein-Uhlenbeck process of mean zero on the valid points of each patch, in float64."""
    out = np.where(valid, values, 0.0).astype(np.float64)
    ended = len(valid) - valid[::-1].argmax() if valid.any() else 0
    for start in range(0, len(values), patch_length):
        there = start + np.flatnonzero(valid[start : start + patch_length])
        gone = start + np.flatnonzero(~valid[start : start + patch_length])
        gone = gone[gone < ended]
        if len(there) and len(gone):
            kernel = np.exp(-np.abs(there[:, None] - there) / MEMORY)
            cross = np.exp(-np.abs(gone[:, None] - there) / MEMORY)
            out[gone] = cross @ np.linalg.solve(kernel, values[there].astype(np.float64))
    return out


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.integers(0, 10_000), st.sampled_from([0.02, 0.3, 0.7, 0.98]), st.integers(1, 60), st.sampled_from([1, 2, 7, 25])
)
def test_a_gap_is_what_its_neighbours_make_likely(seed: int, share: float, length: int, patch_length: int) -> None:
    rng = np.random.default_rng(seed)
    valid = rng.random((2, 3, length)) < share
    x = np.where(valid, rng.standard_normal(valid.shape), 0).astype(np.float32)
    found = bridge(torch.from_numpy(x), torch.from_numpy(valid), patch_length).numpy()
    for place in np.ndindex(2, 3):
        np.testing.assert_allclose(found[place], kriged(x[place], valid[place], patch_length), atol=1e-5)


def test_measured_points_stay_as_they_are_and_what_lies_behind_the_last_is_zero() -> None:
    x = torch.randn(3, 2, 47)
    valid = torch.rand(x.shape) < 0.5
    valid[..., 40:] = False
    x = torch.where(valid, x, 0.0)
    found = bridge(x, valid, 10)
    assert torch.equal(found[valid], x[valid])
    last = torch.where(valid, torch.arange(47), -1).amax(-1, keepdim=True)
    assert not found[torch.arange(47) > last].any()
    assert torch.equal(bridge(x, torch.ones_like(valid), 10), x)


@pytest.mark.parametrize("length", [1, 2, 5, 64, 100])
def test_the_running_maximum_is_the_cumulative_one(length: int) -> None:
    x = torch.randint(-5, 100, (3, 2, length))
    assert torch.equal(running_max(x), x.cummax(-1).values)


def test_very_long_patches_stay_finite() -> None:
    x = torch.zeros(1, 1, 4000)
    x[..., 0] = x[..., -1] = 1.0
    found = bridge(x, x > 0, 4000)
    assert found.isfinite().all()
    assert found[0, 0, 1] == pytest.approx(np.exp(-1 / MEMORY))
    assert found[0, 0, 2000] == 0


def test_nothing_of_another_patch_goes_in() -> None:
    x, valid = torch.randn(1, 1, 20), torch.ones(1, 1, 20, dtype=torch.bool)
    valid[..., [8, 9, 10, 11]] = False
    want = bridge(x, valid, 10)
    changed = bridge(x + 5.0 * (torch.arange(20) >= 10), valid, 10)
    assert torch.equal(changed[..., :10], want[..., :10])
    assert (changed[..., 10:] != want[..., 10:]).all()


@pytest.mark.parametrize("kind", [LinearPatches, ConvStem])
def test_a_hidden_patch_does_not_reach_the_context_through_a_gap(kind) -> None:
    encoder = Encoder(kind(10, 16), depth=1, heads=2, normalize="none")
    x, valid = torch.randn(2, 1, 40), torch.rand(2, 1, 40) < 0.6
    keep = torch.tensor([[0, 2], [1, 3]])
    want = encoder(x, keep=keep, valid=valid)[0]
    hidden = torch.ones(2, 4, dtype=torch.bool).scatter(1, keep, False).repeat_interleave(10, 1)[:, None]
    assert torch.equal(encoder(torch.where(hidden, 9.0, x), keep=keep, valid=valid)[0], want)


def test_the_values_to_reconstruct_are_those_that_an_encoder_sees() -> None:
    x, valid = torch.randn(2, 1, 20), torch.rand(2, 1, 20) < 0.6
    found = patch_values(x, valid, patch_length=5, normalize="instance")
    assert torch.equal(found.reshape(2, 1, 20), bridge(instance_normalize(x, valid), valid, 5))
