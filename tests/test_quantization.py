"""FordA's classes differ in how their values were rounded when the archive was made; no recipe may read that."""

import os

import numpy as np
import pytest
from numpy.typing import NDArray

from tsjepa import Options, as_series, build_model, configure, fit_stages, resolve
from tsjepa.calibrator import calibrate
from tsjepa.checkpoint import Header
from tsjepa.config import recipe_names
from tsjepa.datasets import load
from tsjepa.embedding import embed
from tsjepa.probe import probe

pytestmark = pytest.mark.skipif("TSJEPA_DATA" not in os.environ, reason="TSJEPA_DATA names no folder of data sets")
# Values of the rounded class are multiples of more than 5e-5
NOISE = 1e-6
MASKED = [name for name in recipe_names() if not name.startswith("lewm")]
# those whose encoders differ before training, or in how they are read
UNLIKE = {
    (config.tokenizer, config.encoder, config.normalize, config.probe): name
    for name in reversed(MASKED)
    for config in [configure(name)]
}


def noisy(X: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    return X + NOISE * np.random.default_rng(seed).standard_normal(X.shape)


def distinct(X: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of distinct values of each series."""
    return np.array([len(np.unique(x)) / x.size for x in X])


def test_the_leak_is_there_and_noise_far_below_a_step_removes_it() -> None:
    data = load("FordA")
    rounded = np.asarray(data.y_train) == 0
    share = distinct(data.X_train)
    assert share[rounded].max() < 0.95 < share[~rounded].min()
    steps = [np.diff(np.unique(x)).min() for x in data.X_train[rounded]]
    assert np.median(steps) > 50 * NOISE
    assert distinct(noisy(data.X_train, 0)).min() == 1


def accuracies(recipe: str, trained_for: int) -> tuple[float, float]:
    """Return the probe's accuracy on FordA as it is and with noise, the encoder trained on the former."""
    data = load("FordA")
    train = as_series(data.X_train)
    overrides = [f"train.epochs={max(trained_for, 1)}"]
    config = resolve(configure(recipe, overrides=overrides), train.n_timepoints)
    model = build_model(config, 1).eval()
    if trained_for:
        header = Header(config, "FordA", 1, train.n_timepoints)
        fit_stages(model, train, header, Options(device="cpu", diagnose=False))
    calibrate(model.encoder, train, config.probe)
    found = []
    for X_train, X_test in ((data.X_train, data.X_test), (noisy(data.X_train, 1), noisy(data.X_test, 2))):
        Z_train, Z_test = (embed(model.encoder, as_series(X), config.probe) for X in (X_train, X_test))
        found.append(probe(Z_train, data.y_train, Z_test, data.y_test)[0].accuracy)
    return found[0], found[1]


@pytest.mark.parametrize("recipe", UNLIKE.values())
def test_no_untrained_recipe_sees_it(recipe: str) -> None:
    clean, spoilt = accuracies(recipe, 0)
    assert abs(clean - spoilt) <= 0.01


@pytest.mark.parametrize("recipe", ["default", "ts-jepa-paper"])
def test_no_trained_recipe_sees_it(recipe: str) -> None:
    clean, spoilt = accuracies(recipe, 3)
    assert abs(clean - spoilt) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("recipe", MASKED)
def test_no_recipe_sees_it_after_training(recipe: str) -> None:
    clean, spoilt = accuracies(recipe, 20)
    assert abs(clean - spoilt) <= 0.01
