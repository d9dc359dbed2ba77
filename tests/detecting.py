"""What the tests of `tsjepa detect` share: logs of two sensors, a run on one, and what a follower has to give."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import found, tsjepa

from tsjepa.cli import detect_tail

CKPT = "run/checkpoint.ckpt"
CHANNELS = ["flow", "level"]
CONTEXT, PATCH = 32, 4
SMALL = (
    *("log.window=32", "log.stride=4", "tokenizer.patch_length=4", "encoder.dim=16", "encoder.depth=1"),
    *("encoder.heads=2", "predictor.dim=16", "predictor.depth=1", "predictor.heads=2", "projector.hidden=32"),
    *("projector.out=8", "regularizer.slices=16", "world.horizons=[1,2]", "train.lr=3e-3"),
)
SETTINGS = tuple(word for setting in SMALL for word in ("--set", setting))
WORDS = ("detect", CKPT, "--data", "test.parquet", "--out", "scores.parquet", "--false-alarms", "1/2000")


def refused(code: int, *words: str, text: str | None = None) -> str:
    result = tsjepa(*words, text=text)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    return " ".join(line for line in result.stderr.splitlines() if not line.startswith("note:"))


def log(n: int, seed: int, run: str = "a", step: str = "1s") -> pd.DataFrame:
    """Two sensors of an oscillation."""
    t = np.arange(n)
    x = np.stack([np.sin(t / 4), np.cos(t / 4)], 1) + 0.05 * np.random.default_rng(seed).normal(size=(n, 2))
    frame = pd.DataFrame(x.astype(np.float32), columns=CHANNELS)
    frame.insert(0, "timestamp", pd.date_range("2024-01-01", periods=n, freq=step).astype("datetime64[us]"))
    frame.insert(0, "run", run)
    return frame


def faulty(n: int = 600, seed: int = 2, run: str = "b") -> pd.DataFrame:
    frame = log(n, seed, run)
    frame.loc[400:499, "level"] = 3.0
    frame["anomaly"] = ((frame.index >= 400) & (frame.index < 500)).astype(np.int8)
    return frame


def train(folder: Path) -> Path:
    """Train in a folder, so that it holds train.parquet and run."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        log(800, seed=1).to_parquet("train.parquet")
        words = ("--config", "lewm-sensor", "--epochs", "4", "--data", "train.parquet", "--out", "run", *SETTINGS)
        result = tsjepa("pretrain", *words, "--device", "cpu", "--cache-dir", "cache")
        assert result.exit_code == 0, result.output
    finally:
        os.chdir(before)
    return folder


def pretrained(*words: str) -> str:
    """Train for one epoch on train.parquet, and return what is said."""
    words = ("--config", "lewm-sensor", "--epochs", "1", "--data", "train.parquet", *SETTINGS, "--overwrite", *words)
    result = tsjepa("pretrain", *words, "--out", "run", "--device", "cpu")
    assert result.exit_code == 0, result.output
    return result.stderr


def pretrained_without(column: str) -> None:
    """Train on a log that lacks a column."""
    log(800, seed=1).drop(columns=column).to_parquet("train.parquet", index=False)
    pretrained()


def write_numbered(train: str, test: str, holes: dict[int, int]) -> None:
    """Write train.parquet and log.csv, whose times are numbers 10 apart of some types, in the log but for some rows."""
    for rows, seed, kind, steps in ((800, 1, train, {}), (600, 3, test, holes)):
        frame, times = log(rows, seed), np.full(rows, 10)
        times[[*steps]] = [*steps.values()]
        frame["timestamp"] = np.cumsum(times).astype(kind)
        frame.to_parquet("train.parquet") if seed == 1 else frame.to_csv("log.csv", index=False)


def write_test_log() -> None:
    """Write the log that is scored unless a test writes another: one run without a fault, and one with it."""
    pd.concat([log(500, seed=3, run="c"), faulty()]).to_parquet("test.parquet", index=False)


def same_counted(*words: str) -> None:
    """Check that what was followed without dates is what a batch gives."""
    found(*WORDS, "--data", "log.csv", "--out", "batch/scores.parquet", *words)
    followed, expected = pd.read_csv("scores.csv"), pd.read_parquet("batch/scores.parquet")
    assert list(followed) == list(expected)
    np.testing.assert_array_equal(followed["score"].astype(np.float32), expected["score"])
    np.testing.assert_array_equal(followed["event"], expected["event"].astype(float))
    events = pd.read_csv("events.csv").sort_values("event", ignore_index=True)
    pd.testing.assert_frame_equal(events, pd.read_csv("batch/events.csv"))


def follow(source: str = "log.csv") -> tuple[str, ...]:
    return (
        *("detect", CKPT, "--data", source, "--out", "scores.csv", "--false-alarms", "1/2000", "--follow"),
        *("--idle-timeout", "0"),
    )


def batch_rows(frame: pd.DataFrame, *words: str) -> pd.DataFrame:
    frame.drop(columns="anomaly", errors="ignore").to_csv("batch.csv", index=False)
    found(*WORDS, "--data", "batch.csv", "--out", "batch/scores.parquet", "--overwrite", *words)
    return pd.read_parquet("batch/scores.parquet")


def same_events(expected: str) -> None:
    """Check that events are those of a batch; a follower lists them as they end."""
    events = [pd.read_csv(path, parse_dates=["start", "end", "peak"]) for path in ("events.csv", expected)]
    pd.testing.assert_frame_equal(events[0].sort_values("event", ignore_index=True), events[1])


def same(frame: pd.DataFrame, *words: str) -> None:
    """Check that what was followed is what a batch gives."""
    expected, followed = batch_rows(frame, *words), pd.read_csv("scores.csv", parse_dates=["timestamp"])
    assert list(followed) == list(expected)
    assert followed["run"].tolist() == expected["run"].tolist()
    assert (followed["timestamp"] == expected["timestamp"]).all()
    for name in ("score", "score_flow", "score_level"):
        np.testing.assert_array_equal(followed[name].astype(np.float32), expected[name])
    np.testing.assert_array_equal(followed["event"], expected["event"].astype(float))
    same_events("batch/events.csv")


def live_lines() -> list[str]:
    return faulty().drop(columns="anomaly").to_csv(index=False).splitlines(keepends=True)


def while_it_rests(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Do one step each time that a follower has nothing to read."""
    left = list(steps)
    monkeypatch.setattr(detect_tail.time, "sleep", lambda _: left.pop(0)() if left else None)
