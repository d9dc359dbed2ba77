"""Spread over dimensions and sphere against float64 computations written another way, and known values."""

import numpy as np
import pytest
import torch
from random_values import normal
from scipy.spatial.distance import pdist
from torch import Tensor

from tsjepa.spread import (
    alignment,
    dead_dimensions,
    normalized_std,
    relative_spread,
    self_cluster,
    spread,
    uniformity,
)

SHAPES = [(60, 5), (4, 30), (2, 2)]
SCALES = [1.0, 1e-20, 1e20]


def sphere(z: Tensor) -> np.ndarray:
    rows = z.numpy()
    return np.stack([row / np.sqrt(row @ row) for row in rows])


def position_code(n_series: int, n_positions: int, dim: int) -> Tensor:
    return normal(n_positions, dim).repeat(n_series, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", SCALES)
def test_spread_equals_numpy(shape: tuple[int, int], scale: float) -> None:
    z = scale * (normal(*shape) + 2)
    rows = z.numpy() / scale
    variance = rows.var(0).mean()
    assert spread(z).item() / scale == pytest.approx(np.sqrt(variance))
    assert relative_spread(z).item() == pytest.approx(np.sqrt(variance / (variance + (rows.mean(0) ** 2).mean())))


def test_spread_of_known_samples() -> None:
    z = normal(20000, 6)
    assert spread(3 * z).item() == pytest.approx(3, rel=0.01)
    assert relative_spread(z).item() == pytest.approx(1, abs=1e-3)
    assert relative_spread(z + 10).item() == pytest.approx(1 / np.sqrt(101), rel=0.02)
    assert relative_spread(normal(6, dtype=torch.float32).expand(100, 6)).item() == 0
    assert relative_spread(torch.zeros(5, 3)).item() == 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", SCALES)
def test_normalized_std_equals_numpy(shape: tuple[int, int], scale: float) -> None:
    z = normal(*shape) + 0.5
    assert normalized_std(scale * z).item() == pytest.approx(np.mean([np.std(column) for column in sphere(z).T]))


@pytest.mark.parametrize("dim", [4, 64])
def test_normalized_std_of_known_samples(dim: int) -> None:
    assert normalized_std(normal(20000, dim)).item() == pytest.approx(dim**-0.5, rel=0.01)
    assert normalized_std(torch.ones(10, dim)).item() == pytest.approx(0, abs=1e-7)
    assert normalized_std(torch.zeros(10, dim)).item() == 0


def test_dead_dimensions_are_counted() -> None:
    z = normal(500, 10)
    assert dead_dimensions(z).item() == 0
    z[:, :3] = 7.0
    assert dead_dimensions(z).item() == pytest.approx(0.3)
    z[:, 3:9] *= 1e-5
    assert dead_dimensions(z).item() == pytest.approx(0.9)  # though the median deviation is tiny, too
    assert dead_dimensions(z, threshold=1e-6).item() == pytest.approx(0.3)
    assert dead_dimensions(1e-20 * z).item() == pytest.approx(0.9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_dimensions_of_a_constant_are_dead(dtype: torch.dtype) -> None:
    assert dead_dimensions(normal(8, dtype=dtype).expand(300, 8)).item() == 1
    assert dead_dimensions(torch.zeros(4, 2)).item() == 1


@pytest.mark.parametrize(("deviation", "dead"), [(0.0006, 0.0), (0.0004, 0.75)])
def test_dimensions_are_dead_beside_the_root_mean_square(deviation: float, dead: float) -> None:
    # of one deviation of 1 and three small ones it is 0.5, and their mean 0.25
    z = torch.tensor([1.0, -1.0]).unsqueeze(1) * torch.tensor([1.0, *[deviation] * 3])
    assert dead_dimensions(z).item() == dead


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_spread_of_numbers_of_16_bits_is_theirs(dtype: torch.dtype) -> None:
    z = normal(2000, 16)
    for mean in (3, 12):
        rounded = (z + mean).to(dtype)
        assert relative_spread(rounded).item() == pytest.approx(relative_spread(rounded.double()).item(), rel=0.02)
        assert relative_spread(rounded).item() == pytest.approx(relative_spread(z + mean).item(), rel=0.02)
        assert dead_dimensions(rounded).item() == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_no_spread(dtype: torch.dtype) -> None:
    noisy = (normal(8) * (1 + 0.5 * torch.finfo(dtype).eps * normal(300, 8, seed=1))).to(dtype)
    assert not (noisy == noisy[0]).all()
    assert dead_dimensions(noisy).item() == 1
    assert relative_spread(noisy).item() == 0


@pytest.mark.parametrize("shape", [*SHAPES, (1500, 3)])
@pytest.mark.parametrize("t", [2.0, 0.5, 30.0])
def test_uniformity_equals_all_pairs(shape: tuple[int, int], t: float) -> None:
    z = normal(*shape) + 0.5
    want = np.log(np.exp(-t * pdist(sphere(z)) ** 2).mean())
    assert uniformity(1e-18 * z, t).item() == pytest.approx(want, rel=1e-9)


def test_uniformity_of_known_samples() -> None:
    assert uniformity(torch.ones(10, 3)).item() == pytest.approx(0, abs=1e-12)
    assert uniformity(torch.tensor([[1.0, 0.3], [-1.0, -0.3]]), 10.0).item() == pytest.approx(-40)
    # E exp(-4 (1 - c)) = exp(-4 + 8 / D) for c nearly normal with variance 1 / D
    assert uniformity(normal(2000, 256)).item() == pytest.approx(-4 + 8 / 256, abs=0.005)


@pytest.mark.parametrize("shape", SHAPES)
def test_alignment_equals_two_minus_two_cosines(shape: tuple[int, int]) -> None:
    u, v = normal(*shape), normal(*shape, seed=1)
    want = 2 - 2 * np.mean((sphere(u) * sphere(v)).sum(1))
    assert alignment(u, 1e-19 * v).item() == pytest.approx(want)
    assert alignment(u, 5 * u).item() == pytest.approx(0, abs=1e-12)
    assert alignment(u, -u).item() == pytest.approx(4)


@pytest.mark.parametrize("shape", SHAPES)
def test_self_cluster_equals_the_matrix_of_cosines(shape: tuple[int, int]) -> None:
    n, dim = shape
    z = normal(*shape) + 0.5
    cosines = sphere(z) @ sphere(z).T
    want = (np.square(cosines).sum() - n - n * (n - 1) / dim) / (n**2 - n - n * (n - 1) / dim)
    assert self_cluster(1e-19 * z).item() == pytest.approx(want)


def test_self_cluster_of_known_samples() -> None:
    assert self_cluster(normal(4000, 32)).item() == pytest.approx(0, abs=1e-3)
    line = torch.tensor([[1.0, 2.0, 3.0]]) * normal(50, 1)
    assert self_cluster(line).item() == pytest.approx(1)
    code = torch.eye(32)[:8].repeat(500, 1)  # 8 directions out of 32: cosines squared average 1 / 8
    assert self_cluster(code).item() == pytest.approx((1 / 8 - 1 / 32) / (1 - 1 / 32), abs=1e-3)


def test_what_needs_pairs_says_so() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        uniformity(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least 2"):
        self_cluster(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="2 dimensions"):
        self_cluster(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="same shape"):
        alignment(torch.zeros(3, 2), torch.zeros(1, 2))


def test_a_position_code_has_spread() -> None:
    code = position_code(100, 10, 64)
    assert normalized_std(code).item() > 0.1
    assert relative_spread(code).item() > 0.9
    assert dead_dimensions(code).item() == 0
