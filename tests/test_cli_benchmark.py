"""The command `tsjepa benchmark`: its contract, what it writes, and sentences for what cannot be done."""

import csv
import json
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from typer.testing import Result

from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header, save_checkpoint
from tsjepa.cli.locking import LOCK
from tsjepa.config import dump_config
from tsjepa.evaluation import benchmark as engine
from tsjepa.evaluation import benchmark_transfer
from tsjepa.evaluation.benchmark_run import measure


def tsjepa(*words: str) -> Result:
    return command_line.tsjepa("benchmark", *words)


def refused(code: int, *words: str) -> str:
    return command_line.refused(code, "benchmark", *words)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs in this process: what is tested is the command, and starting others takes seconds."""

    def call(function: Any, argument: Any, *, fork: bool = True) -> Any:
        try:
            return function(argument)
        except ValueError as error:
            raise engine.RunError(str(error)) from error

    monkeypatch.setattr(engine, "call", call)
    monkeypatch.setattr(benchmark_transfer, "call", call)


@pytest.fixture
def suite(tmp_path: Path) -> str:
    broken = tmp_path / "broken.ts"
    broken.write_text("@problemName broken\n@data\nno number:1\n")
    (tmp_path / "mine.yaml").write_text(f"data: [GunPoint, {broken}, ItalyPowerDemand]\n")
    return str(tmp_path / "mine.yaml")


def rows(out: Path, name: str = "results.csv") -> list[dict[str, str]]:
    with (out / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("here")
def test_the_contract(tmp_path: Path, suite: str) -> None:
    out = tmp_path / "out"
    words = ["--suite", suite, "--method", "raw", "--method", "majority", "--seeds", "2", "--out", str(out)]
    result = tsjepa(*words, "--labels", "0.1,1", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    found = json.loads(result.stdout)
    assert set(found) == {"raw", "majority"}
    assert found["raw"]["n_data"] == found["majority"]["n_data"] == 2
    assert found["raw"]["mean_accuracy"] > found["majority"]["mean_accuracy"]
    written = rows(out)
    assert len(written) == 3 * 2 * 2
    columns = {"data", "method", "seed", "fold", "accuracy", "fit_seconds", "transform_seconds"}
    assert columns <= set(written[0])
    assert [row["status"] for row in written].count("failed") == 4
    assert all("broken.ts" in row["reason"] for row in written if row["status"] == "failed")
    assert "broken.ts" in result.stderr
    names = {path.name for path in out.iterdir()}
    assert {"summary.md", "few_labels.csv", "time.png", "time.svg"} <= names
    assert {"scatter-majority.png", "few-labels.svg", "few-labels-GunPoint.png"} <= names
    table = (out / "classification" / "accuracy" / "raw_accuracy.csv").read_text().splitlines()
    assert table[0] == "Resamples:,0"
    assert table[1].startswith("GunPoint,0.8333")
    again = tsjepa(*words, "--labels", "0.1,1", "--json", "--device", "cpu")
    assert "8 are finished already" in again.stderr
    assert json.loads(again.stdout) == found
    assert len(rows(out)) == 12


@pytest.mark.usefixtures("here")
def test_the_table_on_a_terminal_and_one_data_set(tmp_path: Path) -> None:
    result = tsjepa("--data", "GunPoint", "--method", "majority", "--out", str(tmp_path), "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "majority" in result.stdout
    assert "summary.md" in result.stdout
    text = (tmp_path / "summary.md").read_text()
    assert "no critical-difference diagram" in text
    assert not (tmp_path / "critical-difference.png").exists()


@pytest.mark.usefixtures("here")
def test_pictures_of_an_earlier_state_do_not_stay_beside_a_summary_without_them(tmp_path: Path) -> None:
    words = ("--data", "GunPoint", "--out", str(tmp_path), "--device", "cpu")
    (tmp_path / "scatter-mine.png").write_text("not the benchmark's")
    tsjepa(*words, "--data", "ItalyPowerDemand", "--method", "raw", "--method", "majority", "--per-class", "1")
    before = {path.name for path in tmp_path.iterdir()}
    tsjepa(*words, "--method", "random-init", "--config", "tiny", "--per-class", "2")  # nothing that all have on both
    left = {path.name for path in tmp_path.iterdir()}
    gone = {f"{name}.{kind}" for name in ("scatter-majority", "few-labels") for kind in ("png", "svg")}
    assert before - left == gone
    assert {"scatter-mine.png", "time.png", "few-labels-GunPoint.svg"} <= left


@pytest.mark.usefixtures("here")
def test_transfer(tmp_path: Path) -> None:
    words = ["--pretrain-on", "GunPoint,ItalyPowerDemand", "--probe-on", "GunPoint", "--per-class", "1"]
    words += ["--method", "tiny", "--method", "raw", "--epochs", "1", "--out", str(tmp_path), "--device", "cpu"]
    result = tsjepa(*words, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {method: one["n_data"] for method, one in found.items()} == {"tiny": 1, "raw": 1}
    written = rows(tmp_path, "transfer.csv")
    assert len(written) == 2 * 21
    assert {row["pretrain_on"] for row in written} == {"GunPoint+ItalyPowerDemand"}
    assert {"summary.md", "few-labels-GunPoint.png"} <= {path.name for path in tmp_path.iterdir()}
    again = tsjepa(*words)
    assert "2 are finished already" in again.stderr
    assert "pairs" in again.stdout
    assert "2 runs (" in again.stdout


@pytest.mark.usefixtures("here")
def test_a_benchmark_of_failures_alone_fails(tmp_path: Path) -> None:
    (tmp_path / "broken.ts").write_text("@problemName broken\n@data\nno number:1\n")
    out = tmp_path / "out"
    said = refused(1, "--data", str(tmp_path / "broken.ts"), "--method", "raw", "--out", str(out), "--device", "cpu")
    assert "every run failed" in said
    assert "## Failed" in (out / "summary.md").read_text()


@pytest.mark.usefixtures("here")
def test_a_sensor_log_is_not_taken_and_no_flag_is_named_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plant12").mkdir()
    for number in range(2):
        Path("plant12", f"m {number}.csv").write_text("time,flow\n1,2\n2,3\n")
    Path("pairs").mkdir()
    for name in ("a_TRAIN", "a_TEST", "b_TRAIN", "b_TEST"):
        Path("pairs", f"{name}.csv").write_text("flow,heat\n1,2\n2,3\n")
    said = {
        "plant12/m 0.csv": "column 'time' is a time, and in a table each row must be one series; cut it into windows; ",
        "plant12": "plant12 is taken for a sensor log; ",
        "pairs": "pairs holds 2 data sets: name one, as in pairs/a_TRAIN.csv or pairs/b_TRAIN.csv, or, ",
    }
    Path("run").mkdir()
    Path("run", "metrics.csv").write_text("epoch,step,loss,lr\n1,9,0.5,0.1\n")
    lists = {"flow": [[1.0, 2.0], [3.0]], "heat": [[1.0, 2.0], [3.0, 4.0]], "label": [0, 1]}
    pd.DataFrame(lists).to_parquet("odd.parquet")
    for data, why in {"run": "run is a folder without run_TRAIN", "odd.parquet": "channels of [1, 2] values"}.items():
        sentence = refused(1, "--data", data, "--method", "raw", "--out", "out", "--device", "cpu")
        assert why in sentence
        assert "sensor log" not in sentence
    for data, why in said.items():
        sentence = refused(1, "--data", data, "--method", "raw", "--out", "out", "--device", "cpu")
        assert why in sentence
        assert "; a benchmark takes no sensor logs: save windows of it as X_train, y_train, X_test and" in sentence
        assert "give --window" not in sentence
    assert "Sensor logs are not read" in tsjepa("--help").stdout


@pytest.mark.usefixtures("here")
def test_what_was_asked_for_is_judged_and_not_what_the_folder_held_before(tmp_path: Path) -> None:
    (tmp_path / "broken.ts").write_text("@problemName broken\n@data\nno number:1\n")
    broken, words = str(tmp_path / "broken.ts"), ("--method", "raw", "--out", str(tmp_path / "out"), "--device", "cpu")
    assert tsjepa("--data", "GunPoint", *words).exit_code == 0
    assert "every run failed" in refused(1, "--data", broken, *words)
    assert "1 run (" in tsjepa("--data", "GunPoint", *words).stdout  # broken.ts was not asked for
    words = ("--pretrain-on", "GunPoint", *words, "--per-class", "1")
    assert tsjepa("--probe-on", "GunPoint", *words).exit_code == 0
    assert "every run failed" in refused(1, "--probe-on", broken, *words)
    assert "target " + broken in (tmp_path / "out" / "summary.md").read_text()
    assert "1 run, 1 failed (" in tsjepa("--probe-on", f"GunPoint,{broken}", *words).stdout  # a pair of it


@pytest.mark.usefixtures("here")
def test_a_data_set_in_two_spellings_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--method", "majority", "--out", "out", "--device", "cpu")
    assert tsjepa("--data", "gunpoint", "--data", "GunPoint", *words).exit_code == 0
    assert tsjepa("--data", "GUNPOINT", *words).exit_code == 0
    assert [row["data"] for row in rows(tmp_path / "out")] == ["GunPoint"]
    (tmp_path / "broken.ts").write_text("@problemName broken\n@data\nno number:1\n")
    refused(1, "--data", "broken.ts", "--data", "./broken.ts", *words)
    refused(1, "--data", "x" * 300, *words)
    assert [row["data"] for row in rows(tmp_path / "out")] == ["GunPoint", "broken.ts", "x" * 300]


def write_waves(folder: Path, *names: str, classes: tuple[str, ...] = ("calm", "worn")) -> None:
    """Write sine waves in noise, 30 training and 40 test series a set, as one table a part."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        for part, n in (("TRAIN", 30), ("TEST", 40)):
            y = np.arange(n) % len(classes)
            X = rng.normal(size=(n, 60)) + np.sin(np.arange(60) * (0.3 + 0.1 * number) * (1 + y[:, None]))
            table = pd.DataFrame(X.round(4)).add_prefix("t")
            table.insert(0, "label", np.array(classes)[y])
            table.to_csv(folder / f"{name}_{part}.csv", index=False)


