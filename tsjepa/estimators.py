"""What estimators need beside their models: a fit that fails changes nothing, X is validated, its type is kept."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from tsjepa.arrays import Series, refuse_type, warn
from tsjepa.config import Config, ConfigError


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


def settings(given: Mapping[str, Any], overrides: Sequence[str] | None) -> list[str]:
    """Return an estimator's settings: parameters by their keys, those at None left out, and overrides after them.

    Examples
    --------
    >>> settings({"train.lr": 0.1, "mask.kind": None}, ("encoder.depth=3",)), settings({}, None)
    (['train.lr=0.1', 'encoder.depth=3'], [])
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides is a list of settings, but is one text: give [{overrides!r}].")
    if isinstance(overrides, Mapping):
        written = [f"{key}={json.dumps(value, default=str)}" for key, value in overrides.items()]
        raise ConfigError(f"overrides is a list of settings, but is a {type(overrides).__name__}: give {written!r}.")
    overrides = () if overrides is None else overrides
    further = list(overrides) if isinstance(overrides, Iterable) else [overrides]
    if odd := [setting for setting in further if not isinstance(setting, str)]:
        raise ConfigError(f"overrides is a list of settings such as 'encoder.depth=3', but holds {odd[0]!r}.")
    return [*(f"{key}={value}" for key, value in given.items() if value is not None), *further]


def check_counts(estimator: Any, *names: str) -> None:
    """Refuse parameters that are no whole numbers of at least 1.

    Examples
    --------
    >>> from argparse import Namespace
    >>> check_counts(Namespace(window=32.0), "window")
    Traceback (most recent call last):
    ValueError: window must be a whole number, at least 1, but is 32.0.
    """
    for name in names:
        value = getattr(estimator, name)
        if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, but is {value!r}.")


def check_same(was: Config, now: Config, same_channels: bool) -> None:
    """Refuse to go on with another model than the one that is there: only how it is trained may change.

    Examples
    --------
    >>> was = Config(tokenizer={"n_patches": 10})
    >>> check_same(was, was.model_copy(update={"normalize": "none"}), True)
    Traceback (most recent call last):
    ValueError: warm_start goes on with a model, but with another normalize: keep it, or warm_start=False.
    """
    old, new = (part.model_dump(exclude={"train", "data", "log"}) for part in (was, now))
    changed = [key for key in new if new[key] != old[key]]
    if changed or not same_channels:
        what = ", ".join(changed) or "channels"
        raise ValueError(f"warm_start goes on with a model, but with another {what}: keep it, or warm_start=False.")


def validated(estimator: Any, X: Any, *, table: bool, reset: bool) -> Any:
    """Return an array that scikit-learn's checks let through; a list, whose series may differ in length, as it is.

    Of a table of cases x features the estimator keeps number and names of the features, or with ``reset=False`` finds
    the same ones again.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> estimator = BaseEstimator()
    >>> validated(estimator, np.zeros((2, 3)), table=True, reset=True).shape, estimator.n_features_in_
    ((2, 3), 3)
    """
    if isinstance(X, list | tuple):
        return X
    if isinstance(X, np.ndarray):
        refuse_type(X, "X", "biufOc")  # of complex numbers scikit-learn has a sentence of its own
    keywords: dict[str, Any] = {"dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan"}
    if table:
        return validate_data(estimator, X, reset=reset, ensure_min_features=2 if reset else 1, **keywords)
    return check_array(X, allow_nd=True, input_name="X", **keywords)


def warn_of_one(series: Series) -> None:
    """Warn where there is one series only to train on, such as a log that was not cut into windows.

    Examples
    --------
    >>> import warnings
    >>> from tsjepa.arrays import as_series
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_of_one(as_series([[1.0, 2.0, 3.0]]))
    >>> str(caught[0].message)[:49]
    'X is one series, and nothing can be learnt from o'
    """
    if len(series.measured()) == 1:
        warn(
            "X is one series, and nothing can be learnt from one: cut a log into windows, by the command tsjepa "
            "pretrain --window, or as an array (n_windows, n_channels, window)."
        )


def is_double(X: Any) -> bool:
    """Return whether series count as float64, as all do but arrays and tables of float32, and lists of these alone.

    Examples
    --------
    >>> single = np.zeros(3, np.float32)
    >>> is_double(np.zeros((2, 3))), is_double([single, single]), is_double([single, np.zeros(3)])
    (True, False, True)
    """
    parts = X if isinstance(X, list | tuple) else [X]
    types = (part.dtypes if hasattr(part, "columns") else [getattr(part, "dtype", None)] for part in parts)
    return any(dtype != np.float32 for own in types for dtype in own)


def output_kind(estimator: Any) -> str:
    """Return what a transform is asked for, by the estimator's `set_output` or else for all of scikit-learn.

    scikit-learn's own function for it is private: were it gone, nothing that imports it could be imported. Without the
    attribute that is read here what is set for all of scikit-learn would count.

    Examples
    --------
    >>> from sklearn import config_context
    >>> from sklearn.preprocessing import StandardScaler
    >>> with config_context(transform_output="pandas"):
    ...     output_kind(StandardScaler()), output_kind(StandardScaler().set_output(transform="default"))
    ('pandas', 'default')
    """
    from sklearn import get_config

    own = getattr(estimator, "_sklearn_output_config", {})
    return str(own.get("transform", get_config()["transform_output"]))
