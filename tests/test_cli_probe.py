"""`tsjepa probe`: numbers, keys, and the sentences of what cannot be done."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import arrays, found, measured_run, refused, trained_run, tsjepa, write_data

from tsjepa.arrays import as_series
from tsjepa.build import build_model
from tsjepa.calibrator import calibrate
from tsjepa.checkpoint import Header, load_checkpoint
from tsjepa.cli.arguments import parse_layers
from tsjepa.cli.commands import probe_config
from tsjepa.cli.errors import Failure
from tsjepa.cli.report import ProbeReport, Row, Scores, spread
from tsjepa.config import load_config
from tsjepa.embedding import embed
from tsjepa.normalization import take_statistics
from tsjepa.probe import Score, make_head
from tsjepa.probe import probe as score_head

KEYS = {
    "checkpoint", "data", "probe", "n_train", "n_test", "accuracy", "random_init_accuracy", "majority_accuracy",
}  # fmt: skip
FRACTION_KEYS = {
    "fraction", "n_labels", "seeds", "accuracy", "accuracy_std", "random_init_accuracy", "random_init_std",
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("with_trained")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one run that all tests copy."""
    return trained_run(tmp_path_factory.mktemp("trained"), epochs=3)


CKPT = "run/checkpoint.ckpt"


@pytest.mark.parametrize("kind", ["ridge", "logistic", "knn"])
def test_the_object_has_exactly_its_keys(kind: str) -> None:
    values = found("probe", CKPT, "--probe", kind)
    assert set(values) == KEYS
    assert (values["data"], values["probe"], values["n_train"], values["n_test"]) == ("pump", kind, 40, 20)
    assert values["majority_accuracy"] == 0.5
    assert values["accuracy"] >= 0.8
    assert values["random_init_accuracy"] >= 0.8


def test_an_encoder_without_blocks_has_none_to_pool() -> None:
    header = Header(load_config("tiny"), None, 1, 60)
    with pytest.raises(Failure, match=r"^--layers blocks: the encoder has no level but 0"):
        probe_config(header, "blocks", 0)


def test_pretrain_and_probe_agree() -> None:
    again = json.loads(tsjepa("pretrain", "--resume", "--out", "run", "--json").stdout)
    values = found("probe", CKPT)
    for key in ("accuracy", "random_init_accuracy", "majority_accuracy"):
        assert values[key] == again[key]


@pytest.mark.parametrize("labels", ["numbers", "classes", "turned classes"])  # what is best by one is worst by another
def test_encoders_and_heads_know_the_training_part_alone(labels: str) -> None:
    rng = np.random.default_rng(0)  # noise, on which any two ways to read an encoder score differently
    given = {**arrays(), "X_train": rng.normal(size=(40, 2, 40)), "X_test": rng.normal(size=(20, 2, 40))}
    given["X_test"][10:] = np.exp(given["X_test"][10:])
    if labels == "numbers":
        given |= {"y_train": rng.normal(size=40), "y_test": rng.normal(size=20)}
    elif labels == "turned classes":
        given["y_test"] = np.roll(given["y_test"], 1)
    pretrained = measured_run(write_data("noise", **given))
    probed = found("probe", "measured/checkpoint.ckpt")
    model, header = load_checkpoint("measured/checkpoint.ckpt")
    train, test = as_series(given["X_train"]), as_series(given["X_test"])
    untrained = build_model(header.config, header.n_channels).eval()
    take_statistics(untrained, train)
    calibrate(untrained.encoder, train, header.config.probe, whiten=False)
    name = "r2" if labels == "numbers" else "accuracy"
    for key, encoder in ((name, model.encoder), (f"random_init_{name}", untrained.encoder)):
        Z, Z_test = (embed(encoder, series, header.config.probe) for series in (train, test))
        (want,) = score_head(Z, given["y_train"], Z_test, given["y_test"])
        assert probed[key] == pretrained[key] == pytest.approx(getattr(want, name))


def test_the_random_initialisation_is_that_of_the_seed_and_not_the_trained_encoder() -> None:
    whole = found("probe", CKPT)
    content = torch.load(CKPT, weights_only=True)
    state = content["state_dict"]  # the stem's gains are constants that maxima are divided by
    dead = {key: value if key.endswith(".gain") else torch.zeros_like(value) for key, value in state.items()}
    torch.save({**content, "state_dict": dead}, "dead.ckpt")
    values = found("probe", "dead.ckpt")
    assert values["accuracy"] == values["majority_accuracy"] == 0.5
    assert values["random_init_accuracy"] == whole["random_init_accuracy"] > 0.5
    header = load_checkpoint(CKPT)[1]
    encoder = build_model(header.config, header.n_channels).eval().encoder
    train, test = (embed(encoder, as_series(arrays()[key]), header.config.probe) for key in ("X_train", "X_test"))
    want = make_head("ridge").fit(train, arrays()["y_train"]).score(test, arrays()["y_test"])
    assert values["random_init_accuracy"] == pytest.approx(want)