@pytest.mark.usefixtures("here")
def test_a_data_set_is_one_by_its_files_and_a_finished_run_is_found_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pump", "fan"):
        (tmp_path / "sets" / name).mkdir(parents=True)
        write_waves(tmp_path / "sets" / name, name)
    words = ("--method", "majority", "--out", "out", "--device", "cpu", "--data-dir", "sets", "--json")
    several = ("PUMP", "pump", "sets/pump", str(tmp_path / "sets/pump/pump_TRAIN.csv"), "./sets/fan")
    first = tsjepa(*(word for name in several for word in ("--data", name)), *words)
    assert [row["data"] for row in rows(tmp_path / "out")] == ["pump", "./sets/fan"]
    again = tsjepa("--data", "sets/pump/pump_TRAIN.csv", "--data", str(tmp_path / "sets" / "fan"), *words)
    assert "benchmark of 2 runs on 2 data sets; 2 are finished already" in again.stderr
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert json.loads(again.stdout)["majority"]["n_data"] == 2


@pytest.mark.usefixtures("here")
def test_a_checkpoint_is_one_by_its_file_and_its_finished_run_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_waves(tmp_path, "pump")
    config = resolve(configure("tiny"), 60)
    save_checkpoint(Path("a.ckpt"), build_model(config, 1), Header(config, None, 1, 60))
    Path("b.ckpt").symlink_to("a.ckpt")
    words = ("--data", "pump_TRAIN.csv", "--out", "out", "--device", "cpu", "--json")
    first = tsjepa("--method", "a.ckpt", "--method", "./a.ckpt", "--method", "b.ckpt", *words)
    again = tsjepa("--method", str(tmp_path / "a.ckpt"), *words)
    assert "1 is finished already" in again.stderr
    assert set(json.loads(first.stdout)) == set(json.loads(again.stdout)) == {"a.ckpt"}


