"""What a data source gives: the public `Dataset`, and the `Part` that each file reader returns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Case = NDArray[np.float32]
Collection = NDArray[np.float32] | list[Case]
Labels = NDArray[Any]


class DataError(ValueError):
    """An expected failure of a data source, told in one sentence that says what to do next.

    Bad files, unknown names and missing connections all end here.

    Examples
    --------
    >>> from tsjepa.datasets import DataError, load
    >>> try:
    ...     load("no_such_folder/sensor.ts")
    ... except DataError as error:
    ...     print(str(error).split(";")[0])
    no_such_folder/sensor.ts does not exist
    """


class LogError(DataError):
    """A sensor log, where series are needed.

    Examples
    --------
    >>> issubclass(LogError, DataError)
    True
    """


class UncutError(DataError):
    """Rows that are points in time, where series are needed: who cuts logs can say in which way.

    Examples
    --------
    >>> issubclass(UncutError, DataError)
    True
    """


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled or unlabelled time series with their training and test parts.

    Attributes
    ----------
    name : str
        The archive's name, or the stem of the file.
    source : str
        Where the values came from, one line for people.
    X_train, X_test : ndarray of shape (n_cases, n_channels, n_timepoints), or list of ndarray
        float32 values with NaN where one is missing. Where lengths differ, a list of arrays of shape
        (n_channels, n_timepoints), for both parts. `X_test` is None where the source has no test part.
    y_train, y_test : ndarray of shape (n_cases,) or None
        int64 class codes, or a float64 numeric target; None where the part is unlabelled or absent. A series without
        a label among others that have one has the code -1, or NaN: that is no class, so leave it out where labels are
        needed, as by ``y_train >= 0``.
    classes : tuple of str or None
        Class names in the order of their codes; None for a numeric target or no labels.
    notes : tuple of str
        What the user should know before trusting a number, one sentence each.
    test_notes : tuple of str
        Those of them that are of the test part alone.

    Examples
    --------
    >>> from tsjepa.datasets import load
    >>> gunpoint = load("GunPoint")
    >>> gunpoint.X_train.shape, gunpoint.X_test.shape, gunpoint.classes
    ((50, 1, 150), (150, 1, 150), ('1', '2'))
    """

    name: str
    source: str
    X_train: Collection
    y_train: Labels | None
    X_test: Collection | None
    y_test: Labels | None
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]
    test_notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a data set as its file has it.

    Attributes
    ----------
    X : ndarray of shape (n_cases, n_channels, n_timepoints), or list of ndarray
        float32 values; a list where lengths differ.
    y : ndarray of shape (n_cases,) or None
        Class names as text, or float64 numbers; empty text or NaN for a case without a label.
    numeric : bool
        True where the file itself declares a numeric target. Other float labels are one only if some
        value is not whole, or those of the other part are one, which can only be told from both parts together.
    written : ndarray of shape (n_cases,) or None
        The labels as text, where a file without types was found to hold numbers, or true and false: ``01`` is another
        class than ``1``, and the other part may hold words besides.
    notes : tuple of str
        Announcements about this file.
    channels, points : tuple of str
        Names of the channels, or of the time points, where the file has them; else empty.
    """

    X: Collection
    y: Labels | None = None
    numeric: bool = False
    written: Labels | None = None
    notes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
