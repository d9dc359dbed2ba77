"""A pyarrow dataset as a log: read from its files, or refused where that would read something else."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from tsjepa.datasets import DataError
from tsjepa.datasets.logs import Windowing, load_log


def test_a_dataset_of_pyarrow_is_read_from_its_files(tmp_path: Path) -> None:
    folder, plain = tmp_path / "log", tmp_path / "plain"
    frame = pd.DataFrame({"id": ["a"] * 10 + ["b"] * 10, "time": [*range(10)] * 2, "v": np.arange(20.0)})
    table = pa.Table.from_pandas(frame)
    pads.write_dataset(table, plain, format="parquet")
    hive = pads.partitioning(pa.schema([("id", pa.string())]), flavor="hive")
    pads.write_dataset(table, folder, format="parquet", partitioning=hive)
    wanted = load_log(plain, windowing=Windowing(window=5), cache_dir=tmp_path / "cache")
    for source in (pads.dataset(folder, partitioning="hive"), pads.dataset(plain)):
        found = load_log(source, windowing=Windowing(window=5), cache_dir=tmp_path / "cache")
        assert found.index().to_pydict()["id"] == wanted.index().to_pydict()["id"] == ["a", "a", "b", "b"]
        np.testing.assert_array_equal(found.take(np.arange(4)).values, wanted.take(np.arange(4)).values)
    # without a partitioning the folders' names are no column, and each file is a series of its own
    found = load_log(pads.dataset(folder), windowing=Windowing(window=5), cache_dir=tmp_path / "cache")
    assert "a" not in found.index().to_pydict()["id"]


def test_a_dataset_that_is_no_set_of_files_is_refused(tmp_path: Path) -> None:
    table = pa.table({"time": [0, 1], "v": [1.0, 2.0], "unit": ["x", "y"]})
    named = pads.partitioning(pa.schema([("unit", pa.string())]))
    pads.write_dataset(table, tmp_path / "log", format="parquet", partitioning=named)
    given = pads.dataset(tmp_path / "log", partitioning=named)
    for source, sentence in (
        (pads.dataset(table), "has no files of its own"),
        (given, r"give columns \(unit\) without naming them"),
        (pads.dataset(tmp_path / "log").filter(pads.field("v") > 1), "is filtered"),
    ):
        with pytest.raises(DataError, match=sentence):
            load_log(source, cache_dir=tmp_path / "cache")
