"""What `tsjepa detect` writes: a table of scores, a table of events, and a picture."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsjepa.arrays import counted
from tsjepa.cli.checkpoint_options import DetectOptions
from tsjepa.cli.detect_normal import unit_of
from tsjepa.cli.errors import USAGE, Failure
from tsjepa.cli.inputs import refuse_input
from tsjepa.cli.outdir import check_file, check_parquet_name, replace_file, writing
from tsjepa.datasets.log_runs import LogRuns
from tsjepa.datasets.log_time import NANOSECONDS
from tsjepa.events import Event
from tsjepa.thresholds import Threshold
from tsjepa.whole_file import whole_file

EVENTS = "events.csv"
EVENT_COLUMNS = ("event", "id", "start", "end", "peak", "score", "channels")
PICTURES = (".png", ".svg")
GROUP_ROWS = 1 << 20
# Channels that a picture shows at most: the layout of several hundred takes minutes, and a file of that height is none
DRAWN = 32


class Written(NamedTuple):
    """A file that is written, the flag that names it, and how to have another one."""

    path: Path
    flag: str
    advice: str


class Found(NamedTuple):
    """What was found in a log, rows in the order of its runs.

    Attributes
    ----------
    runs : LogRuns
    order : array of shape (n_rows,)
        The place of each row of the log's files.
    names : list of str
        Of the measured channels.
    score : array of shape (n_rows,)
    channels : array of shape (n_channels, n_rows)
    numbers : array of shape (n_rows,)
        Of events, 0 for none.
    events : list of Event
    threshold : Threshold
    breaks : list of int
        First rows of all stretches but the first one: no event goes across them.
    """

    runs: LogRuns
    order: NDArray[np.int64]
    names: list[str]
    score: NDArray[np.float32]
    channels: NDArray[np.float32]
    numbers: NDArray[np.int64]
    events: list[Event]
    threshold: Threshold
    breaks: list[int]


def written(options: DetectOptions) -> Iterator[Written]:
    """Yield what is written."""
    yield Written(options.out, "--out", "name another file with --out")
    yield Written(options.out.with_name(EVENTS), "--out", "name a file in another folder with --out")
    if options.picture is not None:
        yield Written(options.picture, "--picture", "name another file with --picture")


def check_events(out: Path) -> None:
    """Refuse the folder of other scores: their events have the same name, and are not replaced."""
    events = out.with_name(EVENTS)
    if events.exists() and not out.exists():
        raise Failure(
            f"{events} belongs to other scores, since there is no {out}: name one in another folder with --out, or "
            f"remove {EVENTS}.",
            USAGE,
        )


def check_paths(options: DetectOptions) -> None:
    """Refuse other kinds of files than those that are written, and files that exist."""
    suffix = ".csv" if options.follow else ".parquet"
    if options.out.suffix != suffix:
        with_follow = " with --follow" if options.follow else ""
        raise Failure(
            f"scores are written as {suffix}{with_follow}: name such a file with --out, not {options.out}.", USAGE
        )
    if options.out.name == EVENTS:
        raise Failure(f"{options.out} is what events are written to: name another file with --out.", USAGE)
    if options.picture is not None and options.picture.suffix not in PICTURES:
        raise Failure(f"--picture ends in {' or '.join(PICTURES)}, but is {options.picture}.", USAGE)
    check_parquet_name(options.out)
    for path, _, advice in written(options):
        refuse_input(path, options.data, options.normal, options.checkpoint, advice=advice)
    check_events(options.out)
    for path, flag, _ in written(options):
        check_file(path, options.overwrite or options.follow, flag)  # a follower may go on with its own tables


def check_normal(options: DetectOptions, source: str) -> None:
    """Refuse to write in the place, or among the files, of the log that has said what is normal."""
    for path, _, advice in written(options):
        refuse_input(path, source, advice=advice)


def check_names(source: str, keys: Sequence[str | None], channels: Sequence[str]) -> None:
    """Refuse a log whose column of ids or times, if it has them, is called like another of the table of scores."""
    others = score_names(channels)
    for flag, name in zip(("--id", "--time"), keys, strict=True):
        if name is None:
            continue
        if name in others:
            raise Failure(
                f"{source}: column {name!r} ({flag}) would be lost, since scores are written with a column of that "
                f"name: rename it in the log, and name it by {flag}."
            )
        others.append(name)


def score_names(channels: Sequence[str]) -> list[str]:
    """Return the columns of the table of scores behind those of id and time."""
    return ["score", "event", *(f"score_{name}" for name in channels)]


def write_scores(out: Path, found: Found) -> None:
    """Write one row a row of the log, in its order."""
    first, *rest = (found.order[start : start + GROUP_ROWS] for start in range(0, len(found.order), GROUP_ROWS))
    with writing(out), whole_file(out) as temporary:
        table = score_table(found, first)
        with pq.ParquetWriter(temporary, table.schema, compression="zstd") as writer:
            writer.write_table(table)
            for rows in rest:
                writer.write_table(score_table(found, rows))


def score_table(found: Found, rows: NDArray[np.int64]) -> pa.Table:
    """Return id and time in the log's own types, score, event and the channels' scores of rows."""
    columns, name = found.runs.columns, id_name(found.runs)
    table: dict[str, pa.Array] = {}
    if name is not None:
        table[name] = found.runs.ids.take(pa.array(run_of(found.runs, rows)))
    if columns.time is not None:
        table[columns.time] = found.runs.shown_times(rows)
    numbers = found.numbers[rows]
    event = pa.array(numbers, mask=numbers == 0)
    parts = [pa.array(found.score[rows], from_pandas=False), event, *(pa.array(part[rows]) for part in found.channels)]
    return pa.table(table | dict(zip(score_names(found.names), parts, strict=True)))


def id_name(runs: LogRuns) -> str | None:
    """Return the column that ids are written in: id for names of several files; None for a log that is one run."""
    several = "id" if len(runs.ids) > 1 else None
    return several if runs.columns.id is None else runs.columns.id


def run_of(runs: LogRuns, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the run that rows belong to."""
    return np.searchsorted(runs.offsets, rows, "right") - 1


