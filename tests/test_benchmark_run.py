"""One run of a benchmark: nothing of the test part leaks, and its numbers are those that it says."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from benchmark_rows import job, tiny
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from tsjepa.arrays import Series, as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header, save_checkpoint
from tsjepa.datasets import load
from tsjepa.evaluation import benchmark_features, benchmark_labels, benchmark_run
from tsjepa.evaluation.accuracy import Labels
from tsjepa.evaluation.benchmark_features import Features, Fitted, Levels, filled, fit_method
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_methods import Method, find_method
from tsjepa.evaluation.benchmark_run import Outcome, load_parts, log_loss, measure
from tsjepa.evaluation.benchmark_table import BenchmarkError
from tsjepa.finetuning import Tuning
from tsjepa.probe import ProbeError, draw_labels

METHODS = ("tiny", "random-init", "raw", "catch22", "minirocket", "supervised", "majority")
NEEDS_LABELS = ("supervised",)


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the supervised encoder for a moment: how well is not tested here."""
    monkeypatch.setattr(benchmark_features, "FROM_SCRATCH", Tuning(epochs=1, min_steps=1))


# --- what a method may see


def spy(seen: list[Any], method: Method, series: Series, y: Labels, seed: int, device: str) -> Fitted:
    """Fit a method, and remember every array that it and its transform were given."""
    fitted = fit_method(method, series, y, seed, device)
    seen += [series.values, y]

    def transform(other: Series) -> Features:
        seen.append(other.values)
        return fitted.transform(other)

    return fitted._replace(transform=transform)


@pytest.mark.parametrize("budgets", [(), (LabelBudget("per_class", 2),)])
def test_no_method_is_given_a_label_of_the_test_part_or_a_test_series_to_fit_on(
    budgets: tuple[LabelBudget, ...],
) -> None:
    seen: list[Any] = []
    data = load("GunPoint")
    measure(job("raw", budgets=budgets), fit=partial(spy, seen))
    train, y, *later = seen
    np.testing.assert_array_equal(train, data.X_train)
    np.testing.assert_array_equal(y, data.y_train)
    assert [len(values) for values in later] == [len(data.X_train), len(data.X_test)]
    assert all(values.dtype == np.float32 for values in later)


