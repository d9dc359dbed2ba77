"""A scorer, and scores of normal data that it has not seen: what a threshold is calibrated on."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.stream import score_series, scored_rows
from tsjepa.surprise import FEWEST, Look, Pieces, Scorer, check_windows, fit_scorer, n_windows, see_part
from tsjepa.world import WorldModel

Runs = Sequence[NDArray[Any]]
# Blocks that a long run is cut into, and how many contexts a block of these has to have: its first has no score
BLOCKS, LONG = 5, 2


class TooFewToHoldOut(ValueError):
    """Normal runs that are too short to score each part by what is usual in the others.

    Parameters
    ----------
    normal : sequence of array of shape (n_channels, n_timepoints)
    context : int
    """

    def __init__(self, normal: Runs, context: int) -> None:
        self.are_long = n_windows(normal, context) >= FEWEST  # enough where other runs are held out
        least, longest = context + FEWEST - 1, max(x.shape[1] for x in normal)
        super().__init__(
            f"normal data must hold {2 * least} rows without a gap, but the longest run has {longest}, and there are "
            "too few others: each part is scored by what is usual in the other."
        )


def fit_held_out(
    model: WorldModel, normal: Runs, held_out: Runs | None = None, *, context: int
) -> tuple[Scorer, list[NDArray[np.float32]]]:
    """Fit a scorer to normal runs, and score normal rows that it was not fitted to.

    Without runs held out, each run is cut into blocks, a long one into five, a shorter one into two, and one whose
    halves would be shorter than a context not at all; each block is scored by a scorer of the others. The scorer that
    is returned is fitted to all.

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
    TooFewToHoldOut, TooFewWindows
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
    scores, look = [], remembering(see_part)  # each block is fitted to in all folds but its own
    for others, own in folds(normal, context):
        scorer = fit_scorer(model, others, context=context, look=look)
        scores += [score_series(scorer, part).score for part in own]
    return fit_scorer(model, normal, context=context), scores


def held_out_rows(normal: Runs, context: int, patch_length: int) -> int:
    """Return how many rows of normal runs `fit_held_out` gives a score, whatever the model.

    Raises
    ------
    TooFewToHoldOut, TooFewWindows
        If the others of a block say too little of what is usual.

    Examples
    --------
    >>> held_out_rows([np.zeros((2, 300))], context=128, patch_length=8)
    46
    """
    rows = 0
    for others, own in folds(normal, context):
        check_windows(others, context, patch_length)
        rows += sum(scored_rows(part, context - context % patch_length, patch_length) for part in own)
    return rows


def rows_needed(n_rows: int, scored: int, context: int, patch_length: int) -> int:
    """Return how many rows a run without missing values has to have, at least `n_rows`, for so many with a score.

    Examples
    --------
    >>> rows_needed(300, 160, context=128, patch_length=8), rows_needed(500, 160, context=128, patch_length=8)
    (414, 500)
    """

    def enough(rows: int) -> bool:
        blocks = [block for _, block in cut_in_folds([np.empty((0, rows))], context)]
        return n_windows(blocks, context - context % patch_length) >= scored

    # in fewer no half says what is usual in the other
    return next(filter(enough, count(max(n_rows, 2 * (context + FEWEST - 1)))))


def folds(normal: Runs, context: int) -> Iterator[tuple[Runs, Runs]]:
    """Yield, for each fold, the blocks that say what is usual, and those that are scored by it."""
    folded = cut_in_folds(normal, context)
    for left_out in range(max(fold for fold, _ in folded) + 1):
        others = [part for fold, part in folded if fold != left_out]
        if n_windows(others, context) < FEWEST:
            raise TooFewToHoldOut(normal, context)
        yield others, [part for fold, part in folded if fold == left_out]


def remembering(look: Look) -> Look:
    """Return what looks at the same series in the same way once, by one model; series have to be kept meanwhile."""
    known: dict[tuple[int, ...], Pieces] = {}

    def again(model: WorldModel, x: NDArray[Any], *how: int) -> Pieces:
        key = id(x), *how
        if key not in known:
            known[key] = look(model, x, *how)
        return known[key]

    return again


def cut_in_folds(normal: Runs, context: int) -> list[tuple[int, NDArray[Any]]]:
    """Return the blocks of runs, each with the number of the fold that it is left out in.

    Examples
    --------
    >>> [(fold, part.shape[1]) for fold, part in cut_in_folds([np.zeros((1, n)) for n in (100, 9, 20, 11)], 10)]
    [(0, 20), (1, 20), (2, 20), (3, 20), (4, 20), (3, 9), (0, 10), (1, 10), (2, 11)]
    """
    lengths = np.array([x.shape[1] for x in normal])
    n_blocks = np.select([lengths >= BLOCKS * LONG * context, lengths >= 2 * context], [BLOCKS, 2], 1)
    n_folds = n_blocks.max() if n_blocks.max() > 1 else BLOCKS
    # whole runs are dealt out by length, so that each fold has its share of those that hold a context
    place = np.argsort(np.argsort(-lengths, kind="stable"))
    return [
        (int((place[run] if n == 1 else at) % n_folds), part)
        for run, (x, n) in enumerate(zip(normal, n_blocks, strict=True))
        for at, part in enumerate(np.array_split(x, n, axis=1))
    ]
