"""Containers of pandas, polars, pyarrow and sktime: to the arrays that `as_series` takes."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import unmasked, warn
from tsjepa.column_guesses import NAMES, find_columns, is_measured, is_time, number_columns
from tsjepa.column_names import ID, INDEX, LABEL, SIDE, called
from tsjepa.columns import (
    channels_apart,
    id_first,
    left_aside,
    ordered,
    plain_name,
    refuse_repeated,
    refuse_text,
    refuse_twice,
    split_tensors,
    with_index,
    without,
)
from tsjepa.kinds import COLUMNS, holds_series, holds_tables, is_one_channel, is_one_of, is_series, is_table, plain

if TYPE_CHECKING:
    import pandas as pd

POLARS_INDEX = "__index__"  # sktime's mark of a polars column that is a level of the index


class Panel(NamedTuple):
    """Series taken out of a container.

    Attributes
    ----------
    series : list of arrays of shape (n_channels, n_timepoints), or what was given
        What `as_series` takes. Arrays, lists of arrays and tables of cases x time points stay what they are.
    channels : tuple of str, optional
        Names of the channels, where the container has them.
    ids : pandas.Index, optional
        What the container calls its series, one a series.
    """

    series: Any
    channels: tuple[str, ...] | None = None
    ids: Any = None

    def select(self, names: Sequence[str], name: str = "X", others: str = "fit has not seen") -> "Panel":
        """Return the named channels in this order; without names of its own, the panel as it is.

        What is said of other channels calls the panel `name`, and them those that `others`.

        Raises
        ------
        ValueError
            If one is missing.

        Examples
        --------
        >>> Panel([np.array([[1], [2]])], ("a", "b")).select(["b", "a"]).series
        [array([[2],
               [1]])]
        """
        if self.channels is None or self.channels == tuple(names):
            return self
        places = {channel: place for place, channel in enumerate(self.channels)}
        missing = [channel for channel in names if channel not in places]
        if missing:
            raise ValueError(f"{name} has no channel {missing[0]!r}: its channels are {', '.join(self.channels)}.")
        if left := [channel for channel in places if channel not in names]:
            warn(f"channels of {name} that {others} are left out: {', '.join(left)}.")
        order = [places[channel] for channel in names]
        return Panel([x[order] for x in self.series], tuple(names), self.ids)


def to_panel(
    X: Any,
    *,
    id: str | None = None,
    time: str | None = None,
    channel: str | None = None,
    value: str | None = None,
    keep: Sequence[str] | None = None,
) -> Panel:
    """Take series out of a container.

    Parameters
    ----------
    X : pandas, polars or pyarrow table or column, list of tables, array or list of arrays
        - a table with the index (instance, time), a column a channel: sktime's pd-multiindex; levels that are named
          the other way round, as (timestamp, machine), are taken by their names;
        - a table whose cells are series, a row a case and a column a channel: sktime's nested_univ, list columns, cells
          of torch; one such column alone is a table, too; Arrow's tensors (n_channels, n_timepoints) make several;
        - a log with a time column, one column a channel, and an id column where there is more than one series; the
          index may stand for one of the two, ids that occur once excepted;
        - a long log with columns for id, time, channel and value: also sktime's pd-long;
        - a list of tables, one a series, with a row a time point and a column a channel: sktime's df-list;
        - a table with a row a case and the columns (channel, time) or (time, channel), as a pivoted log has them; of
          one channel it is one of cases x time points; names such as ``flow__0`` say both, as in sktime's pd-wide.

        Everything else comes back as it is, numpy's masks as NaN, a tensor or a `Series` as an array: scikit-learn's
        tables of cases x time points among it, without columns that look like labels or say which series a row is. So
        does a `Panel`, and a list of pandas columns, one a series, in order of the numbers or times in their indexes.
    id, time, channel, value : str, optional
        Columns of a log. By default they are known by such names as id, timestamp, channel and value, and the
        time also by its type.
    keep : sequence of str, optional
        Channels, whatever they are called. Other columns that look like labels, further ids or a saved index are left
        out with a `DataWarning`, unless there is nothing else, and so are times beside series in cells.

    Returns
    -------
    Panel
        Series in order of first appearance, rows in order of time whatever their order in the container. Times
        only give the order: gaps are not filled.

    Raises
    ------
    ValueError
        If a channel is not numeric, two rows of a series have one time, an id or a time is missing, or tables of
        a list differ in their columns or have other things among them.

    Examples
    --------
    >>> import pandas as pd
    >>> log = pd.DataFrame({"id": ["b", "b", "a"], "time": [2, 1, 1], "flow": [3.0, 4.0, 5.0]})
    >>> to_panel(log)
    Panel(series=[array([[4., 3.]]), array([[5.]])], channels=('flow',), ids=Index(['b', 'a'], dtype='str', name='id'))
    """
    if isinstance(X, Panel):
        return X
    if holds_tables(X):
        frames = [by_time(to_pandas(x)) for x in X]
        aside = not_measured(frames[0], (), keep)
        return from_frames([without(frame, aside) for frame in frames])
    X = as_table(X)
    if not is_table(X):
        return Panel(unmasked(ordered(X)))
    frame = to_pandas(X)
    given = {"id": id, "time": time, "channel": channel, "value": value}
    if frame.index.nlevels > 1:
        return from_index(id_first(without(frame, not_measured(frame, (), keep)), given))
    if cells := [name for name, column in frame.items() if holds_series(column)]:
        return from_cells(only_cells(frame, cells, given, keep))
    frame = with_index(frame, given)
    # channels of a long log are no columns, whatever they are called
    roles = find_columns(frame, given, () if keep is None or not {*keep} <= {*frame.columns} else keep)
    is_log = roles["time"] is not None or roles["id"] is not None
    if roles["channel"] is None or roles["value"] is None:  # what is more in a long log is refused
        frame = without(frame, not_measured(frame, (roles["id"], roles["time"]), keep, is_log))
    if is_log:
        return from_log(frame, **roles)
    if (apart := channels_apart(frame, given)) is not frame:
        return to_panel(apart, keep=keep)._replace(ids=frame.index)
    refuse_text(frame, lambda row: f"row {row}")
    return Panel(frame, None, frame.index)


def refuse_other_order(y: Any, panel: Panel, X: Any) -> None:
    """Refuse labels that have the ids of a log in another order than its series: whether to go by them is not said.

    Where a row of X is a series, labels are in order of rows as everywhere in scikit-learn, whatever indexes say.
    """
    rows = not isinstance(panel.series, list) or getattr(X, "shape", (None,))[0] == len(panel.series)
    if panel.ids is None or rows or not hasattr(y, "iloc"):
        return
    index, ids = list(y.index), list(panel.ids)
    if index != ids and len(index) == len(ids) and set(index) == set(ids):
        raise ValueError(
            "the index of y has the ids of X in another order than that of the series, in which they first appear: "
            "give y.loc[tsjepa.containers.to_panel(X).ids], or y.to_numpy() where labels are in that order."
        )


def with_ids(rows: NDArray[Any], ids: "pd.Index[Any] | None") -> "pd.DataFrame":
    """Return embeddings as a pandas table, its index the ids of the series where they have some.

    Examples
    --------
    >>> import pandas as pd
    >>> with_ids(np.zeros((2, 3)), pd.Index(["a", "b"])).index.tolist()
    ['a', 'b']
    """
    import pandas as pd

    return pd.DataFrame(rows, index=ids)


def as_table(X: Any) -> Any:
    """Return a column whose cells are series as a table, everything else as it is."""
    if not is_one_of(X, COLUMNS):
        return X
    column = X if hasattr(X, "iloc") else X.to_pandas()
    if not holds_series(column):
        return X
    frame = split_tensors(column.to_frame(column.name or 0), {0: getattr(X, "type", None)})
    return frame if column.name else frame.set_axis(range(frame.shape[1]), axis=1)


def to_pandas(X: Any) -> "pd.DataFrame":
    """Return a table as pandas'."""
    if hasattr(X, "to_pydict"):
        kinds = dict(zip(X.schema.names, X.schema.types, strict=True))
        return split_tensors(X.to_pandas(date_as_object=False), kinds)
    if not hasattr(X, "lazy"):
        return split_tensors(X, {})
    table = X.lazy().collect()
    if any(name.startswith(POLARS_INDEX) for name in table.columns):
        return convert(table, "polars_panel", "pd-multiindex")
    return table.to_pandas()


