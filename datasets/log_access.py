"""Rows on disk by random access, with little of them in this process's memory at any time."""

import mmap
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.datasets.log_store import Field, opening, too_short

MAPPED_AT_MOST = 1 << 28


class RunReader:
    """Reads runs of neighbouring rows at random places of a file.

    The file is read and not mapped: a page fault in a map brings in the whole folio around it, which on Linux may be
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

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

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


class MappedArray:
    """A file of plain numbers, mapped into memory at its first use.

    Parameters
    ----------
    path : Path
        The file.
    field : Field
        Its type.
    rows : int
        Its length.
    """

    def __init__(self, path: Path, field: Field, rows: int) -> None:
        self.path, self.field, self.rows = path, field, rows
        self._map: mmap.mmap | None = None
        self._array: NDArray[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_map": None, "_array": None}

    def whole(self) -> NDArray[Any]:
        """Return the mapped array itself.

        Raises
        ------
        DataError
            If the file cannot be read, or ends too early.
        """
        if self._array is None:
            size = self.rows * self.field.bytes
            with opening(self.path), self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < size:
                    raise too_short(self.path)
                self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
            self._array = np.frombuffer(self._map, self.field.dtype).reshape(self.field.shape(self.rows))
        return self._array

    def gather(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows at random: a copy of shape (n,) or (n, width)."""
        found: NDArray[Any] = np.take(self.whole(), index, axis=0)
        if self.rows * self.field.bytes > MAPPED_AT_MOST:
            self.release()
        return found

    def release(self) -> None:
        """Give the pages back: they stay in the system's cache, and no longer count as this process's memory."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
