"""Dates and times of day that cannot be read as they are written are told, and gaps are not passed over."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reading import logged, refused

from tsjepa.datasets import DataError
from tsjepa.datasets.log_dates import WRITTEN
from tsjepa.datasets.logs import Columns

ROWS = 200
TIME = pd.Series(pd.date_range("2026-03-01", periods=ROWS, freq="1s"))
WAVE = np.sin(np.arange(ROWS))


def saved(path: Path, **columns: Any) -> Path:
    table = pd.DataFrame(columns)
    table.to_csv(path, index=False, sep=";") if path.suffix == ".csv" else table.to_parquet(path)
    return path


@pytest.mark.parametrize(
    "text",
    [
        *("01.03.2026 00:00:00", "1.3.2026", "03/01/2026 1:05 PM", "01.03.26 00:00", "2026/3/1 13:00:00,5"),
        *("2026-03-01", "2026-03-01T13:00:00Z", "2026-03-01 13:00+01:00", "13:00:00", "13:00", "1:00:00.250 am"),
        *("1-Mar-2026 13:00", "01 März 2026", "Mar 1, 2026 13:00:05", "01-MAR-26"),
        *("0 days 00:00:01", "-1 days +23:59:59.500000", "1 day, 0:00:01"),
    ],
)
def test_what_reads_as_a_time(text: str) -> None:
    assert WRITTEN.fullmatch(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1.2.3",
            "10.11.12",
            "2026",
            "20260301",
            "12-34-5678",
            "5 bar 20",
            "192.168.0.1",
            "a:b",
            "1:2",
            "5 days",
            "ok",
        ),
        "",
    ],
)
def test_what_reads_as_something_else(text: str) -> None:
    assert not WRITTEN.fullmatch(text)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_dates_that_are_not_iso_are_told(tmp_path: Path, suffix: str) -> None:
    written = TIME.dt.strftime("%d.%m.%Y %H:%M:%S")
    log = saved(tmp_path / f"log.{suffix}", Zeitstempel=written, flow=WAVE)
    assert refused(log) == (
        f"{log}: no column of times was found, but 'Zeitstempel' holds '01.03.2026 00:00:00': write one column of "
        "times such as 2026-03-01 13:00:00, and name it by --time; --time '' takes rows as in order and evenly spaced"
    )
    assert logged(log, Columns(time="")).channels == ("flow",)


def test_channels_that_are_named_are_read_as_by_models_that_have_them(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.csv", Zeitstempel=TIME.dt.strftime("%d.%m.%Y %H:%M:%S"), flow=WAVE)
    found = logged(log, Columns(channels=("flow",)))
    assert (found.columns.time, found.n_cases) == (None, ROWS // 8)
    assert "'Zeitstempel' holds '01.03.2026 00:00:00', which is not used, so that gaps may not be seen" in " ".join(
        found.notes
    )


def test_a_date_and_a_time_of_day_are_told_together(tmp_path: Path) -> None:
    day, clock = TIME.dt.strftime("%d.%m.%Y"), TIME.dt.strftime("%H:%M:%S")
    assert "but 'Datum', 'Uhrzeit' hold '01.03.2026', '00:00:00': write one column of times" in refused(
        saved(tmp_path / "log.csv", Datum=day, Uhrzeit=clock, flow=WAVE)
    )
    assert "but 'time' holds '00:00:00': write" in refused(saved(tmp_path / "clock.csv", time=clock, flow=WAVE))
    log = saved(tmp_path / "log.parquet", clock=TIME.dt.time, flow=WAVE)
    assert "but 'clock' holds '00:00:00" in refused(log)


@pytest.mark.parametrize(("name", "suffix"), [("elapsed", "csv"), ("elapsed", "parquet"), ("time", "parquet")])
@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_durations_are_told(tmp_path: Path, name: str, suffix: str, unit: str) -> None:
    elapsed = pd.Series(pd.to_timedelta(np.arange(1, ROWS + 1) * 500, unit="ms")).astype(f"timedelta64[{unit}]")
    log = saved(tmp_path / f"log.{suffix}", **{name: elapsed, "flow": WAVE})
    sentence = refused(log)
    assert sentence.startswith(f"{log}: no column of times was found, but '{name}' holds '0")
    assert "0:00:00.500000': write one column of times such as 2026-03-01 13:00:00" in sentence
    assert logged(log, Columns(time="")).channels == ("flow",)


def test_dates_that_can_be_read_need_a_name(tmp_path: Path) -> None:
    log = saved(tmp_path / "log.parquet", wann=TIME.astype(str), flow=WAVE)
    assert "but 'wann' holds '2026-03-01 00:00:00': name it by --time 'wann'; --time ''" in refused(log)
    assert logged(log, Columns(time="wann")).step == "1 s"


@pytest.mark.parametrize("counter", ["cycle", "time_in_state"])
def test_a_counter_does_not_hide_dates(tmp_path: Path, counter: str) -> None:
    written = TIME.dt.strftime("%d.%m.%Y %H:%M:%S")
    counted = np.arange(ROWS) if counter == "cycle" else np.arange(ROWS) % 40
    log = saved(tmp_path / "log.csv", Zeitstempel=written, **{counter: counted}, flow=WAVE)
    assert f"'{counter}' would be the column of times, but 'Zeitstempel' holds '01.03.2026 00:00:00'" in refused(log)


@pytest.mark.parametrize("runs", [1, 2])
def test_seconds_are_times_beside_a_clock(tmp_path: Path, runs: int) -> None:
    run, seconds = np.repeat(np.arange(runs), ROWS // runs), np.tile(np.arange(ROWS // runs), runs)
    columns = {"run": run, "Time [s]": seconds, "Uhrzeit": TIME.dt.strftime("%H:%M:%S")}
    assert logged(saved(tmp_path / "log.csv", **columns, flow=WAVE)).columns.time == "Time [s]"


def test_words_and_dates_of_installation_are_no_times(tmp_path: Path) -> None:
    aside = {"version": ["1.2.3", "1.2.4"] * (ROWS // 2), "built": ["01.03.2020"] * ROWS, "state": ["ok"] * ROWS}
    assert logged(saved(tmp_path / "log.csv", flow=WAVE, **aside)).columns.time is None
    unit, cycle = np.repeat([1, 2], ROWS // 2), np.tile(np.arange(ROWS // 2), 2)
    built = np.repeat(["01.03.2020", "02.03.2020"], ROWS // 2)
    found = logged(saved(tmp_path / "units.csv", unit=unit, cycle=cycle, built=built, flow=WAVE))
    assert found.columns.time == "cycle"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("form", ["%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d"])
def test_dates_in_digits_are_told(tmp_path: Path, suffix: str, form: str) -> None:
    step = {"%Y%m%d%H%M%S": "1s", "%Y%m%d%H%M": "1min", "%Y%m%d": "1D"}[form]
    number = pd.Series(pd.date_range("2026-03-01", periods=ROWS, freq=step)).dt.strftime(form).astype("int64")
    log = saved(tmp_path / f"log.{suffix}", timestamp=number, flow=WAVE)
    assert f"column 'timestamp' holds {number[0]}, a date in digits, which as a number leaps" in refused(log)
    assert logged(log, Columns(time="timestamp")).columns.time == "timestamp"
    whole = saved(tmp_path / "floats.parquet", time=number.astype(float), flow=WAVE)
    assert f"column 'time' holds {number[0]}, a date in digits" in refused(whole)


@pytest.mark.parametrize("first", ["date", "time"])
@pytest.mark.parametrize("day", ["%Y%m%d", "%Y-%m-%d"])
def test_a_date_and_a_time_of_day_in_digits_are_told(tmp_path: Path, first: str, day: str) -> None:
    columns = {"date": TIME.dt.strftime(day), "time": TIME.dt.strftime("%H%M%S")}
    ordered = {first: columns.pop(first), **columns}
    sentence = refused(saved(tmp_path / "log.csv", **ordered, flow=WAVE))
    assert "hold a date and a time of day; join them into one column of times such as 2026-03-01 13:00:00" in sentence
    assert "'date'" in sentence
    assert "'time'" in sentence


@pytest.mark.parametrize("start", [1_772_323_200, 1_772_323_200_000, 0, 20_260_331])
def test_counted_times_stay_numbers(tmp_path: Path, start: int) -> None:
    found = logged(saved(tmp_path / "log.csv", date=["2026-03-01"] * ROWS, time=start + np.arange(ROWS), flow=WAVE))
    assert found.columns.time == "time"


def test_seconds_stay_times_beside_dates_of_shifts(tmp_path: Path) -> None:
    machines = {"Anlage": np.tile([1, 2], ROWS // 2), "time_s": np.repeat(np.arange(ROWS // 2), 2)}
    shift = np.repeat(["01.03.2026 06:00", "01.03.2026 14:00"], ROWS // 2)
    log = saved(tmp_path / "log.csv", **machines, shift_start=shift, flow=WAVE)
    with pytest.raises(DataError, match="two rows") as caught:  # of the two machines, and no word of shifts
        logged(log)
    assert "shift_start" not in str(caught.value)
    assert logged(log, Columns("Anlage")).columns.time == "time_s"


def test_dates_of_shifts_and_batches_are_noted_where_there_are_no_times(tmp_path: Path) -> None:
    shift = np.resize(np.repeat(["06:00", "14:00", "22:00"], 40), ROWS)
    machine = np.resize(["a", "b"], ROWS)
    found = logged(saved(tmp_path / "log.csv", flow=WAVE, shift_start=shift, machine=machine))
    assert (found.columns.time, found.columns.id) == (None, "machine")
    assert "'shift_start' holds '06:00', which is not used, so that gaps may not be seen" in " ".join(found.notes)
    made = np.resize(np.repeat(["01.03.2026", "02.03.2026"], 40), ROWS)
    assert logged(saved(tmp_path / "made.csv", flow=WAVE, batch_made=made)).columns.time is None


def test_times_that_machines_share_are_told(tmp_path: Path) -> None:
    written = TIME[: ROWS // 4].repeat(4).reset_index(drop=True)
    columns = {"Anlage": np.resize(list("abcd"), ROWS), "Tag": written.dt.strftime("%d.%m.%Y")}
    log = saved(tmp_path / "log.csv", **columns, Uhrzeit=written.dt.strftime("%H:%M:%S"), flow=WAVE)
    assert "but 'Tag', 'Uhrzeit' hold '01.03.2026', '00:00:00'" in refused(log)


def test_seconds_below_a_minute_are_no_clock(tmp_path: Path) -> None:
    columns = {"date": ["2026-03-01"] * 60, "time": np.arange(60), "flow": WAVE[:60]}
    assert logged(saved(tmp_path / "log.csv", **columns)).columns.time == "time"
