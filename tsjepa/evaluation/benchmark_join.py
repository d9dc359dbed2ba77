"""Series of several data sets as one, for a pretraining on all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tsjepa.arrays import Series
from tsjepa.evaluation.benchmark_table import BenchmarkError


def join(sources: Sequence[Series], *, mixed: bool = False) -> Series:
    """Return the series of several sets as one, of the length of the longest.

    Parameters
    ----------
    sources : sequence of Series
    mixed : bool, default=False
        Whether channels belong together; else each is a series of its own.

    Returns
    -------
    Series

    Raises
    ------
    BenchmarkError
        If channels belong together and their numbers differ.

    Examples
    --------
    >>> motions, noise = Series(np.zeros((2, 3, 8), np.float32)), Series(np.zeros((4, 1, 5), np.float32))
    >>> join([motions, noise]).values.shape
    (10, 1, 8)
    """
    channels = {source.n_channels for source in sources}
    if mixed and len(channels) > 1:
        raise BenchmarkError(
            f"the sources have {' and '.join(map(str, sorted(channels)))} channels, which a recipe with "
            "tokenizer.channels=mixed cannot join: pretrain with independent channels."
        )
    n_channels, length = (channels.pop() if mixed else 1), max(source.n_timepoints for source in sources)
    values = [fill_up(source.values.reshape(-1, n_channels, source.n_timepoints), length) for source in sources]
    if all(source.valid is None and source.n_timepoints == length for source in sources):
        return Series(np.concatenate(values))
    valid = [
        (np.ones(source.values.shape, bool) if source.valid is None else source.valid).reshape(
            -1, n_channels, source.n_timepoints
        )
        for source in sources
    ]
    return Series(np.concatenate(values), np.concatenate([fill_up(one, length) for one in valid]))


def fill_up(values: Any, length: int) -> Any:
    """Return an array with zeros, or False, behind its last axis up to a length."""
    return np.pad(values, [(0, 0), (0, 0), (0, length - values.shape[-1])])
