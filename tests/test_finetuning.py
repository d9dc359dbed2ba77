"""Heads, fine-tuning, and the choice between frozen and fine-tuned."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from tsjepa.arrays import Series, as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import CheckpointError
from tsjepa.choice import Comparison, compare, fit_classifier
from tsjepa.embedding import embed
from tsjepa.finetuning import EncoderClassifier, Tuned, Tuning, embed_batch, finetune, make_optimizer, train
from tsjepa.heads import LinearHead, check_classes, fit_linear_head, read_head, weigh_classes
from tsjepa.probe import PENALTIES, ProbeError, make_head
from tsjepa.sections import ProbeConfig

SHORT = Tuning(epochs=2, min_steps=4)
MEAN = ProbeConfig(pool=("mean",))


def waves(n=24, channels=2, length=60, seed=0):
    """Sines of two frequencies in noise, and which of the two."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    phase = rng.uniform(0, 2 * np.pi, (n, channels, 1))
    X = np.sin(2 * np.pi * (3 + 4 * y[:, None, None]) * np.arange(length) / length + phase)
    return as_series((X + 0.1 * rng.normal(size=X.shape)).astype(np.float32)), y


def gaps(series, seed=0):
    """Series with missing points, one channel and one whole case without any value."""
    valid = np.random.default_rng(seed).random(series.values.shape) > 0.2
    valid[3, 0], valid[5], valid[7, :, 40:] = False, False, False
    return Series(np.where(valid, series.values, np.float32(0)), valid)


def encoder_of(*overrides, channels=2, length=60):
    return build_model(resolve(configure("tiny", None, overrides), length), channels).encoder.eval()


def blobs(n=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (rng.normal(size=(n, 5)) + 1.5 * np.eye(classes, 5)[y]).astype(np.float32), y


# The head


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


def test_classes_that_no_file_holds_are_told():
    Z, y = blobs(classes=2)
    head = fit_linear_head(Z, y)
    for classes in (np.array([0, 1], np.longdouble), np.array([(0,), (1,)], [("state", int)])):
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


@pytest.mark.parametrize(
    ("class_weight", "part"),
    [
        ("even", "'balanced'"),
        (3, "'balanced'"),
        ({"oak": 2.0}, "names 'oak', which is no class: there are"),
        ({"ash": 1.0, "birch": 1.0, "oak": 2.0}, "names 'oak', which is no class: there are"),
        ({"ash": 0.0}, "finite number above 0"),
    ],
)
def test_weights_of_no_class_are_told(class_weight, part):
    y = np.array(["ash", "birch"])
    with pytest.raises(ValueError, match=part):
        weigh_classes(class_weight, y, y)


def test_the_fine_tuning_weighs_classes_in_its_loss():
    encoder, (series, _) = encoder_of(), waves()
    rare = np.arange(24) % 4 // 3
    start = LinearHead(np.arange(2), np.zeros(128), np.ones(128), np.zeros((2, 128)), *np.zeros((2, 2)))
    turned = []
    for weights in (None, np.array([1.0, 9.0])):
        module = EncoderClassifier(encoder_of(), MEAN, start)
        train(module, series, rare, SHORT, 0, weights)
        turned.append(np.diff(module.head().bias)[0])
    assert turned[0] < 0 < turned[1]
    even = [finetune(encoder, series, rare, MEAN, SHORT, weights=w).head.weight for w in (None, np.ones(2))]
    np.testing.assert_array_equal(*even)


def test_a_comparison_counts_labels_by_the_weight_of_their_class(monkeypatch):
    encoder, (series, _) = encoder_of(), waves()
    y = np.repeat(["calm", "worn"], [18, 6])

    def calm(encoder, rows, labels, *_, **__):
        head = fit_linear_head(embed(encoder, rows, MEAN), labels)
        return Tuned(encoder, head._replace(weight=0 * head.weight, bias=np.array([1.0, 0.0])))

    monkeypatch.setattr("tsjepa.choice.finetune", calm)
    assert compare(encoder, series, y, MEAN).tuned == 18 / 24
    assert compare(encoder, series, y, MEAN, weights=weigh_classes("balanced", np.unique(y), y)).tuned == pytest.approx(
        0.5
    )


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


def test_numbers_are_no_classes():
    with pytest.raises(ProbeError, match="numeric"):
        check_classes(np.array([0.5, 1.5]))
    with pytest.raises(ProbeError, match="one class only"):
        check_classes(np.array([1, 1]))


# The differentiable embedding


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("channels", ["concat", "mean", "max"])
@pytest.mark.parametrize("overrides", [(), ("tokenizer.channels=mixed",), ("tokenizer.kind=linear",)])
def test_embeddings_with_gradient_are_the_frozen_ones(overrides, channels, missing):
    encoder = encoder_of(*overrides, length=57)
    series = waves(length=57)[0]
    series = gaps(series) if missing else series
    probe = ProbeConfig(channels=channels, scale_features=True)
    valid = None if series.valid is None else torch.from_numpy(series.valid)
    found = embed_batch(encoder, torch.from_numpy(series.values), valid, probe)
    np.testing.assert_allclose(found.detach().numpy(), embed(encoder, series, probe), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("statistic", ["mean", "std", "max"])
def test_gradients_are_finite_where_nothing_varies_or_nothing_was_measured(statistic):
    encoder, series = encoder_of(), gaps(waves()[0])
    series.values[9] = 4.0
    series.valid[9], series.valid[11, :, 1:] = True, False
    module = EncoderClassifier(encoder, ProbeConfig(pool=(statistic,)), head_for(encoder, series, statistic))
    logits = module(torch.from_numpy(series.values), torch.from_numpy(series.valid))
    logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
    assert any((p.grad != 0).any() for p in encoder.parameters() if p.grad is not None)


def head_for(encoder, series, statistic):
    y = np.arange(series.n_cases) % 2
    return fit_linear_head(embed(encoder, series, ProbeConfig(pool=(statistic,))), y)


def test_the_gradient_is_that_of_finite_differences():
    encoder, (series, y) = encoder_of().double(), waves(6)
    head = fit_linear_head(np.random.default_rng(0).normal(size=(6, 2 * 2 * 32)), y)
    module = EncoderClassifier(encoder, MEAN, head).double()
    x, goal = torch.from_numpy(series.values).double(), torch.from_numpy(y)
    F.cross_entropy(module(x), goal).backward()
    weight = encoder.blocks[0].mlp[0].weight
    analytic, step = weight.grad[0, 0].item(), 1e-5
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0] += sign * step
            losses.append(F.cross_entropy(module(x), goal).item())
            weight[0, 0] -= sign * step
    assert analytic == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-4, abs=1e-9)


