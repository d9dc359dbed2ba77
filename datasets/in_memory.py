"""Series that are in memory already, in the containers of pandas, polars, pyarrow and sktime, as a `Dataset`."""

from typing import Any

import numpy as np

from tsjepa.arrays import as_series
from tsjepa.containers import refuse_other_order, to_panel
from tsjepa.datasets.dataset import Collection, DataError, Dataset, Labels, Part
from tsjepa.datasets.labels import array_labels, encode


def from_container(X: Any, y: Any = None) -> Dataset:
    """Take series and labels out of what holds them.

    Parameters
    ----------
    X : pandas, polars or pyarrow table, list of tables, array or list of arrays
        As `tsjepa.TSJEPAEmbedder` takes them; see `tsjepa.containers.to_panel`.
    y : array-like of shape (n_cases,), optional
        Class names, whole numbers, or a numeric target.

    Returns
    -------
    Dataset
        All of it is the training part.

    Raises
    ------
    DataError
        If the container holds no series, or `y` is not as long as it or has its ids in another order.

    Examples
    --------
    >>> import pandas as pd
    >>> log = pd.DataFrame({"id": [1, 1, 2], "time": [0, 1, 0], "flow": [3.0, 4.0, 5.0]})
    >>> data = from_container(log, ["low", "high"])
    >>> data.X_train[0].tolist(), data.y_train.tolist(), data.classes
    ([[3.0, 4.0]], [1, 0], ('high', 'low'))
    """
    try:
        panel = to_panel(X)
        series = as_series(panel.series)
    except ValueError as error:
        raise DataError(f"the series in memory cannot be used: {error}") from error
    try:
        refuse_other_order(y, panel, X)
    except ValueError as error:
        raise DataError(str(error)) from error
    values = series.with_nan()
    collection: Collection = values
    if isinstance(panel.series, list):
        lengths = [np.atleast_2d(np.asarray(case)).shape[-1] for case in panel.series]
        if len(set(lengths)) > 1:
            collection = [case[:, :length] for case, length in zip(values, lengths, strict=True)]
    labels = encode(Part(collection, None if y is None else given_labels(np.asarray(y), len(values))), None)
    kind = type(X).__name__
    return Dataset("in memory", f"a {kind}", collection, labels.y_train, None, None, labels.classes, labels.notes)


def given_labels(labels: np.ndarray[Any, Any], n_cases: int) -> Labels:
    """Return labels as a file has them; objects are text, and have to be there."""
    if labels.dtype == object:
        import pandas as pd

        missing = np.flatnonzero(pd.isna(labels))
        if len(missing):
            raise DataError(f"y: case {missing[0] + 1} has no label; label all cases or none")
        labels = labels.astype(np.str_)
    return array_labels(labels, n_cases, "y")
