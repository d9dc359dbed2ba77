"""Ids and times in the index of a table: as columns, as levels, and rows that are only numbered."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from in_containers import LENGTHS, long_log, series, tables, wide_log

from tsjepa import DataWarning
from tsjepa.column_guesses import find_columns
from tsjepa.columns import with_index
from tsjepa.containers import to_panel

TIMES = {
    "datetime": lambda n: pd.date_range("2024-01-01", periods=n, freq="s"),
    "period": lambda n: pd.period_range("2024-01-01", periods=n, freq="s"),
    "timedelta": lambda n: pd.timedelta_range("0s", periods=n, freq="s"),
    "arrow": lambda n: pd.array(pd.date_range("2024-01-01", periods=n), pd.ArrowDtype(pa.timestamp("ns"))),
}


@pytest.mark.parametrize("name", [None, "when", "timestamp"])
@pytest.mark.parametrize("times", TIMES)
def test_an_index_of_times_makes_one_series_of_a_log(times, name):
    x = series()["fan"]
    log = tables({"fan": x})[0].set_index(pd.Index(TIMES[times](x.shape[1]), name=name))
    for table in (log, log[::-1], [log[::-1]]):
        panel = to_panel(table)
        assert (panel.channels, panel.ids) == (("flow", "heat"), None)
        np.testing.assert_array_equal(panel.series, [x])


def test_an_index_whose_name_is_a_time_is_one_like_the_column():
    log = wide_log(series()).assign(Cycle=lambda log: log.index[::-1]).drop(columns=["id", "timestamp"])
    expected = to_panel(log)
    assert expected.channels == ("flow", "heat")
    np.testing.assert_array_equal(to_panel(log.set_index("Cycle")).series, expected.series)
    named = to_panel(log.rename(columns={"Cycle": "n"}).set_index("n"), time="n")
    np.testing.assert_array_equal(named.series, expected.series)
    categories = log.set_index("Cycle")
    categories.columns = pd.CategoricalIndex(categories.columns)
    np.testing.assert_array_equal(to_panel(categories).series, expected.series)


@pytest.mark.parametrize("container", [wide_log, long_log])
def test_an_index_of_ids_is_one_like_the_column(container):
    log = container(series()).rename(columns={"id": "Machine"})
    log["timestamp"] = pd.date_range("2024-01-01", periods=len(log), freq="s")  # one clock that runs on
    if container is long_log:
        log["timestamp"] = log["timestamp"].to_numpy()[log.groupby("channel").cumcount()]
    expected, panel = to_panel(log), to_panel(log.set_index("Machine"))
    assert list(panel.ids) == list(LENGTHS)
    for found, wanted in zip(panel.series, expected.series, strict=True):
        np.testing.assert_array_equal(found, wanted)
    named = to_panel(log.rename(columns={"Machine": "plant"}).set_index("plant"), id="plant")
    assert list(named.ids) == list(LENGTHS)


def test_rows_that_are_numbered_are_those_of_one_series_and_cases_stay_cases():
    log = wide_log(series()).query("id == 'fan'").drop(columns="id").rename_axis("id")
    np.testing.assert_array_equal(to_panel(log).series, [series()["fan"]])
    cases = pd.DataFrame(np.zeros((3, 4)), index=pd.Index([7, 8, 8], name="case_id"))
    assert to_panel(cases).series is cases
    kept = wide_log(series()).set_index("id", drop=False)
    assert list(to_panel(kept).ids) == list(LENGTHS)


@pytest.mark.parametrize("names", [("timestamp", "machine"), ("Time", "unit_id"), ("when", "id"), ("when", "plant")])
def test_levels_of_an_index_are_taken_by_name_where_they_are_the_other_way_round(names):
    swapped = wide_log(series()).set_index(["timestamp", "id"]).rename_axis(names)
    panel = to_panel(swapped, id=names[1])
    assert list(panel.ids) == list(LENGTHS)
    for found, expected in zip(panel.series, series().values(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("times", ["timestamp", "number", "unnamed", "numbered channels"])
@pytest.mark.parametrize("time_first", [False, True])
def test_columns_of_channels_and_times_are_those_of_a_pivoted_log(times, time_first):
    log = wide_log(series())
    if times != "timestamp":
        log["timestamp"] = log.groupby("id").cumcount()
    pivoted = log.pivot(index="id", columns="timestamp", values=["heat", "flow"]).loc[list(LENGTHS)]
    if times == "unnamed":
        pivoted = pivoted.rename_axis(columns=[None, None])
    if times == "numbered channels":
        pivoted = pivoted.rename(columns={"heat": 1, "flow": 2}, level=0).rename_axis(columns=["node", "time"])
    panel = to_panel(pivoted.swaplevel(axis=1) if time_first else pivoted)
    assert panel.channels == (None if times == "numbered channels" else ("heat", "flow"))
    assert list(panel.ids) == list(LENGTHS)
    for found, expected in zip(panel.series, series().values(), strict=True):
        np.testing.assert_array_equal(found[:, : expected.shape[1]], expected[::-1])
        assert np.isnan(found[:, expected.shape[1] :]).all()


def pivoted_log(timestamps: bool) -> pd.DataFrame:
    log = wide_log(series())
    if not timestamps:
        log["timestamp"] = log.groupby("id").cumcount()
    return log.pivot(index="id", columns="timestamp", values=["heat", "flow"])


@pytest.mark.parametrize("ids", [["pump", "pump"], ["fan", "pump", "fan", "mill"], []])
def test_rows_of_a_pivoted_log_are_series_each_whatever_they_are_called(ids):
    pivoted = pivoted_log(timestamps=True)
    table = pivoted.loc[ids] if ids else pivoted.set_axis([1.0, np.nan, np.nan])
    panel = to_panel(table)
    pd.testing.assert_index_equal(panel.ids, table.index)
    rows = to_panel(pivoted)
    places = [list(rows.ids).index(name) for name in ids] or range(3)
    np.testing.assert_array_equal(panel.series, [rows.series[place] for place in places])


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("time_first", [True, False])
@pytest.mark.parametrize(
    ("beside", "said"),
    [
        (lambda pivoted: pivoted.assign(label=1), "out: 'label';"),
        (lambda pivoted: pivoted.reset_index(), "out: 'id';"),
        (lambda pivoted: pivoted.assign(label="a").reset_index(), "out: 'id', 'label';"),
    ],
)
def test_labels_and_ids_beside_a_pivoted_log_are_left_out(beside, said, time_first, timestamps):
    pivoted = pivoted_log(timestamps)
    table = beside(pivoted.swaplevel(axis=1) if time_first else pivoted)
    with pytest.warns(DataWarning, match=said):
        panel = to_panel(table)
    assert panel.channels == ("heat", "flow")
    pd.testing.assert_index_equal(panel.ids, table.index)
    np.testing.assert_array_equal(panel.series, to_panel(pivoted).series)


def test_columns_of_one_channel_and_times_are_time_points_and_labels_are_left_out():
    log = wide_log(series())
    one = log.pivot(index="id", columns="timestamp", values=["flow"])
    assert to_panel(one).series is one
    with pytest.warns(DataWarning, match="'label'"):
        np.testing.assert_array_equal(to_panel(one.assign(label=1)).series, one)
    labelled = log.assign(label=1).pivot(index="id", columns="timestamp", values=["flow", "label"])
    with pytest.warns(DataWarning, match="'label'"):
        assert to_panel(labelled).channels == ("flow",)


def test_levels_of_an_index_of_other_names_are_instance_and_time():
    days = pd.DataFrame(
        {"load": np.arange(6.0)},
        index=pd.MultiIndex.from_product([pd.date_range("2024-01-01", periods=2), range(3)], names=["date", "hour"]),
    )
    np.testing.assert_array_equal(to_panel(days).series, [[[0, 1, 2]], [[3, 4, 5]]])


@pytest.mark.parametrize("name", ["cycle", "time", "date"])
def test_rows_of_time_points_stay_cases_whatever_their_index_is_called(name):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(5, 8))).rename_axis(index=name)
    assert len(to_panel(X).series) == 5


def test_times_in_the_index_and_in_a_column_are_no_channel_in_a_list_either():
    times = pd.date_range("2024-01-01", periods=4, freq="s")
    frame = pd.DataFrame({"timestamp": times, "flow": np.arange(4.0)}, index=times)
    assert to_panel([frame]).channels == to_panel(frame).channels == ("flow",)


def test_a_column_has_one_role_and_the_first_of_one_name_counts() -> None:
    frame = pd.DataFrame({"cycle": [0, 0], "Unit": [1, 2], "unit": [3, 4], "flow": [0.5, 1.5]})
    assert find_columns(frame, {"id": "cycle", "time": None}) == {"id": "cycle", "time": None}
    assert find_columns(frame, {"id": None, "time": None}) == {"id": "Unit", "time": "cycle"}


def test_an_index_that_is_named_as_the_id_is_it_though_nothing_in_it_comes_twice() -> None:
    frame = pd.DataFrame({"time": [0, 1], "flow": [0.5, 1.5]}, index=pd.Index(["a", "b"], name="unit"))
    given = {"id": None, "time": None}
    assert [*with_index(frame, given)] == ["time", "flow"]
    assert [*with_index(frame, given | {"id": "unit"})] == ["unit", "time", "flow"]
