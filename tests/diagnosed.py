"""What the tests of a diagnosis share: labelled series in two parts, and models of them."""

from typing import Any

import numpy as np

from tsjepa.arrays import Series, as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.evaluation.accuracy import Split


def waves(n: int, channels: int = 1, length: int = 60, missing: bool = False) -> tuple[Series, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, channels, length)).astype(np.float32)
    X[y == 1] += 2 * np.sin(np.arange(length) * 0.8, dtype=np.float32)
    if missing:
        X[0, :, 20:] = np.nan
        X[1, 0, 3] = np.nan
    return as_series(X), y


WORLD = ("encoder.causal=true", "normalize=none", "tokenizer.channels=mixed", "world.horizons=[1, 2]", "mask={}")


def models(channels: int = 1, **changed: Any) -> list[Any]:
    config = resolve(configure("tiny", changed.get("objective"), changed.get("settings", ())), 60)
    return [build_model(config, channels).eval(), build_model(config, channels).eval(), config]


def split_of(n: int = 40, channels: int = 1, missing: bool = False) -> Split:
    series, y = waves(n, channels, missing=missing)
    half = n // 2
    parts = [
        Series(series.values[part], None if series.valid is None else series.valid[part])
        for part in (slice(half), slice(half, n))
    ]
    return Split(parts[0], y[:half], parts[1], y[half:])
