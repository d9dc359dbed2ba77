"""Where series are embedded: in this process, by Ray Data, or by Spark; one function does it in all of them."""

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.adapters.arrow import EMBEDDING, VALUES, BatchEmbedder, to_lists
from tsjepa.arrays import Series
from tsjepa.cli.checkpoint_options import EngineName
from tsjepa.cli.errors import Failure, told
from tsjepa.cli.extras import require_extra
from tsjepa.embedding import sequences

ROW = "row"
# Shares of workers that this process holds at a time, so that its memory does not grow with the cluster
MOST_SHARES = 16


class Engine(NamedTuple):
    """Runs the embedder over the rows of a batch, on so many workers; rows may come back in any order."""

    run: Callable[[BatchEmbedder, pa.RecordBatch], pa.Table]
    workers: int

    @property
    def shares(self) -> int:
        """How many workers' shares of the rows are read and written at a time."""
        return min(self.workers, MOST_SHARES)

    def embed(self, embedder: BatchEmbedder, series: Series) -> NDArray[np.float32]:
        """Return the embeddings of series in their order."""
        with told():
            sequences(embedder.encoder, series.take(np.arange(1)))  # channels are refused here, not by a worker
        found = self.run(embedder, to_batch(series)).sort_by(ROW)
        parts = [chunk.flatten().to_numpy() for chunk in found.column(EMBEDDING).chunks]
        return np.concatenate(parts).reshape(series.n_cases, -1)


def to_batch(series: Series) -> pa.RecordBatch:
    """Return series as a record batch of numbered rows.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> to_batch(as_series([[1.0, 2.0]])).to_pylist()
    [{'row': 0, 'values': [1.0, 2.0]}]
    """
    lists = to_lists(series.with_nan().reshape(series.n_cases, -1))
    return pa.RecordBatch.from_pydict({ROW: np.arange(series.n_cases), VALUES: lists})


def check_engine(name: EngineName) -> None:
    """Refuse an engine whose libraries are not installed, before anything is read.

    Raises
    ------
    Failure
        If something is missing.
    """
    if name != "local":
        require_extra(name, f"--engine {name}")
    if name == "spark" and shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise Failure("--engine spark needs Java 17 or newer: install it, or set JAVA_HOME.")


def open_engine(name: EngineName) -> AbstractContextManager[Engine]:
    """Start an engine, or find the one that is running; what was started is stopped in the end."""
    return {"local": local, "ray": ray_data, "spark": spark}[name]()


@contextmanager
def local() -> Iterator[Engine]:
    """Embed in this process."""
    yield Engine(lambda embedder, batch: pa.Table.from_batches([embedder(batch)]), 1)


@contextmanager
def ray_data() -> Iterator[Engine]:
    """Embed by Ray Data, on the cluster of RAY_ADDRESS, or else on the cores of this machine."""
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # after ray.data has set it
    workers = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def run(embedder: BatchEmbedder, batch: pa.RecordBatch) -> pa.Table:
        size = -(-batch.num_rows // workers)
        blocks = [pa.table(batch.slice(start, size)) for start in range(0, batch.num_rows, size)]
        gpus = int(embedder.device.startswith("cuda"))
        found = ray.data.from_arrow(blocks).map_batches(
            embedder.table, batch_format="pyarrow", batch_size=None, num_gpus=gpus
        )
        return pa.concat_tables(found.iter_batches(batch_format="pyarrow", batch_size=None))

    try:
        yield Engine(run, workers)
    finally:
        if started:
            ray.shutdown()


@contextmanager
def spark() -> Iterator[Engine]:
    """Embed by Spark, in the session that its settings name, or else on the cores of this machine."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else workers take any python3
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        from pyspark.sql import SparkSession

        active = SparkSession.getActiveSession()
        builder = SparkSession.builder.appName("tsjepa").config("spark.ui.showConsoleProgress", "false")
        session = active or builder.getOrCreate()
        workers = session.sparkContext.defaultParallelism

        def run(embedder: BatchEmbedder, batch: pa.RecordBatch) -> pa.Table:
            def embed_all(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
                return (embedder(part) for part in batches)

            frame = session.createDataFrame(pa.table(batch)).repartition(workers)
            return frame.mapInArrow(embed_all, f"{ROW} bigint, {EMBEDDING} array<float>").toArrow()

        try:
            yield Engine(run, workers)
        finally:
            if active is None:
                session.stop()
