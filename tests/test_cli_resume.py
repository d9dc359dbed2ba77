"""`tsjepa pretrain --resume`: the same end as without a stop, and no change that the user did not ask for."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pytest
import torch
from command_line import tsjepa
from filelock import FileLock
from typer.testing import Result

from tsjepa.build import configure
from tsjepa.config import dump_config, load_config

TINY = ("--config", "tiny", "--device", "cpu")
pytestmark = pytest.mark.usefixtures("alone")


def pretrain(*words: str) -> Result:
    return tsjepa("pretrain", *words)


def refused(code: int, *words: str) -> str:
    return command_line.refused(code, "pretrain", "--resume", *words)


def write_data(name: str, n_timepoints: int = 40) -> str:
    X = np.random.default_rng(0).normal(size=(12, 1, n_timepoints))
    np.savez(f"{name}.npz", X_train=X, y_train=np.arange(12) % 2, X_test=X, y_test=np.arange(12) % 2)
    return f"{name}.npz"


def state(folder: str) -> dict[str, Any]:
    return torch.load(Path(folder, "checkpoint.ckpt"), weights_only=True)["state_dict"]


def assert_same_run(one: str, other: str) -> None:
    left, right = state(one), state(other)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    losses = [[line.split(",")[:3] for line in Path(f, "metrics.csv").read_text().splitlines()] for f in (one, other)]
    assert losses[0] == losses[1]


@pytest.fixture
def run() -> str:
    """Make a run of two epochs in the folder that is the default for pump.npz."""
    assert pretrain("--data", write_data("pump"), *TINY, "--epochs", "2").exit_code == 0
    return "runs/pump"


def start(words: list[str], done: Path) -> "subprocess.Popen[str]":
    """Start a real process and wait for the first checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tsjepa.cli", "pretrain", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not done.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


def test_ctrl_c_keeps_the_last_epoch_and_resume_ends_as_if_nothing_had_happened() -> None:
    words = ["--data", write_data("pump"), *TINY, "--epochs", "150"]
    process = start([*words, "--out", "stopped"], Path("stopped/checkpoint.ckpt"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("stopped: the last finished epoch is kept in stopped/checkpoint.ckpt")
    assert "--resume" in last
    files = {"checkpoint.ckpt", "best.ckpt", "config.yaml", "metrics.csv", "diagnostics.csv"}
    assert {path.name for path in Path("stopped").iterdir()} <= files
    resumed = pretrain(*words, "--out", "stopped", "--resume", "--json")
    assert json.loads(resumed.stdout)["epochs"] == 150
    assert "learning-rate" not in resumed.stderr
    assert pretrain(*words, "--out", "whole").exit_code == 0
    assert_same_run("stopped", "whole")


def test_ctrl_c_before_the_first_epoch_says_that_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tsjepa.training.fit_stages", stop)
    result = pretrain("--data", write_data("pump"), *TINY)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "no epoch was finished: --resume --out runs/pump starts from the beginning" in result.stderr
    assert "--overwrite" in result.stderr
    monkeypatch.setattr("tsjepa.cli.plan.load_data", stop)
    result = pretrain("--data", "pump.npz", *TINY, "--out", "new")
    assert (result.exit_code, result.stderr) == (130, "stopped.\n")


def test_a_finished_run_has_nothing_left_and_shows_its_table_again(run: str) -> None:
    before = Path(run, "checkpoint.ckpt").read_bytes()
    first = json.loads(pretrain("--out", run, "--resume", "--json").stdout)
    result = pretrain("--data", "pump.npz", "--resume")
    assert result.exit_code == 0
    assert "nothing is left to train" in result.stderr
    assert f"{first['loss']:.4f}" in result.stdout
    assert "trained" in result.stdout
    assert (first["epochs"], first["data"], first["n_series"]) == (2, "pump", 12)
    assert first["loss"] == pytest.approx(float(Path(run, "metrics.csv").read_text().splitlines()[-1].split(",")[2]))
    assert Path(run, "checkpoint.ckpt").read_bytes() == before


def test_a_finished_run_without_metrics_has_no_loss(run: str) -> None:
    Path(run, "metrics.csv").unlink()
    assert json.loads(pretrain("--out", run, "--resume", "--json").stdout)["loss"] is None


@pytest.mark.parametrize("epochs", ["2", "3"])
@pytest.mark.parametrize("name", ["metrics.csv", "diagnostics.csv"])
def test_a_damaged_table_is_named_and_left_as_it_is(run: str, name: str, epochs: str) -> None:
    path, words = Path(run, name), ("--out", run, "--epochs", epochs)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], "garbage", ""]))
    before = path.read_bytes()
    said = f"error: {path} is damaged in line {len(lines)}: repair it, or move it away to go on without what it"
    assert said in refused(1, *words)
    assert path.read_bytes() == before
    path.unlink()
    assert pretrain("--resume", *words).exit_code == 0


