"""What a run fits and what it predicts does not depend on the test part: neither on its labels nor on other series."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sketched import MEASURED

from tsjepa.arrays import Series
from tsjepa.build import configure
from tsjepa.evaluation import benchmark_features, benchmark_run, benchmark_transfer
from tsjepa.evaluation.accuracy import Labels
from tsjepa.evaluation.benchmark_features import Fitted, fit_method
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_methods import Method, find_method
from tsjepa.evaluation.benchmark_run import Job, Known, Parts, fit_reader, measure, score
from tsjepa.evaluation.benchmark_transfer import measure_transfer, transfer_jobs
from tsjepa.finetuning import Tuning

HALF = 12
NAMES = ("raw", "random-init", "majority", "supervised", "tiny")
RUNS = [(module, name) for module in (benchmark_run, benchmark_transfer) for name in NAMES]


def parts() -> Parts:
    rng, y = np.random.default_rng(0), np.arange(2 * HALF) % 3
    X = rng.normal(size=(2, 2 * HALF, 1, 40)).astype(np.float32)
    X[:, y == 1] += np.sin(np.arange(40), dtype=np.float32)
    return Parts(Known(Series(X[0]), y, Series(X[1]), Series(X[0])), y, False, "digest")


def watched(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, given: Parts
) -> tuple[list[Any], list[Labels]]:
    """Make a run of a benchmark or a transfer; return all that was fitted on, and all predictions that are scored."""
    fitted: list[Any] = []
    predicted: list[Labels] = []

    def fit(method: Method, series: Series, y: Labels, seed: int, device: str) -> Fitted:
        fitted.extend((series.values, y))
        return fit_method(method, series, y, seed, device)

    def read(one: Fitted, Z: Any, y: Labels) -> Any:
        fitted.extend((Z, y))
        return fit_reader(one, Z, y)

    def note(guess: Labels, y: Labels) -> float:
        predicted.append(guess)
        return score(guess, y)

    method = find_method(name, "tiny")
    if method.config is not None:
        method = method._replace(config=configure(method.config, None, MEASURED))
    with monkeypatch.context() as patch:
        patch.setattr(benchmark_features, "FROM_SCRATCH", Tuning(epochs=1, min_steps=1))
        for own, value in (("load_parts", lambda *_, **__: given), ("fit_reader", read), ("score", note)):
            patch.setattr(module, own, value)
        if module is benchmark_run:
            measure(Job("a", method, 0, budgets=(LabelBudget("per_class", 1),), device="cpu"), fit=fit)
        else:
            patch.setattr(module, "fit_method", fit)
            (job,) = transfer_jobs(("s",), ["a"], [method], 1, (1,), device="cpu")
            measure_transfer(job)
    return fitted, predicted


@pytest.mark.parametrize(("module", "name"), RUNS)
def test_labels_of_the_test_part_change_no_fit_and_no_prediction(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    honest = watched(monkeypatch, module, name, parts())
    spoilt = watched(monkeypatch, module, name, parts()._replace(y_test=np.roll(parts().y_test, 1)))
    assert len(honest[1]) > 20
    for before, after in zip(honest, spoilt, strict=True):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("module", "name"), RUNS)
def test_series_of_the_test_part_change_no_fit_and_no_prediction_of_others(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    given = parts()
    values = given.known.test.values.copy()
    values[HALF:] = np.exp(values[HALF:])  # another gain and offset would be taken out by normalisation
    fitted, predicted = watched(monkeypatch, module, name, given)
    other_test = given._replace(known=given.known._replace(test=Series(values)))
    refitted, again = watched(monkeypatch, module, name, other_test)
    for one, other in zip(fitted, refitted, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(predicted, again, strict=True):
        np.testing.assert_array_equal(one[:HALF], other[:HALF])
