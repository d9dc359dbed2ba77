"""Sensor logs, larger than memory if need be, as windows by random access: `load_log`."""

import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.files import SUFFIXES, find_path, folder_pairs, looks_like_path
from tsjepa.datasets.home import user_path
from tsjepa.datasets.log_cache import RowStore, drop_partial, locked, log_root, rows_of, start_of
from tsjepa.datasets.log_cells import BadCell
from tsjepa.datasets.log_columns import Layout, list_columns, looks_like_log, make_layout
from tsjepa.datasets.log_dialect import plain_names
from tsjepa.datasets.log_files import LogFile, find_files, has_wildcard, is_address, kind_of, source_name, stem
from tsjepa.datasets.log_labels import encode_labels
from tsjepa.datasets.log_place import Progress
from tsjepa.datasets.log_plan import file_ids
from tsjepa.datasets.log_reading import Piece, pieces, read_schema, rows_in, with_schema
from tsjepa.datasets.log_settings import Columns, Windowing
from tsjepa.datasets.log_time import shown_step
from tsjepa.datasets.log_types import Schemas, with_text_keys
from tsjepa.datasets.log_values import Log
from tsjepa.datasets.log_views import on_grid, steps_of, windows_of
from tsjepa.datasets.log_whole import WholeTypes
from tsjepa.datasets.log_windows import LogWindows
from tsjepa.datasets.lookup import data_folder, is_known

if TYPE_CHECKING:
    import pyarrow.dataset as pads

Announce = Callable[[str], None]

__all__ = [
    "Columns",
    "LogWindows",
    "Windowing",
    "as_held",
    "column_names",
    "encode_labels",
    "is_log",
    "load_log",
    "split_by_group",
]


def is_log(source: str | os.PathLike[str], *, in_time: bool = False) -> bool:
    """Tell a log, for `load_log`, from what `load` reads.

    Parameters
    ----------
    source : str or path
        What the user named.
    in_time : bool, default=False
        Whether rows are known to be points in time. A folder of ``.csv`` or ``.parquet`` tables without times that are
        called as parts of several data sets are, ``*_TRAIN`` and ``*_TEST``, is a log only then: nobody wants to train
        on the test parts. So is any folder with such a pair that is called ``*_train`` and ``*_test``.

    Returns
    -------
    bool
        True for an address, a pattern, one file of a kind that logs come in whose columns have times, or whose cells
        are lists, or a folder with files of these kinds; False for anything else, whether it exists or not.

    Raises
    ------
    DataError
        If a file cannot be read.

    Examples
    --------
    >>> is_log("FordA"), is_log("s3://bucket/log")
    (False, True)
    """
    text = os.fspath(source)
    if not text:  # the path of nothing is that of the working folder
        return False
    path = str(user_path(text))
    if is_address(text) or has_wildcard(text):
        return True
    if os.path.isdir(path):
        if _means_another(text, in_time):
            return False
        return any(kind_of(name) for _, _, names in os.walk(path) for name in names)
    if kind_of(path) is None or not os.path.isfile(path) or not os.path.getsize(path):
        return False
    schema = read_schema(find_files(text)[0][0])
    return schema is not None and looks_like_log(schema)


def part_beside(source: str) -> str | None:
    """Return the file ``<name>_TEST`` beside a file ``<name>_TRAIN`` of one series a row in lists, else None.

    It has to have all columns of the training file.

    Raises
    ------
    DataError
        If the training file cannot be read.

    Examples
    --------
    >>> part_beside("no_folder/pump_TRAIN.parquet") is None
    True
    """
    path = user_path(source)
    if not path.stem.endswith("_TRAIN"):  # logs in lower case may be of their own
        return None
    test = find_path(path).test if path.suffix.lower() in SUFFIXES and path.is_file() else None
    if test is None:
        return None
    schema, other = (read_schema(find_files(str(part))[0][0]) for part in (source, test))
    fits = schema is not None and other is not None and bool(list_columns(schema)) and {*schema.names} <= {*other.names}
    return str(test) if fits else None


def column_names(source: str | os.PathLike[str]) -> tuple[str, ...]:
    r"""Return the names of a log's columns, of all its files together.

    Parameters
    ----------
    source : str or path
        See `load_log`.

    Returns
    -------
    tuple of str
        In the order in which they are first met.

    Raises
    ------
    DataError
        If there is no such log, or a file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = Path(folder, "pump.csv")
    ...     _ = log.write_text("time,flow\n1,2.5\n")
    ...     column_names(log)
    ('time', 'flow')
    """
    schemas = [read_schema(file) for file in find_files(source)[0]]
    return tuple(dict.fromkeys(name for schema in schemas if schema is not None for name in schema.names))


