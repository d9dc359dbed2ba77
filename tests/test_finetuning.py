"""Fine-tuning: embeddings with a gradient, and training that begins at the frozen probe."""

import copy

import numpy as np
import pytest
import torch
from labelled import MEAN, SHORT, encoder_of, gaps, waves
from torch.nn import functional as F

from tsjepa import precision
from tsjepa.arrays import as_series
from tsjepa.batches import Batches, ShuffledBatches
from tsjepa.choice import fit_classifier
from tsjepa.embedding import embed
from tsjepa.evaluation.diagnosis import LEARNING
from tsjepa.finetuning import EncoderClassifier, Tuning, embed_batch, finetune, make_optimizer, train
from tsjepa.heads import LinearHead, fit_linear_head
from tsjepa.schedule import lr_factor
from tsjepa.sections import ProbeConfig


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
    encoder, (series, y) = encoder_of("encoder.registers=1"), waves()
    module = EncoderClassifier(encoder, MEAN, fit_linear_head(embed(encoder, series, MEAN), y))
    groups = make_optimizer(module, Tuning(lr=0.1, encoder_factor=0.01)).param_groups
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(rates) == len(list(module.parameters()))
    for name, parameter in module.named_parameters():
        lr, decay = rates[id(parameter)]
        assert lr == pytest.approx(0.1 if name.startswith("linear") else 0.001)
        assert decay == (0 if "bias" in name or "norm" in name else 0.01)
    frozen = finetune(encoder, series, y, MEAN, SHORT._replace(encoder_factor=0.0)).encoder
    torch.testing.assert_close(frozen.state_dict(), encoder.state_dict(), rtol=0, atol=0)


def test_the_rate_rises_and_falls_over_all_steps_and_gradients_are_clipped(monkeypatch):
    encoder, (series, y) = encoder_of(), waves()
    rates, sizes, step = [], [], torch.optim.AdamW.step

    def noted(self, *given):
        rates.append(self.param_groups[-1]["lr"])
        sizes.append(torch.nn.utils.get_total_norm([p.grad for group in self.param_groups for p in group["params"]]))
        return step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    short = Tuning(epochs=4, min_steps=1, batch_size=8, warmup=0.25, clip=1e-3, probed=False)
    finetune(encoder, series, y, MEAN, short)
    assert rates == pytest.approx([1e-3 * lr_factor(at, 12, 0.25) for at in range(12)])
    assert max(sizes) <= 1.001e-3


@pytest.mark.parametrize(("epochs", "passes"), [(2, [0, 1, 2]), (4, [0, 1, 2, 3])])
def test_few_labels_are_passed_over_more_often(monkeypatch, epochs, passes):
    encoder, (series, y) = encoder_of(), waves(6)
    seen, begin = [], ShuffledBatches.set_epoch
    monkeypatch.setattr(ShuffledBatches, "set_epoch", lambda self, epoch: (seen.append(epoch), begin(self, epoch)))
    finetune(encoder, series, y, MEAN, Tuning(epochs=epochs, min_steps=5, batch_size=3))
    assert seen == passes


def test_products_are_those_of_pretraining_and_of_embedding(monkeypatch):
    monkeypatch.setattr(precision, "exact", lambda: True)
    monkeypatch.setattr(precision, "intel", lambda: False)
    encoder, (series, y) = encoder_of(), waves()
    before, seen = precision.SETTING.fp32_precision, []
    begin = ShuffledBatches.set_epoch
    monkeypatch.setattr(
        ShuffledBatches, "set_epoch", lambda *given: (seen.append(precision.SETTING.fp32_precision), begin(*given))
    )
    finetune(encoder, series, y, MEAN, SHORT)
    assert set(seen) == {"bf16"}
    assert precision.SETTING.fp32_precision == before != "bf16"


def test_a_case_without_any_value_moves_no_label_to_another_case():
    encoder, (series, y) = encoder_of(), waves()
    series, rest = gaps(series), np.delete(np.arange(24), 5)  # of the sixth nothing was measured
    tuned = finetune(encoder, series, y, ProbeConfig(), SHORT).head
    alone = finetune(encoder, series.take(rest), y[rest], ProbeConfig(), SHORT).head
    assert np.isfinite(tuned.weight).all()
    np.testing.assert_array_equal(tuned.weight, alone.weight)


def test_classes_are_weighed_where_training_begins_and_in_its_loss():
    encoder, (series, _) = encoder_of(), waves()
    rare, weights = np.arange(24) % 4 // 3, np.array([1.0, 9.0])
    start = fit_linear_head(embed(encoder, series, MEAN), rare, weights=weights)
    module = EncoderClassifier(copy.deepcopy(encoder), MEAN, start)
    train(module, series, rare, SHORT, 0, weights)
    found = finetune(encoder, series, rare, MEAN, SHORT, weights=weights).head
    np.testing.assert_array_equal(found.weight, module.head().weight)
    np.testing.assert_array_equal(found.prior, start.prior)


def test_each_epoch_has_an_order_of_its_own(monkeypatch):
    seen, taken = [], Batches.__getitem__
    monkeypatch.setattr(Batches, "__getitem__", lambda self, index: (seen.append(list(index)), taken(self, index))[1])
    encoder, (series, y) = encoder_of(), waves()
    finetune(encoder, series, y, MEAN, Tuning(epochs=2, min_steps=1))
    first, second = seen
    assert first != second
    assert sorted(first) == sorted(second) == list(range(24))


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


@pytest.mark.parametrize("tune", [True, False, "auto"])
def test_series_without_any_value_are_refused(tune):
    encoder, (series, y) = encoder_of(), waves()
    empty = series._replace(valid=np.zeros(series.values.shape, bool))
    with pytest.raises(ValueError, match=r"^no series holds a single value, so there is nothing to train on\.$"):
        fit_classifier(encoder, empty, y, MEAN, SHORT, tune=tune)


def test_divergence_is_told():
    encoder, (series, y) = encoder_of(), waves()
    with pytest.raises(ValueError, match="smaller learning rate"):
        finetune(encoder, series, y, MEAN, SHORT._replace(lr=1e38, weight_decay=1e38))


def test_an_encoder_from_scratch_learns_where_a_probe_would_fit_all_labels_at_once():
    encoder, (series, y) = encoder_of(), waves()

    def moved(tuning):
        tuned = finetune(encoder, series, y, MEAN, tuning).encoder
        before, after = (torch.cat([p.detach().flatten() for p in part.parameters()]) for part in (encoder, tuned))
        return float((after - before).norm() / before.norm())

    steps = LEARNING._replace(min_steps=40)
    assert moved(steps) > 0.03
    assert moved(steps._replace(probed=True)) < 0.3 * moved(steps)
