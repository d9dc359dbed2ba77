r"""The upper bound on the distance between encoder and EMA target, from the encoder's weights over training.

Ennadir et al. 2026, "Understanding Early Collapse in Predictive World-Model Pretraining", for an encoder
f(x) = sigma(theta x) with a 1-Lipschitz activation and a target of the averaged weights (equation 1)

.. math:: \bar\theta^{(t)} = \beta \bar\theta^{(t-1)} + (1 - \beta) \theta^{(t)}, \quad
          \bar\theta^{(0)} = \theta^{(0)}.

Norms are l2 for vectors and spectral for weights. Where an input is a matrix of tokens, its norm and that of the
outputs are Frobenius norms, for which the proof holds: an elementwise activation is not 1-Lipschitz in the spectral
norm.

A small bound says that the target is close, not that latents are useless. It shrinks with the learning rate, and on one
and the same trajectory of weights that move steadily it grows with beta: at a step of d per update to beta d / (1 -
beta).
"""

import heapq
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tsjepa.diagnostics import as_float64

# Bounds are taken to be so much larger than they come out, more than their rounding errors, in float32 or even products
# of bfloat16
MARGIN = 1.01


def operator_norm(weight: Tensor) -> Tensor:
    """Return the spectral norm of a matrix, the l2 norm of a vector, the absolute value of a scalar.

    Parameters
    ----------
    weight : Tensor of any shape
        With more than two dimensions (a convolution's kernel) it counts as the matrix of its first against all others.

    Returns
    -------
    Tensor of shape ()

    Examples
    --------
    >>> operator_norm(torch.diag(torch.tensor([1.0, -3.0]))).item()
    3.0
    """
    weight = as_float64(weight)
    if weight.ndim < 2:
        return weight.norm()
    rows = weight.flatten(1)
    rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
    return torch.linalg.eigvalsh(rows @ rows.T)[-1].clamp(min=0).sqrt()  # about half the time of singular values


def ema_weights(trajectory: Sequence[Tensor], beta: float) -> Tensor:
    """Return the EMA of a trajectory theta_0 ... theta_t that starts at theta_0, by equation 1.

    Parameters
    ----------
    trajectory : sequence of Tensor, all of one shape
        The weights at initialisation and after each update.
    beta : float
        Decay of the average, in [0, 1].

    Returns
    -------
    Tensor of the same shape

    Raises
    ------
    ValueError
        If the trajectory is empty or beta outside [0, 1].

    Examples
    --------
    >>> ema_weights([torch.tensor(0.0), torch.tensor(1.0)], 0.75).item()
    0.25
    """
    check_trajectory(trajectory, beta)
    average = as_float64(trajectory[0])
    for weight in trajectory[1:]:
        average = beta * average + (1 - beta) * as_float64(weight)
    return average


def learning_dynamics(trajectory: Sequence[Tensor], beta: float) -> Tensor:
    r"""Return the learning-dynamics term of equation 11, which equals theta_t minus its EMA.

    .. math:: \beta \Delta^{(t)} - (1 - \beta) \sum_{l=1}^{t-1} \beta^{t-l} \Delta^{(l)}, \quad
              \Delta^{(l)} = \theta^{(l)} - \theta^{(0)}

    The other term of equation 11, a multiple of theta_0, vanishes if the average starts at theta_0.

    Parameters
    ----------
    trajectory, beta
        See `ema_weights`.

    Returns
    -------
    Tensor of the weights' shape

    Raises
    ------
    ValueError
        If the trajectory is empty or beta outside [0, 1].

    Examples
    --------
    >>> learning_dynamics([torch.tensor(5.0), torch.tensor(6.0), torch.tensor(7.0)], 0.5).item()
    0.75
    """
    check_trajectory(trajectory, beta)
    start, last = as_float64(trajectory[0]), len(trajectory) - 1
    term = beta * (as_float64(trajectory[last]) - start)
    for step in range(1, last):
        term = term - (1 - beta) * beta ** (last - step) * (as_float64(trajectory[step]) - start)
    return term


