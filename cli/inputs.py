"""What a command reads is not replaced by what it writes, whatever --overwrite allows."""

import os
from collections.abc import Iterator
from pathlib import Path

from tsjepa.cli.errors import USAGE, Failure
from tsjepa.cli.log_data import holds_run
from tsjepa.datasets import DataError
from tsjepa.datasets.files import folder_pairs
from tsjepa.datasets.home import user_path
from tsjepa.datasets.log_files import find_files, has_wildcard, is_address
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


def reads(source: str, out: Path) -> bool:
    r"""Return whether a file that is there is read with a source, under whatever name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("pump_TRAIN.csv", "pump_TEST.csv", "valve.csv"):
    ...         size = Path(folder, name).write_text("a,b\n")
    ...     test = Path(folder, "pump_TEST.csv")
    ...     [reads(f"{folder}/{name}", test) for name in ("pump_TRAIN.csv", "*.csv", ".", "valve.csv")]
    [True, True, True, False]
    """
    if not os.path.exists(out):  # which takes a name that no file can have
        return False
    try:
        return any(os.path.exists(path) and out.samefile(path) for path in files_of(source))
    except DataError:  # is said where it is read
        return False


def files_of(source: str) -> Iterator[Path]:
    """Yield the files on this machine that are read with a source: of a folder each of a log, or of its data sets."""
    if is_address(source) and not source.startswith("file://"):
        return
    path, folder = user_path(source), os.path.isdir(user_path(source))
    if is_address(source) or has_wildcard(source) or (folder and not holds_run(path) and is_log(source, in_time=True)):
        yield from (Path(file.key) for file in find_files(source)[0])
    elif folder:  # one of results may be called like a data set
        yield from (part for pair in folder_pairs(path) for part in (pair.train, pair.test) if part is not None)
    else:  # the test part of a training part is read with it
        yield from (path, Path(str(path).replace("_TRAIN.", "_TEST.")))
