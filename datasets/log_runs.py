"""A log row by row, run by run: what a detector needs, where training needs windows."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_cache import RowStore
from tsjepa.datasets.log_fingerprint import fingerprint
from tsjepa.datasets.log_normal import abnormal, guessed_normal, told_abnormal
from tsjepa.datasets.log_place import Progress
from tsjepa.datasets.log_reading import Piece
from tsjepa.datasets.log_settings import Columns
from tsjepa.datasets.log_time import NANOSECONDS, as_arrow, gap_limits, shown_step, time_dtype
from tsjepa.datasets.log_values import Log, Rows, read_rows
from tsjepa.datasets.logs import Announce, open_rows, silent


@dataclass(frozen=True, eq=False)
class LogRuns:
    """The runs of a log, one an id, each in the order of time; values stay on disk.

    Attributes
    ----------
    source : str
        Where it was read from.
    notes : tuple of str
        What was guessed about its columns, one sentence each.
    """

    source: str
    notes: tuple[str, ...]
    _log: Log
    _rows: RowStore

    @property
    def columns(self) -> Columns:
        """What the columns mean, guesses filled in."""
        return self._log.layout.named

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self._rows.channels

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """The first row of each run, and the end, shape (n_runs + 1,)."""
        return self._rows.offsets()

    @cached_property
    def ids(self) -> pa.Array:
        """The id of each run; a log without ids is one run, named after its file."""
        return self._rows.series().combine_chunks()["id"].combine_chunks()

    @property
    def groups(self) -> NDArray[Any]:
        """The group of each run; without a column of groups each run is one."""
        return np.array(self._rows.groups().to_pylist())

    @cached_property
    def steps(self) -> NDArray[np.float64]:
        """The median step of time of each run, in the unit of `times`; NaN where it has one row."""
        return self._rows.series()["step"].to_numpy()

    @property
    def tick(self) -> float | None:
        """Seconds of the unit of `times`, None where they are numbers without a unit."""
        return NANOSECONDS[self._rows.time.unit] / 1e9 if self._rows.time.kind == "timestamp" else None

    @property
    def counted(self) -> bool:
        """Whether there is no column of times, so that rows are counted."""
        return self._rows.time.kind == "rows"

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells the log from others, see `tsjepa.datasets.log_fingerprint`."""
        return fingerprint(self._rows)

    def gap_limits(self, max_gap: int | float | str | None, step: float) -> tuple[float, float]:
        """Return the longest step that is no gap where rows are `step` apart, as asked and as kept.

        Both are in the unit of `times`, infinite where rows are counted; see `tsjepa.datasets.log_time.gap_limits`.
        """
        if self.counted:
            return float("inf"), float("inf")
        asked, kept = gap_limits(max_gap, np.array(step), self._rows.time)
        return float(asked), float(kept)

    def shown_step(self, step: float) -> str:
        """Return a step of time in words."""
        return shown_step(step, self._rows.time)

    def values(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows, counted over all runs, as channels (n_channels, stop - start); NaN is missing."""
        return np.ascontiguousarray(self._rows.column("values").slice(start, stop).T)

    def times(self, start: int, stop: int) -> NDArray[Any]:
        """Return the times of rows, as int64 or float64."""
        return self._rows.column("time").slice(start, stop)

    def shown_times(self, rows: NDArray[np.int64]) -> pa.Array:
        """Return the times of single rows in the type of the log."""
        return as_arrow(self._rows.column("time").rows(rows), self._rows.time)

    def abnormal(self) -> NDArray[np.float64] | None:
        """Return of each row whether its label is abnormal, see `tsjepa.datasets.log_normal.abnormal`."""
        return abnormal(self._rows)

    def told_abnormal(self) -> NDArray[np.bool_] | None:
        """Return of each row whether a label tells that, see `tsjepa.datasets.log_normal.told_abnormal`."""
        return told_abnormal(self._rows)

    @property
    def guessed_normal(self) -> str | None:
        """The class that is taken for normal, see `tsjepa.datasets.log_normal.guessed_normal`."""
        return guessed_normal(self._rows)

    def file_order(self) -> NDArray[np.int64]:
        """Return the place of each row of the files, counted over all runs.

        Raises
        ------
        DataError
            If time runs backwards within a run, naming the row.
        """
        return np.concatenate(list(self._places()))

    def _places(self) -> Iterator[NDArray[np.int64]]:
        layout, pieces, names = self._log
        if layout.form != "wide":
            yield np.arange(self._rows.rows)
            return
        number = {name: at for at, name in enumerate(self.ids.to_pylist())}
        # floats would take times in nanoseconds for the same that are not
        dtype = np.dtype(time_dtype(self._rows.time))
        first = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
        next_row, last = self.offsets[:-1].copy(), np.full(len(number), first, dtype)
        # what labels further down a file have to be read as, only who built the rows may have found
        places = replace(layout, columns=replace(layout.columns, label=None, group=None))
        for piece in pieces:
            for rows in read_rows(places, piece, with_values=False):
                own, codes = _ids_in(rows, names[piece.file.shown])
                place, order = np.empty(len(codes), np.int64), np.argsort(codes, kind="stable")
                edges = np.searchsorted(codes[order], np.arange(len(own) + 1))
                for code, name in enumerate(own):
                    chosen, run = order[edges[code] : edges[code + 1]], number.get(name, 0)
                    time = np.concatenate([last[run : run + 1], rows.time[chosen]])
                    self._check_order(time, rows.number[chosen], piece, name)
                    place[chosen] = next_row[run] + np.arange(len(chosen))
                    next_row[run], last[run] = next_row[run] + len(chosen), time[-1]
                yield place

    def _check_order(self, time: NDArray[Any], number: NDArray[np.int64], piece: Piece, name: Any) -> None:
        back = np.flatnonzero(time[1:] < time[:-1])
        if len(back):
            of = "" if self.columns.id is None else f" in {self.columns.id} {name!r}"
            joined = self._log.layout.id_by != "file" and len(self._log.names) > 1
            order = " (its files are read in the order of their names)" if joined else ""
            raise DataError(
                f"{piece.file.shown}, row {number[back[0]]}: time runs backwards{of}; sort the log by time{order}, or "
                "leave such rows out"
            )


def _ids_in(rows: Rows, file_id: str) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the ids that some rows have, and which of them each row has; without a column it is the file's."""
    if rows.id is None:
        return [file_id], np.zeros(len(rows.time), np.int64)
    found = rows.id.dictionary_encode()
    return found.dictionary.to_pylist(), found.indices.to_numpy().astype(np.int64)


def load_runs(
    source: str | os.PathLike[str],
    columns: Columns | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> LogRuns:
    r"""Read a log into the cache of `tsjepa.datasets.logs.load_log`, and open its runs.

    The parameters are those of `load_log`.

    Returns
    -------
    LogRuns

    Raises
    ------
    DataError
        See `load_log`; also if a log has one series a row.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = Path(folder, "pump.csv")
    ...     _ = log.write_text("unit,time,flow\n" + "".join(f"{u},{t},{t}.5\n" for u in "ba" for t in range(3)))
    ...     runs = load_runs(log, cache_dir=Path(folder, "cache"))
    ...     runs.ids.to_pylist(), runs.values(0, 3).tolist(), runs.file_order().tolist()
    (['a', 'b'], [[0.5, 1.5, 2.5]], [3, 4, 5, 0, 1, 2])
    """
    text = os.fspath(source)
    log, store, notes = open_rows(text, columns or Columns(), cache_dir, progress or silent, announce or silent)
    if log.layout.form == "lists":
        raise DataError(f"{text} has one series a row, and a log of one point in time a row is needed")
    return LogRuns(text, notes, log, store)