def check_trajectory(trajectory: Sequence[Tensor], beta: float) -> None:
    """Raise ValueError unless there are weights and 0 <= beta <= 1."""
    if not trajectory:
        raise ValueError("a trajectory needs at least the weights at initialisation, but it is empty.")
    if not 0 <= beta <= 1:
        raise ValueError(f"beta, the decay of the average, must lie in [0, 1], but is {beta}.")


def gamma_bound(
    trajectory: Sequence[Tensor], beta: float, x_hat: Tensor, *, epsilon: float, lipschitz: float | None = None
) -> Tensor:
    r"""Return the upper bound of Theorem 4.2 on |f(x) - g(x_hat)| for every x within `epsilon` of `x_hat`.

    .. math:: \gamma = L \epsilon
              + \|\beta \Delta^{(t)} - (1 - \beta) \sum_{l=1}^{t-1} \beta^{t-l} \Delta^{(l)}\| \, \|\hat x\|

    Exact for the one-layer encoder of the theorem and for no other; see `parameter_mismatch` for a transformer.

    Parameters
    ----------
    trajectory : sequence of Tensor of shape (D_out, D_in)
        theta_0 ... theta_t.
    beta : float
        Decay of the average, in [0, 1].
    x_hat : Tensor of shape (D_in,) or (N, D_in)
        The target's input.
    epsilon : float
        Largest distance between the encoder's input and the target's.
    lipschitz : float, optional
        Lipschitz constant L of the encoder at step t; by default the spectral norm of theta_t.

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    ValueError
        If the trajectory is empty or beta outside [0, 1].

    Examples
    --------
    >>> trajectory = [torch.eye(2), 3 * torch.eye(2)]
    >>> gamma_bound(trajectory, 0.5, torch.tensor([3.0, 4.0]), epsilon=0.0).item()
    5.0
    """
    slope = operator_norm(trajectory[-1]) if lipschitz is None else lipschitz
    return slope * epsilon + operator_norm(learning_dynamics(trajectory, beta)) * as_float64(x_hat).norm()


def gamma_bound_masked(
    trajectory: Sequence[Tensor],
    beta: float,
    x_hat: Tensor,
    *,
    ratio: float,
    token_norm: float | None = None,
    lipschitz: float | None = None,
) -> Tensor:
    r"""Return the upper bound of Proposition 4.4 on the mean over masks of |f(x) - g(x_hat)|, x = x_hat without tokens.

    .. math:: \gamma = L B \sqrt{p N} + \|\beta \Delta^{(t)} - \dots\| \, \|\hat x\|

    Parameters
    ----------
    trajectory, beta, lipschitz
        See `gamma_bound`.
    x_hat : Tensor of shape (N, D_in)
        All tokens; hidden ones are zeros in x.
    ratio : float
        Expected share p of hidden tokens.
    token_norm : float, optional
        Bound B on the norm of a token; by default the largest of `x_hat`.

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    ValueError
        If the trajectory is empty, or beta or the ratio outside [0, 1].

    Examples
    --------
    >>> gamma_bound_masked([torch.eye(2)], 0.9, torch.eye(2), ratio=0.5).item()
    1.0
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio, the share of hidden tokens, must lie in [0, 1], but is {ratio}.")
    largest = as_float64(x_hat).norm(dim=1).max() if token_norm is None else token_norm
    return gamma_bound(
        trajectory, beta, x_hat, epsilon=float(largest * (ratio * x_hat.shape[0]) ** 0.5), lipschitz=lipschitz
    )


def parameter_mismatch(encoder: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the norm of the difference between each weight of the encoder and the target's.

    All that Theorem 4.2 says about an encoder of many layers: the parameter-mismatch term only, exactly and weight by
    weight, without the trajectory. It bounds no output, since attention and normalisation between the weights have
    Lipschitz constants of their own.

    Parameters
    ----------
    encoder, target : mapping of str to Tensor
        Parameters by name, as from `dict(module.named_parameters())`.

    Returns
    -------
    dict of str to Tensor of shape ()
        The `operator_norm` of theta minus its average, under the same names.

    Raises
    ------
    ValueError
        If the names differ.

    Examples
    --------
    >>> parameter_mismatch({"weight": 2 * torch.eye(2)}, {"weight": torch.eye(2)})["weight"].item()
    1.0
    """
    check_same_names(encoder, target)
    return {name: operator_norm(as_float64(weight) - as_float64(target[name])) for name, weight in encoder.items()}


