"""What the command line says of a run that is ended for a collapse, and of its checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from tsjepa.best import best_epoch
from tsjepa.cli.main import app
from tsjepa.monitor import read_history
from tsjepa.run_files import EpochTable

BROKEN = ("target.kind=self", "regularizer.kind=none", "projector.out=0", "train.lr=1e-2")


def tsjepa(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = np.arange(64) % 2
    X = np.sin((2 + 3 * y)[:, None] * np.linspace(0, 6, 60) + rng.uniform(0, 6, (64, 1)))
    np.savez("pump.npz", X_train=X, y_train=y, X_test=X[:16], y_test=y[:16])
    settings = [word for setting in BROKEN for word in ("--set", setting)]
    words = ("--config", "tiny", "--data", "pump.npz", "--epochs", "30", "--out", "run", "--device", "cpu", "--json")
    return tsjepa("pretrain", *words, "--stop-on-collapse", *settings)


def test_a_run_that_is_ended_says_which_epoch_is_kept(ended: Result) -> None:
    values = json.loads(ended.stdout)
    assert set(values["collapse"]) == {"verdict", "onset_epoch", "escape_epoch", "evidence"}
    assert values["collapse"]["verdict"] == "collapsed"
    assert values["epochs"] < 30
    history = read_history(EpochTable(Path("run/diagnostics.csv")))
    kept = best_epoch(history, dim=32)
    assert torch.load("run/checkpoint.ckpt", weights_only=True)["epoch"] + 1 == kept < values["epochs"]
    assert f"stopped after epoch {values['epochs']}, since the collapse lasted;" in ended.stderr
    assert f"the model is from epoch {kept}." in ended.stderr
    assert values["kept_epoch"] == kept


def test_a_diagnosis_tells_the_epoch_of_its_model_from_the_end_of_the_run(ended: Result) -> None:
    kept = torch.load("run/checkpoint.ckpt", weights_only=True)["epoch"] + 1
    last = json.loads(ended.stdout)["epochs"]
    result = tsjepa("diagnose", "run", "--no-supervised", "--json")
    values = json.loads(result.stdout)
    assert (values["verdict_collapsed"], values["kept_epoch"]) == (1, kept)
    said = f"model is from epoch {kept}, the verdict on the run up to epoch {last}"
    assert said in " ".join(result.stderr.split())
    assert said in Path("run/diagnose.html").read_text()
