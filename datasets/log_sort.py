"""Rows of one id brought into order of time, however many there are: sorted runs on disk, merged by ranges of time."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsjepa.datasets.log_store import Block, RowFiles

SORT_BYTES = 1 << 26


def sorted_blocks(rows: RowFiles, start: int, stop: int, scratch: Path) -> Iterator[Block]:
    """Give the rows of one id in order of time, in blocks that no time is divided between.

    Parameters
    ----------
    rows : RowFiles
        With a column ``time``.
    start, stop : int
        Where the id's rows lie.
    scratch : Path
        A folder for sorted runs, where the rows are more than 64 MB hold.

    Yields
    ------
    dict of str to ndarray
        Rows in order of time; those of one time in the order in which they stood.
    """
    chunk = max(SORT_BYTES // rows.row_bytes, 1)
    if stop - start <= chunk:
        yield _by_time(rows.read(start, stop))
        return
    bounds = np.append(np.arange(start, stop, chunk), stop)
    with RowFiles(scratch, rows.fields) as runs:
        for low, high in pairwise(bounds.tolist()):
            runs.write(low - start, _by_time(rows.read(low, high)))
        yield from _merged(runs, bounds - start, max(chunk // len(bounds), 1))


def _by_time(block: Block) -> Block:
    order = np.argsort(block["time"], kind="stable")
    return {name: column[order] for name, column in block.items()}


def _merged(runs: RowFiles, bounds: NDArray[np.int64], every: int) -> Iterator[Block]:
    """Take from each run what lies between two successive splitters, and sort that."""
    pairs = list(pairwise(bounds.tolist()))
    splitters = np.unique(np.concatenate([_sampled(runs, low, high, every) for low, high in pairs]))
    splitters = splitters[:: len(pairs)]  # so that a block holds about as many rows as a run
    at = [low for low, _ in pairs]
    for splitter in [*splitters[1:], None]:
        parts = []
        for run, (_, high) in enumerate(pairs):
            end = high if splitter is None else _first_not_before(runs, at[run], high, splitter)
            parts.append(runs.read(at[run], end))
            at[run] = end
        block = {name: np.concatenate([part[name] for part in parts]) for name in runs.fields}
        if len(block["time"]):
            yield _by_time(block)


def _sampled(runs: RowFiles, low: int, high: int, every: int) -> NDArray[np.generic]:
    return np.concatenate([runs.read(at, at + 1, ("time",))["time"] for at in range(low, high, every)])


def _first_not_before(runs: RowFiles, low: int, high: int, time: np.generic) -> int:
    """Find the first row of a sorted run whose time is not before the one given."""
    while low < high:
        middle = (low + high) // 2
        if runs.read(middle, middle + 1, ("time",))["time"][0] < time:
            low = middle + 1
        else:
            high = middle
    return low
