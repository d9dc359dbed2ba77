"""Times of a log: zones, numbers, steps that differ, a grid of their own, and rows in order where there are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyarrow.feather import write_feather
from steady_logs import START, saved, steady

from tsjepa.datasets import DataError
from tsjepa.datasets.log_fingerprint import difference
from tsjepa.datasets.log_runs import load_runs
from tsjepa.datasets.log_store import Column
from tsjepa.datasets.logs import Windowing, load_log

pytestmark = pytest.mark.usefixtures("quick_disk")


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


def test_a_log_of_many_gaps_is_resampled_without_opening_its_times_at_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, mapped, opened = steady(200, "a", "1s"), Column.mapped, []
    log["time"] += pd.to_timedelta(60 * (np.arange(200) // 4), unit="s")

    def counted(self: Column, rows: int) -> Any:
        opened.append(self.path.name)
        return mapped(self, rows)

    monkeypatch.setattr(Column, "mapped", counted)
    load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(4, resample="1s"), cache_dir=tmp_path / "cache")
    assert opened.count("time") == 1


@pytest.mark.parametrize("fill", ["linear", "previous"])
@pytest.mark.parametrize("points", [3, 1 << 18])
def test_a_grid_is_the_same_whatever_is_brought_onto_it_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: int, fill: Any
) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_grid.POINTS", points)
    log = pd.concat([steady(20, "a", "2s"), steady(20, "b", "3s")], ignore_index=True)
    log["label"] = (log.index // 2 % 2).astype(str)
    log.loc[[5, 6, 7, *range(25, 32)], "flow"] = np.nan  # of b for 24 s, more than ten steps of a
    found = load_log(
        saved(log, tmp_path / "log.parquet"), windowing=Windowing(1, resample="1s", fill=fill), cache_dir=tmp_path / "c"
    )
    index = found.index().to_pandas()
    for unit, rows in log.groupby("unit"):
        time = (rows["time"] - START).dt.total_seconds().to_numpy()
        grid, known = np.arange(time[-1] + 1), rows["flow"].notna().to_numpy()
        at, flow = time[known], rows["flow"].to_numpy()[known]
        own = np.flatnonzero(index["id"] == unit)
        before = np.searchsorted(time, grid, "right") - 1
        assert index["last_row"][own].tolist() == before.tolist()
        assert index["label"][own].tolist() == rows["label"].iloc[before].tolist()
        expected = np.interp(grid, at, flow) if fill == "linear" else flow[np.searchsorted(at, grid, "right") - 1]
        np.testing.assert_allclose(found.take(own).values[:, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("origin", [0.0, 1.7e9])
def test_a_grid_of_fractions_of_seconds_ends_with_the_last_row(tmp_path: Path, origin: float) -> None:
    lengths = range(2, 40)
    tables = [pd.DataFrame({"unit": n, "time": origin + 0.1 * np.arange(n), "flow": 1.0}) for n in lengths]
    path = saved(pd.concat(tables), tmp_path / "log.parquet")
    found = load_log(path, windowing=Windowing(1, resample="0.1"), cache_dir=tmp_path / "cache")
    assert np.bincount(found.index().to_pandas()["id"])[2:].tolist() == list(lengths)


def test_without_times_rows_are_in_order_as_they_stand(tmp_path: Path) -> None:
    log = saved(steady(10).drop(columns="time"), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing(4), cache_dir=tmp_path / "cache")
    assert found.index().to_pydict()["start"] == [0, 4, 6, 10, 14, 16]
    assert "no time column: rows are taken to be in order and evenly spaced" in found.notes


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


@pytest.mark.parametrize(
    ("coarse", "fine"),
    [
        (np.arange(9), [3.25, 4.25, 5.25]),
        (np.arange(9).astype("datetime64[s]"), np.array([3_000_000_001, 4_000_000_002, 5_000_000_003], "M8[ns]")),
    ],
)
def test_the_finest_times_are_kept_wherever_their_file_stands(tmp_path: Path, coarse: Any, fine: Any) -> None:
    times = [coarse[:3], np.array(fine), coarse[6:]]
    for at, time in enumerate(times):
        write_feather(pd.DataFrame({"unit": "a", "time": time, "flow": 1.0}), str(tmp_path / f"{at}.feather"))
    runs = load_runs(tmp_path, cache_dir=tmp_path / "cache")
    assert runs.shown_times(np.arange(9)).to_pandas().tolist() == pd.Series(np.concatenate(times)).tolist()


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
    log.loc[30:39, "time"] -= pd.Timedelta("4s")
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(5), cache_dir=tmp_path / "cache")
    assert "the median step of time is 1 s in one series and 7 s in another: points mean different times" in found.notes
    (note,) = (note for note in found.notes if note.startswith("5 % of the steps of time differ from the median step"))
    assert "resample the file to a grid of even steps; --resample does so, but not for detect)" in note


def test_steps_between_rows_of_ids_in_turns_are_no_steps_of_time(tmp_path: Path) -> None:
    log = steady(20, "abc").sort_values(["time", "unit"]).drop(columns="time")
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(5), cache_dir=tmp_path / "cache")
    assert found.columns.id == "unit"
    assert not any("of the steps of time differ" in note for note in found.notes)


@pytest.mark.parametrize(("other", "said"), [("3s", True), ("2100ms", False)])
def test_steps_that_hardly_differ_are_not_said(tmp_path: Path, other: str, said: bool) -> None:
    log = pd.concat([steady(20, "a", "2s"), steady(20, "b", other)], ignore_index=True)
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(5), cache_dir=tmp_path / "cache")
    note = "the median step of time is 2 s in one series and 3 s in another: points mean different times"
    assert [each for each in found.notes if each.startswith("the median step")] == [note] * said


def test_a_step_that_is_off_by_half_of_the_median_is_not_said_to_differ(tmp_path: Path) -> None:
    log = steady(8, "a").assign(time=[0, 10, 20, 30, 45, 55, 65, 75])
    found = load_log(saved(log, tmp_path / "log.csv"), windowing=Windowing(8), cache_dir=tmp_path / "cache")
    assert not any("differ from the median" in note for note in found.notes)


def test_whole_numbers_below_zero_are_times(tmp_path: Path) -> None:
    path = saved(steady(4, "a").assign(time=[-3, -2, -1, 0]), tmp_path / "log.csv")
    assert load_runs(path, cache_dir=tmp_path / "cache").file_order().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("starts", "said"), [((10, 0), True), ((0, 10), False)])
def test_a_file_that_goes_back_in_time_is_said(tmp_path: Path, starts: tuple[int, int], said: bool) -> None:
    for at, start in enumerate(starts):
        saved(steady(5, "a").assign(time=start + np.arange(5)), tmp_path / f"log/{at}.csv")
    notes = load_log(tmp_path / "log", windowing=Windowing(5), cache_dir=tmp_path / "cache").notes
    assert any("1.csv goes back in time in id 'a'" in note for note in notes) == said
    assert any("not sorted" in note for note in notes) == said


def test_an_id_that_comes_again_in_a_later_batch_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_values.BATCH_BYTES", 0)  # 4096 rows a batch
    unit = np.repeat(["a", "b", "a"], [4096, 4096, 9])
    log = saved(pd.DataFrame({"unit": unit, "time": range(8201), "flow": 1.0}), tmp_path / "log.csv")
    notes = load_log(log, windowing=Windowing(9), cache_dir=tmp_path / "cache").notes
    assert any("log.csv, row 8193" in note for note in notes)


def nanoseconds(rows: int, every: int) -> list[str]:
    return [f"2026-10-25 02:00:00.{at * every:09d}" for at in range(rows)]


@pytest.mark.parametrize("zone", ["", "Z"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_text_may_hold_nanoseconds(tmp_path: Path, suffix: str, zone: str) -> None:
    times = ["2026-10-25 02:00:00" + zone, *(time + zone for time in nanoseconds(10, 500)[1:])]
    log = saved(steady(10, "a").assign(time=times), tmp_path / f"log{suffix}")
    found = load_log(log, windowing=Windowing(2), cache_dir=tmp_path / "cache").index().to_pandas()
    assert found["start"].tolist() == [pd.Timestamp(time) for time in times[::2]]


def test_nanoseconds_further_down_in_text_are_told(tmp_path: Path) -> None:
    early = [f"2026-10-25 01:00:00.{at:06d}" for at in range(1200)]
    log = steady(1210, "a").assign(time=[*early, *nanoseconds(10, 500)])
    sentence = "row 1201: column 'time' holds '.*', which is a time of too many decimals of a second; give all times of"
    with pytest.raises(DataError, match=sentence):
        load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(2), cache_dir=tmp_path / "cache")
    log["time"] = [*(f"{time}000" for time in early), *nanoseconds(10, 500)]
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(2), cache_dir=tmp_path / "cache")
    assert found.index().to_pandas()["end"].iloc[-1] == pd.Timestamp(log["time"].iloc[-1])


def test_a_step_back_of_some_nanoseconds_is_told(tmp_path: Path) -> None:
    start = START.as_unit("ns").value
    log = steady(4, "a").assign(time=pd.to_datetime([start, start + 120, start + 20, start + 1000]))
    path = saved(log, tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"row 3: time runs backwards in unit 'a'; sort the log by time"):
        load_runs(path, cache_dir=tmp_path / "cache").file_order()
    saved(log.sort_values("time"), path)
    assert load_runs(path, cache_dir=tmp_path / "cache").file_order().tolist() == [0, 1, 2, 3]
