import csv
import errno
import os
import subprocess
import sys
import threading
import time

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

import tsjepa.training
from tsjepa import callbacks
from tsjepa.arrays import Series, as_series
from tsjepa.batches import Batches, ShuffledBatches, circular_shift, keyed_generator
from tsjepa.build import SEEDING, build_model, configure, resolve
from tsjepa.checkpoint import CheckpointError, Header, load_checkpoint, read_checkpoint, save_checkpoint
from tsjepa.resuming import other_series
from tsjepa.schedule import lr_factor
from tsjepa.targets import Momentum
from tsjepa.training import JEPATraining, Options, fit
from tsjepa.training_error import TrainingError


def toy(n=40, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(1, 5, (n, channels, 1))
    phase = rng.uniform(0, 6, (n, channels, 1))
    return as_series(np.sin(2 * np.pi * frequency * np.arange(60) / 60 + phase).astype(np.float32))


def make(*overrides, objective="ema", series=None):
    series = toy() if series is None else series
    config = resolve(configure("tiny", objective, overrides), series.n_timepoints)
    header = Header(config, "toy", series.n_channels, series.n_timepoints)
    return build_model(config, series.n_channels), series, header


def run(out=None, epochs=4, stop_after=None, resume=False, objective="ema", overrides=()):
    model, series, header = make(f"train.epochs={epochs}", *overrides, objective=objective)

    def stop(progress):
        if stop_after is not None and progress.epoch > stop_after:
            raise RuntimeError("stopped")

    fit(model, series, header, Options(out, resume, "cpu", report=stop))
    return model


def rows(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def equal(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


@pytest.mark.parametrize("objective", ["ema", "sigreg", "vicreg"])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, objective):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    uninterrupted = run(whole, objective=objective)
    with pytest.raises(RuntimeError, match="stopped"):
        run(halves, stop_after=2, objective=objective)
    resumed = run(halves, resume=True, objective=objective)
    assert equal(uninterrupted, resumed)
    assert equal(load_checkpoint(halves / "checkpoint.ckpt")[0], resumed)
    for one, other in zip(rows(whole), rows(halves), strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}


def test_runs_of_a_seed_are_equal_and_of_another_differ(tmp_path):
    assert equal(run(), run())
    assert not equal(run(), run(overrides=["train.seed=1"]))


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    first = run(tmp_path)
    model, series, header = make("train.epochs=4")
    result = fit(model, series, header, Options(tmp_path, resume=True, device="cpu"))
    assert equal(first, model)
    assert result.epochs == 4
    assert np.isfinite(result.loss)


def going_on(folder, *overrides, series=None, **header):
    model, series, own = make("train.epochs=4", *overrides, series=series)
    fit(model, series, own._replace(**header), Options(folder, resume=True, device="cpu"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.seed=7"], "of a run with other settings: train.seed would change from 0 to 7"),
        (["train.lr=0.5"], "of a run with other settings: train.lr would change from .* to 0.5"),
        (["encoder.dim=64"], "of a run with other settings: encoder.dim would change from 32 to 64"),
        (["train.epochs=1"], "2 epochs are finished in .*, so it cannot go on to 1"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(tmp_path, overrides, said):
    run(tmp_path, epochs=2)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TrainingError, match=said):
        going_on(tmp_path, *overrides)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    going_on(tmp_path, "train.max_steps=1000")
    assert len(rows(tmp_path)) == 4


def test_a_run_does_not_go_on_with_other_series(tmp_path):
    model, series, header = make("train.epochs=2")
    fit(model, series, header._replace(fingerprint={"values": "a"}), Options(tmp_path, device="cpu"))
    for changed, said in (
        ({"fingerprint": {"values": "b"}}, "their values or times are not the same"),
        ({"series": toy(70)}, "an epoch of these has 5 steps, and 2 epochs had 6"),
        ({"series": toy(channels=2)}, "they have 2 channels of 60 points, and had 1 of 60"),
    ):
        with pytest.raises(TrainingError, match=f"of a run on other series: {said}"):
            going_on(tmp_path, **changed)
    going_on(tmp_path)  # series in memory may have no fingerprint
    named = header._replace(channel_names=("flow",))
    assert other_series(named, header) is None
    assert other_series(named, header._replace(channel_names=("heat",))) == "their channels are heat, and were flow"


def test_a_run_does_not_go_on_from_another_model_or_from_weights_alone(tmp_path):
    first = run(tmp_path, epochs=2)
    model, series, header = make("train.epochs=4")
    model.predictor = build_model(
        configure("tiny", "ema", ["predictor.depth=2", "tokenizer.patch_length=6"]), 1
    ).predictor
    with pytest.raises(CheckpointError, match="is of another model, which differs in predictor"):
        fit(model, series, header, Options(tmp_path, resume=True, device="cpu"))
    save_checkpoint(tmp_path / "checkpoint.ckpt", first, header)
    with pytest.raises(CheckpointError, match="holds a model without its optimizer state"):
        going_on(tmp_path)


def test_metrics_hold_a_row_an_epoch(tmp_path):
    run(tmp_path, objective="sigreg")
    assert [int(row["epoch"]) for row in rows(tmp_path)] == [1, 2, 3, 4]
    for row in rows(tmp_path):
        assert set(row) == {"epoch", "step", "loss", "prediction", "regularizer", "lr", "seconds"}
        weighted = float(row["prediction"]) + 0.05 * float(row["regularizer"])
        assert float(row["loss"]) == pytest.approx(weighted, rel=1e-5)
    names = ["best.ckpt", "checkpoint.ckpt", "diagnostics.csv", "metrics.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_an_epoch_that_is_last_and_best_is_packed_once(tmp_path, monkeypatch):
    written, pack = [], callbacks.packed
    monkeypatch.setattr(callbacks, "packed", lambda *asked: written.append(bytes(pack(*asked))) or written[-1])
    run(tmp_path)
    assert len(written) == 4
    assert (tmp_path / "checkpoint.ckpt").read_bytes() == written[-1]
    best = read_checkpoint(tmp_path / "best.ckpt")["epoch"]
    assert (tmp_path / "best.ckpt").read_bytes() == written[best]


def slow_writing(monkeypatch):
    write = callbacks.write_packed
    monkeypatch.setattr(callbacks, "write_packed", lambda *asked: (time.sleep(0.2), write(*asked)))


def test_an_epoch_is_on_the_disk_before_another_one_is_reported(tmp_path, monkeypatch):
    slow_writing(monkeypatch)
    seen = []

    def look(progress):
        if progress.epoch > 1:
            seen.append((read_checkpoint(tmp_path / "checkpoint.ckpt")["epoch"], (tmp_path / "best.ckpt").exists()))

    model, series, header = make("train.epochs=3")
    fit(model, series, header, Options(tmp_path, device="cpu", report=look))
    assert seen == [(0, True), (1, True)]
    assert read_checkpoint(tmp_path / "checkpoint.ckpt")["epoch"] == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_last_epoch_is_on_the_disk_when_a_run_is_stopped(tmp_path, monkeypatch, error):
    slow_writing(monkeypatch)
    model, series, header = make("train.epochs=3")
    steps, update = [], type(model).update_target

    def stop(self, step, total):
        steps.append(step)
        if step == total // 3:  # the first one of the second epoch
            raise error
        update(self, step, total)

    monkeypatch.setattr(type(model), "update_target", stop)
    with pytest.raises(error):
        fit(model, series, header, Options(tmp_path, device="cpu"))
    assert read_checkpoint(tmp_path / "checkpoint.ckpt")["epoch"] == 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".csv") == ["best.ckpt", "checkpoint.ckpt"]


@pytest.mark.parametrize("epochs", [1, 3])
def test_what_could_not_be_written_ends_the_run(tmp_path, monkeypatch, epochs):
    def full(content, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(callbacks, "write_packed", full)
    reported = []
    model, series, header = make(f"train.epochs={epochs}")
    with pytest.raises(OSError, match="No space left"):
        fit(model, series, header, Options(tmp_path, device="cpu", report=reported.append))
    assert len(reported) == 1


def test_the_best_checkpoint_stays_where_the_one_to_be_copied_could_not_be_written(tmp_path, monkeypatch):
    files, best = callbacks.AtomicCheckpointIO(), tmp_path / "best.ckpt"
    files.save_checkpoint({"epoch": 0}, tmp_path / "checkpoint.ckpt")
    files.copy(tmp_path / "checkpoint.ckpt", best)
    files.finish()
    before = best.read_bytes()
    files.save_checkpoint({"epoch": 1}, tmp_path / "checkpoint.ckpt")

    def full(content, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(callbacks, "write_packed", full)
    files.save_checkpoint({"epoch": 2}, tmp_path / "checkpoint.ckpt")
    files.copy(tmp_path / "checkpoint.ckpt", best)
    with pytest.raises(OSError, match="No space left"):
        files.finish()
    assert best.read_bytes() == before
    assert torch.load(tmp_path / "checkpoint.ckpt", weights_only=True) == {"epoch": 1}
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("checkpoint")]


def test_the_loss_falls():
    model, series, header = make("train.epochs=15", "train.lr=3e-3")
    losses = []
    fit(model, series, header, Options(device="cpu", report=lambda progress: losses.append(progress.loss)))
    assert losses[-1] < 0.9 * losses[0]
    assert not model.training
    assert not any(p.requires_grad for p in model.target.parameters())


def test_the_target_follows_the_encoder_by_its_momentum():
    model, series, header = make("train.epochs=1", "target.momentum=0.0")
    fit(model, series, header, Options(device="cpu"))
    for mine, its in zip(model.encoder.parameters(), model.target.module.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=0)


def test_the_momentum_is_that_of_the_step_that_was_taken(monkeypatch):
    asked, momentum = [], Momentum.__call__
    monkeypatch.setattr(Momentum, "__call__", lambda m, *at: (asked.append(at), momentum(m, *at))[1])
    model, series, header = make("train.epochs=2", "target.schedule=linear")
    fit(model, series, header, Options(device="cpu"))
    total = len(asked)
    assert asked == [(step, total) for step in range(total)]


def test_nan_stops_with_the_reason_and_keeps_the_last_good_epoch(tmp_path):
    model, series, header = make("train.epochs=5")

    def poison(progress):
        if progress.epoch == 2:
            with torch.no_grad():
                model.predictor.head.weight.fill_(torch.nan)

    with pytest.raises(TrainingError, match="loss is nan in epoch 3"):
        fit(model, series, header, Options(tmp_path, device="cpu", report=poison))
    kept = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    assert kept["epoch"] == 1  # Lightning counts from 0


def test_series_without_values_are_left_out_and_nothing_to_train_on_is_refused():
    X = np.random.default_rng(0).normal(size=(10, 1, 60)).astype(np.float32)
    X[3] = np.nan
    assert len(Batches(as_series(X))) == 9
    model, _, header = make()
    empty = Series(np.zeros((3, 1, 60), np.float32), np.zeros((3, 1, 60), bool))
    with pytest.raises(TrainingError, match="no series holds a single value"):
        fit(model, empty, header, Options(device="cpu"))


@pytest.mark.parametrize("objective", ["ema", "sigreg", "vicreg"])
def test_missing_values_train(objective):
    X = np.random.default_rng(0).normal(size=(30, 2, 60)).astype(np.float32)
    X[::3, :, 40:] = np.nan
    X[1, 0, 5:20] = np.nan
    X[5, 1] = np.nan
    series = as_series(X)
    model, _, header = make("train.epochs=2", objective=objective, series=series)
    assert np.isfinite(fit(model, series, header, Options(device="cpu")).loss)


@pytest.mark.parametrize(("n", "size", "lengths"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (3, 8, [3]), (1, 8, [1])])
def test_batches_cover_every_series_once_and_leave_no_single_one(n, size, lengths):
    sampler = ShuffledBatches(n, size, seed=0)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == lengths
    assert len(sampler) == len(lengths)
    assert sorted(torch.cat(batches).tolist()) == list(range(n))


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = ShuffledBatches(50, 8, seed)
        sampler.set_epoch(epoch)
        return torch.cat(list(sampler))

    assert torch.equal(order(0, 3), order(0, 3))
    assert not torch.equal(order(0, 3), order(0, 4))
    assert not torch.equal(order(0, 3), order(1, 3))


def test_keyed_generators_differ_in_every_part_of_the_key():
    draws = {float(torch.rand((), generator=keyed_generator(*key))) for key in np.ndindex(3, 3, 3)}
    assert len(draws) == 27


def test_circular_shift_rotates_the_channels_of_a_series_together():
    x = torch.arange(12.0).repeat(5, 2, 1)
    shifted = circular_shift(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(shifted[:, 0], shifted[:, 1])
    steps = (shifted[:, 0, 1:] - shifted[:, 0, :-1]) % 12
    assert (steps == 1).all()
    assert len(set(shifted[:, 0, 0].tolist())) > 1


def test_schedule_warms_up_and_ends_at_zero():
    factors = [lr_factor(step, 100, 0.1) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == factors[10] == 1
    assert factors[100] == pytest.approx(0, abs=1e-12)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_decay_spares_biases_norms_and_tokens():
    model, series, header = make("train.epochs=1", "train.lr=1e-12", "train.weight_decay=1e11", "train.warmup=0")
    before = {name: value.clone() for name, value in model.named_parameters()}
    fit(model, series, header, Options(device="cpu"))
    for name, value in model.named_parameters():
        if value.requires_grad:
            decayed = (value - before[name]).abs().max() > 0.1 * before[name].abs().max() > 0
            assert bool(decayed) == (value.ndim > 1), name


def test_tensorboard_is_written_on_request(tmp_path):
    model, series, header = make("train.epochs=1")
    fit(model, series, header, Options(tmp_path, device="cpu", logger="tensorboard"))
    assert any("tfevents" in path.name for path in tmp_path.rglob("*"))


def test_a_logger_that_is_not_installed_is_named(tmp_path, monkeypatch):
    def missing(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'wandb'")

    monkeypatch.setattr(tsjepa.training.pl.loggers, "WandbLogger", missing)
    model, series, header = make("train.epochs=1")
    with pytest.raises(TrainingError, match=r"pip install 'tsjepa\[wandb\]'"):
        fit(model, series, header, Options(tmp_path, device="cpu", logger="wandb"))


def test_no_weights_are_drawn_while_lightning_sets_the_generator_back(monkeypatch):
    held = []

    def check(self):
        held.append(SEEDING.locked())
        if len(held) > 1:
            raise RuntimeError("stopped")

    monkeypatch.setattr(pl.Trainer, "_run_sanity_check", check)
    run(epochs=1)
    assert held == [True]
    assert not SEEDING.locked()
    with pytest.raises(RuntimeError, match="stopped"):
        run(epochs=1)
    assert not SEEDING.locked()


def test_weights_can_be_drawn_after_a_run_with_nothing_left_to_train(tmp_path):
    for resume in (False, True):
        run(tmp_path, epochs=1, resume=resume)
        assert not SEEDING.locked()


def test_nothing_reaches_the_terminal():
    code = (
        "import numpy as np; from tsjepa import *; from tsjepa.checkpoint import Header\n"
        "s = as_series(np.random.default_rng(0).normal(size=(20, 60)))\n"
        "c = resolve(configure('tiny', overrides=['train.epochs=1']), 60)\n"
        "fit(build_model(c, 1), s, Header(c, None, 1, 60), Options(device='cpu'))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_half_precision_trains_and_clips():
    def moved(*overrides):
        model, series, header = make("train.epochs=1", "train.precision=bf16", "train.weight_decay=0", *overrides)
        before = model.predictor.head.weight.detach().clone()
        assert np.isfinite(fit(model, series, header, Options(device="cpu")).loss)
        return (model.predictor.head.weight - before).abs().max()

    # a step of Adam is of the same size for gradients of every size but those near its epsilon
    assert moved("train.clip=1e-12") < 0.1 * moved("train.clip=1")


@pytest.mark.parametrize("clip", [1e-3, 0.5, 1e6])
def test_gradients_are_clipped_as_torch_clips_them_bit_for_bit(clip):
    model, series, header = make()
    module = JEPATraining(model, header)
    module.trained = [p for p in model.parameters() if p.requires_grad]
    model(torch.from_numpy(series.values), torch.Generator().manual_seed(0)).loss.backward()
    grads = [p.grad.clone() for p in module.trained if p.grad is not None]
    torch.nn.utils.clip_grad_norm_(module.trained, clip)
    wanted = [p.grad.clone() for p in module.trained if p.grad is not None]
    for parameter, grad in zip((p for p in module.trained if p.grad is not None), grads, strict=True):
        parameter.grad = grad
    module.configure_gradient_clipping(None, clip)
    found = [p.grad for p in module.trained if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert any(p.grad is None for p in model.parameters())  # the target's
