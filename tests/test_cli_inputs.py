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
    assert "train.parquet is read as train.parquet: name another file with --out." in said
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
def test_embeddings_do_not_replace_what_is_embedded() -> None:
    for name in ("pump_TRAIN.parquet", "pump_TEST.parquet", "other.parquet"):
        pd.DataFrame({"t0": [0.0], "t1": [1.0]}).to_parquet(name)
    words = ("embed", "run/checkpoint.ckpt", "--out")
    for name in ("pump_TRAIN.parquet", "pump_TEST.parquet"):
        said = kept(name, *words, name, "--data", "pump_TRAIN.parquet")
        assert f"{name} is read as pump_TRAIN.parquet: name another file with --out." in said
    words = (*words, "other.parquet", "--data", "pump.npz")
    assert "is read as other.parquet" in kept("other.parquet", *words, "--test", "other.parquet")
    found(*words, "--overwrite")


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
    plant = tmp_path / "plant[1]"
    (plant / "_run").mkdir(parents=True)
    log, picture, table = plant / "a log.csv", plant / "a log.png", plant / "_run" / "metrics.csv"
    for path in (log, picture, table):
        path.write_text("time,flow\n1,2\n")
    (tmp_path / "link.csv").symlink_to(log)
    (plant / ".way").symlink_to(plant / "_run")
    quoted = f"file://{tmp_path}/plant%5B1%5D/a%20log.csv"
    absolute = (f"{plant}", f"{log}", "~/plant[1]/a log.csv", quoted, "~/link.csv", f"{tmp_path}/*.csv")
    monkeypatch.chdir(plant)
    for source in (*absolute, ".", "*.csv", "a*", ".way/../a log.csv", f"file://{tmp_path}/*.csv"):
        assert reads(source, log), source
        assert not reads(source, picture), source
        assert not reads(source, table), source
    for source in ("-", "s3://bucket/a log.csv", "log.csv", "none*"):
        assert not reads(source, log), source


@pytest.mark.usefixtures("with_trained")
def test_what_a_model_was_trained_on_elsewhere_does_not_matter_here() -> None:
    content = torch.load("run/checkpoint.ckpt", weights_only=True)
    content["tsjepa"]["data"] = "."
    torch.save(content, "run/checkpoint.ckpt")
    words = ("embed", "run/checkpoint.ckpt", "--data", "pump.npz", "--out", "z.parquet", "--overwrite")
    assert [tsjepa(*words).exit_code for _ in range(2)] == [0, 0]
