"""Sensor logs as the commands need them: windows of the training and the test part, and what was guessed told once."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from tsjepa.arrays import counted
from tsjepa.checkpoint import Header
from tsjepa.cli.errors import USAGE, Failure, say
from tsjepa.cli.log_options import LogOptions
from tsjepa.cli.render import phase_bar
from tsjepa.config import parse_config
from tsjepa.datasets import DataError
from tsjepa.datasets.home import user_path
from tsjepa.datasets.log_columns import list_columns
from tsjepa.datasets.log_files import find_files, kind_of, log_identity
from tsjepa.datasets.log_links import holds_run
from tsjepa.datasets.log_reading import read_schema
from tsjepa.datasets.log_runs import LogRuns
from tsjepa.datasets.log_settings import OWN_ID
from tsjepa.datasets.logs import (
    Columns,
    LogWindows,
    Windowing,
    as_held,
    column_names,
    is_log,
    load_log,
    part_beside,
    split_by_group,
)
from tsjepa.datasets.lookup import find_local
from tsjepa.sections import LogConfig

# Share of the groups of --group that becomes the test part
TEST_SHARE = 0.2

Loaded = TypeVar("Loaded", LogWindows, LogRuns)


class LogParts(NamedTuple):
    """Windows of both parts, and how the log was read, guesses filled in."""

    log: LogConfig
    train: LogWindows
    test: LogWindows | None


def trained_log(header: Header, flags: LogOptions, data: str | None) -> LogConfig:
    """Return how a checkpoint's log was read, with what flags change; None are the data that it was trained on.

    A test part belongs to those data, so that other data have the one of the flags, or none. Where those data are named
    again, it is groups of them, but no second log, which was not named.
    """
    values = header.config.model_dump(mode="json")
    if header.channel_names is not None:
        values["log"]["channels"] = list(header.channel_names)
    if data is not None or flags.test or flags.group:
        values["log"]["test"] = None
    is_other = data is not None and not is_trained_on(header, data)
    if is_other or flags.test or flags.group:
        values["log"]["group"] = None
    return parse_config(values, flags.overrides()).log


def is_trained_on(header: Header, source: str) -> bool:
    """Return whether a log is the one that a checkpoint was trained on, however its path is written."""
    return header.data is not None and log_identity(source) == log_identity(header.data)


def of_log(header: Header) -> bool:
    """Return whether a checkpoint was trained on a log, of which the configuration always names the channels."""
    return header.config.log.channels is not None


def without_missing(name: str, log: LogConfig, flags: LogOptions, *, logged: bool) -> LogConfig:
    """Return how to read a log that may lack the checkpoint's columns of labels and groups: an embedding needs none."""
    asked = flags.given()
    held = {key: column for key in ("label", "group") if (column := getattr(log, key)) and key not in asked}
    if not held or not reads_as_log(name, log, asked, logged=logged):
        return log
    names = column_names(name)
    missing = {key: column for key, column in held.items() if as_held(column, names) not in names}
    if missing.get("group") == OWN_ID and not log.id and has_series_of_its_own(name):  # which needs no column
        del missing["group"]
    for key, column in missing.items():
        say(f"note: {name} has no column {column!r}, so there will be no {'label' if key == 'label' else 'part'}.")
    return log.model_copy(update={key: "" if key == "label" else None for key in missing})


def has_series_of_its_own(name: str) -> bool:
    """Return whether series of a log without ids are told apart: by their file, or by their row of a table of lists."""
    schemas = [schema for schema in map(read_schema, find_files(name)[0]) if schema is not None]
    return len(schemas) > 1 or any(map(list_columns, schemas))


def reads_as_log(
    name: str, log: LogConfig, asked: Mapping[str, object], data_dir: Path | None = None, *, logged: bool
) -> bool:
    """Return whether data are a log.

    Any table is one where flags or settings (``log.window``) ask for it, or where the checkpoint's data were one; the
    tables of a folder are one, too, if the checkpoint was trained on any log (`logged`).
    """
    # names of channels alone may come from a checkpoint of arrays
    wanted = bool(asked or log.model_dump(exclude_defaults=True, exclude={"channels"}))
    folder = user_path(name)
    # a run may be called like its data; what else lies in its folder is refused where it is read
    if is_log(name, in_time=wanted or logged) and (
        not holds_run(folder)
        or (find_local(name, data_dir) is None and any(is_log(path) for path in folder.rglob("*") if path.is_file()))
    ):
        return True
    return wanted and (kind_of(name) is not None or bool(asked and Path(name).is_dir()))


