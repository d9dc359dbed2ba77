import logging
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tsjepa import CheckpointError, ConfigError, DataWarning, TrainingError, TSJEPAEmbedder, training
from tsjepa.checkpoint import load_checkpoint


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


@pytest.mark.filterwarnings("ignore::tsjepa.DataWarning")
@pytest.mark.filterwarnings("ignore:Skipping check check_array_api_input")
@parametrize_with_checks([TSJEPAEmbedder("tiny", max_epochs=1)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_three_dimensions_go_through_scikit_learn():
    X, y = series()
    pipeline = make_pipeline(tiny(), StandardScaler(), LogisticRegression())
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9
    search = GridSearchCV(make_pipeline(tiny(), RidgeClassifier()), {"tsjepaembedder__mask_ratio": [0.3, 0.6]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.9


def test_two_dimensions_are_univariate_cases():
    X, _ = series(n_channels=1)
    flat, deep = tiny().fit(X[:, 0]), tiny().fit(X)
    np.testing.assert_array_equal(flat.transform(X[:, 0]), deep.transform(X))


def test_same_seed_same_embedding_and_other_seed_another():
    X, _ = series()
    first = tiny(random_state=3).fit_transform(X)
    np.testing.assert_array_equal(first, tiny(random_state=3).fit_transform(X))
    assert not np.array_equal(first, tiny(random_state=4).fit_transform(X))


def test_torch_and_numpy_generators_are_left_alone():
    X, _ = series()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 (the global generator is what is tested)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    tiny().fit_transform(X)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_embedding_does_not_depend_on_the_rest_of_the_call():
    X, _ = series(n_cases=70)
    X[3, 0, 10:30] = np.nan
    X[7, 1, 50:] = np.nan
    embedder = tiny().fit(X)
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
    assert "2 of 48 channels are without any value, the first in case 2" in text
    assert "1 of 48 channels is constant, the first in case 5" in text
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
    assert tiny(max_epochs=1).fit_transform(pd.DataFrame(X[:, 0])).dtype == dtype


def test_tensors_of_any_kind_are_arrays():
    X = torch.from_numpy(series()[0]).bfloat16()
    embedder = tiny().fit(X)
    Z = embedder.transform(X.double().numpy())
    for form in (X, X.double().requires_grad_(), list(X), [X[0].requires_grad_(), *X[1:].half()]):
        np.testing.assert_array_equal(embedder.transform(form), Z)


def test_set_output_and_names():
    X, _ = series()
    embedder = tiny().set_output(transform="pandas").fit(X)
    frame = embedder.transform(X)
    assert list(frame.columns) == list(embedder.get_feature_names_out())
    assert frame.columns[0] == "tsjepaembedder0"
    assert frame.shape == (24, 2 * 2 * 32)


def test_clone_and_pickle_keep_parameters_and_embeddings():
    X, _ = series()
    embedder = tiny(objective="sigreg", mask_ratio=0.4, overrides=["encoder.depth=2"]).fit(X)
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.transform(X), embedder.transform(X))
    copy = clone(embedder)
    assert copy.get_params() == embedder.get_params()
    assert not hasattr(copy, "model_")


def test_parameters_reach_the_configuration():
    X, _ = series()
    embedder = tiny(
        objective="sigreg", masking="block", mask_ratio=0.4, patch_length=12, batch_size=8, lr=1e-4, max_epochs=1
    ).fit(X)
    config = embedder.config_
    assert (config.target.kind, config.regularizer.kind) == ("self", "sigreg")
    assert (config.mask.kind, config.mask.ratio, config.tokenizer.patch_length) == ("block", 0.4, 12)
    assert (config.train.batch_size, config.train.lr, config.train.epochs) == (8, 1e-4, 1)


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


def test_save_and_load(tmp_path):
    X, _ = series()
    embedder = tiny().fit(X)
    embedder.save(tmp_path / "model.ckpt")
    loaded = TSJEPAEmbedder.load(tmp_path / "model.ckpt", device="cpu")
    np.testing.assert_array_equal(loaded.transform(X), embedder.transform(X))
    assert loaded.config_ == embedder.config_
    assert [p.name for p in tmp_path.iterdir()] == ["model.ckpt"]
    assert clone(loaded).fit(X).config_.tokenizer == embedder.config_.tokenizer


def test_load_refuses_what_is_no_checkpoint(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"model\.ckpt cannot be read"):
        TSJEPAEmbedder.load(tmp_path / "model.ckpt")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"recipe": "tinny"}, "did you mean tiny"),
        ({"objective": "sigrek"}, "did you mean sigreg"),
        ({"masking": "blocks"}, "mask.kind"),
        ({"mask_ratio": 1.0}, "mask.ratio"),
        ({"mask_ratio": 0.01}, "leaves nothing to predict"),
        ({"patch_length": 60}, "shorter tokenizer.patch_length"),
        ({"overrides": ["encoder.dmi=3"]}, "did you mean encoder.dim"),
        ({"device": "cuda:9"}, "device"),
        ({"overrides": "encoder.dim=8"}, r"overrides is a list of settings, but is one text: give \['encoder.dim=8'\]"),
    ],
)
def test_bad_parameters_are_said_in_one_sentence(parameters, sentence):
    X, _ = series()
    with pytest.raises((ConfigError, ValueError), match=sentence):
        TSJEPAEmbedder(**{"recipe": "tiny", "max_epochs": 1, **parameters}).fit(X)


