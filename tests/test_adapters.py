import os
from functools import cache
from pathlib import Path

import aeon.datasets
import numpy as np
import pandas as pd
import pytest
from aeon.pipeline import make_pipeline as aeon_pipeline
from aeon.testing.estimator_checking import check_estimator as check_aeon
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.linear_model import RidgeClassifier
from sktime.classification.compose import SklearnClassifierPipeline
from sktime.datatypes import convert
from sktime.utils.estimator_checks import check_estimator as check_sktime

from tsjepa import TSJEPAEmbedder
from tsjepa.adapters.aeon import TSJEPACollectionTransformer
from tsjepa.adapters.sktime import TSJEPAPanelTransformer
from tsjepa.arrays import Series
from tsjepa.embedding import embed

TINY = {"recipe": "tiny", "max_epochs": 1, "n_patches": 4, "device": "cpu", "random_state": 0, "n_jobs": 1}
ADAPTERS = [TSJEPACollectionTransformer, TSJEPAPanelTransformer]
SETS = {
    "BasicMotions": "multivariate",
    "JapaneseVowels": "multivariate, unequal",
    "PLAID": "unequal",
    "AllGestureWiimoteX": "unequal",
    "DodgerLoopDay": "missing",
}
# both say what they saw: aeon's of nearly constant channels, the embedder's of very short series and constant channels
quiet = pytest.mark.filterwarnings("ignore::tsjepa.DataWarning", "ignore:Data seen by instance of")


def load(name, split, n_cases=30):
    """Return a few cases, from aeon's wheel or the folder that TSJEPA_DATA names."""
    folder = None
    if name not in ("BasicMotions", "JapaneseVowels"):
        folder = os.environ.get("TSJEPA_DATA")
        if folder is None or not Path(folder, name).is_dir():
            pytest.skip(f"TSJEPA_DATA names no folder with {name}")
    X, y = aeon.datasets.load_classification(name, split=split, extract_path=folder)
    chosen = np.random.default_rng(0).permutation(len(y))[:n_cases]
    return [np.asarray(X[i]) for i in chosen] if isinstance(X, list) else X[chosen], y[chosen]


def as_multiindex(X):
    """Return a collection as sktime's pd-multiindex, whose series may differ in length."""
    return convert([pd.DataFrame(x.T).add_prefix("c") for x in X], "df-list", "pd-multiindex", "Panel")


def majority(y):
    return np.unique(y, return_counts=True)[1].max() / len(y)


def test_aeons_own_checks_pass():
    results = check_aeon(TSJEPACollectionTransformer)
    assert {name: result for name, result in results.items() if result != "PASSED"} == {}
    assert len(results) >= 26


@pytest.mark.filterwarnings("ignore:X is one series:tsjepa.DataWarning")  # as many of its checks fit on
def test_sktimes_own_checks_pass(monkeypatch):
    # its checks of n_jobs=-1 fit dozens of times, which takes minutes where other processes hold the cores;
    # that the number of threads changes nothing is tested below
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    results = check_sktime(TSJEPAPanelTransformer, verbose=False)
    assert {name: result for name, result in results.items() if result != "PASSED"} == {}
    assert len(results) >= 310


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_two_threads_embed_as_one(adapter):
    X, _ = load("BasicMotions", "train", 8)
    one, two = (np.asarray(adapter(**{**TINY, "n_jobs": n}).fit_transform(X)) for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-3)  # sums in another order, through an epoch


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_parameter_reaches_the_embedder(adapter):
    given_to_it = {**TINY, "objective": "sigreg", "masking": "block", "mask_ratio": 0.4, "lr": 0.01, "batch_size": 8}
    plain = TSJEPAEmbedder(**given_to_it).get_params()
    assert adapter(**given_to_it).get_params() == {key: value for key, value in plain.items() if key != "warm_start"}


@quiet
@pytest.mark.parametrize("name", SETS)
def test_embeddings_are_the_plain_embedders(name):
    X, _ = load(name, "train", 12)
    plain = TSJEPAEmbedder(**TINY).fit_transform(X)
    np.testing.assert_array_equal(TSJEPACollectionTransformer(**TINY).fit_transform(X), plain)
    np.testing.assert_array_equal(TSJEPAPanelTransformer(**TINY).fit_transform(as_multiindex(X)), plain)


@quiet
@pytest.mark.parametrize("name", SETS)
def test_pipelines_of_aeon_fit_and_predict(name):
    X, y = load(name, "train")
    pipeline = aeon_pipeline(TSJEPACollectionTransformer(**TINY), RidgeClassifier()).fit(X, y)
    assert set(pipeline.predict(load(name, "test")[0])) <= set(y)
    assert np.mean(pipeline.predict(X) == y) > majority(y)


