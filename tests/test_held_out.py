"""Scores of normal rows by scorers that have not seen them."""

import numpy as np
import pytest

from tsjepa import held_out, surprise
from tsjepa.build import build_model, configure, resolve
from tsjepa.held_out import BLOCKS, LONG, TooFewToHoldOut, cut_in_folds, fit_held_out, held_out_rows, rows_needed
from tsjepa.stream import score_series
from tsjepa.surprise import fit_scorer, see_part
from tsjepa.world import WorldModel

CONTEXT = 16
SMALL = ("tokenizer.patch_length=4", "world.horizons=[1,2]", "encoder.dim=8", "predictor.dim=8", "projector.out=4")


@pytest.fixture(scope="module")
def model() -> WorldModel:
    model = build_model(resolve(configure("lewm-sensor", overrides=list(SMALL)), CONTEXT), 2).eval()
    assert isinstance(model, WorldModel)
    return model


def normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, n)).cumsum(1).astype(np.float32)


def test_a_block_is_scored_by_what_is_usual_in_the_others(model: WorldModel) -> None:
    x = normal(BLOCKS * LONG * CONTEXT)
    scorer, scores = fit_held_out(model, [x], context=CONTEXT)
    blocks = np.array_split(x, BLOCKS, axis=1)
    for at, score in enumerate(scores):
        others = fit_scorer(model, [*blocks[:at], *blocks[at + 1 :]], context=CONTEXT)
        np.testing.assert_array_equal(score, score_series(others, blocks[at]).score)
    whole = score_series(fit_scorer(model, [x], context=CONTEXT), x).score
    np.testing.assert_array_equal(score_series(scorer, x).score, whole)


