"""A build that is killed goes on where it was, and ends with the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest

from tsjepa.datasets import DataError
from tsjepa.datasets.log_sort import sorted_blocks
from tsjepa.datasets.log_store import Column, Field, RowFiles
from tsjepa.datasets.logs import Columns, Windowing, load_log

PROGRAM = """
import os, signal, sys
from tsjepa.datasets import log_place
from tsjepa.datasets.logs import Windowing, load_log
log_place.JOURNAL_BYTES = 0
source, cache, phase, calls = sys.argv[1:]
left = int(calls)

def die(name, done, total):
    global left
    left -= name == phase
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

load_log(source, windowing=Windowing(7, 3, resample="2s"), cache_dir=cache, progress=die)
"""


@pytest.fixture(autouse=True)
def _small_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_place.JOURNAL_BYTES", 0)
    monkeypatch.setattr(os, "fsync", lambda file: None)


def make_log(folder: Path, order: str) -> Path:
    random = np.random.default_rng(0)
    time = pd.date_range("2026-03-01", periods=50, freq="1s", unit="us")
    values = random.standard_normal((200, 2)).astype("f4")
    values[random.random((200, 2)) < 0.1] = np.nan
    log = pd.DataFrame({"unit": np.repeat(list("abcd"), 50), "time": np.tile(time, 4)})
    log = log.assign(flow=values[:, 0], volt=values[:, 1], label=random.choice(["0", "1"], 200))
    if order == "shuffled":
        log = log.sample(frac=1, random_state=0)
    (folder / "log").mkdir()
    for number in range(5):
        log.iloc[40 * number : 40 * number + 40].to_parquet(folder / f"log/{number}.parquet", index=False)
    return folder / "log"


def arrays(cache: Path) -> dict[str, bytes]:
    """Return what a finished cache holds."""
    assert not list(cache.rglob("*.partial"))
    assert not list(cache.rglob("*.tmp"))
    return {str(path.relative_to(cache)): path.read_bytes() for path in sorted(cache.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("order", "phase", "calls"),
    [
        ("sorted", "checking", 2),
        ("sorted", "reading", 3),
        ("sorted", "resampling", 0),
        ("sorted", "cutting", 0),
        ("shuffled", "reading", 2),
        ("shuffled", "sorting", 2),
    ],
)
def test_a_killed_build_ends_with_the_same_bytes(tmp_path: Path, order: str, phase: str, calls: int) -> None:
    log = make_log(tmp_path, order)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    windowing = Windowing(7, 3, resample="2s")
    load_log(log, windowing=windowing, cache_dir=whole)
    command = [sys.executable, "-P", "-c", PROGRAM, str(log), str(broken), phase, str(calls)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    seen: list[str] = []
    load_log(log, windowing=windowing, cache_dir=broken, progress=lambda name, done, total: seen.append(name))
    assert arrays(broken) == arrays(whole)
    if phase == "sorting":
        assert seen.count("sorting") == 4 - calls
    elif phase == "reading":
        assert seen.count("reading") == 5 - calls


def stopped_while_sorting(log: Path, cache: Path) -> None:
    """Begin a cache of a log, and stop when two ids are sorted."""
    left = [2]

    def stop(name: str, done: int, total: int) -> None:
        left[0] -= name == "sorting"
        if left[0] < 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_log(log, windowing=Windowing(7), cache_dir=cache, progress=stop)


def test_a_build_that_an_earlier_version_began_goes_on(tmp_path: Path) -> None:
    log = make_log(tmp_path, "shuffled")
    for path in log.iterdir():
        pd.read_parquet(path).assign(dead=np.nan).to_parquet(path, index=False)
    stopped_while_sorting(log, tmp_path / "broken")
    (journal,) = (tmp_path / "broken").rglob("sorted.json")
    held = {"low": [None], "high": [None], "missing": 50}  # which was kept there, too
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"summary": held}))
    found, expected = (load_log(log, windowing=Windowing(7), cache_dir=tmp_path / name) for name in ("broken", "whole"))
    assert found.notes == expected.notes
    assert any("dead" in note for note in found.notes)


def test_what_was_sorted_of_another_state_of_a_file_is_not_gone_on_with(tmp_path: Path) -> None:
    log = make_log(tmp_path, "shuffled")
    stopped_while_sorting(log, tmp_path / "broken")
    for path in log.iterdir():
        table = pd.read_parquet(path)
        table.assign(flow=-table["flow"]).to_parquet(path, index=False)
        os.utime(path, (0, 0))
    found, expected = (load_log(log, windowing=Windowing(7), cache_dir=tmp_path / name) for name in ("broken", "whole"))
    every = np.arange(expected.n_cases)
    np.testing.assert_array_equal(found.take(every).values, expected.take(every).values)


def test_a_finished_cache_is_opened_at_once(tmp_path: Path) -> None:
    log, seen = make_log(tmp_path, "sorted"), []
    for _ in range(2):
        load_log(log, windowing=Windowing(7), cache_dir=tmp_path / "cache", progress=lambda *call: seen.append(call))
    assert len(seen) == 5 + 5 + 1
    assert seen[-1] == ("cutting", 200, 200)


def test_two_builders_wait_for_each_other(tmp_path: Path) -> None:
    log, cache = make_log(tmp_path, "sorted"), tmp_path / "cache"
    load_log(log, windowing=Windowing(7), cache_dir=cache)
    shutil.rmtree(next(path for path in cache.iterdir() if path.is_dir()))
    other, told = filelock.FileLock(next(cache.glob("*.lock"))), []

    def release(note: str) -> None:
        told.append(note)
        other.release()

    with other:
        assert load_log(log, windowing=Windowing(7), cache_dir=cache, announce=release).n_cases == 32
    assert len(told) == 1
    assert told[0].endswith("waiting for it")


def test_a_changed_file_makes_a_new_cache_in_place_of_the_old(tmp_path: Path) -> None:
    log, cache = make_log(tmp_path, "sorted"), tmp_path / "cache"
    before = load_log(log, windowing=Windowing(7), cache_dir=cache).n_cases
    table = pd.read_parquet(log / "4.parquet")
    table.iloc[:-10].to_parquet(log / "4.parquet", index=False)
    after = load_log(log, windowing=Windowing(7), cache_dir=cache).n_cases
    assert (before, after) == (32, 30)
    assert len(list(cache.glob("*/manifest.json"))) == 1


def test_a_file_of_the_same_size_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    for at, value in enumerate((1.0, 2.0)):
        pd.DataFrame({"time": range(4), "flow": value}).to_csv(log, index=False)
        os.utime(log, (at, at))
        found = load_log(log, windowing=Windowing(4), cache_dir=tmp_path / "cache")
        assert found.take(np.array([0])).values.tolist() == [[[value] * 4]]


@pytest.mark.parametrize("kind", ["label", "group"])
def test_a_cache_of_other_columns_is_not_read(tmp_path: Path, kind: str) -> None:
    log = pd.DataFrame({"unit": list("aabb"), "time": [0, 1, 0, 1], "flow": 1.0, "p": list("xxyy"), "q": list("uuvv")})
    log.to_csv(tmp_path / "log.csv", index=False)
    for name in "pq":
        columns = replace(Columns("unit", "time", ("flow",)), **{kind: name})
        found = load_log(tmp_path / "log.csv", columns, Windowing(2), cache_dir=tmp_path / "cache")
        assert found.index()[kind].to_pylist() == log[name][::2].tolist()


def test_one_cache_gives_whatever_windows_are_asked_for(tmp_path: Path) -> None:
    time = pd.Timestamp("2024-01-01") + pd.to_timedelta(2 * np.cumsum([1, 1, 1, 5, 1, 1, 1, 1, 1, 20, 1, 1]), unit="s")
    log = pd.DataFrame({"time": time, "flow": np.arange(12.0), "label": ["0", "1", "0", "2"] * 3})
    log.to_csv(tmp_path / "log.csv", index=False)
    rows, grid = Windowing(4), Windowing(4, resample="1s")
    ways = [rows, replace(rows, stride=2), replace(rows, max_gap=3), replace(rows, max_gap=30)]
    ways += [replace(rows, window_label="any"), replace(rows, window_label="majority")]
    ways += [grid, replace(grid, fill="previous"), replace(grid, max_gap=30)]
    for at, windowing in enumerate(ways):
        found, expected = (
            load_log(tmp_path / "log.csv", windowing=windowing, cache_dir=tmp_path / name) for name in ("one", str(at))
        )
        assert found.index().equals(expected.index())
        every = np.arange(expected.n_cases)
        np.testing.assert_array_equal(found.take(every).values, expected.take(every).values)


def test_rows_are_sorted_with_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_sort.SORT_BYTES", 90 * 20)
    random = np.random.default_rng(0)
    time = random.permutation(np.repeat(np.arange(700), 2))
    block = {"time": time, "values": random.standard_normal((1400, 3)).astype("f4")}
    fields = {"time": Field("int64"), "values": Field("float32", 3)}
    with RowFiles(tmp_path / "rows", fields) as rows:
        rows.write(0, block)
        found = list(sorted_blocks(rows, 100, 1400, tmp_path / "runs"))
    order = 100 + np.argsort(time[100:], kind="stable")
    np.testing.assert_array_equal(np.concatenate([part["time"] for part in found]), time[order])
    np.testing.assert_array_equal(np.concatenate([part["values"] for part in found]), block["values"][order])
    assert max(len(part["time"]) for part in found) <= 180
    assert all(a["time"][-1] < b["time"][0] for a, b in pairwise(found))


def test_rows_at_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(1000, dtype="f4").reshape(500, 2)
    values.tofile(tmp_path / "values")
    read = Column(tmp_path / "values", Field("float32", 2))
    index, lengths = np.array([499, 3, 3]), np.array([1, 3, 2])
    for _ in range(2):
        np.testing.assert_array_equal(read.mapped(500)[index], values[index])
        np.testing.assert_array_equal(read.rows(index), values[index])
        np.testing.assert_array_equal(read.slice(3, 3), values[3:3])
        np.testing.assert_array_equal(read.slice(3, 500), values[3:])
        for run, first, length in zip(read.runs(index, lengths, 3), index, lengths, strict=True):
            np.testing.assert_array_equal(run[:length], values[first : first + length])
        monkeypatch.delattr(os, "preadv", raising=False)
    with pytest.raises(DataError, match="shorter than it should be"):
        read.rows(np.array([500]))
    with pytest.raises(DataError, match="shorter than it should be"):
        Column(tmp_path / "values", Field("float32", 2)).mapped(501)


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="files are read otherwise here")
def test_rows_that_are_neighbours_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, read, asked = np.arange(500), os.preadv, list[int]()
    values.tofile(tmp_path / "values")
    monkeypatch.setattr(os, "preadv", lambda file, views, at: asked.append(at // 8) or read(file, views, at))
    rows = Column(tmp_path / "values", Field("int64"))
    for index in ([3, 4, 5, 9, 8, 8, 9, 10], [0], []):
        np.testing.assert_array_equal(rows.rows(np.array(index, np.int64)), index)
    assert asked == [3, 9, 8, 8, 0]
