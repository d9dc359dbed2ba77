"""The world model: causality, what is predicted from what, inputs, training, and what a configuration may ask for."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjepa.arrays import as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header, load_checkpoint, save_checkpoint
from tsjepa.config import Config, ConfigError, parse_config
from tsjepa.encoder import Encoder
from tsjepa.layers import Block, sincos_positions
from tsjepa.masking import Mask, next_mask
from tsjepa.normalization import TrainingStatistics, channel_moments
from tsjepa.tokenizers import LinearPatches
from tsjepa.trainer import Options
from tsjepa.training import fit
from tsjepa.world import Dynamics, WorldModel

SMALL = (
    "tokenizer.patch_length=4",
    "encoder.dim=16",
    "encoder.depth=1",
    "encoder.heads=2",
    "predictor.dim=16",
    "predictor.depth=1",
    "predictor.heads=2",
    "projector.hidden=32",
    "regularizer.slices=16",
    "world.horizons=[1,2,4]",
    "train.batch_size=32",
)


def small(*overrides: str, recipe: str = "lewm-sensor", n_timepoints: int = 32, names: Sequence[str] = ()) -> Config:
    if recipe == "lewm-sensor":
        overrides = ("projector.out=8", *overrides)
    return resolve(configure(recipe, overrides=[*SMALL, *overrides]), n_timepoints, names)


def world(*overrides: str, n_channels: int = 3, recipe: str = "lewm-sensor") -> WorldModel:
    model = build_model(small(*overrides, recipe=recipe), n_channels)
    assert isinstance(model, WorldModel)
    return model


def waves(n: int, n_channels: int = 3, length: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (n, n_channels, 1))
    speed = rng.uniform(0.1, 0.4, (n, 1, 1))
    return np.sin(phase + speed * np.arange(length)) + 0.1 * rng.normal(size=(n, n_channels, length))


def test_causal_attention_sees_no_later_token() -> None:
    block = Block(8, heads=2, causal=True).double()
    x = torch.randn(2, 6, 8, dtype=torch.float64, requires_grad=True)
    for token in range(6):
        (slope,) = torch.autograd.grad(block(x)[:, token].sum(), x)
        seen = slope.abs().sum((0, 2)) > 0
        assert seen.tolist() == [place <= token for place in range(6)]


def test_causal_attention_leaves_out_what_is_not_valid_and_is_always_defined() -> None:
    block = Block(8, heads=2, causal=True)
    x, attend = torch.randn(1, 4, 8), torch.tensor([[False, True, False, True]])
    y = block(x, attend)
    assert y.isfinite().all()
    moved = x.clone()
    moved[:, [0, 2]] += 1
    torch.testing.assert_close(block(moved, attend)[:, [1, 3]], y[:, [1, 3]])


@pytest.mark.parametrize("kind", ["linear", "spectral", "conv"])
@settings(max_examples=25, deadline=None)
@given(time=st.integers(0, 31), channel=st.integers(0, 2), amount=st.floats(-5, 5).filter(lambda a: abs(a) > 0.1))
def test_no_latent_and_no_prediction_sees_a_later_point(kind: str, time: int, channel: int, amount: float) -> None:
    model = world(f"tokenizer.kind={kind}", "tokenizer.dilations=[1, 2]").eval()
    x = torch.from_numpy(waves(2)).float()
    moved = x.clone()
    moved[:, channel, time] += amount
    before, after = (model.branches(part, torch.Generator()) for part in (x, moved))
    earlier = time // 4
    torch.testing.assert_close(after.latents[:, :earlier], before.latents[:, :earlier])
    assert not torch.equal(after.latents[:, earlier], before.latents[:, earlier])
    sources = [target - horizon for horizon in (1, 2, 4) for target in range(horizon, 8)]
    known = torch.tensor([source < earlier for source in sources])
    torch.testing.assert_close(after.predicted[:, known], before.predicted[:, known])


def test_targets_lie_the_horizons_ahead() -> None:
    mask = next_mask(2, 5, torch.Generator(), horizons=(1, 3))
    assert mask.context.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert mask.target.tolist() == [[1, 2, 3, 4, 3, 4]] * 2
    valid = torch.tensor([[True, True, False, True, True]])
    ragged = next_mask(1, 5, torch.Generator(), valid, horizons=(1, 3))
    assert ragged.target_valid is not None
    assert ragged.target_valid.tolist() == [[True, False, False, True, True, True]]
    with pytest.raises(ValueError, match="none lies 5 ahead"):
        next_mask(1, 5, torch.Generator(), horizons=(5,))


def test_a_prediction_is_as_many_steps_as_its_horizon_with_the_inputs_on_the_way() -> None:
    dynamics = Dynamics(4, dim=8, depth=1, heads=2, n_inputs=3).double()
    latents, inputs = (torch.randn(2, 6, width, dtype=torch.float64) for width in (4, 3))
    together = dynamics(latents, inputs, horizons=(1, 3))
    predicted = {1: together[:, :5], 3: together[:, 5:]}
    for horizon, start in itertools.product((1, 3), range(3)):
        belief = dynamics.beliefs(latents[:, : start + 1], inputs[:, : start + 1])[:, -1]
        for place in range(start + 1, start + horizon + 1):
            belief = dynamics.step(belief, inputs[:, place])
        torch.testing.assert_close(predicted[horizon][:, start], dynamics.read(belief))


def test_a_step_adds_a_change_to_a_belief_which_follows_from_it_and_the_inputs() -> None:
    dynamics, belief, told = Dynamics(8, dim=16, depth=1, heads=2, n_inputs=3), torch.randn(2, 16), torch.randn(2, 3)
    change = dynamics.change(belief + dynamics.driven(told))
    torch.testing.assert_close(dynamics.step(belief, told), belief + change)


def test_a_look_gives_what_training_predicts_of_the_last_patch() -> None:
    model = world("world.inputs=[1]").eval()
    x = torch.from_numpy(waves(5)).float()
    branches = model.branches(x, torch.Generator())
    latents, predicted = model.look(x)
    torch.testing.assert_close(latents, branches.latents)
    ends = torch.tensor([6, 12, 16])  # the last targets of horizons 1, 2 and 4 among 7 + 6 + 4
    torch.testing.assert_close(predicted, branches.predicted[:, ends])


def test_a_rollout_is_what_is_predicted_from_the_end_of_the_context() -> None:
    model = world("world.inputs=[1]").eval()
    x = torch.from_numpy(waves(5)).float()
    branches = model.branches(x, torch.Generator())
    ahead = model.rollout(model.belief(x[..., :16]), x[:, [1], 16:], steps=4)
    assert ahead.shape == (5, 4, 8)
    # of horizons 1, 2 and 4, with 7, 6 and 4 predictions, those that start from patch 3
    torch.testing.assert_close(ahead[:, [0, 1, 3]], branches.predicted[:, [3, 7 + 3, 13 + 3]])


def test_inputs_reach_predictions_and_no_latent() -> None:
    model = world("world.inputs=[1]").eval()
    x = torch.from_numpy(waves(2)).float()
    moved = x.clone()
    moved[:, 1, 20:24] += 3  # patch 5
    before, after = (model.branches(part, torch.Generator()) for part in (x, moved))
    assert torch.equal(before.latents, after.latents)
    changed = (before.predicted != after.predicted).any(0).any(-1)
    targets = [(target, horizon) for horizon in (1, 2, 4) for target in range(horizon, 8)]
    assert changed.tolist() == [target >= 5 for target, _ in targets]


def test_inputs_are_standardised_like_the_rest_and_missing_ones_are_their_mean() -> None:
    model = world("world.inputs=[1]")
    x = 5 + 2 * torch.from_numpy(waves(4)).float()
    statistics = model.encoder.statistics
    assert isinstance(statistics, TrainingStatistics)
    statistics.set(channel_moments(as_series(x.numpy())))
    told = model.inputs(x)
    assert told is not None
    assert told.shape == (4, 8, 4)
    torch.testing.assert_close(told.flatten(1), statistics(x)[:, 1])
    gone = torch.ones_like(x, dtype=torch.bool)
    gone[:, 1, :4] = False
    told = model.inputs(x, gone)
    assert told is not None
    assert not told[:, 0].any()
    assert model.encoder.sequences(x)[0].shape == (4, 2, 32)


def test_an_input_far_beyond_those_of_training_leaves_predictions_finite() -> None:
    model, x = world("world.inputs=[1]").eval(), torch.from_numpy(waves(4)).float()
    assert isinstance(model.encoder.statistics, TrainingStatistics)
    model.encoder.statistics.set(channel_moments(as_series(x.numpy())))
    x[0, 1, 10], x[1, 1, 10] = 1e30, -1e30
    told = model.inputs(x)
    assert told is not None
    torch.testing.assert_close(told.flatten(1), model.encoder.statistics(x)[:, 1])
    assert all(part.isfinite().all() for part in model.look(x))


def test_without_statistics_inputs_stay_as_they_are_and_zero_stands_for_missing_ones() -> None:
    model, x = world("world.inputs=[1]", "normalize=none"), 50 + torch.from_numpy(waves(4)).float()
    there = torch.ones_like(x, dtype=torch.bool)
    there[:, 1, :7] = False
    told = model.inputs(x, there)
    assert told is not None
    assert torch.equal(told.flatten(1), torch.where(there, x, 0.0)[:, 1])


def test_missing_patches_take_no_part() -> None:
    model = world().eval()
    x = torch.from_numpy(waves(3)).float()
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[:, :, 8:12] = False
    outs = [model(torch.where(valid, x, filler), torch.Generator().manual_seed(0), valid).loss for filler in (0.0, 9.0)]
    assert outs[0].isfinite()
    assert torch.equal(*outs)


def lively(*overrides: str, recipe: str = "lewm-sensor") -> WorldModel:
    """Return a world model, the same each time, whose attention matters."""
    model = world(*overrides, recipe=recipe).double()
    torch.manual_seed(1)
    with torch.no_grad():
        for block in (*model.encoder.blocks, *model.predictor.blocks):
            for parameter in block.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def test_a_missing_patch_might_as_well_not_be_there() -> None:
    model, other, gone = lively().train(), lively().train(), 2
    x = torch.from_numpy(waves(6))
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[:, :, 4 * gone : 4 * gone + 4] = False
    found = model.branches(x, torch.Generator(), valid)
    places = [place for place in range(8) if place != gone]
    sequences, points = other.encoder.sequences(x, valid)
    (tokens,) = other.encoder(sequences, keep=torch.tensor([places] * 6), valid=points)
    latents = other.project(tokens, None)
    torch.testing.assert_close(found.latents[:, places], latents)

    dynamics = other.predictor
    h = dynamics.embed(latents) + sincos_positions(torch.tensor(places), 16)
    for block in dynamics.blocks:
        h = block(h)
    belief = dict(zip(places, dynamics.norm(h).unbind(1), strict=True))
    ahead = []
    for horizon, origin in itertools.product((1, 2, 4), places):
        if origin + horizon in places:
            state = belief[origin]
            for _ in range(horizon):
                state = dynamics.step(state)
            ahead.append(state)
    assert found.mask.target_valid is not None
    counted = found.mask.target_valid[0]
    torch.testing.assert_close(found.predicted[:, counted], dynamics.read(torch.stack(ahead, 1)))

    for name, buffer in other.named_buffers():
        torch.testing.assert_close(dict(model.named_buffers())[name], buffer, msg=name)


def test_the_latents_of_a_slow_target_stand_behind_the_projector() -> None:
    model = lively("projector.out=16", recipe="lewm-sensor-ema").eval()
    x = torch.from_numpy(waves(5))
    (tokens,) = model.target(model.encoder.sequences(x)[0], (-1,), None, None)
    assert not torch.equal(tokens, model.project(tokens, None))
    torch.testing.assert_close(model.branches(x, torch.Generator()).latents, model.project(tokens, None))


@pytest.mark.parametrize("recipe", ["lewm-sensor", "lewm-sensor-ema"])
def test_training_is_healthy_predicts_and_comes_back(recipe: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = small("train.epochs=8", recipe=recipe)
    model, series = build_model(config, 3), as_series(waves(256))
    header = Header(config, None, 3, 32)
    losses: list[float] = []
    result = fit(model, series, header, Options(diagnose=True, report=lambda p: losses.append(p.terms["prediction"])))
    assert result.verdict is not None
    assert result.verdict.verdict in ("healthy", "collapse-phase")
    assert np.isfinite(losses).all()
    save_checkpoint(tmp_path / "world.ckpt", model, header)
    again, read = load_checkpoint(tmp_path / "world.ckpt")
    assert isinstance(again, WorldModel)
    assert read.config.world.horizons == (1, 2, 4)
    x = torch.from_numpy(waves(4, seed=1)).float()
    for ours, its in zip(model.look(x), again.look(x), strict=True):
        assert torch.equal(ours, its)


def test_two_terms_and_one_weight() -> None:
    model = world("regularizer.weight=0.3")
    out = model(torch.from_numpy(waves(8)).float(), torch.Generator().manual_seed(0))
    assert sorted(out.terms) == ["prediction", "regularizer"]
    torch.testing.assert_close(out.loss.detach(), out.terms["prediction"] + 0.3 * out.terms["regularizer"])
    out.loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def by_hand(*, causal: bool = True, horizons: Sequence[int] = (1,), channels: int = 2) -> WorldModel:
    """Return a world model without a configuration, whose third channel is an input."""
    tokenizer = LinearPatches(4, 8, channels=channels)
    encoder = Encoder(tokenizer, depth=0, heads=2, normalize="none", causal=causal, inputs=(2,))
    return WorldModel(encoder, Dynamics(8, dim=8, depth=1, heads=2, n_inputs=4), horizons=horizons)


def test_an_encoder_that_sees_what_is_to_be_predicted_is_refused() -> None:
    assert by_hand().encoder.causal
    with pytest.raises(ValueError, match=r"takes a causal encoder, .*: build it with causal=True"):
        by_hand(causal=False)


@pytest.mark.parametrize("horizons", [(), (0, 1), (2, -1)])
def test_horizons_that_are_not_ahead_are_refused(horizons: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"at least 1, but are {re.escape(str(list(horizons)))}"):
        by_hand(horizons=horizons)


def test_inputs_beside_channels_that_are_sequences_of_their_own_are_refused() -> None:
    x, generator = torch.from_numpy(waves(2)).float(), torch.Generator()
    assert by_hand()(x, generator).loss.isfinite()
    model = by_hand(channels=1)
    for use in (lambda: model(x, generator), lambda: model.look(x), lambda: model.belief(x)):
        with pytest.raises(ValueError, match="each of 2 as a sequence of its own: give it a tokenizer with channels=2"):
            use()


def test_the_mask_goes_where_the_series_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, move = [], Mask.to
    monkeypatch.setattr(Mask, "to", lambda mask, device: (asked.append(device), move(mask, device))[1])
    world()(torch.from_numpy(waves(8)).float(), torch.Generator().manual_seed(0))
    assert asked == [torch.device("cpu")]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("normalize=instance", "encoder.causal=true needs normalize"),
        ("encoder.registers=2", "encoder.registers=0"),
        ("encoder.causal=false", "encoder.causal=true"),
        ("tokenizer.channels=independent", "tokenizer.channels=mixed"),
        ("target.kind=values", "target.kind=self or ema"),
        ("world.horizons=[]", "world.inputs"),
        ("world.horizons=[8]", "8 patches"),
        ("world.inputs=[vlave]", "did you mean valve"),
        ("train.shift=true", "train.shift=false"),
        ("predictor.residual=true", "predictor.residual=false"),
        ("encoder.conditioned=true", "encoder.conditioned=false"),
        ("probe.shares=true", "probe.shares=false"),
        ("target.levels=[1,-1]", "target.levels=[-1]"),
        ("loss.normalize_target=true", "loss.normalize_target=false"),
        ("loss.centre_target=true", "loss.centre_target=false"),
        ("loss.context_weight=0.1", "loss.context_weight=0"),
        ("target.perturbation=5", "target.perturbation=0 unless target.kind=ema"),
        ("mask.ratio=0.2", r"^a world model hides nothing: leave out mask.\* \(here mask.ratio\), or set mask={} if"),
        ("mask={kind: block, block_length: 3}", r"leave out mask.\* \(here mask.kind, mask.block_length\)"),
    ],
)
def test_what_does_not_fit_is_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
        small("world.inputs=[valve]", override, names=("flow", "valve", "speed"))


def test_settings_that_a_world_model_reads_are_taken() -> None:
    assert small("target.perturbation=5", recipe="lewm-sensor-ema").target.perturbation == 5
    assert small("mask.ratio=0.2", "mask={}") == small()
    assert small("target.levels=[1]").target.levels == (1,)  # the last level by its number


@pytest.mark.parametrize("setting", ["predictor.residual=true", "target.perturbation=5", "mask.ratio=0.2"])
def test_a_checkpoint_with_settings_that_a_world_model_does_not_read_is_loaded(setting: str, tmp_path: Path) -> None:
    old = parse_config(small().model_dump(mode="json"), [setting])
    save_checkpoint(tmp_path / "old.ckpt", build_model(old, 3), Header(old, None, 3, 32))
    assert load_checkpoint(tmp_path / "old.ckpt")[1].config == old


@pytest.mark.parametrize(
    ("inputs", "twice"), [("[valve, valve]", "'valve'"), ("[0, 0]", "0"), ("[1, flow, valve]", "'valve'")]
)
def test_an_input_stands_once(inputs: str, twice: str) -> None:
    with pytest.raises(ConfigError, match=f"^world.inputs holds channel {twice} twice: give each input once"):
        small(f"world.inputs={inputs}", names=("flow", "valve", "speed"))


def test_inputs_by_name_become_numbers() -> None:
    config = small("world.inputs=[valve, 0]", names=("flow", "valve", "speed"))
    assert config.world.inputs == (1, 0)
    assert build_model(config, 3).encoder.inputs == (1, 0)
    with pytest.raises(ConfigError, match="have no channel names"):
        small("world.inputs=[valve]")
    with pytest.raises(ConfigError, match="have 2 channel"):
        build_model(config, 2)


def test_missing_patches_are_no_samples_of_the_projector_of_a_slow_target() -> None:
    model, x = lively("projector.out=16", recipe="lewm-sensor-ema").train(), torch.from_numpy(waves(6))
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[:, :, 8:12] = False
    sequences, points = model.encoder.sequences(x, valid)
    attend = model.encoder.token_valid(points)
    (tokens,) = model.target(sequences, (-1,), points, attend)
    torch.testing.assert_close(model.branches(x, torch.Generator(), valid).latents, model.project(tokens, attend))
