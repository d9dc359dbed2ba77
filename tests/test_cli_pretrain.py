"""`tsjepa pretrain`: what it writes and prints, what it refuses, and that a refusal destroys nothing."""

import errno
import json
import math
import shlex
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pytest
import torch
import yaml
from command_line import tsjepa
from sketched import MEASURED
from typer.testing import Result

from tsjepa import training
from tsjepa.callbacks import Progress
from tsjepa.checkpoint import load_checkpoint
from tsjepa.cli import outdir, render, report
from tsjepa.config import load_config
from tsjepa.verdict import Verdict

KEYS = {"checkpoint", "data", "n_series", "epochs", "kept_epoch", "seconds", "loss", "collapse"}
ACCURACIES = {"random_init_accuracy", "accuracy", "majority_accuracy"}
PRETRAIN = ("pretrain", "--config", "tiny", "--device", "cpu")
RUN = {"checkpoint.ckpt", "config.yaml", "metrics.csv", "diagnostics.csv", "best.ckpt"}
pytestmark = pytest.mark.usefixtures("alone")


def pretrain(*words: str) -> Result:
    return tsjepa(*PRETRAIN, *words)


def refused(code: int, *words: str) -> str:
    return command_line.refused(code, *PRETRAIN, *words)


def write_data(name: str, **arrays: Any) -> str:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 2, 40)).astype(np.float32)
    X[6:] += np.sin(np.arange(40) * 0.8, dtype=np.float32)
    values = {
        "X_train": X,
        "y_train": np.repeat(["calm", "worn"], 6),
        "X_test": X[::2],
        "y_test": ["calm"] * 3 + ["worn"] * 3,
    }
    np.savez(f"{name}.npz", **{key: value for key, value in {**values, **arrays}.items() if value is not None})
    return f"{name}.npz"