def test_no_overrides_and_a_device_of_torch_are_parameters_too():
    X, _ = series()
    Z = tiny(overrides=None, device=torch.device("cpu")).fit_transform(X)
    np.testing.assert_array_equal(Z, tiny().fit_transform(X))


def test_what_is_said_of_the_data_is_said_at_the_line_of_the_user():
    X, _ = series()
    X[0, 1] = 3.0
    fitted, pipeline = tiny(), make_pipeline(tiny(), StandardScaler())
    log = frame(["flow", "heat"]).assign(label=1)
    for use in (fitted.fit, fitted.transform, tiny().fit_transform, pipeline.fit_transform):
        with pytest.warns(DataWarning, match="constant") as caught:
            use(X)
        assert {w.filename for w in caught} == {__file__}
    for use in (tiny().fit, tiny().fit_transform):
        with pytest.warns(DataWarning, match="left out: 'label'") as caught:
            use(log)
        assert {w.filename for w in caught} == {__file__}


def test_another_number_of_channels():
    X, _ = series()
    with pytest.raises(ValueError, match="X has 1 channels, but TSJEPAEmbedder was fitted with 2"):
        tiny().fit(X).transform(X[:, :1])
    pooled = tiny(overrides=["probe.channels=mean"]).fit(X)
    assert pooled.transform(X[:, :1]).shape == pooled.transform(X).shape
    mixed = tiny(overrides=["tokenizer.channels=mixed"]).fit(X)
    assert mixed.transform(X).shape == (24, 2 * 32)
    with pytest.raises(ValueError, match="was fitted with 2"):
        mixed.transform(X[:, :1])


def test_what_has_one_channel_is_no_series_of_several():
    X, _ = series()
    embedder = tiny().fit(X)
    for one in (X[:, 0], pd.DataFrame(X[:, 0]), list(X[:, 0]), X[0]):
        with pytest.raises(ValueError, match="X has 1 channels, but TSJEPAEmbedder was fitted with 2"):
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


def test_fits_in_threads_are_those_that_come_one_after_another():
    X, _ = series()
    before, filters = torch.get_rng_state(), list(warnings.filters)

    def embedded(seed):
        return tiny(random_state=seed).fit(X).transform(X)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(embedded, range(4)))
    for seed, Z in enumerate(together):
        np.testing.assert_array_equal(Z, embedded(seed))
    assert torch.equal(torch.get_rng_state(), before)
    assert warnings.filters == filters


def test_what_is_one_for_all_of_a_process_is_left_as_it_was():
    X, _ = series()
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with torch.no_grad():
        tiny().fit(X)
        assert not torch.is_grad_enabled()
    assert [logger.level for logger in loggers] == levels


