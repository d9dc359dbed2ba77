"""`tsjepa detect`: its tables, its thresholds, its picture, and the sentences of what cannot be done."""

import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from command_line import tsjepa

from tsjepa import surprise
from tsjepa.checkpoint import load_checkpoint
from tsjepa.cli import detect, detect_follow, detect_tail
from tsjepa.cli.detect_stop import SIGNALS, Stop, stoppable
from tsjepa.cli.render import show_detect
from tsjepa.cli.report import DetectReport
from tsjepa.stream import score_series
from tsjepa.surprise import fit_scorer, refer
from tsjepa.thresholds import Threshold, fit_threshold
from tsjepa.world import WorldModel

CKPT = "run/checkpoint.ckpt"
CHANNELS = ["flow", "level"]
CONTEXT, PATCH = 32, 4
SMALL = (
    *("log.window=32", "log.stride=4", "tokenizer.patch_length=4", "encoder.dim=16", "encoder.depth=1"),
    *("encoder.heads=2", "predictor.dim=16", "predictor.depth=1", "predictor.heads=2", "projector.hidden=32"),
    *("projector.out=8", "regularizer.slices=16", "world.horizons=[1,2]", "train.lr=3e-3"),
)
WORDS = ("detect", CKPT, "--data", "test.parquet", "--out", "scores.parquet", "--false-alarms", "1/2000")


def found(*words: str, text: str | None = None) -> dict[str, Any]:
    result = tsjepa(*words, "--json", text=text)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def refused(code: int, *words: str, text: str | None = None) -> str:
    result = tsjepa(*words, text=text)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    return " ".join(line for line in result.stderr.splitlines() if not line.startswith("note:"))


def log(n: int, seed: int, run: str = "a", step: str = "1s") -> pd.DataFrame:
    """Two sensors of an oscillation."""
    t = np.arange(n)
    x = np.stack([np.sin(t / 4), np.cos(t / 4)], 1) + 0.05 * np.random.default_rng(seed).normal(size=(n, 2))
    frame = pd.DataFrame(x.astype(np.float32), columns=CHANNELS)
    frame.insert(0, "timestamp", pd.date_range("2024-01-01", periods=n, freq=step).astype("datetime64[us]"))
    frame.insert(0, "run", run)
    return frame


