"""Labels and ids in containers are left out and said so; what has to be a channel stays one."""

import numpy as np
import pandas as pd
import pytest
from in_containers import arrays_in_cells, embedder, multiindex, polars_of, series, tables, wide_log

from tsjepa import DataWarning
from tsjepa.containers import to_panel
from tsjepa.datasets import load


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


@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", "__index_level_0__", ""])
def test_a_saved_index_is_no_channel_and_no_time_point(name):
    with pytest.warns(DataWarning, match=f"left out: '{name}'"):
        panel = to_panel(wide_log(series()).reset_index(names=name))
    assert panel.channels == ("flow", "heat")
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 12))).add_prefix("t")
    saved = table.reset_index(names=name)
    with pytest.warns(DataWarning, match=f"left out: '{name}'"):
        fitted = embedder().fit(saved)
    assert fitted.n_features_in_ == 12
    with pytest.warns(DataWarning, match=f"left out: '{name}'"):
        found = fitted.transform(saved)
    np.testing.assert_array_equal(found, fitted.transform(table))
    assert to_panel(saved, keep=saved.columns).series.columns[0] == name


def test_columns_without_a_name_stay_where_they_are_times_or_all_there_is():
    unnamed = pd.DataFrame(np.zeros((3, 4)), columns=["label", "Unnamed: 1", "Unnamed: 2", "Unnamed: 3"])
    with pytest.warns(DataWarning, match="left out: 'label'"):
        assert to_panel(unnamed).series.shape == (3, 3)
    times = pd.DataFrame({"Unnamed: 0": ["2024-01-01", "2024-01-02"], "flow": [1.0, 2.0], "heat": [3.0, 4.0]})
    with pytest.raises(ValueError, match="column 'Unnamed: 0' of X must hold numbers, but row 0 holds '2024-01-01'"):
        to_panel(times)


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


def test_columns_of_series_are_channels_whatever_they_are_called():
    values = series().values()
    frame = pd.DataFrame({"x": [row[0] for row in values], "target": [row[1] for row in values]}).assign(label="calm")
    with pytest.warns(DataWarning, match="'label'"):
        assert to_panel(frame).channels == ("x", "target")
