"""Which column of a log means what: named by the user or guessed, and checked to agree between its files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa

from tsjepa.arrays import counted
from tsjepa.column_names import COUNTER, ID, INDEX, LABEL, TIME, called
from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_dates import check_digits, check_unread, odd_cell
from tsjepa.datasets.log_dialect import UNNAMED, plain_names
from tsjepa.datasets.log_files import LogFile
from tsjepa.datasets.log_guesses import (
    Y,
    guess_id,
    guess_long,
    guess_time,
    is_measured,
    label_by_name,
    may_be_long,
    time_by_name,
)
from tsjepa.datasets.log_reading import dialect
from tsjepa.datasets.log_sample import Sample
from tsjepa.datasets.log_settings import OWN_ID, Columns
from tsjepa.datasets.log_types import (
    Schemas,
    TimeKind,
    is_key,
    is_number,
    is_number_key,
    is_stamp,
    is_target,
    is_text,
    mostly_numbers,
    time_kind,
)
from tsjepa.datasets.naming import listed

# What to do where a cell that holds a list, such as a spectrum, makes series of the rows of a log
IF_POINTS = "if each row is a point in time, name the time by --time, or the sensors by --channels"


class ChannelError(DataError):
    """A channel that a log lacks, told to a user who named it; `trained` is the sentence where a checkpoint did.

    Examples
    --------
    >>> error = ChannelError("log.csv has no column 'flow' (--channels)", "log.csv has no column 'flow': add it")
    >>> print(error)
    log.csv has no column 'flow' (--channels)
    >>> error.trained
    "log.csv has no column 'flow': add it"
    """

    def __init__(self, sentence: str, trained: str) -> None:
        super().__init__(sentence)
        self.trained = trained


@dataclass(frozen=True)
class Layout:
    """How a log's columns are read.

    Attributes
    ----------
    form : {"wide", "long", "lists"}
        One row a point in time; one row a value; one row a series.
    columns : Columns
        With every guess made. In the long form `channels` may be None until the rows were read.
    time : TimeKind
        What all files' times are brought to.
    id_is_number, group_is_number, label_is_number : bool
        int64 ids and groups, a float64 target; text otherwise.
    group_is_id : bool
        Each id is a group of its own, so that `columns` have none.
    channel, value : str
        Columns of the long form.
    id_by : {"column", "file", "row", "none"}
        Where ids come from.
    id_is_guessed : bool
        Nobody named the column of ids.
    notes : tuple of str
        What was guessed and what is left out.
    """

    form: Literal["wide", "long", "lists"]
    columns: Columns
    time: TimeKind
    id_by: Literal["column", "file", "row", "none"]
    id_is_number: bool = False
    id_is_guessed: bool = False
    group_is_number: bool = False
    label_is_number: bool = False
    group_is_id: bool = False
    channel: str = ""
    value: str = ""
    notes: tuple[str, ...] = ()

    @property
    def named(self) -> Columns:
        """The columns, with the name that groups were asked for by."""
        return replace(self.columns, group=OWN_ID) if self.group_is_id else self.columns


def looks_like_log(schema: pa.Schema) -> bool:
    """Tell whether a table's rows are points in time, or its cells are lists, and not one series a row.

    Examples
    --------
    >>> import pyarrow as pa
    >>> looks_like_log(pa.schema({"time": pa.int64(), "x": pa.float32()}))
    True
    >>> looks_like_log(pa.schema({"t0": pa.float32(), "label": pa.string()}))
    False
    """
    return bool(list_columns(schema)) or time_by_name(schema) is not None


def make_layout(schemas: Schemas, columns: Columns) -> Layout:
    """Find out how the columns of a log are read.

    Parameters
    ----------
    schemas : list of (LogFile, pyarrow.Schema)
        The files with their columns.
    columns : Columns
        What the user named.

    Returns
    -------
    Layout
        With the names that were guessed, and sentences that say so.

    Raises
    ------
    DataError
        If a named column does not exist, one is absent in some file, files disagree in types, or nothing is
        left to be a channel.
    """
    first = schemas[0][1]
    if columns.group == OWN_ID and (OWN_ID not in first.names or _numbers_rows(schemas, OWN_ID)):
        layout = make_layout(schemas, replace(columns, group=None))
        if layout.id_by in ("file", "row"):
            return replace(layout, group_is_id=True)
    _check_named(schemas, columns)
    lists = [name for name in list_columns(first) if columns.channels is None or name in columns.channels]
    if lists and not columns.time:
        return _list_layout(schemas, columns, lists)
    rows = Sample(schemas)
    time, unread = _times(schemas, rows, columns)
    channel, value = guess_long(schemas, rows, columns, time)
    identity, id_notes = columns.id or None, list[str]()
    if columns.id is None:
        identity, id_notes = guess_id(schemas, rows, columns, time, channel)
    label = _given(columns.label, lambda: label_by_name(first, (time, channel, identity)))
    taken = {name for name in (time, identity, label, columns.group, channel) if name is not None}
    if channel is not None:
        channels, found_notes = columns.channels, [f"one value a row, in '{value}', of the channel in '{channel}'"]
        found_notes += _left_out([name for name in first.names if name not in taken and name != value])
    else:
        channels, found_notes = _channels(schemas, rows, columns, taken, time)
    id_by: Literal["column", "file", "none"] = "column"
    if identity is None:
        id_by = "file" if columns.id is None and len(schemas) > 1 else "none"
    chosen = Columns(identity, time, channels, label, columns.group)
    needed = [*taken, *(channels or ())] if channel is None else [*taken, str(value)]
    _check_everywhere(schemas, needed, replace(chosen, channels=columns.channels))
    return Layout(
        form="wide" if channel is None else "long",
        columns=chosen,
        time=time_kind(schemas, time),
        id_by=id_by,
        id_is_number=is_number_key(schemas, identity, "--id"),
        id_is_guessed=columns.id is None and identity is not None,
        group_is_number=is_number_key(schemas, columns.group, "--group"),
        label_is_number=is_target(schemas, label),
        channel=channel or "",
        value=value or "",
        notes=(*_said(chosen, columns, id_by), *unread, *id_notes, *found_notes, *_said_of_decimals(schemas)),
    )


def _times(schemas: Schemas, rows: Sample, columns: Columns) -> tuple[str | None, list[str]]:
    """Take or guess the column of times, and tell others that cannot be read."""
    if columns.time is not None:
        return columns.time or None, []
    time = guess_time(schemas, rows)
    if time is not None and time == columns.id:
        raise DataError(f"column {time!r} (--id) would be taken for the times, too; name these by --time, '' for none")
    check_digits(schemas, rows, time)
    return time, _said_of_index(schemas, time) + check_unread(schemas, rows, columns, time)


def _said_of_index(schemas: Schemas, time: str | None) -> list[str]:
    file = schemas[0][0]
    if time != UNNAMED or file.kind != "csv" or UNNAMED in plain_names(dialect(file).names):
        return []
    return [f"{file.shown} has no name for the column of times: it is called {UNNAMED!r}"]


def _list_layout(schemas: Schemas, columns: Columns, lists: list[str]) -> Layout:
    first = schemas[0][1]
    identity, group = columns.id or None, columns.group
    label = _given(columns.label, lambda: label_by_name(first, (identity,)))
    channels = columns.channels or tuple(lists)
    taken = [name for name in (identity, label, group) if name is not None]
    chosen = Columns(identity, None, channels, label, group)
    _check_everywhere(schemas, [*taken, *channels], replace(chosen, channels=columns.channels))
    left = [name for name in first.names if name not in {*taken, *channels}]
    rows = f"each row is one series: list columns {listed(channels)}"
    if _may_be_points(first, left):
        rows += f"; {IF_POINTS}"
    notes = [rows, *_left_out(left)]
    return Layout(
        form="lists",
        columns=chosen,
        time=TimeKind("integer"),
        id_by="row" if identity is None else "column",
        id_is_number=identity is None or is_number_key(schemas, identity, "--id"),
        group_is_number=is_number_key(schemas, group, "--group"),
        label_is_number=is_target(schemas, label),
        notes=(*_said(replace(chosen, channels=None), columns, "row"), *notes),
    )


def _may_be_points(schema: pa.Schema, left: list[str]) -> bool:
    """Tell a table that has times and numbers beside its lists, as a log of points has."""
    rest = pa.schema([schema.field(name) for name in left])
    times = [field.name for field in rest if is_stamp(field.type) or called(field.name, TIME)]
    return bool(times) and any(is_number(field.type) and field.name not in times for field in rest)


def _given(named: str | None, guess: Callable[[], str | None]) -> str | None:
    """Take what the user named, None for ``""``, else the guess."""
    return guess() if named is None else named or None


def _check_named(schemas: Schemas, columns: Columns) -> None:
    file, schema = schemas[0]
    options = (("--id", columns.id), ("--time", columns.time), ("--label", columns.label), ("--group", columns.group))
    for option, name in options:
        if name and name not in schema.names:
            raise DataError(f"{file.shown} has no column '{name}' ({option}); it has {listed(schema.names)}")
    used = [name for _, name in options[:3] if name]
    if len(set(used)) < len(used):
        raise DataError(f"one column cannot be two of --id, --time and --label: {listed(used)}")
    for name in used:
        if columns.channels is not None and name in columns.channels:
            raise DataError(f"column '{name}' is one of the channels and cannot be --id, --time or --label as well")
    if columns.channels is not None and len(set(columns.channels)) < len(columns.channels):
        raise DataError(f"--channels names a column twice: {listed(columns.channels)}")
    for file, schema in schemas:
        if len(set(schema.names)) < len(schema.names):
            twice = next(name for name in schema.names if schema.names.count(name) > 1)
            raise DataError(f"{file.shown} has two columns '{twice}'; rename one")


def _check_everywhere(schemas: Schemas, names: Sequence[str], asked: Columns) -> None:
    held = [(file, set(schema.names)) for file, schema in schemas]
    for name in names:
        lacking = [at for at, (_, found) in enumerate(held) if name not in found]
        if not lacking:
            continue
        file, schema = schemas[lacking[0]]
        holder = next((file.shown for file, found in held if name in found), None)
        other = f"; it has {listed(schema.names)}" if holder is None else f", which {holder} has"
        lack = f"{file.shown} has no column '{name}'"
        if name in (asked.channels or ()):
            advice = "" if holder is None else "; add it, or leave it out there"
            trained = f"{lack}{other}; '{name}' is one of the channels that were trained on: add it"
            raise ChannelError(f"{lack} (--channels){other}{advice}", trained)
        advice = "add it, or leave it out by " + ("--label ''" if name == asked.label else "--channels")
        raise DataError(f"{lack}{other}; {advice}")


def _numbers_rows(schemas: Schemas, name: str) -> bool:
    """Tell a column that has another value in every row, so that nothing can be grouped by it."""
    if list_columns(schemas[0][1]):  # each row is a series
        return False
    everywhere = all(name in schema.names for _, schema in schemas)
    return everywhere and is_key(schemas[0][1].field(name).type) and not Sample(schemas).repeats(name)


def list_columns(schema: pa.Schema) -> list[str]:
    """Return the columns whose cells are lists.

    Examples
    --------
    >>> import pyarrow as pa
    >>> list_columns(pa.schema({"id": pa.int64(), "flow": pa.list_(pa.float32())}))
    ['flow']
    """
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return [field.name for field in schema if any(kind(field.type) for kind in kinds)]


def _channels(
    schemas: Schemas, rows: Sample, columns: Columns, taken: set[str], time: str | None
) -> tuple[tuple[str, ...], list[str]]:
    """Choose the channels of the wide form, and say what is left out."""
    held: dict[str, list[tuple[LogFile, pa.DataType]]] = {}
    for file, schema in schemas:
        for field in schema:
            held.setdefault(field.name, []).append((file, field.type))
    # a file in which a column is empty does not say what it is
    held = {name: [pair for pair in pairs if not pa.types.is_null(pair[1])] or pairs for name, pairs in held.items()}
    everything = [name for name in held if name not in taken]
    if columns.channels is not None:
        named = set(columns.channels)
        return columns.channels, _left_out([name for name in everything if name not in named])
    first = schemas[0][1]
    patterns = [ID]
    if columns.time is None and time is not None and is_stamp(first.field(time).type):
        patterns.append(COUNTER)  # of what timestamps were taken for instead
    keys = {name for name in everything if called(name, *patterns)}
    measured = {field.name for field in first if field.name in keys and is_measured(field, rows)}
    aside = (keys | {name for name in everything if called(name, LABEL)}) - measured
    aside = {name for name in aside if not called(name, Y) or label_by_name(first, ()) == name}
    aside |= {name for name in everything if called(name, INDEX)}
    # folders are named by dates and machines, which are no sensors
    aside |= {name for file, _ in schemas for name, _ in file.partition + file.repeated}
    chosen = dict.fromkeys(name for name in everything if name not in aside and _may_be_channel(held[name], name))
    if not chosen:
        raise DataError(
            f"{schemas[0][0].shown} has no column of numbers left to be a channel; name them by --channels "
            f"(it has {listed(first.names)})"
        )
    left = [name for name in everything if name not in chosen]
    odd = [odd_cell(*held[name][0], name) for name in left if name not in aside]
    return tuple(chosen), [*_left_out(left), *may_be_long(first, rows, tuple(chosen), left), *filter(None, odd)]


def _may_be_channel(held: list[tuple[LogFile, pa.DataType]], name: str) -> bool:
    """Tell columns of numbers, and text that is mostly numbers, whose wrong entries are to be told and not skipped."""
    if any(is_number(kind) for _, kind in held):
        return True
    file, kind = held[0]
    return is_text(kind) and mostly_numbers(file, name)


def _said(chosen: Columns, given: Columns, id_by: str) -> list[str]:
    """Say what was guessed."""
    guessed = [
        f"{word} '{name}'"
        for word, name, named in (
            ("id", chosen.id, given.id),
            ("time", chosen.time, given.time),
            ("label", chosen.label, given.label),
        )
        if name is not None and named is None
    ]
    if given.channels is None and chosen.channels is not None:
        guessed.append(f"{counted(len(chosen.channels), 'channel')} {listed(chosen.channels)}")
    notes = [f"guessed columns: {'; '.join(guessed)}"] if guessed else []
    if id_by == "file":
        notes.append("no id column: each file is one series, its path below the folder of all is the id")
    if chosen.time is None and id_by != "row":
        notes.append("no time column: rows are taken to be in order and evenly spaced")
    return notes


def _said_of_decimals(schemas: Schemas) -> list[str]:
    found = [file.shown for file, _ in schemas if file.kind == "csv" and dialect(file).decimal == ","]
    if not found:
        return []
    others = counted(len(found) - 1, "other")
    who = f"{found[0]} writes" if len(found) == 1 else f"{found[0]} and {others} write"
    return [f"{who} decimals with a comma: they are read as such"]


def _left_out(names: Sequence[str]) -> list[str]:
    return [f"columns left out: {listed(names)}"] if names else []
