"""Tables that grow a run at a time: typed rows in a CSV file, of which a kill costs the last run at most."""

import csv
import io
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, get_type_hints

from tsjepa.whole_file import whole_file

Key = tuple[Any, ...]
RunKey = tuple[str, str, int, int]
Row = TypeVar("Row", bound=tuple[Any, ...])


class BenchmarkError(ValueError):
    """A benchmark that cannot be carried out or gone on with, said in one sentence."""


class Result(NamedTuple):
    """A row of `results.csv`: one method on one data set with one seed.

    Attributes
    ----------
    data, method, seed, fold
        The run; fold 0 is the default split, fold k the resample with seed k.
    accuracy, balanced_accuracy : float, optional
        On the test part; None where the run failed.
    log_loss : float, optional
        None for a head without probabilities, such as ridge, and where it has not seen a class of the test part.
    fit_seconds : float, optional
        Of the method and of its head.
    transform_seconds : float, optional
        Of both parts.
    peak_mb : float, optional
        The largest memory of the run's own process, what it had imported included.
    effective_rank : float, optional
        Of the training part's features, centred; see `tsjepa.diagnostics.effective_rank`.
    n_train, n_test : int, optional
        Series that have a label.
    partial : bool
        Whether the training part is short of the archive's.
    status : str
        "ok" or "failed".
    reason : str
        Why it failed.
    recipe : str
        Digest of everything that the method depends on.
    versions : str
        Of tsjepa and of what computes.
    data_digest : str
        Digest of series and labels of both parts, before any resampling; empty in tables of before it was kept.
    """

    data: str
    method: str
    seed: int
    fold: int
    accuracy: float | None
    balanced_accuracy: float | None
    log_loss: float | None
    fit_seconds: float | None
    transform_seconds: float | None
    peak_mb: float | None
    effective_rank: float | None
    n_train: int | None
    n_test: int | None
    partial: bool
    status: str
    reason: str
    recipe: str
    versions: str
    data_digest: str = ""


class FewLabels(NamedTuple):
    """A row of `few_labels.csv`: one draw of labels; `labels` is what was asked for, as `0.05` or `5/class`.

    Where a class has not so many there is one row, of no labels and without accuracy.
    """

    data: str
    method: str
    seed: int
    fold: int
    labels: str
    n_labels: int
    draw: int
    accuracy: float | None


class LevelScore(NamedTuple):
    """A row of `levels.csv`: the head on one level of an encoder; 0 is the tokenizer, `all` are all levels."""

    data: str
    method: str
    seed: int
    fold: int
    level: str
    accuracy: float


