"""Forms that a log comes in: folders, patterns, addresses, Arrow files, lists; and what is none."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from steady_logs import saved, steady

from tsjepa.datasets import DataError
from tsjepa.datasets.logs import Columns, Windowing, is_log, load_log, split_by_group

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_units_of_timestamps_are_brought_together(tmp_path: Path) -> None:
    log = steady()
    for unit, rows in log.groupby("unit"):
        saved(
            rows.assign(time=rows["time"].dt.as_unit("ns" if unit == "a" else "ms")), tmp_path / f"log/{unit}.parquet"
        )
    found = load_log(tmp_path / "log", windowing=Windowing(10), cache_dir=tmp_path / "cache")
    assert found.index().to_pandas()["end"].tolist() == [t for _ in "ab" for t in steady()["time"][9:100:10]]


def test_folders_name_columns_and_files_may_name_ids(tmp_path: Path) -> None:
    for unit in (3, 10):
        saved(steady(units="a").drop(columns="unit"), tmp_path / f"log/machine={unit}/part.parquet")
    by_folder = load_log(tmp_path / "log", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert by_folder.index().to_pydict()["id"] == [3, 3, 10, 10]
    saved(steady(units="a").drop(columns="unit"), tmp_path / "runs/good/1.csv")
    saved(steady(units="a").drop(columns="unit"), tmp_path / "runs/bad/1.csv")
    by_file = load_log(tmp_path / "runs", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert by_file.index().to_pydict()["id"] == ["bad/1.csv"] * 2 + ["good/1.csv"] * 2
    assert "no id column: each file is one series, its path below the folder of all is the id" in by_file.notes


def test_lists_are_series(tmp_path: Path) -> None:
    lists = [[1.0, 2.0, 3.0], [4.0, None], [6.0, 7.0, 8.0]]
    table = pa.table({"who": ["x", "y", "x"], "activity": ["walk", "run", "walk"], "c0": lists, "c1": lists})
    pq.write_table(table, tmp_path / "lists.parquet")
    assert is_log(tmp_path / "lists.parquet")
    found = load_log(tmp_path / "lists.parquet", Columns(group="who"), cache_dir=tmp_path / "cache")
    values, valid = found.take(np.arange(3))
    assert valid is not None
    assert values[:, 1].tolist() == [[1, 2, 3], [4, 0, 0], [6, 7, 8]]
    assert valid[1, 0].tolist() == [True, False, False]
    assert found.labels().tolist() == ["walk", "run", "walk"]
    index = found.index().to_pydict()
    assert (index["id"], index["start"], index["end"]) == ([0, 1, 2], [0, 0, 0], [2, 1, 2])
    train, test = split_by_group(found, 0.5)
    assert {tuple(train.series), tuple(test.series)} == {(0, 2), (1,)}


@pytest.mark.parametrize("channels", [None, ("c1", "c0")])
def test_lists_are_series_where_no_time_is_said(tmp_path: Path, channels: tuple[str, ...] | None) -> None:
    table = pa.table({"id": ["x", "y"], "c0": [[1.0, 2.0], [4.0, None]], "c1": [[5.0, 6.0], [7.0, 8.0]]})
    pq.write_table(table, tmp_path / "lists.parquet")
    columns = Columns(id="id", time="", channels=channels)
    found = load_log(tmp_path / "lists.parquet", columns, cache_dir=tmp_path / "cache")
    assert (found.channels, found.index().to_pydict()["id"]) == (channels or ("c0", "c1"), ["x", "y"])
    assert found.take(np.arange(2)).values[:, found.channels.index("c0")].tolist() == [[1, 2], [4, 0]]


def test_lists_of_several_files_are_series_of_their_own(tmp_path: Path) -> None:
    for at in (0, 2):
        saved(pd.DataFrame({"flow": [[at + 1.0], [at + 2.0]]}), tmp_path / f"log/{at}.parquet")
    found = load_log(tmp_path / "log", cache_dir=tmp_path / "cache")
    assert found.index()["id"].to_pylist() == [0, 1, 2, 3]
    assert found.take(np.arange(4)).values.ravel().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ"])
def test_a_compressed_file_is_read_whatever_the_case_of_its_name(tmp_path: Path, name: str) -> None:
    steady().to_csv(tmp_path / name, index=False, compression="gzip")
    assert is_log(tmp_path / name)
    assert load_log(tmp_path / name, windowing=Windowing(50), cache_dir=tmp_path / "cache").n_cases == 4


def test_what_is_a_log(tmp_path: Path) -> None:
    table = saved(pd.DataFrame({"t0": [1.0], "t1": [2.0], "label": ["a"]}), tmp_path / "table.csv")
    assert not is_log(table)
    assert is_log(saved(steady(), tmp_path / "log.csv"))
    assert is_log(tmp_path)
    assert is_log(str(tmp_path / "*.csv"))
    assert not is_log(tmp_path / "nothing.csv")
    assert not is_log("FordA")


def test_a_folder_of_results_is_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(steady(), tmp_path / "GunPoint/metrics.csv")
    monkeypatch.chdir(tmp_path)
    assert not is_log("GunPoint")
    assert is_log("./GunPoint")


def test_addresses_and_patterns_name_the_same_log(tmp_path: Path) -> None:
    for unit, rows in steady().groupby("unit"):
        saved(rows, tmp_path / f"log/{unit}.parquet")
    saved(steady(units="c"), tmp_path / "log/c.csv")
    sources = (tmp_path / "log/*.parquet", f"file://{tmp_path}/log/*.parquet", f"file://{tmp_path}/log/a.parquet")
    sizes = [load_log(at, windowing=Windowing(10), cache_dir=tmp_path / "cache").n_cases for at in sources]
    assert sizes == [20, 20, 10]
    with pytest.raises(DataError, match="cannot be looked up"):
        load_log("nowhere://log/a.parquet", windowing=Windowing(10), cache_dir=tmp_path / "cache")


def test_arrow_files_are_read(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(steady(), preserve_index=False)
    with pa.OSFile(str(tmp_path / "log.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, 30)
    found = load_log(tmp_path / "log.arrow", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert found.take(np.array([3])).values[0, 0].tolist() == list(range(51, 101))


@pytest.mark.parametrize("name", ["unit", "time", "mode"])
def test_dictionaries_of_string_views_are_read(tmp_path: Path, name: str) -> None:
    """As polars writes a Categorical into an Arrow file."""
    table = pa.Table.from_pandas(steady().assign(mode="7.5"), preserve_index=False)
    words = table[name].cast(pa.string()).combine_chunks().dictionary_encode()
    views = pa.DictionaryArray.from_arrays(words.indices.cast(pa.uint32()), words.dictionary.cast(pa.string_view()))
    table = table.set_column(table.schema.get_field_index(name), name, views)
    with pa.OSFile(str(tmp_path / "log.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, 30)
    found = load_log(tmp_path / "log.arrow", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert (found.columns.id, found.columns.time, found.channels) == ("unit", "time", ("flow", "volt", "mode"))
    assert found.take(np.array([3])).values[0, ::2, -1].tolist() == [100, 7.5]


def test_a_file_of_polars_is_read(tmp_path: Path) -> None:
    frame = pl.from_pandas(steady()).with_columns(pl.col("unit").cast(pl.Categorical))
    frame.write_ipc(tmp_path / "log.arrow")
    found = load_log(tmp_path / "log.arrow", windowing=Windowing(50), cache_dir=tmp_path / "cache")
    assert set(found.index().to_pydict()["id"]) == set(steady()["unit"])


def test_files_may_be_one_series(tmp_path: Path) -> None:
    log = steady(20, "a").drop(columns="unit")
    saved(log[:8], tmp_path / "log/0.csv")
    saved(log[8:], tmp_path / "log/1.csv")
    found = load_log(tmp_path / "log", Columns(id=""), Windowing(10), cache_dir=tmp_path / "cache")
    assert found.index().to_pydict()["last_row"] == [9, 19]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_of_a_file_that_is_a_series_are_counted_in_it(tmp_path: Path, suffix: str) -> None:
    log = pd.DataFrame({"flow": np.arange(20.0), "volt": np.arange(20.0)})
    for name in "ab":
        saved(log, tmp_path / f"log/{name}.{suffix}")
    found = load_log(tmp_path / "log", windowing=Windowing(10), cache_dir=tmp_path / "cache").index().to_pydict()
    assert found["id"] == [f"a.{suffix}"] * 2 + [f"b.{suffix}"] * 2
    assert (found["start"], found["end"]) == ([0, 10] * 2, [9, 19] * 2)


@pytest.mark.parametrize("identity", [None, ""])
def test_lists_are_grouped_by_a_column_that_is_called_id(tmp_path: Path, identity: str | None) -> None:
    path = tmp_path / "lists.parquet"
    pd.DataFrame({"id": [f"p{row // 4}" for row in range(20)], "flow": [[1.0, 2.0, 3.0]] * 20}).to_parquet(path)
    found = load_log(path, Columns(id=identity, group="id"), cache_dir=tmp_path / "cache")
    assert sorted(set(found.groups())) == [f"p{patient}" for patient in range(5)]


def test_files_are_no_groups_beside_a_column_id_that_repeats(tmp_path: Path) -> None:
    for number in range(3):
        rows = pd.DataFrame({"id": number > 1, "time": np.arange(20) + 20 * number, "flow": np.arange(20.0)})
        rows.to_csv(tmp_path / f"{number}.csv", index=False)
    with pytest.raises(DataError, match=r"column 'id' \(--group\) holds bool"):
        load_log(tmp_path, Columns(group="id"), cache_dir=tmp_path / "cache")


def spectra(folder: Path, ids: list[str]) -> Path:
    """Write a log whose rows are points in time, one of whose columns holds a spectrum."""
    rows = {"machine": ids, "timestamp": pd.date_range("2024-01-01", periods=len(ids), freq="1s")}
    path = folder / "nested.parquet"
    pd.DataFrame(rows | {"flow": np.arange(len(ids)) / 2, "fft": [[1.0, 2.0, 3.0]] * len(ids)}).to_parquet(path)
    return path


@pytest.mark.parametrize("ids", [["M1"] * 20, ["M1", "M2"] * 10, ["M1"] * 10 + ["M2"] * 10])
@pytest.mark.parametrize("length", [1, 3])
def test_lists_of_one_id_in_several_rows_are_refused_as_such(tmp_path: Path, ids: list[str], length: int) -> None:
    path = spectra(tmp_path, ids)
    said: list[str] = []
    pd.read_parquet(path).assign(fft=[[1.0] * length] * 20).to_parquet(path, row_group_size=5)
    first, second = [row + 1 for row, name in enumerate(ids) if name == "M1"][:2]
    with pytest.raises(
        DataError, match=r"^each row is read as one series, of list columns 'fft', but id 'M1' is"
    ) as told:
        load_log(path, Columns(id="machine"), cache_dir=tmp_path / "cache", announce=said.append)
    where = (
        f"in several rows: {path}, row {first} and {path}, row {second}; if each row is a point in time, name the time"
    )
    assert where in str(told.value)
    assert not any("sorted" in note for note in said)
    for named in (Columns(id="machine", time="timestamp"), Columns(id="machine", channels=("flow",))):
        found = load_log(path, named, Windowing(5), cache_dir=tmp_path / "cache")
        assert (found.channels, found.n_cases) == (("flow",), 4)


def test_lists_of_one_id_in_several_files_are_refused_as_such(tmp_path: Path) -> None:
    for name in "ab":
        table = pa.table({"id": ["M1"], "fft": [[1.0, 2.0, 3.0]]})
        (tmp_path / "log").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / f"log/{name}.parquet")
    with pytest.raises(DataError, match=r"id 'M1' is in several rows: \S+a.parquet, row 1 and \S+b.parquet, row 1; if"):
        load_log(tmp_path / "log", Columns(id="id"), cache_dir=tmp_path / "cache")


def test_lists_beside_times_and_numbers_may_be_points(tmp_path: Path) -> None:
    path = spectra(tmp_path, ["M1", "M2"] * 10)
    rows = "each row is one series: list columns 'fft'"
    meant = f"{rows}; if each row is a point in time, name the time by --time, or the sensors by --channels"
    assert meant in load_log(path, cache_dir=tmp_path / "cache").notes
    for column in ("timestamp", "flow"):
        pd.read_parquet(path).drop(columns=column).to_parquet(tmp_path / "other.parquet")
        assert rows in load_log(tmp_path / "other.parquet", cache_dir=tmp_path / "cache").notes
