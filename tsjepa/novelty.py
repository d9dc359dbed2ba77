"""How new the windows of a series are: distances to the nearest ones of a reference, and what that says of points."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]

# Parts of a series that are held against the rest of it in turn
FIFTHS = 5
# Least spread of usual distances, as a share of the size of what they lie between: less is rounding
SMALLEST = 1e-5
# Least spread of a feature, as a share of the median of those that scatter: a nearly constant one is not to decide
LEAST = 0.1


def usual_spread(parts: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
    """Return the standard deviation of each feature of usual rows [n, D], in parts, but for a least one, to divide by.

    Examples
    --------
    >>> usual_spread([np.array([[0.0, 5.0, 1.0], [4.0, 5.0, 1.5]]), np.array([[4.0, 5.0, 1.5], [0.0, 5.0, 1.0]])])
    array([2.    , 0.1125, 0.25  ], dtype=float32)
    """
    scaler = StandardScaler()
    for rows in parts:
        scaler.partial_fit(rows)
    own = np.sqrt(scaler.var_)
    scattered = own[own > 0]
    return np.maximum(own, LEAST * np.median(scattered) if len(scattered) else 1.0).astype(np.float32)


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


def elsewhere(n_windows: int, starts: NDArray[np.int64], window: int) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Yield the fifths of a series, and which windows share no point with the windows that start in them.

    Parameters
    ----------
    n_windows : int
        Windows of the series, one a point.
    starts : array of shape (n,)
        Where those start that are asked about.
    window : int
        Points of a window.

    Yields
    ------
    fifth : slice
        Of the windows.
    others : bool array of shape (n,)

    Raises
    ------
    ValueError
        If no window is apart from some fifth.

    Examples
    --------
    >>> for fifth, others in elsewhere(10, np.arange(0, 10, 2), window=2):
    ...     print(fifth.start, fifth.stop, others.astype(int))
    0 2 [0 0 1 1 1]
    2 4 [1 0 0 1 1]
    4 6 [1 1 0 0 1]
    6 8 [1 1 1 0 0]
    8 10 [1 1 1 1 0]
    """
    for fifth in np.array_split(np.arange(n_windows), min(FIFTHS, n_windows)):
        first, last = int(fifth[0]), int(fifth[-1])
        others = (starts <= first - window) | (starts >= last + window)
        if not others.any():
            raise ValueError(
                f"a series of {n_windows + window - 1} points is too short for windows of {window}: give a longer "
                "series, or a smaller window."
            )
        yield slice(first, last + 1), others


def standardised(distances: Floats, usual: Floats, size: float) -> Floats:
    """Return distances in units of the spread of usual ones, and from their mean; `size` is that of the rows between.

    Examples
    --------
    >>> standardised(np.array([4.0, 9.0]), usual=np.array([3.0, 5.0]), size=10.0)
    array([0., 5.])
    """
    return (distances - usual.mean()) / (max(usual.std(), SMALLEST * size) or 1.0)


def over_points(scores: Floats, window: int) -> Floats:
    """Return for each point the mean score of the windows that hold it; the windows start one point apart.

    Examples
    --------
    >>> over_points(np.array([0.0, 6.0, 0.0]), window=2)
    array([0., 3., 3., 0.])
    """
    total, count = (np.convolve(part, np.ones(window)) for part in (scores, np.ones(len(scores))))
    return total / count
