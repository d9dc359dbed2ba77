import pickle
import re
import warnings
from functools import partial

import embedders
import numpy as np
import pandas as pd
import polars
import pytest
import torch
from sketched import MEASURED
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from tsjepa import CheckpointError, DataWarning, TSJEPAClassifier, TSJEPAEmbedder
from tsjepa.checkpoint import load_checkpoint
from tsjepa.classifier import joined
from tsjepa.containers import in_order, to_panel
from tsjepa.finetuning import Tuning
from tsjepa.probe import make_head


def series(*sizes, **more):
    """Sines of two frequencies in noise, and the names of the two."""
    X, y = embedders.series(*sizes, **more)
    return X, np.array(["calm", "worn"])[y]


def tiny(**parameters):
    given = {"max_epochs": 1, "finetune_epochs": 2, "random_state": 0, "device": "cpu", "tune": True}
    return TSJEPAClassifier("tiny", **{**given, **parameters})


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr("tsjepa.classifier.Tuning", partial(Tuning, min_steps=4))


SMALL = TSJEPAClassifier(
    "tiny", overrides=("encoder.dim=8", "predictor.dim=8"), max_epochs=1, tune=False, diagnose=False
)


@pytest.mark.filterwarnings("ignore::tsjepa.DataWarning")
@pytest.mark.filterwarnings("ignore:Skipping check check_array_api_input")
@parametrize_with_checks([SMALL])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tsjepa.DataWarning")
@pytest.mark.filterwarnings("ignore:Skipping check check_array_api_input")
@parametrize_with_checks([TSJEPAClassifier("tiny", max_epochs=1), TSJEPAClassifier("tiny", max_epochs=1, tune="auto")])
def test_scikit_learn_contract_with_tuning(estimator, check):
    check(estimator)


def test_parameters_of_the_pretraining_are_those_of_the_embedder():
    own, embedders = TSJEPAClassifier().get_params(), TSJEPAEmbedder().get_params()
    assert set(embedders) - set(own) == {"warm_start"}
    assert {name: own[name] for name in embedders if name in own} == {
        name: value for name, value in embedders.items() if name != "warm_start"
    }
    X, y = series()
    found = tiny(mask_ratio=0.4, patch_length=12, batch_size=8, lr=1e-4).fit(X, y).embedder_.config_
    assert (found.mask.ratio, found.tokenizer.patch_length, found.train.batch_size, found.train.lr) == (
        0.4,
        12,
        8,
        1e-4,
    )


def test_it_learns_and_its_methods_agree():
    X, y = series(60)
    classifier = tiny().fit(X[:40], y[:40])
    assert classifier.tuned_
    assert classifier.score(X[40:], y[40:]) >= 0.9
    proba, decision = classifier.predict_proba(X), classifier.decision_function(X)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-decision)))
    np.testing.assert_array_equal(classifier.classes_[proba.argmax(1)], classifier.predict(X))
    assert list(classifier.classes_) == ["calm", "worn"]


def test_a_frozen_classifier_is_the_ridge_probe_of_the_embedder():
    X, y = series(60)
    classifier = tiny(tune=False).fit(X[:40], y[:40])
    embedder = TSJEPAEmbedder("tiny", max_epochs=1, random_state=0, device="cpu").fit(X[:40])
    Z = embedder.transform(X)
    np.testing.assert_array_equal(classifier.embedder_.transform(X), Z)
    np.testing.assert_array_equal(classifier.predict(X), make_head().fit(Z[:40], y[:40]).predict(Z))
    assert not classifier.tuned_


@pytest.mark.parametrize("tune", [True, False])
def test_whether_to_tune_may_be_numpys(tune):
    X, y = series()
    assert tiny(tune=np.bool_(tune)).fit(X, y).tuned_ is tune


