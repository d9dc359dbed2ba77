"""Scores of normal rows by scorers that have not seen them."""

import numpy as np
import pytest

from tsjepa.build import build_model, configure, resolve
from tsjepa.held_out import BLOCKS, LONG, fit_held_out
from tsjepa.stream import score_series
from tsjepa.surprise import fit_scorer
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


def test_short_runs_are_halved_and_none_is_lost(model: WorldModel) -> None:
    runs = [normal(100, 1), normal(90, 2)]
    _, scores = fit_held_out(model, runs, context=CONTEXT)
    assert [len(score) for score in scores] == [50, 45, 50, 45]


def test_runs_held_out_are_what_scores_are_of(model: WorldModel) -> None:
    fitted, held_out = [normal(200, 1)], [normal(150, 2), normal(80, 3)]
    scorer, scores = fit_held_out(model, fitted, held_out, context=CONTEXT)
    for x, score in zip(held_out, scores, strict=True):
        np.testing.assert_array_equal(score, score_series(scorer, x).score)