def faulty(n: int = 600, seed: int = 2, run: str = "b") -> pd.DataFrame:
    frame = log(n, seed, run)
    frame.loc[400:499, "level"] = 3.0
    frame["anomaly"] = ((frame.index >= 400) & (frame.index < 500)).astype(np.int8)
    return frame


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one run that all tests copy."""
    folder, before = tmp_path_factory.mktemp("trained"), Path.cwd()
    os.chdir(folder)
    try:
        log(800, seed=1).to_parquet("train.parquet")
        settings = [word for setting in SMALL for word in ("--set", setting)]
        words = ("--config", "lewm-sensor", "--epochs", "4", "--data", "train.parquet", "--out", "run", *settings)
        result = tsjepa("pretrain", *words, "--device", "cpu", "--cache-dir", "cache")
        assert result.exit_code == 0, result.output
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    pd.concat([log(500, seed=3, run="c"), faulty()]).to_parquet("test.parquet", index=False)


def test_table_has_one_row_a_row_of_the_log_in_its_order() -> None:
    assert list(found(*WORDS)) == ["rows", "events", "threshold", "false_alarm_budget", "f1", "far", "mar"]
    table, source = pq.read_table("scores.parquet"), pq.read_table("test.parquet")
    assert table.column_names == ["run", "timestamp", "score", "event", "score_flow", "score_level"]
    assert table["run"].to_pylist() == source["run"].to_pylist()  # c comes before b
    assert table["timestamp"].equals(source["timestamp"])
    assert (str(table["score"].type), str(table["event"].type)) == ("float", "int64")


def test_scores_are_those_of_the_library() -> None:
    found(*WORDS)
    model, header = load_checkpoint(CKPT)
    assert isinstance(model, WorldModel)
    series = {name: frame[CHANNELS].to_numpy().T for name, frame in pd.read_parquet("test.parquet").groupby("run")}
    scorer = fit_scorer(model, [pd.read_parquet("train.parquet")[CHANNELS].to_numpy().T], context=header.n_timepoints)
    table = pd.read_parquet("scores.parquet")
    for name, x in series.items():
        own, scores = table[table["run"] == name], score_series(scorer, x)
        np.testing.assert_array_equal(own["score"], scores.score)
        np.testing.assert_array_equal(own[["score_flow", "score_level"]].to_numpy().T, scores.channels)


def test_a_fault_is_found_and_its_sensor_named() -> None:
    report = found(*WORDS)
    assert report["rows"] == 1100
    assert report["false_alarm_budget"] == "1/2000"
    assert report["mar"] <= 0.03
    table, events = pd.read_parquet("scores.parquet"), pd.read_csv("events.csv")
    alarm = table["event"].notna().to_numpy()
    np.testing.assert_array_equal(alarm, (table["score"] > report["threshold"]).to_numpy())
    assert report["events"] == len(events) == table["event"].nunique()
    widest = events.loc[(pd.to_datetime(events["end"]) - pd.to_datetime(events["start"])).idxmax()]
    assert widest["id"] == "b"
    assert widest["channels"].split(";")[0] == "level"
    start = pd.Timestamp(widest["start"])
    assert 0 <= (start - pd.Timestamp("2024-01-01 00:06:40")).total_seconds() < PATCH
    own = table[(table["run"] == "b") & (table["event"] == widest["event"])]
    assert own["timestamp"].iloc[0] == start
    assert own.loc[own["score"].idxmax(), "timestamp"] == pd.Timestamp(widest["peak"])


def test_rates_are_those_of_all_rows() -> None:
    report = found(*WORDS)
    alarm = pd.read_parquet("scores.parquet")["event"].notna().to_numpy()
    fault = pd.read_parquet("test.parquet")["anomaly"].fillna(-1).to_numpy()
    hit, miss, false = (alarm & (fault == 1)).sum(), (~alarm & (fault == 1)).sum(), (alarm & (fault == 0)).sum()
    assert report["f1"] == pytest.approx(hit / (hit + (miss + false) / 2))
    assert report["far"] == pytest.approx(false / (fault == 0).sum())
    assert report["mar"] == pytest.approx(miss / (fault == 1).sum())


def test_reference_rows_take_a_run_to_the_level_of_training() -> None:
    frame = faulty()
    frame["flow"] = 40 + 7 * frame["flow"]
    frame.to_parquet("test.parquet", index=False)
    report = found(*WORDS, "--reference-rows", "300")
    model, header = load_checkpoint(CKPT)
    assert isinstance(model, WorldModel)
    scorer = fit_scorer(model, [pd.read_parquet("train.parquet")[CHANNELS].to_numpy().T], context=header.n_timepoints)
    x = frame[CHANNELS].to_numpy().T
    score = pd.read_parquet("scores.parquet")["score"]
    np.testing.assert_array_equal(score, score_series(refer(scorer, x[:, :300]), x).score)
    assert report["f1"] > 0.8


def test_a_threshold_rests_on_all_rows_of_a_long_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    faulty().to_parquet("test.parquet", index=False)
    monkeypatch.setattr(surprise, "MOST", 150)
    assert "from 369 normal rows" in tsjepa(*WORDS, "--reference-rows", "400").stderr


def test_nothing_behind_the_reference_moves_the_threshold() -> None:
    first = found(*WORDS, "--reference-rows", "300")
    frame = faulty()
    frame.loc[300:, CHANNELS] = 5.0
    pd.concat([log(500, seed=3, run="c"), frame]).to_parquet("test.parquet", index=False)
    assert found(*WORDS, "--reference-rows", "300", "--overwrite")["threshold"] == first["threshold"]


def test_normal_data_set_the_threshold() -> None:
    log(900, seed=7).to_parquet("normal.parquet", index=False)
    result = tsjepa(*WORDS, "--normal", "normal.parquet")
    assert result.exit_code == 0, result.output
    assert "the threshold comes from normal.parquet" in result.stderr
    assert "extrapolated, peaks over threshold" in result.stderr
    assert "95 % interval" in result.stderr


def test_rows_labelled_abnormal_do_not_say_what_is_normal() -> None:
    faulty(900, seed=7).to_parquet("normal.parquet", index=False)
    log(800, seed=1).assign(anomaly=["fault"] * 100 + ["normal"] * 700).to_parquet("train.parquet", index=False)
    words = ("--normal", "normal.parquet", "--overwrite")
    said = tsjepa(*WORDS, *words).stderr
    assert "normal.parquet: left out of what is normal: 100 rows that 'anomaly' calls abnormal." in said
    assert "train.parquet: left out of what is normal: 100 rows" in said
    assert f"from {2 * (400 - CONTEXT + 1)} normal rows" in said
    words = (*words, "--label")
    assert f"from {900 - CONTEXT + 1} normal rows" in tsjepa(*WORDS, *words, "").stderr
    log(800, seed=1).assign(kind=["idle", "busy"] * 400).to_parquet("train.parquet", index=False)
    faulty().assign(kind="busy").to_parquet("test.parquet", index=False)
    said = tsjepa(*WORDS, *words, "kind").stderr
    assert "train.parquet: 'kind' does not say which rows are normal, so all rows are taken for normal" in said


def pretrained(*words: str) -> str:
    """Train for one epoch, and return what is said."""
    settings = [word for setting in SMALL for word in ("--set", setting)]
    words = ("--config", "lewm-sensor", "--epochs", "1", "--data", "train.parquet", *settings, "--overwrite", *words)
    result = tsjepa("pretrain", *words, "--out", "run", "--device", "cpu")
    assert result.exit_code == 0, result.output
    return result.stderr


def test_the_next_command_scores_another_log() -> None:
    log(800, seed=1).to_csv("train.csv", index=False)
    settings = [word for setting in SMALL for word in ("--set", setting)]
    words = ("--config", "lewm-sensor", "--epochs", "1", *settings, "--overwrite", "--out", "run", "--device", "cpu")
    for name in ("train.parquet", "train.csv"):
        result = tsjepa("pretrain", *words, "--data", name)
        kind = Path(name).suffix
        assert f"next: tsjepa detect run/checkpoint.ckpt --data NEW{kind} --out run/scores.parquet" in result.stdout
        assert f"pretraining on train, 1 epoch: 193 series, 2 channels, {CONTEXT} time points" in result.stderr


def test_one_event_in_one_row_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    for number, words in ((1, "1 event in 1 row:"), (2, "2 events in 2 rows:")):
        show_detect(DetectReport(number, number, 1.0, "1/day", None, None, None, 1.0, Path("scores.parquet")))
        assert capsys.readouterr().out.startswith(words)


def test_faults_that_a_label_names_are_not_learnt() -> None:
    log(800, seed=1).assign(anomaly=[0] * 500 + [1] * 10 + [0] * 290).to_parquet("train.parquet", index=False)
    held = (CONTEXT + 10 - 1) // PATCH  # windows that start every patch and reach into the fault
    said = pretrained()
    assert f"train.parquet: left out: {held} of 193 windows, which hold rows that 'anomaly' calls abnormal." in said
    assert f"{193 - held} series" in said
    header = load_checkpoint(CKPT)[1]
    assert (header.config.log.label, header.config.log.test) == ("anomaly", None)
    said = tsjepa(*WORDS).stderr
    assert "train.parquet: left out of what is normal: 10 rows that 'anomaly' calls abnormal." in said
    assert "the model has learnt" not in said
    log(800, seed=1).assign(kind=["idle", "busy"] * 400).to_parquet("train.parquet", index=False)
    said = pretrained("--label", "kind")
    assert "'kind' does not say which rows are normal, so the model learns from all rows" in said
    log(800, seed=1).assign(anomaly=["fault", "no"] * 400).to_parquet("train.parquet", index=False)
    sentence = refused(1, "pretrain", "--config", "lewm-sensor", "--data", "train.parquet", "--out", "other")
    assert "every window holds a row that 'anomaly' calls abnormal: give a log with longer normal stretches" in sentence


def test_faults_are_not_learnt_where_a_test_part_is_scored() -> None:
    log(800, seed=1).assign(anomaly=[0] * 500 + [1] * 10 + [0] * 290).to_parquet("train.parquet", index=False)
    said = pretrained("--test", "test.parquet")
    assert "windows, which hold rows that 'anomaly' calls abnormal" in said
    assert "no accuracy will be shown" not in said


def test_faults_that_training_did_not_tell_are_not_taken_for_normal() -> None:
    log(800, seed=1).assign(anomaly=[0] * 500 + [1] * 10 + [0] * 290).to_parquet("train.parquet", index=False)
    said = pretrained("--label", "")
    assert "the labels in 'anomaly' are not read (--label ''), so the model learns from all rows" in said
    assert "193 series" in said
    said = tsjepa(*WORDS).stderr
    assert "left out of what is normal: 10 rows that 'anomaly' calls abnormal" in said
    assert "the model has learnt such rows as normal (--label ''): pretrain it again" in said
    assert "left out" not in tsjepa(*WORDS, "--label", "", "--overwrite").stderr


def test_a_label_of_normal_data_alone_is_read() -> None:
    log(800, seed=1).assign(state=["normal"] * 500 + ["worn"] * 10 + ["normal"] * 290).to_parquet("train.parquet")
    result = tsjepa(*WORDS, "--label", "state")
    assert result.exit_code == 0, result.output
    assert "note: test.parquet has no column 'state', so F1 and rates are not known" in result.stderr
    assert "train.parquet: left out of what is normal: 10 rows that 'state' calls abnormal" in result.stderr
    assert "has no column 'mode' (--label)" in refused(1, *WORDS, "--label", "mode", "--overwrite")
    log(800, seed=1).assign(state="normal").to_parquet("normal.parquet", index=False)
    log(800, seed=1).to_parquet("train.parquet", index=False)
    assert tsjepa(*WORDS, "--label", "state", "--normal", "normal.parquet", "--overwrite").exit_code == 0


def test_groups_of_the_test_part_do_not_say_what_is_normal() -> None:
    runs = [log(400, seed, run=name).assign(site=name) for seed, name in enumerate("abcd")]
    pd.concat(runs).to_parquet("train.parquet", index=False)
    content = torch.load(CKPT, weights_only=True)
    content["tsjepa"]["config"]["log"]["group"], content["tsjepa"]["fingerprint"] = "site", None
    torch.save(content, CKPT)
    said = tsjepa(*WORDS).stderr
    assert "left out of what is normal: 400 rows of the groups of 'site' that were the test part" in said
    assert f"from {3 * 5 * (80 - CONTEXT + 1)} normal rows" in said  # three runs, in five blocks each


def test_without_labels_there_is_no_rate() -> None:
    faulty().drop(columns="anomaly").to_parquet("test.parquet", index=False)
    report = found(*WORDS)
    assert (report["f1"], report["far"], report["mar"]) == (None, None, None)


def test_missing_values_are_no_alarm() -> None:
    frame = log(600, seed=3)
    frame.loc[200:219, CHANNELS] = np.nan
    frame.to_parquet("test.parquet", index=False)
    report = found(*WORDS)
    table = pd.read_parquet("scores.parquet")
    blind = table["score"].isna()
    assert report["rows"] == 600
    assert blind[204:246].all()
    assert not blind[CONTEXT : 200 - PATCH].any()
    assert not blind[256:].any()
    assert table["event"][blind].isna().all()


def test_a_log_that_cannot_be_scored_is_told() -> None:
    frame = log(600, seed=3)
    frame.assign(level=np.nan).to_parquet("test.parquet", index=False)
    sentence = refused(1, *WORDS)
    assert "test.parquet: no row has a score: a score needs every channel in the 32 rows before it" in sentence
    assert "'level' is missing in 100 % of all rows" in sentence
    assert not Path("scores.parquet").exists()
    frame.loc[100:399, "flow"] = np.nan
    frame.to_parquet("test.parquet", index=False)
    result = tsjepa(*WORDS)
    assert result.exit_code == 0, result.output
    assert "328 of 569 rows with a full context before them have no score" in result.stderr
    assert "'flow' is missing in 50 % of all rows" in result.stderr


def test_scores_start_anew_behind_a_gap_in_time() -> None:
    frame = log(600, seed=3)
    frame.loc[300:, "timestamp"] += pd.Timedelta("1h")
    frame.to_parquet("test.parquet", index=False)
    found(*WORDS)
    table = pd.read_parquet("scores.parquet")
    assert table["score"].isna().to_numpy().nonzero()[0].tolist() == [*range(31), *range(300, 331)]
    found(*WORDS, "--overwrite", "--max-gap", "2h")
    assert pd.read_parquet("scores.parquet")["score"].isna().sum() == 31


@pytest.mark.parametrize("name", ["found.png", "found.svg"])
def test_picture_is_drawn(name: str) -> None:
    found(*WORDS, "--picture", name)
    content = Path(name).read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" if name.endswith("png") else b"<svg" in content


def backwards() -> pd.DataFrame:
    frame = faulty()
    frame.loc[50, "timestamp"] = frame.loc[10, "timestamp"] - pd.Timedelta("500ms")
    return frame


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (backwards(), "error: test.parquet, row 51: time runs backwards in run 'b'"),
        (faulty().drop(columns="level"), "test.parquet has no column 'level'; it has"),
        (faulty().drop(columns="level"), "'anomaly'; it is one of the channels that were named or trained on: add it"),
        (log(600, 0, step="2s"), "has a row every 2 s, but the checkpoint was trained on one every 1 s"),
        (log(30, 0), "test.parquet has at most 30 rows without a gap in time, but a score needs 32, the context"),
    ],
)
def test_bad_logs_are_told_in_a_sentence(frame: pd.DataFrame, sentence: str) -> None:
    frame.to_parquet("test.parquet", index=False)
    assert sentence in refused(1, *WORDS)
    assert not Path("scores.parquet").exists()


@pytest.mark.parametrize(
    ("code", "words", "sentence"),
    [
        (2, ("--false-alarms", "often"), "'often' is no budget of false alarms"),
        (2, ("--out", "scores.csv"), "scores are written as .parquet"),
        (2, ("--picture", "a.gif"), "--picture ends in .png or .svg"),
        (
            1,
            ("--reference-rows", "550"),
            "c has 500 rows, but --reference-rows asks for its first 550: give a smaller number",
        ),
        (1, ("--reference-rows", "20"), "the first 20 rows of b cannot be its reference"),
        (1, ("--normal", "none.parquet"), "none.parquet"),
        (1, ("--label", "state"), "has no column 'state'"),
        (1, ("--label", "level"), "column 'level' is one of the channels and cannot be --id, --time or --label"),
    ],
)
def test_bad_options_are_told_in_a_sentence(code: int, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(code, *WORDS, *words)


def test_a_log_without_ids_is_one_run() -> None:
    frame = faulty().drop(columns="run")
    frame.to_parquet("test.parquet", index=False)
    assert found(*WORDS, "--label", "", "--id", "")["f1"] is None
    assert pq.read_table("scores.parquet").column_names[:2] == ["timestamp", "score"]
    frame.to_csv("log.csv", index=False)
    found(*follow(), "--id", "", "--out", "followed/scores.csv")
    followed, expected = pd.read_csv("followed/scores.csv"), pd.read_parquet("scores.parquet")
    np.testing.assert_array_equal(followed["score"].astype(np.float32), expected["score"])
    assert "log.csv has no column 'run' (--id)" in refused(1, *follow(), "--out", "other/scores.csv")


@pytest.mark.parametrize("names", ["bc", "b"])
def test_where_there_is_no_time_rows_are_counted(names: str) -> None:
    other = log(200, seed=3, run="c", step="7s")
    other.loc[100:, "timestamp"] += pd.Timedelta("1h")
    frame = pd.concat([faulty().drop(columns="anomaly"), other]).sort_index(kind="stable")
    frame[frame["run"].isin([*names])].to_csv("log.csv", index=False)
    words = ("--time", "", *(("--id", "") if names == "b" else ()))
    found(*follow(), *words)
    same_counted(*words)


def same_counted(*words: str) -> None:
    """Check that what was followed without times is what a batch gives."""
    found(*WORDS, "--data", "log.csv", "--out", "batch/scores.parquet", *words)
    followed, expected = pd.read_csv("scores.csv"), pd.read_parquet("batch/scores.parquet")
    assert list(followed) == list(expected)
    np.testing.assert_array_equal(followed["score"].astype(np.float32), expected["score"])
    np.testing.assert_array_equal(followed["event"], expected["event"].astype(float))
    events = pd.read_csv("events.csv").sort_values("event", ignore_index=True)
    pd.testing.assert_frame_equal(events, pd.read_csv("batch/events.csv"))


def test_files_of_one_machine_each_are_told_apart() -> None:
    Path("machines").mkdir()
    for seed, name in enumerate("AB"):
        frame = log(300, seed).drop(columns="run")
        frame.loc[200:220, "level"] += 3.0 * (name == "B")
        frame.to_csv(f"machines/{name}.csv", index=False)
    content = torch.load(CKPT, weights_only=True)
    content["tsjepa"]["config"]["log"]["id"] = None  # as if it had been trained on such files
    torch.save(content, CKPT)
    found(*WORDS, "--data", "machines")
    table = pd.read_parquet("scores.parquet")
    assert list(table)[:3] == ["id", "timestamp", "score"]
    assert table["id"].tolist() == ["A.csv"] * 300 + ["B.csv"] * 300
    assert "B.csv" in pd.read_csv("events.csv")["id"].tolist()


def test_the_step_of_a_run_that_is_too_short_for_a_score_does_not_matter() -> None:
    pd.concat([log(300, 3), log(31, 0, run="b", step="3s")]).to_parquet("test.parquet", index=False)
    result = tsjepa(*WORDS)
    assert result.exit_code == 0, result.output
    assert "no score for 1 run, shorter than the 32 rows of the context: b." in result.stderr
    pd.concat([log(300, 3), log(32, 0, run="b", step="3s")]).to_parquet("test.parquet", index=False)
    assert "b has a row every 3 s" in refused(1, *WORDS, "--overwrite")


def test_dates_and_numbers_are_no_times_of_one_log() -> None:
    frame = log(300, 3).assign(timestamp=range(300))
    frame.to_parquet("test.parquet", index=False)
    sentence = "its times are {}, but those of the normal log {} are {}: write them alike"
    numbers, dates = "numbers without a unit", "dates"
    assert "test.parquet: " + sentence.format(numbers, "train.parquet", dates) in refused(1, *WORDS)
    refused_normal = refused(1, *WORDS, "--data", "train.parquet", "--normal", "test.parquet")
    assert "test.parquet: " + sentence.format(numbers, "train.parquet", dates) in refused_normal
    Path("train.parquet").rename("dates.parquet")
    words = ("--data", "dates.parquet", "--normal", "test.parquet")
    assert "dates.parquet: " + sentence.format(dates, "test.parquet", numbers) in refused(1, *WORDS, *words)


def test_old_tables_are_kept() -> None:
    found(*WORDS)
    assert "scores.parquet exists already" in refused(2, *WORDS)
    found(*WORDS, "--overwrite")


def test_events_of_other_scores_are_kept() -> None:
    found(*WORDS)
    events = Path("events.csv").read_bytes()
    faulty().drop(columns="anomaly").to_csv("log.csv", index=False)
    for words in ((*WORDS, "--out", "other.parquet"), (*WORDS, "--out", "other.parquet", "--overwrite"), follow()):
        assert "events.csv belongs to other scores, since there is no" in refused(2, *words)
    assert "name another file" in refused(2, *follow(), "--out", "events.csv", "--overwrite")
    assert Path("events.csv").read_bytes() == events
    found(*WORDS, "--out", "other/scores.parquet")


def test_other_checkpoints_are_refused() -> None:
    np.savez("pump.npz", X_train=np.random.default_rng(0).normal(size=(8, 1, 40)))
    words = ("--config", "tiny", "--epochs", "1", "--data", "pump.npz", "--out", "other", "--device", "cpu")
    assert tsjepa("pretrain", *words).exit_code == 0
    sentence = refused(1, "detect", "other/checkpoint.ckpt", *WORDS[2:])
    assert "other/checkpoint.ckpt is not a world model: pretrain one with --config lewm-sensor" in sentence


def test_training_data_that_are_gone_are_asked_for() -> None:
    Path("train.parquet").rename("kept.parquet")
    assert "train.parquet is not here: name normal data by --normal" in refused(1, *WORDS)
    found(*WORDS, "--normal", "kept.parquet")


def test_training_data_may_be_a_pattern() -> None:
    Path("plant").mkdir()
    Path("train.parquet").rename("plant/1.parquet")
    content = torch.load(CKPT, weights_only=True)
    content["tsjepa"]["data"] = "plant/*.parquet"
    torch.save(content, CKPT)
    result = tsjepa(*WORDS)
    assert result.exit_code == 0, result.output
    assert "the threshold comes from plant/*.parquet, cut into blocks" in result.stderr
    log(900, seed=7).to_parquet("normal.parquet", index=False)
    result = tsjepa(*WORDS, "--overwrite", "--normal", "normal.parquet")
    assert "what is usual is learnt from plant/*.parquet, and the threshold comes from normal.parquet" in result.stderr


def test_a_training_log_that_has_changed_is_not_normal() -> None:
    frame = log(800, seed=1)
    frame.to_csv("train.csv", index=False)
    frame.to_parquet("train.parquet", index=False, compression="gzip")
    found(*WORDS)
    faulty(900).drop(columns="anomaly").assign(run="a").to_parquet("train.parquet", index=False)
    grown = "train.parquet is not the same log any more (its number of rows is 900 and was 800): name normal data"
    assert grown in refused(1, *WORDS, "--overwrite")
    frame.assign(level=3.0).to_parquet("train.parquet", index=False)
    assert "(its values are others)" in refused(1, *WORDS, "--overwrite", "--reference-rows", "300")
    result = tsjepa(*WORDS, "--overwrite", "--normal", "train.csv")
    assert "the training data are left out: train.parquet is not the same log" in result.stderr
    assert (
        "the threshold comes from train.csv, cut into blocks, each of them compared with the others.\n" in result.stderr
    )


def follow(source: str = "log.csv") -> tuple[str, ...]:
    return (
        *("detect", CKPT, "--data", source, "--out", "scores.csv", "--false-alarms", "1/2000", "--follow"),
        *("--idle-timeout", "0"),
    )


def batch_rows(frame: pd.DataFrame) -> pd.DataFrame:
    frame.drop(columns="anomaly", errors="ignore").to_csv("batch.csv", index=False)
    words = ("detect", CKPT, "--data", "batch.csv", "--out", "batch/scores.parquet", "--false-alarms", "1/2000")
    found(*words, "--overwrite")
    return pd.read_parquet("batch/scores.parquet")


def same_events(expected: str) -> None:
    """Check that events are those of a batch; a follower lists them as they end."""
    events = [pd.read_csv(path, parse_dates=["start", "end", "peak"]) for path in ("events.csv", expected)]
    pd.testing.assert_frame_equal(events[0].sort_values("event", ignore_index=True), events[1])


def same(frame: pd.DataFrame) -> None:
    """Check that what was followed is what a batch gives."""
    expected, followed = batch_rows(frame), pd.read_csv("scores.csv", parse_dates=["timestamp"])
    assert list(followed) == list(expected)
    assert followed["run"].tolist() == expected["run"].tolist()
    assert (followed["timestamp"] == expected["timestamp"]).all()
    for name in ("score", "score_flow", "score_level"):
        np.testing.assert_array_equal(followed[name].astype(np.float32), expected[name])
    np.testing.assert_array_equal(followed["event"], expected["event"].astype(float))
    same_events("batch/events.csv")


def test_following_gives_what_a_batch_gives() -> None:
    frame = pd.concat([log(500, seed=3, run="a"), faulty(seed=5)]).drop(columns="anomaly")
    frame.iloc[100:120, 2:] = np.nan
    frame.to_csv("log.csv", index=False)
    report = found(*follow())
    assert (report["rows"], report["f1"]) == (1100, None)
    same(frame)


def test_blanks_around_names_do_not_count() -> None:
    frame = faulty().drop(columns="anomaly")
    Path("log.csv").write_text(
        frame.to_csv(index=False).replace("run,timestamp,flow,level", "run, timestamp, flow , level")
    )
    # a checkpoint may hold names with blanks, as files of other kinds have them
    for words in ((), ("--id", " run")):
        assert found(*follow(), "--overwrite", *words)["rows"] == 600
        found(*WORDS, "--data", "log.csv", "--out", "other/scores.parquet", "--overwrite", *words)
        same_events("other/events.csv")
    same(frame)


def test_events_of_a_log_without_ids_have_none() -> None:
    faulty().drop(columns=["run", "anomaly"]).to_csv("log.csv", index=False)
    found(*follow(), "--id", "")
    found(*WORDS, "--data", "log.csv", "--id", "", "--out", "batch/scores.parquet")
    same_events("batch/events.csv")
    assert pd.read_csv("batch/events.csv")["id"].isna().all()


@pytest.mark.parametrize("cuts", [(7, 8, 450), (399, 405, 460)])
def test_appended_rows_are_scored_once_each(cuts: tuple[int, ...]) -> None:
    frame = faulty().drop(columns="anomaly")
    lines = frame.to_csv(index=False).splitlines(keepends=True)
    for start, stop in pairwise((0, *cuts, len(lines))):
        with open("log.csv", "a") as file:
            file.writelines(lines[start:stop])
        found(*follow())
    same(frame)


def test_machines_with_names_in_another_encoding_are_not_one() -> None:
    frame = pd.concat([log(40, 0, run="P\u00fcmpe"), log(40, 1, run="P\u00f6mpe")])
    frame.to_csv("log.csv", index=False, encoding="latin-1")
    assert "log.csv, line 2 is not UTF-8: export it as such" in refused(1, *follow())
    frame.to_csv("log.csv", index=False)
    found(*follow())
    same(frame)


def test_half_a_line_waits_for_the_rest() -> None:
    text = faulty().drop(columns="anomaly").to_csv(index=False)
    Path("log.csv").write_text(text[:10_000])
    found(*follow())
    Path("log.csv").write_text(text)
    found(*follow())
    same(faulty())


def test_what_was_written_behind_the_last_state_is_written_again() -> None:
    text = faulty().drop(columns="anomaly").to_csv(index=False)
    Path("log.csv").write_text(text[:20_000].rpartition("\n")[0] + "\n")
    found(*follow())
    state = Path(".scores.csv.state").read_bytes()
    Path("log.csv").write_text(text)
    found(*follow())
    # as if it had been killed between its files and its state
    Path(".scores.csv.state").write_bytes(state)
    found(*follow())
    same(faulty())


@pytest.mark.parametrize("name", ["scores.csv", "events.csv"])
def test_a_table_that_was_moved_away_is_not_gone_on_with(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = live_lines()
    Path("log.csv").write_text("".join(lines[:480]))

    def go_on() -> None:
        Path(name).rename("moved.csv")
        Path("log.csv").write_text("".join(lines))

    while_it_rests(monkeypatch, go_on)
    for _ in range(2):
        assert f"{name} has lost rows since it was written: put it back" in refused(1, *follow()[:-1], "1")
        assert Path(name).read_bytes() == b""
    Path("moved.csv").replace(name)
    assert found(*follow())["rows"] == 600
    same(faulty())


def test_many_runs_are_gone_on_with() -> None:
    # each has another number of rows of its last patches; one has none that make a patch
    frame = pd.concat([log(n, n, run) for run, n in zip("abcd", (100, 37, 3, 50), strict=True)])
    frame = frame.sort_values("timestamp", kind="stable")
    lines = frame.to_csv(index=False).splitlines(keepends=True)
    for stop in (1, 60, len(lines)):
        Path("log.csv").write_text("".join(lines[:stop]))
        found(*follow())
    same(frame)
    with np.load(io.BytesIO(Path(".scores.csv.state").read_bytes())) as state:
        assert len(state.files) == 4


def test_a_state_that_cannot_be_read_is_told() -> None:
    Path("log.csv").write_text("".join(live_lines()))
    found(*follow())
    state = Path(".scores.csv.state")
    content = state.read_bytes()
    with np.load(io.BytesIO(content)) as arrays:
        np.savez(other := io.BytesIO(), content=arrays["content"], rows0=arrays["rows"], last0=arrays["last"])
    for bad in (content[:1000], b"", other.getvalue()):
        state.write_bytes(bad)
        sentence = refused(1, *follow())
        assert ".scores.csv.state is damaged, or of another version: start anew with --overwrite, or name" in sentence
    found(*follow(), "--overwrite")
    same(faulty())


def test_standard_input_may_be_sent_again() -> None:
    text = faulty().drop(columns="anomaly").to_csv(index=False)
    half = text[:20_000].rpartition("\n")[0] + "\n"
    found(*follow("-"), text=half)
    assert found(*follow("-"), text=text)["rows"] == 600
    same(faulty())


SENT_AGAIN = {
    "from the start": [(0, 200), (0, 600)],
    "more than once": [(0, 1), (0, 200), (0, 50), (0, 600)],
    "the last part": [(0, 200), (200, 400), (200, 500), (200, 600)],
    "from the start, behind a part": [(0, 3), (3, 300), (0, 500), (3, 600)],
    "no part": [(0, 200), (200, 201), (201, 600)],
}


@pytest.mark.parametrize("parts", SENT_AGAIN.values(), ids=list(SENT_AGAIN))
def test_rows_without_times_that_are_sent_again_are_known(parts: list[tuple[int, int]]) -> None:
    frame = pd.concat([faulty().drop(columns="anomaly"), log(400, seed=3, run="c")]).sort_index(kind="stable")
    frame[:600].to_csv("log.csv", index=False)
    first, *lines = Path("log.csv").read_text().splitlines(keepends=True)
    for start, stop in parts:
        rows = found(*follow("-"), "--time", "", text="".join([first, *lines[start:stop]]))["rows"]
    assert rows == 600
    same_counted("--time", "")


def test_rows_without_times_that_are_skipped_are_told() -> None:
    lines = live_lines()
    found(*follow("-"), "--time", "", text="".join(lines[:201]))
    result = tsjepa(*follow("-"), "--time", "", text="".join(lines[:301]))
    assert "note: standard input begins as before: its first 200 rows are scored already.\n" in result.stderr


def test_rows_without_times_that_only_begin_as_those_that_are_scored_are_not_dropped() -> None:
    first, *lines = live_lines()
    still = [lines[0]] * 200  # of a machine in standby: more than what is kept of how they began
    assert len("".join(still)) > 4096
    found(*follow("-"), "--time", "", text="".join([first, *still, *lines[200:300]]))
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    sentence = refused(1, *follow("-"), "--time", "", text="".join([first, *still, *lines[300:400]]))
    assert "standard input begins as before, but goes on otherwise within what is scored already" in sentence
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
    assert found(*follow("-"), "--time", "", text="".join([first, *lines[300:400]]))["rows"] == 400


def test_a_state_from_before_standard_input_was_followed_without_times_is_gone_on_with() -> None:
    Path("log.csv").write_text("".join(live_lines()[:401]))
    found(*follow())
    state = Path(".scores.csv.state")
    with np.load(io.BytesIO(state.read_bytes())) as arrays:
        content = json.loads(arrays["content"].tobytes())
        others = {name: arrays[name] for name in arrays if name != "content"}
    del content["sent"]
    np.savez(other := io.BytesIO(), content=np.frombuffer(json.dumps(content).encode(), np.uint8), **others)
    state.write_bytes(other.getvalue())
    Path("log.csv").write_text("".join(live_lines()))
    assert found(*follow())["rows"] == 600
    same(faulty())


@pytest.mark.parametrize("end", ["b,2024-01-01 00:06:51,0.5,0.", "b,2024-01-01 00:0"])
def test_half_a_line_of_standard_input_is_read_again(end: str) -> None:
    frame = faulty().drop(columns="anomaly")
    frame.loc[411, CHANNELS] = 0.5
    lines = frame.to_csv(index=False).splitlines(keepends=True)
    assert lines[412].startswith(end)
    result = tsjepa(*follow("-"), text="".join([*lines[:412], end]))
    assert result.exit_code == 0, result.output
    assert ("the last line has no end and is not scored" in result.stderr) == (end[-2:] == ":0")
    assert found(*follow("-"), text="".join(lines))["rows"] == 600
    same(frame)


def test_following_starts_anew_behind_a_gap() -> None:
    frame = faulty()
    frame.loc[450:, "timestamp"] += pd.Timedelta("1h")
    frame.drop(columns="anomaly").to_csv("log.csv", index=False)
    found(*follow())
    same(frame)


def machines() -> pd.DataFrame:
    """Two machines whose rows alternate, each with two faults."""
    frames = [log(400, seed=3, run="a"), log(400, seed=4, run="b")]
    for frame, starts in zip(frames, ((120, 250), (100, 270)), strict=True):
        for start in starts:
            frame.loc[start : start + 30, "level"] = 3.0
    return pd.concat(frames).sort_values(["timestamp", "run"], ignore_index=True)


@pytest.mark.parametrize("cuts", [(), (250, 251, 310, 520), (211, 560)])
def test_events_of_several_machines_have_the_same_numbers_whatever_the_pieces(cuts: tuple[int, ...]) -> None:
    lines = machines().to_csv(index=False).splitlines(keepends=True)
    for start, stop in pairwise((0, *cuts, len(lines))):
        with open("log.csv", "a") as file:
            file.writelines(lines[start:stop])
        found(*follow())
    events, scores = pd.read_csv("events.csv"), pd.read_csv("scores.csv")
    assert events["event"].tolist() == [1, 2, 3, 4]
    assert events["id"].tolist() == ["b", "a", "a", "b"]
    first = scores.dropna(subset="event").drop_duplicates("event")
    assert first["event"].tolist() == [1, 2, 3, 4]
    assert first["run"].tolist() == events["id"].tolist()
    assert first["timestamp"].tolist() == events["start"].tolist()
    same(machines())


def test_a_follower_says_that_no_row_has_a_score() -> None:
    log(100, seed=3).assign(level="").to_csv("log.csv", index=False)
    result = tsjepa(*follow())
    assert result.exit_code == 0, result.output
    assert "no row has a score yet: a score needs every channel in the 32 rows before it" in result.stderr


def test_a_follower_does_not_go_on_with_other_gaps() -> None:
    Path("log.csv").write_text("".join(live_lines()[:60]))
    found(*follow())
    assert "made with another checkpoint, normal data, budget, --max-gap or log" in refused(
        2, *follow(), "--max-gap", "3"
    )


def live_lines() -> list[str]:
    return faulty().drop(columns="anomaly").to_csv(index=False).splitlines(keepends=True)


def while_it_rests(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Do one step each time that a follower has nothing to read."""
    left = list(steps)
    monkeypatch.setattr(detect_tail.time, "sleep", lambda _: left.pop(0)() if left else None)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_rotated_log_is_followed(restarted: bool, header: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = live_lines()
    Path("log.csv").write_text("".join(lines[:420]))

    def rotate() -> None:
        Path("log.csv.1").write_text("".join(lines[:430]))
        Path("log.csv").write_text("".join([*lines[:header], *lines[430:]]))

    if restarted:
        found(*follow())
        rotate()
    else:
        while_it_rests(monkeypatch, rotate)
    assert found(*follow()[:-1], "1")["rows"] == 600
    same(faulty())


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("b,2024-01-01 00:06:51,0.5,0.5\n", "line 414: there is a row in b at 2024-01-01 00:06:51 already"),
        ("b,2024-01-01 00:06:40,0.5,0.5\n", "line 414: time runs backwards in b"),
        ("b,2024-01-01 00:06:52,much,0.5\n", "line 414: 'much' is no number"),
        ("b,2024-01-01 00:06:52\n", "line 414 has 2 values, and the first line names 4"),
        ("b,2024-01-01 00:06:52,0,5,0,5\n", "line 414 has 6 values, and the first line names 4"),
    ],
)
def test_rows_before_a_bad_line_are_scored(bad: str, sentence: str) -> None:
    lines = live_lines()
    Path("log.csv").write_text("".join([*lines[:413], bad, *lines[413:], "and,another\n"]))
    for _ in range(2):
        assert sentence in refused(1, *follow())
        assert pd.read_csv("scores.csv")["timestamp"].iloc[-1] == "2024-01-01 00:06:51"
    Path("log.csv").write_text("".join(lines))
    found(*follow())
    same(faulty())


