"""Types that ids, times and channels of a log come in, whatever program wrote it."""

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.csv import write_csv
from pyarrow.feather import write_feather
from reading import EVERY, ROWS, TIME, TWO, WAVE, ids, interleaved, logged

from tsjepa.datasets import DataError
from tsjepa.datasets.log_files import find_files
from tsjepa.datasets.log_runs import load_runs
from tsjepa.datasets.log_types import mostly_numbers
from tsjepa.datasets.logs import Columns, is_log


def saved(path: Path, **columns: Any) -> Path:
    write_feather(pa.table(columns), str(path))
    return path


def test_every_type_of_whole_numbers_and_text_may_be_an_id(tmp_path: Path) -> None:
    number = np.tile([1, 2], ROWS // 2)
    large = [decimal.Decimal(2**60 + int(n)) for n in number]
    held = {
        "dictionary": (pa.array(number).dictionary_encode(), [1, 2]),
        "small": (pa.array(number, pa.int8()).dictionary_encode(), [1, 2]),
        "decimal": (pa.array(large, pa.decimal128(20, 0)), [2**60 + 1, 2**60 + 2]),
        "scaled": (pa.array([decimal.Decimal(int(n)) for n in number], pa.decimal128(38, 10)), [1, 2]),
        "bytes": (pa.array([text.encode() for text in TWO]), ["a", "b"]),
        "fixed": (pa.array([text.encode() for text in TWO], pa.binary(1)), ["a", "b"]),
        "float": (pa.array(number, pa.float64()), [1, 2]),
    }
    for name, (column, known) in held.items():
        log = saved(tmp_path / f"{name}.feather", **interleaved(machine=column))
        for columns in (None, Columns("machine")):
            found = logged(log, columns)
            assert (found.columns.id, ids(found)) == ("machine", known), name
    assert load_runs(tmp_path / "decimal.feather", cache_dir=tmp_path / "cache").ids.to_pylist() == [
        2**60 + 1,
        2**60 + 2,
    ]


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.feather", **interleaved(machine=[b"\xff", b"b"] * (ROWS // 2)))
    with pytest.raises(
        DataError, match=r"row 1: column 'machine' holds .*, which is not text; mend it or drop the row"
    ):
        logged(log)


def test_channels_and_times_may_be_dictionaries(tmp_path: Path) -> None:
    level, time = pa.array(EVERY % 3).dictionary_encode(), pa.array(TIME).dictionary_encode()
    log = saved(tmp_path / "log.feather", time=time, level=level, flow=WAVE)
    assert is_log(log)
    found = logged(log)
    assert (found.columns.time, found.channels, found.step) == ("time", ("level", "flow"), "1 s")
    assert found.take(np.array([0])).values[0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(("suffix", "expected"), [("csv", True), ("parquet", False)])
def test_numbers_with_a_comma_are_numbers_in_csv_alone(tmp_path: Path, suffix: str, expected: bool) -> None:
    log = tmp_path / f"log.{suffix}"
    table = pa.table({"flow": ["1,5", "2,5", "x"]})
    {"csv": write_csv, "parquet": pq.write_table}[suffix](table, str(log))
    assert mostly_numbers(find_files(log)[0][0], "flow") is expected
