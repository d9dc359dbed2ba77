"""SIGReg and VICReg against formulas evaluated independently in float64."""

import numpy as np
import pytest
import torch
from random_values import gen
from scipy import stats
from scipy.integrate import quad
from torch import Tensor

from tsjepa import waves
from tsjepa.regularizers import (
    Regularizer,
    SIGReg,
    VICReg,
    VISReg,
    arrange,
    covariance,
    covariance_loss,
    epps_pulley,
    random_slices,
    variance_loss,
)


def trapezoid(x: np.ndarray, knots: int = 17, t_max: float = 3.0) -> float:
    """Evaluate N int |ecf - cf|^2 w dt over [-t_max, t_max] with 2 knots - 1 equally spaced points."""
    t = np.linspace(-t_max, t_max, 2 * knots - 1)
    ecf = np.exp(1j * t[:, None] * np.asarray(x, np.float64)).mean(1)
    return len(x) * np.trapezoid(np.abs(ecf - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2), t)


def integral(x: np.ndarray) -> float:
    """Evaluate the same by adaptive quadrature."""

    def integrand(t: float) -> float:
        return abs(np.exp(1j * t * x).mean() - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)

    return len(x) * quad(integrand, -3, 3, limit=500)[0]


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("n", [1, 2, 33, 500])
@pytest.mark.parametrize("dim", [1, 5])
@pytest.mark.parametrize("offset", [0.0, 2.0])
def test_statistic_equals_the_rule_in_float64(n: int, dim: int, scale: float, offset: float) -> None:
    x = offset + scale * torch.randn(2, n, dim, generator=gen(n))
    got = epps_pulley(x)
    assert got.shape == (2, dim)
    want = [[trapezoid(x[s, :, d].numpy()) for d in range(dim)] for s in range(2)]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("knots", "t_max"), [(2, 3.0), (5, 1.0), (41, 5.0)])
def test_knots_and_range(knots: int, t_max: float) -> None:
    x = torch.randn(1, 50, 1, generator=gen(), dtype=torch.float64)
    want = trapezoid(x.flatten().numpy(), knots, t_max)
    assert epps_pulley(x, knots=knots, t_max=t_max).item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("knots", [34, 1500])
def test_many_knots_are_as_exact_as_few(knots: int) -> None:
    x = torch.randn(1, 200, 2, generator=gen()).requires_grad_()
    exact = x.detach().double().requires_grad_()
    got, want = (epps_pulley(given, knots=knots) for given in (x, exact))
    assert got.dtype == torch.float32
    assert got[0, 0].item() == pytest.approx(trapezoid(x.detach()[0, :, 0].numpy(), knots), rel=1e-6)
    got.sum().backward()
    want.sum().backward()
    torch.testing.assert_close(x.grad, exact.grad.float())


@pytest.mark.parametrize("scale", [0.2, 1.0, 2.0])
@pytest.mark.parametrize("n", [8, 200])
def test_statistic_is_near_the_integral(n: int, scale: float) -> None:
    x = scale * torch.randn(1, n, 1, generator=gen(1), dtype=torch.float64)
    assert epps_pulley(x).item() == pytest.approx(integral(x.flatten().numpy()), rel=1e-3)


@pytest.mark.parametrize("n", [32, 128, 1024])
def test_expectation_under_the_normal_law_does_not_depend_on_n(n: int) -> None:
    values = epps_pulley(torch.randn(1, n, 4000, generator=gen(n)))
    error = values.std().item() / 4000**0.5
    assert values.mean().item() == pytest.approx(1.0525, abs=4 * error)
    assert error < 0.02


@pytest.mark.parametrize("n", [32, 128, 1024])
def test_collapse_costs_in_proportion_to_n(n: int) -> None:
    assert epps_pulley(torch.zeros(1, n, 1)).item() == pytest.approx(0.4020 * n, rel=1e-3)


def test_scale_with_n_is_linear_for_copies() -> None:
    x = torch.rand(1, 40, 3, generator=gen(), dtype=torch.float64)
    torch.testing.assert_close(epps_pulley(x.repeat(1, 5, 1)), 5 * epps_pulley(x))


@pytest.mark.parametrize("masked", [False, True])
def test_gradient(masked: bool) -> None:
    x = (1.5 * torch.randn(2, 7, 3, generator=gen(), dtype=torch.float64)).requires_grad_()
    valid = torch.rand(2, 7, generator=gen(1)) < 0.6 if masked else None
    assert torch.autograd.gradcheck(lambda x: epps_pulley(x, valid), x)
    weight = torch.randn(2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: (epps_pulley(x, valid, knots=9, t_max=2.0) * weight).sum(), x)


