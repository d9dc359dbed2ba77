"""`load` on series in memory: containers, arrays, labels, and what is no data set."""

import numpy as np
import pandas as pd
import pytest
from in_containers import arrays_in_cells, every_container, make, series, wide_log

from tsjepa.containers import to_panel
from tsjepa.datasets import DataError, load
from tsjepa.datasets.log_runs import load_runs


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
        (np.zeros((2, 1, 4)), [0.0, float("inf")], "y: case 2 has an infinite label"),
        (np.zeros((0, 1, 4)), None, "cannot be used"),
        (pd.DataFrame({"id": [1], "time": [0], "flow": ["low"]}), None, "cannot be used"),
        ("FordA", [1], "y is only for series in memory"),
    ],
)
def test_load_refuses_what_is_no_data_set(X, y, words):
    with pytest.raises(DataError, match=words):
        load(X, y=y)


@pytest.mark.parametrize(
    ("y", "codes"),
    [
        ([2, 0, None], [1, 0, -1]),
        (["low", float("nan"), "high"], [1, -1, 0]),
        (np.array([None, "high", ""], object), [-1, 0, -1]),
        (np.array([[True], [None], [False]], object), [1, -1, 0]),
        (pd.Series([7, pd.NA, 10], dtype="Int64"), [0, -1, 1]),
        ([0.5, None, 2], [0.5, np.nan, 2.0]),
        (np.array([1.5, np.nan, 2.0]), [1.5, np.nan, 2.0]),
    ],
)
def test_a_series_may_be_without_a_label(y, codes):
    data = load(np.zeros((3, 1, 4)), y=y)
    np.testing.assert_array_equal(data.y_train, codes)
    n_labelled = 3 - sum(code == -1 or code != code for code in codes)
    assert data.notes == (f"{n_labelled} of 3 training series {'has' if n_labelled == 1 else 'have'} a label",)
    assert load(np.zeros((3, 1, 4)), y=[None] * 3).y_train is None


def test_load_refuses_labels_in_another_order():
    y = pd.Series({"fan": 0, "pump": 1, "mill": 2})
    with pytest.raises(DataError, match=r"index of y has the ids of X in another order.* give y\.loc.*or y\.to_numpy"):
        load(wide_log(series()), y=y)
    assert load(wide_log(series()), y=y.loc[to_panel(wide_log(series())).ids]).y_train.tolist() == [1, 0, 2]
    assert load(wide_log(series()), y=y.to_numpy()).y_train.tolist() == [0, 1, 2]
    assert load(arrays_in_cells(series()), y=y).y_train.tolist() == [0, 1, 2]
