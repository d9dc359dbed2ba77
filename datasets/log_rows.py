"""The rows of a log, sorted by id and time, as files of plain numbers: built in two passes, resumed where stopped."""

import shutil
from collections.abc import Callable, Iterator
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.datasets import log_place
from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_columns import Layout
from tsjepa.datasets.log_place import Placer, Progress, present, row_fields
from tsjepa.datasets.log_plan import RowPlan, make_plan, twice_error
from tsjepa.datasets.log_reading import Piece
from tsjepa.datasets.log_scan import Scan, Twice, scan_pieces, stamp
from tsjepa.datasets.log_sort import sorted_blocks
from tsjepa.datasets.log_store import Block, Field, RowFiles, read_json, write_json
from tsjepa.datasets.log_values import Log


def build_rows(
    log: Log, folder: Path, progress: Progress, announce: Callable[[str], None]
) -> tuple[RowPlan, NDArray[np.int64]]:
    """Build a log's rows in a folder, going on from what an earlier run left there.

    Parameters
    ----------
    log : Log
    folder : Path
        Where rows are kept; ``scan``, ``done`` and ``staged`` in it are what a later run goes on from.
    progress, announce : callable
        Told of work done, and of what the user should know before long work.

    Returns
    -------
    plan : RowPlan
        Ids and classes.
    offsets : ndarray of int64, shape (n_ids + 1,)
        The first row of each id, and the end.

    Raises
    ------
    DataError
        If rows cannot be read or written.
    """
    layout, total = log.layout, sum(piece.weight for piece in log.pieces)
    try:
        scanned = _told(scan_pieces(log, folder / "scan"), progress, total)
        plan = make_plan(layout, scanned)
        if plan.unsorted is not None:
            announce(f"rows are not sorted by id and time ({plan.unsorted}): they are sorted in the cache")
        fields = row_fields(layout, plan)
        staged = fields if plan.in_order else _staged_fields(layout, fields)
        _check_space(folder, plan, {folder: fields} | ({} if plan.in_order else {folder / "staged": staged}))
        target = folder if plan.in_order else folder / "staged"
        with RowFiles(target, staged) as rows:
            Placer(log, plan, folder, rows, progress).run()
        if plan.in_order:
            return plan, plan.offsets
        with RowFiles(target, staged) as source, RowFiles(folder, fields) as rows:
            state = [plan.digest, *map(stamp, log.pieces)]
            return plan, _Sorter(layout, plan, source, rows, folder, state).run(progress)
    except Twice as found:
        raise twice_error(log, found) from None


def _told(scanned: Iterator[tuple[Piece, Scan]], progress: Progress, total: int) -> Iterator[tuple[Piece, Scan]]:
    done = 0
    for piece, scan in scanned:
        done += piece.weight
        progress("checking", done, total)
        yield piece, scan


def _staged_fields(layout: Layout, fields: dict[str, Field]) -> dict[str, Field]:
    staged = {name: kept for name, kept in fields.items() if name != "present"}
    return staged if layout.form != "long" else staged | {"values": Field("float32", 1), "channel": Field("int32")}


def _check_space(folder: Path, plan: RowPlan, copies: dict[Path, dict[str, Field]]) -> None:
    """Refuse at once what cannot fit; rows that an earlier run wrote count as there already."""
    need = int(plan.offsets[-1]) * sum(kept.bytes for fields in copies.values() for kept in fields.values())
    folder.mkdir(parents=True, exist_ok=True)
    places = (place / name for place, fields in copies.items() for name in fields)
    there = sum(path.stat().st_size for path in places if path.exists())
    have = there + shutil.disk_usage(folder).free
    if need > have:
        raise DataError(
            f"{folder} has room for {_in_words(have, up=False)}, and the log needs {_in_words(need, up=True)} there; "
            "free some space, or choose another disk by --cache-dir"
        )


def _in_words(count: int, up: bool) -> str:
    """Write bytes in words, rounded up or down.

    Examples
    --------
    >>> _in_words(1_299_999_999, up=False), _in_words(1_200_000_001, up=True), _in_words(1, up=True)
    ('1.2 GB', '1.3 GB', '0.1 MB')
    """
    unit, word = (10**9, "GB") if count >= 10**9 else (10**6, "MB")
    tenths = 10 * count / unit
    return f"{(ceil(tenths) if up else floor(tenths)) / 10:.1f} {word}"


class _Sorter:
    """From rows gathered by id to rows sorted by time, and from the long form to the wide one."""

    def __init__(
        self, layout: Layout, plan: RowPlan, source: RowFiles, target: RowFiles, folder: Path, state: list[str]
    ) -> None:
        self.layout, self.plan, self.source, self.target, self.folder = layout, plan, source, target, folder
        self.state = state  # of the files: what was sorted of other ones is of no use

    def run(self, progress: Progress) -> NDArray[np.int64]:
        """Sort id by id, and note every now and then how far it got; return the first row of each id, and the end."""
        journal, plan = self.folder / "sorted.json", self.plan
        kept = read_json(journal)
        ends = [] if kept is None or kept["state"] != self.state else list(kept["ends"])
        since = 0
        for number in range(len(ends), len(plan.ids)):
            at = ends[-1] if ends else 0
            for block in self._blocks(number):
                self.target.write(at, block)
                at, since = at + len(block["time"]), since + len(block["time"]) * self.target.row_bytes
            ends.append(at)
            progress("sorting", int(plan.offsets[number + 1]), int(plan.offsets[-1]))
            if since > log_place.JOURNAL_BYTES or number == len(plan.ids) - 1:
                self.target.sync()
                write_json(journal, {"state": self.state, "ends": ends})
                since = 0
        return np.array([0, *ends], np.int64)

    def _blocks(self, number: int) -> Iterator[Block]:
        start, stop = (int(at) for at in self.plan.offsets[number : number + 2])
        for block in sorted_blocks(self.source, start, stop, self.folder / "runs"):
            if self.layout.form == "long":
                block = self._pivot(block, self.plan.ids[number])
            elif (same := np.flatnonzero(block["time"][1:] == block["time"][:-1])).size:
                raise Twice(self.plan.ids[number], block["time"][same[0]].item())
            yield block | {"present": present(block["values"])}

    def _pivot(self, block: Block, identity: Any) -> Block:
        """Put the values of one time into one row."""
        times, row = np.unique(block["time"], return_inverse=True)
        channel = block["channel"]
        chosen = np.flatnonzero(channel >= 0)  # the others are not among the channels named
        cell = row[chosen] * len(self.plan.channels) + channel[chosen]
        order = np.argsort(cell, kind="stable")
        same = np.flatnonzero(cell[order][1:] == cell[order][:-1])
        if same.size:
            at = chosen[order[same[0]]]
            raise Twice(identity, block["time"][at].item(), self.plan.channels[channel[at]])
        values = np.full((len(times), len(self.plan.channels)), np.nan, np.float32)
        values[row[chosen], channel[chosen]] = block["values"][chosen, 0]
        pivoted = {"time": times, "values": values}
        if "label" in block:
            last = np.searchsorted(block["time"], times, "right") - 1
            pivoted["label"] = block["label"][last]
        return pivoted
