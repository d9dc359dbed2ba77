"""Tables with what their columns and the levels of their indexes mean in its place, or refused."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from math import prod
from numbers import Real
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tsjepa.arrays import warn
from tsjepa.column_guesses import NAMES, find_columns, is_called, is_time
from tsjepa.column_names import points_of_channels
from tsjepa.kinds import COLUMNS, is_one_of

if TYPE_CHECKING:
    import pandas as pd


def are_numbered(names: "pd.Index[Any]") -> bool:
    """Return whether all names of columns are whole numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> are_numbered(pd.RangeIndex(3)), are_numbered(pd.Index(["0", "1"])), are_numbered(pd.Index(["flow", 1]))
    (True, True, False)
    """
    return all(str(name).isdecimal() for name in names)


def with_index(frame: "pd.DataFrame", given: Mapping[str, str | None]) -> "pd.DataFrame":
    """Return a log with its index as a column where that is its id or its time, every other table as it is."""
    index = frame.index
    # columns that are numbered, or of levels, are the time points of cases, whatever these are called
    of_cases = frame.columns.nlevels > 1 or are_numbered(frame.columns)
    named = any(is_called(index.name, role, given) for role in ("id", "time")) and not of_cases
    known = is_time(index.dtype) or named
    if not known or index.name in frame.columns:
        return frame
    # categories as names of columns take no further one
    log = frame.set_axis(frame.columns.astype(object), axis=1).reset_index()
    name, roles = log.columns[0], find_columns(log, given)
    # a table of cases has one row an id, and so has a log whose rows are numbered
    names_series = name == roles["id"] and roles["time"] is not None and (index.has_duplicates or name == given["id"])
    return log if names_series or name == roles["time"] else frame


def id_first(frame: "pd.DataFrame", given: Mapping[str, str | None]) -> "pd.DataFrame":
    """Return a table with its index in the order id, time, where its levels say that they are in the other one."""
    if frame.index.nlevels != 2:
        return frame
    first, second = frame.index.names
    is_swapped = is_called(first, "time", given) or is_time(frame.index.get_level_values(0).dtype)
    return frame.swaplevel() if is_swapped and is_called(second, "id", given) else frame


def plain_name(name: Any) -> Any:
    """Return the name of a column, without what pandas fills up further levels with where one is put in.

    Examples
    --------
    >>> plain_name(("label", "")), plain_name(("flow", 0)), plain_name("flow")
    ('label', ('flow', 0), 'flow')
    """
    import pandas as pd

    filled = isinstance(name, tuple) and all(part == "" or pd.isna(part) for part in name[1:])
    return name[0] if filled else name


def channels_apart(frame: "pd.DataFrame", given: Mapping[str, str | None]) -> "pd.DataFrame":
    """Return a table of cases x (channels x time points) with the index (row, time), every other one as it is.

    One level will do where names say both, as ``flow__0``. The level of the columns that is the time is known by its
    name, or else by its type. Rows are numbered, since a name may be there more than once.

    Raises
    ------
    ValueError
        If columns of several levels do not say which one of two is the time, or one is there twice or named in the
        first only.

    Examples
    --------
    >>> import pandas as pd
    >>> log = pd.DataFrame({"id": [7, 7], "time": [0, 1], "flow": [1.0, 2.0], "heat": [3.0, 4.0]})
    >>> channels_apart(log.pivot(index="id", columns="time"), dict.fromkeys(NAMES)).to_dict("index")
    {(0, 0): {'flow': 1.0, 'heat': 3.0}, (0, 1): {'flow': 2.0, 'heat': 4.0}}
    """
    import pandas as pd

    if frame.columns.nlevels == 1 and (points := points_of_channels([str(name) for name in frame.columns])):
        frame = frame.set_axis(pd.MultiIndex.from_tuples(points, names=(None, "time")), axis=1)
    # a level keeps the type that it had with columns that are left out by now
    levels = [frame.columns.get_level_values(level).infer_objects() for level in range(frame.columns.nlevels)]
    if sum(level.nunique() > 1 for level in levels) < 2:  # one channel
        return frame
    if beside := [plain for name in frame.columns if (plain := plain_name(name)) is not name]:
        channels = {name[0] for name in frame.columns if plain_name(name) is name}
        if untimed := [plain for plain in beside if plain in channels]:
            raise ValueError(
                f"channel {untimed[0]!r} of X has a column without a time: give it one, or drop that column."
            )
        raise ValueError(
            f"column {beside[0]!r} of X has a name in the first level only, but others are of a channel and a time: "
            "drop it."
        )
    by_role = [*reversed(NAMES)]  # sktime's reading_id and dim_id are no ids of series
    roles = [next((role for role in by_role if is_called(level.name, role, given)), None) for level in levels]
    times = [number for number, role in enumerate(roles) if role == "time"] or [
        number
        for number, (level, role) in enumerate(zip(levels, roles, strict=True))
        if is_time(level.dtype) or (role is None and level.dtype.kind in "iuf")
    ]
    if len(levels) > 2 or len(times) != 1:
        raise ValueError(
            f"columns of X have {len(levels)} levels, and it is not clear which one is the time: give the log itself, "
            "or X.stack(level) of that one, which has the index (instance, time) and a column a channel."
        )
    refuse_twice(frame)
    rows = frame.set_axis(pd.MultiIndex.from_arrays(levels), axis=1).reset_index(drop=True)
    return cast("pd.DataFrame", rows.stack(times[0], future_stack=True))  # of two levels, one stays


def refuse_twice(frame: "pd.DataFrame") -> None:
    """Refuse two columns of one name."""
    if not frame.columns.is_unique:
        name = frame.columns[frame.columns.duplicated()][0]
        called = ", ".join(map(str, name)) if isinstance(name, tuple) else name
        raise ValueError(f"X has two columns {called!r}: rename one.")


def refuse_repeated(keys: "pd.DataFrame", ids: "pd.Series[Any]", times: "pd.Series[Any]", is_long: bool) -> None:
    """Refuse two rows of one key, which may be of two channels where the log was not read as a long one."""
    twice = keys.duplicated()
    if not twice.any():
        return
    row = int(twice.argmax())
    whose = f" for id {ids.iloc[row]}" if ids.nunique() > 1 else ""
    unless = (
        ", unless they are of two machines or channels: name the columns of these by "
        "tsjepa.containers.to_panel(X, id=...), or of a log with one value a row by to_panel(X, channel=..., value=...)"
    )
    raise ValueError(f"X has two rows{whose} at time {times.iloc[row]}: keep one{'' if is_long else unless}.")


def ordered(X: Any) -> Any:
    """Return a list with its pandas columns in order of the numbers or times in their indexes, all else as it is."""
    if not isinstance(X, list | tuple):
        return X
    found = [by_index(x) if is_one_of(x, COLUMNS[:1]) else x for x in X]
    return found if any(a is not b for a, b in zip(found, X, strict=True)) else X


def by_index(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column in order of the numbers or times in its index; names say no order."""
    index = column.index
    has_order = index.dtype.kind in "iuf" or is_time(index.dtype)
    return column.sort_index(kind="stable") if has_order and not index.is_monotonic_increasing else column


