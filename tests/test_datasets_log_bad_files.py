"""Files of a log that are empty, damaged, of another kind, or disagree; and disks and caches that fail."""

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
from bad_logs import TEN, refused, saved, steady

from tsjepa.datasets import DataError, load
from tsjepa.datasets.dataset import UncutError
from tsjepa.datasets.files import SUFFIXES
from tsjepa.datasets.log_files import KINDS, find_files
from tsjepa.datasets.log_store import RowFiles
from tsjepa.datasets.logs import LogWindows, Windowing, load_log


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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in SUFFIXES])
def test_a_file_of_another_kind_without_times_is_no_series(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"pump{kind}"
    table = steady()[["volt"]]
    if kind == ".csv.gz":
        table.to_csv(path, index=False)
    else:
        (table.to_parquet if kind == ".pq" else table.reset_index(drop=True).to_feather)(path)
    with pytest.raises(UncutError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: series are not read from files of this kind: save them as one of {', '.join(SUFFIXES)}, or, if it is "
        "a log, cut it into windows"
    )


def test_labels_that_only_the_first_file_has(tmp_path: Path) -> None:
    folder = two_files(tmp_path, lambda log: log)
    saved(steady().assign(unit="a", anomaly=0)[:5], folder / "a.parquet")
    assert refused(folder).endswith("add it, or leave it out by --label ''")


def test_a_column_that_only_the_second_file_has(tmp_path: Path) -> None:
    folder = two_files(tmp_path, lambda log: log.assign(heat=1.0))
    assert refused(folder).startswith(f"{folder / 'a.parquet'} has no column 'heat', which {folder / 'b.parquet'} has")


@pytest.mark.parametrize(("step", "factor"), [(1, 1000), (1, 1100), (1, 900), (0.01, 1000)])  # no clock is quite right
def test_seconds_in_one_file_and_milliseconds_in_another(tmp_path: Path, step: float, factor: int) -> None:
    log = steady().assign(time=step * np.tile(np.arange(40), 2))
    saved(log[:40], tmp_path / "log/a.parquet")
    saved(log[40:].assign(time=log["time"][40:] * factor), tmp_path / "log/b.parquet")
    assert "as seconds and milliseconds would; bring all files to one unit" in refused(tmp_path / "log")


def test_empty_files_are_passed_over_and_said(tmp_path: Path) -> None:
    folder = two_files(tmp_path, lambda log: log)
    (folder / "c.parquet").touch()
    (folder / "d.csv").write_text("unit,time,flow,volt\n")
    saved(steady()[:0], folder / "e.parquet")
    for name, text in (("f.csv", "\n"), ("g.csv", "\ufeff"), ("h.csv", "\ufeff\r\n\r\n")):
        (folder / name).write_bytes(text.encode())
    (folder / "readme.txt").write_text("notes")
    found = load_log(folder, windowing=TEN, cache_dir=tmp_path / "cache")
    assert found.n_series == 2
    assert {
        f"{folder / 'c.parquet'} is empty: passed over",
        f"{folder / 'd.csv'} has no rows: passed over",
        *(f"{folder / name} has no rows: passed over" for name in ("e.parquet", "f.csv", "g.csv", "h.csv")),
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
    (tmp_path / "folder/notes.txt").touch()
    assert "holds no file that a log can be read from; give one of .parquet" in refused(tmp_path / "folder/*")
    nothing = steady().assign(flow=np.nan, volt=np.nan)
    assert "no channel of the log has a value" in refused(saved(nothing, tmp_path / "nothing.parquet"))


def test_a_pattern_without_a_match_is_a_wrong_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant/notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    for pattern in ("plant/*.parquet", "plnt/*", "plant/[ab].csv"):
        with pytest.raises(DataError) as caught:
            find_files(pattern)
        assert str(caught.value) == f"no file matches {pattern}: check the path, which counts from {tmp_path}"
    for pattern in (f"{tmp_path}/plant/*.parquet", f"file://{tmp_path}/plant/*.parquet"):
        with pytest.raises(DataError) as caught:
            find_files(pattern)
        assert str(caught.value) == f"no file matches {pattern}: check the path"


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


def test_a_file_that_gains_an_id_between_the_passes(tmp_path: Path) -> None:
    log = steady()
    path = saved(log, tmp_path / "log.parquet")

    def change(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("checking", total):
            saved(log.replace({"unit": {"b": "c"}}), path)

    with pytest.raises(DataError, match="the log changed while it was read: an id is new; start again"):
        load_log(path, windowing=TEN, cache_dir=tmp_path / "cache", progress=change)
    assert not list(tmp_path.glob("cache/*/manifest.json"))
    assert set(load_log(path, windowing=TEN, cache_dir=tmp_path / "cache").index().to_pydict()["id"]) == {"a", "c"}


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
        assert "has room for 0.0 MB, and the log needs 0.1 MB there" in refused(path)
    assert load_log(path, windowing=TEN, cache_dir=tmp_path / "cache").n_cases == 8


@pytest.mark.parametrize(("order", "phase"), [("sorted", "reading"), ("shuffled", "sorting")])
def test_rows_that_are_written_already_need_no_more_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, phase: str
) -> None:
    log = steady()
    path = saved(log if order == "sorted" else log.sample(frac=1, random_state=0), tmp_path / "log.parquet")

    def stop(name: str, done: int, total: int) -> None:
        if (name, done) == (phase, total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_log(path, windowing=TEN, cache_dir=tmp_path / "cache", progress=stop)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert load_log(path, windowing=TEN, cache_dir=tmp_path / "cache").n_cases == 8


def test_values_that_are_gathered_already_need_no_more_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = steady().melt(["unit", "time"], ["flow", "volt"], "channel", "value")
    path, usage = saved(log, tmp_path / "log.parquet"), shutil.disk_usage(tmp_path)

    def stop(name: str, done: int, total: int) -> None:
        if (name, done) == ("reading", total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_log(path, windowing=TEN, cache_dir=tmp_path / "cache", progress=stop)
    left = len(log) * (8 + 2 * 4 + 1)  # the time, two channels, and whether there is a value
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=left - 1))
    assert "has room for" in refused(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=left))
    assert load_log(path, windowing=TEN, cache_dir=tmp_path / "cache").n_cases == 8


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = saved(steady(), tmp_path / "log.parquet")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .*--cache-dir"):
        load_log(path, windowing=TEN, cache_dir=tmp_path / "file")


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


@pytest.mark.parametrize("size", [0, 8, 13])
@pytest.mark.parametrize(
    "name", [*(f"windows-*/{name}" for name in ("start", "length", "series", "measured", "label")), "ids"]
)
def test_windows_in_a_cache_that_were_cut_short(tmp_path: Path, name: str, size: int) -> None:
    path = saved(steady().assign(label="x"), tmp_path / "log.parquet")
    load_log(path, windowing=Windowing(5, 1), cache_dir=tmp_path / "cache")
    short = next(tmp_path.glob(f"cache/log-*/{name}"))
    os.truncate(short, size)
    with pytest.raises(DataError, match=f"{short} is shorter than it should be; remove its folder and start again"):
        used(load_log(path, windowing=Windowing(5, 1), cache_dir=tmp_path / "cache"))


@pytest.mark.parametrize("row", ["2026-03-01 08:00:0{0},{0}.5,0", "P1;01.03.2026 08:00;{0},5", "{0}.5,2026-03-0{0}"])
def test_a_csv_file_without_names_of_columns(tmp_path: Path, row: str) -> None:
    (tmp_path / "log.csv").write_text("\n".join(map(row.format, range(1, 9))))
    assert refused(tmp_path / "log.csv").endswith("starts with a row of values; put a line with column names before it")


@pytest.mark.parametrize("row", ["9,40,0,0.0,-1.1,0.3", "0,5;-1,2;0,3", " 1, 1", "-0.802", "2.431", "8.6e-01", "1,2.5"])
def test_a_csv_file_of_nothing_but_numbers(tmp_path: Path, row: str) -> None:
    (tmp_path / "log.csv").write_text("\n".join([row] * 20))
    assert refused(tmp_path / "log.csv").endswith(
        "starts with a row of values; put a line with column names before it; names that are all numbers have to rise "
        "or fall"
    )


@pytest.mark.parametrize("names", ["time,1,2", "time,2026-03-01,flow"])
def test_a_name_may_look_like_a_value(tmp_path: Path, names: str) -> None:
    (tmp_path / "log.csv").write_text("\n".join([names, *(f"{at},{at}.5,{at}" for at in range(20))]))
    assert load_log(tmp_path / "log.csv", windowing=TEN, cache_dir=tmp_path / "cache").channels == tuple(
        names.split(",")[1:]
    )


@pytest.mark.parametrize(
    "names", [("400", "410", "420"), ("0.5", "1.0", "1.5"), ("1.5", "1", "-0.5"), ("1", "2"), ("7",)]
)
def test_all_names_may_look_like_values(tmp_path: Path, names: tuple[str, ...]) -> None:
    pd.DataFrame(np.random.default_rng(0).normal(size=(20, len(names))), columns=names).to_csv(
        tmp_path / "log.csv", index=False
    )
    assert load_log(tmp_path / "log.csv", windowing=TEN, cache_dir=tmp_path / "cache").channels == names


def test_a_folder_without_a_value_is_no_machine(tmp_path: Path) -> None:
    for machine in ("1", "__HIVE_DEFAULT_PARTITION__"):
        folder = tmp_path / f"log/machine={machine}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"time": np.arange(8), "x": np.arange(8.0)}), folder / "a.parquet")
    assert refused(tmp_path / "log").startswith(
        f"{tmp_path}/log/machine=__HIVE_DEFAULT_PARTITION__/a.parquet, row 1: column 'machine' is empty; fill it"
    )


@pytest.mark.parametrize("text", ["näm,time,x\na,0,1.5\na,1,2.5\n", "unit,time,x\na,0,1.5\nä,1,2.5\n"])
def test_latin_1_is_told_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("tsjepa.datasets.log_reading.CSV_BLOCK", 20)
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode("latin-1"))
    assert refused(path) == f"{path} is not UTF-8 text: save it as UTF-8"


def used(windows: LogWindows) -> None:
    """Read all that is known of windows."""
    windows.take(windows.measured())
    windows.labels()
    windows.index()


def test_a_cache_that_was_removed_under_its_user(tmp_path: Path) -> None:
    path = saved(steady(), tmp_path / "log.parquet")
    windows = [load_log(path, windowing=TEN, cache_dir=tmp_path / "cache") for _ in range(3)]
    saved(steady(50), path)
    load_log(path, windowing=TEN, cache_dir=tmp_path / "cache")
    asked = (lambda: windows[0].take(np.array([0])), lambda: windows[1].measured(), lambda: windows[2].index())
    for ask in asked:
        with pytest.raises(DataError, match=r"was removed, as when the log's files have changed; load the log again"):
            ask()
