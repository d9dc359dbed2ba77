"""Series that are in memory already, in the containers of pandas, polars, pyarrow and sktime, as a `Dataset`."""

from typing import Any

import numpy as np

from tsjepa.arrays import as_series
from tsjepa.containers import refuse_other_order, to_panel
from tsjepa.datasets.dataset import Collection, DataError, Dataset, Labels, Part
from tsjepa.datasets.labels import array_labels, encode, labelled_note


def from_container(X: Any, y: Any = None) -> Dataset:
    """Take series and labels out of what holds them.

    Parameters
    ----------
    X : pandas, polars or pyarrow table, list of tables, array or list of arrays
        As `tsjepa.TSJEPAEmbedder` takes them; see `tsjepa.containers.to_panel`.
    y : array-like of shape (n_cases,), optional
        Class names, whole numbers, or a numeric target; None, NaN and empty text are no label.

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
    labels = encode(Part(collection, None if y is None else given_labels(y, len(values))), None)
    kind = type(X).__name__
    notes = (*labelled_note(labels.y_train, "training"), *labels.notes)
    return Dataset("in memory", f"a {kind}", collection, labels.y_train, None, None, labels.classes, notes)


def given_labels(y: Any, n_cases: int) -> Labels | None:
    """Return labels as a file has them; objects are text, but numbers among which some are missing are numbers."""
    labels = np.asarray(y)
    if labels.dtype.kind == "U":  # NumPy writes a missing one among texts as text
        labels = np.asarray(y, dtype=object)
    if labels.dtype == object:
        import pandas as pd

        there = ~np.asarray(pd.isna(labels))
        known = labels[there] if there.all() else np.array(labels[there].tolist())
        numeric = known.dtype.kind == "f"
        found = np.full(labels.shape, np.nan if numeric else "", np.float64 if numeric else object)
        found[there] = known if numeric else known.astype(np.str_)
        labels = found if numeric else found.astype(np.str_)
    return array_labels(labels, n_cases, "y")
