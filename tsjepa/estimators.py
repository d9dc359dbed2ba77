"""What estimators need beside their models: a fit that fails changes nothing, settings are a list, a type is kept."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tsjepa.config import ConfigError


@contextmanager
def unless_it_fails(estimator: Any) -> Iterator[None]:
    """Set attributes of an estimator, or leave all as they were where what follows fails.

    Examples
    --------
    >>> class Estimator:
    ...     width = 3
    >>> estimator = Estimator()
    >>> with unless_it_fails(estimator):
    ...     estimator.width = 4
    ...     raise ValueError("no series")
    Traceback (most recent call last):
    ValueError: no series
    >>> estimator.width
    3
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        estimator.__dict__ = before  # at once: a second Ctrl-C finds one state or the other
        raise


def settings(overrides: Sequence[str] | None) -> list[str]:
    """Return an estimator's further settings, none for None.

    Examples
    --------
    >>> settings(("encoder.depth=3",)), settings(None)
    (['encoder.depth=3'], [])
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides is a list of settings, but is one text: give [{overrides!r}].")
    return list(overrides or ())


def is_double(X: Any) -> bool:
    """Return whether series count as float64: all but float32 arrays, lists of them and tables, as in scikit-learn.

    Examples
    --------
    >>> is_double(np.zeros((2, 3))), is_double([np.zeros(3, np.float32)])
    (True, False)
    """
    first = X[0] if isinstance(X, list | tuple) else X
    types = first.dtypes if hasattr(first, "columns") else [getattr(first, "dtype", None)]
    return any(dtype != np.float32 for dtype in types)