# Training


def test_training_begins_at_the_frozen_probe():
    encoder, (series, y) = encoder_of(), waves()
    Z = embed(encoder, series, MEAN)
    module = EncoderClassifier(encoder, MEAN, fit_linear_head(Z, y)).eval()
    with torch.no_grad():
        logits = module(torch.from_numpy(series.values)).numpy()
    np.testing.assert_allclose(logits, fit_linear_head(Z, y).logits(Z), rtol=1e-3, atol=1e-4)


def test_fine_tuning_learns_what_the_frozen_encoder_does_not_show():
    # the label is in how two channels agree, of which a mean over channels keeps nothing that is linear
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    phase = rng.uniform(0, 2 * np.pi, (120, 1, 1))
    shift = np.stack([np.zeros(120), np.pi * y], 1)[:, :, None]
    X = np.sin(2 * np.pi * 3 * np.arange(60) / 60 + phase + shift).astype(np.float32)
    encoder, series = encoder_of("tokenizer.channels=mixed", "tokenizer.kind=linear"), as_series(X)
    train, test = np.arange(80), np.arange(80, 120)
    Z = embed(encoder, series, MEAN)
    frozen = np.mean(fit_linear_head(Z[train], y[train]).predict(Z[test]) == y[test])
    tuned = finetune(encoder, series.take(train), y[train], MEAN, Tuning(epochs=20, lr=3e-3, encoder_factor=1.0))
    right = np.mean(tuned.head.predict(embed(tuned.encoder, series.take(test), MEAN)) == y[test])
    assert right >= max(frozen, 0.9)


