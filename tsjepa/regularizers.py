"""What keeps latents from collapsing when no slow target does: SIGReg, VICReg, VISReg, and their atoms."""

import math
from typing import Literal, Protocol, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tsjepa.ranks import SumOverRanks, join_rows, sum_over_ranks, world_size
from tsjepa.waves import mix_of_waves, sums_of_waves

Placement = Literal["token", "position", "series", "dual"]
# From one knot to the next float32's rounding adds up: with more of them the statistic is computed in float64
SINGLE_KNOTS = 33


class Regularizer(Protocol):
    """What keeps latents apart: any module of this shape may be the regularizer of a JEPA."""

    def __call__(self, z: Tensor, generator: torch.Generator | None = None, valid: Tensor | None = None) -> Tensor:
        """Return a scalar for latents z [B, N, D]; valid, bool [B, N], says which tokens count, None means all.

        If the target trains the encoder, N are all tokens, and D is the width that the loss compares. Otherwise N are
        the visible ones, and D is the width of the encoder's levels side by side, or of the projector, if there is one.
        Whatever is random is drawn from `generator`.
        """
        ...


def check_weight(name: str, weight: float) -> None:
    """Raise ValueError unless 0 <= weight < inf."""
    if not 0 <= weight < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, but is {weight}.")


class EppsPulley(torch.autograd.Function):
    """The Epps-Pulley statistic of each column of [S, N, M] samples, value and gradient in closed form.

    The knots are equally spaced, so the cosines and sines at all of them follow from those at the first
    (`tsjepa.waves`).
    """

    @staticmethod
    def forward(ctx, x: Tensor, valid: Tensor | None, knots: int, t_max: float, shared: bool) -> Tensor:  # type: ignore[no-untyped-def]
        """Return the statistic [S, M] of samples x [S, N, M]; valid [S, N] says which samples count."""
        t, gauss, weight = quadrature(knots, t_max, x)
        step = t_max / (knots - 1)
        count = x.new_full((x.shape[0], 1), float(x.shape[1])) if valid is None else valid.sum(1, keepdim=True).to(x)
        first, angle = x.new_empty(2, *x.shape), step * x
        torch.cos(angle, out=first[0])
        torch.sin(angle, out=first[1])
        total = sums_of_waves(first, knots - 1, valid)
        if shared:
            total, count = sum_over_ranks(total), sum_over_ranks(count)
        mean = total / count.clamp(min=1)
        gap = mean - torch.stack([gauss, torch.zeros_like(gauss)], 1)[:, :, None, None]
        statistic = (weight @ gap.square().sum(1).flatten(1)).view(gap.shape[2:]) * count
        ctx.save_for_backward(first, valid, gap * (2 * weight * t)[:, None, None, None])
        ctx.shared = shared
        return statistic

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        """Return dT/dx_j = sum_k 2 w_k t_k [(S_k) cos(t_k x_j) - (C_k - phi_k) sin(t_k x_j)]."""
        first, valid, slope = ctx.saved_tensors
        # every rank's loss holds the whole statistic, so a sample's gradient is the sum over ranks
        grad = sum_over_ranks(grad.contiguous()) if ctx.shared else grad
        of_sine, of_cosine = (slope * grad).unbind(1)
        return mix_of_waves(first, torch.stack([of_cosine, -of_sine], 1), valid), None, None, None, None


