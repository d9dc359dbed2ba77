"""A follower that is started again: goes on from its state and tables, with rotated logs, and not with another."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import found, tsjepa
from detecting import faulty, follow, live_lines, log, refused, same, while_it_rests

from tsjepa.cli import detect_follow
from tsjepa.thresholds import Threshold, fit_threshold

pytestmark = pytest.mark.usefixtures("with_detector")


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


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("b,2024-01-01 00:09:59,0.5,true", "column 'level' holds 'true', and held numbers before; mend it"),
        ("b,2024-01-01 00:09:59Z,0.5,0.5", "'2024-01-01 00:09:59Z' has a UTC offset, and times before it have none"),
    ],
)
def test_what_columns_hold_is_known_to_the_next_follower(row: str, sentence: str) -> None:
    lines = live_lines()[:-1]
    Path("log.csv").write_text("".join(lines))
    found(*follow())
    Path("log.csv").write_text("".join([*lines, f"{row}\n"]))
    assert f"log.csv, line 601: {sentence}" in refused(1, *follow())
    Path("log.csv").write_text("".join(live_lines()))
    found(*follow())
    same(faulty())


def in_other_formats(content: bytes) -> Iterator[bytes]:
    """Yield states that lack what a follower keeps, an array, something of the log or of a run, or have other types."""
    with np.load(io.BytesIO(content)) as arrays:
        held = dict(arrays)
    plain = json.loads(held["content"].tobytes())
    lacking = [{key: value for key, value in plain.items() if key != name} for name in ("file", "sent", "kinds")]
    runs = [(name, {key: value for key, value in run.items() if key != "time"}) for name, run in plain["runs"]]
    names = ("kinds", "sizes", "head", "offset", "rows", "runs")
    other = [None, [plain], *(plain | {name: value} for name in names for value in (None, ["x"]))]
    other += [plain | {"runs": [(name, run | {key: None}) for name, run in plain["runs"]]} for key in ("rows", "shown")]
    states = [
        {"content": np.frombuffer(json.dumps(each).encode(), np.uint8)}
        for each in (*lacking, plain | {"runs": runs}, *other)
    ]
    for state in (*(held | other for other in states), {name: held[name] for name in held if name != "lengths"}):
        np.savez(stream := io.BytesIO(), **state)
        yield stream.getvalue()


def test_a_state_that_cannot_be_read_is_told() -> None:
    Path("log.csv").write_text("".join(live_lines()))
    found(*follow())
    state = Path(".scores.csv.state")
    content = state.read_bytes()
    for bad in (content[:1000], b"", *in_other_formats(content)):
        state.write_bytes(bad)
        sentence = refused(1, *follow())
        assert ".scores.csv.state is damaged, or of another version: start anew with --overwrite, or name" in sentence
    found(*follow(), "--overwrite")
    same(faulty())


def test_a_follower_does_not_go_on_with_other_gaps() -> None:
    Path("log.csv").write_text("".join(live_lines()[:60]))
    found(*follow())
    assert "made with another checkpoint, normal data, budget, --max-gap or log" in refused(
        2, *follow(), "--max-gap", "3"
    )


def test_a_follower_whose_version_finds_another_threshold_says_that_it_may_be_the_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("log.csv").write_text("".join(live_lines()[:60]))
    found(*follow())

    def other(*given: Any) -> Threshold:
        threshold = fit_threshold(*given)
        return threshold._replace(value=threshold.value + 0.001)

    monkeypatch.setattr(detect_follow, "fit_threshold", other)
    assert "or by another version of tsjepa: start anew with --overwrite" in refused(2, *follow())


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


@pytest.mark.parametrize("known", [0, 1])
def test_a_log_that_was_rotated_before_a_row_of_it_was_read_is_followed(known: int) -> None:
    lines = live_lines()
    Path("log.csv").write_text("".join(lines[:known]))
    assert found(*follow())["rows"] == 0
    Path("log.csv").write_text("".join(lines[:430]))
    Path("log.csv").rename("log.csv.1")
    Path("log.csv").write_text("".join([lines[0], *lines[430:]]))
    assert found(*follow())["rows"] == 600
    same(faulty())


@pytest.mark.parametrize("restarted", [True, False])
def test_a_first_row_without_an_end_is_kept_as_its_log_is_rotated(
    restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = live_lines()
    Path("log.csv").write_text("".join(lines[:2]).rstrip("\n"))

    def rotate() -> None:
        Path("log.csv").rename("log.csv.1")
        Path("log.csv").write_text("".join([lines[0], *lines[2:]]))

    if restarted:
        assert found(*follow())["rows"] == 1
        rotate()
    else:
        while_it_rests(monkeypatch, rotate)
    assert found(*follow()[:-1], "1")["rows"] == 600
    same(faulty())


def test_a_follower_goes_on_before_a_rotated_log_is_written_again() -> None:
    lines = live_lines()
    Path("log.csv").write_text("".join(lines[:420]))
    found(*follow())
    Path("log.csv").rename("log.csv.1")
    with open("log.csv.1", "a") as file:
        file.writelines(lines[420:430])
    assert found(*follow())["rows"] == 429
    Path("log.csv").write_text("".join([lines[0], *lines[430:]]))
    assert found(*follow())["rows"] == 600
    same(faulty())
    for path in Path().glob("log.csv*"):
        path.unlink()
    assert "log.csv is no file: --follow reads a CSV file" in refused(1, *follow())
    assert "log.csv is no file: --follow reads a CSV file" in refused(1, *follow(), "--overwrite")


@pytest.mark.parametrize("source", ["log.csv", "-"])
def test_half_a_header_waits_for_the_rest(source: str) -> None:
    text = "".join(live_lines())
    for part in (text[:10], text[: text.index("\n")], text):
        Path("log.csv").write_text(part)
        result = tsjepa(*follow(source), text=part)
        assert result.exit_code == 0, result.output
        assert ("note: the last line has no end and is not scored" in result.stderr) == (part != text)
    same(faulty())


def test_half_a_row_of_a_new_log_without_header_waits_for_the_rest() -> None:
    lines = live_lines()
    Path("log.csv").write_text("".join(lines[:420]))
    found(*follow())
    Path("log.csv").rename("log.csv.1")
    Path("log.csv").write_text(lines[420][:6])
    assert found(*follow())["rows"] == 419
    Path("log.csv").write_text("".join(lines[420:]))
    assert found(*follow())["rows"] == 600
    same(faulty())


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


def test_a_follower_does_not_go_on_with_another_log_or_other_columns() -> None:
    for name in ("log.csv", "other.csv"):
        Path(name).write_text("".join(live_lines()[:60]))
    found(*follow())
    for words in (follow("other.csv"), (*follow(), "--id", "")):
        assert "made with another checkpoint, normal data, budget, --max-gap or log" in refused(2, *words)


def test_a_rotated_log_may_have_its_columns_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = live_lines()
    columns = lines[0].rstrip("\n").split(",")
    other = faulty().to_csv(columns=columns[::-1], index=False).splitlines(keepends=True)
    Path("log.csv").write_text("".join(lines[:420]))

    def rotate() -> None:
        Path("log.csv").rename("log.csv.1")
        Path("log.csv").write_text("".join([other[0], *other[420:]]))

    while_it_rests(monkeypatch, rotate)
    assert found(*follow()[:-1], "1")["rows"] == 600
    same(faulty())


def test_the_first_rows_of_a_run_tell_its_step_to_the_next_follower() -> None:
    lines = log(40, 0, step="2s").to_csv(index=False).splitlines(keepends=True)
    Path("log.csv").write_text("".join(lines[:21]))
    found(*follow())
    Path("log.csv").write_text("".join(lines))
    assert "a has a row every 2 s" in refused(1, *follow())