def not_measured(
    frame: "pd.DataFrame", taken: Sequence[Any], keep: Sequence[str] | None, is_log: bool = True
) -> list[str]:
    """Return columns called like labels, ids or a saved index, and warn; none where nothing would be left.

    In a log what is called like an id, and holds numbers with a fraction, is measured.
    """
    plain_names = {name: plain_name(name) for name in frame.columns}
    names = {name: word.strip().lower() for name, word in plain_names.items() if isinstance(word, str)}
    axis = "y" if {"x", "z"} & set(names.values()) else None
    given = {*taken, *(() if keep is None else keep)}
    ids = {name for name, lower in names.items() if called(lower, ID if is_log else SIDE)}
    if is_log:
        ids -= {name for name, column in frame.items() if name in ids and is_measured(column)}
    aside = [
        name
        for name, lower in names.items()
        if plain_names[name] not in given and (name in ids or (called(lower, LABEL) and lower != axis))
    ]
    # text there may be times or ids, and is refused
    numbers = number_columns(frame)
    saved = [n for n, lower in names.items() if n in numbers and plain_names[n] not in given and called(lower, INDEX)]
    if set(frame.columns) - {*aside, *taken, *saved}:  # where values have no names either, rows are not numbered
        aside += saved
    text = "columns of X that look like labels or ids are left out: {}; rename one that is a channel."
    return left_aside(frame, aside, taken, text)