def test_the_start_is_left_alone_and_a_seed_decides_everything():
    encoder, (series, y) = encoder_of(), waves()
    before = copy.deepcopy(encoder.state_dict())
    torch.manual_seed(3)
    state = torch.get_rng_state()
    small = SHORT._replace(batch_size=8)  # of one batch the order of the series is the order of a sum
    once, again, other = (finetune(encoder, series, y, MEAN, small, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(encoder.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(once.encoder.state_dict(), again.encoder.state_dict(), rtol=0, atol=0)
    np.testing.assert_array_equal(once.head.weight, again.head.weight)
    assert not np.array_equal(once.head.weight, other.head.weight)
    assert not once.encoder.training
    assert any(not torch.equal(value, before[name]) for name, value in once.encoder.state_dict().items())


def test_the_encoder_learns_at_its_share_of_the_rate():
    encoder, (series, y) = encoder_of(), waves()
    module = EncoderClassifier(encoder, MEAN, fit_linear_head(embed(encoder, series, MEAN), y))
    groups = make_optimizer(module, Tuning(lr=0.1, encoder_factor=0.01)).param_groups
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(rates) == len(list(module.parameters()))
    for name, parameter in module.named_parameters():
        lr, decay = rates[id(parameter)]
        assert lr == pytest.approx(0.1 if name.startswith("linear") else 0.001)
        assert decay == (0.01 if parameter.ndim > 1 else 0)
    frozen = finetune(encoder, series, y, MEAN, SHORT._replace(encoder_factor=0.0)).encoder
    torch.testing.assert_close(frozen.state_dict(), encoder.state_dict(), rtol=0, atol=0)


def test_few_labels_are_passed_over_more_often():
    encoder, (series, y) = encoder_of(), waves(6)
    seen = []
    tuning = Tuning(epochs=2, min_steps=5, batch_size=3)
    finetune(encoder, series, y, MEAN, tuning, report=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    seen.clear()
    finetune(encoder, series, y, MEAN, tuning._replace(epochs=4), report=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)


def test_missing_values_and_a_case_without_any_are_trained_on_or_left_out():
    encoder, (series, y) = encoder_of(), waves()
    tuned = finetune(encoder, gaps(series), y, ProbeConfig(), SHORT)
    assert np.isfinite(tuned.head.weight).all()


@pytest.mark.parametrize(
    ("y", "weights", "sentence"),
    [
        (np.arange(23) % 2, None, r"^labels have shape \(23,\), for 24 series: give each one label\.$"),
        (np.arange(48) % 2, None, r"^labels have shape \(48,\), for 24 series"),
        (np.arange(24)[:, None] % 2, None, r"^labels have shape \(24, 1\), for 24 series"),
        (np.zeros(24, int), None, r"^the labels hold 1 class\(es\), and fine-tuning needs two or more\.$"),
        (np.arange(24) % 3, np.ones(2), r"^weights have shape \(2,\), for 3 classes: give each one weight\.$"),
        (np.arange(24) % 3, [1.0, 1.0], r"^weights have shape \(2,\), for 3 classes"),
        (np.arange(24) % 3, np.ones(4), r"^weights have shape \(4,\), for 3 classes"),
    ],
)
def test_labels_and_weights_that_do_not_fit_are_told(y, weights, sentence):
    encoder, (series, _) = encoder_of(), waves()
    with pytest.raises(ValueError, match=sentence):
        finetune(encoder, series, y, MEAN, SHORT, weights=weights)


def test_divergence_is_told():
    encoder, (series, y) = encoder_of(), waves()
    with pytest.raises(ValueError, match="smaller learning rate"):
        finetune(encoder, series, y, MEAN, SHORT._replace(lr=1e38, weight_decay=1e38))


# The choice


def test_the_comparison_sees_no_label_that_it_scores():
    encoder, (series, _) = encoder_of(), waves(30)
    noise = np.random.default_rng(0).permutation(np.arange(30) % 2)
    found = compare(encoder, series, noise, MEAN, SHORT)
    assert found is not None
    assert max(found) < 0.85
    fitted = finetune(encoder, series, noise, MEAN, Tuning(epochs=40, lr=3e-3)).head
    assert fitted.weight.shape == (2, 128)


def test_too_few_labels_to_compare_are_tuned_on():
    encoder, (series, y) = encoder_of(), waves(5)
    fitted, found = fit_classifier(encoder, series, y, MEAN, SHORT, tune="auto")
    assert found is None
    np.testing.assert_array_equal(fitted.head.weight, finetune(encoder, series, y, MEAN, SHORT).head.weight)


@pytest.mark.parametrize(("scores", "tunes"), [((0.8, 0.9), True), ((0.9, 0.9), False), ((0.9, 0.8), False)])
def test_a_tie_stays_frozen(monkeypatch, scores, tunes):
    monkeypatch.setattr("tsjepa.choice.compare", lambda *_, **__: Comparison(*scores))
    encoder, (series, y) = encoder_of(), waves()
    fitted, found = fit_classifier(encoder, series, y, MEAN, SHORT, tune="auto")
    assert found == scores
    assert (fitted.encoder is not encoder) is tunes


def test_tuning_can_be_asked_for_or_left_out():
    encoder, (series, y) = encoder_of(), waves()
    tuned, found = fit_classifier(encoder, series, y, MEAN, SHORT, tune=True)
    assert found is None
    torch.testing.assert_close(
        tuned.encoder.state_dict(), finetune(encoder, series, y, MEAN, SHORT).encoder.state_dict(), rtol=0, atol=0
    )
    frozen, _ = fit_classifier(encoder, series, y, MEAN, SHORT, tune=False)
    assert frozen.encoder is encoder
    np.testing.assert_array_equal(frozen.head.weight, fit_linear_head(embed(encoder, series, MEAN), y).weight)
