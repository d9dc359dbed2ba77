"""A scorer, and scores of normal data that it has not seen: what a threshold is calibrated on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.stream import score_series
from tsjepa.surprise import Scorer, fit_scorer
from tsjepa.world import WorldModel

Runs = Sequence[NDArray[Any]]
# Blocks that long runs are cut into, and how many contexts a block of these has to have: its first has no score
BLOCKS, LONG = 5, 2


def fit_held_out(
    model: WorldModel, normal: Runs, held_out: Runs | None = None, *, context: int
) -> tuple[Scorer, list[NDArray[np.float32]]]:
    """Fit a scorer to normal runs, and score normal rows that it was not fitted to.

    Without runs held out, each run is cut into blocks, and each block is scored by a scorer of the others; the scorer
    that is returned is fitted to all.

    Parameters
    ----------
    model : WorldModel
    normal : sequence of array of shape (n_channels, n_timepoints)
    held_out : sequence of array, optional
    context : int
        Points of a window of the model.

    Returns
    -------
    Scorer
    list of array of shape (n_timepoints,)
        Scores of the normal rows, NaN where nothing is known.

    Raises
    ------
    ValueError
        If the runs hold too few rows.

    Examples
    --------
    >>> from tsjepa.build import build_model, configure, resolve
    >>> model = build_model(resolve(configure("lewm-sensor"), 128), 2).eval()
    >>> normal = [np.random.default_rng(0).normal(size=(2, 600))]
    >>> scorer, scores = fit_held_out(model, normal, context=128)
    >>> [x.shape for x in scores]
    [(300,), (300,)]
    """
    if held_out is not None:
        scorer = fit_scorer(model, normal, held_out, context=context)
        return scorer, [score_series(scorer, x).score for x in held_out]
    n_blocks = BLOCKS if max(x.shape[1] for x in normal) >= BLOCKS * LONG * context else 2
    blocks = [np.array_split(x, n_blocks, axis=1) for x in normal]
    scores = []
    for left_out in range(n_blocks):
        others = [part for parts in blocks for at, part in enumerate(parts) if at != left_out]
        scorer = fit_scorer(model, others, context=context)
        scores += [score_series(scorer, parts[left_out]).score for parts in blocks]
    return fit_scorer(model, normal, context=context), scores
