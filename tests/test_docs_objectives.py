"""The programs of docs/objectives.md run as they stand."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tsjepa import Header, Options, as_series, build_model, configure, fit, ranks, resolve
from tsjepa.checkpoint import CheckpointError, load_checkpoint

DOCS = Path(__file__).parents[1] / "docs" / "objectives.md"
PAGE = DOCS.read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PARTS = re.findall(r"^\| (\w+) \| `", PAGE.partition("**Letters.**")[0], re.MULTILINE)


def run(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(program, str(DOCS), "exec"), names)
    return names


def test_a_regularizer_of_ones_own_is_trained_watched_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run(PROGRAMS[0], tmp_path, monkeypatch)
    assert names["result"].verdict is not None
    assert names["model"].mask is names["every_other"]
    assert names["Z"].shape[0] == 64
    assert (tmp_path / "runs" / "whiten" / "diagnostics.csv").exists()


class Noted(nn.Module):
    """A part of one's own that does what another one does, and counts how often."""

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.part, self.calls = part, 0

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # what a target says of itself
            return getattr(super().__getattr__("part"), name)

    def forward(self, *values: Any, **more: Any) -> Any:
        self.calls += 1
        return self.part(*values, **more)


def test_the_page_names_every_part_that_is_replaced_below() -> None:
    assert PARTS == ["mask", "encoder", "predictor", "projector", "target", "regularizer"]


@pytest.mark.parametrize("name", [name for name in PARTS if name != "encoder"])
def test_a_part_that_is_replaced_by_the_name_on_the_page_is_what_is_trained_with(name: str) -> None:
    config = resolve(configure("tiny", "sigreg", ["train.epochs=1"]), n_timepoints=60)
    model = build_model(config, n_channels=1)
    own = Noted(getattr(model, name))
    setattr(model, name, own)
    X = np.random.default_rng(0).normal(size=(20, 1, 60))
    fit(model, as_series(X), Header(config, None, 1, 60), Options(diagnose=False))
    assert own.calls > 0


def test_latents_are_summed_over_ranks_by_what_the_page_says_has_a_gradient() -> None:
    latents, counts = re.findall(r"(?:latents by|and counts by) `(\w+)", " ".join(PAGE.split()))
    assert issubclass(getattr(ranks, latents), torch.autograd.Function)
    assert "without a gradient" in getattr(ranks, counts).__doc__


class Weighted(nn.Module):
    """A regularizer that has weights, in a recipe whose own one has none."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, generator: torch.Generator | None = None, valid: Tensor | None = None) -> Tensor:
        return self.weight * z.square().mean()


@pytest.mark.parametrize(("place", "part"), [("regularizer", Weighted()), ("projector", nn.Identity())])
def test_a_part_that_has_weights_or_replaces_some_can_be_resumed_only(
    place: str, part: nn.Module, tmp_path: Path
) -> None:
    X = np.random.default_rng(0).normal(size=(20, 1, 60))
    for epochs in (1, 2):
        config = resolve(configure("tiny", "sigreg", [f"train.epochs={epochs}"]), n_timepoints=60)
        model = build_model(config, n_channels=1)
        setattr(model, place, part)
        result = fit(model, as_series(X), Header(config, None, 1, 60), Options(out=tmp_path, resume=epochs > 1))
        assert result.epochs == epochs
        with pytest.raises(CheckpointError, match=place):
            load_checkpoint(tmp_path / "checkpoint.ckpt")


def test_a_target_of_ones_own_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(PROGRAMS[1], tmp_path, monkeypatch)
    assert names["Z"].shape == (64, 32)
    assert names["out"].loss.item() > 0
