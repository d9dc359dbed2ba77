"""The detector as one of aeon's: its own checks, and planted anomalies by its metrics."""

import numpy as np
import pytest
from aeon.benchmarking.metrics.anomaly_detection import range_roc_auc_score
from aeon.testing.estimator_checking import check_estimator

from tsjepa import SurpriseDetector
from tsjepa.adapters.aeon import SurpriseAnomalyDetector

SMALL = ("tokenizer.patch_length=4", "world.horizons=[1,2]", "encoder.dim=16", "predictor.dim=16", "projector.out=8")
FEW = {"window": 32, "stride": 4, "max_epochs": 3, "overrides": SMALL, "device": "cpu", "random_state": 0}


@pytest.mark.filterwarnings("ignore")
def test_aeons_own_checks_pass():
    results = check_estimator(SurpriseAnomalyDetector)
    assert [name for name, result in results.items() if result != "PASSED"] == []


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
