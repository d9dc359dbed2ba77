"""Downloads that never leave half a data set behind."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tsjepa.datasets import fault_detection
from tsjepa.datasets.archives import ZIPPED, zenodo_records
from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.transfer import TransferError, WriteError, content_length, get_json, opened, save

ZENODO = "https://zenodo.org/api/records/{record}"
ARCHIVE_ZIP = "https://timeseriesclassification.com/aeon-toolkit/{name}.zip"
Announce = Callable[[str], None]
ELSEWHERE = "choose another folder by --data-dir or TSJEPA_DATA, or for the cache by XDG_CACHE_HOME"


def download(name: str, root: Path, announce: Announce) -> str:
    """Fetch a data set into ``<root>/<name>``, whole or not at all.

    Parameters
    ----------
    name : str
        A name that Zenodo's list or `ZIPPED` has.
    root : Path
        Folder of data sets; made if need be.
    announce : callable
        Called with one line before the first value is transferred.

    Returns
    -------
    str
        The source in words.

    Raises
    ------
    DataError
        If the folder cannot be written to, the transfer fails or what arrives is not what was published; says what
        to do.
    """
    try:
        with _staging(root, name) as folder:
            if name in ZIPPED:
                return _from_zip(name, folder, announce)
            return _from_zenodo(name, zenodo_records()[name], folder, announce)
    except (WriteError, OSError) as error:  # all that the network does is a TransferError
        raise DataError(f"{name} could not be downloaded: {error}; {ELSEWHERE}") from error
    except TransferError as error:
        target = root / name
        raise DataError(
            f"{name} could not be downloaded: {error}; try again, or put {target / name}_TRAIN.ts and "
            f"{target / name}_TEST.ts there yourself"
        ) from error


@contextmanager
def _staging(root: Path, name: str) -> Iterator[Path]:
    """Give a hidden folder beside the goal; move it there at the end, or leave nothing behind."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    staging = root / f".{name}-{secrets.token_hex(4)}"
    try:
        try:
            staging.mkdir(parents=True)
        except OSError as error:
            raise DataError(
                f"{root}, where {name} would be downloaded to, cannot be written to ({error.strerror}); {ELSEWHERE}"
            ) from error
        yield staging
        _move(staging, root / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        _remove_empty(made)


def _move(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except OSError:  # there is a folder with something in it, such as a test part without its training part
        if not target.is_dir():
            raise
        # the training file makes a folder count as data, so it comes last
        for path in sorted(staging.iterdir(), key=lambda path: path.stem.endswith("_TRAIN")):
            os.replace(path, target / path.name)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # not empty: the download is in it
            return


def _from_zenodo(name: str, record: int, folder: Path, announce: Announce) -> str:
    listing = get_json(ZENODO.format(record=record))
    files = [_entry(listing, f"{name}_{part}.ts", record) for part in ("TRAIN", "TEST")]
    total = sum(file["size"] for file in files)
    announce(f"downloading {name} from Zenodo record {record} ({_megabytes(total)}) to {folder.parent / name}")
    for file in files:
        with opened(file["url"]) as response:
            digest = save(response, folder / file["key"], file["size"], "md5")
        if digest != file["md5"]:
            raise TransferError(f"{file['key']} has md5 {digest}, but Zenodo record {record} says {file['md5']}")
    return f"download from Zenodo record {record}"


def _entry(listing: Any, filename: str, record: int) -> dict[str, Any]:
    try:
        entry = {file["key"]: file for file in listing["files"]}.get(filename)
        if entry is not None:
            size, md5 = int(entry["size"]), entry["checksum"].removeprefix("md5:")
            found = {"key": filename, "url": str(entry["links"]["self"]), "size": size, "md5": md5}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise TransferError(f"Zenodo record {record} is not described as expected ({error!r})") from error
    if entry is None:
        raise TransferError(f"Zenodo record {record} has no {filename}")
    if not re.fullmatch("[0-9a-f]{32}", md5):
        raise TransferError(f"Zenodo record {record} has no md5 checksum of {filename}")
    return found


def _from_zip(name: str, folder: Path, announce: Announce) -> str:
    url, archive = ARCHIVE_ZIP.format(name=name), folder / f"{name}.zip"
    with opened(url) as response:
        size = content_length(response)
        announce(
            f"downloading {name} from {url} ({_megabytes(size)}, no checksum is published) to {folder.parent / name}"
        )
        digest = save(response, archive, size, "sha256")
    fault_detection.unpack(archive, name)
    fault_detection.check(folder, name)
    archive.unlink()
    (folder / f"{name}.zip.sha256").write_text(f"{digest}  {name}.zip\n", encoding="utf-8")
    return f"download from {url}"


def _megabytes(size: int | None) -> str:
    return "size unknown" if size is None else f"{max(1, round(size / 1e6))} MB"
