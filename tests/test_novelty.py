"""How new windows are: few of them, a feature that never scatters, and the windows that share no point with others."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsjepa.novelty import elsewhere, nearest, standardised, usual_spread


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 3))
def test_windows_are_compared_with_those_that_share_no_point(n_windows: int, window: int, every: int) -> None:
    starts = np.arange(0, n_windows, every)
    parts = np.array_split(np.arange(n_windows), min(5, n_windows))
    expected = [np.abs(starts[:, None] - part).min(1) >= window for part in parts]
    if not all(others.any() for others in expected):
        sentence = f"a series of {n_windows + window - 1} points is too short for windows of {window}"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            list(elsewhere(n_windows, starts, window))
        return
    found = list(elsewhere(n_windows, starts, window))
    assert [(fifth.start, fifth.stop) for fifth, _ in found] == [(part[0], part[-1] + 1) for part in parts]
    np.testing.assert_array_equal([others for _, others in found], expected)


def test_a_reference_with_fewer_rows_than_neighbours_is_used_whole() -> None:
    assert nearest(np.array([[0.0]]), np.array([[1.0], [4.0]]), n_neighbors=9).tolist() == [2.5]


def test_features_that_never_scatter_keep_their_unit() -> None:
    assert usual_spread([np.full((3, 2), 7.0)]).tolist() == [1, 1]


def test_the_spread_is_that_of_all_parts_together() -> None:
    parts = [np.array([[0.0], [2.0]]), np.array([[6.0], [8.0]])]
    np.testing.assert_allclose(usual_spread(parts), np.concatenate(parts).std(0), rtol=1e-6)


def test_usual_distances_that_are_all_zero_leave_others_as_they_are() -> None:
    assert standardised(np.array([0.0, 3.0]), np.zeros(4), size=0.0).tolist() == [0, 3]
