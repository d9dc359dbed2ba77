"""Sensor logs on the command line: columns, windows, parts, and tables that join back to the rows they came from."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import tsjepa

from tsjepa.arrays import as_series
from tsjepa.checkpoint import load_checkpoint
from tsjepa.cli.data import load_data
from tsjepa.cli.errors import Failure
from tsjepa.cli.plan import check_same_data
from tsjepa.embedding import embed, embed_source, n_features

CKPT = "run/checkpoint.ckpt"
TRAINING = ("pretrain", "--config", "tiny", "--epochs", "1", "--device", "cpu")
CHANNELS = ("flow", "level", "speed")
WINDOW, STRIDE = 20, 10


def done(*words: str) -> tuple[dict[str, Any], str]:
    result = tsjepa(*words, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout)), " ".join(result.stderr.split())


def refused(code: int, *words: str) -> str:
    result = tsjepa(*words)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.lower().count("error:") == 1
    return " ".join(result.stderr.split())


def make_log(seed: int = 0, lengths: tuple[int, ...] = (95, 60, 130, 72, 81)) -> pd.DataFrame:
    """Make pumps that ran for different times, with a pause and a lost value, half of them worn."""
    rng = np.random.default_rng(seed)
    frames = []
    for number, length in enumerate(lengths):
        worn = number % 2
        wave = np.sin(np.arange(length) * (0.3 + 0.5 * worn))
        seconds = np.arange(length) + np.where(np.arange(length) > 40, 100, 0)
        values = {name: rng.normal(size=length).astype(np.float32) + (2 * wave).astype(np.float32) for name in CHANNELS}
        frames.append(
            pd.DataFrame(
                {
                    "unit": f"pump {number}",
                    "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(seconds, "s"),
                    **values,
                    "state": "worn" if worn else "calm",
                }
            )
        )
    log = pd.concat(frames, ignore_index=True)
    log.loc[7, "flow"] = np.nan
    return log


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one run that all tests copy."""
    folder, before = tmp_path_factory.mktemp("trained"), Path.cwd()
    os.chdir(folder)
    try:
        make_log().drop(columns="state").to_parquet("pumps.parquet", index=False)
        make_log().to_parquet("states.parquet", index=False)
        make_log(1, (90, 70, 85, 66)).to_parquet("more.parquet", index=False)
        words = ("--data", "pumps.parquet", "--window", str(WINDOW), "--stride", str(STRIDE), "--out", "run")
        result = tsjepa(*TRAINING, *words, "--cache-dir", "windows")
        assert result.exit_code == 0, result.output
        Path("said.txt").write_text(" ".join(result.stderr.split()))
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained: Path) -> None:
    monkeypatch.delenv("TSJEPA_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def read(path: str) -> pd.DataFrame:
    return pq.read_table(path).to_pandas()


def check_joined_back(
    table: pd.DataFrame, log: pd.DataFrame, checkpoint: str, identity: str | None, time: str, window: int | None
) -> None:
    """Embed the rows that each row of a table names, and compare."""
    model, header = load_checkpoint(checkpoint)
    assert header.channel_names is not None
    series = []
    for row in table.itertuples():
        own = log if identity is None else log[log[identity] == row.id]
        own = own[(own[time] >= row.start) & (own[time] <= row.end)]
        assert window is None or 0 < len(own) <= window
        assert own[time].iloc[0] == row.start
        assert own[time].iloc[-1] == row.end
        series.append(own[list(header.channel_names)].to_numpy(np.float32).T)
    want = embed(model.encoder, as_series(series), header.config.probe)
    # in another place of its batch a series may be rounded differently by a matrix product
    np.testing.assert_allclose(np.stack(table["embedding"]), want, rtol=1e-5, atol=1e-6)


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


@pytest.mark.parametrize("command", [TRAINING, ("probe", CKPT)])
def test_a_labelled_log_without_a_test_part_is_refused(command: tuple[str, ...]) -> None:
    sentence = refused(2, *command, "--data", "states.parquet", "--label", "state", "--window", "20")
    assert "--test FILE" in sentence
    assert "--group COLUMN" in sentence
    assert not Path("runs").exists()


def test_a_run_is_resumed_with_its_windows() -> None:
    words = ("pretrain", "--resume", "--out", "run", "--epochs", "2", "--device", "cpu")
    assert done(*words)[0]["epochs"] == 2
    assert done(*words, "--data", "pumps.parquet", "--window", "20")[0]["epochs"] == 2
    assert done(*words, "--config", "tiny", "--data", "pumps.parquet")[0]["epochs"] == 2
    assert "log.window would change from 20 to 25" in refused(2, *words, "--window", "25")


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


@pytest.mark.slow
def test_a_log_is_diagnosed() -> None:
    result = tsjepa("diagnose", CKPT, "--device", "cpu")
    assert result.exit_code == 0, result.output


LOGS = os.environ.get("TSJEPA_LOGS")
real = pytest.mark.skipif(LOGS is None, reason="TSJEPA_LOGS names no folder of sensor logs")


def real_log(name: str) -> str:
    return str(Path(str(LOGS), f"{name}.parquet"))


@real
def test_skab() -> None:
    words = ("--data", real_log("skab_train"), "--window", "60", "--stride", "10", "--out", "skab")
    _, said = done(*TRAINING, *words)
    assert "no accuracy will be shown" in said
    _, said = done("embed", "skab/checkpoint.ckpt", "--data", real_log("skab_test"), "--out", "z.parquet")
    assert "'changepoint'" in said
    table, log = read("z.parquet"), read(real_log("skab_test"))
    assert list(table.columns) == ["id", "start", "end", "label", "embedding"]
    assert set(table["id"]) <= set(log["run"])
    shown = table.sample(100, random_state=0)
    check_joined_back(shown, log, "skab/checkpoint.ckpt", "run", "timestamp", 60)
    last = shown.merge(log, left_on=["id", "end"], right_on=["run", "timestamp"])
    assert (last["label"] == last["anomaly"].astype(str)).all()


@real
@pytest.mark.parametrize("window", [None, 30])
def test_cmapss(window: int | None) -> None:
    flags = () if window is None else ("--window", str(window))
    done(*TRAINING, "--data", real_log("cmapss_fd001_train"), "--out", "engines", *flags)
    values, _ = done("embed", "engines/checkpoint.ckpt", "--data", real_log("cmapss_fd001_test"), "--out", "z.parquet")
    table, log = read("z.parquet"), read(real_log("cmapss_fd001_test"))
    lengths = log.groupby("unit").size()
    assert values["rows"] == (100 if window is None else np.ceil(lengths / window).sum())
    assert table["id"].dtype.kind == "i"
    shown = table.sample(60, random_state=0)
    check_joined_back(shown, log, "engines/checkpoint.ckpt", "unit", "cycle", window)


@real
def test_etth1() -> None:
    sentence = refused(1, *TRAINING, "--data", real_log("etth1"))
    assert "one series of 17420 rows" in sentence
    assert "--window" in sentence
    done(*TRAINING, "--data", real_log("etth1"), "--window", "7d", "--stride", "1d", "--out", "oil")
    done("embed", "oil/checkpoint.ckpt", "--data", real_log("etth1"), "--out", "z.parquet")
    table, log = read("z.parquet"), read(real_log("etth1"))
    assert len(table) == np.ceil((len(log) - 168) / 24) + 1
    check_joined_back(table.sample(60, random_state=0), log, "oil/checkpoint.ckpt", None, "timestamp", 168)


@real
def test_ucihar() -> None:
    for part in ("train", "test"):
        rows = pq.read_table(real_log(f"ucihar_{part}"))
        pq.write_table(rows.take(np.random.default_rng(0).choice(len(rows), 200, replace=False)), f"{part}.parquet")
    words = ("--data", "train.parquet", "--test", "test.parquet", "--label", "activity", "--out", "phone")
    values, _ = done(*TRAINING, *words)
    assert values["accuracy"] > 0.5 > values["majority_accuracy"]
    done("embed", "phone/checkpoint.ckpt", "--data", "test.parquet", "--out", "z.parquet")
    table, log = read("z.parquet"), read("test.parquet")
    assert table["label"].tolist() == log["activity"].tolist()
    assert table["id"].tolist() == list(range(200))
    assert (table["start"].unique().tolist(), table["end"].unique().tolist()) == ([0], [127])
    model, header = load_checkpoint("phone/checkpoint.ckpt")
    assert header.channel_names == tuple(f"c{i}" for i in range(9))
    X = np.stack([np.stack(log[f"c{i}"]) for i in range(9)], 1)
    np.testing.assert_array_equal(np.stack(table["embedding"]), embed(model.encoder, as_series(X), header.config.probe))