def test_a_block_is_looked_at_once_for_all_that_is_fitted_to_it(
    model: WorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(held_out, "see_part", lambda *given: (looked.append(given[1].shape[1]), see_part(*given))[1])
    fit_held_out(model, [normal(BLOCKS * LONG * CONTEXT)], context=CONTEXT)
    assert looked == [LONG * CONTEXT] * BLOCKS


def test_what_is_remembered_of_a_block_is_not_taken_for_other_steps(
    model: WorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surprise, "MOST", 150)  # each window is looked at in some folds, each second one in others
    runs = [normal(BLOCKS * LONG * CONTEXT), normal(80, 1), normal(80, 2)]
    _, scores = fit_held_out(model, runs, context=CONTEXT)
    folded = cut_in_folds(runs, CONTEXT)
    for (fold, part), score in zip(sorted(folded, key=lambda block: block[0]), scores, strict=True):
        others = fit_scorer(model, [other for of, other in folded if of != fold], context=CONTEXT)
        np.testing.assert_array_equal(score, score_series(others, part).score)


def test_short_runs_are_halved_and_none_is_lost(model: WorldModel) -> None:
    runs = [normal(100, 1), normal(90, 2)]
    _, scores = fit_held_out(model, runs, context=CONTEXT)
    assert [len(score) for score in scores] == [50, 45, 50, 45]


def known(scores: list[np.ndarray]) -> int:
    return sum(int(np.isfinite(score).sum()) for score in scores)


def test_a_long_run_takes_no_score_from_shorter_ones(model: WorldModel) -> None:
    long, short = normal(BLOCKS * LONG * CONTEXT), [normal(4 * CONTEXT, seed) for seed in range(1, 5)]
    alone = [known(fit_held_out(model, runs, context=CONTEXT)[1]) for runs in ([long], short)]
    _, scores = fit_held_out(model, [long, *short], context=CONTEXT)
    assert known(scores) == sum(alone)
    assert sum(len(score) for score in scores) == sum(x.shape[1] for x in (long, *short))


def test_runs_too_short_to_be_cut_are_left_out_whole(model: WorldModel) -> None:
    runs = [normal(2 * CONTEXT - 2, seed) for seed in range(7)]
    _, scores = fit_held_out(model, runs, context=CONTEXT)
    # the first and the sixth of seven, dealt out to five folds
    others = fit_scorer(model, [*runs[1:5], runs[6]], context=CONTEXT)
    for at, score in zip((0, 5), scores, strict=False):
        np.testing.assert_array_equal(score, score_series(others, runs[at]).score)
    assert known(scores) == 7 * (CONTEXT - 1)


def test_whole_runs_are_dealt_out_to_as_many_folds_as_the_longest_run_is_cut_into() -> None:
    runs = [normal(n) for n in (20, 9, 8, 7)]
    assert [fold for fold, _ in cut_in_folds(runs, 10)] == [0, 1, 1, 0, 1]


def test_runs_shorter_than_a_context_are_no_hindrance(model: WorldModel) -> None:
    runs = [normal(n, seed) for seed, n in enumerate([5, 25, 5, 5, 5, 5, 25, 5])]
    assert known(fit_held_out(model, runs, context=CONTEXT)[1]) == 2 * (25 - CONTEXT + 1)


@pytest.mark.parametrize("lengths", [[37], [30, 10], [20], [10, 10], [18, 18], [19, 18]])
def test_too_few_rows_to_hold_some_out_are_refused(model: WorldModel, lengths: list[int]) -> None:
    why = f"must hold 38 rows without a gap, but the longest run has {max(lengths)}, and there are too few others: each"
    with pytest.raises(TooFewToHoldOut, match=why):
        fit_held_out(model, [normal(n) for n in lengths], context=CONTEXT)


@pytest.mark.parametrize("lengths", [[38], [19, 19]])
def test_the_fewest_rows_that_are_asked_for_are_enough(model: WorldModel, lengths: list[int]) -> None:
    assert known(fit_held_out(model, [normal(n) for n in lengths], context=CONTEXT)[1]) == 2 * (19 - CONTEXT + 1)


@pytest.mark.parametrize("context", [16, 18])
@pytest.mark.parametrize("n", [60, 97, 5 * 2 * 18, 400])
def test_rows_with_a_score_are_known_without_a_model(model: WorldModel, context: int, n: int) -> None:
    whole, gaps = normal(n), normal(n)
    gaps[0, 3 : n // 8 : 3] = np.nan
    gaps[1, n - 9 : n - 2] = np.nan
    for x in (whole, gaps):
        assert held_out_rows([x], context, 4) == known(fit_held_out(model, [x], context=context)[1])


@pytest.mark.parametrize(("context", "patch"), [(16, 4), (18, 4), (16, 1), (128, 8), (12, 4), (8, 4), (5, 4)])
def test_the_rows_that_are_needed_are_enough_and_one_fewer_is_not(context: int, patch: int) -> None:
    scored = 20 * patch
    for given in (2 * context + 8, 5 * 2 * context):
        needed = rows_needed(given, scored, context, patch)
        assert held_out_rows([np.zeros((1, needed))], context, patch) >= scored
        assert needed == given or held_out_rows([np.zeros((1, needed - 1))], context, patch) < scored


def test_a_long_window_needs_two_halves_that_hold_one() -> None:
    needed = rows_needed(10, 160, context=1000, patch_length=8)
    assert needed >= 2 * 1003
    assert held_out_rows([np.zeros((1, needed))], 1000, 8) >= 160


def test_runs_held_out_are_what_scores_are_of(model: WorldModel) -> None:
    fitted, held_out = [normal(200, 1)], [normal(150, 2), normal(80, 3)]
    scorer, scores = fit_held_out(model, fitted, held_out, context=CONTEXT)
    expected = fit_scorer(model, fitted, held_out, context=CONTEXT)
    for x, score in zip(held_out, scores, strict=True):
        np.testing.assert_array_equal(score, score_series(scorer, x).score)
        np.testing.assert_array_equal(score, score_series(expected, x).score)
