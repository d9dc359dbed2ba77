"""Embeddings as rows of a table: where each comes from, its label, the class that a head predicts, and the vector."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.adapters.arrow import BatchEmbedder
from tsjepa.arrays import SeriesSource
from tsjepa.cli.data import Data, Part
from tsjepa.cli.engines import Engine
from tsjepa.cli.errors import Failure
from tsjepa.datasets.logs import LogWindows
from tsjepa.embedding import Precision, chunk_size, n_features
from tsjepa.encoder import Encoder
from tsjepa.heads import LinearHead
from tsjepa.sections import ProbeConfig

Cases = NDArray[np.int64]


class Chunk(NamedTuple):
    """Cases of a part that are embedded and written at a time."""

    name: str
    part: Part
    cases: Cases


class Embedder(NamedTuple):
    """A frozen encoder, how its tokens are pooled, whether windows of an id become one row, and what computes it.

    A head, where there is one, predicts a class from each row.
    """

    encoder: Encoder
    config: ProbeConfig
    device: str
    pool_windows: bool
    engine: Engine
    precision: Precision = "32"
    head: LinearHead | None = None

    def chunks(self, data: Data) -> Iterator[Chunk]:
        """Cut both parts into chunks; an id whose windows are pooled is never cut."""
        for name, part in data.parts():
            n_cases = part.series.n_cases
            cuts = np.arange(0, n_cases, self.chunk_size(part.series))
            if self.pool_windows:
                firsts = np.append(first_windows(owners(part)), n_cases)
                cuts = firsts[np.searchsorted(firsts, cuts)]
            edges = np.unique(np.append(cuts, n_cases))
            for start, stop in pairwise(edges):
                yield Chunk(name, part, np.arange(start, stop))

    def chunk_size(self, source: SeriesSource) -> int:
        """Return how many cases are embedded at a time."""
        return chunk_size(self.encoder, source, self.config) * self.engine.shares

    def table(self, data: Data, chunk: Chunk) -> pa.Table:
        """Return the columns part (of two), id, start, end, label and predicted (where there are any), embedding."""
        columns = origins(data, chunk.part, chunk.cases)
        if self.pool_windows:
            owner = owners(chunk.part)[chunk.cases]
            columns, Z = join_origins(columns, first_windows(owner)), self.mean_over_windows(chunk, owner)
        else:
            Z = self.embed(chunk.part, chunk.cases)[0]
        if data.test is not None:
            columns = {"part": pa.array([chunk.name] * len(Z)), **columns}
        if self.head is not None:
            columns["predicted"] = pa.array(self.head.predict(Z).astype(str))
        return pa.table({**columns, "embedding": pa.FixedSizeListArray.from_arrays(pa.array(Z.ravel()), Z.shape[1])})

    def embed(self, part: Part, cases: Cases) -> tuple[NDArray[np.float32], Cases]:
        """Return the embeddings of some cases, and the positions of those that hold a value."""
        series = part.series.take(cases)
        embedder = BatchEmbedder(self.encoder, self.config, series.n_channels, self.device, self.precision)
        return self.engine.embed(embedder, series), series.measured()

    def mean_over_windows(self, chunk: Chunk, owner: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the mean embedding of the windows of each id that hold a value, zeros where none does."""
        series = chunk.part.series
        ids, row = np.unique(owner, return_inverse=True)
        sums = np.zeros((len(ids), n_features(self.encoder, self.config, series.n_channels)))
        counts = np.zeros((len(ids), 1))
        size = self.chunk_size(series)
        for start in range(0, len(row), size):
            Z, held = self.embed(chunk.part, chunk.cases[start : start + size])
            np.add.at(sums, row[start + held], Z[held])
            np.add.at(counts, row[start + held], 1)
        return (sums / np.maximum(counts, 1)).astype(np.float32)


def owners(part: Part) -> NDArray[np.int32]:
    """Return the number of the id of each window of a log, ascending."""
    assert isinstance(part.series, LogWindows)
    return part.series.series


def first_windows(owner: NDArray[np.int32]) -> Cases:
    """Return the position of the first window of each id.

    Examples
    --------
    >>> first_windows(np.array([3, 3, 4, 7, 7]))
    array([0, 2, 3])
    """
    return np.flatnonzero(np.diff(owner, prepend=-1))


def origins(data: Data, part: Part, cases: Cases) -> dict[str, pa.Array]:
    """Return where cases come from: id, and start and end, the times of the first and the last point.

    Data other than logs have no times: a series is named by its place in its part, its points count from 0.
    """
    if isinstance(part.series, LogWindows):
        index = part.series.index(cases)
        columns = {name: index[name] for name in ("id", "start", "end")}
    else:
        lengths = np.full(part.series.n_cases, part.series.n_timepoints) if part.lengths is None else part.lengths
        columns = {"id": cases, "start": np.zeros(len(cases), np.int64), "end": lengths[cases] - 1}
        columns = {name: pa.array(values) for name, values in columns.items()}
    return columns if all(p.y is None for _, p in data.parts()) else {**columns, "label": labels(data, part, cases)}


def check_joined(data: Data) -> None:
    """Refuse two parts whose ids, or times, are of types that no column holds together."""
    first = np.zeros(1, np.int64)
    kinds = [{name: column.type for name, column in origins(data, part, first).items()} for _, part in data.parts()]
    for name in ("id", "start"):
        found = [kind[name] for kind in kinds]
        try:
            pa.unify_schemas([pa.schema({name: kind}) for kind in found], promote_options="permissive")
        except pa.ArrowException as error:
            what = "ids" if name == "id" else "times"
            told = f"{what} of the training part are {found[0]}, and those of the test part {found[1]}"
            raise Failure(f"{told}: give both logs {what} of one type, or embed each by itself.") from error


def labels(data: Data, part: Part, cases: Cases) -> pa.Array:
    """Return class names, or the numbers of a numeric target; nulls where there are none."""
    kind = pa.float64() if data.classes is None else pa.string()
    if part.y is None:
        return pa.nulls(len(cases), kind)
    if data.classes is None:
        return pa.array(part.y[cases], kind, from_pandas=True)
    return pa.array([None if code < 0 else data.classes[code] for code in part.y[cases]], kind)


def join_origins(columns: dict[str, pa.Array], firsts: Cases) -> dict[str, pa.Array]:
    """Return one row an id: from the start of its first window to the end of its last, whose label it has.

    Examples
    --------
    >>> windows = {"id": [3, 3, 7], "start": [0, 5, 0], "end": [9, 14, 9], "label": ["calm", "worn", "calm"]}
    >>> joined = join_origins({name: pa.array(values) for name, values in windows.items()}, np.array([0, 2]))
    >>> [values.to_pylist() for values in joined.values()]
    [[3, 7], [0, 0], [14, 9], ['worn', 'calm']]
    """
    lasts = np.append(firsts[1:], len(columns["id"])) - 1
    return {
        name: values.take(pa.array(firsts if name in ("id", "start") else lasts)) for name, values in columns.items()
    }
