"""Series that are perturbed for a diagnosis: seeded, in units of the series, at the strength that is asked for."""

from typing import Any

import numpy as np
import pytest
from diagnosed import waves

from tsjepa.arrays import Series, as_series
from tsjepa.evaluation.perturbation import add_noise, drop_channel, drop_samples, perturbations, shift_time


@pytest.mark.parametrize("way", perturbations(3), ids=lambda way: way.name)
@pytest.mark.parametrize("missing", [False, True])
def test_a_perturbation_is_seeded_and_leaves_its_input_alone(way: Any, missing: bool) -> None:
    series, _ = waves(6, 3, missing=missing)
    values, valid = series.values.copy(), None if series.valid is None else series.valid.copy()
    once, again = (way.apply(series, way.levels[-1], np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(once.values, again.values)
    np.testing.assert_array_equal(series.values, values)
    if series.valid is not None:
        np.testing.assert_array_equal(series.valid, valid)
        assert way.name == "shift" or not (once.valid & ~series.valid).any()
    assert (once.values[~once.valid] == 0).all() if once.valid is not None else True
    assert not np.array_equal(once.values, values)


@pytest.mark.parametrize("way", [way for way in perturbations(1) if way.clean is not None], ids=lambda way: way.name)
def test_the_clean_strength_changes_nothing(way: Any) -> None:
    series, _ = waves(4)
    same = way.apply(series, way.clean, np.random.default_rng(0))
    np.testing.assert_array_equal(same.values, series.values)


def test_noise_is_in_units_of_each_series() -> None:
    series = Series(np.stack([np.sin(np.arange(5000)), 100 * np.sin(np.arange(5000))])[:, None].astype(np.float32))
    change = add_noise(series, 0.5, np.random.default_rng(0)).values - series.values
    np.testing.assert_allclose(change.std(-1) / series.values.std(-1), 0.5, rtol=0.05)


def test_noise_takes_its_unit_from_measured_points_only() -> None:
    X = np.array([[[1.0, 3.0, np.nan, np.nan]]])
    noisy = add_noise(as_series(X), 1.0, np.random.default_rng(0))
    expected = np.random.default_rng(0).standard_normal((1, 1, 4), np.float32)[0, 0, :2] + [1, 3]
    np.testing.assert_allclose(noisy.values[0, 0], [*expected, 0, 0], rtol=1e-6)


def test_samples_are_dropped_at_the_share_that_is_asked_for() -> None:
    lost = drop_samples(Series(np.ones((20, 1, 500), np.float32)), 0.3, np.random.default_rng(0))
    assert lost.valid is not None
    assert abs((~lost.valid).mean() - 0.3) < 0.02
    assert set(np.unique(lost.values)) == {0, 1}


def test_a_short_series_is_rotated_within_its_own_length() -> None:
    # the second channel of the short one ends before the first, and a quarter of seven points is nearly two
    series = as_series([np.array([[1, 2, 3, 4], [5, 6, np.nan, np.nan]]), np.arange(1.0, 15.0).reshape(2, 7)])
    moved = shift_time(series, 0.25, np.random.default_rng(0))
    assert moved.values[0].tolist() == [[4, 1, 2, 3, 0, 0, 0], [0, 5, 6, 0, 0, 0, 0]]
    assert moved.values[1].tolist() == [[6, 7, 1, 2, 3, 4, 5], [13, 14, 8, 9, 10, 11, 12]]
    assert moved.valid is not None
    assert moved.valid.sum(-1).tolist() == [[4, 2], [7, 7]]


def test_one_channel_goes_missing() -> None:
    series, _ = waves(2, 3)
    lost = drop_channel(series, 1.0, np.random.default_rng(0))
    assert lost.valid is not None
    assert lost.valid.all(-1).tolist() == [[True, False, True]] * 2
    np.testing.assert_array_equal(lost.values[:, [0, 2]], series.values[:, [0, 2]])
