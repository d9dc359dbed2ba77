"""`load`: one argument in, a `Dataset` out."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tsjepa.arrays import counted
from tsjepa.datasets.archives import size_notes
from tsjepa.datasets.dataset import Collection, DataError, Dataset, LogError, Part, UncutError
from tsjepa.datasets.download import download
from tsjepa.datasets.files import (
    PARTS,
    Pair,
    find_path,
    folder_pair,
    looks_like_path,
    named_pair,
    read_pair,
    stem_beside,
    unread_note,
)
from tsjepa.datasets.home import needed_cache_folder, user_path
from tsjepa.datasets.in_memory import from_container
from tsjepa.datasets.labels import encode, labelled_note
from tsjepa.datasets.log_links import holds_run
from tsjepa.datasets.lookup import (
    data_folder,
    downloadable,
    find_local,
    match_name,
    unknown_name,
)
from tsjepa.datasets.part_columns import in_order_of
from tsjepa.datasets.values import check_values


def load(
    source: Any,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    y: Any = None,
    announce: Callable[[str], None] | None = None,
) -> Dataset:
    """Load a data set by name, from a file or folder, or out of a container in memory.

    A path is read as it is: ``.ts``, ``.tsv``, ``.npz``, ``.npy``, ``.csv``, ``.parquet``, one of these called
    ``<Name>_TRAIN.ts`` with the test part ``<Name>_TEST.ts`` beside it, or a folder with both. A name is looked for in
    `data_dir`, in aeon's wheel and in the cache, and is downloaded at last: into `data_dir` where that can be written
    to, else the cache. Sensor logs, addresses and patterns are not read: the commands do that.

    Parameters
    ----------
    source : str, path or container
        A file, a folder, or the archive's name of a data set in any case; or series in memory: a pandas, polars or
        pyarrow table, sktime's nested_univ, pd-multiindex, pd-long and df-list, an array, or a list of arrays.
    data_dir : str or path, optional
        Folder of ``<Name>/<Name>_TRAIN.ts`` and ``_TEST.ts``. By default the environment variable
        ``TSJEPA_DATA``, where it is set.
    y : array-like of shape (n_cases,), optional
        Labels of series in memory, None or NaN for a series without one; files bring their own.
    announce : callable, optional
        Called with one line before anything is downloaded. By default the logger ``tsjepa`` is told.

    Returns
    -------
    Dataset
        The series, their labels, and what the user should know about them. A series without a label has -1 in ``y``, or
        NaN in a numeric target.

    Raises
    ------
    DataError
        If nothing has that name, a file is not what it should be or is a log, or a download fails.

    Examples
    --------
    >>> from tsjepa.datasets import load
    >>> motions = load("BasicMotions")
    >>> motions.X_train.shape, motions.source
    ((40, 6, 100), 'aeon (bundled)')
    >>> motions.classes
    ('Badminton', 'Running', 'Standing', 'Walking')
    """
    if not isinstance(source, str | os.PathLike):
        return from_container(source, y)
    if y is not None:
        raise DataError("y is only for series in memory; a named data set or a file has its own labels")
    text = os.fspath(source)
    if not text.strip() or "\0" in text:
        raise DataError(f"{text!r} cannot name a data set; give a name, a file or a folder")
    try:
        pair, place = _find(text, data_folder(data_dir), announce or logging.getLogger("tsjepa").info)
        return _assemble(pair, place, unread_note(user_path(text), pair))
    except OSError as error:
        raise DataError(f"{text[:80]!r} cannot be looked up ({error.strerror}); check its spelling") from error
    except DataError as error:
        if not _is_taken_for_log(text, error):
            raise
        raise LogError(
            f"{text} is taken for a sensor log, of which no series are loaded: read it into a data frame, use the "
            "command tsjepa pretrain, or name a file with one series per row"
        ) from error


def _is_taken_for_log(text: str, error: DataError) -> bool:
    """Tell whether an error is better told as one of a log: not of a run's folder, or where it says so itself."""
    from tsjepa.datasets.logs import is_log  # most sources are none, and what reads logs takes a while to import

    path = user_path(text)
    # a table names its column of times, and lists may be series
    kind, uncut = path.suffix.lower(), isinstance(error, UncutError)
    if path.is_file() and (kind == ".parquet" or (kind == ".csv" and uncut)):
        return False
    if holds_run(path):
        return False
    try:
        return is_log(text)
    except DataError:  # it cannot be read at all, which was only said of the kinds that series come in
        if uncut:
            raise
        return False


