"""Whether the rows that are there were made as asked: with the same recipe, and of the same data."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

from tsjepa.datasets import DataError
from tsjepa.datasets.loading import at_hand
from tsjepa.datasets.lookup import data_folder
from tsjepa.evaluation.benchmark_methods import Method
from tsjepa.evaluation.benchmark_process import RunError
from tsjepa.evaluation.benchmark_run import load_parts
from tsjepa.evaluation.benchmark_table import BenchmarkError, Result
from tsjepa.probe import ProbeError


class Made(Protocol):
    """A row that says what it was made with, and of which data."""

    @property
    def method(self) -> str:
        """Name of the method."""

    @property
    def recipe(self) -> str:
        """Digest of the method."""

    @property
    def data_digest(self) -> str:
        """Digest of the data; empty in tables of before it was kept, and where a run failed."""


def check_recipe(row: Made, method: Method, names: Sequence[str], path: Path) -> None:
    """Refuse a finished row of another recipe.

    Parameters
    ----------
    row : Result or Transferred
    method : Method
        As asked for now.
    names : sequence of str
        The data sets that it was made of, for the message.
    path : Path
        Of the table, for the message.

    Raises
    ------
    BenchmarkError
        If they differ.
    """
    if row.recipe != method.digest:
        raise BenchmarkError(
            f"{path} holds {method.name} on {', '.join(names)} made with another recipe, checkpoint or number of "
            "epochs: name another folder with --out, or give the same options."
        )


def check_data(row: Made, names: Sequence[str], data_dir: Path | None, path: Path, sources: Sequence[str] = ()) -> None:
    """Refuse a row of other data than there are now under the same names, whichever method it is of.

    Parameters
    ----------
    row : Result or Transferred
    names : sequence of str
        The data sets that it was made of.
    data_dir : Path, optional
    path : Path
        Of the table, for the message.
    sources : sequence of str, optional
        Data sets that it may have been made of besides, before those.

    Raises
    ------
    BenchmarkError
        If they differ; data that are not at hand are not compared.
    """
    everything = tuple(dict.fromkeys([*sources, *names]))
    known = (None, row.data_digest)
    if row.data_digest and all(
        digest_at_hand(own, data_dir) not in known for own in (tuple(dict.fromkeys(names)), everything)
    ):
        raise BenchmarkError(
            f"{path} holds {row.method} on {', '.join(everything)} as the data were then, and they are others now: "
            "name another folder with --out."
        )


@contextmanager
def unchanged(method: Method) -> Iterator[None]:
    """Refuse a run whose method has another file at its start than the benchmark found, or gets another meanwhile.

    Raises
    ------
    RunError
        If it differs, or cannot be read.
    """
    check_unchanged(method)
    yield
    check_unchanged(method)


def check_unchanged(method: Method) -> None:
    """Refuse a method whose file is not as it was when the benchmark began, when its digest was taken."""
    if method.file is None:
        return
    try:
        changed = method.digest_now() != method.digest
    except OSError as error:
        raise RunError(f"{method.file} cannot be read any more: {error.strerror}.") from error
    if changed:
        raise RunError(
            f"{method.file} has changed since the benchmark began, so this run would be made with another checkpoint: "
            "name another folder with --out."
        )


def check_alike(new: Result, rows: Iterable[Result], path: Path) -> None:
    """Refuse a new row of other data than the table has under the same name.

    Raises
    ------
    RunError
        If they differ.
    """
    digests = {row.data_digest for row in rows if row.data == new.data and row.data_digest}
    if new.data_digest and digests - {new.data_digest}:
        raise RunError(f"{path} holds rows on {new.data} as the data were then: name another folder with --out.")


def digest_at_hand(names: Sequence[str], data_dir: Path | None) -> str | None:
    """Return a digest of data sets, None where one of them is not on this machine or cannot be read."""
    digests = [digest_of(name, data_dir) for name in names]
    known = [digest for digest in digests if digest is not None]
    return join_digests(known) if len(known) == len(digests) else None


@cache
def digest_of(name: str, data_dir: Path | None) -> str | None:
    """Return a digest of the series and labels of both parts of a data set, None where it is not at hand."""
    try:
        if at_hand(name, data_folder(data_dir)) is None:
            return None
        return load_parts(name, data_dir=data_dir).digest
    except (DataError, BenchmarkError, ProbeError, OSError):
        return None


def join_digests(digests: Sequence[str]) -> str:
    """Return the digest of one data set as it is, of several one of all of them.

    Examples
    --------
    >>> join_digests(["0a1b"]), len(join_digests(["0a1b", "2c3d"]))
    ('0a1b', 12)
    """
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()[:12]
