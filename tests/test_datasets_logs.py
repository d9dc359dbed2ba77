"""Windows of a log: their lengths, the columns in them, their labels, and groups that stay on one side."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from steady_logs import CHANNELS, saved, steady

from tsjepa.datasets import DataError
from tsjepa.datasets.log_scan import CLASSES
from tsjepa.datasets.logs import Columns, Windowing, encode_labels, in_test_part, load_log, split_by_group

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_windows_and_strides_may_be_durations(tmp_path: Path) -> None:
    log = saved(steady(step="500ms"), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing("10s", "2.5s"), cache_dir=tmp_path / "cache")
    assert (found.window, found.stride, found.n_timepoints, found.step) == (20, 5, 20, "500 ms")
    assert "34 windows of 20 points (10 s), one every 5 (2.5 s), from 2 series" in found.notes
    assert load_log(log, windowing=Windowing("9.8s"), cache_dir=tmp_path / "cache").window == 20


def test_one_is_said_as_one_and_long_times_in_whole_units(tmp_path: Path) -> None:
    log = saved(steady(256, "a").drop(columns="volt"), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing(256), cache_dir=tmp_path / "cache")
    assert found.notes[0].endswith("; 1 channel 'flow'")
    assert "1 window of 256 points (4 min 16 s), from 1 series" in found.notes


def test_the_label_of_a_time_in_the_long_form_is_that_of_its_last_row(tmp_path: Path) -> None:
    long = steady(20, "a").melt(["unit", "time"], list(CHANNELS), "channel", "value")
    log = saved(long.assign(label=np.where(long["channel"] == "volt", "last", "first")), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing(10), cache_dir=tmp_path / "cache")
    assert (found.channels, found.labels().tolist()) == (CHANNELS, ["last", "last"])


def test_without_a_window_each_id_is_one_series(tmp_path: Path) -> None:
    log = saved(pd.concat([steady(5, "a"), steady(3, "b")]), tmp_path / "log.parquet")
    found = load_log(log, cache_dir=tmp_path / "cache")
    values, valid = found.take(np.array([1, 0]))
    assert (found.window, found.stride, found.n_timepoints) == (None, None, 5)
    assert values[:, 0].tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]]
    assert valid is not None
    assert valid[:, 0].sum(1).tolist() == [3, 5]


def test_a_single_series_needs_a_window(tmp_path: Path) -> None:
    log = saved(steady(units="a"), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"one series of 100 rows.*cut it into windows$"):
        load_log(log, cache_dir=tmp_path / "cache")


def test_guesses_are_said_and_labels_are_no_channels(tmp_path: Path) -> None:
    log = steady().rename(columns={"label": "anomaly"}).assign(changepoint=0, comment="ok", serial_id=7)
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(10), cache_dir=tmp_path / "cache")
    assert found.columns == Columns("unit", "time", CHANNELS, "anomaly", None)
    assert found.notes[0] == "guessed columns: id 'unit'; time 'time'; label 'anomaly'; 2 channels 'flow', 'volt'"
    assert found.notes[1] == "columns left out: 'changepoint', 'comment', 'serial_id'"


def test_channels_are_chosen_by_name_and_order(tmp_path: Path) -> None:
    log = saved(steady(), tmp_path / "log.parquet")
    found = load_log(log, Columns(channels=("volt", "flow")), Windowing(10), cache_dir=tmp_path / "cache")
    assert found.take(np.array([0])).values[0, :, 1].tolist() == [1, 1]
    assert found.take(np.array([0])).values[0, 1].tolist() == list(range(10))
    assert found.channels == ("volt", "flow")
    with pytest.raises(DataError, match=r"no column 'heat'"):
        load_log(log, Columns(channels=("heat",)), Windowing(10), cache_dir=tmp_path / "cache")


def test_training_reads_windows_like_any_series(tmp_path: Path) -> None:
    import torch

    from tsjepa.batches import Batches

    log = steady(30).assign(flow=lambda rows: rows["flow"].where(rows["flow"] > 10), volt=np.nan)
    found = load_log(saved(log, tmp_path / "log.parquet"), windowing=Windowing(10), cache_dir=tmp_path / "cache")
    batches = Batches(found)
    assert batches.cases.tolist() == [1, 2, 4, 5]  # the first window of each unit holds no value
    batch = batches[torch.tensor([3, 1])]
    assert batch[0][:, 0, 0].tolist() == [21, 20]


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    units = "abcdefghij"
    log = saved(steady(20, units), tmp_path / "log.parquet")
    found = load_log(log, Columns(group="unit"), Windowing(10), cache_dir=tmp_path / "cache")
    train, test = split_by_group(found, 0.3, seed=1)
    sides = [set(part.index().to_pydict()["group"]) for part in (train, test)]
    assert len(sides[1]) == 3
    assert sides[0] | sides[1] == set(units)
    assert not sides[0] & sides[1]
    again = split_by_group(found, 0.3, seed=1)[1]
    np.testing.assert_array_equal(again.series, test.series)
    with pytest.raises(DataError, match=r"--group"):
        split_by_group(load_log(log, windowing=Windowing(10), cache_dir=tmp_path / "cache"), 0.3)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 15), (1.0, 29)])
def test_the_seed_draws_the_groups_and_each_side_has_one(share: float, expected: int) -> None:
    groups = np.arange(30)
    first, second = (in_test_part(groups, share, seed) for seed in (0, 1))
    assert first.sum() == second.sum() == expected
    assert (first != second).any()


def test_labels_of_both_parts_share_a_scale(tmp_path: Path) -> None:
    first, second = steady().assign(label="ok"), steady().assign(label="worn")
    first.loc[:49, "label"] = None
    parts = [
        load_log(saved(log, tmp_path / f"{name}.parquet"), windowing=Windowing(50), cache_dir=tmp_path / "cache")
        for name, log in (("first", first), ("second", second))
    ]
    found = encode_labels(*parts)
    assert found.classes == ("ok", "worn")
    assert found.y_train is not None
    assert found.y_test is not None
    assert (found.y_train.tolist(), found.y_test.tolist()) == ([-1, 0, 0, 0], [1, 1, 1, 1])


def test_a_target_stays_a_number(tmp_path: Path) -> None:
    log = saved(steady().assign(rul=np.arange(200) / 7).drop(columns="label"), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing(50), cache_dir=tmp_path / "cache")
    np.testing.assert_allclose(found.labels(), np.array([49, 99, 149, 199]) / 7)
    with pytest.raises(DataError, match="numeric target; use last"):
        load_log(log, windowing=Windowing(50, window_label="any"), cache_dir=tmp_path / "cache")


def test_a_window_without_a_target_has_no_number(tmp_path: Path) -> None:
    log = steady().assign(rul=np.r_[np.arange(150) / 7, [np.nan] * 50]).drop(columns="label")
    source = saved(log, tmp_path / "log.parquet")
    found = encode_labels(load_log(source, windowing=Windowing(50), cache_dir=tmp_path / "cache"), None)
    np.testing.assert_allclose(found.y_train, [49 / 7, 99 / 7, 149 / 7, np.nan])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("how", ["last", "majority", "any"])
def test_windows_of_a_log_that_is_not_labelled_yet_have_no_label(tmp_path: Path, how: Any, suffix: str) -> None:
    log = saved(steady().assign(label=None), tmp_path / f"log.{suffix}")
    found = load_log(log, windowing=Windowing(50, window_label=how), cache_dir=tmp_path / "cache")
    assert (found.columns.label, found.labels().tolist()) == ("label", [""] * 4)


def test_windows_that_are_gathered_in_parts_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = saved(pd.concat([steady(5, "a"), steady(3, "b")]), tmp_path / "log.parquet")
    found = load_log(log, windowing=Windowing(5), cache_dir=tmp_path / "cache")
    whole = found.take(np.array([0, 1, 0]))
    monkeypatch.setattr("tsjepa.datasets.log_windows.GATHERED_ROWS", 5)
    for part, expected in zip(found.take(np.array([0, 1, 0])), whole, strict=True):
        np.testing.assert_array_equal(part, expected)


def test_subsets_pickle_without_their_values(tmp_path: Path) -> None:
    import pickle

    found = load_log(saved(steady(), tmp_path / "log.parquet"), windowing=Windowing(10), cache_dir=tmp_path / "cache")
    part = found.subset(np.array([3, 2])).subset(np.array([0]))
    part.take(np.array([0]))
    copy = pickle.loads(pickle.dumps(part))
    assert copy.n_cases == 1
    np.testing.assert_array_equal(copy.take(np.array([0])).values, found.take(np.array([3])).values)


def test_other_windows_of_a_log_have_another_key(tmp_path: Path) -> None:
    found = load_log(saved(steady(), tmp_path / "log.parquet"), windowing=Windowing(10), cache_dir=tmp_path / "cache")
    some, others = found.subset(np.array([0, 1])), found.subset(np.array([1, 2]))
    assert len({found.key, some.key, others.key}) == 3
    assert found.subset(np.array([3, 1, 2])).subset(np.array([1, 2])).key == others.key


@pytest.mark.parametrize("count", [CLASSES, CLASSES + 1])
def test_whole_numbers_are_classes_unless_they_are_many(tmp_path: Path, count: int) -> None:
    log = steady(count, "ab").assign(label=np.tile(np.arange(count, dtype="f8"), 2))
    labels = load_log(
        saved(log, tmp_path / "log.parquet"), windowing=Windowing(8), cache_dir=tmp_path / "cache"
    ).labels()
    assert labels.dtype.kind == ("U" if count == CLASSES else "f")
