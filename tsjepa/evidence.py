"""The evidence that a patch is unusual: what a world model sees of it, as samples to be held against laws."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from tsjepa.sight import Sight

Floats = NDArray[np.float64]
Samples = tuple[NDArray[Any], ...]

# Weight of a decoder's penalty against the samples, in squared units of the latents
PENALTY = 1e-2


class Evidence(NamedTuple):
    """Samples [n, D] of n patches, several of each kind.

    Attributes
    ----------
    errors : one a horizon, D = E
        Latents less what was predicted of them.
    forecasts : one a horizon, D = C
        Mean values of the patch less those decoded from the prediction, all channels together: whether they fit each
        other.
    latents : one a window length of 1, 2, 4, ... patches, D = E
        Mean latents.
    levels : one a window length, D = C
        Mean values.
    residuals : one a channel, D = H * P
        Its values less those decoded from the predictions.
    offsets : one a channel, D = number of window lengths
        Its mean values.
    """

    errors: Samples
    forecasts: Samples
    latents: Samples
    levels: Samples
    residuals: Samples
    offsets: Samples


def gather(sight: Sight, decoders: Floats) -> Evidence:
    """Return the evidence in what is seen of n patches."""
    last, now = sight.latents[:, -1], sight.values[:, :, -1]
    lengths = [2**k for k in range(sight.latents.shape[1].bit_length())]
    levels = tuple(sight.values[:, :, -length:].mean((2, 3)) for length in lengths)
    decoded = np.stack(
        [decode(z, weights) for z, weights in zip(sight.predicted.swapaxes(0, 1), decoders, strict=True)]
    )
    residual = now - decoded.reshape(len(decoders), *now.shape)  # [H, n, C, P]
    return Evidence(
        errors=tuple(last - predicted for predicted in sight.predicted.swapaxes(0, 1)),
        forecasts=tuple(residual.mean(-1)),
        latents=tuple(sight.latents[:, -length:].mean(1) for length in lengths),
        levels=levels,
        residuals=tuple(residual.transpose(2, 1, 0, 3).reshape(now.shape[1], len(now), -1)),
        offsets=tuple(np.stack(levels, -1).swapaxes(0, 1)),
    )


def fit_decoders(seen: Sight) -> Floats:
    """Return the ridge regressions [H, E + 1, C * P] of a patch's values on what was predicted of it, one a horizon."""
    values = seen.values[:, :, -1].reshape(len(seen.values), -1)
    return np.stack([ridge(predicted, values) for predicted in seen.predicted.swapaxes(0, 1)])


def ridge(z: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Return the weights [E + 1, K] of the ridge regression of y [n, K] on z [n, E] and, last, a constant.

    Examples
    --------
    >>> weights = ridge(np.array([[-1.0], [1.0]]), np.array([[1.0], [5.0]]))
    >>> decode(np.array([[0.0]]), weights)
    array([[3.]])
    """
    found = Ridge(PENALTY * len(z)).fit(z.astype(np.float64), y.astype(np.float64))
    return np.vstack([np.atleast_2d(found.coef_).T, found.intercept_])


def decode(z: NDArray[Any], weights: Floats) -> Floats:
    """Return what latents [..., E] stand for, [..., K]."""
    return z @ weights[:-1] + weights[-1]