def no_log(name: str, asked: list[str]) -> str:
    """Say that data are no log, although flags, or else settings of the configuration, say how to read one.

    Examples
    --------
    >>> no_log("FordA", ["max_gap", "log.window"])
    '--max-gap says how a sensor log is read, and FordA is none: leave it out.'
    >>> no_log("FordA", ["log.window"])
    'log.window says how a sensor log is read, and FordA is none: name a log, or add --set log.window=null.'
    """
    if not asked[0].startswith("log."):
        return f"--{asked[0].replace('_', '-')} says how a sensor log is read, and {name} is none: leave it out."
    values = {key: getattr(LogConfig(), key.removeprefix("log.")) for key in asked}
    unset = " ".join(f"--set {key}={'null' if value is None else value}" for key, value in values.items())
    says = f"{asked[0]} says" if len(asked) == 1 else f"{' and '.join(asked)} say"
    return f"{says} how a sensor log is read, and {name} is none: name a log, or add {unset}."


def read_log(name: str, log: LogConfig, cache_dir: Path | None, seed: int, *, lone: bool = False) -> LogParts:
    """Read a log, and its test part: a second log, whole groups of the first, or for lists the file beside.

    A single whole series is refused unless it may be `lone`, where nothing is learnt from it.
    """
    if log.test is not None and log.group is not None:
        raise Failure("--test and --group both name the test part: give one of them.", USAGE)
    if log.test is None and log.group is None and not log.time and (beside := part_beside(name)) is not None:
        say(f"note: test part: {beside}.")
        log = log.model_copy(update={"test": beside})
    train = open_log(name, Columns(log.id, log.time, log.channels, log.label, log.group), log, cache_dir, lone=lone)
    found = train.columns
    # an empty name says that there is no such column, which is not to be guessed again
    names = {key: getattr(found, key) or getattr(log, key) for key in ("id", "time", "label")}
    log = log.model_copy(update={**names, "channels": train.channels})
    if log.test is not None:
        columns = Columns(log.id, log.time, log.channels, log.label)
        return LogParts(log, train, open_log(log.test, columns, log, cache_dir, named=True, lone=lone))
    if log.group is None:
        return LogParts(log, train, None)
    rest, test = split_by_group(train, TEST_SHARE, seed)
    count, total = (len(np.unique(part.groups()[np.unique(part.series)])) for part in (test, train))
    say(f"note: test part: {count} of {counted(total, 'group')} of {log.group!r}, drawn with seed {seed}.")
    return LogParts(log, rest, test)


def about(source: str, note: str) -> str:
    """Say of which log a note is, unless it begins with its file.

    Examples
    --------
    >>> about("al/a.csv", "no time column"), about("al", "al/a.csv is empty: passed over")
    ('al/a.csv: no time column', 'al/a.csv is empty: passed over')
    """
    return note if note.startswith((f"{source} ", f"{source.rstrip('/')}/")) else f"{source}: {note}"


def loaded(
    load: Callable[..., Loaded], source: str | None, unsaid: tuple[str, ...] = (), said: list[str] | None = None
) -> Loaded:
    """Load a log with a bar over the work, and say what to know of it, behind its `source` where that is given.

    What a loaded log still tells of itself stays unsaid where it begins so, and what was `said` before, which grows.
    """
    known = [] if said is None else said

    def announce(note: str) -> None:
        if (text := note if source is None else about(source, note)) not in known:
            known.append(text)
            say(f"note: {text}")

    with phase_bar() as progress:
        log = load(progress=progress, announce=announce)
    for note in log.notes:
        if not note.startswith(unsaid):
            announce(note)
    return log


def open_log(
    name: str, columns: Columns, log: LogConfig, cache_dir: Path | None, *, named: bool = False, lone: bool = False
) -> LogWindows:
    """Build or find the windows of one log, and say, `named` after it, what to know of it."""
    try:
        windowing = Windowing(log.window, log.stride, log.max_gap, log.resample, log.fill, log.window_label)
    except DataError as error:
        raise Failure(str(error), USAGE) from error
    return loaded(partial(load_log, name, columns, windowing, cache_dir=cache_dir, lone=lone), name if named else None)
