"""`tsjepa detect` on a whole log: its table of scores, its events, its rates, and its picture."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from command_line import found, tsjepa
from detecting import CHANNELS, CKPT, CONTEXT, PATCH, SETTINGS, WORDS, faulty, follow, log, refused

from tsjepa.checkpoint import load_checkpoint
from tsjepa.cli import detect
from tsjepa.cli.render import show_detect
from tsjepa.cli.report import DetectReport
from tsjepa.evaluation import detection_figure
from tsjepa.stream import score_series
from tsjepa.surprise import fit_scorer
from tsjepa.world import WorldModel

pytestmark = pytest.mark.usefixtures("with_detector")


def test_table_has_one_row_a_row_of_the_log_in_its_order() -> None:
    assert list(found(*WORDS)) == ["rows", "events", "threshold", "false_alarm_budget", "f1", "far", "mar"]
    table, source = pq.read_table("scores.parquet"), pq.read_table("test.parquet")
    assert table.column_names == ["run", "timestamp", "score", "event", "score_flow", "score_level"]
    assert table["run"].to_pylist() == source["run"].to_pylist()  # c comes before b
    assert table["timestamp"].equals(source["timestamp"])
    assert (str(table["score"].type), str(table["event"].type)) == ("float", "int64")


@pytest.mark.parametrize("as_text", [False, True])
def test_times_with_a_zone_are_written_in_utc(as_text: bool) -> None:
    frame = faulty()
    local = frame["timestamp"].dt.tz_localize("Europe/Berlin")
    text = frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S+01:00")  # Berlin's offset in January
    frame.assign(timestamp=text if as_text else local).to_parquet("test.parquet", index=False)
    found(*WORDS)
    times = pq.read_table("scores.parquet")["timestamp"]
    assert str(times.type) == "timestamp[us, tz=UTC]"
    assert (times.to_pandas() == local).all()
    events = pd.read_csv("events.csv")
    assert events["start"].str.endswith("Z").all()
    assert pd.to_datetime(events["start"]).isin(local).all()


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


def test_the_next_command_scores_another_log() -> None:
    log(800, seed=1).to_csv("train.csv", index=False)
    words = ("--config", "lewm-sensor", "--epochs", "1", *SETTINGS, "--overwrite", "--out", "run", "--device", "cpu")
    for name in ("train.parquet", "train.csv"):
        result = tsjepa("pretrain", *words, "--data", name)
        kind = Path(name).suffix
        assert f"next: tsjepa detect run/checkpoint.ckpt --data NEW{kind} --out run/scores.parquet" in result.stdout
        assert f"pretraining on train, 1 epoch: 193 series, 2 channels, {CONTEXT} time points" in result.stderr


def test_one_event_in_one_row_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    for number, words in ((1, "1 event in 1 row:"), (2, "2 events in 2 rows:")):
        show_detect(DetectReport(number, number, 1.0, "1/day", None, None, None, 1.0, Path("scores.parquet")))
        assert capsys.readouterr().out.startswith(words)


def test_rates_are_shown_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    show_detect(DetectReport(9, 2, 1.0, "1/day", 0.5, 0.25, 0.125, 1.0, Path("s.parquet")))
    line = "2 events in 9 rows, F1 0.500, false alarms 0.250, missed 0.125: s.parquet (1.0 s)\n"
    assert capsys.readouterr().out == line


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


def test_scores_start_anew_behind_a_gap_in_time() -> None:
    frame = log(600, seed=3)
    frame.loc[300:, "timestamp"] += pd.Timedelta("1h")
    frame.to_parquet("test.parquet", index=False)
    found(*WORDS)
    table = pd.read_parquet("scores.parquet")
    assert table["score"].isna().to_numpy().nonzero()[0].tolist() == [*range(31), *range(300, 331)]
    found(*WORDS, "--overwrite", "--max-gap", "2h")
    assert pd.read_parquet("scores.parquet")["score"].isna().sum() == 31


def test_scores_are_the_same_however_many_rows_are_scored_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found(*WORDS)
    expected = pd.read_parquet("scores.parquet")
    monkeypatch.setattr(detect, "PIECE", 50)
    found(*WORDS, "--overwrite")
    pd.testing.assert_frame_equal(pd.read_parquet("scores.parquet"), expected)


@pytest.mark.parametrize(("units", "step"), [("ns ns", "1s"), ("us ns", "100ms")])
def test_the_longest_step_that_is_no_gap_is_none_in_any_unit(units: str, step: str) -> None:
    for name, unit, seed in zip(("train.parquet", "test.parquet"), units.split(), (1, 3), strict=True):
        frame = log(600, seed, step=step)
        frame.loc[300:, "timestamp"] += 9 * pd.Timedelta(step)
        frame["timestamp"] = frame["timestamp"].astype(f"datetime64[{unit}]")
        frame.to_parquet(name, index=False)
    words = ("--normal", "train.parquet")
    found(*WORDS, *words)
    expected = pd.read_parquet("scores.parquet")["score"]
    assert expected.isna().sum() == 31
    frame.to_csv("log.csv", index=False)
    found(*follow(), *words, "--out", "followed/scores.csv")
    np.testing.assert_array_equal(pd.read_csv("followed/scores.csv")["score"].astype(np.float32), expected)


@pytest.mark.parametrize("name", ["found.png", "found.svg"])
def test_picture_is_drawn(name: str) -> None:
    found(*WORDS, "--picture", name)
    content = Path(name).read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" if name.endswith("png") else b"<svg" in content


def test_a_picture_is_told_of_gaps_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = list[detection_figure.Detection]()
    draw = detection_figure.draw
    monkeypatch.setattr(detection_figure, "draw", lambda found, title: drawn.append(found) or draw(found, title))
    frame = log(500, seed=3, run="a")
    frame.loc[300:, "timestamp"] += pd.Timedelta("1h")
    pd.concat([frame, faulty()]).to_parquet("test.parquet", index=False)
    found(*WORDS, "--picture", "found.png")
    assert [drawn[0].runs, drawn[0].breaks] == [[500], [300, 500]]


@pytest.mark.parametrize("trained", [None, "run"])
def test_files_of_one_machine_each_are_told_apart(trained: str | None) -> None:
    for folder in ("machines", "normal"):
        Path(folder).mkdir()
        for seed, name in enumerate("AB"):
            frame = log(300, seed).drop(columns="run")
            frame.loc[200:220, "level"] += 3.0 * (name == "B" and folder == "machines")
            frame.to_csv(f"{folder}/{name}.csv", index=False)
    content = torch.load(CKPT, weights_only=True)
    content["tsjepa"]["config"]["log"]["id"] = trained  # None as if it had been trained on such files
    torch.save(content, CKPT)
    result = tsjepa(*WORDS, "--data", "machines", "--normal", "normal")
    assert result.exit_code == 0, result.output
    for folder in ("machines", "normal"):
        note = "no id column: each file is one series, its path below the folder of all is the id"
        assert f"{folder}: {note}" in result.stderr
    assert f"from {2 * (300 - CONTEXT + 1)} normal rows" in result.stderr
    table = pd.read_parquet("scores.parquet")
    assert list(table)[:3] == ["id", "timestamp", "score"]
    assert table["id"].tolist() == ["A.csv"] * 300 + ["B.csv"] * 300
    assert "B.csv" in pd.read_csv("events.csv")["id"].tolist()


def test_ids_that_a_flag_names_or_that_one_of_many_files_has_are_not_those_of_files() -> None:
    Path("machines").mkdir()
    log(300, 0).drop(columns="run").to_csv("machines/A.csv", index=False)
    assert "A.csv has no column 'run' (--id); it has" in refused(1, *WORDS, "--data", "machines")
    log(300, 1).to_csv("machines/B.csv", index=False)
    assert "A.csv has no column 'run'" in refused(1, *WORDS, "--data", "machines")
    log(300, 1).drop(columns="run").to_csv("machines/B.csv", index=False)
    assert "A.csv has no column 'unit' (--id); it has" in refused(1, *WORDS, "--data", "machines", "--id", "unit")
    assert "there are two rows at 2024-01-01" in refused(1, *WORDS, "--data", "machines", "--id", "")
