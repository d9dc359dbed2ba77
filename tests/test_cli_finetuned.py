"""What a fine-tuned checkpoint is taken for by other commands: its encoder counts, not its pretraining's average."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from command_line import arrays, found, tsjepa, write_data
from pumps import CHANNELS, make_log
from torch import Tensor

from tsjepa import TSJEPAClassifier
from tsjepa.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from tsjepa.evaluation.quality import OF_PRETRAINING, RECORDED
from tsjepa.finetuning import Tuning

TUNED = "tuned/finetuned.ckpt"
PAGE = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")


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


def test_embed_predicts_what_the_classifier_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.cli.table.chunk_size", lambda *_: 7)
    classifier = TSJEPAClassifier.load(TUNED, device="cpu")
    X = np.concatenate([arrays()["X_train"], arrays()["X_test"]])
    want = classifier.predict(X)
    assert set(want) == {"calm", "worn"}
    values = found("embed", TUNED, "--data", "pump.npz", "--out", "z.parquet")
    assert set(values) == {"rows", "seconds", "peak_mb", "out"}
    rows = pq.read_table("z.parquet")
    assert rows.column_names == ["part", "id", "start", "end", "label", "predicted", "embedding"]
    assert rows["predicted"].to_pylist() == want.tolist()
    Z = np.array(rows["embedding"].to_pylist(), np.float32)
    assert np.array_equal(Z, classifier.embedder_.transform(X))
    X[3] = np.nan
    with pytest.warns(UserWarning, match="without any value"):
        want = classifier.predict(X)
    ran(
        "embed",
        TUNED,
        "--data",
        write_data("new", X_train=X, y_train=None, X_test=None, y_test=None),
        "--out",
        "n.parquet",
    )
    rows = pq.read_table("n.parquet")
    assert rows.column_names == ["id", "start", "end", "predicted", "embedding"]
    assert rows["predicted"].to_pylist() == want.tolist()
    ran("embed", "run/checkpoint.ckpt", "--data", "new.npz", "--out", "frozen.parquet")
    assert "predicted" not in pq.read_table("frozen.parquet").column_names


def test_classes_that_are_numbers_are_written_as_text() -> None:
    classifier = TSJEPAClassifier.load(TUNED, device="cpu")
    head = classifier.head_._replace(classes=np.arange(10, 12))
    save_checkpoint("numbers.ckpt", classifier.embedder_.model_, classifier.embedder_._header(), head.plain())
    ran("embed", "numbers.ckpt", "--data", "pump.npz", "--out", "z.parquet")
    want = TSJEPAClassifier.load("numbers.ckpt", device="cpu").predict(arrays()["X_test"])
    assert pq.read_table("z.parquet")["predicted"].to_pylist()[40:] == [*map(str, want)]


def test_other_channels_than_the_head_knows_are_embedded_without_a_prediction() -> None:
    one = write_data("one", **{name: arrays()[name][:, :1] for name in ("X_train", "X_test")})
    said = " ".join(ran("embed", TUNED, "--data", one, "--out", "z.parquet").split())
    assert "note: no class is predicted: the head was trained on 2 channels, and one has 1." in said
    assert "predicted" not in pq.read_table("z.parquet").column_names


def test_windows_of_a_log_are_predicted_also_where_a_channel_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.cli.table.chunk_size", lambda *_: 4)
    known, new = (make_log(seed).rename(columns={"speed": "predicted", "state": "label"}) for seed in (0, 1))
    known.to_csv("known.csv", index=False)
    new.drop(columns="label").to_csv("new.csv", index=False)
    cut = ("--window", "20", "--stride", "10", "--group", "unit")
    ran("pretrain", "--config", "tiny", "--epochs", "1", "--data", "known.csv", *cut, "--out", "logged")
    ran("finetune", "logged/checkpoint.ckpt", "--epochs", "1", "--no-supervised", "--out", "logged")
    ckpt = "logged/finetuned.ckpt"
    ran("embed", ckpt, "--data", "new.csv", "--out", "z.parquet")
    table = pd.read_parquet("z.parquet")
    assert list(table.columns) == ["id", "start", "end", "predicted", "embedding"]
    times = pd.to_datetime(new["timestamp"])
    names = [*CHANNELS[:2], "predicted"]
    windows = [
        new.loc[(new["unit"] == row.id) & (times >= row.start) & (times <= row.end), names].to_numpy(np.float32).T
        for row in table.itertuples()
    ]
    classifier = TSJEPAClassifier.load(ckpt, device="cpu")
    assert table["predicted"].tolist() == classifier.predict(windows).tolist()
    assert set(table["predicted"]) == {"calm", "worn"}
    ran("embed", ckpt, "--data", "new.csv", "--out", "pooled.parquet", "--pool-windows")
    pooled = pd.read_parquet("pooled.parquet")
    means = np.stack([np.stack(own).mean(0) for _, own in table.groupby("id")["embedding"]])
    assert pooled["predicted"].tolist() == classifier.head_.predict(means).tolist()


def test_new_series_are_predicted_in_python_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    series = pd.DataFrame(arrays()["X_train"][:, 0])
    series.assign(label=arrays()["y_train"]).to_csv("labelled.csv", index=False)
    series[:10].to_csv("new.csv", index=False)
    before = read_checkpoint("run/checkpoint.ckpt")["state_dict"]
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.split("## Fine-tuning\n")[1].split("\n## ")[0], re.DOTALL)
    (command,) = re.findall(r"^    tsjepa (embed .*)$", PAGE, re.MULTILINE)
    exec(compile(program, "evaluation.md", "exec"), {})
    printed = re.findall(r"\w+", capsys.readouterr().out)
    assert set(printed) == {"calm", "worn"}
    ran(*command.split())
    assert pq.read_table("predicted.parquet")["predicted"].to_pylist() == printed
    after = read_checkpoint(TUNED)["state_dict"]
    assert all(torch.equal(after[name], before[name]) for name in before if ".readout." not in name)
