"""What is wrong with the rows of a log is told in one sentence that names the file and, where it can, the row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_logs import TEN, refused, saved, steady

from tsjepa.datasets.logs import Columns, load_log


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_two_rows_of_one_time(tmp_path: Path, suffix: str) -> None:
    log = steady()
    log.loc[55, "time"] = log["time"][54]
    path = saved(log, tmp_path / f"log.{suffix}")
    assert refused(path, Columns("unit")) == (
        f"id 'b' has two rows at 2026-03-01 00:00:14: {path}, row 55 and {path}, row 56; keep one; if clocks were put "
        "back, write times with their UTC offset"
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_local_times_when_clocks_are_put_back(tmp_path: Path, suffix: str) -> None:
    utc = pd.date_range("2025-10-25 20:00", periods=40, freq="10min", tz="UTC", unit="us")
    log = steady(units="a").assign(time=utc.tz_convert("Europe/Berlin"))
    local = saved(log.assign(time=log["time"].dt.tz_localize(None)), tmp_path / f"local.{suffix}")
    sentence = refused(local, Columns("unit"))
    assert sentence.startswith("id 'a' has two rows at 2025-10-26 02:00:00: ")
    assert sentence.endswith("; keep one; if clocks were put back, write times with their UTC offset")
    twice = refused(saved(pd.concat([log, log[-1:]]), tmp_path / f"twice.{suffix}"), Columns("unit"))
    assert twice.endswith("; keep one")
    told = saved(log, tmp_path / f"told.{suffix}")
    assert load_log(told, Columns("unit"), TEN, cache_dir=tmp_path / "cache").n_cases == 4


def test_two_rows_of_one_day_are_no_matter_of_clocks(tmp_path: Path) -> None:
    log = steady(units="a").assign(time=pd.date_range("2025-10-01", periods=40).strftime("%Y-%m-%d"))
    path = saved(pd.concat([log, log[-1:]]), tmp_path / "log.csv")
    assert refused(path, Columns("unit")).endswith("; keep one")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_machines_that_no_column_tells_apart(tmp_path: Path, suffix: str) -> None:
    log = steady().sort_values("time", kind="stable").rename(columns={"unit": "Anlage"})
    path = saved(log, tmp_path / f"log.{suffix}")
    assert refused(path) == (
        f"there are two rows at 2026-03-01 00:00:00: {path}, row 1 and {path}, row 2; there is no column of ids: name "
        "that of the machines by --id, or keep one"
    )
    assert load_log(path, Columns(id="Anlage"), TEN, cache_dir=tmp_path / "cache").n_series == 2


@pytest.mark.parametrize(("time", "shown"), [(20260301, "20260301"), (1772323200.25, "1772323200.25")])
def test_times_in_numbers_are_shown_in_full(tmp_path: Path, time: float, shown: str) -> None:
    log = steady().assign(time=np.repeat(np.arange(40), 2) + time)
    assert refused(saved(log, tmp_path / "log.csv")).startswith(f"id 'a' has two rows at {shown}: ")


@pytest.mark.parametrize("names", ["01", "10"])
def test_two_rows_of_one_time_in_two_files_in_any_order(tmp_path: Path, names: str) -> None:
    log = steady(units="a")
    early, late = (tmp_path / f"log/{name}.parquet" for name in names)
    saved(log.iloc[:21], early)
    saved(log.iloc[20:], late)
    sentence = refused(tmp_path / "log")
    assert "id 'a' has two rows at 2026-03-01 00:00:20" in sentence
    assert f"{early}, row 21" in sentence
    assert f"{late}, row 1" in sentence


def test_two_values_of_one_channel_at_one_time(tmp_path: Path) -> None:
    long = steady().melt(["unit", "time"], ["flow", "volt"], "channel", "value")
    twice = pd.concat([long, long.iloc[[90]]])
    assert "id 'a' has two rows of channel 'volt' at 2026-03-01 00:00:10" in refused(
        saved(twice, tmp_path / "log.parquet")
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_text_in_a_column_of_numbers(tmp_path: Path, suffix: str) -> None:
    log = steady().astype({"flow": str})
    log.loc[70, "flow"] = "ERR"
    path = saved(log, tmp_path / f"log.{suffix}")
    assert refused(path) == f"{path}, row 71: column 'flow' holds 'ERR', which is not a number; mend it or drop the row"


def test_text_far_down_a_csv_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_reading.CSV_BLOCK", 1 << 10)
    log = steady(400).astype({"flow": str})
    log.loc[700, "flow"] = "12,5"
    path = saved(log, tmp_path / "log.csv")
    assert f"{path}, row 701: column 'flow' holds '12,5'" in refused(path)


@pytest.mark.parametrize(
    ("row", "told"), [("{};1.5;0,5", "column 'flow' holds '1.5'"), ("{};2;.25", "'volt' holds '.25'")]
)
def test_a_point_among_decimal_commas_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str, told: str
) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_reading.HEAD_BYTES", 1 << 10)
    rows = [row.format(at) if at == 300 else f"{at};{at},25;0,5" for at in range(400)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["time;flow;volt", *rows]))
    assert refused(path).startswith(f"{path}, row 301: ")
    assert refused(path).endswith(f"{told} among numbers with a decimal comma; write all of them with one")


@pytest.mark.parametrize("mark", [",", ", ", ";"])
def test_a_bad_word_is_blamed_where_it_stands(tmp_path: Path, mark: str) -> None:
    rows = [["time", "pump", "count", "flow"]]
    rows += [[f"{at}", str(at % 2 == 0), f"{at}", f"{at}.25"] for at in range(40)]
    rows[8][3] = "Bad Input"
    path = tmp_path / "log.csv"
    path.write_text("".join(mark.join(row) + "\n" for row in rows))
    assert refused(path) == (
        f"{path}, row 8: column 'flow' holds 'Bad Input', which is not a number; mend it or drop the row"
    )


def test_a_word_that_is_neither_true_nor_false(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_reading.CSV_BLOCK", 1 << 10)
    rows = [f"{at},{'ON' if at == 300 else at % 2 == 0},{at}.25\n" for at in range(400)]
    path = tmp_path / "log.csv"
    path.write_text("time,pump,flow\n" + "".join(rows))
    assert refused(path) == (
        f"{path}, row 301: column 'pump' holds 'ON', which is not true or false; mend it or drop the row"
    )


def test_ids_that_are_too_large_for_a_number(tmp_path: Path) -> None:
    log = steady().assign(unit=np.repeat(np.uint64([2**63 + 5, 2**63 + 7]), 40))
    for path in (saved(log, tmp_path / f"log.{suffix}") for suffix in ("csv", "parquet")):
        assert refused(path, Columns(id="unit")) == (
            f"{path}, row 1: column 'unit' holds '9223372036854775813', which is too large for a whole number of 64 "
            "bits; write ids as text, and times in a coarser unit"
        )
    log = log.astype({"unit": str})
    assert load_log(saved(log, tmp_path / "text.parquet"), windowing=TEN, cache_dir=tmp_path / "cache").n_series == 2


def test_a_time_that_is_none(tmp_path: Path) -> None:
    log = steady().astype({"time": str})
    log.loc[7, "time"] = "01.03.2026 13:00"
    path = saved(log, tmp_path / "log.parquet")
    assert f"{path}, row 8: column 'time' holds '01.03.2026 13:00', which is not a time in ISO 8601" in refused(path)
    log = steady()
    log.loc[7, "time"] = pd.NaT
    path = saved(log, tmp_path / "other.parquet")
    assert refused(path) == f"{path}, row 8: column 'time' has no time; fill it or drop the row"


def test_a_missing_id(tmp_path: Path) -> None:
    log = steady()
    log.loc[3, "unit"] = None
    path = saved(log, tmp_path / "log.csv")
    guessed = "this column was guessed to be the id: name another by --id, or add --id ''"
    assert refused(path) == f"{path}, row 4: column 'unit' is empty; fill it or drop the row; {guessed}"
    assert refused(path, Columns("unit")) == f"{path}, row 4: column 'unit' is empty; fill it or drop the row"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_infinite_time(tmp_path: Path, suffix: str) -> None:
    log = pd.DataFrame({"time": [0.0, 1.0, np.inf], "flow": 1.5})
    path = saved(log, tmp_path / f"log.{suffix}")
    assert refused(path) == f"{path}, row 3: column 'time' has an infinite time; mend it or drop the row"


def test_an_infinite_value(tmp_path: Path) -> None:
    log = steady()
    log.loc[33, "volt"] = np.inf
    path = saved(log, tmp_path / "log.parquet")
    assert refused(path).startswith(f"{path}, row 34: column 'volt' holds an infinite value")


def test_a_group_that_changes_within_an_id(tmp_path: Path) -> None:
    log = steady().assign(plant=["x"] * 60 + ["y"] * 20)
    path = saved(log, tmp_path / "log.parquet")
    assert refused(path, Columns(group="plant")).startswith(
        f"{path}, row 61: id 'b' is in group 'y', and before in 'x'"
    )


def test_a_group_that_changes_in_the_next_file(tmp_path: Path) -> None:
    log = steady(units="a")
    for at, plant in enumerate("xy"):
        saved(log[20 * at : 20 * at + 20].assign(plant=plant), tmp_path / f"log/{at}.parquet")
    said = refused(tmp_path / "log", Columns(group="plant"))
    assert said.startswith(f"{tmp_path / 'log/1.parquet'}: id 'a' is in group 'y', and before in 'x'")


def test_lists_of_different_lengths(tmp_path: Path) -> None:
    table = pa.table({"c0": [[1.0, 2.0], [3.0, 4.0]], "c1": [[1.0, 2.0], [3.0]]})
    path = tmp_path / "lists.parquet"
    pq.write_table(table, path)
    assert refused(path).startswith(f"{path}, row 2: lists of 1, 2 values; all channels of a row need the same number")


def test_lists_without_a_value(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.table({"flow": [[1.0, 2.0], [], [3.0]]}), path)
    assert refused(path).startswith(f"{path}, row 2: lists of 0 values; all channels of a row need the same number")
