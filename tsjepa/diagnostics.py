"""How much room latents take: their distance to the target's, their spread and the directions that they use.

Pure functions: tensors in, one number out, a float64 tensor without gradient on the CPU, whatever came in. A sample is
a token or a pooled series; nothing is gathered over ranks, so in a distributed run the caller joins the samples first.
"""

import torch
from torch import Tensor

# Rounding, not signal: an encoder's output is off by a few units in the last place of its dtype. As 16 of these are an
# eighth of a bfloat16, in 16 bits only storage is allowed for, three times over: it is off by half a unit.
ROUNDING_UNITS, ROUNDING_UNITS_OF_16_BITS = 16, 1.5


def as_float64(z: Tensor) -> Tensor:
    """Return `z` as float64 on the CPU, without gradient."""
    return z.detach().cpu().double()


def rounding(z: Tensor) -> float:
    """Return the relative size below which differences between values of `z` are rounding errors of its dtype."""
    kind = torch.finfo(z.dtype)
    return kind.eps * (ROUNDING_UNITS_OF_16_BITS if kind.bits == 16 else ROUNDING_UNITS)


def encoder_target_gap(f: Tensor, g: Tensor) -> Tensor:
    r"""Measure how far the encoder's outputs are from the target's, as mean l2 distance.

    .. math:: C = E \|f(x) - g(\hat x)\|_2

    Equation 3 of Ennadir et al. 2026, "Understanding Early Collapse in Predictive World-Model Pretraining". In the unit
    of the latents: it depends on their scale, on the learning rate and on the target's momentum, so that a small value
    alone says nothing about collapse. See `relative_gap`.

    Parameters
    ----------
    f, g : Tensor of shape (..., D)
        Outputs of encoder and target for the same samples.

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> encoder_target_gap(torch.zeros(4, 2), torch.tensor([3.0, 4.0]).expand(4, 2)).item()
    5.0
    """
    check_same_shape(f, g)
    return (as_float64(f) - as_float64(g)).norm(dim=-1).mean()


def relative_gap(f: Tensor, g: Tensor) -> Tensor:
    r"""Measure the distance between encoder and target in units of the encoder's own spread.

    .. math:: \|f - g\|_F / \|f - \bar f\|_F

    Parameters
    ----------
    f, g : Tensor of shape (..., D)
        Outputs of encoder and target for the same samples.

    Returns
    -------
    Tensor of shape ()
        0 for equal outputs, 1 where they differ as much as samples do; inf where `f` is constant and `g` differs from
        it, nan where both are the same constant.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> f = torch.tensor([[1.0], [-1.0]])
    >>> relative_gap(f, 0.5 * f).item()
    0.5
    """
    check_same_shape(f, g)
    f, g = as_float64(f).flatten(0, -2), as_float64(g).flatten(0, -2)
    return (f - g).norm() / (f - f.mean(0)).norm()


def check_same_shape(a: Tensor, b: Tensor) -> None:
    """Raise ValueError unless both have the same shape: broadcasting would compare the wrong samples."""
    if a.shape != b.shape:
        raise ValueError(f"both sides need the same shape, but got {tuple(a.shape)} and {tuple(b.shape)}.")


def singular_values(z: Tensor, *, centred: bool) -> Tensor:
    """Return the singular values of samples [N, D], descending; those that rounding alone explains are 0.

    Rounding errors of relative size u in N x D numbers of root mean square r form a matrix whose largest singular value
    is about u r (sqrt(N) + sqrt(D)). Without this floor the effective rank of constant samples would be that of noise.
    Samples that are not finite give nan.
    """
    samples = as_float64(z)
    if not bool(samples.isfinite().all()):
        return samples.new_full((min(z.shape),), torch.nan)
    n, dim = samples.shape
    floor = rounding(z) * samples.square().mean().sqrt() * (n**0.5 + dim**0.5)
    values = torch.linalg.svdvals(samples - samples.mean(0) if centred else samples)
    return torch.where(values > floor, values, 0.0)


def entropy_rank(weights: Tensor) -> Tensor:
    """Return exp(-sum p log p) of p = weights / sum: the number of equal weights with this entropy; 0 if all are 0."""
    total = weights.sum()
    if total == 0:
        return total
    p = weights / total
    return torch.special.entr(p).sum().exp()


