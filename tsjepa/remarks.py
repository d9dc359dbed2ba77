"""What a user should know of series before a model sees them, one sentence each."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import Series, counted, last_valid, unmasked

# Roundings of a channel's largest magnitude within which its values are taken for equal
ROUNDINGS = 16


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
    >>> from tsjepa import as_series
    >>> remarks(as_series([[1.0, 1.0], [1.0, 2.0]]))
    ['1 of 2 series is constant, the first in case 0: instance normalisation turns it into zeros.']
    >>> remarks(as_series(np.ones((2, 1, 5))), channels=["flow"])
    ['2 of 2 series are constant, flow in every case: instance normalisation turns them into zeros.']
    """
    axes = swapped_axes(series) if channels is None else ()
    short = () if patch_length is None else short_series(series, patch_length)
    return [*axes, *dead_channels(series, channels, normalize, scale_features, given), *short]


def swapped_axes(series: Series) -> Iterator[str]:
    """Say so where there are so many more channels than points that they may be the points, as in other libraries."""
    n_channels, n_points = series.n_channels, series.n_timepoints
    if n_points < 8 and n_channels >= 4 * n_points:
        meant = f"{counted(n_points, 'channel')} of {n_channels} points, swap the last two axes."
        yield f"{n_channels} channels of {counted(n_points, 'point')} each: if these are {meant}"


def dead_channels(
    series: Series, channels: Sequence[str] | None, normalize: str, scale_features: bool, given: Any
) -> Iterator[str]:
    """Say how many channels have no value, or one only, and what becomes of them; see `remarks`."""
    there = True if series.valid is None else series.valid
    low = np.min(series.values, -1, initial=np.inf, where=there)
    high = np.max(series.values, -1, initial=-np.inf, where=there)
    measured, constant = low <= high, low == high
    flattened = varying(given, constant)
    because = "instance normalisation turns {them} into zeros."
    if scale_features:
        because = "the embedding holds {whose} level only."
    if normalize != "instance":  # a level of its own does say something
        constant &= low.min(0) == high.max(0)
        because = "a value that is the same in all series says nothing."
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
            yield f"{amount(chosen)} {said}"


def short_series(series: Series, patch_length: int) -> Iterator[str]:
    """Say how many series are shorter than a patch."""
    valid = series.valid
    ends = np.full(series.n_cases, series.n_timepoints) if valid is None else last_valid(valid).max(-1)
    short = int(((ends < patch_length) & (ends > 0)).sum())
    if short:
        are, they_are = ("is", "it is") if short == 1 else ("are", "they are")
        yield (
            f"{short} of {series.n_cases} series {are} shorter than a patch ({counted(patch_length, 'point')}): "
            f"{they_are} filled up with missing points."
        )


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
    """Say how many of the channels of all series are chosen; where each series has one, they are called series."""
    number, (n_cases, n_channels) = int(chosen.sum()), chosen.shape
    each = "series" if n_channels == 1 else "channels"
    if min(n_cases, n_channels) > 1:
        each += f" ({n_channels} a series)"
    return f"{number} of {chosen.size} {each} {'is' if number == 1 else 'are'}"


def other_channels(X: Any, n_channels: int, *, mixed: bool) -> str:
    """Return what to do about another number of channels than `n_channels`, which an encoder may have mixed.

    Examples
    --------
    >>> other_channels(np.zeros((3, 500)), 3, mixed=False)
    'a 2-D X holds one series a row: give one series of 3 channels as X[None].'
    """
    numbers = getattr(X, "ndim", 0) == 2 and not hasattr(X, "columns") and X.dtype != object
    if numbers and len(X) == n_channels:
        return f"a 2-D X holds one series a row: give one series of {n_channels} channels as X[None]."
    way = "" if mixed else ', or fit with overrides=["probe.channels=mean", "normalize=instance"]'
    return f"give the same ones{way}."
