"""What the first pass found in all pieces, put together: where each id's rows go, or why they cannot."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_columns import IF_POINTS, Layout
from tsjepa.datasets.log_files import LogFile
from tsjepa.datasets.log_reading import Piece, first_cells, read_schema
from tsjepa.datasets.log_scan import Scan, Twice, two_groups
from tsjepa.datasets.log_time import shown_time
from tsjepa.datasets.log_types import is_text
from tsjepa.datasets.log_values import Log, read_rows
from tsjepa.datasets.naming import listed

UNIT_FACTORS = (1e3, 1e6, 1e9)


@dataclass(frozen=True)
class RowPlan:
    """Where rows go.

    Attributes
    ----------
    ids : list of int or str
        Sorted.
    offsets : ndarray of int64, shape (n_ids + 1,)
        The first row of each id; at the end the number of rows.
    groups : list of int, str or None
        Of each id.
    classes : tuple of str or None
        Of the labels, sorted; None where these are a numeric target, or there are none.
    channels : tuple of str
        Of the values.
    in_order : bool
        Every id's rows come in order of time, so that each can be written where it belongs at once.
    unsorted : str or None
        The first row that is not in order by id and time, in words.
    digest : str
        Tells this plan from others.
    """

    ids: list[Any]
    offsets: NDArray[np.int64]
    groups: list[Any]
    classes: tuple[str, ...] | None
    channels: tuple[str, ...]
    in_order: bool
    unsorted: str | None
    digest: str


class _Id:
    """What is known of an id so far."""

    __slots__ = ("group", "last", "ordered", "rows")

    def __init__(self, group: Any) -> None:
        self.rows, self.last, self.ordered, self.group = 0, None, True, group

    def take(self, scan: Scan, at: int, shown: str, once: bool) -> None:
        """Add the rows that a piece has of it, of which no two may have one time where each comes `once`."""
        if self.group != scan.groups[at]:
            raise two_groups(scan.ids[at], self.group, scan.groups[at], shown)
        if once and self.last == scan.first[at]:
            raise Twice(scan.ids[at], self.last)
        self.ordered &= scan.ordered[at] and (self.last is None or self.last < scan.first[at])
        self.rows, self.last = self.rows + scan.rows[at], scan.last[at]


def make_plan(layout: Layout, scanned: Iterable[tuple[Piece, Scan]]) -> RowPlan:
    """Put the findings of all pieces together.

    Raises
    ------
    DataError
        If there are no rows, an id has two groups, files count time in different units, or a named channel of
        the long form is not there.
    Twice
        If an id has two rows of one time, or two lists.
    """
    known: dict[Any, _Id] = {}
    labels: set[str] | None = None if layout.columns.label is None else set()
    channels: set[str] = set()
    steps: dict[str, float] = {}
    unsorted, last_id, long = None, None, layout.form == "long"
    for piece, scan in scanned:
        filled = [at for at, rows in enumerate(scan.rows) if rows]
        unsorted = unsorted or next(_disorder(known, last_id, scan, filled, piece.file.shown, long), None)
        for at in filled:
            last_id = scan.ids[at]
            if layout.form == "lists" and last_id in known:
                raise Twice(last_id, scan.first[at])
            known.setdefault(last_id, _Id(scan.groups[at])).take(scan, at, piece.file.shown, once=not long)
        labels = None if labels is None or scan.labels is None else labels | set(scan.labels)
        channels.update(scan.channels)
        if scan.step is not None and layout.time.kind in ("integer", "float"):
            _check_unit(steps, piece.file, scan.step, str(layout.columns.time))
    if not known:
        raise DataError("no file of the log has rows; export it again")
    ids = sorted(known)
    counts = [known[identity].rows for identity in ids]
    ordered = not long and all(known[identity].ordered for identity in ids)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    names, classes = _channel_names(layout, channels), None if labels is None else tuple(sorted(labels))
    digest = hashlib.sha256(json.dumps([ids, counts, classes, names, ordered]).encode()).hexdigest()[:16]
    groups = [known[identity].group for identity in ids]
    return RowPlan(ids, offsets, groups, classes, names, ordered, unsorted, digest)


def _disorder(
    known: dict[Any, _Id], last_id: Any, scan: Scan, filled: list[int], shown: str, long: bool
) -> Iterator[str]:
    """Say where rows of a piece are not in order by id and time after those of the pieces before it."""
    for at in filled:
        identity, before = scan.ids[at], known.get(scan.ids[at])
        if before is not None and identity != last_id:
            yield f"id {identity!r} comes again in {shown}"
        if before is not None and not long and scan.first[at] < before.last:
            yield f"{shown} goes back in time in id {identity!r}"
        last_id = identity
    if scan.scattered is not None:
        yield f"{shown}, row {scan.scattered}"


def _channel_names(layout: Layout, found: set[str]) -> tuple[str, ...]:
    if layout.form != "long":
        return layout.columns.channels or ()
    if layout.columns.channels is None:
        return tuple(sorted(found))
    for name in layout.columns.channels:
        if name not in found:
            raise DataError(
                f"no row has the channel {name!r} in column '{layout.channel}'; it has {', '.join(sorted(found)[:20])}"
            )
    return layout.columns.channels


def _check_unit(steps: dict[str, float], file: LogFile, step: float, name: str) -> None:
    """Refuse numbers for times that grow a thousand times faster in one file than in another."""
    for shown, other in steps.items():
        ratio = max(step, other) / min(step, other)
        if any(0.8 < ratio / factor < 1.25 for factor in UNIT_FACTORS):
            raise DataError(
                f"column '{name}' grows by {other:g} from row to row in {shown} and by {step:g} in {file.shown}, as "
                "seconds and milliseconds would; bring all files to one unit"
            )
    if len(steps) < 16:
        steps.setdefault(file.shown, step)


def twice_error(log: Log, found: Twice) -> DataError:
    """Make the error for two rows of one id and time, and find out where they stand."""
    layout, pieces, names = log
    places: list[str] = []
    for piece in pieces:
        for rows in read_rows(layout, piece, with_values=False):
            same = rows.time == found.time
            for at in np.flatnonzero(same):
                identity = names[piece.file.shown] if rows.id is None else rows.id[int(at)].as_py()
                its_channel = rows.channel is None or rows.channel[int(at)].as_py() == found.channel
                if identity == found.identity and its_channel and len(places) < 2:
                    places.append(f"{piece.file.shown}, row {rows.number[at]}")
        if len(places) == 2:
            break
    if layout.form == "lists":
        return DataError(
            f"each row is read as one series, of list columns {listed(layout.columns.channels or ())}, but id "
            f"{found.identity!r} is in several rows: {' and '.join(places)}; {IF_POINTS}, or else give each row an id "
            "of its own"
        )
    of = f" of channel {found.channel!r}" if found.channel else ""
    when = shown_time(found.time, layout.time)
    is_midnight = "00:00:00" in when
    clock = _clock_beside(layout, pieces[0].file) if is_midnight else None
    if clock is not None:
        advice = f"join '{layout.columns.time}' and '{clock}' into one column of times"
    elif layout.columns.id is None:
        advice = "there is no column of ids: name that of the machines by --id, or keep one"
    else:
        advice = "keep one"
        if layout.id_is_guessed:
            advice += f", or name another column of ids by --id: '{layout.columns.id}' was guessed to be that"
    if layout.time.kind == "timestamp" and not layout.time.zoned and not is_midnight:  # which a date alone is, too
        advice += "; if clocks were put back, write times with their UTC offset"
    who = "there are" if layout.columns.id is None else f"id {found.identity!r} has"
    return DataError(f"{who} two rows{of} at {when}: {' and '.join(places)}; {advice}")


def _clock_beside(layout: Layout, file: LogFile) -> str | None:
    """Find a time of day beside a column of times, such as Time beside Date."""
    for field in read_schema(file) or ():
        if field.name == layout.columns.time or not (pa.types.is_time(field.type) or is_text(field.type)):
            continue
        if re.match(r"\s*\d\d?:\d\d", next(filter(None, first_cells(file, field.name)), "")):
            return str(field.name)
    return None


def file_ids(files: list[LogFile], name: str) -> dict[str, str]:
    """Give each file an id for where there is no column of ids: its path below the folder that all share.

    Examples
    --------
    >>> from pyarrow.fs import LocalFileSystem
    >>> files = [LogFile(path, path, LocalFileSystem(), 1, 1) for path in ("log/a/1.csv", "log/b/1.csv")]
    >>> file_ids(files, "log")
    {'log/a/1.csv': 'a/1.csv', 'log/b/1.csv': 'b/1.csv'}
    """
    if len(files) == 1:
        return {files[0].shown: name}
    split = [Path(file.key).parts for file in files]
    shared = 0
    while all(len(parts) > shared + 1 and parts[shared] == split[0][shared] for parts in split):
        shared += 1
    return {file.shown: "/".join(parts[shared:]) for file, parts in zip(files, split, strict=True)}
