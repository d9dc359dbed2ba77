"""How latents are spread: over their dimensions and over the sphere.

Pure functions like those of `tsjepa.diagnostics`: float64 on the CPU, without gradient, nothing gathered over ranks.
"""

import math

import torch
from torch import Tensor

from tsjepa.diagnostics import as_float64, check_same_shape, rounding

ROWS_AT_ONCE = 1024


def spread(z: Tensor) -> Tensor:
    """Measure how far samples are from their mean: the root of the mean variance of a dimension.

    Parameters
    ----------
    z : Tensor of shape (N, D)

    Returns
    -------
    Tensor of shape ()
        In the unit of the latents, to be compared with another epoch's of the same run.

    Examples
    --------
    >>> spread(torch.tensor([[2.0, 0.0], [-2.0, 0.0]])).item()
    1.4142...
    """
    samples = as_float64(z)
    return (samples - samples.mean(0)).square().mean().sqrt()


def relative_spread(z: Tensor) -> Tensor:
    r"""Measure which share of the latents' size differs between samples.

    .. math:: \|z - \bar z\|_F / \|z\|_F

    Parameters
    ----------
    z : Tensor of shape (N, D)

    Returns
    -------
    Tensor of shape ()
        1 for centred samples, 0 for a constant, up to rounding errors.

    Examples
    --------
    >>> relative_spread(torch.tensor([[3.0, 4.0], [3.0, -4.0]])).item()
    0.8
    """
    samples = as_float64(z)
    size = samples.norm()
    share = (samples - samples.mean(0)).norm() / torch.where(size > 0, size, 1.0)
    return torch.where(share < rounding(z), 0.0, share)


def normalize(z: Tensor) -> Tensor:
    """Return samples [..., D] as float64 of length 1; zeros stay zeros."""
    samples = as_float64(z)
    length = samples.norm(dim=-1, keepdim=True)
    return samples / torch.where(length > 0, length, 1.0)


def normalized_std(z: Tensor) -> Tensor:
    """Return the mean over dimensions of the standard deviation of z / |z| (SimSiam, Chen and He 2021, section 4.1).

    Sees complete collapse only: one direction of variance out of many already lifts it off zero. Blind to scale.

    Parameters
    ----------
    z : Tensor of shape (N, D)

    Returns
    -------
    Tensor of shape ()
        1 / sqrt(D) for an isotropic law around zero, 0 for a constant direction. The deviation is divided by N.

    Examples
    --------
    >>> normalized_std(torch.tensor([[5.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -1.0]])).item()
    0.7071...
    """
    return normalize(z).std(0, correction=0).mean()


def dead_dimensions(z: Tensor, threshold: float = 1e-3) -> Tensor:
    """Return the share of dimensions that are (almost) constant over samples.

    A dimension is dead if its standard deviation is below `threshold` times the root mean square of those of all
    dimensions, or is no more than rounding of its own values. The root mean square, not the median: the median is 0
    itself once half of the dimensions are dead.

    Parameters
    ----------
    z : Tensor of shape (N, D)
    threshold : float, default=1e-3

    Returns
    -------
    Tensor of shape ()
        Between 0 and 1; 1 for a constant.

    Examples
    --------
    >>> dead_dimensions(torch.tensor([[1.0, 7.0], [-1.0, 7.0]])).item()
    0.5
    """
    samples = as_float64(z)
    std = samples.std(0, correction=0)
    size = samples.square().mean(0).sqrt()
    dead = (std < threshold * std.square().mean().sqrt()) | (std <= rounding(z) * size)
    return dead.double().mean()


def uniformity(z: Tensor, t: float = 2.0) -> Tensor:
    r"""Measure how evenly samples cover the sphere (Wang and Isola 2020, arXiv 2005.10242).

    .. math:: \log E_{i < j} \exp(-t \|u_i - u_j\|^2), \quad u = z / |z|

    Time grows with the square of N: pass a few thousand samples.

    Parameters
    ----------
    z : Tensor of shape (N, D)
    t : float, default=2.0

    Returns
    -------
    Tensor of shape ()
        0 for a constant direction, lower is more even; about -2 t for many dimensions and an isotropic law.

    Raises
    ------
    ValueError
        If there are fewer than two samples.

    Examples
    --------
    >>> round(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item(), 6)
    -8.0
    """
    n = z.shape[0]
    if n < 2:
        raise ValueError(f"uniformity compares samples and needs at least 2, but got {n}.")
    u = normalize(z)
    squared = u.square().sum(1)
    sums = []
    for first, rows in zip(range(0, n, ROWS_AT_ONCE), u.split(ROWS_AT_ONCE), strict=True):
        exponent = -t * (squared[first : first + len(rows), None] + squared - 2 * rows @ u.T)
        # a sample is no pair with itself; subtracted from the sum, these ones would take the digits of far pairs
        exponent.diagonal(first).fill_(-torch.inf)
        sums.append(exponent.logsumexp((0, 1)))
    return torch.stack(sums).logsumexp(0) - math.log(n * (n - 1))


def alignment(u: Tensor, v: Tensor) -> Tensor:
    r"""Measure how far two views of a sample lie apart on the sphere (Wang and Isola 2020, arXiv 2005.10242).

    .. math:: E \|u / |u| - v / |v|\|^2

    Parameters
    ----------
    u, v : Tensor of shape (N, D)
        Row i of both belongs to sample i.

    Returns
    -------
    Tensor of shape ()
        0 for equal directions, 2 for unrelated, 4 for opposite ones.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> alignment(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
    2.0
    """
    check_same_shape(u, v)
    return (normalize(u) - normalize(v)).square().sum(-1).mean()


def self_cluster(z: Tensor) -> Tensor:
    r"""Measure how much samples crowd together on the sphere, against an even law (arXiv 2305.16562).

    .. math:: \frac{\|W W^T\|_F^2 - N - N (N - 1) / D}{N^2 - N - N (N - 1) / D}

    with the samples, brought to length 1, as rows of W.

    Parameters
    ----------
    z : Tensor of shape (N, D)

    Returns
    -------
    Tensor of shape ()
        0 in expectation for an even law on the sphere, 1 if all samples lie on one line.

    Raises
    ------
    ValueError
        If there are fewer than two samples or dimensions.

    Examples
    --------
    >>> round(self_cluster(torch.ones(10, 3)).item(), 6)
    1.0
    """
    n, dim = z.shape
    if n < 2 or dim < 2:
        raise ValueError(f"self-cluster needs at least 2 samples and 2 dimensions, but got {n} and {dim}.")
    w = normalize(z)
    even = n + n * (n - 1) / dim
    return ((w.T @ w).square().sum() - even) / (n * n - even)  # |W W^T|_F = |W^T W|_F
