"""`tsjepa pretrain --devices 2`: processes that Lightning starts by the command itself, of which one speaks."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist
from detecting import SETTINGS, log
from typer.testing import CliRunner

from tsjepa import training
from tsjepa.cli.main import app
from tsjepa.cli.options import PretrainOptions
from tsjepa.cli.other_processes import MEETING, check_nodes, is_other

CONSOLE = [str(Path(sys.executable).with_name("tsjepa"))]
MODULE = [sys.executable, "-m", "tsjepa.cli"]
TINY = ("--config", "tiny", "--device", "cpu", "--json")
WORLD = ("--config", "lewm-sensor", *SETTINGS, "--data", "faulty.parquet", "--batch-size", "10")
gloo = pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch has no gloo")


def pretrain(start: list[str], out: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONSAFEPATH": "1"}
    command = [*start, "pretrain", *TINY, "--out", str(out), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


@gloo
def test_two_processes_train_as_one_does_and_one_of_them_speaks(tmp_path) -> None:
    one = CliRunner().invoke(app, ["pretrain", *TINY, "--epochs", "2", "--out", str(tmp_path / "one")])
    assert one.exit_code == 0
    first = pretrain(MODULE, tmp_path / "two", "--epochs", "2", "--devices", "2")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)  # exactly one object in all
    assert (report["epochs"], report["n_series"]) == (2, 40)
    assert len(first.stderr.splitlines()) == 1, first.stderr
    for single, double in zip(table(tmp_path / "one"), table(tmp_path / "two"), strict=True):
        assert float(single["loss"]) == pytest.approx(float(double["loss"]), rel=1e-4)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


def write_faulty(folder: Path) -> None:
    """Write 400 rows, of which ten are called abnormal: 10 of 93 windows hold one of these."""
    log(400, seed=1).assign(anomaly=[0] * 200 + [1] * 10 + [0] * 190).to_parquet(folder / "faulty.parquet")


@gloo
def test_all_processes_of_a_world_model_leave_out_what_is_called_abnormal(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_faulty(tmp_path)
    one = CliRunner().invoke(app, ["pretrain", *TINY, *WORLD, "--epochs", "2", "--out", "one"])
    assert one.exit_code == 0, one.output
    two = pretrain(MODULE, Path("two"), *WORLD, "--epochs", "2", "--devices", "2")
    assert two.returncode == 0, two.stderr
    assert two.stderr.count("left out: 10 of 93 windows") == 1
    for single, double in zip(table(tmp_path / "one"), table(tmp_path / "two"), strict=True):
        assert float(single["loss"]) == pytest.approx(float(double["loss"]), rel=1e-4)


@pytest.mark.parametrize("resume", [False, True])
def test_a_process_that_follows_trains_on_the_windows_of_the_first(tmp_path, monkeypatch, resume: bool) -> None:
    monkeypatch.chdir(tmp_path)
    write_faulty(tmp_path)
    words = ["pretrain", *TINY, *WORLD, "--epochs", "1", "--out", "run"]
    if resume:
        assert CliRunner().invoke(app, words).exit_code == 0
        words += ["--resume", "--epochs", "2"]
    taken = []

    def stop(model, series, header, options):
        taken.append((series.key, series.n_cases, header, options.labels.tolist()))
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit_stages", stop)
    first = CliRunner().invoke(app, [*words, "--devices", "2"])
    assert (first.exit_code, "left out: 10 of 93 windows" in first.stderr) == (130, True), first.output
    monkeypatch.setenv("LOCAL_RANK", "1")
    other = CliRunner().invoke(app, [*words, "--devices", "2"])
    assert (other.exit_code, other.output) == (0, "")
    assert taken[0] == taken[1]
    assert taken[0][1] == 83


@pytest.mark.parametrize("said", ["Connection closed by peer", "Read error: Connection reset by peer"])
def test_a_process_that_has_ended_is_told_in_one_sentence(tmp_path, monkeypatch, said: str) -> None:
    def end(*_):
        raise RuntimeError(said)

    monkeypatch.setattr(training, "fit_stages", end)
    words = ["pretrain", *TINY, "--out", str(tmp_path / "run"), "--devices", "2"]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 1
    assert "error: another process of the run has ended, so that this one cannot go on: no epoch" in first.stderr
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert CliRunner().invoke(app, words).output == ""


@gloo
@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_with_two(tmp_path) -> None:
    assert pretrain(CONSOLE, tmp_path / "two", "--epochs", "2", "--devices", "2").returncode == 0
    again = pretrain(CONSOLE, tmp_path / "two", "--resume", "--epochs", "3", "--devices", "2")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["epochs"] == 3
    assert [row["epoch"] for row in table(tmp_path / "two")] == ["1", "2", "3"]


@gloo
@pytest.mark.slow
def test_what_stops_all_processes_is_said_once(tmp_path) -> None:
    done = pretrain(CONSOLE, tmp_path / "run", "--devices", "2", "--lr", "1e6", "--set", "train.clip=0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("the loss is nan in epoch 1") == 1
    assert "Traceback" not in done.stderr


def test_more_processes_than_series_in_a_batch_are_refused_before_anything_is_written(tmp_path) -> None:
    words = ["pretrain", *TINY, "--out", str(tmp_path / "run"), "--devices", "2", "--batch-size", "1"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "2 processes cannot share batches of 1 series" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags", [["--devices", "0"], ["--nodes", "0"], ["--strategy", "fsdp"]])
def test_processes_that_make_no_sense_are_a_usage_error(flags) -> None:
    assert CliRunner().invoke(app, ["pretrain", *flags]).exit_code == 2


def test_machines_that_do_not_know_of_each_other_are_refused(monkeypatch, tmp_path) -> None:
    for name in MEETING:
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, ["pretrain", *TINY, "--out", str(tmp_path / "run"), "--nodes", "2"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert all(name in result.stderr for name in ("--nodes 2", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "torchrun"))
    assert not (tmp_path / "run").exists()
    check_nodes(1)
    for name in MEETING:
        with monkeypatch.context() as patch:
            patch.setenv(name, "2")
            check_nodes(2)


@pytest.mark.parametrize(
    ("environment", "other"),
    [({}, False), ({"RANK": "1"}, True), ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, True), ({"SLURM_PROCID": "0"}, False)],
)
def test_only_other_processes_of_a_run_on_several_train_along(monkeypatch, environment, other) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = PretrainOptions(device="cpu")
    assert not is_other(options)
    assert is_other(options._replace(devices=2)) == other