def full_name(text: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Spell the name of a data set as its files or its archive do; a path or an unknown name stays as it is.

    Examples
    --------
    >>> full_name("gunpoint"), full_name("pump.csv")
    ('GunPoint', 'pump.csv')
    """
    try:
        if _is_path(text):
            return text
        found = find_local(text, data_folder(data_dir))
    except (OSError, ValueError):  # no file can be called so, as loading it will say
        return text
    return found[0].name if found is not None else match_name(text, downloadable()) or text


def _is_path(text: str) -> bool:
    path = user_path(text)
    # a folder of results may well be called like the data set: without data in it, the name is meant
    return looks_like_path(text) or path.is_file() or folder_pair(path) is not None


def at_hand(text: str, data_dir: Path | None) -> tuple[Pair, str] | None:
    """Find what a name or path means on this machine, without any download.

    Parameters
    ----------
    text : str
        Name or path.
    data_dir : Path or None
        The user's folder.

    Returns
    -------
    tuple of Pair and str, or None
        The files, and where they are in words; None for a name that no folder has.

    Raises
    ------
    DataError
        If a path does not lead to data.
    OSError
        If it cannot be looked up.

    Examples
    --------
    >>> pair, source = at_hand("GunPoint", None)
    >>> pair.name, at_hand("no such set", None)
    ('GunPoint', None)
    """
    if _is_path(text):
        path = user_path(text)
        return find_path(path), str(path)
    return find_local(text, data_dir)


def identity(text: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Return what all spellings of a data set share: its files where they are on this machine, else name or path.

    Examples
    --------
    >>> identity("gunpoint") == identity("GUNPOINT"), identity("no such.csv") == identity("./no such.csv")
    (True, True)
    """
    try:
        found = at_hand(text, data_folder(data_dir))
    except (OSError, ValueError):  # no data are there, as loading will say
        found = None
    if found is not None:  # by the test part, too: links may give several sets the same training part
        files = (path.resolve() for path in (found[0].train, found[0].test) if path is not None)
        return os.pathsep.join(map(str, files))
    full = full_name(text, data_dir)
    return os.path.abspath(full) if looks_like_path(full) else full


def _find(text: str, data_dir: Path | None, announce: Callable[[str], None]) -> tuple[Pair, str]:
    found = at_hand(text, data_dir)
    if found is not None:
        return found
    name = match_name(text, downloadable())
    if name is None:
        raise unknown_name(text, data_dir)
    root = (
        data_dir
        if data_dir is not None and _writable(data_dir)
        else needed_cache_folder("a --data-dir that can be written to")
    )
    source = download(name, root, announce)
    pair = named_pair(root / name, name)
    if pair is None:
        raise DataError(f"{root / name} lost its files right after the download; load {name} again")
    return pair, source


def _writable(folder: Path) -> bool:
    existing = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    return existing.is_dir() and os.access(existing, os.W_OK)


def _assemble(pair: Pair, source: str, unread: tuple[str, ...]) -> Dataset:
    train, test = read_pair(pair)
    X_train, X_test = _checked(train, str(pair.train)), None
    if test is not None:
        test = in_order_of(train, test, f"{pair.train} and {(pair.test or pair.train).name}")
        X_test = _checked(test, str(pair.test or pair.train))
        X_train, X_test = _alike(X_train, X_test, pair)
    labels = encode(train, test)
    sizes = size_notes(pair.name, len(X_train), None if X_test is None else len(X_test))
    lone = _alone(pair.train) if test is None else ()
    few, few_test = labelled_note(labels.y_train, "training"), labelled_note(labels.y_test, "test")
    last = (*lone, *sizes, *few, *few_test, *labels.notes)
    notes = dict.fromkeys((*unread, *train.notes, *(test.notes if test else ()), *last))
    of_train = (*unread, *train.notes, *lone, *few, *size_notes(pair.name, len(X_train), None))
    of_test = tuple(note for note in notes if note not in of_train)
    y_train, y_test = labels.y_train, labels.y_test
    return Dataset(pair.name, source, X_train, y_train, X_test, y_test, labels.classes, tuple(notes), of_test)


def _checked(part: Part, where: str) -> Collection:
    check_values(part.X, where)
    return part.X


def _alike(X_train: Collection, X_test: Collection, pair: Pair) -> tuple[Collection, Collection]:
    have, other = len(X_train[0]), len(X_test[0])
    if have != other:
        raise DataError(
            f"{pair.train} has {counted(have, 'channel')}, but its test part {other}; give both the same channels"
        )
    if isinstance(X_train, list) or isinstance(X_test, list):
        return list(X_train), list(X_test)
    return X_train, X_test


def _alone(path: Path) -> tuple[str, ...]:
    """Say so where the name of a lone file shows that it is half of a pair."""
    if path.stem.endswith(tuple(f"_{part}" for part in PARTS.values())):
        return (f"{path.name} was read as the training part",)
    beside = stem_beside(path.stem)
    return () if beside is None else (f"{path.name} has no {beside} beside it: no test part",)