@pytest.mark.usefixtures("here")
def test_sources_of_a_transfer_are_one_in_any_order_and_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b").mkdir()  # the sign that joins sources in the table
    write_waves(tmp_path, "pump", "belt")
    write_waves(tmp_path / "a+b", "fan")
    words = ("--method", "tiny", "--epochs", "1", "--per-class", "1", "--out", "out", "--device", "cpu", "--json")
    pump, belt, fan = "pump_TRAIN.csv", "belt_TRAIN.csv", str(Path("a+b", "fan_TRAIN.csv"))
    first = tsjepa("--pretrain-on", f"{pump},{belt}", "--probe-on", fan, *words)
    again = tsjepa("--pretrain-on", f"{tmp_path / belt},./{pump},{belt}", "--probe-on", str(tmp_path / fan), *words)
    assert "1 is finished already" in again.stderr
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert json.loads(first.stdout)["tiny"]["n_data"] == 1
    assert "Pretrained on" not in Path("out", "summary.md").read_text()  # one section
    assert {row["pretrain_on"] for row in rows(Path("out"), "transfer.csv")} == {f"{pump}+{belt}"}
    for source in (fan, "./" + fan):
        assert tsjepa("--pretrain-on", source, "--probe-on", pump, *words).exit_code == 0
    assert {row["status"] for row in rows(Path("out"), "transfer.csv")} == {"ok"}


