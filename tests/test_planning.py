"""Planning: the search finds known optima, and in closed loop a plant is brought to its target."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header
from tsjepa.evaluation.plants import MOTOR, record, simulate, steps
from tsjepa.evidence import decode, ridge
from tsjepa.planning import Search, foreseen, plan
from tsjepa.sight import cut_windows, see
from tsjepa.training import fit
from tsjepa.world import WorldModel

PATCH, CONTEXT = 4, 48
SETTINGS = (
    f"tokenizer.patch_length={PATCH}",
    "encoder.dim=32",
    "encoder.depth=1",
    "encoder.heads=2",
    "predictor.dim=32",
    "predictor.depth=1",
    "predictor.heads=2",
    "projector.hidden=64",
    "projector.out=8",
    "regularizer.slices=16",
    "regularizer.weight=0.02",
    "world.inputs=[0]",
    "train.batch_size=64",
    "train.lr=3e-3",
    "train.epochs=10",
)
BOUNDS = np.array([[-1.0, 2.0]])


def small(*overrides: str) -> WorldModel:
    model = build_model(resolve(configure("lewm-sensor", overrides=[*SETTINGS, *overrides]), CONTEXT), 3)
    assert isinstance(model, WorldModel)
    return model.eval()


class Integrator(WorldModel):
    """A world whose only latent is the sum of what it was told since the context."""

    def belief(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 1)

    def rollout(self, belief: Tensor, inputs: Tensor | None = None, *, steps: int) -> Tensor:
        assert inputs is not None
        return inputs[:, 0, ::PATCH].cumsum(1).unsqueeze(-1)


def integrator() -> WorldModel:
    model = small()
    model.__class__ = Integrator
    return model


IDENTITY = np.array([[1.0], [0.0]])


def test_the_search_finds_the_optimum_of_a_world_that_is_known() -> None:
    context = np.zeros((3, CONTEXT), np.float32)
    found = plan(integrator(), context, IDENTITY, np.array([1.5]), BOUNDS, steps=4, search=Search(512, 32, 20))
    np.testing.assert_allclose(found.inputs, [[1.5, 0, 0, 0]], atol=0.05)
    np.testing.assert_allclose(found.expected[:, 0], 1.5, atol=0.05)
    assert found.cost == pytest.approx(float(np.square(found.expected - 1.5).mean()))


class Square(Integrator):
    """A world whose only latent is the square of what it was told."""

    def rollout(self, belief: Tensor, inputs: Tensor | None = None, *, steps: int) -> Tensor:
        assert inputs is not None
        return inputs[:, 0, ::PATCH].square().unsqueeze(-1)


def costs_of(target: float, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list to which the costs of all plans go that are looked at."""
    costs: list[float] = []

    def spy(*given: Any) -> Tensor:
        expected = foreseen(*given)
        costs.extend((expected - target).square().mean((1, 2)).tolist())
        return expected

    monkeypatch.setattr("tsjepa.planning.foreseen", spy)
    return costs


