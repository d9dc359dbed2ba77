"""What X may be: 2-D and 3-D arrays and lists of series, to values and a mask of what was measured."""

import sys
import warnings
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

# Objects that are no numbers, though numpy makes numbers of them
NO_NUMBERS = (str, bytes, date, timedelta, np.datetime64, np.timedelta64)
# Packages whose calls stand between a user's line and what is found in its data
BETWEEN = ("tsjepa", "sklearn", "joblib", "aeon", "sktime")


class DataWarning(UserWarning):
    """Something about the data that a user should know, and that is not an error."""


def warn(text: str, kind: type[Warning] = DataWarning) -> None:
    """Warn at the user's line that led here, whatever calls of this package and its hosts lie between.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn("the sensor stands still")
    >>> str(caught[0].message)
    'the sensor stands still'
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, kind, stacklevel=level)


class Series(NamedTuple):
    """Series in one rectangular array.

    Attributes
    ----------
    values : float32 array of shape (n_cases, n_channels, n_timepoints)
        Zero where nothing was measured.
    valid : bool array of shape (n_cases, n_channels, n_timepoints), optional
        Which points were measured; None means all.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_] | None = None

    @property
    def n_cases(self) -> int:
        """Number of series."""
        return self.values.shape[0]

    @property
    def n_channels(self) -> int:
        """Number of channels C."""
        return self.values.shape[1]

    @property
    def n_timepoints(self) -> int:
        """Number of time points T of the longest series."""
        return self.values.shape[2]

    def take(self, cases: NDArray[np.int64]) -> "Series":
        """Return some of the series, in the order asked for.

        Examples
        --------
        >>> as_series([[1.0, 2.0], [3.0, 4.0]]).take(np.array([1])).values.tolist()
        [[[3.0, 4.0]]]
        """
        return Series(self.values[cases], None if self.valid is None else self.valid[cases])

    def with_nan(self) -> NDArray[np.float32]:
        """Return the values, NaN where nothing was measured.

        Examples
        --------
        >>> as_series([[1.0, float("nan")]]).with_nan().tolist()
        [[[1.0, nan]]]
        """
        return self.values if self.valid is None else np.where(self.valid, self.values, np.float32(np.nan))

    def measured(self) -> NDArray[np.int64]:
        """Return the cases that hold a value at all.

        Examples
        --------
        >>> as_series([[1.0, 2.0], [float("nan"), float("nan")]]).measured()
        array([0])
        """
        return np.arange(self.n_cases) if self.valid is None else np.flatnonzero(self.valid.any((1, 2)))


class SeriesSource(Protocol):
    """Series by random access, in memory (`Series`) or on disk: all that training and embedding need of them."""

    @property
    def n_cases(self) -> int:
        """Number of series."""

    @property
    def n_channels(self) -> int:
        """Number of channels C."""

    @property
    def n_timepoints(self) -> int:
        """Number of time points T of the longest series."""

    def take(self, cases: NDArray[np.int64]) -> Series:
        """Return some of the series, in the order asked for."""

    def measured(self) -> NDArray[np.int64]:
        """Return the cases that hold a value at all."""


def as_series(X: Any, name: str = "X") -> Series:
    """Bring what a user may pass into one array and a mask.

    Parameters
    ----------
    X : array of shape (n_cases, n_timepoints) or (n_cases, n_channels, n_timepoints), or list of arrays
        A list holds series of shape (n_channels, n_timepoints) or (n_timepoints,) that may differ in length;
        shorter ones are filled up at their end with missing points. NaN is missing, and so is what numpy masks. A
        `Series` comes back as it is.
    name : str, default="X"
        What an error calls it.

    Returns
    -------
    Series

    Raises
    ------
    ValueError
        If the shape fits none of these, series differ in their channels, there is no case, or a value is infinite.

    Examples
    --------
    >>> series = as_series([[1.0, 2.0, 3.0], [4.0, float("nan")]])
    >>> series.values.shape, int(series.valid.sum())
    ((2, 1, 3), 4)
    """
    if isinstance(X, Series):
        return X
    X = unmasked(X)
    if isinstance(X, Sequence):
        X = pad(X, name)
    values = np.asarray(X)
    if values.ndim == 2:
        values = values[:, None, :]
    if values.ndim != 3:
        raise ValueError(
            f"{name} must be (n_cases, n_timepoints), (n_cases, n_channels, n_timepoints) or a list of "
            f"(n_channels, n_timepoints) arrays, but has {counted(values.ndim, 'dimension')}."
        )
    if 0 in values.shape:
        raise ValueError(f"{name} holds no data: its shape is {values.shape}.")
    return mark_missing(to_float32(values, name), name)


