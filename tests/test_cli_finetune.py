"""`tsjepa finetune`: numbers, keys, the checkpoint that it writes, and the sentences of what cannot be done."""

import json
import shlex
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from command_line import arrays, measured_run, trained_run, tsjepa, write_data

from tsjepa import TSJEPAClassifier
from tsjepa.arrays import Series, as_series
from tsjepa.checkpoint import load_checkpoint, save_checkpoint
from tsjepa.choice import fit_classifier
from tsjepa.cli.finetune import Task
from tsjepa.embedding import embed
from tsjepa.encoder import Encoder
from tsjepa.finetuning import DEFAULT, FROM_SCRATCH, Tuning, finetune

KEYS = {
    "checkpoint", "data", "n_train", "n_test", "accuracy", "frozen_accuracy", "supervised_accuracy",
    "majority_accuracy", "fractions", "out",
}  # fmt: skip
FRACTION_KEYS = {
    "fraction", "n_labels", "seeds", "accuracy", "accuracy_std", "frozen_accuracy", "frozen_std",
    "supervised_accuracy", "supervised_std",
}  # fmt: skip
CKPT, QUICK = "run/checkpoint.ckpt", ("--epochs", "1", "--device", "cpu")
SHORT = Tuning(min_steps=4)
SHORT_FROM_SCRATCH = SHORT._replace(encoder_factor=1.0)
pytestmark = pytest.mark.usefixtures("with_trained")


def found(*words: str) -> dict[str, Any]:
    return command_line.found("finetune", CKPT, *QUICK, *words)


def refused(code: int, *words: str) -> str:
    return command_line.refused(code, "finetune", *words)


