"""Series of several data sets as one, for a pretraining on all of them."""

from collections.abc import Sequence

from tsjepa.arrays import Series, as_series
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
    >>> import numpy as np
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
    n_channels = channels.pop() if mixed else 1
    each = [source.with_nan().reshape(-1, n_channels, source.n_timepoints) for source in sources]
    return as_series([case for cases in each for case in cases])
