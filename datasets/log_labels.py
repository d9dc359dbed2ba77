"""Labels of the windows of two logs on one scale."""

import contextlib
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.datasets.dataset import Part
from tsjepa.datasets.labels import Encoded, are_whole, class_name, encode, has_words
from tsjepa.datasets.log_files import find_files
from tsjepa.datasets.log_reading import PIECE_ROWS, batches, dialect, pieces, read_schema
from tsjepa.datasets.log_windows import LogWindows


def encode_labels(train: LogWindows, test: LogWindows | None) -> Encoded:
    """Put the window labels of both parts on one scale.

    Parameters
    ----------
    train, test : LogWindows
        The parts; `test` may be None.

    Returns
    -------
    Encoded
        As `tsjepa.datasets.labels.encode` gives it.

    Raises
    ------
    DataError
        If the training part has no labels, or one part has a numeric target and the other classes.
    """
    logs = [part for part in (train, test) if part is not None and (part is train or part.has_labels)]
    nothing = np.empty((0, 1, 1), np.float32)
    parts = [Part(nothing, _labels(part, logs)) for part in logs]
    return encode(parts[0], parts[1] if len(parts) > 1 else None)


def _labels(log: LogWindows, logs: list[LogWindows]) -> NDArray[Any]:
    """Return the labels of a log; beside others than whole numbers, numbers are called as they are written."""
    labels, own = log.labels(), log.classes
    if own is None:  # a target
        return labels
    beside_whole = all(are_whole(other.classes or ()) for other in logs if other is not log)
    written = {} if beside_whole or has_words(own) else _written(log)
    called = {number: min(names) for number, names in written.items() if len(names) == 1}
    names = {name: class_name(called.get(name, name)) for name in (*own, "")}
    return np.array([names[name] for name in labels.tolist()], np.str_)


def _written(log: LogWindows) -> dict[str, set[str]]:
    """Return the names of classes that the CSV files of a log have for each whole number among its labels."""
    name, found = str(log.columns.label), dict[str, set[str]]()
    for file in find_files(log.source)[0]:
        schema = read_schema(file)
        if file.kind != "csv" or schema is None or name not in schema.names:
            continue
        mark = dialect(file).decimal
        for piece in pieces(file):
            for batch in batches(piece, [name], {name: pa.string()}, PIECE_ROWS):
                for text in batch.column(name).unique().drop_null().to_pylist():
                    with contextlib.suppress(ValueError, OverflowError):
                        found.setdefault(str(int(float(text.replace(mark, ".")))), set()).add(class_name(text))
    return found
