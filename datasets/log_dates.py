"""Times that stand in a log and cannot be read as they are written, told before they are passed over."""

import re

import pyarrow as pa

from tsjepa.column_names import COUNTER, ID, LABEL, TIME, called
from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_files import LogFile
from tsjepa.datasets.log_guesses import words
from tsjepa.datasets.log_reading import dialect, first_cells
from tsjepa.datasets.log_sample import Sample
from tsjepa.datasets.log_settings import Columns
from tsjepa.datasets.log_types import Schemas, inner, is_day, is_number, is_text, without_folders
from tsjepa.datasets.naming import listed

MONTH = "(jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-zä]*"
DAY = (
    r"((19|20)\d\d[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](19|20)\d\d"
    rf"|\d{{1,2}}[-. ]*{MONTH}[-., ]*\d{{2,4}}|{MONTH}[. ]*\d{{1,2}}[, ]+\d{{4}})"
)
# two digits of a year need a time of day behind, since versions are written so
SHORT_DAY = r"\d{1,2}[-./]\d{1,2}[-./]\d\d"
CLOCK = r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[ap]\.?m\.?)?( ?(z|utc|gmt|[-+]\d\d(:?\d\d)?))?"
# before the clock of a duration, as pandas and Python write it
DAYS = r"[-+]?\d+ days?,? [-+]?"
WRITTEN = re.compile(rf"{DAY}|(({DAY}|{SHORT_DAY})[t, ]+|{DAYS})?{CLOCK}", re.IGNORECASE)
ISO = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[-+]\d\d(:?\d\d)?)?")
DIGITS_DAY = r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
DIGITS = re.compile(rf"{DIGITS_DAY}(([01]\d|2[0-3])[0-5]\d([0-5]\d(\d{{3}})?)?)?")
# a number as somebody writes it, maybe with its unit
NUMERIC = re.compile(r"[-+]?\d[\d.,' ]*[^\d\s]{0,6}|true|false", re.IGNORECASE)
PLAIN = r"[-+]?\d+({}\d*)?([eE][-+]?\d+)?|true|false"
SUCH_AS = "one column of times such as 2026-03-01 13:00:00"


def check_digits(schemas: Schemas, rows: Sample, time: str | None) -> None:
    """Refuse numbers for times that are dates in digits: they leap from minute to minute and from day to day.

    Raises
    ------
    DataError
        If a column of times that was guessed holds such.
    """
    file, schema = schemas[0][0], without_folders(*schemas[0])
    if time is None or not is_number(schema.field(time).type) or not rows.held(time):
        return
    named = (field for field in schema if called(field.name, TIME) and not called(field.name, COUNTER))
    others = [field for field in named if field.name != time]
    beside = [field.name for field in others if is_number(field.type) and _is_clock_in_digits(rows, field.name)]
    if _is_clock_in_digits(rows, time):
        beside = [field.name for field in others if is_day(field.type) or _are_days(rows, field)]
    elif not rows.all_are(DIGITS, time):
        return
    elif not beside:
        raise DataError(
            f"{file.shown}: column '{time}' holds {rows.held(time)[0]}, a date in digits, which as a number leaps from "
            f"minute to minute or from month to month; write {SUCH_AS}, or name it by --time if it is a plain number"
        )
    if beside:
        raise DataError(
            f"{file.shown}: '{time}' and '{beside[0]}' hold a date and a time of day; join them into {SUCH_AS}, or "
            "name one by --time"
        )


def _are_days(rows: Sample, field: pa.Field) -> bool:
    return is_number(field.type) and bool(rows.held(field.name)) and rows.all_are(DIGITS, field.name)


