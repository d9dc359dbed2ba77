"""Files of a run: their names, and tables that grow by a row an epoch and survive a resumed run."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tsjepa.whole_file import whole_file

CHECKPOINT, BEST, TEACHER = "checkpoint.ckpt", "best.ckpt", "teacher"
METRICS, DIAGNOSTICS = "metrics.csv", "diagnostics.csv"
# What TensorBoard's logger writes
CURVES = "events.out.tfevents.*"

Record = TypeVar("Record")


class TableError(ValueError):
    """A table of a run that is not as the run wrote it, said in one sentence."""


def run_folders(out: Path | None) -> tuple[Path, ...]:
    """Return the folders of the run that is to be replaced in a folder: its own and, if there is one, its teacher's.

    Where no run is, what a folder `teacher` in it holds is one of its own.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> [path.name for path in run_folders(folder)[1:]]
    []
    >>> (folder / "metrics.csv").touch()
    >>> [path.name for path in run_folders(folder)[1:]]
    ['teacher']
    """
    if out is None:
        return ()
    return (out, out / TEACHER) if trained_files((out,)) else (out,)


def trained_files(folders: Iterable[Path]) -> list[Path]:
    """Return what training has left in folders; of curves alone nothing tells whose they are, so they do not count.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "events.out.tfevents.1").touch()
    >>> trained_files([folder])
    []
    >>> (folder / "metrics.csv").touch()
    >>> [path.name for path in trained_files([folder])]
    ['metrics.csv', 'events.out.tfevents.1']
    """
    files = []
    for folder in folders:
        found = [folder / name for name in (CHECKPOINT, BEST, METRICS, DIAGNOSTICS) if (folder / name).exists()]
        files += [*found, *folder.glob(CURVES)] if found else []
    return files


class EpochTable:
    """A CSV file of numbers with a row an epoch, its first column `epoch`.

    Parameters
    ----------
    path : Path

    Examples
    --------
    >>> import tempfile
    >>> table = EpochTable(Path(tempfile.mkdtemp()) / "table.csv")
    >>> table.append({"epoch": 1, "loss": 0.5})
    >>> table.rows()
    [{'epoch': '1', 'loss': '0.5'}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Append a row, and the header first where the file is new; columns that older rows have not are nan there."""
        names = list(row)
        if self.path.exists():
            with self.path.open(newline="") as file:
                known = next(csv.reader(file), [])
            names = [*known, *(name for name in names if name not in known)]
            if names != known:
                self.write([dict.fromkeys(names, "nan") | before for before in self.rows()], names)
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, names, restval="nan")
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def rows(self) -> list[dict[str, str]]:
        """Return the rows, none where there is no file; see `records`."""
        return self.records(dict)

    def records(self, parse: Callable[[dict[str, str]], Record]) -> list[Record]:
        """Return what `parse` makes of each row, none where there is no file.

        Raises
        ------
        TableError
            If a row does not fit the header, holds something else than numbers, or is not what `parse` takes.
        """
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            try:
                return [parse(checked(row)) for row in reader]
            except (ValueError, TypeError, KeyError, csv.Error) as error:
                raise TableError(
                    f"{self.path} is damaged in line {max(reader.line_num, 1)}: repair it, or move it away to go "
                    "on without what it tells."
                ) from error

    def last(self, name: str) -> float | None:
        """Return a column's value in the last row, None where there is no row; see `records`."""
        values = self.records(lambda row: float(row[name]))
        return values[-1] if values else None

    def keep_until(self, epoch: int) -> None:
        """Drop the rows of later epochs: they are done again."""
        rows = self.rows()
        if rows:
            self.write([row for row in rows if int(row["epoch"]) <= epoch], list(rows[0]))

    def write(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
        """Put these rows in the place of all."""
        with whole_file(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)


def checked(row: dict[str, str]) -> dict[str, str]:
    """Return a row as it is, but fail where its values are not numbers, one a column."""
    int(row["epoch"])
    for value in row.values():
        float(value)
    return row
