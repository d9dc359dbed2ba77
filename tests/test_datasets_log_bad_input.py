"""What is wrong with a log is told in one sentence that names the file and, where it can, the row."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsjepa.datasets import DataError
from tsjepa.datasets.log_store import RowFiles
from tsjepa.datasets.logs import Columns, LogWindows, Windowing, load_log

START = pd.Timestamp("2026-03-01")
TEN = Windowing(10)


def steady(rows: int = 40, units: str = "ab") -> pd.DataFrame:
    time = pd.date_range(START, periods=rows, freq="1s", unit="us")
    tables = [pd.DataFrame({"unit": u, "time": time, "flow": np.arange(rows, dtype="f4"), "volt": 1.5}) for u in units]
    return pd.concat(tables, ignore_index=True)


def saved(log: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        log.to_csv(path, index=False)
    else:
        log.to_parquet(path, index=False, row_group_size=16)
    return path


def refused(source: Path, columns: Columns | None = None, windowing: Windowing = TEN) -> str:
    """Return the one sentence, and check that no cache looks finished."""
    cache = source.parent / "cache"
    with pytest.raises(DataError) as caught:
        load_log(source, columns, windowing, cache_dir=cache)
    assert not list(cache.glob("*/manifest.json"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_two_rows_of_one_time(tmp_path: Path, suffix: str) -> None:
    log = steady()
    log.loc[55, "time"] = log["time"][54]
    path = saved(log, tmp_path / f"log.{suffix}")
    sentence = f"id 'b' has two rows at 2026-03-01 00:00:14: {path}, row 55 and {path}, row 56; keep one"
    assert refused(path, Columns("unit")) == sentence


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


def test_an_infinite_value(tmp_path: Path) -> None:
    log = steady()
    log.loc[33, "volt"] = np.inf
    path = saved(log, tmp_path / "log.parquet")
    assert refused(path).startswith(f"{path}, row 34: column 'volt' holds an infinite value")


def two_files(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    log = steady()
    saved(log[log["unit"] == "a"], folder / "log/a.parquet")
    saved(change(log[log["unit"] == "b"]), folder / "log/b.parquet")
    return folder / "log"


def in_zone(log: pd.DataFrame) -> pd.DataFrame:
    return log.assign(time=log["time"].dt.tz_localize("UTC"))


def as_number(log: pd.DataFrame) -> pd.DataFrame:
    return log.assign(time=log["time"].astype("int64"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (in_zone, "column 'time' has a time zone in {b} and none in {a}; give all files a zone or none"),
        (as_number, "column 'time' holds timestamps in {a} and numbers in {b}; write one kind in all files"),
        (lambda log: log.assign(unit=7), "column 'unit' is "),
        (lambda log: log.drop(columns="volt"), "{b} has no column 'volt', which {a} has; add it, or leave it out"),
    ],
)
def test_files_that_disagree(tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str) -> None:
    folder = two_files(tmp_path, change)
    assert refused(folder).startswith(sentence.format(a=folder / "a.parquet", b=folder / "b.parquet"))


def test_labels_that_only_the_first_file_has(tmp_path: Path) -> None:
    folder = two_files(tmp_path, lambda log: log)
    saved(steady().assign(unit="a", anomaly=0)[:5], folder / "a.parquet")
    assert refused(folder).endswith("add it, or leave it out by --label ''")


def test_a_column_that_only_the_second_file_has(tmp_path: Path) -> None:
    folder = two_files(tmp_path, lambda log: log.assign(heat=1.0))
    assert refused(folder).startswith(f"{folder / 'a.parquet'} has no column 'heat', which {folder / 'b.parquet'} has")


def test_seconds_in_one_file_and_milliseconds_in_another(tmp_path: Path) -> None:
    log = steady().assign(time=np.tile(np.arange(40), 2))
    saved(log[:40], tmp_path / "log/a.parquet")
    saved(log[40:].assign(time=log["time"][40:] * 1000), tmp_path / "log/b.parquet")
    assert "as seconds and milliseconds would; bring all files to one unit" in refused(tmp_path / "log")


def test_empty_files_are_passed_over_and_said(tmp_path: Path) -> None:
    folder = two_files(tmp_path, lambda log: log)
    (folder / "c.parquet").touch()
    (folder / "d.csv").write_text("unit,time,flow,volt\n")
    saved(steady()[:0], folder / "e.parquet")
    (folder / "readme.txt").write_text("notes")
    found = load_log(folder, windowing=TEN, cache_dir=tmp_path / "cache")
    assert found.n_series == 2
    assert {
        f"{folder / 'c.parquet'} is empty: passed over",
        f"{folder / 'd.csv'} has no rows: passed over",
        f"{folder / 'e.parquet'} has no rows: passed over",
        "1 file of other kinds not read: readme.txt",
    } <= set(found.notes)


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    assert "is empty; copy or export it again" in refused(tmp_path / "empty.csv")
    with pytest.raises(DataError, match="a log has no name"):
        load_log(" ", cache_dir=tmp_path / "cache")
    assert "does not exist; check the spelling" in refused(tmp_path / "none.parquet")
    (tmp_path / "folder").mkdir()
    assert "holds no file that a log can be read from" in refused(tmp_path / "folder")
    nothing = steady().assign(flow=np.nan, volt=np.nan)
    assert "no channel of the log has a value" in refused(saved(nothing, tmp_path / "nothing.parquet"))


def test_files_that_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no Parquet")
    assert f"{tmp_path / 'text.parquet'} cannot be read" in refused(tmp_path / "text.parquet")
    path = saved(steady(), tmp_path / "log.csv")
    path.write_text(path.read_text() + "b,2026-03-02 00:00:00\n")
    assert f"{path} cannot be read" in refused(path)


@pytest.mark.parametrize("above", ["Station: X\nDevice: Y\n\n", "Pump, hall 3\n", "a,b,c,d,e\nDevice,7\n"])
def test_lines_above_the_names_of_columns(tmp_path: Path, above: str) -> None:
    path = saved(steady(), tmp_path / "log.csv")
    path.write_text(above + path.read_text())
    assert refused(path) == (
        f"{path}, line {above.count(chr(10)) + 1}: the names of columns, 'unit,time,flow,volt', have to come first; "
        "delete the lines above them"
    )


def test_rows_that_are_longer_than_the_names_are_no_names(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,flow\n" + "".join(f"{at},{at}.5,\n" for at in range(40)))
    assert "Expected 2 columns, got 3" in refused(path)


def test_a_stream_in_the_place_of_a_file(tmp_path: Path) -> None:
    path, table = tmp_path / "log.arrow", pa.Table.from_pandas(steady())
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)
    assert refused(path) == (
        f"{path} is an Arrow stream, which has no table of its parts; write it as an Arrow file (pyarrow.ipc.new_file, "
        "or write_ipc of polars)"
    )


def damage(path: Path, group: int, column: str) -> None:
    """Overwrite the pages of one column chunk."""
    metadata = pq.read_metadata(path)
    chunk = metadata.row_group(group).column(metadata.schema.names.index(column))
    content = bytearray(path.read_bytes())
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    content[first : first + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)


def test_a_damaged_row_group(tmp_path: Path) -> None:
    path = saved(steady(), tmp_path / "log.parquet")
    damage(path, 3, "flow")
    assert f"{path}, rows 49 to 64 (row group 3, from 0) cannot be read" in refused(path)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of a cache's arrays, by the names of their files."""
    places = [path for path in sorted(folder.rglob("*")) if path.is_file() and "lock" not in path.name]
    return {path.parent.name.split("-")[0] + "/" + path.name: path.read_bytes() for path in places}


