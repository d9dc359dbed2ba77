"""Sums of cosines and sines: equal to those of the definition, by torch and by the compiled loop."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tsjepa import waves
from tsjepa.regularizers import epps_pulley
from tsjepa.waves import mix_of_waves, sums_of_waves

# sets, samples, columns: fewer and more than the registers and the runs of the loop hold, and not whole multiples
SHAPES = [(1, 1, 1), (1, 320, 32), (3, 129, 17), (2, 300, 50), (5, 10, 16)]
COUNTS = [2, 16]


def angles(shape, spread=2.0):
    return spread * np.random.default_rng(0).normal(size=shape)


def first_of(a, dtype):
    return torch.from_numpy(np.stack([np.cos(a), np.sin(a)])).to(dtype)


def kept(shape):
    return torch.from_numpy(np.random.default_rng(1).random(shape[:2]) < 0.6)


def defined(a, count):
    """Return cosines and sines [K, 2, S, N, M] at all multiples."""
    k = np.arange(1, count + 1)[:, None, None, None]
    return np.stack([np.cos(k * a), np.sin(k * a)], 1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_sums_are_those_of_the_definition(shape, count, masked, dtype, tolerance) -> None:
    a, keep = angles(shape), kept(shape) if masked else None
    all_waves = defined(a, count) * (1.0 if keep is None else keep.numpy()[:, :, None])
    got = sums_of_waves(first_of(a, dtype), count, keep)
    assert got.dtype == dtype
    # the recurrence multiplies rounding by the number of multiples where an angle is next to a multiple of pi
    np.testing.assert_allclose(got, all_waves.sum(3), atol=tolerance * count * shape[1] ** 0.5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_mixtures_are_those_of_the_definition(shape, count, masked, dtype, tolerance) -> None:
    a, keep = angles(shape), kept(shape) if masked else None
    weights = np.random.default_rng(2).normal(size=(count, 2, shape[0], shape[2]))
    expected = np.einsum("kpsnm,kpsm->snm", defined(a, count), weights)
    got = mix_of_waves(first_of(a, dtype), torch.from_numpy(weights).to(dtype), keep)
    np.testing.assert_allclose(
        got, expected * (1.0 if keep is None else keep.numpy()[:, :, None]), atol=tolerance * count
    )


def test_many_samples_are_added_up_to_float32s_last_place() -> None:
    a = np.full((1, 50_000, 1), 0.3)
    first = first_of(a, torch.float32)
    wanted = first.double().sum(2)
    got = sums_of_waves(first, 1)[0].double()
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=0)


def test_it_is_the_loop_that_computes_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    first = first_of(angles((2, 30, 40)), torch.float32)
    weights = torch.randn(16, 2, 2, 40)
    by_loop = sums_of_waves(first, 16), mix_of_waves(first, weights)
    monkeypatch.setattr(waves, "by_loop", lambda *tensors: False)
    by_torch = sums_of_waves(first, 16), mix_of_waves(first, weights)
    for one, other in zip(by_loop, by_torch, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=0)
        assert not torch.equal(one, other)


def test_threads_and_layout_change_nothing() -> None:
    first, weights = first_of(angles((4, 700, 40)), torch.float32), torch.randn(16, 2, 4, 40)
    keep, before = kept((4, 700)), torch.get_num_threads()
    expected = sums_of_waves(first, 16, keep), mix_of_waves(first, weights, keep)
    turned = first.transpose(2, 3).contiguous().transpose(2, 3)
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            for given in (first, turned):
                assert torch.equal(sums_of_waves(given, 16, keep), expected[0])
                assert torch.equal(mix_of_waves(given, weights, keep), expected[1])
    finally:
        torch.set_num_threads(before)


def test_no_sample_and_what_is_not_finite() -> None:
    first = first_of(angles((1, 40, 20)), torch.float32)
    assert (sums_of_waves(first, 3, torch.zeros(1, 40, dtype=torch.bool)) == 0).all()
    first[0, 0, 7, 3] = torch.nan
    bad = sums_of_waves(first, 3).isnan().any(0).any(0)[0]
    assert bad.nonzero().flatten().tolist() == [3]
    # a sample that does not count may be anything
    keep = torch.ones(1, 40, dtype=torch.bool)
    keep[0, 7] = False
    for given in (first, first.double()):
        assert sums_of_waves(given, 3, keep).isfinite().all()
        assert mix_of_waves(given, given.new_ones(3, 2, 1, 20), keep).isfinite().all()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
def test_what_is_compiled_as_a_whole_goes_without_the_loop() -> None:
    x = torch.randn(1, 30, 20)
    whole = torch.compile(lambda x: epps_pulley(x).mean(), backend="eager")
    torch.testing.assert_close(whole(x), epps_pulley(x).mean())


def test_the_loops_are_kept_on_disk(tmp_path) -> None:
    program = """
import torch
from tsjepa.wave_loops import fill_sums
from tsjepa.waves import sums_of_waves
sums_of_waves(torch.ones(2, 1, 3, 4), 16)
print(sum(fill_sums.stats.cache_hits.values()))
"""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for hits in ("0\n", "1\n"):
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
        assert done.stdout == hits, done.stderr
