"""What the tests of the estimator share: labelled series, a log of named channels, and a small embedder."""

import numpy as np
import pandas as pd

from tsjepa import TSJEPAEmbedder


def series(n_cases=24, n_channels=2, n_timepoints=60, seed=0):
    """Sines of two frequencies in noise, and which of the two."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_cases) % 2
    time = np.arange(n_timepoints) / n_timepoints
    phase = rng.uniform(0, 2 * np.pi, (n_cases, n_channels, 1))
    X = np.sin(2 * np.pi * (3 + 4 * y[:, None, None]) * time + phase) + 0.1 * rng.normal(size=(*phase.shape[:2], 60))
    return X, y


def tiny(**parameters):
    return TSJEPAEmbedder("tiny", **{"max_epochs": 2, "random_state": 0, "device": "cpu", **parameters})


def frame(columns, seed=0):
    rng = np.random.default_rng(seed)
    n, length = 6, 60
    log = {"id": np.repeat(np.arange(n), length), "time": np.tile(np.arange(length), n)}
    return pd.DataFrame(log | {name: rng.standard_normal(n * length) * (i + 1) for i, name in enumerate(columns)})
