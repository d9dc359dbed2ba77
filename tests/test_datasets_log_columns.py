"""What the columns of a log are taken for, whoever wrote it: folders, dates, ids, decimals and counters."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.csv import write_csv
from pyarrow.feather import write_feather

from tsjepa.datasets import DataError, log_reading
from tsjepa.datasets.log_dialect import decimal_of, line_of_names
from tsjepa.datasets.log_files import find_files
from tsjepa.datasets.log_runs import load_runs
from tsjepa.datasets.logs import Columns, LogWindows, Windowing, load_log

ROWS = 8


def logged(source: Path, columns: Columns | None = None, window: int = 4) -> LogWindows:
    return load_log(source, columns, Windowing(window), cache_dir=source.parent / "cache")


def parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_folders_name_no_channels(tmp_path: Path) -> None:
    for day in (1, 2):
        folder = tmp_path / f"log/year=2026/machine={day}"
        parquet(folder / "part.parquet", time=np.arange(ROWS), x=np.arange(float(ROWS)))
    found = logged(tmp_path / "log")
    assert (found.columns.id, found.channels) == ("machine", ("x",))
    assert "columns left out: 'year'" in found.notes
    assert logged(tmp_path / "log", Columns(channels=("x", "year"))).take(np.array([0])).values[0, 1, 0] == 2026


def test_folders_of_days_are_no_times(tmp_path: Path) -> None:
    stamps = pa.array(np.arange(ROWS), pa.timestamp("s"))
    parquet(tmp_path / "log/date=2026-03-01/a.parquet", t_stamp=stamps, x=np.arange(float(ROWS)))
    assert logged(tmp_path / "log").columns.time == "t_stamp"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_times_come_before_days(tmp_path: Path, suffix: str) -> None:
    stamps = pa.array(np.arange(ROWS), pa.timestamp("s"))
    days = stamps.cast(pa.date32())
    table = pa.table({"date": days, "t_stamp": stamps, "x": np.arange(float(ROWS))})
    save = {"csv": write_csv, "parquet": pq.write_table}[suffix]
    save(table, str(tmp_path / f"log.{suffix}"))
    assert logged(tmp_path / f"log.{suffix}").columns.time == "t_stamp"
    save(table.drop_columns("t_stamp").slice(0, 1), str(tmp_path / f"days.{suffix}"))
    assert logged(tmp_path / f"days.{suffix}", window=1).columns.time == "date"


def test_a_day_and_a_time_of_day_are_to_be_joined(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("Date,x,Time\n" + "".join(f"2026-03-01,{at}.5,00:00:0{at}\n" for at in range(ROWS)))
    with pytest.raises(DataError, match=r"two rows at 2026-03-01 00:00:00: .*; join 'Date' and 'Time' into one column"):
        logged(log)
    text = pa.array([f"00:00:0{at}" for at in range(ROWS)])
    days = pa.array(["2026-03-01"] * ROWS)
    with pytest.raises(DataError, match="join 'Date' and 'Clock'"):
        logged(parquet(tmp_path / "log.parquet", Date=days, x=np.arange(float(ROWS)), Clock=text))


def test_a_bad_value_leaves_the_long_form_long(tmp_path: Path) -> None:
    values = ["1.5", "2.5", "Bad", *(["3.5"] * 5)]
    log = tmp_path / "log.csv"
    log.write_text("time,tag,value\n" + "".join(f"{at // 2},{'pq'[at % 2]},{v}\n" for at, v in enumerate(values)))
    with pytest.raises(DataError, match="row 3: column 'value' holds 'Bad', which is not a number"):
        logged(log)


def test_ids_that_look_like_numbers_in_some_files_are_text(tmp_path: Path) -> None:
    for machine in ("003", "A7"):
        parquet(tmp_path / f"hive/machine={machine}/a.parquet", time=np.arange(ROWS), x=np.arange(float(ROWS)))
    assert set(logged(tmp_path / "hive").index().to_pydict()["id"]) == {"003", "A7"}
    (tmp_path / "csv").mkdir()
    for machine in ("M0", "07"):
        rows = "".join(f"{machine},{at},{at}.5\n" for at in range(ROWS))
        (tmp_path / f"csv/{machine}.csv").write_text("machine,time,x\n" + rows)
    assert set(logged(tmp_path / "csv").index().to_pydict()["id"]) == {"07", "M0"}


def test_decimal_commas_are_read(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    lines = [f"2026-03-01 00:00:0{at};{at};0,{at}25;-1,5e1" for at in range(ROWS)]
    log.write_text("\n".join(["time;n;x;y", *lines, ""]))
    found = logged(log)
    assert found.channels == ("n", "x", "y")
    np.testing.assert_array_equal(found.take(np.array([0])).values[0, :, 1], np.float32([1, 0.125, -15]))
    assert f"{log} writes decimals with a comma: they are read as such" in found.notes
    lines[5] = "2026-03-01 00:00:05;5;ERR;1,5"
    log.write_text("\n".join(["time;n;x;y", *lines, ""]))
    with pytest.raises(DataError, match="row 6: column 'x' holds 'ERR', which is not a number; mend it"):
        logged(log)


NAMES = ("Flow, l/min", "Temp, C")
ROW = "2026-03-01 00:00:0{};2{},13;59,8{}"


@pytest.mark.parametrize(
    ("header", "row", "names"),
    [
        ("time;Flow, l/min;Temp, C", ROW, NAMES),
        ("\ufefftime;Flow, l/min;Temp, C", ROW + "\r", NAMES),
        ("\r\n\ntime; Flow, l/min ;Temp, C", ROW, NAMES),
        ('time;"Flow, l/min";"Temp, C"', ROW, NAMES),
        ('time;"Flow, l/min";"Temp, C"', ROW.replace(",", "."), NAMES),
        ("time\tFlow, l/min\tTemp, C", ROW.replace(";", "\t"), NAMES),
        ("time|Flow, l/min|Temp, C", ROW.replace(";", "|"), NAMES),
        ('time,"Flow, l/min","Temp, C"', ROW.replace(",", ".").replace(";", ","), NAMES),
        # more commas than semicolons, in the names as in the rows
        ("time;Flow, l/min, raw", "{},5;2{},13", ("Flow, l/min, raw",)),
        # what stands between the cells of other files
        ("time,a;b,c;d;e", ROW.replace(",", ".").replace(";", ","), ("a;b", "c;d;e")),
        ("time;a|b|c;d", ROW.replace(",", "."), ("a|b|c", "d")),
    ],
)
def test_commas_in_names_do_not_divide_them(tmp_path: Path, header: str, row: str, names: tuple[str, ...]) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes("\n".join([header, *(row.format(*[at] * 3) for at in range(ROWS)), ""]).encode())
    found = logged(log)
    assert (found.columns.time, found.channels) == ("time", names)
    assert found.take(np.array([0])).values[0, 0, 3] == np.float32(23.13)


def test_rows_that_do_not_fit_change_no_delimiter(tmp_path: Path) -> None:
    rows = [ROW.format(*[at] * 3) for at in range(ROWS)]
    log = tmp_path / "log.csv"
    for at, bad in ((ROWS - 1, rows[-1][:-3]), (2, rows[2] + ";"), (2, rows[2] + ",5")):
        lines = [*rows[:at], bad, *rows[at + 1 :]]
        log.write_text("\n".join(["time;Flow, l/min;Temp, C", *lines, ""]))
        assert log_reading.dialect(find_files(log)[0][0]).delimiter == ";"
    # each row ends as if there were one more column, which pyarrow refuses
    log.write_text("\n".join(["time;Flow, l/min;Temp, C", *(f"{row};" for row in rows), ""]))
    with pytest.raises(DataError, match="Expected 3 columns, got 4"):
        logged(log)


def test_blanks_around_names_do_not_count(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    rows = "".join(f"a,{at},{at}.5,{at}.25\n" for at in range(ROWS))
    log.write_text("machine, time, flow , temp\n" + rows)
    found = logged(log)
    assert (found.columns.id, found.columns.time, found.channels) == ("machine", "time", ("flow", "temp"))
    np.testing.assert_array_equal(found.take(np.array([0])).values[0, 1], np.arange(4) + 0.25)
    # a checkpoint may know them with blanks, as may whoever types them
    asked = Columns(" machine", " time", (" temp", "flow "))
    found = logged(log, asked)
    assert (found.columns.id, found.columns.time, found.channels) == ("machine", "time", ("temp", "flow"))
    assert load_runs(log, asked, cache_dir=tmp_path / "cache").channels == ("temp", "flow")
    with pytest.raises(DataError, match=r"no column ' speed' \(--channels\); it has 'machine', 'time', 'flow', 'temp'"):
        logged(log, Columns(channels=(" speed",)))
    log.write_text("machine,time,flow, flow\n" + rows)
    with pytest.raises(DataError, match="has two columns 'flow'; rename one"):
        logged(log)


@pytest.mark.parametrize(("before", "behind"), [("", ";;"), (";", ";;"), ("", ";")])
def test_columns_of_a_csv_file_without_a_name_are_left_out(tmp_path: Path, before: str, behind: str) -> None:
    rows = "".join(f"{before}{at};{at},5{behind}\n" for at in range(ROWS))
    (tmp_path / "log.csv").write_text(f"{before}time;flow{behind}\n{rows}")
    found = logged(tmp_path / "log.csv")
    assert found.channels == ("flow",)
    assert "columns left out: ''" in found.notes
    np.testing.assert_array_equal(found.take(np.array([0])).values[0, 0], np.arange(4) + 0.5)


@pytest.mark.parametrize(("before", "behind"), [("", ""), (" ", ";;"), ('""', "; ")])
def test_a_column_of_times_without_a_name_is_called_as_pandas_calls_it(
    tmp_path: Path, before: str, behind: str
) -> None:
    log = tmp_path / "log.csv"
    rows = [f"2026-03-01 08:00:0{at % 4 + 5 * (at // 4)};{at},5{behind}" for at in range(ROWS)]
    log.write_text("\n".join([f"{before};flow{behind}", *rows]))
    found = logged(log)
    assert (found.columns.time, found.channels) == ("index", ("flow",))
    assert f"{log} has no name for the column of times: it is called 'index'" in found.notes
    assert found.index()["start"].to_pylist()[1].second == 5
    assert logged(log, Columns(time="index")).n_cases == 2
    assert logged(log, Columns(time="")).columns.time is None


def test_times_behind_another_column_without_a_name_are_refused(tmp_path: Path) -> None:
    times = pd.date_range("2026", periods=20, freq="1s")
    runs = {name: pd.DataFrame({"flow": np.arange(20.0)}, index=times) for name in ("m1", "m2")}
    log = tmp_path / "log.csv"
    pd.concat(runs).to_csv(log)
    with pytest.raises(DataError, match=f"a column of {log} has no name and holds times: name it, or add --time ''"):
        logged(log, Columns())
    assert logged(log, Columns(time="")).columns.time is None


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_times_that_no_name_is_left_for_are_refused(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame({"index": [1.5, 2.5], "": pd.date_range("2026", periods=2)})
    log = tmp_path / f"log.{suffix}"
    table.to_csv(log, index=False) if suffix == "csv" else table.to_parquet(log)
    with pytest.raises(DataError, match=f"a column of {log} has no name and holds times: name it, or add --time ''"):
        logged(log)
    assert logged(log, Columns(time="")).channels == ("index",)


def test_dates_in_a_csv_file_may_be_ids_and_groups_if_they_are_named(tmp_path: Path) -> None:
    for hour, name in enumerate("ab"):
        rows = "".join(f"2026-03-0{1 + at // 4} 08:0{hour},{hour}8:00,{at % 4},{at}.5\n" for at in range(ROWS))
        (tmp_path / f"{name}.csv").write_text("run,shift,time,flow\n" + rows)
    found = logged(tmp_path / "*.csv", Columns(id="run", group="shift"))
    index = found.index().to_pydict()
    assert index["id"] == [f"2026-03-0{day} 08:0{hour}" for day in (1, 2) for hour in (0, 1)]
    assert index["group"] == ["08:00", "18:00"] * 2


@pytest.mark.parametrize("cells", ["2026-03-01", "2026-03-01 08:00:00", "7"])
def test_an_id_that_would_be_taken_for_the_times_is_refused(tmp_path: Path, cells: str) -> None:
    (tmp_path / "log.csv").write_text("date,flow\n" + "".join(f"{cells},{at}.5\n" for at in range(ROWS)))
    with pytest.raises(DataError, match=r"column 'date' \(--id\) would be taken for the times, too; .* '' for none"):
        logged(tmp_path / "log.csv", Columns(id="date"))
    assert logged(tmp_path / "log.csv", Columns(id="date", time="")).n_cases == ROWS // 4


def test_blanks_around_the_texts_of_a_csv_file_do_not_count(tmp_path: Path) -> None:
    times = [f"2026-03-01 08:00:{at:02d}Z" for at in range(ROWS)]
    table = pd.DataFrame({"unit": "a", "time": times, "site": "x", "label": ["ok", "NA"] * (ROWS // 2), "flow": 0.5})
    table["unit"] = ["a" if at < ROWS // 2 else "b" for at in range(ROWS)]
    table.to_csv(tmp_path / "plain.csv", index=False)
    for at, name in enumerate(("unit", "site", "label")):
        table[name] += [" " * (row % (3 + at)) for row in range(ROWS)]
    rows = "\n".join(map(", ".join, table.astype(str).to_numpy().tolist()))
    (tmp_path / "blanks.csv").write_text("unit, time, site, label, flow\n" + rows)
    plain, blanks = (logged(tmp_path / name, Columns(group="site")) for name in ("plain.csv", "blanks.csv"))
    assert blanks.index().to_pydict() == plain.index().to_pydict()
    assert (blanks.classes, blanks.labels().tolist()) == (("ok",), plain.labels().tolist())
    (tmp_path / "blanks.csv").write_text("unit, time, flow\na, 0, 0.5\n  , 1, 0.5\n")
    with pytest.raises(DataError, match="row 2: column 'unit' is empty"):
        logged(tmp_path / "blanks.csv", Columns(id="unit"))


def test_names_of_other_kinds_of_files_keep_their_blanks(tmp_path: Path) -> None:
    x = np.arange(float(ROWS))
    log = parquet(tmp_path / "log.parquet", **{"time": np.arange(ROWS), " x": x, "x": x + 1})
    assert logged(log, Columns(channels=(" x",))).channels == (" x",)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_column_that_is_empty_in_one_file_is_what_the_others_say(tmp_path: Path, suffix: str, order: str) -> None:
    save = {"csv": write_csv, "parquet": pq.write_table}[suffix]
    (tmp_path / "log").mkdir()

    def write(**columns: Any) -> Path:
        empty = dict.fromkeys(columns, pa.nulls(ROWS))
        for name, held in zip(order, (empty, columns), strict=True):
            table = pa.table({"time": np.arange(ROWS), "x": np.arange(float(ROWS)), **held})
            save(table, str(tmp_path / f"log/{name}.{suffix}"))
        return tmp_path / "log"

    found = logged(write(comment=[None] * (ROWS - 1) + ["stopped"], y=np.arange(float(ROWS))))
    assert (found.channels, "columns left out: 'comment'" in found.notes) == (("x", "y"), True)
    log = write(y=["1.5"] * (ROWS - 1) + ["ERR"])
    with pytest.raises(DataError, match=f"row {ROWS}: column 'y' holds 'ERR', which is not a number"):
        logged(log)
    found = logged(write(y=["1.5"] * (ROWS // 2) + ["ERR"] * (ROWS // 2)))
    told = f"'y' is text, such as 'ERR' in row {ROWS // 2 + 1} of {tmp_path}/log/{order[1]}.{suffix}: it is no channel"
    assert told in found.notes


def test_numbers_in_one_file_and_text_in_another_are_refused(tmp_path: Path) -> None:
    for name, column in (("a", np.arange(float(ROWS))), ("b", ["ok"] * ROWS)):
        parquet(tmp_path / f"log/{name}.parquet", time=np.arange(ROWS), x=column)
    with pytest.raises(DataError, match="row 1: column 'x' holds 'ok', which is not a number"):
        logged(tmp_path / "log")


def test_columns_of_a_csv_file_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log").mkdir()
    for name in "abc":
        (tmp_path / f"log/{name}.csv").write_text("time,x\n" + "".join(f"{at},{at}.5\n" for at in range(ROWS)))
    asked, finer = list[pa.Schema](), log_reading._finer_times
    monkeypatch.setattr(log_reading, "_finer_times", lambda schema: asked.append(schema) or finer(schema))
    assert load_runs(tmp_path / "log", cache_dir=tmp_path / "cache").file_order().tolist() == list(range(3 * ROWS))
    assert len(asked) == 3


def test_all_files_are_asked_how_they_write_decimals(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    for name, point in zip("abcd", ".,,,", strict=True):
        (log / f"{name}.csv").write_text("time;x\n" + "".join(f"{at};0{point}{at}25\n" for at in range(ROWS)))
        found = logged(log).notes
        assert any("decimals" in note for note in found) == (name > "a")
        if name == "b":
            assert f"{log}/b.csv writes decimals with a comma: they are read as such" in found
    assert f"{log}/b.csv and 2 others write decimals with a comma: they are read as such" in found


@pytest.mark.parametrize("text", ["time;x\n0;12,500\n1;13,000\n", "time;x;y\n0;0,5;0.5\n", 'time,x\n0,"0,5"\n'])
def test_commas_that_may_be_something_else_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(DataError, match=r"row 1: column 'x' holds .*, which is not a number; write decimals with"):
        logged(tmp_path / "log.csv", window=1)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"sep=;\ntime;x\n0;1\n", "begins with 'sep=;', which is for Excel alone: delete that line"),
        (b"\xef\xbb\xbfsep=,\r\ntime,x\r\n0,1\r\n", "begins with 'sep=,', which"),
        (
            b"# logger 7, firmware 3\n# here\ntime,x,y\n0,1,2\n",
            "begins with a comment, '# logger 7, firmware 3': delete",
        ),
        (
            b"#group,false,false\n#datatype,string,long\n#default,,\n,time,x\n,0,1\n",
            "begins with a comment, '#group,false,false': delete all lines above the values but that of the names of",
        ),
        (b"# time,x\r\n# s,bar\r\n0,1\r\n", "begins with a comment, '# time,x': delete"),
        ("time,x\n0,1\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
    ],
)
def test_what_is_not_the_names_of_columns_is_told(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'log.csv'} {sentence}")):
        logged(tmp_path / "log.csv")


def test_names_may_begin_with_a_hash(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("#,time,x\n0,0,1\n1,1,2\n")
    assert logged(tmp_path / "log.csv", Columns(channels=("x", "#")), 1).channels == ("x", "#")
    (tmp_path / "log.csv").write_text("#,time,x\n#1,0,1\n#1,1,2\n")
    assert logged(tmp_path / "log.csv", Columns("#"), 1).channels == ("x",)


@pytest.mark.parametrize("form", ["wide", "long"])
def test_counters_that_lose_their_steps_are_told(tmp_path: Path, form: str) -> None:
    unit, time, flow = np.tile(["a", "b"], 20), np.repeat(np.arange(20), 2), np.tile([20.5, 21.25, 20.75, 21.0], 10)
    litres = 250_000_000 + 3 * time + np.tile([0, 10**6], 20)
    columns = {"unit": unit, "time": time, "litres": litres, "flow": flow}
    if form == "long":
        tag, value = np.repeat(["litres", "flow"], 40), np.concatenate([litres, flow])
        columns = {"unit": np.tile(unit, 2), "time": np.tile(time, 2), "tag": tag, "value": value}
    notes = " ".join(logged(parquet(tmp_path / "log.parquet", **columns)).notes)
    assert "channels with steps too fine for the 32-bit floats that values are kept in: litres (steps of 3" in notes
    assert "flow (steps" not in notes


def test_steps_between_ids_are_no_steps_of_a_counter(tmp_path: Path) -> None:
    unit, count = np.repeat(["a", "b", "c"], 2), [1e9, 1e9 + 1, 2e9, 2e9, 3e9, 3e9]
    found = logged(parquet(tmp_path / "log.parquet", unit=unit, time=np.tile([0, 1], 3), count=count), window=2)
    assert any("count (steps of 1 at" in note for note in found.notes)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow"])
def test_a_column_may_repeat_its_folder(tmp_path: Path, suffix: str) -> None:
    def write(machine: str, held: list[int]) -> None:
        path = tmp_path / f"log/machine={machine}/a.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({"machine": held, "time": np.arange(ROWS), "x": np.arange(float(ROWS))})
        save = {"csv": write_csv, "parquet": pq.write_table, "arrow": write_feather}[suffix]
        save(table, str(path))

    write("01", [1] * ROWS)
    write("2", [2] * ROWS)
    found = logged(tmp_path / "log")
    assert (set(found.index().to_pydict()["id"]), found.channels) == ({1, 2}, ("x",))
    for other in (3, 20):
        write("2", [2] * (ROWS - 1) + [other])
        sentence = f"column 'machine' holds '{other}', and the folder says 'machine=2'; rename one"
        with pytest.raises(DataError, match=sentence):
            logged(tmp_path / "log")


def test_cells_in_quotes_have_decimals_too() -> None:
    assert decimal_of(['0;"0,5"', '1; "1,25"\r'], ";") == ","


def test_names_that_are_as_many_as_those_above_are_a_row() -> None:
    assert line_of_names(["time,flow", "s,bar", "0,1.5", "1,2.5"]) is None
