"""Links among the files of a log: what several paths lead to is read once."""

import os
from collections.abc import Callable, Iterable

from tsjepa.arrays import counted

# path of a link, and the other path of what it leads to; None where there is nothing
Link = tuple[str, str | None]
SHOWN = 3


def files_below(folder: str, is_hidden: Callable[[str], bool]) -> tuple[list[str], list[Link]]:
    """List the files in a folder, in its subfolders, and in folders that links in them lead to.

    Parameters
    ----------
    folder : str
        The folder.
    is_hidden : callable
        Told the name of a file or a folder; True where it is passed over.

    Returns
    -------
    paths : list of str
        The files, links to files among them.
    links : list of Link
        Those that lead to folders that are listed anyway.

    Raises
    ------
    OSError
        If a folder cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "p1.csv").touch()
    ...     Path(folder, "self").symlink_to(".")
    ...     paths, links = files_below(folder, lambda name: False)
    ...     [os.path.basename(path) for path in paths], [os.path.basename(link) for link, _ in links]
    (['p1.csv'], ['self'])
    """
    seen: dict[str, str] = {}
    paths: list[str] = []
    links: list[Link] = []
    waiting = [folder]
    while waiting:  # links to folders come after all that is none
        top = waiting.pop(0)
        if (real := os.path.realpath(top)) in seen:
            links.append((top, seen[real]))
            continue
        for path, folders, names in os.walk(top, onerror=_refuse):
            if seen.setdefault(os.path.realpath(path), path) != path:  # in a folder above, to which a link has led
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            waiting += [inner for name in folders if os.path.islink(inner := _join(path, name))]
            paths += [_join(path, name) for name in names if not is_hidden(name)]
    return paths, links


def _refuse(error: OSError) -> None:
    raise error


def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name).replace(os.sep, "/")


def without_links(paths: Iterable[str]) -> tuple[list[str], list[Link]]:
    """Keep one path of each file, that with the fewest links in it, and return the others beside.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     p1, latest = f"{folder}/p1.csv", f"{folder}/latest.csv"
    ...     Path(p1).touch()
    ...     Path(latest).symlink_to("p1.csv")
    ...     without_links([latest, p1]) == ([p1], [(latest, p1)])
    True
    """
    kept: dict[str, str] = {}
    links: list[Link] = []
    for path in sorted(paths, key=lambda path: (_links_in(path), path)):
        if os.path.islink(path) and not os.path.exists(path):
            links.append((path, None))
        elif (other := kept.setdefault(os.path.realpath(path), path)) != path:
            links.append((path, other))
    return list(kept.values()), links


def _links_in(path: str) -> int:
    count = 0
    while path not in ("", os.path.dirname(path)):
        count += os.path.islink(path)
        path = os.path.dirname(path)
    return count


def link_notes(links: Iterable[Link]) -> list[str]:
    """Say which links were left out, some of those that lead to nothing and some of the others.

    Examples
    --------
    >>> link_notes([("latest.csv", "p1.csv"), ("p2.csv", None)])
    ['p2.csv is a link to nothing: passed over', 'latest.csv is a link to p1.csv: read once']
    """
    lost = [f"{path} is a link to nothing: passed over" for path, other in links if other is None]
    again = [f"{path} is a link to {other}: read once" for path, other in links if other is not None]
    return [*_some(lost, "to nothing"), *_some(again, "to what is read anyway")]


def _some(notes: list[str], where: str) -> list[str]:
    more = len(notes) - SHOWN
    return notes if more <= 0 else [*notes[:SHOWN], f"{counted(more, 'more link')} {where}"]