def test_a_last_line_without_an_end_is_scored_and_may_go_on() -> None:
    text = "".join(live_lines()).rstrip("\n")
    Path("log.csv").write_text(text[:-3])
    assert found(*follow())["rows"] == 600
    assert len(pd.read_csv("scores.csv")) == 600
    Path("log.csv").write_text(text)
    assert found(*follow())["rows"] == 600
    same(faulty())
    Path("log.csv").write_text(text + "\nb,2024-01")
    assert "the last line has no end and is not scored" in tsjepa(*follow()).stderr
    same(faulty())


def test_a_fault_is_an_event_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, seen = live_lines(), list[pd.DataFrame]()
    Path("log.csv").write_text("".join(lines[:480]))

    def go_on() -> None:
        seen.append(pd.read_csv("events.csv"))
        Path("log.csv").write_text("".join(lines[:490]))

    while_it_rests(monkeypatch, go_on, lambda: os.kill(os.getpid(), signal.SIGTERM))
    result = tsjepa(*follow()[:-2])
    assert (result.exit_code, "the same command goes on" in result.stderr) == (0, True)
    seen.append(pd.read_csv("events.csv"))
    assert seen[0]["end"].iloc[-1] == "2024-01-01 00:07:58"
    assert seen[1]["end"].iloc[-1] == "2024-01-01 00:08:08"
    Path("log.csv").write_text("".join(lines))
    found(*follow())
    same(faulty())


