"""What no series can be read from is refused in one sentence."""

import numpy as np
import pandas as pd
import pytest
import torch
from in_containers import arrays_in_cells, long_log, series, tables, wide_log

from tsjepa.containers import to_panel

LOG = wide_log(series())
PIVOTED = LOG.pivot(index="id", columns="timestamp")
GONE = LOG.assign(timestamp=LOG["timestamp"].where(LOG.index != 5)).pivot(index="id", columns="timestamp")
BAD = {
    "no time in columns": (GONE, "channel 'flow' of X has a column without a time"),
    "text": (
        LOG.assign(flow=["ok"] * len(LOG)),
        "column 'flow' of X must hold numbers, but id pump at time 2024-01-01",
    ),
    "mixed": (LOG.astype({"heat": object}).replace({"heat": {LOG["heat"][4]: "bad"}}), "'heat' .* holds 'bad'"),
    "dates": (LOG.assign(flow=LOG["timestamp"]), "column 'flow' of X must hold numbers"),
    "complex": (LOG.assign(flow=1j), "column 'flow' of X must hold numbers"),
    "twice": (pd.concat([LOG, LOG[31:32]]), "two rows for id fan at time 2024-01-01 00:00:01: keep one, unless"),
    "long by other names": (
        long_log(series()).set_axis(["id", "timestamp", "point", "reading"], axis=1).query("id == 'fan'").iloc[:, 1:],
        r"two rows at time 2024-01-01 00:00:00: keep one, unless .* to_panel\(X, channel=\.\.\., value=\.\.\.\)\.$",
    ),
    "twice long": (pd.concat([long_log(series())] * 2), "two rows for id pump at time 2024-01-01 00:00:00: keep one.$"),
    "no id": (LOG.replace({"id": {"fan": None}}), "row 30 of X has no id"),
    "no time": (LOG.assign(timestamp=LOG["timestamp"].where(LOG.index != 5)), "row 5 of X has no time"),
    "no channel": (long_log(series()).replace({"channel": {"flow": None}}), "row 0 of X has no channel"),
    "text times": (LOG.astype({"timestamp": str}), "times of X must be numbers or timestamps.*to_datetime"),
    "id without time": (LOG.drop(columns="timestamp"), "id column 'id' but no time"),
    "more in a long log": (long_log(series()).assign(unit="bar"), "column 'unit' of X is none of id, time, channel"),
    "nothing else": (LOG[["id", "timestamp"]], "no channel beside id and time"),
    "no rows": (LOG[:0], "no rows"),
    "two of a name": (LOG.set_axis(["id", "timestamp", "flow", "flow"], axis=1), "two columns 'flow'"),
    "three levels": (LOG.set_index(["id", "timestamp", "flow"]), "two levels instance and time, but has 3"),
    "arrays of several channels in cells": (
        pd.DataFrame({"flow": [np.zeros((2, 5)), np.zeros((2, 5))]}),
        r"column 'flow' of X holds series of several channels, and a cell holds one: .* a list with an array",
    ),
    "tensors of several channels in cells": (
        pd.DataFrame({"flow": [torch.zeros(2, 5), torch.zeros(2, 5)]}),
        r"column 'flow' of X holds series of several channels, and a cell holds one: ",
    ),
    "lists of lists in cells": (
        pd.DataFrame({"flow": [[[1.0, 2.0], [3.0, 4.0]]]}),
        "'flow' of X holds series",
    ),
    "only cells without points": (pd.DataFrame({"flow": [[], []]}), "no series of X has a time point"),
    "table and array": (
        [tables(series())[0], np.zeros((2, 5))],
        "case 1 of X is of type ndarray, but others",
    ),
    "array and table": (
        [np.zeros((2, 5)), tables(series())[0]],
        "case 0 of X is of type ndarray, but others",
    ),
    "table and nothing": ([tables(series())[0], None], "case 1 of X is of type NoneType, but others are tables"),
    "table and column": ([*tables(series()), pd.Series([1.0])], "case 3 of X is of type Series, but others are"),
    "number beside cells": (arrays_in_cells(series()).assign(load=1), "'load' of X must hold a series in every row"),
    "text as times in the index": (
        LOG.astype({"timestamp": str}).set_index("timestamp"),
        "times of X must be numbers or timestamps",
    ),
    "other columns": (
        [tables(series())[0], tables(series())[1][["flow"]]],
        "'heat' is in only one of the tables 0 and",
    ),
    "no points": ([tables(series())[0], tables(series())[1][:0]], "series 1 of X has no time points"),
    "columns of two levels of text": (
        pd.DataFrame(np.zeros((2, 4)), columns=pd.MultiIndex.from_product([["flow", "heat"], ["x", "y"]])),
        r"columns of X have 2 levels, and it is not clear which one is the time: give .* X\.stack\(level\)",
    ),
    "columns of two levels of numbers": (
        pd.DataFrame(np.zeros((2, 4)), columns=pd.MultiIndex.from_product([[0, 1], [0, 1]])),
        "columns of X have 2 levels, and it is not clear which one is the time",
    ),
    "columns of ids": (
        LOG.groupby("id").head(2).assign(time=[0, 1] * 3).pivot(index="time", columns="id", values=["flow", "heat"]),
        "columns of X have 2 levels, and it is not clear which one is the time",
    ),
    "columns of three levels": (
        pd.DataFrame(np.zeros((2, 8)), columns=pd.MultiIndex.from_product([["flow", "heat"], [0, 1], [0, 1]])),
        "columns of X have 3 levels, and it is not clear",
    ),
    "columns of channels and times twice": (
        pd.concat([PIVOTED, PIVOTED], axis=1),
        "X has two columns 'flow, 2024-01-01 00:00:00': rename one",
    ),
    "a number beside columns of channels and times": (
        PIVOTED.assign(age=3),
        "column 'age' of X has a name in the first level only, but others are of a channel and a time: drop it",
    ),
    "text in a table": (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "column 'b' of X .* row 0 holds 'x'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_refused_in_one_sentence(name):
    X, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence) as caught:
        to_panel(X)
    assert "\n" not in str(caught.value)
