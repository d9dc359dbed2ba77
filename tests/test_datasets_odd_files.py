"""Files that are easily misread: what they hold is read, or refused, and never shifted, lost or kept from before."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tsjepa.datasets.log_cache
from tsjepa.cli.detect_lines import Layout, find_columns, read_rows
from tsjepa.cli.detect_tail import Place, check_text, read_lines
from tsjepa.cli.errors import Failure
from tsjepa.cli.inputs import refuse_input
from tsjepa.datasets import DataError, load
from tsjepa.datasets.log_runs import load_runs
from tsjepa.datasets.logs import Columns, Windowing, is_log, load_log


def logged(tmp_path: Path, source: Path | str, **windowing: Any) -> Any:
    return load_log(str(source), windowing=Windowing(**({"window": 4} | windowing)), cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("text", ["t0,t1,t2\n1,2,3,\n4,5,6,\n", "t0,t1,t2,label\n1,2,3,0,\n4,5,6,1,\n"])
def test_a_comma_behind_the_last_cell_shifts_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    data = load(str(tmp_path / "a.csv"))
    np.testing.assert_array_equal(data.X_train[:, 0], [[1, 2, 3], [4, 5, 6]])
    assert data.y_train is None or data.y_train.tolist() == [0, 1]


@pytest.mark.parametrize("text", ["t0,t1\n1,2,3\n4,5,6\n", "t0;t1;t2\n1,5;2,5;3,5\n4,5;5,5;6,5\n"])
def test_cells_without_a_name_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match="more cells than its first line has names"):
        load(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("label,t0,t1,t2\na,1,2,3\nb,4,5\nb,4\n", "row 2: 3 cells where the first line has 4"),
        ("label,t0,t1,t2\na,1,2,\nb,4,5,6\nb,4", "row 3: 2 cells where the first line has 4"),
        ("t0,t1,label\n1,2,a\n3,4\n", "row 2: 2 cells where the first line has 3"),
        ('\n"label","t\n0",t1\n\n"a\n,b",1,\n  \nb,4', "row 2: 2 cells where the first line has 3"),
    ],
)
def test_a_row_that_was_cut_short_is_refused(tmp_path: Path, text: str, row: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=rf"a\.csv, {row}; it was cut short"):
        load(str(tmp_path / "a.csv"))


def test_an_empty_cell_is_a_missing_value(tmp_path: Path) -> None:
    text = '\ufeff\n"la""bel",label,t0,t1\r\n\n1,"a\n,b",2,3\r\n4,c,5,\r\n  \r\n6,"say ""d"", twice",NA,\n'
    (tmp_path / "a.csv").write_bytes(text.encode())
    data = load(str(tmp_path / "a.csv"))
    np.testing.assert_array_equal(data.X_train[:, 0], [[1, 2, 3], [4, 5, np.nan], [6, np.nan, np.nan]])
    assert data.classes == ("a\n,b", "c", 'say "d", twice')


def test_a_quote_that_never_ends_is_told(tmp_path: Path) -> None:
    rows = "".join(f"{row},b,\n" for row in range(20_000))
    (tmp_path / "a.csv").write_text(f't0,label,t1\n1,"a,2\n{rows}5,c",6\n7,d,\n')
    with pytest.raises(DataError, match="cannot be read as a table"):
        load(str(tmp_path / "a.csv"))


@pytest.mark.parametrize("comments", ["# ", "#"])
def test_a_header_that_numpy_makes_a_comment_of_holds_names(tmp_path: Path, comments: str) -> None:
    values, log, table = np.arange(24.0).reshape(8, 3), tmp_path / "log.csv", tmp_path / "table.csv"
    np.savetxt(log, values, delimiter=";", header="time;a;b", comments=comments)
    found = logged(tmp_path, log)
    assert (is_log(log), found.columns.time, found.channels) == (True, "time", ("a", "b"))
    np.testing.assert_array_equal(found.take(np.array([1])).values[0, 0], values[4:, 1])
    # as a model was trained before that remembers its channels
    known = Columns(channels=("b", f"{comments}time"), time="")
    assert load_log(log, known, Windowing(4), cache_dir=tmp_path / "cache").channels == ("b", "time")
    np.savetxt(table, values, delimiter=",", header="id,t0,t1", comments=comments)
    assert load(str(table)).notes[1] == "table.csv: columns that are no time points are not read: 'id'"
    table.write_text(f"{comments}time,a\n0,1\n")
    with pytest.raises(DataError, match="looks like a log: column 'time' is a time"):
        load(str(table))
    table.write_text("#1,#2\n0,1\n")
    assert "'#1' to '#2'" in load(str(table)).notes[0]


def test_an_index_with_a_name_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": ["a", "b"], "t0": [1.0, 2.0], "t1": [3.0, 4.0]})
    frame.set_index("label").to_parquet(tmp_path / "a.parquet")
    assert load(str(tmp_path / "a.parquet")).classes == ("a", "b")


@pytest.mark.parametrize("names", ["time,x,y,z,label", "time,label,x,y,z"])
def test_a_label_is_found_beside_axes(tmp_path: Path, names: str) -> None:
    rows = pd.DataFrame({"time": range(8), "x": 0.5, "y": 1.5, "z": 2.5, "label": [0] * 4 + [1] * 4})
    rows[names.split(",")].to_csv(tmp_path / "a.csv", index=False)
    found = logged(tmp_path, tmp_path / "a.csv")
    assert (found.columns.label, set(found.columns.channels)) == ("label", {"x", "y", "z"})


def test_blanks_around_the_names_of_axes_do_not_count(tmp_path: Path) -> None:
    rows = pd.DataFrame({"time": range(8), " x": 0.5, "Y ": 1.5, "flow": 2.5})
    rows.to_parquet(tmp_path / "a.parquet", index=False)
    found = logged(tmp_path, tmp_path / "a.parquet")
    assert (found.columns.label, set(found.columns.channels)) == (None, {" x", "Y ", "flow"})


def test_a_file_that_changed_is_sorted_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(first: float) -> None:
        values = first + np.arange(8.0)
        pd.DataFrame({"unit": list("aaaabbbb"), "time": [3, 2, 1, 0] * 2, "x": values}).to_csv(log, index=False)

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    log = tmp_path / "l.csv"
    write(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(tsjepa.datasets.log_cache, "_finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            logged(tmp_path, log)
    write(51.0)
    np.testing.assert_array_equal(logged(tmp_path, log).take(np.array([0])).values, [[[54, 53, 52, 51]]])


def test_a_file_that_changed_before_it_was_cut_is_scanned_anew(tmp_path: Path) -> None:
    def stop(phase: str, done: int, total: int) -> None:
        if phase == "checking":
            raise KeyboardInterrupt

    log = tmp_path / "l.csv"
    pd.DataFrame({"time": range(20), "x": np.arange(20.0)}).to_csv(log, index=False)
    with pytest.raises(KeyboardInterrupt):
        load_log(log, windowing=Windowing(4), cache_dir=tmp_path / "cache", progress=stop)
    pd.DataFrame({"time": range(12), "x": np.arange(12.0)}).to_csv(log, index=False)
    assert logged(tmp_path, log).n_cases == 3


@pytest.mark.parametrize(
    ("normal", "other"), [("FALSE", "TRUE"), ("normal", "fault"), ("No", "Yes"), ("0", "1"), ("idle", "broken")]
)
def test_what_is_called_normal_or_most_frequent_is_normal(tmp_path: Path, normal: str, other: str) -> None:
    labels = [other if row % 4 == 3 else normal for row in range(8)]
    pd.DataFrame({"time": range(8), "x": 0.5, "anomaly": labels}).to_csv(tmp_path / "a.csv", index=False)
    runs = load_runs(str(tmp_path / "a.csv"), Columns(label="anomaly"), cache_dir=tmp_path / "cache")
    assert runs.abnormal().tolist() == [0, 0, 0, 1] * 2
    assert runs.guessed_normal == ("idle" if normal == "idle" else None)


def test_times_in_the_index_of_a_frame_are_times() -> None:
    index = pd.date_range("2024", periods=30, freq="s")[::-1]
    data = load(pd.DataFrame({"p": np.arange(30.0), "q": np.arange(30.0)}, index=index))
    np.testing.assert_array_equal(data.X_train, np.broadcast_to(np.arange(30.0)[::-1], (1, 2, 30)))


def test_decimal_times_are_times(tmp_path: Path) -> None:
    time = pa.array([Decimal(at) / 10 for at in (3, 1, 0, 2)])
    pq.write_table(pa.table({"time": time, "x": [3.0, 1.0, 0.0, 2.0]}), tmp_path / "a.parquet")
    found = logged(tmp_path, tmp_path / "a.parquet", window=2)
    assert found.columns.time == "time"
    np.testing.assert_array_equal(found.take(np.arange(2)).values, [[[0, 1]], [[2, 3]]])


def test_truth_values_of_a_csv_file_are_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"time": range(4), "on": [False, True, True, False]}).to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_array_equal(logged(tmp_path, tmp_path / "a.csv").take(np.array([0])).values, [[[0, 1, 1, 0]]])


@pytest.mark.parametrize("pattern", ["", "/*/*.parquet", "/machine=*/*.parquet", "/machine=[ab]*/*.parquet"])
def test_folders_give_their_column_whatever_the_pattern(tmp_path: Path, pattern: str) -> None:
    for machine in ("a3", "b%204"):
        folder = tmp_path / "plant" / f"machine={machine}"
        folder.mkdir(parents=True)
        for part in (0, 1):
            rows = {"time": np.arange(8) + 8 * part, "x": np.arange(8.0)}
            pq.write_table(pa.table(rows), folder / f"part-{part}.parquet")
    found = logged(tmp_path, f"{tmp_path / 'plant'}{pattern}")
    assert (found.columns.id, found.n_series) == ("machine", 2)
    assert set(found.index(np.arange(found.n_cases)).column("id").to_pylist()) == {"a3", "b 4"}


def test_seconds_with_fractions_make_whole_windows_on_a_grid(tmp_path: Path) -> None:
    late = {"time": 1.7e9 + np.arange(200) * 0.1, "x": np.arange(200.0)}
    pd.DataFrame(late).to_parquet(tmp_path / "late.parquet")
    found = logged(tmp_path, tmp_path / "late.parquet", window=50, resample="0.1")
    assert found.n_cases == 4
    assert np.isfinite(found.take(np.arange(4)).values).all()
    for count in range(5, 25):
        source = tmp_path / f"{count}.parquet"
        pd.DataFrame({"time": np.arange(count) * 0.1, "x": np.arange(float(count))}).to_parquet(source)
        assert f"{count} rows became {count}" in " ".join(logged(tmp_path, source, resample="0.1").notes)


@pytest.mark.parametrize(
    ("text", "dated"), [("", True), ("NaT", True), ("now", True), ("nan", False), ("inf", False), ("soon", False)]
)
def test_a_live_line_without_a_time_is_refused(text: str, dated: bool) -> None:
    with pytest.raises(Failure, match=f"line 2: '{text}' is no time"):
        read_rows("live.csv", [(2, f"{text},0.5")], Layout(None, 0, [1], dated, ",", ["time", "flow"]), 0)


def test_live_lines_are_separated_as_their_first_one(tmp_path: Path) -> None:
    (tmp_path / "live.csv").write_text("unit;time;p;q\na;2024-01-01 00:00:01;1.5;2.5\n")
    (lines,) = read_lines(str(tmp_path / "live.csv"), Place(), 0.0)
    (_, header), *rest = lines.numbered()
    layout = find_columns("live.csv", header, ("unit", "time", ("q", "p")), True)
    rows = read_rows("live.csv", rest, layout, 0)
    assert (rows.ids, rows.values.tolist()) == (["a"], [[2.5], [1.5]])


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_numbers_of_rows_are_no_sensor(tmp_path: Path, name: str) -> None:
    rows = pd.DataFrame({name: range(8), "time": range(8), "x": np.arange(8.0)})
    rows.to_csv(tmp_path / "a.csv", index=False)
    found = logged(tmp_path, tmp_path / "a.csv")
    assert found.columns.channels == ("x",)
    assert f"columns left out: '{name}'" in " ".join(found.notes)


def test_a_log_that_is_not_utf8_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("time,Temp °C\n0,1.5\n1,2.5\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8 text"):
        logged(tmp_path, tmp_path / "a.csv", window=2)


def test_what_is_no_text_is_not_followed(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "a.parquet")
    with pytest.raises(Failure, match="is no text"):
        check_text(str(tmp_path / "a.parquet"))


def test_no_result_takes_the_place_of_what_is_read(tmp_path: Path) -> None:
    log, other = tmp_path / "plant" / "log.parquet", tmp_path / "scores.parquet"
    log.parent.mkdir()
    log.touch()
    for source in (str(log), str(log.parent), str(log.parent / "*.parquet")):
        refuse_input(other, source, None)
        with pytest.raises(Failure, match="name another file with --out"):
            refuse_input(log, source)
    refuse_input(log, "FordA")


def test_blanks_around_the_labels_of_a_csv_file_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "pump.csv"
    path.write_text("t0,t1,label\n1,2, bad\n3,4,bad\n5,6,ok \n")
    assert load(path).classes == ("bad", "ok")
    path.write_text("t0,t1,label\n1,2, \n3,4,  \n")
    assert load(path).y_train is None
    path.write_text("t0,t1,label\n1,2,bad\n3,4, \n")
    assert load(path).y_train.tolist() == [0, -1]
    path.write_text("t0,t1,label\n1,2,0.5\n3,4, \n")
    assert load(path).y_train[0] == 0.5  # pandas makes text of both
    (tmp_path / "pump_TRAIN.csv").write_text("t0,t1,label\n1,2, 1e1\n3,4,2\n")
    (tmp_path / "pump_TEST.csv").write_text("t0,t1,label\n1,2,1e1\n3,4,bad\n")
    assert load(tmp_path / "pump_TRAIN.csv").classes == ("2", "1e1", "bad")


def test_arrays_in_small_letters_beside_a_log_leave_it_one(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"pump_{part}.csv").write_text("time,flow\n1,2.5\n2,3.5\n")
        np.save(tmp_path / f"pump_{part}.npy", np.ones((2, 3)))
    assert is_log(str(tmp_path))
    for path in tmp_path.glob("*.csv"):
        path.unlink()
    assert not is_log(str(tmp_path))
    assert load(tmp_path).X_train.shape == (2, 1, 3)


def test_series_and_labels_in_files_of_their_own_are_told_what_one_file_is(tmp_path: Path) -> None:
    for part in ("train", "test"):
        np.save(tmp_path / f"X_{part}.npy", np.ones((2, 3)))
        np.save(tmp_path / f"y_{part}.npy", np.arange(2))
    with pytest.raises(DataError, match=r"save them as X_train, y_train, X_test and y_test in one \.npz file$"):
        load(tmp_path)


@pytest.mark.parametrize(("train", "test"), [("TRAIN", "TEST"), ("train", "test")])
def test_half_of_a_pair_is_told(tmp_path: Path, train: str, test: str) -> None:
    np.save(tmp_path / f"a_{train}.npy", np.ones((2, 3)))
    assert load(tmp_path / f"a_{train}.npy").notes == (f"a_{train}.npy has no a_{test} beside it: no test part",)
    np.save(tmp_path / f"a_{test}.npy", np.ones((2, 3)))
    assert load(tmp_path / f"a_{test}.npy").notes == (f"a_{test}.npy was read as the training part",)


def test_a_hash_stays_where_a_column_is_called_so_without(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("#time,time,x\n1,10,0.5\n2,11,1.5\n3,12,0.5\n4,13,1.5\n")
    found = logged(tmp_path, tmp_path / "log.csv")
    assert (found.columns.time, found.channels) == ("time", ("#time", "x"))
