"""Scores of a series that arrives in pieces, the same whatever the pieces, in constant memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.sight import Array, bridge_patches, see
from tsjepa.surprise import Scorer, Scores

# Rows of a long series that are scored at a time
PIECE = 2**14


class Stream:
    """Scores rows as they arrive.

    A row has the score of the last patch that is complete with it, so that an event is seen at most `patch_length` - 1
    rows late. Scores are NaN until the context is full, and as long as a patch in it is blind.

    Parameters
    ----------
    scorer : Scorer
    state : dict, optional
        What `state` returned, to go on from there.

    Examples
    --------
    >>> from tsjepa.build import build_model, configure, resolve
    >>> from tsjepa.surprise import fit_scorer
    >>> model = build_model(resolve(configure("lewm-sensor"), 128), 2).eval()
    >>> scorer = fit_scorer(model, [np.random.default_rng(0).normal(size=(2, 600))], context=128)
    >>> stream = Stream(scorer)
    >>> stream.push(np.zeros((2, 100))).score.shape, int(np.isfinite(stream.push(np.zeros((2, 100))).score).sum())
    ((100,), 73)
    """

    def __init__(self, scorer: Scorer, state: dict[str, NDArray[Any]] | None = None) -> None:
        self.scorer = scorer
        # rows from the start of a patch on: the complete patches of a context less one, and what came of the next patch
        self.rows = np.empty((len(scorer.gain), 0), np.float32)
        self.last = np.full(2 + len(scorer.channels), np.nan, np.float32)
        if state is not None:
            self.rows, self.last = state["rows"], state["last"]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what has to be kept to go on later: the rows of one context, and the last score."""
        return {"rows": self.rows, "last": self.last}

    def push(self, x: NDArray[Any]) -> Scores:
        """Return the scores of further rows [C, n].

        Raises
        ------
        ValueError
            If the channels are not those that the scorer was fitted on.
        """
        patch, before = self.scorer.patch_length, self.rows.shape[1]
        rows = np.concatenate([self.rows, self.scorer.adjusted(x)], 1)
        complete, done = rows.shape[1] // patch, before // patch
        judged = np.concatenate([self.last[None], self.judge(rows[:, : complete * patch], done)])
        place = (np.arange(before, rows.shape[1]) + 1) // patch - done
        start = max(complete - self.scorer.context // patch + 1, 0) * patch
        self.rows, self.last = rows[:, start:].copy(), judged[-1]
        return Scores.of(judged[place])

    def judge(self, rows: Array, done: int) -> Array:
        """Return what is said of the patches of rows [C, n * P] after the first `done`, [n - done, 2 + C]."""
        patch, context = self.scorer.patch_length, self.scorer.context // self.scorer.patch_length
        patches, blind = bridge_patches(rows.reshape(len(rows), -1, patch))
        judged = np.full((patches.shape[1] - done, len(self.last)), np.nan, np.float32)
        ends = done + np.flatnonzero(seeing(blind, context)[done:])
        if len(ends):
            windows = [patches[:, end + 1 - context : end + 1].reshape(len(rows), -1) for end in ends]
            judged[ends - done] = self.scorer.judge(see(self.scorer.model, np.stack(windows)))
        return judged


def seeing(blind: NDArray[np.bool_], context: int) -> NDArray[np.bool_]:
    """Return which patches end a context of so many patches of which none is blind.

    Examples
    --------
    >>> seeing(np.array([False, True, False, False, False]), 2).tolist()
    [False, False, False, True, True]
    """
    ends = np.arange(1, len(blind) + 1)
    before = np.concatenate([[0], np.cumsum(blind)])
    return (ends >= context) & (before[ends] == before[np.maximum(ends - context, 0)])


def scored_rows(x: NDArray[Any], context: int, patch_length: int) -> int:
    """Return how many rows of a series [C, T] a stream gives a score, whatever the model.

    Examples
    --------
    >>> x = np.zeros((1, 20))
    >>> x[0, 8:11] = np.nan
    >>> scored_rows(np.zeros((1, 20)), 8, 4), scored_rows(x, 8, 4)
    (13, 5)
    """
    complete = x.shape[1] // patch_length
    _, blind = bridge_patches(x[:, : complete * patch_length].reshape(len(x), complete, patch_length))
    known = np.concatenate([[False], seeing(blind, context // patch_length)])
    return int(known[(np.arange(x.shape[1]) + 1) // patch_length].sum())


def score_series(scorer: Scorer, x: NDArray[Any]) -> Scores:
    """Return the scores of a series [C, T], those that a stream gives.

    Raises
    ------
    ValueError
        If the channels are not those that the scorer was fitted on.
    """
    stream = Stream(scorer)
    parts = [stream.push(x[:, start : start + PIECE]) for start in range(0, max(x.shape[1], 1), PIECE)]
    return Scores(*(np.concatenate(part, -1) for part in zip(*parts, strict=True)))
