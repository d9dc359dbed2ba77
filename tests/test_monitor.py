import math

import numpy as np
import pytest
import torch
from torch import nn

from tsjepa import CollapseWarning, TSJEPAEmbedder
from tsjepa.arrays import as_series
from tsjepa.batches import keyed_generator
from tsjepa.best import best_epoch
from tsjepa.bounds import operator_norm
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header, load_checkpoint
from tsjepa.diagnostics import effective_rank, encoder_target_gap, lidar
from tsjepa.history import EpochDiagnostics
from tsjepa.logs import EpochTable
from tsjepa.masking import Mask
from tsjepa.monitor import DIAGNOSTICS, VIEWS_KEY, Monitor, compare_means, measuring, read_history, teacher_verdict
from tsjepa.positional import cross_series_share, position_share, predictor_sensitivity
from tsjepa.predictor import Predictor
from tsjepa.spread import alignment, dead_dimensions, self_cluster, uniformity
from tsjepa.targets import EMATarget, SelfTarget
from tsjepa.threads import threads
from tsjepa.training import FitResult, Options, check_teacher, fit, fit_stages
from tsjepa.training_error import TrainingError
from tsjepa.verdict import Verdict, of_both, to_be_ended
from tsjepa.views import Views, sensitivity


def toy(n=64, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    time = np.arange(60) / 60
    phase = rng.uniform(0, 6, (n, channels, 1))
    X = np.sin(2 * np.pi * (2 + 3 * y[:, None, None]) * time + phase) + 0.1 * rng.normal(size=(n, channels, 60))
    return as_series(X.astype(np.float32)), y


def make(objective, *overrides, channels=1):
    config = resolve(configure("tiny", objective, overrides), 60)
    return build_model(config, channels), Header(config, "toy", channels, 60)


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
        masks = [model.draw_mask(40, 10, generator, None) for _ in range(2)]
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


def test_numbers_are_taken_by_one_thread(monkeypatch):
    used = []

    def noted(*samples, **how):
        used.append(torch.get_num_threads())
        return effective_rank(*samples, **how)

    monkeypatch.setattr("tsjepa.monitor.effective_rank", noted)
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


class Narrowed(SelfTarget):
    """The same as a subclass of the built-in target."""

    def __init__(self, encoder):
        super().__init__(encoder)
        self.head = nn.Linear(encoder.dim, 4)

    def forward(self, *series, **more):
        return [self.head(level) for level in super().forward(*series, **more)]


class SlowlyNarrowed(EMATarget):
    """The same of the encoder's average."""

    def __init__(self, encoder):
        super().__init__(encoder)
        self.head = nn.Linear(encoder.dim, 4)

    def forward(self, *series, **more):
        return [self.head(level) for level in super().forward(*series, **more)]


@pytest.mark.parametrize("kind", [Narrow, Narrowed, SlowlyNarrowed])
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
    assert record.encoder_target_gap == pytest.approx(0, abs=1e-6) or kind is not SlowlyNarrowed


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


@pytest.mark.parametrize("objective", ["ema", "sigreg", "deep", "salt"])
def test_watching_changes_nothing_of_a_run(objective):
    series, _ = toy()
    weights = []
    for diagnose in (True, False):
        model, header = make(objective, "train.epochs=2")
        fit(model, series, header, Options(device="cpu", diagnose=diagnose))
        weights.append(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[1].values(), strict=True))


def test_the_table_has_a_row_an_epoch_and_goes_on_after_a_resume(tmp_path):
    series, y = toy()
    histories = {}
    for name in ("whole", "halves"):
        (tmp_path / name).mkdir()
        options = Options(tmp_path / name, device="cpu", labels=y)
        if name == "halves":

            def stop(progress):
                if progress.epoch == 3:
                    raise RuntimeError("stopped")

            model, header = make("ema", "train.epochs=4")
            with pytest.raises(RuntimeError, match="stopped"):
                fit(model, series, header, options._replace(report=stop))
            options = options._replace(resume=True)
        model, header = make("ema", "train.epochs=4")
        result = fit(model, series, header, options)
        histories[name] = read_history(EpochTable(tmp_path / name / DIAGNOSTICS))
        assert result.verdict is not None
    assert [record.epoch for record in histories["whole"]] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(histories["whole"], histories["halves"])
    assert all(0 <= record.probe <= 1 for record in histories["whole"])


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


BROKEN = ("target.kind=self", "regularizer.kind=none", "projector.out=0", "train.lr=1e-2", "train.epochs=20")


def test_a_run_without_any_prevention_is_called_collapsed():
    series, y = toy()
    model, header = make(None, *BROKEN)
    verdict = fit(model, series, header, Options(device="cpu", labels=y)).verdict
    assert verdict.verdict == "collapsed"
    assert verdict.onset_epoch >= 1
    assert "spread" in verdict.evidence


