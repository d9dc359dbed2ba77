"""Runs that go on: bit for bit as the uninterrupted one, and with the same settings, series and model only."""

import numpy as np
import pytest
from embedders import series as labelled_series
from toy_runs import equal, make, rows, run, toy

from tsjepa import TSJEPAClassifier
from tsjepa.arrays import as_series
from tsjepa.build import build_model, configure
from tsjepa.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tsjepa.resuming import other_series
from tsjepa.schedule import lr_factor
from tsjepa.training import JEPATraining, Options, fit
from tsjepa.training_error import TrainingError


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


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    first = run(tmp_path)
    model, series, header = make("train.epochs=4")
    result = fit(model, series, header, Options(tmp_path, resume=True, device="cpu"))
    assert equal(first, model)
    assert result.epochs == 4
    assert np.isfinite(result.loss)


def test_a_run_that_is_made_longer_has_the_rates_of_its_new_length_from_its_first_step_on(tmp_path, monkeypatch):
    rates, step = [], JEPATraining.training_step

    def noted(module, *batch):
        rates.append([group["lr"] for group in module.optimizers().param_groups])
        return step(module, *batch)

    monkeypatch.setattr(JEPATraining, "training_step", noted)
    for epochs in (2, 5):
        run(tmp_path, epochs=epochs, resume=epochs > 2, overrides=("train.lr=0.5", "train.warmup=0.1"))
    each, steps = len(rates) // 5, [(2, range(2)), (5, range(2, 5))]
    wanted = [
        0.5 * lr_factor(s, n * each, 0.1) for n, done in steps for s in range(done[0] * each, (done[-1] + 1) * each)
    ]
    assert rates == [[rate, rate] for rate in wanted]


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
        ({"series": toy(20)}, "an epoch of these has 2 steps, and 2 epochs had 6"),
        ({"series": toy(channels=2)}, "they have 2 channels of 60 points, and had 1 of 60"),
    ):
        with pytest.raises(TrainingError, match=f"of a run on other series: {said}"):
            going_on(tmp_path, **changed)
    going_on(tmp_path)  # series in memory may have no fingerprint
    named = header._replace(channel_names=("flow",))
    assert other_series(named, header) is None
    assert other_series(named, header._replace(channel_names=("heat",))) == "their channels are heat, and were flow"


def test_what_one_header_lacks_tells_nothing():
    bare = make()[2]
    named, marked = bare._replace(channel_names=("flow",)), bare._replace(fingerprint={"values": "a"})
    timed = bare._replace(fingerprint={"values": "a", "times": "b"})
    for one, other in ((bare, named), (bare, marked), (marked, timed)):
        assert other_series(one, other) is None
        assert other_series(other, one) is None
    assert other_series(timed, bare._replace(fingerprint={"values": "a", "times": "c"})) is not None


def test_a_run_that_began_with_a_tuned_encoder_knows_that_when_it_goes_on(tmp_path):
    X, y = labelled_series()
    TSJEPAClassifier("tiny", tune=True, max_epochs=1, finetune_epochs=1, device="cpu").fit(X, y).save(
        tmp_path / "tuned.ckpt"
    )
    model, header = load_checkpoint(tmp_path / "tuned.ckpt")
    fit(model, as_series(X), header, Options(tmp_path / "run", device="cpu"), epochs=1)
    resumed = build_model(header.config, 2)
    fit(resumed, as_series(X), header, Options(tmp_path / "run", resume=True, device="cpu"), epochs=2)
    assert (resumed.labelled, resumed.tuned) == (True, True)
    kept, _ = load_checkpoint(tmp_path / "run" / "checkpoint.ckpt")
    assert (kept.labelled, kept.tuned) == (True, True)


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
