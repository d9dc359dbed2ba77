"""`tsjepa export`: the file and what is said of it, and the sentences of what cannot be done."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import found, refused, tsjepa

from tsjepa.arrays import as_series
from tsjepa.build import build_model, resolve
from tsjepa.checkpoint import Header, load_checkpoint, save_checkpoint
from tsjepa.cli import export as command
from tsjepa.cli import extras
from tsjepa.config import load_config
from tsjepa.embedding import embed
from tsjepa.encoder import Encoder
from tsjepa.sections import ProbeConfig

KEYS = {"out", "n_bytes", "opset", "any_channels", "n_shapes", "max_difference", "int8", "cosine", "seconds"}
CKPT, WORDS = "pump.ckpt", ("export", "pump.ckpt", "--onnx", "pump.onnx")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a checkpoint of the recipe with the convolution stem, and export it once."""
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    config = resolve(load_config("tiny"), 50)
    header = Header(config, "pump", 2, 50, ("flow", "pressure"))
    save_checkpoint(folder / CKPT, build_model(config, 2), header)
    return folder


@pytest.fixture(scope="module")
def exported(made: Path) -> dict[str, Any]:
    """Export it once for all tests."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs the extra onnx")
    return found("export", str(made / CKPT), "--onnx", str(made / "pump.onnx"))


@pytest.fixture(autouse=True)
def _here(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(made / CKPT, tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def again(made: Path, exported: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graph of the first export: tracing takes seconds."""

    def copy(encoder: Encoder, probe: ProbeConfig, n_channels: int, path: Path, metadata: Mapping[str, str]) -> None:
        shutil.copy(made / "pump.onnx", path)

    monkeypatch.setattr(command, "export_graph", copy)


def test_the_file_embeds_as_embed_does(made: Path, exported: dict[str, Any]) -> None:
    import onnxruntime

    assert set(exported) == KEYS
    path = made / "pump.onnx"
    assert exported["out"] == str(path)
    assert exported["n_bytes"] == path.stat().st_size
    assert (exported["opset"], exported["any_channels"], exported["int8"]) == (20, True, False)
    assert 0 < exported["max_difference"] < 1e-4
    assert exported["cosine"] == pytest.approx(1.0)
    assert {entry.name for entry in made.iterdir()} == {CKPT, "pump.onnx"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model, header = load_checkpoint(CKPT)
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 3), (5, 2, 50), (2, 7, 128)):
        values = rng.normal(size=shape).astype(np.float32)
        values[rng.random(shape) < 0.3] = np.nan
        want = embed(model.encoder, as_series(values), header.config.probe)
        np.testing.assert_allclose(session.run(["embedding"], {"values": values})[0], want, rtol=1e-4, atol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["channels"]) == ["flow", "pressure"]
    assert json.loads(about["recipe"])["tokenizer"]["kind"] == "conv"
    assert (about["patch_length"], about["n_timepoints"], about["data"]) == ("5", "50", "pump")


@pytest.mark.usefixtures("again")
def test_weights_of_8_bits_on_request(exported: dict[str, Any]) -> None:
    report = found(*WORDS, "--int8")
    assert report["int8"]
    assert report["n_bytes"] < exported["n_bytes"]
    assert 0.99 < report["cosine"] < 1
    assert "8-bit weights" in tsjepa(*WORDS, "--int8", "--overwrite").stdout
    assert {path.name for path in Path.cwd().iterdir()} == {CKPT, "pump.onnx"}


@pytest.mark.usefixtures("again")
def test_a_graph_that_is_off_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.exporting.TOLERANCE", 0.0)
    said = refused(1, *WORDS)
    assert "differ from torch's by up to" in said
    assert said.endswith("or use `tsjepa embed`.")
    monkeypatch.undo()


@pytest.mark.usefixtures("again")
def test_weights_that_are_off_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pump.onnx").write_bytes(b"old")
    monkeypatch.setattr(command, "SMALLEST_COSINE", 1.0)
    assert "leave out --int8" in refused(1, *WORDS, "--int8", "--overwrite")
    assert Path("pump.onnx").read_bytes() == b"old"
    assert {path.name for path in Path.cwd().iterdir()} == {CKPT, "pump.onnx"}


def test_what_cannot_be_written_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "must end in .onnx" in refused(2, "export", CKPT, "--onnx", "pump.pt")
    Path("old.onnx").write_bytes(b"")
    assert "replace it with --overwrite" in refused(2, "export", CKPT, "--onnx", "old.onnx")
    assert "old.onnx is a file, no folder" in refused(2, "export", CKPT, "--onnx", "old.onnx/new.onnx")
    Path("folder.onnx").mkdir()
    assert "is a folder" in refused(2, "export", CKPT, "--onnx", "folder.onnx")
    assert "--onnx" in refused(2, "export", CKPT)
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert refused(1, *WORDS) == ("error: tsjepa export needs onnxscript: install with pip install 'tsjepa[onnx]'.")
    monkeypatch.setattr(extras, "find_spec", lambda name: name)
    assert "there is no checkpoint" in refused(1, "export", "missing.ckpt", "--onnx", "pump.onnx")