def test_auto_says_what_it_went_by():
    X, y = series()
    classifier = tiny(tune="auto").fit(X, y)
    assert classifier.comparison_ is not None
    assert classifier.tuned_ == (classifier.comparison_.tuned > classifier.comparison_.frozen)
    few = tiny(tune="auto").fit(X[:4], y[:4])
    assert few.comparison_ is None
    assert few.tuned_


@pytest.mark.parametrize("labels", [[0.0, 1.0, 2.0], [-1, 1, 5], [True, False, True], ["a", "b", "c"]])
def test_labels_of_any_kind(labels):
    X, _ = series(n_channels=1)
    y = np.array(labels)[np.arange(24) % 3]
    classifier = tiny(tune=False).fit(X[:, 0], y)
    np.testing.assert_array_equal(classifier.classes_, np.unique(y))
    assert classifier.decision_function(X[:, 0]).shape == ((24,) if len(np.unique(y)) == 2 else (24, 3))
    assert classifier.predict(X[:, 0]).dtype == y.dtype


def test_two_dimensions_lists_and_tables_agree():
    X, y = series(n_channels=1)
    deep = tiny().fit(X, y)
    flat = tiny().fit(X[:, 0], y)
    ragged = [x[:, : 60 - i % 3] for i, x in enumerate(X)]
    frames = [pd.DataFrame({"flow": x[0]}) for x in X]
    np.testing.assert_allclose(flat.predict_proba(X[:, 0]), deep.predict_proba(X))
    assert flat.n_features_in_ == 60
    assert tiny().fit(ragged, y).predict(ragged).shape == (24,)
    named = tiny().fit(frames, y)
    np.testing.assert_allclose(named.predict_proba(frames), deep.predict_proba(X))
    assert list(named.feature_names_in_) == ["flow"]


def test_series_of_another_size_are_refused_in_the_name_of_the_classifier():
    X, y = series()
    flat, deep = tiny().fit(X[:, 0], y), tiny(overrides=["probe.sketch=64"]).fit(X, y)
    with pytest.raises(ValueError, match=r"^X has 50 features, but TSJEPAClassifier is expecting 60 features as input"):
        flat.predict(X[:, 0, :50])
    with pytest.raises(ValueError, match=r"^X has 1 channel, but TSJEPAClassifier was fitted with 2: give the same"):
        deep.predict(X[:, :1])


@pytest.mark.parametrize("overrides", [[], MEASURED])
def test_a_prediction_does_not_depend_on_the_rest_of_the_call(overrides):
    X, y = series(30)
    X[3, 0, 10:30] = np.nan
    classifier = tiny(overrides=overrides).fit(X, y)
    together = classifier.predict_proba(X)
    for case in (0, 3, 29):
        np.testing.assert_allclose(classifier.predict_proba(X[[case]])[0], together[case], rtol=1e-9)


@pytest.mark.parametrize("tune", [False, True])
def test_rare_classes_are_found_where_they_count_as_much(tune):
    X, _ = series(60)
    X = 0.2 * X + np.random.default_rng(1).normal(size=X.shape)
    y = np.where(np.arange(60) % 10 == 1, "worn", "calm")
    found = {
        name: (tiny(tune=tune, class_weight=weight).fit(X, y).predict(X) == "worn").sum()
        for name, weight in (("none", None), ("balanced", "balanced"), ("dict", {"worn": 5.0, "calm": 5 / 9}))
    }
    assert found["none"] < found["balanced"] == found["dict"]


@pytest.mark.filterwarnings("ignore:2 of 48 channels .* are without any value")
def test_a_series_without_any_value_gets_the_shares_of_the_classes(tmp_path):
    X, y = series()
    y[:6] = "worn"
    classifier = tiny().fit(X, y)
    sure = classifier.predict_proba(X)
    X[4] = np.nan
    with pytest.warns(DataWarning, match="without any value: 1 of 24 series, answered by how frequent"):
        found = classifier.predict_proba(X)
    np.testing.assert_allclose(found[4], [np.mean(y == name) for name in classifier.classes_])
    np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(sure, 4, 0))
    classifier.save(tmp_path / "model.ckpt")
    with pytest.warns(DataWarning, match="answered by how frequent"):
        again = TSJEPAClassifier.load(tmp_path / "model.ckpt", device="cpu").predict_proba(X)
    np.testing.assert_array_equal(again, found)


