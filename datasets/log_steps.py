"""Channels that 32-bit floats are too coarse for, such as counters that have run for long."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.datasets.log_columns import Layout
from tsjepa.datasets.log_reading import Piece, batches
from tsjepa.datasets.log_values import csv_types, plain_numbers

SAMPLE_ROWS = 1 << 14


def lost_steps(layout: Layout, piece: Piece) -> list[str]:
    """Find channels that change by less than 32-bit floats can at their level, by the first rows of a piece.

    Parameters
    ----------
    layout : Layout
        How columns are read.
    piece : Piece
        Some rows of the log.

    Returns
    -------
    list of str
        Names of channels, with their usual step and level.

    Raises
    ------
    DataError
        If the piece cannot be read.
    """
    if layout.form == "lists":
        return []
    found = []
    for name, owner, values in _channels(layout, piece):
        order = np.argsort(owner, kind="stable")
        steps = np.abs(np.diff(values[order]))[np.diff(owner[order]) == 0]
        steps, level = steps[steps > 0], np.abs(values[~np.isnan(values)])
        if len(steps) and np.median(steps) < np.spacing(np.median(level).astype(np.float32)):
            found.append(f"{name} (steps of {np.median(steps):g} at {np.median(level):g})")
    return found


def _channels(layout: Layout, piece: Piece) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield the name of each channel, and ids and values of its first rows."""
    columns = [layout.value] if layout.form == "long" else list(layout.columns.channels or ())
    names = [name for name in (layout.columns.id, layout.channel, *columns) if name]
    for batch in batches(piece, list(dict.fromkeys(names)), csv_types(layout, piece.file), SAMPLE_ROWS):
        _, owner = _codes(batch, layout.columns.id)
        for name in columns:
            values = plain_numbers(batch.column(name), piece.file, name, piece.first_row + 1).astype(np.float64)
            if layout.form == "wide":
                yield name, owner, values
                continue
            channels, channel = _codes(batch, layout.channel)
            yield from ((text, owner[channel == at], values[channel == at]) for at, text in enumerate(channels))
        return


def _codes(batch: pa.RecordBatch, name: str | None) -> tuple[list[Any], NDArray[np.int64]]:
    if name is None:
        return [None], np.zeros(batch.num_rows, np.int64)
    encoded = batch.column(name).cast(pa.string()).dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
