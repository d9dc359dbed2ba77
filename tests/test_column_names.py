"""One vocabulary of columns: the same table means the same in memory and in a file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsjepa import DataWarning
from tsjepa.containers import to_panel
from tsjepa.datasets import load
from tsjepa.datasets.logs import Columns, Windowing, load_log
from tsjepa.sensor_rows import sensors

pytestmark = pytest.mark.usefixtures("quick_disk")
POINTS = 8
STEPS = np.arange(POINTS)
CLOCK = pd.date_range("2026-03-01", periods=POINTS, freq="s")
WAVE = np.random.default_rng(0).normal(size=4 * POINTS)
ONE, TWO, FOUR = (np.resize(WAVE, n * POINTS) for n in (1, 2, 4))
BOTH = np.repeat([3, 5], POINTS)


def one(**columns):
    """Return a log of one machine."""
    return pd.DataFrame({"time": STEPS, "flow": ONE} | columns)


def two(**columns):
    """Return a log of two machines, without what tells them apart."""
    return pd.DataFrame({**columns, "time": np.tile(STEPS, 2), "flow": TWO, "heat": -TWO})


def in_turns(channel, value, **columns):
    """Return a log of one value a row, of two channels."""
    return pd.DataFrame({"time": np.repeat(STEPS, 2), channel: np.tile(["p", "t"], POINTS), value: TWO, **columns})


def long(identity, time, channel, value):
    """Return a log of one value a row, of two machines with two channels."""
    times, channels = np.tile(np.repeat(STEPS, 2), 2), np.tile(["p", "t"], 2 * POINTS)
    return pd.DataFrame({identity: np.repeat(BOTH, 2), time: times, channel: channels, value: FOUR})


EACH = np.arange(2 * POINTS)
# a log, how many series it has, and their channels
LOGS = {
    "wide": (one(), 1, "flow"),
    "wide in seconds": (one().rename(columns={"time": "time_s"}), 1, "flow"),
    "plants": (two(plant_id=BOTH), 2, "flow heat"),
    "numbers": (two(machine_no=BOTH), 2, "flow heat"),
    "instances": (two(instance=BOTH).rename(columns={"time": "timepoint"}), 2, "flow heat"),
    "machine beside id": (two(id=BOTH % 2, Machine=BOTH), 2, "flow heat"),
    "machine beside the site": (two(site_id=7, machine=BOTH), 2, "flow heat"),
    "machine beside a key": (two(record_id=EACH, machine=BOTH), 2, "flow heat"),
    "key of rows": (one(record_id=STEPS), 1, "flow"),
    "measured": (one(engine=1500 + ONE, plant_id=3), 1, "flow engine"),
    "measured alone": (one(engine=1500 + ONE), 1, "flow engine"),
    "tags": (in_turns("tag", "value", id="a"), 1, "p t"),
    "sensors": (in_turns("sensor_id", "val"), 1, "p t"),
    "fields": (in_turns("_field", "_value"), 1, "p t"),
    "numbered tags": (in_turns("TagName", "reading").replace({"p": 1, "t": 2}), 1, "1 2"),
    "pd-long": (long("case_id", "reading_id", "dim_id", "value"), 2, "p t"),
    "plants of tags": (long("plant_id", "timestamp", "tag", "value"), 2, "p t"),
    "gateways": (two(sensor_id=BOTH).rename(columns={"heat": "value"}), 2, "flow value"),
    "tag alone": (one(tag=STEPS % 2), 1, "flow tag"),
    "value alone": (one(val=-ONE), 1, "flow val"),
    "reading alone": (one(reading=STEPS), 1, "flow reading"),
    "strength of a signal": (one(signal=-60 - STEPS, value=ONE), 1, "flow signal value"),
    "index of ids": (two(plant_id=BOTH).set_index("plant_id"), 2, "flow heat"),
    "index of times": (one(time=CLOCK).set_index("time"), 1, "flow"),
    "pd-multiindex": (two(instances=BOTH).set_index(["instances", "time"]), 2, "flow heat"),
    "sktime's levels": (two(instances=BOTH).set_index(["instances", "time"]), 2, "flow heat"),
    "levels the other way round": (two(machine_no=BOTH).set_index(["time", "machine_no"]), 2, "flow heat"),
}
LOGS["sktime's levels"][0].index.names = ["instances", "timepoints"]


@pytest.mark.filterwarnings("ignore:columns of X that look like labels or ids:tsjepa.DataWarning")
@pytest.mark.parametrize("name", LOGS)
def test_a_log_means_the_same_in_memory_and_in_a_file(name: str, tmp_path: Path) -> None:
    log, n_series, channels = LOGS[name]
    log.to_csv(tmp_path / "log.csv", index=log.index.names != [None])
    found = load_log(tmp_path / "log.csv", windowing=Windowing(POINTS), cache_dir=tmp_path / "cache")
    panel = to_panel(log)
    assert set(panel.channels) == set(found.channels) == set(channels.split())
    assert len(panel.series) == found.n_cases == n_series
    ids = found.index().to_pydict()["id"]
    of = dict(zip(panel.ids, panel.series, strict=True)) if panel.ids is not None else panel.series
    order = [panel.channels.index(channel) for channel in found.channels]
    for row, key in enumerate(ids):
        expected = of[0] if panel.ids is None else of[key]
        np.testing.assert_allclose(found.take(np.array([row])).values[0], expected[order], rtol=1e-6)


def test_a_table_of_cases_has_no_time_point_that_is_called_an_id(tmp_path: Path) -> None:
    table = pd.DataFrame({"plant_id": [1, 2, 3], "t0": 0.5, "t1": 1.5})
    table.to_csv(tmp_path / "table.csv", index=False)
    assert load(tmp_path / "table.csv").X_train.shape == (3, 1, 2)
    with pytest.raises(ValueError, match="X has the id column 'plant_id' but no time"):
        to_panel(table)


def test_times_of_cases_make_no_log() -> None:
    cases = pd.DataFrame(np.zeros((3, 4))).add_prefix("time_")
    assert to_panel(cases).series is cases


@pytest.mark.parametrize("aside", [{"unit": ["bar", "C"] * POINTS}, {"sensor_id": [1, 2] * POINTS}])
def test_what_goes_with_a_channel_is_no_id(aside: dict[str, list[object]]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(aside))!r} of X is none of .*: drop it, or rename 'tag' where"):
        to_panel(in_turns("tag", "value", **aside))
    machines = in_turns("tag", "value", unit=["u1", "u2"] * POINTS)
    assert list(to_panel(machines).ids) == ["u1", "u2"]


def test_channels_that_a_model_was_trained_on_stay_what_they_are(tmp_path: Path) -> None:
    for log in (in_turns("tag", "value").replace({"p": 1, "t": 2}).assign(time=EACH), two(plant_id=BOTH, val=1)):
        names = tuple(name for name in log.columns if name != "time")
        log = log.assign(time=EACH)
        log.to_csv(tmp_path / "log.csv", index=False)
        columns = Columns(channels=names)
        found = load_log(tmp_path / "log.csv", columns, Windowing(POINTS), cache_dir=tmp_path / "cache")
        assert to_panel(log, keep=names).channels == found.channels == names


def test_a_detector_is_told_of_several_plants_and_leaves_out_seconds() -> None:
    with pytest.raises(ValueError, match="its column 'plant_id' tells several apart"):
        sensors(two(plant_id=BOTH), None)
    with pytest.warns(DataWarning, match="look like times are left out.*'time_s'"):
        assert [*sensors(one().rename(columns={"time": "time_s"}), None)] == ["flow"]
    # beside a time it is a sensor, as in a file
    with pytest.warns(DataWarning, match="look like times are left out.*'time';"):
        assert [*sensors(one(time_s=ONE), None)] == ["flow", "time_s"]


@pytest.mark.parametrize("turned", [False, True])
def test_names_of_channel_and_point_are_read_as_such(tmp_path: Path, turned: bool) -> None:
    X = np.random.default_rng(0).normal(size=(4, 2, 11)).astype(np.float32)
    names = [f"{channel}__{point}" for channel in ("flow", "heat") for point in range(11)]
    wide = pd.DataFrame(X.reshape(4, -1), columns=names, index=list("dcba"))
    if turned:  # channels stay in order of first appearance, points are in order of their numbers
        wide = wide[[name for point in reversed(range(11)) for name in (f"flow__{point}", f"heat__{point}")]]
    panel = to_panel(wide)
    assert (panel.channels, list(panel.ids)) == (("flow", "heat"), list("dcba"))
    np.testing.assert_array_equal(np.stack(panel.series), X)
    wide.assign(label=["a", "b"] * 2).to_csv(tmp_path / "wide_TRAIN.csv", index=False)
    found = load(tmp_path / "wide_TRAIN.csv")
    np.testing.assert_allclose(found.X_train, X)
    assert "wide_TRAIN.csv: each row is one series of 11 time points and 2 channels, 'flow', 'heat'" in found.notes
    one = wide.filter(like="flow")
    assert to_panel(one).series is one


def test_a_sensor_of_a_long_log_may_be_called_like_a_column_of_it() -> None:
    log = in_turns("tag", "value").replace({"p": "value"})
    channels = to_panel(log).channels
    assert channels is not None
    assert "value" in channels
    assert to_panel(log, keep=channels).channels == channels


def test_numbers_name_channels_only_where_rows_share_a_time() -> None:
    wide = one(signal=STEPS % 2).rename(columns={"flow": "reading"})
    assert to_panel(wide).channels == ("reading", "signal")
    assert to_panel(wide.assign(heat=ONE)).channels == ("reading", "signal", "heat")
