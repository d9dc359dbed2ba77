"""Rows on disk: columns in files of plain numbers, written at given places and read in order."""

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

    def __enter__(self) -> "RowFiles":
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in self.fields:
                path = self.folder / name
                path.touch()
                self._open[name] = path.open("r+b", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._open.values():
            file.close()
        self._open = {}

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
        found: Block = {}
        for name in names or self.fields:
            field, file = self.fields[name], self._open[name]
            array = np.empty(field.shape(stop - start), field.dtype)
            view = array.reshape(-1).view(np.uint8)
            file.seek(start * field.bytes)
            while len(view):
                count = file.readinto(view.data)  # type: ignore[attr-defined]
                if not count:
                    raise too_short(self.folder / name)
                view = view[count:]
            found[name] = array
        return found

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
