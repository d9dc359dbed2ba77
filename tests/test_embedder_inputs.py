"""What the estimator takes for series: lists, tensors, any length, gaps, names of channels; and what it refuses."""

import numpy as np
import pandas as pd
import pytest
import torch
from embedders import frame, series, tiny
from sketched import MEASURED
from sklearn.linear_model import RidgeClassifier

from tsjepa import DataWarning, TrainingError, TSJEPAEmbedder
from tsjepa.arrays import as_series
from tsjepa.embedding import embed


@pytest.mark.parametrize("overrides", [[], MEASURED])
def test_embedding_does_not_depend_on_the_rest_of_the_call(overrides):
    X, _ = series(n_cases=70)
    X[3, 0, 10:30] = np.nan
    X[7, 1, 50:] = np.nan
    embedder = tiny(overrides=overrides).fit(X)
    together = embedder.transform(X)
    for case in (0, 3, 7, 69):
        np.testing.assert_array_equal(embedder.transform(X[[case]])[0], together[case])
    np.testing.assert_array_equal(embedder.transform(X[::-1]), together[::-1])


def test_lists_and_padding_agree():
    X, _ = series(n_cases=6)
    short = [x[:, : 60 - 6 * i] for i, x in enumerate(X)]
    padded = np.full_like(X, np.nan)
    for i, x in enumerate(short):
        padded[i, :, : x.shape[1]] = x
    embedder = tiny().fit(X)
    np.testing.assert_array_equal(embedder.transform(short), embedder.transform(padded))


def test_fit_on_unequal_lengths_and_missing_values():
    X, y = series()
    ragged = [x[:, : 60 - (i % 5) * 6] for i, x in enumerate(X)]
    ragged[4] = np.where(np.arange(ragged[4].shape[1]) % 7 == 0, np.nan, ragged[4])
    Z = tiny().fit_transform(ragged)
    assert np.isfinite(Z).all()
    assert RidgeClassifier().fit(Z, y).score(Z, y) == 1


def test_series_without_values_and_constant_ones_are_defined_and_announced():
    X, _ = series()
    X[2], X[5, 1] = np.nan, 7.0
    with pytest.warns(DataWarning) as caught:
        Z = tiny().fit_transform(X)
    text = " ".join(str(w.message) for w in caught)
    assert "2 of 48 channels (2 a series) are without any value, the first in case 2" in text
    assert "1 of 48 channels (2 a series) is constant, the first in case 5" in text
    assert (Z[2] == 0).all()
    assert np.isfinite(Z).all()


def test_a_longer_or_shorter_series_than_in_fit_is_embedded():
    X, _ = series()
    embedder = tiny().fit(X)
    assert embedder.transform(np.concatenate([X, X], 2)).shape == embedder.transform(X[:, :, :33]).shape
    with pytest.warns(DataWarning, match="shorter than a patch"):
        assert np.isfinite(embedder.transform(X[:, :, :3])).all()


@pytest.mark.parametrize("given", [list, tuple, lambda X: [x.tolist() for x in X], lambda X: list(map(pd.Series, X))])
def test_a_list_holds_series_of_any_length_whatever_was_fitted(given):
    X = series(n_channels=1)[0][:, 0]
    for fitted in (tiny().fit(given(X)), tiny().fit(X), tiny().fit([*X[:-1], X[-1, :50]]), tiny().fit(X[:, None])):
        alone = fitted.transform(given(X[:1, :33]))
        np.testing.assert_array_equal(fitted.transform(given(X[:2, :33]))[:1], alone)
        np.testing.assert_array_equal(fitted.transform([X[0, :33], X[1]])[:1], alone)
        np.testing.assert_array_equal(fitted.transform(X[:1, None, :33]), alone)
    for table in (X[:, :33], pd.DataFrame(X[:, :33])):
        with pytest.raises(ValueError, match="X has 33 features, but TSJEPAEmbedder is expecting 60"):
            tiny().fit(given(X)).transform(table)


