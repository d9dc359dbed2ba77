"""Logs end to end: windows of random logs against a plain pandas reference, in every form, order and file split."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsjepa.datasets import DataError
from tsjepa.datasets.log_fingerprint import difference
from tsjepa.datasets.log_runs import load_runs
from tsjepa.datasets.logs import Columns, LogWindows, Windowing, encode_labels, is_log, load_log, split_by_group

CHANNELS = ("flow", "volt")
START = pd.Timestamp("2026-03-01")
LOGS = os.environ.get("TSJEPA_LOGS")
real_logs = pytest.mark.skipif(LOGS is None, reason="TSJEPA_LOGS names no folder of logs")


class Expected(NamedTuple):
    id: Any
    first: int
    last: int
    start: pd.Timestamp
    end: pd.Timestamp
    values: np.ndarray[Any, Any]
    label: str


def reference(log: pd.DataFrame, window: int, stride: int, max_gap: float, how: str = "last") -> list[Expected]:
    """Cut a log by the plainest means."""
    found = []
    for identity, rows in log.sort_values(["unit", "time"]).groupby("unit"):
        rows = rows.reset_index(drop=True)
        steps = rows["time"].diff().dt.total_seconds()
        gap = max_gap * steps.iloc[1:].median() if len(rows) > 1 else np.inf
        for _, stretch in rows.groupby((steps > gap).cumsum()):
            starts = list(range(0, max(len(stretch) - window, 0) + 1, stride))
            following = starts[-1] + stride
            if following < len(stretch) and starts[-1] + window < len(stretch):
                starts.append(len(stretch) - window)
            for start in starts:
                part = stretch.iloc[start : start + window]
                values = np.full((len(CHANNELS), window), np.nan, np.float32)
                values[:, : len(part)] = part[list(CHANNELS)].to_numpy(np.float32).T
                first, last = int(part.index[0]), int(part.index[-1])
                label = expected_label(part["label"].tolist(), how)
                found.append(Expected(identity, first, last, rows["time"][first], rows["time"][last], values, label))
    return found


def expected_label(labels: list[str], how: str) -> str:
    if how == "last":
        return labels[-1]
    if how == "any":
        return next((label for label in reversed(labels) if label != "0"), "0")
    return max(sorted(set(labels)), key=labels.count)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)


@st.composite
def logs(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a log with several units, gaps, missing values and labels, in a random order of rows."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    units = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True))
    tables = []
    for unit in units:
        rows = draw(st.integers(1, 40))
        step = np.where(random.random(rows) < 0.1, random.integers(2, 60, rows), 1)
        values = random.standard_normal((rows, 2)).astype(np.float32)
        values[random.random((rows, 2)) < 0.15] = np.nan
        labels = random.choice(["0", "1", "2"], rows, p=[0.7, 0.2, 0.1])
        times = START + pd.to_timedelta(np.cumsum(step), unit="s").as_unit("us")
        columns = {"unit": unit, "time": times, "flow": values[:, 0], "volt": values[:, 1], "label": labels}
        tables.append(pd.DataFrame(columns))
    log = pd.concat(tables, ignore_index=True)
    log.loc[0, list(CHANNELS)] = [1.0, 2.0]  # a log without any value is refused
    order = draw(st.sampled_from(["sorted", "by time", "shuffled"]))
    if order == "by time":
        return log.sort_values("time", kind="stable", ignore_index=True)
    return log if order == "sorted" else log.sample(frac=1, random_state=seed % 2**32, ignore_index=True)


def write(log: pd.DataFrame, folder: Path, files: int, kind: str) -> None:
    folder.mkdir(parents=True)
    for number, rows in enumerate(np.array_split(np.arange(len(log)), files)):
        part = log.iloc[rows]
        if kind == "csv":
            part.to_csv(folder / f"{number:03d}.csv", index=False)
        elif kind == "long":
            long = part.melt(["unit", "time", "label"], list(CHANNELS), "channel", "value").dropna(subset="value")
            long.to_parquet(folder / f"{number:03d}.parquet", index=False)
        else:
            part.to_parquet(folder / f"{number:03d}.parquet", index=False, row_group_size=7)


def check(found: LogWindows, expected: list[Expected]) -> None:
    index = found.index().to_pandas()
    assert index["id"].tolist() == [window.id for window in expected]
    assert index["first_row"].tolist() == [window.first for window in expected]
    assert index["last_row"].tolist() == [window.last for window in expected]
    assert index["start"].tolist() == [window.start for window in expected]
    assert index["end"].tolist() == [window.end for window in expected]
    assert found.labels().tolist() == index["label"].tolist() == [window.label for window in expected]
    wanted = np.stack([window.values for window in expected])
    valid = ~np.isnan(wanted)
    values, mask = found.take(np.arange(found.n_cases))
    np.testing.assert_array_equal(valid, np.ones_like(valid) if mask is None else mask)
    np.testing.assert_array_equal(values, np.where(valid, wanted, 0))
    np.testing.assert_array_equal(found.measured(), np.flatnonzero(valid.any((1, 2))))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    log=logs(),
    window=st.integers(1, 12),
    stride=st.integers(1, 14),
    max_gap=st.sampled_from([1.5, 10, 30]),
    files=st.integers(1, 4),
    kind=st.sampled_from(["parquet", "csv", "long"]),
    how=st.sampled_from(["last", "majority", "any"]),
    small=st.booleans(),
)
def test_windows_are_those_of_a_plain_reference(
    tmp_path_factory: pytest.TempPathFactory,
    log: pd.DataFrame,
    window: int,
    stride: int,
    max_gap: float,
    files: int,
    kind: str,
    how: Any,
    small: bool,
) -> None:
    folder = tmp_path_factory.mktemp("log")
    if kind == "long":  # a row without a value is not there
        log = log[log[list(CHANNELS)].notna().any(axis=1)]
    write(log, folder / "log", min(files, len(log)), kind)
    chosen = Windowing(window, stride, max_gap, window_label=how)
    columns = Columns("unit", "time", CHANNELS, "label")
    with pytest.MonkeyPatch.context() as patched:
        if small:  # many pieces, sorted runs and bands, as a large log has
            patched.setattr("tsjepa.datasets.log_reading.PIECE_ROWS", 5)
            patched.setattr("tsjepa.datasets.log_sort.SORT_BYTES", 200)
            patched.setattr("tsjepa.datasets.log_views.BAND", 4)
        found = load_log(folder / "log", columns, chosen, cache_dir=folder / "cache")
    check(found, reference(log, window, stride, max_gap, how))


def steady(rows: int = 100, units: str = "ab", step: str = "1s") -> pd.DataFrame:
    time = pd.date_range(START, periods=rows, freq=step, unit="us")
    tables = [
        pd.DataFrame({"unit": unit, "time": time, "flow": np.arange(rows) + at, "volt": 1.0, "label": "0"})
        for at, unit in enumerate(units)
    ]
    return pd.concat(tables, ignore_index=True).astype({"flow": "float32", "volt": "float32"})


def saved(log: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        log.to_csv(path, index=False)
    else:
        log.to_parquet(path, index=False)
    return path


def test_windows_and_strides_may_be_durations(tmp_path: Path) -> None:
    log = saved(steady(step="500ms"), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing("10s", "2.5s"), cache_dir=tmp_path / "cache")
    assert (found.window, found.stride, found.n_timepoints, found.step) == (20, 5, 20, "500 ms")
    assert "34 windows of 20 points (10 s), one every 5 (2.5 s), from 2 series" in found.notes


def test_one_is_said_as_one_and_long_times_in_whole_units(tmp_path: Path) -> None:
    log = saved(steady(256, "a").drop(columns="volt"), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing(256), cache_dir=tmp_path / "cache")
    assert found.notes[0].endswith("; 1 channel 'flow'")
    assert "1 window of 256 points (4 min 16 s), from 1 series" in found.notes


def test_without_a_window_each_id_is_one_series(tmp_path: Path) -> None:
    log = saved(pd.concat([steady(5, "a"), steady(3, "b")]), tmp_path / "log.parquet")
    found = load_log(log, cache_dir=tmp_path / "cache")
    values, valid = found.take(np.array([1, 0]))
    assert (found.window, found.stride, found.n_timepoints) == (None, None, 5)
    assert values[:, 0].tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]]
    assert valid is not None
    assert valid[:, 0].sum(1).tolist() == [3, 5]


def test_a_single_series_needs_a_window(tmp_path: Path) -> None:
    log = saved(steady(units="a"), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"one series of 100 rows.*give --window"):
        load_log(log, cache_dir=tmp_path / "cache")


def test_guesses_are_said_and_labels_are_no_channels(tmp_path: Path) -> None:
    log = steady().rename(columns={"label": "anomaly"}).assign(changepoint=0, comment="ok", serial_id=7)
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(10), cache_dir=tmp_path / "cache")
    assert found.columns == Columns("unit", "time", CHANNELS, "anomaly", None)
    assert found.notes[0] == "guessed columns: id 'unit'; time 'time'; label 'anomaly'; 2 channels 'flow', 'volt'"
    assert found.notes[1] == "columns left out: 'changepoint', 'comment', 'serial_id'"


def test_channels_are_chosen_by_name_and_order(tmp_path: Path) -> None:
    log = saved(steady(), tmp_path / "log.parquet")
    found = load_log(log, Columns(channels=("volt", "flow")), Windowing(10), cache_dir=tmp_path / "cache")
    assert found.take(np.array([0])).values[0, :, 1].tolist() == [1, 1]
    assert found.take(np.array([0])).values[0, 1].tolist() == list(range(10))
    assert found.channels == ("volt", "flow")
    with pytest.raises(DataError, match=r"no column 'heat'"):
        load_log(log, Columns(channels=("heat",)), Windowing(10), cache_dir=tmp_path / "cache")


def test_a_zone_is_turned_into_utc(tmp_path: Path) -> None:
    log = steady()
    log["time"] = log["time"].dt.tz_localize("Europe/Berlin")
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(10), cache_dir=tmp_path / "cache")
    assert str(found.index().schema.field("start").type) == "timestamp[us, tz=UTC]"
    assert found.index().to_pandas()["start"][0] == START.tz_localize("Europe/Berlin")


def test_zones_in_text_are_understood(tmp_path: Path) -> None:
    log = steady(20, "a").assign(time=lambda rows: rows["time"].dt.strftime("%Y-%m-%dT%H:%M:%S+01:00"))
    for path in (saved(log, tmp_path / "log.csv"), saved(log, tmp_path / "log.parquet")):
        found = load_log(path, windowing=Windowing(10), cache_dir=tmp_path / "cache")
        assert found.index().to_pandas()["start"][0] == START.tz_localize("Etc/GMT-1")


def test_times_are_guessed_by_type_before_doubtful_names(tmp_path: Path) -> None:
    log = steady().rename(columns={"time": "logged", "volt": "time_left"})
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(10), cache_dir=tmp_path / "cache")
    assert (found.columns.time, found.channels) == ("logged", ("flow", "time_left"))
    with pytest.raises(DataError, match="'logged', 'written' all hold times"):
        load_log(saved(log.assign(written=log["logged"]), tmp_path / "other.parquet"), cache_dir=tmp_path / "cache")


def test_training_reads_windows_like_any_series(tmp_path: Path) -> None:
    import torch

    from tsjepa.batches import Batches

    log = steady(30).assign(flow=lambda rows: rows["flow"].where(rows["flow"] > 10), volt=np.nan)
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(10), cache_dir=tmp_path / "cache")
    batches = Batches(found)
    assert batches.cases.tolist() == [1, 2, 4, 5]  # the first window of each unit holds no value
    batch = batches[torch.tensor([3, 1])]
    assert batch[0][:, 0, 0].tolist() == [21, 20]


def test_units_of_timestamps_are_brought_together(tmp_path: Path) -> None:
    log = steady()
    for unit, rows in log.groupby("unit"):
        saved(
            rows.assign(time=rows["time"].dt.as_unit("ns" if unit == "a" else "ms")), tmp_path / f"log/{unit}.parquet"
        )
    found = load_log(tmp_path / "log", windowing=Windowing(10), cache_dir=tmp_path / "cache")
    assert found.index().to_pandas()["end"].tolist() == [t for _ in "ab" for t in steady()["time"][9:100:10]]


def test_folders_name_columns_and_files_may_name_ids(tmp_path: Path) -> None:
    for unit in (3, 10):
        saved(steady(units="a").drop(columns="unit"), tmp_path / f"log/machine={unit}/part.parquet")
    by_folder = load_log(tmp_path / "log", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert by_folder.index().to_pydict()["id"] == [3, 3, 10, 10]
    saved(steady(units="a").drop(columns="unit"), tmp_path / "runs/good/1.csv")
    saved(steady(units="a").drop(columns="unit"), tmp_path / "runs/bad/1.csv")
    by_file = load_log(tmp_path / "runs", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert by_file.index().to_pydict()["id"] == ["bad/1.csv"] * 2 + ["good/1.csv"] * 2
    assert "no id column: each file is one series, its path is the id" in by_file.notes


def test_lists_are_series(tmp_path: Path) -> None:
    lists = [[1.0, 2.0, 3.0], [4.0, None], [6.0, 7.0, 8.0]]
    table = pa.table({"who": ["x", "y", "x"], "activity": ["walk", "run", "walk"], "c0": lists, "c1": lists})
    pq.write_table(table, tmp_path / "lists.parquet")
    assert is_log(tmp_path / "lists.parquet")
    found = load_log(tmp_path / "lists.parquet", Columns(group="who"), cache_dir=tmp_path / "cache")
    values, valid = found.take(np.arange(3))
    assert valid is not None
    assert values[:, 1].tolist() == [[1, 2, 3], [4, 0, 0], [6, 7, 8]]
    assert valid[1, 0].tolist() == [True, False, False]
    assert found.labels().tolist() == ["walk", "run", "walk"]
    assert found.index().to_pydict()["id"] == [0, 1, 2]
    train, test = split_by_group(found, 0.5)
    assert {tuple(train.series), tuple(test.series)} == {(0, 2), (1,)}


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    units = "abcdefghij"
    log = saved(steady(20, units), tmp_path / "log.parquet")
    found = load_log(log, Columns(group="unit"), Windowing(10), cache_dir=tmp_path / "cache")
    train, test = split_by_group(found, 0.3, seed=1)
    sides = [set(part.index().to_pydict()["group"]) for part in (train, test)]
    assert len(sides[1]) == 3
    assert sides[0] | sides[1] == set(units)
    assert not sides[0] & sides[1]
    again = split_by_group(found, 0.3, seed=1)[1]
    np.testing.assert_array_equal(again.series, test.series)
    with pytest.raises(DataError, match=r"--group"):
        split_by_group(load_log(log, windowing=Windowing(10), cache_dir=tmp_path / "cache"), 0.3)


def test_labels_of_both_parts_share_a_scale(tmp_path: Path) -> None:
    first, second = steady().assign(label="ok"), steady().assign(label="worn")
    first.loc[:49, "label"] = None
    parts = [
        load_log(saved(log, tmp_path / f"{name}.parquet"), windowing=Windowing(50), cache_dir=tmp_path / "cache")
        for name, log in (("first", first), ("second", second))
    ]
    found = encode_labels(*parts)
    assert found.classes == ("ok", "worn")
    assert found.y_train is not None
    assert found.y_test is not None
    assert (found.y_train.tolist(), found.y_test.tolist()) == ([-1, 0, 0, 0], [1, 1, 1, 1])
    assert parts[0].labelled().tolist() == [1, 2, 3]


def test_a_target_stays_a_number(tmp_path: Path) -> None:
    log = saved(steady().assign(rul=np.arange(200) / 7).drop(columns="label"), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing(50), cache_dir=tmp_path / "cache")
    np.testing.assert_allclose(found.labels(), np.array([49, 99, 149, 199]) / 7)
    with pytest.raises(DataError, match="numeric target; use last"):
        load_log(log, windowing=Windowing(50, window_label="any"), cache_dir=tmp_path / "cache")


def test_subsets_pickle_without_their_values(tmp_path: Path) -> None:
    import pickle

    found = load_log(saved(steady(), tmp_path / "log.parquet"), windowing=Windowing(10), cache_dir=tmp_path / "cache")
    part = found.subset(np.array([3, 1])).subset(np.array([1]))
    part.take(np.array([0]))
    copy = pickle.loads(pickle.dumps(part))
    assert copy.n_cases == 1
    np.testing.assert_array_equal(copy.take(np.array([0])).values, found.take(np.array([1])).values)


def test_resampling_is_said_and_keeps_gaps(tmp_path: Path) -> None:
    log = steady(10, "a", "2s")
    log.loc[5:, "time"] += pd.Timedelta("100s")
    found = load_log(
        saved(log, tmp_path / "log.parquet"), windowing=Windowing(4, resample="1s"), cache_dir=tmp_path / "cache"
    )
    values = found.take(np.arange(found.n_cases)).values[:, 0]
    assert values.tolist() == [
        [0, 0.5, 1, 1.5],
        [2, 2.5, 3, 3.5],
        [2.5, 3, 3.5, 4],
        [5, 5.5, 6, 6.5],
        [7, 7.5, 8, 8.5],
        [7.5, 8, 8.5, 9],
    ]
    assert found.index().to_pydict()["last_row"] == [1, 3, 4, 6, 8, 9]
    assert any(note.startswith("resampled to a grid of 1 s, by straight lines") for note in found.notes)


def test_what_is_a_log(tmp_path: Path) -> None:
    table = saved(pd.DataFrame({"t0": [1.0], "t1": [2.0], "label": ["a"]}), tmp_path / "table.csv")
    assert not is_log(table)
    assert is_log(saved(steady(), tmp_path / "log.csv"))
    assert is_log(tmp_path)
    assert is_log(str(tmp_path / "*.csv"))
    assert not is_log(tmp_path / "nothing.csv")
    assert not is_log("FordA")


def test_a_folder_of_results_is_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(steady(), tmp_path / "GunPoint/metrics.csv")
    monkeypatch.chdir(tmp_path)
    assert not is_log("GunPoint")
    assert is_log("./GunPoint")


def test_addresses_and_patterns_name_the_same_log(tmp_path: Path) -> None:
    for unit, rows in steady().groupby("unit"):
        saved(rows, tmp_path / f"log/{unit}.parquet")
    saved(steady(units="c"), tmp_path / "log/c.csv")
    sources = (tmp_path / "log/*.parquet", f"file://{tmp_path}/log/*.parquet", f"file://{tmp_path}/log/a.parquet")
    sizes = [load_log(at, windowing=Windowing(10), cache_dir=tmp_path / "cache").n_cases for at in sources]
    assert sizes == [20, 20, 10]
    with pytest.raises(DataError, match="cannot be looked up"):
        load_log("nowhere://log/a.parquet", windowing=Windowing(10), cache_dir=tmp_path / "cache")


def test_arrow_files_are_read(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(steady(), preserve_index=False)
    with pa.OSFile(str(tmp_path / "log.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, 30)
    found = load_log(tmp_path / "log.arrow", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert found.take(np.array([3])).values[0, 0].tolist() == list(range(51, 101))


@pytest.mark.parametrize("name", ["unit", "time", "mode"])
def test_dictionaries_of_string_views_are_read(tmp_path: Path, name: str) -> None:
    """As polars writes a Categorical into an Arrow file."""
    table = pa.Table.from_pandas(steady().assign(mode="7.5"), preserve_index=False)
    words = table[name].cast(pa.string()).combine_chunks().dictionary_encode()
    views = pa.DictionaryArray.from_arrays(words.indices.cast(pa.uint32()), words.dictionary.cast(pa.string_view()))
    table = table.set_column(table.schema.get_field_index(name), name, views)
    with pa.OSFile(str(tmp_path / "log.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, 30)
    found = load_log(tmp_path / "log.arrow", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert (found.columns.id, found.columns.time, found.channels) == ("unit", "time", ("flow", "volt", "mode"))
    assert found.take(np.array([3])).values[0, ::2, -1].tolist() == [100, 7.5]


def test_a_file_of_polars_is_read(tmp_path: Path) -> None:
    frame = pl.from_pandas(steady()).with_columns(pl.col("unit").cast(pl.Categorical))
    frame.write_ipc(tmp_path / "log.arrow")
    found = load_log(tmp_path / "log.arrow", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert set(found.index().to_pydict()["id"]) == set(steady()["unit"])


def test_without_times_rows_are_in_order_as_they_stand(tmp_path: Path) -> None:
    log = saved(steady(10).drop(columns="time"), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing(4), cache_dir=tmp_path / "cache")
    assert found.index().to_pydict()["start"] == [0, 4, 6, 10, 14, 16]
    assert "no time column: rows are taken to be in order and evenly spaced" in found.notes


def test_files_may_be_one_series(tmp_path: Path) -> None:
    log = steady(20, "a").drop(columns="unit")
    saved(log[:8], tmp_path / "log/0.csv")
    saved(log[8:], tmp_path / "log/1.csv")
    found = load_log(tmp_path / "log", Columns(id=""), Windowing(10), cache_dir=tmp_path / "cache")
    assert found.index().to_pydict()["last_row"] == [9, 19]


def parts(log: pd.DataFrame, folder: Path, *suffixes: str) -> Path:
    """Save twelve parts of a log under numbers without zeros, in turn as files of some kinds."""
    for at, rows in enumerate(np.array_split(np.arange(len(log)), 12), 1):
        saved(log.iloc[rows], folder / f"part-{at}{suffixes[at % len(suffixes)]}")
    return folder


@pytest.mark.parametrize("suffixes", [(".csv",), (".parquet",), (".parquet", ".csv")])
def test_without_times_files_go_on_by_their_numbers(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    log = steady(60, "ab").drop(columns="time").sort_values("flow", kind="stable", ignore_index=True)
    folder = parts(log, tmp_path / "log", *suffixes)
    found = load_log(folder, windowing=Windowing(60), cache_dir=tmp_path / "cache")
    flow = found.take(np.array([0, 1])).values[:, 0]
    np.testing.assert_array_equal(flow, [log.loc[log["unit"] == unit, "flow"] for unit in "ab"])
    places = [np.flatnonzero(log["unit"] == unit) for unit in "ab"]
    index = found.index().to_pydict()
    assert [index["start"], index["end"]] == [[own[at] for own in places] for at in (0, -1)]
    first, last = (next(folder.glob(f"part-{at}.*")) for at in (1, 12))
    assert f"rows go on from file to file in the order of their names, {first} first and {last} last" in found.notes
    order = load_runs(folder, cache_dir=tmp_path / "cache").file_order()
    np.testing.assert_array_equal(order.argsort(), np.concatenate(places))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_without_times_each_machine_may_have_its_file(tmp_path: Path, suffix: str) -> None:
    for unit, rows in steady(20).drop(columns="time").groupby("unit"):
        saved(rows, tmp_path / f"log/{unit}{suffix}")
    found = load_log(tmp_path / "log", windowing=Windowing(20), cache_dir=tmp_path / "cache")
    assert found.index().to_pydict()["last_row"] == [19] * found.n_series


@pytest.mark.parametrize("timed", [True, False])
def test_what_was_read_by_letters_before_is_known_if_it_is_another_log(
    tmp_path: Path, timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = parts(steady(60, "a").drop(columns=[] if timed else ["time"]), tmp_path / "log", ".parquet")
    with monkeypatch.context() as before:
        before.setattr("tsjepa.datasets.log_files.by_numbers", lambda path: path)
        old = load_log(folder, windowing=Windowing(10), cache_dir=tmp_path / "cache").fingerprint()
    new = load_log(folder, windowing=Windowing(10), cache_dir=tmp_path / "cache").fingerprint()
    assert difference(old, new) == (None if timed else "its values are others")


@pytest.mark.parametrize("time", [[0.0, 0.5, 1.0, 9.0, 9.5], [0, 1, 2, 30, 31]])
def test_times_may_be_numbers(tmp_path: Path, time: list[float]) -> None:
    log = steady(5, "a").assign(time=time)
    found = load_log(saved(log, tmp_path / "log.csv"), windowing=Windowing(2), cache_dir=tmp_path / "cache")
    assert found.index().to_pydict()["start"] == [time[0], time[1], time[3]]
    coarse = Windowing(2, resample=str(2 * time[1]), fill="previous", max_gap=4)
    values = load_log(tmp_path / "log.csv", windowing=coarse, cache_dir=tmp_path / "cache").take(np.arange(2)).values
    assert values[:, 0].tolist() == [[0, 2], [3, 0]]


def test_steps_that_differ_are_said(tmp_path: Path) -> None:
    log = pd.concat([steady(20, "a"), steady(20, "b", "7s")], ignore_index=True)
    log.loc[10:19, "time"] += pd.Timedelta("3s")
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(5), cache_dir=tmp_path / "cache")
    assert "the median step of time is 1 s in one series and 7 s in another: points mean different times" in found.notes
    assert any(note.startswith("2.5 % of the steps of time differ from the median step") for note in found.notes)


@real_logs
@pytest.mark.parametrize(
    ("name", "windowing", "windows", "shape"),
    [
        ("skab_train", Windowing(60), 157, (8, 60)),
        ("skab_test", Windowing("60s"), 647, (8, 60)),
        ("cmapss_fd001_train", Windowing(), 100, (24, 362)),
        ("etth1", Windowing("2d"), 363, (7, 48)),
    ],
)
def test_real_logs_join_back_to_their_rows(
    tmp_path: Path, name: str, windowing: Windowing, windows: int, shape: tuple[int, int]
) -> None:
    path = Path(str(LOGS), f"{name}.parquet")
    found = load_log(path, windowing=windowing, cache_dir=tmp_path)
    assert (found.n_cases, found.n_channels, found.n_timepoints) == (windows, *shape)
    table = pd.read_parquet(path)
    columns = found.columns
    by_id = table.groupby(columns.id) if columns.id else [(name, table)]
    rows = {identity: part.sort_values(str(columns.time)).reset_index(drop=True) for identity, part in by_id}
    for case, window in enumerate(found.index().to_pylist()):
        part = rows[window["id"]].iloc[window["first_row"] : window["last_row"] + 1]
        assert (part[columns.time].iloc[0], part[columns.time].iloc[-1]) == (window["start"], window["end"])
        values = found.take(np.array([case])).values[0, :, : len(part)]
        np.testing.assert_array_equal(values, part[list(found.channels)].to_numpy(np.float32).T)
        if found.has_labels:
            assert window["label"] == str(part[columns.label].iloc[-1])


@real_logs
def test_real_lists_are_read(tmp_path: Path) -> None:
    path = Path(str(LOGS), "ucihar_test.parquet")
    found = load_log(path, Columns(label="activity", group="subject"), cache_dir=tmp_path)
    assert (found.n_cases, found.n_channels, found.n_timepoints) == (2947, 9, 128)
    table = pq.read_table(path).slice(100, 1).to_pylist()[0]
    np.testing.assert_array_equal(found.take(np.array([100])).values[0, 4], np.float32(table["c4"]))
    assert found.index(np.array([100])).to_pylist()[0]["label"] == table["activity"]
    assert found.groups()[found.series[100]] == table["subject"]
