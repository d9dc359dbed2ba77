"""Heads on frozen features: what the ridge probe says, weights of classes, and what a file holds of a head."""

import itertools
from enum import IntEnum

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import blobs
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from tsjepa.checkpoint import CheckpointError
from tsjepa.heads import check_classes, fit_linear_head, read_head, weigh_classes
from tsjepa.probe import PENALTIES, ProbeError, make_head


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_predicts_what_the_ridge_probe_predicts(classes):
    Z, y = blobs(classes=classes)
    names = np.array(["ash", "birch", "cedar"])[y]
    other = blobs(200, classes, seed=1)[0]
    np.testing.assert_array_equal(fit_linear_head(Z, names).predict(other), make_head().fit(Z, names).predict(other))


@given(st.integers(2, 4), st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_logits_are_the_ridges_decisions_times_one_scale(classes, seed):
    Z, y = blobs(classes=classes, seed=seed)
    logits, decisions = fit_linear_head(Z, y).logits(Z), make_head().fit(Z, y).decision_function(Z)
    if classes == 2:
        decisions = np.stack([-decisions, decisions], 1)
    scale = np.vdot(logits, decisions) / np.vdot(decisions, decisions)
    np.testing.assert_allclose(logits, scale * decisions, rtol=1e-5, atol=1e-6)


def test_probabilities_are_calibrated_on_labels_held_out():
    Z, y = blobs(400, 2)
    rng = np.random.default_rng(0)
    unclear = np.where(rng.random(400) < 0.3, 1 - y, y)
    probability = 1 / (1 + np.exp(-np.diff(fit_linear_head(Z, unclear).logits(blobs(2000, 2, seed=1)[0]))[:, 0]))
    seen = np.where(rng.random(2000) < 0.3, 1 - np.arange(2000) % 2, np.arange(2000) % 2)
    assert np.abs(probability - 0.5).mean() + 0.5 == pytest.approx(np.mean((probability > 0.5) == seen), abs=0.05)


def test_one_label_a_class_is_enough_for_a_head():
    Z, y = blobs(3)
    head = fit_linear_head(Z, y)
    ridge = make_head().fit(Z, y)
    np.testing.assert_allclose(head.logits(Z), 2 * ridge.decision_function(Z), rtol=1e-6)


def test_one_label_of_one_class_is_enough_for_a_head_beside_many_of_another():
    Z, y = blobs(30)[0], np.r_[1, np.zeros(29, int)]
    logits, decisions = fit_linear_head(Z, y).logits(Z)[:, 1], make_head().fit(Z, y).decision_function(Z)
    np.testing.assert_allclose(logits, 2 * decisions, rtol=1e-6)


def test_a_damaged_head_is_told():
    Z, y = blobs()
    whole = fit_linear_head(Z, y).plain()
    assert {type(name) for name in whole["classes"]} == {int}
    again = read_head({"head": whole}, "a.ckpt")
    np.testing.assert_array_equal(again.logits(Z), fit_linear_head(Z, y).logits(Z))
    with pytest.raises(CheckpointError, match=r"a\.ckpt holds an encoder without a head"):
        read_head({}, "a.ckpt")
    for name, wrong in (
        *itertools.product(whole, (None, torch.zeros(7))),
        ("classes", [0, 1]),
    ):
        with pytest.raises(CheckpointError, match=r"the head of a\.ckpt is damaged"):
            read_head({"head": {**whole, name: wrong}}, "a.ckpt")


@pytest.mark.parametrize(
    "classes",
    [
        *(np.array(["2020-01-01", "2020-01-02"], f"datetime64[{unit}]") for unit in ("D", "ns")),
        np.array([60, 90], "timedelta64[s]"),
        *(np.array(["calm", "worn"], kind) for kind in (str, object)),
        np.array([np.str_("calm"), np.str_("worn")], object),
        *(np.array([0, 3], kind) for kind in (bool, np.int8, ">i4", np.uint64, np.float16)),
    ],
)
def test_classes_come_back_from_a_file_as_they_were(classes, tmp_path):
    Z, y = blobs(classes=2)
    torch.save({"head": fit_linear_head(Z, classes[y]).plain()}, tmp_path / "a.ckpt")
    again = read_head(torch.load(tmp_path / "a.ckpt", weights_only=True), "a.ckpt").classes
    assert again.dtype == classes.dtype
    np.testing.assert_array_equal(again, classes)


def test_a_head_of_a_checkpoint_without_the_type_of_its_classes_is_read():
    Z, y = blobs()
    older = fit_linear_head(Z, np.array(["ash", "birch", "cedar"])[y]).plain()
    del older["dtype"]
    assert read_head({"head": older}, "a.ckpt").classes.tolist() == ["ash", "birch", "cedar"]


class Wear(IntEnum):
    CALM = 0
    WORN = 1


def test_classes_that_no_file_holds_are_told():
    Z, y = blobs(classes=2)
    head = fit_linear_head(Z, y)
    others = np.array([0, 1], np.longdouble), np.array([(0,), (1,)], [("state", int)]), np.array([*Wear], object)
    for classes in others:
        with pytest.raises(ValueError, match=r"labels of type .* cannot be saved: fit with labels that are text"):
            head._replace(classes=classes).plain()


def test_classes_are_weighed_as_scikit_learn_does():
    Z, y = blobs(60, 3)
    y[:45] = 0
    balanced = RidgeClassifierCV(PENALTIES, class_weight="balanced").fit(StandardScaler().fit_transform(Z), y)
    weights = weigh_classes("balanced", np.unique(y), y)
    np.testing.assert_allclose(weights * np.bincount(y), 20)
    head = fit_linear_head(Z, y, weights=weights)
    np.testing.assert_array_equal(head.predict(Z), balanced.predict(StandardScaler().fit_transform(Z)))
    np.testing.assert_allclose(np.exp(head.prior), 1 / 3)
    assert not np.array_equal(head.predict(Z), fit_linear_head(Z, y).predict(Z))
    names = np.array(["ash", "birch", "cedar"])
    assert weigh_classes({"cedar": 3.0}, names, names[y]).tolist() == [1, 1, 3]
    numbers, days = np.array(["1", "2"]), np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
    assert weigh_classes({"2": 5.0}, numbers, numbers).tolist() == [1, 5]
    assert weigh_classes({days[0]: 2.0}, days, days).tolist() == [2, 1]
    assert weigh_classes(None, names, names[y]) is None


@pytest.mark.parametrize("weights", [[1.0, 20.0], [20.0, 1.0]])
def test_probabilities_are_calibrated_with_each_label_counted_by_its_class(weights):
    counted = np.array(weights)

    def unclear(n, seed):
        Z, y = blobs(n, 2, seed)
        return Z, np.where(np.random.default_rng(seed).random(n) < 0.4, 0, y)

    head = fit_linear_head(*unclear(400, 0), weights=counted)
    Z, y = unclear(2000, 1)
    logits, factors = torch.from_numpy(head.logits(Z)), np.geomspace(0.1, 10, 21)
    losses = [log_loss(y, (factor * logits).softmax(1).numpy(), sample_weight=counted[y]) for factor in factors]
    assert factors[np.argmin(losses)] == pytest.approx(1, rel=0.5)


@pytest.mark.parametrize(
    ("class_weight", "part"),
    [
        ("even", "'balanced'"),
        (3, "'balanced'"),
        ({"oak": 2.0}, "names 'oak', which is no class: there are"),
        ({"ash": 1.0, "birch": 1.0, "oak": 2.0}, "names 'oak', which is no class: there are"),
        ({"ash": 0.0}, "finite number above 0"),
        ({"ash": np.inf}, "finite number above 0"),
    ],
)
def test_weights_of_no_class_are_told(class_weight, part):
    y = np.array(["ash", "birch"])
    with pytest.raises(ValueError, match=part):
        weigh_classes(class_weight, y, y)


def test_without_a_value_the_shares_of_the_classes_are_all_that_is_known():
    Z, y = blobs(classes=2)
    y[:12] = 1
    head = fit_linear_head(50 + Z, y)
    shares = torch.from_numpy(head.logits(np.concatenate([np.zeros((1, 5)), 50 + Z]))).softmax(1).numpy()
    np.testing.assert_allclose(shares[0], np.bincount(y) / len(y))
    np.testing.assert_array_equal(shares[1:].argmax(1), head.predict(50 + Z))
    more = fit_linear_head(np.concatenate([np.zeros((6, 5)), 50 + Z]), np.concatenate([np.zeros(6, int), y]))
    np.testing.assert_array_equal(more.mean, head.mean)
    older = {name: part for name, part in head.plain().items() if name != "prior"}
    np.testing.assert_array_equal(read_head({"head": older}, "a.ckpt").logits(np.zeros((1, 5)))[0], head.bias)


def test_a_class_without_a_value_is_fitted_like_any_other():
    Z, y = blobs()
    Z[y == 2] = 0
    head = fit_linear_head(Z, y)
    assert head.weight.shape == (3, 5)
    np.testing.assert_array_equal(head.mean, Z.mean(0, dtype=np.float64))


def test_two_labels_a_class_are_enough_to_hold_one_out():
    Z, y = blobs(4, 2)
    logits, decisions = fit_linear_head(10 * Z, y).logits(10 * Z), make_head().fit(10 * Z, y).decision_function(10 * Z)
    assert np.median(logits[:, 1] / decisions) != pytest.approx(2, rel=0.1)


def test_the_seed_draws_the_labels_that_are_held_out():
    Z, y = blobs(30, 2)
    y[::3] = 1 - y[::3]
    weights = [fit_linear_head(Z, y, seed=seed).weight for seed in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert any((weights[0] != weight).any() for weight in weights[2:])


def test_numbers_are_no_classes():
    with pytest.raises(ProbeError, match="numeric"):
        check_classes(np.array([0.5, 1.5]))
    with pytest.raises(ProbeError, match="one class only"):
        check_classes(np.array([1, 1]))
