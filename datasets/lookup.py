"""Names to files: the user's folder, what aeon's wheel brings, what was downloaded before."""

import glob
import os
from difflib import get_close_matches
from pathlib import Path

from tsjepa.datasets.archives import ZIPPED, bundled_folder, zenodo_records
from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.files import OR_A_LOG, SUFFIXES, Pair, named_pair, several_pairs
from tsjepa.datasets.home import cache_folder, user_path

BUNDLED = "aeon (bundled)"
# Sets of this project's measurements that no archive offers
MADE = ("PaderbornKAT", "CWRU48k")


def data_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Give the user's folder of data sets: the argument, else ``TSJEPA_DATA``, else None.

    Examples
    --------
    >>> data_folder("archive").name
    'archive'
    """
    chosen = data_dir or os.environ.get("TSJEPA_DATA")
    return user_path(chosen) if chosen else None


def find_local(name: str, data_dir: Path | None) -> tuple[Pair, str] | None:
    """Find a data set that is on this machine.

    Parameters
    ----------
    name : str
        Name of the data set, in any case.
    data_dir : Path or None
        The user's folder, which is looked in first.

    Returns
    -------
    tuple of Pair and str, or None
        The files, and where they are in words; None where no folder has them.

    Examples
    --------
    >>> pair, source = find_local("gunpoint", None)
    >>> pair.name, source
    ('GunPoint', 'aeon (bundled)')
    """
    bundled = bundled_folder()
    for root in (data_dir, bundled, cache_folder()):
        match = match_name(name, names_in(root))
        pair = named_pair(root / match, match) if root is not None and match is not None else None
        if pair is not None:
            return pair, BUNDLED if root == bundled else str(pair.train.parent)
    return None


def names_in(root: Path | None) -> list[str]:
    """Names of the data sets in a folder, sorted; none where there is no folder.

    Examples
    --------
    >>> "BasicMotions" in names_in(bundled_folder()), names_in(None)
    (True, [])
    """
    if root is None or not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if named_pair(entry, entry.name) is not None)


def match_name(name: str, known: list[str]) -> str | None:
    """Find the known name that is meant: the same one, else the one that differs in case only.

    Examples
    --------
    >>> match_name("forda", ["FordB", "FordA"]), match_name("Ford", ["FordA"])
    ('FordA', None)
    """
    if name in known:
        return name
    return next((other for other in known if other.casefold() == name.casefold()), None)


def downloadable() -> list[str]:
    """Names of the data sets that can be downloaded.

    Examples
    --------
    >>> {"FordA", "FaultDetectionA"} <= set(downloadable())
    True
    """
    return [*zenodo_records(), *ZIPPED]


def is_known(name: str, data_dir: Path | None) -> bool:
    """Whether a name is that of a data set that is on this machine or can be downloaded.

    Examples
    --------
    >>> is_known("gunpoint", None), is_known("no such set", None)
    (True, False)
    """
    return find_local(name, data_dir) is not None or match_name(name, downloadable()) is not None


def unknown_name(name: str, data_dir: Path | None) -> DataError:
    """Make the error for a name that no source knows, with the nearest names; a folder's without data in it, too.

    Parameters
    ----------
    name : str
        What the user wrote.
    data_dir : Path or None
        The user's folder.

    Returns
    -------
    DataError
        To be raised.

    Examples
    --------
    >>> print(str(unknown_name("GunPiont", None)).split(";")[0])
    there is no file or folder 'GunPiont', and no data set is called 'GunPiont'
    """
    folder = user_path(name)
    several = several_pairs(folder)
    if several is not None:
        return several
    here = glob.glob("*")  # what is misspelled may be a path as well
    known = {*here, *names_in(data_dir), *names_in(bundled_folder()), *names_in(cache_folder()), *downloadable()}
    known -= {name}
    folded = {other.casefold(): other for other in sorted(known)}
    near = [folded[match] for match in get_close_matches(name.casefold(), list(folded), n=3)]
    hint = f"the nearest names are {', '.join(near)}" if near else "no known name is near it"
    looked = ""
    if data_dir is not None:
        looked = f" (looked in {data_dir} too)" if data_dir.is_dir() else f" (there is no folder {data_dir})"
    made = "; docs/data.md says how it is made" if name.startswith(MADE) else ""
    place, held = f"there is no file or folder {name!r}", "a folder with <Name>_TRAIN.ts and <Name>_TEST.ts"
    if folder.is_dir():
        place = f"{folder} is a folder without {name}_TRAIN.ts"
        held = f"a folder with <Name>_TRAIN and <Name>_TEST ({', '.join(SUFFIXES)}) {OR_A_LOG}"
    return DataError(
        f"{place}, and no data set is called {name!r}{made}; {hint}{looked}; give a name, a file, or {held}"
    )