def unmasked(X: Any) -> Any:
    """Return what is no plain array as one: masked points are NaN, a tensor is numpy's, an array of series a list.

    Everything else, lists of arrays among it, comes back as it is.

    Examples
    --------
    >>> unmasked(np.ma.masked_equal([1, 99], 99)).tolist()
    [1.0, nan]
    """
    if isinstance(X, Series):
        return X.with_nan()
    if hasattr(X, "detach"):  # a tensor, whose narrow types numpy may not know
        X = X.detach().cpu()
        return (X.double() if X.is_floating_point() and X.element_size() < 4 else X).numpy()
    if isinstance(X, np.ma.MaskedArray):
        X = X.astype(np.float64) if X.dtype.kind in "biu" else X
        return X.filled(np.nan) if X.dtype.kind in "fO" else X.data  # other types are refused by their name
    if (
        isinstance(X, np.ndarray)
        and X.dtype == object
        and any(isinstance(x, np.ndarray | list | tuple) for x in X.flat)
    ):
        X = list(X)
    if not isinstance(X, list | tuple):
        return X
    found = [unmasked(x) for x in X]
    return found if any(a is not b for a, b in zip(found, X, strict=True)) else X


def refuse_type(values: NDArray[Any], name: str, kinds: str = "biufO") -> None:
    """Refuse an array of other kinds of types, or of objects that are text or times.

    Examples
    --------
    >>> refuse_type(np.array(["1"]), "X")
    Traceback (most recent call last):
    ValueError: X must hold real numbers, but its type is <U1.
    """
    if values.dtype.kind not in kinds:
        raise ValueError(f"{name} must hold real numbers, but its type is {values.dtype}.")
    for x in values.flat if values.dtype.kind == "O" else ():
        if isinstance(x, NO_NUMBERS):
            raise ValueError(f"{name} must hold real numbers, but holds {str(x)[:40]!r}.")


def to_float32(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Return a float32 copy, refusing what is not a number."""
    refuse_type(values, name)
    try:
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is reported below
            return values.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold real numbers: {error}.") from error


def mark_missing(values: NDArray[np.float32], name: str) -> Series:
    """Return values with zeros for NaN, and which points were measured."""
    finite = np.isfinite(values)
    if finite.all():
        return Series(values)
    infinite = np.isinf(values)
    if infinite.any():
        case, channel, time = (int(i) for i in np.argwhere(infinite)[0])
        raise ValueError(
            f"{name} contains infinity, or a value too large for float32, {counted(infinite.sum(), 'time')}, first in "
            f"case {case}, channel {channel}, time point {time}: put NaN there to mark it missing."
        )
    return Series(np.where(finite, values, np.float32(0)), finite)


def pad(X: Sequence[Any], name: str) -> NDArray[Any]:
    """Stack series of different length, shorter ones filled up with NaN at their end."""
    if not len(X):
        raise ValueError(f"{name} holds no series.")
    arrays = []
    for case, x in enumerate(X):
        try:
            arrays.append(np.asarray(x))
        except ValueError as error:  # numpy's of lists within lists
            raise ValueError(f"channels of case {case} of {name} differ in length: fill them up with NaN.") from error
    for case, x in enumerate(arrays):
        if x.ndim not in (1, 2):
            raise ValueError(f"case {case} of {name} must be (n_channels, n_timepoints), but its shape is {x.shape}.")
    series = [np.atleast_2d(x) for x in arrays]
    channels = series[0].shape[0]
    for case, x in enumerate(series):
        if x.shape[0] != channels:
            raise ValueError(
                f"case {case} of {name} has {counted(x.shape[0], 'channel')}, but case 0 has {channels}: "
                "every series needs the same channels."
            )
    padded = np.full((len(series), channels, max(x.shape[1] for x in series)), np.nan, np.float32)
    for row, x in zip(padded, series, strict=True):
        row[:, : x.shape[1]] = to_float32(x, name)
    return padded


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Write how many things there are, in the plural unless there is one.

    Examples
    --------
    >>> counted(1, "event"), counted(0, "event"), counted(3, "patch", "patches")
    ('1 event', '0 events', '3 patches')
    """
    return f"{number} {thing if number == 1 else things or thing + 's'}"


def last_valid(valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of points up to the last measured one, along the last axis."""
    length = valid.shape[-1]
    return np.where(valid.any(-1), length - valid[..., ::-1].argmax(-1), 0)