def test_a_hopeless_run_is_ended_on_request_and_its_best_epoch_kept(tmp_path):
    series, _ = toy()
    model, header = make(None, *BROKEN)
    epochs = []
    options = Options(tmp_path, device="cpu", stop_on_collapse=True, report=lambda p: epochs.append(p.epoch))
    result = fit(model, series, header, options)
    assert result.verdict.verdict == "collapsed"
    assert epochs[-1] < 20
    history = read_history(EpochTable(tmp_path / DIAGNOSTICS))
    best = best_epoch(history, dim=32)
    assert result.kept == best < result.epochs == epochs[-1]
    assert history[best].relative_spread == max(record.relative_spread for record in history[1:])
    assert torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["epoch"] == best - 1
    kept = load_checkpoint(tmp_path / "checkpoint.ckpt")[0]
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), model.parameters(), strict=True))
    again = fit(make(None, *BROKEN)[0], series, header, options._replace(resume=True))
    assert again.kept == best  # which is not lost when the run is gone on with
    assert torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["epoch"] == best - 1


def test_series_that_are_all_the_same_end_no_run():
    model, header = make("ema", "train.epochs=8")
    series = as_series(np.repeat(toy(1)[0].values, 40, 0))
    result = fit(model, series, header, Options(device="cpu", stop_on_collapse=True))
    assert (result.verdict.verdict, result.epochs, result.kept) == ("positional-collapse", 8, None)


def test_series_that_are_all_the_same_end_no_run_behind_a_teacher():
    model, header = make("distill", "train.epochs=4", "encoder.dim=8", "predictor.dim=8")
    series = as_series(np.repeat(toy(1)[0].values, 20, 0))
    result = fit_stages(model, series, header, Options(device="cpu", stop_on_collapse=True))
    assert (result.verdict.verdict, result.epochs) == ("positional-collapse", 4)
    assert result.verdict.evidence.startswith("Of the teacher: position explains all of the latents, from the start on")


def test_a_run_whose_diagnostics_are_lost_has_no_verdict(tmp_path):
    series, _ = toy(40)
    options = Options(tmp_path, device="cpu")
    fit(*(make("ema", "train.epochs=2")[0], series, make("ema", "train.epochs=2")[1]), options)
    (tmp_path / DIAGNOSTICS).unlink()
    model, header = make("ema", "train.epochs=3")
    result = fit(model, series, header, options._replace(resume=True, stop_on_collapse=True))
    assert (result.verdict, result.epochs) == (None, 3)
    assert [record.epoch for record in read_history(EpochTable(tmp_path / DIAGNOSTICS))] == [3]


def test_steps_and_seconds_go_on_where_a_run_is_resumed(tmp_path):
    series, _ = toy(40)  # three batches of 16
    for epochs in (2, 4):
        model, header = make("ema", f"train.epochs={epochs}")
        fit(model, series, header, Options(tmp_path, epochs > 2, device="cpu"))
    assert [record.step for record in read_history(EpochTable(tmp_path / DIAGNOSTICS))] == [0, 3, 6, 9, 12]
    seconds = [float(row["seconds"]) for row in EpochTable(tmp_path / "metrics.csv").rows()]
    assert seconds == sorted(seconds)


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
        model.draw_mask.progress = progress
        monitor.measure(0)
        assert model.draw_mask.progress == progress
    np.testing.assert_array_equal(*monitor.history)
    with measuring(model):
        assert model.draw_mask.progress == 1


def test_a_collapsed_teacher_is_told(tmp_path):
    assert teacher_verdict(tmp_path, 32) is None
    start = EpochDiagnostics(0, relative_spread=0.6, latent_spread=0.6)
    later = start._replace(epoch=1, loss=0.5, relative_spread=0.001)
    (tmp_path / "teacher").mkdir()
    table = EpochTable(tmp_path / "teacher" / DIAGNOSTICS)
    for record in (start, later):
        table.append(record._asdict())
    taught = teacher_verdict(tmp_path, 32)
    teacher = FitResult(0.5, 1, 0.0, taught, to_be_ended=to_be_ended([start, later], dim=32))
    assert taught.verdict == "collapsed"
    own = Verdict("healthy", None, None, "All is well.")
    assert of_both(taught, own).verdict == "collapsed"
    assert of_both(own, own) == own
    with pytest.raises(
        TrainingError, match=r"the teacher has collapsed, so no student was trained \(collapsed\): The last"
    ):
        check_teacher(teacher, Options(stop_on_collapse=True))
    check_teacher(teacher, Options())


def test_the_estimator_warns_of_a_collapse_and_keeps_the_verdict():
    series, _ = toy()
    with pytest.warns(CollapseWarning, match="collapsed"):
        broken = TSJEPAEmbedder("tiny", overrides=BROKEN, random_state=0, device="cpu").fit(series.values)
    assert broken.verdict_.verdict == "collapsed"
    unwatched = TSJEPAEmbedder("tiny", overrides=BROKEN, random_state=0, device="cpu", diagnose=False)
    assert unwatched.fit(series.values).verdict_ is None


@pytest.mark.parametrize("objective", ["ema", "sigreg"])
def test_healthy_runs_are_called_healthy(objective):
    series, y = toy()
    model, header = make(objective, "train.epochs=15")
    verdict = fit(model, series, header, Options(device="cpu", labels=y)).verdict
    assert verdict.verdict in ("healthy", "collapse-phase"), verdict
