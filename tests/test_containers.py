"""Series in containers: tables, logs, lists and columns of many libraries hold the same series."""

import os
import subprocess
import sys
import warnings
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_containers import (
    LENGTHS,
    WITH_IDS,
    every_container,
    long_log,
    make,
    multiindex,
    series,
    series_in_cells,
    tables,
    wide_log,
)
from shaped_tensors import registered, shaped

from tsjepa.containers import to_panel


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


def test_nullable_and_missing_values_become_nan_and_time_zones_are_kept_apart():
    log = pd.DataFrame({"id": [1, 1, 1], "time": pd.date_range("2024-03-31", periods=3, freq="h", tz="Europe/Paris")})
    log["a"], log["b"] = pd.array([1, None, 3], dtype="Int64"), [None, 2.5, True]
    np.testing.assert_array_equal(to_panel(log).series[0], [[1, np.nan, 3], [np.nan, 2.5, 1]])


def test_channels_of_different_length_are_not_cut():
    nested = pd.DataFrame({"a": [pd.Series([1.0, 2.0])], "b": [pd.Series([1.0, 2.0, 3.0])]})
    np.testing.assert_array_equal(to_panel(nested).series[0], [[1, 2, np.nan], [1, 2, 3]])


def test_columns_in_a_list_are_in_order_of_time_as_in_cells():
    column = pd.Series([1.0, 2.0, 3.0], index=pd.to_datetime(["2024-01-03", "2024-01-01", "2024-01-02"]))
    expected = to_panel(pd.DataFrame({"flow": [column]})).series[0][0]
    assert expected.tolist() == [2, 3, 1]
    for index in (column.index, column.index.to_period("D"), [2, 0, 1], [0.5, -1, 0]):
        for columns in ([column.set_axis(index)], (column.set_axis(index), np.zeros(3))):
            np.testing.assert_array_equal(to_panel(columns).series[0], expected)
    rows = [row for _, row in pd.DataFrame([[1.0, 2.0, 3.0]], columns=["t8", "t9", "t10"]).iterrows()]
    assert to_panel(rows).series is rows


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


def tensors(X, permutation=None):
    """Return Arrow's tensors whose cells, as they are stored, are those of an array (n_cases, ...)."""
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(X.dtype), X.shape[1:], permutation=permutation)
    return pa.ExtensionArray.from_storage(kind, pa.array(list(X.reshape(len(X), -1)), kind.storage_type))


@pytest.mark.parametrize("permutation", [None, [0, 1], [1, 0]])
def test_a_tensor_of_arrow_holds_all_channels(permutation):
    X = np.random.default_rng(0).normal(size=(5, 2, 4))
    column = tensors(X.transpose(0, 2, 1) if permutation == [1, 0] else X, permutation)
    table = pa.table({"id": list("abcde"), "flow": column})
    in_pandas = pd.Series(pd.arrays.ArrowExtensionArray(column))
    for alone in (column, pa.chunked_array([column[:2], column[2:]]), in_pandas):
        assert to_panel(alone).channels is None
        np.testing.assert_array_equal(to_panel(alone).series, X)
    for container in (table, table.to_batches()[0], pd.DataFrame({"id": list("abcde"), "flow": in_pandas})):
        panel = to_panel(container)
        assert (panel.channels, list(panel.ids)) == (("flow[0]", "flow[1]"), list("abcde"))
        np.testing.assert_array_equal(panel.series, X)
    beside = to_panel(table.append_column("heat", pa.array(X[:, 0].tolist())))
    assert beside.channels == ("flow[0]", "flow[1]", "heat")
    np.testing.assert_array_equal(beside.series, X[:, [0, 1, 0]])


@pytest.mark.parametrize("known", [registered, nullcontext])
def test_tensors_of_a_type_with_a_shape_alone_hold_all_channels(known):
    X = np.random.default_rng(0).normal(size=(4, 2, 3))
    with known():
        panel = to_panel(pa.table({"flow": shaped(X)}))
    assert panel.channels == ("flow[0]", "flow[1]")
    np.testing.assert_array_equal(panel.series, X)
    # cells that have another size than the shape says are series as they are
    np.testing.assert_array_equal(to_panel(pa.table({"flow": shaped(X, (2, 2))})).series, X.reshape(4, 1, 6))


def test_tensors_of_one_dimension_are_series_and_those_of_three_are_refused():
    X = np.random.default_rng(0).normal(size=(5, 2, 4))
    panel = to_panel(pa.table({"flow": tensors(X[:, 0])}))
    assert panel.channels == ("flow",)
    np.testing.assert_array_equal(panel.series, X[:, :1])
    with pytest.raises(ValueError, match=r"'flow' holds tensors of shape \(2, 2, 2\), but a series is \(n_channels, "):
        to_panel(pa.table({"flow": tensors(X.reshape(5, 2, 2, 2))}))


def test_what_is_no_container_of_series_comes_back_as_it_is():
    wide = pd.DataFrame(np.zeros((3, 4)), columns=list("abcd"))
    for X in (np.zeros((3, 4)), [np.zeros((1, 4))], [], wide, [pd.Series([1.0, 2.0])], pd.Series([1.0, 2.0])):
        assert to_panel(X).series is X


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


@pytest.mark.parametrize("tensor", [torch.ones(3, dtype=torch.bfloat16), torch.ones(3, requires_grad=True)])
def test_tensors_that_numpy_does_not_take_are_cells(tensor):
    panel = to_panel(pd.DataFrame({"flow": [tensor, 2 * tensor]}))
    assert np.asarray(panel.series).ravel().tolist() == [1.0] * 3 + [2.0] * 3
