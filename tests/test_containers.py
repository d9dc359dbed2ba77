import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder
from sktime.datatypes import convert

from tsjepa import DataWarning, TSJEPAEmbedder, as_series
from tsjepa.containers import to_panel
from tsjepa.datasets import DataError, load
from tsjepa.datasets.log_runs import load_runs

LENGTHS = {"pump": 30, "fan": 24, "mill": 27}


def series(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(2, length)).astype(dtype) for name, length in LENGTHS.items()}


def tables(values):
    return [pd.DataFrame(x.T, columns=["flow", "heat"]) for x in values.values()]


def wide_log(values):
    rows = [
        table.assign(id=name, timestamp=pd.date_range("2024-01-01", periods=len(table), freq="s"))
        for name, table in zip(values, tables(values), strict=True)
    ]
    return pd.concat(rows, ignore_index=True)[["id", "timestamp", "flow", "heat"]]


def long_log(values):
    return wide_log(values).melt(["id", "timestamp"], var_name="channel", value_name="value")


def multiindex(values):
    return wide_log(values).set_index(["id", "timestamp"])


def arrays_in_cells(values):
    rows = {name: list(x) for name, x in values.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["flow", "heat"])


def series_in_cells(values):
    return arrays_in_cells(values).map(pd.Series)


def polars_of(make):
    def polars_table(values):
        return pytest.importorskip("polars", reason="polars is not installed").from_pandas(make(values))

    return polars_table


def polars_lists(values):
    columns = {"id": list(values), **{n: [x[c] for x in values.values()] for c, n in enumerate(("flow", "heat"))}}
    return pytest.importorskip("polars", reason="polars is not installed").DataFrame(columns)


def polars_panel(values):
    pytest.importorskip("polars", reason="polars is not installed")
    return convert(multiindex(values), "pd-multiindex", "polars_panel", "Panel")


def of_list(values):
    pl = pytest.importorskip("polars", reason="polars is not installed")
    return [pl.from_pandas(table) for table in tables(values)]


WITH_IDS = {
    "wide log": wide_log,
    "long log": long_log,
    "pd-multiindex": multiindex,
    "nested_univ": series_in_cells,
    "arrays in cells": arrays_in_cells,
    "polars wide log": polars_of(wide_log),
    "polars lazy long log": lambda values: polars_of(long_log)(values).lazy(),
    "polars list columns": polars_lists,
    "polars_panel": polars_panel,
    "pyarrow wide log": lambda values: pa.Table.from_pandas(wide_log(values)),
    "pyarrow list columns": lambda values: pa.Table.from_pandas(arrays_in_cells(values).rename_axis("id")),
}
WITHOUT_IDS = {"df-list": tables, "list of polars tables": of_list}
every_container = pytest.mark.parametrize("name", [*WITH_IDS, *WITHOUT_IDS])


def make(name, values):
    return (WITH_IDS | WITHOUT_IDS)[name](values)


@every_container
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_container_holds_the_same_series(name, dtype):
    values = series(dtype)
    panel = to_panel(make(name, values))
    assert panel.channels == ("flow", "heat")
    assert (None if panel.ids is None else list(panel.ids)) == (list(values) if name in WITH_IDS else None)
    for found, expected in zip(panel.series, values.values(), strict=True):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