class Table(Generic[Row]):
    """Rows of one type in a CSV file, which is replaced as a whole by each write; a half line at the end is dropped.

    Parameters
    ----------
    path : Path
    kind : type
        A NamedTuple of str, int, bool and float, of which numbers may be None. Fields with a default may be missing in
        an older file, and are added to it with the next row.
    key_size : int, default=4
        How many of its first fields name the run that a row belongs to.

    Examples
    --------
    >>> import tempfile
    >>> table = Table(Path(tempfile.mkdtemp()) / "levels.csv", LevelScore)
    >>> table.append([LevelScore("FordA", "default", 0, 0, "all", 0.9)])
    >>> table.read()
    [LevelScore(data='FordA', method='default', seed=0, fold=0, level='all', accuracy=0.9)]
    """

    def __init__(self, path: Path, kind: type[Row], key_size: int = 4) -> None:
        self.path, self.kind, self.key_size = path, kind, key_size
        hints = get_type_hints(kind)
        self.columns = list(hints)
        self.older = [name for name in hints if name not in kind._field_defaults]  # type: ignore[attr-defined]
        self.types = list(hints.values())

    def read(self) -> list[Row]:
        """Return the rows, none where there is no file.

        Raises
        ------
        BenchmarkError
            If the file is no such table, or cannot be read.
        """
        try:
            content = self._content()
        except OSError as error:
            raise self._refused(error.strerror or error) from error
        try:
            lines = list(csv.reader(io.StringIO(content.decode())))
            if lines and lines[0] not in (self.columns, self.older):
                raise ValueError("its columns are not those of this version")
            return [self._parse(line, len(lines[0])) for line in lines[1:]]
        except (ValueError, csv.Error) as error:
            raise self._refused(error) from error

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows, all or none of them, the header before the first ones."""
        if lines := self._lines(rows):
            content = self._content()
            if not content.startswith(self._lines([self.columns])):
                content = self._lines([self.columns, *self.read()])
            self._replace(content + lines)

    def keep(self, wanted: Callable[[Key], bool]) -> None:
        """Drop the rows of the runs that are not wanted; the file is replaced, and only if there are any."""
        rows = self.read()
        kept = [row for row in rows if wanted(row[: self.key_size])]
        if len(kept) < len(rows):
            self._replace(self._lines([self.columns, *kept]))

    def _content(self) -> bytes:
        """Return the whole lines, without what was cut off of another by an earlier version."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if content and not whole and not self._lines([self.columns]).startswith(content):
            raise self._refused("it is no table")
        return whole

    def _refused(self, why: object) -> BenchmarkError:
        return BenchmarkError(f"{self.path} cannot be gone on with: {why}; name another folder.")

    def _replace(self, content: bytes) -> None:
        path = Path(os.path.realpath(self.path))  # a link stays one
        with whole_file(path) as temporary, temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, temporary)

    def _lines(self, rows: Iterable[Iterable[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([as_text(value) for value in row] for row in rows)
        return text.getvalue().encode()

    def _parse(self, texts: list[str], width: int) -> Row:
        if len(texts) != width:
            raise ValueError(f"a row has {len(texts)} values instead of {width}")
        return self.kind(*(from_text(text, kind) for text, kind in zip(texts, self.types, strict=False)))


def in_order(rows: Iterable[Row], asked: Iterable[Any], of: Callable[[Row], Any]) -> list[Row]:
    """Return rows in the order in which something of them is asked for; others come last, as they stand.

    Examples
    --------
    >>> rows = [LevelScore("FordA", method, 0, 0, "all", 0.9) for method in ("raw", "tiny", "default")]
    >>> [row.method for row in in_order(rows, ["default", "tiny"], lambda row: row.method)]
    ['default', 'tiny', 'raw']
    """
    places = {name: place for place, name in enumerate(dict.fromkeys(asked))}
    return sorted(rows, key=lambda row: places.get(of(row), len(places)))


def shared_runs(
    rows: Sequence[Row], place: Callable[[Row], Any], run: Callable[[Row], Any], methods: Collection[str] = ()
) -> list[Row]:
    """Return the rows of the runs that, in their place, every method has which is there at all.

    Where methods are named, all of them have to be there.

    Examples
    --------
    >>> row = LevelScore("pump", "default", 0, 0, "all", 0.9)
    >>> rows = [row, row._replace(seed=1), row._replace(method="tiny")]
    >>> [(row.method, row.seed) for row in shared_runs(rows, lambda row: row.data, lambda row: row.seed)]
    [('default', 0), ('tiny', 0)]
    """
    runs: dict[Any, dict[str, set[Any]]] = {}
    for row in rows:
        runs.setdefault(place(row), {}).setdefault(row[1], set()).add(run(row))  # by the method
    shared = {name: set.intersection(*own.values()) for name, own in runs.items() if own.keys() >= {*methods}}
    return [row for row in rows if run(row) in shared.get(place(row), ())]


def as_text(value: Any) -> str:
    """Return a value as it stands in a table, on one line; blanks stay, since paths are told apart by them.

    Examples
    --------
    >>> as_text(None), as_text(True), as_text(0.5)
    ('', 'true', '0.5')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else " ".join(re.split(r"[\r\n]+", str(value)))


def from_text(text: str, kind: Any) -> Any:
    """Return the value that a text in a table stands for.

    Examples
    --------
    >>> from_text("", float | None), from_text("true", bool)
    (None, True)
    """
    if kind is str:
        return text
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text == "true"
    if kind in (int | None, float | None) and text == "":
        return None
    return int(text) if kind in (int, int | None) else float(text)
