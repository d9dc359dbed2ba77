"""Paths to parts: one file, a training file and its test sibling, or a folder with such a pair."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from tsjepa.datasets.dataset import DataError, Part, UncutError
from tsjepa.datasets.log_files import KINDS, kind_of
from tsjepa.datasets.numpy_files import read_npy, read_npz
from tsjepa.datasets.tables import read_table
from tsjepa.datasets.ts import read_ts
from tsjepa.datasets.tsv import read_tsv

SUFFIXES = (".ts", ".tsv", ".npz", ".npy", ".csv", ".parquet")
# what else a folder without a pair may be meant for
OR_A_LOG = f"or, for a command that reads logs, a folder of them ({', '.join(KINDS)})"
# how the training part is called, and the test part beside it; a data set that is given by name has the first
PARTS = {"TRAIN": "TEST", "train": "test", "Train": "Test"}
# files that a sentence names at most, where there may be many
NAMED = 3


@dataclass(frozen=True)
class Pair:
    """The files of one data set.

    Attributes
    ----------
    name : str
        Name of the data set.
    train : Path
        The training file.
    test : Path or None
        The test file, where there is one.
    """

    name: str
    train: Path
    test: Path | None


def looks_like_path(text: str) -> bool:
    """Whether an argument can only be meant as a path.

    Examples
    --------
    >>> looks_like_path("FordA"), looks_like_path("data/FordA"), looks_like_path("pump.csv")
    (False, True, True)
    """
    return "/" in text or "\\" in text or Path(text).suffix.lower() in SUFFIXES


def stem_beside(stem: str) -> str | None:
    """Return the stem of the test part that belongs to a training part; None for another file.

    Examples
    --------
    >>> stem_beside("pump_TRAIN"), stem_beside("pump_train"), stem_beside("train")
    ('pump_TEST', 'pump_test', None)
    """
    name, mark, part = stem.rpartition("_")
    return f"{name}_{PARTS[part]}" if mark and part in PARTS else None


def named_pair(folder: Path, name: str, part: str = "TRAIN") -> Pair | None:
    """Find the pair ``<name>_TRAIN`` and ``<name>_TEST`` of a folder.

    Parameters
    ----------
    folder : Path
        Where to look.
    name : str
        Name of the data set.
    part : {"TRAIN", "train", "Train"}
        How training parts are called.

    Returns
    -------
    Pair or None
        None where the folder has no such training file.

    Examples
    --------
    >>> named_pair(Path("no_such_folder"), "FordA") is None
    True
    """
    for suffix in SUFFIXES:
        train, test = (folder / f"{name}_{which}{suffix}" for which in (part, PARTS[part]))
        if train.is_file():
            return Pair(name, train, test if test.is_file() else None)
    return None


def folder_pair(folder: Path) -> Pair | None:
    """Find the pair of a folder: the one named like it, else the only complete one.

    Examples
    --------
    >>> folder_pair(Path("no_such_folder")) is None
    True
    """
    pairs = folder_pairs(folder)
    return pairs[0] if len(pairs) == 1 else None


def folder_pairs(folder: Path, *, any_case: bool = True) -> list[Pair]:
    """Find the pair that is named like a folder, else all complete ones, sorted by name.

    Where none is in capitals, they may be in `any_case`, ``_train`` and ``_test``, as parts of logs often are.

    Examples
    --------
    >>> folder_pairs(Path("no_such_folder"))
    []
    """
    own = folder.resolve().name
    named = named_pair(folder, own)
    if named is not None:
        return [named]
    for part in PARTS if any_case else ("TRAIN",):
        names = {path.stem.removesuffix(f"_{part}") for path in folder.glob(f"*_{part}.*")}
        found = [named_pair(folder, name, part) for name in sorted(names)]
        pairs = [pair for pair in found if pair is not None and pair.test is not None]
        if pairs:
            return [pair for pair in pairs if pair.name == own] or pairs
    return []


def several_pairs(folder: Path) -> DataError | None:
    """Make the error for a folder with several data sets, of which none is meant more than another; None for others.

    Examples
    --------
    >>> several_pairs(Path("no_such_folder")) is None
    True
    """
    pairs = folder_pairs(folder)
    if len(pairs) < 2:
        return None
    if {pair.name.lower() for pair in pairs} == {"x", "y"}:
        return DataError(
            f"{folder} has series and labels in files of their own: save them as X_train, y_train, X_test and y_test "
            "in one .npz file"
        )
    first = " or ".join(str(pair.train) for pair in pairs[:NAMED])
    said = f"{folder} holds {len(pairs)} data sets: name one, as in {first}"
    if any(kind_of(pair.train.name) for pair in pairs):
        return UncutError(f"{said}, or, if all of it is one log, cut it into windows")
    return DataError(said)


def unread_note(folder: Path, pair: Pair) -> tuple[str, ...]:
    """Say which data files stand beside the pair that is read because its folder was named; nothing for other paths.

    The same parts in another format are no other data.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("p_TRAIN.ts", "p_TEST.ts", "p_TRAIN.tsv", "walk.npz", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     notes = unread_note(Path(folder), find_path(Path(folder)))
    >>> [note.removeprefix(folder) for note in notes]
    [': read p_TRAIN.ts and p_TEST.ts; not read: walk.npz']
    """
    if pair.train.parent != folder:
        return ()
    parts = (pair.train.stem, stem_beside(pair.train.stem))
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.stem not in parts)
    left = sorted(path.name for path in found if path.is_file())
    if not left:
        return ()
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    read = " and ".join(path.name for path in (pair.train, pair.test) if path is not None)
    return (f"{folder}: read {read}; not read: {', '.join(left[:NAMED])}{more}",)


def find_path(path: Path) -> Pair:
    """Find the files that a path means.

    Parameters
    ----------
    path : Path
        A file or a folder.

    Returns
    -------
    Pair
        For ``<name>_TRAIN.csv`` with ``<name>_TEST.csv`` beside it, both, and so for all kinds of files, and for
        ``_train`` and ``_test``; for another file, that one alone.

    Raises
    ------
    DataError
        If the path does not exist, has an unknown suffix, or is a folder without a clear pair.
    UncutError
        If it is a file, or a folder of several pairs, that may be a log without times.

    Examples
    --------
    >>> find_path(Path("no_folder/pump.csv"))
    Traceback (most recent call last):
        ...
    tsjepa.datasets.dataset.DataError: no_folder/pump.csv does not exist; its folder does not exist either
    """
    if path.is_dir():
        pair = folder_pair(path)
        if pair is None:
            name = path.resolve().name
            raise several_pairs(path) or DataError(
                f"{path} has neither {name}_TRAIN.ts and {name}_TEST.ts (or {', '.join(SUFFIXES[1:])}) nor another "
                f"pair *_TRAIN.ts and *_TEST.ts; name the file to read {OR_A_LOG}"
            )
        return pair
    if not path.exists():
        raise DataError(f"{path} does not exist; {_neighbours(path)}")
    if path.suffix.lower() not in SUFFIXES:
        if kind_of(path.name) is not None:
            raise UncutError(
                f"{path}: series are not read from files of this kind: save them as one of {', '.join(SUFFIXES)}, or, "
                "if it is a log, cut it into windows"
            )
        raise DataError(f"{path}: files of this kind cannot be read; give one of {', '.join(SUFFIXES)}")
    beside = stem_beside(path.stem)
    if beside is not None and (test := path.with_stem(beside)).is_file():
        return Pair(path.stem.rpartition("_")[0], path, test)
    return Pair(path.stem, path, None)


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return "its folder does not exist either"
    close = get_close_matches(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    return f"its folder has {', '.join(close)}" if close else "check the spelling"


def read_pair(pair: Pair) -> tuple[Part, Part | None]:
    """Read the training part and the test part, where there is one.

    Parameters
    ----------
    pair : Pair
        The files.

    Returns
    -------
    train : Part
        The training part.
    test : Part or None
        The test part.

    Raises
    ------
    DataError
        If a file cannot be opened or is not what it should be.

    Examples
    --------
    >>> read_pair(Pair("pump", Path("pump.ts"), None))
    Traceback (most recent call last):
        ...
    tsjepa.datasets.dataset.DataError: pump.ts cannot be opened (No such file or directory); check it
    """
    try:
        if pair.test is not None:
            return _read_one(pair.train), _read_one(pair.test)
        return read_npz(pair.train) if pair.train.suffix.lower() == ".npz" else (_read_one(pair.train), None)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{error.filename or pair.train} cannot be opened ({reason}); check it") from error


def _read_one(path: Path) -> Part:
    match path.suffix.lower():
        case ".ts":
            return read_ts(path)
        case ".tsv":
            return read_tsv(path)
        case ".npy":
            return read_npy(path)
        case ".npz":
            return _one_part(path)
        case _:
            return read_table(path)


def _one_part(path: Path) -> Part:
    part, test = read_npz(path)
    if test is not None:
        raise DataError(f"{path} holds both parts, but is one of two files _TRAIN and _TEST; save X and y in each")
    return part
