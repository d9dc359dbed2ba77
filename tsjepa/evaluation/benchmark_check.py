"""Whether the rows that are there were made as asked: with the same recipe, and of the same data."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from tsjepa.datasets import DataError
from tsjepa.evaluation.benchmark_methods import Method
from tsjepa.evaluation.benchmark_run import load_parts
from tsjepa.evaluation.benchmark_table import BenchmarkError
from tsjepa.probe import ProbeError


class Made(Protocol):
    """A row that says what it was made with, and of which data."""

    @property
    def recipe(self) -> str:
        """Digest of the method."""

    @property
    def data_digest(self) -> str:
        """Digest of the data; empty in tables of before it was kept."""


def check_made_alike(row: Made, method: Method, names: Sequence[str], data_dir: Path | None, path: Path) -> None:
    """Refuse a finished row of another recipe or of other data.

    Parameters
    ----------
    row : Result or Transferred
    method : Method
        As asked for now.
    names : sequence of str
        The data sets that it was made of.
    data_dir : Path, optional
    path : Path
        Of the table, for the message.

    Raises
    ------
    BenchmarkError
        If they differ; data that cannot be loaded now are not compared.
    """
    if row.recipe != method.digest():
        raise BenchmarkError(
            f"{path} holds {method.name} on {', '.join(names)} made with another recipe or number of epochs: "
            "name another folder with --out, or give the same options."
        )
    if row.data_digest and digest_at_hand(names, data_dir) not in (None, row.data_digest):
        raise BenchmarkError(
            f"{path} holds {method.name} on {', '.join(names)} as the data were then, and they are others now: "
            "name another folder with --out."
        )


def digest_at_hand(names: Sequence[str], data_dir: Path | None) -> str | None:
    """Return a digest of data sets, None where one of them cannot be loaded."""
    try:
        return join_digests([digest_of(name, data_dir) for name in names])
    except (DataError, BenchmarkError, ProbeError):
        return None


@cache
def digest_of(name: str, data_dir: Path | None) -> str:
    """Return a digest of the series and labels of both parts of a data set."""
    return load_parts(name, data_dir=data_dir).digest


def join_digests(digests: Sequence[str]) -> str:
    """Return the digest of one data set as it is, of several one of all of them.

    Examples
    --------
    >>> join_digests(["0a1b"]), len(join_digests(["0a1b", "2c3d"]))
    ('0a1b', 12)
    """
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()[:12]