def write_events(out: Path, found: Found) -> None:
    """Write one row an event beside the scores."""
    rows = np.array([[e.start, e.end, e.peak] for e in found.events], np.int64).reshape(-1, 3)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(EVENT_COLUMNS)
    named = id_name(found.runs) is not None
    ids = found.runs.ids.take(pa.array(run_of(found.runs, rows[:, 0]))).to_pylist() if named else [""] * len(rows)
    times = event_times(found.runs, rows.ravel())
    for at, event in enumerate(found.events):
        writer.writerow(event_row(event, ids[at], times[3 * at : 3 * at + 3], found.names, found.threshold.value))
    replace_file(out.with_name(EVENTS), text.getvalue().encode())


def event_times(runs: LogRuns, rows: NDArray[np.int64]) -> list[str]:
    """Write the times of rows with the decimals that the log needs: 0, 3, 6 or 9, whatever unit it is kept in."""
    times = runs.shown_times(rows)
    if runs.tick is not None and len(rows):  # a log without events is not read for them
        every, own = runs.times(0, int(runs.offsets[-1])), unit_of(runs)
        unit = next(unit for unit, size in NANOSECONDS.items() if size <= own or not (every % (size // own)).any())
        times = times.cast(pa.timestamp(unit, times.type.tz))
    return list(times.cast(pa.string()).to_pylist())


def event_row(event: Event, identity: object, times: list[str], names: list[str], threshold: float) -> list[object]:
    """Return the columns of an event: number, id, times of start, end and peak, highest score, channels to blame."""
    blamed = ";".join(names[at] for at in event.blamed(threshold))
    return [event.number, identity, *times, f"{event.score:.6g}", blamed]


def most_blamed(found: Found) -> list[int]:
    """Return the channels that a picture shows: those that most events blame, then those of the highest scores."""
    blamed = np.zeros(len(found.names), np.int64)
    for event in found.events:
        blamed[event.blamed(found.threshold.value)] += 1
    highest = np.fmax.reduce(found.channels, 1)
    return sorted(np.lexsort([-highest, -blamed])[:DRAWN].tolist())


def draw_picture(path: Path, found: Found) -> None:
    """Draw log, score, threshold and events; several runs one after the other, and of many channels some."""
    from tsjepa.evaluation.detection_figure import Detection, draw

    runs, total = found.runs, len(found.score)
    shown = most_blamed(found)
    names = [found.names[at] for at in shown]
    measured = [runs.channels.index(name) for name in names]
    x: NDArray[np.generic] = np.arange(total)
    if len(runs.ids) == 1 and runs.tick is not None:
        x = runs.shown_times(np.arange(total)).to_numpy(zero_copy_only=False)
    detection = Detection(
        x,
        runs.values(0, total)[measured],
        names,
        found.score,
        found.threshold.value,
        [(event.start, event.end) for event in found.events],
        [int(at) for at in runs.offsets[1:-1]],
        runs.abnormal(),
        found.breaks,
    )
    left = len(found.names) - len(names)
    title = Path(runs.source).name + f" ({counted(left, 'channel')} more, which events blame less)" * (left > 0)
    figure, content = draw(detection, title), io.BytesIO()
    figure.savefig(content, format=path.suffix[1:], dpi=120)
    replace_file(path, content.getbuffer())
