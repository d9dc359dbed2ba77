"""Embeddings as a Parquet table, one row a series."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsjepa.cli.data import Data
from tsjepa.cli.outdir import replace_file


def embedding_table(data: Data, embeddings: list[NDArray[np.float32]]) -> pa.Table:
    """Return the columns part, case, label (where there are labels) and embedding."""
    parts = data.parts()
    sizes = [len(Z) for Z in embeddings]
    joined = np.concatenate(embeddings)
    columns: dict[str, Any] = {
        "part": pa.array([name for (name, _), size in zip(parts, sizes, strict=True) for _ in range(size)]),
        "case": pa.array(np.concatenate([np.arange(size, dtype=np.int64) for size in sizes])),
    }
    if any(part.y is not None for _, part in parts):
        labels = [label_column(part.y, data.classes, part.series.n_cases) for _, part in parts]
        columns["label"] = pa.chunked_array(labels)
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(joined.ravel()), joined.shape[1])
    return pa.table(columns)


def label_column(y: NDArray[Any] | None, classes: tuple[str, ...] | None, size: int) -> pa.Array:
    """Return class names, or the numbers of a numeric target; nulls for a part without labels."""
    kind = pa.float64() if classes is None else pa.string()
    if y is None:
        return pa.nulls(size, kind)
    return pa.array(y if classes is None else [classes[code] for code in y], kind)


def write_table(table: pa.Table, out: Path) -> None:
    """Write a table, whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    replace_file(out, memoryview(sink.getvalue()))