def as_held(name: str, names: Collection[str]) -> str:
    """Return how a log that has certain names calls a column: by its plain name, where it has it only so.

    Examples
    --------
    >>> as_held(" flow", ["time", "flow"]), as_held(" flow", ["flow", " flow"]), as_held(" speed", ["flow"])
    ('flow', ' flow', ' speed')
    """
    (plain,) = plain_names([name])
    return plain if name not in names and plain in names else name


def _has_log(folder: Path) -> bool:
    return any(is_log(path) for path in folder.iterdir() if path.is_file())


def _means_another(text: str, in_time: bool) -> bool:
    """Tell a folder of data sets, and one of results that is called like a data set; parts may be logs themselves."""
    folder = user_path(text)
    pairs = folder_pairs(folder, any_case=not in_time)
    if len(pairs) == 1 and not is_log(pairs[0].train):
        return pairs[0].train.stem.endswith("_TRAIN") or not _has_log(folder)
    are_sets = len(pairs) > 1 and not (in_time and any(kind_of(pair.train.name) for pair in pairs))
    if are_sets and not _has_log(folder):
        return True
    return not looks_like_path(text) and is_known(text, data_folder(None))


def load_log(
    source: "str | os.PathLike[str] | pads.Dataset",
    columns: Columns | None = None,
    windowing: Windowing | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    lone: bool = False,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> LogWindows:
    r"""Read a log into a cache on disk, once, and cut it into windows.

    Rows may come in any order and from any number of files, in one of three forms: wide (``id, time``, and a
    column a channel), long (``id, time, channel, value``), or with lists in its cells, one series a row. They are
    kept once, sorted by id and time; windows are only places in them. The memory needed does not grow with the log.
    A build that was stopped goes on where it was.

    Parameters
    ----------
    source : str, path or pyarrow.dataset.Dataset
        A ``.parquet``, ``.csv`` (also ``.csv.gz``) or Arrow file, a folder or a pattern of these, or their address; or
        a dataset that pyarrow made of such files, all of whose columns are taken as the files have them.
    columns : Columns, optional
        What is what; by default it is guessed.
    windowing : Windowing, optional
        How series are cut; by default each id is one series.
    cache_dir : path, optional
        By default ``tsjepa/logs`` in the user's cache.
    lone : bool, default=False
        Whether a single series may stay whole: nothing can be learnt from one. In a table of lists it always may.
    progress : callable, optional
        Called as ``progress(phase, done, total)``, with the phases counting, checking, reading, sorting, resampling
        and cutting, while something is built.
    announce : callable, optional
        Called with a sentence that should not wait until the end of long work.

    Returns
    -------
    LogWindows
        The windows, and sentences about them.

    Raises
    ------
    DataError
        If something is wrong with the files, the columns or the settings, or the disk is full; what is finished
        is kept.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = Path(folder, "pump.csv")
    ...     _ = log.write_text("unit,time,flow\n" + "".join(f"{u},{t},{t}.5\n" for u in "ab" for t in range(5)))
    ...     windows = load_log(log, windowing=Windowing(window=4), cache_dir=Path(folder, "cache"))
    ...     windows.take(np.array([0])).values.tolist(), windows.index().to_pydict()["first_row"]
    ([[[0.5, 1.5, 2.5, 3.5]]], [0, 1, 0, 1])
    """
    text, windowing = source_name(source), windowing or Windowing()
    progress, announce = progress or silent, announce or silent
    log, store, notes = open_rows(source, columns or Columns(), cache_dir, progress, announce)
    with locked(store.folder / "views.lock", announce):
        rows = store if windowing.resample is None else on_grid(store, windowing, progress)
        cut = windows_of(rows, windowing, lone or log.layout.form == "lists", progress)
    usual = steps_of(rows, None).usual
    return LogWindows(
        name=stem(text),
        source=text,
        columns=replace(log.layout.named, channels=store.channels),
        window=cut.window,
        stride=cut.stride,
        step=None if log.layout.form == "lists" or np.isnan(usual) else shown_step(usual, rows.time),
        notes=(*notes, *rows.notes, *cut.notes),
        _rows=rows,
        _values=rows.column("values"),
        _windows=cut.columns,
        _count=cut.n_windows,
        _length=cut.length,
    )


def open_rows(
    source: "str | os.PathLike[str] | pads.Dataset",
    columns: Columns,
    cache_dir: str | os.PathLike[str] | None,
    progress: Progress,
    announce: Announce,
) -> tuple[Log, RowStore, tuple[str, ...]]:
    """Find a log's rows in the cache, or build them there.

    Returns
    -------
    log : Log
        The log itself.
    store : RowStore
        Its rows, by id and time.
    notes : tuple of str
        What was guessed, and what was left out.

    Raises
    ------
    DataError
        See `load_log`.
    """
    files, notes = find_files(source)
    schemas = [with_schema(file) for file in files]
    notes += [f"{file.shown} has no rows: passed over" for file, schema in schemas if schema is None]
    filled = [(file, schema) for file, schema in schemas if schema is not None]
    if not filled:
        raise DataError(f"{files[0].shown} has no rows; export it again")
    name = stem(source_name(source))
    whole = WholeTypes([file for file, _ in filled], log_root(cache_dir), name, columns)
    while True:
        named = _named_in(filled, columns)
        filled = [with_text_keys(*whole.applied(file, schema), named.id, named.group) for file, schema in filled]
        files = [file for file, _ in filled]
        layout = make_layout(filled, named)
        found, order = _in_pieces(files, layout, progress)
        names = file_ids(files, name) if layout.id_by == "file" else {file.shown: name for file in files}
        log = Log(layout, found, names)
        start = start_of(layout, files, name, cache_dir)
        try:
            store = rows_of(log, files, start, progress, announce)
        except BadCell as error:
            if not whole.find(error, layout):
                raise
            drop_partial(start, announce)
        else:
            return log, store, (*layout.notes, *order, *notes)


def _named_in(schemas: Schemas, columns: Columns) -> Columns:
    """Call columns as the files do: a checkpoint may know names with blanks or a hash, which CSV files lose."""
    names = {name for _, schema in schemas for name in schema.names}
    single = (columns.id, columns.time, columns.label, columns.group)
    identity, time, label, group = (None if name is None else as_held(name, names) for name in single)
    channels = None if columns.channels is None else tuple(as_held(name, names) for name in columns.channels)
    return Columns(identity, time, channels, label, group)


def silent(*_: Any) -> None:
    """Tell nobody."""


def _in_pieces(files: list[LogFile], layout: Layout, progress: Progress) -> tuple[list[Piece], list[str]]:
    """Divide files into pieces; where no times order their rows, the files do, which is said."""
    ordered = layout.time.kind == "rows" and layout.id_by != "file" and len(files) > 1
    found: list[Piece] = []
    before, done, total = 0, 0, sum(file.size for file in files)
    for file in files:
        own = pieces(file, before)
        found += own
        before += sum(map(rows_in, own)) if ordered or layout.id_by == "row" else 0
        done += file.size
        if ordered:
            progress("counting", done, total)
    first, last = files[0].shown, files[-1].shown
    notes = [f"rows go on from file to file in the order of their names, {first} first and {last} last"]
    return found, notes if ordered else []


def split_by_group(windows: LogWindows, test_share: float, seed: int = 0) -> tuple[LogWindows, LogWindows]:
    """Divide windows into a training and a test part, with whole groups on either side.

    Parameters
    ----------
    windows : LogWindows
        Of a log with a group column.
    test_share : float
        Share of the groups, drawn at random, that are the test part.
    seed : int, default=0
        Same seed, same groups.

    Returns
    -------
    train, test : LogWindows
        Neither is empty.

    Raises
    ------
    DataError
        If there is no group column, or only one group.
    """
    if windows.columns.group is None:
        raise DataError(f"{windows.source} has no groups; name a column by --group")
    groups = windows.groups()
    names = np.unique(groups)
    if len(names) < 2:
        raise DataError(f"column '{windows.columns.group}' has one group only; a split needs two")
    test = in_test_part(groups, test_share, seed)[windows.series]
    return windows.subset(np.flatnonzero(~test)), windows.subset(np.flatnonzero(test))


def in_test_part(groups: NDArray[Any], test_share: float, seed: int) -> NDArray[np.bool_]:
    """Tell which of some series, of at least two groups, `split_by_group` puts into the test part.

    Examples
    --------
    >>> in_test_part(np.array(["a", "b", "a", "c"]), test_share=0.3, seed=0).tolist()
    [False, False, False, True]
    """
    names = np.unique(groups)
    count = min(max(round(test_share * len(names)), 1), len(names) - 1)
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return np.isin(groups, names[chosen])