@pytest.mark.usefixtures("here")
def test_a_transfer_of_the_sources_of_a_bearing_target_is_not_averaged_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_waves(tmp_path, "a", "b", "c")
    monkeypatch.setattr(benchmark_transfer, "BEARINGS", ("a_TRAIN.csv", "b_TRAIN.csv", "c_TRAIN.csv"))
    words = ("--method", "raw", "--device", "cpu", "--json", "--out")
    own = ("--pretrain-on", "a_TRAIN.csv,b_TRAIN.csv", "--probe-on", "c_TRAIN.csv", "--per-class", "1")
    protocols = (("--transfer", "bearings"), own)
    alone = [json.loads(tsjepa(*protocol, *words, protocol[0]).stdout) for protocol in protocols]
    assert [found["raw"]["n_data"] for found in alone] == [6, 1]
    for protocol in protocols:
        tsjepa(*protocol, *words, "both")
    assert [json.loads(tsjepa(*protocol, *words, "both").stdout) for protocol in protocols] == alone


@pytest.mark.usefixtures("here")
def test_what_takes_several_values_takes_them_with_commas_and_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_waves(tmp_path, "a", "b", "c", "d")
    words = ("--method", "tiny", "--epochs", "1", "--out", "out", "--device", "cpu")
    several = ("--pretrain-on", "a_TRAIN.csv", "--pretrain-on", "b_TRAIN.csv", "--per-class", "1", "--per-class", "2")
    first = tsjepa(*several, "--probe-on", "c_TRAIN.csv", "--probe-on", "d_TRAIN.csv", *words)
    assert first.exit_code == 0, first.output
    made = rows(Path("out"), "transfer.csv")
    pairs = {("a_TRAIN.csv+b_TRAIN.csv", target) for target in ("c_TRAIN.csv", "d_TRAIN.csv")}
    assert {(row["pretrain_on"], row["target"]) for row in made} == pairs
    assert {row["labels"] for row in made} == {"all", "1/class", "2/class"}
    joined = ("--pretrain-on", "a_TRAIN.csv,b_TRAIN.csv", "--probe-on", "c_TRAIN.csv,d_TRAIN.csv")
    again = tsjepa(*joined, "--per-class", "1,2", *words)
    assert "transfer of 1 run; 1 is finished already" in again.stderr
    words = ("--data", "a_TRAIN.csv", "--method", "majority", "--out", "few", "--device", "cpu")
    assert tsjepa(*words, "--labels", "0.5", "--labels", "0.1,1").exit_code == 0
    assert {row["labels"] for row in rows(Path("few"), "few_labels.csv")} == {"0.1", "0.5", "1"}


