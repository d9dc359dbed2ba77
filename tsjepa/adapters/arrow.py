"""Embedding as one function from Arrow record batch to record batch, as Ray Data and Spark's `mapInArrow` take it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.arrays import Series, as_series
from tsjepa.checkpoint import load_checkpoint
from tsjepa.embedding import Precision, embed, n_features, resolve_device
from tsjepa.encoder import Encoder
from tsjepa.sections import ProbeConfig

VALUES, EMBEDDING = "values", "embedding"


class BatchEmbedder(NamedTuple):
    """Puts embeddings in the place of series; it can be pickled, and needs nothing but what it holds.

    With Spark, ``frame.mapInArrow(lambda batches: map(embedder, batches), "id bigint, embedding array<float>")`` for a
    frame of the columns id and values; with Ray Data, see `table`.

    Attributes
    ----------
    encoder : Encoder
        In evaluation mode.
    probe : ProbeConfig
        Levels, statistics over tokens, and how channels are joined.
    n_channels : int
        Channels C of the series.
    device : str, default="cpu"
        Where a batch is embedded.
    precision : {"32", "bf16"}, default="32"
        Of matrix products.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1).eval()
    >>> batch = pa.RecordBatch.from_pydict({"id": [7, 8], "values": [[1.0, 2.0, 3.0], [4.0, None]]})
    >>> found = BatchEmbedder(encoder, ProbeConfig(), n_channels=1)(batch)
    >>> found.schema.names, found["id"].to_pylist(), len(found["embedding"][0])
    (['id', 'embedding'], [7, 8], 24)
    """

    encoder: Encoder
    probe: ProbeConfig
    n_channels: int
    device: str = "cpu"
    precision: Precision = "32"

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu", precision: Precision = "32") -> "BatchEmbedder":
        """Return the embedder of a checkpoint.

        Raises
        ------
        CheckpointError
            If the file is no usable checkpoint.
        """
        model, header = load_checkpoint(path)
        return cls(model.encoder, header.config.probe, header.n_channels, str(resolve_device(device)), precision)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Embed a batch.

        Parameters
        ----------
        batch : pyarrow.RecordBatch
            `values` are lists of C * T numbers, channel after channel; NaN and null are missing, and T may differ.

        Returns
        -------
        pyarrow.RecordBatch
            The other columns as they are, and `embedding`, lists of float32.

        Raises
        ------
        ValueError
            If a list does not fit the channels, or the encoder does not take as many.
        """
        Z = np.zeros((0, n_features(self.encoder, self.probe, self.n_channels)), np.float32)
        if batch.num_rows:
            series = to_series(batch.column(VALUES), self.n_channels)
            Z = embed(self.encoder.to(self.device), series, self.probe, self.device, self.precision)
        return batch.drop_columns([VALUES]).append_column(EMBEDDING, to_lists(Z))

    def table(self, table: pa.Table) -> pa.Table:
        """Embed a table: ``data.map_batches(embedder.table, batch_format="pyarrow")`` with Ray Data."""
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
        return pa.Table.from_batches([self(batch) for batch in batches])


def to_series(lists: pa.Array, n_channels: int) -> Series:
    """Return lists of C * T numbers as series.

    Examples
    --------
    >>> to_series(pa.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0]]), n_channels=2).values.tolist()
    [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 0.0], [6.0, 0.0]]]
    """
    lengths = np.array([0 if size is None else size for size in lists.value_lengths().to_pylist()])
    odd = np.flatnonzero((lengths % n_channels != 0) | (lengths == 0))
    if len(odd):
        raise ValueError(
            f"row {odd[0]} of the batch holds {lengths[odd[0]]} values, which is no series of {n_channels} channel(s)."
        )
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    if (lengths == lengths[0]).all():
        return as_series(flat.reshape(len(lengths), n_channels, -1), VALUES)
    parts = np.split(flat, np.cumsum(lengths)[:-1])
    return as_series([part.reshape(n_channels, -1) for part in parts], VALUES)


def to_lists(rows: NDArray[np.float32]) -> pa.ListArray:
    """Return the rows of an array as lists.

    Examples
    --------
    >>> to_lists(np.eye(2, dtype=np.float32)).to_pylist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(rows.ravel()))