@every_container
def test_load_takes_every_container(name):
    values = series(np.float32)
    data = load(make(name, values), y=["worn", "new", "worn"])
    assert (data.name, data.classes, data.y_train.tolist(), data.X_test) == (
        "in memory",
        ("new", "worn"),
        [1, 0, 1],
        None,
    )
    for found, expected in zip(data.X_train, values.values(), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_a_log_is_read_by_the_same_names_in_memory_and_in_a_file(tmp_path):
    log = pd.DataFrame({"unit_id": [7, 7, 8, 8], "ts": [0, 1, 0, 1], "flow": [1.0, 2.0, 3.0, 4.0]})
    log.to_csv(tmp_path / "log.csv", index=False)
    panel, runs = to_panel(log), load_runs(tmp_path / "log.csv", cache_dir=tmp_path / "cache")
    assert panel.channels == ("flow",)
    assert panel.ids.tolist() == [7, 8]
    np.testing.assert_array_equal(panel.series, [[[1.0, 2.0]], [[3.0, 4.0]]])
    assert runs.ids.to_pylist() == [7, 8]
    assert runs.values(0, 2).tolist() == [[1.0, 2.0]]


def test_load_takes_arrays_and_keeps_what_is_missing():
    X = np.array([[[1.0, np.nan, 3.0]], [[4.0, 5.0, 6.0]]])
    data = load(X, y=[0.5, 1.5])
    np.testing.assert_array_equal(data.X_train, X.astype(np.float32))
    assert data.classes is None
    assert data.y_train.tolist() == [0.5, 1.5]
    assert load(X).y_train is None
    assert load(X, y=pd.Series(["low", "high"])).classes == ("high", "low")
    assert load(X, y=np.array([[3], [1]])).y_train.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (np.zeros((2, 1, 4)), [1, 2, 3], r"y has shape \(3,\) for 2 series"),
        (np.zeros((2, 1, 4)), [0.0, float("nan")], "y: case 2 has no finite label"),
        (np.zeros((2, 1, 4)), np.array([None, "high"], object), "y: case 1 has no label"),
        (np.zeros((2, 1, 4)), pd.Series(["low", pd.NA]), "y: case 2 has no label"),
        (np.zeros((0, 1, 4)), None, "cannot be used"),
        (pd.DataFrame({"id": [1], "time": [0], "flow": ["low"]}), None, "cannot be used"),
        ("FordA", [1], "y is only for series in memory"),
    ],
)
def test_load_refuses_what_is_no_data_set(X, y, words):
    with pytest.raises(DataError, match=words):
        load(X, y=y)


def test_load_refuses_labels_in_another_order():
    y = pd.Series({"fan": 0, "pump": 1, "mill": 2})
    with pytest.raises(DataError, match=r"index of y has the ids of X in another order.* give y\.loc.*or y\.to_numpy"):
        load(wide_log(series()), y=y)
    assert load(wide_log(series()), y=y.loc[to_panel(wide_log(series())).ids]).y_train.tolist() == [1, 0, 2]
    assert load(wide_log(series()), y=y.to_numpy()).y_train.tolist() == [0, 1, 2]
    assert load(arrays_in_cells(series()), y=y).y_train.tolist() == [0, 1, 2]


@given(st.randoms(use_true_random=False), st.sampled_from([wide_log, long_log, multiindex]))
@settings(max_examples=20, deadline=None)
def test_rows_may_come_in_any_order(random, container):
    values = series()
    frame = container(values)
    order = list(range(len(frame)))
    random.shuffle(order)
    shuffled = frame.iloc[order]
    panel = to_panel(shuffled)
    ids = shuffled.index.get_level_values(0) if container is multiindex else shuffled["id"]
    assert list(panel.ids) == list(dict.fromkeys(ids))
    channel = {name: place for place, name in enumerate(panel.channels)}
    for name, found in zip(panel.ids, panel.series, strict=True):
        np.testing.assert_array_equal(found[[channel["flow"], channel["heat"]]], values[name])


def test_a_long_log_may_lack_points_and_have_times_of_its_own():
    log = pd.DataFrame(
        {"case_id": [7, 7, 7], "reading_id": [5, 9, 9], "dim_id": ["b", "b", "a"], "value": [1.0, 2.0, 3.0]}
    )
    panel = to_panel(log)
    assert panel.channels == ("b", "a")
    np.testing.assert_array_equal(panel.series, [[[1.0, 2.0], [np.nan, 3.0]]])


def test_columns_of_any_name_are_taken_when_they_are_named():
    log = wide_log(series()).rename(columns={"id": "plant", "timestamp": "t"})
    named = to_panel(log.assign(t=log["t"].astype(int)), id="plant", time="t")
    for found, expected in zip(named.series, series().values(), strict=True):
        np.testing.assert_array_equal(found, expected)
    long = long_log(series()).set_axis(["a", "b", "c", "d"], axis=1)
    assert to_panel(long, id="a", time="b", channel="c", value="d").channels == ("flow", "heat")
    with pytest.raises(ValueError, match="no column 'plnt' for id: its columns are plant, t, flow, heat"):
        to_panel(log, id="plnt")


