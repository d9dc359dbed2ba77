"""The files of a log, wherever they lie."""

import glob
import os
import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tsjepa.arrays import counted
from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.home import user_path
from tsjepa.datasets.log_links import files_below, holds_run, link_notes, without_links

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads
    import pyarrow.fs as pafs

KINDS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


@dataclass(frozen=True)
class LogFile:
    """One file of a log.

    Attributes
    ----------
    shown : str
        Its path or address as people know it.
    key : str
        Its path inside `filesystem`.
    filesystem : pyarrow.fs.FileSystem
        Where it lies.
    size, mtime : int
        Bytes, and the time of the last change in ns (0 where unknown).
    partition : tuple of (str, str)
        Columns that the names of its folders give, as in ``machine=3/part-0.parquet``.
    repeated : tuple of (str, str)
        Those of them that the file has itself, too.
    schema : pyarrow.Schema, optional
        Columns of a CSV file, once they were read: that takes its first rows.
    """

    shown: str
    key: str
    filesystem: "pafs.FileSystem"
    size: int
    mtime: int
    partition: tuple[tuple[str, str], ...] = ()
    repeated: tuple[tuple[str, str], ...] = ()
    schema: "pa.Schema | None" = field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """The format: parquet, csv or arrow."""
        return str(kind_of(self.key))


def kind_of(path: str) -> str | None:
    """Tell the format of a log's file by its name, None for other files.

    Examples
    --------
    >>> kind_of("a/pump.csv.gz"), kind_of("pump.PARQUET"), kind_of("pump.ts")
    ('csv', 'parquet', None)
    """
    return next((kind for suffix, kind in KINDS.items() if path.lower().endswith(suffix)), None)


def is_address(text: str) -> bool:
    """Tell an address like ``s3://bucket/log`` from a path.

    Examples
    --------
    >>> is_address("s3://bucket/log"), is_address("log/pump.csv")
    (True, False)
    """
    return "://" in text


def is_local(source: str) -> bool:
    """Tell what lies on this machine, if it is there at all, from an address elsewhere.

    Examples
    --------
    >>> is_local("log/pump.csv"), is_local("file:///log"), is_local("s3://bucket/log")
    (True, True, False)
    """
    return not is_address(source) or source.startswith("file://")


def log_identity(source: str) -> str:
    """Return what all spellings of a log share; links are not followed, since by now they may lead elsewhere.

    Examples
    --------
    >>> log_identity("log/pump.csv") == log_identity("./log//pump.csv"), log_identity("s3://bucket/log/")
    (True, 's3://bucket/log')
    >>> log_identity("file:///log/pump.csv") == log_identity("/log/pump.csv")
    True
    """
    source = source.removeprefix("file://")
    return source.rstrip("/") if is_address(source) else os.path.abspath(os.path.expanduser(source))


def has_wildcard(text: str) -> bool:
    """Tell whether a path is a pattern for several files, and not itself one.

    Examples
    --------
    >>> has_wildcard("log/*.csv"), has_wildcard("log")
    (True, False)
    """
    return glob.has_magic(text) and not user_path(text).exists()


def find_files(source: "str | os.PathLike[str] | pads.Dataset") -> tuple[list[LogFile], list[str]]:
    """Find the files of a log, in the order of their paths (`by_numbers`), and say which were passed over.

    Parameters
    ----------
    source : str, path or pyarrow.dataset.Dataset
        A file, a folder (searched with its subfolders, on this machine but for those of runs), a pattern such as
        ``log/*.parquet``, or the address of one of these in a file system that pyarrow knows (``s3://``, ``gs://``,
        ``hdfs://``); or a dataset of files.

    Returns
    -------
    files : list of LogFile
        At least one, none of them empty.
    notes : list of str
        One sentence for files that are empty, of another kind, or links, and for folders of runs.

    Raises
    ------
    DataError
        If there is no such file, or none with rows, or if a folder is that of a run.
    """
    import pyarrow as pa

    shown = source_name(source)
    if not shown.strip():
        raise DataError("a log has no name; give a file, a folder, a pattern or an address")
    try:
        found, passed = _listed(shown) if isinstance(source, str | os.PathLike) else (_listed_in(source), [])
    except UnicodeError as error:  # pyarrow takes no other names
        raise DataError(f"{shown} is no name in UTF-8, or holds a file without one; rename that") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shown} cannot be looked up ({first_line(error)}); check it") from error
    files = sorted((file for file in found if kind_of(file.key)), key=lambda file: by_numbers(file.shown))
    if not found and not passed and ("*" in shown if is_address(shown) else has_wildcard(shown)):
        given = is_address(shown) or user_path(shown).is_absolute()
        raise DataError(
            f"no file matches {shown}: check the path{'' if given else f', which counts from {Path.cwd()}'}"
        )
    if not files:
        beside = f" ({', '.join(passed)})" if passed else ""
        raise DataError(f"{shown} holds no file that a log can be read from{beside}; give one of {', '.join(KINDS)}")
    others = [Path(file.key).name for file in found if kind_of(file.key) is None]
    notes = passed + [f"{counted(len(others), 'file')} of other kinds not read: {_some(others)}"] * bool(others)
    empty = [file.shown for file in files if file.size == 0]
    if len(empty) == len(files):
        raise DataError(f"{empty[0]} is empty; copy or export it again")
    notes += [f"{shown} is empty: passed over" for shown in empty]
    return [file for file in files if file.size > 0], notes


