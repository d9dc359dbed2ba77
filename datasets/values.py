"""Text and numbers to checked float32 series."""

import string

import numpy as np
from numpy.typing import NDArray

from tsjepa.datasets.dataset import Case, Collection, DataError

TOO_LARGE = "an infinite value (or one too large for 32-bit floats); remove it or mark it missing with NaN"


def parse_row(text: str, separator: str, where: str) -> Case:
    """Numbers from one line of text.

    Parameters
    ----------
    text : str
        Numbers; ``NaN`` and ``?`` are missing values.
    separator : str
        The character between two numbers.
    where : str
        File and line, for the message.

    Returns
    -------
    ndarray of shape (n_timepoints,)
        float32 values.

    Raises
    ------
    DataError
        If an entry is not a number, as one that is empty or holds two, or is infinite.

    Examples
    --------
    >>> parse_row("1,?,2.5", ",", "sensor.ts, line 8").tolist()
    [1.0, nan, 2.5]
    """
    try:
        values = np.fromstring(text.replace("?", "nan"), dtype=np.float32, sep=separator)
    except ValueError:
        values = np.empty(0, dtype=np.float32)
    # a shorter result is also how an empty entry or a trailing separator shows; but numpy takes any white space for a
    # tab, and a blank inside one entry would then make up for another one that is empty
    if len(values) != text.count(separator) + 1 or (separator.isspace() and _has_empty(text, separator)):
        raise DataError(f"{where}: {_complaint(text.split(separator))}")
    if np.isinf(values).any():
        raise DataError(f"{where}: value {int(np.isinf(values).argmax()) + 1} is {TOO_LARGE}")
    return values


def _has_empty(text: str, separator: str) -> bool:
    for blank in string.whitespace.replace(separator, ""):
        text = text.replace(blank, "") if blank in text else text  # a look costs a tenth of a replacement
    return separator * 2 in f"{separator}{text}{separator}"


def _complaint(entries: list[str]) -> str:
    for position, entry in enumerate(entries, 1):
        if not _is_number(entry):
            shown = repr(entry.strip()[:40]) if entry.strip() else "empty"
            return f"value {position} of {len(entries)} is {shown}, not a number; write missing values as NaN"
    return "the values cannot be told apart; check the separators"


def _is_number(entry: str) -> bool:
    if "_" in entry:  # Python's own literals allow it, data files do not
        return False
    try:
        float(entry.replace("?", "nan"))
    except ValueError:
        return False
    return True


def as_float32(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Make float32 of numbers; what does not fit becomes infinite, which `check_values` refuses.

    Examples
    --------
    >>> as_float32(np.array([1, 2])).dtype
    dtype('float32')
    """
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def stack_cases(cases: list[Case]) -> Collection:
    """One array where all cases have one shape, else the list itself.

    Parameters
    ----------
    cases : list of ndarray of shape (n_channels, n_timepoints)
        The series, one array a case.

    Returns
    -------
    ndarray of shape (n_cases, n_channels, n_timepoints), or list of ndarray
        float32 series.

    Examples
    --------
    >>> stack_cases([np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)]).shape
    (2, 1, 4)
    """
    if len({case.shape for case in cases}) == 1:
        return np.stack(cases)
    return cases


def check_values(X: Collection, where: str) -> None:
    """Refuse what nothing can be learnt from.

    Parameters
    ----------
    X : ndarray of shape (n_cases, n_channels, n_timepoints), or list of ndarray
        float32 series.
    where : str
        The file, for the message.

    Raises
    ------
    DataError
        If there is no case, an infinite value, or no value at all that is not missing.

    Examples
    --------
    >>> check_values(np.zeros((2, 1, 5), dtype=np.float32), "sensor.npz")
    """
    if len(X) == 0:
        raise DataError(f"{where} holds no series; give a file with at least one")
    usable = False
    for index, case in enumerate(X):
        if np.isinf(case).any():
            raise DataError(f"{where}: case {index} (counting from 0) holds {TOO_LARGE}")
        usable = usable or not bool(np.isnan(case).all())
    if not usable:
        raise DataError(f"{where}: every value is missing, so there is nothing to learn from; check the export")