def test_a_log_without_ids_is_one_series_and_needs_no_known_name_of_a_timestamp():
    log = wide_log(series()).query("id == 'fan'").drop(columns="id").rename(columns={"timestamp": "when"})
    panel = to_panel(log)
    np.testing.assert_array_equal(panel.series[0], series()["fan"])
    assert panel.ids is None
    assert len(to_panel(log.assign(id=3).set_index("when")).series) == 1


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


@pytest.mark.parametrize("names", [(" id", "timestamp "), ("Unit_ID ", " Time")])
@pytest.mark.parametrize("container", [wide_log, long_log])
def test_spaces_around_a_name_say_nothing(container, names):
    log = container(series()).rename(columns=dict(zip(("id", "timestamp"), names, strict=True)))
    log = log.rename(columns={"channel": " channel", "value": "value "})
    for table in (log, log.set_index(list(names))) if container is wide_log else (log,):
        panel = to_panel(table)
        assert (panel.channels, list(panel.ids)) == (("flow", "heat"), list(LENGTHS))
        for found, expected in zip(panel.series, series().values(), strict=True):
            np.testing.assert_array_equal(found, expected)
    swapped = wide_log(series()).set_index(["timestamp", "id"]).rename_axis([names[1], names[0]])
    assert list(to_panel(swapped).ids) == list(LENGTHS)


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


def test_levels_of_an_index_of_other_names_are_instance_and_time():
    days = pd.DataFrame(
        {"load": np.arange(6.0)},
        index=pd.MultiIndex.from_product([pd.date_range("2024-01-01", periods=2), range(3)], names=["date", "hour"]),
    )
    np.testing.assert_array_equal(to_panel(days).series, [[[0, 1, 2]], [[3, 4, 5]]])


def test_nullable_and_missing_values_become_nan_and_time_zones_are_kept_apart():
    log = pd.DataFrame({"id": [1, 1, 1], "time": pd.date_range("2024-03-31", periods=3, freq="h", tz="Europe/Paris")})
    log["a"], log["b"] = pd.array([1, None, 3], dtype="Int64"), [None, 2.5, True]
    np.testing.assert_array_equal(to_panel(log).series[0], [[1, np.nan, 3], [np.nan, 2.5, 1]])


def test_channels_of_different_length_are_not_cut():
    nested = pd.DataFrame({"a": [pd.Series([1.0, 2.0])], "b": [pd.Series([1.0, 2.0, 3.0])]})
    np.testing.assert_array_equal(to_panel(nested).series[0], [[1, 2, np.nan], [1, 2, 3]])


@pytest.mark.parametrize("empty", [[], (), np.zeros(0), pd.Series([], dtype=float)])
@pytest.mark.parametrize("times", [False, True])
def test_a_series_without_any_point_is_one_in_cells_as_in_a_list(empty, times, fitted):
    values = list(series().values())
    nested = series_in_cells(series()) if times else arrays_in_cells(series())
    if times:
        nested = nested.map(lambda x: x.set_axis(pd.date_range("2024-01-01", periods=len(x), freq="s")))
    rows = [*nested.to_numpy().tolist()[:1], [empty, empty], *nested.to_numpy().tolist()[1:]]
    table = pd.DataFrame(rows, columns=["flow", "heat"], index=list("abcd"))
    panel = to_panel(table)
    assert list(panel.ids) == list("abcd")
    assert [x.shape[1] for x in panel.series] == [30, 0, 24, 27]
    with pytest.warns(DataWarning, match="without any value, flow, heat in case 1|without any value, the first"):
        Z = fitted.transform(table)
    with pytest.warns(DataWarning, match="without any value"):
        np.testing.assert_array_equal(fitted.transform([values[0], values[0][:, :0], *values[1:]]), Z)
    assert not Z[1].any()


