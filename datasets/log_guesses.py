"""What a log's columns are taken for where nobody named them: by names and types, and by a sample of the rows."""

import re
from collections.abc import Callable

import pyarrow as pa

from tsjepa.column_names import (
    CHANNEL,
    COUNTER,
    ID,
    LABEL,
    LIKE_TIME,
    MACHINE,
    NUMBERED,
    TIME,
    VALUE,
    WITH_CHANNEL,
    beside_value,
    called,
    may_be_key,
)
from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_files import LogFile
from tsjepa.datasets.log_sample import Sample
from tsjepa.datasets.log_settings import Columns
from tsjepa.datasets.log_types import (
    Schemas,
    is_day,
    is_key,
    is_number,
    is_stamp,
    is_text,
    is_time,
    may_be_fraction,
    mostly_numbers,
    without_folders,
)
from tsjepa.datasets.naming import listed

# names of channels, machines or products: of channels only if some of them are asked for
MAY_BE_CHANNEL = re.compile(r"name|(point|item|node|field)(id|[_ ]?name)?")
# whole numbers, also below zero, as ids may be
SIGNED = re.compile(r"[-+]?\d+([.,]0*)?")
# beside another axis y is one, too, and else a label
AXIS, Y = re.compile("x|z"), re.compile("y")


def pick(
    schema: pa.Schema, pattern: re.Pattern[str], taken: tuple[str | None, ...], fits: Callable[[pa.Field], bool]
) -> str | None:
    """Return the first column of a name and a type."""
    found = [field.name for field in schema if called(field.name, pattern) and field.name not in taken and fits(field)]
    return found[0] if found else None


def time_by_name(schema: pa.Schema) -> str | None:
    """Return the column of times, by names and types."""
    exact = [field.name for field in schema if is_stamp(field.type)]
    named = pick(schema, TIME, (), lambda f: is_time(f.type) and not (is_day(f.type) or is_text(f.type)))
    named = named or pick(schema, TIME, (), lambda field: is_time(field.type))
    if named is not None:
        # days order no rows that have times beside
        return exact[0] if len(exact) == 1 and is_day(schema.field(named).type) else named
    stamps = exact or [field.name for field in schema if is_day(field.type)]
    if len(stamps) > 1:
        raise DataError(f"{listed(stamps)} all hold times; name the one that orders the rows by --time")
    return stamps[0] if stamps else pick(schema, LIKE_TIME, (), lambda field: is_time(field.type))


def guess_time(schemas: Schemas, rows: Sample) -> str | None:
    """Return the column of times: timestamps rather than a counter beside them, which passes over gaps.

    Raises
    ------
    DataError
        If it has no name, by which it could be asked for.
    """
    schema = without_folders(*schemas[0])
    name = time_by_name(schema)
    stamps = [field.name for field in schema if is_stamp(field.type)]
    # a date that is the same for many counts, such as that of a machine's installation, orders no rows
    if name is not None and called(name, COUNTER) and len(stamps) == 1 and rows.kinds(stamps[0]) >= rows.kinds(name):
        name = stamps[0]
    if name == "":
        raise DataError(
            f"a column of {schemas[0][0].shown} has no name and holds times: name it, or add --time '' to take rows as "
            "in order and evenly spaced"
        )
    return name


def label_by_name(schema: pa.Schema, taken: tuple[str | None, ...]) -> str | None:
    """Return the column of labels, by its name."""
    if any(called(name, AXIS) for name in schema.names):
        taken = (*taken, *(name for name in schema.names if called(name, Y)))
    return pick(schema, LABEL, taken, lambda field: True)


def is_measured(field: pa.Field, rows: Sample) -> bool:
    """Tell numbers with a fraction, which are no ids whatever they are called: the speed of an ``engine``."""
    return may_be_fraction(field.type) and not rows.all_are(SIGNED, field.name)


def guess_id(
    schemas: Schemas, rows: Sample, columns: Columns, time: str | None, channel: str | None
) -> tuple[str | None, list[str]]:
    """Return the column of ids, and sentences about others that are called like one.

    Raises
    ------
    DataError
        If it has another value in every row, so that each row would be a series.
    """
    file, schema = schemas[0]
    aside = {time, channel, columns.label, *(columns.channels or ())}
    named = [field for field in schema if called(field.name, ID) and field.name not in aside]
    held = [field for field in named if is_key(field.type) and rows.held(field.name)]
    fit = [field.name for field in held if not is_measured(field, rows)]
    if channel is not None:
        fit = [name for name in fit if not is_of_channel(channel, name, rows)]
    again = [name for name in fit if len(rows.held(name)) < 2 or rows.repeats(name)]
    where = {} if again else {name: rows.never_again(name) for name in fit}
    again = again or [name for name in fit if not where[name]]
    if again:
        machines = [name for name in again if called(name, MACHINE)]
        return (machines[0] if machines and may_be_key(again[0]) else again[0]), []
    for name in fit:
        # where rows share a time, and a channel, something tells them apart
        shared = time is not None and rows.repeats(time, *([] if channel is None else [channel]))
        if not may_be_key(name) or shared:
            raise DataError(
                f"{file.shown}: column '{name}' is called like an id, and has another value {where[name]}; name the "
                "column of ids by --id, or add --id '' where there is none"
            )
    unread = [field for field in named if not (is_key(field.type) or str(field.type) == "null")]
    return None, [
        *(f"column '{name}' has another value {where[name]}: it is taken for no id" for name in fit),
        *(
            f"column '{field.name}' is called like an id, and holds {field.type}: it is left out, and machines that it "
            "tells apart are taken for one; write it as whole numbers or text if there are such"
            for field in unread
        ),
    ]


