"""What columns of a log are taken for by their values, where names and types do not say enough."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.csv import write_csv
from reading import EVERY, ROWS, TIME, TWO, WAVE, ids, interleaved, logged, refused

from tsjepa.datasets import log_sample
from tsjepa.datasets.logs import Columns

SECOND = np.timedelta64(1, "s")


def saved(path: Path, **columns: Any) -> Path:
    save = {".csv": write_csv, ".parquet": pq.write_table}[path.suffix]
    save(pa.table(columns), str(path))
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("key", "machine"), [("id", "device"), ("record_id", "machine")])
def test_keys_of_rows_are_no_ids(tmp_path: Path, suffix: str, key: str, machine: str) -> None:
    log = saved(tmp_path / f"log.{suffix}", **{key: EVERY}, **interleaved(), **{machine: TWO})
    found = logged(log)
    assert (found.columns.id, found.channels, ids(found)) == (machine, ("flow",), ["a", "b"])
    assert f"columns left out: '{key}'" in found.notes
    # as a model was trained before that remembers its columns
    assert len(ids(logged(log, Columns(key, "time", ("flow",))))) == ROWS


def test_a_key_alone_is_said_to_be_no_id(tmp_path: Path) -> None:
    found = logged(saved(tmp_path / "log.csv", id=EVERY, time=TIME, flow=WAVE))
    assert (found.columns.id, found.channels, found.n_cases) == (None, ("flow",), ROWS // 8)
    assert "column 'id' has another value in every row: it is taken for no id" in found.notes


def test_a_key_is_told_where_something_unknown_tells_machines_apart(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.csv", id=EVERY, **interleaved(), Anlage=TWO)
    assert "column 'id' is called like an id, and has another value in every row; name the column" in refused(log)
    assert ids(logged(log, Columns("Anlage"))) == ["a", "b"]


@pytest.mark.parametrize("name", ["machine", "run_id"])
def test_a_machine_in_each_row_is_told(tmp_path: Path, name: str) -> None:
    log = saved(tmp_path / "log.csv", **{name: EVERY}, time=TIME, flow=WAVE)
    assert f"column '{name}' is called like an id, and has another value in every row" in refused(log)
    assert logged(log, Columns("")).n_cases == ROWS // 8
    log = saved(tmp_path / "one.csv", **{name: EVERY[:1]}, time=TIME[:1], flow=WAVE[:1])
    assert logged(log).columns.id == name


def test_an_empty_column_is_no_id(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.parquet", machine=pa.nulls(ROWS, pa.string()), **interleaved(unit=TWO))
    assert logged(log).columns.id == "unit"
    log = saved(tmp_path / "one.parquet", machine=pa.nulls(ROWS, pa.float64()), time=TIME, flow=WAVE)
    assert (logged(log).columns.id, logged(log).channels) == (None, ("flow",))


def test_ids_may_come_again_in_another_file_only(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for at in range(20):
        saved(tmp_path / f"log/{at:02}.csv", machine=EVERY, time=np.repeat(TIME[at], ROWS), flow=WAVE)
    assert ids(logged(tmp_path / "log")) == EVERY.tolist()


def test_machines_come_before_other_ids_that_repeat(tmp_path: Path) -> None:
    found = logged(saved(tmp_path / "log.csv", site_id=["x"] * ROWS, **interleaved(), machine=TWO))
    assert (found.columns.id, ids(found)) == ("machine", ["a", "b"])
    for run in ("run", "run_id"):
        log = saved(tmp_path / f"{run}.csv", **{run: TWO}, **interleaved(), machine=["x"] * ROWS)
        assert logged(log).columns.id == run


def test_what_is_called_like_an_id_and_cannot_be_one_is_said(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.parquet", time=TIME, flow=WAVE, run=[True, False] * (ROWS // 2))
    note = "column 'run' is called like an id, and holds bool: it is left out, and machines that it tells apart are"
    assert note in " ".join(logged(log).notes)
    assert note not in " ".join(logged(log, Columns("")).notes)
    found = logged(log, Columns(channels=("flow", "run")))
    assert (found.channels, note in " ".join(found.notes)) == (("flow", "run"), False)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_is_measured_is_no_id(tmp_path: Path, suffix: str) -> None:
    found = logged(saved(tmp_path / f"log.{suffix}", time=TIME, flow=WAVE, engine=1500 + np.round(WAVE, 1)))
    assert (found.columns.id, found.channels) == (None, ("flow", "engine"))


def test_a_guessed_id_is_called_so_where_it_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"{at // 2},2.5,{at % 2 if at < 100_000 else 1.5}\n" for at in range(100_001))
    (tmp_path / "log.csv").write_text("time,flow,engine\n" + rows)
    sentence = "row 100001: column 'engine' holds '1.5', which is not a whole number; mend it or drop the row"
    guessed = "; this column was guessed to be the id: name another by --id, or add --id ''"
    assert sentence + guessed in refused(tmp_path / "log.csv")
    assert refused(tmp_path / "log.csv", Columns("engine")).endswith(sentence)


def in_turns(**columns: Any) -> dict[str, Any]:
    """Return rows of one value each, of two channels in turns."""
    return {"time": np.repeat(TIME[: ROWS // 2], 2), "tag": ["p", "t"] * (ROWS // 2), "value": WAVE, **columns}


def test_a_wide_log_with_a_gateway_stays_wide(tmp_path: Path) -> None:
    columns = {"time": TIME, "temperature": WAVE, "humidity": WAVE, "sensor_id": ["gw1"] * ROWS, "value": WAVE}
    log = saved(tmp_path / "log.csv", **columns)
    found = logged(log)
    assert (found.columns.id, found.channels) == ("sensor_id", ("temperature", "humidity", "value"))
    # as a model was trained before that remembers its channels
    assert logged(log, Columns(None, "time", ("gw1",))).channels == ("gw1",)


NAMES = ["TI101", "PI102"] * (ROWS // 2)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("names", ["name,value", "point,_value", "ItemId,val", "NodeId,Value", "item name,value"])
def test_what_may_name_channels_does_so_if_they_are_asked_for(tmp_path: Path, suffix: str, names: str) -> None:
    channel, value = names.split(",")
    columns = {channel: NAMES, "timestamp": TIME, value: WAVE, "quality": [192] * ROWS}
    log = saved(tmp_path / f"log.{suffix}", **columns)
    found = logged(log, Columns(channels=("PI102", "TI101")))  # also as a model was trained that remembers them
    assert (found.columns.id, found.channels) == (None, ("PI102", "TI101"))
    assert f"one value a row, in '{value}', of the channel in '{channel}'" in found.notes
    found = logged(saved(tmp_path / f"wide.{suffix}", **{channel: NAMES, "timestamp": TIME, value: WAVE}))
    assert found.channels == (value,)
    note = f"if '{channel}' names the sensors whose values stand in '{value}', name them by --channels"
    assert any(said.startswith(note) for said in found.notes)


def test_the_field_of_an_influx_table_names_channels(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.csv", _field=NAMES, timestamp=TIME, _value=WAVE, table=[0] * ROWS)
    assert logged(log).channels == ("PI102", "TI101")


@pytest.mark.parametrize(
    ("columns", "channels", "noted"),
    [
        ({"name": NAMES}, ("value",), True),
        ({"name": NAMES, "signal": WAVE}, ("value", "signal"), False),
        ({"name": NAMES, "flow": WAVE}, ("value", "flow"), False),
        ({"name": ["PumpA"] * ROWS}, ("value",), False),
        ({"name": [f"record {at}" for at in EVERY]}, ("value",), False),
        ({"point": 20 + EVERY % 2}, ("value", "point"), False),
    ],
)
def test_a_log_with_names_stays_wide(
    tmp_path: Path, columns: dict[str, Any], channels: tuple[str, ...], noted: bool
) -> None:
    log = saved(tmp_path / "log.csv", time=TIME, value=WAVE, **columns)
    found = logged(log)
    assert found.channels == channels
    assert any("they are read as one now" in note for note in found.notes) == noted


def test_a_misspelled_channel_beside_names_is_told(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.csv", time=TIME, value=WAVE, name=NAMES)
    assert "no column 'temp' (--channels)" in refused(log, Columns(channels=("value", "temp")))


def test_strengths_of_a_signal_name_no_channels(tmp_path: Path) -> None:
    signal = -60 - EVERY % 3
    log = saved(tmp_path / "log.csv", time=TIME, temperature=WAVE, signal=signal, value=WAVE)
    assert logged(log).channels == ("temperature", "signal", "value")
    assert logged(log, Columns(None, "time", ("-60", "-61", "-62"))).channels == ("-60", "-61", "-62")
    assert logged(saved(tmp_path / "two.csv", time=TIME, signal=signal, value=WAVE)).channels == ("signal", "value")


def test_what_the_long_form_leaves_out_is_said(tmp_path: Path) -> None:
    aside = {"OPCQuality": [192] * ROWS, "alarm": [0] * ROWS, "comment": ["ok"] * ROWS}
    for name, time in (("both", {}), ("each", {"time": TIME})):  # channels at the same times, and in turns
        found = logged(saved(tmp_path / f"{name}.csv", **{**in_turns(**aside), **time}))
        assert found.channels == ("p", "t")
        assert "columns left out: 'OPCQuality', 'alarm', 'comment'" in found.notes


def test_several_values_of_one_time_are_long(tmp_path: Path) -> None:
    found = logged(saved(tmp_path / "log.csv", **in_turns(minimum=WAVE - 1, machine=["a"] * ROWS)))
    assert (found.columns.id, found.channels) == ("machine", ("p", "t"))
    assert "columns left out: 'minimum'" in found.notes


def test_rows_that_may_be_read_either_way_are_told(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.csv", **{**in_turns(minimum=WAVE - 1), "time": TIME})
    sentence = (
        "a row may be one value, in 'value', of the channel in 'tag', or have 'minimum', 'value' of one time: name"
    )
    assert sentence in refused(log)
    assert logged(log, Columns(channels=("p", "t"))).channels == ("p", "t")
    assert logged(log, Columns(channels=("minimum", "value"))).channels == ("minimum", "value")


def test_units_of_measurement_are_no_machines(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.csv", **in_turns(unit=["bar", "C"] * (ROWS // 2)))
    found = logged(log)
    assert (found.columns.id, found.channels, found.n_cases) == (None, ("p", "t"), 3)
    assert "columns left out: 'unit'" in found.notes
    assert ids(logged(log, Columns("unit", "time", ("p", "t")))) == ["C", "bar"]
    machines = np.repeat(["u1", "u2"], ROWS // 2)
    assert ids(logged(saved(tmp_path / "two.csv", **in_turns(unit=machines)))) == ["u1", "u2"]


BOTH_ORDERS = pytest.mark.parametrize("names", [("cycle", "timestamp"), ("timestamp", "cycle")])


@BOTH_ORDERS
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_timestamps_come_before_a_counter(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    late = TIME + np.where(EVERY < ROWS // 2, 0, 3600) * SECOND
    columns = {"cycle": EVERY, "timestamp": late}
    log = saved(tmp_path / f"log.{suffix}", **{name: columns[name] for name in names}, flow=WAVE)
    found = logged(log)
    assert (found.columns.time, found.channels) == ("timestamp", ("flow",))
    assert "columns left out: 'cycle'" in found.notes
    assert any(note.startswith("gaps of more than 10 s") for note in found.notes)
    assert logged(log, Columns(None, "cycle", ("flow",))).columns.time == "cycle"
    # as a model was trained before that remembers its channels
    for time in (None, "timestamp"):
        assert logged(log, Columns(None, time, ("cycle", "flow"))).channels == ("cycle", "flow")


@BOTH_ORDERS
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_cycle_with_a_fraction_counts_no_rows(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    columns = {"cycle": WAVE, "timestamp": TIME}
    log = saved(tmp_path / f"log.{suffix}", **{name: columns[name] for name in names}, flow=WAVE)
    assert logged(log).channels == ("cycle", "flow")


def test_a_counter_stays_beside_dates_that_order_no_rows(tmp_path: Path) -> None:
    built = np.repeat(TIME[:2], ROWS // 2)
    machine, cycle = np.repeat([1, 2], ROWS // 2), np.tile(EVERY[: ROWS // 2], 2)
    found = logged(saved(tmp_path / "log.csv", unit=machine, cycle=cycle, built=built, flow=WAVE))
    assert (found.columns.id, found.columns.time, found.channels) == ("unit", "cycle", ("flow",))


def test_a_name_of_a_folder_may_be_an_id(tmp_path: Path) -> None:
    for machine in ("a", "b"):
        (tmp_path / f"log/machine={machine}").mkdir(parents=True)
        saved(tmp_path / f"log/machine={machine}/x.csv", time=TIME, flow=WAVE, id=EVERY)
    found = logged(tmp_path / "log")
    assert (found.columns.id, ids(found)) == ("machine", ["a", "b"])
    assert re.search("columns left out: 'id'", " ".join(found.notes))


@pytest.mark.parametrize("name", ["machine", "unit"])
def test_machines_in_files_of_their_own_are_kept_apart(tmp_path: Path, name: str) -> None:
    (tmp_path / "log").mkdir()
    for machine in ("A", "B"):
        for sensor in range(20):
            columns = {name: [machine] * ROWS, "time": TIME, "sensor": [f"s{sensor:02}"] * ROWS, "value": WAVE}
            saved(tmp_path / f"log/{machine}_{sensor:02}.csv", **columns)
    found = logged(tmp_path / "log")
    assert (found.columns.id, ids(found), len(found.channels)) == (name, ["A", "B"], 20)


def test_machines_with_channels_of_their_own_are_kept_apart(tmp_path: Path) -> None:
    for name, machines in (("machine", ["A", "B"]), ("unit", ["u1", "u2"])):
        found = logged(saved(tmp_path / f"{name}.csv", **in_turns(**{name: machines * (ROWS // 2)})))
        assert (found.columns.id, ids(found)) == (name, machines)


def test_another_name_of_the_channel_is_no_id(tmp_path: Path) -> None:
    found = logged(saved(tmp_path / "log.csv", **in_turns(sensor_id=[1, 2] * (ROWS // 2))))
    assert (found.columns.id, found.channels) == (None, ("p", "t"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_very_many_machines_in_turns_are_met_again(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_sample, "SAMPLE_ROWS", ROWS // 4)
    machines = np.tile(EVERY[: ROWS // 2], 2)
    for name in ("id", "machine"):
        log = saved(tmp_path / f"{name}.{suffix}", **{name: machines}, time=np.repeat(TIME[:2], ROWS // 2), flow=WAVE)
        found = logged(log)
        assert (found.columns.id, len(ids(found))) == (name, ROWS // 2)


def test_a_key_is_said_to_be_one_of_the_rows_that_were_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sample, "SAMPLE_ROWS", 8)
    monkeypatch.setattr(log_sample, "KEY_ROWS", 16)
    log = saved(tmp_path / "log.csv", id=EVERY, time=TIME, flow=WAVE)
    assert "column 'id' has another value in each of the first 16 rows: it is taken for no id" in logged(log).notes
    log = saved(tmp_path / "run.csv", run=EVERY, time=TIME, flow=WAVE)
    assert "called like an id, and has another value in each of the first 16 rows; name" in refused(log)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_may_lie_below_zero(tmp_path: Path, suffix: str) -> None:
    found = logged(saved(tmp_path / f"log.{suffix}", **interleaved(machine=[-1.0, 2.0] * (ROWS // 2))))
    assert (found.columns.id, ids(found), found.channels) == ("machine", [-1, 2], ("flow",))


def test_a_key_beside_channels_is_no_id(tmp_path: Path) -> None:
    found = logged(saved(tmp_path / "log.csv", id=EVERY, **in_turns()))
    assert (found.columns.id, found.channels) == (None, ("p", "t"))
    both = {**in_turns(), "time": np.repeat(TIME[: ROWS // 4], 4), "Anlage": np.repeat(TWO[: ROWS // 2], 2)}
    assert "column 'id' is called like an id" in refused(saved(tmp_path / "two.csv", id=EVERY, **both))


@BOTH_ORDERS
def test_a_counter_is_a_channel_where_the_time_is_named(tmp_path: Path, names: tuple[str, str]) -> None:
    columns = {"cycle": EVERY, "timestamp": TIME}
    log = saved(tmp_path / "log.csv", **{name: columns[name] for name in names}, flow=WAVE)
    assert logged(log).channels == ("flow",)
    assert logged(log, Columns(time="timestamp")).channels == ("cycle", "flow")


def test_an_id_that_has_a_time_twice_is_said_to_be_guessed(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.csv", plant_id=["x"] * ROWS, **interleaved(Anlage=TWO))
    guessed = "keep one, or name another column of ids by --id: 'plant_id' was guessed to be that"
    assert refused(log).endswith(guessed)
    assert refused(log, Columns("plant_id")).endswith("; keep one")


def test_what_is_said_of_a_channel_tells_no_rows_apart(tmp_path: Path) -> None:
    columns = in_turns(minimum=WAVE - 1, words=["pressure", "temperature"] * (ROWS // 2))
    found = logged(saved(tmp_path / "log.csv", **columns))
    assert (found.columns.id, found.channels) == (None, ("p", "t"))


def test_ids_in_csv_may_have_a_point(tmp_path: Path) -> None:
    rows = "".join(f"{at // 2},{at % 2}.0,{at % 2 + 1}.0,2.5\n" for at in range(40))
    log = tmp_path / "log.csv"
    log.write_text("time,machine,plant,flow\n" + rows)
    found = logged(log, Columns(group="plant"))
    assert (found.columns.id, ids(found)) == ("machine", [0, 1])
    log.write_text("time,machine,plant,flow\n" + rows + "20,1.5,1.0,2.5\n")
    assert "row 41: column 'machine' holds '1.5', which is not a whole number" in refused(log, Columns("machine"))
    log.write_text("time,machine,plant,flow\n" + rows + "20,1.0,1.0,oops\n")
    assert refused(log, Columns("machine", "time", ("flow",))).startswith(f"{log}, row 41: column 'flow' holds 'oops'")
