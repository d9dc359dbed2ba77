"""Reading a log as tests do: in windows of eight points, with its cache beside it."""

from pathlib import Path
from typing import Any

import pytest

from tsjepa.datasets import DataError
from tsjepa.datasets.logs import Columns, LogWindows, Windowing, load_log


def logged(source: Path, columns: Columns | None = None) -> LogWindows:
    return load_log(source, columns, Windowing(8), cache_dir=source.parent / "cache")


def refused(source: Path, columns: Columns | None = None) -> str:
    with pytest.raises(DataError) as caught:
        logged(source, columns)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ids(windows: LogWindows) -> list[Any]:
    return sorted(set(windows.index().to_pydict()["id"]))
