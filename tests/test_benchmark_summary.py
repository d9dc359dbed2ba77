"""What the rows of a benchmark say: means, ranks, wins, paired differences and aeon's tables."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import ROWS, draw, row
from hypothesis import given
from hypothesis import strategies as st

from tsjepa.evaluation.benchmark_aeon import aeon_tables
from tsjepa.evaluation.benchmark_few_labels import (
    few_labels_means,
    few_labels_note,
    interval,
    paired_table,
    shared_draws,
    sort_labels,
)
from tsjepa.evaluation.benchmark_figures import curves, pictures
from tsjepa.evaluation.benchmark_summary import board_of, mean_ranks, means, summary, wins
from tsjepa.evaluation.benchmark_table import LevelScore


def test_means_over_shared_seeds_then_over_data_sets() -> None:
    board = board_of(ROWS)  # second has no seed 1 on a, so first's is left out
    np.testing.assert_allclose(board.accuracy, [[0.9, 0.8], [0.5, 0.6], [0.4, np.nan]])
    both = board_of([*ROWS, row("a", "second", 0.6, seed=1)])
    np.testing.assert_allclose(both.accuracy[0], [0.8, 0.7])
    hard = row("d", "first", 0.5)._replace(fold=1)
    failed = row("d", "second", None)._replace(fold=1)
    folds = board_of([row("d", "first", 0.9), hard, row("d", "second", 0.8), failed])
    np.testing.assert_allclose(folds.accuracy, [[0.9, 0.8]])
    assert board.common().data == ("a", "b")
    found = means(ROWS)
    assert found["first"] == {"mean_accuracy": pytest.approx(1.8 / 3), "n_data": 3}
    assert found["second"] == {"mean_accuracy": pytest.approx(0.7), "n_data": 2}
    assert means([row("a", "raw", None)]) == {"raw": {"mean_accuracy": None, "n_data": 0}}


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=8))
def test_a_rank_counts_who_is_better_and_half_of_who_is_equal(cells: list[list[int]]) -> None:
    accuracy = np.array(cells, float)
    better = (accuracy[:, None, :] > accuracy[:, :, None]).sum(2)
    equal = (accuracy[:, None, :] == accuracy[:, :, None]).sum(2)
    np.testing.assert_allclose(mean_ranks(accuracy), (better + (equal + 1) / 2).mean(0))
    assert all(sum(wins(accuracy, column)) == len(cells) for column in range(3))


def test_methods_with_the_same_accuracies_are_equal_whatever_the_order_of_their_seeds() -> None:
    rows = [row(data, method, accuracy + shift, seed=seed)
            for data, shift in (("a", 0.0), ("b", 0.4))
            for method, several in (("first", (0.1, 0.2, 0.3)), ("second", (0.3, 0.2, 0.1)), ("third", (0.1,) * 3))
            for seed, accuracy in enumerate(several)]  # fmt: skip
    text = summary(rows, [], [])
    assert "| first | 0.4000 | 1.50 |" in text
    assert "| second | 0.4000 | 1.50 | 0/2/0 |" in text
    assert "| a | **0.2000** | **0.2000** | 0.1000 |" in text
    tables = aeon_tables(rows)
    assert tables["first"] == tables["second"]


def test_a_bar_in_a_name_opens_no_cell() -> None:
    assert r"| a\|b | **0.9000** |" in summary([row("a|b", "first", 0.9)], [], [])


def test_the_summary_tells_partial_sets_and_failures() -> None:
    text = summary(ROWS, [], [LevelScore("a", "first", 0, 0, "0", 0.5)], ["no picture."])
    assert "Means over 2 data sets, 1 seed and 1 fold." in text
    assert "Left out here, since not every method has a result on them: c." in text
    assert "Only seeds and folds that every method has count on a." in text
    assert "| first | 0.7000 | 1.50 |" in text
    assert "| second | 0.7000 | 1.50 | 1/0/1 |" in text
    assert "| b* | 0.5000 | **0.6000** |" in text
    assert "| c | **0.4000** | - |" in text
    assert "not comparable with published numbers" in text
    assert "- c, second, seed 0, fold 0: no labels." in text
    assert "- no picture." in text
    assert "| first | 0.5000 |" in text


def test_the_summary_says_what_the_bars_of_a_critical_difference_diagram_mean() -> None:
    from aeon.visualisation import plot_critical_difference

    names = ("first", "second", "third", "fourth")
    rows = [row(f"set{k}", name, 0.5 + 0.1 * place) for k in range(6) for place, name in enumerate(names)]
    text = summary(rows, [], [])
    assert "ends before the first that it beats with p of at most 0.1 / 3 in a one-sided Wilcoxon test; it" in text
    assert "critical-difference" not in summary([one for one in rows if one.method in names[:2]], [], [])
    drawn = {name: one.default for name, one in inspect.signature(plot_critical_difference).parameters.items()}
    assert (drawn["test"], drawn["correction"]) == ("wilcoxon", "holm")  # the level divided by the other methods


def test_seeds_and_folds_are_counted_on_the_sets_that_count() -> None:
    alone = [row("c", "first", 0.4, seed=seed, fold=fold) for seed in range(3) for fold in range(2)]
    assert "Means over 2 data sets, 1 seed and 1 fold." in summary(
        [*ROWS[:5], *alone, row("c", "second", None)], [], []
    )


@pytest.mark.parametrize(
    ("seeds", "failed", "said", "few_said"),
    [
        (1, (), "1 seed and 2 folds.", "seeds, 2 folds and 3 draws a fold"),
        (1, ((0, 1),), "1 seed and up to 2 folds.", "seeds, up to 2 folds and 3 draws a fold"),
        (2, ((1, 0), (1, 1)), "up to 2 seeds and 2 folds.", "seeds, 2 folds and 3 draws a fold"),
        (2, ((1, 1),), "2 seeds and up to 2 folds.", "seeds, up to 2 folds and 3 draws a fold"),
    ],
)
def test_runs_that_failed_for_every_method_make_seeds_and_folds_an_upper_bound(
    seeds: int, failed: tuple[tuple[int, int], ...], said: str, few_said: str
) -> None:
    runs = [(data, seed, fold) for data in "ab" for seed in range(seeds) for fold in range(2)
            if data == "a" or (seed, fold) not in failed]  # fmt: skip
    rows = [row(data, name, 0.5, seed=seed, fold=fold) for data, seed, fold in runs for name in ("first", "second")]
    rows += [row("b", name, None, seed=seed, fold=fold) for seed, fold in failed for name in ("first", "second")]
    few = [draw(name, k, 0.5, data=data)._replace(seed=seed, fold=fold) for data, seed, fold in runs
           for name in ("first", "second") for k in range(3)]  # fmt: skip
    text = summary(rows, few, [])
    assert f"Means over 2 data sets, {said}" in text
    assert f"Means over data sets, {few_said}" in text


def test_seconds_are_those_of_the_sets_that_count() -> None:
    slow = [row("c", "first", 0.4, fit_seconds=100.0, transform_seconds=50.0), row("c", "second", None)]
    assert "| first | 0.7000 | 1.50 |  | 1.00 | 0.50 |" in summary([*ROWS[:5], *slow], [], [])


def test_levels_stand_in_the_order_of_their_numbers() -> None:
    levels = [LevelScore("a", "first", 0, 0, name, 0.5) for name in ("all", "10", "2", "1", "0")]
    assert "| method | 0 | 1 | 2 | 10 | all |" in summary(ROWS, [], levels)


def test_a_summary_of_failures_alone_is_one() -> None:
    text = summary([row("a", "raw", None)], [], [])
    assert "Means over 0 data sets" in text
    assert "| a | - |" in text


def test_a_method_without_any_result_leaves_the_comparison_of_the_others() -> None:
    rng = np.random.default_rng(0)
    rows = [row(f"set{k}", "six-channels", None) for k in range(6)]  # the first, which others are compared with
    rows += [row(f"set{k}", name, rng.uniform(0.5, 1)) for name in ("raw", "tiny", "majority") for k in range(6)]
    text, without = summary(rows, [], []), summary(rows[6:], [], [])
    assert "Means over 6 data sets" in text
    assert "Wins, draws and losses are against raw;" in text
    assert "Left aside, without a result on any data set: six-channels." in text
    assert "Left aside" not in without
    table = without[without.index("| method |") : without.index("## Accuracy by data set")]
    assert table in text
    assert "six-channels" not in table
    assert "| set0 | - |" in text
    assert set(pictures(rows, []).figures) == {"scatter-tiny", "scatter-majority", "critical-difference", "time"}


def test_seeds_that_share_their_draws_make_no_interval_narrower() -> None:
    rows = [draw("first", k, 0.5 + 0.1 * k) for k in range(4)] + [draw("second", k, 0.4) for k in range(4)]
    thrice = [one._replace(seed=seed) for one in rows for seed in range(3)]
    once, again = (interval(few_labels_means(some)["first"]["5/class"]) for some in (rows, thrice))
    assert again == pytest.approx(once)
    assert paired_table(thrice) == paired_table(rows)


def test_a_gain_is_the_mean_over_seeds() -> None:
    rows = [draw(method, k, accuracy)._replace(seed=seed)
            for method, of_seeds in (("first", (0.5, 0.9)), ("second", (0.4, 0.4)))
            for seed, accuracy in enumerate(of_seeds) for k in range(3)]  # fmt: skip
    assert "| second | +0.3000 ± 0.0000 |" in paired_table(rows)


def test_few_labels_are_compared_on_what_all_methods_have_and_in_pairs() -> None:
    rows = [draw("first", k, 0.5 + 0.1 * k) for k in range(3)] + [draw("second", k, 0.4 + 0.1 * k) for k in range(3)]
    rows += [draw("first", 0, 0.9, data="b"), draw("first", 0, None, "50/class"), draw("second", 0, None, "50/class")]
    shared = shared_draws(rows)
    assert {(one.data, one.labels) for one in shared} == {("a", "5/class")}
    assert "| second | +0.1000 ± 0.0000 |" in paired_table(shared)
    text = summary(ROWS, rows, [])
    assert "| first | 0.6000 |" in text
    assert "3 draws" in text
    assert paired_table(shared[:3]) == ""


def test_numbers_of_labels_that_nothing_is_told_of_are_said() -> None:
    small = [draw(name, 0, None, "50/class") for name in ("first", "second")]
    text = summary(ROWS, small, [])
    assert "## Few labels\n\nNo data set has so many labels of every class: 50/class." in text
    apart = [draw("first", k, 0.5, "5/class") for k in range(3)] + [draw("second", k, 0.5, "0.1") for k in range(3)]
    said = "No data set has draws of so many labels of every method: 0.1, 5/class."
    text = summary(ROWS, apart, [])
    assert f"## Few labels\n\n{said}\n" in text
    both = [*apart, *small, *(draw(name, k, 0.5, "1/class") for name in ("first", "second") for k in range(3))]
    text = summary(ROWS, both, [])
    assert "| method | 1/class (1) |" in text
    assert f"No data set has so many labels of every class: 50/class. {said}" in text
    assert "No data set" not in summary(ROWS, both[-6:], [])
    assert "## Few labels" not in summary(ROWS, [], [])


def test_one_draw_has_no_interval() -> None:
    few = [draw(name, k, 0.5 + 0.1 * k + shift, labels, data) for name, shift in (("first", 0.1), ("second", 0.0))
           for data in ("a", "b") for labels, draws in (("0.1", 3), ("1", 1)) for k in range(draws)]  # fmt: skip
    text = summary(ROWS, few, [])
    assert "| second | +0.1000 ± 0.0000 | +0.1000 |" in text
    assert "3 draws (one of all labels), stratified" in text
    alone = summary(ROWS, [one for one in few if one.labels == "1"], [])
    assert "| second | +0.1000 |" in alone
    assert "and 1 draw, stratified" in alone
    (axes,) = curves(few, "").axes
    for band in axes.collections:
        assert band.get_paths()[0].vertices[:, 0].max() == pytest.approx(0.1)  # ends where all labels are drawn once
    (axes,) = curves([one for one in few if one.labels == "1"], "").axes
    assert not any(band.get_paths() for band in axes.collections)


def test_few_labels_and_levels_compare_no_other_folds_and_seeds_than_all_have() -> None:
    few = [draw("first", k, 0.9) for k in range(3)] + [draw("first", k, 0.3)._replace(fold=1) for k in range(3)]
    few += [draw("second", k, 0.8) for k in range(3)]
    rows = [row("a", "first", 0.9), row("a", "first", 0.3, fold=1), row("a", "second", 0.8)]
    levels = [LevelScore("a", "first", seed, 0, "all", 1.0) for seed in range(3)]
    levels += [LevelScore("b", "first", 0, 0, "all", 0.5), LevelScore("a", "second", 0, 0, "all", 0.9)]
    text = summary(rows, few, levels)
    assert "| first | 0.9000 |\n| second | 0.8000 |" in text
    assert "| second | +0.1000 ± 0.0000 |" in text
    assert "1 data set, 1 seed and 1 fold" in text
    assert "| first | 1.0000 |\n| second | 0.9000 |" in text
    alone = summary(rows[:1], [], levels[:4])
    assert "| first | 0.7500 |" in alone  # data sets count alike, however many seeds they have


def test_an_interval_is_that_of_the_mean_of_means() -> None:
    rng = np.random.default_rng(0)
    draws = {"a": rng.normal(0.5, 0.1, 20), "b": rng.normal(0.7, 0.2, 20)}
    middle, half = interval({data: {(0, k): float(v) for k, v in enumerate(own)} for data, own in draws.items()})
    errors = [np.std(values, ddof=1) / np.sqrt(20) for values in draws.values()]
    assert middle == pytest.approx(np.mean([np.mean(values) for values in draws.values()]))
    assert half == pytest.approx(1.96 * np.hypot(*errors) / 2)
    pair = {(0, 0): 0.4, (0, 1): 0.8}
    for single in ({"a": {(0, 0): 0.5}}, {"a": pair, "b": {(0, 0): 0.4}}, {"a": {**pair, (1, 0): 0.4}}):
        middle, half = interval(single)
        assert (middle, np.isnan(half)) == (pytest.approx(0.5), True)


def test_folds_that_lie_apart_make_no_interval_over_draws_wider() -> None:
    one = [draw("first", k, 0.5 + 0.1 * k, labels) for labels, n in (("0.1", 3), ("1", 1)) for k in range(n)]
    one += [two._replace(method="second", accuracy=0.4 + 0.05 * two.draw) for two in one]
    apart = {"first": 0.4, "second": 0.1}
    both = [*one, *(row._replace(fold=1, accuracy=row.accuracy + apart[row.method]) for row in one)]
    alone, found = (few_labels_means(some)["first"] for some in (one, both))
    middle, half = interval(alone["0.1"])
    assert interval(found["0.1"]) == pytest.approx((middle + 0.2, half / np.sqrt(2)))
    assert np.isnan(interval(found["1"])[1])
    gain = np.std([0.1, 0.15, 0.2], ddof=1)
    assert f"| second | +0.3000 ± {1.96 * gain / np.sqrt(6):.4f} | +0.2500 |" in paired_table(both)
    assert "seeds, 2 folds and 3 draws a fold (one of all labels), stratified" in few_labels_note(both)
    assert "seeds and 3 draws (one of all labels), stratified" in few_labels_note(one)


def test_labels_are_sorted_by_size() -> None:
    assert sort_labels(["10/class", "5/class", "1", "0.05"]) == ["0.05", "1", "5/class", "10/class"]


def test_aeons_reader_reads_the_tables_of_names_that_it_knows(tmp_path: Path) -> None:
    from aeon.benchmarking.results_loaders import _load_to_dict, get_estimator_results

    rows = [*ROWS[:3], row("a", "first", 0.6, fold=1), row("b", "first", 0.5), row("b", "first", 0.25, fold=1)]
    rows.append(row("a", "second", 0.7, fold=1))
    tables = aeon_tables(rows)
    (tmp_path / "first_accuracy.csv").write_text(tables["first"])
    found = _load_to_dict(f"{tmp_path}/", ["first"], None, None, "_accuracy.csv", est_alias=False)
    np.testing.assert_allclose(found["first"]["a"], [0.9, 0.6])  # second has no seed 1, as in the summary
    assert "| a | **0.7500** | **0.7500** |" in summary(rows, [], [])
    np.testing.assert_allclose(found["first"]["b"], [0.5, 0.25])
    assert "a,0.8,0.7" in tables["second"]
    assert aeon_tables(rows[:4])["first"] == "Resamples:,0\na,0.9\n"  # nor another fold
    folder = tmp_path / "classification" / "accuracy"
    folder.mkdir(parents=True)
    (folder / "Catch22_accuracy.csv").write_text(tables["first"])
    (folder / "raw_accuracy.csv").write_text(tables["first"])
    public = get_estimator_results(["Catch22"], num_resamples=None, path=str(tmp_path))
    np.testing.assert_allclose(public["Catch22"]["a"], [0.9, 0.6])
    with pytest.raises(ValueError, match="Unknown estimator name raw"):  # so that statistics are called on arrays
        get_estimator_results(["raw"], path=str(tmp_path))


def test_sets_that_share_their_draws_are_as_sure_as_one_and_others_surer() -> None:
    draws = {(0, 0): 0.2, (0, 1): 0.5, (0, 2): 0.8}
    one = interval({"a": draws})
    assert interval({"a": draws, "b": draws}, {"a": "c", "b": "c"}) == pytest.approx(one)
    assert interval({"a": draws, "b": draws}) == pytest.approx((one[0], one[1] / 2**0.5))
