"""Many series of which few have a label: all are learnt from, and those with a label are what scores are of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import arrays, found, tsjepa

from tsjepa.checkpoint import read_checkpoint, read_header
from tsjepa.finetuning import Tuning

pytestmark = pytest.mark.usefixtures("alone")
TRAIN, TEST = np.arange(40) % 5 < 2, np.arange(20) % 7 != 3
TINY = ("--config", "tiny", "--epochs", "1", "--device", "cpu")
SCORES = ("accuracy", "random_init_accuracy", "majority_accuracy")


def write_parts() -> None:
    """Write some.csv of which some series have a label, alone.csv with these only, and lists of the first."""
    for part, there in (("TRAIN", TRAIN), ("TEST", TEST)):
        X, y = arrays()[f"X_{part.lower()}"][:, 0], arrays()[f"y_{part.lower()}"]
        X = X + 2 * np.random.default_rng(1).normal(size=X.shape).astype(np.float32)  # too much for a perfect score
        table = pd.DataFrame(X, columns=[f"t{place}" for place in range(40)]).assign(label=np.where(there, y, None))
        table.to_csv(f"some_{part}.csv", index=False)
        table[there].to_csv(f"alone_{part}.csv", index=False)
        pd.DataFrame({"flow": list(X), "label": table["label"]}).to_parquet(f"lists_{part}.parquet")


def test_wide_tables_lists_and_the_labelled_rows_alone_have_the_same_scores() -> None:
    write_parts()
    lists = ("--data", "lists_TRAIN.parquet", "--test", "lists_TEST.parquet", "--channels", "flow")
    tables = found("pretrain", "--data", "some_TRAIN.csv", *TINY, "--out", "run")
    logs = found("pretrain", *lists, *TINY, "--out", "log")
    assert tables["n_series"] == logs["n_series"] == 40
    for key in ("loss", "collapse", *SCORES):
        assert tables[key] == logs[key], key
    assert 0.5 < tables["accuracy"] < 1

    def probed(run: str, *words: str) -> dict[str, Any]:
        values = found("probe", f"{run}/checkpoint.ckpt", *words, "--labels", "0.5,1", "--device", "cpu")
        return {key: values[key] for key in ("n_train", "n_test", "fractions", *SCORES)}

    own, log, alone = probed("run"), probed("log"), probed("run", "--data", "alone_TRAIN.csv")
    assert (own["n_train"], own["n_test"]) == (TRAIN.sum(), TEST.sum())
    assert own == log
    for values in (own, alone):  # the random initialisation knows the series that it was given
        del values["random_init_accuracy"]
        for row in values["fractions"]:
            del row["random_init_accuracy"], row["random_init_std"]
    assert own == alone


def test_classifiers_learn_from_the_series_that_have_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.cli.finetune.DEFAULT", Tuning(epochs=2, min_steps=4))
    write_parts()
    found("pretrain", "--data", "some_TRAIN.csv", *TINY, "--out", "run")
    words = ("finetune", "run/checkpoint.ckpt", "--labels", "1", "--no-supervised", "--device", "cpu")
    own, alone = found(*words, "--out", "tuned"), found(*words, "--data", "alone_TRAIN.csv")
    assert (own["n_train"], own["n_test"], own["accuracy"]) == (TRAIN.sum(), TEST.sum(), alone["accuracy"])
    path = Path("tuned/finetuned.ckpt")
    header = read_header(read_checkpoint(path), path)
    before = read_header(read_checkpoint(Path("run/checkpoint.ckpt")), path)
    assert header.fingerprint == before.fingerprint  # of all series


def test_embeddings_have_nulls_and_a_diagnosis_no_class_where_there_is_no_label() -> None:
    write_parts()
    found("pretrain", "--data", "some_TRAIN.csv", *TINY, "--out", "run")
    found("embed", "run/checkpoint.ckpt", "--data", "some_TRAIN.csv", "--out", "Z.parquet")
    labels = pd.read_parquet("Z.parquet")["label"]
    assert labels.notna().tolist() == [*TRAIN, *TEST]
    assert set(labels.dropna()) == {"calm", "worn"}
    result = tsjepa("diagnose", "run", "--json", "--no-supervised", "--device", "cpu")
    values = json.loads(result.stdout)
    assert (values["n_train"], values["n_shown"]) == (40, TEST.sum())
    assert values["majority_accuracy"] >= 0.5
    assert result.stderr.count("16 of 40 training series have a label") == 1


def test_a_target_is_scored_where_there_is_one() -> None:
    parts = arrays()
    rng = np.random.default_rng(0)
    y = {
        part: np.where(there, rng.normal(size=len(there)), np.nan) for part, there in (("train", TRAIN), ("test", TEST))
    }
    np.savez("some.npz", X_train=parts["X_train"], X_test=parts["X_test"], y_train=y["train"], y_test=y["test"])
    values = found("pretrain", "--data", "some.npz", *TINY, "--out", "run")
    assert np.isfinite(values["r2"])
    probed = found("probe", "run/checkpoint.ckpt", "--device", "cpu")
    assert (probed["n_train"], probed["n_test"]) == (TRAIN.sum(), TEST.sum())
