"""What `tsjepa detect --follow` does: rows are scored as they come, and a follower that was killed goes on."""

import csv
import io
import time
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.cli.checkpoint_options import DetectOptions
from tsjepa.cli.detect_columns import Wanted, refuse_dates, refuse_unsure, wanted_columns
from tsjepa.cli.detect_lines import BadLine, Layout, Rows, find_columns, read_rows
from tsjepa.cli.detect_normal import STEP_TOLERANCE, Normal, fit_normal, load_world, longest_step, unit_of
from tsjepa.cli.detect_parts import Ended, Numbers, Part, new_numbers, numbered, places, shown_score
from tsjepa.cli.detect_state import Run, State, state_path, steps_behind, with_row
from tsjepa.cli.detect_stop import stoppable
from tsjepa.cli.detect_tables import (
    EVENT_COLUMNS,
    EVENTS,
    check_events,
    check_names,
    check_normal,
    event_row,
    score_names,
)
from tsjepa.cli.detect_tail import STDIN, Lines, check_text, first_place, read_lines
from tsjepa.cli.errors import USAGE, Failure, say, told
from tsjepa.cli.outdir import check_file, make_writable, writing
from tsjepa.cli.part_files import file_hash
from tsjepa.cli.report import DetectReport
from tsjepa.events import Event
from tsjepa.thresholds import Budget, fit_threshold


def follow_log(options: DetectOptions, budget: Budget, started: float) -> DetectReport:
    """Score rows as they come, until they end, rest for too long, or Ctrl-C or SIGTERM."""
    refused = {
        "--reference-rows": options.reference_rows,
        "--picture": options.picture,
        "--label": options.label or None,
    }
    for flag, value in refused.items():
        if value is not None:
            raise Failure(f"{flag} needs the whole log: leave it out, or leave out --follow.", USAGE)
    going_on = not options.overwrite and state_path(options.out).exists()
    check_text(options.data, going_on=going_on)
    model, header = load_world(options.checkpoint)
    normal = fit_normal(model, header, options, [])
    check_normal(options, normal.runs.source)
    wanted = wanted_columns(options, header, normal.runs)
    with told():
        threshold = fit_threshold(normal.scores, normal.interval(budget), normal.scorer.patch_length)
    say(f"note: {threshold.sentence()}.")
    delay = normal.scorer.patch_length - 1
    say(f"note: a row is scored as soon as it is there, by the last patch that is complete: at most {delay} rows late.")
    make_writable(options.out.parent)
    follower = Follower(options, normal, threshold.value, wanted)
    state = follower.state
    try:
        with stoppable() as stop:
            for lines in read_lines(options.data, state.place, options.idle_timeout, state.sent.values()):
                with stop.later():
                    follower.push(lines)
    except KeyboardInterrupt:
        say("stopped: what is scored is kept, and the same command goes on.")
    if state.rows and not state.scored:
        needed = f"a score needs every channel in the {normal.scorer.context} rows before it"
        say(f"note: no row has a score yet: {needed}.")
    return DetectReport(
        state.rows,
        state.events,
        threshold.value,
        budget.text,
        None,
        None,
        None,
        time.monotonic() - started,
        options.out,
    )


