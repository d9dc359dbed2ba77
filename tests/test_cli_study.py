"""`tsjepa collapse-study`: from data to page, stopped and gone on with, and sentences of what cannot be studied."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from studies import subject
from typer.testing import CliRunner, Result

from tsjepa.build import build_model
from tsjepa.cli import study as command
from tsjepa.cli.locking import LOCK
from tsjepa.cli.main import app
from tsjepa.evaluation import study
from tsjepa.evaluation.benchmark_table import Table
from tsjepa.evaluation.recorder import Subject
from tsjepa.evaluation.rows import BASE, Arm, Measurement, runs_of
from tsjepa.evaluation.study import FULL, QUICK
from tsjepa.objective import JEPA


def test_a_study_without_labels_says_so(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", QUICK._replace(arms=(BASE,)))
    monkeypatch.setattr(command, "figures", lambda runs: {})
    np.save("bare.npy", np.load(pump)["X_train"])
    result = invoke("--out", "s", "--quick", "--steps", "2", "--data", "bare.npy")
    assert "note: there is no probe on data without two classes of two series or more (bare)" in result.stderr


def test_nothing_is_said_of_the_test_part(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", QUICK._replace(arms=(BASE,)))
    monkeypatch.setattr(command, "figures", lambda runs: {})
    data = dict(np.load(pump))
    data["X_train"][0] = 1.0
    np.savez(pump, **data, X_test=np.ones_like(data["X_train"]), y_test=np.full(24, "burst"))
    result = invoke("--out", "s", "--quick", "--steps", "2", "--data", pump)
    assert (result.exit_code, "note: train part: 1 of 24" in result.stderr) == (0, True), result.output
    assert "test" not in result.stderr


def test_latents_that_are_not_finite_end_a_study_as_a_loss_does(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Any, n_channels: int) -> JEPA:
        model = build_model(config, n_channels)
        torch.nn.init.constant_(next(model.encoder.parameters()), math.nan)
        return model

    monkeypatch.setattr(study, "build_model", broken)
    result = invoke("--out", "s", "--quick", "--steps", "2", "--data", pump)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        1,
        "error: the latents are not finite before training: look for weights of the model that are not finite, or "
        "values of the series that are too large.",
    )


def invoke(*words: str) -> Result:
    result = CliRunner().invoke(app, ["collapse-study", "--device", "cpu", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def pump(alone: Path) -> str:
    made = subject()
    np.savez("pump.npz", X_train=made.series.values, y_train=np.array(["calm", "worn"])[made.labels])
    return "pump.npz"


def test_a_quick_study_from_data_to_page(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez("other.npz", **{**np.load(pump), "X_train": np.load(pump)["X_train"][::-1]})
    monkeypatch.setattr(command, "QUICK", QUICK._replace(arms=(Arm(0.9), Arm(0.9, "block", 0.7))))
    words = ("--out", "s", "--quick", "--steps", "12", "--json", "--data", pump, "other.npz")
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["data"], found["n_runs"], found["out"]) == (["pump", "other"], 4, "s")
    claims = json.loads(Path("s/claims.json").read_text())
    assert claims == found["claims"]
    assert all(set(claim) == {"claim", "source", "verdict", "evidence"} for claim in claims)
    assert {claim["verdict"] for claim in claims} <= {"confirmed", "refuted", "undecided"}
    drawn = ("curves-pump", "curves-other", "masks-pump", "masks-other", "phase", "masking")
    images = {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")}
    assert {path.name for path in Path("s").iterdir()} == {"study.csv", "claims.json", "index.html", *images}
    table = Path("s/study.csv").read_bytes()
    monkeypatch.setattr(command, "figures", lambda runs: {})
    again = invoke(*words)
    assert "nothing is left to train; 4 are finished already." in again.stderr
    assert Path("s/study.csv").read_bytes() == table


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_stopped_study_goes_on_without_losing_or_repeating_a_row(
    pump: str, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    words = ("--quick", "--steps", "2", "--data", pump, "--json")
    monkeypatch.setattr(command, "QUICK", QUICK._replace(arms=QUICK.arms[:4]))
    monkeypatch.setattr(command, "figures", lambda runs: {})  # drawing takes longer than these runs
    assert invoke("--out", "whole", *words).exit_code == 0
    train, calls = study.train, []

    def stopping(*arguments: Any) -> list[Measurement]:
        calls.append(arguments)
        if len(calls) == 3:
            raise stop
        return train(*arguments)

    monkeypatch.setattr(study, "train", stopping)
    result = CliRunner().invoke(app, ["collapse-study", "--device", "cpu", "--out", "s", *words])
    if stop is KeyboardInterrupt:
        assert result.exit_code == 130
        assert "stopped: 2 runs are kept in s/study.csv, and the same command goes on from there." in result.stderr
    assert len(runs_of(Table(Path("s/study.csv"), Measurement).read())) == 2
    assert {path.name for path in Path("s").iterdir()} == {"study.csv"}
    assert invoke("--out", "s", *words).exit_code == 0
    assert len(calls) == 3 + 2
    assert Path("s/study.csv").read_bytes() == Path("whole/study.csv").read_bytes()


def test_a_second_study_in_the_folder_is_refused(pump: str) -> None:
    Path("s").mkdir()
    with FileLock(Path("s") / LOCK):
        result = invoke("--out", "s", "--quick", "--steps", "2", "--data", pump)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "another study is running in s: wait for it, or give another --out" in result.stderr
    assert not Path("s/study.csv").exists()


def test_runs_that_another_study_finished_meanwhile_are_kept(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", QUICK._replace(arms=(Arm(0.9), Arm(0.99))))
    monkeypatch.setattr(command, "figures", lambda runs: {})
    words = ("--out", "s", "--quick", "--steps", "2", "--data", pump)
    assert invoke(*words).exit_code == 0
    table = Path("s/study.csv").read_bytes()
    Path("s/study.csv").unlink()
    load = command.load_subject

    def while_another_ends(name: str, data_dir: Path | None) -> Subject:
        Path("s/study.csv").write_bytes(table)
        return load(name, data_dir)

    monkeypatch.setattr(command, "load_subject", while_another_ends)
    assert "nothing is left to train; 2 are finished already." in invoke(*words).stderr
    assert Path("s/study.csv").read_bytes() == table


def test_what_cannot_be_studied_is_refused(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    Path("bad").mkdir()
    Path("bad/study.csv").write_text("a,b\n")
    for code, sentence, words in (
        (2, "file is a file", ("--out", "file", "--data", pump)),
        (1, "bad/study.csv cannot be gone on with: its columns are not those", ("--out", "bad", "--data", pump)),
        (2, "two data sets have the same name", ("--out", "s", "--data", pump, pump)),
        (1, "missing.npz", ("--out", "s", "--data", "missing.npz")),
        (2, "--out", ("--data", pump)),
    ):
        result = invoke(*words, "--quick", "--json")
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert sentence in " ".join(result.stderr.split())
    assert not Path("s").exists()


def test_a_study_writes_no_table_among_its_data(alone: Path) -> None:
    Path("gait").mkdir()
    for name in "ab":
        Path(f"gait/{name}.csv").write_text("time,x\n" + "".join(f"{at},{at % 7}\n" for at in range(64)))
    result = invoke("--out", "gait/study", "--quick", "--steps", "2", "--data", "gait")
    assert (result.exit_code, result.stdout) == (2, "")
    sentence = "gait/study/study.csv would be read as a part of gait: name another folder with --out."
    assert sentence in " ".join(result.stderr.split())
    assert not Path("gait/study").exists()


def test_fault_detection_and_paderborn_join_where_they_are(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = command.StudyOptions(Path("s"), quick=True, device="cpu")
    assert command.data_names(options) == ["FordA"]
    monkeypatch.setattr(command, "find_local", lambda name, folder: name == "PaderbornKAT" or None)
    assert command.data_names(options) == ["FordA", "PaderbornKAT"]
    assert command.data_names(options._replace(data=("Car",))) == ("Car",)
    assert command.choose_settings(options._replace(seeds=2)) == QUICK._replace(seeds=2)
    assert command.choose_settings(options._replace(quick=False)) == FULL
