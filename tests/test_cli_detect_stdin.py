"""A follower of standard input: what is sent again is known, and what only begins alike is not dropped."""

from pathlib import Path

import pandas as pd
import pytest
from command_line import found, tsjepa
from detecting import CHANNELS, faulty, follow, live_lines, log, refused, same, same_counted

from tsjepa.cli import detect_tail

pytestmark = pytest.mark.usefixtures("with_detector")


def test_standard_input_may_be_sent_again() -> None:
    text = faulty().drop(columns="anomaly").to_csv(index=False)
    half = text[:20_000].rpartition("\n")[0] + "\n"
    found(*follow("-"), text=half)
    assert found(*follow("-"), text=text)["rows"] == 600
    same(faulty())


def test_rows_that_come_again_behind_new_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect_tail, "CHUNK_BYTES", 1000)
    lines = live_lines()
    found(*follow("-"), text="".join(lines[:200]))
    sentence = refused(1, *follow("-"), text="".join([*lines[:300], lines[250]]))
    assert "error: -, line 301: time runs backwards in b" in sentence


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
