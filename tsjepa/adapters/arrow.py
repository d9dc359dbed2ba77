"""Embedding as one function from Arrow record batch to record batch, as Ray Data and Spark's `mapInArrow` take it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.arrays import Series, as_series, counted
from tsjepa.checkpoint import load_checkpoint
from tsjepa.embedding import Precision, embed, n_features, resolve_device
from tsjepa.encoder import Encoder
from tsjepa.sections import ProbeConfig

VALUES, EMBEDDING = "values", "embedding"
# Numbers that the lists of one batch hold at most: their offsets have 32 bits
MOST = 2**31 - 1


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
            `values` are lists of C * T numbers, channel after channel, lists of C lists, or tensors (C, T); NaN and
            null are missing, and T may differ.

        Returns
        -------
        pyarrow.RecordBatch
            The other columns as they are, and `embedding`, lists of float32.

        Raises
        ------
        ValueError
            If a list does not fit the channels, the encoder does not take as many, there is an `embedding` already, or
            the batch has more rows than its embeddings have room for.
        """
        if EMBEDDING in batch.schema.names:
            raise ValueError(f"the batch has a column {EMBEDDING!r} already: rename or drop it.")
        width = n_features(self.encoder, self.probe, self.n_channels)
        if batch.num_rows * width > MOST:
            raise ValueError(
                f"the batch has {batch.num_rows:,} rows with embeddings of {width:,} numbers, too many for lists of "
                f"Arrow: give batches of at most {MOST // width:,} rows."
            )
        Z = np.zeros((0, width), np.float32)
        if batch.num_rows:
            series = to_series(batch.column(VALUES), self.n_channels)
            Z = embed(self.encoder.to(self.device), series, self.probe, self.device, self.precision)
        return batch.drop_columns([VALUES]).append_column(EMBEDDING, to_lists(Z))

    def table(self, table: pa.Table) -> pa.Table:
        """Embed a table: ``data.map_batches(embedder.table, batch_format="pyarrow")`` with Ray Data."""
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
        return pa.Table.from_batches([self(batch) for batch in batches])


def to_series(lists: pa.Array, n_channels: int) -> Series:
    """Return lists of C * T numbers or of C lists, or tensors, as series.

    Examples
    --------
    >>> to_series(pa.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0]]), n_channels=2).values.tolist()
    [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 0.0], [6.0, 0.0]]]
    """
    lists = plain_lists(lists, n_channels)
    lengths, flat = sizes(lists), lists.flatten()
    if is_lists(flat):
        lengths, flat = joined_sizes(lengths, sizes(flat), n_channels), flat.flatten()
    odd = np.flatnonzero((lengths % n_channels != 0) | (lengths == 0))
    if len(odd):
        raise ValueError(
            f"row {odd[0]} of the batch holds {counted(lengths[odd[0]], 'value')}, which is no series of "
            f"{counted(n_channels, 'channel')}: their number must be a multiple of the number of channels."
        )
    flat = flat.to_numpy(zero_copy_only=False)
    if (lengths == lengths[0]).all():
        return as_series(flat.reshape(len(lengths), n_channels, -1), VALUES)
    parts = np.split(flat, np.cumsum(lengths)[:-1])
    return as_series([part.reshape(n_channels, -1) for part in parts], VALUES)


def plain_lists(column: pa.Array, n_channels: int) -> pa.Array:
    """Return a column as lists, whether it is encoded by a dictionary or holds tensors."""
    kind = column.type
    if isinstance(column, pa.DictionaryArray):
        return plain_lists(column.dictionary_decode(), n_channels)
    if isinstance(column, pa.FixedShapeTensorArray):
        in_order = kind.permutation in (None, list(range(len(kind.shape))))
        if not in_order or len(kind.shape) > 2 or (kind.shape[0] != n_channels and len(kind.shape) > 1):
            raise ValueError(f"tensors of the batch must be ({n_channels}, n_timepoints), but they are {kind}.")
        return column.storage
    if not is_lists(column):
        raise ValueError(f"the column {VALUES!r} of the batch must hold lists of numbers, but its type is {kind}.")
    return column


def is_lists(column: pa.Array) -> bool:
    """Return whether a column holds lists, of whatever kind."""
    return hasattr(column, "value_lengths")


def sizes(lists: pa.Array) -> NDArray[np.int64]:
    """Return the lengths of lists, 0 where there is none."""
    return np.array([0 if size is None else size for size in lists.value_lengths().to_pylist()], np.int64)


def joined_sizes(channels: NDArray[np.int64], points: NDArray[np.int64], n_channels: int) -> NDArray[np.int64]:
    """Return the number of values of each row, given its number of channels, and the points of all channels."""
    odd = np.flatnonzero(channels != n_channels)
    if len(odd):
        raise ValueError(f"row {odd[0]} of the batch holds {channels[odd[0]]} lists, but a series has {n_channels}.")
    rows = points.reshape(-1, n_channels)
    odd = np.flatnonzero((rows != rows[:, :1]).any(1))
    if len(odd):
        raise ValueError(f"row {odd[0]} of the batch holds lists of different length: fill them up with null.")
    return rows.sum(1)


def to_lists(rows: NDArray[np.float32]) -> pa.ListArray:
    """Return the rows of an array as lists.

    Examples
    --------
    >>> to_lists(np.eye(2, dtype=np.float32)).to_pylist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(rows.ravel()))
