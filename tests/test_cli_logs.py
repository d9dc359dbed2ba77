"""Sensor logs on the command line: columns, windows, and tables that join back to the rows they came from."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import tsjepa
from pumps import CHANNELS, CKPT, STRIDE, TRAINING, WINDOW, check_joined_back, done, make_log, read, refused

from tsjepa.checkpoint import load_checkpoint
from tsjepa.cli.data import load_data
from tsjepa.cli.errors import Failure
from tsjepa.cli.plan import check_same_data

OUT = ("--out", "z.parquet")
pytestmark = pytest.mark.usefixtures("with_pumps")


def test_a_run_says_what_it_read_and_keeps_it() -> None:
    said = Path("said.txt").read_text()
    for words in ("guessed", "'unit'", "'timestamp'", "no accuracy will be shown", "have no labels"):
        assert words in said
    assert said.count("guessed") == 1
    _, header = load_checkpoint(CKPT)
    assert (header.channel_names, header.n_channels, header.n_timepoints) == (CHANNELS, 3, WINDOW)
    log = header.config.log
    assert (log.id, log.time, log.channels, log.window, log.stride) == ("unit", "timestamp", CHANNELS, WINDOW, STRIDE)
    assert yaml.safe_load(Path("run/config.yaml").read_text())["log"] == log.model_dump(mode="json")
    assert any(Path("windows").iterdir())


def test_windows_join_back_to_their_rows() -> None:
    values, said = done("embed", CKPT, "--data", "pumps.parquet", "--out", "z.parquet")
    assert "guessed" not in said
    table = read("z.parquet")
    assert list(table.columns) == ["id", "start", "end", "embedding"]
    log = make_log()
    check_joined_back(table, log, CKPT, "unit", "timestamp", WINDOW)
    assert values["rows"] == len(table)
    assert not (table["end"] - table["start"] > pd.Timedelta(WINDOW, "s")).any()  # none crosses the pause
    owned = log.merge(table, left_on="unit", right_on="id")
    inside = owned[(owned["timestamp"] >= owned["start"]) & (owned["timestamp"] <= owned["end"])]
    assert len(inside.drop_duplicates(["unit", "timestamp"])) == len(log)  # every row is in a window


def test_a_run_does_not_go_on_with_a_log_that_has_grown() -> None:
    log = make_log().drop(columns="state")
    pd.concat([log, log.tail(40).assign(unit="pump 9")]).to_parquet("pumps.parquet", index=False)
    said = refused(1, "pretrain", "--resume", "--out", "run", "--epochs", "2", "--device", "cpu")
    assert "pumps is not the same as when the run was started (its number of rows is 478 and was 438)" in said


def test_a_run_whose_channels_have_lost_blanks_goes_on_and_embeds() -> None:
    log = make_log().drop(columns="state").rename(columns={"flow": " flow"})
    Path("plant").mkdir()
    log.to_parquet("plant/log.parquet", index=False)
    done(*TRAINING, "--data", "plant", "--window", str(WINDOW), "--out", "blanks")
    Path("plant/log.parquet").unlink()
    log.to_csv("plant/log.csv", index=False)
    done("pretrain", "--resume", "--out", "blanks", "--epochs", "2", "--device", "cpu")
    header = load_checkpoint("blanks/checkpoint.ckpt")[1]
    assert header.channel_names == (" flow", "level", "speed")
    other = header._replace(channel_names=(" flow", "level", "pace"))
    with pytest.raises(Failure, match="now, but the run was started on ' flow', 'level', 'pace'"):
        check_same_data(load_data("plant", None, header.config.log), other)
    log.to_parquet("log.parquet", index=False)
    for name in ("plant", "log.parquet"):
        done("embed", "blanks/checkpoint.ckpt", "--data", name, "--out", f"{name}.parquet")
    tables = [read(f"{name}.parquet") for name in ("plant", "log.parquet")]
    np.testing.assert_array_equal(*(np.stack(table["embedding"]) for table in tables))


def test_flags_change_the_windows_of_the_checkpoint() -> None:
    done("embed", CKPT, "--data", "pumps.parquet", "--out", "z.parquet", "--window", "30s", "--stride", "30")
    check_joined_back(read("z.parquet"), make_log(), CKPT, "unit", "timestamp", 30)


def test_a_model_of_whole_series_embeds_a_lone_one() -> None:
    done(*TRAINING, "--data", "pumps.parquet", "--out", "whole")
    make_log(1, (70,)).drop(columns="state").to_parquet("one.parquet", index=False)
    assert done("embed", "whole/checkpoint.ckpt", "--data", "one.parquet", *OUT)[0]["rows"] == 1
    words = ("--data", "pumps.parquet", "--test", "one.parquet", "--out", "both.parquet")
    assert done("embed", "whole/checkpoint.ckpt", *words)[0]["rows"] == 6
    assert read("both.parquet")["embedding"].iloc[-1].tolist() == read("z.parquet")["embedding"][0].tolist()
    sentence = "nothing can be learnt from one: cut it into windows with --window."
    assert sentence in refused(1, "probe", "whole/checkpoint.ckpt", "--data", "one.parquet")


def test_columns_are_chosen_by_name() -> None:
    done("embed", CKPT, "--data", "pumps.parquet", "--out", "z.parquet")
    log = make_log().drop(columns="state")
    log.assign(noise=1.0)[["speed", "noise", "unit", "flow", "timestamp", "level"]].to_parquet("other.parquet")
    _, said = done("embed", CKPT, "--data", "other.parquet", "--out", "other_z.parquet")
    assert "left out: 'noise'" in said
    pd.testing.assert_frame_equal(read("z.parquet"), read("other_z.parquet"))
    log.drop(columns="level").to_parquet("lacking.parquet")
    assert "'level'" in refused(1, "embed", CKPT, "--data", "lacking.parquet", "--out", "y.parquet")
    assert not Path("y.parquet").exists()
    done("embed", CKPT, "--data", "lacking.parquet", "--out", "y.parquet", "--channels", "speed, flow")
    assert len(read("y.parquet")["embedding"][0]) * 3 == len(read("z.parquet")["embedding"][0]) * 2


def test_a_name_with_a_comma_stands_in_quotes() -> None:
    log = make_log().drop(columns="state").rename(columns={"flow": "flow, l/min"})
    log.to_parquet("units.parquet", index=False)
    words = ("--data", "units.parquet", "--window", str(WINDOW), "--out", "units", "--channels")
    done(*TRAINING, *words, ' speed, "flow, l/min"')
    assert load_checkpoint("units/checkpoint.ckpt")[1].channel_names == ("speed", "flow, l/min")
    done("embed", "units/checkpoint.ckpt", "--data", "units.parquet", "--out", "z.parquet")
    small = ("--set", "tokenizer.patch_length=4", "--set", "world.horizons=[1]")
    world = ("pretrain", "--config", "lewm-sensor", *small, *words[:-1], "--overwrite")
    said = refused(2, *world, "--inputs", '"flow, l/h",speed')
    assert "world.inputs names 'flow, l/h', which is no channel: did you mean flow, l/min?" in said
    assert "is no list of names like A,B: write it in one line" in refused(2, *world, "--inputs", "flow\nspeed")


def test_windows_of_an_id_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("embed", CKPT, "--data", "states.parquet", "--label", "state")
    done(*words, "--out", "z.parquet")
    assert done(*words, "--out", "whole.parquet", "--pool-windows")[0]["rows"] == 5
    monkeypatch.setattr("tsjepa.cli.table.chunk_size", lambda *_: 4)
    done(*words, "--out", "parts.parquet", "--pool-windows")
    assert pq.ParquetFile("parts.parquet").num_row_groups > 1
    pd.testing.assert_frame_equal(read("parts.parquet"), read("whole.parquet"))
    by_id = read("z.parquet").groupby("id", sort=False)
    want = by_id.agg({"start": "min", "end": "max", "label": "last"}).reset_index()
    pooled = read("whole.parquet")
    pd.testing.assert_frame_equal(pooled[["id", "start", "end", "label"]], want)
    for row, (_, own) in zip(pooled.itertuples(), by_id, strict=True):
        np.testing.assert_allclose(row.embedding, np.stack(own["embedding"]).mean(0, dtype=np.float64), rtol=1e-6)


def test_a_run_is_resumed_with_its_windows() -> None:
    words = ("pretrain", "--resume", "--out", "run", "--epochs", "2", "--device", "cpu")
    assert done(*words)[0]["epochs"] == 2
    assert done(*words, "--data", "pumps.parquet", "--window", "20")[0]["epochs"] == 2
    assert done(*words, "--config", "tiny", "--data", "pumps.parquet")[0]["epochs"] == 2
    assert "log.window would change from 20 to 25" in refused(2, *words, "--window", "25")


def test_a_run_that_is_found_by_its_data_goes_on_with_the_windows_it_was_started_with() -> None:
    shutil.copytree("run", "runs/pumps")
    done("pretrain", "--resume", "--data", "pumps.parquet", "--epochs", "2", "--device", "cpu")
    header = load_checkpoint("runs/pumps/checkpoint.ckpt")[1]
    assert (header.config.train.epochs, header.n_timepoints, header.config.log.window) == (2, WINDOW, WINDOW)


def test_a_folder_a_glob_and_rows_of_single_values_are_the_same_log() -> None:
    log = make_log().drop(columns="state")
    done("embed", CKPT, "--data", "pumps.parquet", "--out", "z.parquet")
    Path("folder").mkdir()
    for name, own in log.groupby("unit"):
        own.to_parquet(f"folder/{name}.parquet", index=False)
    long = log.melt(["unit", "timestamp"], var_name="channel").sort_values(["unit", "timestamp"])
    long.to_csv("long.csv", index=False)
    for source in ("folder", "folder/*.parquet", "long.csv"):
        done("embed", CKPT, "--data", source, "--out", "same.parquet", "--overwrite")
        same = read("same.parquet")
        assert (pd.to_datetime(same["start"]) == read("z.parquet")["start"]).all()
        np.testing.assert_array_equal(np.stack(same["embedding"]), np.stack(read("z.parquet")["embedding"]))


@pytest.mark.parametrize(
    ("code", "words", "part"),
    [
        (2, ("--window", "ten"), "--window 'ten'"),
        (2, ("--stride", "5"), "--stride needs --window"),
        (2, ("--window", "0"), "log.window"),
        (2, ("--window", "20", "--window-label", "first"), "--window-label"),
        (2, ("--window", "20", "--test", "more.parquet", "--group", "unit"), "give one of them"),
        (1, ("--window", "20", "--id", "machine"), "'machine'"),
        (1, ("--window", "20", "--channels", "flow,torque"), "'torque'"),
        (1, ("--window", "20", "--test", "absent.parquet"), "absent.parquet"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(code: int, words: tuple[str, ...], part: str) -> None:
    assert part in refused(code, *TRAINING, "--data", "pumps.parquet", *words)
    assert not Path("runs").exists()


def test_a_table_without_times_is_read_as_it_was_in_training() -> None:
    log = make_log(lengths=(90,))[["flow", "level"]]
    log.to_csv("plain.csv", index=False)
    _, said = done(*TRAINING, "--data", "plain.csv", "--window", "20", "--stride", "20", "--out", "own")
    assert "no time column" in said
    done("embed", "own/checkpoint.ckpt", "--data", "plain.csv", "--out", "z.parquet")
    table = read("z.parquet")
    assert table["start"].tolist() == [0, 20, 40, 60, 70]
    check_joined_back(table, log.rename_axis("row").reset_index(), "own/checkpoint.ckpt", None, "row", 20)


def test_series_in_lists_are_embedded_by_a_checkpoint_of_a_log_with_times() -> None:
    log = make_log().drop(columns="state")
    lists = log.groupby("unit", as_index=False).agg(dict.fromkeys(CHANNELS, list))
    lists.to_parquet("lists.parquet", index=False)
    words = ("--data", "lists.parquet", "--id", "unit", "--label", "", "--time", "")
    done("embed", CKPT, *words, "--out", "z.parquet")
    assert read("z.parquet")["id"].unique().tolist() == lists["unit"].tolist()


def test_the_folder_of_a_run_is_no_log() -> None:
    for _ in range(2):
        words = ("--data", "BasicMotions", "--out", "BasicMotions", "--overwrite")
        assert done(*TRAINING, *words)[0]["n_series"] == 40
    assert done("probe", "BasicMotions/checkpoint.ckpt")[0]["data"] == "BasicMotions"
    assert "no data set is called 'run'" in refused(1, "embed", CKPT, "--data", "run", "--out", "z.parquet")


def test_a_folder_of_the_archive_may_hold_tables_too() -> None:
    Path("Pumps").mkdir()
    for part in ("TRAIN", "TEST"):
        Path("Pumps", f"Pumps_{part}.ts").write_text(
            "@univariate true\n@classLabel true a b\n@data\n1,2,3,4:a\n4,3,2,1:b\n"
        )
    make_log().to_parquet("Pumps/log.parquet")
    assert done("embed", CKPT, "--data", "Pumps", "--out", "z.parquet")[0]["rows"] == 4


def test_a_folder_with_a_bad_file_is_one_sentence() -> None:
    log = make_log().drop(columns="state")
    Path("folder").mkdir()
    log[:95].to_parquet("folder/a.parquet", index=False)
    log[95:].drop(columns="speed").to_parquet("folder/b.parquet", index=False)
    sentence = refused(1, "embed", CKPT, "--data", "folder", "--out", "z.parquet")
    assert "b.parquet" in sentence
    assert "'speed'" in sentence
    assert not Path("z.parquet").exists()


def test_a_channel_that_is_missing_is_told_as_the_users_or_as_that_of_training() -> None:
    log = make_log()
    log.drop(columns="speed").to_parquet("lack.parquet", index=False)
    lack = "lack.parquet has no column 'speed'; it has"
    trained = "; 'speed' is one of the channels that were trained on: add it"
    words = ("embed", CKPT, *OUT, "--data")
    training = (*TRAINING, "--data", "pumps.parquet", "--window", "20")
    resumed = ("pretrain", "--resume", "--out", "run", "--device", "cpu")
    log.drop(columns="speed").to_parquet("pumps.parquet", index=False)
    for said in (
        refused(1, *words, "lack.parquet"),
        refused(1, "probe", CKPT, "--data", "lack.parquet"),
        refused(1, *resumed).replace("pumps", "lack"),
    ):
        assert f"error: {lack}" in said
        assert said.endswith(trained)
    log.to_parquet("pumps.parquet", index=False)
    assert refused(1, *training, "--test", "lack.parquet").endswith(trained)  # nobody named it
    own = "pumps.parquet has no column 'torque' (--channels); it has 'unit', 'timestamp', 'flow', 'level', 'speed', "
    own += "'state'"
    assert refused(1, *training, "--channels", "flow,torque").endswith(own)
    assert refused(1, *training, "--set", "log.channels=[torque]").endswith(own)
    assert refused(1, *words, "pumps.parquet", "--channels", "torque").endswith(own)
    Path("folder").mkdir()
    log[:95].to_parquet("folder/a.parquet", index=False)
    log[95:].drop(columns="speed").to_parquet("folder/b.parquet", index=False)
    said = refused(1, *words, "folder", "--channels", "flow,speed")
    assert said.endswith("which folder/a.parquet has; add it, or leave it out there")


@pytest.mark.parametrize("flag", [("--window", "20"), ("--group", "unit")])
def test_a_misspelled_log_is_told_and_not_its_flags(flag: tuple[str, str]) -> None:
    Path("plant").mkdir()
    make_log().to_parquet("plant/log.parquet")
    said = refused(1, *TRAINING, "--data", "plantt", *flag)
    assert "there is no file or folder 'plantt', and no data set is called 'plantt'; the nearest names are pla" in said
    assert "plantt does not exist; its folder has plant" in refused(1, "embed", CKPT, "--data", "./plantt", *flag, *OUT)


def test_flags_of_a_log_beside_other_data_are_to_be_left_out() -> None:
    Path("own/Pumps").mkdir(parents=True)
    Path("own/Pumps/Pumps_TRAIN.ts").write_text("@univariate true\n@data\n1,2:a\n2,1:b\n")
    Path("note.txt").touch()
    for words in (("--data", "forda"), ("--data", "Pumps", "--data-dir", "own"), ("--data", "note.txt")):
        said = refused(2, *TRAINING, *words, "--window", "20")
        assert f"--window says how a sensor log is read, and {words[1]} is none: leave it out." in said


def test_rows_in_time_are_to_be_cut_by_the_flag_where_a_command_has_it() -> None:
    make_log(lengths=(90,)).drop(columns="state").to_parquet("one.parquet", index=False)
    sentence = "nothing can be learnt from one: cut it into windows"
    assert refused(1, *TRAINING, "--data", "one.parquet").endswith(f"{sentence} with --window.")
    assert refused(1, "collapse-study", "--data", "one.parquet", "--out", "study").endswith(
        f"{sentence}; save these as X_train, y_train, X_test and y_test in an .npz file, and give that file."
    )


def test_a_folder_of_training_and_test_tables_is_a_log_only_where_that_is_asked_for() -> None:
    Path("two").mkdir()
    for name in ("a_TRAIN", "a_TEST", "b_TRAIN", "b_TEST"):
        make_log(lengths=(40,))[["flow", "level"]].to_csv(f"two/{name}.csv", index=False)
    said = refused(1, *TRAINING, "--data", "two")
    assert said.endswith(
        "two holds 2 data sets: name one, as in two/a_TRAIN.csv or two/b_TRAIN.csv, or, if all of it is one log, cut "
        "it into windows with --window."
    )
    values, _ = done(*TRAINING, "--data", "two", "--window", "20", "--out", "own")
    assert values["n_series"] == 8
    values, _ = done("embed", "own/checkpoint.ckpt", "--data", "two", "--out", "z.parquet")  # as it was in training
    assert values["rows"] == 8
    for ways in (["--channels", "flow,level"], ["--window-label", "last"]):
        run = Path(f"by{ways[0]}")
        values, _ = done(*TRAINING, "--data", "two", *ways, "--out", str(run))
        assert values["n_series"] == 4
        values, _ = done("embed", str(run / "checkpoint.ckpt"), "--data", "two", "--out", "z.parquet", "--overwrite")
        assert values["rows"] == 4
        assert tsjepa("diagnose", str(run), "--no-supervised", "--device", "cpu").exit_code == 0


@pytest.mark.slow
def test_a_log_is_diagnosed() -> None:
    result = tsjepa("diagnose", CKPT, "--device", "cpu")
    assert result.exit_code == 0, result.output


def test_a_table_that_a_flag_of_logs_made_a_log_is_told_so() -> None:
    waves = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 30)), columns=[f"t{at}" for at in range(30)])
    waves.assign(condition=["worn", "new"] * 10).to_csv("snapshots.csv", index=False)
    said = refused(1, *TRAINING, "--data", "snapshots.csv")
    assert "'worn' is not a number; remove the column, or rename it to 'label' if it is one" in said
    said = refused(1, *TRAINING, "--data", "snapshots.csv", "--label", "condition")
    assert "if each row is a series, leave --label and other flags of logs out, else cut it into windows with" in said