def test_shares_of_labels_are_drawn_five_times() -> None:
    values = found("probe", CKPT, "--labels", "1,0.1,0.5,0.1")
    assert set(values) == KEYS | {"fractions"}
    rows = values["fractions"]
    assert all(set(row) == FRACTION_KEYS for row in rows)
    assert [(row["fraction"], row["n_labels"], row["seeds"]) for row in rows] == [(0.1, 4, 5), (0.5, 20, 5), (1, 40, 1)]
    assert values["accuracy"] == rows[-1]["accuracy"]
    assert rows[-1]["accuracy_std"] is rows[-1]["random_init_std"] is None
    assert rows[0]["random_init_std"] >= 0 <= rows[0]["accuracy_std"]
    few = found("probe", CKPT, "--labels", "0.1", "--seeds", "2")
    assert [(row["fraction"], row["seeds"]) for row in few["fractions"]] == [(0.1, 2)]


def test_a_deviation_is_that_of_a_sample_and_one_draw_has_none() -> None:
    assert spread([Score(0.5), Score(0.6), Score(0.7)]) == (pytest.approx(0.6), pytest.approx(0.1))
    assert spread([Score(0.5)]) == (0.5, None)
    assert spread([Score(None), Score(None)]) == (None, None)


def test_numbers_stand_under_their_names() -> None:
    few = Row(0.05, (4, 4), [Score(0.5), Score(0.7)], [Score(0.2), Score(0.3)])
    scores = Scores([few, Row(1, (40,), [Score(0.9)], [Score(0.8)])], Score(0.4))
    values = ProbeReport(Path(CKPT), "pump", "ridge", 40, 20, scores).values()
    assert [values[f"{name}accuracy"] for name in ("", "random_init_", "majority_")] == [0.9, 0.8, 0.4]
    row = values["fractions"][0]
    means, deviations = (0.6, 0.25), (0.1 * 2**0.5, 0.05 * 2**0.5)
    assert (row["accuracy"], row["random_init_accuracy"]) == pytest.approx(means)
    assert (row["accuracy_std"], row["random_init_std"]) == pytest.approx(deviations)
    number = Row(1, (40,), [Score(None, 0.9, 2.0)], [Score(None, 0.8, 3.0)])
    values = ProbeReport(Path(CKPT), "wear", "ridge", 40, 20, Scores([number], Score(None, -0.1, 9.0))).values()
    assert [values[f"{name}r2"] for name in ("", "random_init_", "mean_")] == [0.9, 0.8, -0.1]
    assert [values[f"{name}rmse"] for name in ("", "random_init_", "mean_")] == [2.0, 3.0, 9.0]


def test_the_table_and_what_is_said_of_it() -> None:
    result = tsjepa("probe", CKPT, "--labels", "0.1,1", "--layers", "last")
    assert result.exit_code == 0
    for words in ("majority class", "random init", "trained", "0.500", "±"):
        assert words in result.stdout
    said = " ".join(result.stderr.split())
    for words in ("training part (4 labels with seeds 0-4; 40 labels with seed 0)", "test part (20 series)", "last"):
        assert words in said
    assert "pooled by mean" in said


def test_a_sketch_has_its_numbers_in_all() -> None:
    words = ("--set", "probe.sketch=64", "--epochs", "1", "--data", "pump.npz", "--out", "sketched")
    assert tsjepa("pretrain", "--config", "tiny", "--device", "cpu", *words).exit_code == 0
    assert "read as a sketch of 64 numbers in all, channels" in tsjepa("probe", "sketched/checkpoint.ckpt").stderr


def test_layers_choose_what_is_pooled() -> None:
    names = ("last", "all", "blocks", "0")
    said = [tsjepa("probe", CKPT, "--layers", name).stderr for name in names]
    assert [f"levels: {name}," in text for name, text in zip(names, said, strict=True)] == [True] * 4
    assert "levels 0 (tokenizer) to 1" in refused(2, "probe", CKPT, "--layers", "2")