def quadrature(knots: int, t_max: float, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the knots but that at 0, a normal law's characteristic function there, and the weights, [knots - 1] each.

    By the trapezoidal rule on [0, t_max], doubled for the negative half; the knot at 0 adds nothing.

    Examples
    --------
    >>> [part.round(decimals=2).tolist() for part in quadrature(3, 2.0, torch.zeros(1).double())]
    [[1.0, 2.0], [0.61, 0.14], [1.21, 0.14]]
    """
    step = t_max / (knots - 1)
    t = step * torch.arange(1, knots, dtype=like.dtype, device=like.device)
    gauss = torch.exp(-t.square() / 2)
    weight = 2 * step * gauss
    weight[-1] = weight[-1] / 2
    return t, gauss, weight


def epps_pulley(
    x: Tensor, valid: Tensor | None = None, *, knots: int = 17, t_max: float = 3.0, shared: bool = True
) -> Tensor:
    r"""Test samples against N(0, 1) by their characteristic function (Epps and Pulley 1983; LeJEPA, arXiv 2511.08544).

    .. math:: T = N \int_{-t_{max}}^{t_{max}} |\frac1N \sum_j e^{i t x_j} - e^{-t^2/2}|^2 e^{-t^2/2} dt

    by the trapezoidal rule with `knots` points on [0, t_max]. Samples are neither centred nor scaled. For N(0, 1) the
    expectation is 1.0525 for every N; for N equal zeros the value is 0.402 N (17 knots on [0, 3]).

    Parameters
    ----------
    x : Tensor of shape (S, N, M)
        S sets of N samples of M variables, each variable tested on its own.
    valid : bool Tensor of shape (S, N), optional
        Which samples count; None means all.
    knots : int, default=17
        Points of the quadrature, at least 2; more than 33 are computed in float64, which takes longer.
    t_max : float, default=3.0
        End of the quadrature.
    shared : bool, default=True
        Whether the ranks of a distributed run hold samples of the same sets; else each has sets of its own.

    Returns
    -------
    Tensor of shape (S, M)
        The statistics, over all ranks of a distributed run, and differentiable across them.

    Examples
    --------
    >>> epps_pulley(torch.zeros(1, 100, 1)).round(decimals=1)
    tensor([[40.2000]])
    """
    wide = x.double() if knots > SINGLE_KNOTS else x
    return EppsPulley.apply(wide, valid, knots, t_max, shared).to(x.dtype)


def random_slices(dim: int, slices: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw unit vectors, the columns of a [dim, slices] matrix, equal on all ranks."""
    directions = torch.randn(dim, slices, generator=generator).to(device, non_blocking=True)
    if world_size() > 1:
        dist.broadcast(directions, 0)
    return directions / directions.norm(dim=0)


def at_least_float32(z: Tensor) -> Tensor:
    """Return latents in a precision in which sums over many samples are meant: half precision becomes float32."""
    return z if z.dtype == torch.float64 else z.float()


def arrange(z: Tensor, valid: Tensor | None, placement: Placement) -> tuple[Tensor, Tensor | None]:
    """Return latents [B, N, D] as sets of samples [S, n, D], and which samples count.

    token: one set of all B * N tokens; position: a set of B tokens for each place in dimension N; series: a set of N
    tokens for each series; dual is none of its own, but the mean of position and series.
    """
    if placement == "token":
        return z.flatten(0, 1).unsqueeze(0), None if valid is None else valid.flatten().unsqueeze(0)
    if placement == "position":
        return z.transpose(0, 1), None if valid is None else valid.T
    return z, valid


class SIGReg(nn.Module):
    """Sketched isotropic Gaussian regularizer (LeJEPA, Balestriero and LeCun 2025, arXiv 2511.08544).

    The mean Epps-Pulley statistic over random directions, which are drawn again at each call. It carries the
    statistic's factor N (number of samples in a set), so its weight depends on the placement.

    Parameters
    ----------
    slices : int, default=256
        Number of random directions.
    knots : int, default=17
        Points of the quadrature on [0, t_max].
    t_max : float, default=3.0
    placement : {"token", "position", "series", "dual"}, default="token"
        Over which sets of tokens the law is tested: all tokens of the batch together, each position over the batch
        (as LeWorldModel), each series over its tokens (as LeNEPA), or the mean of the last two (as ChronoJEPA). A
        position is a place in dimension N of what is given: of visible tokens alone, the first, the second and so on.

    Raises
    ------
    ValueError
        If there is no slice or fewer than two knots, `t_max` is not positive, or `placement` is another word.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> z = torch.randn(64, 10, 16, generator=generator)
    >>> 0.9 < SIGReg()(z, generator).item() < 1.2
    True
    """

    def __init__(
        self, *, slices: int = 256, knots: int = 17, t_max: float = 3.0, placement: Placement = "token"
    ) -> None:
        super().__init__()
        if slices < 1 or knots < 2:
            raise ValueError(f"SIGReg needs slices >= 1 and knots >= 2, but got {slices} and {knots}.")
        if not 0 < t_max < math.inf:
            raise ValueError(f"SIGReg needs a finite t_max above 0, but got {t_max}.")
        if placement not in get_args(Placement):
            raise ValueError(f"placement is one of {', '.join(get_args(Placement))}, but got {placement!r}.")
        self.slices, self.knots, self.t_max = slices, knots, t_max
        self.placement: Placement = placement

    def forward(self, z: Tensor, generator: torch.Generator | None = None, valid: Tensor | None = None) -> Tensor:
        """Return the regularizer, a scalar, of latents z [B, N, D]; valid [B, N] says which tokens count."""
        z = at_least_float32(z)
        directions = random_slices(z.shape[-1], self.slices, generator, z.device).to(z.dtype)
        placements: tuple[Placement, ...] = ("position", "series") if self.placement == "dual" else (self.placement,)
        with torch.autocast(z.device.type, enabled=False):
            return torch.stack([self.statistic(z, valid, p, directions) for p in placements]).mean()

    def statistic(self, z: Tensor, valid: Tensor | None, placement: Placement, directions: Tensor) -> Tensor:
        """Return the mean statistic over the sets that hold samples, and over directions."""
        samples, counted = arrange(z, valid, placement)
        # the sets of a placement by series are a rank's own; the others are shared by all ranks
        shared = placement != "series"
        values = epps_pulley(samples @ directions, counted, knots=self.knots, t_max=self.t_max, shared=shared)
        total = values.mean(1).sum()
        held = total.new_ones(len(values)) if counted is None else counted.any(1).to(total)
        if shared:  # a set holds samples if it does on any rank
            return total / (sum_over_ranks(held) > 0).sum().clamp(min=1)
        return SumOverRanks.apply(total) / sum_over_ranks(held.sum()).clamp(min=1)


def variance_loss(z: Tensor, *, floor: float = 1.0) -> Tensor:
    """Return mean_d relu(floor - std_d), the hinge of VICReg (Bardes et al. 2022, arXiv 2105.04906).

    Parameters
    ----------
    z : Tensor of shape (N, D)
        Samples; the standard deviation is sqrt(unbiased variance + 1e-4).
    floor : float, default=1.0

    Examples
    --------
    >>> variance_loss(torch.zeros(4, 2)).item()
    0.99...
    """
    return torch.relu(floor - (covariance(z).diagonal() + 1e-4).sqrt()).mean()


def covariance_loss(z: Tensor) -> Tensor:
    """Return the sum of squared off-diagonal covariances over D (VICReg, Bardes et al. 2022, arXiv 2105.04906).

    Parameters
    ----------
    z : Tensor of shape (N, D)
        Samples, centred here; the covariance is unbiased.

    Examples
    --------
    >>> covariance_loss(torch.tensor([[1.0, 1.0], [-1.0, -1.0]])).item()
    4.0
    """
    cov = covariance(z)
    return (cov.square().sum() - cov.diagonal().square().sum()) / z.shape[1]


def covariance(z: Tensor) -> Tensor:
    """Return the unbiased covariance [D, D] of samples z [N, D], those of all ranks in a distributed run."""
    count = sum_over_ranks(z.new_tensor(float(z.shape[0])))
    centred = z - SumOverRanks.apply(z.sum(0)) / count
    return SumOverRanks.apply(centred.T @ centred) / (count - 1).clamp(min=1)


class VICReg(nn.Module):
    """Variance and covariance terms of VICReg; the invariance term is the prediction loss.

    Parameters
    ----------
    std_weight : float, default=25.0
        Weight of the variance hinge.
    cov_weight : float, default=1.0
        Weight of the covariance term.

    Examples
    --------
    >>> round(VICReg()(torch.zeros(4, 3, 2)).item(), 2)
    24.75
    """

    def __init__(self, *, std_weight: float = 25.0, cov_weight: float = 1.0) -> None:
        super().__init__()
        self.std_weight, self.cov_weight = std_weight, cov_weight

    def forward(self, z: Tensor, generator: torch.Generator | None = None, valid: Tensor | None = None) -> Tensor:
        """Return the weighted sum of both terms over all tokens of z [B, N, D]; valid [B, N] says which count."""
        z = at_least_float32(z)
        samples = z.flatten(0, 1) if valid is None else z[valid]
        with torch.autocast(z.device.type, enabled=False):
            return self.std_weight * variance_loss(samples) + self.cov_weight * covariance_loss(samples)


class VISReg(nn.Module):
    """Scale, centre and shape of the latents, each on its own (VISReg, arXiv 2606.02572).

    scale = mean_d (1 - std_d)^2, whose gradient does not vanish at collapse; centre = mean_d mean_d^2; shape = the
    sliced squared 2-Wasserstein distance between standardised latents and N(0, 1), over random directions that are
    drawn again at each call. Sorting needs all samples at once, so in a distributed run each rank joins those of all.

    Parameters
    ----------
    slices : int, default=256
        Number of random directions.
    scale, centre, shape : float, default=1.0
        Weights of the three terms.

    Raises
    ------
    ValueError
        If there is no slice.

    Examples
    --------
    >>> round(VISReg()(torch.zeros(4, 3, 2)).item(), 2)
    1.66
    """

    def __init__(self, *, slices: int = 256, scale: float = 1.0, centre: float = 1.0, shape: float = 1.0) -> None:
        super().__init__()
        if slices < 1:
            raise ValueError(f"VISReg needs slices >= 1, but got {slices}.")
        self.slices, self.scale, self.centre, self.shape = slices, scale, centre, shape

    def forward(self, z: Tensor, generator: torch.Generator | None = None, valid: Tensor | None = None) -> Tensor:
        """Return the weighted sum of the terms over all tokens of z [B, N, D]; valid [B, N] says which count."""
        z = at_least_float32(z)
        samples = join_rows(z.flatten(0, 1) if valid is None else z[valid])
        directions = random_slices(z.shape[-1], self.slices, generator, z.device).to(z.dtype)
        with torch.autocast(z.device.type, enabled=False):
            return self.terms(samples, directions)

    def terms(self, z: Tensor, directions: Tensor) -> Tensor:
        """Return the weighted sum of the terms of samples [N, D]; zero where there is none."""
        if not len(z):
            return z.sum()
        mean = z.mean(0)
        # the root needs a floor: its gradient is infinite at zero
        std = ((z - mean).square().mean(0) + 1e-8).sqrt()
        standard = (z - mean) / (std.detach() + 1e-4)
        scale, centre = (1 - std).square().mean(), mean.square().mean()
        return self.scale * scale + self.centre * centre + self.shape * sliced_wasserstein(standard @ directions)


def sliced_wasserstein(x: Tensor) -> Tensor:
    """Return the mean squared 2-Wasserstein distance of the columns of x [N, M] to N(0, 1), by sorted values.

    Examples
    --------
    >>> x = torch.special.ndtri(torch.arange(1, 100) / 100)
    >>> sliced_wasserstein(x.unsqueeze(1)).item()
    0.0
    """
    n = x.shape[0]
    quantiles = torch.special.ndtri(torch.arange(1, n + 1, dtype=x.dtype, device=x.device) / (n + 1))
    return (x.sort(0).values - quantiles.unsqueeze(1)).square().mean()