def test_a_valid_mask_drops_samples() -> None:
    x = torch.randn(3, 20, 4, generator=gen())
    valid = torch.rand(3, 20, generator=gen(1)) < 0.5
    valid[2] = False
    got = epps_pulley(x, valid)
    for s in range(2):
        torch.testing.assert_close(got[s], epps_pulley(x[s, valid[s]][None])[0])
    assert not got[2].any()
    torch.testing.assert_close(epps_pulley(x, torch.ones_like(valid)), epps_pulley(x))
    assert torch.equal(epps_pulley(torch.where(valid.unsqueeze(-1), x, 77.0), valid), got)


@pytest.mark.parametrize("placement", ["token", "position", "series"])
@pytest.mark.parametrize("masked", ["nothing", "tokens", "a series and a position"])
def test_sample_sets_of_the_placements(placement: str, masked: str) -> None:
    z = torch.randn(6, 5, 8, generator=gen())
    valid = None if masked == "nothing" else torch.rand(6, 5, generator=gen(1)) < 0.7
    if masked == "a series and a position":  # sets without a sample are none
        valid[2], valid[:, 3] = False, False
    keep = torch.ones(6, 5, dtype=torch.bool) if valid is None else valid
    sets = {
        "token": [z[keep]],
        "position": [z[keep[:, n], n] for n in range(5)],
        "series": [z[b, keep[b]] for b in range(6)],
    }[placement]
    directions = random_slices(8, 16, gen(2), torch.device("cpu"))
    want = torch.stack([epps_pulley((samples @ directions)[None]).mean() for samples in sets if len(samples)]).mean()
    torch.testing.assert_close(SIGReg(slices=16, placement=placement)(z, gen(2), valid), want)
    samples, samples_valid = arrange(z, valid, placement)
    assert samples.shape[0] == len(sets)
    assert samples_valid is None or samples_valid.shape == samples.shape[:2]


def test_the_placement_tells_what_collapsed() -> None:
    same_in_series = torch.randn(64, 1, 8, generator=gen()).expand(64, 64, 8)
    values = {p: SIGReg(placement=p)(same_in_series, gen(1)).item() for p in ("token", "position", "series")}
    assert values["series"] > 10 * values["position"]
    swapped = SIGReg(placement="position")(same_in_series.transpose(0, 1), gen(1)).item()
    assert swapped == pytest.approx(values["series"], rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_rotations_do_not_matter_in_expectation(seed: int) -> None:
    z = torch.randn(1, 256, 16, generator=gen(seed)) * torch.linspace(0.2, 2, 16)
    rotation, _ = torch.linalg.qr(torch.randn(16, 16, generator=gen(seed + 10)))
    plain, turned = (SIGReg(slices=4096)(v, gen(seed + 20)).item() for v in (z, z @ rotation))
    assert plain > 2
    assert turned == pytest.approx(plain, rel=0.1)


def test_slices_are_unit_vectors_without_a_preferred_direction() -> None:
    slices = random_slices(6, 4000, gen(), torch.device("cpu"))
    torch.testing.assert_close(slices.norm(dim=0), torch.ones(4000))
    torch.testing.assert_close(slices @ slices.T / 4000 * 6, torch.eye(6), atol=0.15, rtol=0)


def test_slices_are_drawn_again_at_each_call() -> None:
    z, sigreg = torch.randn(8, 4, 16, generator=gen()) * 2, SIGReg(slices=8)
    generator = gen(3)
    first, second = sigreg(z, generator), sigreg(z, generator)
    assert not torch.equal(first, second)
    assert torch.equal(sigreg(z, gen(3)), first)
    assert sigreg(z).ndim == 0
    assert not sigreg.state_dict()


def test_the_gradient_pulls_a_too_narrow_cloud_apart_and_a_too_wide_one_together() -> None:
    for scale, sign in ((0.3, -1), (3.0, 1)):
        z = (scale * torch.randn(128, 2, 4, generator=gen())).requires_grad_()
        SIGReg()(z, gen(1)).backward()
        assert torch.sign((z.grad * z).sum()).item() == sign


@pytest.mark.parametrize("regularizer", [SIGReg(), VICReg(), VISReg()])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_mixed_precision_does_not_change_the_value(regularizer: Regularizer, scale: float) -> None:
    z = (scale * torch.randn(512, 32, 32, generator=gen())).bfloat16()
    want = regularizer(z.float(), gen(1)).item()
    with torch.autocast("cpu", torch.bfloat16):
        for latents in (z, z.float()):
            got = regularizer(latents, gen(1))
            assert got.dtype == torch.float32
            assert got.item() == pytest.approx(want, rel=0.01)


@pytest.mark.parametrize("options", [{"slices": 0}, {"knots": 1}])
def test_too_few_slices_or_knots(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="slices >= 1 and knots >= 2"):
        SIGReg(**options)


def test_another_placement_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^placement is one of token, position, series, dual, but got 'tokens'\.$"):
        SIGReg(placement="tokens")  # type: ignore[arg-type]


shapes = pytest.mark.parametrize("shape", [(50, 6), (2, 3), (10, 1), (2, 1)])


@shapes
def test_vicreg_atoms_equal_numpy(shape: tuple[int, int]) -> None:
    z = 3 + 0.7 * torch.randn(shape, generator=gen(), dtype=torch.float64)
    cov = np.atleast_2d(np.cov(z.numpy(), rowvar=False))
    np.testing.assert_allclose(covariance(z), cov, atol=1e-12)
    std = np.sqrt(z.numpy().var(0, ddof=1) + 1e-4)
    assert variance_loss(z).item() == pytest.approx(np.maximum(1 - std, 0).mean(), abs=1e-12)
    assert variance_loss(z, floor=2.0).item() == pytest.approx(np.maximum(2 - std, 0).mean(), abs=1e-12)
    off_diagonal = cov[~np.eye(shape[1], dtype=bool)]
    assert covariance_loss(z).item() == pytest.approx((off_diagonal**2).sum() / shape[1], abs=1e-12)


@shapes
def test_vicreg_atoms_do_not_see_the_mean(shape: tuple[int, int]) -> None:
    z = torch.randn(shape, generator=gen(), dtype=torch.float64)
    for atom in (variance_loss, covariance_loss):
        torch.testing.assert_close(atom(z + 100), atom(z))
        assert torch.autograd.gradcheck(atom, z.clone().requires_grad_())


def vicreg(z: Tensor) -> float:
    return (25 * variance_loss(z) + covariance_loss(z)).item()


def test_vicreg_is_over_all_tokens_that_count() -> None:
    z, valid = torch.randn(6, 5, 4, generator=gen()), torch.rand(6, 5, generator=gen(1)) < 0.6
    assert VICReg()(z).item() == pytest.approx(vicreg(z.reshape(-1, 4)))
    assert VICReg()(z, None, valid).item() == pytest.approx(vicreg(z[valid]))
    junk = torch.where(valid.unsqueeze(-1), z, 1e6)
    assert VICReg()(junk, None, valid).item() == VICReg()(z, None, valid).item()
    weighted = VICReg(std_weight=2.0, cov_weight=3.0)(z).item()
    assert weighted == pytest.approx(
        2 * variance_loss(z.flatten(0, 1)).item() + 3 * covariance_loss(z.flatten(0, 1)).item()
    )


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_the_shape_of_visreg_takes_the_deviation_as_a_constant(scale: float) -> None:
    z, directions = scale * torch.randn(40, 5, generator=gen()), random_slices(5, 32, gen(1), torch.device("cpu"))
    exact, mine = z.double().requires_grad_(), z.clone().requires_grad_()
    deviation = torch.from_numpy(exact.detach().numpy().std(0)) + 1e-4
    sliced = ((exact - exact.mean(0)) / deviation) @ directions.double()
    quantiles = torch.from_numpy(stats.norm.ppf(np.arange(1, 41) / 41))
    (sliced.sort(0).values - quantiles[:, None]).square().mean().backward()
    VISReg(scale=0.0, centre=0.0).terms(mine, directions).backward()
    torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=1e-3, atol=1e-5 * float(exact.grad.abs().max()))