def test_layers_read_pooled_levels_alone_as_their_help_says() -> None:
    help_text = " ".join(tsjepa("probe", "--help").stdout.split())
    assert "--layers last|all|blocks|K" in help_text
    assert "pooled levels of the encoder instead of the whole embedding, without shares, sketch and scale" in help_text
    config = load_config("default").probe
    assert (config.shares, config.sketch, config.scale_features) == (True, 2048, True)
    header = load_checkpoint(CKPT)[1]
    header = header._replace(config=header.config.model_copy(update={"probe": config}))
    read = probe_config(header, parse_layers("blocks"), 1)
    assert (read.levels, read.pool, read.shares, read.sketch, read.scale_features) == (
        "blocks", config.pool, False, None, False,
    )  # fmt: skip


def test_a_numeric_target_has_its_own_keys() -> None:
    rng = np.random.default_rng(0)
    data = write_data("wear", y_train=rng.normal(size=40), y_test=rng.normal(size=20))
    values = found("probe", CKPT, "--data", data)
    extra = {"r2", "rmse", "random_init_r2", "random_init_rmse", "mean_r2", "mean_rmse"}
    assert set(values) == KEYS | extra
    assert {values[key] for key in ("accuracy", "random_init_accuracy", "majority_accuracy")} == {None}
    assert values["rmse"] > 0
    result = tsjepa("probe", CKPT, "--data", data)
    assert "R2, ridge probe, wear" in result.stdout
    assert "mean of training" in result.stdout
    assert "target is numeric" in refused(1, "probe", CKPT, "--data", data, "--probe", "logistic")


def test_other_channels_are_fine_where_each_is_its_own_sequence() -> None:
    X = arrays()["X_train"]
    data = write_data("three", X_train=X[:, [0, 1, 1]], X_test=arrays()["X_test"][:, [0, 1, 1]])
    assert found("probe", CKPT, "--data", data)["n_test"] == 20
    words = ("--set", "tokenizer.channels=mixed", "--epochs", "1", "--data", "pump.npz", "--out", "mixed")
    assert tsjepa("pretrain", "--config", "tiny", *words).exit_code == 0
    assert "mixes the 2 channels" in refused(1, "probe", "mixed/checkpoint.ckpt", "--data", data)


def test_both_encoders_are_normalised_by_the_statistics_of_the_training_part() -> None:
    data = write_data("levels", X_train=100 + 30 * arrays()["X_train"], X_test=100 + 30 * arrays()["X_test"])
    words = ("--set", "normalize=train", "--epochs", "1", "--data", data, "--out", "levels", "--json")
    trained = json.loads(tsjepa("pretrain", "--config", "tiny", *words).stdout)
    values = found("probe", "levels/checkpoint.ckpt")
    for key in ("accuracy", "random_init_accuracy"):
        assert values[key] == trained[key]
    encoder = load_checkpoint("levels/checkpoint.ckpt")[0].encoder
    np.testing.assert_allclose(encoder.statistics.mean, (100 + 30 * arrays()["X_train"]).mean((0, 2)), rtol=1e-5)
    X = arrays()["X_train"]
    other = write_data("three", X_train=X[:, [0, 1, 1]], X_test=arrays()["X_test"][:, [0, 1, 1]])
    said = refused(1, "probe", "levels/checkpoint.ckpt", "--data", other)
    assert "statistics of the channels that it was trained on, 2 in number, but the series have 3" in said


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"y_train": None, "y_test": None}, "have no labels"),
        ({"y_train": ["calm"] * 40}, "one class only"),
        ({"X_test": None, "y_test": None}, "no test part, and a probe is scored on it: put it beside the training"),
    ],
)
def test_what_cannot_be_probed_is_told(changed: dict[str, Any], part: str) -> None:
    assert part in refused(1, "probe", CKPT, "--data", write_data("other", **changed))


@pytest.mark.parametrize(
    "words",
    [
        ["--labels", "0"],
        ["--labels", "1.5"],
        ["--labels", "many"],
        ["--labels", "nan"],
        ["--layers", "-1"],
        ["--layers", "some"],
        ["--seeds", "0"],
        ["--probe", "svm"],
    ],
)
def test_usage_errors_end_with_2(words: list[str]) -> None:
    assert words[0] in refused(2, "probe", CKPT, *words)


def test_a_table_is_scored_on_the_one_beside_it() -> None:
    for part, n in (("TRAIN", 20), ("TEST", 10)):
        X, y = arrays()[f"X_{part.lower()}"][:n, 0], arrays()[f"y_{part.lower()}"][:n]
        pd.DataFrame(X).assign(label=y).to_csv(f"fan_{part}.csv", index=False)
    values = found("probe", CKPT, "--data", "fan_TRAIN.csv")
    assert (values["data"], values["n_train"], values["n_test"]) == ("fan", 20, 10)


