"""What the tests of logs share: a steady log of a few machines, and files of it."""

from pathlib import Path

import numpy as np
import pandas as pd

CHANNELS = ("flow", "volt")
START = pd.Timestamp("2026-03-01")


def steady(rows: int = 100, units: str = "ab", step: str = "1s") -> pd.DataFrame:
    time = pd.date_range(START, periods=rows, freq=step, unit="us")
    tables = [
        pd.DataFrame({"unit": unit, "time": time, "flow": np.arange(rows) + at, "volt": 1.0, "label": "0"})
        for at, unit in enumerate(units)
    ]
    return pd.concat(tables, ignore_index=True).astype({"flow": "float32", "volt": "float32"})


def saved(log: pd.DataFrame, path: Path, row_group_size: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        log.to_csv(path, index=False)
    else:
        log.to_parquet(path, index=False, row_group_size=row_group_size)
    return path
