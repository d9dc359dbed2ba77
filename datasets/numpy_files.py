"""Series from .npz and .npy files."""

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tsjepa.column_names import LABEL
from tsjepa.datasets.dataset import DataError, Part
from tsjepa.datasets.labels import array_labels
from tsjepa.datasets.values import as_float32

Array = np.ndarray[Any, Any]
KEYS = "X and y, or X_train, y_train, X_test and y_test (labels and the test part may be left out)"
# what a key of series or labels is called, of whatever part and in lower case: X_val, ytest, labels, label_test
MEANT = re.compile(rf"[xy]([\W\d_].*|train|test|val)?|({LABEL.pattern})s?([\W_]?(train|test|val))?")
UNREADABLE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path) -> tuple[Part, Part | None]:
    """Read the training part and, where there is one, the test part of a .npz file.

    Parameters
    ----------
    path : Path
        A file with the arrays `X` and `y`, or `X_train`, `y_train`, `X_test` and `y_test`; the series have
        shape (n_cases, n_timepoints) or (n_cases, n_channels, n_timepoints). A series whose label is NaN, or an empty
        text, has none.

    Returns
    -------
    train : Part
        The training part.
    test : Part or None
        The test part.

    Raises
    ------
    DataError
        If the file cannot be read without pickle, its keys, shapes or types are others, or series or labels would be
        left unread; arrays that are neither are named in the notes.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pump.npz")
    ...     np.savez(path, X=np.zeros((3, 2, 50)), y=[0, 1, 1])
    ...     train, test = read_npz(path)
    >>> train.X.shape, train.y.tolist(), test
    ((3, 2, 50), ['0', '1', '1'], None)
    """
    arrays = _open(path)
    if not isinstance(arrays, Mapping):
        raise DataError(f"{path} holds one array without a name; call it .npy, or save it with numpy.savez")
    if "X" in arrays and "X_train" in arrays:
        raise DataError(f"{path} has both X and X_train; keep {KEYS}")
    first = "X_train" if "X_train" in arrays else "X"
    if first not in arrays:
        raise DataError(f"{path} has the keys {', '.join(arrays) or '(none)'}; it needs {KEYS}")
    series = [first, "X_test"] if first == "X_train" and "X_test" in arrays else [first]
    notes = _left(arrays, [*series, *map(_label, series)], path)
    train, *test = (_part(arrays, key, path) for key in series)
    return replace(train, notes=notes), test[0] if test else None


def read_npy(path: Path) -> Part:
    """Read one unlabelled array.

    Parameters
    ----------
    path : Path
        An array of shape (n_cases, n_timepoints) or (n_cases, n_channels, n_timepoints).

    Returns
    -------
    Part
        Series without labels.

    Raises
    ------
    DataError
        If the file cannot be read without pickle, or the shape or type is another.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pump.npy")
    ...     np.save(path, np.zeros((3, 50)))
    ...     read_npy(path).X.shape
    (3, 1, 50)
    """
    array = _open(path)
    if isinstance(array, Mapping):
        raise DataError(f"{path} holds several arrays; call it .npz")
    return Part(_series(array, str(path)))


def _open(path: Path) -> Array | dict[str, Array]:
    try:
        with path.open("rb") as file:  # numpy leaves its own handle open when a zip file is damaged
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            return {key: loaded[key] for key in loaded.files}
    except UNREADABLE as error:
        if "pickle" in str(error):  # numpy's answer to object arrays and to bytes that are no array at all
            raise DataError(
                f"{path} holds Python objects, which could run code, or is no numpy file; save plain "
                "numbers, and series of different lengths as .ts or Parquet"
            ) from error
        raise DataError(f"{path} cannot be read ({error}); copy or save it again") from error


def _left(arrays: Mapping[str, Array], read: list[str], path: Path) -> tuple[str, ...]:
    """Refuse series and labels that are not read, and name other arrays that are not."""
    left = [key for key in arrays if key not in read]
    lost = [key for key in left if MEANT.fullmatch(key.lower())]
    if lost:
        read = [key for key in read if key in arrays]
        raise DataError(f"{path}: {', '.join(lost)} would not be read beside {', '.join(read)}; keep {KEYS}")
    listed = ", ".join(f"'{key}'" for key in left)
    return (f"{path.name}: arrays of other names are not read: {listed}",) if left else ()


def _label(key: str) -> str:
    return key.replace("X", "y")


def _part(arrays: Mapping[str, Array], key: str, path: Path) -> Part:
    X, label = _series(arrays[key], f"{path}, key {key}"), _label(key)
    y = array_labels(arrays[label], len(X), f"{path}, key {label}") if label in arrays else None
    return Part(X, y)


def _series(array: Array, where: str) -> Array:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where} has type {array.dtype}; series need real numbers")
    if array.ndim not in (2, 3):
        raise DataError(
            f"{where} has shape {array.shape}; series need (n_cases, n_timepoints) or (n_cases, n_channels, "
            "n_timepoints)"
        )
    return as_float32(array if array.ndim == 3 else array[:, None])
