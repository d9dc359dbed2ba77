"""Names become objects, each with the values of its section."""

from functools import partial
from pathlib import Path

import pytest
import torch
from random_values import gen

from tsjepa.batches import ShuffledBatches
from tsjepa.build import OBJECTIVES, build_mask, build_model, configure, resolve
from tsjepa.config import Config, ConfigError, load_config, parse_config, recipe_names
from tsjepa.masking import bernoulli_mask, block_mask, future_mask, random_mask
from tsjepa.projector import Projector
from tsjepa.regularizers import SIGReg, VICReg, VISReg
from tsjepa.targets import EMATarget, FrozenTarget, Momentum, SelfTarget
from tsjepa.tokenizers import ConvStem, LinearPatches, SpectralPatches


def config_of(*overrides: str) -> Config:
    return resolve(parse_config({"tokenizer": {"n_patches": 10}}, overrides), 100)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_builds_a_model_that_runs(name: str) -> None:
    model = build_model(resolve(load_config(name), 128), n_channels=1)
    out = model(torch.randn(4, 1, 128), gen())
    assert out.loss.isfinite()
    out.loss.backward()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", recipe_names())
def test_an_objective_is_its_seams_on_any_recipe(name: str, objective: str) -> None:
    config = configure(name, objective)
    model = build_model(resolve(config, 128), n_channels=1)
    nothing = type(None)
    target, regularizer = {
        "ema": (EMATarget, nothing),
        "cjepa": (EMATarget, VICReg),
        "sigreg": (SelfTarget, SIGReg),
        "vicreg": (SelfTarget, VICReg),
        "visreg": (SelfTarget, VISReg),
        "deep": (EMATarget, nothing),
        "distill": (FrozenTarget, nothing),
        "salt": (FrozenTarget, nothing),
    }[objective]
    assert type(model.target) is target
    assert type(model.regularizer) is regularizer
    projected = target is SelfTarget
    assert type(model.projector) is (Projector if projected else nothing)
    assert (model.loss, model.normalize_target) == (("mse", False) if projected else ("l1", True))
    assert (len(model.levels) > 1) is (model.context_loss is not None) is (objective == "deep")
    assert config.train.batch_size == load_config(name).train.batch_size


def test_overrides_come_after_the_objective() -> None:
    config = configure("tiny", "sigreg", ["loss.kind=l1", "projector.out=0", "train.epochs=3"])
    assert (config.loss.kind, config.projector.out, config.train.epochs) == ("l1", 0, 3)
    assert config.regularizer.kind == "sigreg"


@pytest.mark.parametrize(
    ("written", "step"), [("2", "2"), ("0.5", "0.5"), ("1.0e-3", "0.001"), ("'2'", "2"), ("1s", "1s"), ("null", None)]
)
def test_the_step_of_a_grid_may_be_a_plain_number(tmp_path: Path, written: str, step: str | None) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"tokenizer: {{n_patches: 10}}\nlog: {{resample: {written}}}\n")
    assert load_config(recipe).log.resample == step
    assert configure("tiny", None, [f"log.resample={written}"]).log.resample == step


def test_the_step_of_a_grid_is_neither_true_nor_false() -> None:
    for written in ("true", "no"):
        with pytest.raises(ConfigError, match=r"^log\.resample: this must not be true or false, but got "):
            configure("tiny", None, [f"log.resample={written}"])


def test_an_unknown_objective_gets_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"unknown objective 'sigregg': did you mean [a-z ]+\?$"):
        configure(objective="sigregg")


def test_a_configuration_that_is_not_resolved_builds_no_model() -> None:
    with pytest.raises(
        ConfigError, match=r"^resolve the configuration first: tsjepa\.resolve\(config, n_timepoints\)\.$"
    ):
        build_model(configure("tiny"), 2)


