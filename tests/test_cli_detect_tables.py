"""What `tsjepa detect` writes of what it found: scores in groups of rows, events with their scores, and a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import found, tsjepa
from detecting import SETTINGS, WORDS, faulty, follow, log, pretrained

from tsjepa.cli import detect_tables
from tsjepa.evaluation import detection_figure
from tsjepa.evaluation.detection_figure import Detection, draw

# so that there are several events
OFTEN = ("--false-alarms", "1/100")

pytestmark = pytest.mark.usefixtures("with_detector")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Detection]:
    """Return what is drawn in the test."""
    shown: list[Detection] = []

    def spy(detection: Detection, title: str) -> Any:
        shown.append(detection)
        return draw(detection, title)

    monkeypatch.setattr(detection_figure, "draw", spy)
    return shown


def test_no_row_is_lost_between_groups_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    found(*WORDS)
    whole = pd.read_parquet("scores.parquet")
    monkeypatch.setattr(detect_tables, "GROUP_ROWS", 7)
    assert found(*WORDS, "--overwrite")["rows"] == 1100
    assert pq.read_metadata("scores.parquet").num_row_groups == 158
    pd.testing.assert_frame_equal(pd.read_parquet("scores.parquet"), whole)


def test_an_event_has_the_highest_score_of_its_rows() -> None:
    found(*WORDS, *OFTEN)
    table, events = pd.read_parquet("scores.parquet"), pd.read_csv("events.csv")
    highest = table.groupby("event")["score"].max()
    assert len(highest) > 1
    np.testing.assert_allclose(events.set_index("event")["score"], highest, rtol=1e-5)


def test_a_picture_shows_the_channels_that_are_scored_and_where_events_are(drawn: list[Detection]) -> None:
    words = ("--config", "lewm-sensor", "--inputs", "flow", "--epochs", "4", "--data", "train.parquet", "--out", "told")
    assert tsjepa("pretrain", *words, *SETTINGS, "--device", "cpu").exit_code == 0
    report = found("detect", "told/checkpoint.ckpt", *WORDS[2:], *OFTEN, "--picture", "found.svg")
    table, log = (pd.read_parquet(name) for name in ("scores.parquet", "test.parquet"))
    table, log = (frame.sort_values("run", kind="stable", ignore_index=True) for frame in (table, log))
    events, shown = pd.read_csv("events.csv", parse_dates=["start", "end", "peak"]), drawn.pop()
    assert shown.names == ["level"]
    np.testing.assert_array_equal(shown.values, [log["level"]])
    np.testing.assert_array_equal(shown.score, table["score"])
    assert shown.threshold == report["threshold"]
    assert shown.abnormal is not None
    np.testing.assert_array_equal(shown.abnormal, log["anomaly"])
    assert (shown.x.tolist(), list(shown.runs)) == (list(range(1100)), [600])
    first, last = np.array(shown.events).T
    assert table["run"][first].tolist() == table["run"][last].tolist() == events["id"].tolist()
    assert table["timestamp"][first].tolist() == events["start"].tolist()
    assert table["timestamp"][last].tolist() == events["end"].tolist()
    assert (events["peak"] < events["end"]).any()


def test_a_picture_of_one_run_shows_its_times(drawn: list[Detection]) -> None:
    frame = faulty()
    frame.to_parquet("test.parquet", index=False)
    found(*WORDS, "--picture", "found.svg")
    np.testing.assert_array_equal(drawn[0].x, frame["timestamp"])
    np.testing.assert_array_equal(drawn[0].values, frame[drawn[0].names].T)


def test_of_many_channels_a_picture_shows_those_that_events_blame(
    drawn: list[Detection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect_tables, "DRAWN", 1)
    found(*WORDS, *OFTEN, "--picture", "found.svg")
    blamed = pd.read_csv("events.csv")["channels"].str.split(";").explode().value_counts()
    assert blamed["level"] > blamed["flow"]
    shown = drawn.pop()
    assert shown.names == ["level"]
    log = pd.read_parquet("test.parquet").sort_values("run", kind="stable")
    np.testing.assert_array_equal(shown.values, [log["level"]])
    assert "test.parquet (1 channel more, which events blame less)" in Path("found.svg").read_text()


@pytest.mark.parametrize("step", ["1s", "500ms"])
def test_a_batch_writes_times_of_events_as_its_log_and_a_follower_do(step: str) -> None:
    log(800, seed=1, step=step).to_parquet("train.parquet", index=False)
    pretrained()
    rows = faulty().assign(timestamp=log(600, seed=2, step=step)["timestamp"])
    rows.drop(columns="anomaly").to_csv("log.csv", index=False)
    found(*follow(), *OFTEN)
    found(*WORDS, *OFTEN, "--data", "log.csv", "--out", "batch/scores.parquet")
    header, *followed = Path("events.csv").read_text().splitlines()
    assert len(followed) > 1
    in_order = sorted(followed, key=lambda line: int(line.split(",")[0]))  # a follower lists them as they end
    assert Path("batch/events.csv").read_text().splitlines() == [header, *in_order]


def test_notes_name_a_file_once() -> None:
    Path("al").mkdir()
    rows = faulty().drop(columns="anomaly")
    rows.to_csv("al/today.csv", index=False, sep=";", decimal=",")
    said = tsjepa(*WORDS, "--data", "al/today.csv", "--id", "run", "--time", "timestamp").stderr
    assert "note: al/today.csv writes decimals with a comma" in said
    log(800, seed=1).to_csv("train.csv", index=False)
    words = ("--data", "train.csv", "--test", "al", "--config", "tiny", "--window", "32", "--epochs", "1")
    said = tsjepa("pretrain", *words, "--out", "two", "--device", "cpu").stderr
    assert "note: al/today.csv writes decimals with a comma" in said


@pytest.mark.parametrize("words", [(), ("--normal", "daily")])
def test_a_note_on_a_log_that_is_read_twice_is_said_once(words: tuple[str, ...]) -> None:
    Path("daily").mkdir()
    log(800, seed=1).to_csv("daily/today.csv", index=False, sep=";", decimal=",")
    pretrain = ("--config", "lewm-sensor", "--epochs", "1", "--data", "daily", *SETTINGS, "--out", "new")
    assert tsjepa("pretrain", *pretrain, "--device", "cpu").exit_code == 0
    result = tsjepa("detect", "new/checkpoint.ckpt", *WORDS[2:], "--data", "daily", *words)
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stderr.splitlines() if line.startswith("note:")]
    assert sum("daily/today.csv writes decimals with a comma" in note for note in notes) == 1
    assert len(set(notes)) == len(notes)
