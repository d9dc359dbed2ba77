"""The detector as one of aeon's: its own checks, and planted anomalies by its metrics."""

import warnings

import numpy as np
import pytest
from aeon.benchmarking.metrics.anomaly_detection import range_roc_auc_score
from aeon.testing.estimator_checking import check_estimator
from sklearn import config_context

from tsjepa import ConfigError, DataWarning, SurpriseDetector
from tsjepa.adapters.aeon import EmbeddingAnomalyDetector, SurpriseAnomalyDetector
from tsjepa.embedding import some_cases

SMALL = ("tokenizer.patch_length=4", "world.horizons=[1,2]", "encoder.dim=16", "predictor.dim=16", "projector.out=8")
FEW = {"window": 32, "stride": 4, "max_epochs": 3, "overrides": SMALL, "device": "cpu", "random_state": 0}


@pytest.mark.filterwarnings("ignore")
def test_aeons_own_checks_pass():
    results = check_estimator(SurpriseAnomalyDetector)
    assert [name for name, result in results.items() if result != "PASSED"] == []
    assert len(results) >= 23


def planted():
    t, y = np.arange(1200), np.zeros(1200, int)
    X = np.sin(t / 4) + 0.05 * np.random.default_rng(0).normal(size=1200)
    X[700:740], y[700:740] = 2.0, 1
    return X, y


def test_a_planted_anomaly_scores_highest():
    X, y = planted()
    scores = SurpriseAnomalyDetector(**FEW).fit_predict(X)
    assert scores.shape == y.shape
    assert range_roc_auc_score(y, scores) > 0.9


def test_scores_are_those_of_the_detector_whatever_the_axis():
    X = np.stack([planted()[0], planted()[0][::-1]])
    ours = SurpriseAnomalyDetector(**FEW).fit(X, axis=1)
    score = SurpriseDetector(**FEW, contamination=0.1).fit(X.T).scores(X.T).score
    known = np.isfinite(score)
    for predicted in (ours.predict(X, axis=1), ours.predict(X.T, axis=0)):
        np.testing.assert_array_equal(predicted[known], score[known])
        assert (predicted[~known] == 0).all()


TINY = {"recipe": "tiny", "window": 32, "max_epochs": 1, "device": "cpu", "random_state": 0}


@pytest.mark.filterwarnings("ignore")
def test_aeons_own_checks_of_the_distance_pass():
    results = check_estimator(EmbeddingAnomalyDetector)
    assert [name for name, result in results.items() if result != "PASSED"] == []
    assert len(results) >= 22


def test_a_planted_anomaly_is_farthest_from_normal_windows():
    X, y = planted()
    known = EmbeddingAnomalyDetector(**TINY).fit(X[:700]).predict(X)
    alone = EmbeddingAnomalyDetector(**TINY).fit_predict(X)
    for scores in (known, alone):
        assert scores.shape == y.shape
        assert range_roc_auc_score(y, scores) > 0.95
        # it is told where it is, not a window later
        assert y[scores.argmax()] == 1


@pytest.mark.parametrize("output", ["pandas", "polars"])
@pytest.mark.parametrize("wide", [2048, 16])
def test_distances_are_of_arrays_whatever_scikit_learn_is_set_to(monkeypatch, output, wide):
    monkeypatch.setattr("tsjepa.adapters.aeon_anomalies.WIDE", wide)
    X = planted()[0][:400]
    scores = EmbeddingAnomalyDetector(**TINY).fit_predict(X)
    with config_context(transform_output=output):
        np.testing.assert_array_equal(EmbeddingAnomalyDetector(**TINY).fit_predict(X), scores)


def test_channels_are_rows_or_columns():
    X = np.stack([planted()[0], planted()[0][::-1]])
    detector = EmbeddingAnomalyDetector(**TINY).fit(X, axis=1)
    np.testing.assert_array_equal(detector.predict(X, axis=1), detector.predict(X.T, axis=0))


def test_usual_windows_score_zero_in_the_mean_and_one_in_spread():
    X = planted()[0][:700]
    detector = EmbeddingAnomalyDetector(**TINY).fit(X)
    distances = (detector.usual_ - detector.usual_.mean()) / detector.usual_.std()
    expected = [distances[max(at - 31, 0) : at + 1].mean() for at in range(700)]
    np.testing.assert_allclose(EmbeddingAnomalyDetector(**TINY).fit_predict(X), expected, atol=1e-9)


