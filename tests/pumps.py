"""What the tests of sensor logs on the command line share: logs of pumps, a run on one, and joining back."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from command_line import tsjepa

from tsjepa.arrays import as_series
from tsjepa.checkpoint import load_checkpoint
from tsjepa.embedding import embed

CKPT = "run/checkpoint.ckpt"
TRAINING = ("pretrain", "--config", "tiny", "--epochs", "1", "--device", "cpu")
CHANNELS = ("flow", "level", "speed")
WINDOW, STRIDE = 20, 10


def done(*words: str) -> tuple[dict[str, Any], str]:
    result = tsjepa(*words, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout)), " ".join(result.stderr.split())


def refused(code: int, *words: str) -> str:
    result = tsjepa(*words)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.lower().count("error:") == 1
    return " ".join(result.stderr.split())


def make_log(seed: int = 0, lengths: tuple[int, ...] = (95, 60, 130, 72, 81)) -> pd.DataFrame:
    """Make pumps that ran for different times, with a pause and a lost value, half of them worn."""
    rng = np.random.default_rng(seed)
    frames = []
    for number, length in enumerate(lengths):
        worn = number % 2
        wave = np.sin(np.arange(length) * (0.3 + 0.5 * worn))
        seconds = np.arange(length) + np.where(np.arange(length) > 40, 100, 0)
        values = {name: rng.normal(size=length).astype(np.float32) + (2 * wave).astype(np.float32) for name in CHANNELS}
        frames.append(
            pd.DataFrame(
                {
                    "unit": f"pump {number}",
                    "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(seconds, "s"),
                    **values,
                    "state": "worn" if worn else "calm",
                }
            )
        )
    log = pd.concat(frames, ignore_index=True)
    log.loc[7, "flow"] = np.nan
    return log


def train(folder: Path) -> Path:
    """Train in a folder, so that it holds logs, with labels and without, a run on one, and what it said."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        make_log().drop(columns="state").to_parquet("pumps.parquet", index=False)
        make_log().to_parquet("states.parquet", index=False)
        make_log(1, (90, 70, 85, 66)).to_parquet("more.parquet", index=False)
        words = ("--data", "pumps.parquet", "--window", str(WINDOW), "--stride", str(STRIDE), "--out", "run")
        result = tsjepa(*TRAINING, *words, "--cache-dir", "windows")
        assert result.exit_code == 0, result.output
        Path("said.txt").write_text(" ".join(result.stderr.split()))
    finally:
        os.chdir(before)
    return folder


def read(path: str) -> pd.DataFrame:
    return pq.read_table(path).to_pandas()


def check_joined_back(
    table: pd.DataFrame, log: pd.DataFrame, checkpoint: str, identity: str | None, time: str, window: int | None
) -> None:
    """Embed the rows that each row of a table names, and compare."""
    model, header = load_checkpoint(checkpoint)
    assert header.channel_names is not None
    series = []
    for row in table.itertuples():
        own = log if identity is None else log[log[identity] == row.id]
        own = own[(own[time] >= row.start) & (own[time] <= row.end)]
        assert window is None or 0 < len(own) <= window
        assert own[time].iloc[0] == row.start
        assert own[time].iloc[-1] == row.end
        series.append(own[list(header.channel_names)].to_numpy(np.float32).T)
    want = embed(model.encoder, as_series(series), header.config.probe)
    # in another place of its batch a series may be rounded differently by a matrix product
    np.testing.assert_allclose(np.stack(table["embedding"]), want, rtol=1e-5, atol=1e-6)
