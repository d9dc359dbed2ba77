"""What tells a log from another one, and from itself before it grew, wherever it lies and whatever its files are."""

import hashlib
from typing import Any

import numpy as np

from tsjepa.datasets.log_cache import RowStore
from tsjepa.datasets.log_time import shown_time

# Rows whose values are compared: all of them would take as long as reading the log
SAMPLED = 1024
WORDS = {"rows": "number of rows", "first": "first time", "last": "last time"}


def fingerprint(store: RowStore) -> dict[str, Any]:
    """Return what is compared of a log, as plain types.

    Parameters
    ----------
    store : RowStore

    Returns
    -------
    dict
        ``rows``, their number; ``first`` and ``last``, times in words; ``values``, a hash of those of 1,024 rows that
        are spread evenly.
    """
    offsets = store.offsets()
    times = store.column("time").rows(np.concatenate([offsets[:-1], offsets[1:] - 1]))
    dated = store.time.kind == "timestamp"
    first, last = (shown_time(time, store.time) if dated else str(time) for time in (times.min(), times.max()))
    sample = np.unique(np.linspace(0, store.rows - 1, SAMPLED).astype(np.int64))
    values = hashlib.sha256(store.column("values").rows(sample).tobytes()).hexdigest()[:16]
    return {"rows": store.rows, "first": first, "last": last, "values": values}


def difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Say how a log differs from the one before, None where it does not.

    Examples
    --------
    >>> difference({"rows": 20, "values": "a"}, {"rows": 27, "values": "b"})
    'its number of rows is 27 and was 20'
    >>> difference({"rows": 20, "values": "a"}, {"rows": 20, "values": "b"})
    'its values are others'
    """
    for name, word in WORDS.items():
        if before.get(name) != now.get(name):
            return f"its {word} is {now.get(name)} and was {before.get(name)}"
    return None if before.get("values") == now.get("values") else "its values are others"
