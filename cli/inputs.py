"""What a command reads is not replaced by what it writes, whatever --overwrite allows."""

import os
from collections.abc import Iterator
from pathlib import Path

from tsjepa.cli.errors import USAGE, Failure
from tsjepa.cli.outdir import EMBEDDINGS, METRICS
from tsjepa.datasets import DataError
from tsjepa.datasets.files import folder_pairs, stem_beside
from tsjepa.datasets.home import user_path
from tsjepa.datasets.log_files import find_files, has_wildcard, is_address, is_local, would_take
from tsjepa.datasets.log_links import holds_run
from tsjepa.datasets.logs import is_log

OTHER_FOLDER = "name another folder with --out"


def refuse_input(out: Path, *sources: str | Path | None, advice: str = "name another file with --out") -> None:
    """Refuse to put a result in the place of a file that is to be read, or where it would be read with others.

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
        if joins(source, out):
            raise Failure(f"{out} would be read as a part of {source}: {advice}.", USAGE)


def refuse_run(out: Path, *sources: str | None) -> None:
    """Refuse a folder for a run whose tables would be read as a log, or whose files are a log's.

    The files of a log would not be found again, since the folder of a run is passed over.
    """
    for source in filter(None, sources):
        results = [path for path in (out / METRICS, out / EMBEDDINGS) if joins(source, path)]
        if not results:
            continue
        if has_wildcard(source):  # which says itself what is read
            raise Failure(f"{results[0]} would be read as a part of {source}: {OTHER_FOLDER}.", USAGE)
        if any(out.resolve() in path.resolve().parents for path in files_of(source)):
            raise Failure(f"{out} holds files of {source}: {OTHER_FOLDER}.", USAGE)


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


def joins(source: str, out: Path) -> bool:
    """Return whether a file that may not be there yet would be read as a part of a log on this machine."""
    try:
        return is_several(source) and would_take(source, out)
    except (DataError, OSError, ValueError):  # is said where it is read
        return False


def is_several(source: str) -> bool:
    """Return whether a source is a folder or a pattern that is read as a log on this machine, or an address there."""
    if is_address(source):
        return is_local(source)
    path = user_path(source)
    return has_wildcard(source) or (os.path.isdir(path) and not holds_run(path) and is_log(source, in_time=True))


def files_of(source: str) -> Iterator[Path]:
    """Yield the files on this machine that are read with a source: of a folder each of a log, or of its data sets."""
    if not is_local(source):
        return
    if is_several(source):
        yield from (Path(file.key) for file in find_files(source)[0])
    elif os.path.isdir(path := user_path(source)):  # one of results may be called like a data set
        yield from (part for pair in folder_pairs(path) for part in (pair.train, pair.test) if part is not None)
    else:  # the test part of a training part is read with it
        yield path
        if (beside := stem_beside(path.stem)) is not None:
            yield path.with_stem(beside)
