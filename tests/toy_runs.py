"""What the tests of training share: toy series, a small model of them, and runs."""

import csv

import numpy as np
import torch

from tsjepa.arrays import as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header
from tsjepa.training import Options, fit


def toy(n=40, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(1, 5, (n, channels, 1))
    phase = rng.uniform(0, 6, (n, channels, 1))
    return as_series(np.sin(2 * np.pi * frequency * np.arange(60) / 60 + phase).astype(np.float32))


def make(*overrides, objective="ema", series=None):
    series = toy() if series is None else series
    config = resolve(configure("tiny", objective, overrides), series.n_timepoints)
    header = Header(config, "toy", series.n_channels, series.n_timepoints)
    return build_model(config, series.n_channels), series, header


def run(out=None, epochs=4, stop_after=None, resume=False, objective="ema", overrides=()):
    model, series, header = make(f"train.epochs={epochs}", *overrides, objective=objective)

    def stop(progress):
        if stop_after is not None and progress.epoch > stop_after:
            raise RuntimeError("stopped")

    fit(model, series, header, Options(out, resume, "cpu", report=stop))
    return model


def rows(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def equal(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)
