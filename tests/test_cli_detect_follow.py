"""`tsjepa detect --follow`: rows that are appended are scored once each, and as a batch scores them."""

import os
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import found, tsjepa
from detecting import (
    CONTEXT,
    WORDS,
    faulty,
    follow,
    live_lines,
    log,
    pretrained,
    pretrained_without,
    refused,
    same,
    same_counted,
    same_events,
    while_it_rests,
    write_numbered,
)

from tsjepa.cli.detect_stop import SIGNALS, Stop, stoppable

pytestmark = pytest.mark.usefixtures("with_detector")


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


@pytest.mark.parametrize("order", [["run", "timestamp"], ["timestamp", "run"]])
def test_ids_that_training_had_not_are_asked_for(order: list[str]) -> None:
    pretrained_without("run")
    frame = pd.concat([log(200, seed, run=run) for seed, run in enumerate("abc", 3)]).sort_values(order)
    frame.to_csv("log.csv", index=False)
    sentence = refused(1, *follow())
    assert "log.csv has a column 'run', which may tell runs apart, but the log of training has none" in sentence
    assert "name it by --id, or add --id '' if all rows are of one run" in sentence
    found(*follow(), "--id", "run")
    same(frame)


def test_ids_that_training_did_not_want_are_passed_over() -> None:
    log(800, seed=1).to_parquet("train.parquet", index=False)
    pretrained("--id", "")
    faulty().drop(columns="anomaly").to_csv("log.csv", index=False)
    found(*follow())
    found(*WORDS, "--data", "log.csv", "--out", "batch/scores.parquet")
    assert list(pd.read_csv("scores.csv"))[:2] == ["timestamp", "score"]
    same_events("batch/events.csv")


@pytest.mark.parametrize("name", ["timestamp", "Start date", "Zeitpunkt"])
def test_times_that_training_had_not_are_not_passed_over(name: str) -> None:
    pretrained_without("timestamp")
    frame = faulty().drop(columns="anomaly").rename(columns={"timestamp": name})
    frame.loc[200:, name] += pd.Timedelta("1h")
    frame.to_csv("log.csv", index=False)
    why = "the model was trained without times, by which --follow would know a gap: add --time '' to count rows, or"
    assert f"log.csv: {name!r} (--time) cannot be followed, since {why}" in refused(1, *follow(), "--time", name)
    sentence = refused(1, *follow())
    assert f"log.csv has a column {name!r}, which may hold times, but {why}" in sentence
    found(*follow(), "--time", "")
    same_counted("--time", "")


@pytest.mark.parametrize("cuts", [(), (0,), (300,), (300, 400)])
def test_a_date_in_a_later_row_of_another_column_is_passed_over(cuts: tuple[int, ...]) -> None:
    pretrained_without("timestamp")
    frame = log(600, seed=3).drop(columns="timestamp").assign(comment="ok")
    frame.loc[300:, "comment"] = "2024-01-01"
    lines = frame.to_csv(index=False).splitlines(keepends=True)
    for start, stop in pairwise((0, *(cut + 1 for cut in cuts), len(lines))):
        with open("log.csv", "a") as file:
            file.writelines(lines[start:stop])
        found(*follow())
    same_counted()


@pytest.mark.parametrize("known", ["", "\n", "\n\r\n"])
def test_a_date_in_the_first_row_of_another_column_is_refused(known: str) -> None:
    pretrained_without("timestamp")
    header, *rows = log(600, seed=3).drop(columns="timestamp").assign(comment="2024-01-01").to_csv(index=False).split()
    Path("log.csv").write_text(f"{header}\n{known}")
    found(*follow())
    Path("log.csv").write_text("\n".join([f"{header}\n{known}{rows[0]}", *rows[1:], ""]))
    assert "log.csv has a column 'comment', which may hold times" in refused(1, *follow())


@pytest.mark.parametrize("names", ["bc", "b"])
def test_where_there_is_no_time_rows_are_counted(names: str) -> None:
    other = log(200, seed=3, run="c", step="7s")
    other.loc[100:, "timestamp"] += pd.Timedelta("1h")
    frame = pd.concat([faulty().drop(columns="anomaly"), other]).sort_index(kind="stable")
    frame[frame["run"].isin([*names])].to_csv("log.csv", index=False)
    words = ("--time", "", *(("--id", "") if names == "b" else ()))
    found(*follow(), *words)
    same_counted(*words)


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


def test_following_starts_anew_behind_a_gap() -> None:
    frame = faulty()
    frame.loc[450:, "timestamp"] += pd.Timedelta("1h")
    frame.drop(columns="anomaly").to_csv("log.csv", index=False)
    found(*follow())
    same(frame)


def test_times_in_a_column_without_a_name_are_times() -> None:
    log(800, seed=1).drop(columns="run").set_index("timestamp").to_csv("train.csv", index_label="")
    assert "train.csv has no name for the column of times: it is called 'index'" in pretrained("--data", "train.csv")
    frame = faulty().drop(columns=["run", "anomaly"])
    frame.loc[450:, "timestamp"] += pd.Timedelta("1h")
    frame.set_index("timestamp").to_csv("log.csv", index_label="")
    found(*follow())
    same_counted()
    scores = pd.read_csv("scores.csv")
    assert next(iter(scores)) == "index"
    assert scores["score"][450 : 450 + CONTEXT - 1].isna().all()
    frame.to_csv("log.csv", index=False)
    assert "log.csv has no column 'index' (--time)" in refused(1, *follow(), "--out", "other/scores.csv")