@quiet
@pytest.mark.parametrize("name", SETS)
def test_pipelines_of_sktime_fit_and_predict(name):
    X, y = load(name, "train")
    pipeline = TSJEPAPanelTransformer(**TINY) * RidgeClassifier()
    assert isinstance(pipeline, SklearnClassifierPipeline)
    pipeline.fit(as_multiindex(X), y)
    assert set(pipeline.predict(as_multiindex(load(name, "test")[0]))) <= set(y)
    assert np.mean(pipeline.predict(as_multiindex(X)) == y) > majority(y)


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_aeon_has_arrays_whatever_scikit_learn_is_set_to(output):
    X, y = load("BasicMotions", "train", 12)
    Z = TSJEPACollectionTransformer(**TINY).fit_transform(X)
    with config_context(transform_output=output):
        found = TSJEPACollectionTransformer(**TINY).fit_transform(X)
        aeon_pipeline(TSJEPACollectionTransformer(**TINY), RidgeClassifier()).fit(X, y).predict(X)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, Z)


@pytest.mark.parametrize("mtype", ["nested_univ", "pd-multiindex", "df-list", "numpy3D"])
def test_sktime_takes_every_panel_and_keeps_the_names_of_series(mtype):
    X, _ = load("BasicMotions", "train", 6)
    frame = convert(X, "numpy3D", mtype, "Panel")
    if mtype in ("nested_univ", "pd-multiindex"):
        names = dict(enumerate("fedcba"))
        frame = frame.rename(index=names, level=0) if mtype == "pd-multiindex" else frame.rename(index=names)
    Z = TSJEPAPanelTransformer(**TINY).fit_transform(frame)
    assert list(Z.index) == (list("fedcba") if mtype in ("nested_univ", "pd-multiindex") else list(range(6)))
    assert Z.columns[0] == "tsjepaembedder0"
    np.testing.assert_array_equal(Z, TSJEPAEmbedder(**TINY).fit_transform(X))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_embedder_behind_it_saves_a_checkpoint(adapter, tmp_path):
    X, _ = load("BasicMotions", "train", 6)
    fitted = adapter(**TINY).fit(X)
    fitted.embedder_.save(tmp_path / "model.ckpt")
    loaded = TSJEPAEmbedder.load(tmp_path / "model.ckpt", device="cpu")
    np.testing.assert_allclose(loaded.transform(X), fitted.transform(X), atol=1e-6)


def embed_series(tokenizer, values, valid):
    fitted = embedders(tokenizer)
    return embed(fitted.model_.encoder, Series(values, valid), fitted.config_.probe)


@cache
def embedders(tokenizer):
    X = np.random.default_rng(0).normal(size=(8, 2, 40))
    return TSJEPAEmbedder(**TINY, overrides=[f"tokenizer.kind={tokenizer}"]).fit(X)


def measured(seed, length, missing):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(1, 2, length)).astype(np.float32)
    return values, rng.random(values.shape) >= missing, rng


DRAWN = {"seed": st.integers(0, 1000), "length": st.integers(12, 40), "missing": st.floats(0, 0.8)}


@pytest.mark.parametrize("tokenizer", ["linear", "spectral", "conv"])
@given(**DRAWN, companions=st.integers(0, 3), filler=st.sampled_from([-1.0, 1e6, np.nan]))
@settings(max_examples=20, deadline=None)
def test_companions_and_missing_values_change_nothing(tokenizer, seed, length, missing, companions, filler):
    values, valid, rng = measured(seed, length, missing)
    others = rng.normal(size=(companions, *values.shape[1:])).astype(np.float32)
    seen = np.concatenate([valid, rng.random(others.shape) >= 0.2])
    changed = np.where(seen, np.concatenate([values, others]), np.float32(filler))
    alone = embed_series(tokenizer, np.where(valid, values, 0), valid)
    np.testing.assert_array_equal(embed_series(tokenizer, changed, seen)[0], alone[0])


@pytest.mark.parametrize("tokenizer", ["linear", "spectral", "conv"])
@given(**DRAWN, padding=st.integers(1, 25))
@settings(max_examples=20, deadline=None, phases=[Phase.generate])
def test_padding_changes_nothing(tokenizer, seed, length, missing, padding):
    values, valid, _ = measured(seed, length, missing)
    longer = [(0, 0), (0, 0), (0, padding)]
    padded = embed_series(tokenizer, np.pad(values, longer), np.pad(valid, longer))
    np.testing.assert_array_equal(padded, embed_series(tokenizer, values, valid))
