"""A folder with the traces of a run and no checkpoint: what its refusal says to do works, and nothing is lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import refused, tsjepa, write_data
from typer.testing import Result

TINY = ("--config", "tiny", "--device", "cpu")
CONFIG, METRICS, DIAGNOSTICS = "config.yaml", "metrics.csv", "diagnostics.csv"
BEGUN = (CONFIG, METRICS, DIAGNOSTICS)


def pretrain(*words: str) -> Result:
    return tsjepa("pretrain", *words)


def state(folder: str) -> dict[str, Any]:
    return torch.load(Path(folder, "checkpoint.ckpt"), weights_only=True)["state_dict"]


def same_weights(one: str, other: str) -> bool:
    return all(torch.equal(value, state(other)[name]) for name, value in state(one).items())


def content(folder: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _data(alone: Path) -> None:
    write_data("pump")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a run of two epochs that others are compared with."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert pretrain("--data", write_data("pump"), *TINY, "--epochs", "2", "--out", "run").exit_code == 0
    return str(folder / "run")


def stopped(whole: str, names: tuple[str, ...] = BEGUN, epochs: int = 1) -> None:
    """Leave in `run` what a stop before the first checkpoint leaves, or other parts of a run."""
    Path("run").mkdir()
    for name in names:
        if name in (METRICS, DIAGNOSTICS):
            lines = Path(whole, name).read_text().splitlines()
            first = [lines[0], *(line for line in lines[1:] if int(line.split(",")[0]) <= epochs)]
            Path("run", name).write_text("\n".join([*first, ""]))
        else:
            shutil.copy(Path(whole, name), "run")


@pytest.mark.parametrize("names", [(CONFIG,), (CONFIG, DIAGNOSTICS), BEGUN])
def test_a_run_without_a_finished_epoch_starts_again_by_either_way_that_is_named(
    whole: str, names: tuple[str, ...]
) -> None:
    stopped(whole, names)
    words = ("--data", "pump.npz", *TINY, "--epochs", "2", "--out", "run")
    said = refused(2, "pretrain", *words)
    assert "go on with it with --resume, replace it with --overwrite" in said
    result = pretrain("--out", "run", "--device", "cpu", "--resume", "--json")
    assert result.exit_code == 0, result.output
    assert "no epoch of the run in run was finished, so it starts from its beginning" in result.stderr
    assert json.loads(result.stdout)["epochs"] == 2
    assert same_weights("run", whole)
    rows = Path("run/metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]
    shutil.rmtree("run")
    stopped(whole, names)
    assert pretrain(*words, "--overwrite").exit_code == 0
    assert same_weights("run", whole)


def test_settings_of_a_run_that_starts_again_are_its_own_but_for_its_length(whole: str) -> None:
    stopped(whole)
    before = content("run")
    said = refused(2, "pretrain", "--out", "run", "--resume", "--seed", "9")
    assert "train.seed would change from 0 to 9: leave that out, or start a new run with --overwrite" in said
    assert content("run") == before
    result = pretrain("--out", "run", "--device", "cpu", "--resume", "--epochs", "3", "--json")
    assert json.loads(result.stdout)["epochs"] == 3
    assert "schedule" not in result.stderr


@pytest.mark.parametrize(
    ("names", "epochs"),
    [((METRICS,), 1), ((DIAGNOSTICS,), 1), (("best.ckpt",), 1), ((CONFIG, "best.ckpt"), 1), (BEGUN, 2)],
)
def test_what_cannot_be_resumed_is_not_offered_to_be_and_stays(whole: str, names: tuple[str, ...], epochs: int) -> None:
    stopped(whole, names, epochs)
    before, words = content("run"), ("--data", "pump.npz", *TINY, "--epochs", "1", "--out", "run")
    said = refused(2, "pretrain", *words)
    assert "--resume" not in said
    assert "replace it with --overwrite" in said
    assert "no checkpoint in run to resume: give --overwrite instead" in refused(1, "pretrain", *words, "--resume")
    assert content("run") == before
    assert pretrain(*words, "--overwrite").exit_code == 0


def test_an_empty_folder_is_no_run_to_resume() -> None:
    words = ("--data", "pump.npz", *TINY, "--epochs", "1", "--out", "new")
    assert "no checkpoint in new to resume: leave --resume out" in refused(1, "pretrain", *words, "--resume")
    assert pretrain(*words).exit_code == 0


def test_a_run_that_stops_in_its_teachers_first_epoch_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--data", "pump.npz", *TINY, "--objective", "distill", "--epochs", "4", "--out")
    assert pretrain(*words, "whole").exit_code == 0

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tsjepa.callbacks.SaveEpoch.on_train_epoch_end", stop)
        result = pretrain(*words, "run")
    assert result.exit_code == 130
    assert "no epoch was finished: --resume --out run starts from the beginning" in result.stderr
    assert Path("run/teacher/metrics.csv").exists()
    assert "go on with it with --resume" in refused(2, "pretrain", *words, "run")
    assert pretrain("--out", "run", "--device", "cpu", "--resume").exit_code == 0
    assert same_weights("run", "whole")
    assert same_weights("run/teacher", "whole/teacher")


def test_a_folder_called_teacher_is_a_run_that_is_not_lost() -> None:
    words = ("--data", "pump.npz", *TINY, "--epochs", "1", "--out")
    assert pretrain(*words, "runs/teacher").exit_code == 0
    before = content("runs")
    said = refused(2, "pretrain", *words, "runs")
    assert "runs already holds a run (teacher/checkpoint.ckpt" in said
    assert "--resume" not in said
    again = refused(1, "pretrain", *words, "runs", "--resume")
    assert "no checkpoint in runs to resume: give --overwrite instead" in again
    assert content("runs") == before


def test_a_configuration_of_ones_own_in_the_folder_of_its_run_is_not_replaced_unasked(whole: str) -> None:
    Path("run").mkdir()
    Path("run/config.yaml").write_text("# mine\ntokenizer: {n_patches: 10}\nencoder: {dim: 16, depth: 1, heads: 2}\n")
    before = content("run")
    words = ("--data", "pump.npz", "--config", "run/config.yaml", "--out", "run", "--epochs", "1")
    assert "already holds a run (config.yaml)" in refused(2, "pretrain", *words)
    assert content("run") == before
    assert np.isfinite(json.loads(pretrain(*words, "--overwrite", "--device", "cpu", "--json").stdout)["loss"])
