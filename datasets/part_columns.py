"""Columns of a training and a test table: brought together by their names."""

import re
from dataclasses import replace
from itertools import pairwise

from tsjepa.datasets.dataset import Collection, DataError, Part
from tsjepa.datasets.naming import listed

# What stands for a number in a name, and what joins the two
BEFORE = re.compile(r"[\W_]*#")
NUMBER = re.compile(r"(?:^-)?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def in_order_of(train: Part, test: Part, where: str) -> Part:
    """Put the time points and channels of a test part into the order that its training part has, by their names.

    Parameters
    ----------
    train, test : Part
        Both parts, as their files have them.
    where : str
        The files, for the message.

    Returns
    -------
    Part
        The test part. It stays as it is where one of the two has no names, or only such as count its columns
        (``t0``, ``t1``), unless names that both have come in another order.

    Raises
    ------
    DataError
        If the names are others.

    Examples
    --------
    >>> import numpy as np
    >>> train = Part(np.zeros((1, 1, 2), np.float32), points=("low", "high"))
    >>> test = Part(np.array([[[8, 3]]], np.float32), points=("high", "low"))
    >>> in_order_of(train, test, "both files").X.tolist()
    [[[3.0, 8.0]]]
    """
    X, notes = test.X, test.notes
    for what, axis, names, own in (
        ("time points", -1, train.points, test.points),
        ("channels", -2, train.channels, test.channels),
    ):
        order = _order(names, own, f"{where} have {what} of different names")
        if order is not None:
            X = _taken(X, order, axis)
            notes = (*notes, f"{what} of the test part were put into the order of the training part, by their names")
    return replace(test, X=X, notes=notes)


def _order(names: tuple[str, ...], own: tuple[str, ...], complaint: str) -> list[int] | None:
    """Return the places in `own` of the names, None where columns stay in their order."""
    if not names or not own or [*map(str.casefold, names)] == [*map(str.casefold, own)]:
        return None
    places = {name: place for place, name in enumerate(own)}
    if set(names) == set(own):
        return [places[name] for name in names]
    shared = {*names} & {*own}
    in_order = [name for name in names if name in shared] == [name for name in own if name in shared]
    ways = (_counts(names), _counts(own))
    # names that count say nothing beside others, but where some are the same, all have to count
    if in_order and sum(ways) != 0 and (all(ways) or not shared):
        return None
    others = [name for name in dict.fromkeys((*names, *own)) if name not in shared]
    raise DataError(f"{complaint}: only one of the two has {listed(others)}; give both the same names")


def _counts(names: tuple[str, ...]) -> int:
    """Return -1 where names differ in a number that falls, 1 where in another way (30/01, 31/01, 01/02), else 0.

    One of them may be without its number, as in t-2, t-1, t.
    """
    forms = [NUMBER.sub("#", name) for name in names]
    numbered = {form for form in forms if "#" in form}
    bare = [form for form in forms if "#" not in form]
    if len(numbered) != 1 or (bare and bare != [BEFORE.sub("", min(numbered))]):
        return 0
    numbers = [tuple(map(float, NUMBER.findall(name))) for name in names if NUMBER.search(name)]
    signs = {1 if after > before else -1 for before, after in pairwise(numbers) if after != before} or {1}
    return min(signs) if len(signs) == 1 else 1


def _taken(X: Collection, order: list[int], axis: int) -> Collection:
    return [case.take(order, axis) for case in X] if isinstance(X, list) else X.take(order, axis)
