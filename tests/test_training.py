"""Training: the loss falls, targets follow, seeds decide, and what is one for all of a process is left as it was."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch
from toy_runs import equal, make, run, toy

from tsjepa.arrays import Series, as_series
from tsjepa.batches import Batches
from tsjepa.build import SEEDING
from tsjepa.run_files import EpochTable
from tsjepa.targets import Momentum
from tsjepa.training import JEPATraining, Options, fit, fit_stages
from tsjepa.training_error import TrainingError


def test_runs_of_a_seed_are_equal_and_of_another_differ(tmp_path):
    assert equal(run(), run())
    assert not equal(run(), run(overrides=["train.seed=1"]))


def test_masks_depend_on_seed_and_step_alone():
    def drawn(seed):
        model, series, header = make("train.epochs=2", "mask.kind=bernoulli", f"train.seed={seed}")
        found, draw = [], model.mask
        model.mask = lambda *given: (found.append(draw(*given)), found[-1])[1]
        fit(model, series, header, Options(device="cpu", diagnose=False))
        return [mask.target.tolist() for mask in found]

    first = drawn(0)
    assert len(first) > 3
    assert all(a != b for a, b in combinations(first, 2))
    assert drawn(0) == first
    assert all(a != b for a, b in zip(first, drawn(1), strict=True))


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


def test_decay_spares_biases_norms_and_the_mask_token_but_not_registers():
    huge = ["train.epochs=1", "train.lr=1e-12", "train.weight_decay=1e11", "train.warmup=0"]
    model, series, header = make(*huge, "encoder.registers=1")
    before = {name: value.clone() for name, value in model.named_parameters()}
    fit(model, series, header, Options(device="cpu"))
    for name, value in model.named_parameters():
        if value.requires_grad:
            decayed = (value - before[name]).abs().max() > 0.1 * before[name].abs().max() > 0
            assert bool(decayed) == (not any(part in name for part in ("bias", "norm", "mask_token"))), name


def seeding():
    """Return whether another thread would have to wait for the lock."""

    def wait():
        if free := SEEDING.lock.acquire(blocking=False):
            SEEDING.lock.release()
        return not free

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(wait).result()


def test_no_weights_are_drawn_while_lightning_sets_the_generator_back(monkeypatch):
    held = []

    def check(self):
        held.append(seeding())
        if len(held) > 1:
            raise RuntimeError("stopped")

    monkeypatch.setattr(pl.Trainer, "_run_sanity_check", check)
    run(epochs=1)
    assert held == [True]
    assert not seeding()
    with pytest.raises(RuntimeError, match="stopped"):
        run(epochs=1)
    assert not seeding()


def test_weights_can_be_drawn_after_a_run_with_nothing_left_to_train(tmp_path):
    for resume in (False, True):
        run(tmp_path, epochs=1, resume=resume)
        assert not seeding()


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("diagnose", [True, False])
def test_a_last_step_that_diverges_is_told_before_the_epoch_is_saved(diagnose, gaps, tmp_path):
    series = toy(channels=2)
    if gaps:
        series = Series(series.values, np.random.default_rng(0).random(series.values.shape) > 0.2)
    # weights of this size are finite, and what they are multiplied to is not
    model, _, header = make("train.epochs=1", "train.batch_size=64", "train.lr=1e30", series=series)
    with pytest.raises(
        TrainingError, match=r"^the latents are not finite after epoch 1: start again with a lower train\.lr\.$"
    ):
        fit(model, series, header, Options(tmp_path, device="cpu", diagnose=diagnose))
    assert not (tmp_path / "checkpoint.ckpt").exists()


@pytest.mark.parametrize("train", [fit, fit_stages])
def test_a_folder_as_text_and_labels_as_a_list_are_taken(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, series, header = make("train.epochs=1")
    train(model, series, header, Options("run", device="cpu", labels=[0, 1] * 20))
    probed = [float(row["probe"]) for row in EpochTable(tmp_path / "run" / "diagnostics.csv").rows()]
    assert len(probed) == 2
    assert np.isfinite(probed).all()


def test_labels_of_an_object_array_are_as_those_of_a_list(tmp_path):
    for name, labels, known in (("numbers", [1.5, 2.5], False), ("codes", [0, 1], True), ("texts", ["a", "b"], True)):
        model, series, header = make("train.epochs=1")
        labels = np.array(labels * 20, dtype=object)
        fit(model, series, header, Options(tmp_path / name, device="cpu", labels=labels))
        assert np.isfinite(EpochTable(tmp_path / name / "diagnostics.csv").last("probe")) == known


@pytest.mark.parametrize("train", [fit, fit_stages])
@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"labels": [0, 1]}, r"^labels have shape \(2,\), for 40 series: give each one label\.$"),
        ({"labels": np.zeros((40, 1))}, r"^labels have shape \(40, 1\), for 40 series"),
        (
            {"labels": ["calm", None] * 20},
            r"^20 of 40 labels are missing: give each series one, or leave the labels out\.$",
        ),
        ({"labels": [None] * 40}, r"^40 of 40 labels are missing"),
        ({"labels": [1, 0] * 19 + [1, None]}, r"^1 of 40 labels is missing"),
        ({"labels": [float("nan"), "calm"] * 20}, r"^20 of 40 labels are missing"),
        ({"labels": pd.Series(["calm", pd.NA] * 20)}, r"^20 of 40 labels are missing"),
        ({"logger": "tensorbord"}, r"^unknown logger 'tensorbord': did you mean tensorboard\?$"),
        ({"strategy": "dpp"}, r"^unknown strategy 'dpp': did you mean ddp\?$"),
    ],
)
def test_options_that_do_not_fit_are_told_before_anything_is_written(train, option, sentence, tmp_path):
    model, series, header = make("train.epochs=1")
    with pytest.raises(ValueError, match=sentence):
        train(model, series, header, Options(tmp_path / "run", device="cpu", **option))
    assert not (tmp_path / "run").exists()


def test_nothing_reaches_the_terminal():
    code = (
        "import numpy as np; from tsjepa import *; from tsjepa.checkpoint import Header\n"
        "s = as_series(np.random.default_rng(0).normal(size=(20, 60)))\n"
        "c = resolve(configure('tiny', overrides=['train.epochs=1']), 60)\n"
        "fit(build_model(c, 1), s, Header(c, None, 1, 60), Options(device='cpu'))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_half_precision_trains_and_clips(precision):
    def moved(*overrides):
        model, series, header = make(
            "train.epochs=1", f"train.precision='{precision}'", "train.weight_decay=0", *overrides
        )
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
