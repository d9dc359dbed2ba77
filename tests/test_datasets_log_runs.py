"""A log run by run: rows, times and labels as they stand in the file, and time that runs backwards."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsjepa.datasets import DataError
from tsjepa.datasets.log_runs import LogRuns, load_runs
from tsjepa.datasets.logs import Columns, Windowing, load_log


def frame() -> pd.DataFrame:
    """Return two runs whose rows alternate."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "unit": ["b", "a"] * 20,
            "time": pd.date_range("2024-01-01", periods=20, freq="2s").repeat(2).astype("datetime64[ms]"),
            "flow": rng.normal(size=40).astype(np.float32),
            "level": rng.normal(size=40).astype(np.float32),
            "anomaly": [0, 1] * 20,
        }
    )


def opened(table: pd.DataFrame, folder: Path, name: str = "log.parquet", **columns: str) -> LogRuns:
    path = folder / name
    table.to_parquet(path, index=False) if name.endswith("parquet") else table.to_csv(path, index=False)
    return load_runs(path, Columns(**columns), cache_dir=folder / "cache")


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_rows_of_a_run_are_in_the_order_of_time(tmp_path: Path, name: str) -> None:
    table = frame()
    runs = opened(table, tmp_path, name, label="anomaly")
    assert runs.ids.to_pylist() == ["a", "b"]
    assert runs.offsets.tolist() == [0, 20, 40]
    for at, unit in enumerate("ab"):
        own = table[table["unit"] == unit]
        start, stop = runs.offsets[at : at + 2]
        np.testing.assert_allclose(runs.values(start, stop), own[["flow", "level"]].to_numpy().T)
        shown = runs.shown_times(np.arange(start, stop)).to_pandas()
        assert (shown.to_numpy() == own["time"].to_numpy()).all()
        np.testing.assert_array_equal(runs.abnormal()[start:stop], own["anomaly"])
    assert runs.steps.tolist() == [2 / runs.tick] * 2


def test_file_order_leads_back_to_the_file(tmp_path: Path) -> None:
    table = frame()
    runs = opened(table, tmp_path)
    order = runs.file_order()
    np.testing.assert_array_equal(runs.values(0, 40)[:, order], table[["flow", "level"]].to_numpy().T)


def test_the_fingerprint_knows_the_first_and_the_last_time(tmp_path: Path) -> None:
    found = opened(frame().assign(time=np.arange(20).repeat(2)), tmp_path).fingerprint()
    assert (found["first"], found["last"]) == ("0", "19")


def test_time_that_runs_backwards_is_told(tmp_path: Path) -> None:
    table = frame()
    table.loc[[6, 10]] = table.loc[[10, 6]].to_numpy()
    with pytest.raises(DataError, match=r"log.parquet, row 9: time runs backwards in unit 'b'; sort the log by time"):
        opened(table, tmp_path).file_order()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_follow_each_other_by_the_numbers_in_their_names(tmp_path: Path, suffix: str) -> None:
    table = frame()
    for at, rows in enumerate(np.array_split(np.arange(len(table)), 12), 1):
        part, path = table.iloc[rows], tmp_path / f"log_{at}.{suffix}"
        part.to_csv(path, index=False) if suffix == "csv" else part.to_parquet(path, index=False)
    pattern = f"{tmp_path}/log_*.{suffix}"
    runs = load_runs(pattern, cache_dir=tmp_path / "cache")
    assert not any("sorted" in note for note in runs.notes)
    np.testing.assert_array_equal(runs.file_order(), opened(table, tmp_path, "one.parquet").file_order())
    (tmp_path / f"log_9.{suffix}").rename(tmp_path / f"log_99.{suffix}")
    sentence = (
        r"row 1: time runs backwards in unit '.'; sort the log by time \(its files are read in the order of their"
    )
    with pytest.raises(DataError, match=sentence):
        load_runs(pattern, cache_dir=tmp_path / "cache").file_order()