def by_numbers(path: str) -> tuple[list[Any], str]:
    """Give what paths are sorted by: numbers in them count by size, so that part 2 comes before part 10.

    Examples
    --------
    >>> sorted(["log_10.csv", "log_2.csv", "log_1.csv"], key=by_numbers)
    ['log_1.csv', 'log_2.csv', 'log_10.csv']
    """
    # text and numbers take turns, so that only like is compared with like
    return [int(part) if at % 2 else part for at, part in enumerate(re.split("([0-9]+)", path))], path


def _some(names: list[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (" ..." if len(names) > 3 else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _listed(source: str) -> tuple[list[LogFile], list[str]]:
    """List files, and say what was passed over."""
    from pyarrow import fs as pafs

    if is_address(source):
        filesystem, folder, pattern = _addressed(source)
        return _below(filesystem, folder, pattern, source, source.split("://", 1)[0] + "://")
    path, filesystem = str(user_path(source)), pafs.LocalFileSystem()
    if not has_wildcard(source):
        return _below(filesystem, path, None, source, "")
    root = _before_wildcard(path)
    paths, links = without_links((path for path in glob.glob(path, recursive=True) if not os.path.isdir(path)), root)
    return _files(filesystem.get_file_info(paths), filesystem, root, ""), link_notes(links)


def _addressed(source: str) -> tuple["pafs.FileSystem", str, str | None]:
    """Return the file system of an address, the folder or file there, and the pattern of its files if it is one."""
    from pyarrow import fs as pafs

    filesystem, key = pafs.FileSystem.from_uri(source.replace("*", "%2A"))
    key = key.replace("%2A", "*")
    return (filesystem, key.split("*", 1)[0].rpartition("/")[0], key) if "*" in key else (filesystem, key, None)


def _before_wildcard(pattern: str) -> str:
    """Return the folder that all files of a pattern are in."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]


def would_take(source: str, path: str | os.PathLike[str]) -> bool:
    """Return whether a folder or a pattern, read as a log, would take a file in that may not be there yet.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as log:
    ...     Path(log, "run").mkdir()
    ...     Path(log, "run", "checkpoint.ckpt").touch()
    ...     [would_take(log, f"{log}/{name}") for name in ("z.csv", "2026/z.csv", "z.png", "_z.csv", "run/z.csv")]
    [True, True, False, False, False]
    >>> would_take("log/*.csv", "log/z.csv"), would_take("log/*.csv", "log/2026/z.csv"), would_take("log.csv", "z.csv")
    (True, False, False)
    """
    out = Path(os.path.realpath(Path(path).parent), Path(path).name)
    if kind_of(out.name) is None or not is_local(source):
        return False
    if not is_address(source) and has_wildcard(source):
        path = str(user_path(source))
        root = _before_wildcard(path)
        inside = os.path.realpath(root or Path(path).anchor)
        wanted = Path(path.removeprefix(root).lstrip("/"))
        return out.is_relative_to(inside) and _fits(out.relative_to(inside).parts, wanted.parts)
    folder, pattern = _addressed(source)[1:] if is_address(source) else (str(user_path(source)), None)
    if not os.path.isdir(folder):
        return False
    if pattern is not None and not fnmatch(str(out), os.path.realpath(folder) + pattern.removeprefix(folder)):
        return False
    # links in the folder may lead to where the file will be
    there = next(parent for parent in out.parents if parent.exists())
    return str(there) in files_below(folder, _hidden).folders and not _hidden(str(out.relative_to(there)))


def _fits(names: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Tell whether `glob` would find a path by a pattern, both in parts."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return _fits(names, pattern[1:]) or (bool(names) and names[0][0] != "." and _fits(names[1:], pattern))
    seen = bool(names) and (names[0][0] != "." or pattern[0][0] == ".")
    return seen and fnmatch(names[0], pattern[0]) and _fits(names[1:], pattern[1:])


def _listed_in(dataset: "pads.Dataset") -> list[LogFile]:
    """List the files that a dataset was made of, with the columns that its folders give."""
    from pyarrow import dataset as pads

    named = set(dataset.partitioning.schema.names) if dataset.partitioning else set()
    if named and not isinstance(dataset.partitioning, pads.HivePartitioning):
        raise DataError(
            f"the folders of the pyarrow dataset give columns ({', '.join(sorted(named))}) without naming them; name "
            "them as in machine=3/part-0.parquet"
        )
    infos = dataset.filesystem.get_file_info(dataset.files)
    found = [_file(info, dataset.filesystem, "", "") for info in infos]
    return [replace(file, partition=tuple(pair for pair in file.partition if pair[0] in named)) for file in found]


def source_name(source: "str | os.PathLike[str] | pads.Dataset") -> str:
    """Return what the user named, of a dataset the folder that all of its files are in, or its only file.

    Raises
    ------
    DataError
        If a dataset is not one of files, has none, or stands for some of their rows only.

    Examples
    --------
    >>> source_name("logs/pump.csv")
    'logs/pump.csv'
    """
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    files = getattr(source, "files", None)
    if not files:
        raise DataError(
            "the pyarrow dataset has no files of its own, so it cannot be read by parts; give one that "
            "pyarrow.dataset.dataset makes of a path, or write it to Parquet first"
        )
    if getattr(source, "_scan_options", None):  # a filter is kept nowhere else, and the files would be read whole
        raise DataError(
            f"the pyarrow dataset of {files[0]} is filtered; give the dataset itself, or write what is left"
        )
    return files[0] if len(files) == 1 else os.path.commonpath(files)


def _below(
    filesystem: "pafs.FileSystem", folder: str, pattern: str | None, source: str, prefix: str
) -> tuple[list[LogFile], list[str]]:
    """List the files below a folder, of a pattern where there is one; or the only one, which has the folder's name.

    Of a folder on this machine it is said what was passed over.
    """
    from pyarrow import fs as pafs

    info = filesystem.get_file_info(folder)
    if info.type == pafs.FileType.NotFound:
        raise DataError(f"{source} does not exist; check the spelling")
    if info.type == pafs.FileType.File:
        return [_file(info, filesystem, str(Path(folder).parent), prefix)], []
    if isinstance(filesystem, pafs.LocalFileSystem):
        if pattern is None and holds_run(folder):  # logs in it are not told from what it has written
            raise DataError(
                f"{source} is the folder of a run, since it holds a checkpoint or tables of training: name logs in it "
                f"by a pattern such as '{source.rstrip('/')}/*.parquet', or move the run"
            )
        below = files_below(folder, _hidden)
        paths, links = without_links(
            (path for path in below.paths if pattern is None or fnmatch(path, pattern)), folder
        )
        notes = link_notes(below.links + links)
        if below.runs:
            are = counted(len(below.runs), "folder of runs is", "folders of runs are")
            notes.append(f"{are} read by a pattern only: {_some(below.runs)}")
        return _files(filesystem.get_file_info(paths), filesystem, folder, prefix), notes
    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True))
    chosen = [info for info in infos if not _hidden(info.path[len(folder) :])]
    if pattern is not None:
        chosen = [info for info in chosen if fnmatch(info.path, pattern)]
    return _files(chosen, filesystem, folder, prefix), []


def _hidden(path: str) -> bool:
    """Tell what other programs leave beside data: ``_SUCCESS``, ``.ipynb_checkpoints``."""
    return any(part[:1] in "._" and "=" not in part for part in path.strip("/").split("/"))


def _files(infos: "list[pafs.FileInfo]", filesystem: "pafs.FileSystem", root: str, prefix: str) -> list[LogFile]:
    from pyarrow import fs as pafs

    return [_file(info, filesystem, root, prefix) for info in infos if info.type == pafs.FileType.File]


def _file(info: "pafs.FileInfo", filesystem: "pafs.FileSystem", root: str, prefix: str) -> LogFile:
    folders = info.path[len(root) :].split("/")[:-1] if info.path.startswith(root) else []
    parts = (name.partition("=") for name in folders)
    partition = tuple((name, unquote(value)) for name, mark, value in parts if mark)
    return LogFile(prefix + info.path, info.path, filesystem, info.size or 0, info.mtime_ns or 0, partition)


def stem(source: str) -> str:
    """Give a source its name: the stem of the file, or the folder's own name.

    Examples
    --------
    >>> stem("logs/pump.csv.gz"), stem("s3://bucket/2026/?region=eu-west-1"), stem("logs/*.csv")
    ('pump', '2026', 'logs')
    """
    source = source.split("?", 1)[0] if is_address(source) else source
    parts = [part for part in source.replace(os.sep, "/").split("/") if part and not glob.has_magic(part)]
    name = parts[-1] if parts else "log"
    suffix = next((suffix for suffix in KINDS if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] or name
