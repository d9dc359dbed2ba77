"""What is usual: a Gaussian law of normal samples, the distance to it, and how large that distance usually is."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage

Floats = NDArray[np.float64]

# Least share of the covariance that is replaced by its mean variance in all directions: without any variance a
# direction would make any distance infinite
SHRINKAGE = 1e-3
# Samples that a prior counts as: little against hundreds, but what they do not show at all is no longer impossible
PRIOR = 30
# Below this a squared distance is that of the mean itself, and a variance that of samples that stand still
SMALLEST = 1e-12
# Variance that samples which stand still are given, in units of the training data's: rounding must not become surprise
STILL = 1e-4
# Blocks of normal samples that are left out in turn, and the share of a block that is left out beside it, too: what
# follows closely is hardly another sample
BLOCKS, MARGIN = 5, 0.3


class Law(NamedTuple):
    """A Gaussian law of samples with D numbers, and what the logarithm of the distance to it usually is.

    Attributes
    ----------
    mean : float64 array of shape (D,)
    whitener : float64 array of shape (D, D)
        Inverse of the Cholesky factor of the covariance: it makes deviations from the mean white.
    centre, spread : float64 array of shape ()
        Mean and standard deviation of `log_distance` of normal samples that the law was not fitted on; with a prior,
        the deviation is pooled with that of the prior. Where these do not differ, the mean is at least 0, and the
        deviation 1.
    """

    mean: Floats
    whitener: Floats
    centre: Floats
    spread: Floats

    def log_distance(self, samples: NDArray[Any]) -> Floats:
        """Return the logarithm of the squared Mahalanobis distance over D of samples [n, D]."""
        white = (samples.astype(np.float64) - self.mean) @ self.whitener.T
        return np.log(np.square(white).mean(1) + SMALLEST)

    def unusual(self, samples: NDArray[Any]) -> Floats:
        """Return how unusual samples [n, D] are: 0 is usual, and the unit is the spread of usual ones."""
        return (self.log_distance(samples) - self.centre) / self.spread


def fit_law(
    samples: NDArray[Any], held_out: NDArray[Any] | None = None, prior: Law | None = None
) -> tuple[Law, Floats]:
    """Fit a law to normal samples [n, D] in the order of time.

    Without samples held out, each of some blocks is measured by the law of the other ones: that a normal process
    wanders is then part of what is usual.

    Parameters
    ----------
    samples : array of shape (n, D)
    held_out : array of shape (m, D), optional
        Normal samples that say which distances are usual.
    prior : Law, optional
        Whose covariance and spread count as those of `PRIOR` further samples.

    Returns
    -------
    law : Law
    unusual : float64 array of shape (m,) or (n,)
        How unusual the samples are that were held out.

    Examples
    --------
    >>> law, _ = fit_law(np.random.default_rng(0).normal(size=(1000, 3)))
    >>> usual, far = law.unusual(np.array([[1.0, -1.0, 1.0], [9.0, 9.0, 9.0]]))
    >>> bool(abs(usual) < 1), bool(far > 3)
    (True, True)
    """
    law = gaussian(samples, prior)
    if held_out is None:
        parts = left_out(samples)
        away = np.concatenate([gaussian(np.concatenate(others), prior).log_distance(block) for block, others in parts])
    else:
        away = law.log_distance(held_out)
    centre, variance = away.mean(), away.var()
    if variance < SMALLEST:  # samples that stand still do not say how far others scatter
        centre, variance = np.maximum(centre, 0.0), np.float64(1.0)
    if prior is not None:  # a short stretch says little of how far normal samples scatter
        variance = (len(away) * variance + PRIOR * prior.spread**2) / (len(away) + PRIOR)
    law = law._replace(centre=centre, spread=np.sqrt(variance))
    return law, (away - law.centre) / law.spread


def left_out(samples: NDArray[Any]) -> Iterator[tuple[NDArray[Any], list[NDArray[Any]]]]:
    """Yield each block of samples [n, D], and those before and after it, without its closest neighbours.

    Examples
    --------
    >>> [[len(block), *map(len, others)] for block, others in left_out(np.zeros((50, 1)))]
    [[10, 0, 37], [10, 7, 27], [10, 17, 17], [10, 27, 7], [10, 37, 0]]
    """
    for block in np.array_split(np.arange(len(samples)), min(BLOCKS, len(samples) // 2)):
        margin = int(MARGIN * len(block))
        yield samples[block], [samples[: max(block[0] - margin, 0)], samples[block[-1] + 1 + margin :]]


def gaussian(samples: NDArray[Any], prior: Law | None = None) -> Law:
    """Return mean and covariance of samples [n, D], shrunk after Ledoit and Wolf (2004, J. Multivar. Anal. 88, 365)."""
    wide = samples.astype(np.float64)
    mean = wide.mean(0)
    share = max(ledoit_wolf_shrinkage(wide - mean, assume_centered=True), SHRINKAGE)
    covariance = (wide - mean).T @ (wide - mean) / len(wide)
    floor = share * np.trace(covariance) / len(covariance)
    covariance = (1 - share) * covariance + (floor if floor > SMALLEST else STILL) * np.eye(len(covariance))
    if prior is not None:
        factor = np.linalg.inv(prior.whitener)
        covariance = (len(wide) * covariance + PRIOR * factor @ factor.T) / (len(wide) + PRIOR)
    whitener = np.linalg.inv(np.linalg.cholesky(covariance))
    return Law(mean, whitener, np.float64(0.0), np.float64(1.0))  # type: ignore[arg-type]
