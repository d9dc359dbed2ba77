"""What is recorded of a model after an epoch: numbers as direct calls give them, of what there is."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from watched import make, toy

from tsjepa.arrays import as_series
from tsjepa.batches import keyed_generator
from tsjepa.bounds import operator_norm
from tsjepa.diagnostics import effective_rank, encoder_target_gap, lidar
from tsjepa.embedding import pool
from tsjepa.masking import Mask
from tsjepa.monitor import VIEWS_KEY, Monitor, measuring, read_history
from tsjepa.positional import cross_series_share, position_share, predictor_sensitivity
from tsjepa.predictor import Predictor
from tsjepa.record import compare_means
from tsjepa.spread import alignment, dead_dimensions, self_cluster, uniformity
from tsjepa.targets import EMATarget, SelfTarget
from tsjepa.threads import threads
from tsjepa.training import Options, fit
from tsjepa.training_error import TrainingError
from tsjepa.views import Views, sensitivity


def test_a_record_is_the_diagnostics_of_the_model_as_the_loss_sees_it():
    series, _ = toy(40)
    model, _ = make("ema")
    monitor = Monitor(model, series)
    monitor.measure(0)
    record, x = monitor.history[0], torch.from_numpy(series.values)
    with torch.no_grad():
        last = model.eval().encoder(x)[0]
        target = model.target.module(x)[0]
        latents = torch.nn.functional.layer_norm(target, target.shape[-1:])
    assert record.effective_rank == pytest.approx(float(effective_rank(last.flatten(0, 1), centred=True)), rel=1e-6)
    assert record.position_share == pytest.approx(float(position_share(latents)), rel=1e-6)
    assert record.encoder_target_gap == pytest.approx(float(encoder_target_gap(last, target)), abs=1e-6)
    assert math.isnan(record.loss)
    assert math.isnan(record.probe)


def test_series_without_a_value_have_no_part():
    series, _ = toy(40)
    model, _ = make("ema")
    values = np.concatenate([series.values, np.full((80, 1, 60), np.nan, np.float32)])
    alone, among = Monitor(model, series), Monitor(model, as_series(np.random.default_rng(0).permutation(values)))
    for monitor in (alone, among):
        monitor.measure(0)
    assert len(among.x) == len(alone.x) == 40
    for name in ("uniformity", "self_cluster", "effective_rank", "relative_spread"):
        assert getattr(among.history[0], name) == pytest.approx(getattr(alone.history[0], name), rel=1e-4), name


def test_every_diagnostic_is_recorded_as_direct_calls_give_it():
    series, _ = toy(40)
    model, _ = make("ema")
    with torch.no_grad():  # so that encoder and target differ
        for weight in model.target.parameters():
            weight.mul_(1.1)
    monitor = Monitor(model, series)
    monitor.measure(0)
    record, x, generator = monitor.history[0], torch.from_numpy(series.values), keyed_generator(*VIEWS_KEY)
    with torch.no_grad():
        last = model.eval().encoder(x)[0]
        masks = [model.mask(40, 10, generator, None) for _ in range(2)]
        seen = [model.encoder(x, keep=mask.context)[0] for mask in masks]
        views = torch.stack([tokens.mean(1) for tokens in seen], 1)
        answer = predictor_sensitivity(
            lambda h: model.predictor(h, masks[1]), seen[1], keyed_generator(*VIEWS_KEY), n=1
        )
        pairs = zip(model.encoder.parameters(), model.target.module.parameters(), strict=True)
        mismatch = max(operator_norm(a - b) for a, b in pairs)
    wanted = {
        "dead_dimensions": dead_dimensions(last.flatten(0, 1)),
        "uniformity": uniformity(last.mean(1)),
        "self_cluster": self_cluster(last.mean(1)),
        "lidar": lidar(views),
        "alignment": alignment(views[:, 0], views[:, 1]),
        "predictor_sensitivity": answer,
        "parameter_mismatch": mismatch,
    }
    for name, value in wanted.items():
        assert getattr(record, name) == pytest.approx(float(value), rel=1e-5), name
    assert record.parameter_mismatch > 0


def ended_early(n=40):
    """Return toy series of which every second one ends early, so that some tokens hold no value."""
    series, y = toy(n)
    X = series.values.copy()
    X[::2, :, 30:] = np.nan
    return as_series(X), y


@pytest.mark.parametrize("objective", ["ema", "sigreg"])
def test_tokens_without_a_value_have_no_part(objective, monkeypatch):
    series, y = ended_early()
    probed = []
    monkeypatch.setattr("tsjepa.monitor.cross_validate", lambda Z, y, folds: probed.append(Z))
    model, _ = make(objective)
    monitor = Monitor(model, series, y)
    monitor.measure(0)
    record, x, valid = monitor.history[0], torch.from_numpy(series.values), torch.from_numpy(series.valid)
    attend = model.encoder.token_valid(valid)
    assert not attend.all()
    with torch.no_grad():
        last = model.eval().encoder(x, valid=valid, attend=attend)[0]
    means = pool(last, attend, "mean")
    assert record.effective_rank == pytest.approx(float(effective_rank(last[attend], centred=True)), rel=1e-6)
    assert record.uniformity == pytest.approx(float(uniformity(means)), rel=1e-5)
    np.testing.assert_allclose(probed, [means], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("setting", ["target.levels=[0]", "encoder.conditioned=true"])
def test_the_gap_is_that_to_the_average_where_its_last_level_is_not_the_target(setting):
    series, _ = toy(40)
    model, _ = make("ema", setting)
    with torch.no_grad():  # so that encoder and target differ
        for weight in model.target.parameters():
            weight.mul_(1.1)
    monitor = Monitor(model, series)
    monitor.measure(0)
    x = torch.from_numpy(series.values)
    with torch.no_grad():
        gap = float(encoder_target_gap(model.eval().encoder(x)[0], model.target.module(x)[0]))
    assert gap > 1e-3
    assert monitor.history[0].encoder_target_gap == pytest.approx(gap, rel=1e-5)


def test_the_labels_are_those_of_the_series_that_are_looked_at():
    series, y = toy(300)
    monitor = Monitor(make("ema")[0], series, y)
    assert len(monitor.x) < 300
    labels = dict(zip((case.tobytes() for case in series.values), y.tolist(), strict=True))
    assert [labels[case.numpy().tobytes()] for case in monitor.x] == monitor.labels.tolist()


def test_a_run_that_begins_again_forgets_what_was_recorded(tmp_path):
    series, _ = toy(20)
    for _ in range(2):
        monitor = Monitor(make("ema")[0], series, out=tmp_path)
        monitor.start(0)
        assert [record.epoch for record in monitor.history] == [0]
        np.testing.assert_array_equal(read_history(monitor.table), monitor.history)


@pytest.mark.parametrize("part", ["encoder", "target"])
def test_a_branch_whose_latents_are_not_finite_is_told(part):
    model, _ = make("ema")
    with torch.no_grad():
        next(getattr(model, part).parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match=r"the latents are not finite after epoch 1"):
        Monitor(model, toy(20)[0]).measure(1)


def test_latents_that_are_not_finite_before_a_step_are_not_put_down_to_the_learning_rate():
    series, _ = toy(20)
    model, header = make("ema", "normalize=none")
    values = series.values.copy()
    values[3, 0, 7] = 9.96921e36
    with pytest.raises(TrainingError, match=r"not finite before training: look for .* values .* that are too large"):
        Monitor(model, as_series(values)).measure(0)
    with pytest.raises(TrainingError, match=r"not finite after epoch 2: start again with a lower train\.lr"):
        Monitor(model, as_series(values)).measure(2)
    for diagnose in (True, False):
        with pytest.raises(
            TrainingError, match=r"9\.96921e\+36 in the series \(case 3, channel 0, time point 7\) is too"
        ):
            fit(model, as_series(values), header, Options(device="cpu", diagnose=diagnose))
    for normalize in ("train", "instance"):
        model, header = make("ema", f"normalize={normalize}", "train.epochs=1")
        assert math.isfinite(fit(model, as_series(values), header, Options(device="cpu")).loss)


def test_numbers_are_taken_by_one_thread(monkeypatch):
    used = []

    def noted(*samples, **how):
        used.append(torch.get_num_threads())
        return effective_rank(*samples, **how)

    monkeypatch.setattr("tsjepa.record.effective_rank", noted)
    with threads(2):
        Monitor(make("ema")[0], toy(20)[0]).measure(0)
        assert torch.get_num_threads() == 2
    assert set(used) == {1}


class Narrow(nn.Module):
    """A few directions of the encoder's own latents, learned with it."""

    trains_encoder, stop_gradient = True, False

    def __init__(self, encoder):
        super().__init__()
        self.held, self.head = (encoder,), nn.Linear(encoder.dim, 4)

    def forward(self, x, levels, valid, attend, hint=None, hint_valid=None):
        return [self.head(self.held[0](x, valid=valid, attend=attend)[0])]

    def update(self, encoder, step, total):
        """Nothing moves."""


