"""Windows of a log by random access: values and validity, and where each comes from."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.arrays import Series
from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_cache import RowStore
from tsjepa.datasets.log_fingerprint import fingerprint
from tsjepa.datasets.log_normal import hold_abnormal
from tsjepa.datasets.log_settings import Columns
from tsjepa.datasets.log_store import Column
from tsjepa.datasets.log_time import as_arrow

GATHERED_ROWS = 1 << 20


@dataclass(frozen=True, eq=False)
class LogWindows:
    """Windows of a log, kept on disk; a `tsjepa.arrays.SeriesSource`.

    Attributes
    ----------
    name, source : str
        What the log is called, and where it was read from.
    columns : Columns
        What its columns mean, guesses filled in.
    window, stride : int or None
        In points; None where each id is one series.
    step : str or None
        The median step of time in words, where there is one.
    notes : tuple of str
        What the user should know, one sentence each: guesses first.
    """

    name: str
    source: str
    columns: Columns
    window: int | None
    stride: int | None
    step: str | None
    notes: tuple[str, ...]
    _rows: RowStore
    _values: Column
    _windows: dict[str, Column]
    _count: int
    _length: int
    _cases: NDArray[np.int64] | None = None

    @property
    def n_cases(self) -> int:
        """Number of windows."""
        return self._count if self._cases is None else len(self._cases)

    @property
    def n_channels(self) -> int:
        """Number of channels C."""
        return len(self._rows.channels)

    @property
    def n_timepoints(self) -> int:
        """Number of points of a window; without windows, of the longest series."""
        return self._length

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self._rows.channels

    @property
    def n_series(self) -> int:
        """Number of ids."""
        return self._ids.num_rows

    @cached_property
    def _ids(self) -> pa.Table:
        return self._rows.series().combine_chunks()

    @cached_property
    def _groups(self) -> pa.Array:
        return self._rows.groups().combine_chunks()

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return self._rows.offsets()

    @cached_property
    def _times(self) -> Column:
        return self._rows.column("time")

    @property
    def key(self) -> str:
        """A hash that is another one for other files, settings or windows; the cache's folder has a part in it."""
        chosen = b"" if self._cases is None else self._cases.tobytes()
        return hashlib.sha256(str(self._windows["start"].path.resolve()).encode() + chosen).hexdigest()

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells the whole log from others, see `tsjepa.datasets.log_fingerprint`."""
        return fingerprint(self._rows)

    def groups(self) -> NDArray[Any]:
        """Return the group of each id, shape (n_series,), int64 or text; without a column of groups each id is one."""
        return np.array(self._groups.to_pylist())

    @property
    def series(self) -> NDArray[np.int32]:
        """The id's number of each window, shape (n_cases,)."""
        return self._column("series")

    @property
    def has_labels(self) -> bool:
        """Whether the log has a column of labels."""
        return "label" in self._windows

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes of the log's labels; None where these are a numeric target or there are none."""
        return self._rows.classes

    def take(self, cases: NDArray[np.int64]) -> Series:
        """Return some of the windows, in the order asked for.

        Parameters
        ----------
        cases : ndarray of int64, shape (n,)
            Which.

        Returns
        -------
        Series
            Values of shape (n, n_channels, n_timepoints), zero where nothing was measured. A window shorter than
            the others is filled up with missing points at its end.
        """
        own = self._own(np.asarray(cases, np.int64))
        start, length = self._mapped("start")[own], self._mapped("length")[own]
        values = np.empty((len(own), self.n_channels, self._length), np.float32)
        at_once = max(GATHERED_ROWS // self._length, 1)
        for low in range(0, len(own), at_once):
            part = slice(low, low + at_once)
            values[part] = self._values.runs(start[part], length[part], self._length).transpose(0, 2, 1)
        for case in np.flatnonzero(length < self._length):
            values[case, :, length[case] :] = np.nan
        valid = ~np.isnan(values)
        if valid.all():
            return Series(values)
        values[~valid] = 0
        return Series(values, valid)

    def measured(self) -> NDArray[np.int64]:
        """Return the windows that hold a value at all."""
        return np.flatnonzero(self._column("measured"))

    def labels(self) -> NDArray[Any]:
        """Return the label of each window.

        Returns
        -------
        ndarray of shape (n_cases,)
            Class names, ``""`` for no label; or a float64 target, NaN for none.

        Raises
        ------
        DataError
            If the log has no labels.
        """
        if not self.has_labels:
            raise DataError(f"{self.source} has no column of labels; name one by --label")
        found = self._column("label")
        if self._rows.classes is None:
            return found
        return np.array([*self._rows.classes, ""], np.str_)[found]

    def hold_abnormal(self) -> NDArray[np.bool_] | None:
        """Return of each window whether a label tells that a row in it is abnormal.

        Returns
        -------
        ndarray of bool, shape (n_cases,), or None
            None where there are no labels, or these do not say which rows are normal.
        """
        return hold_abnormal(self._rows, self._column("start"), self._column("length"))

    def subset(self, cases: NDArray[np.int64]) -> "LogWindows":
        """Return some of the windows, in the order asked for; nothing is copied."""
        return replace(self, _cases=self._own(np.asarray(cases, np.int64)))

    def index(self, cases: NDArray[np.int64] | None = None) -> pa.RecordBatch:
        """Tell where windows come from.

        Parameters
        ----------
        cases : ndarray of int64, shape (n,), optional
            Which windows; by default all.

        Returns
        -------
        pyarrow.RecordBatch
            Columns ``id``, ``start`` and ``end`` (times of the first and the last row), ``first_row`` and
            ``last_row`` (of the id, in order of time, from 0), and ``label`` and ``group`` where there are such.
        """
        own = self._own(np.arange(self.n_cases) if cases is None else np.asarray(cases, np.int64))
        start, length, series = (self._mapped(name)[own] for name in ("start", "length", "series"))
        last, table, time = start + length - 1, self._ids, self._times
        columns = {
            "id": table["id"].combine_chunks().take(pa.array(series)),
            "start": as_arrow(time.rows(start), self._rows.time),
            "end": as_arrow(time.rows(last), self._rows.time),
            "first_row": pa.array(self._row(start, series)),
            "last_row": pa.array(self._row(last, series)),
        }
        if self.has_labels:
            columns["label"] = self._label_column(self._mapped("label")[own])
        if self.columns.group is not None:
            columns["group"] = self._groups.take(pa.array(series))
        return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))

    def _row(self, row: NDArray[np.int64], series: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the numbers of rows within their id; for a grid, of the rows of the log that its points follow."""
        if "row" in self._rows.fields:
            return self._rows.column("row").rows(row)
        return np.asarray(row - self._offsets[series])

    def _label_column(self, label: NDArray[Any]) -> pa.Array:
        if self._rows.classes is None:
            return pa.array(label, from_pandas=True)
        return pa.array([*self._rows.classes, None], pa.string()).take(pa.array(label % (len(self._rows.classes) + 1)))

    def _own(self, cases: NDArray[np.int64]) -> NDArray[np.int64]:
        return cases if self._cases is None else self._cases[cases]

    def _column(self, name: str) -> NDArray[Any]:
        whole = self._mapped(name)
        return whole if self._cases is None else whole[self._cases]

    def _mapped(self, name: str) -> NDArray[Any]:
        return self._windows[name].mapped(self._count)
