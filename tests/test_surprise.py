"""Scores of long series: no leak, the same in pieces, blind where nothing was measured, right about what is wrong."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tsjepa import surprise
from tsjepa.arrays import as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header
from tsjepa.events import Event
from tsjepa.evidence import decode, fit_decoders, gather
from tsjepa.normality import fit_law, gaussian, left_out
from tsjepa.normalization import take_statistics
from tsjepa.sight import Sight, bridge_patches, cut_windows
from tsjepa.stream import Stream, score_series
from tsjepa.surprise import Scorer, Scores, fit_scorer, refer
from tsjepa.training import fit
from tsjepa.world import WorldModel

Array = NDArray[np.float64]
PATCH, CONTEXT = 4, 32
SMALL = (
    f"tokenizer.patch_length={PATCH}",
    "encoder.dim=32",
    "encoder.depth=1",
    "encoder.heads=2",
    "predictor.dim=32",
    "predictor.depth=1",
    "predictor.heads=2",
    "projector.hidden=64",
    "projector.out=8",
    "regularizer.slices=16",
    "world.horizons=[1,2,4]",
    "train.batch_size=64",
    "train.lr=3e-3",
    "train.epochs=10",
)


class Plant(NamedTuple):
    """A first-order plant: what it was told, and two sensors of what it does."""

    told: Array
    does: Array

    def log(self) -> Array:
        return np.stack([self.told, self.does, 2 - self.does]) + 0.02 * np.random.default_rng(0).normal(
            size=(3, len(self.told))
        ) * np.array([[0], [1], [1]])


def run_plant(told: Array) -> Plant:
    does, state = np.empty_like(told), told[0]
    for i, value in enumerate(told):
        state += (value - state) / 6
        does[i] = state
    return Plant(told, does)


def commands(n: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.uniform(-1, 1, n // 20 + 1), 20)[:n]


def train(series: Array, *overrides: str) -> WorldModel:
    config = resolve(configure("lewm-sensor", overrides=[*SMALL, *overrides]), CONTEXT)
    model = build_model(config, len(series))
    fit(model, cut_windows([series], CONTEXT, 3), Header(config, None, len(series), CONTEXT))
    assert isinstance(model, WorldModel)
    return model


@pytest.fixture(scope="module")
def normal() -> Array:
    return run_plant(commands(3000, seed=1)).log()


@pytest.fixture(scope="module")
def model(normal: Array) -> WorldModel:
    return train(normal, "world.inputs=[0]")


@pytest.fixture(scope="module")
def scorer(model: WorldModel, normal: Array) -> Scorer:
    return fit_scorer(model, [normal], [run_plant(commands(2000, seed=2)).log()], context=CONTEXT)


@pytest.fixture(scope="module")
def log() -> Array:
    return run_plant(commands(300, seed=3)).log()


def same(a: Array, b: Array) -> None:
    np.testing.assert_array_equal(a, b)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(time=st.integers(0, 299), channel=st.integers(0, 2), value=st.sampled_from([5.0, -100.0, float("nan")]))
def test_a_point_changes_no_score_before_it(scorer: Scorer, log: Array, time: int, channel: int, value: float) -> None:
    moved = log.copy()
    moved[channel, time] = value
    for before, after in zip(score_series(scorer, log), score_series(scorer, moved), strict=True):
        same(before[..., :time], after[..., :time])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 300), max_size=12))
def test_pieces_give_the_scores_of_the_whole(scorer: Scorer, log: Array, cuts: list[int]) -> None:
    gone = log.copy()
    gone[1, 100:110] = np.nan
    whole, edges, state, parts = score_series(scorer, gone), [0, *sorted(cuts), 300], None, []
    for start, stop in itertools.pairwise(edges):
        stream = Stream(scorer, state)
        parts.append(stream.push(gone[:, start:stop]))
        state = stream.state()
        assert state["rows"].shape[1] < CONTEXT
    for expected, *pieces in zip(whole, *parts, strict=True):
        same(np.concatenate(pieces, -1), expected)


@pytest.mark.parametrize("piece", [7, 100, 299])
def test_a_series_longer_than_a_piece_has_the_scores_of_the_whole(
    scorer: Scorer, log: Array, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    whole = score_series(scorer, log)
    monkeypatch.setattr("tsjepa.stream.PIECE", piece)
    for part, expected in zip(score_series(scorer, log), whole, strict=True):
        same(part, expected)


def test_a_score_is_that_of_the_last_complete_patch_and_of_its_context_only(scorer: Scorer, log: Array) -> None:
    scores = score_series(scorer, log)
    assert np.isnan(scores.score[: CONTEXT - 1]).all()
    assert np.isfinite(scores.score[CONTEXT - 1 :]).all()
    patches = scores.score[CONTEXT - 1 : 299].reshape(-1, PATCH)
    same(patches, np.repeat(patches[:, :1], PATCH, 1))
    late = score_series(scorer, log[:, 100:])
    same(late.score[CONTEXT:], scores.score[100 + CONTEXT :])
    same(scores.score, np.maximum(scores.surprise, scores.distance))
    assert scores.channels.shape == (2, 300)


def test_scores_are_nan_as_long_as_the_context_is_blind(scorer: Scorer, log: Array) -> None:
    gone = log.copy()
    gone[2, 120:140] = np.nan
    scores, clean = score_series(scorer, gone), score_series(scorer, log)
    blind = np.isnan(scores.score[CONTEXT:])
    # from the end of the first patch without half of its points until the last one has left the context
    same(np.flatnonzero(blind) + CONTEXT, np.arange(123, 140 + CONTEXT - 1))
    same(scores.score[CONTEXT:][~blind], clean.score[CONTEXT:][~blind])


def test_single_missing_points_are_no_alarm(scorer: Scorer) -> None:
    clean = run_plant(commands(2000, seed=4)).log()
    gone = np.where(np.random.default_rng(0).random(clean.shape) < 0.02, np.nan, clean)
    scores, gappy = (score_series(scorer, x).score for x in (clean, gone))
    assert np.isfinite(gappy).mean() > 0.9
    assert np.nanquantile(gappy, 0.99) < np.nanquantile(scores, 0.99) + 0.5


def test_patches_are_bridged_inside_and_blind_below_half() -> None:
    patches = np.array([[[np.nan, 1, np.nan, 3], [5, 6, 7, 8]], [[1, 1, 1, 1], [np.nan, np.nan, np.nan, 2]]])
    bridged, blind = bridge_patches(patches.astype(np.float32))
    assert blind.tolist() == [False, True]
    assert bridged[:, 0].tolist() == [[1, 1, 2, 3], [1, 1, 1, 1]]
    assert not bridged[:, 1].any()


def test_a_commanded_change_is_no_surprise_and_the_same_one_uncommanded_is(scorer: Scorer) -> None:
    told = np.r_[np.full(100, -0.5), np.full(60, 0.6)]
    commanded = run_plant(told)
    uncommanded = Plant(np.full(160, -0.5), commanded.does)
    expected, surprising = (score_series(scorer, plant.log()) for plant in (commanded, uncommanded))
    rise = slice(100, 124)
    assert expected.surprise[rise].max() < 2
    assert surprising.surprise[rise].max() > 3
    assert surprising.surprise[rise].max() > expected.surprise[rise].max() + 2


def test_the_sensor_to_blame_is_named(scorer: Scorer) -> None:
    clean = run_plant(commands(400, seed=5)).log()
    for channel in (1, 2):
        broken = clean.copy()
        broken[channel, 200:] += 0.6
        scores = score_series(scorer, broken)
        assert scores.score[204:230].min() > np.nanquantile(scores.score[:200], 0.95) + 1
        assert scorer.channels[int(scores.channels[:, 204:230].mean(1).argmax())] == channel


def test_a_level_stays_far_after_its_jump_is_past(scorer: Scorer) -> None:
    broken = run_plant(np.zeros(400)).log()
    broken[1, 200:] += 3
    scores = score_series(scorer, broken)
    assert scores.distance[300:].min() > np.nanmax(scores.distance[:200]) + 1


def test_usual_scores_are_about_standard(scorer: Scorer) -> None:
    scores = score_series(scorer, run_plant(commands(2000, seed=6)).log())
    for part in (scores.surprise, scores.distance, *scores.channels):
        assert abs(np.nanmean(part)) < 0.7
        assert np.nanstd(part) < 1.7


def test_usual_scores_are_those_of_normal_windows(scorer: Scorer) -> None:
    usual, scores = Scores.of(scorer.usual), score_series(scorer, run_plant(commands(2000, seed=2)).log())
    assert scorer.usual.shape == (2000 - CONTEXT + 1, 4)
    same(usual.score[::PATCH], scores.score[CONTEXT - 1 :: PATCH][: len(usual.score[::PATCH])])


def test_all_windows_of_a_long_reference_say_what_is_usual(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_plant(commands(700, seed=7)).log()
    run[1, 300:310] = np.nan
    every = refer(scorer, run)
    monkeypatch.setattr(surprise, "MOST", 200)
    long = refer(scorer, run)
    assert len(long.usual) == len(every.usual)
    # in the order of time
    np.testing.assert_allclose(long.usual, every.usual, atol=1.5)
    assert np.nanmean(np.abs(long.usual - every.usual)) < 0.2


@pytest.mark.parametrize("most", [8192, 100])
def test_no_window_goes_from_one_stretch_of_a_reference_into_the_next(
    scorer: Scorer, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surprise, "MOST", most)
    run = run_plant(commands(700, seed=7)).log()
    stretches = [run[:, :202], run[:, 300:320], run[:, 400:]]  # the second is shorter than the context
    own = refer(scorer, *stretches)
    known = [np.isfinite(score_series(own, x).score) for x in stretches]
    # a score says what is known of the window that ends with its row, and this of the one that begins with it
    np.testing.assert_array_equal(np.isfinite(own.usual).all(1), np.concatenate(known)[CONTEXT - 1 :])
    assert np.isfinite(own.usual).all(1).sum() == (202 - CONTEXT + 1) + (300 - CONTEXT + 1)
    level = np.concatenate(stretches, 1)[1:]
    mean = scorer.model.encoder.statistics.mean.numpy()[1:]  # type: ignore[union-attr]
    np.testing.assert_allclose(own.gain[1:] * level.mean(1) + own.offset[1:], mean, rtol=1e-5, atol=1e-5)


def test_a_reference_makes_another_level_and_scale_normal(scorer: Scorer) -> None:
    run = run_plant(commands(900, seed=7)).log()
    moved = run.copy()
    moved[1:] = 40 + 7 * moved[1:]
    plain, referred = score_series(scorer, moved), score_series(refer(scorer, moved[:, :500]), moved)
    assert np.nanmedian(plain.score) > 3
    assert np.nanmedian(referred.score[500:]) < 1.5
    np.testing.assert_allclose(referred.score, score_series(refer(scorer, run[:, :500]), run).score, atol=0.05)
    assert score_series(scorer, run).score[-1] == pytest.approx(score_series(scorer, run).score[-1])


def test_a_sensor_that_stood_still_in_the_reference_does_not_blow_up(scorer: Scorer, log: Array) -> None:
    still = log.copy()
    still[1] = 0.3
    assert np.isfinite(score_series(refer(scorer, still), still).score[CONTEXT:]).all()


@pytest.mark.parametrize("step", [0.0, 0.004])
def test_a_sensor_that_stood_still_in_training_hides_no_other(step: float) -> None:
    def plant(n: int, seed: int) -> Array:
        does = run_plant(commands(n, seed)).does + 0.02 * np.random.default_rng(seed).normal(size=n)
        return np.stack([does, np.full(n, 21.5)])

    config = resolve(configure("lewm-sensor", overrides=list(SMALL)), CONTEXT)
    model, seen, broken = build_model(config, 2).eval(), plant(800, 1), plant(400, 2)
    take_statistics(model, as_series(seen[None]))
    broken[1, 200:] += step
    broken[0, 300:340] += 5
    channels = score_series(fit_scorer(model, [seen], context=CONTEXT), broken).channels
    assert np.abs(channels[:, CONTEXT:]).max() < 100
    assert (channels[1, 220:290].min() > 3) == (step > 0)
    assert 0 in Event(1, 308, 339, 320, 0.0, channels[:, 308:340].max(1)).blamed(3.0)


def test_what_cannot_be_scored_is_said(scorer: Scorer, model: WorldModel) -> None:
    with pytest.raises(ValueError, match="3 channels"):
        score_series(scorer, np.zeros((2, 50)))
    with pytest.raises(ValueError, match="normal data must hold 35 rows"):
        fit_scorer(model, [np.zeros((3, 20))], context=CONTEXT)
    with pytest.raises(ValueError, match="channel 0 is missing in 100 % of all rows; fill the gaps"):
        refer(scorer, np.full((3, 100), np.nan))
    assert np.isnan(score_series(scorer, np.zeros((3, 10))).score).all()
    assert score_series(scorer, np.zeros((3, 0))).score.shape == (0,)


def test_the_distance_is_mahalanobis_with_shrinkage() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3))
    (law, _), probe = fit_law(x, held_out=rng.normal(size=(50, 3))), rng.normal(size=(5, 3))
    away = x - x.mean(0)
    covariance, n = away.T @ away / len(x), len(x)
    round_one = np.trace(covariance) / 3 * np.eye(3)
    noise = sum(np.sum((np.outer(a, a) - covariance) ** 2) for a in away) / n**2
    share = min(noise / np.sum((covariance - round_one) ** 2), 1)  # Ledoit and Wolf 2004, section 3.3
    shrunk = (1 - share) * covariance + share * round_one
    squared = [(p - x.mean(0)) @ np.linalg.inv(shrunk) @ (p - x.mean(0)) / 3 for p in probe]
    np.testing.assert_allclose(law.log_distance(probe), np.log(squared), rtol=1e-9)


def test_a_prior_counts_as_thirty_samples() -> None:
    rng = np.random.default_rng(0)
    prior, _ = fit_law(rng.normal(size=(5000, 2)) @ np.array([[1, 0.8], [0, 0.6]]))
    samples = rng.normal(size=(60, 2)) * [1, 1e-3]
    (flat, _), (both, unusual) = fit_law(samples), fit_law(samples, prior=prior)
    own, before, pooled = (np.linalg.inv(law.whitener.T @ law.whitener) for law in (flat, prior, both))
    np.testing.assert_allclose(pooled, (60 * own + 30 * before) / 90)
    parts = left_out(samples)
    away = [gaussian(np.concatenate(others), prior).log_distance(block) for block, others in parts]
    np.testing.assert_allclose(both.centre + both.spread * unusual, np.concatenate(away))


def test_the_spread_of_a_short_stretch_is_drawn_to_that_of_the_prior() -> None:
    rng = np.random.default_rng(0)
    prior, _ = fit_law(rng.normal(size=(5000, 2)))
    prior = prior._replace(spread=np.float64(4.0))
    held_out = rng.normal(size=(60, 2))
    law, unusual = fit_law(rng.normal(size=(60, 2)), held_out, prior)
    own = law.log_distance(held_out)
    assert law.spread == pytest.approx(np.sqrt((60 * own.var() + 30 * 16) / 90))
    np.testing.assert_allclose(unusual, (own - own.mean()) / law.spread)


def test_what_is_usual_comes_from_data_that_the_law_does_not_know() -> None:
    rng = np.random.default_rng(1)
    wandering = np.cumsum(rng.normal(size=(400, 2)), 0)
    law, across = fit_law(wandering)
    inside = law.log_distance(wandering)
    assert law.centre > inside.mean()
    np.testing.assert_allclose(across.mean(), 0, atol=1e-9)
    given, unusual = fit_law(wandering, held_out=3 * wandering)
    np.testing.assert_allclose(unusual, given.unusual(3 * wandering))
    assert unusual.mean() == pytest.approx(0, abs=1e-9)
    assert unusual.std() == pytest.approx(1)


def test_evidence_is_what_its_parts_say() -> None:
    rng = np.random.default_rng(0)
    n, places, width, horizons, channels = 40, 8, 3, 2, 2
    sight = Sight(
        *(
            rng.normal(size=shape).astype(np.float32)
            for shape in ((n, places, width), (n, horizons, width), (n, channels, places, PATCH))
        )
    )
    decoders = fit_decoders(sight)
    evidence = gather(sight, decoders)
    np.testing.assert_allclose(evidence.errors[1], sight.latents[:, 7] - sight.predicted[:, 1])
    np.testing.assert_allclose(evidence.latents[2], sight.latents[:, 4:].mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(evidence.levels[1], sight.values[:, :, 6:].mean((2, 3)), rtol=1e-5, atol=1e-6)
    for channel in range(channels):
        np.testing.assert_allclose(evidence.offsets[channel], np.stack([x[:, channel] for x in evidence.levels], 1))
        for horizon in range(horizons):
            decoded = sight.predicted[:, horizon] @ decoders[horizon, :-1] + decoders[horizon, -1]
            wanted = sight.values[:, channel, -1] - decoded[:, channel * PATCH : (channel + 1) * PATCH]
            np.testing.assert_allclose(evidence.residuals[channel][:, horizon * PATCH : (horizon + 1) * PATCH], wanted)
            np.testing.assert_allclose(evidence.forecasts[horizon][:, channel], wanted.mean(1))
    assert [len(part) for part in evidence] == [2, 2, 4, 4, 2, 2]


def test_decoders_give_back_the_last_patch_from_each_horizon_by_its_own_way() -> None:
    rng = np.random.default_rng(0)
    n, horizons, channels, places = 60, 3, 2, 8
    values = rng.normal(size=(n, channels, places, PATCH))
    last = values[:, :, -1]
    # large, so that the penalty of the ridge regression hardly counts
    ways = 100 * np.linalg.qr(rng.normal(size=(horizons, channels * PATCH, channels * PATCH))).Q
    predicted = np.stack([last.reshape(n, -1) @ way for way in ways], 1)
    decoders = fit_decoders(Sight(np.zeros((n, places, channels * PATCH)), predicted, values))
    for horizon, weights in enumerate(decoders):
        np.testing.assert_allclose(decode(predicted[:, horizon], weights).reshape(last.shape), last, atol=1e-4)


def test_all_of_a_reference_but_its_levels_has_the_laws_so_far_as_prior(scorer: Scorer) -> None:
    run = run_plant(commands(300, seed=7)).log()
    own = refer(scorer, run)
    seen, _ = surprise.see_series(scorer.model, [own.adjusted(run)], CONTEXT)
    for name, samples in gather(seen, scorer.decoders)._asdict().items():
        for law, one, prior in zip(getattr(own.laws, name), samples, getattr(scorer.laws, name), strict=True):
            expected, _ = fit_law(one, prior=None if name == "levels" else prior)
            np.testing.assert_array_equal(law.whitener, expected.whitener)


def test_a_reference_leaves_inputs_at_their_level_and_scale(scorer: Scorer) -> None:
    own = refer(scorer, run_plant(3 + commands(300, seed=7)).log())
    assert (own.gain[0], own.offset[0]) == (1, 0)
    assert (own.gain[1:] != 1).all()