def narrowed(base):
    """The same as a subclass of a built-in target."""

    class Narrowed(base):
        def __init__(self, encoder):
            super().__init__(encoder)
            self.head = nn.Linear(encoder.dim, 4)

        def forward(self, *series, **more):
            return [self.head(level) for level in super().forward(*series, **more)]

    return Narrowed


@pytest.mark.parametrize("kind", [Narrow, narrowed(SelfTarget), narrowed(EMATarget)])
def test_beside_a_target_of_ones_own_the_encoder_is_what_is_watched(kind):
    series, _ = toy(40)
    model, _ = make("sigreg", "projector.out=0")
    model.target, model.predictor = kind(model.encoder), Predictor(32, out_dim=4, dim=32, depth=1, heads=2)
    monitor = Monitor(model, series)
    monitor.measure(0)
    with torch.no_grad():
        (last,) = model.eval().encoder(torch.from_numpy(series.values))
    record = monitor.history[0]
    assert record.effective_rank == pytest.approx(float(effective_rank(last.flatten(0, 1), centred=True)), rel=1e-6)
    assert record.effective_rank > 4 > record.latent_effective_rank
    assert record.encoder_target_gap == pytest.approx(0, abs=1e-6) or not issubclass(kind, EMATarget)


def test_what_a_model_does_not_have_is_not_recorded():
    series, _ = toy(20)
    alone = Monitor(make("sigreg")[0], series)
    alone.measure(0)
    assert math.isnan(alone.history[0].parameter_mismatch)
    settings = ("encoder.causal=true", "normalize=none", "tokenizer.channels=mixed", "world.horizons=[1]", "mask={}")
    world = Monitor(make(None, *settings)[0], series)
    world.measure(0)
    assert all(math.isnan(getattr(world.history[0], k)) for k in ("lidar", "alignment", "predictor_sensitivity"))
    assert math.isfinite(world.history[0].uniformity)