def test_what_was_read_before_the_damage_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_place.JOURNAL_BYTES", 0)
    folder = two_files(tmp_path, lambda log: log)
    whole = (folder / "b.parquet").read_bytes()
    damage(folder / "b.parquet", 0, "flow")
    with pytest.raises(DataError, match=r"b\.parquet, rows 1 to 16"):
        load_log(folder, windowing=TEN, cache_dir=tmp_path / "cache")
    assert len(list(tmp_path.glob("cache/*.partial/done/*.json"))) == 1
    (folder / "b.parquet").write_bytes(whole)
    read: list[str] = []
    monkeypatch.setattr("tsjepa.datasets.log_place.read_rows", spied(read))
    load_log(folder, windowing=TEN, cache_dir=tmp_path / "cache")
    assert read == ["b.parquet"]


def spied(read: list[str]) -> Callable[..., Any]:
    from tsjepa.datasets.log_values import read_rows

    def spy(layout: Any, piece: Any, with_values: bool) -> Any:
        read.append(Path(piece.file.key).name)
        return read_rows(layout, piece, with_values)

    return spy


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(steady(), tmp_path / "log.parquet")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fail)
        assert "is full; free some space, or choose another by --cache-dir: what is finished is kept" in refused(path)
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
        shutil.rmtree(tmp_path / "cache")
        assert "has room for 0.0 GB, and the log needs 0.0 GB there" in refused(path)
    assert load_log(path, windowing=TEN, cache_dir=tmp_path / "cache").n_cases == 8


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = saved(steady(), tmp_path / "log.parquet")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .*--cache-dir"):
        load_log(path, windowing=TEN, cache_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("windowing", "sentence"),
    [
        (
            {"window": "ten parsecs"},
            "--window 'ten parsecs': give a number of points or a duration such as 10s or 500ms",
        ),
        ({"window": 0}, "--window 0: give"),
        ({"window": 2.5}, "--window 2.5: give"),
        ({"window": 5, "stride": -1}, "--stride -1: give"),
        ({"stride": 5}, "--stride needs --window"),
        ({"window": 5, "max_gap": "0s"}, "--max-gap '0s': give a number of steps"),
        ({"window": 5, "window_label": "first"}, "--window-label 'first': give one of last, majority, any"),
    ],
)
def test_settings(windowing: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        Windowing(**windowing)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("windowing", "sentence"),
    [
        (Windowing("1ms"), "--window '1ms' is shorter than the median step of time, 1 s"),
        (Windowing(5, resample="5"), "--resample '5': give a duration such as 10s or 500ms"),
        (Windowing(5, resample="1ns"), "--resample '1ns' is finer than the log's times, which are in us"),
        (Windowing(5, max_gap="1s", resample="5s"), "--max-gap 1s is shorter than the step of --resample 5s"),
    ],
)
def test_settings_that_a_log_does_not_allow(tmp_path: Path, windowing: Windowing, sentence: str) -> None:
    path = saved(steady(), tmp_path / "log.parquet")
    with pytest.raises(DataError) as caught:
        load_log(path, windowing=windowing, cache_dir=tmp_path / "cache")
    assert str(caught.value) == sentence


