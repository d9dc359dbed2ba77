"""What kind of container X is, and what its cells hold, told without importing the library that it is of."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from tsjepa.arrays import unmasked

TABLES = (
    ("pandas", "DataFrame"),
    ("polars", "DataFrame"),
    ("polars", "LazyFrame"),
    ("pyarrow", "Table"),
    ("pyarrow", "RecordBatch"),
)
COLUMNS = (("pandas", "Series"), ("polars", "Series"), ("pyarrow", "Array"), ("pyarrow", "ChunkedArray"))


def is_table(X: Any) -> bool:
    """Return whether X is a table, without importing what it would be of."""
    return is_one_of(X, TABLES)


def is_one_of(X: Any, kinds: Sequence[tuple[str, str]]) -> bool:
    """Return whether X is of a class, each given as its library and its name."""
    of = {(base.__module__.partition(".")[0], base.__name__) for base in type(X).__mro__}
    return not of.isdisjoint(kinds)


def holds_tables(X: Any) -> bool:
    """Return whether X is a list of tables; one that has something else among them is refused."""
    if not isinstance(X, list | tuple):
        return False
    tables = {kind for kind, x in {type(x): x for x in X}.items() if is_table(x)}
    if tables and (other := next((case for case, x in enumerate(X) if type(x) not in tables), None)) is not None:
        raise ValueError(
            f"case {other} of X is of type {type(X[other]).__name__}, but others are tables: give one kind."
        )
    return bool(tables)


def holds_rows(X: Any) -> bool:
    """Return whether X is a list of series of one channel that are as long as each other.

    Examples
    --------
    >>> holds_rows([[1, 2], [3, 4]]), holds_rows([[1, 2], [3]]), holds_rows([[[1, 2]], [[3, 4]]])
    (True, False, False)
    """
    if not isinstance(X, list | tuple) or not all(hasattr(x, "__len__") and is_one_channel(x) for x in X):
        return False
    return len({len(x) for x in X}) == 1


def is_series(cell: Any) -> bool:
    """Return whether a cell of a table is a series."""
    return isinstance(cell, list | tuple | np.ndarray) or (hasattr(cell, "iloc") and cell.ndim == 1) or is_tensor(cell)


def is_tensor(cell: Any) -> bool:
    """Return whether a cell is an array of another library than numpy and pandas, as torch's tensors are."""
    known = isinstance(cell, np.ndarray) or hasattr(cell, "iloc")
    return not known and hasattr(cell, "__array__") and getattr(cell, "ndim", 0) > 0


def plain(cell: Any) -> Any:
    """Return a tensor as an array, everything else as it is."""
    return np.asarray(unmasked(cell)) if is_tensor(cell) else cell


def is_one_channel(cell: Any) -> bool:
    """Return whether a series holds numbers, and no further series."""
    return getattr(cell, "ndim", 1) == 1 and not any(map(is_series, islice(cell, 1)))


def holds_series(column: Any) -> bool:
    """Return whether the cells of a column are series."""
    return column.dtype.kind == "O" and any(map(is_series, column.dropna()[:1]))
