"""The command `tsjepa diagnose`: one flat object, a page, and sentences for what cannot be done."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import trained_run, tsjepa
from diagnosed import waves

from tsjepa import TSJEPAClassifier, TSJEPAEmbedder
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header, load_checkpoint, read_checkpoint, save_checkpoint
from tsjepa.finetuning import Tuning
from tsjepa.history import EpochDiagnostics
from tsjepa.run_files import EpochTable

pytestmark = pytest.mark.usefixtures("alone")


def found(*words: str) -> dict[str, Any]:
    result = tsjepa("diagnose", *words, "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    values = dict(json.loads(result.stdout))
    assert all(value is None or type(value) in (int, float) for value in values.values())
    return values


def refused(code: int, *words: str) -> str:
    return command_line.refused(code, "diagnose", *words)


def save_data(name: str, n: int = 40, channels: int = 1, labels: bool = True, length: int = 60) -> str:
    series, y = waves(n, channels, length)
    half = n // 2 or 1
    parts = {"X_train": series.values[:half], "X_test": series.values[half:]}
    names = {"y_train": np.array(["calm", "worn"])[y[:half]], "y_test": np.array(["calm", "worn"])[y[half:]]}
    np.savez(f"{name}.npz", **{key: part for key, part in (parts | (names if labels else {})).items() if len(part)})
    return f"{name}.npz"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one run that all tests copy."""
    return trained_run(tmp_path_factory.mktemp("trained"), save_data, epochs=3)


@pytest.fixture
def run(with_trained: None) -> str:
    return "run"


def test_a_run_gives_one_flat_object_and_a_page(run: str) -> None:
    values = found(run)
    assert (values["n_train"], values["n_shown"]) == (20, 20)
    assert [values[f"verdict_{name}"] for name in ("healthy", "collapsed")] in ([1, 0], [0, 0], [0, 1])
    text = Path("run/diagnose.html").read_text()
    assert text.count("<svg") == 7
    assert "calm" in text
    again = found("run/checkpoint.ckpt", "--out", "deep/again.html")
    assert again == values
    assert Path("deep/again.html").read_text() == text
    assert sorted(path.name for path in Path("deep").iterdir()) == ["again.html"]


def test_numbers_are_those_that_training_logged(run: str) -> None:
    last, values = EpochTable(Path("run/diagnostics.csv")).rows()[-1], found(run)
    for name in ("effective_rank", "position_share", "cross_series_share", "sigreg_score", "normalized_std"):
        assert values[name] == pytest.approx(float(last[name]), rel=1e-5), name


def test_what_the_terminal_shows(run: str) -> None:
    result = tsjepa("diagnose", run)
    assert result.exit_code == 0
    assert "effective rank" in result.stdout
    assert "page: run/diagnose.html" in result.stdout


def test_without_the_runs_files_there_is_no_verdict_and_the_page_says_why(run: str) -> None:
    def told(target: str, page: str = "run/diagnose.html") -> str:
        """Return the reason that standard error gives, which the page has, too."""
        result = tsjepa("diagnose", target, "--json", "--no-supervised")
        assert json.loads(result.stdout)["verdict_healthy"] is None
        said = " ".join(result.stderr.split())
        (reason,) = re.findall(r"note: t(here is no verdict.*?\.) *(?:note:|$)", said)
        assert f"T{reason}" in Path(page).read_text()
        return reason

    table = Path("run/diagnostics.csv")
    whole = table.read_text()
    shutil.copy("run/checkpoint.ckpt", "other.ckpt")
    assert "other.ckpt is not the last checkpoint of a run" in told("other.ckpt", "diagnose.html")
    head, *_, last = whole.splitlines()
    cells = dict(zip(head.split(","), last.split(","), strict=True)) | {"relative_spread": "nan"}
    table.write_text(whole.replace(last, ",".join(cells.values())))
    assert "it is nan" in told(run)
    table.write_text("epoch,loss\n1,much\n")
    assert "are damaged" in told(run)
    table.unlink()
    assert "diagnostics.csv is missing" in told(run)
    assert Path("run/diagnose.html").read_text().count("<svg") == 7  # the loss is in metrics.csv


def test_data_without_labels_give_nulls_where_labels_are_needed(run: str) -> None:
    values = found(run, "--data", save_data("bare", labels=False))
    assert values["accuracy"] is values["accuracy_noise_1"] is values["accuracy_lost_block0_mlp"] is None
    assert values["effective_rank"] is not None
    assert values["activation_sparsity_noise_1"] is not None
    assert "<svg" in Path("run/diagnose.html").read_text()


def test_the_verdict_and_the_curves_are_told_from_other_data(run: str) -> None:
    said = "verdict and the curves over epochs are those of the run on pump.npz."
    result = tsjepa("diagnose", run, "--no-supervised")
    assert said not in result.stderr + Path("run/diagnose.html").read_text()
    assert said in tsjepa("diagnose", run, "--no-supervised", "--data", save_data("b", n=44, labels=False)).stderr
    text = Path("run/diagnose.html").read_text()
    assert f"The {said}" in text
    assert "a fixed sample of training series of pump.npz." in text
    Path("run/diagnostics.csv").unlink()
    Path("run/metrics.csv").unlink()
    assert said not in tsjepa("diagnose", run, "--no-supervised", "--data", "b.npz").stderr