def test_durations_need_times_with_a_unit(tmp_path: Path) -> None:
    path = saved(steady().assign(time=np.tile(np.arange(40), 2)), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"--window '10s' is a duration, but the log's times have no unit"):
        load_log(path, windowing=Windowing("10s"), cache_dir=tmp_path / "cache")


def test_a_group_that_changes_within_an_id(tmp_path: Path) -> None:
    log = steady().assign(plant=["x"] * 60 + ["y"] * 20)
    path = saved(log, tmp_path / "log.parquet")
    assert refused(path, Columns(group="plant")).startswith(
        f"{path}, row 61: id 'b' is in group 'y', and before in 'x'"
    )


def test_lists_of_different_lengths(tmp_path: Path) -> None:
    table = pa.table({"c0": [[1.0, 2.0], [3.0, 4.0]], "c1": [[1.0, 2.0], [3.0]]})
    path = tmp_path / "lists.parquet"
    pq.write_table(table, path)
    assert refused(path).startswith(f"{path}, row 2: lists of 1, 2 values; all channels of a row need the same number")


def test_a_cache_that_was_cut_short(tmp_path: Path) -> None:
    path = saved(steady(), tmp_path / "log.parquet")
    found: LogWindows = load_log(path, windowing=TEN, cache_dir=tmp_path / "cache")
    values = next(tmp_path.glob("cache/log-*/values"))
    os.truncate(values, 0)
    with pytest.raises(DataError, match="shorter than it should be"):
        found.take(np.array([0]))
    with (
        RowFiles(values.parent, found._rows.fields) as rows,
        pytest.raises(DataError, match="shorter than it should be"),
    ):
        rows.read(0, 3)
