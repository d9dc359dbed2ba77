"""What the tests of containers share: the same series in every container, and a small embedder of them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sktime.datatypes import convert

from tsjepa import TSJEPAEmbedder

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


def tensors_in_cells(values):
    return arrays_in_cells(values).map(torch.as_tensor)


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
    "tensors in cells": tensors_in_cells,
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


def embedder(**parameters):
    return TSJEPAEmbedder("tiny", **{"max_epochs": 1, "random_state": 0, "device": "cpu", "n_patches": 4, **parameters})