def names_in(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def test_settings_of_a_recipe_that_need_a_log_are_said_as_such() -> None:
    sentence = refused(2, "--config", "lewm-sensor")
    assert "log.window and log.stride say how a sensor log is read, and BasicMotions is none" in sentence
    assert "add --set log.window=null --set log.stride=null." in sentence
    assert "--window says how" in refused(2, "--config", "lewm-sensor", "--window", "64")


def test_without_data_it_trains_on_what_ships_inside_aeon() -> None:
    result = pretrain("--epochs", "1", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert set(found) == KEYS | ACCURACIES
    assert (found["data"], found["n_series"], found["epochs"]) == ("BasicMotions", 40, 1)
    assert found["majority_accuracy"] == 0.25
    assert 0.25 < found["random_init_accuracy"] <= 1
    assert found["loss"] > 0
    assert found["kept_epoch"] is None
    assert Path(found["checkpoint"]) == Path("runs/BasicMotions/checkpoint.ckpt")
    assert names_in("runs/BasicMotions") == RUN
    assert "40 series, 6 channels, 100 time points" in result.stderr


def test_the_closing_table_has_the_baselines_and_the_next_command(tmp_path: Path) -> None:
    result = pretrain("--data", write_data("pump"), "--epochs", "1", "--data-dir", str(tmp_path), "--out", "my run")
    assert result.exit_code == 0
    for words in ("loss", "accuracy, majority class", "0.500", "random initialisation", "accuracy, trained"):
        assert words in result.stdout
    assert f"next: tsjepa probe 'my run/checkpoint.ckpt' --data-dir {tmp_path}" in result.stdout
    assert "pretraining on pump" in result.stderr


def test_without_labels_the_next_command_embeds_and_runs() -> None:
    result = pretrain("--data", write_data("pump", y_train=None, y_test=None), "--epochs", "1", "--out", "run")
    (command,) = (line for line in result.stdout.splitlines() if line.startswith("next: "))
    words = shlex.split(command.removeprefix("next: tsjepa "))
    assert words[0] == "embed"
    assert tsjepa(*words).exit_code == 0
    assert Path("run/embeddings.parquet").exists()


def test_series_without_a_value_take_no_steps() -> None:
    X = np.full((40, 1, 60), np.nan)
    X[:8] = np.random.default_rng(0).normal(size=(8, 1, 60))
    data = write_data("pump", X_train=X, X_test=None, y_train=None, y_test=None)
    words = ("--data", data, "--set", "train.max_steps=6", "--out", "run")
    assert pretrain(*words, "--set", "train.batch_size=4").exit_code == 0
    assert Path("run/metrics.csv").read_text().splitlines()[-1].startswith("3,6,")  # epoch and step


def test_flags_are_overrides_and_set_comes_last() -> None:
    result = pretrain(
        "--data", write_data("pump"), "--masking", "block", "--objective", "vicreg", "--epochs", "9", "--seed", "7",
        "--lr", "1e-5", "--batch-size", "5", "--set", "train.epochs=1", "--set", "probe.pool=[mean]", "--out", "run",
    )  # fmt: skip
    assert result.exit_code == 0
    config = load_config("run/config.yaml")
    assert load_checkpoint("run/checkpoint.ckpt")[1].config == config
    section = config.train
    assert (section.epochs, section.batch_size, section.lr, section.seed) == (1, 5, 1e-5, 7)
    assert (config.mask.kind, config.regularizer.kind, config.data) == ("block", "vicreg", "pump.npz")
    assert (config.tokenizer.patch_length, config.probe.pool) == (4, ("mean",))


def test_data_may_stand_in_the_configuration_and_need_no_quotes() -> None:
    write_data("no")
    Path("own.yaml").write_text("data: no.npz\ntokenizer: {n_patches: 4}\ntrain: {epochs: 1}\n")
    assert json.loads(pretrain("--config", "own.yaml", "--json").stdout)["data"] == "no"
    assert load_config("runs/no/config.yaml").data == "no.npz"
    assert "no data set is called '007'" in refused(1, "--data", "007")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"y_train": None, "y_test": None}, "no labels"),
        ({"X_test": None, "y_test": None}, "no test part"),
        ({"y_train": ["calm"] * 12}, "one class only"),
        ({"y_test": None}, "test part of pump has no labels"),
    ],
)
def test_what_cannot_be_scored_is_trained_all_the_same(arrays: dict[str, Any], reason: str) -> None:
    result = pretrain("--data", write_data("pump", **arrays), "--epochs", "1", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert {found[key] for key in ACCURACIES} == {None}
    assert set(found) == KEYS | ACCURACIES
    assert reason in result.stderr


def test_a_numeric_target_has_r2_and_rmse() -> None:
    y = np.random.default_rng(1).normal(size=12)
    result = pretrain("--data", write_data("pump", y_train=y, y_test=y[::2]), "--epochs", "1", "--json")
    found = json.loads(result.stdout)
    assert set(found) == KEYS | ACCURACIES | {"r2", "rmse", "random_init_r2", "random_init_rmse"}
    assert {found[key] for key in ACCURACIES} == {None}
    assert found["rmse"] > 0


def test_nothing_of_the_test_part_enters_the_checkpoint() -> None:
    longer = np.random.default_rng(2).normal(size=(6, 2, 90))
    paths = [write_data("pump"), write_data("other", X_test=longer)]
    measured = [word for setting in MEASURED for word in ("--set", setting)]
    for path in paths:
        assert pretrain("--data", path, *measured).exit_code == 0
    (one, first), (two, second) = (load_checkpoint(f"runs/{name}/checkpoint.ckpt") for name in ("pump", "other"))
    assert first._replace(config=second.config, data=second.data) == second
    for left, right in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--set", "mask.ratoi=0.5"], "did you mean mask.ratio"),
        (["--set", "mask.ratio=0"], "mask.ratio"),
        (["--set", "mask.ratio=1"], "mask.ratio"),
        (["--set", "encoder.dim=wide"], "encoder.dim"),
        (["--set", "encoder.dim"], "key.path=value"),
        (["--lr", "-1"], "train.lr"),
        (["--lr", "nan"], "train.lr"),
        (["--set", "probe.levels=9"], "probe.levels is 9"),
        (["--set", "probe.pool=[]"], "probe.pool is empty: give at least one."),
        (["--set", "tokenizer.dilations=[]"], "tokenizer.dilations is empty: give at least one."),
        (["--config", "tinny"], "did you mean tiny"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--masking", "blok"], "'blok' is not one of"),
        (["--objective", "jepa"], "Invalid value for '--objective': 'jepa' is not one of"),
        (["--epochs", "0"], "'--epochs': input should be greater than or equal to 1, but got '0'"),
        (["--epoch", "3"], "--epoch"),
        (["--device", "tpu"], "'tpu' is not one of"),
        (["--resume", "--overwrite"], "give one of them"),
        (["--set", "tokenizer.patch_length=100"], "shorter tokenizer.patch_length"),
    ],
)
def test_usage_errors_end_with_2_and_leave_nothing(words: list[str], part: str) -> None:
    assert part in refused(2, *words)
    assert names_in(".") == set()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--data", "BasicMotion"], "BasicMotions"),
        (["--data", "absent.csv"], "absent.csv does not exist"),
        (["--data", ""], "'' cannot name a data set"),
        (["--data", "", "--resume"], "'' cannot name a data set"),
        (["--logger", "tensorboard"], "pip install 'tsjepa[tensorboard]'"),
        (["--device", "mps"], "'mps' is not available"),
        (["--resume"], "no checkpoint in runs/BasicMotions"),
    ],
)
def test_failures_end_with_1_and_leave_nothing(words: list[str], part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert part in refused(1, *words)
    assert names_in(".") == set()


def test_a_folder_of_data_sets_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = "note: there is no folder absent, where data sets are looked for first: check --data-dir or TSJEPA_DATA."
    words = ("--epochs", "1", "--data-dir", "absent")
    assert absent in pretrain(*words, "--out", "a").stderr
    assert "no folder" not in pretrain(*words, "--out", "b", "--data", write_data("pump")).stderr
    monkeypatch.setenv("TSJEPA_DATA", "pump.npz")
    assert "pump.npz is a file: give a folder of data sets by --data-dir or TSJEPA_DATA." in refused(2)
    assert names_in(".") == {"a", "b", "pump.npz"}


def test_too_short_series_are_told() -> None:
    short = np.ones((12, 2, 1)) * np.arange(12)[:, None, None]
    assert "each series has one point only, and masking needs two patches" in refused(
        2, "--data", write_data("pump", X_train=short, X_test=short[::2])
    )
    np.save("keras.npy", np.random.default_rng(0).normal(size=(12, 40, 1)))
    assert "if these are series of 40 points, swap the last two axes." in refused(2, "--data", "keras.npy")


def test_a_run_is_replaced_only_when_told_and_only_after_everything_is_known() -> None:
    path = write_data("pump")
    assert pretrain("--data", path, "--epochs", "1", "--out", "run").exit_code == 0
    Path("run/notes.txt").write_text("mine")
    Path("run/diagnose.html").write_text("of the old run")
    before = {name: Path("run", name).read_bytes() for name in RUN}
    again = refused(2, "--data", path, "--out", "run")
    assert "--resume" in again
    assert "--overwrite" in again
    refused(2, "--data", path, "--out", "run", "--overwrite", "--set", "mask.ratoi=1")
    refused(1, "--data", "absent.npz", "--out", "run", "--overwrite")
    refused(2, "--data", path, "--out", "run", "--overwrite", "--set", "probe.levels=9")
    assert {name: Path("run", name).read_bytes() for name in RUN} == before
    objective = ("--objective", "sigreg")
    assert pretrain("--data", path, "--epochs", "2", "--out", "run", "--overwrite", *objective).exit_code == 0
    assert names_in("run") == RUN | {"notes.txt"}
    lines = Path("run/metrics.csv").read_text().splitlines()
    assert len(lines) == 3
    assert "regularizer" in lines[0]


@pytest.mark.parametrize("name", sorted(RUN | {"diagnose.html"}))
def test_each_file_of_a_run_is_enough_to_refuse(name: str) -> None:
    Path("run").mkdir()
    Path("run", name).write_text("old")
    assert f"already holds a run ({name})" in refused(2, "--out", "run")
    assert Path("run", name).read_text() == "old"


def test_other_files_do_not_make_a_folder_a_run() -> None:
    Path("run").mkdir()
    Path("run/notes.txt").write_text("mine")
    assert pretrain("--data", write_data("pump"), "--epochs", "1", "--out", "run").exit_code == 0
    assert Path("run/notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_told() -> None:
    Path("file").write_text("x")
    assert "file is a file" in refused(2, "--out", "file")
    assert "cannot write file/below" in refused(1, "--data", write_data("pump"), "--out", "file/below")
    assert Path("file").read_text() == "x"
    assert "cannot write" in refused(1, "--out", "n" * 300)


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_data("pump")
    assert pretrain("--data", path, "--epochs", "1", "--out", "run").exit_code == 0
    before = Path("run/checkpoint.ckpt").read_bytes()
    monkeypatch.setattr(torch, "save", no_space)
    sentence = refused(1, "--data", path, "--epochs", "2", "--out", "run", "--resume")
    assert "cannot write into run (No space left on device)" in sentence
    assert "kept in run/checkpoint.ckpt" in sentence
    assert Path("run/checkpoint.ckpt").read_bytes() == before
    assert names_in("run") == RUN
    assert "no epoch was finished" in refused(1, "--data", path, "--epochs", "2", "--out", "new")
    assert names_in("new") == RUN - {"checkpoint.ckpt", "best.ckpt"}


def test_a_full_disk_leaves_no_half_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_data("pump")
    monkeypatch.setattr(Path, "write_bytes", no_space)
    assert "cannot write run/config.yaml: No space left" in refused(1, "--data", path, "--out", "run")
    assert names_in("run") == set()


def no_memory(*_: Any, **__: Any) -> None:
    torch.empty(2**60, dtype=torch.uint8)  # more than a processor can address: nothing is allocated


def test_a_model_that_does_not_fit_into_memory_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.cli.commands.build_model", no_memory)
    sentence = refused(1, "--data", write_data("pump"), "--out", "run")
    assert "error: cpu ran out of memory: use a smaller model, for example with a lower encoder.dim" in sentence
    assert not Path("run").exists()


def test_training_that_does_not_fit_into_memory_says_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_data("pump")
    monkeypatch.setattr("tsjepa.training.fit_stages", no_memory)
    sentence = refused(1, "--data", path, "--out", "run")
    assert "error: cpu ran out of memory: lower --batch-size, or a size of the model such as encoder.dim" in sentence
    assert "regularizer.slices; no epoch was finished: --resume --out run starts from the beginning" in sentence


def test_a_loss_that_is_not_finite_is_one_sentence() -> None:
    sentence = refused(1, "--data", write_data("pump"), "--lr", "1e30", "--set", "train.clip=0", "--epochs", "5")
    assert "start again with a lower train.lr" in sentence
    assert "error:" in sentence


@pytest.mark.parametrize(("part", "labels"), [("train", True), ("train", False), ("test", True)])
def test_a_value_that_is_too_large_to_be_taken_as_it_is_is_one_sentence(part: str, labels: bool) -> None:
    assert pretrain("--data", write_data("pump"), "--epochs", "1", "--out", "run").exit_code == 0
    before = {name: Path("run", name).read_bytes() for name in RUN}
    X = np.random.default_rng(0).normal(size=(12, 2, 40))
    X[3, 0, 7] = 9.96921e36  # netCDF's fill value
    y = {} if labels else {"y_train": None, "y_test": None}
    data = write_data("fill", **{f"X_{part}": X[: 6 if part == "test" else 12]}, **y)
    sentence = refused(1, "--data", data, "--out", "run", "--overwrite", "--set", "normalize=none")
    where = f"9.96921e+36 in the {part} part of fill (case 3, channel 0, time point 7) is too large for normalize=none"
    assert (
        sentence
        == f"error: {where}: put NaN there to mark it missing, or choose normalize=train or normalize=instance."
    )
    assert {name: Path("run", name).read_bytes() for name in RUN} == before


def test_notes_and_remarks_are_told() -> None:
    X = np.random.default_rng(0).normal(size=(12, 2, 40))
    X[3] = np.nan
    X[4, 1] = 2
    result = pretrain("--data", write_data("pump", X_train=X), "--epochs", "1")
    assert result.exit_code == 0
    assert "note: train part: 2 of 24 channels (2 a series) are without any value, the first in case 3" in result.stderr
    assert "note: train part: 1 of 24 channels (2 a series) is constant" in result.stderr
    assert "test part" not in result.stderr


def test_file_names_are_those_of_the_training() -> None:
    assert (training.CHECKPOINT, training.METRICS) == (outdir.CHECKPOINT, outdir.METRICS)


def test_numbers_that_json_does_not_have_become_null() -> None:
    assert [report.number(value) for value in (math.nan, math.inf, None, 0.5)] == [None, None, None, 0.5]


def test_the_progress_bar_is_for_terminals_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with render.epoch_bar(0, 5) as nothing:
        assert nothing is None
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with render.epoch_bar(0, 5) as tell:
        assert tell is not None
        tell(Progress(1, 5, 0.5, {}))
        tell(Progress(2, 5, 0.25, {}, Verdict("healthy", None, None, "")))
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 2/5" in err
    assert "loss 0.2500, healthy" in err


def test_configuration_is_written_resolved() -> None:
    assert pretrain("--data", write_data("pump"), "--epochs", "1", "--out", "run").exit_code == 0
    values = yaml.safe_load(Path("run/config.yaml").read_text())
    assert (values["data"], values["tokenizer"]["patch_length"], values["train"]["epochs"]) == ("pump.npz", 4, 1)
