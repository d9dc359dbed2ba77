"""A method of one's own in a benchmark: a checkpoint for each data set, and all of them one method."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import refused, tsjepa

from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import CheckpointError, Header, save_checkpoint
from tsjepa.evaluation.benchmark import Store, plan
from tsjepa.evaluation.benchmark_methods import find_method, find_methods

OWN = "own/{data}/a.ckpt"


def save_encoder(path: str, seed: int) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    config = resolve(configure("tiny", overrides=[f"train.seed={seed}"]), 40)
    save_checkpoint(Path(path), build_model(config, 1), Header(config, None, 1, 40))


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Write two data sets and a checkpoint for each, and return what a benchmark of them is called with."""
    monkeypatch.chdir(tmp_path)
    rng, y = np.random.default_rng(0), np.arange(40) % 4
    for seed, name in enumerate(("pump", "fan")):
        waves = np.sin(np.arange(40) * (0.3 + 0.1 * y[:, None]))[:, None]
        parts = {f"X_{part}": rng.normal(size=(40, 1, 40)) + waves for part in ("train", "test")}
        np.savez(f"{name}.npz", **parts, y_train=y, y_test=y)
        save_encoder(f"own/{name}/a.ckpt", seed)
    return ("benchmark", "--data", "pump.npz", "--data", "fan.npz", "--device", "cpu", "--json", "--out")


def test_checkpoints_of_several_sets_are_one_method(words: tuple[str, ...]) -> None:
    one = tsjepa(*words, "one", "--method", OWN, "--method", "majority")
    assert json.loads(one.stdout)[OWN]["n_data"] == 2
    apart = tsjepa(*words, "two", "--method", "own/pump/a.ckpt", "--method", "own/fan/a.ckpt")
    assert set(json.loads(apart.stdout)) == {"own/pump/a.ckpt", "own/fan/a.ckpt"}
    alone = {(row.data, row.method): row for row in Store.at(Path("two")).results.read()}
    own = [row for row in Store.at(Path("one")).results.read() if row.method == OWN]
    for row, name in zip(own, ("pump", "fan"), strict=True):
        same = alone[f"{name}.npz", f"own/{name}/a.ckpt"]
        assert (row.accuracy, row.effective_rank, row.recipe) == (same.accuracy, same.effective_rank, same.recipe)
    assert own[0].recipe != own[1].recipe
    assert f"| {OWN} |" in Path("one", "summary.md").read_text()
    again = tsjepa(*words, "one", "--method", f"./{OWN}", "--method", "majority")
    assert "4 are finished already" in again.stderr
    assert set(json.loads(again.stdout)) == {OWN, "majority"}


def test_another_checkpoint_of_any_set_is_refused(words: tuple[str, ...]) -> None:
    tsjepa(*words, "out", "--method", OWN)
    save_encoder("own/fan/a.ckpt", 7)
    fewer = ("benchmark", *words[3:])  # fan alone, then pump alone: the mean is over both
    for command in (words, fewer, (*words[:3], *words[5:])):
        said = refused(1, *command, "out", "--method", OWN)
        assert f"holds {OWN} on fan.npz made with another recipe, checkpoint or number" in said
    Path("own/fan/a.ckpt").unlink()
    assert "1 is finished already" in tsjepa(*words[:3], *words[5:], "out", "--method", OWN).stderr


def test_a_set_without_its_checkpoint_is_told_before_anything_runs(words: tuple[str, ...]) -> None:
    Path("own/fan/a.ckpt").unlink()
    assert "there is no checkpoint own/fan/a.ckpt: check" in refused(
        1, *words, "out", "--method", "raw", "--method", OWN
    )
    assert not Path("out").exists()
    transfer = ("benchmark", "--pretrain-on", "pump.npz", "--probe-on", "fan.npz", "--out", "out")
    said = refused(2, *transfer, "--method", OWN)
    assert f"{{data}} and {{seed}} do not go with transfer: name one checkpoint in place of {OWN}." in said


@pytest.mark.usefixtures("words")
def test_a_path_may_have_places_for_data_and_seed_and_no_others() -> None:
    for seed in range(2):
        save_encoder(f"own/pump{seed}.ckpt", seed)
    jobs = plan(["./pump.npz"], find_methods(("own/{data}{seed}.ckpt", "raw")), seeds=2, folds=2)
    assert [str(job.method.checkpoint) for job in jobs[::2]] == ["own/pump0.ckpt", "own/pump1.ckpt"] * 2
    assert jobs[0].method._replace(name="own/pump0.ckpt") == find_method("own/pump0.ckpt")
    assert {job.method for job in jobs[1::2]} == {find_method("raw")}
    save_encoder("{x}.ckpt", 0)
    assert find_method("{x}.ckpt").checkpoint == Path("{x}.ckpt")
    with pytest.raises(CheckpointError, match=r"there is no checkpoint \{name\}\.ckpt"):
        find_method("{name}.ckpt")