def test_same_seed_same_classifier_and_generators_left_alone():
    X, y = series()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (tiny(random_state=seed).fit(X, y).decision_function(X) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_clone_pickle_and_cross_validation():
    X, y = series()
    classifier = tiny().fit(X, y)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert clone(classifier).get_params() == classifier.get_params()
    assert cross_val_score(tiny(tune=False), X, y, cv=2).mean() >= 0.9


def test_save_and_load(tmp_path):
    X, y = series()
    classifier = tiny().fit(X, y)
    classifier.save(tmp_path / "model.ckpt")
    again = TSJEPAClassifier.load(tmp_path / "model.ckpt", device="cpu")
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    np.testing.assert_array_equal(again.classes_, classifier.classes_)
    embedder = TSJEPAEmbedder.load(tmp_path / "model.ckpt", device="cpu")
    np.testing.assert_array_equal(embedder.transform(X), classifier.embedder_.transform(X))
    assert load_checkpoint(tmp_path / "model.ckpt")[1].n_timepoints == 60
    classifier.embedder_.save(tmp_path / "bare.ckpt")
    with pytest.raises(CheckpointError, match="without a head"):
        TSJEPAClassifier.load(tmp_path / "bare.ckpt")


def test_days_are_labels_after_loading_too(tmp_path):
    X, y = series()
    days = np.where(y == "calm", np.datetime64("2020-01-01"), np.datetime64("2020-01-02"))
    classifier = tiny(tune=False).fit(X, days)
    classifier.save(tmp_path / "model.ckpt")
    again = TSJEPAClassifier.load(tmp_path / "model.ckpt", device="cpu")
    np.testing.assert_array_equal(again.predict(X), classifier.predict(X))
    assert again.predict(X).dtype == days.dtype


def test_a_checkpoint_is_taken_and_left_alone(tmp_path):
    X, y = series()
    embedder = TSJEPAEmbedder("tiny", max_epochs=1, random_state=7, device="cpu").fit(X)
    embedder.save(tmp_path / "pretrained.ckpt")
    before = (tmp_path / "pretrained.ckpt").read_bytes()
    frozen = tiny(tune=False, checkpoint=tmp_path / "pretrained.ckpt").fit(X, y)
    np.testing.assert_array_equal(frozen.embedder_.transform(X), embedder.transform(X))
    tuned = tiny(checkpoint=tmp_path / "pretrained.ckpt").fit(X, y)
    assert not np.array_equal(tuned.embedder_.transform(X), embedder.transform(X))
    assert (tmp_path / "pretrained.ckpt").read_bytes() == before


def test_a_checkpoint_takes_series_of_another_form(tmp_path):
    X, y = series()
    TSJEPAEmbedder("tiny", max_epochs=1, random_state=7, device="cpu").fit(X).save(tmp_path / "a.ckpt")
    flat = tiny(checkpoint=tmp_path / "a.ckpt").fit(X[:, 0, :50], y)
    assert flat.n_features_in_ == 50
    assert flat.predict(X[:, 0, :50]).shape == (24,)
    with pytest.raises(ValueError, match="60 features"):
        flat.predict(X[:, 0])
    mixed = TSJEPAEmbedder("tiny", max_epochs=1, overrides=["tokenizer.channels=mixed"], device="cpu").fit(X)
    mixed.save(tmp_path / "mixed.ckpt")
    with pytest.raises(ValueError, match="mixes the 2 channels"):
        tiny(checkpoint=tmp_path / "mixed.ckpt").fit(X[:, :1], y)


def log_of(X, ids):
    """Return series as a log, in the order of their ids."""
    n_channels, length = X.shape[1:]
    rows = X.transpose(0, 2, 1).reshape(-1, n_channels)
    log = pd.DataFrame(rows, columns=["flow", "heat", "load"][:n_channels])
    return log.assign(id=np.repeat(ids, length), time=np.tile(np.arange(length), len(X)))


def test_labels_with_the_ids_of_a_log_in_another_order_are_refused():
    X, y = series()
    ids = np.random.default_rng(0).permutation(24)
    log, by_id = log_of(X, ids), pd.Series(y, index=ids).sort_index()
    classifier = tiny(tune=False).fit(log, y)
    words = r"index of y has the ids of X in another order .* give y\.loc\[.*\.ids\], or y\.to_numpy"
    for use in (tiny().fit, classifier.score):
        for labels in (by_id, by_id.reset_index(drop=True)):
            with pytest.raises(ValueError, match=words):
                use(log, labels)
    ordered = by_id.loc[to_panel(log).ids]
    assert ordered.tolist() == y.tolist()
    for labels in (ordered, pd.Series(y, index=ids + 100), list(y)):
        np.testing.assert_array_equal(tiny(tune=False).fit(log, labels).predict(log), classifier.predict(log))
        assert classifier.score(log, labels) == classifier.score(X, y) > 0.9
    assert classifier.score(X, y, sample_weight=classifier.predict(X) == y) == 1


def test_labels_of_rows_that_are_series_are_in_order_of_rows():
    X, y = series(n_channels=1)
    table = pd.DataFrame({"flow": list(X[:, 0])})
    shuffled = pd.Series(y, index=np.random.default_rng(0).permutation(24))
    expected = tiny(tune=False).fit(X[:, 0], y).predict_proba(X[:, 0])
    frame = pd.DataFrame(X[:, 0])
    for rows in (table, frame, to_panel(frame), polars.from_pandas(frame.rename(columns=str)).lazy()):
        np.testing.assert_array_equal(tiny(tune=False).fit(rows, shuffled).predict_proba(rows), expected)


@pytest.mark.parametrize("start", ["nothing", "a checkpoint", "more series"])
def test_a_log_is_read_once_a_fit_and_once_a_score(start, monkeypatch, tmp_path):
    X, y = series()
    log, checkpoint = log_of(X, np.arange(24)), None
    if start == "a checkpoint":
        checkpoint = tmp_path / "a.ckpt"
        TSJEPAEmbedder("tiny", max_epochs=1, device="cpu").fit(log).save(checkpoint)
    read = []
    monkeypatch.setattr("tsjepa.containers.in_order", lambda *rows: (read.append(1), in_order(*rows))[1])
    classifier = tiny(tune=False, checkpoint=checkpoint).fit(log, y, list(X) if start == "more series" else None)
    assert len(read) == 1
    classifier.score(log, y)
    assert len(read) == 2


@pytest.mark.filterwarnings("always::tsjepa.DataWarning")
def test_what_is_said_of_the_data_is_said_once_at_the_line_of_the_user():
    X, y = series()
    X[0] = np.nan
    log = log_of(X, np.arange(24)).assign(label=1)
    classifier = tiny(tune=False)
    for use in (lambda: classifier.fit(log, y), lambda: classifier.predict(log), lambda: classifier.predict_proba(log)):
        with warnings.catch_warnings(record=True) as caught:
            use()
        assert {"label", "value"} <= {word for w in caught for word in re.findall(r"\w+", str(w.message))}
        assert {w.filename for w in caught} == {__file__}
        assert len(caught) == len({str(w.message) for w in caught})


def test_no_overrides_and_a_device_of_torch_are_parameters_too():
    X, y = series()
    expected = tiny(tune=False).fit(X, y).predict_proba(X)
    found = tiny(tune=False, overrides=None, device=torch.device("cpu")).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="overrides is a list of settings, but is one text"):
        tiny(overrides="encoder.dim=8").fit(X, y)


