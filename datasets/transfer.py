"""Bytes from the web to a file, counted and hashed on the way."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tsjepa.datasets.dataset import DataError

TIMEOUT = 60.0  # seconds without a byte, not for the whole transfer
CHUNK = 1 << 20


class TransferError(DataError):
    """A transfer that failed; its text is the reason only, the caller adds what to do."""


class WriteError(TransferError):
    """What arrived could not be written here, so that another try would fail in the same way."""


@contextmanager
def opened(url: str) -> Iterator[HTTPResponse]:
    """Open an address, and turn every failure while it is open into a `TransferError`.

    Parameters
    ----------
    url : str
        An http or https address.

    Yields
    ------
    HTTPResponse
        The open answer.

    Raises
    ------
    TransferError
        If the server cannot be reached, refuses, or breaks off.

    Examples
    --------
    >>> with opened("file:///etc/hostname") as response:
    ...     pass
    Traceback (most recent call last):
        ...
    tsjepa.datasets.transfer.TransferError: file:///etc/hostname is no web address
    """
    if not url.startswith(("https://", "http://")):
        raise TransferError(f"{url} is no web address")
    try:
        with urlopen(Request(url, headers={"User-Agent": "tsjepa"}), timeout=TIMEOUT) as response:
            yield response
    except TransferError:
        raise
    except HTTPError as error:
        error.close()
        raise TransferError(f"{url} answered {error.code} {_on_one_line(error.reason)}") from error
    except (OSError, HTTPException, ValueError) as error:  # the last for what is no address
        reason = getattr(error, "reason", error)  # urllib wraps what the socket said
        said = _on_one_line(getattr(reason, "strerror", None) or reason)
        raise TransferError(f"{url} cannot be reached ({said})") from error


def _on_one_line(reason: object) -> str:
    return " ".join(str(reason).split())


def get_json(url: str) -> Any:
    """Read a JSON answer.

    Parameters
    ----------
    url : str
        Its address.

    Returns
    -------
    object
        What the answer holds.

    Raises
    ------
    TransferError
        If it cannot be read or is no JSON.

    Examples
    --------
    >>> get_json("zenodo.org")
    Traceback (most recent call last):
        ...
    tsjepa.datasets.transfer.TransferError: zenodo.org is no web address
    """
    with opened(url) as response:
        text = response.read()
    try:
        return json.loads(text)
    except ValueError as error:
        raise TransferError(f"{url} answered something else than JSON") from error


def content_length(response: HTTPResponse) -> int | None:
    """How many bytes the server says it will send; None where it does not say."""
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdecimal() else None


def save(response: HTTPResponse, path: Path, size: int | None, algorithm: str) -> str:
    """Write an answer to a file.

    Parameters
    ----------
    response : HTTPResponse
        The open answer.
    path : Path
        Where to write it.
    size : int or None
        Bytes that must arrive; None where it is not known.
    algorithm : str
        Name of the hash, for `hashlib`.

    Returns
    -------
    str
        The hash of what was written, in hexadecimal digits.

    Raises
    ------
    TransferError
        If another number of bytes arrives. http.client ends a cut answer without an error.
    WriteError
        If the file cannot be written.
    """
    digest, received = hashlib.new(algorithm, usedforsecurity=False), 0
    _write(path, "wb", b"")
    while chunk := response.read(CHUNK):
        _write(path, "ab", chunk)
        digest.update(chunk)
        received += len(chunk)
    if size is not None and received != size:
        raise TransferError(f"the transfer of {path.name} ended after {received} of {size} bytes")
    return digest.hexdigest()


def _write(path: Path, mode: Literal["wb", "ab"], chunk: bytes) -> None:
    try:
        with path.open(mode) as file:  # to close it writes what it still holds, so that may fail, too
            file.write(chunk)
    except OSError as error:  # `opened` would take it for one of the network
        raise WriteError(f"{path} cannot be written ({error.strerror})") from error
