"""What X may be: 2-D and 3-D arrays and lists of series, to values and a mask of what was measured."""

import sys
import warnings
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

# Roundings of a channel's largest magnitude within which its values are taken for equal
ROUNDINGS = 16
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


def remarks(
    series: Series,
    patch_length: int | None = None,
    channels: Sequence[str] | None = None,
    normalize: str = "instance",
    scale_features: bool = False,
    given: Any = None,
) -> list[str]:
    """Say what a user should know of the data: swapped axes, no values, constant channels, short series.

    Parameters
    ----------
    series : Series
    patch_length : int, optional
        Length of a patch in time points.
    channels : sequence of str, optional
        Names of the channels, by which those are called that are dead in every series.
    normalize : str, default="instance"
        How the encoder normalises. In other ways than by instance a constant channel may say something, by its level,
        unless it has the same one in every series.
    scale_features : bool, default=False
        Whether the embedding holds level and scale of channels besides.
    given : as X for `as_series`, optional
        What the series were before: channels that varied there are constant by the digits of float32 only.

    Returns
    -------
    list of str
        One sentence each.

    Examples
    --------
    >>> remarks(as_series([[1.0, 1.0], [1.0, 2.0]]))
    ['1 of 2 channels is constant, the first in case 0: instance normalisation turns it into zeros.']
    >>> remarks(as_series(np.ones((2, 1, 5))), channels=["flow"])
    ['2 of 2 channels are constant, flow in every case: instance normalisation turns them into zeros.']
    """
    values, valid = series
    measured = np.ones(values.shape[:2], bool) if valid is None else np.asarray(valid.any(-1))
    low = np.min(values, -1, initial=np.inf, where=True if valid is None else valid)
    high = np.max(values, -1, initial=-np.inf, where=True if valid is None else valid)
    found = []
    n_channels, n_points = values.shape[1:]
    if channels is None and n_points < 8 and n_channels >= 4 * n_points:  # as other libraries have the axes
        meant = f"{counted(n_points, 'channel')} of {n_channels} points, swap the last two axes."
        found.append(f"{n_channels} channels of {counted(n_points, 'point')} each: if these are {meant}")
    constant, because = measured & np.equal(low, high), "instance normalisation turns {them} into zeros."
    flattened = varying(given, constant)
    if scale_features:
        because = "the embedding holds {whose} level only."
    if normalize != "instance":  # a level of its own does say something
        lowest, highest = np.where(measured, low, np.inf).min(0), np.where(measured, high, -np.inf).max(0)
        constant, because = constant & np.equal(lowest, highest), "a value that is the same in all series says nothing."
    for chosen, text in (
        (~measured, "without any value, {where}: {whose} embedding is zeros."),
        (constant & ~flattened, "constant, {where}: " + because),
        (
            flattened,
            "too fine for 32-bit floats, which hold seven digits, {where}: subtract {whose} level, or take "
            "differences, before.",
        ),
    ):
        if chosen.any():
            whose, them = ("its", "it") if chosen.sum() == 1 else ("their", "them")
            said = text.format(where=where(chosen, measured, channels), whose=whose, them=them)
            found.append(f"{amount(chosen)} {said}")
    if patch_length is not None:
        ends = np.full(series.n_cases, values.shape[2]) if valid is None else last_valid(valid).max(-1)
        short = (ends < patch_length) & (ends > 0)
        if short.any():
            one = short.sum() == 1
            found.append(
                f"{int(short.sum())} of {series.n_cases} series {'is' if one else 'are'} shorter than a patch "
                f"({counted(patch_length, 'point')}): {'it is' if one else 'they are'} filled up with missing points."
            )
    return found


def varying(X: Any, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the chosen channels [n_cases, n_channels] vary in X, which is as `as_series` takes it, or None.

    What lies within the rounding of X's own numbers does not.

    Examples
    --------
    >>> varying(np.array([[2.0**40, 2.0**40 + 1], [3.0, 3.0]]), np.array([[True], [True]])).tolist()
    [[True], [False]]
    """
    found = np.zeros_like(chosen)
    if X is None or not chosen.any():
        return found
    X = unmasked(X)
    X = X if isinstance(X, Sequence) else np.asarray(X)
    for case in np.flatnonzero(chosen.any(1)):
        values = np.atleast_2d(np.asarray(X[case]))[chosen[case]]
        if values.shape[-1]:
            values = values if values.dtype.kind in "biuf" else values.astype(np.float64)
            low, high = np.fmin.reduce(values, -1), np.fmax.reduce(values, -1)  # NaN is missing
            varies = low < high
            if values.dtype.kind == "f":
                varies &= high - low > ROUNDINGS * np.finfo(values.dtype).eps * np.fmax(np.abs(high), np.abs(low))
            found[case, chosen[case]] = varies
    return found


def where(chosen: NDArray[np.bool_], measured: NDArray[np.bool_], channels: Sequence[str] | None) -> str:
    """Say which channels are chosen in every case that measured them, or in which case the first is chosen."""
    throughout = np.asarray((chosen | ~measured).all(0) & chosen.any(0))
    if channels is not None and throughout.any():
        names = [name for name, dead in zip(channels, throughout, strict=True) if dead]
        return f"{', '.join(names)} in every case"
    return f"the first in case {int(np.argwhere(chosen)[0][0])}"


def amount(chosen: NDArray[Any]) -> str:
    """Say how many of the channels of all series are chosen."""
    number = int(chosen.sum())
    return f"{number} of {chosen.size} channels {'is' if number == 1 else 'are'}"


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
