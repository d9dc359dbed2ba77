"""What the tests of sketches share: a small configuration that is read as one, and series for it."""

import numpy as np

from tsjepa.arrays import Series
from tsjepa.build import configure, resolve
from tsjepa.config import Config

# Settings under which each part of a reading that is measured on series has a say: statistics of channels, a sketch
MEASURED = ["normalize=train", "probe.shares=true", "probe.sketch=64", "probe.scale_features=true", "train.epochs=1"]
SKETCHED = ["probe.levels=blocks", "probe.pool=[mean]", "probe.shares=true", "probe.sketch=64"]


def config_of(*overrides: str) -> Config:
    """Return the configuration, for series of 60 points."""
    return resolve(configure("tiny", None, [*SKETCHED, *overrides]), 60)


def series_of(n_cases: int = 9, channels: int = 1, seed: int = 0) -> Series:
    """Return normal noise [n_cases, channels, 60]."""
    return Series(np.random.default_rng(seed).normal(size=(n_cases, channels, 60)).astype(np.float32))
