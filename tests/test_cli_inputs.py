"""What is read is never replaced by what is written, with --overwrite neither: logs, training data and checkpoints."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import found, refused, trained_run, tsjepa, write_data
from detecting import CKPT, WORDS, faulty, follow, log

from tsjepa.cli.inputs import reads


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one run that all tests copy."""
    return trained_run(tmp_path_factory.mktemp("trained"))


def kept(file: str, *words: str) -> str:
    """Return what a command says that is refused before it writes anything, a file that it would replace least."""
    content, before = Path(file).read_bytes(), set(Path().rglob("*"))
    said = refused(2, *words, "--overwrite")
    assert Path(file).read_bytes() == content
    assert set(Path().rglob("*")) - before <= {Path("cache")}
    return said


@pytest.mark.usefixtures("with_detector")
def test_scores_do_not_replace_what_the_model_was_trained_on() -> None:
    said = kept("train.parquet", *WORDS, "--out", "train.parquet")
    assert "train.parquet is read as train.parquet, which the checkpoint was trained or tested on: name another" in said
    content = torch.load(CKPT, weights_only=True)
    log(800, seed=1).to_csv("events.csv", index=False)
    content["tsjepa"]["data"] = "events.csv"
    torch.save(content, CKPT)
    Path("scores.parquet").touch()
    Path("scores.csv").touch()
    for words in (WORDS, follow("train.csv")):
        log(200, seed=1).to_csv("train.csv", index=False)
        assert "name a file without events.csv beside it with --out" in kept("events.csv", *words)


@pytest.mark.usefixtures("with_detector")
def test_events_and_pictures_do_not_replace_the_log() -> None:
    Path("ev").mkdir()
    faulty().drop(columns="anomaly").to_csv("ev/events.csv", index=False)
    for words, name in ((WORDS, "scores.parquet"), (follow(), "scores.csv")):
        words = (*words, "--data", "ev/events.csv", "--out", f"ev/{name}")
        sentence = "ev/events.csv is read as ev/events.csv: name a file without events.csv beside it with --out."
        assert sentence in refused(2, *words)
        Path("ev", name).touch()
        assert sentence in kept("ev/events.csv", *words)
    shutil.copy(CKPT, "model.png")
    words = ("detect", "model.png", *WORDS[2:], "--picture", "model.png")
    assert "model.png is read as model.png: name another file with --picture." in kept("model.png", *words)


@pytest.mark.usefixtures("with_trained")
def test_no_command_replaces_its_checkpoint() -> None:
    for name in ("m.parquet", "m.onnx", "m.html", "finetuned.ckpt"):
        shutil.copy("run/checkpoint.ckpt", name)
    advice = "is read as {0}: name another {1} with {2}."
    for name, flag, words in (
        ("m.parquet", "--out", ("embed", "m.parquet", "--data", "pump.npz", "--out", "m.parquet")),
        ("m.onnx", "--onnx", ("export", "m.onnx", "--onnx", "m.onnx")),
    ):
        assert advice.format(name, "file", flag) in kept(name, *words)
    words = ("finetune", "finetuned.ckpt", "--out", ".", "--data", "pump.npz")
    assert advice.format("finetuned.ckpt", "folder", "--out") in kept("finetuned.ckpt", *words)
    assert advice.format("m.html", "file", "--out") in refused(2, "diagnose", "m.html", "--out", "m.html")


@pytest.mark.usefixtures("with_trained")
def test_embeddings_do_not_replace_training_data() -> None:
    content = torch.load("run/checkpoint.ckpt", weights_only=True)
    content["tsjepa"]["data"] = "pump_TRAIN.parquet"
    torch.save(content, "run/checkpoint.ckpt")
    for name in ("pump_TRAIN.parquet", "pump_TEST.parquet", "other.parquet"):
        pd.DataFrame({"t0": [0.0], "t1": [1.0]}).to_parquet(name)
    words = ("embed", "run/checkpoint.ckpt", "--data", "pump.npz", "--out")
    for name in ("pump_TRAIN.parquet", "pump_TEST.parquet"):
        assert "which the checkpoint was trained or tested on: name another file" in kept(name, *words, name)
    assert "is read as other.parquet" in kept("other.parquet", *words, "other.parquet", "--test", "other.parquet")
    found(*words, "other.parquet", "--overwrite")


@pytest.mark.usefixtures("with_trained")
@pytest.mark.parametrize("out", [".", "./"])
def test_a_run_does_not_replace_data_that_are_called_like_its_tables(out: str) -> None:
    log(100, seed=1).to_csv("metrics.csv", index=False)
    words = ("pretrain", "--config", "tiny", "--data", "metrics.csv", "--window", "20", "--out", out)
    sentence = "metrics.csv is read as metrics.csv: name another folder with --out."
    assert sentence in refused(2, *words)
    assert sentence in kept("metrics.csv", *words)


@pytest.mark.usefixtures("with_trained")
def test_a_folder_of_results_may_be_called_like_a_data_set() -> None:
    write_data("pump")
    words = ("embed", "run/checkpoint.ckpt", "--data", "pump.npz", "--out", "GunPoint/z.parquet", "--overwrite")
    assert [tsjepa(*words).exit_code for _ in range(2)] == [0, 0]
    assert not reads("GunPoint", Path("GunPoint/z.parquet"))
    assert reads("./GunPoint", Path("GunPoint/z.parquet"))


def test_what_is_read_is_known_under_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    log = tmp_path / "plant[1]" / "log.parquet"
    log.parent.mkdir()
    log.touch()
    picture = log.with_suffix(".png")
    picture.touch()
    (tmp_path / "link").symlink_to(log)
    for source in (f"{log.parent}", f"{log}", "~/plant[1]/log.parquet", f"file://{log}", "~/link", f"{tmp_path}/l*"):
        assert reads(source, log)
        assert not reads(source, picture)
    for source in ("", "-", "s3://bucket/log.parquet", "log.parquet"):
        assert not reads(source, log)
