"""Reading a log as tests do: in windows of eight points, with its cache beside it; and columns of small logs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tsjepa.datasets import DataError
from tsjepa.datasets.logs import Columns, LogWindows, Windowing, load_log

ROWS = 40
EVERY = np.arange(ROWS)
TIME = np.datetime64("2026-03-01", "us") + np.timedelta64(1, "s") * EVERY
WAVE = np.sin(EVERY)
TWO = ["a", "b"] * (ROWS // 2)


def logged(source: Path, columns: Columns | None = None) -> LogWindows:
    return load_log(source, columns, Windowing(8), cache_dir=source.parent / "cache")


def refused(source: Path, columns: Columns | None = None) -> str:
    with pytest.raises(DataError) as caught:
        logged(source, columns)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ids(windows: LogWindows) -> list[Any]:
    return sorted(set(windows.index().to_pydict()["id"]))


def interleaved(**columns: Any) -> dict[str, Any]:
    """Return rows of two machines that report at the same times."""
    return {"time": np.repeat(TIME[: ROWS // 2], 2), "flow": WAVE, **columns}
