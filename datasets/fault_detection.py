"""FaultDetectionA and B, which are not on Zenodo: a zip file without a published checksum.

So the content is held to the description in "Joint Embeddings Go Temporal" (TS-JEPA): 10912 training and
2728 test series of length 5120 in 3 classes.
"""

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tsjepa.datasets.archives import archive_size
from tsjepa.datasets.transfer import TransferError

LENGTH = 5120
CLASSES = 3


def unpack(archive: Path, name: str) -> None:
    """Take the two .ts files, and nothing else, out of a zip file into its own folder.

    Parameters
    ----------
    archive : Path
        The zip file.
    name : str
        Name of the data set.

    Raises
    ------
    TransferError
        If the file is no sound zip file or lacks a part. Members of any other name, such as one with
        ``..`` in it, are never written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     archive = Path(folder, "FaultDetectionA.zip")
    ...     _ = archive.write_bytes(b"not a zip file")
    ...     unpack(archive, "FaultDetectionA")
    Traceback (most recent call last):
        ...
    tsjepa.datasets.transfer.TransferError: FaultDetectionA.zip is no sound zip file (File is not a zip file)
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            for part in ("TRAIN", "TEST"):
                _extract(bundle, name, f"{name}_{part}.ts", archive.parent)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        raise TransferError(f"{archive.name} is no sound zip file ({error})") from error


def _extract(bundle: zipfile.ZipFile, name: str, filename: str, folder: Path) -> None:
    member = next((m for m in (filename, f"{name}/{filename}") if m in bundle.namelist()), None)
    if member is None:
        raise TransferError(f"{name}.zip has no {filename}")
    with bundle.open(member) as source, (folder / filename).open("wb") as target:
        shutil.copyfileobj(source, target)


def check(folder: Path, name: str) -> None:
    """Hold the two files to the numbers of the paper.

    Parameters
    ----------
    folder : Path
        Where they are.
    name : str
        Name of the data set.

    Raises
    ------
    TransferError
        If the number of series, their length or the number of classes is another.
    """
    labels: set[bytes] = set()
    for part, expected in zip(("TRAIN", "TEST"), archive_size(name) or (), strict=True):
        count = 0
        for row in _rows(folder / f"{name}_{part}.ts"):
            length = row.count(b",") + 1
            if length != LENGTH:
                raise TransferError(f"{name}_{part}.ts has a series of {length} values, not {LENGTH}")
            labels.add(row.rpartition(b":")[2].strip())
            count += 1
        if count != expected:
            raise TransferError(f"{name}_{part}.ts has {count} series, not {expected}")
    if len(labels) != CLASSES:
        raise TransferError(f"{name} has {len(labels)} classes, not {CLASSES}")


def _rows(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            row = line.strip()
            if row and row[:1] not in b"@#%":
                yield row
