"""Public logs: windows join back to the rows of their files."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tsjepa.datasets.logs import Columns, Windowing, load_log

pytestmark = pytest.mark.usefixtures("quick_disk")

LOGS = os.environ.get("TSJEPA_LOGS")
real_logs = pytest.mark.skipif(LOGS is None, reason="TSJEPA_LOGS names no folder of logs")


@real_logs
@pytest.mark.parametrize(
    ("name", "windowing", "windows", "shape"),
    [
        ("skab_train", Windowing(60), 157, (8, 60)),
        ("skab_test", Windowing("60s"), 647, (8, 60)),
        ("cmapss_fd001_train", Windowing(), 100, (24, 362)),
        ("etth1", Windowing("2d"), 363, (7, 48)),
    ],
)
def test_real_logs_join_back_to_their_rows(
    tmp_path: Path, name: str, windowing: Windowing, windows: int, shape: tuple[int, int]
) -> None:
    path = Path(str(LOGS), f"{name}.parquet")
    found = load_log(path, windowing=windowing, cache_dir=tmp_path)
    assert (found.n_cases, found.n_channels, found.n_timepoints) == (windows, *shape)
    table = pd.read_parquet(path)
    columns = found.columns
    by_id = table.groupby(columns.id) if columns.id else [(name, table)]
    rows = {identity: part.sort_values(str(columns.time)).reset_index(drop=True) for identity, part in by_id}
    for case, window in enumerate(found.index().to_pylist()):
        part = rows[window["id"]].iloc[window["first_row"] : window["last_row"] + 1]
        assert (part[columns.time].iloc[0], part[columns.time].iloc[-1]) == (window["start"], window["end"])
        values = found.take(np.array([case])).values[0, :, : len(part)]
        np.testing.assert_array_equal(values, part[list(found.channels)].to_numpy(np.float32).T)
        if found.has_labels:
            assert window["label"] == str(part[columns.label].iloc[-1])


@real_logs
def test_real_lists_are_read(tmp_path: Path) -> None:
    path = Path(str(LOGS), "ucihar_test.parquet")
    found = load_log(path, Columns(label="activity", group="subject"), cache_dir=tmp_path)
    assert (found.n_cases, found.n_channels, found.n_timepoints) == (2947, 9, 128)
    table = pq.read_table(path).slice(100, 1).to_pylist()[0]
    np.testing.assert_array_equal(found.take(np.array([100])).values[0, 4], np.float32(table["c4"]))
    assert found.index(np.array([100])).to_pylist()[0]["label"] == table["activity"]
    assert found.groups()[found.series[100]] == table["subject"]
