"""Whether the rows that are there were made as asked: with the same recipe, and of the same data."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from tsjepa.datasets import DataError
from tsjepa.datasets.loading import at_hand
from tsjepa.datasets.lookup import data_folder
from tsjepa.evaluation.benchmark_methods import Method
from tsjepa.evaluation.benchmark_process import RunError
from tsjepa.evaluation.benchmark_run import load_parts
from tsjepa.evaluation.benchmark_table import BenchmarkError
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


def check_data(row: Made, names: Sequence[str], data_dir: Path | None, path: Path) -> None:
    """Refuse a row of other data than there are now under the same names, whichever method it is of.

    Parameters
    ----------
    row : Result or Transferred
    names : sequence of str
        The data sets that it was made of, each once.
    data_dir : Path, optional
    path : Path
        Of the table, for the message.

    Raises
    ------
    BenchmarkError
        If they differ; data that are not at hand are not compared.
    """
    if row.data_digest and digest_at_hand(names, data_dir) not in (None, row.data_digest):
        raise BenchmarkError(
            f"{path} holds {row.method} on {', '.join(names)} as the data were then, and they are others now: "
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


class Versions(NamedTuple):
    """Which versions of data sets the rows of a table are of: each set has one name, and is to have one digest.

    Attributes
    ----------
    path : Path
        Of the table, for the message.
    rows : frozenset of (tuple of str, str)
        The data sets of each row that was there before, and the one digest of all of them; empty where none was kept.
    digests : dict of str to str
        Digests of data sets by name, as far as they are known by now.

    Examples
    --------
    >>> versions = Versions(Path("transfer.csv"), frozenset({(("a", "b"), join_digests(["0a", "1b"]))}), {})
    >>> versions.take("a", "0a")
    >>> versions.others("b", "1b"), versions.others("b", "2c"), versions.others("a", "2c")
    (None, ('a', 'b'), ('a',))
    """

    path: Path
    rows: frozenset[tuple[tuple[str, ...], str]]
    digests: dict[str, str]

    def others(self, name: str, digest: str) -> tuple[str, ...] | None:
        """Return the data sets, the fewest, of a row of another version of one that was loaded, None where none is."""
        if self.digests.get(name, digest) != digest:
            return (name,)
        known = self.digests | {name: digest}
        told = ((names, joined) for names, joined in self.rows if joined and known.keys() >= set(names))
        differ = (names for names, joined in told if join_digests([known[own] for own in names]) != joined)
        return min(differ, key=lambda names: (len(names), names), default=None)

    def take(self, name: str, digest: str) -> None:
        """Take note of the digest of a data set that was loaded.

        Raises
        ------
        RunError
            If there are rows of another version of it.
        """
        if names := self.others(name, digest):
            raise RunError(
                f"{self.path} holds rows on {', '.join(names)} as the data were then: name another folder with --out."
            )
        self.digests[name] = digest


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
