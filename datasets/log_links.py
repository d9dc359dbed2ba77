"""What stands among the files of a log: links, since what several paths lead to is read once, and folders of runs."""

import os
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import NamedTuple

from tsjepa.arrays import counted

# a path that is left out, and the other path of what it leads to; None where there is nothing
Link = tuple[str, str | None]
SHOWN = 3


class Listing(NamedTuple):
    """What stands in a folder.

    Attributes
    ----------
    paths : list of str
        The files, links to files among them.
    links : list of Link
        Further paths of folders that are listed anyway.
    runs : list of str
        Folders of runs in it, which are passed over.
    folders : set of str
        The folders that are listed, all links followed.
    """

    paths: list[str]
    links: list[Link]
    runs: list[str]
    folders: set[str]


def holds_run(folder: str | os.PathLike[str]) -> bool:
    r"""Return whether a folder is that of a run, whose tables are no log; a sensor log may be called like one of them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "metrics.csv")
    ...     [table.write_text(text) > 0 and holds_run(folder) for text in ("epoch,flow\n", "epoch,step,loss,lr\n")]
    [False, True]
    """
    # of a run that was stopped in its first epoch there are tables alone
    tables = {"metrics.csv": b"epoch,step,loss,", "diagnostics.csv": b"epoch,loss,effective_rank,"}
    models = (os.path.join(folder, name) for name in ("checkpoint.ckpt", "best.ckpt"))
    begun = (_begins(os.path.join(folder, name), columns) for name, columns in tables.items())
    return any(map(os.path.exists, models)) or any(begun)


def _begins(table: str, columns: bytes) -> bool:
    try:
        with open(table, "rb") as file:
            return file.read(len(columns)) == columns
    except OSError:  # most folders have none; what cannot be read is said where a log is read
        return False


def files_below(folder: str, is_hidden: Callable[[str], bool]) -> Listing:
    """List the files in a folder, in its subfolders but for those of runs, and in folders that links in them lead to.

    Parameters
    ----------
    folder : str
        The folder.
    is_hidden : callable
        Told the name of a file or a folder; True where it is passed over.

    Returns
    -------
    Listing
        What is there.

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
    ...     listing = files_below(folder, lambda name: False)
    ...     [os.path.basename(path) for path in listing.paths], [os.path.basename(link) for link, _ in listing.links]
    (['p1.csv'], ['self'])
    """
    ways = Ways(folder)
    seen: dict[str, str] = {}
    paths: list[str] = []
    links: list[Link] = []
    runs: list[str] = []
    waiting = [(ways.rank(folder), folder)]
    while waiting:
        rank, path = heappop(waiting)
        other = seen.get(ways.end(path))
        if other is not None and ways.rank(other) <= rank:
            links.append((path, other))
            continue
        seen[ways.end(path)] = path  # listed again where its own name makes this path the better one
        _, folders, names = next(os.walk(path, onerror=_refuse))
        for inner in (_join(path, name) for name in folders if not is_hidden(name)):
            if holds_run(inner):
                runs.append(inner)
            else:
                heappush(waiting, (ways.rank(inner), inner))
        paths += [_join(path, name) for name in names if not is_hidden(name)]
    return Listing(paths, links, runs, set(seen))


def _refuse(error: OSError) -> None:
    raise error


def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name).replace(os.sep, "/")


def without_links(paths: Iterable[str], root: str) -> tuple[list[str], list[Link]]:
    """Keep one path of each file below a root, the best one as `Ways.rank` has it, and return the others beside.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     p1, latest = f"{folder}/p1.csv", f"{folder}/latest.csv"
    ...     Path(p1).touch()
    ...     Path(latest).symlink_to("p1.csv")
    ...     without_links([latest, p1], folder) == ([p1], [(latest, p1)])
    True
    """
    ways = Ways(root)
    kept: dict[str, str] = {}
    links: list[Link] = []
    for path in sorted(paths, key=ways.rank):
        if not (end := ways.end(path)):
            links.append((path, None))
        elif (other := kept.setdefault(end, path)) != path:
            links.append((path, other))
    return list(kept.values()), links


class Ways:
    """What paths lead to, and through how many links.

    What is found of a folder is kept, so that a file in it takes one look at the disk.

    Parameters
    ----------
    root : str
        Folder of the log; only names below it give columns.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "disk").mkdir()
    ...     for link, to in ("machine=1", "disk"), ("latest", "machine=1"):
    ...         Path(folder, link).symlink_to(to)
    ...     ways = Ways(folder)
    ...     [ways.rank(f"{folder}/{name}")[0] - ways.rank(folder)[0] for name in ("machine=1", "latest")]
    [1, 2]
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.known: dict[str, tuple[int, str]] = {}

    def rank(self, path: str) -> tuple[int, bool, str]:
        """Return what the paths of one thing are sorted by: links on the way, then whether no name gives a column."""
        return self.followed(path)[0], "=" not in path.removeprefix(self.root), path

    def end(self, path: str) -> str:
        """Return the path without links, "" for a link to nothing."""
        return self.followed(path)[1]

    def followed(self, path: str) -> tuple[int, str]:
        """Return the number of links on the way, and where it ends."""
        if path not in self.known:
            self.known[path] = self._follow(*os.path.split(path))
        return self.known[path]

    def _follow(self, folder: str, name: str) -> tuple[int, str]:
        if not name and folder == os.path.dirname(folder):  # the root, or the working folder
            return 0, os.path.realpath(folder)
        hops, end = self.followed(folder)
        if name in ("", ".", ".."):
            return hops, os.path.dirname(end) if name == ".." else end
        path = os.path.join(end, name)
        if not os.path.islink(path):
            return hops, path
        if not os.path.exists(path):  # it may also lead to itself
            return hops, ""
        further, end = self.followed(os.path.join(end, os.readlink(path)))
        return hops + 1 + further, end


def link_notes(links: Iterable[Link]) -> list[str]:
    """Say which paths were left out, some of those that lead to nothing and some of the others.

    Examples
    --------
    >>> link_notes([("latest/p1.csv", "new/p1.csv"), ("p2.csv", None)])
    ['p2.csv is a link to nothing: passed over', 'latest/p1.csv is the same as new/p1.csv: read once']
    """
    ways = Ways("")
    lost = [f"{path} is a link to nothing: passed over" for path, other in links if other is None]
    again = [
        f"{path} is {'a link to' if ways.rank(path)[0] > ways.rank(other)[0] else 'the same as'} {other}: read once"
        for path, other in links
        if other is not None
    ]
    return [*_some(lost, "to nothing"), *_some(again, "to what is read anyway")]


def _some(notes: list[str], where: str) -> list[str]:
    more = len(notes) - SHOWN
    return notes if more <= 0 else [*notes[:SHOWN], f"{counted(more, 'more link')} {where}"]
