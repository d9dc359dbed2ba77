"""Which rows and windows of a log are normal, by their labels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.datasets.log_cache import RowStore
from tsjepa.datasets.log_cut import CHUNK, named_normal


def abnormal(rows: RowStore) -> NDArray[np.float64] | None:
    """Return of each row whether its label is abnormal: 1 or 0, NaN without a label; None without labels.

    Where no class says that it is normal, the most frequent one of several is, see `guessed_normal`.
    """
    return None if "label" not in rows.fields else np.concatenate(list(_by_chunk(rows)))


def told_abnormal(rows: RowStore) -> NDArray[np.bool_] | None:
    """Return of each row whether a label tells that it is abnormal; None where labels do not say what is normal.

    Words say it by themselves, a 0 where no more labels are others: else they are what a probe is to predict.
    """
    if "label" not in rows.fields:
        return None
    found, fine = np.zeros(rows.rows, bool), 0
    for number, part in enumerate(_by_chunk(rows)):
        found[number * CHUNK : (number + 1) * CHUNK] = part == 1
        fine += int((part == 0).sum())
    classes = rows.classes
    normal = {"0"} if classes is None else {classes[code].strip() for code in named_normal(classes)}
    few = found.sum() <= fine
    return found if normal - {"0"} or (normal and few) else None


def guessed_normal(rows: RowStore) -> str | None:
    """Return the most frequent of several classes, where none says that it is normal; None where one does."""
    classes = rows.classes or ()
    return None if len(classes) < 2 or named_normal(classes) else classes[normal_codes(rows)[0]]


def normal_codes(rows: RowStore) -> list[int]:
    """Return the codes of normal classes: those that say so by their name, else the most frequent of several."""
    classes = rows.classes or ()
    named = named_normal(classes)
    if named or len(classes) < 2:
        return named
    counts = np.zeros(len(classes), np.int64)
    for part in _labels(rows):
        counts += np.bincount(part[part >= 0], minlength=len(classes))
    return [int(counts.argmax())]


def hold_abnormal(rows: RowStore, start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Return of each window whether it holds a row that a label tells to be abnormal; None as of `told_abnormal`."""
    found = told_abnormal(rows)
    if found is None:
        return None
    places = np.flatnonzero(found)
    return np.searchsorted(places, start) < np.searchsorted(places, start + length)


def _by_chunk(rows: RowStore) -> Iterator[NDArray[np.float64]]:
    """Yield `abnormal` of so many rows at a time as `_labels` does."""
    normal = normal_codes(rows)
    for part in _labels(rows):
        if rows.classes is None:
            yield np.where(np.isnan(part), np.nan, part != 0)
        else:
            yield np.where(part < 0, np.nan, ~np.isin(part, normal))


def _labels(rows: RowStore) -> Iterator[NDArray[Any]]:
    """Yield the labels of so many rows at a time that memory does not grow with the log."""
    label = rows.column("label")
    return (label.slice(low, min(low + CHUNK, rows.rows)) for low in range(0, rows.rows, CHUNK))
