"""What the tests of heads and of fine-tuning share: labelled series, features of classes, and encoders."""

import numpy as np

from tsjepa.arrays import Series, as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.finetuning import Tuning
from tsjepa.sections import ProbeConfig

SHORT = Tuning(epochs=2, min_steps=4)
MEAN = ProbeConfig(pool=("mean",))


def waves(n=24, channels=2, length=60, seed=0):
    """Sines of two frequencies in noise, and which of the two."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    phase = rng.uniform(0, 2 * np.pi, (n, channels, 1))
    X = np.sin(2 * np.pi * (3 + 4 * y[:, None, None]) * np.arange(length) / length + phase)
    return as_series((X + 0.1 * rng.normal(size=X.shape)).astype(np.float32)), y


def gaps(series, seed=0):
    """Series with missing points, one channel and one whole case without any value."""
    valid = np.random.default_rng(seed).random(series.values.shape) > 0.2
    valid[3, 0], valid[5], valid[7, :, 40:] = False, False, False
    return Series(np.where(valid, series.values, np.float32(0)), valid)


def encoder_of(*overrides, channels=2, length=60):
    return build_model(resolve(configure("tiny", None, overrides), length), channels).encoder.eval()


def blobs(n=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (rng.normal(size=(n, 5)) + 1.5 * np.eye(classes, 5)[y]).astype(np.float32), y