def test_columns_in_a_list_are_in_order_of_time_as_in_cells():
    column = pd.Series([1.0, 2.0, 3.0], index=pd.to_datetime(["2024-01-03", "2024-01-01", "2024-01-02"]))
    expected = to_panel(pd.DataFrame({"flow": [column]})).series[0][0]
    assert expected.tolist() == [2, 3, 1]
    for index in (column.index, column.index.to_period("D"), [2, 0, 1], [0.5, -1, 0]):
        for columns in ([column.set_axis(index)], (column.set_axis(index), np.zeros(3))):
            np.testing.assert_array_equal(to_panel(columns).series[0], expected)
    rows = [row for _, row in pd.DataFrame([[1.0, 2.0, 3.0]], columns=["t8", "t9", "t10"]).iterrows()]
    assert to_panel(rows).series is rows


def test_a_panel_stays_what_it_is(fitted):
    log = wide_log(series()).rename(columns={"id": "plant", "timestamp": "n"})
    panel = to_panel(log, id="plant", time="n")
    assert to_panel(panel) is panel
    np.testing.assert_array_equal(fitted.transform(panel), fitted.transform(list(series().values())))
    frame = embedder().set_output(transform="pandas").fit(panel).transform(panel)
    assert frame.index.tolist() == list(LENGTHS)


