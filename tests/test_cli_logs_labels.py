"""Labelled logs on the command line: labels beside embeddings, second files, groups, and what probes are fitted on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pumps import CHANNELS, CKPT, TRAINING, check_joined_back, done, make_log, read, refused
from sketched import MEASURED

from tsjepa.checkpoint import load_checkpoint
from tsjepa.embedding import embed_source, n_features

pytestmark = pytest.mark.usefixtures("with_pumps")


def test_labels_stand_beside_the_embeddings() -> None:
    done("embed", CKPT, "--data", "states.parquet", "--label", "state", "--out", "z.parquet")
    table = read("z.parquet")
    states = make_log().drop_duplicates("unit").set_index("unit")["state"]
    assert table["label"].tolist() == states[table["id"]].tolist()


def test_a_label_that_other_data_lack_is_told() -> None:
    words = ("--data", "states.parquet", "--label", "state", "--test", "more.parquet", "--window", "20", "--out", "own")
    done(*TRAINING, *words)
    _, said = done("embed", "own/checkpoint.ckpt", "--data", "pumps.parquet", "--out", "z.parquet")
    assert "no column 'state'" in said
    assert list(read("z.parquet").columns) == ["id", "start", "end", "embedding"]


def test_without_window_each_id_is_one_row() -> None:
    words = ("--data", "states.parquet", "--test", "more.parquet", "--label", "state")
    values, _ = done(*TRAINING, *words, "--out", "own")
    assert (values["n_series"], values["majority_accuracy"]) == (5, 0.5)
    done("embed", "own/checkpoint.ckpt", "--data", "states.parquet", "--out", "z.parquet")
    table = read("z.parquet")
    assert table["id"].tolist() == [f"pump {number}" for number in range(5)]
    assert table["label"].tolist() == ["calm", "worn", "calm", "worn", "calm"]
    check_joined_back(table, make_log(), "own/checkpoint.ckpt", "unit", "timestamp", None)


def test_a_second_file_is_scored() -> None:
    words = ("--data", "states.parquet", "--test", "more.parquet", "--label", "state", "--window", "20")
    values, _ = done(*TRAINING, *words, "--out", "own")
    assert values["accuracy"] is not None
    again, said = done("probe", "own/checkpoint.ckpt")
    assert again["accuracy"] == values["accuracy"]
    assert again["random_init_accuracy"] == values["random_init_accuracy"]
    assert "guessed" not in said
    # the second file belongs to the data that it was named with
    assert "--test FILE" in refused(2, "probe", "own/checkpoint.ckpt", "--data", "more.parquet")
    swapped = ("probe", "own/checkpoint.ckpt", "--data", "more.parquet", "--test", "states.parquet")
    assert done(*swapped)[0]["n_test"] == again["n_train"]


def test_the_baseline_knows_the_series_without_a_label_in_probe_as_in_pretrain() -> None:
    log = pd.read_parquet("states.parquet")
    log.loc[log["unit"].isin(["pump 2", "pump 3"]), "state"] = None
    log.loc[log["unit"] == "pump 3", CHANNELS[0]] *= 50.0
    log.to_parquet("some.parquet")
    words = ("--data", "some.parquet", "--test", "more.parquet", "--label", "state", "--window", "5")
    settings = [word for setting in MEASURED for word in ("--set", setting)]
    values, _ = done(*TRAINING, *settings, *words, "--out", "own")
    again, _ = done("probe", "own/checkpoint.ckpt")
    assert again["n_train"] < values["n_series"]
    assert again["random_init_accuracy"] == values["random_init_accuracy"]


def test_probes_of_a_large_log_use_a_sample_of_its_windows_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--data", "states.parquet", "--test", "more.parquet", "--label", "state", "--window", "20")
    assert "probes use" not in done(*TRAINING, *words, "--out", "own")[1]
    whole = done("probe", "own/checkpoint.ckpt")[0]
    model, header = load_checkpoint("own/checkpoint.ckpt")
    monkeypatch.setattr("tsjepa.cli.scoring.HELD", 15 * n_features(model.encoder, header.config.probe, 3))
    held: list[int] = []
    monkeypatch.setattr(
        "tsjepa.cli.scoring.embed_source",
        lambda e, source, *more: held.append(source.n_cases) or embed_source(e, source, *more),
    )
    values, said = done("probe", "own/checkpoint.ckpt")
    assert whole["n_train"] > values["n_train"] == 15
    assert f"probes use 15 of {whole['n_train']} training windows, drawn by label" in said
    assert f"probes use 15 of {whole['n_test']} test windows, drawn by label" in said
    assert held == [15] * 4
    again, said = done(*TRAINING, *words, "--out", "other")
    assert said.count("probes use 15 of") == 2
    assert again["n_series"] == whole["n_train"]  # training takes all of them
    assert again["accuracy"] == values["accuracy"]


def test_groups_stay_on_one_side() -> None:
    words = ("--data", "states.parquet", "--group", "unit", "--label", "state", "--window", "20")
    values, said = done(*TRAINING, *words, "--out", "own")
    assert "test part: 1 of 5 groups of 'unit', drawn with seed 0" in said
    done("embed", "own/checkpoint.ckpt", "--data", "states.parquet", "--group", "unit", "--out", "z.parquet")
    table = read("z.parquet")
    assert list(table.columns) == ["part", "id", "start", "end", "label", "embedding"]
    sides = table.groupby("part")["id"].unique()
    assert not set(sides["train"]) & set(sides["test"])
    assert len(sides["test"]) == 1
    assert values["n_series"] == (table["part"] == "train").sum()
    assert done("probe", "own/checkpoint.ckpt")[0]["n_train"] == values["n_series"]
    # the groups of the checkpoint's own data are known; which machines of other data it was tested on is not
    _, said = done("embed", "own/checkpoint.ckpt", "--data", "states.parquet", "--out", "again.parquet")
    assert "test part: 1 of 5 groups of 'unit', drawn with seed 0" in said
    assert read("again.parquet").equals(table)
    assert done("probe", "own/checkpoint.ckpt", "--data", "states.parquet")[0]["n_train"] == values["n_series"]
    done("embed", "own/checkpoint.ckpt", "--data", "more.parquet", "--out", "other.parquet")
    assert "part" not in read("other.parquet")


def test_the_log_of_training_is_known_in_every_spelling() -> None:
    Path("g").mkdir()
    Path("states.parquet").rename("g/own.parquet")
    done(*TRAINING, "--data", "g/own.parquet", "--group", "unit", "--label", "state", "--window", "20", "--out", "own")
    scores = done("probe", "own/checkpoint.ckpt")[0]
    for data in (
        "./g/own.parquet",
        "g//own.parquet",
        str(Path("g/own.parquet").absolute()),
        f"file://{Path('g/own.parquet').absolute()}",
    ):
        assert done("probe", "own/checkpoint.ckpt", "--data", data)[0]["n_train"] == scores["n_train"]
        done("embed", "own/checkpoint.ckpt", "--data", data, "--out", "z.parquet", "--overwrite")
        assert list(read("z.parquet").columns) == ["part", "id", "start", "end", "label", "embedding"]


def test_a_link_that_leads_elsewhere_by_now_makes_no_log_that_of_training() -> None:
    Path("states.parquet").rename("p1.parquet")
    make_log().to_parquet("p2.parquet")
    Path("latest.parquet").symlink_to("p1.parquet")
    settings = ("--group", "unit", "--label", "state", "--window", "20", "--out", "own")
    done(*TRAINING, "--data", "latest.parquet", *settings)
    Path("latest.parquet").unlink()
    Path("latest.parquet").symlink_to("p2.parquet")
    done("embed", "own/checkpoint.ckpt", "--data", "p2.parquet", "--out", "z.parquet")
    assert "part" not in read("z.parquet").columns


def test_groups_that_the_log_has_no_more_are_told() -> None:
    log = make_log()
    log.assign(site=log["unit"]).to_parquet("states.parquet")
    done(*TRAINING, "--data", "states.parquet", "--group", "site", "--label", "state", "--window", "20", "--out", "own")
    log.to_parquet("states.parquet")
    _, said = done("embed", "own/checkpoint.ckpt", "--data", "states.parquet", "--out", "z.parquet")
    assert "states.parquet has no column 'site', so there will be no part." in said
    assert list(read("z.parquet").columns) == ["id", "start", "end", "label", "embedding"]


@pytest.mark.parametrize("command", [TRAINING, ("probe", CKPT)])
def test_a_labelled_log_without_a_test_part_is_refused(command: tuple[str, ...]) -> None:
    sentence = refused(2, *command, "--data", "states.parquet", "--label", "state", "--window", "20")
    assert "--test FILE" in sentence
    assert "--group COLUMN" in sentence
    assert not Path("runs").exists()


def write_lists(name: str, columns: list[str], log: pd.DataFrame) -> str:
    lists = {
        "unit": ("unit", "first"),
        "label": ("state", "first"),
        **{channel: (channel, list) for channel in CHANNELS},
    }
    log.fillna(0.0).groupby("unit").agg(**lists)[columns].to_parquet(name, index=False)
    return name


def test_the_test_part_of_series_in_lists_is_found_by_name() -> None:
    train = write_lists("l_TRAIN.parquet", [*CHANNELS, "label"], make_log())
    assert "--test FILE" in refused(2, *TRAINING, "--data", train, "--out", "own")
    test = write_lists("l_TEST.parquet", ["label", *reversed(CHANNELS)], make_log(1, (90, 70, 85, 66)))
    found, said = done(*TRAINING, "--data", train, "--out", "own")
    assert f"test part: {test}" in said
    named, _ = done(*TRAINING, "--data", train, "--test", test, "--out", "other")
    assert found["accuracy"] == named["accuracy"]
    assert done("probe", "own/checkpoint.ckpt")[0]["n_test"] == 4
    assert done("probe", "own/checkpoint.ckpt", "--data", train)[0]["n_test"] == 4
    write_lists("l_TEST.parquet", list(CHANNELS), make_log(1, (90, 70, 85, 66)))  # another file than a test part
    assert "has labels, but no test part" in refused(2, *TRAINING, "--data", train, "--out", "without")


def test_a_log_without_labels_says_how_they_are_named() -> None:
    sentence = "the data have no labels, and a probe needs them: if a column holds them, name it with --label."
    assert sentence in Path("said.txt").read_text()
    for command in ("probe", "finetune"):
        assert sentence in refused(1, command, CKPT)


def write_labelled(name: str, labels: str) -> str:
    """Write a log of one machine for each label."""
    rows = [f"{at},{time},{at * time % 7}.5,{label}" for at, label in enumerate(labels.split()) for time in range(8)]
    Path(name).write_text("\n".join(["unit,time,flow,rul", *rows, ""]))
    return name


@pytest.mark.parametrize(("train", "test"), [("1 2.5 3 4", "1 2 3 3"), ("1 2 3 4", "1 2.5 3 3")])
def test_whole_numbers_beside_a_target_are_one(train: str, test: str) -> None:
    words = ("--data", write_labelled("train.csv", train), "--test", write_labelled("test.csv", test))
    values, _ = done(*TRAINING, *words, "--window", "4", "--out", "own")
    assert (values["accuracy"], values["n_series"]) == (None, 8)
    write_labelled("train.csv", "1 2.5 3 4")
    write_labelled("test.csv", "1 worn 3 3")
    assert "one part has a numeric target, the other class names" in refused(1, *TRAINING, *words, "--window", "4")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("1.0 2.0 1.0 worn", "1.0 2.0 1.0"),
        ("1e3 5 5 B", "1e3 5 5"),
        ("01 02 02 A1", "01 02 02"),
        ("1 2 2 B", "1.0 2.0"),
    ],
)
def test_the_same_text_is_the_same_class(train: str, test: str) -> None:
    words = ("--data", write_labelled("train.csv", train), "--test", write_labelled("test.csv", test))
    _, said = done(*TRAINING, *words, "--window", "4", "--out", "own")
    assert "never appears in training" not in said


def write_runs(folder: str) -> list[str]:
    """Write a log with one file per run and no column of ids, and return the files' names."""
    Path(folder).mkdir()
    runs = [own.drop(columns="unit") for _, own in make_log().groupby("unit")]
    names = [f"run {number}.csv" for number in range(len(runs))]
    for name, own in zip(names, runs, strict=True):
        own.to_csv(Path(folder, name), index=False)
    return names