def is_told_by(channel: str, name: str, rows: Sample) -> bool:
    """Tell what differs between channels and nowhere else: several values, one for each channel."""
    return rows.kinds(name) > 1 and rows.kinds(channel, name) == rows.kinds(channel)


def is_of_channel(channel: str, name: str, rows: Sample) -> bool:
    """Tell what belongs to a channel, such as its unit of measurement, from machines.

    Places that each have one machine, and other channels than the next, show nothing.
    """
    if not called(name, WITH_CHANNEL) or (not called(name, CHANNEL) and rows.all_are(NUMBERED, name)):
        return False
    return is_told_by(channel, name, rows) and rows.most_in_a_part(name) > 1


def guess_long(schemas: Schemas, rows: Sample, columns: Columns, time: str | None) -> tuple[str | None, str | None]:
    """Return the columns of channels and values, None where a row holds all values of a time.

    Raises
    ------
    DataError
        If rows may be read either way.
    """
    file, schema = schemas[0]
    if time is None or (columns.channels is not None and set(columns.channels) <= set(schema.names)):
        return None, None
    taken = (time, columns.id, columns.label)
    # channels that are no columns ask for the long form
    asked = columns.channels is not None
    channel = pick(schema, CHANNEL, taken, lambda field: is_key(field.type) and (asked or _may_name(field, rows)))
    value = _values(file, schema, taken)
    if value is None:
        return None, None
    others = _measured_beside(schemas[0], columns, (time, channel or "", value))
    if channel is None and asked and not others:
        named, aside = set(columns.channels or ()), (*taken, columns.group)
        channel = pick(schema, MAY_BE_CHANNEL, aside, lambda field: not named.isdisjoint(_names_in(field, rows)))
    if channel is None:
        return None, None
    if asked or not others:
        return channel, value
    if called(channel, ID):  # then each of them may be a series with all these values
        return None, None
    if not _several_a_time(schema, rows, time, channel, value):
        raise DataError(
            f"{file.shown}: a row may be one value, in '{value}', of the channel in '{channel}', or have "
            f"{listed([*others, value])} of one time: name the channels by --channels, as they stand in '{channel}' or "
            "as columns are called"
        )
    return channel, value


def _may_name(field: pa.Field, rows: Sample) -> bool:
    return not is_number(field.type) or rows.are_whole(field.name)


def _names_in(field: pa.Field, rows: Sample) -> list[str]:
    return rows.held(field.name) if is_text(field.type) else []


def may_be_long(schema: pa.Schema, rows: Sample, channels: tuple[str, ...], left: list[str]) -> list[str]:
    """Say that what was read as one sensor may be the values of several, whose names were left out."""
    if len(channels) != 1 or not called(channels[0], VALUE):
        return []
    fields = [schema.field(name) for name in left if name in schema.names and called(name, MAY_BE_CHANNEL)]
    held = {field.name: _names_in(field, rows) for field in fields}
    several = [name for name, cells in held.items() if 1 < len(set(cells)) <= len(cells) / 2]
    return [
        f"if '{name}' names the sensors whose values stand in '{channels[0]}', name them by --channels: they are read "
        "as one now"
        for name in several[:1]
    ]


def _values(file: LogFile, schema: pa.Schema, taken: tuple[str | None, ...]) -> str | None:
    own = without_folders(file, schema)
    value = pick(own, VALUE, taken, lambda field: is_number(field.type))
    text = pick(own, VALUE, taken, lambda field: is_text(field.type))
    return text if value is None and text is not None and mostly_numbers(file, text) else value


def _measured_beside(first: tuple[LogFile, pa.Schema], columns: Columns, taken: tuple[str, ...]) -> list[str]:
    """Return columns of numbers that are measured, as far as names tell, and that the long form has no place for."""
    aside = {*taken, columns.id, columns.label, columns.group}
    return [
        field.name
        for field in without_folders(*first)
        if is_number(field.type)
        and not (pa.types.is_boolean(field.type) or pa.types.is_null(field.type))
        and field.name not in aside
        and not beside_value(field.name)
    ]


def _several_a_time(schema: pa.Schema, rows: Sample, time: str, channel: str, value: str) -> bool:
    """Tell whether rows that have one time differ in nothing but their channel, and what belongs to it."""
    beside = words(schema, (time, channel, value))
    return rows.repeats(time, *(name for name in beside if not is_told_by(channel, name, rows)))


def words(schema: pa.Schema, taken: tuple[str, ...]) -> list[str]:
    """Return other columns that may tell rows of one time apart: text, and what is called like an id."""
    others = [field for field in schema if field.name not in taken]
    return [field.name for field in others if is_text(field.type) or (called(field.name, ID) and is_key(field.type))]
