"""Checkpoints of models with parts of one's own: refused where loading them would build another model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tsjepa import (
    JEPA,
    Encoder,
    Header,
    LinearPatches,
    Options,
    ValuesTarget,
    as_series,
    build_model,
    configure,
    fit,
    load_checkpoint,
    resolve,
    save_checkpoint,
)
from tsjepa.build import OBJECTIVES
from tsjepa.checkpoint import OWN, CheckpointError
from tsjepa.own_parts import own_part

CONFIG = resolve(configure("tiny", "ema", ["tokenizer.kind=linear", "train.epochs=1"]), 60)
HEADER = Header(CONFIG, None, 1, 60)
SERIES = as_series(np.random.default_rng(0).normal(size=(8, 1, 60)).cumsum(-1))


class Flipped(Encoder):
    """The same weights, another function of them."""

    def forward(self, *args: object, **options: object) -> list[Tensor]:
        return [level.flip(-1) for level in super().forward(*args, **options)]  # type: ignore[arg-type]


class Steps(LinearPatches):
    """Tokens of differences."""

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(x.diff(dim=-1, prepend=x[..., :1]), keep)


def own(part: str) -> JEPA:
    """Return a model whose weights have the names and shapes of the configuration's, but for one part the same."""
    tokenizer = (Steps if part == "tokenizer" else LinearPatches)(6, 32)
    heads, normalize = 4 if part == "heads" else 2, "none" if part == "normalize" else "instance"
    encoder = (Flipped if part == "forward" else Encoder)(tokenizer, depth=1, heads=heads, normalize=normalize)
    model = build_model(CONFIG, 1)
    encoder.readout = model.encoder.readout
    return JEPA(encoder, model.predictor, mask=model.mask)


PARTS = {
    "forward": "encoder",
    "tokenizer": r"encoder\.tokenizer",
    "heads": r"encoder\.blocks\.0",
    "normalize": "encoder",
}


@pytest.mark.parametrize(("part", "name"), PARTS.items())
def test_a_checkpoint_of_an_encoder_that_its_recipe_does_not_build_is_refused(
    part: str, name: str, tmp_path: Path
) -> None:
    model, path = own(part), tmp_path / "checkpoint.ckpt"
    with pytest.raises(CheckpointError, match=f"not written, .* differs in {name}: save the state_dict"):
        save_checkpoint(path, model, HEADER)
    fit(model, SERIES, HEADER, Options(tmp_path, device="cpu"))
    with pytest.raises(CheckpointError, match=f"of another model than .* differs in {name}: save the state_dict"):
        load_checkpoint(path)
    assert fit(own(part), SERIES, HEADER, Options(tmp_path, resume=True, device="cpu")).epochs == 1
    with pytest.raises(CheckpointError, match=f"of another model, which differs in {name}"):
        fit(build_model(CONFIG, 1), SERIES, HEADER, Options(tmp_path, resume=True, device="cpu"))


def test_a_checkpoint_that_does_not_say_what_its_recipe_builds_is_loaded(tmp_path: Path) -> None:
    model, path = own("none of them"), tmp_path / "checkpoint.ckpt"
    fit(model, SERIES, HEADER, Options(tmp_path, device="cpu"))
    content = torch.load(path, weights_only=True)
    assert content.pop(OWN) == ""
    torch.save(content, path)
    assert torch.equal(load_checkpoint(path)[0].encoder.norm.weight, model.encoder.norm.weight)
    assert fit(own("heads"), SERIES, HEADER, Options(tmp_path, resume=True, device="cpu")).epochs == 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_model_of_its_recipe_has_no_part_of_its_own(objective: str) -> None:
    config = resolve(configure("default", objective), 60)
    assert own_part(build_model(config, 2), config, 2) == ""


def test_parts_without_weights_may_be_others() -> None:
    config = resolve(configure("tiny", "sigreg"), 60)
    model = build_model(config, 1)
    model.mask, model.regularizer, model.weight = print, nn.Identity(), 3.0  # type: ignore[assignment]
    model.target = ValuesTarget(print)  # type: ignore[arg-type]
    model.encoder.note = "mine"  # type: ignore[assignment]
    assert own_part(model, config, 1) == ""
    model.encoder.blocks[0].mlp[1] = nn.ReLU()  # has no weights, but stands among some
    assert own_part(model, config, 1) == "encoder.blocks.0.mlp.1"