def test_unlabelled_series_are_pretrained_on():
    X, y = series()
    more = [x[:, :50] for x in series(seed=1)[0]]
    classifier = tiny(tune=False).fit(X, y, X_unlabelled=more)
    embedder = TSJEPAEmbedder("tiny", max_epochs=1, random_state=0, device="cpu").fit(joined(X, more))
    np.testing.assert_array_equal(classifier.embedder_.transform(X), embedder.transform(X))
    assert classifier.n_features_in_ == 2
    flat = tiny(tune=False).fit(X[:, 0], y, X_unlabelled=X[:, 1])
    assert flat.n_features_in_ == 60


def test_joined_series_keep_gaps_and_order_channels_by_name():
    a = pd.DataFrame({"id": [0, 0], "time": [0, 1], "flow": [1.0, np.nan], "heat": [3.0, 4.0]})
    b = a[["id", "time", "heat", "flow"]]
    rows = joined(a, b)
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], [[1, np.nan], [3, 4]])


def test_unlabelled_series_with_other_channels_are_called_so():
    X, y = series(6)
    more = series(5, n_channels=3)[0]
    for values in (more, list(more)):
        with pytest.raises(ValueError, match=r"^X_unlabelled has 3 channels, but X has 2: give both the same"):
            tiny().fit(X, y, X_unlabelled=values)
    a = pd.DataFrame({"id": [0, 0], "time": [0, 1], "flow": [1.0, 2.0], "heat": [3.0, 4.0]})
    with pytest.raises(ValueError, match=r"^X_unlabelled has no channel 'heat': its channels are flow"):
        joined(a, a.drop(columns="heat"))
    with pytest.warns(DataWarning, match="channels of X_unlabelled that X does not have are left out: heat"):
        joined(a.drop(columns="heat"), a)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"tune": "yes"}, "tune must be"),
        *(({"finetune_epochs": x}, "^finetune_epochs must be a whole number, at least 1") for x in (0, "3", None, 1.5)),
        *(({"finetune_lr": x}, "^finetune_lr must be a number above 0, but is") for x in (0.0, "3", None, np.nan)),
        ({"class_weight": {"calm": -1.0}}, "finite number above 0"),
        ({"checkpoint": "missing.ckpt"}, "no checkpoint missing.ckpt"),
        ({"recipe": "tinny"}, "did you mean tiny"),
    ],
)
def test_bad_parameters_are_said_in_one_sentence(parameters, sentence):
    X, y = series()
    with pytest.raises(ValueError, match=sentence):
        TSJEPAClassifier(**{"recipe": "tiny", "max_epochs": 1, **parameters}).fit(X, y)


def test_labels_that_cannot_be_learnt_are_told_before_any_training(monkeypatch):
    monkeypatch.setattr(TSJEPAEmbedder, "fit", lambda *_: pytest.fail("pretraining was started"))
    X, y = series()
    with pytest.raises(ValueError, match="y holds one class only, and a classifier"):
        tiny().fit(X, np.repeat("calm", 24))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        tiny().fit(X, y[:-1])
    with pytest.raises(ValueError, match="Unknown label type"):
        tiny().fit(X, np.linspace(0, 1, 24))
    with pytest.raises(ValueError, match="give one of them"):
        tiny(checkpoint="a.ckpt").fit(X, y, X_unlabelled=X)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NaT, pd.NA])
@pytest.mark.parametrize("kind", [list, partial(np.array, dtype=object)])
def test_a_label_that_is_missing_is_told_too(kind, missing):
    X, y = series()
    for use in (tiny().fit, tiny(tune=False).fit(X, y).score):
        with pytest.raises(ValueError, match=r"^1 of 24 labels in y is missing: give each series one, or leave such"):
            use(X, kind([missing, *y[1:]]))
