"""Stretches, windows over them, and grids, against plain loops."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steady_logs import saved, steady

from tsjepa.datasets.log_cache import RowStore
from tsjepa.datasets.log_cut import Cut, Describe, Segments, cut, segments
from tsjepa.datasets.log_grid import resampled
from tsjepa.datasets.log_normal import normal_codes
from tsjepa.datasets.log_runs import load_runs
from tsjepa.datasets.log_store import Field, RowFiles
from tsjepa.datasets.log_time import gap_limits
from tsjepa.datasets.log_types import TimeKind
from tsjepa.datasets.logs import Windowing, load_log


@settings(deadline=None)
@given(
    rows=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    window=st.integers(1, 12),
    stride=st.integers(1, 15),
    at_most=st.integers(1, 9),
)
def test_windows_leave_no_row_out(rows: list[int], window: int, stride: int, at_most: int) -> None:
    stop = np.cumsum(rows)
    start, series = stop - rows, np.arange(len(rows))
    found = list(cut(Segments(start, stop, series, 0, 0), window, stride, at_most))
    starts, lengths, owners = (np.concatenate([getattr(part, name) for part in found]) for name in Cut._fields[:3])
    shifted = 0
    for owner, (first, end) in enumerate(zip(start, stop, strict=True)):
        own = starts[owners == owner]
        assert (lengths[owners == owner] == min(window, end - first)).all()
        assert (np.diff(own) > 0).all()
        assert (np.diff(own)[:-1] == stride).all()
        assert own[0] == first
        assert own[-1] + min(window, end - first) <= end
        if stride <= window:
            assert own[-1] + min(window, end - first) == end
        shifted += (own[-1] - first) % stride > 0
    assert sum(part.short for part in found) == sum(count < window for count in rows)
    assert sum(part.shifted for part in found) == shifted


@pytest.mark.parametrize(("window", "more"), [(10, "2, which are all (the longest has 9 rows: {})"), (8, "1")])
def test_stretches_that_are_all_shorter_than_a_window_tell_the_longest(tmp_path: Path, window: int, more: str) -> None:
    path = saved(pd.concat([steady(9, "a"), steady(7, "b")]), tmp_path / "log.parquet")
    notes = load_log(path, windowing=Windowing(window), cache_dir=tmp_path / "cache").notes
    more = more.format("to learn from whole windows, give a shorter --window")
    assert f"stretches shorter than a window, filled up with missing points: {more}" in notes


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_stretches_end_at_ids_and_gaps_wherever_chunks_end(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_cut.CHUNK", chunk)
    time = np.array([0, 1, 2, 9, 10, 0, 5, 6, 6, 7])
    offsets = np.array([0, 5, 8, 10])
    with RowFiles(tmp_path, {"time": Field("int64")}) as rows:
        rows.write(0, {"time": time})
        # of the second id one step is as long as the limit, the other off by more than half a step and less than one
        found = list(segments(rows, offsets, np.array([1.0, 4.0, 1.0]), np.array([3.0, 5.0, 3.0])))
    starts, stops, series = (np.concatenate([getattr(part, name) for part in found]) for name in Segments._fields[:3])
    assert (starts.tolist(), stops.tolist()) == ([0, 3, 5, 8], [3, 5, 8, 10])
    assert series.tolist() == [0, 0, 1, 2]
    assert (sum(part.gaps for part in found), sum(part.uneven for part in found)) == (1, 1)


@pytest.mark.parametrize(
    ("how", "expected"), [("last", [0, 2, -1, 0, -1]), ("majority", [0, 1, -1, 0, 0]), ("any", [0, 2, -1, 1, 0])]
)
def test_labels_of_windows(tmp_path: Path, how: Any, expected: list[int]) -> None:
    label = np.array([0, 0, 0, 1, 1, 2, -1, -1, -1, 1, 0, 0, 0, -1, -1], np.int32)
    fields = {"label": Field("int32"), "present": Field("uint8")}
    windows = Cut(np.arange(0, 15, 3), np.full(5, 3), np.zeros(5, int), 0, 0)
    with RowFiles(tmp_path, fields) as rows:
        rows.write(0, {"label": label, "present": label == 2})
        found = Describe(rows, how, ("0", "1", "2"), normal=[0])(windows)
    assert found["label"].tolist() == expected
    assert found["measured"].tolist() == [False, True, False, False, False]


def test_no_label_that_says_normal_is_abnormal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label = ["Normal"] * 5 + ["leak"] + ["normal"] * 6 + ["Normal"] * 3 + ["normal"]
    pd.DataFrame({"time": range(16), "flow": np.arange(16.0), "label": label}).to_csv(tmp_path / "log.csv", index=False)

    def labels() -> list[str]:
        windowing = Windowing(4, window_label="any")
        return load_log(tmp_path / "log.csv", windowing=windowing, cache_dir=tmp_path / "cache").labels().tolist()

    assert labels() == ["Normal", "leak", "normal", "normal"]
    monkeypatch.setattr("tsjepa.datasets.log_cut.NORMAL", ("leak",))
    assert labels() == ["Normal", "normal", "normal", "normal"]  # not those of the cache


@pytest.mark.parametrize("chunk", [4, 100])
def test_what_is_normal_where_no_label_says_so(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_normal.CHUNK", chunk)
    label, fields = np.array([1, 1, 1, 1, 0, 1, 0, 0], np.int32), {"label": Field("int32"), "present": Field("uint8")}
    with RowFiles(tmp_path, fields) as rows:
        rows.write(0, {"label": label, "present": label})
        normal = normal_codes(RowStore(tmp_path, 8, fields, (), ("bad", "good"), TimeKind("rows"), ()))
        windows = Cut(np.array([0, 3]), np.array([3, 3]), np.zeros(2, int), 0, 0)
        found = Describe(rows, "any", ("bad", "good"), normal)(windows)
    assert found["label"].tolist() == [1, 0]


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(1, 7), min_size=1, max_size=20),
    missing=st.lists(st.booleans(), min_size=20, max_size=20),
    reach=st.integers(1, 9),
    every=st.integers(1, 4),
    fill=st.sampled_from(["linear", "previous"]),
)
def test_grids_take_the_values_near_by(
    steps: list[int], missing: list[bool], reach: int, every: int, fill: Any
) -> None:
    time = np.cumsum(steps)
    values = np.where(missing[: len(time)], np.nan, np.sin(time)).astype("f4")
    grid = np.arange(time[0] - 1, time[-1] + 2, every)
    found = resampled(time, values[:, None], grid, reach, fill)[:, 0]
    known = [(int(t), float(v)) for t, v in zip(time, values, strict=True) if not np.isnan(v)]
    for point, value in zip(grid, found, strict=True):
        before = [(t, v) for t, v in known if t <= point][-1:]
        after = [(t, v) for t, v in known if t >= point][:1]
        expected = np.nan
        if fill == "previous" and before and point - before[0][0] <= reach:
            expected = before[0][1]
        elif fill == "linear" and before and after and after[0][0] - before[0][0] <= reach:
            expected = np.interp(point, [before[0][0], after[0][0]], [before[0][1], after[0][1]])
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", [0.0, 1.7e9, -1.7e9])
@pytest.mark.parametrize(("steps", "gaps"), [(3, 0), (4, 99)])
def test_a_hole_as_long_as_the_longest_step_is_no_gap_however_times_are_rounded(
    tmp_path: Path, first: float, steps: int, gaps: int
) -> None:
    tick = np.cumsum(np.where(np.arange(2000) % 20 == 0, steps, 1))
    log = pd.DataFrame({"time": first + tick * 0.1, "x": np.arange(2000.0)})
    log.to_parquet(tmp_path / "log.parquet")
    found = load_log(tmp_path / "log.parquet", windowing=Windowing(8, 8, 3), cache_dir=tmp_path / "cache")
    told = [note for note in found.notes if note.startswith("gaps")]
    assert told == ([f"gaps of more than 0.3, which no window goes across: {gaps}"] if gaps else [])
    runs = load_runs(tmp_path / "log.parquet", cache_dir=tmp_path / "cache")
    _, kept = runs.gap_limits(3, runs.steps[0])
    assert (np.diff(runs.times(0, 2000)) > kept).sum() == gaps


def test_limits_of_floats_are_wider_by_half_a_step_at_most() -> None:
    step = np.array([2.0])
    for kind, wider in (("float", [0.02, 0.2, 1.0]), ("integer", [0.0] * 3)):
        asked, kept = np.array([gap_limits(points, step, TimeKind(kind)) for points in (1, 10, 500)])[:, :, 0].T
        np.testing.assert_allclose(asked, [2, 20, 1000])
        np.testing.assert_allclose(kept - asked, wider)