def test_files_that_are_the_ids_stay_on_one_side() -> None:
    names = write_runs("runs_of_a_pump")
    words = (*TRAINING, "--data", "runs_of_a_pump", "--label", "state", "--window", "20", "--stride", "10")
    assert "or give --group id, which keeps each series on one side" in refused(2, *words, "--out", "own")
    values, said = done(*words, "--out", "own", "--group", "id")
    assert "test part: 1 of 5 groups of 'id', drawn with seed 0" in said
    assert load_checkpoint("own/checkpoint.ckpt")[1].config.log.group == "id"
    done("embed", "own/checkpoint.ckpt", "--data", "runs_of_a_pump", "--out", "z.parquet")
    table = read("z.parquet")
    assert table.groupby("id")["part"].nunique().to_dict() == dict.fromkeys(names, 1)
    assert table.groupby("part")["id"].nunique().to_dict() == {"test": 1, "train": 4}
    assert (table["part"] == "train").sum() == values["n_series"]
    scores = done("probe", "own/checkpoint.ckpt")[0]
    assert (scores["n_train"], scores["n_test"]) == tuple((table["part"] == part).sum() for part in ("train", "test"))
    assert scores["accuracy"] == values["accuracy"]
    again = done("pretrain", "--resume", "--out", "own", "--epochs", "2", "--device", "cpu", "--group", "id")[0]
    assert again["n_series"] == values["n_series"]


