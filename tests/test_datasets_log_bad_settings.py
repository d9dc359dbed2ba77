"""Settings of windows that are none, or that a log does not allow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_logs import saved, steady

from tsjepa.datasets import DataError
from tsjepa.datasets.logs import Windowing, load_log


@pytest.mark.parametrize(
    ("windowing", "sentence"),
    [
        (
            {"window": "ten parsecs"},
            "--window 'ten parsecs': give a number of points or a duration such as 10s or 500ms",
        ),
        ({"window": 0}, "--window 0: give"),
        ({"window": 2.5}, "--window 2.5: give"),
        ({"window": 5, "stride": -1}, "--stride -1: give"),
        ({"stride": 5}, "--stride needs --window"),
        ({"window": 5, "max_gap": "0s"}, "--max-gap '0s': give a number of steps"),
        (
            {"window": 5, "resample": "x"},
            "--resample 'x': give a duration such as 10s or 500ms (a number where times are plain numbers)",
        ),
        ({"window": 5, "resample": "0"}, "--resample '0': give a duration"),
        ({"window": 5, "window_label": "first"}, "--window-label 'first': give one of last, majority, any"),
    ],
)
def test_settings(windowing: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        Windowing(**windowing)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("windowing", "sentence"),
    [
        (Windowing("1ms"), "--window '1ms' is shorter than the median step of time, 1 s"),
        (Windowing(5, resample="5"), "--resample '5': give a duration such as 10s or 500ms"),
        (Windowing(5, resample="1ns"), "--resample '1ns' is finer than the log's times, which are in us"),
        (Windowing(5, max_gap="1s", resample="5s"), "--max-gap 1s is shorter than the step of --resample 5s"),
    ],
)
def test_settings_that_a_log_does_not_allow(tmp_path: Path, windowing: Windowing, sentence: str) -> None:
    path = saved(steady(), tmp_path / "log.parquet")
    with pytest.raises(DataError) as caught:
        load_log(path, windowing=windowing, cache_dir=tmp_path / "cache")
    assert str(caught.value) == sentence


def test_durations_need_times_with_a_unit(tmp_path: Path) -> None:
    path = saved(steady().assign(time=np.tile(np.arange(40), 2)), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"--window '10s' is a duration, but the log's times have no unit"):
        load_log(path, windowing=Windowing("10s"), cache_dir=tmp_path / "cache")
