"""Fits of what was fitted before: warm and cold starts, and fits that fail or are refused."""

import numpy as np
import pytest
import torch
from embedders import frame, series, tiny

from tsjepa import TrainingError, TSJEPAEmbedder, training


def test_warm_start_goes_on_and_a_cold_start_begins_again():
    X, _ = series()
    cold = tiny().fit(X)
    loss = cold.loss_
    assert cold.fit(X).loss_ == loss
    warm = tiny(warm_start=True).fit(X)
    weights = weights_of(warm)
    assert warm.fit(X).loss_ < loss
    assert any(not torch.equal(a, b) for a, b in zip(weights, weights_of(warm), strict=True))
    weights = weights_of(warm)
    for before, after in zip(weights, weights_of(warm.set_params(lr=1e-9).fit(X)), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="warm_start"):
        warm.fit(X[:, :1])


def weights_of(embedder):
    return [parameter.detach().clone() for parameter in embedder.model_.encoder.parameters()]


def test_a_warm_fit_takes_channels_by_name():
    X = frame(["flow", "heat"])
    swapped = X[["id", "time", "heat", "flow"]]
    one, other = (tiny(warm_start=True, overrides=["tokenizer.channels=mixed"]).fit(X) for _ in range(2))
    Z = one.fit(X).transform(X)
    np.testing.assert_array_equal(other.fit(swapped).transform(X), Z)
    assert other.feature_names_in_.tolist() == ["flow", "heat"]
    with pytest.raises(ValueError, match="X has no channel 'heat': its channels are flow, power"):
        other.fit(X.rename(columns={"heat": "power"}))
    np.testing.assert_array_equal(other.transform(swapped), Z)
    arrays = X[["flow", "heat"]].to_numpy().reshape(6, 60, 2).transpose(0, 2, 1)
    np.testing.assert_array_equal(other.fit(arrays).transform(swapped), other.transform(arrays))


@pytest.mark.filterwarnings("ignore::tsjepa.DataWarning")
@pytest.mark.parametrize("warm_start", [True, False])
@pytest.mark.parametrize("refused", [lambda X: X[:, 0], lambda X: X * np.nan, lambda X: frame(["a", "b", "c"])])
def test_a_fit_that_is_refused_leaves_what_was_fitted(refused, warm_start, tmp_path):
    log = frame(["flow", "heat"])
    embedder = tiny(warm_start=warm_start).fit(log)
    Z = embedder.transform(log)
    embedder.set_params(patch_length=None if warm_start else 60)
    with pytest.raises((ValueError, TrainingError)):
        embedder.fit(refused(series()[0]))
    embedder.save(tmp_path / "model.ckpt")
    for fitted in (embedder, TSJEPAEmbedder.load(tmp_path / "model.ckpt", device="cpu")):
        assert (fitted.n_features_in_, fitted.feature_names_in_.tolist()) == (2, ["flow", "heat"])
        np.testing.assert_array_equal(fitted.transform(log[["id", "time", "heat", "flow"]]), Z)


@pytest.mark.parametrize("error", [TrainingError, KeyboardInterrupt])
def test_a_warm_fit_that_fails_leaves_what_was_fitted(error, monkeypatch):
    X, _ = series()
    embedder = tiny(warm_start=True).fit(X)
    Z, config, verdict = embedder.transform(X), embedder.config_, embedder.verdict_
    if error is KeyboardInterrupt:
        fit_stages = training.fit_stages

        def interrupted(model, *rest):
            fit_stages(model, *rest)
            raise KeyboardInterrupt

        monkeypatch.setattr(training, "fit_stages", interrupted)
    with pytest.raises(error):
        embedder.set_params(lr=1e30 if error is TrainingError else 1e-3).fit(X)
    np.testing.assert_array_equal(embedder.transform(X), Z)
    assert (embedder.config_, embedder.verdict_, embedder.model_.training) == (config, verdict, False)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"overrides": ["normalize=none"]}, "normalize"),
        ({"overrides": ["predictor.dim=64"]}, "predictor"),
        ({"overrides": ["probe.levels=last"]}, "probe"),
        ({"n_patches": 3}, "tokenizer"),
        ({"objective": "vicreg", "mask_ratio": 0.4}, "mask, regularizer, projector, loss"),
    ],
)
def test_warm_start_keeps_all_but_how_it_trains(change, names):
    X, _ = series()
    embedder = tiny(warm_start=True).fit(X)
    embedder.set_params(max_epochs=1, lr=1e-4, batch_size=4).fit(X[..., :40]).fit(X)
    with pytest.raises(ValueError, match=f"warm_start goes on with a model, but with another {names}"):
        embedder.set_params(**change).fit(X)
