"""Grids and windows of a log's rows: built beside them, once for each choice of settings."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import counted
from tsjepa.datasets.dataset import DataError, UncutError
from tsjepa.datasets.log_cache import RowStore, built, digest, open_store, write_manifest, write_series
from tsjepa.datasets.log_cut import CHUNK, Cut, Describe, Segments, cut, named_normal, near, segments, window_fields
from tsjepa.datasets.log_grid import grid_blocks, grid_fields, rounding
from tsjepa.datasets.log_normal import normal_codes
from tsjepa.datasets.log_place import Progress
from tsjepa.datasets.log_settings import Windowing
from tsjepa.datasets.log_store import Column, RowFiles, read_json, write_json
from tsjepa.datasets.log_time import gap_limits, in_ticks, shown_step

# rows under windows that are described together
BAND = 4 * CHUNK


class Steps(NamedTuple):
    """How time goes on in a log, in its own unit.

    Attributes
    ----------
    each : ndarray of float64, shape (n_ids,)
        The median step of each id, NaN where it has one row.
    usual : float
        The median of these; NaN where no id has two rows.
    gaps : ndarray of float64, shape (n_ids,)
        The longest step of each id that is no gap.
    asked : ndarray of float64, shape (n_ids,)
        The same as it was asked for, which `gaps` is a little wider than where times are floats.
    """

    each: NDArray[np.float64]
    usual: float
    gaps: NDArray[np.float64]
    asked: NDArray[np.float64]


class Windows(NamedTuple):
    """A finished folder of windows.

    Attributes
    ----------
    columns : dict of str to Column
        Where each window starts, how long it is, whose it is, whether it holds a value, its label.
    n_windows : int
        How many there are.
    length : int
        Points of a window; without windows, of the longest series.
    window, stride : int or None
        In points.
    notes : tuple of str
        What the user should know about them.
    """

    columns: dict[str, Column]
    n_windows: int
    length: int
    window: int | None
    stride: int | None
    notes: tuple[str, ...]


def steps_of(store: RowStore, max_gap: int | float | str | None) -> Steps:
    """Return a log's steps of time and what is a gap in it.

    Raises
    ------
    DataError
        If `max_gap` is a duration and times have no unit.
    """
    each = store.series()["step"].to_numpy()
    usual = float(np.median(each[~np.isnan(each)])) if not np.isnan(each).all() else float("nan")
    asked, gaps = gap_limits(max_gap, each, store.time)
    if store.time.kind == "rows":
        return Steps(np.ones(len(each)), 1.0, *np.full((2, len(each)), np.inf))
    return Steps(each, usual, *(np.where(np.isnan(limit), np.inf, limit) for limit in (gaps, asked)))


def on_grid(store: RowStore, windowing: Windowing, progress: Progress) -> RowStore:
    """Bring rows onto a regular grid of time, or open the grid that an earlier call made.

    Raises
    ------
    DataError
        If the step is none that the log's times can have, or it cannot be written.
    """
    assert windowing.resample is not None
    step = _grid_step(windowing.resample, store)
    steps = steps_of(store, windowing.max_gap)
    if windowing.max_gap is not None and steps.gaps.min() < step:
        raise DataError(f"--max-gap {windowing.max_gap} is shorter than the step of --resample {windowing.resample}")
    reach, asked = (np.maximum(np.where(np.isinf(far), step, far), step) for far in (steps.gaps, steps.asked))
    folder = store.folder / f"grid-{digest([step, windowing.fill, windowing.max_gap])}"
    if (found := open_store(folder)) is not None:
        return found
    offsets, fields = store.offsets(), grid_fields(store.fields)
    counts, at = np.zeros(len(steps.each), np.int64), 0
    with built(folder) as partial, store.files() as rows, RowFiles(partial, fields) as target:
        stretches = _watched(segments(rows, offsets, steps.each, reach), store.rows, "resampling", progress)
        for series, block in grid_blocks(rows, stretches, offsets, step, reach, windowing.fill):
            target.write(at, block)
            at, counts[series] = at + len(block["time"]), counts[series] + len(block["time"])
        target.sync()
        table, note = store.series(), _grid_note(store, windowing, step, asked, at)
        write_series(partial, table["id"], table["group"], counts, np.full(len(counts), step))
        write_manifest(partial, replace(store, folder=partial, rows=at, fields=fields, notes=(*store.notes, note)))
    found = open_store(folder)
    assert found is not None
    return found


def _grid_step(resample: str, store: RowStore) -> float:
    points, ticks = in_ticks(resample, "--resample", store.time)
    if store.time.kind == "rows":
        raise DataError("--resample needs a column of times; name one by --time")
    if store.time.kind == "timestamp" and ticks is None:
        raise DataError(f"--resample {resample!r}: give a duration such as 10s or 500ms")
    step = float(points if ticks is None else ticks)  # type: ignore[arg-type]
    if store.time.kind != "float" and step != int(step):
        unit = store.time.unit or "whole numbers"
        raise DataError(f"--resample {resample!r} is finer than the log's times, which are in {unit}")
    return step


def _grid_note(store: RowStore, windowing: Windowing, step: float, asked: NDArray[np.float64], points: int) -> str:
    how = "by straight lines between" if windowing.fill == "linear" else "with the last of the"
    near = shown_step(float(asked.max()), store.time)
    return (
        f"resampled to a grid of {shown_step(step, store.time)}, {how} values at most {near} apart, else missing: "
        f"{counted(store.rows, 'row')} became {points}"
    )


def _watched(found: Iterator[Segments], total: int, phase: str, progress: Progress) -> Iterator[Segments]:
    for some in found:
        yield some
        progress(phase, int(some.stop[-1]) if len(some.stop) else 0, total)


def windows_of(store: RowStore, windowing: Windowing, lone: bool, progress: Progress) -> Windows:
    """Cut rows into windows, or open those that an earlier call cut.

    Parameters
    ----------
    store : RowStore
        The rows, or the grid.
    windowing : Windowing
        How they are cut.
    lone : bool
        Whether a single series may stay whole.
    progress : callable
        Told of work done.

    Raises
    ------
    DataError
        If a window is asked for in time and times have no unit, a single series is to stay whole and may not, or the
        windows cannot be written.
    """
    gridded = "row" in store.fields
    steps = steps_of(store, windowing.max_gap)
    if gridded:  # whatever is further apart than the grid's step was a gap before
        ends = store.column("time").rows(store.offsets()[1:] - 1)
        far = ends[np.abs(ends).argmax()] if len(ends) else 0
        steps = steps._replace(gaps=np.full(len(steps.each), steps.usual * (1 + rounding(far, steps.usual))))
    window = _points(windowing.window, "--window", store, steps)
    stride = window if windowing.stride is None else _points(windowing.stride, "--stride", store, steps)
    if window is None and len(steps.each) == 1 and not lone:
        # any flag of logs makes a log of a table
        said = "if each row is a series, leave --label and other flags of logs out, else "
        table = said if store.time.kind == "rows" else ""
        raise UncutError(
            f"the log is one series of {counted(store.rows, 'row')}, and nothing can be learnt from one: {table}cut it "
            "into windows"
        )
    label = windowing.window_label if "label" in store.fields else None
    settings = [window, stride, windowing.max_gap, label]
    if label == "any":  # labels are abnormal beside those whose names say normal
        settings += named_normal(store.classes or ())
    folder = store.folder / f"windows-{digest(settings)}"
    fields = window_fields(store.fields.get("label"))
    if (kept := read_json(folder / "manifest.json")) is None:
        with built(folder) as partial, store.files() as rows, RowFiles(partial, fields) as target:
            kept = _cut_all(store, rows, target, steps, window, stride, windowing, progress)
            write_json(partial / "manifest.json", kept)
    columns = {name: Column(folder / name, field) for name, field in fields.items()}
    return Windows(columns, kept["windows"], kept["length"], window, stride, tuple(kept["notes"]))


def _points(value: int | str | None, name: str, store: RowStore, steps: Steps) -> int | None:
    """Turn a window or a stride into points."""
    if value is None:
        return None
    points, ticks = in_ticks(value, name, store.time)
    if ticks is None:
        return int(points or 0)
    if np.isnan(steps.usual):
        raise DataError(f"{name} {value!r} is a duration, but no id has two rows to tell the step of time; give points")
    found = round(ticks / steps.usual)
    if found < 1:
        raise DataError(
            f"{name} {value!r} is shorter than the median step of time, {shown_step(steps.usual, store.time)}"
        )
    return found


def _cut_all(
    store: RowStore,
    rows: RowFiles,
    target: RowFiles,
    steps: Steps,
    window: int | None,
    stride: int | None,
    windowing: Windowing,
    progress: Progress,
) -> dict[str, Any]:
    offsets, at, seen = store.offsets(), 0, dict.fromkeys(("gaps", "uneven", "short", "shifted", "longest"), 0)
    longest = int(np.diff(offsets).max())
    normal = normal_codes(store) if windowing.window_label == "any" else []
    describe = Describe(rows, windowing.window_label, store.classes, normal)
    for some in _watched(segments(rows, offsets, steps.each, steps.gaps), store.rows, "cutting", progress):
        seen["gaps"], seen["uneven"] = seen["gaps"] + some.gaps, seen["uneven"] + some.uneven
        if window is None or stride is None:
            continue
        for part in cut(some, window, stride):
            at = _write(target, at, part, describe)
            seen["short"], seen["shifted"] = seen["short"] + part.short, seen["shifted"] + part.shifted
            seen["longest"] = max(seen["longest"], int(part.length.max()))
    if window is None:
        counts = np.diff(offsets)
        at = _write(target, at, Cut(offsets[:-1], counts, np.arange(len(counts)), 0, 0), describe)
    target.sync()
    notes = _notes(store, steps, window, stride, at, seen)
    return {"windows": at, "length": window or longest, "notes": notes}


def _write(target: RowFiles, at: int, windows: Cut, describe: Describe) -> int:
    """Write windows with what there is to say of them; return where the next go."""
    for part in near(windows, BAND):
        columns = {"start": part.start, "length": part.length, "series": part.series}
        target.write(at, columns | describe(part))
        at += len(part.start)
    return at


def _notes(
    store: RowStore, steps: Steps, window: int | None, stride: int | None, count: int, seen: dict[str, int]
) -> list[str]:
    """Say what was cut how, and what about it may surprise."""

    def spanned(points: int) -> str:
        timed = store.time.kind == "timestamp" and not np.isnan(steps.usual)
        return f" ({shown_step(points * steps.usual, store.time)})" if timed else ""

    if window is None or stride is None:
        notes = [f"{count} series, each a whole one"]
    else:
        every = f", one every {stride}{spanned(stride)}" if stride != window else ""
        windows, points = counted(count, "window"), counted(window, "point")
        notes = [f"{windows} of {points}{spanned(window)}{every}, from {len(steps.each)} series"]
        if stride > window:
            notes.append("the stride is longer than the window: rows in between are not used")
    if seen["gaps"]:
        wide = "" if "row" in store.fields else f" of more than {_gap_words(store, steps)}"
        notes.append(
            f"gaps{wide}{' inside series' if window is None else ', which no window goes across'}: {seen['gaps']}"
        )
    if seen["uneven"] and store.time.kind != "rows":  # rows of ids in turns are not next to each other
        share = f"{100 * seen['uneven'] / store.rows:.2g} %"
        notes.append(
            f"{share} of the steps of time differ from the median step by more than half: rows are taken as they come "
            "(if that matters, resample the file to a grid of even steps; --resample does so, but not for detect)"
        )
    each = steps.each[~np.isnan(steps.each)]
    if len(each) and each.max() > 1.1 * each.min():
        low, high = (shown_step(step, store.time) for step in (each.min(), each.max()))
        notes.append(
            f"the median step of time is {low} in one series and {high} in another: points mean different times"
        )
    if seen["short"]:
        longest = f"the longest has {counted(seen['longest'], 'row')}"
        more = f", which are all ({longest}: to learn from whole windows, give a shorter --window)"
        notes.append(
            "stretches shorter than a window, filled up with missing points: "
            f"{seen['short']}{more if seen['short'] == count else ''}"
        )
    if seen["shifted"]:
        notes.append(
            "windows that start early so that they end with the last row of a stretch, and no row is left out: "
            f"{seen['shifted']}"
        )
    return notes


def _gap_words(store: RowStore, steps: Steps) -> str:
    finite = steps.asked[np.isfinite(steps.asked)]
    low, high = shown_step(finite.min(), store.time), shown_step(finite.max(), store.time)
    return low if low == high else f"{low} to {high} (by series)"