@pytest.mark.parametrize(
    ("kind", "function"),
    [("bernoulli", bernoulli_mask), ("random", random_mask), ("block", block_mask), ("future", future_mask)],
)
def test_masks(kind: str, function: object) -> None:
    draw = build_mask(config_of(f"mask.kind={kind}", "mask.ratio=0.4", "mask.block_length=3"))
    want = {"ratio": 0.4} | ({"block_length": 3} if kind == "block" else {})
    assert isinstance(draw, partial)
    assert (draw.func, draw.keywords) == (function, want)


@pytest.mark.parametrize(
    ("kind", "cls"), [("linear", LinearPatches), ("spectral", SpectralPatches), ("conv", ConvStem)]
)
@pytest.mark.parametrize(("channels", "count"), [("independent", 1), ("mixed", 3)])
def test_tokenizers(kind: str, cls: type, channels: str, count: int) -> None:
    overrides = [f"tokenizer.kind={kind}", f"tokenizer.channels={channels}", "tokenizer.filters=4"]
    model = build_model(config_of(*overrides, "tokenizer.dilations=[1, 3]", "encoder.depth=1"), n_channels=3)
    tokenizer = model.encoder.tokenizer
    assert type(tokenizer) is cls
    assert (tokenizer.patch_length, tokenizer.channels, tokenizer.dim) == (10, count, 128)
    if kind == "conv":
        assert [(conv.out_channels, conv.dilation) for conv in tokenizer.convs] == [(4, (1,)), (4, (3,))]
    assert model(torch.randn(2, 3, 100), gen()).loss.isfinite()


def test_every_value_arrives() -> None:
    model = build_model(
        config_of(
            "normalize=none",
            "encoder.dim=24",
            "encoder.depth=3",
            "encoder.heads=4",
            "predictor.dim=20",
            "predictor.depth=2",
            "predictor.heads=5",
            "target.schedule=linear",
            "target.momentum=0.9",
            "target.final_momentum=0.95",
            "regularizer.kind=sigreg",
            "regularizer.weight=0.3",
            "regularizer.placement=series",
            "regularizer.slices=7",
            "regularizer.knots=5",
            "projector.hidden=11",
            "projector.out=6",
            "loss.kind=smooth_l1",
            "loss.normalize_target=false",
        ),
        n_channels=1,
    )
    encoder, predictor = model.encoder, model.predictor
    assert (encoder.normalize, encoder.dim, encoder.depth, encoder.blocks[0].heads) == ("none", 24, 3, 4)
    assert (len(predictor.blocks), predictor.blocks[0].heads, predictor.mask_token.shape) == (2, 5, (20,))
    assert model.target.momentum == Momentum("linear", 0.9, 0.95)
    regularizer = model.regularizer
    assert (regularizer.placement, regularizer.slices, regularizer.knots) == ("series", 7, 5)
    assert (model.weight, model.loss, model.normalize_target) == (0.3, "smooth_l1", False)
    assert (model.projector[0].out_features, model.projector[-1].out_features) == (11, 6)
    vicreg = build_model(
        config_of("regularizer.kind=vicreg", "regularizer.std_weight=3", "regularizer.cov_weight=2"), 1
    )
    assert (vicreg.regularizer.std_weight, vicreg.regularizer.cov_weight) == (3.0, 2.0)
    stopped = build_model(config_of("target.kind=self", "target.stop_gradient=true"), 1)
    assert stopped.target.stop_gradient


@pytest.mark.parametrize(
    ("overrides", "n_timepoints", "length"),
    [
        ((), 500, 50),
        ((), 501, 51),
        ((), 15, 2),
        ((), 10, 1),
        ((), 7, 1),
        (("tokenizer.patch_length=16",), 500, 16),
        (("tokenizer.n_patches=2",), 3, 2),
    ],
)
def test_the_patch_length(overrides: tuple[str, ...], n_timepoints: int, length: int) -> None:
    config = parse_config({"tokenizer": {"n_patches": 10}}, overrides)
    resolved = resolve(config, n_timepoints)
    assert (resolved.tokenizer.patch_length, resolved.tokenizer.n_patches) == (length, None)
    assert resolve(resolved, n_timepoints) == resolved
    assert parse_config(resolved.model_dump(mode="json")) == resolved
    assert resolved.model_copy(update={"tokenizer": config.tokenizer}) == config