@pytest.mark.parametrize("regularizer", [SIGReg(), VICReg(), VISReg()])
@pytest.mark.parametrize("count", [0, 1])
def test_no_or_one_token_gives_a_finite_value_and_gradient(regularizer: Regularizer, count: int) -> None:
    z = torch.randn(2, 3, 4, generator=gen()).requires_grad_()
    valid = torch.zeros(2, 3, dtype=torch.bool)
    valid[0, :count] = True
    value = regularizer(z, gen(), valid)
    value.backward()
    assert value.isfinite()
    assert z.grad.isfinite().all()
    assert not z.grad[~valid].any()


def test_collapsed_latents_are_repelled() -> None:
    z = (1e-3 * torch.randn(32, 4, 6, generator=gen())).requires_grad_()
    VICReg()(z).backward()
    assert (z.grad * (z - z.mean((0, 1)))).sum() < 0


@pytest.mark.parametrize("block", [1, 2**10, 2**30])
def test_blocks_of_columns_do_not_change_the_statistic(monkeypatch, block: int) -> None:
    x = torch.randn(2, 30, 50, generator=gen(), dtype=torch.float64)
    parts = []
    for size in (2**30, block):
        monkeypatch.setattr(waves, "BLOCK", size)
        z = x.clone().requires_grad_()
        epps_pulley(z).square().sum().backward()
        parts.append((epps_pulley(z).detach(), z.grad))
    for got, expected in zip(parts[1], parts[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-4, 0.0), (0.1, 2.0), (3.0, 0.0), (0.3, 16.7)])
def test_float32_keeps_its_digits_in_value_and_gradient(scale: float, offset: float) -> None:
    x = offset + scale * torch.randn(1, 500, 20, generator=gen())
    exact, mine = x.double().requires_grad_(), x.clone().requires_grad_()
    expected, got = epps_pulley(exact), epps_pulley(mine)
    expected.sum().backward()
    got.sum().backward()
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    largest = float(exact.grad.abs().max())
    torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=0, atol=1e-5 * largest)