@pytest.mark.parametrize("steps", [1, 3])
def test_of_two_plans_that_are_as_good_it_is_one_and_not_their_mean(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, model = costs_of(25, monkeypatch), small()
    model.__class__ = Square
    for seed in range(6):
        drawn.clear()
        bounds = np.array([[-12.0, 12.0]])
        found = plan(model, np.zeros((3, CONTEXT)), IDENTITY, np.array([25.0]), bounds, steps=steps, seed=seed)
        assert found.cost == min(drawn)
        assert found.cost == pytest.approx(float(np.square(found.expected - 25).mean()), rel=1e-5)
        assert len(drawn) == 6 * 257 + 2


def test_where_the_mean_of_the_last_elites_costs_less_than_all_plans_it_is_the_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn, context = costs_of(1.5, monkeypatch), np.zeros((3, CONTEXT), np.float32)
    found = plan(integrator(), context, IDENTITY, np.array([1.5]), BOUNDS, steps=4, search=Search(64, 16, 2))
    *others, mean = drawn
    assert found.cost == mean < min(others)


@pytest.mark.parametrize("search", [Search(elites=1), Search(8, 8, 1)])
def test_a_single_best_plan_is_a_law_of_its_own_and_all_plans_make_one(search: Search) -> None:
    context = np.zeros((3, CONTEXT))  # float64, too
    found = plan(integrator(), context, np.array([[1.0], [0.0]]), np.ones(1), BOUNDS, steps=3, search=search)
    assert np.isfinite(found.inputs).all()
    assert np.isfinite(found.cost)


def test_what_is_missing_is_no_start_and_no_target() -> None:
    context, decoder = np.zeros((3, CONTEXT)), np.array([[1.0], [0.0]])
    with pytest.raises(ValueError, match="no value has a target"):
        plan(integrator(), context, decoder, np.full(1, np.nan), BOUNDS, steps=3)
    context[1, 5] = np.nan
    with pytest.raises(ValueError, match="every point was measured"):
        plan(integrator(), context, decoder, np.ones(1), BOUNDS, steps=3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bounds": np.array([[np.nan, 1]])}, r"both finite, but are \[\[nan, 1.0\]\]"),
        ({"bounds": np.array([[-np.inf, np.inf]])}, "both finite"),
        ({"bounds": np.array([[-1e39, 1e39]])}, r"as float32 both finite, but are \[\[-1e\+39, 1e\+39\]\]"),
        ({"bounds": np.array([[1, 0]])}, "the least and then the largest value"),
        ({"bounds": np.array([1.0])}, "the least and then the largest value"),
        ({"steps": 0}, "steps is 0: plan for at least 1 patch"),
        ({"steps": -1}, "steps is -1: plan for at least 1 patch"),
        ({"steps": 2.5}, "steps is 2.5: plan for a whole number of patches"),
        ({"target": np.ones(2)}, r"the decoder gives 1 value, but the target has shape \(2,\)"),
        ({"target": np.array([np.inf])}, "a target is infinite"),
        ({"decoder": np.ones(9)}, r"a decoder has shape \(E \+ 1, K\)"),
        ({"decoder": np.ones((8, 1))}, "the decoder has 8 rows, and needs 9"),
        ({"decoder": np.full((9, 1), np.nan)}, "a number of the decoder is not finite"),
        ({"decoder": np.full((9, 1), np.inf)}, "a number of the decoder is not finite"),
        ({"context": np.full((3, CONTEXT), np.inf)}, "every point was measured"),
        ({"search": Search(elites=0)}, "Search.* finds nothing"),
        ({"search": Search(8, 24)}, "elites from 1 to samples"),
        ({"search": Search(rounds=0)}, "1 or more rounds"),
        ({"context": np.zeros((3, PATCH - 1))}, r"the context has 3 point\(s\), fewer than the 4 of a patch"),
        ({"context": np.zeros((1, 3, CONTEXT))}, r"a context has shape \(n_channels, T\)"),
        ({"context": np.zeros((2, CONTEXT))}, "mixes the 3 channels"),
    ],
)
def test_what_no_plan_can_follow_is_told_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    given = {"context": np.zeros((3, CONTEXT)), "decoder": np.ones((9, 1)), "target": np.ones(1), "bounds": BOUNDS}
    with pytest.raises(ValueError, match=sentence):
        plan(small(), **{**given, "steps": 2, "search": Search(8, 4, 1), **change})


def test_a_rollout_needs_inputs_of_its_steps() -> None:
    model = small()
    with torch.no_grad():
        belief = model.belief(torch.zeros(2, 3, CONTEXT))
        for shape in ((2, 1, 6 * PATCH), (2, 1, 3 * PATCH), (2, 2, 4 * PATCH), (2, 4 * PATCH)):
            with pytest.raises(ValueError, match=r"1 input\(s\) over 4 patches of 4 points are \(B, 1, 16\)"):
                model.rollout(belief, torch.zeros(shape), steps=4)
        with pytest.raises(ValueError, match="predict at least 1 patch"):
            model.rollout(belief, torch.zeros(2, 1, 0), steps=0)


def test_a_belief_rests_on_whole_patches_that_end_with_the_context() -> None:
    model, x = small(), torch.randn(2, 3, CONTEXT)
    with torch.no_grad():
        whole, more = model.belief(x), model.belief(torch.cat([torch.randn(2, 3, PATCH - 1), x], 2))
    torch.testing.assert_close(more, whole)
    with pytest.raises(ValueError, match="give inputs"):
        model.rollout(whole, steps=2)


def test_a_plan_depends_on_its_seed_alone() -> None:
    model, search = integrator(), Search(32, 8, 2)

    def inputs(seed: int | np.int64) -> NDArray[np.float64]:
        context = np.zeros((3, CONTEXT), np.float32)
        return plan(model, context, IDENTITY, np.array([0.7]), BOUNDS, steps=3, search=search, seed=seed).inputs

    first = inputs(1)
    torch.manual_seed(5)
    np.testing.assert_array_equal(inputs(1), first)
    np.testing.assert_array_equal(inputs(np.int64(1)), first)
    assert (inputs(2) != first).all()


def test_plans_keep_within_bounds() -> None:
    context = np.zeros((3, CONTEXT), np.float32)
    found = plan(integrator(), context, IDENTITY, np.array([50.0]), BOUNDS, steps=3)
    np.testing.assert_allclose(found.inputs, 2.0, atol=1e-3)
    assert found.inputs.max() <= 2
    for limits in np.array([[0.1, 0.3], [0.1, 0.1]]):  # float32 has the nearest numbers above them
        found = plan(integrator(), context, IDENTITY, np.array([50.0]), limits[None], steps=3)
        assert ((found.inputs >= limits[0]) & (found.inputs <= limits[1])).all()
    with pytest.raises(ValueError, match="1 input"):
        plan(integrator(), context, IDENTITY, np.zeros(1), np.zeros((2, 2)), steps=3)


