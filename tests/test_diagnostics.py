"""Distance to the target, rank and spectrum against float64 computations written another way, and known values."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from random_values import normal
from torch import Tensor

from tsjepa.diagnostics import (
    effective_rank,
    encoder_target_gap,
    lidar,
    participation_ratio,
    relative_gap,
    spectrum,
)


def of_rank(rank: int, n: int, dim: int) -> Tensor:
    """Return samples whose covariance has `rank` equal eigenvalues: orthonormal scores times orthonormal loadings."""
    scores = normal(n, rank)
    scores = torch.linalg.qr(scores - scores.mean(0))[0]
    return scores @ torch.linalg.qr(normal(dim, rank, seed=1))[0].T


def rank_of(eigenvalues: np.ndarray, power: float) -> float:
    weights = np.clip(eigenvalues, 0, None) ** power
    return float(np.exp(scipy.stats.entropy(weights)))


@pytest.mark.parametrize("shape", [(50, 8), (5, 20), (1, 3), (2, 2)])
def test_gaps_equal_the_formulas(shape: tuple[int, int]) -> None:
    f, g = normal(*shape), normal(*shape, seed=1)
    a, b = f.numpy(), g.numpy()
    assert encoder_target_gap(f, g).item() == pytest.approx(
        np.mean([np.sqrt(((u - v) ** 2).sum()) for u, v in zip(a, b, strict=True)])
    )
    if shape[0] > 1:
        want = np.sqrt(((a - b) ** 2).sum() / (shape[0] * a.var(0).sum()))
        assert relative_gap(f, g).item() == pytest.approx(want)


def test_gaps_take_tokens_as_samples() -> None:
    f, g = normal(4, 5, 3), normal(4, 5, 3, seed=1)
    for gap in (encoder_target_gap, relative_gap):
        assert gap(f, g).item() == pytest.approx(gap(f.flatten(0, 1), g.flatten(0, 1)).item())


def test_the_raw_gap_depends_on_scale_and_the_relative_one_does_not() -> None:
    f, g = normal(30, 4), normal(30, 4, seed=1)
    assert encoder_target_gap(100 * f, 100 * g).item() == pytest.approx(100 * encoder_target_gap(f, g).item())
    assert relative_gap(100 * f, 100 * g).item() == pytest.approx(relative_gap(f, g).item())


def test_gaps_of_equal_and_of_constant_outputs() -> None:
    f = normal(6, 3)
    constant = torch.ones(6, 3)
    assert encoder_target_gap(f, f).item() == relative_gap(f, f).item() == 0
    assert relative_gap(constant, f).item() == np.inf
    assert np.isnan(relative_gap(constant, constant).item())


@pytest.mark.parametrize("gap", [encoder_target_gap, relative_gap])
def test_gaps_refuse_to_broadcast(gap) -> None:
    with pytest.raises(ValueError, match="same shape"):
        gap(torch.zeros(4, 3), torch.zeros(1, 3))


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("shape", [(200, 16), (10, 40), (33, 1)])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e20])
def test_effective_rank_equals_that_of_the_gram_matrix(shape: tuple[int, int], scale: float, centred: bool) -> None:
    z = scale * (normal(*shape) * torch.linspace(0.1, 2, shape[1]) + 3)
    rows = z.numpy() / scale
    rows = rows - rows.mean(0) if centred else rows
    want = rank_of(np.linalg.eigvalsh(rows.T @ rows)[::-1][: min(shape)], 0.5)
    # the Gram matrix has the squares, so half of the digits
    assert effective_rank(z, centred=centred).item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_rank_r(rank: int) -> None:
    z = of_rank(rank, 60, 12)
    assert effective_rank(z).item() == pytest.approx(rank)
    assert effective_rank(z + 5, centred=True).item() == pytest.approx(rank)
    assert participation_ratio(z - 5).item() == pytest.approx(rank)
    assert (spectrum(z) > 0).sum() == rank


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_rounding_errors_have_no_rank(dtype: torch.dtype) -> None:
    constant = normal(32).expand(500, 32)
    noisy = (constant * (1 + 0.5 * torch.finfo(dtype).eps * normal(500, 32, seed=2))).to(dtype)
    assert effective_rank(noisy, centred=True).item() == 0
    assert effective_rank(noisy).item() == pytest.approx(1)
    assert participation_ratio(noisy).item() == 0
    assert (spectrum(noisy) == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_rank_of_numbers_of_16_bits_is_theirs(dtype: torch.dtype) -> None:
    z = normal(2560, 64) * torch.logspace(0, -1.5, 64)
    z = (z + 3 * z.square().mean().sqrt() * normal(64, seed=1).sign()).to(dtype)
    assert effective_rank(z, centred=True).item() == pytest.approx(
        effective_rank(z.double(), centred=True).item(), rel=0.02
    )
    assert participation_ratio(z).item() == pytest.approx(participation_ratio(z.double()).item(), rel=0.02)


def test_rounding_errors_of_many_dimensions_have_no_rank() -> None:
    noise = 1 + 0.5 * torch.finfo(torch.float32).eps * normal(4, 40_000, seed=2)
    noisy = (normal(40_000) * noise).float()
    assert effective_rank(noisy, centred=True).item() == 0
    assert (spectrum(noisy) == 0).all()


def test_participation_of_tiny_eigenvalues() -> None:
    z = normal(50, 4)
    assert 0 < spectrum(1e-85 * z)[0] < 1e-168
    assert participation_ratio(1e-85 * z).item() == pytest.approx(participation_ratio(z).item())


def test_small_differences_that_the_dtype_can_hold_have_rank() -> None:
    z = (1 + 1e-4 * normal(2000, 8)).float()
    assert effective_rank(z, centred=True).item() == pytest.approx(8, rel=0.01)


def test_a_large_mean_hides_rank_unless_it_is_removed() -> None:
    z = normal(4000, 16) + 100
    assert effective_rank(z).item() < 1.5
    assert effective_rank(z, centred=True).item() == pytest.approx(16, rel=0.01)


def test_a_position_code_has_the_rank_of_its_positions() -> None:
    code = torch.eye(12, dtype=torch.float64)[:5].repeat(40, 1)
    assert effective_rank(code).item() == pytest.approx(5)
    assert effective_rank(code, centred=True).item() == pytest.approx(4)


@pytest.mark.parametrize("shape", [(100, 6), (4, 9), (1, 3)])
@pytest.mark.parametrize("scale", [1.0, 1e-15])
def test_spectrum_and_participation_ratio_equal_numpy(shape: tuple[int, int], scale: float) -> None:
    z = scale * (normal(*shape) + 1)
    assert spectrum(z).shape == (shape[1],)
    if shape[0] == 1:
        assert spectrum(z).sum() == participation_ratio(z) == 0
        return
    cov = np.cov(z.numpy() / scale, rowvar=False)
    want = np.sort(np.linalg.eigvalsh(cov))[::-1]
    np.testing.assert_allclose(spectrum(z).numpy() / scale**2, want, atol=1e-12)
    assert participation_ratio(z).item() == pytest.approx(np.trace(cov) ** 2 / np.square(cov).sum())


def test_isotropic_samples_use_all_dimensions() -> None:
    z = normal(20000, 10)
    assert effective_rank(z).item() == pytest.approx(10, rel=1e-3)
    assert participation_ratio(z).item() == pytest.approx(10 * 20000 / 20010, rel=1e-3)
    np.testing.assert_allclose(spectrum(z), np.ones(10), atol=0.06)


def independent_lidar(z: np.ndarray, delta: float) -> float:
    dim = z.shape[2]
    between = np.cov(z.mean(1), rowvar=False)
    within = np.mean([np.cov(sample, rowvar=False) for sample in z], 0) + delta * np.eye(dim)
    return rank_of(scipy.linalg.eigh(between, within, eigvals_only=True), 1)


@pytest.mark.parametrize("shape", [(40, 10, 6), (5, 3, 8), (2, 2, 3)])
@pytest.mark.parametrize("delta", [1e-4, 0.1])
def test_lidar_equals_the_generalised_eigenproblem(shape: tuple[int, int, int], delta: float) -> None:
    z = normal(shape[0], 1, shape[2]) * torch.linspace(0.5, 3, shape[2]) + 0.3 * normal(*shape, seed=1) + 2
    assert lidar(z, delta=delta).item() == pytest.approx(independent_lidar(z.numpy(), delta), rel=1e-6)


def test_lidar_of_known_samples() -> None:
    means = of_rank(3, 50, 6)[:, None]
    noise = 0.1 * normal(50, 400, 6)
    noise = noise - noise.mean(1, keepdim=True)
    assert lidar(means + 0 * noise).item() == pytest.approx(3)
    assert lidar(means + noise).item() == pytest.approx(3, rel=0.02)
    assert lidar((noise + 1).float()).item() == 0  # every sample has the same mean


def test_lidar_needs_samples_and_views() -> None:
    with pytest.raises(ValueError, match="2 samples"):
        lidar(torch.zeros(1, 5, 3))
    with pytest.raises(ValueError, match="2 views"):
        lidar(torch.zeros(5, 1, 3))


def test_a_run_that_diverged_gives_nan_and_no_error() -> None:
    z = torch.full((4, 3), torch.nan)
    for value in (effective_rank(z), participation_ratio(z), spectrum(z).sum(), lidar(z.expand(2, 4, 3))):
        assert torch.isnan(value)


def test_results_are_float64_without_gradient() -> None:
    z = normal(6, 3, dtype=torch.float32).requires_grad_()
    for value in (effective_rank(z), participation_ratio(z), encoder_target_gap(z, z + 1), relative_gap(z, z + 1)):
        assert value.dtype == torch.float64
        assert value.shape == ()
        assert not value.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_direction_a_little_above_rounding_is_one(dtype: torch.dtype) -> None:
    z = torch.randn(400, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)
    for share, want in ((40, 2), (4, 1)):
        thin = z * torch.tensor([1.0, share * torch.finfo(dtype).eps], dtype=dtype)
        assert (spectrum(thin) > 0).sum() == want
