"""Engines: rows in their order whoever embeds them; Ray Data and Spark give the table of this process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from tsjepa.adapters.arrow import BatchEmbedder
from tsjepa.arrays import as_series
from tsjepa.build import build_model, resolve
from tsjepa.checkpoint import Header, save_checkpoint
from tsjepa.cli import engines, extras
from tsjepa.cli.engines import Engine, open_engine
from tsjepa.cli.errors import Failure
from tsjepa.cli.main import app
from tsjepa.config import load_config
from tsjepa.embedding import embed
from tsjepa.encoder import Encoder
from tsjepa.sections import ProbeConfig
from tsjepa.tokenizers import LinearPatches


def embedder(channels: int = 1) -> BatchEmbedder:
    torch.manual_seed(0)
    return BatchEmbedder(Encoder(LinearPatches(5, 8, channels), depth=1, heads=2).eval(), ProbeConfig(), 2)


def backwards(embedder: BatchEmbedder, batch: pa.RecordBatch) -> pa.Table:
    """Embed as workers may: in pieces, the last one first."""
    pieces = [batch.slice(start, 3) for start in reversed(range(0, batch.num_rows, 3))]
    return pa.Table.from_batches([embedder(piece) for piece in pieces])


def test_rows_come_back_in_their_order() -> None:
    X = np.random.default_rng(0).normal(size=(10, 2, 20))
    X[3, 1], X[5], X[7, :, 9:] = np.nan, np.nan, np.nan
    want = embed(embedder().encoder, as_series(X), ProbeConfig())
    assert np.array_equal(Engine(backwards, 4).embed(embedder(), as_series(X)), want)
    assert (Engine(backwards, 4).shares, Engine(backwards, 400).shares) == (4, 16)
    with open_engine("local") as engine:
        assert engine.shares == 1
        assert np.array_equal(engine.embed(embedder(), as_series(X)), want)


def test_channels_are_refused_before_a_worker_sees_them() -> None:
    never = Engine(lambda embedder, batch: pytest.fail("a worker was asked"), 1)
    with pytest.raises(Failure, match="mixes the 3 channels that it was trained on, but the series have 2"):
        never.embed(embedder(channels=3), as_series(np.zeros((2, 2, 20))))


def write_case(folder: Path) -> None:
    """Write a checkpoint, and a log of 12 pumps of different length with gaps."""
    torch.manual_seed(0)
    config = resolve(load_config("tiny", ["probe.scale_features=true"]), 40)
    save_checkpoint(folder / "pump.ckpt", build_model(config, 2), Header(config, None, 2, 40, ("flow", "pressure")))
    rng, rows = np.random.default_rng(0), []
    for unit in range(12):
        length = 60 + 17 * unit
        values = rng.normal(size=(length, 2)).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
        time = pa.array(np.arange(length) * 1_000_000_000, pa.timestamp("ns", "Europe/Berlin"))
        names = pa.array([f"pump {unit}"] * length)
        wear = pa.array(["worn" if unit % 3 else "new"] * length)
        columns = {"id": names, "timestamp": time, "flow": values[:, 0], "pressure": values[:, 1], "label": wear}
        rows.append(pa.table(columns))
    pq.write_table(pa.concat_tables(rows), folder / "pumps.parquet")


WORDS = ("embed", "pump.ckpt", "--data", "pumps.parquet", "--window", "40", "--stride", "10", "--device", "cpu")


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Run the command in a process of its own, as an engine starts others and listens at ports."""
    command = [sys.executable, "-P", "-m", "tsjepa.cli", *WORDS, "--cache-dir", "cache", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embed in one process, for all engines to be compared with."""
    folder = tmp_path_factory.mktemp("case")
    write_case(folder)
    run(folder, "--out", "local.parquet")
    run(folder, "--out", "local_pooled.parquet", "--pool-windows")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "library"), [("ray", "ray"), ("spark", "pyspark")])
@pytest.mark.parametrize("pooled", ["", "_pooled"])
def test_every_engine_writes_the_same_table(case: Path, engine: str, library: str, pooled: str) -> None:
    pytest.importorskip(library, reason=f"needs the extra {engine}")
    out = f"{engine}{pooled}.parquet"
    report = run(case, "--engine", engine, "--out", out, *(["--pool-windows"] if pooled else []))
    found, want = pq.read_table(case / out), pq.read_table(case / f"local{pooled}.parquet")
    assert report["rows"] == want.num_rows == (12 if pooled else 153)
    assert found.schema == want.schema
    assert found.drop_columns("embedding") == want.drop_columns("embedding")
    a, b = (np.array(table["embedding"].to_pylist()) for table in (found, want))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_what_an_engine_lacks_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["embed", "missing.ckpt", "--data", "x.npz", "--out", "z.parquet", "--engine"]
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    for engine, library in (("ray", "ray"), ("spark", "pyspark")):
        result = CliRunner().invoke(app, [*words, engine])
        assert result.exit_code == 1
        assert (
            result.stderr == f"error: --engine {engine} needs {library}: install with pip install 'tsjepa[{engine}]'.\n"
        )
    monkeypatch.setattr(extras, "find_spec", lambda name: name)
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    result = CliRunner().invoke(app, [*words, "spark"])
    assert (result.exit_code, "needs Java 17 or newer" in result.stderr) == (1, True)
    assert CliRunner().invoke(app, [*words, "dask"]).exit_code == 2
