"""What is normal for `tsjepa detect`: the data that set its threshold, labels of faults in them, and reference rows."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import found, tsjepa
from detecting import CHANNELS, CKPT, CONTEXT, PATCH, WORDS, faulty, log, pretrained, pretrained_without, refused

from tsjepa import surprise
from tsjepa.checkpoint import load_checkpoint
from tsjepa.stream import score_series
from tsjepa.surprise import fit_scorer, refer
from tsjepa.world import WorldModel

pytestmark = pytest.mark.usefixtures("with_detector")


def test_reference_rows_take_a_run_to_the_level_of_training() -> None:
    frame = faulty()
    frame["flow"] = 40 + 7 * frame["flow"]
    frame.to_parquet("test.parquet", index=False)
    report = found(*WORDS, "--reference-rows", "300")
    model, header = load_checkpoint(CKPT)
    assert isinstance(model, WorldModel)
    scorer = fit_scorer(model, [pd.read_parquet("train.parquet")[CHANNELS].to_numpy().T], context=header.n_timepoints)
    x = frame[CHANNELS].to_numpy().T
    score = pd.read_parquet("scores.parquet")["score"]
    np.testing.assert_array_equal(score, score_series(refer(scorer, x[:, :300]), x).score)
    assert report["f1"] > 0.8


def test_a_threshold_rests_on_all_rows_of_a_long_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    faulty().to_parquet("test.parquet", index=False)
    monkeypatch.setattr(surprise, "MOST", 150)
    assert "from 369 normal rows" in tsjepa(*WORDS, "--reference-rows", "400").stderr


@pytest.mark.parametrize("stretch", [48, 50, 52])
def test_no_normal_window_goes_across_a_gap_in_the_reference(stretch: int) -> None:
    said = []
    for gap in ("1min", "3h"):
        frame = log(600, seed=3)
        frame.loc[stretch:, "timestamp"] += pd.Timedelta(gap)
        frame.to_parquet("test.parquet", index=False)
        said.append(tsjepa(*WORDS, "--overwrite", "--reference-rows", "300").stderr)
    known = int(pd.read_parquet("scores.parquet")["score"][:300].notna().sum())
    assert known == 300 - 2 * (CONTEXT - 1)
    assert f"from {known} normal rows" in said[0]
    assert said[0] == said[1]  # the threshold in it, too


def test_runs_are_named_whose_references_are_called_abnormal() -> None:
    faults = [faulty(450, seed, run=f"r{seed}") for seed in range(7)]
    pd.concat([log(500, seed=3, run="c").assign(anomaly=0), *faults]).to_parquet("test.parquet", index=False)
    words = (*WORDS, "--overwrite", "--reference-rows")
    sentence = (
        "note: 7 rows of the references, which are all taken for normal, are called abnormal by 'anomaly': r0, r1, "
        "r2, r3, r4 and 2 more.\n"
    )
    assert sentence in tsjepa(*words, "401").stderr
    assert "called abnormal" not in tsjepa(*words, "400").stderr
    frame = pd.read_parquet("test.parquet")
    frame[frame["run"].isin(["c", "r0"])].to_parquet("test.parquet", index=False)
    assert "normal, is called abnormal by 'anomaly': r0.\n" in tsjepa(*words, "401").stderr
    threshold = found(*words, "401")["threshold"]
    assert found(*words, "401", "--label", "")["threshold"] == threshold
    assert "called abnormal" not in tsjepa(*words, "401", "--label", "").stderr


def test_a_run_shorter_than_the_context_needs_no_reference() -> None:
    words = (*WORDS, "--overwrite", "--reference-rows", "300")
    long = log(500, seed=3, run="c").assign(anomaly=0)
    short, another = (log(CONTEXT - 1, seed=4, run=run).assign(anomaly=1) for run in "bd")
    long.to_parquet("test.parquet", index=False)
    threshold = found(*words)["threshold"]
    pd.concat([short, long, another]).to_parquet("test.parquet", index=False)
    assert found(*words)["threshold"] == threshold
    said = tsjepa(*words).stderr
    assert f"no score for 2 runs, shorter than the {CONTEXT} rows of the context: b, d." in said
    assert "of the references, which are all taken for normal" not in said
    scores = pd.read_parquet("scores.parquet").set_index("run")["score"]
    assert scores[["b", "d"]].isna().all()
    assert scores["c"].notna().sum() == 500 - CONTEXT + 1
    short.to_parquet("test.parquet", index=False)
    assert f"has at most {CONTEXT - 1} rows without a gap in time" in refused(1, *words)


def test_nothing_behind_the_reference_moves_the_threshold() -> None:
    first = found(*WORDS, "--reference-rows", "300")
    frame = faulty()
    frame.loc[300:, CHANNELS] = 5.0
    pd.concat([log(500, seed=3, run="c"), frame]).to_parquet("test.parquet", index=False)
    assert found(*WORDS, "--reference-rows", "300", "--overwrite")["threshold"] == first["threshold"]


def test_a_budget_in_time_counts_the_time_that_rows_take_where_steps_differ() -> None:
    frame = log(800, seed=1)
    seconds = np.cumsum(np.where(np.arange(800) % 3 == 2, 4, 1))  # 2 in the mean, 1 in the median
    seconds[400:] += 5000  # a gap is no time of operation
    frame["timestamp"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(seconds, unit="s")
    frame.to_parquet("normal.parquet", index=False)
    Path("train.parquet").unlink()
    said = tsjepa(*WORDS, "--normal", "normal.parquet", "--false-alarms", "1/h").stderr
    rows, times = re.findall(r"from (\d+) normal rows, ([\d.]+) times the interval", said)[0]
    assert float(times) == pytest.approx(int(rows) / 1800, rel=0.01)


def test_normal_data_set_the_threshold() -> None:
    log(900, seed=7).to_parquet("normal.parquet", index=False)
    result = tsjepa(*WORDS, "--normal", "normal.parquet")
    assert result.exit_code == 0, result.output
    assert "the threshold comes from normal.parquet" in result.stderr
    assert "extrapolated, peaks over threshold" in result.stderr
    assert "95 % interval" in result.stderr


@pytest.mark.parametrize(
    ("renamed", "words"),
    [
        ({"run": "unit", "timestamp": "stamp"}, ("--id", "unit", "--time", "stamp")),
        ({"run": None}, ("--id", "")),
        ({"timestamp": None}, ("--time", "")),
    ],
    ids=["names", "no ids", "no times"],
)
def test_columns_of_normal_data_are_those_of_the_flags_or_of_training(
    renamed: dict[str, str | None], words: tuple[str, ...]
) -> None:
    def with_columns(frame: pd.DataFrame) -> pd.DataFrame:
        left = frame.drop(columns=[name for name, other in renamed.items() if other is None])
        return left.rename(columns={name: other for name, other in renamed.items() if other is not None})

    with_columns(faulty()).to_parquet("test.parquet", index=False)
    normal = pd.concat([log(500, seed, run) for seed, run in ((7, "a"), (8, "b"))])  # of the same times
    normal.to_parquet("like_training.parquet", index=False)
    one = log(900, seed=7)
    one.to_parquet("normal.parquet", index=False)
    with_columns(one).to_parquet("renamed.parquet", index=False)
    rows = []
    # the training data keep their names, also where they are named again
    for source in ("normal.parquet", "renamed.parquet", "like_training.parquet", "train.parquet"):
        result = tsjepa(*WORDS, "--normal", source, *words, "--overwrite")
        assert result.exit_code == 0, result.output
        rows.append(int(re.findall(r"from (\d+) normal rows", result.stderr)[0]))
    assert rows[0] == rows[1]
    assert rows[2] == 2 * (500 - CONTEXT + 1)


def test_a_column_that_normal_data_lack_is_told_by_the_name_that_is_asked_for() -> None:
    faulty().rename(columns={"run": "unit"}).to_parquet("test.parquet", index=False)
    log(900, seed=7).drop(columns="run").to_parquet("normal.parquet", index=False)
    sentence = "normal.parquet has no column 'unit' (--id); it has 'timestamp', 'flow', 'level'"
    assert sentence in refused(1, *WORDS, "--normal", "normal.parquet", "--id", "unit")


def test_rows_labelled_abnormal_do_not_say_what_is_normal() -> None:
    faulty(900, seed=7).to_parquet("normal.parquet", index=False)
    log(800, seed=1).assign(anomaly=["fault"] * 100 + ["normal"] * 700).to_parquet("train.parquet", index=False)
    words = ("--normal", "normal.parquet", "--overwrite")
    said = tsjepa(*WORDS, *words).stderr
    assert "normal.parquet: left out of what is normal: 100 rows that 'anomaly' calls abnormal." in said
    assert "train.parquet: left out of what is normal: 100 rows" in said
    assert f"from {2 * (400 - CONTEXT + 1)} normal rows" in said
    words = (*words, "--label")
    assert f"from {900 - CONTEXT + 1} normal rows" in tsjepa(*WORDS, *words, "").stderr
    log(800, seed=1).assign(kind=["idle", "busy"] * 400).to_parquet("train.parquet", index=False)
    faulty().assign(kind="busy").to_parquet("test.parquet", index=False)
    said = tsjepa(*WORDS, *words, "kind").stderr
    assert "train.parquet: 'kind' does not say which rows are normal, so all rows are taken for normal" in said


def test_faults_that_a_label_names_are_not_learnt() -> None:
    log(800, seed=1).assign(anomaly=[0] * 500 + [1] * 10 + [0] * 290).to_parquet("train.parquet", index=False)
    held = (CONTEXT + 10 - 1) // PATCH  # windows that start every patch and reach into the fault
    said = pretrained()
    assert f"train.parquet: left out: {held} of 193 windows, which hold rows that 'anomaly' calls abnormal." in said
    assert f"{193 - held} series" in said
    header = load_checkpoint(CKPT)[1]
    assert (header.config.log.label, header.config.log.test) == ("anomaly", None)
    said = tsjepa(*WORDS).stderr
    assert "train.parquet: left out of what is normal: 10 rows that 'anomaly' calls abnormal." in said
    assert "the model has learnt" not in said
    log(800, seed=1).assign(kind=["idle", "busy"] * 400).to_parquet("train.parquet", index=False)
    said = pretrained("--label", "kind")
    assert "'kind' does not say which rows are normal, so the model learns from all rows" in said
    log(800, seed=1).assign(anomaly=["fault", "no"] * 400).to_parquet("train.parquet", index=False)
    sentence = refused(1, "pretrain", "--config", "lewm-sensor", "--data", "train.parquet", "--out", "other")
    assert "every window holds a row that 'anomaly' calls abnormal: give a log with longer normal stretches" in sentence


def test_faults_are_not_learnt_where_a_test_part_is_scored() -> None:
    log(800, seed=1).assign(anomaly=[0] * 500 + [1] * 10 + [0] * 290).to_parquet("train.parquet", index=False)
    said = pretrained("--test", "test.parquet")
    assert "windows, which hold rows that 'anomaly' calls abnormal" in said
    assert "no accuracy will be shown" not in said


def test_faults_that_training_did_not_tell_are_not_taken_for_normal() -> None:
    log(800, seed=1).assign(anomaly=[0] * 500 + [1] * 10 + [0] * 290).to_parquet("train.parquet", index=False)
    said = pretrained("--label", "")
    assert "the labels in 'anomaly' are not read (--label ''), so the model learns from all rows" in said
    assert "193 series" in said
    said = tsjepa(*WORDS).stderr
    assert "left out of what is normal: 10 rows that 'anomaly' calls abnormal" in said
    assert "the model has learnt such rows as normal (--label ''): pretrain it again" in said
    assert "left out" not in tsjepa(*WORDS, "--label", "", "--overwrite").stderr


def test_a_label_of_normal_data_alone_is_read() -> None:
    log(800, seed=1).assign(state=["normal"] * 500 + ["worn"] * 10 + ["normal"] * 290).to_parquet("train.parquet")
    result = tsjepa(*WORDS, "--label", "state")
    assert result.exit_code == 0, result.output
    assert "note: test.parquet has no column 'state', so F1 and rates are not known" in result.stderr
    assert "train.parquet: left out of what is normal: 10 rows that 'state' calls abnormal" in result.stderr
    assert "has no column 'mode' (--label)" in refused(1, *WORDS, "--label", "mode", "--overwrite")
    log(800, seed=1).assign(state="normal").to_parquet("normal.parquet", index=False)
    log(800, seed=1).to_parquet("train.parquet", index=False)
    assert tsjepa(*WORDS, "--label", "state", "--normal", "normal.parquet", "--overwrite").exit_code == 0


def test_blanks_around_the_name_of_a_label_do_not_count() -> None:
    faulty(900, seed=7).rename(columns={"anomaly": " Anomaly "}).to_parquet("normal.parquet", index=False)
    faulty().rename(columns={"anomaly": " anomaly"}).to_parquet("test.parquet", index=False)
    result = tsjepa(*WORDS, "--normal", "normal.parquet")
    assert "normal.parquet: left out of what is normal: 100 rows that ' Anomaly ' calls abnormal." in result.stderr
    assert found(*WORDS, "--normal", "normal.parquet", "--overwrite")["f1"] > 0.8


def test_blanks_around_the_label_of_training_do_not_count_in_normal_data() -> None:
    states = {"state": ["normal"] * 780 + ["worn"] * 20}
    log(800, seed=1).assign(**states).to_parquet("train.parquet", index=False)
    pretrained("--label", "state")
    log(800, seed=7).assign(**{" state": states["state"]}).to_parquet("normal.parquet", index=False)
    said = tsjepa(*WORDS, "--normal", "normal.parquet").stderr
    assert "normal.parquet: left out of what is normal: 20 rows that ' state' calls abnormal." in said


@pytest.mark.parametrize(("own", "named"), [(" state", "state"), ("state", " state ")])
def test_blanks_around_the_label_that_is_named_do_not_count(own: str, named: str) -> None:
    states = ["normal"] * 780 + ["worn"] * 20
    log(800, seed=7).assign(**{own: states}).to_parquet("normal.parquet", index=False)
    said = tsjepa(*WORDS, "--normal", "normal.parquet", "--label", named).stderr
    assert f"note: test.parquet has no column {named!r}, so F1 and rates are not known" in said
    assert f"note: train.parquet has no column {named!r}, so none of its rows is left out as abnormal.\n" in said
    assert f"note: normal.parquet: left out of what is normal: 20 rows that {own!r} calls abnormal.\n" in said
    faulty().rename(columns={"anomaly": own}).to_parquet("test.parquet", index=False)
    assert found(*WORDS, "--label", named, "--overwrite")["f1"] > 0.8


def test_normal_data_without_the_label_that_is_named_are_said_to_count_as_normal() -> None:
    faulty().rename(columns={"anomaly": "state"}).to_parquet("test.parquet", index=False)
    sentence = "note: train.parquet has no column 'state', so none of its rows is left out as abnormal.\n"
    assert tsjepa(*WORDS, "--label", "state").stderr.count(sentence) == 1
    for words in ((), ("--label", "")):
        assert "left out as abnormal" not in tsjepa(*WORDS, *words, "--overwrite").stderr
    log(800, seed=7).assign(anomaly=[0] * 780 + [1] * 20).to_parquet("normal.parquet", index=False)
    said = tsjepa(*WORDS, "--label", "state", "--normal", "normal.parquet", "--overwrite").stderr
    assert sentence in said
    assert "normal.parquet: left out of what is normal: 20 rows that 'anomaly' calls abnormal." in said
    assert "normal.parquet has no column" not in said


def test_a_gap_is_ten_of_a_run_s_own_steps_where_training_had_no_times() -> None:
    pretrained_without("timestamp")
    often, seldom = log(200, seed=3, run="a"), log(200, seed=4, run="b", step="60s")
    for frame in (often, seldom):  # 12 steps of one run, and 1.2 of the other
        frame.loc[100:, "timestamp"] += pd.Timedelta("11s")
    pd.concat([often, seldom]).to_parquet("test.parquet", index=False)
    found(*WORDS)
    scores = pd.read_parquet("scores.parquet").set_index("run")["score"]
    assert scores["a"].isna().to_numpy().nonzero()[0].tolist() == [*range(31), *range(100, 131)]
    assert scores["b"].isna().to_numpy().nonzero()[0].tolist() == [*range(31)]
    found(*WORDS, "--overwrite", "--max-gap", "13")
    assert pd.read_parquet("scores.parquet")["score"].isna().sum() == 2 * 31


def test_the_longest_step_of_training_is_that_of_detecting() -> None:
    content = torch.load(CKPT, weights_only=True)
    content["tsjepa"]["config"]["log"]["max_gap"] = 3
    torch.save(content, CKPT)
    frame = log(200, seed=3)
    frame.loc[100:, "timestamp"] += pd.Timedelta("4s")
    frame.to_parquet("test.parquet", index=False)
    for words, gaps in ((), 1), (("--max-gap", "10"), 0):
        found(*WORDS, "--overwrite", *words)
        assert pd.read_parquet("scores.parquet")["score"].isna().sum() == (1 + gaps) * (CONTEXT - 1)


def test_normal_data_may_have_times_where_training_had_none() -> None:
    pretrained_without("timestamp")
    frame = log(800, seed=3)
    said = []
    for gap in ("0s", "1h"):
        frame.loc[400:, "timestamp"] += pd.Timedelta(gap)
        frame.to_parquet("normal.parquet", index=False)
        result = tsjepa(*WORDS, "--normal", "normal.parquet", "--overwrite")
        assert result.exit_code == 0, result.output
        said.append(re.findall(r"from (\d+) normal rows", result.stderr)[0])
    assert said == [str(800 - CONTEXT + 1), str(800 - 2 * (CONTEXT - 1))]


def train_on_sites(rows: Sequence[int], seed: int = 0) -> None:
    """Write train.parquet, one run a site, as if the run had been trained on it and tested on some of its sites."""
    runs = [log(rows[at], at, run=name).assign(site=name) for at, name in enumerate("abcd")]
    pd.concat(runs).to_parquet("train.parquet", index=False)
    content = torch.load(CKPT, weights_only=True)
    own = content["tsjepa"]
    own["config"]["log"]["group"], own["fingerprint"] = "site", None
    own["config"]["train"]["seed"] = seed
    torch.save(content, CKPT)


@pytest.mark.parametrize("seed", [0, 1])
def test_groups_of_the_test_part_are_those_of_the_seed_of_training(seed: int) -> None:
    rows = [400, 410, 420, 430]
    train_on_sites(rows, seed)
    test = rows[np.random.default_rng(seed).permutation(4)[0]]
    assert f"left out of what is normal: {test} rows of the groups of 'site'" in tsjepa(*WORDS).stderr


def test_groups_of_the_test_part_do_not_say_what_is_normal() -> None:
    train_on_sites([400] * 4)
    left_out = "left out of what is normal: 400 rows of the groups of 'site' that were the test part"
    said = tsjepa(*WORDS).stderr
    assert left_out in said
    assert f"from {3 * 5 * (80 - CONTEXT + 1)} normal rows" in said  # three runs, in five blocks each
    assert tsjepa(*WORDS, "--normal", "./train.parquet", "--overwrite").stderr.count(left_out) == 2


def test_files_of_the_test_part_do_not_say_what_is_normal() -> None:
    Path("plant").mkdir()
    for seed, name in enumerate("abcd"):
        log(400, seed).drop(columns="run").to_parquet(f"plant/{name}.parquet", index=False)
    content = torch.load(CKPT, weights_only=True)
    own = content["tsjepa"]
    own["data"], own["fingerprint"], own["config"]["log"] = "plant", None, own["config"]["log"] | {"id": None}
    own["config"]["log"]["group"] = "id"
    torch.save(content, CKPT)
    said = tsjepa(*WORDS).stderr
    assert "plant: left out of what is normal: 400 rows of the groups of 'id' that were the test part" in said
    assert f"from {3 * 5 * (80 - CONTEXT + 1)} normal rows" in said


def test_training_data_that_are_gone_are_asked_for() -> None:
    Path("train.parquet").rename("kept.parquet")
    assert "train.parquet is not here: name normal data by --normal" in refused(1, *WORDS)
    found(*WORDS, "--normal", "kept.parquet")


def test_training_data_may_be_a_pattern() -> None:
    Path("plant").mkdir()
    Path("train.parquet").rename("plant/1.parquet")
    content = torch.load(CKPT, weights_only=True)
    content["tsjepa"]["data"] = "plant/*.parquet"
    torch.save(content, CKPT)
    result = tsjepa(*WORDS)
    assert result.exit_code == 0, result.output
    assert "the threshold comes from plant/*.parquet, cut into blocks" in result.stderr
    log(900, seed=7).to_parquet("normal.parquet", index=False)
    result = tsjepa(*WORDS, "--overwrite", "--normal", "normal.parquet")
    assert "what is usual is learnt from plant/*.parquet, and the threshold comes from normal.parquet" in result.stderr


def test_a_training_log_that_has_changed_is_not_normal() -> None:
    frame = log(800, seed=1)
    frame.to_csv("train.csv", index=False)
    frame.to_parquet("train.parquet", index=False, compression="gzip")
    found(*WORDS)
    faulty(900).drop(columns="anomaly").assign(run="a").to_parquet("train.parquet", index=False)
    grown = "train.parquet is not the same log any more (its number of rows is 900 and was 800): name normal data"
    assert grown in refused(1, *WORDS, "--overwrite")
    frame.assign(level=3.0).to_parquet("train.parquet", index=False)
    assert "(its values are others)" in refused(1, *WORDS, "--overwrite", "--reference-rows", "300")
    result = tsjepa(*WORDS, "--overwrite", "--normal", "train.csv")
    assert "the training data are left out: train.parquet is not the same log" in result.stderr
    assert (
        "the threshold comes from train.csv, cut into blocks, each of them compared with the others.\n" in result.stderr
    )
