"""What `tsjepa detect` cannot do is told in a sentence, and tables of other scores are kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import found, tsjepa
from detecting import CKPT, WORDS, faulty, follow, log, pretrained, refused

from tsjepa.cli import detect, detect_follow
from tsjepa.thresholds import Threshold, fit_threshold

pytestmark = pytest.mark.usefixtures("with_detector")


def test_a_log_that_cannot_be_scored_is_told() -> None:
    frame = log(600, seed=3)
    frame.assign(level=np.nan).to_parquet("test.parquet", index=False)
    sentence = refused(1, *WORDS)
    assert "test.parquet: no row has a score: a score needs every channel in the 32 rows before it" in sentence
    assert "'level' is missing in 100 % of all rows" in sentence
    assert not Path("scores.parquet").exists()
    frame.loc[100:399, "flow"] = np.nan
    frame.to_parquet("test.parquet", index=False)
    result = tsjepa(*WORDS)
    assert result.exit_code == 0, result.output
    assert "328 of 569 rows with a full context before them have no score" in result.stderr
    assert "'flow' is missing in 50 % of all rows" in result.stderr


def slow(n: int = 800) -> pd.DataFrame:
    """A log in which one sensor has a value in every third row only."""
    frame = log(n, seed=1)
    return frame.assign(level=frame["level"].where(frame.index % 3 == 0))


TOO_SLOW = (
    "too few windows of 32 rows say what is usual: each patch of 4 rows in them needs half of the values of every "
    "channel, and 'level' is missing in 66.{} % of all rows; fill the gaps, or train a model without it."
)


def test_a_sensor_that_is_too_slow_in_normal_data_is_told() -> None:
    slow().to_parquet("slow.parquet", index=False)
    assert f"error: slow.parquet: {TOO_SLOW.format(6)}" in refused(1, *WORDS, "--normal", "slow.parquet")
    slow().to_parquet("test.parquet", index=False)
    sentence = f"the first 400 rows of a cannot be its reference: {TOO_SLOW.format(5)}"
    assert sentence in refused(1, *WORDS, "--reference-rows", "400")
    slow().to_parquet("train.parquet", index=False)
    pretrained()
    assert f"error: train.parquet: {TOO_SLOW.format(7)}" in refused(1, *WORDS)


def backwards() -> pd.DataFrame:
    frame = faulty()
    frame.loc[50, "timestamp"] = frame.loc[10, "timestamp"] - pd.Timedelta("500ms")
    return frame


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (backwards(), "error: test.parquet, row 51: time runs backwards in run 'b'"),
        (faulty().drop(columns="level"), "test.parquet has no column 'level'; it has"),
        (faulty().drop(columns="level"), "'anomaly'; 'level' is one of the channels that were trained on: add it"),
        (log(600, 0, step="2s"), "has a row every 2 s, but the checkpoint was trained on one every 1 s"),
        (log(30, 0), "test.parquet has at most 30 rows without a gap in time, but a score needs 32, the context"),
    ],
)
def test_bad_logs_are_told_in_a_sentence(frame: pd.DataFrame, sentence: str) -> None:
    frame.to_parquet("test.parquet", index=False)
    assert sentence in refused(1, *WORDS)
    assert not Path("scores.parquet").exists()


@pytest.mark.parametrize(
    ("code", "words", "sentence"),
    [
        (2, ("--false-alarms", "often"), "'often' is no budget of false alarms"),
        (2, ("--out", "scores.csv"), "scores are written as .parquet"),
        (2, ("--picture", "a.gif"), "--picture ends in .png or .svg"),
        (
            1,
            ("--reference-rows", "550"),
            "c has 500 rows, but --reference-rows asks for its first 550: give a smaller number",
        ),
        (1, ("--reference-rows", "20"), "the first 20 rows of b cannot be its reference"),
        (1, ("--reference-rows", "40"), "a threshold needs 80: give a larger number by --reference-rows."),
        (1, ("--normal", "none.parquet"), "none.parquet"),
        (1, ("--normal", "slower.parquet"), "slower.parquet: a has a row every 2 s, but the checkpoint was trained on"),
        (1, ("--label", "state"), "has no column 'state'"),
        (1, ("--label", "level"), "column 'level' is one of the channels and cannot be --id, --time or --label"),
    ],
)
def test_bad_options_are_told_in_a_sentence(code: int, words: tuple[str, ...], sentence: str) -> None:
    log(800, seed=7, step="2s").to_parquet("slower.parquet", index=False)
    assert sentence in refused(code, *WORDS, *words)


def test_a_budget_that_cannot_be_kept_is_refused_before_the_log_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "score_runs", None)  # of a long log that takes hours
    assert "a threshold needs 80: give a larger number by --reference-rows." in refused(
        1, *WORDS, "--reference-rows", "40"
    )


@pytest.mark.parametrize("words", [WORDS, follow()])
@pytest.mark.parametrize("name", ["score", "event", "score_flow"])
@pytest.mark.parametrize(("flag", "column"), [("--id", "run"), ("--time", "timestamp")])
def test_a_column_that_is_called_like_one_of_scores_is_refused(
    words: tuple[str, ...], name: str, flag: str, column: str
) -> None:
    frame = log(300, 3).rename(columns={column: name})
    frame.to_parquet("test.parquet", index=False)
    frame.to_csv("log.csv", index=False)
    before = set(Path().iterdir())
    sentence = f"column {name!r} ({flag}) would be lost, since scores are written with a column of that name: rename it"
    assert sentence in refused(1, *words, flag, name)
    assert set(Path().iterdir()) - before <= {Path("cache")}


def test_labels_which_are_not_written_may_be_called_like_a_column_of_scores() -> None:
    pd.concat([log(500, 3, run="c"), faulty()]).rename(columns={"anomaly": "score"}).to_parquet("test.parquet")
    assert found(*WORDS, "--label", "score")["f1"] is not None
    assert pd.read_parquet("scores.parquet")["score"].max() > 1


def test_a_time_that_is_called_like_the_names_of_files_is_refused() -> None:
    content = torch.load(CKPT, weights_only=True)
    content["tsjepa"]["config"]["log"]["id"] = None  # as if it had been trained on files of one machine each
    torch.save(content, CKPT)
    Path("machines").mkdir()
    for seed, name in enumerate("AB"):
        log(300, seed).drop(columns="run").rename(columns={"timestamp": "id"}).to_csv(f"machines/{name}.csv")
    sentence = refused(1, *WORDS, "--data", "machines", "--time", "id")
    assert "column 'id' (--time) would be lost" in sentence


def test_the_step_of_a_run_that_is_too_short_for_a_score_does_not_matter() -> None:
    pd.concat([log(300, 3), log(31, 0, run="b", step="3s")]).to_parquet("test.parquet", index=False)
    result = tsjepa(*WORDS)
    assert result.exit_code == 0, result.output
    assert "no score for 1 run, shorter than the 32 rows of the context: b." in result.stderr
    pd.concat([log(300, 3), log(32, 0, run="b", step="3s")]).to_parquet("test.parquet", index=False)
    assert "b has a row every 3 s" in refused(1, *WORDS, "--overwrite")


def test_dates_and_numbers_are_no_times_of_one_log() -> None:
    frame = log(300, 3).assign(timestamp=range(300))
    frame.to_parquet("test.parquet", index=False)
    sentence = "its times are {}, but those of the normal log {} are {}: write them alike"
    numbers, dates = "numbers without a unit", "dates"
    assert "test.parquet: " + sentence.format(numbers, "train.parquet", dates) in refused(1, *WORDS)
    refused_normal = refused(1, *WORDS, "--data", "train.parquet", "--normal", "test.parquet")
    assert "test.parquet: " + sentence.format(numbers, "train.parquet", dates) in refused_normal
    Path("train.parquet").rename("dates.parquet")
    words = ("--data", "dates.parquet", "--normal", "test.parquet")
    assert "dates.parquet: " + sentence.format(dates, "test.parquet", numbers) in refused(1, *WORDS, *words)


def test_old_tables_are_kept() -> None:
    found(*WORDS)
    assert "scores.parquet exists already" in refused(2, *WORDS)
    found(*WORDS, "--overwrite")


def test_events_of_other_scores_are_kept() -> None:
    found(*WORDS)
    events = Path("events.csv").read_bytes()
    faulty().drop(columns="anomaly").to_csv("log.csv", index=False)
    for words in ((*WORDS, "--out", "other.parquet"), (*WORDS, "--out", "other.parquet", "--overwrite"), follow()):
        assert "events.csv belongs to other scores, since there is no" in refused(2, *words)
    assert "name another file" in refused(2, *follow(), "--out", "events.csv", "--overwrite")
    assert Path("events.csv").read_bytes() == events
    found(*WORDS, "--out", "other/scores.parquet")


def test_other_checkpoints_are_refused() -> None:
    np.savez("pump.npz", X_train=np.random.default_rng(0).normal(size=(8, 1, 40)))
    words = ("--config", "tiny", "--epochs", "1", "--data", "pump.npz", "--out", "other", "--device", "cpu")
    assert tsjepa("pretrain", *words).exit_code == 0
    sentence = refused(1, "detect", "other/checkpoint.ckpt", *WORDS[2:])
    assert "other/checkpoint.ckpt is not a world model: pretrain one with --config lewm-sensor" in sentence


def test_training_data_that_are_too_short_to_hold_some_out_are_told_with_what_helps() -> None:
    why = "train.parquet: normal data must hold 70 rows without a gap, but the longest run has "
    for rows, advice in ((30, "train with a shorter --window."), (60, "name further normal data by --normal LOG.")):
        log(rows, seed=1).to_parquet("train.parquet", index=False)
        pretrained()
        sentence = refused(1, *WORDS)
        assert f"{why}{rows}, and there are too few others: each part" in sentence
        assert sentence.endswith(f"; {advice}")
    log(800, seed=7).to_parquet("normal.parquet", index=False)
    found(*WORDS, "--normal", "normal.parquet")


def test_a_model_that_will_be_refused_since_its_log_was_resampled_is_told_of_before_it_is_trained() -> None:
    before = pretrained("--resample", "1s").split("pretraining on")[0]
    assert "note: detect will refuse this model, since it scores rows as they are in the log" in before
    assert "was trained on a log that was resampled to 1s" in refused(1, *WORDS)
    assert "detect will refuse" not in pretrained()


@pytest.mark.parametrize("words", [WORDS, follow()])
def test_events_that_another_command_wrote_meanwhile_are_kept(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty().drop(columns="anomaly").to_csv("log.csv", index=False)

    def written_meanwhile(*given: Any, **named: Any) -> Threshold:
        Path("events.csv").write_text("event\n")
        return fit_threshold(*given, **named)

    for module in (detect, detect_follow):
        monkeypatch.setattr(module, "fit_threshold", written_meanwhile)
    assert "events.csv belongs to other scores" in refused(2, *words)
    assert not Path("scores.parquet").exists()
    assert Path("events.csv").read_text() == "event\n"


@pytest.mark.parametrize(
    ("words", "name", "flag"),
    [
        (WORDS, "scores.parquet", "--out"),
        ((*WORDS, "--overwrite"), "scores.parquet", "--out"),
        ((*WORDS, "--picture", "p.png", "--overwrite"), "p.png", "--picture"),
        ((*follow(), "--overwrite"), "scores.csv", "--out"),
    ],
)
def test_a_folder_in_the_place_of_a_file_is_told_before_anything_is_read(
    words: tuple[str, ...], name: str, flag: str
) -> None:
    Path("test.parquet").unlink()
    Path(name).mkdir()
    before = set(Path().iterdir())
    assert f"{name} is a folder: name another place for the file with {flag}." in refused(2, *words)
    assert set(Path().iterdir()) == before


def test_a_picture_is_kept() -> None:
    Path("p.png").touch()
    sentence = "p.png exists already: replace it with --overwrite, or name another place with --picture."
    assert sentence in refused(2, *WORDS, "--picture", "p.png")