@pytest.mark.parametrize("n_points", [1200, 1198])
def test_a_thinned_reference_is_searched_as_the_whole_one_is(monkeypatch, n_points):
    X = planted()[0][:n_points]
    monkeypatch.setattr("tsjepa.adapters.aeon_anomalies.MOST", 300)
    monkeypatch.setattr("tsjepa.embedding.HELD", 3_000)
    detector = EmbeddingAnomalyDetector(**TINY).fit(X)
    n_windows = n_points - 31
    starts = some_cases(n_windows, 300)
    assert len(detector.reference_) == 300
    assert len(detector.usual_) == n_windows
    windows = np.lib.stride_tricks.sliding_window_view(X[:, None], 32, axis=0)
    rows = detector.embedder_.transform(windows) / detector.spread_
    fifth = slice(0, -(-n_windows // 5))
    elsewhere = rows[starts][starts >= fifth.stop - 1 + 32]
    nearest = np.linalg.norm(rows[fifth, None] - elsewhere, axis=2).min(1)
    np.testing.assert_allclose(detector.usual_[fifth], nearest, rtol=1e-4)
    assert len(EmbeddingAnomalyDetector(**TINY).fit_predict(X)) == n_points


def test_what_repeats_itself_exactly_is_usual_and_what_does_not_is_not_without_bound():
    X = np.tile(np.sin(np.arange(20) * np.pi / 10), 30)
    detector = EmbeddingAnomalyDetector(**TINY).fit(X)
    assert abs(detector.predict(X)).max() < 1
    assert 10 < detector.predict(X + np.eye(600)[300]).max() < 1e6


def test_level_counts_unless_windows_are_normalised_each_by_itself():
    X = planted()[0][:600]
    higher = X + 3 * (np.arange(600) > 400)
    for overrides, seen in (((), True), (("normalize=instance",), False)):
        scores = EmbeddingAnomalyDetector(**TINY, overrides=overrides).fit(X).predict(higher)
        assert (scores[-100:].min() > 3) == seen


def test_the_default_is_not_told_twice_of_level_and_scale():
    detector = EmbeddingAnomalyDetector(window=32, max_epochs=1, device="cpu", random_state=0).fit(planted()[0][:400])
    assert detector.embedder_.config_.normalize == "train"
    assert not detector.embedder_.config_.probe.scale_features


@pytest.mark.parametrize("recipe", ["default", "rotating", "noise-tolerant"])
def test_whatever_the_recipe_what_is_farther_scores_higher(recipe):
    X = planted()[0][:400]
    own = {"recipe": recipe, "overrides": ("tokenizer.filters=4", "encoder.dim=16", "predictor.dim=16")}
    detector = EmbeddingAnomalyDetector(**TINY | own).fit(X)
    assert detector.embedder_.config_.probe.sketch is None
    far = [detector.predict(X + size * np.eye(400)[300]).max() for size in (0, 5, 10, 20)]
    assert np.all(np.diff(far) > 1)


def test_features_that_usually_scatter_little_count_as_much_as_others():
    X = planted()[0][:700]
    detector = EmbeddingAnomalyDetector(**TINY).fit(X)
    assert detector.projection_ is None
    assert np.quantile(detector.reference_.std(0), [0.25, 0.75]) == pytest.approx([1, 1], abs=0.1)


def test_a_feature_on_another_scale_does_not_silence_the_others():
    X = planted()[0][:700]
    overrides = ("normalize=instance", "probe.scale_features=true")
    small, large = (EmbeddingAnomalyDetector(**TINY, overrides=overrides).fit(scale * X) for scale in (1, 1e4))
    assert np.median(large.reference_.std(0)) == pytest.approx(np.median(small.reference_.std(0)), rel=0.05)


def test_the_spread_is_that_of_all_phases_of_what_repeats_itself(monkeypatch):
    monkeypatch.setattr("tsjepa.adapters.aeon_anomalies.SAMPLE", 20)
    monkeypatch.setattr("tsjepa.adapters.aeon_anomalies.MOST", 40)
    t = np.arange(20 * 60 + 31)  # a twentieth is a period
    X = np.sin(2 * np.pi * t / 60) + 0.02 * np.random.default_rng(0).normal(size=len(t))
    detector = EmbeddingAnomalyDetector(**TINY).fit(X)
    assert 0.7 < np.median(detector.reference_.std(0)) < 1.5
    assert detector.predict(X).max() < 10


@pytest.mark.parametrize("setting", ["probe.sketch=64", "probe.channels=mean", "probe.shares=true"])
def test_a_sensor_that_stands_still_for_a_while_is_no_fault_of_the_data(monkeypatch, setting):
    monkeypatch.setattr("tsjepa.embedding.HELD", 20_000)
    X = np.random.default_rng(0).normal(size=(700, 3))
    X[300:600, 1] = X[300, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        scores = EmbeddingAnomalyDetector(**TINY, overrides=(setting,)).fit(X, axis=0).predict(X, axis=0)
    assert np.isfinite(scores).all()


def test_many_channels_are_brought_to_few_features_which_keeps_distances(monkeypatch):
    X = np.random.default_rng(0).normal(size=(400, 12)).cumsum(0) / 20
    X[:, 4] += 2 * np.sin(np.arange(400) / 3)
    wide = EmbeddingAnomalyDetector(**TINY).fit(X, axis=0)
    assert wide.projection_ is not None
    assert wide.reference_.shape == (369, 2048)
    monkeypatch.setattr("tsjepa.adapters.aeon_anomalies.WIDE", 10**6)
    whole = EmbeddingAnomalyDetector(**TINY).fit(X, axis=0)
    assert whole.projection_ is None
    assert whole.reference_.shape[1] > 2048
    np.testing.assert_allclose(wide.usual_, whole.usual_, rtol=0.1)


@pytest.mark.parametrize(
    ("changed", "points", "words"),
    [
        ({"window": 0}, 400, "window must be a whole number, at least 1, but is 0"),
        ({"window": 32.0}, 400, "window must be a whole number, at least 1, but is 32.0"),
        ({"stride": "4"}, 400, "stride must be a whole number, at least 1, but is '4'"),
        ({"n_neighbors": None}, 400, "n_neighbors must be a whole number, at least 1"),
        ({}, 20, "a window has 32 points, but the series has 20: give a smaller window"),
        ({}, 100, "a series of 100 points is too short for windows of 32: give a longer"),
    ],
)
def test_what_cannot_be_windows_is_told_before_training(changed, points, words):
    with pytest.raises(ValueError, match=words):
        EmbeddingAnomalyDetector(**{**TINY, **changed}).fit(planted()[0][:points])


@pytest.mark.parametrize("kind", [EmbeddingAnomalyDetector, SurpriseAnomalyDetector])
def test_a_log_that_lies_on_its_side_is_told_to_give_its_axis(kind):
    rows = np.random.default_rng(0).normal(size=(300, 3))
    with pytest.raises(ValueError, match="; X is read as 3 points of 300 channels: a log of rows x sensors needs axis"):
        kind(window=128, max_epochs=1).fit(rows)
    with pytest.raises(ValueError, match=r"(give|or) a smaller window\.$"):
        kind(window=400, max_epochs=1).fit(rows, axis=0)


def test_a_log_on_its_side_of_a_few_windows_is_told_so_too():
    rows = np.random.default_rng(0).normal(size=(220, 40))
    with pytest.raises(ValueError, match=r"too short for windows of 32.*; X is read as 40 points of 220 channels"):
        EmbeddingAnomalyDetector(**TINY).fit(rows)


@pytest.mark.parametrize(("kind", "settings"), [(EmbeddingAnomalyDetector, TINY), (SurpriseAnomalyDetector, FEW)])
def test_a_log_that_is_scored_on_its_side_is_told_to_give_its_axis(kind, settings):
    rows = np.random.default_rng(0).normal(size=(220, 40))
    detector = kind(**settings | {"max_epochs": 1}).fit(rows, axis=0)
    with pytest.raises(ValueError, match="X is read as 40 points of 220 channels: a log of rows x sensors needs axis"):
        detector.predict(rows)
    with pytest.raises(ValueError, match=r"X has 39 (?!.*axis)"):  # it stands upright
        detector.predict(rows[:, :39], axis=0)


def test_a_wrong_setting_has_nothing_to_do_with_the_axis():
    with pytest.raises(ConfigError, match=r"did you mean encoder.depth\?$"):
        SurpriseAnomalyDetector(window=128, overrides=["encoder.dpth=2"]).fit(np.zeros((3, 300)))
