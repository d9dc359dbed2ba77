"""Rows on disk: columns in files of plain numbers, written at given places and read at any."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError

Block = dict[str, NDArray[Any]]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Field(NamedTuple):
    """One value, or `width` of them, in each row.

    Attributes
    ----------
    dtype : str
        Type of the values.
    width : int
        Values a row; 0 for a plain column.
    """

    dtype: str
    width: int = 0

    @property
    def bytes(self) -> int:
        """Bytes a row."""
        return np.dtype(self.dtype).itemsize * max(self.width, 1)

    def shape(self, rows: int) -> tuple[int, ...]:
        """Shape of an array of so many rows."""
        return (rows, self.width) if self.width else (rows,)


class Column:
    """One column on disk, read at any place with little of it in this process's memory.

    Values are read and not mapped: a page fault in a map brings in the whole folio around it, which on Linux may be
    2 MB, so that one batch of short windows would make half a gigabyte resident.

    Parameters
    ----------
    path : Path
        The file.
    field : Field
        Its type.
    """

    def __init__(self, path: Path, field: Field) -> None:
        self.path, self.field = path, field
        self._file: IO[bytes] | None = None
        self._map: NDArray[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None, "_map": None}

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def runs(self, start: NDArray[np.int64], length: NDArray[np.int64], longest: int) -> NDArray[Any]:
        """Read runs of rows.

        Parameters
        ----------
        start, length : ndarray of int64, shape (n,)
            Where each run begins, and how many rows it has.
        longest : int
            Rows kept for each; what a run does not fill is left undefined.

        Returns
        -------
        ndarray of shape (n, longest) or (n, longest, width)
            The rows.

        Raises
        ------
        DataError
            If the file cannot be read, or ends too early.
        """
        found = np.empty((len(start), *self.field.shape(longest)), self.field.dtype)
        self._fill(found, np.arange(len(start)) * longest, start, length)
        return found

    def slice(self, start: int, stop: int) -> NDArray[Any]:
        """Read neighbouring rows: an array of shape (n,) or (n, width)."""
        found = np.empty(self.field.shape(stop - start), self.field.dtype)
        with opening(self.path):
            self._read(found.reshape(-1).view(np.uint8).data, start * self.field.bytes)
        return found

    def mapped(self, rows: int) -> NDArray[Any]:
        """Return its first rows, all that will be asked for, mapped into memory at the first call.

        Raises
        ------
        DataError
            If the file cannot be read, or ends too early.
        """
        if self._map is None:
            with opening(self.path):
                if self.path.stat().st_size < rows * self.field.bytes:
                    raise too_short(self.path)
                self._map = np.asarray(np.memmap(self.path, self.field.dtype, "r", shape=self.field.shape(rows)))
        return self._map

    def rows(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """Read single rows, neighbours at once: an array of shape (n,) or (n, width)."""
        found = np.empty(self.field.shape(len(index)), self.field.dtype)
        first = np.flatnonzero(np.diff(index, prepend=-2) != 1)
        self._fill(found, first, index[first], np.diff(first, append=len(index)))
        return found

    def _fill(
        self, found: NDArray[Any], place: NDArray[np.int64], start: NDArray[np.int64], length: NDArray[np.int64]
    ) -> None:
        """Read runs of rows to their places in an array."""
        buffer, size = found.reshape(-1).view(np.uint8).data, self.field.bytes
        edges = ((each * size).tolist() for each in (place, place + length, start))
        with opening(self.path):
            for low, high, offset in zip(*edges, strict=True):
                self._read(buffer[low:high], offset)

    def _read(self, view: memoryview, offset: int) -> None:
        if self._file is None:
            self._file = self.path.open("rb", buffering=0)
        while len(view):
            if hasattr(os, "preadv"):  # leaves the file's position alone, which forked workers share
                count = os.preadv(self._file.fileno(), [view], offset)
            else:
                self._file.seek(offset)
                count = self._file.readinto(view)  # type: ignore[attr-defined]
            if not count:
                raise too_short(self.path)
            view, offset = view[count:], offset + count


class RowFiles:
    """Columns of equal length, each a file of plain numbers; used in a ``with`` statement.

    Parameters
    ----------
    folder : Path
        Where the files lie.
    fields : mapping of str to Field
        The columns.
    """

    def __init__(self, folder: Path, fields: Mapping[str, Field]) -> None:
        self.folder, self.fields = folder, dict(fields)
        self._open: dict[str, IO[bytes]] = {}
        self._columns: dict[str, Column] = {}

    def __enter__(self) -> "RowFiles":
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, field in self.fields.items():
                path = self.folder / name
                path.touch()
                self._open[name] = path.open("r+b", buffering=0)
                self._columns[name] = Column(path, field)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._open.values():
            file.close()
        self._open, self._columns = {}, {}

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in all files."""
        return sum(field.bytes for field in self.fields.values())

    def write(self, at: int, block: Block) -> None:
        """Put rows into the files, from row `at` on.

        Raises
        ------
        DataError
            If the disk is full.
        """
        with writing(self.folder):
            for name, field in self.fields.items():
                view = np.ascontiguousarray(block[name], field.dtype).reshape(-1).view(np.uint8)
                file = self._open[name]
                file.seek(at * field.bytes)
                while len(view):
                    view = view[file.write(view.data) :]

    def read(self, start: int, stop: int, names: tuple[str, ...] = ()) -> Block:
        """Read rows in a copy, of all columns or of those named."""
        return {name: self._columns[name].slice(start, stop) for name in names or self.fields}

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        with writing(self.folder):
            for file in self._open.values():
                os.fsync(file.fileno())


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make one sentence of a full disk, and of a folder that cannot be written to."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DataError(
                f"the disk of {folder} is full; free some space, or choose another by --cache-dir: what is finished "
                "is kept"
            ) from error
        raise DataError(
            f"{error.filename or folder} cannot be written ({error.strerror}); choose another by --cache-dir"
        ) from error


@contextlib.contextmanager
def opening(path: Path) -> Iterator[None]:
    """Make one sentence of a file of a finished cache that cannot be read.

    Examples
    --------
    >>> with opening(Path("rows/values")):
    ...     open("rows/values")
    Traceback (most recent call last):
        ...
    tsjepa.datasets.dataset.DataError: rows/values was removed, as when the log's files have changed; load the log again
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path} was removed, as when the log's files have changed; load the log again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); remove its folder and start again") from error


def too_short(path: Path) -> DataError:
    """Make the error for a file of a finished cache that lacks rows."""
    return DataError(f"{path} is shorter than it should be; remove its folder and start again")


def write_json(path: Path, content: Any) -> None:
    """Write a small file so that it is there as a whole or not at all."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(path)


def read_json(path: Path) -> Any:
    """Read a small file, None where there is none, or not a whole one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