def test_rows_of_lists_that_are_the_ids_stay_on_one_side() -> None:
    train = write_lists("l.parquet", [*CHANNELS, "label"], make_log())
    _, said = done(*TRAINING, "--data", train, "--out", "own", "--group", "id")
    assert "test part: 1 of 5 groups of 'id'" in said
    done("embed", "own/checkpoint.ckpt", "--data", train, "--out", "z.parquet")
    assert read("z.parquet").groupby("part")["id"].nunique().to_dict() == {"test": 1, "train": 4}


def test_where_a_column_gives_ids_groups_need_a_column() -> None:
    words = ("--data", "states.parquet", "--label", "state", "--window", "20", "--out", "own")
    assert "has no column 'id' (--group)" in refused(1, *TRAINING, *words, "--group", "id")
    assert "--group id" not in refused(2, *TRAINING, *words)


def test_a_key_of_rows_that_is_called_id_is_no_group() -> None:
    for name in write_runs("keyed"):
        run = pd.read_csv(Path("keyed", name))
        first = 1000 * int(name.removesuffix(".csv").split()[1])
        run["id"], run["timestamp"] = first + np.arange(len(run)), pd.to_datetime(first + np.arange(len(run)), unit="s")
        run.to_csv(Path("keyed", name), index=False)
    words = (*TRAINING, "--data", "keyed", "--label", "state", "--window", "20", "--out", "own")
    assert "or give --group id" in refused(2, *words)
    _, said = done(*words, "--group", "id")
    assert "test part: 1 of 5 groups of 'id'" in said


