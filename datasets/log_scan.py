"""The first pass over a log: which ids it has, how many rows of each, and whether they are in order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_columns import Layout
from tsjepa.datasets.log_reading import Piece
from tsjepa.datasets.log_store import read_json, write_json
from tsjepa.datasets.log_values import Log, Rows, read_rows

STEPS = 1 << 16
CLASSES = 256


class Scan(NamedTuple):
    """What the first pass found in one piece, for each of its ids.

    Attributes
    ----------
    ids : list of int or str
        In the order of their first rows.
    rows : list of int
        Rows of each.
    first, last : list of float or int
        Times of the first and of the last row of each, as they stand.
    ordered : list of bool
        Whether its times never go back.
    groups : list of int, str or None
        The group of each.
    labels : list of str or None
        The classes; None where they are numbers that name no classes.
    channels : list of str
        The channels of the long form.
    step : float or None
        Median of the first steps of time.
    scattered : int or None
        The first row, from 1, that is not in order by id and time.
    stamp : str
        Tells the piece, and the state of its file, from others.
    """

    ids: list[Any]
    rows: list[int]
    first: list[Any]
    last: list[Any]
    ordered: list[bool]
    groups: list[Any]
    labels: list[str] | None
    channels: list[str]
    step: float | None
    scattered: int | None
    stamp: str


class Twice(Exception):
    """An id has two rows of one time, or two lists, or in the long form two values of one channel."""

    def __init__(self, identity: Any, time: Any, channel: str = "") -> None:
        super().__init__(identity, time)
        self.identity, self.time, self.channel = identity, time, channel


class Interner:
    """Values as whole numbers, in the order in which they come."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.codes: dict[Any, int] = {value: code for code, value in enumerate(values)}

    def __call__(self, column: pa.Array, grow: bool = False) -> NDArray[np.int64]:
        """Return the codes of a column, -1 for null; unknown values are added where it may grow, else -1.

        Examples
        --------
        >>> import pyarrow as pa
        >>> Interner()(pa.array(["b", "a", None, "b"]), grow=True).tolist()
        [0, 1, -1, 0]
        """
        encoded = column.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        if grow:
            local = [self.codes.setdefault(value, len(self.codes)) for value in values]
        else:
            local = [self.codes.get(value, -1) for value in values]
        indices = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        return np.array([*local, -1], np.int64)[indices]


def stamp(piece: Piece) -> str:
    """Tell one piece, in one state of its file, from others."""
    return f"{piece.file.size}-{piece.file.mtime}-{piece.first_row}-{len(piece.parts)}-{piece.file.shown}"


def _stamp(layout: Layout, piece: Piece) -> str:
    """Tell also what keys, labels and times were read as: 01 as text is another id than as a number."""
    kinds = (layout.id_is_number, layout.group_is_number, layout.label_is_number)
    return f"{stamp(piece)}-{''.join(str(int(kind)) for kind in kinds)}-{layout.time.kind}"


def scan_pieces(log: Log, folder: Path) -> Iterator[tuple[Piece, Scan]]:
    """Scan each piece, or read what an earlier run found in it.

    Parameters
    ----------
    log : Log
    folder : Path
        Where findings are kept.

    Raises
    ------
    DataError
        If rows cannot be read, or an id has two groups.
    Twice
        If an id has two rows of one time, or two lists, outside the long form.
    """
    for number, piece in enumerate(log.pieces):
        path = folder / f"{number:06d}.json"
        kept = read_json(path)
        if kept is None or kept["stamp"] != _stamp(log.layout, piece):
            kept = _scan(log.layout, piece, log.names[piece.file.shown])._asdict()
            write_json(path, kept)
        yield piece, Scan(**kept)


@dataclass
class _State:
    """Arrays by code of id, grown as ids come."""

    rows: NDArray[np.int64]
    first: NDArray[Any]
    last: NDArray[Any]
    ordered: NDArray[np.bool_]

    def grow(self, size: int) -> None:
        more = size - len(self.rows)
        if more > 0:
            self.rows = np.concatenate([self.rows, np.zeros(more, np.int64)])
            self.first = np.concatenate([self.first, np.zeros(more, self.first.dtype)])
            self.last = np.concatenate([self.last, np.zeros(more, self.last.dtype)])
            self.ordered = np.concatenate([self.ordered, np.ones(more, bool)])


