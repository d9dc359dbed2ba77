"""Parts and arguments of one's own that cannot be used are refused in a sentence, where they are given."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from objectives import MASKS, sines
from random_values import gen
from torch import nn

from tsjepa import (
    JEPA,
    ContextLoss,
    EMATarget,
    Encoder,
    FrozenTarget,
    Header,
    LinearPatches,
    Options,
    Predictor,
    SelfTarget,
    SIGReg,
    ValuesTarget,
    as_series,
    build_model,
    configure,
    fit,
    fit_stages,
    resolve,
)  # fmt: skip
from tsjepa.projector import Projector
from tsjepa.training_error import TrainingError
from tsjepa.world import Dynamics


def model(predictor: nn.Module | None = None, **parts: Any) -> JEPA:
    encoder = Encoder(LinearPatches(6, 8), depth=1, heads=2)
    predictor = Predictor(8, dim=8, depth=1, heads=2) if predictor is None else predictor
    return JEPA(encoder, predictor, mask=MASKS["random"], **parts)


@pytest.mark.parametrize("width", [1, 7, 16])
@pytest.mark.parametrize("loss", [None, ContextLoss(0.1)])
def test_predictions_of_another_width_than_targets(width: int, loss: ContextLoss | None) -> None:
    own = model(Predictor(8, dim=8, depth=1, heads=2, out_dim=width), context_loss=loss)
    with warnings.catch_warnings(), pytest.raises(ValueError, match=rf"gives {width} .* the target has 8: .* out_dim"):
        own(sines(4), gen())


class Narrow(ValuesTarget):
    """A target of three numbers a token."""

    def __init__(self, *, trains_encoder: bool = False) -> None:
        super().__init__(lambda x, valid: x.unflatten(-1, (10, 6))[:, 0, :, :3])
        self.trains_encoder = trains_encoder


@pytest.mark.parametrize("projector", [Projector(3, hidden=4, out=2), nn.Linear(3, 2)])
def test_a_projector_that_is_to_map_targets_and_a_context_of_another_width(projector: nn.Module) -> None:
    def own(**parts: Any) -> JEPA:
        return model(Predictor(8, dim=8, depth=1, heads=2, out_dim=3), **parts)

    with pytest.raises(ValueError, match=r"acts on visible tokens of 8 .* the target, .* has 3: leave out the proj"):
        own(target=Narrow(), projector=projector, regularizer=SIGReg())(sines(4), gen())
    for fine in (
        {"projector": projector},
        {"regularizer": SIGReg()},
        {"projector": lambda tokens: tokens.tanh(), "regularizer": SIGReg()},
        {"projector": nn.Tanh(), "regularizer": SIGReg()},
    ):
        own(target=Narrow(), **fine)(sines(4), gen())
    own(target=Narrow(trains_encoder=True), projector=projector, regularizer=SIGReg())(sines(4), gen())


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("part", [Predictor, Dynamics])
def test_a_width_that_positions_have_no_code_of(part: Any, depth: int) -> None:
    with pytest.raises(ValueError, match=r"the width of .* must be even, .*: it is 15"):
        part(8, dim=15, depth=depth, heads=1)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_weights_that_are_none(weight: float) -> None:
    with pytest.raises(ValueError, match=r"regularizer\.weight must be at least 0 and finite, but is"):
        model(weight=weight)
    with pytest.raises(ValueError, match=r"loss\.context_weight must be at least 0 and finite, but is"):
        model(context_loss=ContextLoss(weight))
    with pytest.raises(ValueError, match=r"loss\.context_warmup must lie between 0 and 1, but is"):
        model(context_loss=ContextLoss(0.1, warmup=weight))


def encoder_of(depth: int) -> Encoder:
    return Encoder(LinearPatches(6, 8), depth=depth, heads=2)


@pytest.mark.parametrize("kind", [EMATarget, SelfTarget, FrozenTarget])
def test_levels_that_are_none(kind: Any) -> None:
    with pytest.raises(ValueError, match="levels is empty: give at least one"):
        model(target=kind(encoder_of(2)), levels=())
    for level in (-4, 3):
        with pytest.raises(ValueError, match=f"levels names level {level}, but the last level is 2"):
            model(target=kind(encoder_of(2)), levels=(-1, level))


def test_levels_of_a_teacher_that_a_regularizer_would_need_of_the_encoder() -> None:
    model(target=FrozenTarget(encoder_of(4)), levels=(4,))(sines(4), gen())
    with pytest.raises(ValueError, match="levels names level 4, but the last level is 1"):
        model(target=FrozenTarget(encoder_of(4)), levels=(4,), regularizer=SIGReg())


class Shallow(nn.Module):
    """An encoder that does not say how deep it is."""


def test_levels_that_nothing_is_known_of_are_taken() -> None:
    model(target=EMATarget(Shallow()), levels=(7,))
    model(target=ValuesTarget(lambda x, valid: x), levels=(7,))


@pytest.mark.parametrize("t_max", [0.0, -1.0, float("nan"), float("inf")])
def test_a_quadrature_without_an_interval(t_max: float) -> None:
    with pytest.raises(ValueError, match="SIGReg needs a finite t_max above 0, but got"):
        SIGReg(t_max=t_max)


@pytest.mark.parametrize("train", [fit, fit_stages])
@pytest.mark.parametrize("objective", ["sigreg", "distill"])
def test_an_array_instead_of_series(train: Any, objective: str) -> None:
    config = resolve(configure("tiny", objective, ["train.epochs=2"]), 60)
    for X in (np.zeros((4, 1, 60)), torch.zeros(4, 1, 60)):
        with pytest.raises(TypeError, match=rf"are a {type(X).__name__}: .*tsjepa\.as_series\(X\)"):
            train(build_model(config, 1), X, Header(config, None, 1, 60))


@pytest.mark.parametrize("train", [fit, fit_stages])
@pytest.mark.parametrize(("told", "there"), [(1, 3), (3, 1)])
def test_a_header_of_other_channels_than_the_series(train: Any, told: int, there: int, tmp_path: Path) -> None:
    config = resolve(configure("tiny", "ema", ["train.epochs=1"]), 60)
    series, sentence = as_series(np.zeros((4, there, 60))), rf"^the header tells of {told} channels?, .* have {there}: "
    with pytest.raises(TrainingError, match=sentence):
        train(build_model(config, there), series, Header(config, None, told, 60), Options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("train", [fit, fit_stages])
@pytest.mark.parametrize("out", [True, False])
def test_a_header_whose_configuration_is_not_resolved(train: Any, out: bool, tmp_path: Path) -> None:
    config = configure("tiny", "ema", ["train.epochs=1"])
    own, series = build_model(resolve(config, 60), 1), as_series(np.zeros((4, 1, 60)))
    with pytest.raises(
        TrainingError,
        match=r"by this header: resolve the configuration first: tsjepa\.resolve\(",
    ):
        train(own, series, Header(config, None, 1, 60), Options(tmp_path / "run" if out else None))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["sigreg", "distill"])
def test_a_folder_that_is_missing_is_made(objective: str, tmp_path: Path) -> None:
    config = resolve(configure("tiny", objective, ["train.epochs=2"]), 60)
    out = tmp_path / "runs" / "own"
    series = as_series(np.random.default_rng(0).normal(size=(12, 1, 60)))
    fit_stages(build_model(config, 1), series, Header(config, None, 1, 60), Options(out, device="cpu"))
    assert (out / "checkpoint.ckpt").exists()


class Bare(nn.Module):
    """A tokenizer that says half of what it has to."""

    patch_length, dim = 6, 8
    sees_neighbours = False


def test_a_tokenizer_that_does_not_say_what_it_sees() -> None:
    with pytest.raises(TypeError, match=r"the tokenizer Bare lacks channels: give it the attributes"):
        Encoder(Bare(), depth=1, heads=2)  # type: ignore[arg-type]