def test_an_embedding_needs_no_groups() -> None:
    write_runs("runs_of_a_pump")
    done(*TRAINING, "--data", "runs_of_a_pump", "--label", "", "--window", "20", "--group", "id", "--out", "own")
    first, *others = sorted(Path("runs_of_a_pump").glob("*.csv"))
    for path in others:
        path.unlink()
    Path("runs_of_a_pump", "empty.csv").write_text(first.read_text().splitlines()[0] + "\n")
    _, said = done("embed", "own/checkpoint.ckpt", "--data", "runs_of_a_pump", "--out", "one.parquet")
    assert "note: runs_of_a_pump has no column 'id', so there will be no part." in said
    assert "part" not in read("one.parquet")
    log = make_log().rename(columns={"unit": "machine"})
    log.assign(id=log["machine"].str[-1]).to_csv("log.csv", index=False)
    held = ("--id", "machine", "--group", "id", "--label", "", "--window", "20")
    done(*TRAINING, "--data", "log.csv", *held, "--out", "other")
    log.to_csv("log.csv", index=False)
    _, said = done("embed", "other/checkpoint.ckpt", "--data", "log.csv", "--out", "two.parquet")
    assert "note: log.csv has no column 'id', so there will be no part." in said


def test_windows_that_all_end_in_rows_of_one_class_are_told_what_gives_them_their_label() -> None:
    log = make_log(lengths=(100, 100)).drop(columns="state")
    log["state"] = np.where(np.arange(len(log)) % 20 < 10, "day", "night")
    log.to_csv("days.csv", index=False)
    words = ("--data", "days.csv", "--label", "state", "--window", "20", "--stride", "20", "--test", "days.csv")
    words = (*words, "--max-gap", "1000")
    ways = "--window-label says which rows give a window its label (now: last), and a shorter --window gives more"
    sentence = f"the training labels hold one class only, and a probe needs two or more: {ways} windows."
    assert sentence in done(*TRAINING, *words, "--out", "own")[1]
    assert sentence in refused(1, "finetune", "own/checkpoint.ckpt")
    done(*TRAINING, *words, "--window", "10", "--stride", "10", "--out", "short")
    log.assign(state=1).to_csv("days.csv", index=False)  # there the rows themselves are of one class
    said = done(*TRAINING, *words, "--out", "one")[1]
    assert "hold one class only, and a probe needs two or more." in said
    assert "--window-label" not in said


