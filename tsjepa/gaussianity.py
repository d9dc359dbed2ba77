"""How far latents are from a standard normal law, on a scale from that law to a collapse.

A pure function like those of `tsjepa.diagnostics`: float64 on the CPU, without gradient, nothing gathered over ranks.
"""

import torch
from torch import Tensor

from tsjepa.diagnostics import as_float64
from tsjepa.regularizers import epps_pulley, quadrature


def sigreg_score(
    z: Tensor, generator: torch.Generator, *, slices: int = 256, knots: int = 17, t_max: float = 3.0
) -> Tensor:
    r"""Place latents between the standard normal law (0) and a collapse to zero (1).

    The mean T over random directions of the statistic of Epps and Pulley (LeJEPA, arXiv 2511.08544; see
    `tsjepa.regularizers.epps_pulley`, here of one rank alone), as

    .. math:: (T - T_0) / (T_1 - T_0), \quad T_0 = \sum_k w_k (1 - e^{-t_k^2}), \quad
              T_1 = N \sum_k w_k (1 - e^{-t_k^2 / 2})^2

    T_0 (1.0525 for 17 knots on [0, 3]) is its expectation for N(0, I) and every N, T_1 (0.402 N) its value for zeros.
    Comparable across numbers of samples. Latents are neither centred nor scaled: those of another scale or mean are not
    standard normal either.

    Parameters
    ----------
    z : Tensor of shape (N, D)
    generator : torch.Generator
        Source of the directions, on the CPU.
    slices : int, default=256
    knots : int, default=17
        Points of the quadrature on [0, t_max].
    t_max : float, default=3.0

    Returns
    -------
    Tensor of shape ()
        Above 1 for latents much wider than the law or far from zero.

    Raises
    ------
    ValueError
        If there are fewer than three samples, of which zeros are not told from a normal law.

    Examples
    --------
    >>> round(sigreg_score(torch.zeros(50, 4), torch.Generator().manual_seed(0)).item(), 6)
    1.0
    """
    n, dim = z.shape
    if n < 3:
        raise ValueError(f"the normalised SIGReg score needs at least 3 samples, but got {n}.")
    directions = torch.randn(dim, slices, generator=generator).double()
    projected = as_float64(z) @ (directions / directions.norm(dim=0))
    statistic = epps_pulley(projected[None], knots=knots, t_max=t_max, shared=False).mean()
    _, normal, weight = quadrature(knots, t_max, projected)
    floor, ceiling = weight @ (1 - normal.square()), n * (weight @ (1 - normal).square())
    return (statistic - floor) / (ceiling - floor)
