"""The cooldown: an average of the weights takes over, and the learning rate falls from there."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from embedders import series as labelled_series
from embedders import tiny

from tsjepa import TSJEPAClassifier, TSJEPAEmbedder
from tsjepa.arrays import as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.callbacks import Cooldown
from tsjepa.checkpoint import Header, load_checkpoint, read_checkpoint
from tsjepa.config import ConfigError
from tsjepa.run_files import DIAGNOSTICS, METRICS, EpochTable
from tsjepa.schedule import lr_factor
from tsjepa.stages import find_teacher, primary_epochs, stages, teacher_encoder, with_architecture
from tsjepa.targets import FrozenTarget
from tsjepa.training import JEPATraining, Options, fit, fit_stages
from tsjepa.training_error import TrainingError

EPOCHS = 6
COOLDOWN = (f"train.epochs={EPOCHS}", "train.cooldown_share=0.34", "train.warmup=0.1", "train.batch_size=8")
PRIMARY = 4


def series():
    rng = np.random.default_rng(0)
    return as_series(np.sin(rng.uniform(1, 5, (24, 1)) * np.arange(60) / 10 + rng.uniform(0, 6, (24, 1))))


def run(out=None, objective="distill", stop=None, resume=False, overrides=COOLDOWN, report=None, staged=True):
    config = resolve(configure("tiny", objective, overrides), 60)
    model = build_model(config, 1)
    if isinstance(model.target, FrozenTarget) and not staged:  # the student's stage alone, under weights as good as any
        model.target.module.load_state_dict(model.target.module.state_dict())

    def stopping(progress):
        if progress.epoch == stop:
            raise RuntimeError("stopped")
        if report is not None:
            report(model, progress)

    options = Options(out, resume, "cpu", report=stopping)
    (fit_stages if staged else fit)(model, series(), Header(config, "toy", 1, 60), options)
    return model


def equal(first, second):
    one, other = first.state_dict(), second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 77])
def test_a_cooldown_has_its_share_and_an_epoch_at_least(epochs, share):
    cooldown = epochs - primary_epochs(epochs, share)
    assert 0 <= cooldown <= epochs
    assert (cooldown == 0) == (share == 0)
    assert abs(cooldown - share * epochs) <= (0.5 if share * epochs >= 0.5 else 1)


def test_the_rate_is_full_until_the_cooldown_and_falls_to_zero():
    factors = [lr_factor(step, 100, 0.1, primary=80) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:81] == [1.0] * 72
    assert all(math.isclose(a - b, 0.05) for a, b in pairwise(factors[80:]))
    assert factors[100] == 0


def test_a_run_steps_at_the_rates_of_its_cooldown(monkeypatch):
    rates, step = [], JEPATraining.training_step

    def noted(module, *batch):
        rates.append(module.optimizers().param_groups[0]["lr"])
        return step(module, *batch)

    monkeypatch.setattr(JEPATraining, "training_step", noted)
    run(objective="sigreg", overrides=(*COOLDOWN, "train.lr=0.01"))
    total, primary = len(rates), len(rates) * PRIMARY // EPOCHS
    assert rates == pytest.approx([0.01 * lr_factor(s, total, 0.1, primary) for s in range(total)])
    assert rates[primary - 1] == rates[primary] > rates[-1]


def test_without_a_cooldown_the_schedule_is_the_cosine():
    assert [lr_factor(s, 100, 0.1, primary=100) for s in range(101)] == [lr_factor(s, 100, 0.1) for s in range(101)]


@pytest.mark.parametrize(
    ("objective", "finished"),
    [("distill", PRIMARY - 1), ("distill", PRIMARY), ("distill", PRIMARY + 1), ("sigreg", PRIMARY)],
)
def test_a_resumed_run_equals_the_uninterrupted_one_on_either_side_of_the_switch(tmp_path, objective, finished):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    uninterrupted = run(whole, objective, staged=False)
    with pytest.raises(RuntimeError, match="stopped"):
        run(halves, objective, stop=finished + 1, staged=False)
    resumed = run(halves, objective, resume=True, staged=False)
    assert equal(uninterrupted, resumed)
    assert equal(load_checkpoint(halves / "checkpoint.ckpt")[0], resumed)
    for name in (METRICS, DIAGNOSTICS):
        rows = EpochTable(halves / name).rows()
        assert without_seconds(rows) == without_seconds(EpochTable(whole / name).rows())
        assert [int(row["epoch"]) for row in rows] == list(range(0 if name == DIAGNOSTICS else 1, EPOCHS + 1))


def test_a_distillation_that_stops_where_its_cooldown_begins_goes_on_bit_for_bit(tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    uninterrupted = run(whole)
    with pytest.raises(RuntimeError, match="stopped"):
        run(halves, stop=EPOCHS)  # teacher 3 epochs, primary stage 2, cooldown 1
    assert equal(uninterrupted, run(halves, resume=True))
    assert len(EpochTable(halves / METRICS).rows()) == 3


def test_a_new_run_in_the_folder_of_another_takes_nothing_over_from_it(tmp_path):
    for name in ("used", "fresh"):
        (tmp_path / name).mkdir()
    run(tmp_path / "used")
    other = (*COOLDOWN, "train.lr=0.01")
    fresh = run(tmp_path / "fresh", overrides=other)
    assert equal(fresh, run(tmp_path / "used", overrides=other))
    third = (*COOLDOWN, "train.lr=0.02")
    with pytest.raises(RuntimeError, match="stopped"):
        run(tmp_path / "used", overrides=third, stop=2)  # in its teacher's stage
    resumed = run(tmp_path / "used", overrides=third, resume=True)
    assert equal(run(overrides=third), resumed)


@pytest.mark.parametrize("staged", [True, False])
@pytest.mark.parametrize("objective", ["ema", "distill"])
def test_a_new_run_leaves_no_files_of_another_ones_teacher(tmp_path, objective, staged):
    run(tmp_path)
    own = [path for path in tmp_path.rglob("*") if path.is_file()]
    (tmp_path / "teacher" / "notes.txt").write_text("mine")
    for path in own:
        path.write_text("an earlier run's")
    run(tmp_path, objective, overrides=(*COOLDOWN, "train.lr=0.01"), staged=staged)
    kept = {path for path in own if objective == "distill" or path.parent == tmp_path}
    assert {path for path in own if path.exists()} == kept
    # a student's stage alone leaves a teacher as it is: its own may have been trained there a moment ago
    old = {path for path in kept if path.read_bytes() == b"an earlier run's"}
    assert old == {path for path in kept if not staged and path.parent != tmp_path}
    assert (tmp_path / "teacher" / "notes.txt").exists()


@pytest.mark.parametrize("staged", [True, False])
def test_a_run_in_a_folder_called_teacher_is_not_part_of_what_comes_beside_it(tmp_path, staged):
    run(tmp_path / "teacher", "ema")
    before = {path: path.read_bytes() for path in (tmp_path / "teacher").iterdir()}
    named = f"target.teacher={tmp_path / 'teacher' / 'checkpoint.ckpt'}"
    run(tmp_path, "ema" if not staged else "distill", overrides=(*COOLDOWN, *[named] * staged), staged=staged)
    assert {path: path.read_bytes() for path in (tmp_path / "teacher").iterdir()} == before


@pytest.mark.parametrize("name", ["checkpoint.ckpt", "best.ckpt", "teacher/checkpoint.ckpt"])
@pytest.mark.parametrize("objective", ["distill", "salt"])
def test_a_run_does_not_delete_its_teacher(tmp_path, objective, name):
    run(tmp_path)
    (tmp_path / "link.ckpt").symlink_to(name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for teacher in (name, "link.ckpt"):
        named = f"target.teacher={tmp_path / teacher}"
        with pytest.raises(TrainingError, match=rf"^the teacher {tmp_path / teacher} belongs to the run that a new"):
            run(tmp_path, objective, overrides=(*COOLDOWN, named))
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    run(tmp_path / "new", objective, overrides=(*COOLDOWN, f"target.teacher={tmp_path / name}"))


def test_a_stage_that_goes_on_keeps_the_other_one(tmp_path):
    with pytest.raises(RuntimeError, match="stopped"):
        run(tmp_path, stop=4)  # the first epoch of the student, which has no checkpoint yet
    teacher = {path: path.read_bytes() for path in (tmp_path / "teacher").iterdir()}
    assert run(tmp_path, resume=True)
    assert {path: path.read_bytes() for path in (tmp_path / "teacher").iterdir()} == teacher


def test_a_run_that_is_made_longer_keeps_its_teacher_and_gives_the_student_the_rest(tmp_path):
    run(tmp_path)
    seen = []
    longer = ("train.epochs=9", *COOLDOWN[1:])
    run(tmp_path, resume=True, overrides=longer, report=lambda model, progress: seen.append(progress[:2]))
    assert seen == [(7, 9), (8, 9), (9, 9)]
    assert (len(EpochTable(tmp_path / "teacher" / METRICS).rows()), len(EpochTable(tmp_path / METRICS).rows())) == (
        3,
        6,
    )
    with pytest.raises(ConfigError, match="at least 4 where a teacher is trained first: that has had 3"):
        run(tmp_path, resume=True, overrides=("train.epochs=3", *COOLDOWN[1:]))


def weights(model):
    return [p.detach().double() for part in (model.encoder, model.predictor) for p in part.parameters()]


def test_the_cooldown_starts_from_the_average_of_the_primary_stage():
    """Average = m * average + (1 - m) * weights after each step of the primary stage, from the first one's on."""
    model = build_model(resolve(configure("tiny", "salt"), 60), 1)
    teacher = [p.clone() for p in model.target.parameters()]
    cooldown, rng, expected = Cooldown(model, primary=2, momentum=0.7), torch.Generator().manual_seed(0), None
    for epoch in range(4):
        trainer = SimpleNamespace(current_epoch=epoch)
        before = weights(model)
        cooldown.on_train_epoch_start(trainer, None)
        for got, want in zip(weights(model), expected if epoch == 2 else before, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
        for _ in range(3):
            with torch.no_grad():
                for part in (model.encoder, model.predictor):
                    for p in part.parameters():
                        p.add_(torch.randn(p.shape, generator=rng))
            cooldown.on_train_batch_end(trainer, None, None, None, 0)
            step = weights(model)
            if expected is None:
                expected = step
            elif epoch < 2:
                expected = [0.7 * mean + 0.3 * new for mean, new in zip(expected, step, strict=True)]
    assert all(torch.equal(p, q) for p, q in zip(model.target.parameters(), teacher, strict=True))


@pytest.mark.parametrize(("objective", "epochs"), [("sigreg", 1), ("distill", 2)])
def test_the_cooldown_of_one_epoch_keeps_the_statistics_of_the_series(objective, epochs):
    model = run(objective=objective, overrides=(f"train.epochs={epochs}", *COOLDOWN[1:], "normalize=train"))
    for encoder in (model.encoder, getattr(model.target, "module", model.encoder)):
        torch.testing.assert_close(encoder.statistics.mean, torch.tensor([series().values.mean()]))
        assert encoder.statistics.known


def test_the_cooldown_keeps_what_the_readout_learned_from_the_series(tmp_path):
    """That is measured behind the last step of the first epoch, which is here all of the primary stage."""
    settings = ("probe.shares=true", "probe.sketch=16", "probe.whiten=true", "probe.scale_features=true")
    overrides, whole, halves = ("train.epochs=2", *COOLDOWN[1:], *settings), tmp_path / "whole", tmp_path / "halves"
    uninterrupted = run(whole, "sigreg", overrides=overrides)
    readout = uninterrupted.encoder.readout
    assert readout.sketch.whitenings[0].basis.norm() > 0
    assert readout.scales.spread.isfinite().all()
    with pytest.raises(RuntimeError, match="stopped"):
        run(halves, "sigreg", stop=2, overrides=overrides)
    assert equal(uninterrupted, run(halves, "sigreg", resume=True, overrides=overrides))


def test_the_average_goes_on_in_the_cooldown_for_a_run_that_is_made_longer(tmp_path):
    """With 5 epochs the cooldown begins where 4 epochs are finished, so it has to begin with what these gave."""
    assert [primary_epochs(epochs, 0.2) for epochs in (4, 5)] == [3, 4]
    overrides = ("train.epochs=4", "train.batch_size=8", "train.cooldown_share=0.2", "train.average_momentum=0")
    model = run(tmp_path, "sigreg", overrides=overrides)
    average = read_checkpoint(tmp_path / "checkpoint.ckpt")["callbacks"]["Cooldown"]
    assert average["n_averaged"] == 4 * 3
    for name, last in model.encoder.named_parameters():  # a momentum of 0 keeps the last weights
        assert torch.equal(average[f"module.0.{name}"], last)


def test_the_average_changes_nothing_before_the_cooldown(tmp_path):
    losses = []
    for momentum in ("0", "0.9"):
        out = tmp_path / momentum
        out.mkdir()
        run(out, "salt", staged=False, overrides=(*COOLDOWN, f"train.average_momentum={momentum}"))
        losses.append([row["loss"] for row in EpochTable(out / METRICS).rows()])
    one, other = losses
    assert one[:PRIMARY] == other[:PRIMARY]
    assert all(a != b for a, b in zip(one[PRIMARY:], other[PRIMARY:], strict=True))


def test_the_learning_rate_of_a_run_is_written_down(tmp_path):
    run(tmp_path, "distill", staged=False)
    rates = [float(row["lr"]) for row in EpochTable(tmp_path / METRICS).rows()]
    assert rates[0] == rates[PRIMARY - 1] == rates[1]
    assert rates[-3] > rates[-2] > rates[-1] == 0


def test_a_student_cools_down_and_its_teacher_does_not(tmp_path):
    teacher, student = stages(configure("tiny", "distill", ["train.epochs=30", "train.cooldown_share=0.2"]))
    assert teacher is not None
    assert teacher.train.cooldown_share == 0
    assert student.train.cooldown_share == 0.2
    assert primary_epochs(student.train.epochs, student.train.cooldown_share) == 12
    seen = []
    run(tmp_path, report=lambda model, progress: seen.append(progress.epoch))
    assert seen == [1, 2, 3, 4, 5, 6]
    assert len(EpochTable(tmp_path / METRICS).rows()) == 3


def test_the_recipe_has_both_stages():
    section = configure("ts-jepa-distill").train
    assert 0 < section.cooldown_share < 0.5
    assert 0.9 < section.average_momentum < 1


def test_warm_up_and_cooldown_do_not_overlap():
    with pytest.raises(ConfigError, match="warmup and cooldown_share are shares"):
        configure("tiny", "distill", ["train.warmup=0.5", "train.cooldown_share=0.6"])


def test_a_student_keeps_a_readout_of_its_own():
    overrides = (*COOLDOWN, "probe.shares=true", "probe.sketch=16")
    model = run(overrides=overrides)
    assert model.encoder.readout.sketch.known
    assert model.target.module.readout is None
    plain = run()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in plain.state_dict().items())


