"""What `fit` refuses to train under: a teacher with random weights, and a target of another encoder."""

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tsjepa import Encoder, Header, LinearPatches, Options, as_series, build_model, configure, fit, resolve
from tsjepa.checkpoint import load_checkpoint, save_checkpoint
from tsjepa.config import Config
from tsjepa.masking import random_mask
from tsjepa.objective import JEPA
from tsjepa.predictor import Predictor
from tsjepa.targets import EMATarget, FrozenTarget, SelfTarget, Target
from tsjepa.training import check_target, fit_stages
from tsjepa.training_error import TrainingError

SERIES = as_series(np.random.default_rng(0).normal(size=(20, 1, 60)).cumsum(-1))


def recipe(objective: str, *settings: str) -> Config:
    return resolve(configure("tiny", objective, ["train.epochs=2", *settings]), 60)


def header(config: Config) -> Header:
    return Header(config, None, 1, 60)


@pytest.mark.parametrize("objective", ["distill", "salt"])
def test_a_teacher_with_random_weights_is_refused_until_it_is_given_some(objective: str, tmp_path: Path) -> None:
    config = recipe(objective)
    for model in (build_model(config, 1), copy.deepcopy(build_model(config, 1))):
        with pytest.raises(TrainingError, match="fit_stages"):
            fit(model, SERIES, header(config))
    assert fit_stages(build_model(config, 1), SERIES, header(config), Options(tmp_path)).epochs == 2
    resumed = build_model(config, 1)  # its teacher is in the checkpoint
    assert fit(resumed, SERIES, header(config), Options(tmp_path, resume=True), epochs=2).epochs == 2


def test_weights_can_come_as_a_state_or_with_a_whole_model(tmp_path: Path) -> None:
    config = recipe("distill")
    model = build_model(config, 1)
    by_hand = copy.deepcopy(model)
    by_hand.target.module.load_state_dict({k: v + 1 for k, v in by_hand.target.module.state_dict().items()})
    save_checkpoint(tmp_path / "run.ckpt", by_hand, header(config))
    for given in (by_hand, load_checkpoint(tmp_path / "run.ckpt")[0]):
        teacher = [weight.clone() for weight in given.target.parameters()]
        assert fit(given, SERIES, header(config)).epochs == 2
        assert all(map(torch.equal, teacher, given.target.parameters()))
    with pytest.raises(TrainingError, match="random weights"):  # the copy's weights were not the model's
        fit(model, SERIES, header(config))
    state = {name: value + 1 for name, value in model.state_dict().items() if name.startswith("encoder.")}
    model.load_state_dict(state, strict=False)
    with pytest.raises(TrainingError, match="random weights"):  # none of these was the teacher's
        fit(model, SERIES, header(config))
    model.target.teacher = copy.deepcopy(model.encoder).requires_grad_(False)
    assert fit(model, SERIES, header(config)).epochs == 2


class Own(nn.Module):
    """The patches themselves."""

    trains_encoder, stop_gradient = False, True

    def forward(self, x: Tensor, levels: object, valid: object, attend: object, *hints: object) -> list[Tensor]:
        return [nn.functional.pad(x[:, 0].unflatten(-1, (10, 6)), (0, 26))]

    def update(self, encoder: nn.Module, step: int, total: int) -> None:
        """Nothing moves."""


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("objective", ["distill", "salt"])
def test_a_target_of_ones_own_has_no_teacher(objective: str, resume: bool, tmp_path: Path) -> None:
    config = recipe(objective)
    model, options = build_model(config, 1), Options(tmp_path, resume=resume)
    model.target = Own()
    (tmp_path / "best.ckpt").write_text("an earlier run's")
    with pytest.raises(TrainingError, match=r"model\.target is a Own, which takes none: call tsjepa\.fit"):
        fit_stages(model, SERIES, header(config), options)
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert fit(model, SERIES, header(config), Options(tmp_path)).epochs == 2


def other() -> Encoder:
    return Encoder(LinearPatches(6, 32), depth=1, heads=2)


@pytest.mark.parametrize("objective", ["sigreg", "ema"])
def test_an_encoder_that_the_target_was_not_made_of_is_refused(objective: str) -> None:
    config = recipe(objective)
    model = build_model(config, 1)
    model.encoder = other()
    with pytest.raises(TrainingError, match=r"another encoder than model\.encoder: .* build a new model"):
        fit(model, SERIES, header(config))


@pytest.mark.parametrize("part", ["encoder", "tokenizer"])
def test_under_an_average_weights_of_the_same_shapes_are_refused_too(part: str, tmp_path: Path) -> None:
    config, model = recipe("ema"), build_model(recipe("ema"), 1)
    another = build_model(recipe("ema", "train.seed=7"), 1).encoder
    if part == "encoder":
        model.encoder = another
    else:
        model.encoder.tokenizer = another.tokenizer
    with pytest.raises(TrainingError, match=r"another encoder than model\.encoder: .* build a new model"):
        fit(model, SERIES, header(config), Options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def ways(model: JEPA, folder: Path) -> Iterator[JEPA]:
    """Give a model as it may come to training, its target with it."""
    yield model
    yield copy.deepcopy(model)
    yield pickle.loads(pickle.dumps(model))
    torch.save(model, folder / "model.pt")
    yield torch.load(folder / "model.pt", weights_only=False)
    save_checkpoint(folder / "model.ckpt", model, header(recipe("ema")))
    yield load_checkpoint(folder / "model.ckpt")[0]
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)  # other weights in the same modules
    yield model.double().float()
    model.encoder = nn.Sequential(model.encoder)  # type: ignore[assignment] # the same weights, as of a compiled one
    yield model


def test_an_average_follows_its_encoder_however_the_model_comes(tmp_path: Path) -> None:
    for model in ways(build_model(recipe("ema"), 1), tmp_path):
        check_target(model, resume=False)
        assert len(list(model.target.parameters())) == len(list(model.encoder.parameters()))  # none stands there twice


def test_a_target_of_the_encoder_is_not_refused() -> None:
    config, encoder = recipe("ema"), other()
    targets: list[Target] = [SelfTarget(encoder), EMATarget(encoder), FrozenTarget(other())]
    for target in targets:
        model = JEPA(encoder, Predictor(32, dim=32, depth=1, heads=2), mask=random_mask, target=target)
        assert fit(model, SERIES, header(config)).epochs == 2
    model = build_model(recipe("sigreg"), 1)
    model.encoder = nn.Sequential(model.encoder)  # type: ignore[assignment] # the same weights, as of a compiled one
    check_target(model, resume=False)
