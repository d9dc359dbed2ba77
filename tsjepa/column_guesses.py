"""Which column or level of the index of a table means what: by its name, by its type and by what it holds."""

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tsjepa.column_names import (
    CHANNEL,
    ID,
    LIKE_TIME,
    MACHINE,
    NUMBERED,
    TIME,
    TIMES,
    VALUE,
    WITH_CHANNEL,
    beside_value,
    called,
    may_be_key,
)

if TYPE_CHECKING:
    import pandas as pd

NAMES = {"id": (ID,), "time": (TIME, LIKE_TIME), "channel": (CHANNEL,), "value": (VALUE,)}


def find_columns(
    frame: "pd.DataFrame", given: Mapping[str, str | None], keep: Sequence[str] = (), is_log: bool = True
) -> dict[str, Any]:
    """Return the column of every role, None where there is none.

    Parameters
    ----------
    frame : pandas.DataFrame
    given : mapping from role to str or None
        Roles that are asked for, with the columns that somebody named.
    keep : sequence of str
        Channels, which are nothing else whatever they are called.
    is_log : bool
        A row is a point in time, so that ids are judged by what they hold, too, where there are times.

    Raises
    ------
    ValueError
        If a column that was named is not there.

    Examples
    --------
    >>> import pandas as pd
    >>> log = pd.DataFrame({"site_id": [1, 1], "time": [0, 0], "machine": [7, 8], "flow": [0.5, 1.5]})
    >>> find_columns(log, {"id": None, "time": None})
    {'id': 'machine', 'time': 'time'}
    """
    for role, named in given.items():
        if named is not None and named not in frame.columns:
            raise ValueError(f"X has no column {named!r} for {role}: its columns are {', '.join(map(str, frame))}.")
    roles: dict[str, Any] = dict(given)
    taken = {*given.values(), *keep}
    names = [name for name in dict.fromkeys(frame.columns) if isinstance(name, str) and name not in taken]
    if roles["time"] is None:
        roles["time"] = _find_time(frame, names)
    is_log = is_log and roles["time"] is not None
    if is_log and "channel" in given:
        roles |= _find_long(frame, names, roles)
    if roles.get("id", "") is None:
        ids = [name for name in names if called(name, ID) and name not in roles.values()]
        roles["id"] = _find_id(frame, ids, roles) if is_log else next(iter(ids), None)
    return roles


def _find_time(frame: "pd.DataFrame", names: Sequence[str]) -> Any:
    lower = {name.strip().lower(): name for name in reversed(names)}
    named = [lower[name] for pattern in TIMES for name in lower if re.fullmatch(pattern, name)]
    typed = [name for name, dtype in frame.dtypes.items() if is_time(dtype)]
    numbers = number_columns(frame)
    like = [name for name in names if name in numbers and called(name, LIKE_TIME)]
    # several that are less sure may be the time points of cases: time_0, time_1
    return next(iter([*named, *typed, *(like if len(like) == 1 else ())]), None)


def _find_long(frame: "pd.DataFrame", names: Sequence[str], roles: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of channels and values: both or none, so that neither name alone says anything."""
    channels = (name for name in names if called(name, CHANNEL) and _may_name(frame, name, names, roles["time"]))
    channel = next(channels, None) if roles["channel"] is None else roles["channel"]
    values = (name for name in names if called(name, VALUE) and name != channel)
    value = next(values, None) if roles["value"] is None else roles["value"]
    if channel is None or value is None:
        return {}
    if roles["channel"] is None and called(channel, ID):
        beside = number_columns(frame) - {*roles.values(), channel, value}
        # then each of them may be a series with all these values
        if not all(beside_value(str(name)) for name in beside):
            return {}
    return {"channel": channel, "value": value}


def _may_name(frame: "pd.DataFrame", name: str, names: Sequence[str], time: Any) -> bool:
    """Return whether a column may hold names of channels: text, or whole numbers from 0 on if rows share a time."""
    column = _column(frame, name)
    if column.dtype.kind not in "iufb":
        return True
    if column.dtype.kind == "b" or is_measured(column) or bool((column < 0).any()):
        return False
    ids = (_column(frame, name) for name in names if called(name, ID) and not called(name, CHANNEL))
    return _kinds(_column(frame, time), *(column for column in ids if not column.is_unique)) < len(frame)


def _find_id(frame: "pd.DataFrame", names: Sequence[str], roles: Mapping[str, Any]) -> Any:
    """Return the column of ids of a log: no measured one, no key of rows, and machines before others that repeat."""
    keys = [_column(frame, name) for name in (roles["time"], roles.get("channel")) if name is not None]
    columns = {name: _column(frame, name) for name in names}
    held = {name: column for name, column in columns.items() if not (is_measured(column) or is_time(column.dtype))}
    if len(keys) > 1 and roles["value"] is not None:
        held = {name: column for name, column in held.items() if not _is_of_channel(keys[1], column)}
    unique = [name for name, column in held.items() if may_be_key(name) and len(column) > 1 and column.is_unique]
    # where rows share a time, and a channel, something tells them apart
    rows = unique if unique and _kinds(*keys) == len(frame) else ()
    fit = [name for name in held if name not in rows]
    machines = [name for name in fit if called(name, MACHINE) and held[name].nunique() > 1]
    return next(iter([*machines, *fit] if fit and may_be_key(fit[0]) else fit), None)


def _is_of_channel(channel: "pd.Series[Any]", column: "pd.Series[Any]") -> bool:
    """Return whether a column goes with that of channels, as a unit of measurement or another name does."""
    kinds, name = column.dropna().unique(), str(column.name)
    if not called(name, WITH_CHANNEL) or (not called(name, CHANNEL) and all(called(str(x), NUMBERED) for x in kinds)):
        return False
    return len(kinds) > 1 and _kinds(channel, column) == channel.nunique()


def _kinds(*columns: "pd.Series[Any]") -> int:
    """Count what stands in some columns, the same in several rows once."""
    import pandas as pd

    return len(pd.DataFrame(dict(enumerate(columns))).drop_duplicates())


def _column(frame: "pd.DataFrame", name: Hashable) -> "pd.Series[Any]":
    """Return a column, the first of its name."""
    return next(column for key, column in frame.items() if key == name)


def number_columns(frame: "pd.DataFrame") -> set[Any]:
    """Return the names of columns of numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> number_columns(pd.DataFrame({"flow": [1.5], "state": ["on"]}))
    {'flow'}
    """
    return {name for name, dtype in frame.dtypes.items() if dtype.kind in "iuf"}


def is_measured(column: "pd.Series[Any]") -> bool:
    """Return whether a column holds numbers with a fraction, which are no ids: the speed of an ``engine``.

    Examples
    --------
    >>> import pandas as pd
    >>> is_measured(pd.Series([1.0, None])), is_measured(pd.Series([1.5, 2.0]))
    (False, True)
    """
    return column.dtype.kind == "f" and bool((column.dropna() % 1 != 0).any())


def is_time(dtype: Any) -> bool:
    """Return whether a type of pandas is one of times.

    Examples
    --------
    >>> import numpy as np
    >>> is_time(np.dtype("M8[s]")), is_time(np.dtype(int))
    (True, False)
    """
    return dtype.kind in "Mm" or type(dtype).__name__ == "PeriodDtype"


def is_called(name: Hashable, role: str, given: Mapping[str, str | None]) -> bool:
    """Return whether a name is that of a role."""
    return isinstance(name, str) and (name == given[role] or called(name, *NAMES[role]))
