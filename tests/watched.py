"""What the tests of watched runs share: toy series of two classes, and a small model of them."""

import numpy as np

from tsjepa.arrays import as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header


def toy(n=64, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    time = np.arange(60) / 60
    phase = rng.uniform(0, 6, (n, channels, 1))
    X = np.sin(2 * np.pi * (2 + 3 * y[:, None, None]) * time + phase) + 0.1 * rng.normal(size=(n, channels, 60))
    return as_series(X.astype(np.float32)), y


def make(objective, *overrides, channels=1):
    config = resolve(configure("tiny", objective, overrides), 60)
    return build_model(config, channels), Header(config, "toy", channels, 60)