def test_infinite_values_are_refused_with_their_place():
    X, _ = series()
    X[4, 1, 7] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        tiny().fit(X)
    with pytest.raises(ValueError, match="case 4, channel 1, time point 7"):
        tiny().fit([*X[:4], X[4][:, :50]])


def test_nothing_is_written_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, _ = series()
    tiny().fit_transform(X)
    assert not list(tmp_path.iterdir())


def test_no_warning_on_ordinary_data(recwarn):
    X, _ = series()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny().fit_transform(X)
    assert not recwarn.list


def test_n_jobs_is_given_back():
    X, _ = series()
    before = torch.get_num_threads()
    tiny(n_jobs=1).fit_transform(X)
    assert torch.get_num_threads() == before


def test_verbose_writes_a_line_an_epoch_to_standard_error(capsys):
    X, _ = series()
    tiny(verbose=1).fit(X)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(":")[0] for line in captured.err.splitlines()] == ["epoch 1/2", "epoch 2/2"]


def frame(columns, seed=0):
    rng = np.random.default_rng(seed)
    n, length = 6, 60
    log = {"id": np.repeat(np.arange(n), length), "time": np.tile(np.arange(length), n)}
    return pd.DataFrame(log | {name: rng.standard_normal(n * length) * (i + 1) for i, name in enumerate(columns)})


def test_a_checkpoint_keeps_the_names_of_channels(tmp_path):
    X = frame(["flow", "power", "speed"])
    embedder = tiny().fit(X)
    embedder.save(tmp_path / "model.ckpt")
    assert load_checkpoint(tmp_path / "model.ckpt")[1].channel_names == ("flow", "power", "speed")
    loaded = TSJEPAEmbedder.load(tmp_path / "model.ckpt")
    assert loaded.feature_names_in_.tolist() == ["flow", "power", "speed"]
    shuffled = X[["id", "time", "speed", "flow", "power"]]
    np.testing.assert_array_equal(loaded.transform(shuffled), embedder.transform(X))
    with pytest.raises(ValueError, match="no channel 'speed'"):
        loaded.transform(X.drop(columns="speed"))
    tiny().fit(series()[0]).save(tmp_path / "model.ckpt")
    assert load_checkpoint(tmp_path / "model.ckpt")[1].channel_names is None


def test_a_dead_channel_is_called_by_its_name():
    X = frame(["flow", "power", "speed"])
    X["power"], X["speed"] = 3.0, np.nan
    with pytest.warns(DataWarning) as caught:
        tiny().fit(X)
    text = " ".join(str(w.message) for w in caught)
    assert "6 of 18 channels are constant, power in every case" in text
    assert "6 of 18 channels are without any value, speed in every case" in text


def test_scale_features_are_counted_and_told_apart():
    X, _ = series()
    embedder = tiny(overrides=["probe.scale_features=true"]).fit(X)
    plain = tiny().fit(X)
    assert len(embedder.get_feature_names_out()) == len(plain.get_feature_names_out()) + 4
    assert embedder.transform(X).shape == (24, len(embedder.get_feature_names_out()))
    louder = embedder.transform(8 * X).reshape(24, 2, -1)[:, :, -1] - embedder.transform(X).reshape(24, 2, -1)[:, :, -1]
    np.testing.assert_allclose(louder, np.log(8), rtol=1e-5)


def test_statistics_of_the_training_series_keep_the_level():
    X, _ = series()
    embedder = tiny(overrides=["normalize=train"]).fit(X)
    statistics = embedder.model_.encoder.statistics
    np.testing.assert_allclose(statistics.mean, X.mean((0, 2)), atol=1e-5)
    np.testing.assert_allclose(statistics.scale, X.std((0, 2)), rtol=1e-5)
    instance = tiny().fit(X)
    moved = [np.abs(each.transform(X + 3) - each.transform(X)).max() for each in (embedder, instance)]
    assert moved[0] > 100 * moved[1]
    pooled = tiny(overrides=["normalize=train", "probe.channels=mean"]).fit(X)
    with pytest.raises(ValueError, match=r"was fitted with 2.*normalize=instance"):
        pooled.transform(X[:, :1])


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