class Follower:
    """Scores lines, appends what it finds to files, and saves where it is.

    Parameters
    ----------
    options : DetectOptions
    normal : Normal
    threshold : float
    wanted : Wanted
        The columns of the log.
    """

    def __init__(self, options: DetectOptions, normal: Normal, threshold: float, wanted: Wanted) -> None:
        self.options, self.normal, self.threshold, self.wanted = options, normal, threshold, wanted
        self.scorer, self.names = normal.scorer, [normal.runs.channels[at] for at in normal.scorer.channels]
        self.layout: Layout | None = None
        self.paths = {"scores": options.out, "events": options.out.with_name(EVENTS)}
        check_names(options.data, [name and name.strip() for name in wanted.names[:2]], self.names)
        # without times rows are counted, and have neither a gap nor a step that may be another one
        self.timed = bool(wanted.time)
        # of standard input without them, rows that are sent again are known by how they begin, and by their texts
        self.by_text = options.data == STDIN and not self.timed
        # dates are read in nanoseconds, whatever the unit of those of training: a gap may be longer by less than it
        self.unit = unit_of(normal.runs) if self.timed else 1
        asked = self.longest = float("inf")
        if self.timed:
            asked, _ = normal.runs.gap_limits(normal.max_gap, normal.step)
            self.longest = longest_step(normal.runs, normal.max_gap, normal.step)
        # the limit as it is asked for: how much rounding it allows for may change
        key = [file_hash(options.checkpoint), threshold, options.data, wanted.names, asked]
        self.state = State(options.out, {"key": key})
        self._open(options.overwrite)

    def _open(self, overwrite: bool) -> None:
        """Bring the files to where the last state was saved."""
        if overwrite:
            self.state.path.unlink(missing_ok=True)
        self.state.place = first_place(self.options.data)
        if not self.state.load(self.scorer, self.threshold):
            check_events(self.options.out)
            for path in self.paths.values():
                check_file(path, overwrite, "--out")
            self.state.save()
        for name in self.state.sizes:
            self._write(name, [])
        if self.state.rows:
            say(f"going on after {self.state.rows} rows that were scored before.")
        # standard input may be sent again from its start: what was scored is known by its time, or by its number
        self.again = set(self.state.runs) if self.options.data == STDIN else set()
        if self.options.data == STDIN:
            self.state.header = None
        self.begin: int | None = None
        self._write_open()

    def push(self, lines: Lines) -> None:
        """Score lines, write what was found, and save where that ends; a bad line ends it behind those before it."""
        if not lines.whole and self._is_header_alone(lines):
            say("note: the last line has no end and is not scored (it is the first one of its file)")
            return
        try:
            self._push(lines)
        except BadLine as error:
            if not lines.whole:
                say(f"note: the last line has no end and is not scored ({error})")
                return
            good = lines.before(error.number)
            if good.content:
                self.push(good)
            raise

    def _push(self, lines: Lines) -> None:
        if self.begin is None:
            self.begin = self.counted = self._first_row(lines)
            self.known, self.digest = self.state.rows, ""
        numbered = self._under_header(lines)
        layout = self._known_layout()
        if self.wanted.time is None and not self.counted:  # later dates are remarks, as a batch takes them
            refuse_dates(self.options.data, numbered, layout)
        rows = read_rows(self.options.data, numbered, layout, self.counted, self.state.kinds)
        if self.by_text and lines.whole:
            texts = dict(numbered)
            self._compare([texts[number] for number in rows.numbers])
        chosen = {name: self._in_order(name, rows, own) for name, own in places(rows.ids).items()}
        parts, ended = list[Part](), list[Ended]()
        for name, own in chosen.items():
            self._follow(name, rows, own, parts, ended)
        numbers = new_numbers(parts, self.state.events)
        self.state.events += len(numbers)
        self._append("scores", self._written(rows, parts, numbers))
        # in the order in which they end, whatever is read at a time
        ended.sort(key=attrgetter("row"))
        self._append("events", [self._shown(name, event, numbers) for _, name, event in ended])
        for name in chosen:
            self._settle(name, numbers)
        # a line that has not ended may be a part of one: the next follower reads it again
        self.counted += len(rows.numbers)
        if lines.whole:
            self.state.place, self.state.kinds = lines.end, rows.kinds
            if self.by_text and self.counted > self.begin:
                self.state.keep_beginning(self.begin)
            self.state.save()
        self._write_open()

    def _first_row(self, lines: Lines) -> int:
        """Return the number of the first row, which how the lines begin tells where they may be sent again."""
        row = self.state.begin_of(lines.content)
        if row < self.state.rows:
            say(f"note: standard input begins as before: its first {self.state.rows - row} rows are scored already.")
        return row

    def _compare(self, texts: list[str]) -> None:
        """Compare rows that are sent again with those that are scored, of which only the beginning is known so far."""
        assert self.begin is not None
        for row, text in enumerate(texts, self.counted):
            if row >= self.known:
                self.state.add_row(self.begin, text)
                continue
            self.digest = with_row(self.digest, text)
            if row == self.known - 1 and self.digest != self.state.digests[self.begin]:
                raise Failure(
                    "standard input begins as before, but goes on otherwise within what is scored already: send the "
                    "same rows again, or those behind them, or name another file with --out."
                )

    def _under_header(self, lines: Lines) -> list[tuple[int, str]]:
        """Return numbered lines without the header that a file begins with."""
        numbered = lines.numbered()
        if lines.start.offset or not self._is_header(numbered[0]):
            return numbered
        self.state.header, self.layout = numbered[0][1], None
        return numbered[1:]

    def _is_header_alone(self, lines: Lines) -> bool:
        """Tell lines of which there is one, the header of a file."""
        return lines.start.offset == 0 and b"\n" not in lines.content and self._is_header(lines.numbered()[0])

    def _is_header(self, first: tuple[int, str]) -> bool:
        """Tell whether the first line of a file is a header: a log that was cut off in its place goes on without."""
        if self.state.header in (None, first[1]):
            return True
        try:
            read_rows(self.options.data, [first], self._known_layout(), 0)
        except BadLine:
            return True
        return False

    def _known_layout(self) -> Layout:
        if self.layout is None:
            assert self.state.header is not None
            self.layout = self._find_columns(self.state.header)
        return self.layout

    def _follow(self, name: str, rows: Rows, chosen: NDArray[np.intp], parts: list[Part], ended: list[Ended]) -> None:
        """Score the rows of a run, and add its parts, and the events that ended."""
        run, times = self.state.runs.setdefault(name, Run(self.scorer, self.threshold)), rows.time[chosen]
        self.again -= {name} if len(chosen) else set()
        self._check_rate(name, run, times)
        steps = steps_behind(run.last, times)
        gaps = np.flatnonzero(steps > self.longest) + (run.last is None)
        run.alarms.number = self.state.events
        for at, part in enumerate(np.split(chosen, gaps)):
            if at:
                ended += [Ended(int(part[0]), name, event) for event in run.restart()]
            if len(part):
                first = run.rows
                parts.append(self._score(name, run, rows, part))
                over = [(run.alarms.over(event), event) for event in run.alarms.take()]
                ended += [Ended(int(part[row - first]), name, event) for row, event in over]

    def _find_columns(self, header: str) -> Layout:
        layout = find_columns(self.options.data, header, self.wanted.names, self.normal.runs.tick is not None)
        refuse_unsure(self.options.data, layout, self.wanted)
        if not self.state.sizes["scores"]:
            names = [layout.names[at] for at in (layout.id, layout.time) if at is not None]
            self._append("scores", [[*names, *score_names(self.names)]])
            self._append("events", [list(EVENT_COLUMNS)])
        return layout

    def _in_order(self, name: str, rows: Rows, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return those of the rows of a run that are new, and refuse a time that does not go on."""
        last = self.state.runs[name].last if name in self.state.runs else None
        if name in self.again and last is not None:
            chosen = chosen[rows.time[chosen] > last]
        steps = steps_behind(last, rows.time[chosen])
        bad, of = np.flatnonzero(steps <= 0), f" in {name}" if name else ""
        if len(bad):
            row = chosen[bad[0] + (last is None)]
            still = f": there is a row{of} at {rows.shown[row]} already; take this line out."
            back = f": time runs backwards{of}; take this line out, or sort the log."
            raise BadLine(self.options.data, rows.numbers[row], still if steps[bad[0]] == 0 else back)
        return chosen

    def _check_rate(self, name: str, run: Run, times: NDArray[Any]) -> None:
        """Refuse a run whose first rows are not as far apart as the model knows."""
        wanted = self.scorer.context - run.rows
        if wanted > 0 and self.timed:
            run.early += times[:wanted].tolist()
            if len(run.early) >= self.scorer.context:
                self._check_step(name, float(np.median(np.diff(run.early))))
                run.early = []

    def _check_step(self, name: str, step: float) -> None:
        steps = step / self.unit, self.normal.step
        if abs(steps[0] / steps[1] - 1) > STEP_TOLERANCE:
            own, trained = map(self.normal.runs.shown_step, steps)
            raise Failure(
                f"{self.options.data}: {name or 'it'} has a row every {own}, but the checkpoint was trained on one "
                f"every {trained}: send such rows, or train on these."
            )

    def _score(self, name: str, run: Run, rows: Rows, part: NDArray[np.intp]) -> Part:
        """Score a stretch without a gap."""
        found = run.stream.push(rows.values[:, part])
        run.shown |= {run.rows + at: rows.shown[row] for at, row in enumerate(part)}
        numbers = run.alarms.push(found.score, found.channels)
        run.rows += len(part)
        run.last = rows.time[part[-1]].item()
        self.state.rows += len(part)
        self.state.scored += int(np.isfinite(found.score).sum())
        return Part(name, part, found, numbers)

    def _written(self, rows: Rows, parts: list[Part], numbers: Numbers) -> list[list[object]]:
        """Return scored rows as they are written, in the order in which they were read."""
        assert self.layout is not None
        columns, written = (self.layout.id, self.layout.time), {}
        for name, chosen, found, own in parts:
            for at, row in enumerate(chosen):
                keys = [text for text, place in zip((name, rows.shown[row]), columns, strict=True) if place is not None]
                event = numbers.get((name, int(own[at])), own[at]) or ""
                first, *others = map(shown_score, (found.score[at], *found.channels[:, at]))
                written[int(row)] = [*keys, first, event, *others]
        return [written[row] for row in sorted(written)]

    def _shown(self, name: str, event: Event, numbers: Numbers) -> list[object]:
        """Return an event as it is written."""
        event, shown = numbered(event, name, numbers), self.state.runs[name].shown
        return event_row(event, name, [shown[at] for at in event[1:4]], self.names, self.threshold)

    def _settle(self, name: str, numbers: Numbers) -> None:
        """Give the event that is open its number, and forget what the rows of others are called."""
        run = self.state.runs[name]
        event = run.alarms.open = None if run.alarms.open is None else numbered(run.alarms.open, name, numbers)
        run.shown = {} if event is None else {at: run.shown[at] for at in (event.start, event.end, event.peak)}

    def _append(self, name: str, rows: list[list[object]]) -> None:
        """Append rows to a file, and keep how long it is then."""
        self.state.sizes[name] += self._write(name, rows)

    def _write(self, name: str, rows: list[list[object]]) -> int:
        """Write rows behind those that are kept, all of which must be there, and return how long they are."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        content, path, kept = text.getvalue().encode(), self.paths[name], self.state.sizes[name]
        with writing(path), path.open("ab") as file:
            if file.tell() < kept:
                raise Failure(
                    f"{path} has lost rows since it was written: put it back and go on by the same command, or start "
                    "anew with --overwrite."
                )
            file.truncate(kept)
            file.write(content)
        return len(content)

    def _write_open(self) -> None:
        """Write the events that are still open, without keeping that: they may go on when rows do."""
        open_ones = [(name, run.alarms.open) for name, run in self.state.runs.items()]
        self._write("events", [self._shown(name, event, {}) for name, event in open_ones if event is not None])
