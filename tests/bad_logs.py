"""What the tests of logs that cannot be read share: a log to spoil, files of it in row groups, and the sentence."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import steady_logs
from steady_logs import START

from tsjepa.datasets import DataError
from tsjepa.datasets.logs import Columns, Windowing, load_log

TEN = Windowing(10)


def steady(rows: int = 40, units: str = "ab") -> pd.DataFrame:
    time = pd.date_range(START, periods=rows, freq="1s", unit="us")
    tables = [pd.DataFrame({"unit": u, "time": time, "flow": np.arange(rows, dtype="f4"), "volt": 1.5}) for u in units]
    return pd.concat(tables, ignore_index=True)


saved = partial(steady_logs.saved, row_group_size=16)


def refused(source: Path, columns: Columns | None = None, windowing: Windowing = TEN) -> str:
    """Return the one sentence, and check that no cache looks finished."""
    cache = source.parent / "cache"
    with pytest.raises(DataError) as caught:
        load_log(source, columns, windowing, cache_dir=cache)
    assert not list(cache.glob("*/manifest.json"))
    assert "\n" not in str(caught.value)
    return str(caught.value)
