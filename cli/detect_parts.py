"""What a follower found in some lines: stretches with their scores, events that ended, and the numbers of new ones."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.events import Event
from tsjepa.surprise import Scores

# Of a run's name and what tells its events apart: their numbers
Numbers = dict[tuple[str, int], int]


class Part(NamedTuple):
    """Rows of a run without a gap that were scored at a time.

    Attributes
    ----------
    name : str
        Of the run.
    rows : array of shape (n,)
        Their places among all rows that were read.
    found : Scores
    numbers : array of shape (n,)
        Of events, 0 for none; those of new ones only tell the events of the run apart.
    """

    name: str
    rows: NDArray[np.intp]
    found: Scores
    numbers: NDArray[np.int64]


class Ended(NamedTuple):
    """An event of a run that has ended, and the row that shows it, among all that were read."""

    row: int
    name: str
    event: Event


def new_numbers(parts: list[Part], known: int) -> Numbers:
    """Return the numbers of events behind those that are known, in the order of their first rows."""
    begun = []
    for part in parts:
        own, first = np.unique(part.numbers, return_index=True)
        begun += [(int(part.rows[at]), part.name, int(x)) for x, at in zip(own, first, strict=True)]
    new = [(name, own) for _, name, own in sorted(begun) if own > known]
    return {key: at for at, key in enumerate(dict.fromkeys(new), known + 1)}


def numbered(event: Event, name: str, numbers: Numbers) -> Event:
    """Return an event of a run with its number, if it has got one."""
    return event._replace(number=numbers.get((name, event.number), event.number))


def places(names: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    """Return the places of each name, in the order in which names first come.

    Examples
    --------
    >>> places(["b", "a", "b"])
    {'b': array([0, 2]), 'a': array([1])}
    """
    found = defaultdict[str, list[int]](list)
    for place, name in enumerate(names):
        found[name].append(place)
    return {name: np.array(own) for name, own in found.items()}


def shown_score(value: np.float32) -> str:
    """Write a score so that it is read as the same float32; nothing for NaN.

    Examples
    --------
    >>> shown_score(np.float32(0.1)), shown_score(np.float32("nan"))
    ('0.100000001', '')
    """
    return "" if np.isnan(value) else f"{value:.9g}"