def test_more_epochs_go_on_and_say_that_the_schedule_changes(run: str) -> None:
    before = Path(run, "metrics.csv").read_text().splitlines()
    result = pretrain("--out", run, "--resume", "--epochs", "4", "--json")
    assert json.loads(result.stdout)["epochs"] == 4
    assert "learning-rate schedule changes" in result.stderr
    assert "epochs 3 to 4" in result.stderr
    assert load_config(Path(run, "config.yaml")).train.epochs == 4
    after = Path(run, "metrics.csv").read_text().splitlines()
    assert len(after) == 5
    # a run from the start would have another schedule, and so other losses, in its first epochs
    assert after[:3] == before
    assert "nothing is left" in pretrain("--out", run, "--resume").stderr


def test_the_random_initialisation_is_the_same_after_a_resume() -> None:
    words = ("--data", write_data("pump"), *TINY, "--seed", "5", "--json")
    whole = json.loads(pretrain(*words, "--epochs", "2").stdout)
    again = json.loads(pretrain("--data", "pump.npz", "--resume", "--json").stdout)
    assert again["random_init_accuracy"] == whole["random_init_accuracy"]
    assert again["accuracy"] == whole["accuracy"]


@pytest.mark.parametrize("epochs", [("--epochs", "2"), ("--set", " train.epochs = 2")])
def test_the_same_command_goes_on_where_a_recipe_counts_steps(epochs: tuple[str, str]) -> None:
    Path("steps.yaml").write_text(dump_config(configure("tiny", None, ["train.max_steps=2000"])))
    words = ("--data", write_data("pump"), "--config", "steps.yaml", "--device", "cpu", *epochs)
    assert pretrain(*words).exit_code == 0
    assert load_config("runs/pump/config.yaml").train.max_steps is None
    assert pretrain(*words, "--resume").exit_code == 0


def test_a_recipe_that_counts_steps_is_extended_and_goes_on_without_its_epochs() -> None:
    steps = ("--data", write_data("pump"), "--device", "cpu", "--set", "train.batch_size=4")
    assert pretrain(*steps, "--config", "tiny", "--set", "train.max_steps=6", "--out", "counted").exit_code == 0
    assert load_config("counted/config.yaml").train.epochs == 2
    assert "train.max_steps would change from 6 to 9" in refused(2, "--out", "counted", "--set", "train.max_steps=9")
    assert "nothing is left" in pretrain("--out", "counted", "--resume").stderr
    result = pretrain(*steps, "--out", "counted", "--epochs", "3", "--resume", "--json")
    assert json.loads(result.stdout)["epochs"] == 3
    section = load_config("counted/config.yaml").train
    assert (section.epochs, section.max_steps) == (3, None)
    Path("steps.yaml").write_text(dump_config(configure("tiny", None, ["train.max_steps=2000"])))
    words = (*steps, "--config", "steps.yaml", "--out", "short")
    assert pretrain(*words, "--epochs", "2").exit_code == 0
    assert "all 2 epochs are in" in pretrain(*words, "--resume").stderr


def test_epochs_are_cut_short_by_steps_that_are_asked_for_after_a_resume_too() -> None:
    words = ("--data", write_data("pump"), *TINY, "--epochs", "5", "--set", "train.max_steps=2", "--out", "run")
    assert json.loads(pretrain(*words, "--json").stdout)["epochs"] == 2
    assert "all 2 epochs are in" in pretrain(*words, "--resume").stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--masking", "block"], "mask.kind would change from 'random' to 'block'"),
        (["--seed", "9"], "train.seed"),
        (["--set", "encoder.dim=16"], "encoder.dim"),
        (["--objective", "ema"], "target.kind"),
        (["--config", "ts-jepa-paper"], "would change"),
        (["--data", "BasicMotions"], "data would change"),
        (["--set", "encoder.dmi=16"], "did you mean encoder.dim"),
        (["--epochs", "1"], "2 epochs are finished already"),
    ],
)
def test_other_changes_are_refused(run: str, words: list[str], part: str) -> None:
    before = {path: path.read_bytes() for path in Path(run).iterdir()}
    assert part in refused(2, "--out", run, *words)
    assert {path: path.read_bytes() for path in Path(run).iterdir()} == before


@pytest.mark.parametrize(
    ("setting", "words", "advice"),
    [
        ("train.precision=bf16", ["--config", "tiny"], "leave out --config tiny, or repeat --set train.precision=bf16"),
        ("target.levels=[0,-1]", ["--config", "tiny"], "or repeat --set 'target.levels=[0, -1]'"),
        ("target.levels=[0,-1]", ["--config", "tiny", "--objective", "ema"], "leave out --objective ema, or start"),
        ("regularizer.slices=8", ["--objective", "sigreg"], "leave out --objective sigreg, or start"),
        ("train.lr=0.01", ["--config", "tiny", "--lr", "0.02"], ": leave that out, or start"),
        ("tokenizer.n_patches=5", ["--config", "tiny", "--set", "tokenizer.n_patches=4"], ": leave that out, or start"),
    ],
)
def test_what_to_leave_out_is_the_flag_that_asks_for_another_setting(
    setting: str, words: list[str], advice: str
) -> None:
    assert pretrain("--data", write_data("pump"), *TINY, "--epochs", "1", "--set", setting).exit_code == 0
    said = refused(2, "--data", "pump.npz", "--epochs", "2", *words)
    assert advice in said


