"""What a run writes: metrics, checkpoints that are on the disk in time, and logs of other programs."""

import errno
import threading
import time

import pytest
import torch
from toy_runs import make, rows, run

import tsjepa.training
from tsjepa import callbacks
from tsjepa.checkpoint import read_checkpoint
from tsjepa.training import JEPATraining, Options, fit, fit_stages
from tsjepa.training_error import TrainingError


def test_metrics_hold_a_row_an_epoch(tmp_path):
    run(tmp_path, objective="sigreg")
    assert [int(row["epoch"]) for row in rows(tmp_path)] == [1, 2, 3, 4]
    for row in rows(tmp_path):
        assert set(row) == {"epoch", "step", "loss", "prediction", "regularizer", "lr", "seconds"}
        weighted = float(row["prediction"]) + 0.05 * float(row["regularizer"])
        assert float(row["loss"]) == pytest.approx(weighted, rel=1e-5)
    names = ["best.ckpt", "checkpoint.ckpt", "diagnostics.csv", "metrics.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_metrics_are_means_over_the_steps_of_an_epoch(tmp_path, monkeypatch):
    losses, step = [], JEPATraining.training_step

    def noted(module, *batch):
        loss = step(module, *batch)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(JEPATraining, "training_step", noted)
    run(tmp_path, epochs=2)
    each = len(losses) // 2
    assert each > 1
    wanted = [sum(losses[:each]) / each, sum(losses[each:]) / each]
    assert [float(row["loss"]) for row in rows(tmp_path)] == pytest.approx(wanted, rel=1e-5)


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


def test_tensorboard_is_written_on_request(tmp_path):
    model, series, header = make("train.epochs=1")
    fit(model, series, header, Options(tmp_path, device="cpu", logger="tensorboard"))
    assert any("tfevents" in path.name for path in tmp_path.rglob("*"))


def curves(folder):
    """Return the steps that TensorBoard shows of the loss."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = accumulators.EventAccumulator(str(folder)).Reload()
    return [event.step for event in shown.Scalars("loss")]


@pytest.mark.parametrize("objective", ["ema", "distill"])
def test_tensorboard_shows_each_step_of_a_resumed_run_once(tmp_path, objective):
    def stop(progress):
        if progress.epoch == 4:
            raise KeyboardInterrupt

    options = Options(tmp_path, device="cpu", logger="tensorboard")
    with pytest.raises(KeyboardInterrupt):
        fit_stages(*make("train.epochs=6", objective=objective), options._replace(report=stop))
    for path in tmp_path.rglob("events.out.tfevents.*"):
        path.rename(path.with_name("events.out.tfevents.1"))  # read by name, which orders no files of one second
    fit_stages(*make("train.epochs=6", objective=objective), options._replace(resume=True))
    steps = [int(row["step"]) for row in rows(tmp_path)]
    assert len(steps) == (6 if objective == "ema" else 3)
    assert curves(tmp_path) == steps


@pytest.mark.parametrize("train", [fit, fit_stages])
def test_tensorboard_shows_nothing_of_a_run_that_was_replaced(tmp_path, train):
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    for name in ("metrics.csv", "events.out.tfevents.1.host.2.0"):
        (teacher / name).write_text("an earlier teacher's")
    for epochs in (3, 2):
        model, series, header = make(f"train.epochs={epochs}")
        train(model, series, header, Options(tmp_path, device="cpu", logger="tensorboard"))
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert not list(teacher.iterdir())
    assert curves(tmp_path) == [int(row["step"]) for row in rows(tmp_path)]


def test_a_logger_that_is_not_installed_is_named(tmp_path, monkeypatch):
    def missing(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'wandb'")

    monkeypatch.setattr(tsjepa.training.pl.loggers, "WandbLogger", missing)
    model, series, header = make("train.epochs=1")
    with pytest.raises(TrainingError, match=r"pip install 'tsjepa\[wandb\]'"):
        fit(model, series, header, Options(tmp_path, device="cpu", logger="wandb"))
