"""One sensor log in memory, an array or a table, as rows of sensors in order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsjepa.column_guesses import NAMES, find_columns, is_called, is_measured, is_time
from tsjepa.column_names import TIME, called
from tsjepa.columns import left_aside, plain_name, refuse_text, without
from tsjepa.containers import not_measured, to_pandas
from tsjepa.kinds import is_one_channel, is_table

# No role has a column that the user named
UNNAMED = dict.fromkeys(NAMES)
SEVERAL = (
    "X must be one series (n_rows, n_sensors), but {}: use one detector for each machine, or the command "
    "tsjepa detect, which takes a log of several machines{}."
)
IF_ONE = "; if X is one series in order, "
REPEATED = (
    "the times in the index of X repeat or step back, and another level of it changes: if that says which machine, use "
    "one detector for each, or the command tsjepa detect; if X is one series in order, give X.reset_index(drop=True)."
)


def one_series(X: Any) -> Any:
    """Refuse an array or list of several series; anything else comes back as it is."""
    first = X[:1] if isinstance(X, list | tuple) else ()
    if getattr(X, "ndim", 0) > 2 or any(hasattr(x, "__len__") and not is_one_channel(x) for x in first):
        raise ValueError(SEVERAL.format("several are given", ""))
    return X


def sensors(X: Any, known: Sequence[str] | None) -> Any:
    """Return a table without what looks like labels or times; a further time by its type is refused.

    Rows are evenly spaced and in order, so that times are not looked at; those of an index, or of a time's type, have
    to increase.
    """
    frame, known = to_pandas(X), () if known is None else known
    refuse_several(frame, known)
    index: Any = frame.index
    levels = [index.get_level_values(at) for at in range(index.nlevels)]
    others = [at for at, level in enumerate(levels) if not is_clock(level)]
    # a day and the time in it are one time
    time = index.droplevel(others) if len(others) < len(levels) else index[:0]
    if not (time.is_monotonic_increasing and time.is_unique):
        if any(levels[at].nunique() > 1 for at in others):
            raise ValueError(REPEATED)
        # a cycle may last for many rows
        if not time.is_monotonic_increasing or any(is_time(level.dtype) for level in levels):
            raise ValueError(
                "the times in the index of X do not increase from row to row: sort X, and drop duplicates."
            )
    frame = without(frame, not_measured(frame, (), known))
    frame = without(frame, clocks(frame, known))
    refuse_text(frame, lambda row: f"row {row}", "convert or drop it")
    return frame


def refuse_several(frame: Any, known: Sequence[str]) -> None:
    """Refuse a table in which a column or a level of the index that is called an id tells several series apart."""
    columns = {plain_name(name): column for name, column in frame.items()}
    ids = [name for name in columns if name not in known and is_called(name, "id", UNNAMED)]
    # where nothing else is there they are sensors
    if len(ids) < len(columns) and (apart := [name for name in ids if tells_apart(columns[name])]):
        told = f"its column {apart[0]!r} tells several apart"
        raise ValueError(SEVERAL.format(told, f"{IF_ONE}drop or rename that column"))
    for at, name in enumerate(frame.index.names):
        if is_called(name, "id", UNNAMED) and tells_apart(frame.index.get_level_values(at).to_series()):
            told = f"the level {name!r} of its index tells several apart"
            raise ValueError(SEVERAL.format(told, f"{IF_ONE}give X.reset_index(drop=True)"))


def tells_apart(column: Any) -> bool:
    """Return whether there are several ids in a column, some of them in several rows: a number of the row is no id.

    Ids are text or whole numbers; numbers with a fraction, true and false, and times are none.
    """
    held = column.dropna().infer_objects()
    if held.dtype.kind == "b" or is_time(held.dtype) or is_measured(held):
        return False
    ids = held.map(str) if held.dtype.kind == "O" else held  # cells may be lists
    return bool(1 < ids.nunique() < len(ids))


def is_clock(level: Any) -> bool:
    """Return whether a level of an index is a time, by its type or, where it holds numbers, by its name."""
    return is_time(level.dtype) or (level.dtype.kind in "iuf" and is_called(level.name, "time", UNNAMED))


def clocks(frame: Any, known: Sequence[str]) -> list[str]:
    """Return columns that are times by their names, or one by its type, and warn of them.

    Where nothing would be left there are none by their names, and those by their types are refused.
    """
    typed = {name: column for name, column in frame.items() if is_time(column.dtype)}
    # of several by their types none is sure
    likely = {*typed} or {find_columns(frame, {"time": None})["time"]} - {None}
    times = [
        name
        for name in frame.columns
        if name not in known and (likely == {name} or (isinstance(name, str) and called(name, TIME)))
    ]
    for name, column in typed.items():
        if name not in times or set(frame.columns) <= set(times):
            raise ValueError(f"column {name!r} of X is a time, and rows are evenly spaced here: drop it.")
        if not (column.is_monotonic_increasing and column.is_unique):
            raise ValueError(
                f"the times in column {name!r} of X do not increase from row to row: sort X, and drop duplicates, or "
                "drop the column if it does not say when rows were measured."
            )
    since = "since rows are evenly spaced here"
    return left_aside(
        frame, times, (), f"columns of X that look like times are left out, {since}: {{}}; rename one that is a sensor."
    )


def in_order(X: Any, names: Sequence[str] | None, path: str | Path) -> Any:
    """Return a table's columns of these names, in their order; anything else as it is.

    Its times, and ids that tell several series apart, are judged before they are left out with the other columns.
    """
    if names is None or not is_table(X):
        return X
    frame = to_pandas(X)
    refuse_several(frame, names)
    if missing := [name for name in names if name not in frame.columns]:
        raise ValueError(f"X has no column {missing[0]!r}, which the model of {path} was trained on.")
    return without(frame, clocks(frame, names))[list(names)]