def by_time(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return one series with its times as the index."""
    time = find_columns(frame, dict.fromkeys(NAMES))["time"]
    # of two the column is it, as in a table alone, unless it only counts
    if time is None or (is_time(frame.index.dtype) and not is_time(frame[time].dtype)):
        return frame
    return frame.set_index(time)


def only_cells(
    frame: "pd.DataFrame", cells: Sequence[Any], given: Mapping[str, str | None], keep: Sequence[str] | None
) -> "pd.DataFrame":
    """Return a table of series in cells with its ids as the index, without labels and times beside them.

    `cells` are the columns of series: channels, whatever they are called.
    """
    roles = find_columns(frame.drop(columns=list(cells)), {role: given[role] for role in ("id", "time")}, (), False)
    frame = without(frame, not_measured(frame, tuple(roles.values()), [*cells, *(keep or ())]))
    if roles["time"] is not None:
        warn(f"column {roles['time']!r} of X, one time a series, is left out.")
        frame = frame.drop(columns=roles["time"])
    return frame if roles["id"] is None else frame.set_index(roles["id"])


def from_cells(frame: "pd.DataFrame") -> Panel:
    """Take series out of the cells of a table, a row a case; one without any point stays one, as in a list."""
    import pandas as pd

    # not by sktime's converter: it cuts a case's channels to the length of the first, and takes no arrays in cells
    for name, column in frame.items():
        if not all(map(is_series, column)):
            raise ValueError(f"column {name!r} of X must hold a series in every row, as others do: fill or drop it.")
        if not all(map(is_one_channel, column)):
            raise ValueError(
                f"column {name!r} of X holds series of several channels, and a cell holds one: make a column of each "
                "channel, or give a list with an array (n_channels, n_timepoints) for each case."
            )
    rows = (dict(zip(frame, map(pd.Series, map(plain, row)), strict=True)) for row in frame.itertuples(index=False))
    frames = dict(enumerate(map(pd.DataFrame, rows)))
    measured = {case: table for case, table in frames.items() if len(table)}
    if not measured:
        raise ValueError("no series of X has a time point.")
    panel = from_index(pd.concat(measured))
    found = dict(zip(panel.ids, panel.series, strict=True))
    return panel._replace(series=[found.get(case, panel.series[0][:, :0]) for case in frames], ids=frame.index)


def from_frames(frames: "list[pd.DataFrame]") -> Panel:
    """Take series out of tables, one a series."""
    for case, frame in enumerate(frames):
        if len(frame) == 0:
            raise ValueError(f"series {case} of X has no time points: leave it out.")
        if differing := set(frame.columns) ^ set(frames[0].columns):
            name = min(differing, key=str)
            raise ValueError(f"column {name!r} is in only one of the tables 0 and {case} of X: all need the same.")
    return from_index(convert(frames, "df-list", "pd-multiindex"))._replace(ids=None)


def from_index(frame: "pd.DataFrame") -> Panel:
    """Take series out of a table with the index (instance, time)."""
    if frame.index.nlevels != 2:
        raise ValueError(f"the index of X must have the two levels instance and time, but has {frame.index.nlevels}.")
    ids, times = (frame.index.get_level_values(level).to_series() for level in (0, 1))
    return in_order(frame, ids, times)


def from_log(frame: "pd.DataFrame", id: Hashable, time: Hashable, channel: Hashable, value: Hashable) -> Panel:
    """Take series out of a log, wide or long."""
    import pandas as pd

    if time is None:
        raise ValueError(
            f"X has the id column {id!r} but no time: name its time column timestamp, or drop {id!r} where each row "
            "is a series."
        )
    ids = pd.Series(0, frame.index) if id is None else frame[id]
    values = frame[[name for name in frame.columns if name not in (id, time)]]
    long = channel is not None and value is not None
    panel = from_long(values, ids, frame[time], channel, value) if long else in_order(values, ids, frame[time])
    return panel if id is not None else panel._replace(ids=None)


def from_long(
    values: "pd.DataFrame", ids: "pd.Series[Any]", times: "pd.Series[Any]", channel: Hashable, value: Hashable
) -> Panel:
    """Take series out of a log with one value a row."""
    import pandas as pd

    if extra := [name for name in values.columns if name not in (channel, value)]:
        raise ValueError(
            f"column {extra[0]!r} of X is none of id, time, channel and value of a long log: drop it, "
            f"or rename {channel!r} where that is a channel itself."
        )
    channels, names = pd.factorize(values[channel])
    codes, labels = check_keys(ids, times, channels)
    floats = to_float(values[[value]], ids, times).iloc[:, 0].array
    keys = pd.DataFrame({"id": codes, "time": times.array, "channel": channels, "value": floats})
    wide = convert(keys, "pd-long", "pd-multiindex").set_axis(list(map(str, names)), axis=1)
    panel = from_index(wide)
    return panel._replace(ids=pd.Index(labels, name=ids.name)[panel.ids])


def in_order(frame: "pd.DataFrame", ids: "pd.Series[Any]", times: "pd.Series[Any]") -> Panel:
    """Take series out of rows that have an id and a time each."""
    import pandas as pd

    if 0 in frame.shape:
        raise ValueError(f"X has {'no rows' if len(frame) == 0 else 'no channel beside id and time'}.")
    refuse_twice(frame)
    codes, labels = check_keys(ids, times)
    frame = to_float(frame, ids, times).set_axis(pd.MultiIndex.from_arrays([codes, times.array]), axis=0)
    if not frame.index.is_monotonic_increasing:
        frame = frame.sort_index()
    series = [table.to_numpy().T for table in convert(frame, "pd-multiindex", "df-list")]
    named = all(isinstance(name, str) for name in frame.columns)
    return Panel(series, tuple(frame.columns) if named else None, pd.Index(labels, name=ids.name))


def check_keys(
    ids: "pd.Series[Any]", times: "pd.Series[Any]", channels: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.intp], Any]:
    """Return the ids as numbers in order of first appearance; keys that are missing or there twice are refused."""
    import pandas as pd

    if times.dtype.kind not in "iuf" and not is_time(times.dtype):
        raise ValueError(
            f"the times of X must be numbers or timestamps, but their type is {times.dtype}: convert them, as with "
            "pandas.to_datetime."
        )
    codes, labels = pd.factorize(ids)
    keys = pd.DataFrame({"id": codes, "time": times.array, "channel": 0 if channels is None else channels})
    for what, missing in (("id", codes < 0), ("time", keys["time"].isna()), ("channel", keys["channel"] < 0)):
        if missing.any():
            raise ValueError(f"row {int(missing.argmax())} of X has no {what}: fill or drop it.")
    refuse_repeated(keys, ids, times, is_long=channels is not None)
    return codes, labels


def to_float(frame: "pd.DataFrame", ids: "pd.Series[Any]", times: "pd.Series[Any]") -> "pd.DataFrame":
    """Return numbers as float32 where all are, else float64; what is missing is NaN."""
    import pandas as pd

    refuse_text(frame, lambda row: f"id {ids.iloc[row]} at time {times.iloc[row]}")
    dtype = np.float32 if (frame.dtypes == np.float32).all() else np.float64
    return pd.DataFrame({name: column.to_numpy(dtype, na_value=np.nan) for name, column in frame.items()})


def convert(X: Any, source: str, target: str) -> Any:
    """Convert a panel by sktime's converter."""
    from sktime.datatypes import convert

    return convert(X, source, target, "Panel")