def test_ids_and_times_of_a_second_file_are_its_own_or_refused() -> None:
    times = pd.date_range("2026", periods=25, freq="1s").as_unit("us")
    log = pd.DataFrame({"unit": np.repeat([1, 2], 25), "time": [*times, *times], CHANNELS[0]: np.arange(50.0)})
    finer, whole = log.assign(time=log["time"].astype("datetime64[ns]")), log.assign(time=np.tile(np.arange(25), 2))
    others = {"named": log.assign(unit=log["unit"].map("pump {}".format)), "whole": whole, "finer": finer}
    for name, table in {"log": log, **others}.items():
        table.to_parquet(f"{name}.parquet")
    done(*TRAINING, "--data", "log.parquet", "--window", "20", "--out", "own")
    words = ("embed", "own/checkpoint.ckpt", "--data", "log.parquet", "--out", "z.parquet")
    said = "ids of the training part are int64, and those of the test part string: give both logs ids of one type"
    assert said in refused(1, *words, "--test", "named.parquet")
    assert "times of the training part are timestamp" in refused(1, *words, "--test", "whole.parquet")
    assert not list(Path().glob(".z.parquet*"))
    done(*words, "--test", "finer.parquet")
    table = read("z.parquet")
    np.testing.assert_array_equal(table["start"][table["part"] == "test"], table["start"][table["part"] == "train"])