def test_a_signal_waits_for_the_end_of_a_step() -> None:
    done = []

    def step(stop: Stop) -> None:
        with stop.later():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(1)
        done.append(2)

    before = [signal.getsignal(each) for each in SIGNALS]
    with stoppable() as stop, pytest.raises(KeyboardInterrupt):
        step(stop)
    assert done == [1]
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("run,timestamp,flow\n", "log.csv has no column 'level', which the log of training had"),
        ("run,timestamp,sensor,value\n", "one value a line, in 'value', of the channel in 'sensor', which --follow"),
        (log(40, 0)[::-1].to_csv(index=False), "log.csv, line 3: time runs backwards in a"),
        (log(40, 0, step="2s").to_csv(index=False), "a has a row every 2 s, but the checkpoint was trained"),
        ("run,timestamp,flow,level\na,2024-01-01,1.0,much\n", "line 2: 'much' is no number"),
        ("run,timestamp,flow,level\na,2024-01-01,1.0,inf\n", "line 2: 'inf' is too large"),
        ("run,timestamp,flow,level\na,yesterday,1.0,2.0\n", "line 2: 'yesterday' is no time"),
        ("run,timestamp,flow,level\n,2024-01-01,1.0,2.0\n", "line 2: column 'run' is empty; fill it or take this line"),
        ("run,timestamp,flow,level\nNA,2024-01-01,1.0,2.0\n", "line 2: column 'run' is empty"),
        ("run,timestamp,flow,level\na,2024-01-01\n", "line 2 has 2 values, and the first line names 4"),
    ],
)  # fmt: skip
def test_bad_lines_are_told_in_a_sentence(text: str, sentence: str) -> None:
    Path("log.csv").write_text(text)
    assert sentence in refused(1, *follow())