def test_measuring_leaves_the_model_and_every_generator_as_they_were():
    series, y = toy(channels=2)
    model, _ = make("sigreg", channels=2)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    Monitor(model, series, y).measure(0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert model.projector.training
    with measuring(model):
        assert not model.training
        assert model.projector.training
    assert model.training


@pytest.mark.parametrize("cooldown", [0, 0.5])
@pytest.mark.parametrize("diagnose", [True, False])
def test_a_plain_function_can_be_the_projector(diagnose, cooldown):
    model, header = make("ema", "train.epochs=2", f"train.cooldown_share={cooldown}")
    model.projector = torch.tanh
    result = fit(model, toy(20)[0], header, Options(device="cpu", diagnose=diagnose))
    assert math.isfinite(result.loss)


def test_missing_values_and_one_series_are_measured():
    series, y = toy()
    X = series.values.copy()
    X[::3, :, 40:] = np.nan
    model, _ = make("ema")
    monitor = Monitor(model, as_series(X), y)
    monitor.measure(0, step=0)
    assert np.isfinite([v for k, v in monitor.history[0]._asdict().items() if k != "loss"]).all()
    alone = Monitor(model, as_series(X[:1]))
    alone.measure(0)
    assert math.isnan(alone.history[0].cross_series_share)


def test_two_latents_have_no_sigreg_score():
    # two are as far from their mean as each other: of any law
    model, _ = make("ema")
    X = np.full((2, 1, 60), np.nan, np.float32)
    X[:, :, :3] = np.random.default_rng(0).normal(size=(2, 1, 3))
    monitor = Monitor(model, as_series(X))
    monitor.measure(0)
    assert math.isnan(monitor.history[0].sigreg_score)


def test_the_share_that_is_recorded_is_that_of_the_predictions():
    series, _ = toy(30)
    model, _ = make("ema")
    monitor = Monitor(model, series)
    monitor.measure(0)
    from tsjepa.batches import keyed_generator
    from tsjepa.monitor import KEY

    with torch.no_grad(), measuring(model):
        b = model.branches(torch.from_numpy(series.values), keyed_generator(*KEY))
    wanted = float(cross_series_share(b.predicted, b.latents, b.mask.target))
    assert monitor.history[0].cross_series_share == pytest.approx(wanted)


def test_a_channel_without_values_changes_nothing_that_compares_series():
    X = toy(40)[0].values
    model, _ = make("ema")
    alone, beside = (Monitor(model, as_series(x)) for x in (X, np.concatenate([X, np.full_like(X, np.nan)], 1)))
    for monitor in (alone, beside):
        monitor.measure(0)
    for name in ("uniformity", "self_cluster", "effective_rank", "position_share"):
        assert getattr(beside.history[0], name) == pytest.approx(getattr(alone.history[0], name), rel=1e-6), name
    empty = torch.tensor([[True, True]] * 3 + [[False, False]] * 2)
    means, views = torch.randn(5, 4), torch.randn(5, 2, 4)
    assert compare_means(means, views, empty) == compare_means(means[:3], views[:3], None)
    assert compare_means(means[:1], views[:1], empty[:1]) == {}


def test_series_of_one_token_have_no_views_to_compare_and_no_predictions():
    X = toy(40)[0].values
    model, _ = make("ema")
    short = X[:20].copy()
    short[:, :, model.encoder.tokenizer.patch_length :] = np.nan
    whole, among = Monitor(model, as_series(X)), Monitor(model, as_series(np.concatenate([X, short])))
    for monitor in (whole, among):
        monitor.measure(0)
    for name in ("lidar", "alignment", "predictor_sensitivity"):
        assert getattr(among.history[0], name) == pytest.approx(getattr(whole.history[0], name), rel=1e-4), name
    valid = torch.tensor([[True, True]] + [[True, False]] * 3)
    assert compare_means(torch.randn(4, 4), torch.randn(4, 2, 4), valid).keys() == {"uniformity", "self_cluster"}


def test_padding_is_no_part_of_how_predictions_answer():
    model, _ = make("ema")
    model.eval()
    mask = Mask(torch.tensor([[0, 2]] * 3), torch.tensor([[1, 3]] * 3))
    context = torch.randn(3, 2, 32)
    whole = Views(context[:, :1], context, mask)
    more = Mask(
        *(torch.nn.functional.pad(part, (0, 2)) for part in mask[:2]),
        *[torch.tensor([[True, True, False, False]] * 3)] * 2,
    )
    padded = Views(context[:, :1], torch.nn.functional.pad(context, (0, 0, 0, 2)), more)

    def answer(views, rows=None):
        return sensitivity(model, views, torch.Generator().manual_seed(0), n=200, rows=rows).item()

    with torch.no_grad():
        assert answer(padded) == pytest.approx(answer(whole), rel=0.03)  # other directions are drawn
        first = Views(*(part[:1] for part in whole[:2]), mask.rows(0, 1))
        assert answer(whole, torch.tensor([True, False, False])) == answer(first)


def test_a_mask_ratio_that_moves_is_measured_at_its_end():
    series, _ = toy(40)
    model, _ = make("ema", "mask.kind=random", "mask.ratio=0.2", "mask.final_ratio=0.6")
    monitor = Monitor(model, series)
    for progress in (0.0, 0.5):
        model.mask.progress = progress
        monitor.measure(0)
        assert model.mask.progress == progress
    np.testing.assert_array_equal(*monitor.history)
    with measuring(model):
        assert model.mask.progress == 1
