"""What a world model learns from: those windows of a log in which every row is normal."""

import numpy as np

from tsjepa.arrays import counted
from tsjepa.cli.data import Data
from tsjepa.cli.errors import Failure, say
from tsjepa.column_names import LABEL, called
from tsjepa.config import Config
from tsjepa.datasets.logs import LogWindows, column_names


def learnt(data: Data, config: Config) -> Data:
    """Return data with the training windows that a run learns from: a world model's are the normal ones."""
    return normal_only(data) if config.world.horizons else data


def normal_only(data: Data) -> Data:
    """Return data without the training windows that hold abnormal rows, and say which windows these are.

    What is expected is what was learnt: a fault among the windows would be expected from then on. Labels that do not
    say what is normal, and labels that are not read, leave every window in, which is said.
    """
    windows = data.train.series
    if not isinstance(windows, LogWindows):
        return data
    if not windows.has_labels:
        say_unread(windows)
        return data
    name, label, out = windows.source, windows.columns.label, windows.hold_abnormal()
    if out is None:
        say(f"note: {name}: {label!r} does not say which rows are normal, so the model learns from all rows.")
        return data
    if out.all():
        raise Failure(
            f"{name}: every window holds a row that {label!r} calls abnormal: give a log with longer normal stretches, "
            "a shorter --window, or --label '' to learn from all rows."
        )
    if not out.any():
        return data
    some = f"{out.sum()} of {counted(len(out), 'window')}"
    say(f"note: {name}: left out: {some}, which hold rows that {label!r} calls abnormal.")
    return data._replace(train=data.train.some(np.flatnonzero(~out)))


def say_unread(windows: LogWindows) -> None:
    """Say which column that is called like labels is not read, so that faults in it are learnt as normal."""
    names = (name for name in column_names(windows.source) if called(name, LABEL))
    unread = next((name for name in names if name not in windows.channels), None)
    if unread is not None:
        say(
            f"note: {windows.source}: the labels in {unread!r} are not read (--label ''), so the model learns from all "
            "rows, faults among them: without --label '', windows with rows that they call abnormal are left out."
        )