def same_models(*folders: str) -> None:
    one, two = (torch.load(f"{name}/finetuned.ckpt", weights_only=True) for name in folders)
    torch.testing.assert_close(one["state_dict"], two["state_dict"], rtol=0, atol=0)
    for name in ("classes", "dtype"):
        assert one["head"].pop(name) == two["head"].pop(name)
    torch.testing.assert_close(one["head"], two["head"], rtol=0, atol=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one run that all tests copy."""
    return trained_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.cli.finetune.DEFAULT", SHORT)
    monkeypatch.setattr("tsjepa.cli.finetune.FROM_SCRATCH", SHORT_FROM_SCRATCH)


def test_the_object_has_exactly_its_keys_and_the_scores_are_those_of_the_model() -> None:
    values = found("--labels", "0.1,1", "--seeds", "2")
    assert set(values) == KEYS
    assert (values["data"], values["n_train"], values["n_test"], values["out"]) == ("pump", 40, 20, None)
    assert values["majority_accuracy"] == 0.5
    rows = values["fractions"]
    assert all(set(row) == FRACTION_KEYS for row in rows)
    assert [(row["fraction"], row["n_labels"], row["seeds"]) for row in rows] == [(0.1, 4, 2), (1, 40, 2)]
    for key in ("accuracy", "frozen_accuracy", "supervised_accuracy"):
        assert values[key] == rows[-1][key] >= 0.8


def test_accuracies_agree_with_probe_and_with_the_library() -> None:
    values = found("--no-supervised")
    assert values["supervised_accuracy"] is None
    assert values["frozen_accuracy"] == json.loads(tsjepa("probe", CKPT, "--json").stdout)["accuracy"]
    model, header = load_checkpoint(CKPT)
    data = arrays()
    tuned = finetune(
        model.encoder, as_series(data["X_train"]), data["y_train"], header.config.probe, SHORT._replace(epochs=1)
    )
    predicted = tuned.head.predict(embed(tuned.encoder, as_series(data["X_test"]), header.config.probe))
    assert values["accuracy"] == np.mean(predicted == data["y_test"])


def test_test_labels_have_no_part_in_what_is_trained() -> None:
    X = np.random.default_rng(1).normal(size=(60, 2, 40))  # noise, on which any two models differ
    parts = {"X_train": X[:40], "X_test": X[40:]}
    words = ("--no-supervised", "--data", write_data("noise", **parts))
    one = found(*words, "--out", "a")
    write_data("noise", **parts, y_test=np.roll(arrays()["y_test"], 1))
    assert found(*words, "--out", "b")["accuracy"] == pytest.approx(1 - one["accuracy"])
    same_models("a", "b")


def test_test_series_have_no_part_in_what_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def fit(encoder: Encoder, series: Series, y: Any, *rest: Any, **more: Any) -> Any:
        given.append([*(value.clone() for value in encoder.state_dict().values()), series.values, y])
        return fit_classifier(encoder, series, y, *rest, **more)

    monkeypatch.setattr("tsjepa.cli.finetune.fit_classifier", fit)
    measured_run("pump.npz")
    for data in ("pump.npz", write_data("other", X_test=np.exp(arrays()["X_test"]))):
        command_line.found("finetune", "measured/checkpoint.ckpt", *QUICK, "--data", data)
    assert len(given) == 4  # the trained and the untrained encoder, twice
    for one, other in zip(given[:2], given[2:], strict=True):
        for before, after in zip(one, other, strict=True):
            np.testing.assert_array_equal(before, after)


def test_random_weights_learn_at_the_rate_of_the_head_and_as_long_from_few_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []

    def fit(encoder: Encoder, series: Series, y: Any, probe: Any, tuning: Any, **more: Any) -> Any:
        given.append(tuning)
        return fit_classifier(encoder, series, y, probe, tuning, **more)

    monkeypatch.setattr("tsjepa.cli.finetune.fit_classifier", fit)
    found("--lr", "0.02")
    assert given == [tuning._replace(lr=0.02, epochs=1) for tuning in (SHORT, SHORT_FROM_SCRATCH)]
    assert FROM_SCRATCH.encoder_factor == 1 > DEFAULT.encoder_factor
    assert FROM_SCRATCH.min_steps > DEFAULT.min_steps


def test_each_model_is_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[Any] = []
    score = Task.score
    monkeypatch.setattr("tsjepa.cli.finetune.Task.score", lambda *given: scored.append(given) or score(*given))
    found("--no-supervised", "--labels", "0.5", "--seeds", "2")
    assert len(scored) == 2


def test_a_model_that_is_not_kept_is_told() -> None:
    words = ("finetune", CKPT, *QUICK, "--no-supervised")
    assert "no model was kept: --out DIR keeps" in tsjepa(*words).stderr
    assert "no model was kept" not in tsjepa(*words, "--out", "tuned").stderr


def test_the_checkpoint_serves_embed_and_python() -> None:
    values = found("--no-supervised", "--out", "tuned")
    assert values["out"] == "tuned/finetuned.ckpt"
    assert [path.name for path in Path("tuned").iterdir()] == ["finetuned.ckpt"]
    classifier = TSJEPAClassifier.load("tuned/finetuned.ckpt", device="cpu")
    data = arrays()
    assert classifier.score(data["X_test"], data["y_test"]) == values["accuracy"]
    assert list(classifier.classes_) == ["calm", "worn"]
    assert tsjepa("embed", "tuned/finetuned.ckpt", "--data", "pump.npz", "--out", "z.parquet").exit_code == 0
    rows = np.array(pq.read_table("z.parquet")["embedding"].to_pylist(), np.float32)
    want = classifier.embedder_.transform(data["X_test"])
    assert np.array_equal(rows[40:], want)
    before = load_checkpoint(CKPT)[0].state_dict()
    after = load_checkpoint("tuned/finetuned.ckpt")[0].state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in before)


def test_classes_are_the_names_of_the_data_sets_and_labels_of_another_kind_are_told() -> None:
    data = arrays()
    y = {name: np.unique(data[name], return_inverse=True)[1] for name in ("y_train", "y_test")}
    values = found("--no-supervised", "--out", "tuned", "--data", write_data("numbered", **y))
    classifier = TSJEPAClassifier.load("tuned/finetuned.ckpt", device="cpu")
    assert classifier.score(data["X_test"], y["y_test"].astype(str)) == values["accuracy"]
    for numbers in (y["y_test"], y["y_test"].tolist(), y["y_test"].astype(object)):
        told = r"the classes of this classifier are text \('0', '1'\), but y holds numbers: give the names of classes\."
        with pytest.raises(ValueError, match=told):
            classifier.score(data["X_test"], numbers)
    head = classifier.head_._replace(classes=np.arange(2))
    save_checkpoint("other.ckpt", classifier.embedder_.model_, classifier.embedder_._header(), head.plain())
    with pytest.raises(ValueError, match=r"are numbers \(0, 1\), but y holds text: give the numbers\."):
        TSJEPAClassifier.load("other.ckpt", device="cpu").score(data["X_test"], data["y_test"])


def test_the_checkpoint_is_one_of_the_data_that_it_was_tuned_on() -> None:
    X = arrays()["X_train"]
    data = write_data("three", X_train=X[:, [0, 1, 1], :30], X_test=arrays()["X_test"][:, [0, 1, 1], :30])
    model, header = load_checkpoint(CKPT)
    save_checkpoint(Path(CKPT), model, header._replace(channel_names=("flow", "level")))
    for name, *about in ((data, 3, 30, None), ("pump.npz", 2, 40, ("flow", "level"))):
        found("--no-supervised", "--out", "tuned", "--overwrite", "--data", name)
        header = load_checkpoint("tuned/finetuned.ckpt")[1]
        assert [header.data, header.n_channels, header.n_timepoints, header.channel_names] == [name, *about]


def test_the_checkpoint_is_that_of_the_first_draw_of_labels() -> None:
    found("--no-supervised", "--labels", "0.5", "--seeds", "1", "--out", "one")
    found("--no-supervised", "--labels", "0.5", "--seeds", "2", "--out", "two")
    one, two = (load_checkpoint(f"{name}/finetuned.ckpt")[0].state_dict() for name in ("one", "two"))
    torch.testing.assert_close(two, one, rtol=0, atol=0)


def test_choose_may_keep_the_frozen_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    from tsjepa.choice import Comparison

    monkeypatch.setattr("tsjepa.choice.compare", lambda *_, **__: Comparison(1.0, 1.0))
    values = found("--choose", "--no-supervised", "--out", "kept")
    assert values["accuracy"] == values["frozen_accuracy"]
    before = load_checkpoint(CKPT)[0].state_dict()
    torch.testing.assert_close(load_checkpoint("kept/finetuned.ckpt")[0].state_dict(), before, rtol=0, atol=0)


def test_choose_tells_where_labels_are_too_few_to_compare() -> None:
    words = ("finetune", CKPT, *QUICK, "--no-supervised", "--seeds", "2", "--labels", "0.1", "--labels", "1")
    said = tsjepa(*words, "--choose").stderr
    note = "note: in 2 of 2 draws of 4 labels a class has fewer than 3: --choose cannot compare there, and tunes.\n"
    assert note in said
    assert said.count("cannot compare") == 1
    assert "cannot compare" not in tsjepa(*words).stderr


def test_draws_of_several_numbers_of_labels_are_told_as_such() -> None:
    own = np.repeat(list("abcd"), [12, 4, 20, 4])
    data = write_data("four", y_train=own, y_test=own[::2])
    words = ("--data", data, "--no-supervised", "--seeds", "4", "--labels", "0.125", "--choose")
    result = tsjepa("finetune", CKPT, *QUICK, *words, "--json")
    assert json.loads(result.stdout)["fractions"][0]["n_labels"] == 5.75  # 6, 6, 6 and 5
    assert "note: in 4 of 4 draws of 5 to 6 labels a class has fewer than 3" in result.stderr
    assert "(5 to 6 labels with seeds 0-3)" in " ".join(result.stderr.split())


def test_the_table_and_what_is_said_of_it() -> None:
    result = tsjepa("finetune", CKPT, *QUICK, "--labels", "0.1,1", "--seeds", "2", "--out", "tuned")
    assert result.exit_code == 0
    table = " ".join(result.stdout.split())
    for words in ("test accuracy, pump", "frozen", "fine-tuned", "supervised", "0.500", "±", "tuned/finetuned.ckpt"):
        assert words in table
    said = " ".join(result.stderr.split())
    assert "training part of pump (4 labels with seeds 0-1; 40 labels with seeds 0-1)" in said
    assert "whole test part (20 series), each model once; nothing was chosen" in said


def test_the_next_command_predicts_the_classes_of_new_series() -> None:
    words = ("finetune", CKPT, *QUICK, "--no-supervised")
    assert "next: " not in tsjepa(*words).stdout
    result = tsjepa(*words, "--out", "my models")
    (command,) = (line for line in result.stdout.splitlines() if line.startswith("next: "))
    embed = "'my models/finetuned.ckpt' --data NEW.npz --out 'my models/embeddings.parquet'"
    assert command == f"next: tsjepa embed {embed}"
    write_data("NEW", y_train=None, X_test=None, y_test=None)
    assert tsjepa(*shlex.split(command)[2:]).exit_code == 0
    assert set(pq.read_table("my models/embeddings.parquet")["predicted"].to_pylist()) == {"calm", "worn"}


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"y_train": None, "y_test": None}, "have no labels"),
        ({"y_train": ["calm"] * 40}, "one class only"),
        ({"X_test": None, "y_test": None}, "no test part"),
        ({"y_train": np.linspace(0, 1, 40), "y_test": np.linspace(0, 1, 20)}, "target is numeric"),
    ],
)
def test_what_cannot_be_learnt_is_told(changed: dict[str, Any], part: str) -> None:
    words = ("--data", write_data("other", **changed), "--out", "tuned")
    assert part in refused(1, CKPT, *QUICK, *words)
    assert not Path("tuned").exists()


@pytest.mark.parametrize(
    "words",
    [["--labels", "0"], ["--labels", "many"], ["--epochs", "0"], ["--lr", "0"], ["--lr", "nan"], ["--seeds", "0"]],
)
def test_usage_errors_end_with_2(words: list[str]) -> None:
    assert words[0] in refused(2, CKPT, *words)


def test_a_rate_that_is_too_large_is_told() -> None:
    assert "smaller learning rate" in refused(1, CKPT, *QUICK, "--lr", "1e38", "--no-supervised")


def test_memory_that_is_short_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("tsjepa.cli.finetune.fit_classifier", short)
    assert "cuda ran out of memory: choose --device cpu, or use a smaller model" in refused(1, CKPT, *QUICK)


def test_a_checkpoint_is_never_replaced_unasked() -> None:
    Path("tuned").mkdir()
    Path("tuned/finetuned.ckpt").write_text("mine")
    assert "--overwrite" in refused(2, CKPT, *QUICK, "--out", "tuned")
    assert Path("tuned/finetuned.ckpt").read_text() == "mine"
    assert "is a file" in refused(2, CKPT, *QUICK, "--out", "pump.npz")
    assert "no checkpoint absent.ckpt" in refused(1, "absent.ckpt", "--out", "tuned", "--overwrite")
    found("--no-supervised", "--out", "tuned", "--overwrite")
    assert load_checkpoint("tuned/finetuned.ckpt")


def test_levels_of_another_number_of_channels_are_no_part_of_what_is_saved() -> None:
    words = ("--config", "tiny", "--set", "probe.sketch=16", "--set", "probe.scale_features=true", "--epochs", "1")
    result = tsjepa("pretrain", "--data", "pump.npz", *words, "--device", "cpu", "--out", "levels")
    assert result.exit_code == 0, result.output
    data = arrays()
    more = {name: np.concatenate([data[name], data[name][:, :1]], 1) for name in ("X_train", "X_test")}
    np.savez("more.npz", **{**data, **more})
    ckpt = "levels/checkpoint.ckpt"
    command_line.found("finetune", ckpt, *QUICK, "--data", "more.npz", "--no-supervised", "--out", "tuned")
    classifier = TSJEPAClassifier.load("tuned/finetuned.ckpt", device="cpu")
    assert classifier.predict(more["X_test"]).shape == (20,)
