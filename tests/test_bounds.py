"""Theorem 4.2 and Proposition 4.4 on the one-layer encoder that they are about, and the algebra of their proofs."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from tsjepa import bounds
from tsjepa.bounds import (
    ema_weights,
    gamma_bound,
    gamma_bound_masked,
    learning_dynamics,
    operator_norm,
    parameter_mismatch,
)
from tsjepa.encoder import Encoder
from tsjepa.targets import EMATarget, Momentum
from tsjepa.tokenizers import LinearPatches

ROUNDING = 1 + 1e-12


class OneLayer(NamedTuple):
    """An encoder sigma(theta x) and its random walk through training."""

    activation: Callable[[Tensor], Tensor]
    trajectory: list[Tensor]
    beta: float
    generator: torch.Generator

    def encode(self, x: Tensor) -> Tensor:
        return self.activation(x @ self.trajectory[-1].T)

    def target(self, x: Tensor) -> Tensor:
        return self.activation(x @ ema_weights(self.trajectory, self.beta).T)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)


def one_layer(seed: int) -> OneLayer:
    """Draw activation, sizes, scale of the updates, their drift, number of steps and beta."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    out, inputs, steps = (int(n) for n in rng.integers([1, 1, 0], [12, 12, 30]))
    activation = torch.relu if rng.random() < 0.5 else torch.tanh
    theta = torch.randn(out, inputs, generator=generator, dtype=torch.float64)
    drift = rng.choice([0.0, 1.0]) * torch.randn(out, inputs, generator=generator, dtype=torch.float64)
    trajectory = [theta]
    for _ in range(steps):
        update = drift + torch.randn(out, inputs, generator=generator, dtype=torch.float64)
        trajectory.append(trajectory[-1] + 10 ** rng.uniform(-3, 1) * update)
    return OneLayer(activation, trajectory, float(rng.choice([0.0, rng.random(), 0.996, 1.0])), generator)


@pytest.mark.parametrize("seed", range(200))
def test_theorem_4_2_is_never_violated(seed: int) -> None:
    case = one_layer(seed)
    inputs = case.trajectory[0].shape[1]
    for epsilon in (0.0, 0.1, 3.0):
        x_hat = case.normal(inputs)
        direction = case.normal(inputs)
        x = x_hat + epsilon * direction / direction.norm()
        gap = (case.encode(x) - case.target(x_hat)).norm()
        assert gap <= gamma_bound(case.trajectory, case.beta, x_hat, epsilon=epsilon) * ROUNDING + 1e-12


def test_the_bound_is_reached_where_every_step_of_the_proof_is_an_equation() -> None:
    trajectory = [torch.zeros(1, 1), torch.ones(1, 1), torch.full((1, 1), 3.0)]
    x_hat = torch.tensor([2.0], dtype=torch.float64)
    gap = torch.relu(trajectory[-1].double() @ (x_hat + 1)) - torch.relu(ema_weights(trajectory, 0.9) @ x_hat)
    assert gamma_bound(trajectory, 0.9, x_hat, epsilon=1.0).item() == pytest.approx(gap.item())


@pytest.mark.parametrize("seed", range(30))
def test_proposition_4_4_holds_for_the_mean_over_all_masks(seed: int) -> None:
    case = one_layer(seed)
    n, ratio = 5, (0.1, 0.5, 0.9)[seed % 3]
    x_hat = case.normal(n, case.trajectory[0].shape[1])
    mean = 0.0
    for hidden in itertools.product([0.0, 1.0], repeat=n):
        kept = 1 - torch.tensor(hidden, dtype=torch.float64).unsqueeze(1)
        chance = ratio ** sum(hidden) * (1 - ratio) ** (n - sum(hidden))
        mean += chance * (case.encode(kept * x_hat) - case.target(x_hat)).norm().item()
    assert mean <= gamma_bound_masked(case.trajectory, case.beta, x_hat, ratio=ratio).item() * ROUNDING


def test_tokens_need_the_frobenius_norm() -> None:
    tokens = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    spectral = [torch.linalg.matrix_norm(x, 2).item() for x in (torch.relu(tokens), tokens)]
    assert spectral[0] > spectral[1]  # so relu is not 1-Lipschitz in the spectral norm
    assert torch.relu(tokens).norm() <= tokens.norm()


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9, 0.998, 1.0])
@pytest.mark.parametrize("t", [1, 2, 3, 50])
def test_the_initialisation_term_vanishes(beta: float, t: int) -> None:
    coefficient = beta - beta**t - (1 - beta) * sum(beta ** (t - step) for step in range(1, t))
    assert coefficient == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("seed", range(0, 200, 10))
def test_the_learning_dynamics_are_the_distance_to_the_average(seed: int) -> None:
    case = one_layer(seed)
    last, average = case.trajectory[-1], ema_weights(case.trajectory, case.beta)
    term = learning_dynamics(case.trajectory, case.beta)
    torch.testing.assert_close(term, last - average, rtol=1e-10, atol=1e-10)
    shifted = [weight + 100 for weight in case.trajectory]  # theta_0 has no part in it
    torch.testing.assert_close(learning_dynamics(shifted, case.beta), term, rtol=1e-8, atol=1e-8)


def test_another_start_of_the_average_would_show() -> None:
    trajectory = [torch.zeros(2, 2), torch.ones(2, 2)]
    started_elsewhere = 0.9 * torch.full((2, 2), 5.0) + 0.1 * torch.ones(2, 2)
    assert not torch.allclose(learning_dynamics(trajectory, 0.9).float(), trajectory[-1] - started_elsewhere)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.998])
