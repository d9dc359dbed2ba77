"""Runs that are watched: nothing changes by it, a table goes on, and a collapse is told."""

import numpy as np
import pytest
import torch
from watched import make, toy

from tsjepa import CollapseWarning, TSJEPAEmbedder
from tsjepa.arrays import as_series
from tsjepa.best import best_epoch
from tsjepa.checkpoint import load_checkpoint
from tsjepa.history import EpochDiagnostics
from tsjepa.monitor import DIAGNOSTICS, read_history, teacher_verdict
from tsjepa.run_files import EpochTable
from tsjepa.training import FitResult, Options, check_teacher, fit, fit_stages
from tsjepa.training_error import TrainingError
from tsjepa.verdict import Verdict, of_both, to_be_ended


@pytest.mark.parametrize("objective", ["ema", "sigreg", "deep", "salt"])
def test_watching_changes_nothing_of_a_run(objective):
    series, _ = toy()
    weights = []
    for diagnose in (True, False):
        model, header = make(objective, "train.epochs=2")
        fit_stages(model, series, header, Options(device="cpu", diagnose=diagnose))
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


def test_a_collapsed_teacher_is_told(tmp_path):
    config = make("distill")[1].config
    assert teacher_verdict(config, tmp_path, 32) is None
    start = EpochDiagnostics(0, relative_spread=0.6, latent_spread=0.6)
    later = start._replace(epoch=1, loss=0.5, relative_spread=0.001)
    (tmp_path / "teacher").mkdir()
    table = EpochTable(tmp_path / "teacher" / DIAGNOSTICS)
    for record in (start, later):
        table.append(record._asdict())
    taught = teacher_verdict(config, tmp_path, 32)
    alone, named = make("ema")[1].config, make("distill", "target.teacher=other.ckpt")[1].config
    assert teacher_verdict(alone, tmp_path, 32) is teacher_verdict(named, tmp_path, 32) is None
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
