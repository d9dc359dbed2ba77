"""What a user may pass, and what is said about the rest."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tsjepa import ConfigError, TSJEPAEmbedder
from tsjepa.arrays import as_series, last_valid, unmasked, warn

NAN, INF = float("nan"), float("inf")
floats = st.floats(-(2.0**100), 2.0**100, width=32) | st.just(NAN)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=floats))
def test_three_dimensions_are_kept_and_nan_is_missing(X: np.ndarray) -> None:
    before = X.copy()
    series = as_series(X)
    there = ~np.isnan(X)
    assert series.values.dtype == np.float32
    assert series.values.shape == X.shape
    assert (series.n_cases, series.n_channels, series.n_timepoints) == X.shape
    assert np.array_equal(series.values[there], X[there])
    assert not series.values[~there].any()
    if there.all():
        assert series.valid is None
    else:
        assert np.array_equal(series.valid, there)
    assert np.array_equal(X, before, equal_nan=True)
    assert not np.shares_memory(series.values, X)


def test_two_dimensions_are_one_channel() -> None:
    X = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(as_series(X).values, X[:, None])


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(1, 3), st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 100), st.booleans())
def test_unequal_series_are_filled_up_at_their_end(
    channels: int, lengths: list[int], seed: int, as_tuple: bool
) -> None:
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((channels, length)) for length in lengths]
    series = as_series(tuple(X) if as_tuple else X)
    assert series.values.shape == (len(X), channels, max(lengths))
    for case, x in enumerate(X):
        assert np.array_equal(series.values[case, :, : x.shape[1]], x.astype(np.float32))
        assert not series.values[case, :, x.shape[1] :].any()
        if series.valid is not None:
            assert series.valid[case, :, : x.shape[1]].all()
            assert not series.valid[case, :, x.shape[1] :].any()
    assert (series.valid is None) == (len(set(lengths)) == 1)


@pytest.mark.parametrize(
    "X",
    [
        [[1, 2, 3], [4, 5, NAN]],
        [np.array([1, 2, 3]), np.array([4, 5])],
        [[[1, 2, 3]], [[4, 5]]],
        ((1, 2, 3), (4, 5)),
        np.array([[1, 2, 3], [4, 5, NAN]]),
    ],
)
def test_lists_of_lists_and_of_one_dimensional_arrays(X: object) -> None:
    series = as_series(X)
    assert series.values.tolist() == [[[1, 2, 3]], [[4, 5, 0]]]
    assert series.valid.tolist() == [[[True] * 3], [[True, True, False]]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, object])
def test_what_numpy_masks_is_missing(dtype: type) -> None:
    data = np.arange(24).reshape(4, 2, 3).astype(dtype)
    X = np.ma.masked_where(np.asarray(data % 5 == 0, bool), data)
    for form in (X, list(X), [list(x) for x in X], [np.asarray(data[0] * 0), *X[1:]]):
        series = as_series(form)
        assert series.valid is not None
        assert np.array_equal(series.valid[1:], ~X.mask[1:])
        assert np.array_equal(series.values[1:], np.where(X.mask, 0, data)[1:].astype(np.float32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int32])
def test_tensors_are_arrays(dtype: torch.dtype) -> None:
    X = torch.arange(12).reshape(2, 2, 3).to(dtype)
    if dtype.is_floating_point:
        X.requires_grad_()
    for form in (X, list(X), [list(x) for x in X]):
        assert as_series(form).values.tolist() == X.tolist()
    assert as_series([X[0], X[1, :, :2]]).valid is not None


def test_series_stay_what_they_are() -> None:
    series = as_series([[1.0, 2.0], [NAN, 3.0]])
    assert as_series(series) is series
    assert np.array_equal(series.with_nan(), [[[1, 2]], [[NAN, 3]]], equal_nan=True)
    whole = as_series([[1.0, 2.0]])
    assert np.array_equal(whole.with_nan(), whole.values)


def test_an_array_of_series_is_a_list_of_them() -> None:
    series = as_series(np.array([np.arange(3.0), np.arange(2.0)], dtype=object))
    assert series.valid.tolist() == [[[True] * 3], [[True, True, False]]]


@pytest.mark.parametrize("n_dims", [2, 3])
def test_an_array_of_objects_that_are_numbers_stays_an_array(n_dims: int) -> None:
    X = np.arange(6.0).reshape((2, 3) if n_dims == 2 else (2, 1, 3)).astype(object)
    X[0, ..., 1] = None
    assert unmasked(X) is X
    assert as_series(X).valid.tolist() == [[[True, False, True]], [[True] * 3]]


def test_channels_that_differ_in_length_are_refused_with_their_case() -> None:
    with pytest.raises(ValueError, match=r"^channels of case 1 of X differ in length: fill them up with NaN"):
        as_series([[[1.0], [2.0]], [[1.0, 2.0], [3.0]]])


@pytest.mark.parametrize("other", ["1", b"1", np.datetime64("2024-01-01"), np.timedelta64(1, "s"), pd.Timestamp(0)])
def test_text_and_times_are_refused_among_objects_too(other: object) -> None:
    X = np.array([[1.0, 2.0], [3.0, None]], dtype=object)
    X[1, 1] = other
    for form in (X, list(X), [X[0], X[1, 1:]]):
        with pytest.raises(ValueError, match="X must hold real numbers, but holds "):
            as_series(form)


@pytest.mark.parametrize("value", [INF, -INF, 1e39, -1e300])
@pytest.mark.parametrize("as_list", [False, True])
def test_infinity_is_refused_with_its_place(value: float, as_list: bool) -> None:
    X = np.zeros((4, 3, 6))
    X[2, 1, 5] = X[3, 0, 0] = value
    X[0, 0, 0] = NAN
    with pytest.raises(
        ValueError, match=r"panel contains infinity.* 2 times, first in case 2, channel 1, time point 5"
    ):
        as_series(list(X) if as_list else X, "panel")


def test_large_but_possible_values_pass() -> None:
    assert as_series(np.array([[1e38, -3e38]])).values.max() == np.float32(1e38)


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((2, 3), complex),
        np.array([["a", "b"]]),
        np.array([[b"1", b"2"]]),
        np.array([["2020-01-01"]], "datetime64[D]"),
        np.array([[1]], "timedelta64[s]"),
        np.array([["a", 1]], object),
        np.array([[None, 1j]], object),
        [["a", "b"], ["c", "d"]],
        [np.zeros(3, complex)],
    ],
    ids=str,
)
def test_what_is_no_number_is_refused(X: object) -> None:
    with pytest.raises(ValueError, match="X must hold real numbers"):
        as_series(X)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, bool, np.float16, np.float64, np.longdouble, object])
def test_numbers_of_any_kind(dtype: type) -> None:
    X = np.array([[1, 0, 1], [0, 0, 1]], dtype)
    series = as_series(X)
    assert series.values.dtype == np.float32
    assert series.values[:, 0].tolist() == [[1, 0, 1], [0, 0, 1]]
    assert series.valid is None


@pytest.mark.parametrize("shape", [(), (5,), (1, 2, 3, 4)])
def test_other_dimensions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"panel must be \(n_cases, n_timepoints\).* has {len(shape)} dimension"):
        as_series(np.zeros(shape), "panel")


@pytest.mark.parametrize("X", [[1.0, 2.0, 3.0], [np.float64(1), np.float64(2)], [np.array(1.0)], "text"])
def test_a_flat_list_is_one_dimensional_too(X: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\(n_channels, n_timepoints\)"):
        as_series(X)


@pytest.mark.parametrize(
    "X", [np.zeros((0, 3)), np.zeros((2, 0)), np.zeros((2, 0, 4)), [], (), [[], []], [np.zeros((1, 0))]]
)
def test_nothing_is_refused(X: object) -> None:
    with pytest.raises(ValueError, match=r"X holds no (data|series)"):
        as_series(X)


def test_one_empty_series_among_others_is_missing() -> None:
    series = as_series([[1.0, 2.0], []])
    assert series.valid.tolist() == [[[True, True]], [[False, False]]]


def test_channels_must_agree() -> None:
    with pytest.raises(ValueError, match="case 1 of X has 3 channels, but case 0 has 2: every series"):
        as_series([np.zeros((2, 4)), np.zeros((3, 4))])
    with pytest.raises(ValueError, match=r"case 1 of X must be \(n_channels, n_timepoints\).*\(1, 2, 4\)"):
        as_series([np.zeros((2, 4)), np.zeros((1, 2, 4))])


def test_read_only_fortran_ordered_and_strided_arrays() -> None:
    X = np.random.default_rng(0).standard_normal((4, 3, 6)).astype(np.float32)
    X[1, 2, 3] = NAN
    want = as_series(X)
    frozen, fortran, strided = X.copy(), np.asfortranarray(X), np.repeat(X, 2, 2)[..., ::2]
    frozen.setflags(write=False)
    for other in (frozen, fortran, strided, X.astype(">f4"), list(X)):
        got = as_series(other)
        assert np.array_equal(got.values, want.values)
        assert np.array_equal(got.valid, want.valid)
        assert got.values.flags.writeable
        assert got.values.dtype.isnative


def test_last_valid() -> None:
    valid = np.array([[[0, 1, 0], [0, 0, 0]], [[1, 1, 1], [1, 0, 0]]], bool)
    assert last_valid(valid).tolist() == [[2, 0], [3, 1]]


@pytest.mark.parametrize("max_epochs", [0, 1])
def test_univariate_series_with_the_channel_last_are_refused_with_advice_that_helps(max_epochs: int) -> None:
    X = np.random.default_rng(0).normal(size=(6, 40, 1))
    embedder = TSJEPAEmbedder("tiny", max_epochs=max_epochs, device="cpu")
    with pytest.raises(ConfigError, match=r"one point only, .*: if these are series of 40 points, swap the last two"):
        embedder.fit(X)
    assert embedder.fit(X.transpose(0, 2, 1)).n_features_in_ == 1


def test_a_warning_in_code_without_a_name_stops_nothing() -> None:
    exec("warn('the sensor stands still'); done.append(True)", {"warn": warn, "done": (done := []), "__name__": None})
    assert done