def test_the_runs_own_data_are_known_however_they_are_spelled(run: str, tmp_path: Path) -> None:
    def told(*words: str) -> bool:
        result = tsjepa("diagnose", run, "--no-supervised", *words)
        assert result.exit_code == 0, result.output
        return "are those of the run on pump.npz" in result.stderr

    Path("link.npz").symlink_to("pump.npz")
    shutil.copy("pump.npz", "copy.npz")
    own = ("./pump.npz", str(tmp_path / "pump.npz"), "link.npz")
    assert not any(told("--data", data) for data in (*own, "copy.npz"))
    model, header = load_checkpoint("run/checkpoint.ckpt")
    save_checkpoint(Path("run/checkpoint.ckpt"), model, header._replace(fingerprint=None))  # as older ones are
    assert not any(told("--data", data) for data in own)
    assert told("--data", "copy.npz")
    save_checkpoint(Path("run/checkpoint.ckpt"), model, header)
    save_data("pump", n=60)  # other data under the same name
    assert told("--data", "./pump.npz")


def test_the_verdict_on_a_collapsed_teacher_is_that_of_training(run: str) -> None:
    words = ("--data", "pump.npz", "--config", "tiny", "--objective", "distill", "--epochs", "2", "--out", "taught")
    assert tsjepa("pretrain", *words).exit_code == 0
    table = EpochTable(Path("taught/teacher/diagnostics.csv"))
    table.path.unlink()
    for epoch, spread in enumerate((0.6, 0.001)):
        table.append(EpochDiagnostics(epoch, 0.5, relative_spread=spread, latent_spread=spread)._asdict())
    assert found("taught", "--no-supervised")["verdict_collapsed"] == 1
    assert "Of the teacher: the last level kept" in Path("taught/diagnose.html").read_text()
    before = found(run, "--no-supervised")["verdict_collapsed"]
    shutil.copytree("taught/teacher", Path(run, "teacher"))  # of an earlier run: this one had no teacher
    assert found(run, "--no-supervised")["verdict_collapsed"] == before == 0


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({}, "has no test part"),
        ({"X_test": 10}, "has no labels in its training part"),
        ({"X_test": 10, "y_train": np.arange(20) % 2}, "has no labels in its test part"),
        ({"X_test": 10, "y_train": np.arange(20) % 1, "y_test": np.arange(10) % 2}, "has one class only"),
        ({"X_test": 10, "y_train": np.linspace(0, 1, 20), "y_test": np.linspace(0, 1, 10)}, "has numbers for labels"),
    ],
)
def test_why_there_is_no_accuracy_is_said(run: str, labels: dict[str, Any], reason: str) -> None:
    series = waves(30)[0].values
    np.savez("d.npz", X_train=series[:20], **{key: series[20:] if key == "X_test" else y for key, y in labels.items()})
    result = tsjepa("diagnose", run, "--data", "d.npz", "--no-supervised", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["accuracy"] is None
    assert f"note: there are no accuracies, since d {reason}" in " ".join(result.stderr.split())
    text = Path("run/diagnose.html").read_text()
    assert f"There are no accuracies, since d {reason}" in text
    assert "<h2>Accuracy" not in text
    assert "as wrong" not in result.stderr


def test_windows_without_a_label_are_no_class_of_their_own() -> None:
    def machine(name: str, cycles: int) -> pd.DataFrame:
        """Return calm and worn stretches of 100 rows, and after each two a calm one that nobody has labelled."""
        states = np.tile(["calm", "worn", "unknown"], cycles).repeat(100)
        values = np.sin(np.arange(len(states)) * np.where(states == "worn", 0.7, 0.2))
        labels = np.where(states == "unknown", None, states)
        return pd.DataFrame({"machine": name, "time": range(len(states)), "flow": values, "label": labels})

    machine("a", 8).to_csv("train.csv", index=False)
    machine("b", 4).to_csv("test.csv", index=False)
    log = ("--test", "test.csv", "--id", "machine", "--window", "50", "--stride", "50")
    trained = tsjepa("pretrain", "--data", "train.csv", *log, "--config", "tiny", "--epochs", "1", "--json")
    assert trained.exit_code == 0, trained.output
    values, last = found("runs/train"), EpochTable(Path("runs/train/diagnostics.csv")).rows()[-1]
    assert (values["accuracy"], values["majority_accuracy"]) == (1.0, 0.5)
    assert values["n_train"] == 48  # what needs no label is measured on all windows, as in training
    assert values["effective_rank"] == pytest.approx(float(last["effective_rank"]), rel=1e-4)
    machine("b", 4).assign(label="").to_csv("test.csv", index=False)
    assert found("runs/train")["accuracy"] is None


def test_one_series(run: str) -> None:
    values = found(run, "--data", save_data("single", n=1, labels=False))
    assert values["lidar"] is values["cross_series_gap"] is values["uniformity"] is None
    assert values["n_train"] == 1
    assert "<svg" in Path("run/diagnose.html").read_text()


def test_numbers_of_pretraining_are_left_out_of_an_encoder_that_labels_moved_and_of_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ran(*words: str) -> Any:
        result = tsjepa(*words, "--device", "cpu")
        assert result.exit_code == 0, result.output
        return result

    def trained(*words: str) -> None:
        ran("pretrain", "--data", data, "--config", "tiny", "--epochs", "1", *words)

    def told(path: str) -> bool:
        result = ran("diagnose", path, "--data", data, "--no-supervised", "--json")
        (missing,) = {json.loads(result.stdout)[name] is None for name in ("sigreg_score", "predictor_sensitivity")}
        assert ("the encoder was fine-tuned" in result.stderr) == missing
        return missing

    data = save_data("pump")
    trained("--objective", "ema", "--out", "run")
    with np.load(data) as held:
        X, y = held["X_train"], held["y_train"]
    for tune, name in ((True, "tuned"), (False, "frozen")):
        model = TSJEPAClassifier(checkpoint="run/checkpoint.ckpt", tune=tune, finetune_epochs=1, device="cpu").fit(X, y)
        model.save(f"{name}.ckpt")
        model.embedder_.save(f"{name}-alone.ckpt")
        for path in (f"{name}.ckpt", f"{name}-alone.ckpt"):
            assert told(path) == tune, path
    trained("--objective", "distill", "--teacher", "tuned.ckpt", "--out", "student")
    assert load_checkpoint("student/checkpoint.ckpt")[0].labelled
    assert not told("student")
    # a student of it that labels did not move beyond that, with a head, and one that they did, without
    monkeypatch.setattr("tsjepa.cli.finetune.DEFAULT", Tuning(epochs=1, min_steps=4))
    words = ("finetune", "student/checkpoint.ckpt", "--data", data, "--labels", "1", "--no-supervised")
    for tuned, more in ((False, ("--choose", "--lr", "1e-9")), (True, ("--lr", "0.1"))):
        ran(*words, *more, "--out", "again", "--overwrite")
        TSJEPAEmbedder.load("again/finetuned.ckpt").save("bare.ckpt")
        for path in ("again/finetuned.ckpt", "bare.ckpt"):
            assert told(path) == tuned, path
    # earlier versions do not say which: a head tells of tuning then
    for path, tuned in (("again/finetuned.ckpt", True), ("bare.ckpt", False)):
        content = read_checkpoint(path)
        del content["tuned"]
        torch.save(content, path)
        assert told(path) == tuned, path


def test_the_data_set_that_ships_with_aeon() -> None:
    config = resolve(configure("tiny"), 100)
    save_checkpoint("watch.ckpt", build_model(config, 6), Header(config, "BasicMotions", 6, 100))
    values = found("watch.ckpt", "--out", "watch.html")
    assert {f"accuracy_missing_channel_{k}" for k in range(6)} <= set(values)
    assert values["accuracy"] == values["random_init_accuracy"]
    assert values["accuracy"] is not None
    assert values["accuracy"] > 0.8
    assert Path("watch.html").read_text().count("<svg") == 6


def test_what_cannot_be_done_is_said_in_a_sentence(run: str) -> None:
    assert "there is no checkpoint" in refused(1, "nowhere")
    Path("empty/teacher").mkdir(parents=True)
    sentence = "the folder {} holds no checkpoint.ckpt, which pretrain writes after its first epoch"
    said = refused(1, "empty")
    assert sentence.format("empty") in said
    assert "name another, as runs/NAME/checkpoint.ckpt." in said
    Path("empty/teacher/checkpoint.ckpt").touch()
    assert "name another, as empty/teacher/checkpoint.ckpt." in refused(1, "empty")
    Path("empty/finetuned.ckpt").touch()
    assert "name another, as empty/finetuned.ckpt." in refused(1, "empty")
    assert sentence.format(".") in refused(1, ".")
    assert "cannot be read as a checkpoint" in refused(1, "run/config.yaml")
    assert "must end in .html" in refused(2, run, "--out", "page.pdf")
    Path("folder.html").mkdir()
    assert "is a folder" in refused(2, run, "--out", "folder.html")
    assert "patch" in refused(1, run, "--data", save_data("short", length=8))
    _, header = load_checkpoint("run/checkpoint.ckpt")
    mixed = resolve(configure("tiny", None, ["tokenizer.channels=mixed"]), 60)
    save_checkpoint("mixed.ckpt", build_model(mixed, 2), Header(mixed, header.data, 2, 60))
    assert "mixes the channels that it was trained on, 2 in number" in refused(1, "mixed.ckpt")
