"""The cache of a log: rows once, sorted; grids and windows as folders inside; each there as a whole or not at all."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.home import needed_cache_folder, user_path
from tsjepa.datasets.log_columns import Layout
from tsjepa.datasets.log_files import LogFile
from tsjepa.datasets.log_place import Progress, row_fields
from tsjepa.datasets.log_plan import RowPlan
from tsjepa.datasets.log_rows import build_rows
from tsjepa.datasets.log_steps import lost_steps
from tsjepa.datasets.log_store import Column, Field, RowFiles, opening, read_json, too_short, write_json, writing
from tsjepa.datasets.log_types import TimeKind
from tsjepa.datasets.log_values import Log

FORMAT = 3
STEP_ROWS = 1 << 16


@dataclass(frozen=True)
class RowStore:
    """A finished folder of rows, sorted by id and time.

    Attributes
    ----------
    folder : Path
        Where it lies.
    rows : int
        How many.
    fields : dict of str to Field
        The columns kept.
    channels : tuple of str
        Names of the values.
    classes : tuple of str or None
        Of the labels; None where these are a numeric target or there are none.
    time : TimeKind
        What times are.
    notes : tuple of str
        What the user should know about the rows.
    """

    folder: Path
    rows: int
    fields: dict[str, Field]
    channels: tuple[str, ...]
    classes: tuple[str, ...] | None
    time: TimeKind
    notes: tuple[str, ...]

    def files(self) -> RowFiles:
        """Return the columns for reading in order."""
        return RowFiles(self.folder, self.fields)

    def column(self, name: str) -> Column:
        """Return one column for reading at any place."""
        return Column(self.folder / name, self.fields[name])

    def series(self) -> pa.Table:
        """Return the ids: columns ``id``, ``group``, ``rows`` and ``step``, the median step of time."""
        path = self.folder / "ids"
        with opening(path), pa.memory_map(str(path)) as source:
            try:
                return pa.ipc.open_file(source).read_all()
            except pa.ArrowInvalid:
                raise too_short(path) from None

    def groups(self) -> pa.ChunkedArray:
        """Return the group of each id, which is one of its own where no column gives groups."""
        table = self.series()
        return table["id" if table["group"].null_count else "group"]

    def offsets(self) -> NDArray[np.int64]:
        """Return the first row of each id, and the end."""
        counts = self.series()["rows"].to_numpy()
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def open_store(folder: Path) -> RowStore | None:
    """Open a finished folder of rows, None where there is none."""
    kept = read_json(folder / "manifest.json")
    if kept is None or kept["format"] != FORMAT:
        return None
    return RowStore(
        folder,
        kept["rows"],
        {name: Field(*field) for name, field in kept["fields"].items()},
        tuple(kept["channels"]),
        None if kept["classes"] is None else tuple(kept["classes"]),
        TimeKind(*kept["time"]),
        tuple(kept["notes"]),
    )


def digest(content: Any) -> str:
    """Return a short name for settings: the same for the same ones."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def rows_of(
    log: Log, files: list[LogFile], start: Path, progress: Progress, announce: Callable[[str], None]
) -> RowStore:
    """Open the rows of a log, building them first where there are none yet.

    Parameters
    ----------
    log : Log
    files : list of LogFile
        Those of the log.
    start : Path
        See `start_of`.
    progress, announce : callable
        Told of work done, and of what the user should know before long work.

    Raises
    ------
    DataError
        If rows cannot be read or written.
    """
    state = digest([[file.size, file.mtime] for file in files])
    folder, partial = Path(f"{start}-{state}"), Path(f"{start}.partial")
    if (store := open_store(folder)) is not None:
        return store
    with locked(Path(f"{start}.lock"), announce):
        if (store := open_store(folder)) is not None:  # another process has just built it
            return store
        plan, offsets = build_rows(log, partial, progress, announce)
        _finish(log, plan, offsets, partial)
        with writing(start.parent):
            for other in start.parent.iterdir():
                if other.name.startswith(f"{start.name}-"):  # of files that have changed since
                    shutil.rmtree(other, ignore_errors=True)
            partial.replace(folder)
    store = open_store(folder)
    assert store is not None
    return store


