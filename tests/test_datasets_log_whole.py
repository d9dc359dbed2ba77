"""Ids that begin with a zero, and CSV files whose columns change their type further down."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import ids

from tsjepa.datasets import DataError, log_reading
from tsjepa.datasets.log_runs import load_runs
from tsjepa.datasets.log_whole import WholeTypes
from tsjepa.datasets.logs import Columns, LogWindows, Windowing, load_log

ROWS = 8
MANY = 400


def logged(source: Path, columns: Columns | None = None) -> LogWindows:
    return load_log(source, columns, Windowing(4), cache_dir=source.parent / "cache")


def test_ids_that_begin_with_a_zero_are_text(tmp_path: Path) -> None:
    rows = "".join(f"{machine},{at},{at}.5\n" for machine in ("01", "1", "0") for at in range(ROWS))
    (tmp_path / "log.csv").write_text("machine,time,x\n" + rows)
    assert ids(logged(tmp_path / "log.csv")) == ["0", "01", "1"]
    runs = load_runs(tmp_path / "log.csv", cache_dir=tmp_path / "cache")
    assert runs.file_order().tolist() == [*range(ROWS, 3 * ROWS), *range(ROWS)]
    (tmp_path / "log.csv").write_text("machine,time,x\n" + rows.replace("01,", "2,"))
    assert ids(logged(tmp_path / "log.csv")) == [0, 1, 2]


def test_groups_that_begin_with_a_zero_are_text(tmp_path: Path) -> None:
    rows = "".join(f"m{line},{line},{at},{at}.5\n" for line in ("007", "7") for at in range(ROWS))
    (tmp_path / "log.csv").write_text("machine,line,time,x\n" + rows)
    assert logged(tmp_path / "log.csv", Columns(group="line")).groups().tolist() == ["007", "7"]


def test_machines_of_folders_that_begin_with_a_zero_are_text(tmp_path: Path) -> None:
    for machine in ("01", "1", "12"):
        folder = tmp_path / f"log/machine={machine}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"time": np.arange(ROWS), "x": np.arange(float(ROWS))}), folder / "a.parquet")
    assert ids(logged(tmp_path / "log")) == ["01", "1", "12"]
    # what is a number where it is named as a channel stays one
    found = logged(tmp_path / "log", Columns(id="", channels=("machine",), time=""))
    assert found.take(np.array([0])).values[0, 0, 0] == 1


def test_rows_that_were_kept_under_numbers_are_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log.csv"
    log.write_text("machine,time,x\n" + "".join(f"0{at % 2},{at // 2},{at}.5\n" for at in range(2 * ROWS)))
    with monkeypatch.context() as earlier:
        earlier.setattr("tsjepa.datasets.log_types.PADDED", "never")
        earlier.setattr("tsjepa.datasets.log_types._is_padded", lambda *_: False)
        assert ids(logged(log)) == [0, 1]
    assert ids(logged(log)) == ["00", "01"]


def rows_of(**columns: tuple[str, str]) -> str:
    """Write rows of two machines, in each of which a column has a first value, and another one in the last rows."""
    cells = {"machine": ("1", "1"), "line": ("5", "5"), "time": ("", ""), "fault": ("0", "0"), "x": ("0.5", "1.5")}
    cells |= columns
    lines = [",".join(cells)]
    for at in range(MANY):
        row = {name: early if at < MANY - ROWS else late for name, (early, late) in cells.items()}
        lines.append(",".join((row | {"time": row["time"] or str(at)}).values()))
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(
    ("name", "early", "late"),
    [
        ("machine", "1", "P3"),
        ("machine", "1", "007"),
        ("line", "5", "L3"),
        ("line", "5", "05"),
        ("fault", "0", "worn"),
        ("fault", "0.0", "worn"),
        ("fault", "0", "0.5"),
        ("fault", "", "worn"),
        ("fault", "", "0.5"),
        ("fault", "", "1"),
        ("x", "", "none so far"),
    ],
)
def test_types_that_change_further_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, early: str, late: str
) -> None:
    columns = {name: (early, late), "y": ("1.5", "2.5")}
    if name == "line":  # an id has one group
        columns["machine"] = ("a", "b")
    (tmp_path / "log.csv").write_text(rows_of(**columns))
    asked = Columns(group="line")
    small = load_log(tmp_path / "log.csv", asked, Windowing(4), cache_dir=tmp_path / "small")
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 1 << 10)
    for _ in range(2):  # built, and found again
        large = load_log(tmp_path / "log.csv", asked, Windowing(4), cache_dir=tmp_path / "large")
        assert (large.notes, large.columns) == (small.notes, small.columns)
        assert large.index().to_pydict() == small.index().to_pydict()
        assert large.groups().tolist() == small.groups().tolist()
        np.testing.assert_array_equal(large.labels(), small.labels())
        assert not list(tmp_path.glob("large/*.partial"))
    runs = load_runs(tmp_path / "log.csv", asked, cache_dir=tmp_path / "large")
    assert sorted(runs.file_order().tolist()) == list(range(MANY))


def test_times_with_a_fraction_further_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 1 << 10)
    lines = rows_of().splitlines()
    lines[-1] = lines[-1].replace(f",{MANY - 1},", f",{MANY - 1}.5,")
    (tmp_path / "log.csv").write_text("\n".join([*lines, ""]))
    assert logged(tmp_path / "log.csv").index().to_pydict()["end"][-1] == MANY - 0.5


def test_types_are_looked_for_again_in_a_file_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 1 << 10)
    log = tmp_path / "log.csv"
    log.write_text(rows_of(machine=("1", "P3")))
    assert ids(logged(log)) == ["1", "P3"]
    log.write_text(rows_of(machine=("1", "31")))
    assert ids(logged(log)) == [1, 31]


@pytest.mark.parametrize(("name", "late"), [("machine", "2.5"), ("machine", "true"), ("line", "1.5"), ("time", "abc")])
def test_an_odd_cell_further_down_is_told_with_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, late: str
) -> None:
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 1 << 10)
    lines = rows_of(machine=("1", "1") if name != "line" else ("a", "b")).splitlines()
    cells = lines[-3].split(",")
    cells[lines[0].split(",").index(name)] = late
    lines[-3] = ",".join(cells)
    (tmp_path / "log.csv").write_text("\n".join([*lines, ""]))
    with pytest.raises(DataError, match=f"row {MANY - 2}: column '{name}' holds '{late}', which is not a whole number"):
        logged(tmp_path / "log.csv", Columns(id="machine", time="time", group="line"))


def test_a_type_that_is_found_in_one_file_is_that_of_all_that_began_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 1 << 10)
    (tmp_path / "log").mkdir()
    for day in range(4):
        (tmp_path / f"log/{day}.csv").write_text(rows_of(machine=(str(day), str(day)), fault=("", "worn")))
    searched = []
    find = WholeTypes.find
    monkeypatch.setattr(WholeTypes, "find", lambda self, *told: searched.append(told) or find(self, *told))
    columns = Columns(id="machine", time="time", label="fault")
    found = load_log(tmp_path / "log", columns, Windowing(4), cache_dir=tmp_path / "cache")
    assert len(searched) == 1
    assert set(found.labels()) == {"", "worn"}


def test_what_is_found_of_an_id_says_nothing_of_a_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 1 << 10)
    log = tmp_path / "log.csv"
    log.write_text(rows_of(recipe_id=("1.5", "trial")))
    sentence = f"row {MANY - ROWS + 1}: column 'recipe_id' holds 'trial', which is not a number"
    for _ in range(2):
        with pytest.raises(DataError, match=sentence):
            logged(log, Columns(id="machine"))
        assert ids(logged(log, Columns(id="recipe_id", label="fault"))) == ["1.5", "trial"]