def effective_rank(z: Tensor, *, centred: bool = False) -> Tensor:
    r"""Count the directions that samples use: the exponential of the entropy of the normalised singular values.

    .. math:: \exp(-\sum_k p_k \log p_k), \quad p_k = \sigma_k / \sum_j \sigma_j

    RankMe (Garrido et al. 2023, arXiv 2210.02885), there of the samples as they are; the effective rank goes back to
    Roy and Vetterli 2007. With N samples of full rank it is reliable from about N = 10 D on.

    Parameters
    ----------
    z : Tensor of shape (N, D)
    centred : bool, default=False
        Whether the mean is removed first. Not centred, a large common mean counts as one direction and hides the
        others; centred, a constant has none.

    Returns
    -------
    Tensor of shape ()
        Between 1 and min(N, D); 0 if nothing but rounding errors is left.

    Examples
    --------
    >>> round(effective_rank(torch.eye(4)).item(), 6)
    4.0
    >>> effective_rank(torch.ones(5, 3), centred=True).item()
    0.0
    """
    return entropy_rank(singular_values(z, centred=centred))


def spectrum(z: Tensor) -> Tensor:
    """Return the eigenvalues of the unbiased covariance, descending.

    Parameters
    ----------
    z : Tensor of shape (N, D)

    Returns
    -------
    Tensor of shape (D,)
        In squared units of the latents; zeros where samples do not reach, so from the N-th on if N <= D.

    Examples
    --------
    >>> [round(value, 6) for value in spectrum(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).tolist()]
    [2.0, 0.0]
    """
    n, dim = z.shape
    values = singular_values(z, centred=True).square() / max(n - 1, 1)
    return torch.nn.functional.pad(values, (0, dim - len(values)))


def participation_ratio(z: Tensor) -> Tensor:
    r"""Count the directions that carry variance.

    .. math:: (\sum_k \lambda_k)^2 / \sum_k \lambda_k^2

    over the eigenvalues of the covariance (Gao et al. 2017, bioRxiv 214262). Weights large eigenvalues more than
    `effective_rank` does; from N samples of an isotropic law it comes out as about D N / (N + D).

    Parameters
    ----------
    z : Tensor of shape (N, D)

    Returns
    -------
    Tensor of shape ()
        Between 1 and min(N - 1, D); 0 if all samples are equal.

    Examples
    --------
    >>> round(participation_ratio(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).item(), 6)
    2.0
    """
    values = spectrum(z)
    largest = values[0]
    if largest == 0:
        return largest
    values = values / largest  # squares of tiny eigenvalues would underflow
    return values.sum().square() / values.square().sum()


def lidar(z: Tensor, *, delta: float = 1e-4) -> Tensor:
    r"""Count the directions that tell samples apart beyond what varies between views of one sample.

    The effective rank, over eigenvalues, of

    .. math:: S_w^{-1/2} S_b S_w^{-1/2}

    LiDAR (Thilak et al. 2024, arXiv 2312.04000): S_b is the covariance of the samples' means, S_w that of the views
    around them plus `delta` times the identity, both unbiased. The paper takes 10 views and more samples than D.

    Parameters
    ----------
    z : Tensor of shape (n_samples, n_views, D)
    delta : float, default=1e-4
        In squared units of the latents: not small against latents of standard deviation 0.01.

    Returns
    -------
    Tensor of shape ()
        Between 1 and min(n_samples - 1, D); 0 if all samples have the same mean.

    Raises
    ------
    ValueError
        If there are fewer than two samples or two views.

    Examples
    --------
    >>> means = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> views = torch.tensor([[0.0, 0.5], [0.0, -0.5]])  # the second dimension is mostly noise
    >>> round(lidar(means[:, None] + views).item(), 2), round(lidar(means[:, None] + 0 * views).item(), 2)
    (1.0, 2.0)
    """
    n, views, dim = z.shape
    if n < 2 or views < 2:
        raise ValueError(f"LiDAR needs at least 2 samples and 2 views of each, but got {n} and {views}.")
    samples = as_float64(z)
    if not bool(samples.isfinite().all()):
        return samples.new_tensor(torch.nan)
    means = samples.mean(1)
    within = (samples - means[:, None]).flatten(0, 1)
    covariance = within.T @ within / (n * (views - 1)) + delta * torch.eye(dim, dtype=torch.float64)
    between = means - means.mean(0)
    floor = rounding(z) * samples.square().mean().sqrt()
    between = torch.where(between.abs() > floor, between, 0.0)
    # eigenvalues of S_w^-1/2 S_b S_w^-1/2 are the squared singular values of L^-1 between^T, with S_w = L L^T
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), between.T, upper=False)
    return entropy_rank(torch.linalg.svdvals(whitened).square())