def test_a_checkpoint_of_each_epoch_has_a_sketch_of_its_own(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    overrides = ("train.epochs=2", "train.batch_size=8", "probe.shares=true", "probe.sketch=16")
    with pytest.raises(RuntimeError, match="stopped"):
        run(out, "ema", stop=2, overrides=overrides)
    early = load_checkpoint(out / "checkpoint.ckpt")[0].encoder.readout.sketch
    assert early.known
    model = run(out, "ema", resume=True, overrides=overrides)
    late = load_checkpoint(out / "checkpoint.ckpt")[0].encoder.readout.sketch
    assert torch.equal(late.centre, model.encoder.readout.sketch.centre)
    assert not torch.equal(late.centre, early.centre)


@pytest.mark.parametrize(("epochs", "share", "taught"), [(2, 0.9, 1), (3, 0.9, 2), (10, 0.01, 1)])
def test_each_stage_has_an_epoch_at_least(epochs, share, taught):
    config = configure("tiny", "salt", [f"train.epochs={epochs}", f"target.teacher_share={share}"])
    teacher, student = stages(config)
    assert (teacher.train.epochs, student.train.epochs) == (taught, epochs - taught)


@pytest.mark.parametrize("tune", [True, False])
@pytest.mark.parametrize("saved", ["classifier", "its embedder", "loaded again"])
def test_an_encoder_that_labels_tuned_teaches_with_a_head_and_without_else_the_average(tmp_path, tune, saved):
    X, y = labelled_series()
    pretrained, path = tmp_path / "pretrained.ckpt", tmp_path / "teacher.ckpt"
    embedder = tiny(objective="ema").fit(X)
    embedder.save(pretrained)
    classifier = TSJEPAClassifier(checkpoint=pretrained, tune=tune, finetune_epochs=1, device="cpu").fit(X, y)
    (classifier.embedder_ if saved == "its embedder" else classifier).save(path)
    if saved == "loaded again":
        TSJEPAEmbedder.load(path).save(path)
    config = resolve(with_architecture(configure("tiny", "distill", [f"target.teacher={path}"])), 60)
    encoder, average = classifier.embedder_.model_.encoder, embedder.model_.target.module
    assert not equal(encoder, average)
    assert equal(teacher_encoder(find_teacher(config)), encoder if tune else average)
