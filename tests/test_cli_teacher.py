"""Runs behind a frozen teacher: from a checkpoint, or trained first in the same run, stopped and resumed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import tsjepa.training
from tsjepa.checkpoint import load_checkpoint
from tsjepa.cli.main import app
from tsjepa.config import load_config
from tsjepa.history import EpochDiagnostics
from tsjepa.run_files import EpochTable


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    X = np.sin((2 + 3 * y)[:, None] * np.linspace(0, 6, 60) + rng.uniform(0, 6, (24, 1)))
    np.savez("pump.npz", X_train=X, y_train=y, X_test=X[:8], y_test=y[:8])


def pretrain(*words):
    return CliRunner().invoke(app, ["pretrain", "--data", "pump.npz", "--config", "tiny", *words])


def weights(folder):
    return load_checkpoint(f"{folder}/checkpoint.ckpt")[0].state_dict()


def equal(one, other):
    pairs = zip(weights(one).values(), weights(other).values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("objective", ["distill", "salt"])
def test_a_teacher_is_trained_first(objective):
    result = pretrain("--objective", objective, "--epochs", "6", "--out", "run", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["epochs"] == 6
    assert Path("run/teacher/checkpoint.ckpt").exists()
    again = pretrain("--objective", objective, "--epochs", "6", "--out", "run", "--resume", "--json")
    assert "nothing is left to train" in again.stderr


def stopped(monkeypatch, stop, *words):
    """Stop a run in its folder as its epoch behind `stop` ends."""

    def stopping(options, finished, total):
        def report(progress):
            if finished + progress.epoch == stop + 1:
                raise KeyboardInterrupt

        return options._replace(report=report)

    with monkeypatch.context() as patch:
        patch.setattr(tsjepa.training, "shifted", stopping)
        result = pretrain(*words)
    assert result.exit_code == 130, result.stderr
    assert "--resume" in result.stderr


def content(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_run_that_stops_in_either_stage_goes_on_bit_for_bit(monkeypatch, stop):
    words = ("--objective", "distill", "--epochs", "6")
    assert pretrain(*words, "--out", "whole").exit_code == 0
    stopped(monkeypatch, stop, *words, "--out", "halves")
    resumed = pretrain(*words, "--out", "halves", "--resume", "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert equal("whole", "halves")
    assert f"epochs {stop + 1} to 6" in resumed.stderr
    assert json.loads(resumed.stdout)["epochs"] == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lr", "0.5"), "train.lr would change from"),
        (("--seed", "7"), "train.seed would change from 0 to 7"),
        (("--set", "encoder.dim=64"), "encoder.dim would change from 32 to 64"),
        (("--objective", "sigreg"), "target.kind would change from 'frozen' to 'self'"),
        (("--epochs", "8"), "the teacher's epochs cannot change"),
        (("--set", "train.epochs=8"), "the teacher's epochs cannot change"),
    ],
)
def test_other_changes_are_refused_in_the_teachers_stage_too(monkeypatch, words, said):
    stopped(monkeypatch, 2, "--objective", "distill", "--epochs", "6", "--out", "run")
    before = content("run")
    result = CliRunner().invoke(app, ["pretrain", "--resume", "--out", "run", *words])
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert content("run") == before


def test_more_epochs_behind_a_teacher_are_the_students():
    words = ("--objective", "distill", "--out", "run", "--json")
    first = pretrain(*words, "--epochs", "2")
    teacher = content("run/teacher")
    for before, epochs in ((2, 3), (3, 7)):
        result = pretrain(*words, "--epochs", str(epochs), "--resume")
        assert result.exit_code == 0, result.output
        assert f"planned for {before} epochs and now for {epochs}" in result.stderr
        assert (f"epochs {before + 1} to {epochs}" if epochs > before + 1 else f", epoch {epochs}:") in result.stderr
        assert json.loads(result.stdout)["epochs"] == epochs
        assert torch.load("run/checkpoint.ckpt", weights_only=True)["epoch"] == epochs - 2
        assert load_config("run/config.yaml").train.epochs == epochs
    assert content("run/teacher") == teacher
    before = content("run")
    fewer = pretrain(*words, "--epochs", "6", "--resume")
    assert (fewer.exit_code, fewer.stdout) == (2, "")
    assert "7 epochs are finished already, so --epochs 6 cannot be resumed" in fewer.stderr
    assert content("run") == before
    again = pretrain(*words, "--resume")
    assert "all 7 epochs are in" in again.stderr
    assert json.loads(again.stdout)["epochs"] == 7
    assert json.loads(first.stdout).keys() == json.loads(again.stdout).keys()


def test_a_finished_run_goes_on_without_its_teachers_checkpoint():
    words = ("--objective", "salt", "--out", "run")
    assert pretrain(*words, "--epochs", "6").exit_code == 0
    Path("run/teacher/checkpoint.ckpt").unlink()
    result = pretrain(*words, "--epochs", "8", "--resume", "--json")
    assert json.loads(result.stdout)["epochs"] == 8
    assert torch.load("run/checkpoint.ckpt", weights_only=True)["epoch"] == 8 - 1 - 1


def test_one_epoch_is_too_few_for_two_stages_and_nothing_is_written():
    result = pretrain("--objective", "distill", "--epochs", "1", "--out", "run")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "must be at least 2 where a teacher is trained first" in result.stderr
    assert not Path("run").exists()


def test_a_teacher_of_a_checkpoint_gives_its_architecture():
    assert pretrain("--objective", "ema", "--epochs", "2", "--out", "teacher").exit_code == 0
    words = (
        "pretrain --data pump.npz --config ts-jepa-paper --objective distill --epochs 2 --out student --json "
        "--teacher teacher/checkpoint.ckpt"
    )
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    for setting, change in (("encoder.dim=16", "encoder.dim would change from 32 to 16"), ("normalize=train", "norm")):
        for more in ("--overwrite", "--resume"):
            refused = CliRunner().invoke(app, f"{words} {more} --set {setting}")
            assert (refused.exit_code, refused.stdout) == (2, ""), refused.output
            assert f"but {change}" in " ".join(refused.stderr.split())
    same = CliRunner().invoke(app, f"{words} --overwrite --set encoder.dim=32 --set tokenizer.n_patches=10")
    assert same.exit_code == 0, same.stderr
    again = CliRunner().invoke(app, f"{words} --resume")
    assert "nothing is left to train: all 2 epochs" in again.stderr
    model, header = load_checkpoint("student/checkpoint.ckpt")
    assert header.config.encoder.dim == 32
    teacher = load_checkpoint("teacher/checkpoint.ckpt")[0].target.module.state_dict()
    assert all(torch.equal(value, model.target.module.state_dict()[name]) for name, value in teacher.items())


@pytest.mark.parametrize("objective", ["ema", "distill"])
def test_the_verdict_is_a_teachers_only_where_the_run_has_trained_one(objective):
    words = ("--objective", objective, "--epochs", "2", "--out", "run", "--json")
    first = json.loads(pretrain(*words).stdout)["collapse"]
    Path("run/teacher").mkdir(exist_ok=True)
    table = EpochTable(Path("run/teacher/diagnostics.csv"))
    table.path.unlink(missing_ok=True)
    for epoch, spread in enumerate((0.6, 0.001)):
        table.append(EpochDiagnostics(epoch, 0.5, relative_spread=spread, latent_spread=spread)._asdict())
    again = json.loads(pretrain(*words, "--resume").stdout)["collapse"]
    assert first["verdict"] != "collapsed"
    if objective == "ema":
        assert again == first
    else:
        assert again["evidence"].startswith("Of the teacher: ")


def test_a_teacher_that_is_none_is_one_sentence():
    Path("bad.ckpt").write_bytes(b"x")
    for name, part in (("bad.ckpt", "cut, damaged or another kind"), ("absent.ckpt", "no checkpoint absent.ckpt")):
        result = pretrain("--objective", "distill", "--teacher", name, "--out", "run")
        assert result.exit_code == 1
        assert part in result.stderr
        assert "Traceback" not in result.stderr
        assert not Path("run").exists()


@pytest.mark.parametrize("name", ["checkpoint.ckpt", "best.ckpt", "teacher/checkpoint.ckpt"])
def test_a_teacher_is_not_deleted_by_the_run_that_it_is_to_teach(name):
    assert pretrain("--objective", "distill", "--epochs", "2", "--out", "run").exit_code == 0
    Path("link.ckpt").symlink_to(Path("run", name))
    before = content("run")
    for teacher in (f"run/{name}", "link.ckpt"):
        refused = pretrain("--objective", "salt", "--epochs", "2", "--teacher", teacher, "--out", "run", "--overwrite")
        assert (refused.exit_code, refused.stdout) == (2, ""), refused.output
        said = f"the teacher {teacher} belongs to the run in run, which --overwrite would delete: name another folder"
        assert said in " ".join(refused.stderr.split())
        assert content("run") == before
    assert pretrain("--objective", "salt", "--epochs", "2", "--teacher", f"run/{name}", "--out", "new").exit_code == 0


def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_written_or_replaced():
    X = np.random.default_rng(0).normal(size=(24, 2, 60))
    np.savez("pair.npz", X_train=X)
    mixed = ("--data", "pair.npz", "--set", "tokenizer.channels=mixed", "--epochs", "1", "--out", "teacher")
    assert pretrain(*mixed).exit_code == 0
    assert pretrain("--epochs", "1", "--out", "old").exit_code == 0
    before = content("old")
    for out in ("old", "new"):
        words = ("--objective", "salt", "--epochs", "2", "--teacher", "teacher/checkpoint.ckpt", "--out", out)
        refused = pretrain(*words, "--overwrite")
        assert (refused.exit_code, refused.stdout) == (1, ""), refused.output
        assert "the teacher's encoder has another architecture than the student's" in refused.stderr
    assert content("old") == before
    assert not Path("new").exists()


def test_a_teacher_without_a_frozen_target_is_refused():
    for words in (("--objective", "ema"), ()):
        result = pretrain(*words, "--teacher", "teacher.ckpt", "--out", "run")
        assert result.exit_code == 2
        assert "a teacher needs target.kind=frozen, as in distill and salt" in result.stderr
        assert not Path("run").exists()
