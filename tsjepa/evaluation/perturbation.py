"""Test series as sensors spoil them: noise, lost samples, another gain, another start, a dead channel.

Functions of series, strength and a generator that leave what they get as it is. A probe may be right on clean series
for reasons that do not survive these: the quiet cousins of collapse, which no accuracy on clean data shows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import Series, last_valid

# Channels that are left out in turn, evenly spaced where there are more: each costs an embedding of all channels
MOST_CHANNELS = 16
MISSING_CHANNEL = "missing_channel"

Apply = Callable[[Series, float, np.random.Generator], Series]


class Perturbation(NamedTuple):
    """One way to spoil series.

    Attributes
    ----------
    name : str
        As in the names of numbers.
    title, unit : str
        What a figure says of it and of its strength.
    clean : float or None
        The strength that changes nothing; None where there is none.
    levels : tuple of float
        Strengths that are looked at.
    apply : callable
        (series, strength, generator) -> series
    """

    name: str
    title: str
    unit: str
    clean: float | None
    levels: tuple[float, ...]
    apply: Apply


def perturbations(n_channels: int) -> list[Perturbation]:
    """Return the ways that series of so many channels are spoilt; at most MOST_CHANNELS of these are left out in turn.

    Examples
    --------
    >>> [way.name for way in perturbations(1)]
    ['noise', 'dropped', 'amplitude', 'shift']
    >>> perturbations(46)[-1].levels[:4], perturbations(46)[-1].levels[-1]
    ((0.0, 3.0, 6.0, 9.0), 45.0)
    """
    ways = [
        Perturbation("noise", "noise", "standard deviations of the series", 0.0, (0.25, 0.5, 1.0, 2.0), add_noise),
        Perturbation("dropped", "lost samples", "share of the samples", 0.0, (0.1, 0.3, 0.5, 0.8), drop_samples),
        Perturbation("amplitude", "amplitude", "factor", 1.0, (0.25, 0.5, 2.0, 4.0), scale_amplitude),
        Perturbation("shift", "time shift", "share of the length", 0.0, (0.05, 0.1, 0.25, 0.5), shift_time),
    ]
    if n_channels > 1:
        spaced = np.linspace(0, n_channels - 1, min(n_channels, MOST_CHANNELS))
        channels = tuple(float(channel) for channel in spaced.round())
        ways.append(Perturbation(MISSING_CHANNEL, "missing channel", "channel", None, channels, drop_channel))
    return ways


def add_noise(series: Series, level: float, rng: np.random.Generator) -> Series:
    """Add white noise of `level` standard deviations of each channel of each series, at measured points.

    Examples
    --------
    >>> noisy = add_noise(Series(np.ones((1, 1, 4), np.float32)), 1.0, np.random.default_rng(0))
    >>> noisy.values.tolist()  # a constant has no deviation
    [[[1.0, 1.0, 1.0, 1.0]]]
    """
    values, valid = series
    there: NDArray[np.bool_] | bool = True if valid is None else valid
    counted = np.ones_like(values, bool) if valid is None else valid.copy()
    counted[~counted.any(-1)] = True  # a channel without any value is zeros, and its deviation 0
    std = values.std(-1, keepdims=True, where=counted)
    noise = rng.standard_normal(values.shape, np.float32)
    return Series(np.where(there, values + np.float32(level) * std * noise, np.float32(0)), valid)


def drop_samples(series: Series, level: float, rng: np.random.Generator) -> Series:
    """Mark a share `level` of the samples missing, each on its own.

    Examples
    --------
    >>> lost = drop_samples(Series(np.ones((10, 1, 1000), np.float32)), 0.3, np.random.default_rng(0))
    >>> round(float(1 - lost.valid.mean()), 1)
    0.3
    """
    kept = rng.random(series.values.shape) >= level
    if series.valid is not None:
        kept &= series.valid
    return Series(np.where(kept, series.values, np.float32(0)), kept)


def scale_amplitude(series: Series, level: float, rng: np.random.Generator) -> Series:
    """Multiply all values by `level`.

    Examples
    --------
    >>> scale_amplitude(Series(np.ones((1, 1, 2), np.float32)), 4.0, np.random.default_rng(0)).values.tolist()
    [[[4.0, 4.0]]]
    """
    return Series(series.values * np.float32(level), series.valid)


def shift_time(series: Series, level: float, rng: np.random.Generator) -> Series:
    """Rotate each series to the right by a share `level` of its own length, all its channels alike.

    Examples
    --------
    >>> shift_time(Series(np.arange(4, dtype=np.float32)[None, None]), 0.25, np.random.default_rng(0)).values.tolist()
    [[[3.0, 0.0, 1.0, 2.0]]]
    """
    values, valid = series
    time = np.arange(values.shape[2])
    length = np.full(len(values), values.shape[2]) if valid is None else np.maximum(last_valid(valid).max(1), 1)
    offset = np.rint(level * length).astype(np.int64)
    # what stands behind the end of a shorter series stays there
    source = np.where(time < length[:, None], (time - offset[:, None]) % length[:, None], time)
    index = np.broadcast_to(source[:, None, :], values.shape)
    moved = np.take_along_axis(values, index, 2)
    return Series(moved, None if valid is None else np.take_along_axis(valid, index, 2))


def drop_channel(series: Series, level: float, rng: np.random.Generator) -> Series:
    """Mark the channel of the number `level` missing.

    Examples
    --------
    >>> drop_channel(Series(np.ones((1, 2, 1), np.float32)), 1.0, np.random.default_rng(0)).valid.tolist()
    [[[True], [False]]]
    """
    kept = np.ones(series.values.shape, bool) if series.valid is None else series.valid.copy()
    kept[:, int(level)] = False
    return Series(np.where(kept, series.values, np.float32(0)), kept)
