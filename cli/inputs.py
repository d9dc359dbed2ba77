"""What a command reads is not replaced by what it writes, whatever --overwrite allows."""

import glob
import os
from pathlib import Path

from tsjepa.checkpoint import Header
from tsjepa.cli.errors import USAGE, Failure
from tsjepa.cli.log_data import holds_run
from tsjepa.datasets.files import folder_pairs
from tsjepa.datasets.log_files import kind_of, log_identity
from tsjepa.datasets.logs import is_log


def refuse_input(out: Path, *sources: str | Path | None, advice: str = "name another file with --out") -> None:
    """Refuse to put a result in the place of a file that is to be read.

    Parameters
    ----------
    out : Path
        What is to be written.
    *sources : str, path or None
        What is read: files, folders, patterns, addresses, or names of data sets, which are no files here.
    advice : str
        What to do instead.
    """
    for source in map(str, filter(None, sources)):
        if reads(source, out):
            raise Failure(f"{out} is read as {source}: {advice}.", USAGE)


def refuse_trained(out: Path, header: Header, advice: str = "name another file with --out") -> None:
    """Refuse to put a result in the place of data of a checkpoint's run, which other commands read again."""
    for source in filter(None, (header.data, header.config.log.test)):
        if reads(source, out):
            raise Failure(f"{out} is read as {source}, which the checkpoint was trained or tested on: {advice}.", USAGE)


def reads(source: str, out: Path) -> bool:
    """Return whether a file that is there is read with a source, under whatever name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("pump_TRAIN.csv", "pump_TEST.csv", "valve.csv"):
    ...         Path(folder, name).touch()
    ...     test = Path(folder, "pump_TEST.csv")
    ...     [reads(f"{folder}/{name}", test) for name in ("pump_TRAIN.csv", "*.csv", ".", "valve.csv")]
    [True, True, True, False]
    """
    if not os.path.exists(out):  # which takes a name that no file can have
        return False
    path = log_identity(source)
    beside = path.replace("_TRAIN.", "_TEST.")  # the test part of a training part is read with it
    paths = [Path(path), Path(beside)] if os.path.exists(path) else map(Path, glob.glob(path, recursive=True))
    return any(is_part(out, path) or (path.is_dir() and is_inside(out, path, source)) for path in paths)


def is_part(out: Path, path: Path | None) -> bool:
    """Return whether two names are those of one file."""
    return path is not None and os.path.exists(path) and out.samefile(path)


def is_inside(out: Path, folder: Path, source: str) -> bool:
    """Return whether a file is read with a folder: each of a log, and else those of a data set."""
    if any(is_part(out, path) for pair in folder_pairs(folder) for path in (pair.train, pair.test)):
        return True
    inside = kind_of(out.name) is not None and out.resolve().is_relative_to(folder.resolve())
    # a folder of results may be called like a data set
    return inside and not holds_run(folder) and is_log(source, in_time=True)
