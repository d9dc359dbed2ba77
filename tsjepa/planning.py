"""Planning in latent space: inputs under which a world model expects a plant to reach a target."""

from collections.abc import Callable
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsjepa.arrays import counted
from tsjepa.world import WorldModel


class Search(NamedTuple):
    """How the cross-entropy method searches (Rubinstein 1999, Methodol. Comput. Appl. Probab. 1, 127).

    The cheapest plan so far is a candidate in each round, beside those that are drawn.

    Attributes
    ----------
    samples : int
        Plans that are drawn a round.
    elites : int
        Best plans of a round, from which the next round's law follows; 1 to `samples`.
    rounds : int
        At least 1.
    """

    samples: int = 256
    elites: int = 24
    rounds: int = 6


class Plan(NamedTuple):
    """What a plant should be told, and what is then expected.

    Attributes
    ----------
    inputs : float64 array of shape (U, steps)
        In the unit of the series, one value a patch; none is outside its bounds, also where float32 would round it out.
    expected : float32 array of shape (steps, K)
        Decoded values at the end of each patch.
    cost : float
    """

    inputs: NDArray[np.float64]
    expected: NDArray[np.float32]
    cost: float


@torch.inference_mode()
def plan(
    model: WorldModel,
    context: NDArray[np.float32],
    decoder: NDArray[np.float64],
    target: NDArray[np.float64],
    bounds: NDArray[np.float64],
    *,
    steps: int,
    search: Search | None = None,
    seed: int = 0,
) -> Plan:
    """Find inputs, constant over each patch, under which decoded values come and stay near a target.

    Of the cheapest plan of all rounds and the mean of the last elites it is the one that costs less: where two plans
    are as good, their mean may be far off.

    Parameters
    ----------
    model : WorldModel
        In evaluation mode, on the CPU, with inputs.
    context : array of shape (n_channels, T)
        What was measured last, every point of it; at least a patch.
    decoder : array of shape (E + 1, K)
        Linear probe from latents to values, the constant last, see `tsjepa.evidence.ridge`.
    target : array of shape (K,)
        In the unit of the decoder's values; NaN where any value will do.
    bounds : array of shape (U, 2)
        Least and largest value of each input, finite as float32 has them.
    steps : int
        Patches to plan for, at least 1.
    search : Search, optional
    seed : int, default=0

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If the bounds are not those of the model's inputs, a point of the context is missing, there is no target, or
        shapes, `steps` or `search` are not as above.

    Examples
    --------
    >>> from tsjepa.build import build_model, configure, resolve
    >>> model = build_model(resolve(configure("lewm-sensor", overrides=["world.inputs=[0]"]), 128), 2).eval()
    >>> bounds = np.array([[0.0, 1.0]])
    >>> plan(model, np.zeros((2, 128), np.float32), np.zeros((33, 1)), np.ones(1), bounds, steps=3).inputs.shape
    (1, 3)
    """
    search, generator = search or Search(), torch.Generator().manual_seed(int(seed))
    _check_start(context, steps, search)
    _check_bounds(bounds, len(model.encoder.inputs))
    _check_target(target, decoder)
    weights, wanted = torch.tensor(decoder, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)
    belief = model.belief(torch.from_numpy(context.astype(np.float32))[None])

    def foresee(plans: Tensor) -> tuple[Tensor, Tensor]:
        expected = foreseen(model, belief.expand(len(plans), -1), plans, weights)
        return expected, (expected - wanted).square()[..., wanted.isfinite()].mean((1, 2))

    limits = torch.tensor(bounds, dtype=torch.float32)[:, None].expand(-1, steps, -1)
    plans = _searched(lambda plans: foresee(plans)[1], limits, search, generator)
    expected, cost = foresee(plans)
    best = cost.argsort()[0]
    low, high = np.asarray(bounds, np.float64).T[..., None]
    return Plan(plans[best].double().numpy().clip(low, high), expected[best].numpy(), float(cost[best]))


def _searched(price: Callable[[Tensor], Tensor], limits: Tensor, search: Search, generator: torch.Generator) -> Tensor:
    """Return the cheapest plan of all rounds and the mean of the last elites [2, U, steps], by limits [U, steps, 2]."""
    low, high = limits.unbind(-1)
    mean, spread = (low + high) / 2, (high - low) / 2
    best = mean[None]
    for _ in range(search.rounds):
        noise = torch.randn(search.samples, *mean.shape, generator=generator)
        candidates = torch.cat([best, torch.minimum(torch.maximum(mean + spread * noise, low), high)])
        elites = candidates[price(candidates).argsort()[: search.elites]]
        best, mean, spread = elites[:1], elites.mean(0), elites.std(0, correction=0)
    return torch.cat([best, mean[None]])


def foreseen(model: WorldModel, belief: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
    """Return the decoded values [B, steps, K] that follow beliefs [B, D] under inputs [B, U, steps], one a patch."""
    told = inputs.repeat_interleave(model.encoder.tokenizer.patch_length, -1)
    latents = model.rollout(belief, told, steps=inputs.shape[-1])
    if len(weights) != latents.shape[-1] + 1:
        raise ValueError(
            f"the decoder has {len(weights)} rows, and needs {latents.shape[-1] + 1}, one for each number of a latent "
            "and one for the constant: fit one to this model."
        )
    return latents @ weights[:-1] + weights[-1]


def _check_start(context: NDArray[np.float32], steps: int, search: Search) -> None:
    if not isinstance(steps, Integral):
        raise ValueError(f"steps is {steps!r}: plan for a whole number of patches.")
    if steps < 1:
        raise ValueError(f"steps is {steps}: plan for at least 1 patch.")
    if not (1 <= search.elites <= search.samples and search.rounds >= 1):
        raise ValueError(f"{search} finds nothing: give 1 or more rounds, and elites from 1 to samples.")
    if np.ndim(context) != 2:
        raise ValueError(f"a context has shape (n_channels, T), but this one {np.shape(context)}.")
    if not np.isfinite(context).all():
        raise ValueError("a plan starts from a context of which every point was measured: fill its gaps, or wait.")


def _check_bounds(bounds: NDArray[np.float64], n_inputs: int) -> None:
    if len(bounds) != n_inputs:
        raise ValueError(
            f"bounds must have one row for each input: the model has {counted(n_inputs, 'input')}, but bounds has "
            f"{len(bounds)}."
        )
    bounds = np.asarray(bounds)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        finite = np.isfinite(bounds.astype(np.float32)).all()
    if bounds.shape != (n_inputs, 2) or not finite or (bounds[:, 0] > bounds[:, 1]).any():
        raise ValueError(
            f"bounds are the least and then the largest value of each input, as float32 both finite, but are "
            f"{bounds.tolist()}."
        )


def _check_target(target: NDArray[np.float64], decoder: NDArray[np.float64]) -> None:
    if np.ndim(decoder) != 2:
        raise ValueError(f"a decoder has shape (E + 1, K), but this one {np.shape(decoder)}.")
    if not np.isfinite(decoder).all():
        raise ValueError("a number of the decoder is not finite: fit it to values that were measured.")
    if np.shape(target) != np.shape(decoder)[1:]:
        raise ValueError(
            f"the decoder gives {counted(np.shape(decoder)[1], 'value')}, but the target has shape {np.shape(target)}: "
            "give one number for each, NaN where any value will do."
        )
    if np.isinf(target).any():
        raise ValueError("a target is infinite: give a number, or NaN where any value will do.")
    if np.isnan(target).all():
        raise ValueError("no value has a target: give at least one that is not NaN.")