@pytest.mark.usefixtures("here")
def test_a_path_or_a_known_name_with_a_comma_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = tmp_path / "sets" / "fan,pump"
    known.mkdir(parents=True)
    write_waves(known, "fan,pump")
    write_waves(tmp_path, "wide,narrow")
    (tmp_path / "my,own.yaml").write_text(dump_config(configure("tiny")))
    data = ("--data", "wide,narrow_TRAIN.csv", "--data", "Fan,Pump", "--data-dir", "sets")
    ran = tsjepa(*data, "--method", "my,own.yaml", "--epochs", "1", "--out", "out", "--device", "cpu")
    assert ran.exit_code == 0, ran.output
    assert {row["data"] for row in rows(tmp_path / "out")} == {"wide,narrow_TRAIN.csv", "fan,pump"}


@pytest.mark.usefixtures("here")
def test_a_folder_of_data_sets_that_is_none_is_told_once(tmp_path: Path) -> None:
    words = ("--data", "GunPoint", "--data", "ItalyPowerDemand", "--method", "majority", "--out", str(tmp_path))
    said = tsjepa(*words, "--device", "cpu", "--data-dir", "absent").stderr
    assert said.count("there is no folder absent") == 1


def test_a_second_benchmark_in_the_folder_is_refused(tmp_path: Path) -> None:
    with FileLock(tmp_path / LOCK):
        said = refused(1, "--data", "GunPoint", "--method", "raw", "--out", str(tmp_path))
    assert f"another benchmark is running in {tmp_path}" in said


@pytest.mark.usefixtures("here")
def test_a_run_that_is_repaired_leaves_the_first_method_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told must depend on the command, and not on what had failed before."""

    def no_memory(job: Any) -> Any:
        if job.method.name == "raw":
            raise ValueError("no memory.")
        return measure(job)

    words = ["--data", "GunPoint", "--method", "raw", "--method", "majority", "--per-class", "1", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(engine, "measure", no_memory)
        assert tsjepa(*words, "--out", str(tmp_path / "repaired")).exit_code == 0
    for out in ("repaired", "at once"):
        assert tsjepa(*words, "--out", str(tmp_path / out)).exit_code == 0
    texts = [(tmp_path / out / "summary.md").read_text() for out in ("repaired", "at once")]
    assert "are against raw;" in texts[0]
    assert "By how much raw is above each other" in texts[0]
    told = [text[text.index("## Accuracy by data set") :] for text in texts]
    assert told[0] == told[1]


@pytest.mark.usefixtures("here")
def test_rows_of_another_recipe_are_refused(tmp_path: Path) -> None:
    words = ["--data", "GunPoint", "--method", "tiny", "--out", str(tmp_path), "--device", "cpu"]
    assert tsjepa(*words, "--epochs", "1").exit_code == 0
    assert "made with another recipe, checkpoint or number of epochs" in refused(1, *words, "--epochs", "2")


@pytest.mark.usefixtures("here")
def test_a_stop_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(job: Any) -> Any:
        if job.data == "ItalyPowerDemand":
            raise KeyboardInterrupt
        return measure(job)

    monkeypatch.setattr(engine, "measure", stop)
    words = ["--data", "GunPoint", "--data", "ItalyPowerDemand", "--method", "majority", "--out", str(tmp_path)]
    said = refused(130, *words, "--device", "cpu")
    assert "all finished runs are kept" in said
    assert [row["data"] for row in rows(tmp_path)] == ["GunPoint"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", [("--data", "GunPoint"), ("--pretrain-on", "GunPoint", "--probe-on", "GunPoint")])
def test_a_full_disk_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tsjepa.evaluation.benchmark_table.os.fsync", full)
    out = str(tmp_path / "out")
    said = refused(1, *words, "--method", "majority", "--out", out, "--device", "cpu")
    assert f"error: cannot write {out}: No space left on device." in said