COLUMNS = {
    "arrays": lambda values: pd.Series(values),
    "tuples": lambda values: pd.Series([tuple(x) for x in values]),
    "series": lambda values: pd.Series([pd.Series(x) for x in values]),
    "arrow lists in pandas": lambda values: pd.Series(pd.array(values, pd.ArrowDtype(pa.list_(pa.float64())))),
    "polars": lambda values: pytest.importorskip("polars", reason="polars is not installed").Series(values),
    "pyarrow": pa.array,
    "pyarrow in chunks": lambda values: pa.chunked_array([values[:1], values[1:]]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_series_is_a_table_of_one_channel(name):
    values = [x[0].tolist() for x in series().values()]
    column = COLUMNS[name](values)
    panel = to_panel(column)
    assert panel.channels is None
    for found, expected in zip(panel.series, values, strict=True):
        np.testing.assert_array_equal(found, [expected])
    if hasattr(column, "iloc"):
        column.index = pd.Index(list(LENGTHS))
        assert list(to_panel(column).ids) == list(LENGTHS)
        assert to_panel(column.to_frame("flow")).channels == to_panel(column.rename("flow")).channels == ("flow",)
        assert to_panel(column.rename("series")).channels == ("series",)


def test_a_column_of_series_goes_through_a_column_transformer():
    table = pd.DataFrame({"flow": [x[0] for x in series().values()], "kind": list("aba")})
    columns = ColumnTransformer([("flow", embedder(), "flow"), ("kind", OneHotEncoder(), ["kind"])], sparse_threshold=0)
    Z = columns.fit_transform(table)
    np.testing.assert_array_equal(Z[:, :-2], embedder().fit_transform(list(table["flow"])))


def test_series_with_their_mask_are_taken_again():
    values = list(series().values())
    ready = as_series(values)
    assert as_series(ready) is ready
    Z = embedder().fit_transform(ready)
    assert Z.dtype == np.float32
    np.testing.assert_array_equal(Z, embedder().fit_transform(values))


def test_what_is_no_container_of_series_comes_back_as_it_is():
    wide = pd.DataFrame(np.zeros((3, 4)), columns=list("abcd"))
    for X in (np.zeros((3, 4)), [np.zeros((1, 4))], [], wide, [pd.Series([1.0, 2.0])], pd.Series([1.0, 2.0])):
        assert to_panel(X).series is X


def cells_with_ids(values):
    return arrays_in_cells(values).rename_axis("id").reset_index()


def with_label(make):
    def labelled(values):
        return make(values).assign(label=1.0)

    return labelled


ASIDE = {
    "wide log": with_label(wide_log),
    "polars wide log": polars_of(with_label(wide_log)),
    "words": lambda values: wide_log(values).assign(label="worn"),
    "pd-multiindex": with_label(multiindex),
    "df-list": lambda values: [table.assign(label=1.0) for table in tables(values)],
    "two ids": lambda values: wide_log(values).assign(Machine=1, label=1),
    "groups": lambda values: [group for _, group in wide_log(values).groupby("id", sort=False)],
    "cells": with_label(arrays_in_cells),
    "cells with ids": with_label(cells_with_ids),
    "polars list columns": polars_of(with_label(cells_with_ids)),
}


@pytest.mark.parametrize("name", ASIDE)
def test_what_looks_like_a_label_or_an_id_never_becomes_a_channel(name):
    with pytest.warns(DataWarning, match="labels or ids are left out: '(label|Machine', 'label|id)'; rename one"):
        panel = to_panel(ASIDE[name](series()))
    assert panel.channels == ("flow", "heat")
    for found, expected in zip(panel.series, series().values(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("time", [pd.Timestamp("2024-01-01"), 5])
def test_one_time_a_series_is_left_out_beside_cells(time):
    with pytest.warns(DataWarning, match="column 'timestamp' of X, one time a series, is left out"):
        panel = to_panel(arrays_in_cells(series()).assign(timestamp=time))
    assert panel.channels == ("flow", "heat")


def test_a_label_is_no_time_point_either():
    with pytest.warns(DataWarning, match="left out: 'label'"):
        panel = to_panel(pd.DataFrame(np.zeros((3, 4)), columns=["t0", "t1", "t2", "label"]))
    assert panel.series.columns.tolist() == ["t0", "t1", "t2"]


@pytest.mark.parametrize("name", ["fold", "Index", "group", "fault", "is_anomaly", "rul"])
def test_what_stands_beside_time_points_is_none_in_memory_and_in_a_file(name, tmp_path):
    table = pd.DataFrame(np.zeros((3, 3)), columns=["t0", "t1", "t2"])
    table.insert(0, name, [0, 1, 0])
    table.to_csv(tmp_path / "table.csv", index=False)
    with pytest.warns(DataWarning, match=f"left out: '{name}'"):
        panel = to_panel(table)
    assert panel.series.columns.tolist() == ["t0", "t1", "t2"]
    assert load(tmp_path / "table.csv").X_train.shape == (3, 1, 3)


def test_what_is_an_axis_or_all_there_is_or_is_kept_stays_a_channel():
    log = wide_log(series())
    assert to_panel(log.set_axis(["id", "time", "x", "y"], axis=1)).channels == ("x", "y")
    assert to_panel(log.set_axis(["unique_id", "ds", "y", "heat"], axis=1)[["unique_id", "ds", "y"]]).channels == ("y",)
    assert to_panel(log.rename(columns={"flow": "fault"}), keep=["fault"]).channels == ("fault", "heat")


def test_an_embedder_that_was_trained_on_such_a_channel_goes_on_to_take_it():
    log = wide_log(series())
    fitted = embedder().fit(log)
    expected = fitted.transform(log)
    fitted.feature_names_in_[0] = "fault"
    np.testing.assert_array_equal(fitted.transform(log.rename(columns={"flow": "fault"})), expected)


LOG = wide_log(series())
BAD = {
    "text": (
        LOG.assign(flow=["ok"] * len(LOG)),
        "column 'flow' of X must hold numbers, but id pump at time 2024-01-01",
    ),
    "mixed": (LOG.astype({"heat": object}).replace({"heat": {LOG["heat"][4]: "bad"}}), "'heat' .* holds 'bad'"),
    "dates": (LOG.assign(flow=LOG["timestamp"]), "column 'flow' of X must hold numbers"),
    "complex": (LOG.assign(flow=1j), "column 'flow' of X must hold numbers"),
    "twice": (pd.concat([LOG, LOG[31:32]]), "two rows for id fan at time 2024-01-01 00:00:01: keep one"),
    "twice long": (pd.concat([long_log(series())] * 2), "two rows for id pump at time 2024-01-01 00:00:00"),
    "no id": (LOG.replace({"id": {"fan": None}}), "row 30 of X has no id"),
    "no time": (LOG.assign(timestamp=LOG["timestamp"].where(LOG.index != 5)), "row 5 of X has no time"),
    "no channel": (long_log(series()).replace({"channel": {"flow": None}}), "row 0 of X has no channel"),
    "text times": (LOG.astype({"timestamp": str}), "times of X must be numbers or timestamps.*to_datetime"),
    "id without time": (LOG.drop(columns="timestamp"), "id column 'id' but no time"),
    "more in a long log": (long_log(series()).assign(unit="bar"), "column 'unit' of X is none of id, time, channel"),
    "nothing else": (LOG[["id", "timestamp"]], "no channel beside id and time"),
    "no rows": (LOG[:0], "no rows"),
    "two of a name": (LOG.set_axis(["id", "timestamp", "flow", "flow"], axis=1), "two columns 'flow'"),
    "three levels": (LOG.set_index(["id", "timestamp", "flow"]), "two levels instance and time, but has 3"),
    "arrays of several channels in cells": (
        pd.DataFrame({"flow": [np.zeros((2, 5)), np.zeros((2, 5))]}),
        r"column 'flow' of X holds series of several channels, and a cell holds one: .* a list with an array",
    ),
    "lists of lists in cells": (
        pd.DataFrame({"flow": [[[1.0, 2.0], [3.0, 4.0]]]}),
        "'flow' of X holds series",
    ),
    "only cells without points": (pd.DataFrame({"flow": [[], []]}), "no series of X has a time point"),
    "table and array": (
        [tables(series())[0], np.zeros((2, 5))],
        "case 1 of X is of type ndarray, but others",
    ),
    "array and table": (
        [np.zeros((2, 5)), tables(series())[0]],
        "case 0 of X is of type ndarray, but others",
    ),
    "table and nothing": ([tables(series())[0], None], "case 1 of X is of type NoneType, but others are tables"),
    "table and column": ([*tables(series()), pd.Series([1.0])], "case 3 of X is of type Series, but others are"),
    "number beside cells": (arrays_in_cells(series()).assign(load=1), "'load' of X must hold a series in every row"),
    "text as times in the index": (
        LOG.astype({"timestamp": str}).set_index("timestamp"),
        "times of X must be numbers or timestamps",
    ),
    "other columns": (
        [tables(series())[0], tables(series())[1][["flow"]]],
        "'heat' is in only one of the tables 0 and",
    ),
    "no points": ([tables(series())[0], tables(series())[1][:0]], "series 1 of X has no time points"),
    "text in a table": (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "column 'b' of X .* row 0 holds 'x'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_refused_in_one_sentence(name):
    X, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence) as caught:
        to_panel(X)
    assert "\n" not in str(caught.value)


def embedder(**parameters):
    return TSJEPAEmbedder("tiny", **{"max_epochs": 1, "random_state": 0, "device": "cpu", "n_patches": 4, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return embedder().fit(list(series().values()))


@every_container
def test_embeddings_do_not_depend_on_the_container(fitted, name):
    plain = list(series(seed=1).values())
    np.testing.assert_array_equal(fitted.transform(make(name, series(seed=1))), fitted.transform(plain))


def test_masked_and_ragged_arrays_are_embedded_as_lists_with_nan(fitted):
    X = np.stack([x[:, :24] for x in series().values()])
    X[:, :, 5:9] = np.nan
    masked = np.ma.masked_invalid(X)
    masked.data[masked.mask] = -9999.0
    expected = fitted.transform(X)
    for form in (masked, list(masked)):
        np.testing.assert_array_equal(fitted.transform(form), expected)
    ragged = np.empty(3, object)
    ragged[:] = list(series().values())
    np.testing.assert_array_equal(fitted.transform(ragged), fitted.transform(list(series().values())))


def test_fit_on_a_container_is_fit_on_its_arrays():
    np.testing.assert_array_equal(
        embedder().fit_transform(wide_log(series())), embedder().fit_transform(list(series().values()))
    )


def test_pandas_output_names_the_series_and_plain_output_is_an_array(fitted):
    frame = embedder().set_output(transform="pandas").fit_transform(wide_log(series()))
    assert frame.index.tolist() == list(LENGTHS)
    assert frame.index.name == "id"
    assert frame.columns[0] == "tsjepaembedder0"
    assert isinstance(fitted.transform(wide_log(series())), np.ndarray)


@pytest.mark.parametrize("index", [True, False])
def test_pandas_output_of_one_log_has_one_row(index):
    log = wide_log(series()).query("id == 'fan'").drop(columns="id")
    fitted = embedder().set_output(transform="pandas").fit(log)
    frame = fitted.transform(log.set_index("timestamp") if index else log)
    assert (frame.shape[0], frame.index.tolist()) == (1, [0])
    cases = pd.DataFrame(np.random.default_rng(0).normal(size=(3, 30)), index=list("abc"))
    assert fitted.fit(cases).transform(cases).index.tolist() == list("abc")


def test_channels_are_taken_by_name():
    log = wide_log(series())
    fitted = embedder().fit(log)
    assert fitted.feature_names_in_.tolist() == ["flow", "heat"]
    expected = fitted.transform(log)
    np.testing.assert_array_equal(fitted.transform(log[["heat", "timestamp", "flow", "id"]]), expected)
    np.testing.assert_array_equal(fitted.transform(list(series().values())), expected)
    with pytest.warns(DataWarning, match="left out: noise"):
        np.testing.assert_array_equal(fitted.transform(log.assign(noise=0.0)), expected)
    with pytest.raises(ValueError, match="X has no channel 'heat': its channels are flow"):
        fitted.transform(log.drop(columns="heat"))
    assert not hasattr(fitted.fit(list(series().values())), "feature_names_in_")


def test_a_saved_embedder_reads_containers(fitted, tmp_path):
    fitted.save(tmp_path / "model.ckpt")
    loaded = TSJEPAEmbedder.load(tmp_path / "model.ckpt", device="cpu")
    np.testing.assert_array_equal(loaded.transform(long_log(series())), fitted.transform(list(series().values())))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_table_of_cases_and_time_points_stays_scikit_learns_input(library):
    rows = np.random.default_rng(0).normal(size=(6, 20))
    frame = pd.DataFrame(rows, columns=[f"t{i}" for i in range(20)])
    if library != "pandas":
        frame = polars_of(lambda x: x)(frame) if library == "polars" else pa.Table.from_pandas(frame)
    fitted = embedder().fit(frame)
    assert fitted.feature_names_in_.tolist() == [f"t{i}" for i in range(20)]
    np.testing.assert_array_equal(fitted.transform(frame), embedder().fit_transform(rows[:, None]))


def test_arrays_and_lists_import_no_library_of_containers():
    program = (
        "import sys, numpy as np; from tsjepa.containers import to_panel\n"
        "to_panel(np.zeros((2, 3))); to_panel([np.zeros((1, 3))])\n"
        "print([m for m in ('pandas', 'polars', 'pyarrow', 'sktime') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_no_container_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for container in (wide_log, long_log, multiindex, series_in_cells, tables):
            to_panel(container(series()))


@pytest.mark.parametrize("name", ["cycle", "time", "date"])
def test_rows_of_time_points_stay_cases_whatever_their_index_is_called(name):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(5, 8))).rename_axis(index=name)
    assert len(to_panel(X).series) == 5


def test_columns_of_series_are_channels_whatever_they_are_called():
    values = series().values()
    frame = pd.DataFrame({"x": [row[0] for row in values], "target": [row[1] for row in values]}).assign(label="calm")
    with pytest.warns(DataWarning, match="'label'"):
        assert to_panel(frame).channels == ("x", "target")


def test_times_in_the_index_and_in_a_column_are_no_channel_in_a_list_either():
    times = pd.date_range("2024-01-01", periods=4, freq="s")
    frame = pd.DataFrame({"timestamp": times, "flow": np.arange(4.0)}, index=times)
    assert to_panel([frame]).channels == to_panel(frame).channels == ("flow",)