def _is_clock_in_digits(rows: Sample, name: str) -> bool:
    """Tell times of day in digits, such as 130000, from seconds that are counted."""
    cells = set(rows.held(name))
    if not all(re.fullmatch(r"\d{1,6}", cell) for cell in cells):
        return False
    numbers = [int(cell) for cell in cells]
    valid = all(number < 240_000 and number // 100 % 100 < 60 and number % 100 < 60 for number in numbers)
    return valid and max(numbers, default=0) >= 60


def check_unread(schemas: Schemas, rows: Sample, columns: Columns, time: str | None) -> list[str]:
    """Tell dates and times of day that are written so that no column of times was found, or only a counter.

    Returns
    -------
    list of str
        A sentence for where channels were named, maybe by a checkpoint, whose log was read so before, and for dates
        that most rows share with others, such as the start of a shift.

    Raises
    ------
    DataError
        If there are others, and no channels were named.
    """
    file, schema = schemas[0][0], without_folders(*schemas[0])
    if not _is_doubtful(schema, time):
        return []
    unread = [name for name in _written_times(file, schema, columns) if rows.held(name)]
    if not _order_rows(schema, rows, time, unread):
        return []
    held = f"{listed(unread)} hold{'s' * (len(unread) == 1)} {listed([rows.held(name)[0] for name in unread])}"
    can_be_read = len(unread) == 1 and rows.all_are(ISO, unread[0])
    advice = f"name it by --time '{unread[0]}'" if can_be_read else f"write {SUCH_AS}, and name it by --time"
    if columns.channels is not None or (time is None and not _differ_in_most_rows(schema, rows, unread)):
        return [f"{held}, which is not used, so that gaps may not be seen: {advice}"]
    known = "no column of times was found" if time is None else f"'{time}' would be the column of times"
    keep = "--time '' takes rows as in order and evenly spaced" if time is None else f"--time '{time}' keeps it"
    raise DataError(f"{file.shown}: {known}, but {held}: {advice}; {keep}")


def _is_doubtful(schema: pa.Schema, time: str | None) -> bool:
    if time is None:
        return True
    return is_number(schema.field(time).type) and (called(time, COUNTER) or not called(time, TIME))


def _order_rows(schema: pa.Schema, rows: Sample, time: str | None, unread: list[str]) -> bool:
    """Tell whether dates may order rows, and do it better than a counter, or a column that is no time after all."""
    most = max((rows.kinds(name) for name in unread), default=0)
    if most < 2 or time is None:
        return most > 1
    if most < rows.kinds(time):  # a date that is the same for many counts orders no rows
        return False
    return called(time, COUNTER) or rows.repeats(time, *words(schema, (time, *unread)))


def _differ_in_most_rows(schema: pa.Schema, rows: Sample, unread: list[str]) -> bool:
    """Tell times of rows, maybe of several machines in turns, from those of shifts and batches."""
    for names in [*((name,) for name in unread), tuple(unread)]:
        times = len(rows.rows(*names))
        machines = [name for name in words(schema, names) if 2 * rows.kinds(name) <= times]
        if any(2 * rows.kinds(*names, *machine) > times for machine in [(), *((name,) for name in machines)]):
            return True
    return False


def _written_times(file: LogFile, schema: pa.Schema, columns: Columns) -> list[str]:
    """Return columns most of whose cells are dates, times of day or durations, none known to be something else."""
    aside = {columns.id, columns.label, columns.group, *(columns.channels or ())}
    found = []
    for field in schema:
        if field.name in aside or called(field.name, ID, LABEL):
            continue
        kind = inner(field.type)
        is_clock = pa.types.is_time(kind) or pa.types.is_duration(kind)
        if is_clock or (is_text(field.type) and _are_written(file, field.name)):
            found.append(field.name)
    return found


def _are_written(file: LogFile, name: str) -> bool:
    cells = [cell.strip() for cell in first_cells(file, name) if cell]
    return 2 * sum(WRITTEN.fullmatch(cell) is not None for cell in cells) > len(cells)


def odd_cell(file: LogFile, kind: pa.DataType, name: str) -> str | None:
    """Say why a column many of whose cells are numbers is text, None for any other column."""
    if not is_text(kind):
        return None
    cells = [(at, cell.strip()) for at, cell in enumerate(first_cells(file, name), 1) if cell]
    numbers = [cell for _, cell in cells if NUMERIC.fullmatch(cell) and not WRITTEN.fullmatch(cell)]
    mark = dialect(file).decimal if file.kind == "csv" else "."
    plain = re.compile(PLAIN.format(re.escape(mark)), re.IGNORECASE)
    other = next(((at, cell) for at, cell in cells if not plain.fullmatch(cell)), None)
    if other is None or 4 * len(numbers) < len(cells):
        return None
    return f"'{name}' is text, such as {other[1][:40]!r} in row {other[0]} of {file.shown}: it is no channel"
