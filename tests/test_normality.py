"""Laws of normal samples: what is held out of them, and that no sample is measured by a law that knows it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsjepa.normality import MARGIN, STILL, fit_law, gaussian, left_out
from tsjepa.novelty import standardised


@given(st.integers(4, 300))
def test_blocks_are_all_samples_and_none_is_among_the_others(n: int) -> None:
    samples = np.arange(n, dtype=float)[:, None]
    parts = list(left_out(samples))
    np.testing.assert_array_equal(np.concatenate([block for block, _ in parts]), samples)
    for block, (before, after) in parts:
        margin = int(MARGIN * len(block))
        np.testing.assert_array_equal(before[:, 0], np.arange(max(block[0, 0] - margin, 0)))
        np.testing.assert_array_equal(after[:, 0], np.arange(block[-1, 0] + 1 + margin, n))


@given(st.integers(4, 300))
def test_few_normal_samples_are_enough_for_a_law(n: int) -> None:
    law, unusual = fit_law(np.random.default_rng(n).normal(size=(n, 2)))
    assert np.isfinite(law.whitener).all()
    assert unusual.shape == (n,)
    assert unusual.mean() == pytest.approx(0, abs=1e-6)
    assert unusual.std() == pytest.approx(1)


def test_a_sample_is_measured_by_a_law_that_does_not_know_it() -> None:
    x = np.random.default_rng(0).normal(size=(100, 2))
    x[50] = 100.0
    law, unusual = fit_law(x)
    # a covariance that knows a sample keeps its distance bounded
    assert law.log_distance(x[50:51])[0] < 5
    assert law.centre + law.spread * unusual[50] > 8


@pytest.mark.parametrize("level", [0.0, 0.1, 1e4])
def test_samples_that_stand_still_make_any_other_finitely_unusual(level: float) -> None:
    still = np.full((60, 2), level, np.float32)
    law, usual = fit_law(still)
    assert (usual < 0).all()
    moved = law.unusual(level + np.sqrt(STILL) * np.array([[1.0, 1.0], [100.0, 100.0]]))
    np.testing.assert_allclose(moved, [0, np.log(100**2)], atol=1e-4)
    again, _ = fit_law(still, prior=law)
    np.testing.assert_allclose(again.unusual(still + 1.0), law.unusual(still + 1.0), rtol=1e-3)


def test_a_reference_that_stands_still_leaves_what_varied_before_comparable() -> None:
    rng = np.random.default_rng(0)
    before, _ = fit_law(rng.normal(size=(500, 2)))
    law, _ = fit_law(np.zeros((60, 2)), prior=before)
    assert np.abs(law.unusual(rng.normal(size=(100, 2)))).mean() < 3


def test_normal_samples_held_out_that_stand_still_elsewhere_are_usual() -> None:
    _, usual = fit_law(np.zeros((60, 1)), held_out=np.full((60, 1), 5.0))
    np.testing.assert_allclose(usual, 0, atol=1e-9)


def test_usual_distances_that_differ_by_rounding_do_not_blow_others_up() -> None:
    usual = 1 + 1e-12 * np.arange(5)
    assert np.abs(standardised(np.array([1.0001]), usual, size=10.0)) <= 1.01
    assert standardised(np.array([4.0, 9.0]), np.array([3.0, 5.0]), size=10.0).tolist() == [0, 5]


def test_the_unit_of_samples_has_no_part_where_they_vary_little() -> None:
    rng = np.random.default_rng(0)
    x, probe = rng.normal(size=(400, 3)), rng.normal(size=(5, 3))
    (law, _), (quiet, _) = fit_law(x), fit_law(1e-2 * x)
    np.testing.assert_allclose(quiet.unusual(1e-2 * probe), law.unusual(probe), rtol=1e-5)


def test_many_samples_do_not_make_a_direction_that_never_varied_count_for_all() -> None:
    x = np.random.default_rng(0).normal(size=(300_000, 2)) * [1, 1e-9]
    # the second direction has half of what covariances are shrunk by, 1e-3
    assert gaussian(x).log_distance(np.array([[0, 1e-2]]))[0] == pytest.approx(np.log(1e-4 / 5e-4 / 2), abs=0.05)
