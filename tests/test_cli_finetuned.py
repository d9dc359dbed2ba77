"""What a fine-tuned checkpoint is taken for by other commands: its encoder counts, not its pretraining's average."""

import json
from pathlib import Path

import pytest
import torch
from command_line import tsjepa, write_data
from torch import Tensor

from tsjepa.checkpoint import load_checkpoint, read_checkpoint
from tsjepa.evaluation.quality import OF_PRETRAINING, RECORDED
from tsjepa.finetuning import Tuning

TUNED = "tuned/finetuned.ckpt"


def ran(*words: str) -> str:
    result = tsjepa(*words, "--device", "cpu")
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(autouse=True)
def _tuned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fine-tune a run with an EMA target, fast enough to move the encoder away from it."""
    monkeypatch.setattr("tsjepa.cli.finetune.DEFAULT", Tuning(min_steps=4, encoder_factor=1.0))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_data("pump")
    ran("pretrain", "--config", "tiny", "--objective", "ema", "--epochs", "2", "--data", "pump.npz", "--out", "run")
    ran("finetune", "run/checkpoint.ckpt", "--epochs", "1", "--labels", "1", "--out", "tuned")


def part(name: str, path: str) -> list[Tensor]:
    state = load_checkpoint(path)[0].state_dict()
    return [value for key, value in state.items() if key.startswith(name) and ".readout." not in key]


def test_the_fine_tuned_encoder_teaches() -> None:
    words = ("--objective", "distill", "--teacher", TUNED, "--epochs", "1", "--data", "pump.npz", "--out", "student")
    ran("pretrain", "--config", "tiny", *words)
    encoder, average = part("encoder.", TUNED), part("target.average.module.", TUNED)
    assert any(not torch.equal(*pair) for pair in zip(encoder, average, strict=True))
    teacher = part("target.teacher.", "student/checkpoint.ckpt")
    assert all(torch.equal(*pair) for pair in zip(encoder, teacher, strict=True))


def test_a_student_of_a_fine_tuned_teacher_is_told_apart_also_when_it_goes_on() -> None:
    words = ("pretrain", "--config", "tiny", "--objective", "distill", "--data", "pump.npz", "--out", "student")
    said = f"note: the teacher {TUNED} has learnt from labels, and what it teaches depends on them: scores with few"
    assert said in ran(*words, "--teacher", TUNED, "--epochs", "1")
    other = ran(*words, "--teacher", "run/checkpoint.ckpt", "--epochs", "1", "--overwrite")
    assert "has learnt from labels" not in other
    ran(*words, "--teacher", TUNED, "--epochs", "1", "--overwrite")
    Path(TUNED).unlink()
    for epochs in ("1", "2"):
        ran("pretrain", "--resume", "--epochs", epochs, "--out", "student")
        assert load_checkpoint("student/checkpoint.ckpt")[0].labelled
        refused = tsjepa("benchmark", "--data", "pump.npz", "--method", "student/checkpoint.ckpt", "--out", "bench")
        assert refused.exit_code == 1
        assert "the encoder of student/checkpoint.ckpt has learnt from labels" in " ".join(refused.stderr.split())


@pytest.mark.parametrize("command", ["probe", "finetune"])
def test_few_labels_are_told_not_to_be_all_that_the_encoder_has_seen(command: str) -> None:
    more = ("--epochs", "1", "--no-supervised") if command == "finetune" else ()
    few = ("--labels", "0.1", "--labels", "1", "--seeds", "1", *more)
    said = f"note: the encoder of {TUNED} has learnt from labels, since it or its teacher was fine-tuned: if these are"
    whole = f"{said} labels of pump, scores with few labels do not show what few labels give."
    assert whole in " ".join(ran(command, TUNED, *few).split())
    assert "has learnt from labels" not in ran(command, TUNED, *more)
    assert "has learnt from labels" not in ran(command, "run/checkpoint.ckpt", *few)


def test_a_diagnosis_leaves_out_what_compares_it_with_parts_of_its_pretraining() -> None:
    said = ran("diagnose", TUNED, "--json", "--no-supervised", "--out", "tuned.html")
    values = json.loads(said.splitlines()[-1])
    before = json.loads(ran("diagnose", "run", "--json", "--no-supervised").splitlines()[-1])
    assert set(values) == set(before)
    assert all(before[name] is not None and values[name] is None for name in OF_PRETRAINING)
    for name in {*RECORDED, "lidar", "accuracy", "dead_dimensions"}.difference(OF_PRETRAINING):
        assert values[name] is not None, name
    assert all(values[f"random_init_{name}"] == before[f"random_init_{name}"] for name in OF_PRETRAINING)
    why = "he encoder was fine-tuned, so there are no numbers of latents, predictions and target"
    assert f"note: t{why}" in said
    assert f"T{why}" in Path("tuned.html").read_text()
    assert "fine-tuned" not in ran("diagnose", "run", "--no-supervised")
    assert "head" in read_checkpoint(TUNED)