@pytest.mark.parametrize("target", [50.0, -50.0])
def test_what_is_expected_follows_from_the_inputs_that_are_told(target: float) -> None:
    found = plan(integrator(), np.zeros((3, CONTEXT), np.float32), IDENTITY, np.array([target]), BOUNDS, steps=3)
    np.testing.assert_allclose(found.expected[:, 0], found.inputs[0].cumsum(), rtol=1e-5)
    assert found.cost == pytest.approx(float(np.square(found.expected - target).mean()), rel=1e-5)


class Two(Integrator):
    """A world whose latents are the sums of what it was told by each of two inputs."""

    def belief(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 2)

    def rollout(self, belief: Tensor, inputs: Tensor | None = None, *, steps: int) -> Tensor:
        assert inputs is not None
        return inputs[:, :, ::PATCH].cumsum(2).transpose(1, 2)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_each_of_several_inputs_has_its_own_bounds(steps: int) -> None:
    model = small("world.inputs=[0,1]")
    model.__class__ = Two
    decoder, bounds = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), np.array([[-1.0, 2.0], [10.0, 30.0]])
    found = plan(model, np.zeros((3, CONTEXT)), decoder, np.array([50.0, -50.0]), bounds, steps=steps)
    np.testing.assert_allclose(found.inputs, np.repeat([[2.0], [10.0]], steps, 1), atol=0.5)
    np.testing.assert_allclose(found.expected, found.inputs.cumsum(1).T, rtol=1e-5)


def test_the_cost_is_of_values_with_a_target_alone() -> None:
    decoder, target = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([50.0, np.nan])
    found = plan(integrator(), np.zeros((3, CONTEXT)), decoder, target, BOUNDS, steps=3)
    assert found.cost == pytest.approx(float(np.square(found.expected[:, 0] - 50).mean()), rel=1e-5)


@pytest.fixture(scope="module")
def motor() -> tuple[WorldModel, NDArray[np.float64]]:
    log = record(MOTOR, steps(MOTOR, 4000, hold=12, seed=1))
    model = small()
    fit(
        model,
        cut_windows([log], CONTEXT, 4),
        Header(resolve(configure("lewm-sensor", overrides=SETTINGS), CONTEXT), None, 3, CONTEXT),
    )
    seen = see(model, np.stack([log[:, i : i + CONTEXT] for i in range(0, 3900, 8)]).astype(np.float32))
    return model, ridge(seen.latents[:, -1], seen.values[:, :, -1, -1] * scale(model) + level(model))


def scale(model: WorldModel) -> NDArray[np.float32]:
    assert model.encoder.statistics is not None
    return model.encoder.statistics.scale[1:].numpy()


def level(model: WorldModel) -> NDArray[np.float32]:
    assert model.encoder.statistics is not None
    return model.encoder.statistics.mean[1:].numpy()


def test_rollouts_know_more_than_persistence(motor: tuple[WorldModel, NDArray[np.float64]]) -> None:
    model, decoder = motor
    log = record(MOTOR, steps(MOTOR, 1500, hold=12, seed=5), seed=5).astype(np.float32)
    ahead = 4
    starts = range(0, 1500 - CONTEXT - ahead * PATCH, 12)
    x = torch.from_numpy(np.stack([log[:, i : i + CONTEXT + ahead * PATCH] for i in starts]))
    with torch.inference_mode():
        latents = model.rollout(model.belief(x[..., :CONTEXT]), x[:, :1, CONTEXT:], steps=ahead)
    truth = x[:, 1:, -1].numpy()
    ours = np.square(decode(latents[:, -1].numpy(), decoder) - truth).mean()
    persistence = np.square(x[:, 1:, CONTEXT - 1].numpy() - truth).mean()
    assert ours < 0.25 * persistence


def test_a_motor_is_brought_to_its_speed(motor: tuple[WorldModel, NDArray[np.float64]]) -> None:
    model, decoder = motor
    told = np.zeros((1, CONTEXT))
    log, state = record(MOTOR, told), simulate(MOTOR, told)[:, -1]
    for round_ in range(25):
        found = plan(
            model,
            log[:, -CONTEXT:].astype(np.float32),
            decoder,
            np.array([5.0, np.nan]),
            MOTOR.bounds,
            steps=6,
            seed=round_,
        )
        told = np.repeat(found.inputs[:, :1], PATCH, 1).astype(np.float64)
        log = np.concatenate([log, record(MOTOR, told, seed=round_, state=state)], 1)
        state = simulate(MOTOR, told, state)[:, -1]
    assert log[1, -20:].mean() == pytest.approx(5.0, abs=1.0)