def test_following_refuses_what_it_cannot_go_on_with() -> None:
    faulty().to_csv("log.csv", index=False)
    found(*follow())
    assert "start anew with --overwrite" in refused(2, *follow(), "--false-alarms", "1/100")
    text = Path("log.csv").read_text()
    Path("log.csv").write_text(text[:10_000])
    assert "log.csv is shorter than what was read of it before" in refused(1, *follow())
    Path("log.csv").write_text("run\n")
    assert "log.csv has no column 'timestamp' (--time)" in refused(1, *follow())
    assert "--reference-rows needs the whole log" in refused(2, *follow(), "--reference-rows", "100")


@pytest.mark.parametrize("words", [WORDS, follow()])
def test_events_that_another_command_wrote_meanwhile_are_kept(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty().drop(columns="anomaly").to_csv("log.csv", index=False)

    def written_meanwhile(*given: Any, **named: Any) -> Threshold:
        Path("events.csv").write_text("event\n")
        return fit_threshold(*given, **named)

    for module in (detect, detect_follow):
        monkeypatch.setattr(module, "fit_threshold", written_meanwhile)
    assert "events.csv belongs to other scores" in refused(2, *words)
    assert not Path("scores.parquet").exists()
    assert Path("events.csv").read_text() == "event\n"
