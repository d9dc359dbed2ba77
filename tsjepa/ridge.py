"""Ridge regression on many features of many cases, its penalty chosen by leave-one-out, in little memory."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import scipy.linalg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

Array = NDArray[Any]
# Numbers that are standardised and turned into float64 at a time
BLOCK = 2**22


class LeanRidge:
    """Standardised features and a ridge whose penalty has the least squared leave-one-out error.

    It is scikit-learn's ``StandardScaler`` with ``RidgeCV``, or with ``RidgeClassifierCV`` for labels that are no
    floats. These hold several float64 copies of the features; here they are taken a block at a time, and what is held
    is the matrix of products of cases or of features, whichever are fewer.

    Parameters
    ----------
    penalties : sequence of float
        To choose from.

    Examples
    --------
    >>> Z = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    >>> LeanRidge([0.1, 1.0]).fit(Z, np.array([0, 0, 1, 1])).predict(Z)
    array([0, 0, 1, 1])
    """

    def __init__(self, penalties: Sequence[float]) -> None:
        self.penalties = tuple(penalties)

    def fit(self, Z: Array, y: Array) -> Self:
        """Fit on features Z [n, F] and labels y [n], classes or floats."""
        self.classes = None if y.dtype.kind == "f" else np.unique(y)
        wanted = targets(y, self.classes)
        self.intercept = wanted.mean(0)
        self.scaler = StandardScaler()
        for rows in row_blocks(*Z.shape):
            self.scaler.partial_fit(Z[rows])
        fit = self._by_features if Z.shape[0] > Z.shape[1] else self._by_cases
        self.penalty, self.weights = fit(Z, wanted - self.intercept)
        return self

    def predict(self, Z: Array) -> Array:
        """Return classes, or floats, of features Z [n, F]."""
        found = np.concatenate([self._block(Z, rows) @ self.weights for rows in row_blocks(*Z.shape)]) + self.intercept
        if self.classes is None:
            return found[:, 0]
        return self.classes[(found[:, 0] > 0).astype(int) if found.shape[1] == 1 else found.argmax(1)]

    def _block(self, Z: Array, rows: slice) -> Array:
        """Return some cases, standardised, in float64."""
        # as the scaler's `transform` does it, whose checks take longer than the fit of a small probe
        return (Z[rows].astype(np.float64) - self.scaler.mean_) / self.scaler.scale_

    def _by_features(self, Z: Array, wanted: Array) -> tuple[float, Array]:
        """Return the best penalty and its weights, from the products of features."""
        products, sums = np.zeros((Z.shape[1],) * 2), np.zeros((Z.shape[1], wanted.shape[1]))
        for rows in row_blocks(*Z.shape):
            block = self._block(Z, rows)
            products += block.T @ block
            sums += block.T @ wanted[rows]
        values, vectors = eigen(products)
        inside, errors = vectors.T @ sums, np.zeros(len(self.penalties))
        for rows in row_blocks(*Z.shape):
            turned = self._block(Z, rows) @ vectors
            errors += [left_out(turned, inside, values + a, wanted[rows], len(Z)) for a in self.penalties]
        best = self.penalties[int(errors.argmin())]
        return best, vectors @ (inside / (values + best)[:, None])

    def _by_cases(self, Z: Array, wanted: Array) -> tuple[float, Array]:
        """Return the best penalty and its weights, from the products of cases."""
        products = np.empty((len(Z),) * 2)
        for rows in row_blocks(*Z.shape):
            block = self._block(Z, rows)
            for others in row_blocks(*Z.shape):
                products[rows, others] = block @ self._block(Z, others).T
        values, vectors = eigen(products)
        turned, inside = vectors * np.sqrt(values), np.sqrt(values)[:, None] * (vectors.T @ wanted)
        errors = [left_out(turned, inside, values + a, wanted, len(Z)) for a in self.penalties]
        best = self.penalties[int(np.argmin(errors))]
        dual, weights = vectors @ (vectors.T @ wanted / (values + best)[:, None]), np.zeros((Z.shape[1], len(wanted.T)))
        for rows in row_blocks(*Z.shape):
            weights += self._block(Z, rows).T @ dual[rows]
        return best, weights


def row_blocks(n_cases: int, n_features: int) -> Iterator[slice]:
    """Yield slices of cases that hold about BLOCK numbers each.

    Examples
    --------
    >>> [rows.stop for rows in row_blocks(5, 2**21)]
    [2, 4, 5]
    """
    size = max(BLOCK // n_features, 1)
    for start in range(0, n_cases, size):
        yield slice(start, min(start + size, n_cases))


def targets(y: Array, classes: Array | None) -> Array:
    """Return what is regressed on [n, K]: numbers, or for each class 1 inside and -1 outside of it, once for two."""
    if classes is None:
        return y[:, None].astype(np.float64)
    chosen = classes[1:] if len(classes) == 2 else classes
    return np.where(y[:, None] == chosen, 1.0, -1.0)


def eigen(products: Array) -> tuple[Array, Array]:
    """Return eigenvalues, none below 0, and eigenvectors of a symmetric matrix, which is overwritten."""
    values, vectors = scipy.linalg.eigh(products, overwrite_a=True, driver="evr", check_finite=False)
    return np.maximum(values, 0.0), vectors


def left_out(turned: Array, inside: Array, damped: Array, wanted: Array, n_cases: int) -> float:
    """Return the squared leave-one-out errors, summed, of cases that are `turned` into the eigenvectors' axes."""
    leverage = np.einsum("ij,ij,j->i", turned, turned, 1 / damped, optimize=False) + 1 / n_cases
    errors = (wanted - turned @ (inside / damped[:, None])) / (1 - leverage)[:, None]
    return float(np.square(errors).sum())
