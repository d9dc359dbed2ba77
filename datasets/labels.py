"""Labels as files have them -> class codes or a numeric target, the same for both parts."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import counted
from tsjepa.datasets.dataset import DataError, Labels, Part

UNLABELLED = ("", "?")
# 1,0 is what files with a decimal comma have
POINTED = re.compile(r"\s*\+?(-?\d+)(?:\.0*|,0)?\s*")


@dataclass(frozen=True, eq=False)
class Encoded:
    """Labels of both parts on one scale.

    Attributes
    ----------
    y_train, y_test : ndarray of shape (n_cases,) or None
        int64 codes or float64 targets; -1 or NaN for a case without a label.
    classes : tuple of str or None
        Class names in the order of their codes.
    notes : tuple of str
        One sentence for every class that training never sees, where it sees several.
    """

    y_train: Labels | None
    y_test: Labels | None
    classes: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


def encode(train: Part, test: Part | None) -> Encoded:
    """Put the labels of both parts on one scale.

    Parameters
    ----------
    train, test : Part
        The parts as read; of a part with labels, cases may be without one, see `has_label`.

    Returns
    -------
    Encoded
        Class names sorted from the training labels have the codes 0..k-1, names that only the test part
        has come after them. Float labels with a value that is not whole are a numeric target, and so are numbers whose
        other part is one. Other numbers of a file without types are classes as `class_name` calls them.

    Raises
    ------
    DataError
        If one part has a numeric target and the other class names.

    Examples
    --------
    >>> X = np.zeros((3, 1, 4), dtype=np.float32)
    >>> both = encode(Part(X, np.array(["10", "9", "10"])), Part(X, np.array(["9", "9", "11"])))
    >>> both.classes, both.y_train.tolist(), both.y_test.tolist()
    (('9', '10', '11'), [1, 0, 1], [0, 0, 2])
    >>> encode(Part(X, np.array(["worn", "", "calm"])), None).y_train.tolist()
    [1, -1, 0]
    """
    found = _encode(_known(train), _known(test))
    return replace(found, y_train=_spread(found.y_train, train), y_test=_spread(found.y_test, test))


def has_label(y: Labels) -> NDArray[np.bool_]:
    """Return of each case whether it has a label: no empty text, as files have it, no NaN, and no negative code.

    Examples
    --------
    >>> has_label(np.array(["worn", ""])).tolist(), has_label(np.array([0, -1])).tolist()
    ([True, False], [True, False])
    """
    if y.dtype.kind == "f":
        return ~np.isnan(y)
    return np.asarray(y != "" if y.dtype.kind == "U" else y >= 0)


def labelled_note(y: Labels | None, name: str) -> tuple[str, ...]:
    """Say how many series of a part have a label, where others have none.

    Examples
    --------
    >>> labelled_note(np.array([0, -1, 1]), "training")
    ('2 of 3 training series have a label',)
    """
    n_labelled = 0 if y is None else int(has_label(y).sum())
    if y is None or n_labelled == len(y):
        return ()
    return (f"{n_labelled} of {len(y)} {name} series {'has' if n_labelled == 1 else 'have'} a label",)


def _known(part: Part | None) -> Part | None:
    """Return a part with the labels that there are."""
    if part is None or part.y is None:
        return part
    known = has_label(part.y)
    return replace(part, y=part.y[known], written=None if part.written is None else part.written[known])


def _spread(y: Labels | None, part: Part | None) -> Labels | None:
    """Give the cases without a label theirs: -1, or NaN among targets."""
    if y is None or part is None or part.y is None:
        return y
    found = np.full(len(part.y), np.nan if y.dtype.kind == "f" else -1, y.dtype)
    found[has_label(part.y)] = y
    return found


def _encode(train: Part | None, test: Part | None) -> Encoded:
    parts = [part for part in (train, test) if part is not None and part.y is not None]
    if any(_is_target(part) for part in parts):
        return _targets(train, test)
    labels, test_labels = _as_written(train, test), _as_written(test, train)
    known, seen_in_test = _sorted_names(_names(labels)), _names(test_labels)
    classes = known + [name for name in _sorted_names(seen_in_test) if name not in set(known)]
    # with one class or none to learn, nothing is scored
    notes = [_unseen(name, seen_in_test) for name in classes[len(known) :] if len(known) > 1]
    return Encoded(_codes(labels, classes), _codes(test_labels, classes), tuple(classes) or None, tuple(notes))


def _is_target(part: Part) -> bool:
    if part.numeric or part.y is None or part.y.dtype.kind != "f":
        return part.numeric
    return bool((part.y != np.round(part.y)).any())


def _targets(train: Part | None, test: Part | None) -> Encoded:
    targets: list[Labels | None] = []
    for part in (train, test):
        if part is not None and part.y is not None and part.y.dtype.kind != "f" and not all(map(_is_finite, part.y)):
            raise DataError("one part has a numeric target, the other class names; give both parts the same kind")
        targets.append(None if part is None or part.y is None else part.y.astype(np.float64))
    return Encoded(targets[0], targets[1], None)


def _as_written(part: Part | None, other: Part | None) -> Part | None:
    """Call labels that are written as whole numbers, or whose other part has words, as they are written."""
    if part is None or part.written is None:
        return part
    texts = part.written.tolist()
    beside_words = other is not None and other.written is None and has_words(_names(other))
    if not beside_words and not are_whole(texts):
        return part
    return replace(part, y=np.array([class_name(text) for text in texts], dtype=np.str_))


def class_name(text: str) -> str:
    """Return what the class of a label is called, which a file without types has as text.

    ``1`` and ``1.0`` are one class, since a program that adds a row without a label to whole numbers writes the others
    as ``1.0``; so are ``-0`` and ``0``. Nothing else is brought together.

    Examples
    --------
    >>> [class_name(text) for text in ("1.0", "1,0", "+1", "01", "1.5", "1,000", "B")]
    ['1', '1', '1', '01', '1.5', '1,000', 'B']
    """
    found = POINTED.fullmatch(text)
    if found is None:
        return text
    return "0" if found[1] == "-0" else found[1]


def has_words(names: Iterable[str]) -> bool:
    """Tell class names that are not all numbers.

    Examples
    --------
    >>> has_words(["-1.0", "1e3"]), has_words(["1", "nan"])
    (False, True)
    """
    return not all(map(_is_finite, names))


def are_whole(names: Iterable[str]) -> bool:
    """Tell class names that are all whole numbers, written without an exponent."""
    return all(map(POINTED.fullmatch, names))


def _names(part: Part | None) -> list[str]:
    if part is None or part.y is None:
        return []
    return [str(int(label)) if part.y.dtype.kind == "f" else str(label) for label in part.y]


def _sorted_names(names: list[str]) -> list[str]:
    unique = set(names)
    if all(_is_finite(name) for name in unique):
        return sorted(unique, key=lambda name: (float(name), name))
    return sorted(unique)


def _is_finite(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _codes(part: Part | None, classes: list[str]) -> Labels | None:
    if part is None or part.y is None:
        return None
    code = {name: index for index, name in enumerate(classes)}
    return np.array([code[name] for name in _names(part)], dtype=np.int64)


def _unseen(name: str, labels: list[str]) -> str:
    wrong = counted(labels.count(name), "case counts", "cases count")
    return f"test class '{name}' never appears in training; its {wrong} as wrong"


def text_labels(labels: list[str], where: str) -> Labels | None:
    """Class names from text, or None where no case has one.

    Parameters
    ----------
    labels : list of str
        One entry a case; an empty one or ``?`` is no label.
    where : str
        The file, for the message.

    Returns
    -------
    ndarray of shape (n_cases,) or None
        Class names.

    Raises
    ------
    DataError
        If only some of the cases have a label.

    Examples
    --------
    >>> text_labels(["walk", "run"], "gait.ts").tolist()
    ['walk', 'run']
    >>> text_labels(["", ""], "gait.ts") is None
    True
    """
    missing = [index for index, label in enumerate(labels, 1) if label in UNLABELLED]
    if len(missing) == len(labels):
        return None
    if missing:
        raise DataError(f"{where}: case {missing[0]} has no label but others have; label all cases or none")
    return np.array(labels, dtype=np.str_)


def array_labels(labels: np.ndarray[Any, Any], n_cases: int, where: str) -> Labels | None:
    """Class names or numbers from an array of any usual type.

    Parameters
    ----------
    labels : ndarray of shape (n_cases,) or (n_cases, 1)
        Integers, booleans and text are class names, floats are kept as numbers. NaN and empty text are no label.
    n_cases : int
        How many labels there must be.
    where : str
        File and key, for the message.

    Returns
    -------
    ndarray of shape (n_cases,) or None
        Text, or float64 numbers; None where no case has a label.

    Raises
    ------
    DataError
        If the number of labels or their type is wrong, or a float label is infinite.

    Examples
    --------
    >>> array_labels(np.array([[1], [0]]), 2, "y").tolist()
    ['1', '0']
    """
    if labels.shape not in ((n_cases,), (n_cases, 1)):
        raise DataError(f"{where} has shape {labels.shape} for {n_cases} series; give one label a series")
    flat = labels.reshape(n_cases)
    if flat.dtype.kind not in "fiubU":
        raise DataError(f"{where} has type {flat.dtype}; give numbers, booleans or text as labels")
    if flat.dtype.kind == "f" and np.isinf(flat).any():
        case = int(np.argmax(np.isinf(flat))) + 1
        raise DataError(f"{where}: case {case} has an infinite label; give a finite one, or none")
    found = flat.astype(np.float64 if flat.dtype.kind == "f" else np.str_)
    return found if has_label(found).any() else None
