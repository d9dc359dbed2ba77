"""The second pass over a log: each row written where its id's rows belong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_columns import Layout
from tsjepa.datasets.log_plan import RowPlan
from tsjepa.datasets.log_reading import Piece
from tsjepa.datasets.log_scan import Interner, Scan, stamp
from tsjepa.datasets.log_store import Block, Field, RowFiles, read_json, write_json
from tsjepa.datasets.log_time import time_dtype
from tsjepa.datasets.log_values import Log, Rows, read_rows

Progress = Callable[[str, int, int], None]
JOURNAL_BYTES = 1 << 26


def row_fields(layout: Layout, plan: RowPlan) -> dict[str, Field]:
    """Return the columns that a log's rows are kept in.

    Values are float32; `present` tells rows with a value; a label is a class code, -1 for none, or a target.
    """
    fields = {"time": Field(time_dtype(layout.time)), "present": Field("uint8")}
    fields["values"] = Field("float32", len(plan.channels))
    if layout.columns.label is not None:
        fields["label"] = Field("float64" if plan.classes is None else "int32")
    return fields


class Placer:
    """Writes rows id by id, in the order in which they come, and goes on where an earlier run stopped.

    Parameters
    ----------
    log : Log
    plan : RowPlan
        Where each id's rows begin.
    folder : Path
        With ``scan``, what the first pass found; finished pieces are marked in ``done``.
    target : RowFiles
        What is written to.
    progress : callable
        Told of work done.
    """

    def __init__(self, log: Log, plan: RowPlan, folder: Path, target: RowFiles, progress: Progress) -> None:
        self.log, self.plan, self.folder, self.target, self.progress = log, plan, folder, target, progress
        self._ids, self._channels = Interner(plan.ids), Interner(plan.channels)
        self._labels = Interner(plan.classes or ())
        self._filled = plan.offsets[:-1].copy()
        self._unmarked: list[tuple[Path, Any]] = []
        self._done = self._unsynced = 0

    def run(self) -> None:
        """Write the rows of all pieces."""
        for number, piece in enumerate(self.log.pieces):
            name, state = f"{number:06d}.json", [stamp(piece), self.plan.digest]
            scan, kept = Scan(**read_json(self.folder / "scan" / name)), read_json(self.folder / "done" / name)
            own = np.array([self._ids.codes[identity] for identity in scan.ids], np.int64)
            if kept is None or kept["state"] != state:
                position = self._write(piece)
                if not np.array_equal(position[own], self._filled[own] + scan.rows):
                    raise DataError(f"{piece.file.shown} changed while it was read; start again when it is written")
                self._mark(self.folder / "done" / name, {"state": state}, sum(scan.rows))
            else:
                self._done += sum(scan.rows)
            self._filled[own] += scan.rows
        self._mark_all()

    def _write(self, piece: Piece) -> NDArray[np.int64]:
        """Write the rows of a piece; return where those of each id end."""
        position = self._filled.copy()
        for rows in read_rows(self.log.layout, piece, with_values=True):
            block = _block(self.plan, rows, self._labels, self._channels)
            if rows.id is None:
                codes = np.full(len(rows.number), self._ids.codes[self.log.names[piece.file.shown]])
            else:
                codes = self._ids(rows.id)
            _scatter(self.target, block, codes, position)
            self._done += len(rows.number)
            self.progress("reading", self._done, int(self.plan.offsets[-1]))
        return position

    def _mark(self, path: Path, content: Any, rows: int) -> None:
        """Note a piece as finished, though not before its rows are safe on the disk."""
        self._unmarked.append((path, content))
        self._unsynced += rows * self.target.row_bytes
        if self._unsynced > JOURNAL_BYTES:
            self._mark_all()

    def _mark_all(self) -> None:
        self.target.sync()
        for path, content in self._unmarked:
            write_json(path, content)
        self._unmarked, self._unsynced = [], 0


def _block(plan: RowPlan, rows: Rows, labels: Interner, channels: Interner) -> Block:
    assert rows.values is not None
    block: Block = {"time": rows.time, "values": rows.values, "present": present(rows.values)}
    if rows.label is not None:
        block["label"] = (
            rows.label.to_numpy(zero_copy_only=False) if plan.classes is None else _codes(rows.label, labels)
        )
    if rows.channel is not None:
        block["channel"] = channels(rows.channel)
    return block


def present(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell rows of shape (n, n_channels) that hold a value."""
    return np.asarray(~np.isnan(values).all(1))


def _codes(column: pa.Array, labels: Interner) -> NDArray[np.int64]:
    """Return class codes; whole numbers written with a point are classes by their whole part."""
    if pa.types.is_floating(column.type):
        column = pa.array(column.to_numpy(zero_copy_only=False), from_pandas=True).cast(pa.int64()).cast(pa.string())
    return labels(column)


def _scatter(target: RowFiles, block: Block, codes: NDArray[np.int64], position: NDArray[np.int64]) -> None:
    """Append each id's rows to what it has; `position` is where that ends, and is moved on."""
    if (codes < 0).any():
        raise DataError("the log changed while it was read: an id is new; start again when it is written")
    if (codes[1:] < codes[:-1]).any():
        order = np.argsort(codes, kind="stable")
        codes, block = codes[order], {name: column[order] for name, column in block.items()}
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    ends = np.r_[starts[1:], len(codes)]
    places = position[codes[starts]]
    position[codes[starts]] += ends - starts
    # ids whose rows follow each other on disk too are written together
    apart = np.flatnonzero(np.r_[True, places[1:] != places[:-1] + (ends - starts)[:-1]])
    for first, last in zip(apart, np.r_[apart[1:], len(starts)], strict=True):
        part = slice(starts[first], ends[last - 1])
        target.write(int(places[first]), {name: block[name][part] for name in target.fields})
