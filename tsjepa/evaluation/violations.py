"""Violation of expectation: events that cannot be, and harmless ones, put into normal logs.

Each event takes a stretch of a log [C, T] and returns it as if the event had begun at a row and lasted to the end.
Values stay in the range of the sensor wherever the event allows it: what cannot be is the course or the combination of
values, and not their size. Inputs, which a plant is told, stay as they are.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
JUMP = (4.0, 8.0)
LEVEL, RAMP, NOISE = 0.5, 64, 0.1


class Site(NamedTuple):
    """Where an event goes.

    Attributes
    ----------
    x : float64 array of shape (C, T)
        The stretch.
    start : int
        Its first row that the event changes.
    log : float64 array of shape (C, n)
        The normal log that it was cut from.
    measured : int64 array
        The channels that are no inputs.
    """

    x: Floats
    start: int
    log: Floats
    measured: NDArray[np.int64]


Event = Callable[[Site, np.random.Generator], Floats]


def jump(site: Site, rng: np.random.Generator) -> Floats:
    """Put one sensor off by 4 to 8 times its scatter from one row to the next.

    Of a sensor that moves smoothly these are a few hundredths of its range: a step that is not in its course.
    """
    x, channel = site.x.copy(), rng.choice(site.measured)
    x[channel, site.start :] += rng.choice([-1, 1]) * rng.uniform(*JUMP) * scatter(site.log)[channel]
    return x


def frozen(site: Site, rng: np.random.Generator) -> Floats:
    """Let one sensor give its last value again and again."""
    x, channel = site.x.copy(), rng.choice(site.measured)
    x[channel, site.start :] = x[channel, site.start - 1]
    return x


def swapped(site: Site, rng: np.random.Generator) -> Floats:
    """Let two sensors give each other's values, each in its own level and scale."""
    x = site.x.copy()
    one, other = rng.choice(site.measured, 2, replace=False)
    mean, scale = site.log.mean(1), site.log.std(1)
    white = (site.x[[one, other], site.start :] - mean[[one, other], None]) / scale[[one, other], None]
    x[[other, one], site.start :] = white * scale[[other, one], None] + mean[[other, one], None]
    return x


def backwards(site: Site, rng: np.random.Generator) -> Floats:
    """Let all sensors run backwards in time from where they are."""
    x = site.x.copy()
    length = x.shape[1] - site.start
    x[site.measured, site.start :] = site.x[site.measured, site.start - length : site.start][:, ::-1]
    return x


def replayed(site: Site, rng: np.random.Generator) -> Floats:
    """Let all sensors give what they gave at another time."""
    x = site.x.copy()
    length = x.shape[1] - site.start
    at = rng.integers(0, site.log.shape[1] - length)
    x[site.measured, site.start :] = site.log[site.measured, at : at + length]
    return x


def pair(site: Site, rng: np.random.Generator) -> Floats:
    """Mirror one sensor at its mean: nearly all of its values may be, but not beside those of the others."""
    x, channel = site.x.copy(), rng.choice(site.measured)
    x[channel, site.start :] = 2 * site.log[channel].mean() - site.x[channel, site.start :]
    return x


def level(site: Site, rng: np.random.Generator) -> Floats:
    """Bring one sensor to another level over 64 rows: by up to half of its usual deviation."""
    ramp = np.clip((np.arange(site.x.shape[1]) - site.start) / RAMP, 0, 1)
    x, channel = site.x.copy(), rng.choice(site.measured)
    x[channel] += rng.uniform(-LEVEL, LEVEL) * site.log[channel].std() * ramp
    return x


def noise(site: Site, rng: np.random.Generator) -> Floats:
    """Add noise to all sensors: a tenth of their scatter from one row to the next."""
    x = site.x.copy()
    part = x[site.measured, site.start :]
    x[site.measured, site.start :] += NOISE * scatter(site.log)[site.measured, None] * rng.normal(size=part.shape)
    return x


def nothing(site: Site, rng: np.random.Generator) -> Floats:
    """Leave all as it is: what is noticed here is a false alarm."""
    return site.x.copy()


IMPOSSIBLE: dict[str, Event] = {
    "jump": jump,
    "frozen sensor": frozen,
    "swapped channels": swapped,
    "reversed time": backwards,
    "replayed stretch": replayed,
    "impossible pair": pair,
}
HARMLESS: dict[str, Event] = {"another normal level": level, "allowed noise": noise, "nothing": nothing}


def scatter(log: Floats) -> Floats:
    """Return the deviation of each channel of a log [C, n] from one row to the next, over the root of 2.

    Examples
    --------
    >>> scatter(np.random.default_rng(0).normal(size=(1, 10_000))).round(1)
    array([1.])
    """
    return np.diff(log, axis=1).std(1) / np.sqrt(2)


def sites(
    log: Floats, measured: NDArray[np.int64], n: int, before: int, length: int, seed: int | np.random.Generator
) -> list[Site]:
    """Return n places in a log [C, T] for events of some rows, each behind `before` normal ones.

    Examples
    --------
    >>> [site.x.shape for site in sites(np.zeros((2, 100)), np.arange(2), 2, before=20, length=10, seed=0)]
    [(2, 30), (2, 30)]
    """
    starts = np.random.default_rng(seed).integers(0, log.shape[1] - before - length + 1, n)
    return [Site(log[:, at : at + before + length], before, log, measured) for at in starts]
