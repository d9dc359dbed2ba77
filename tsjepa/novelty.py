"""How new the windows of a series are: distances to the nearest ones of a reference, and what that says of points."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

Floats = NDArray[np.float64]

# Stretches of a reference that are held against the rest of it in turn
STRETCHES = 5
# Least spread of usual distances: those of a series that repeats itself exactly have none
SMALLEST = 1e-12


def nearest(rows: NDArray[Any], reference: NDArray[Any], n_neighbors: int = 1) -> Floats:
    """Return the distance of rows [n, D] to their nearest rows of a reference [m, D], the mean of `n_neighbors`.

    Where the reference has fewer, it is the mean of all.

    Examples
    --------
    >>> nearest(np.array([[0.0], [5.0]]), np.array([[1.0], [2.0]]), n_neighbors=2)
    array([1.5, 3.5])
    """
    index = NearestNeighbors(n_neighbors=min(n_neighbors, len(reference)), algorithm="brute").fit(reference)
    return np.asarray(index.kneighbors(rows)[0].mean(1), np.float64)


def elsewhere(starts: NDArray[np.int64], window: int) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Yield stretches of a series, and which windows share no point with the windows that start in them.

    Parameters
    ----------
    starts : array of shape (n,)
        Where windows of the series start, in order.
    window : int
        Points of a window.

    Yields
    ------
    stretch : slice
        Of the points from the first start to the last one.
    others : bool array of shape (n,)

    Raises
    ------
    ValueError
        If no window is apart from some stretch.

    Examples
    --------
    >>> for stretch, others in elsewhere(np.arange(0, 10, 2), window=2):
    ...     print(stretch.start, stretch.stop, others.astype(int))
    0 2 [0 0 1 1 1]
    2 4 [1 0 0 1 1]
    4 6 [1 1 0 0 1]
    6 8 [1 1 1 0 0]
    8 9 [1 1 1 1 0]
    """
    for stretch in np.array_split(np.arange(starts[-1] + 1), min(STRETCHES, len(starts))):
        first, last = int(stretch[0]), int(stretch[-1])
        others = (starts <= first - window) | (starts >= last + window)
        if not others.any():
            points = starts[-1] + window
            raise ValueError(f"no two windows of {window} points are apart in {points} points: give smaller windows.")
        yield slice(first, last + 1), others


def standardised(distances: Floats, usual: Floats) -> Floats:
    """Return distances in units of the spread of usual ones, and from their mean."""
    return (distances - usual.mean()) / max(usual.std(), SMALLEST)


def over_points(scores: Floats, window: int) -> Floats:
    """Return for each point the mean score of the windows that hold it; the windows start one point apart.

    Examples
    --------
    >>> over_points(np.array([0.0, 6.0, 0.0]), window=2)
    array([0., 3., 3., 0.])
    """
    total, count = (np.convolve(part, np.ones(window)) for part in (scores, np.ones(len(scores))))
    return total / count
