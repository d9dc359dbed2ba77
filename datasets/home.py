"""`~` in what the user writes, and the cache in the home folder, where there is such a folder."""

import os
from pathlib import Path

from tsjepa.datasets.dataset import DataError


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with the user's home folder in the place of ``~``.

    Parameters
    ----------
    path : str or path
        One that begins with the name of a user that is not there, ``~name``, is that of a file that is called so, as
        in a shell.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If it begins with ``~`` and no home folder is known, as for a process without ``HOME`` whose user the system
        does not list.

    Examples
    --------
    >>> user_path("~/pump.csv") == Path.home() / "pump.csv", user_path("~no such user.csv").name
    (True, '~no such user.csv')
    """
    found = Path(os.path.expanduser(path))
    if found.parts[:1] == ("~",):
        raise DataError(f"~ in {os.fspath(path)} is no folder, since HOME is not set; write the path without it")
    return found


def cache_folder() -> Path | None:
    """Where downloads go without a data folder: ``tsjepa`` in the user's cache; None without a home folder.

    Examples
    --------
    >>> cache_folder().name
    'tsjepa'
    """
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if root.startswith("~") else Path(root, "tsjepa")


def needed_cache_folder(instead: str) -> Path:
    """Return the cache, to be written to.

    Parameters
    ----------
    instead : str
        The option that names another folder.

    Raises
    ------
    DataError
        If there is no home folder for it.

    Examples
    --------
    >>> needed_cache_folder("--data-dir") == cache_folder()
    True
    """
    folder = cache_folder()
    if folder is None:
        raise DataError(f"there is no home folder to keep a cache in; set HOME or XDG_CACHE_HOME, or give {instead}")
    return folder
