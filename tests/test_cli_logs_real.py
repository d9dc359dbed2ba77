"""Public sensor logs on the command line, from the file to tables that join back to their rows."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pumps import TRAINING, check_joined_back, done, read, refused

from tsjepa.arrays import as_series
from tsjepa.checkpoint import load_checkpoint
from tsjepa.embedding import embed

pytestmark = pytest.mark.usefixtures("with_pumps")

LOGS = os.environ.get("TSJEPA_LOGS")
real = pytest.mark.skipif(LOGS is None, reason="TSJEPA_LOGS names no folder of sensor logs")


def real_log(name: str) -> str:
    return str(Path(str(LOGS), f"{name}.parquet"))


@real
def test_skab() -> None:
    words = ("--data", real_log("skab_train"), "--window", "60", "--stride", "10", "--out", "skab")
    _, said = done(*TRAINING, *words)
    assert "no accuracy will be shown" in said
    _, said = done("embed", "skab/checkpoint.ckpt", "--data", real_log("skab_test"), "--out", "z.parquet")
    assert "'changepoint'" in said
    table, log = read("z.parquet"), read(real_log("skab_test"))
    assert list(table.columns) == ["id", "start", "end", "label", "embedding"]
    assert set(table["id"]) <= set(log["run"])
    shown = table.sample(100, random_state=0)
    check_joined_back(shown, log, "skab/checkpoint.ckpt", "run", "timestamp", 60)
    last = shown.merge(log, left_on=["id", "end"], right_on=["run", "timestamp"])
    assert (last["label"] == last["anomaly"].astype(str)).all()


@real
@pytest.mark.parametrize("window", [None, 30])
def test_cmapss(window: int | None) -> None:
    flags = () if window is None else ("--window", str(window))
    done(*TRAINING, "--data", real_log("cmapss_fd001_train"), "--out", "engines", *flags)
    values, _ = done("embed", "engines/checkpoint.ckpt", "--data", real_log("cmapss_fd001_test"), "--out", "z.parquet")
    table, log = read("z.parquet"), read(real_log("cmapss_fd001_test"))
    lengths = log.groupby("unit").size()
    assert values["rows"] == (100 if window is None else np.ceil(lengths / window).sum())
    assert table["id"].dtype.kind == "i"
    shown = table.sample(60, random_state=0)
    check_joined_back(shown, log, "engines/checkpoint.ckpt", "unit", "cycle", window)


@real
def test_etth1() -> None:
    sentence = refused(1, *TRAINING, "--data", real_log("etth1"))
    assert "one series of 17420 rows" in sentence
    assert "--window" in sentence
    done(*TRAINING, "--data", real_log("etth1"), "--window", "7d", "--stride", "1d", "--out", "oil")
    done("embed", "oil/checkpoint.ckpt", "--data", real_log("etth1"), "--out", "z.parquet")
    table, log = read("z.parquet"), read(real_log("etth1"))
    assert len(table) == np.ceil((len(log) - 168) / 24) + 1
    check_joined_back(table.sample(60, random_state=0), log, "oil/checkpoint.ckpt", None, "timestamp", 168)


@real
def test_ucihar() -> None:
    for part in ("train", "test"):
        rows = pq.read_table(real_log(f"ucihar_{part}"))
        pq.write_table(rows.take(np.random.default_rng(0).choice(len(rows), 200, replace=False)), f"{part}.parquet")
    words = ("--data", "train.parquet", "--test", "test.parquet", "--label", "activity", "--out", "phone")
    values, _ = done(*TRAINING, *words)
    assert values["accuracy"] > 0.5 > values["majority_accuracy"]
    done("embed", "phone/checkpoint.ckpt", "--data", "test.parquet", "--out", "z.parquet")
    table, log = read("z.parquet"), read("test.parquet")
    assert table["label"].tolist() == log["activity"].tolist()
    assert table["id"].tolist() == list(range(200))
    assert (table["start"].unique().tolist(), table["end"].unique().tolist()) == ([0], [127])
    model, header = load_checkpoint("phone/checkpoint.ckpt")
    assert header.channel_names == tuple(f"c{i}" for i in range(9))
    X = np.stack([np.stack(log[f"c{i}"]) for i in range(9)], 1)
    np.testing.assert_array_equal(np.stack(table["embedding"]), embed(model.encoder, as_series(X), header.config.probe))
