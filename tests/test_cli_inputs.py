"""What is read is never replaced by what is written, with --overwrite neither: logs, training data and checkpoints."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import found, refused, trained_run, tsjepa, write_data
from detecting import CKPT, SETTINGS, WORDS, faulty, follow, log

from tsjepa.cli.errors import Failure
from tsjepa.cli.inputs import is_several, joins, reads, refuse_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one run that all tests copy."""
    return trained_run(tmp_path_factory.mktemp("trained"))


def kept(file: str, *words: str) -> str:
    """Return what a command says that is refused before it writes anything, a file that it would replace least."""
    content, before = Path(file).read_bytes(), set(Path().rglob("*"))
    said = refused(2, *words, "--overwrite")
    assert Path(file).read_bytes() == content
    assert {path.parts[0] for path in set(Path().rglob("*")) - before} <= {"cache"}
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
        assert "name a file in another folder with --out" in kept("events.csv", *words)


@pytest.mark.usefixtures("with_detector")
def test_events_and_pictures_do_not_replace_the_log() -> None:
    Path("ev").mkdir()
    faulty().drop(columns="anomaly").to_csv("ev/events.csv", index=False)
    for words, name in ((WORDS, "scores.parquet"), (follow(), "scores.csv")):
        words = (*words, "--data", "ev/events.csv", "--out", f"ev/{name}")
        sentence = "ev/events.csv is read as ev/events.csv: name a file in another folder with --out."
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
    for name in ("pump_TRAIN.parquet", "pump_TEST.parquet", "fan_train.parquet", "fan_test.parquet", "other.parquet"):
        pd.DataFrame({"t0": [0.0], "t1": [1.0]}).to_parquet(name)
    words = ("embed", "run/checkpoint.ckpt", "--out")
    for name in ("pump_TRAIN.parquet", "pump_TEST.parquet"):
        said = kept(name, *words, name, "--data", "pump_TRAIN.parquet")
        assert f"{name} is read as pump_TRAIN.parquet: name another file with --out." in said
    said = kept("fan_test.parquet", *words, "fan_test.parquet", "--data", "fan_train.parquet")
    assert "fan_test.parquet is read as fan_train.parquet" in said
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


@pytest.mark.usefixtures("with_trained")
def test_a_run_that_holds_results_may_be_called_like_a_data_set_of_data_dir() -> None:
    folder = Path("archive/Pump")
    folder.mkdir(parents=True)
    for part in ("TRAIN", "TEST"):
        rows = np.column_stack([np.arange(16) % 2, np.random.default_rng(0).normal(size=(16, 40))])
        np.savetxt(folder / f"Pump_{part}.tsv", rows, delimiter="\t")
    shutil.move("run", "Pump")
    words = ("Pump/checkpoint.ckpt", "--data", "Pump", "--data-dir", "archive")
    for _ in range(2):
        found("embed", *words, "--out", "Pump/embeddings.parquet", "--overwrite")
    found("probe", *words)


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


TINY = ("--window", "32", "--config", "tiny", "--epochs", "1", "--device", "cpu")


def write_plant() -> None:
    """Write the logs of two machines into the folder plant."""
    Path("plant").mkdir()
    for seed, name in enumerate("ab"):
        log(200, seed).drop(columns="run").to_csv(f"plant/{name}.csv", index=False)