def largest_mismatch(encoder: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> float:
    """Return the largest value of `parameter_mismatch`, without the spectral norms that cannot be it.

    No spectral norm is above the Frobenius norm, nor above the tighter `upper_bound`, which takes a few products of
    matrices. The weight whose bound is the largest gets a tighter one, and a norm at last, until no bound is above the
    largest norm.

    Parameters
    ----------
    encoder, target : mapping of str to Tensor
        See `parameter_mismatch`, for what is raised, too.

    Returns
    -------
    float
        nan where a weight is not finite.

    Examples
    --------
    >>> largest_mismatch({"a": 2 * torch.eye(2), "b": torch.ones(3)}, {"a": torch.eye(2), "b": torch.ones(3)})
    1.0
    """
    check_same_names(encoder, target)
    pairs = [(weight.detach().cpu(), target[name].detach().cpu()) for name, weight in encoder.items()]
    apart = [rough_difference(*pair) for pair in pairs]
    sizes = torch.stack([torch.linalg.vector_norm(weight, dtype=torch.float64) for weight in apart])
    if not bool(sizes.isfinite().all()):
        return math.nan
    # of each weight a bound or its norm, the largest first, and how many steps it is from being the norm
    known = [(-MARGIN * size, 2 if apart[which].ndim > 1 else 1, which) for which, size in enumerate(sizes.tolist())]
    heapq.heapify(known)
    while known:
        value, steps, which = known[0]
        if not steps:
            return -value
        if steps == 2:
            value = max(value, -MARGIN * upper_bound(apart[which], float(sizes[which])))
        else:
            weight, other = pairs[which]
            value = -float(operator_norm(as_float64(weight) - as_float64(other)))
        heapq.heapreplace(known, (value, steps - 1, which))
    return 0.0


def rough_difference(weight: Tensor, other: Tensor) -> Tensor:
    """Return the difference of two weights with rounding errors of each number that are below `MARGIN`."""
    if torch.float64 in (weight.dtype, other.dtype):
        return weight.double() - other.double()
    return weight.float() - other.float()


def upper_bound(weight: Tensor, size: float) -> float:
    r"""Return a number that is, up to rounding, not below the spectral norm of a matrix, nor above its Frobenius norm.

    .. math:: \|W\|_2 \le \|W W^\top W W^\top\|_F^{1 / 4} \le \|W\|_F

    For trained weights it is some percent above the first, the last one twice as large.

    Parameters
    ----------
    weight : Tensor of two or more dimensions
        See `operator_norm`.
    size : float
        The Frobenius norm; a very large or small one, whose fourth power float32 does not hold, is all that is known.

    Examples
    --------
    >>> round(upper_bound(torch.diag(torch.tensor([2.0, 1.0])), 5**0.5), 3)
    2.001
    """
    if not 1e-6 < size < 1e6:
        return size
    rows = weight.flatten(1)
    products = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    # the sum of their squares may be below float32's smallest number
    return float(torch.linalg.vector_norm(products @ products, dtype=torch.float64)) ** 0.25


def check_same_names(encoder: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless both have weights of the same names."""
    if encoder.keys() != target.keys():
        raise ValueError(f"encoder and target differ in {sorted(encoder.keys() ^ target.keys())}.")
