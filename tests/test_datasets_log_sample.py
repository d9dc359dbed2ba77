"""A sample of a log: its rows stay together, and come from all over its files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.csv import write_csv

from tsjepa.datasets import log_sample
from tsjepa.datasets.log_files import find_files
from tsjepa.datasets.log_reading import with_schema
from tsjepa.datasets.log_sample import Sample
from tsjepa.datasets.log_types import Schemas


def schemas(source: Path) -> Schemas:
    read = [with_schema(file) for file in find_files(source)[0]]
    return [(file, schema) for file, schema in read if schema is not None]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_stay_together_over_files_and_folders(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_sample, "SAMPLE_ROWS", 8 * 30)
    for day in range(20):
        (tmp_path / f"day={day:02}").mkdir()
        number = np.arange(100 * day, 100 * day + 100)
        table = pa.table({"number": number, "text": pa.array(number).cast(pa.string()).dictionary_encode()})
        save = {"csv": write_csv, "parquet": pq.write_table}[suffix]
        save(table, str(tmp_path / f"day={day:02}/log.{suffix}"))
    rows = Sample(schemas(tmp_path))
    found = rows.rows("day", "number", "text")
    assert len(found) == 8 * 30
    assert {int(day) for day, *_ in found} == {0, 2, 5, 8, 10, 13, 16, 19}
    assert all(int(number) // 100 == int(day) and number == text for day, number, text in found)


def test_only_files_with_all_columns_are_asked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"unit": ["a"], "flow": [1.5]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"flow": [2.5]}), tmp_path / "1.parquet")
    assert Sample(schemas(tmp_path)).texts("flow") == ["1.5"]


def test_what_is_missing_is_no_value(tmp_path: Path) -> None:
    values = pa.array([2.0, None, float("nan"), 20_260_301_000_959.0])
    pq.write_table(pa.table({"x": values, "y": pa.array([b"\xff", b"\xff", None, b"a"])}), tmp_path / "log.parquet")
    rows = Sample(schemas(tmp_path / "log.parquet"))
    assert rows.texts("x") == ["2", None, None, "20260301000959"]
    assert rows.texts("y") == ["ff", "ff", None, "61"]
    assert (rows.are_whole("x"), rows.repeats("x"), rows.repeats("y"), rows.kinds("x", "y")) == (True, False, True, 2)