def next_words(*words: str) -> list[str]:
    """Return the words of the command that a command says is next."""
    result = tsjepa(*words)
    assert result.exit_code == 0, result.output
    return shlex.split("".join(re.findall("^next: tsjepa (.*)$", result.stdout, re.MULTILINE)))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("folder", "words", "run"),
    [
        (".", ("--data", "plant", "--out", "plant/run"), "plant/run"),
        (".", ("--data", "plant", "--out", "plant/runs/tiny"), "plant/runs/tiny"),
        ("plant", ("--data", "."), "runs"),
        ("plant", ("--data", ".", "--out", "runs/tiny"), "runs/tiny"),
    ],
)
def test_a_run_may_lie_in_the_folder_of_its_log(
    folder: str, words: tuple[str, ...], run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plant()
    monkeypatch.chdir(folder)
    following = next_words("pretrain", *words, *TINY)
    assert following[-1] == f"{run}/embeddings.parquet"
    said = [tsjepa(*following, *again, "--device", "cpu") for again in ((), ("--overwrite",))]
    assert [result.exit_code for result in said] == [0, 0], said[-1].output
    assert all("note: 1 folder of runs is read by a pattern only: " in result.stderr for result in said)
    more = ("--resume", "--epochs", "2", *(word for word in TINY if word not in ("--epochs", "1")))
    assert found("pretrain", *words, *more)["epochs"] == 2
    for name in ("checkpoint.ckpt", "best.ckpt", "metrics.csv"):  # as if it was stopped in its first epoch
        Path(run, name).unlink(missing_ok=True)
    table = Path(run, "diagnostics.csv").read_text().splitlines(keepends=True)
    Path(run, "diagnostics.csv").write_text("".join(table[:2]))
    result = tsjepa("pretrain", *words, *more)
    assert result.exit_code == 0, result.output
    assert f"no epoch of the run in {run} was finished, so it starts from its beginning" in result.stderr


@pytest.mark.usefixtures("alone")
def test_what_a_pattern_finds_again_is_refused_before_training() -> None:
    write_plant()
    log(200, 3).drop(columns="run").to_parquet("plant/c.parquet", index=False)
    for ending, name in (("csv", "metrics.csv"), ("parquet", "embeddings.parquet")):
        said = refused(2, "pretrain", "--data", f"**/*.{ending}", *TINY)
        assert f"/{name} would be read as a part of **/*.{ending}: name another folder with --out." in said


@pytest.mark.usefixtures("with_detector")
def test_another_log_than_that_of_training_keeps_no_scores_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    content = torch.load(CKPT, weights_only=True)
    content["tsjepa"]["data"] = "*.parquet"
    torch.save(content, CKPT)
    Path("other").mkdir()
    train = pd.read_parquet("train.parquet")
    for name in ("a", "b"):
        train.assign(run=name + train["run"]).to_parquet(f"other/{name}.parquet", index=False)
    monkeypatch.chdir("other")
    words = ("detect", f"../{CKPT}", "--data", "a.parquet", "--out", "scores.parquet", "--false-alarms", "1/1000")
    assert "name normal data by --normal" in refused(1, *words)
    found(*words, "--normal", "b.parquet")


@pytest.mark.usefixtures("with_detector")
def test_logs_beside_a_checkpoint_are_read_by_a_pattern_only(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("today").mkdir()
    shutil.copy(CKPT, "today/checkpoint.ckpt")
    shutil.copy("train.parquet", "today/a.parquet")
    advice = "name logs in it by a pattern such as '{0}/*.parquet', or move the run"
    assert advice.format("today") in refused(1, "pretrain", "--data", "today", *TINY[2:])
    monkeypatch.chdir("today")
    words = ("detect", "checkpoint.ckpt", "--normal", "../train.parquet", "--false-alarms", "1/1000", "--overwrite")
    content = Path("a.parquet").read_bytes()
    assert advice.format(".") in refused(1, *words, "--data", ".", "--out", "a.parquet")
    assert "is read as *.parquet" in refused(2, *words, "--data", "*.parquet", "--out", "a.parquet")
    assert Path("a.parquet").read_bytes() == content
    monkeypatch.chdir("..")
    Path("today/a.parquet").unlink()
    Path("today/metrics.csv").write_text("epoch,step,loss,lr\n0,1,0.5,0.1\n")
    assert "today is a folder without today_TRAIN.ts" in refused(1, "pretrain", "--data", "today", *TINY[2:])


@pytest.mark.usefixtures("alone")
def test_scores_may_lie_in_a_run_in_the_folder_of_its_log() -> None:
    write_plant()
    log(200, 3).drop(columns="run").to_parquet("NEW.parquet", index=False)
    words = ("--config", "lewm-sensor", "--epochs", "1", *SETTINGS, "--device", "cpu")
    following = next_words("pretrain", "--data", "plant", "--out", "plant/run", *words)
    assert following[-1] == "plant/run/scores.parquet"
    for again in (), ("--overwrite",):
        found(*following, *again, "--false-alarms", "1/1000")
    for name, source in (("scores.parquet", ("NEW.parquet",)), ("scores.csv", ("plant/a.csv", "--follow"))):
        said = refused(2, *following[:-4], "--out", f"plant/{name}", "--false-alarms", "1/1000", "--data", *source)
        assert f"plant/{name} would be read as a part of plant: name another file with --out." in said
    words = (*following[:-4], "--normal", "plant", "--out", "today/scores.parquet", "--data")
    Path("today").mkdir()
    shutil.copy("NEW.parquet", "today/a.parquet")
    for source in ("today", "today/*.parquet"):
        said = refused(2, *words, source)
        assert f"today/scores.parquet would be read as a part of {source}: name another file with --out." in said
    shutil.copy("plant/a.csv", "today/a.csv")
    said = refused(2, *words, "today/*.csv")
    assert "today/events.csv would be read as a part of today/*.csv: name a file in another folder with --out." in said
    assert [path.name for path in sorted(Path("today").iterdir())] == ["a.csv", "a.parquet"]


@pytest.mark.usefixtures("with_trained")
def test_what_would_be_read_with_a_log_is_not_written_there() -> None:
    write_plant()
    embedding = ("embed", "run/checkpoint.ckpt", "--window", "32", "--data")
    for source, out in (
        ("plant", "plant/emb.parquet"),
        ("plant", "plant/new/emb.parquet"),
        (".", "emb.parquet"),
        ("plant/*", "plant/emb.parquet"),
        ("plant/**/*.parquet", "plant/new/emb.parquet"),
    ):
        sentence = f"{out} would be read as a part of {source}: name another file with --out."
        assert sentence in refused(2, *embedding, source, "--out", out), (source, out)
    assert "would be read as a part of plant" in refused(
        2, *embedding, "plant/a.csv", "--test", "plant", "--out", "plant/emb.parquet"
    )
    found(*embedding, "plant/*.csv", "--out", "plant/emb.parquet", "--device", "cpu")


@pytest.mark.usefixtures("alone")
def test_a_run_does_not_take_the_place_of_files_of_its_log() -> None:
    write_plant()
    for source, out, sentence in (
        ("plant", "plant", "plant holds files of plant"),
        (".", "plant", "plant holds files of ."),
        ("plant/*", "plant", "plant/metrics.csv would be read as a part of plant/*"),
        ("plant/**/*.csv", "plant/run", "plant/run/metrics.csv would be read as a part of plant/**/*.csv"),
    ):
        said = refused(2, "pretrain", "--data", source, "--out", out, *TINY)
        assert f"{sentence}: name another folder with --out." in said
    assert not Path("plant/run").exists()
    assert not list(Path("plant").glob("*.yaml"))
    found("pretrain", "--data", "plant/[ab].csv", "--out", "plant", *TINY)


@pytest.mark.usefixtures("with_trained")
def test_a_folder_of_a_data_set_is_no_log() -> None:
    Path("pump").mkdir()
    for name in ("pump_TRAIN.csv", "pump_TEST.csv"):
        log(40, 1)[["flow", "level"]].T.to_csv(f"pump/{name}", index=False)
    words = ("embed", "run/checkpoint.ckpt", "--data", "pump", "--out", "pump/z.parquet", "--overwrite")
    assert [found(*words, "--device", "cpu")["rows"] for _ in range(2)] == [4, 4]


def test_a_run_does_not_take_the_place_of_a_folder_of_folders_of_logs(tmp_path: Path) -> None:
    plant = tmp_path / "2026"
    (plant / "03").mkdir(parents=True)
    (plant / "03" / "pump.csv").write_text("time,flow\n0,1.5\n1,2.5\n")
    with pytest.raises(Failure, match="holds files of"):
        refuse_run(plant, str(plant))


def test_a_name_that_no_file_can_have_is_not_read(tmp_path: Path) -> None:
    assert not reads(str(tmp_path), tmp_path / ("x" * 300))


def test_a_folder_of_a_run_is_not_several_files_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,loss,lr\n0,1,0.5,0.1\n")
    (tmp_path / "log.csv").write_text("time,flow\n0,1.5\n1,2.5\n")
    assert not is_several(str(tmp_path))


def test_half_a_data_set_is_not_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "pump").mkdir()
    (tmp_path / "pump" / "pump_TRAIN.ts").write_text("@data\n1,2:a\n")
    (tmp_path / "z.parquet").touch()
    assert not reads(str(tmp_path / "pump"), tmp_path / "z.parquet")


def test_scores_would_be_read_with_a_folder_of_data_sets(tmp_path: Path) -> None:
    for name in ("pump_TRAIN.csv", "pump_TEST.csv", "valve_TRAIN.csv", "valve_TEST.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n3,4\n")
    assert joins(str(tmp_path), tmp_path / "scores.csv")