@pytest.mark.parametrize(
    ("override", "n_timepoints"),
    [("tokenizer.patch_length=16", 16), ("tokenizer.patch_length=16", 3), ("tokenizer.n_patches=1", 50)],
)
def test_one_patch_is_too_few(override: str, n_timepoints: int) -> None:
    config = parse_config({"tokenizer": {"n_patches": 10}}, [override])
    with pytest.raises(ConfigError, match=r"are one patch of .* masking needs two: choose a shorter"):
        resolve(config, n_timepoints)


def test_series_of_one_point_are_told_whatever_the_patches() -> None:
    for override in ("tokenizer.n_patches=10", "tokenizer.patch_length=1", "tokenizer.patch_length=16"):
        config = parse_config({"tokenizer": {"n_patches": 10}}, [override])
        for about in ({}, {"n_channels": 2, "channel_names": ("flow", "level")}):
            with pytest.raises(ConfigError, match=r"^each series has one point only, .* longer ones, or cut a log"):
                resolve(config, 1, **about)


@pytest.mark.parametrize("kind", ["random", "block"])
@pytest.mark.parametrize(
    ("override", "lacks"),
    [
        ("ratio=0.97", "nothing to predict from"),
        ("final_ratio=0.97", "nothing to predict from"),
        ("final_ratio=0.01", "nothing to predict"),
    ],
)
def test_a_mask_leaves_something_at_the_start_and_at_the_end(kind: str, override: str, lacks: str) -> None:
    name, ratio = override.split("=")
    with pytest.raises(ConfigError, match=rf"^mask\.{name} {ratio} of 10 tokens hides \d+, which leaves {lacks}: "):
        config_of(f"mask.kind={kind}", f"mask.{override}")


def test_a_projector_of_values_and_a_regularizer_of_latents_do_not_go_together() -> None:
    values = "target.kind=values"
    for recipe in ("tiny", "default"):
        with pytest.raises(ConfigError, match=r"^target.kind=values needs projector.out=0 or regularizer.kind=none\.$"):
            resolve(configure(recipe, None, [values]), 60)
        for plain in ("projector.out=0", "regularizer.kind=none"):
            model = build_model(resolve(configure(recipe, None, [values, plain]), 60), 1)
            terms = model(torch.randn(4, 1, 60), gen()).terms
            assert ("regularizer" in terms) == (plain == "projector.out=0")


@pytest.mark.parametrize(("n_cases", "epochs"), [(1, 100), (577, 100), (641, 100), (673, 95), (7141, 9), (10**6, 1)])
def test_epochs_come_nearest_to_the_steps_that_are_wanted(n_cases: int, epochs: int) -> None:
    config = resolve(configure("default"), 60, n_cases=n_cases)
    assert (config.train.max_steps, config.train.epochs) == (2000, epochs)
    steps = len(ShuffledBatches(n_cases, config.train.batch_size, 0))
    if 1 < epochs < 100:
        assert abs(epochs * steps - 2000) <= steps / 2


def test_a_mask_that_is_drawn_again_is_not_checked() -> None:
    assert config_of("mask.kind=bernoulli", "mask.final_ratio=0.97").mask.final_ratio == 0.97


def test_weights_depend_on_the_seed_alone() -> None:
    states = []
    for noise, seed in ((1, 0), (2, 0), (1, 5)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        states.append(build_model(config_of(f"train.seed={seed}"), 1).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    first, again, other = (torch.cat([v.flatten().float() for v in state.values()]) for state in states)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
