"""One detector is for one machine: a table in which an id tells several apart is refused, whatever form it has."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tsjepa import DataWarning, SurpriseDetector
from tsjepa.sensor_rows import in_order, sensors

ROWS = 60
EVERY = np.arange(ROWS)
TABLE = pd.DataFrame({"flow": np.sin(EVERY), "level": np.cos(EVERY)})
TIMES = pd.date_range("2024", periods=ROWS, freq="1s", name="time")
# two machines that report at the same times
TWICE = TIMES[: ROWS // 2].append(TIMES[: ROWS // 2])
MACHINES = np.repeat(["a", "b"], ROWS // 2)
NUMBERS = np.repeat([1, 2], ROWS // 2)
COLUMN = r"^X must be one series .*, but its column '{}' tells several apart: use .*, drop or rename that column\.$"
LEVEL = (
    r"^X must be one series .*, but the level '{}' of its index tells .* in order, give X\.reset_index\(drop=True\)\.$"
)


def levels(**named: Any) -> pd.DataFrame:
    """Return the table with an index of these levels."""
    return TABLE.set_index([pd.Index(values, name=name) for name, values in named.items()])


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        (levels(machine=MACHINES), LEVEL.format("machine")),
        (levels(unit=NUMBERS), LEVEL.format("unit")),
        (levels(machine=pd.Categorical(MACHINES)), LEVEL.format("machine")),
        (levels(Machine=MACHINES, time=TIMES), LEVEL.format("Machine")),
        (levels(machine=MACHINES, time=TWICE), LEVEL.format("machine")),
        (levels(time=TWICE, machine=MACHINES).sort_index(), LEVEL.format("machine")),
        (levels(unit=NUMBERS, cycle=EVERY), LEVEL.format("unit")),
        (levels(run_id=NUMBERS, row=EVERY), LEVEL.format("run_id")),
        (TABLE.assign(machine=MACHINES), COLUMN.format("machine")),
        (TABLE.assign(Unit=np.tile(["a", "b"], ROWS // 2)), COLUMN.format("Unit")),
        (TABLE.assign(machine=pd.Categorical(MACHINES)), COLUMN.format("machine")),
        (TABLE.assign(id=np.where(EVERY < 9, np.nan, NUMBERS)), COLUMN.format("id")),
        (TABLE.assign(machine=MACHINES).set_axis(TIMES), COLUMN.format("machine")),
        (TABLE.assign(machine=MACHINES).set_axis(TWICE), COLUMN.format("machine")),
        (TABLE.assign(machine=MACHINES, time=TWICE), COLUMN.format("machine")),
        (pa.table({"flow": EVERY, "unit": NUMBERS}), COLUMN.format("unit")),
        (pl.DataFrame({"flow": EVERY, "unit": NUMBERS}), COLUMN.format("unit")),
    ],
)
def test_machines_are_told_apart_by_ids_whatever_the_times_are(X: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SurpriseDetector().fit(X)
    with pytest.raises(ValueError, match=sentence):  # as of a checkpoint, whose channels are taken out of a table
        in_order(X, ["flow"], "plant.ckpt")


@pytest.mark.parametrize(
    "beside",
    [
        *({"id": EVERY}, {"run": EVERY.astype(str)}, {"machine": "a"}, {"machine": ["a", None] * (ROWS // 2)}),
        *({"machine": None}, {"unit": np.nan}, {"run": NUMBERS == 1}),
        *({"id": [[1]] * ROWS}, {"run": pd.Series([True, None, False, True] * (ROWS // 4), dtype=object)}),
    ],
    ids=lambda beside: f"{next(iter(beside))}",
)
def test_a_column_that_tells_no_machines_apart_is_left_out(beside: dict[str, Any]) -> None:
    with pytest.warns(DataWarning, match=f"look like labels or ids are left out: '{next(iter(beside))}'"):
        assert list(sensors(TABLE.assign(**beside), None)) == ["flow", "level"]


@pytest.mark.parametrize(
    "X",
    [levels(id=EVERY), levels(machine=["a"] * ROWS), levels(machine=["a"] * ROWS, time=TIMES), levels(unit=EVERY / 7)],
)
def test_a_level_that_tells_no_machines_apart_is_no_hindrance(X: pd.DataFrame) -> None:
    assert list(sensors(X, None)) == ["flow", "level"]


def test_what_is_measured_is_a_sensor_as_in_a_file() -> None:
    assert list(sensors(TABLE.assign(engine=1500 + NUMBERS / 2), None)) == ["flow", "level", "engine"]


def test_what_a_model_knows_as_a_sensor_is_one() -> None:
    X = TABLE.assign(engine=NUMBERS)
    assert list(sensors(X, ["flow", "level", "engine"])) == ["flow", "level", "engine"]
    assert list(in_order(X, ["engine", "flow"], "plant.ckpt")) == ["engine", "flow"]
    assert list(sensors(X[["engine"]], None)) == ["engine"]