def left_aside(frame: "pd.DataFrame", aside: list[str], taken: Sequence[Any], text: str) -> list[str]:
    """Return columns that are left out, and warn of them by a text; none where nothing would be left."""
    if not aside or set(frame.columns) <= {*aside, *taken}:
        return []
    warn(text.format(", ".join(repr(plain_name(name)) for name in aside)))
    return aside


def without(frame: "pd.DataFrame", columns: list[str]) -> "pd.DataFrame":
    """Return a table without the columns of these that it has, itself where there are none."""
    return frame.drop(columns=columns, errors="ignore") if columns else frame


def refuse_text(
    frame: "pd.DataFrame",
    place: Callable[[int], str],
    way_out: str = "convert or drop it, or name the columns of a log by tsjepa.containers.to_panel",
) -> None:
    """Refuse columns that hold something else than real numbers, saying where, and what to do."""
    from pandas.api.types import is_complex_dtype, is_numeric_dtype

    for name, column in frame.items():
        if is_numeric_dtype(column.dtype) and not is_complex_dtype(column.dtype):
            continue
        bad = ~np.array([isinstance(cell, Real | Decimal) for cell in column], bool) & column.notna().to_numpy()
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"column {name!r} of X must hold numbers, but {place(row)} holds {str(column.iloc[row])[:40]!r}: "
                f"{way_out}."
            )


def split_tensors(frame: "pd.DataFrame", kinds: Mapping[Any, Any]) -> "pd.DataFrame":
    """Return a table with a column a channel in the place of each column of Arrow's tensors (C, T).

    The cells of such a column are flat in pandas, which passes over the shape that the type keeps.

    Parameters
    ----------
    frame : pandas.DataFrame
    kinds : mapping from name to pyarrow.DataType
        Arrow's types of the columns; those that pandas itself keeps in them need not be among these. Any type with a
        shape is one of tensors, as those of Ray are, where each cell has as many values as the shape says.

    Returns
    -------
    pandas.DataFrame
        The same table where there are none; tensors of one dimension are series of one channel as they are.

    Raises
    ------
    ValueError
        If tensors have more than two dimensions.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"flow": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(6.0).reshape(1, 2, 3))})
    >>> split_tensors(table.to_pandas(), {"flow": table.schema.field("flow").type})
               flow[0]          flow[1]
    0  [0.0, 1.0, 2.0]  [3.0, 4.0, 5.0]
    """
    import pandas as pd

    columns = [column for _, column in frame.items()]
    of = [kinds.get(column.name) or getattr(column.dtype, "pyarrow_dtype", None) for column in columns]
    split = [has_channels(*each) for each in zip(columns, of, strict=True)]
    if not any(split):
        return frame
    parts = (channels_of(c, kind) if has else [c] for c, kind, has in zip(columns, of, split, strict=True))
    return pd.concat(chain.from_iterable(parts), axis=1)


def has_channels(column: "pd.Series[Any]", kind: Any) -> bool:
    """Return whether cells are tensors with more dimensions than time, by their type's shape and their own size."""
    shape = getattr(kind, "shape", ())
    return len(shape) > 1 and None not in shape and all(np.size(cell) == prod(shape) for cell in column.dropna())


def channels_of(column: "pd.Series[Any]", kind: Any) -> "list[pd.Series[Any]]":
    """Return a column of tensors as one column a channel; a type may say that the dimensions are stored swapped."""
    if len(kind.shape) > 2:
        raise ValueError(
            f"column {column.name!r} holds tensors of shape {tuple(kind.shape)}, but a series is (n_channels, "
            "n_timepoints): reshape them."
        )
    swapped = getattr(kind, "permutation", None) == [1, 0]  # types other than Arrow's own may have no such thing

    def tensor(cell: Any) -> Any:
        stored = np.reshape(cell, kind.shape)
        return stored.T if swapped else stored

    tensors = column.astype(object).map(tensor, na_action="ignore")
    channels = range(kind.shape[1 if swapped else 0])
    return [tensors.map(itemgetter(c), na_action="ignore").rename(f"{column.name}[{c}]") for c in channels]