def log_root(cache_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder of all logs' caches."""
    return needed_cache_folder("--cache-dir") / "logs" if cache_dir is None else user_path(cache_dir)


def start_of(layout: Layout, files: list[LogFile], name: str, cache_dir: str | os.PathLike[str] | None) -> Path:
    """Return how the paths begin of what is kept of a log as it is read."""
    columns = layout.columns
    settings = [columns.id, columns.time, columns.channels, columns.label, columns.group]
    keys = [layout.id_by, layout.id_is_number, layout.group_is_number]
    asked = digest([FORMAT, layout.form, layout.time, *keys, *settings, [place(file) for file in files]])
    return log_root(cache_dir) / f"{name}-{asked}"


def drop_partial(start: Path, announce: Callable[[str], None]) -> None:
    """Throw away what was begun of a log that is read otherwise after all."""
    with locked(Path(f"{start}.lock"), announce):  # another process may be building in it
        shutil.rmtree(f"{start}.partial", ignore_errors=True)


def _key_types(layout: Layout) -> list[pa.DataType]:
    return [pa.int64() if number else pa.string() for number in (layout.id_is_number, layout.group_is_number)]


def place(file: LogFile) -> str:
    """Return where a file lies, wherever it was named from."""
    return file.shown if "://" in file.shown else str(Path(file.key).resolve())


@contextlib.contextmanager
def locked(path: Path, announce: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time build a cache; the lock of a process that was killed is free."""
    import filelock

    if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        yield  # a cache that cannot be written to can be read all the same
        return
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            announce(f"another process is building {path.with_suffix('')}: waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def built(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes its place when all is done; what an earlier attempt left is thrown away."""
    partial = folder.with_name(f"{folder.name}.partial")
    with writing(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    yield partial
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)


def write_series(folder: Path, ids: pa.Array, groups: pa.Array, rows: Any, steps: Any) -> None:
    """Write the table of ids."""
    table = pa.table(
        {"id": ids, "group": groups, "rows": pa.array(rows, pa.int64()), "step": pa.array(steps, pa.float64())}
    )
    with (
        writing(folder),
        pa.OSFile(str(folder / "ids"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as to,
    ):
        to.write_table(table)


def write_manifest(folder: Path, store: RowStore) -> None:
    """Write what makes a folder of rows a finished one."""
    content = asdict(store)
    del content["folder"]
    write_json(folder / "manifest.json", {"format": FORMAT, **content})


def median_steps(rows: RowFiles, offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median step of time of each id, over its first 65,536 rows; NaN where it has one row."""
    steps = np.full(len(offsets) - 1, np.nan)
    for number, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        if stop - start > 1:
            time = rows.read(start, min(stop, start + STEP_ROWS), ("time",))["time"]
            steps[number] = np.median(np.diff(time))
    return steps


def _finish(log: Log, plan: RowPlan, offsets: NDArray[np.int64], folder: Path) -> None:
    """Turn what was built into a finished folder, and remove what it was built from."""
    layout = log.layout
    fields, total = row_fields(layout, plan), int(offsets[-1])
    with RowFiles(folder, fields) as rows:
        steps = median_steps(rows, offsets)
        low, high, missing = _held(rows, total)
    with writing(folder):
        for name, field in fields.items():
            os.truncate(folder / name, total * field.bytes)
    kind, kind_of_group = _key_types(layout)
    write_series(folder, pa.array(plan.ids, kind), pa.array(plan.groups, kind_of_group), np.diff(offsets), steps)
    notes = _notes(plan, low, high, missing, lost_steps(layout, log.pieces[0]))
    write_manifest(folder, RowStore(folder, total, fields, plan.channels, plan.classes, layout.time, notes))
    with writing(folder):
        for left in ("scan", "done", "staged", "runs"):
            shutil.rmtree(folder / left, ignore_errors=True)
        (folder / "sorted.json").unlink(missing_ok=True)


def _held(rows: RowFiles, total: int) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Return the smallest and largest value of each channel, NaN where there is none, and the share of missing ones."""
    width, missing = rows.fields["values"].width, 0
    low = high = np.full(width, np.nan, np.float32)
    for start in range(0, total, STEP_ROWS):
        values = rows.read(start, min(start + STEP_ROWS, total), ("values",))["values"]
        low, high = np.fmin(low, np.fmin.reduce(values, 0)), np.fmax(high, np.fmax.reduce(values, 0))
        missing += int(np.isnan(values).sum())
    return low, high, missing / (total * width)


def _notes(
    plan: RowPlan, lows: NDArray[np.float32], highs: NDArray[np.float32], missing: float, lost: list[str]
) -> tuple[str, ...]:
    """Say what is odd about the channels, and that rows had to be sorted."""
    notes = []
    if plan.unsorted is not None:
        notes.append(f"rows are not sorted by id and time ({plan.unsorted}): they are sorted in the cache")
    pairs = list(zip(plan.channels, lows, highs, strict=True))
    empty = [name for name, low, _ in pairs if np.isnan(low)]
    constant = [f"{name} ({low:g})" for name, low, high in pairs if low == high]
    if len(empty) == len(pairs):
        raise DataError("no channel of the log has a value; check the export, or take other channels")
    if empty:
        notes.append(f"channels without any value: {', '.join(empty)}")
    if constant:
        notes.append(f"channels with one value in all rows: {', '.join(constant)}")
    if lost:
        notes.append(
            f"channels with steps too fine for the 32-bit floats that values are kept in: {', '.join(lost)}; subtract "
            "their first value, or take differences, before"
        )
    if missing:
        notes.append(f"{100 * missing:.2g} % of all values are missing")
    return tuple(notes)
