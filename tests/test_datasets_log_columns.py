"""What the columns of a log are taken for, whoever wrote it: folders, dates, ids, decimals and counters."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tsjepa.datasets.logs import Columns, LogWindows, Windowing, load_log

ROWS = 8


def logged(source: Path, columns: Columns | None = None, window: int = 4) -> LogWindows:
    return load_log(source, columns, Windowing(window), cache_dir=source.parent / "cache")


def parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_the_time_that_wide_logs_take_grows_with_their_width(tmp_path: Path) -> None:
    wide = {f"s{at}": np.zeros(2, np.float32) for at in range(3000)}
    for part in range(6):
        parquet(tmp_path / f"log/{part}.parquet", time=np.arange(2) + 2 * part, **wide, odd=np.arange(2.0))
    started = time.process_time()
    assert logged(tmp_path / "log", Columns(id="")).n_channels == 3001
    assert time.process_time() - started < 10  # 1 s, and 25 s where names are searched for each of them
