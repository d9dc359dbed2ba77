"""What one run of a transfer is made of: its own seed, the labels of its draw and no others, what is scored."""

from typing import Any

import numpy as np
import pytest
from transfers import job, named

from tsjepa.evaluation import benchmark_transfer
from tsjepa.evaluation.benchmark_features import Fitted, fit_method
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_methods import find_method
from tsjepa.evaluation.benchmark_run import rank_of
from tsjepa.evaluation.benchmark_transfer import measure_transfer

RAW, KNOWN = find_method("raw"), named("b").known
DRAWS = [LabelBudget("per_class", 1).draw(KNOWN.y, draw) for draw in range(20)]


@pytest.fixture(autouse=True)
def _loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every name a small data set of its own, and no call to warm up."""
    monkeypatch.setattr(benchmark_transfer, "load_parts", named)
    monkeypatch.setattr(benchmark_transfer, "warm_up", lambda *_: None)


def raw() -> Fitted:
    return fit_method(RAW, KNOWN.train, KNOWN.y, 0, "cpu")


def test_an_encoder_has_the_seed_of_its_run_and_patches_of_the_shortest_source(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(benchmark_transfer, "pretrain", lambda config, *_, **n: asked.append((config.train.seed, n)))
    monkeypatch.setattr(benchmark_transfer, "reading", lambda *_: raw())
    measure_transfer(job(seed=7, pretrain_on=("long", "a"), per_class=()))
    assert asked == [(7, {"n_timepoints": 40})]


def test_supervised_training_has_the_seed_of_its_run_and_sees_the_labels_of_its_draw_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(benchmark_transfer, "fit_method", lambda _, *given: (seen.append(given), raw())[1])
    measure_transfer(job(find_method("supervised", "tiny"), seed=7))
    for (series, y, *rest), cases in zip(seen, [np.arange(12), *DRAWS], strict=True):
        np.testing.assert_array_equal(series.values, KNOWN.train.values[cases])
        np.testing.assert_array_equal(y, KNOWN.y[cases])
        assert rest == [7, "cpu"]


def test_a_head_sees_the_features_of_its_draw_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, read = [], benchmark_transfer.fit_reader
    monkeypatch.setattr(benchmark_transfer, "fit_reader", lambda *given: (seen.append(given[1]), read(*given))[1])
    measure_transfer(job(RAW))
    Z = raw().transform(KNOWN.train)
    for features, cases in zip(seen, [np.arange(12), *DRAWS], strict=True):
        np.testing.assert_array_equal(features, Z[cases])


def test_the_rank_is_that_of_the_series_that_are_scored() -> None:
    (row,) = measure_transfer(job(RAW, per_class=())).scores
    assert row.effective_rank == rank_of(raw().transform(KNOWN.test)) != rank_of(raw().transform(KNOWN.train))


def test_a_recording_has_the_accuracy_of_its_own_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_transfer, "score", lambda guess, y: float(len(guess) * y.sum()))
    found = measure_transfer(job(RAW, whole_target=True, per_class=())).recordings
    assert [row.accuracy for row in found] == [0, 8 * 8, 8 * 16]