def test_files_of_one_run_each_keep_their_order(tmp_path: Path) -> None:
    table = frame()[::2].drop(columns="unit")
    for name, step in (("a.parquet", 1), ("b.csv", -1)):
        part = table[::step]
        part.to_parquet(tmp_path / name) if step > 0 else part.to_csv(tmp_path / name, index=False)
    runs = load_runs(f"{tmp_path}/?.*", Columns(label="anomaly"), cache_dir=tmp_path / "cache")
    assert runs.ids.to_pylist() == ["a.parquet", "b.csv"]
    with pytest.raises(DataError, match=r"b.csv, row 2: time runs backwards; sort the log by time"):
        runs.file_order()
    table.to_csv(tmp_path / "b.csv", index=False)
    runs = load_runs(f"{tmp_path}/?.*", Columns(label="anomaly"), cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(runs.file_order(), np.arange(40))


def test_a_gap_is_ten_steps_or_what_was_said(tmp_path: Path) -> None:
    runs = opened(frame(), tmp_path)
    assert runs.gap_limits(None, 2000.0) == (20_000.0, 20_000.0)
    assert runs.gap_limits(3, 2000.0) == (6000.0, 6000.0)
    assert runs.gap_limits("1min", 2000.0) == pytest.approx((60 / runs.tick, 60 / runs.tick))


def test_a_log_without_ids_and_times_is_one_run_of_counted_rows(tmp_path: Path) -> None:
    runs = opened(frame()[["flow", "level"]], tmp_path, id="", time="")
    assert (len(runs.ids), runs.counted, runs.tick) == (1, True, None)
    assert runs.gap_limits(None, 1.0) == (np.inf, np.inf)
    assert runs.file_order().tolist() == list(range(40))
    assert runs.abnormal() is None


@pytest.mark.parametrize(
    ("labels", "abnormal"),
    [(["0", "leak"] * 20, [0.0, 1.0]), ([0.0, 2.5] * 20, [0.0, 1.0]), ([None, "leak"] * 20, [np.nan, 1.0])],
)
def test_labels_tell_normal_rows(tmp_path: Path, labels: list[object], abnormal: list[float]) -> None:
    runs = opened(frame().assign(anomaly=labels), tmp_path, label="anomaly")
    np.testing.assert_array_equal(runs.abnormal()[runs.file_order()], abnormal * 20)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["0", "leak"] * 20, [False, True]),
        ([0, 1] * 20, [False, True]),
        (["normal", "leak", "leak", "leak"] * 10, [False, True, True, True]),
        ([0.0, 0.0, 1.0, np.nan] * 10, [False, False, True, False]),
        ([0, 1, 2, 3] * 10, None),
        ([0.0, 31.5, 12.5, 7.0] * 10, None),
        (["idle", "idle", "busy", None] * 10, None),
        (["busy"] * 40, None),
    ],
)
def test_labels_that_call_nothing_normal_tell_nothing(tmp_path: Path, labels: list[object], told: list[bool]) -> None:
    runs = opened(frame().assign(anomaly=labels), tmp_path, label="anomaly")
    found = runs.told_abnormal()
    if told is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found[runs.file_order()], told * (40 // len(told)))


def test_rows_without_a_label_make_no_other_the_most_frequent(tmp_path: Path) -> None:
    runs = opened(frame().assign(anomaly=["busy", "idle", "idle", None, None] * 8), tmp_path, label="anomaly")
    assert runs.guessed_normal == "idle"


@pytest.mark.parametrize("chunk", [3, 100])
def test_labels_tell_normal_rows_wherever_chunks_end(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_normal.CHUNK", chunk)
    labels = [0] * 36 + [1, 1, 1, 0]
    runs = opened(frame().assign(anomaly=labels), tmp_path, label="anomaly")
    np.testing.assert_array_equal(runs.told_abnormal()[runs.file_order()], labels)


def test_one_series_a_row_is_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [[1.0, 2.0], [3.0, 4.0]]})
    with pytest.raises(DataError, match="one series a row"):
        opened(table, tmp_path)


@pytest.mark.parametrize("resample", [None, "1s"])
def test_windows_that_hold_abnormal_rows_are_told(tmp_path: Path, resample: str | None) -> None:
    table = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=12, freq="1s"), "flow": np.arange(12.0)})
    table.assign(anomaly=["normal"] * 5 + ["leak"] + ["normal"] * 6).to_parquet(tmp_path / "log.parquet", index=False)
    windowing = Windowing(window=3, stride=1, resample=resample)
    windows = load_log(tmp_path / "log.parquet", windowing=windowing, cache_dir=tmp_path / "cache")
    assert np.flatnonzero(windows.hold_abnormal()).tolist() == [3, 4, 5]
    assert windows.subset(np.array([9, 4])).hold_abnormal().tolist() == [False, True]
    table.assign(anomaly="leak").to_parquet(tmp_path / "log.parquet", index=False)
    windows = load_log(tmp_path / "log.parquet", windowing=windowing, cache_dir=tmp_path / "cache")
    assert windows.hold_abnormal() is None