def _scan(layout: Layout, piece: Piece, name: str) -> Scan:
    ids, channels = Interner([name] if layout.id_by in ("file", "none") else []), Interner()
    labels: dict[str, None] | None = {}
    groups: dict[int, Any] = {}
    dtype = np.float64 if layout.time.kind == "float" else np.int64
    state = _State(np.zeros(0, np.int64), np.zeros(0, dtype), np.zeros(0, dtype), np.ones(0, bool))
    steps: list[NDArray[Any]] = []
    scattered, before = None, None
    for rows in read_rows(layout, piece, with_values=False):
        if not len(rows.number):
            continue
        codes = np.zeros(len(rows.number), np.int64) if rows.id is None else ids(rows.id, grow=True)
        state.grow(len(ids.codes))
        if rows.group is not None:
            _note_groups(groups, list(ids.codes), codes, rows, piece)
        if rows.label is not None and labels is not None:
            labels = _classes(labels, rows.label)
        if rows.channel is not None:
            channels(rows.channel, grow=True)
        step, back, twice, new = _add(state, codes, rows.time)
        if layout.form == "lists":
            twice |= back  # the places in one list only rise
        if twice.any() and layout.form != "long":
            at = int(twice.argmax())
            raise Twice(list(ids.codes)[codes[at]], rows.time[at].item())
        if sum(map(len, steps)) < STEPS:
            steps.append(step[step > 0][:STEPS])
        switched = np.r_[before is not None and before != codes[0], codes[1:] != codes[:-1]]
        jumps = np.flatnonzero(back | (switched & ~new))
        if scattered is None and len(jumps):
            scattered = int(rows.number[jumps[0]])
        before = int(codes[-1])
    found = np.concatenate(steps) if steps else np.zeros(0)
    return Scan(
        list(ids.codes),
        state.rows.tolist(),
        state.first.tolist(),
        state.last.tolist(),
        state.ordered.tolist(),
        [groups.get(code) for code in range(len(ids.codes))],
        None if labels is None else list(labels),
        list(channels.codes),
        float(np.median(found)) if len(found) else None,
        scattered,
        _stamp(layout, piece),
    )


def _add(
    state: _State, codes: NDArray[np.int64], time: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Count rows of a batch; return steps of time within ids, and which rows go back, stand still, or begin an id."""
    order = np.argsort(codes, kind="stable")
    sorted_codes, sorted_time = codes[order], time[order]
    starts = np.flatnonzero(np.r_[True, sorted_codes[1:] != sorted_codes[:-1]])
    ends = np.r_[starts[1:], len(codes)]
    present = sorted_codes[starts]
    known = state.rows[present] > 0
    previous = np.r_[sorted_time[:1], sorted_time[:-1]]
    previous[starts] = np.where(known, state.last[present], sorted_time[starts])
    step = sorted_time - previous
    follows = np.ones(len(codes), bool)
    follows[starts] = known
    back, twice, new = np.zeros((3, len(codes)), bool)
    back[order], twice[order], new[order] = step < 0, follows & (step == 0), ~follows
    state.ordered[sorted_codes[step < 0]] = False
    state.first[present[~known]] = sorted_time[starts[~known]]
    state.last[present] = sorted_time[ends - 1]
    state.rows[present] += ends - starts
    return step, back, twice, new


def _classes(known: dict[str, None], column: pa.Array) -> dict[str, None] | None:
    """Add the classes of a batch, None where its numbers are not whole, or too many to be classes."""
    values = [value for value in column.unique().to_pylist() if value is not None and value == value]
    if column.type != "double":
        return known | dict.fromkeys(values)
    if any(value != int(value) if abs(value) < 2**53 else True for value in values):
        return None
    found = known | dict.fromkeys(str(int(value)) for value in values)
    return found if len(found) <= CLASSES else None


def _note_groups(groups: dict[int, Any], ids: list[Any], codes: NDArray[np.int64], rows: Rows, piece: Piece) -> None:
    changes = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    encoded = rows.group.dictionary_encode()  # type: ignore[union-attr]
    values, local = encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)
    changes = np.union1d(changes, 1 + np.flatnonzero(local[1:] != local[:-1]))
    for at in changes:
        group = values[local[at]]
        if groups.setdefault(int(codes[at]), group) != group:
            raise two_groups(
                ids[codes[at]], groups[int(codes[at])], group, f"{piece.file.shown}, row {rows.number[at]}"
            )


def two_groups(identity: Any, first: Any, second: Any, where: str) -> DataError:
    """Make the error for an id whose rows are of two groups, which no split could keep apart."""
    return DataError(
        f"{where}: id {identity!r} is in group {second!r}, and before in {first!r}; name a --group column that has one "
        "value in each id"
    )