def test_the_labels_of_the_test_part_change_scores_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever chose by test accuracy would give other predictions here."""

    def outcome(spoil: Callable[[Labels], Labels]) -> tuple[list[Labels], Outcome]:
        parts, told = load_parts("GunPoint"), []
        monkeypatch.setattr(benchmark_run, "load_parts", lambda *_: parts._replace(y_test=spoil(parts.y_test)))
        real = benchmark_run.score
        monkeypatch.setattr(benchmark_run, "score", lambda predicted, y: told.append(predicted) or real(predicted, y))
        found = measure(job("tiny", budgets=(LabelBudget("per_class", 1),)))
        monkeypatch.undo()
        return told, found

    told, honest = outcome(lambda y: y)
    other, spoilt = outcome(lambda y: 1 - y)
    assert len(told) == len(other) > 20
    for before, after in zip(told, other, strict=True):
        np.testing.assert_array_equal(before, after)
    assert honest.result.accuracy is not None
    assert spoilt.result.accuracy == pytest.approx(1 - honest.result.accuracy)


def independent(fit: benchmark_run.Fit, method: Method) -> bool:
    """Return whether the features of a test series are those that it has alone."""
    known = load_parts("GunPoint").known
    fitted = fit(method, known.train, known.y, 0, "cpu")
    together = fitted.transform(known.test.take(np.arange(20)))
    alone = np.concatenate([fitted.transform(known.test.take(np.arange(k, k + 5))) for k in range(0, 20, 5)])
    return bool(np.allclose(together, alone, rtol=1e-4, atol=1e-5))


def normalised_on_the_test_part(method: Method, series: Series, y: Labels, seed: int, device: str) -> Fitted:
    """A planted leak: features standardised with the statistics of whatever is read together."""
    fitted = fit_method(method, series, y, seed, device)

    def transform(other: Series) -> Features:
        Z = fitted.transform(other)
        return (Z - Z.mean(0)) / (Z.std(0) + 1e-9)

    return fitted._replace(transform=transform)


@pytest.mark.parametrize("name", METHODS)
def test_a_test_series_is_read_by_itself(name: str) -> None:
    assert independent(fit_method, tiny(name))


@pytest.mark.parametrize("name", ["raw", "tiny"])
def test_a_planted_leak_is_seen(name: str) -> None:
    assert not independent(normalised_on_the_test_part, tiny(name))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in NEEDS_LABELS])
def test_features_do_not_depend_on_labels(name: str) -> None:
    known = load_parts("GunPoint").known
    few = known.test.take(np.arange(10))
    found = [fit_method(tiny(name), known.train, y, 0, "cpu").transform(few) for y in (known.y, 1 - known.y)]
    np.testing.assert_array_equal(*found)


def test_supervised_with_few_labels_sees_no_other_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_labels, "DRAWS", 2)
    fitted_on: list[Any] = []

    def fit(method: Method, series: Series, y: Labels, seed: int, device: str) -> Fitted:
        fitted_on.append((series.n_cases, len(y)))
        return fit_method(method, series, y, seed, device)

    measure(job("supervised", budgets=(LabelBudget("per_class", 2),)), fit)
    assert fitted_on == [(50, 50), (4, 4), (4, 4)]


# --- numbers


def test_the_head_is_the_one_that_is_named() -> None:
    data = load("GunPoint")
    head = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 5, 12)))
    flat = [np.asarray(X, np.float64).reshape(len(X), -1) for X in (data.X_train, data.X_test)]
    expected = np.mean(head.fit(flat[0], data.y_train).predict(flat[1]) == data.y_test)
    found = measure(job("raw")).result
    assert found.accuracy == expected
    assert (found.status, found.log_loss, found.n_train, found.n_test, found.partial) == ("ok", None, 50, 150, False)
    assert found.effective_rank is not None
    assert 1 < found.effective_rank < 50
    assert found.peak_mb is None or found.peak_mb > 50


def test_majority_guesses_the_largest_class() -> None:
    data = load("GunPoint")
    largest = np.bincount(data.y_train).argmax()
    found = measure(job("majority")).result
    assert found.accuracy == np.mean(data.y_test == largest)
    assert (found.balanced_accuracy, found.effective_rank) == (0.5, None)


def test_log_loss_is_of_heads_with_probabilities() -> None:
    data = load("GunPoint")
    shares = np.bincount(data.y_train) / len(data.y_train)
    assert measure(job("majority")).result.log_loss == pytest.approx(-np.log(shares[data.y_test]).mean())
    known, y_test = load_parts("GunPoint").known, data.y_test
    fitted = fit_method(tiny("supervised"), known.train, known.y, 0, "cpu")
    assert fitted.head is not None
    logits = fitted.head.logits(fitted.transform(known.test))
    found = measure(job("supervised"), fit=lambda *_: fitted).result.log_loss
    assert found == pytest.approx(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(y_test)).item())
    assert log_loss(fitted.head, fitted.transform(known.test), y_test + 1) is None  # a class that it has not seen


def test_seconds_are_of_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[int] = []  # the clock goes on by what is noted here

    def takes(seconds: int, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            passed.append(seconds)
            return call(*given)

        return timed

    def fit(*given: Any) -> Fitted:
        fitted = takes(1, fit_method)(*given)
        return fitted._replace(transform=takes(10, fitted.transform))

    monkeypatch.setattr(benchmark_run, "time", SimpleNamespace(perf_counter=lambda: sum(passed)))
    monkeypatch.setattr(benchmark_run, "fit_reader", takes(100, benchmark_run.fit_reader))
    monkeypatch.setattr(benchmark_run, "warm_up", takes(1000, benchmark_run.warm_up))
    found = measure(job("raw"), fit).result
    assert passed == [1000, 1, 10, 10, 100]
    assert (found.fit_seconds, found.transform_seconds) == (1 + 100, 10 + 10)


def test_the_effective_rank_is_of_features_without_their_mean() -> None:
    Z = np.random.default_rng(0).normal(loc=5, size=(40, 6))
    share = np.linalg.svd(Z - Z.mean(0), compute_uv=False)
    share /= share.sum()
    assert benchmark_run.rank_of(Z) == pytest.approx(np.exp(-(share * np.log(share)).sum()), abs=1e-3)


@pytest.mark.parametrize("changed", ["X_train", "y_train", "X_test", "y_test"])
def test_a_digest_tells_a_single_other_value_or_label(tmp_path: Path, changed: str) -> None:
    X, y = np.random.default_rng(0).normal(size=(6, 1, 8)), np.array([1, 0, 0, 1, 1, 0])
    parts = {"X_train": X, "y_train": y, "X_test": X[:4].copy(), "y_test": y[:4].copy()}
    digests = []
    for _ in range(2):
        np.savez(tmp_path / "pump.npz", **parts)
        digests.append(load_parts(str(tmp_path / "pump.npz")).digest)
        parts[changed][0] = 0
    assert digests[0] != digests[1]


def test_levels_are_those_of_the_encoder() -> None:
    found = measure(job("random-init"))
    assert [level.level for level in found.levels] == ["0", "1", "all"]
    assert found.levels[-1].accuracy == found.result.accuracy
    assert measure(job("raw")).levels == ()


@pytest.mark.parametrize("channels", ["concat", "mean"])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_level_is_what_the_encoder_gives_at_it(channels: str, scaled: bool) -> None:
    series = Series(np.random.default_rng(0).normal(size=(5, 3, 40)).astype(np.float32))
    settings = [f"probe.channels={channels}", f"probe.scale_features={str(scaled).lower()}", "probe.pool=[mean, max]"]
    config = configure("tiny", overrides=settings)
    reader = fit_method(Method("x", "random-init", config), series, np.arange(5), 0, "cpu").reader
    assert reader is not None
    levels = Levels(reader)
    for level in (0, 1):
        alone = reader.probe.model_copy(update={"levels": level, "scale_features": False})
        expected = reader._replace(probe=alone).embed(series)
        np.testing.assert_array_equal(levels.one(levels.embed(series), level), expected)


def test_a_run_gives_the_same_numbers_again_and_another_seed_others() -> None:
    first, again = (measure(job("tiny")).result for _ in range(2))
    assert (first.accuracy, first.effective_rank) == (again.accuracy, again.effective_rank)
    assert measure(job("tiny")._replace(seed=1)).result.effective_rank != first.effective_rank


def test_random_init_is_the_encoder_before_training() -> None:
    known = load_parts("GunPoint").known
    config = resolve(configure("tiny", overrides=["train.seed=3"]), 150)
    untrained = build_model(config, 1).encoder.state_dict()
    reader = fit_method(tiny("random-init"), known.train, known.y, 3, "cpu").reader
    assert reader is not None
    for name, value in reader.encoder.state_dict().items():
        np.testing.assert_array_equal(value, untrained[name])


def test_a_checkpoint_is_read_as_it_is(tmp_path: Path) -> None:
    config = resolve(configure("tiny", overrides=["train.seed=7"]), 150)
    path = tmp_path / "checkpoint.ckpt"
    save_checkpoint(path, build_model(config, 1), Header(config, None, 1, 150))
    method = find_method(str(path))
    known = load_parts("GunPoint").known
    found = fit_method(method, known.train, known.y, 0, "cpu").transform(known.test)
    expected = fit_method(tiny("random-init"), known.train, known.y, 7, "cpu").transform(known.test)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n_classes", [2, 12])
def test_folds_follow_aeons_convention(tmp_path: Path, n_classes: int) -> None:
    from aeon.benchmarking.resampling import stratified_resample_data

    rng, names = np.random.default_rng(0), np.arange(1, n_classes + 1)  # as text "10" comes before "2"
    y_train, y_test = rng.permutation(np.repeat(names, 5)), rng.permutation(np.repeat(names, 3))
    X_train, X_test = (rng.normal(size=(len(y), 1, 8)).astype(np.float32) for y in (y_train, y_test))
    np.savez(tmp_path / "d.npz", X_train=X_train, y_train=y_train, X_test=X_test, y_test=y_test)
    parts = load_parts(str(tmp_path / "d.npz"), 3)
    expected = stratified_resample_data(X_train, y_train.astype(str), X_test, y_test.astype(str), random_state=3)
    found = parts.known.train.values, names[parts.known.y].astype(str), parts.known.test.values, names[parts.y_test]
    for ours, aeons in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.astype(aeons.dtype), aeons)
    np.testing.assert_array_equal(load_parts(str(tmp_path / "d.npz"), 0).known.train.values, X_train)


@pytest.mark.parametrize("lengths", ["equal", "unequal"])
@pytest.mark.parametrize("fold", [0, 3])
def test_series_without_a_label_are_what_methods_learn_from_and_nothing_else(
    tmp_path: Path, fold: int, lengths: str
) -> None:
    rng, parts = np.random.default_rng(0), {}
    for part, n in (("TRAIN", 20), ("TEST", 12)):
        cases = [rng.normal(size=8 - (lengths == "unequal" and case % 2)).astype(np.float32) for case in range(n)]
        y = np.array(["calm", "worn", None, "hot"])[np.arange(n) % 4]
        parts[part] = pd.DataFrame({"flow": cases, "label": y})
    for name, kept in (("some", lambda table: table), ("alone", lambda table: table.dropna(subset="label"))):
        for part, table in parts.items():
            kept(table).to_parquet(tmp_path / f"{name}_{part}.parquet", index=False)
    some, alone = (load_parts(str(tmp_path / f"{name}_TRAIN.parquet"), fold) for name in ("some", "alone"))
    for own, other in ((some.known.train, alone.known.train), (some.known.test, alone.known.test)):
        np.testing.assert_array_equal(own.with_nan(), other.with_nan())
    np.testing.assert_array_equal(some.known.y, alone.known.y)
    np.testing.assert_array_equal(some.y_test, alone.y_test)
    whole = some.known.whole.with_nan()
    assert len(whole) == 20
    rest = as_series([flow for flow, label in parts["TRAIN"].to_numpy() if pd.isna(label)], "rest").with_nan()
    np.testing.assert_array_equal(whole[15:] if fold else whole[2::4], rest)
    seen: list[Any] = []
    for method in ("raw", "supervised"):
        measure(job(method, fold=fold)._replace(data=str(tmp_path / "some_TRAIN.parquet")), fit=partial(spy, seen))
    assert [len(values) for values in (seen[0], seen[4])] == [20, 15]


def test_a_class_in_one_part_only_cannot_be_drawn_anew(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(6, 1, 8)), np.array(["calm", "calm", "worn", "worn", "hot", "hot"])
    np.savez(tmp_path / "pump.npz", X_train=X, y_train=y, X_test=X[:4], y_test=y[:4])
    with pytest.raises(BenchmarkError, match=r"pump cannot be drawn anew for fold 1: of class hot .* without --folds"):
        load_parts(str(tmp_path / "pump.npz"), 1)
    assert load_parts(str(tmp_path / "pump.npz")).known.test.n_cases == 4


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(("y", "said"), [(["calm"] * 6, "hold one class only"), (["calm"], "one training case only")])
def test_labels_that_no_head_can_be_fitted_on_are_refused_alike_in_every_fold(
    tmp_path: Path, fold: int, y: list[str], said: str
) -> None:
    X = np.random.default_rng(0).normal(size=(len(y), 1, 8))
    np.savez(tmp_path / "pump.npz", X_train=X, y_train=np.array(y), X_test=X, y_test=np.array(y))
    with pytest.raises(ProbeError, match=said):
        load_parts(str(tmp_path / "pump.npz"), fold)


@pytest.mark.parametrize("name", ["raw", "catch22", "minirocket", "tiny", "supervised"])
def test_series_of_unequal_length_with_gaps_go_through_every_method(name: str) -> None:
    rng = np.random.default_rng(0)
    cases = [rng.normal(size=(2, length)) for length in (30, 40, 25, 40, 33, 28)]
    cases[1][0, 5:9] = np.nan
    train, test = as_series(cases), as_series([*cases[:3], rng.normal(size=(2, 50))])
    Z = fit_method(tiny(name), train, np.arange(6) % 2, 0, "cpu").transform(test)
    assert len(Z) == 4
    assert np.isfinite(Z).all()


@pytest.mark.parametrize("length", [1, 2, 3])
def test_series_too_short_for_catch22_are_told_in_a_sentence(length: int) -> None:
    series = Series(np.random.default_rng(0).normal(size=(6, 2, length)).astype(np.float32))
    if length < 3:
        with pytest.raises(BenchmarkError, match=f"catch22 needs series of 3 points or more, but these have {length}"):
            fit_method(tiny("catch22"), series, np.arange(6) % 2, 0, "cpu")
    else:
        assert np.isfinite(fit_method(tiny("catch22"), series, np.arange(6) % 2, 0, "cpu").transform(series)).all()


def test_gaps_are_filled_and_lengths_made_equal() -> None:
    series = as_series([[1.0, np.nan, 3.0, np.nan], [np.nan, np.nan, np.nan, np.nan], [1.0, 2.0, 3.0, 4.0]])
    assert filled(series, 4)[:, 0].tolist() == [[1, 2, 3, 3], [0, 0, 0, 0], [1, 2, 3, 4]]
    assert filled(series, 3)[2, 0].tolist() == [1, 2, 3]
    assert filled(series, 6)[2, 0].tolist() == [1, 2, 3, 4, 4, 4]
    whole = Series(np.ones((2, 1, 3), np.float32))
    np.testing.assert_array_equal(filled(whole, 3), whole.values)


# --- labels


@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.integers(1, 4), st.integers(0, 50))
def test_so_many_labels_of_every_class(labels: list[int], number: int, seed: int) -> None:
    y, budget = np.array(labels), LabelBudget("per_class", number)
    if not budget.fits(y):
        assert np.bincount(y)[np.unique(y)].min() < number
        return
    cases = budget.draw(y, seed)
    assert (np.diff(cases) > 0).all()
    assert np.unique(y[cases], return_counts=True)[1].tolist() == [number] * len(np.unique(y))
    np.testing.assert_array_equal(cases, budget.draw(y, seed))


def test_shares_are_the_probes_draws() -> None:
    y = np.repeat([0, 1, 2], 30)
    np.testing.assert_array_equal(LabelBudget("share", 0.1).draw(y, 4), draw_labels(y, 0.1, 4))
    budgets = (LabelBudget("share", 1), LabelBudget("share", 0.1), LabelBudget("per_class", 1))
    assert [budget.n_draws() for budget in budgets] == [1, 20, 20]


def test_few_labels_are_the_same_draws_for_every_method_and_say_where_there_are_too_few() -> None:
    budgets = (LabelBudget("share", 0.1), LabelBudget("share", 1), LabelBudget("per_class", 1000))
    found = measure(job("raw", budgets=budgets)).few_labels
    assert [(few.labels, few.n_labels, few.draw) for few in found[-2:]] == [("1", 50, 0), ("1000/class", 0, 0)]
    assert found[-1].accuracy is None
    assert found[-2].accuracy == measure(job("raw")).result.accuracy
    assert [few.n_labels for few in found[:20]] == [5] * 20
    assert len({few.accuracy for few in found[:20]}) > 5