@pytest.mark.parametrize("cuts", [(), (150,), (151,)])
@pytest.mark.parametrize("kind", ["datetime64[ns]", "int64"])
def test_times_in_nanoseconds_have_the_same_gaps_as_in_a_batch(kind: str, cuts: tuple[int, ...]) -> None:
    for name, seed in (("train.parquet", 1), ("test.parquet", 3)):
        frame = log(800, seed, step="10ms")
        # the longest step that is no gap, and one that is a little longer
        frame.loc[150:, "timestamp"] += pd.Timedelta("90ms")
        frame.loc[301:, "timestamp"] += pd.Timedelta("90ms")
        frame["timestamp"] = frame["timestamp"].astype("datetime64[ns]")
        frame.loc[501:, "timestamp"] += pd.Timedelta(90_000_001, "ns")
        frame["timestamp"] = frame["timestamp"].astype(kind)
        frame.to_parquet(name, index=False)
    words = ("--normal", "train.parquet")
    lines = frame.to_csv(index=False).splitlines(keepends=True)
    for start, stop in pairwise((0, *(cut + 1 for cut in cuts), len(lines))):
        with open("log.csv", "a") as file:
            file.writelines(lines[start:stop])
        found(*follow(), *words)
    found(*WORDS, *words, "--out", "batch/scores.parquet")
    followed, expected = pd.read_csv("scores.csv"), pd.read_parquet("batch/scores.parquet")
    assert expected["score"].isna().to_numpy().nonzero()[0].tolist() == [*range(31), *range(501, 532)]
    np.testing.assert_array_equal(followed["score"].astype(np.float32), expected["score"])


@pytest.mark.parametrize("cuts", [(), (300,), (301,)])
@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_a_gap_may_be_longer_by_less_than_the_unit_of_training(unit: str, cuts: tuple[int, ...]) -> None:
    train, frame = log(800, seed=1), log(600, seed=3)
    train["timestamp"] = train["timestamp"].astype(f"datetime64[{unit}]")
    train.to_parquet("train.parquet", index=False)
    frame["timestamp"] = frame["timestamp"].astype("datetime64[ns]")
    frame.loc[150:, "timestamp"] += pd.Timedelta("9s")
    frame.loc[300:, "timestamp"] += pd.Timedelta(9_000_000_400, "ns")
    lines = frame.to_csv(index=False).splitlines(keepends=True)
    words = ("--normal", "train.parquet")
    for start, stop in pairwise((0, *(cut + 1 for cut in cuts), len(lines))):
        with open("log.csv", "a") as file:
            file.writelines(lines[start:stop])
        found(*follow(), *words)
    same(frame, *words)
    unknown = pd.read_csv("scores.csv")["score"].isna().to_numpy()
    assert unknown.nonzero()[0].tolist() == [*range(31), *range(300, 331)]


@pytest.mark.parametrize(
    ("train", "test", "starts"),
    [("int64", "float64", (150, 300)), ("float64", "int64", (300,)), ("float64", "float64", (300,))],
)
def test_numbers_have_the_same_gaps_as_in_a_batch_however_they_are_written(
    train: str, test: str, starts: tuple[int, ...]
) -> None:
    write_numbered(train, test, {150: 101, 300: 102})
    words = ("--normal", "train.parquet")
    found(*follow(), *words)
    same_counted(*words)
    unknown = pd.read_csv("scores.csv")["score"].isna().to_numpy()
    assert unknown.nonzero()[0].tolist() == [at for start in (0, *starts) for at in range(start, start + 31)]


@pytest.mark.parametrize("max_gap", ["2.01", "2.11", "4.27"])
@pytest.mark.parametrize("unit", ["ms", "us"])
def test_a_step_as_long_as_a_limit_with_a_fraction_is_no_gap(unit: str, max_gap: str) -> None:
    train, frame = log(800, seed=1), log(600, seed=3)
    train["timestamp"] = train["timestamp"].astype(f"datetime64[{unit}]")
    train.to_parquet("train.parquet", index=False)
    frame["timestamp"] = frame["timestamp"].astype("datetime64[ns]")
    hole = pd.Timedelta(f"{max_gap}s") - pd.Timedelta("1s")
    frame.loc[150:, "timestamp"] += hole
    frame.loc[300:, "timestamp"] += hole + pd.Timedelta(1, "ns")
    frame.to_csv("log.csv", index=False)
    words = ("--normal", "train.parquet", "--max-gap", max_gap)
    found(*follow(), *words)
    same(frame, *words)
    unknown = pd.read_csv("scores.csv")["score"].isna().to_numpy()
    assert unknown.nonzero()[0].tolist() == [*range(31), *range(300, 331)]


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


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("b,2024-01-01 00:06:51,0.5,0.5\n", "line 414: there is a row in b at 2024-01-01 00:06:51 already"),
        ("b,2024-01-01 00:06:40,0.5,0.5\n", "line 414: time runs backwards in b; take this line out, or sort the log."),
        ("b,2024-01-01 00:06:52,much,0.5\n", "line 414: 'much' is no number"),
        ("b,2024-01-01 00:06:52\n", "line 414 has 2 values, and the first line names 4; mend it or take it out."),
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
        ("run,timestamp,flow\n", "no column 'level'; it has 'run', 'timestamp', 'flow'; it is one of the channels"),
        ("run,timestamp, Sensor ,value\n", "one value a line, in 'value', of the channel in 'Sensor', which --follow"),
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