def test_the_mismatch_of_steady_updates(beta: float) -> None:
    step, t = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64)), 40
    trajectory = [k * step for k in range(t + 1)]
    want = 2 * beta * (1 - beta**t) / (1 - beta)
    assert operator_norm(learning_dynamics(trajectory, beta)).item() == pytest.approx(want)


def test_on_one_trajectory_a_larger_decay_means_a_larger_bound() -> None:
    trajectory = [0.1 * k * torch.eye(3) for k in range(100)]
    bounds = [gamma_bound(trajectory, beta, torch.ones(3), epsilon=0.0).item() for beta in (0.0, 0.9, 0.99, 0.998, 1.0)]
    assert bounds == sorted(bounds)
    assert bounds[0] == 0


@pytest.mark.parametrize("shape", [(), (5,), (4, 7), (3, 2, 5)])
def test_operator_norm_equals_the_largest_singular_value(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    matrix = weight.double().numpy().reshape(shape[0], -1) if len(shape) > 1 else weight.double().numpy().reshape(-1, 1)
    want = np.sqrt(np.linalg.eigvalsh(matrix.T @ matrix).max())
    assert operator_norm(weight).item() == pytest.approx(want)


def test_lipschitz_constant_and_token_norm_may_be_given() -> None:
    trajectory, x_hat = [torch.eye(2)], torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert gamma_bound(trajectory, 0.9, x_hat[0], epsilon=2.0, lipschitz=0.25).item() == pytest.approx(0.5)
    assert gamma_bound_masked(trajectory, 0.9, x_hat, ratio=0.5).item() == pytest.approx(5)
    assert gamma_bound_masked(trajectory, 0.9, x_hat, ratio=0.5, token_norm=7.0).item() == pytest.approx(7)


def test_mismatch_of_a_transformer_and_its_target() -> None:
    encoder = Encoder(LinearPatches(5, 8), depth=1, heads=2)
    target = EMATarget(encoder, Momentum("fixed", 0.75))
    trajectories = {name: [weight.detach().clone()] for name, weight in encoder.named_parameters()}
    for step in range(3):
        for name, weight in encoder.named_parameters():
            weight.data += 0.1 * torch.randn_like(weight)
            trajectories[name].append(weight.detach().clone())
        target.update(encoder, step, 3)
    got = parameter_mismatch(dict(encoder.named_parameters()), dict(target.module.named_parameters()))
    assert got.keys() == trajectories.keys()
    for name, trajectory in trajectories.items():
        want = operator_norm(learning_dynamics(trajectory, 0.75)).item()
        assert got[name].item() == pytest.approx(want, rel=1e-4, abs=1e-6)


def test_the_largest_mismatch_is_found_without_all_norms(monkeypatch) -> None:
    first = torch.eye(4)[0]
    weights = {"small": torch.ones(2, 2), "wide": 3 * torch.eye(4), "one": 5 * torch.outer(first, first), "row": first}
    still, asked = {name: torch.zeros_like(weight) for name, weight in weights.items()}, []
    monkeypatch.setattr(bounds, "operator_norm", lambda weight: (asked.append(weight), operator_norm(weight))[1])
    assert bounds.largest_mismatch(weights, still) == 5
    assert [float(weight.norm()) for weight in asked] == [5]  # not even the one with the largest Frobenius norm
    assert bounds.largest_mismatch(still, still) == 0
    assert math.isnan(bounds.largest_mismatch({"a": torch.tensor([math.inf])}, {"a": torch.zeros(1)}))
    with pytest.raises(ValueError, match="differ in"):
        bounds.largest_mismatch(weights, {})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-5, 1e-6, 3e-7, 1e-7, 1e-12, 1e4, 1e5, 1e9, 1e30])
def test_the_largest_mismatch_is_that_of_all_norms(dtype: torch.dtype, scale: float) -> None:
    shapes = [(9, 40), (40, 9), (24, 24), (5, 3, 7), (6,), (), (300, 1)]
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        sides = [
            {str(k): (scale * torch.randn(shape, generator=generator)).to(dtype) for k, shape in enumerate(shapes)}
            for _ in range(2)
        ]
        assert bounds.largest_mismatch(*sides) == max(map(float, parameter_mismatch(*sides).values()))


def test_the_bound_of_weights_whose_fourth_power_float32_does_not_hold_is_no_zero() -> None:
    weights = {"matrix": torch.full((4, 4), 1e-12), "vector": torch.full((4,), 1e-13)}
    still = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    assert bounds.largest_mismatch(weights, still) == pytest.approx(4e-12)


@pytest.mark.parametrize("shape", [(30, 200), (200, 30), (4, 3, 5), (1, 7)])
@pytest.mark.parametrize("decay", [0.0, 0.1, 3.0])
def test_the_upper_bound_lies_between_both_norms(shape: tuple[int, ...], decay: float) -> None:
    weight = torch.randn(shape) * torch.exp(-decay * torch.arange(shape[-1]))
    norm, size = float(operator_norm(weight)), float(weight.norm())
    assert norm <= bounds.MARGIN * bounds.upper_bound(weight, size)
    assert bounds.upper_bound(weight, size) <= bounds.MARGIN * size


def test_what_makes_no_sense_is_refused() -> None:
    eye = [torch.eye(2)]
    with pytest.raises(ValueError, match="empty"):
        ema_weights([], 0.9)
    with pytest.raises(ValueError, match="beta"):
        learning_dynamics(eye, 1.1)
    for ratio in (-0.1, 1.1):
        with pytest.raises(ValueError, match="ratio"):
            gamma_bound_masked(eye, 0.9, torch.eye(2), ratio=ratio)
    with pytest.raises(ValueError, match="differ in"):
        parameter_mismatch({"a": eye[0]}, {"b": eye[0]})