@pytest.mark.parametrize("command", ["probe", "finetune", "diagnose"])
def test_data_that_the_user_did_not_name_are_told_with_their_checkpoint(command: str) -> None:
    Path("pump.npz").rename("moved.npz")
    here = "run this in the folder that it was trained in"
    or_name = ", or name the data with --data."
    said = f"pump.npz does not exist: that is what {CKPT} was trained on; {here}{or_name}"
    assert said in refused(1, command, CKPT, "--device", "cpu")
    assert "pump.npz does not exist; check the spelling" in refused(1, command, CKPT, "--data", "./pump.npz")
    content = torch.load(CKPT, weights_only=True)
    for name, advice in (("/absent/a.npz", "put it back there"), ("Own", f"{here}, with the same --data-dir")):
        content["tsjepa"]["data"] = name
        torch.save(content, "other.ckpt")
        said = f"{name} does not exist: that is what other.ckpt was trained on; {advice}{or_name}"
        assert said in refused(1, command, "other.ckpt", "--device", "cpu")
    content["tsjepa"]["data"], content["tsjepa"]["config"]["log"]["test"] = "moved.npz", "test.csv"
    torch.save(content, "other.ckpt")
    said = f"test.csv does not exist: that is the test part of what other.ckpt was trained on; {here}{or_name}"
    assert said in refused(1, command, "other.ckpt", "--device", "cpu")


@pytest.mark.parametrize("words", [["probe"], ["finetune"], ["diagnose"]])
def test_a_checkpoint_of_series_in_memory_asks_for_data(words: list[str]) -> None:
    content = torch.load(CKPT, weights_only=True)
    content["tsjepa"]["data"] = None
    torch.save(content, "memory.ckpt")
    said = refused(2, *words, "memory.ckpt", "--device", "cpu")
    assert "memory.ckpt was trained on series in memory: name data with --data." in said
    assert found("probe", "memory.ckpt", "--data", "pump.npz")["data"] == "pump"


@pytest.mark.parametrize("words", [["probe"], ["finetune"], ["diagnose"]])
def test_an_empty_name_is_no_name(words: list[str]) -> None:
    assert "'' cannot name a data set" in refused(1, *words, CKPT, "--data", "", "--device", "cpu")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("command", [["probe"], ["embed", "--data", "pump.npz", "--out", "z.parquet"]])
def test_bad_checkpoints_are_told(command: list[str]) -> None:
    content = torch.load(CKPT, weights_only=True)
    whole = Path(CKPT).read_bytes()
    Path("cut.ckpt").write_bytes(whole[: len(whole) // 2])
    torch.save({**content, "tsjepa": {**content["tsjepa"], "version": 99}}, "newer.ckpt")
    torch.save({"tsjepa": Bomb()}, "bomb.ckpt")
    torch.save({"state_dict": {}}, "other.ckpt")
    Path("text.ckpt").write_text("not a checkpoint")
    Path("empty.ckpt").touch()
    state = dict(content["state_dict"])
    state.popitem()
    torch.save({**content, "state_dict": state}, "short.ckpt")
    sentences = {
        "cut.ckpt": "cut, damaged",
        "newer.ckpt": "upgrade tsjepa",
        "bomb.ckpt": "could run code",
        "other.ckpt": "not a tsjepa checkpoint",
        "text.ckpt": "text.ckpt",
        "empty.ckpt": "empty.ckpt",
        "short.ckpt": "do not fit",
        "absent.ckpt": "no checkpoint absent.ckpt",
        "run": "run/checkpoint.ckpt",
    }
    for name, part in sentences.items():
        sentence = refused(1, command[0], name, *command[1:])
        assert sentence.startswith("error: ")
        assert part in sentence
    assert not Path("exploded").exists()
    assert not Path("z.parquet").exists()


def test_a_value_that_is_too_large_for_an_encoder_that_takes_values_as_they_are_is_one_sentence() -> None:
    X = arrays()["X_test"]
    X[3, 1, 7] = -1e30
    words = ("--config", "tiny", "--epochs", "1", "--set", "normalize=none", "--out", "raw", "--device", "cpu")
    assert tsjepa("pretrain", "--data", write_data("pump"), *words).exit_code == 0
    huge = write_data("huge", X_test=X)
    said = "-1e+30 in the test part of huge (case 3, channel 1, time point 7) is too large for normalize=none"
    for command in ("probe", "finetune"):
        assert said in refused(1, command, "raw/checkpoint.ckpt", "--data", huge)
    assert found("probe", CKPT, "--data", huge)["n_test"] == 20  # normalised by each series
