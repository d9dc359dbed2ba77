"""The normalised SIGReg score against quadrature written another way, and known values."""

import numpy as np
import pytest
import torch
from random_values import gen, normal
from scipy.integrate import trapezoid

from tsjepa.gaussianity import sigreg_score
from tsjepa.regularizers import epps_pulley


def independent_score(z: np.ndarray, directions: np.ndarray, knots: int, t_max: float) -> float:
    """Evaluate statistic, floor and ceiling over the whole of [-t_max, t_max]."""
    t = np.linspace(-t_max, t_max, 2 * knots - 1)
    law = np.exp(-(t**2) / 2)
    statistic = [
        len(z) * trapezoid(np.abs(np.exp(1j * np.outer(t, z @ a)).mean(1) - law) ** 2 * law, t)
        for a in directions.T / np.linalg.norm(directions, axis=0)[:, None]
    ]
    floor, ceiling = trapezoid((1 - law**2) * law, t), len(z) * trapezoid((1 - law) ** 2 * law, t)
    return (np.mean(statistic) - floor) / (ceiling - floor)


@pytest.mark.parametrize(("knots", "t_max"), [(17, 3.0), (5, 2.0)])
@pytest.mark.parametrize("shape", [(300, 8), (3, 20), (50, 1)])
@pytest.mark.parametrize("scale", [1e-9, 0.3, 1.0, 4.0])
def test_score_equals_the_rule_in_float64(shape: tuple[int, int], scale: float, knots: int, t_max: float) -> None:
    z = scale * normal(*shape, seed=1)
    got = sigreg_score(z, gen(), slices=16, knots=knots, t_max=t_max)
    directions = torch.randn(shape[1], 16, generator=gen()).double().numpy()
    assert got.item() == pytest.approx(independent_score(z.numpy(), directions, knots, t_max), rel=1e-9, abs=1e-12)


def test_score_is_the_regularizer_between_its_floor_and_ceiling() -> None:
    z = 0.5 * normal(400, 12) + 0.1
    directions = torch.randn(12, 256, generator=gen()).double()
    statistic = epps_pulley((z @ (directions / directions.norm(dim=0))).unsqueeze(0)).mean()
    assert sigreg_score(z, gen()).item() == pytest.approx(
        (statistic.item() - 1.0525) / (0.402 * 400 - 1.0525), abs=1e-3
    )


@pytest.mark.parametrize("n", [64, 512, 4000])
def test_zero_for_gaussian_and_one_for_collapsed_at_every_number_of_samples(n: int) -> None:
    scores = [sigreg_score(normal(n, 32, seed=seed), gen(seed)).item() for seed in range(5)]
    assert np.mean(scores) == pytest.approx(0, abs=0.5 / n)
    assert sigreg_score(torch.zeros(n, 32), gen()).item() == pytest.approx(1, abs=1e-12)
    assert sigreg_score(1e-6 * normal(n, 32), gen()).item() == pytest.approx(1, abs=1e-9)


def test_low_rank_and_a_smaller_scale_lie_between() -> None:
    z = normal(1000, 16)
    for other in (0.3 * z, z[:, :1].expand(-1, 16), normal(10, 16, seed=3).repeat(100, 1)):
        assert 0.02 < sigreg_score(other, gen()).item() < 1


def test_latents_too_wide_or_far_from_zero_score_above_one() -> None:
    assert sigreg_score(10 * normal(1000, 16), gen()).item() > 1
    assert sigreg_score(torch.full((1000, 16), 5.0), gen()).item() > 1


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        sigreg_score(torch.zeros(2, 3), gen())
