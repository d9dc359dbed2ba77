"""Thresholds: alarms of normal data within the budget, and a tail that is extrapolated with a fair interval."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import expon, genpareto, norm

from tsjepa.events import GAP, Alarms
from tsjepa.thresholds import LEAST, Budget, beginnings, extrapolate, fit_threshold, lowest_level, peaks_over


def alarms_of(scores: list[np.ndarray], threshold: float, gap: int) -> int:
    """Count events."""
    count = 0
    for x in scores:
        alarms = Alarms(threshold, gap)
        alarms.push(x, np.empty((0, len(x)), np.float32))
        count += len(alarms.take(last=True))
    return count


@pytest.mark.parametrize(
    ("text", "step", "interval"),
    [
        ("1/day", 1.0, 86_400),
        ("1 per day", 2.0, 43_200),
        ("2/week", 60.0, 5040),
        ("3/8h", 1.0, 9600),
        ("1/30s", 0.5, 60),
        ("1/10000", None, 10_000),
        ("0.5/1000", 1.0, 2000),
        ("1/30min", 60.0, 30),
        ("3 per 2 Weeks", 86_400.0, 14 / 3),
        ("1/month", 86_400.0, 30),
        ("1/year", 86_400.0, 365),
    ],
)
def test_budgets_are_intervals_of_rows(text: str, step: float | None, interval: float) -> None:
    assert Budget.parse(text).interval(step) == pytest.approx(interval)


@pytest.mark.parametrize(
    "text", ["", "1", "day", "0/day", "-1/day", "1/0", "1/0h", "0/1000", "1/fortnight", "1/1", "x/day"]
)
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no budget of false alarms"):
        Budget.parse(text)


def test_a_budget_of_time_needs_times() -> None:
    with pytest.raises(ValueError, match="give a budget in rows"):
        Budget.parse("1/day").interval(None)


@pytest.mark.parametrize("patch", [1, 4])
def test_long_normal_data_are_counted(patch: int) -> None:
    scores = [np.repeat(norm.rvs(size=20_000 // patch, random_state=seed), patch) for seed in range(3)]
    for interval in (1000, 3000, 6000):
        threshold = fit_threshold(scores, interval, patch)
        assert not threshold.extrapolated
        assert alarms_of(scores, threshold.value, GAP * patch) == 60_000 // interval


@pytest.mark.parametrize("patch", [1, 4])
@pytest.mark.parametrize("slowness", [0.9, 0.99, 0.999])
def test_scores_that_wander_are_counted_at_the_threshold_itself(slowness: float, patch: int) -> None:
    noise = norm.rvs(size=(2, 30_000 // patch), random_state=0)
    slow = lfilter([1], [1, -slowness], noise[0])
    x = np.repeat(slow / slow.std() + 0.2 * noise[1], patch)
    intervals = (30, 100, 200, 500, 1000, 2000, 2900, 3100, 4000, 10_000, 100_000)
    values = [fit_threshold([x], interval, patch) for interval in intervals]
    counts = [alarms_of([x], found.value, GAP * patch) for found in values]
    assert all(count <= max(len(x) / found.interval, 3) for count, found in zip(counts, values, strict=True))
    assert [found.value for found in values] == sorted(found.value for found in values)
    assert all(found.low <= found.value <= found.high for found in values if found.extrapolated)
    assert 7 <= counts[6] <= 10  # and rare alarms hardly fewer than allowed


def test_a_stricter_budget_has_no_lower_threshold_where_all_peaks_are_one() -> None:
    x = norm.rvs(size=20_000, random_state=1)
    values = [fit_threshold([x], interval, 64).value for interval in (1864, 2198, 5000, 20_000, 100_000)]
    assert values == sorted(values)


@given(
    st.lists(st.lists(st.integers(0, 6) | st.just(-np.inf), min_size=1, max_size=15), min_size=1, max_size=3),
    st.integers(0, 3),
    st.integers(0, 5),
)
def test_the_lowest_level_is_the_one_found_by_trying_all(runs: list[list[float]], gap: int, allowed: int) -> None:
    scores = [np.array(x, np.float32) for x in runs]
    tried = [level for level in range(7) if alarms_of(scores, level, gap) > allowed]
    assert lowest_level(scores, allowed, gap, 0.0) == (tried[-1] + 1 if tried else 0)


@pytest.mark.parametrize("more", [0, 1])
def test_as_many_alarms_as_peaks_are_within_the_budget(more: int) -> None:
    x = norm.rvs(size=4000, random_state=0)
    peaks = len(peaks_over([x], float(np.quantile(x, 0.95)), GAP)) + more
    found = fit_threshold([x], len(x) / peaks, 1)
    assert not found.extrapolated
    assert 0 < alarms_of([x], found.value, GAP) <= peaks


def test_a_loose_budget_is_a_quantile() -> None:
    x = norm.rvs(size=10_000, random_state=0)
    assert (x > fit_threshold([x], 5, 1).value).mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("law", "rows", "times", "held"),
    [
        (norm, 2000, 1, 1),
        (norm, 10_000, 5, 1),
        (expon, 2000, 5, 1),
        (genpareto(0.2), 2000, 1, 1),
        (norm, 10_000, 1, 8),
        (expon, 10_000, 0.2, 8),
    ],
    ids=["normal", "many normal", "exponential", "heavy", "held", "held, loose"],
)
def test_a_tail_keeps_to_the_budget_within_its_interval(law: Any, rows: int, times: float, held: int) -> None:
    rates, covered, interval = [], [], rows * times
    share = held / interval
    level = law.isf(share * (1 + (GAP + 1) * share))
    for seed in range(100):
        x = np.repeat(law.rvs(size=rows // held, random_state=seed), held)
        found = fit_threshold([x], interval, held)
        over = law.sf(found.value)  # an alarm begins with a patch over the level behind five that are not
        rates.append(over * (1 - over) ** (GAP + 1) * interval / held)
        covered.append(found.low <= level <= found.high)
    assert 0.7 <= np.median(rates) <= 1.25
    assert np.mean(covered) >= 0.9


def test_a_tail_of_scores_that_wander_keeps_to_the_budget() -> None:
    def wandering(n: int, seed: int) -> np.ndarray:
        x: np.ndarray = lfilter([1], [1, -0.99], norm.rvs(size=n, random_state=seed))
        return x

    first, before = beginnings(wandering(1_000_000, 100), GAP)
    levels = [fit_threshold([wandering(10_000, seed)], 2000, 1).value for seed in range(60)]
    rates = [((first > level).sum() - (before > level).sum()) / 500 for level in levels]
    assert 0.6 <= np.median(rates) <= 1.25


@pytest.mark.parametrize(
    ("law", "rows", "interval", "far"),
    [
        (norm, 5000, 100_000, []),
        (genpareto(0.4), 21_600, 31_536_000, []),
        (expon, 400, 1000, []),
        (expon, 20_000, 10_000, [1000]),
        (expon, 400, 10_000, [300]),
    ],
    ids=["normal", "heavy, far", "few", "one far out", "one far out of few"],
)
def test_the_level_and_its_interval_are_quantiles_of_levels_drawn_by_likelihood(
    law: Any, rows: int, interval: int, far: list[float]
) -> None:
    x = law.rvs(size=rows, random_state=3)
    x[: len(far)] = far
    found = fit_threshold([x], interval, 1)
    body = np.quantile(x, 0.95)
    body = max([body, *peaks_over([x], body, GAP)[100:101]])
    excess, rng = peaks_over([x], body, GAP) - body, np.random.default_rng(0)
    count, alone = len(excess), np.exp(-(GAP + 1) * len(excess) / rows)
    width = 1 + 6 / np.sqrt(count)
    shape, scale = rng.uniform(-0.5, 0.5, 40_000), np.median(excess) * np.exp(rng.uniform(-width, width, 40_000))
    single = genpareto(shape[:, None], scale=scale[:, None])
    log = (single.logpdf(excess) - 2 * np.log(alone + (1 - alone) * single.sf(excess))).sum(1)
    times = np.maximum(rng.gamma(count, size=len(log)) / alone / rows * interval, 1)
    level = body + genpareto.isf(1 / times, shape, scale=scale)
    weight = np.exp(log - log.max())
    for quantile, at in ((0.025, found.low), (0.5, found.value), (0.975, found.high)):
        assert weight[level <= at].sum() / weight.sum() == pytest.approx(
            quantile, abs=0.2 * min(quantile, 1 - quantile)
        )


def test_it_hardly_matters_by_how_little_most_peaks_are_over_the_body() -> None:
    high = expon.rvs(size=40, random_state=0)
    levels = [extrapolate(np.append(high, np.full(60, tiny)), 20_000, 1e6, 5) for tiny in (1e-4, 1e-9)]
    assert levels[0] == pytest.approx(levels[1], rel=0.03)


@pytest.mark.parametrize("far", [[], [5.0]])
def test_peaks_that_are_tied_are_peaks(far: list[float]) -> None:
    x = (np.random.default_rng(1).random(20_000) < 0.02) * 1.0
    x[: len(far)] = far
    found = fit_threshold([x], 1e9, 1)
    assert found.extrapolated
    assert 1 < found.low < found.value < found.high < 15


@pytest.mark.parametrize("peaks", [0, 1, 2, 3])
def test_fewer_peaks_than_are_allowed_have_no_interval(peaks: int) -> None:
    x = np.zeros(5000)
    for start in range(0, 1000 * peaks, 1000):
        x[start : start + 50] = 7.0
    found = fit_threshold([x], 2000, 1)
    assert found.extrapolated == (peaks == 3)
    if found.extrapolated:
        assert found.low < found.value < found.high
    else:
        assert (found.value, found.low, found.high) == (7.0 * bool(peaks), None, None)
        assert "counted in 5000 normal rows" in found.sentence()


def test_rarer_alarms_need_higher_scores() -> None:
    x = norm.rvs(size=4000, random_state=0)
    values = [fit_threshold([x], interval, 1).value for interval in (100, 350, 1000, 10_000, 100_000)]
    assert values == sorted(values)


def test_what_is_not_known_does_not_count() -> None:
    x = norm.rvs(size=4000, random_state=0)
    with_nan = np.concatenate([np.full(100, np.nan), x, np.full(50, np.nan)])
    for interval in (100, 50_000):
        assert fit_threshold([with_nan], interval, 1) == fit_threshold([x], interval, 1)
        infinite = np.where(np.isnan(with_nan), np.inf, with_nan)
        assert fit_threshold([infinite], interval, 1) == fit_threshold([x], interval, 1)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=f"39 normal rows have a score, and a threshold needs {2 * LEAST}"):
        fit_threshold([np.zeros(39)], 100, 2)
    assert fit_threshold([np.zeros(40)], 100, 2).rows == 40


def test_the_sentence_says_when_it_is_extrapolated() -> None:
    x = norm.rvs(size=4000, random_state=0)
    assert "peaks over threshold" in fit_threshold([x], 10_000, 1).sentence()
    assert "95 % interval" in fit_threshold([x], 10_000, 1).sentence()
    assert "counted in 4000 normal rows, 20 times" in fit_threshold([x], 200, 1).sentence()


def test_alarms_are_joined_over_the_gap_and_a_patch() -> None:
    x = np.repeat(norm.rvs(size=500, random_state=0), 16)
    body = float(np.quantile(x, 0.95))
    peaks = peaks_over([x], body, GAP * 16)
    above = extrapolate(peaks - body, len(x), 1e6, (GAP + 1) * 16)
    assert fit_threshold([x], 1e6, 16).value == pytest.approx((above + body)[1])
