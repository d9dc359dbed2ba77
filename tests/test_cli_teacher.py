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


@pytest.mark.parametrize("stop", [2, 4])
def test_a_run_that_stops_in_either_stage_goes_on_bit_for_bit(monkeypatch, stop):
    words = ("--objective", "distill", "--epochs", "6")
    assert pretrain(*words, "--out", "whole").exit_code == 0

    def stopping(options, finished, total):
        def report(progress):
            if finished + progress.epoch == stop + 1:
                raise KeyboardInterrupt

        return options._replace(report=report)

    with monkeypatch.context() as patch:
        patch.setattr(tsjepa.training, "shifted", stopping)
        stopped = pretrain(*words, "--out", "halves")
    assert stopped.exit_code == 130, stopped.stderr
    assert "--resume" in stopped.stderr
    resumed = pretrain(*words, "--out", "halves", "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert equal("whole", "halves")


def test_a_teacher_of_a_checkpoint_gives_its_architecture():
    assert pretrain("--objective", "ema", "--epochs", "2", "--out", "teacher").exit_code == 0
    result = CliRunner().invoke(
        app,
        "pretrain --data pump.npz --config ts-jepa-paper --objective distill --epochs 2 --out student --json "
        "--teacher teacher/checkpoint.ckpt",
    )
    assert result.exit_code == 0, result.stderr
    model, header = load_checkpoint("student/checkpoint.ckpt")
    assert header.config.encoder.dim == 32
    teacher = load_checkpoint("teacher/checkpoint.ckpt")[0].target.module.state_dict()
    assert all(torch.equal(value, model.target.module.state_dict()[name]) for name, value in teacher.items())


def test_a_teacher_that_is_none_is_one_sentence():
    Path("bad.ckpt").write_bytes(b"x")
    for name, part in (("bad.ckpt", "cut, damaged or another kind"), ("absent.ckpt", "no checkpoint absent.ckpt")):
        result = pretrain("--objective", "distill", "--teacher", name, "--out", "run")
        assert result.exit_code == 1
        assert part in result.stderr
        assert "Traceback" not in result.stderr
        assert not Path("run").exists()


def test_a_teacher_without_a_frozen_target_is_refused():
    for words in (("--objective", "ema"), ()):
        result = pretrain(*words, "--teacher", "teacher.ckpt", "--out", "run")
        assert result.exit_code == 2
        assert "goes with a frozen target, so with distill or salt" in result.stderr
        assert not Path("run").exists()
