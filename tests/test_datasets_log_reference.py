"""Windows of random logs against a plain pandas reference, in every form, order and file split."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from steady_logs import CHANNELS, START

from tsjepa.datasets.logs import Columns, LogWindows, Windowing, load_log

pytestmark = pytest.mark.usefixtures("quick_disk")


class Expected(NamedTuple):
    id: Any
    first: int
    last: int
    start: Any
    end: Any
    values: np.ndarray[Any, Any]
    label: str


def reference(
    log: pd.DataFrame, window: int, stride: int, max_gap: float, how: str = "last", unit: float | None = None
) -> list[Expected]:
    """Cut a log by the plainest means; times are numbers of some seconds each where `unit` says of how many."""
    found = []
    for identity, rows in log.sort_values(["unit", "time"]).groupby("unit"):
        rows = rows.reset_index(drop=True)
        # numbers of seconds are brought back to the whole seconds that they stand for, and rounding is gone
        steps = rows["time"].diff().dt.total_seconds() if unit is None else (rows["time"].diff() / unit).round()
        gap = max_gap * steps.iloc[1:].median() if len(rows) > 1 else np.inf
        for _, stretch in rows.groupby((steps > gap).cumsum()):
            starts = list(range(0, max(len(stretch) - window, 0) + 1, stride))
            following = starts[-1] + stride
            if following < len(stretch) and starts[-1] + window < len(stretch):
                starts.append(len(stretch) - window)
            for start in starts:
                part = stretch.iloc[start : start + window]
                values = np.full((len(CHANNELS), window), np.nan, np.float32)
                values[:, : len(part)] = part[list(CHANNELS)].to_numpy(np.float32).T
                first, last = int(part.index[0]), int(part.index[-1])
                label = expected_label(part["label"].tolist(), how)
                found.append(Expected(identity, first, last, rows["time"][first], rows["time"][last], values, label))
    return found


def expected_label(labels: list[str], how: str) -> str:
    if how == "last":
        return labels[-1]
    if how == "any":
        return next((label for label in reversed(labels) if label != "0"), "0")
    return max(sorted(set(labels)), key=labels.count)


@st.composite
def logs(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a log with several units, gaps, missing values and labels, in a random order of rows."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    units = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True))
    tables = []
    for unit in units:
        rows = draw(st.integers(1, 40))
        step = np.where(random.random(rows) < 0.1, random.choice([2, 3, 10, 11, 30, 59], rows), 1)
        values = random.standard_normal((rows, 2)).astype(np.float32)
        values[random.random((rows, 2)) < 0.15] = np.nan
        labels = random.choice(["0", "1", "2"], rows, p=[0.7, 0.2, 0.1])
        times = START + pd.to_timedelta(np.cumsum(step), unit="s").as_unit("us")
        columns = {"unit": unit, "time": times, "flow": values[:, 0], "volt": values[:, 1], "label": labels}
        tables.append(pd.DataFrame(columns))
    log = pd.concat(tables, ignore_index=True)
    log.loc[0, list(CHANNELS)] = [1.0, 2.0]  # a log without any value is refused
    order = draw(st.sampled_from(["sorted", "by time", "shuffled"]))
    if order == "by time":
        return log.sort_values("time", kind="stable", ignore_index=True)
    return log if order == "sorted" else log.sample(frac=1, random_state=seed % 2**32, ignore_index=True)


def write(log: pd.DataFrame, folder: Path, files: int, kind: str) -> None:
    folder.mkdir(parents=True)
    for number, rows in enumerate(np.array_split(np.arange(len(log)), files)):
        part = log.iloc[rows]
        if kind == "csv":
            part.to_csv(folder / f"{number:03d}.csv", index=False)
        elif kind == "long":
            long = part.melt(["unit", "time", "label"], list(CHANNELS), "channel", "value").dropna(subset="value")
            long.to_parquet(folder / f"{number:03d}.parquet", index=False)
        else:
            part.to_parquet(folder / f"{number:03d}.parquet", index=False, row_group_size=7)


def check(found: LogWindows, expected: list[Expected]) -> None:
    index = found.index().to_pandas()
    assert index["id"].tolist() == [window.id for window in expected]
    assert index["first_row"].tolist() == [window.first for window in expected]
    assert index["last_row"].tolist() == [window.last for window in expected]
    assert index["start"].tolist() == [window.start for window in expected]
    assert index["end"].tolist() == [window.end for window in expected]
    assert found.labels().tolist() == index["label"].tolist() == [window.label for window in expected]
    wanted = np.stack([window.values for window in expected])
    valid = ~np.isnan(wanted)
    values, mask = found.take(np.arange(found.n_cases))
    np.testing.assert_array_equal(valid, np.ones_like(valid) if mask is None else mask)
    np.testing.assert_array_equal(values, np.where(valid, wanted, 0))
    np.testing.assert_array_equal(found.measured(), np.flatnonzero(valid.any((1, 2))))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    log=logs(),
    window=st.integers(1, 12),
    stride=st.integers(1, 14),
    max_gap=st.sampled_from([1.5, 3, 10, 30]),
    files=st.integers(1, 4),
    kind=st.sampled_from(["parquet", "csv", "long"]),
    how=st.sampled_from(["last", "majority", "any"]),
    small=st.booleans(),
    clock=st.sampled_from([None, (0.0, 1.0), (0.0, 0.1), (1.7e9, 0.1), (1.7e9, 0.003)]),
)
def test_windows_are_those_of_a_plain_reference(
    tmp_path_factory: pytest.TempPathFactory,
    log: pd.DataFrame,
    window: int,
    stride: int,
    max_gap: float,
    files: int,
    kind: str,
    how: Any,
    small: bool,
    clock: tuple[float, float] | None,
) -> None:
    first, tick = clock or (0.0, None)
    if tick is not None:
        log = log.assign(time=first + tick * (log["time"] - START).dt.total_seconds())
    folder = tmp_path_factory.mktemp("log")
    if kind == "long":  # a row without a value is not there
        log = log[log[list(CHANNELS)].notna().any(axis=1)]
    write(log, folder / "log", min(files, len(log)), kind)
    chosen = Windowing(window, stride, max_gap, window_label=how)
    columns = Columns("unit", "time", CHANNELS, "label")
    with pytest.MonkeyPatch.context() as patched:
        if small:  # many pieces, sorted runs and bands, as a large log has
            patched.setattr("tsjepa.datasets.log_reading.PIECE_ROWS", 5)
            patched.setattr("tsjepa.datasets.log_sort.SORT_BYTES", 200)
            patched.setattr("tsjepa.datasets.log_views.BAND", 4)
        found = load_log(folder / "log", columns, chosen, cache_dir=folder / "cache")
    check(found, reference(log, window, stride, max_gap, how, tick))