DATES = np.arange(24 * 60).reshape(24, 1, 60).astype("M8[s]")
NO_NUMBERS = {
    "dates": DATES,
    "durations": DATES - DATES[0, 0, 0],
    "text": DATES.astype(int).astype(str),
    "bytes": DATES.astype(int).astype("S"),
    "objects that are text": DATES.astype(int).astype(str).astype(object),
    "objects that are dates": DATES.astype(object),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_dates_and_text_are_no_values_however_they_are_given(name):
    X, fitted = NO_NUMBERS[name], tiny().fit(series(n_channels=1)[0])
    for form in (X, X[:, 0], list(X), list(X[:, 0]), [X[0], X[1, :, :30]], X[:, 0].tolist()):
        for use in (tiny().fit, fitted.transform):
            with pytest.raises(ValueError, match="X must hold real numbers, but "):
                use(form)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(dtype):
    X = series()[0].astype(dtype)
    embedder = tiny().fit(X)
    for form in (X, list(X), torch.from_numpy(X), list(torch.from_numpy(X))):
        assert embedder.transform(form).dtype == dtype
    for other in ([X[0], X[1].astype(np.float64)], [X[0].astype(np.float64), X[1]]):
        assert embedder.transform(other).dtype == np.float64
    assert tiny(max_epochs=1).fit_transform(pd.DataFrame(X[:, 0])).dtype == dtype


def test_tensors_of_any_kind_are_arrays():
    X = torch.from_numpy(series()[0]).bfloat16()
    embedder = tiny().fit(X)
    Z = embedder.transform(X.double().numpy())
    for form in (X, X.double().requires_grad_(), list(X), [X[0].requires_grad_(), *X[1:].half()]):
        np.testing.assert_array_equal(embedder.transform(form), Z)


def test_another_number_of_channels():
    X, _ = series()
    with pytest.raises(ValueError, match=r"X has 1 channel, but TSJEPAEmbedder was fitted with 2: .* or fit with"):
        tiny().fit(X).transform(X[:, :1])
    with pytest.raises(ValueError, match=r"was fitted with 2: .* give one series of 2 channels as X\[None\]\.$"):
        tiny().fit(X).transform(X[0])
    frame = pd.DataFrame({"flow": [X[0, 0], X[1, 0]]})  # of which this would not be right
    with pytest.raises(ValueError, match=r"X has 1 channel, .*was fitted with 2: give the same ones, or"):
        tiny().fit(X).transform(frame)
    pooled = tiny(overrides=["probe.channels=mean"]).fit(X)
    assert pooled.transform(X[:, :1]).shape == pooled.transform(X).shape
    mixed = tiny(overrides=["tokenizer.channels=mixed"]).fit(X)
    assert mixed.transform(X).shape == (24, 2 * 32)
    for more in ([], ["probe.channels=mean", "normalize=instance"]):  # which would change nothing
        with pytest.raises(ValueError, match=r"was fitted with 2: give the same ones\.$"):
            tiny(overrides=["tokenizer.channels=mixed", *more]).fit(X).transform(X[:, :1])


@pytest.mark.filterwarnings("error::tsjepa.DataWarning")
@pytest.mark.parametrize("how", ["concat", "mean"])
def test_another_number_of_channels_has_a_sketch_of_the_same_length(how):
    X, many = series(n_channels=3)[0], series(n_channels=8)[0]
    three = frame(["flow", "heat", "load"])
    for train in (X, three):
        embedder = tiny(overrides=["probe.sketch=256", f"probe.channels={how}"]).fit(train)
        expected = embed(embedder.model_.encoder, as_series(many), embedder.config_.probe)
        if how == "mean":
            found = embedder.transform(many)
        else:
            sentence = r"^X has 8 channels, but fit had 3: sketches of concat compare with each other then, and not wi"
            with pytest.warns(DataWarning, match=sentence):
                found = embedder.transform(many)
        assert found.shape == (24, 256)
        np.testing.assert_array_equal(found, expected)
    if how == "concat":  # by their names channels have their places, so that none may be missing
        with pytest.raises(ValueError, match=r"^X has no channel 'heat': its channels are flow, load"):
            embedder.transform(three.drop(columns="heat"))


def test_what_has_one_channel_is_no_series_of_several():
    X, _ = series()
    embedder = tiny().fit(X)
    for one in (X[:, 0], pd.DataFrame(X[:, 0]), list(X[:, 0]), X[0]):
        with pytest.raises(ValueError, match="X has 1 channel, but TSJEPAEmbedder was fitted with 2"):
            embedder.transform(one)
    assert tiny(overrides=("probe.channels=mean",)).fit(X).transform(X[:, 0]).shape == (24, 64)


@pytest.mark.filterwarnings("ignore::tsjepa.DataWarning")
def test_a_value_beyond_all_bounds_leaves_numbers():
    X, _ = series()
    X[:, 1] = 0.0  # a sensor that stood still
    for recipe, overrides in (("tiny", ("normalize=train",)), ("default", ())):
        embedder, broken = TSJEPAEmbedder(recipe, max_epochs=1, random_state=0, overrides=overrides).fit(X), X.copy()
        broken[0, 1, 30], broken[1, 0, 3] = 9.96921e36, -3.4e38
        Z = embedder.transform(broken)
        assert np.isfinite(Z).all()
        np.testing.assert_array_equal(Z[2:], embedder.transform(X)[2:])


def test_infinite_values_are_refused_with_their_place():
    X, _ = series()
    X[4, 1, 7] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        tiny().fit(X)
    with pytest.raises(ValueError, match="case 4, channel 1, time point 7"):
        tiny().fit([*X[:4], X[4][:, :50]])


@pytest.mark.filterwarnings("ignore::tsjepa.DataWarning")
@pytest.mark.parametrize("max_epochs", [0, 1])
@pytest.mark.parametrize(
    ("factor", "sentence"),
    [(np.nan, "no series holds a single value"), (1e30, r"in the series \(case .*\) is too large for normalize=none")],
)
def test_what_cannot_be_trained_on_is_refused_untrained_too(factor, sentence, max_epochs):
    parameters = {"max_epochs": max_epochs, "overrides": ["normalize=none"], "device": "cpu"}
    with pytest.raises(TrainingError, match=sentence):
        TSJEPAEmbedder("default", **parameters).fit(series()[0] * factor)


def test_a_dead_channel_is_called_by_its_name():
    X = frame(["flow", "power", "speed"])
    X["power"], X["speed"] = 3.0, np.nan
    with pytest.warns(DataWarning) as caught:
        tiny().fit(X)
    text = " ".join(str(w.message) for w in caught)
    assert "6 of 18 channels (3 a series) are constant, power in every case" in text
    assert "6 of 18 channels (3 a series) are without any value, speed in every case" in text