def test_the_command_that_started_the_run_may_be_repeated(run: str) -> None:
    assert "nothing is left" in pretrain("--data", "pump.npz", *TINY, "--resume").stderr


def test_a_folder_in_which_another_run_goes_on_is_refused(run: str) -> None:
    before = {path: path.read_bytes() for path in Path(run).iterdir()}
    with FileLock(Path(run, ".lock")):
        taken = f"another run is going on in {run}: wait for it, or give another --out"
        assert taken in refused(1, "--out", run, "--epochs", "3")
        result = pretrain("--data", "pump.npz", *TINY, "--out", run, "--overwrite")
        assert (result.exit_code, result.stdout) == (1, "")
        assert taken in result.stderr
    Path(run, ".lock").unlink()
    assert {path: path.read_bytes() for path in Path(run).iterdir()} == before


def test_a_run_that_another_command_went_on_with_is_left_to_it(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(run, "checkpoint.ckpt")

    def train_on(*_: Any) -> None:
        content = torch.load(path, weights_only=True)
        torch.save({**content, "epoch": content["epoch"] + 1}, path)

    monkeypatch.setattr("tsjepa.cli.commands.say_remarks", train_on)
    assert f"another command went on with the run in {run} meanwhile" in refused(1, "--out", run, "--epochs", "3")


def test_a_new_run_is_refused_where_another_has_begun_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("new").mkdir()
    monkeypatch.setattr("tsjepa.cli.commands.say_remarks", lambda *_: Path("new/metrics.csv").write_text("its"))
    result = pretrain("--data", write_data("pump"), *TINY, "--out", "new")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "new already holds a run (metrics.csv)" in result.stderr
    assert [path.name for path in Path("new").iterdir()] == ["metrics.csv"]


def test_other_series_under_the_same_name_are_refused(run: str) -> None:
    parts = dict(np.load("pump.npz"))
    np.savez(
        "pump.npz", **{**parts, "y_train": parts["y_train"][::-1], "X_test": parts["X_test"][:3], "y_test": [0] * 3}
    )
    assert "nothing is left" in pretrain("--out", run, "--resume").stderr  # labels and test part train nothing
    before = {path: path.read_bytes() for path in Path(run).iterdir()}
    for X, y in ((50 * parts["X_train"], parts["y_train"]), (parts["X_train"][:11], parts["y_train"][:11])):
        np.savez("pump.npz", **{**parts, "X_train": X, "y_train": y})
        said = refused(1, "--out", run, "--epochs", "4")
        assert "pump is not the same as when the run was started (its values are others): give the same data" in said
    assert {path: path.read_bytes() for path in Path(run).iterdir()} == before


def test_data_that_are_not_found_are_told_with_the_run_that_names_them(run: str) -> None:
    Path("pump.npz").unlink()
    said = f"pump.npz does not exist: that is what the run in {run} was trained on; run this in the folder that"
    assert refused(1, "--out", run).endswith(f"{said} it was trained in.")
    for name in (
        "checkpoint.ckpt",
        "best.ckpt",
        "metrics.csv",
        "diagnostics.csv",
    ):  # as if its first epoch were stopped
        Path(run, name).unlink()
    assert refused(1, "--out", run).endswith(f"{said} it was trained in.")


def test_what_cannot_be_resumed_is_told(run: str) -> None:
    assert "no checkpoint in absent" in refused(1, "--out", "absent")
    write_data("pump", n_timepoints=50)
    assert "1 channel of 50 points now" in refused(1, "--out", run)
    path = Path(run, "checkpoint.ckpt")
    content = torch.load(path, weights_only=True)
    torch.save({**content, "epoch": "two"}, path)
    assert "is damaged: its epochs and steps are no numbers" in refused(1, "--out", run)
    torch.save({key: content[key] for key in ("tsjepa", "state_dict")}, path)
    assert "without its optimizer state" in refused(1, "--out", run)
    path.write_bytes(path.read_bytes()[:1000])
    assert "cannot be read as a checkpoint" in refused(1, "--out", run)


@pytest.mark.parametrize("objective", ["ema", "cjepa", "sigreg", "deep"])
def test_a_run_of_an_objective_alone_goes_on_by_the_same_command(objective: str) -> None:
    small = ("encoder.dim=16", "encoder.depth=2", "encoder.heads=2", "predictor.dim=16", "predictor.heads=2")
    sizes = [word for name in (*small, "tokenizer.filters=4", "projector.hidden=16") for word in ("--set", name)]
    words = ("--data", write_data("pump"), "--objective", objective, *sizes, "--device", "cpu", "--out", "run")
    assert pretrain(*words, "--epochs", "1").exit_code == 0
    result = pretrain(*words, "--epochs", "2", "--resume")
    assert result.exit_code == 0, result.output
    bare = pretrain("--config", "tiny", *words[:4], "--device", "cpu", "--out", "bare", "--epochs", "1")
    assert bare.exit_code == 0, bare.output
    assert pretrain(*words[:4], "--device", "cpu", "--out", "bare", "--epochs", "1", "--resume").exit_code == 0
