"""The choice between a frozen encoder and a fine-tuned one."""

import numpy as np
import pytest
import torch
from labelled import MEAN, SHORT, encoder_of, waves

from tsjepa.choice import Comparison, compare, fit_classifier
from tsjepa.embedding import embed
from tsjepa.finetuning import Tuned, Tuning, finetune
from tsjepa.heads import fit_linear_head, weigh_classes


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
    assert compare(encoder, series, y, MEAN, weights=np.array([3.0, 1.0])).tuned == pytest.approx(54 / 60)


@pytest.mark.parametrize(("tune", "fitted"), [(True, 1), (False, 1), ("auto", 3 * 2 + 1)])
def test_weights_of_classes_seed_and_tuning_count_in_all_that_is_fitted(monkeypatch, tune, fitted):
    encoder, (series, y), given, seen = encoder_of(), waves(9), np.array([1.0, 3.0]), []

    def frozen(encoder, rows, labels, probe, tuning=None, *, seed=0, weights=None, **_):
        assert tuning is SHORT
        return Tuned(encoder, head(embed(encoder, rows, probe), labels, seed=seed, weights=weights))

    def head(Z, y, *, seed=0, weights=None):
        seen.append((seed, weights is given))
        return fit_linear_head(Z, y, seed=seed, weights=weights)

    monkeypatch.setattr("tsjepa.choice.finetune", frozen)
    monkeypatch.setattr("tsjepa.choice.fit_linear_head", head)
    fit_classifier(encoder, series, y, MEAN, SHORT, tune=tune, seed=1, weights=given)
    assert seen == [(1, True)] * fitted


def test_the_comparison_sees_no_label_that_it_scores():
    encoder, (series, _) = encoder_of(), waves(30)
    noise = np.random.default_rng(0).permutation(np.arange(30) % 2)
    found = compare(encoder, series, noise, MEAN, SHORT)
    assert found is not None
    assert max(found) < 0.85
    fitted = finetune(encoder, series, noise, MEAN, Tuning(epochs=40, lr=3e-3)).head
    assert fitted.weight.shape == (2, 128)


def test_three_labels_of_a_class_are_enough_to_compare_on_folds_that_the_seed_draws(monkeypatch):
    encoder, (series, _) = encoder_of(), waves(18)
    y, seen = np.repeat([0, 1], [15, 3]), {0: [], 1: []}

    def frozen(encoder, rows, labels, *_, seed, **__):
        seen[seed].append(rows.values.tobytes())
        return Tuned(encoder, fit_linear_head(embed(encoder, rows, MEAN), labels))

    monkeypatch.setattr("tsjepa.choice.finetune", frozen)
    assert all(compare(encoder, series, y, MEAN, seed=seed) is not None for seed in seen)
    assert [len(folds) for folds in seen.values()] == [3, 3]
    assert seen[0] != seen[1]


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
