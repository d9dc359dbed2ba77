"""What `tsjepa detect` does: rows are scored run by run, held against a threshold, and written with their events."""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import counted
from tsjepa.cli.checkpoint_options import DetectOptions
from tsjepa.cli.detect_normal import Normal, check_step, cut_at_gaps, fit_normal, load_world, open_data
from tsjepa.cli.detect_tables import (
    Found,
    check_events,
    check_names,
    check_normal,
    check_paths,
    draw_picture,
    id_name,
    write_events,
    write_scores,
)
from tsjepa.cli.errors import USAGE, Failure, say, told
from tsjepa.cli.outdir import make_writable
from tsjepa.cli.render import count_bar
from tsjepa.cli.report import DetectReport
from tsjepa.datasets.log_runs import LogRuns
from tsjepa.evaluation.alarms import AlarmScore, score_alarms
from tsjepa.events import GAP, Alarms, Event
from tsjepa.stream import PIECE, Stream
from tsjepa.surprise import Scorer, Scores, TooFewWindows, missing_shares, refer
from tsjepa.thresholds import Budget, Threshold, fit_threshold

# Runs that a note names at most
NAMED = 5
# Share of the rows behind a whole context that may be without a score before this is said
UNSCORED = 0.1


class Cut(NamedTuple):
    """The stretches of a run, which has a scorer of its own where its first rows are a reference."""

    run: int
    edges: list[int]
    scorer: Scorer
    reference: int


def detect(options: DetectOptions) -> DetectReport:
    """Score a log and find its events."""
    started = time.monotonic()
    with told(USAGE):
        budget = Budget.parse(options.false_alarms)
    check_paths(options)
    if options.follow:
        from tsjepa.cli.detect_follow import follow_log

        return follow_log(options, budget, started)
    model, header = load_world(options.checkpoint)
    said: list[str] = []
    runs = open_data(header, options, said)
    order = runs.file_order()
    normal = fit_normal(model, header, options, said)
    check_normal(options, normal.runs.source)
    check_step(runs, normal.runs, normal.scorer.context)
    names = [normal.runs.channels[at] for at in normal.scorer.channels]
    check_names(runs.source, (id_name(runs), runs.columns.time), names)
    make_writable(options.out.parent)
    cuts = [cut_run(runs, run, normal, options.reference_rows) for run in range(len(runs.ids))]
    check_lengths(runs, cuts, normal)
    if options.reference_rows is not None:
        say_abnormal(runs, cuts)
    threshold = find_threshold(normal, cuts, budget, options.reference_rows)  # may refuse the budget, before hours
    say(f"note: {threshold.sentence()}.")
    score, channels = score_runs(runs, cuts)
    check_scored(runs, cuts, score)
    numbers, events = find_events(cuts, score, channels, threshold, normal.scorer.patch_length)
    numbers, events = by_beginning(numbers, events, order)
    breaks = [start for cut in cuts for start in cut.edges[:-1]][1:]
    found = Found(runs, order, names, score, channels, numbers, events, threshold, breaks)
    check_events(options.out)  # of another command that was as fast
    write_scores(options.out, found)
    write_events(options.out, found)
    if options.picture is not None:
        draw_picture(options.picture, found)
    known = judge(runs, numbers)
    return DetectReport(
        len(score), len(events), threshold.value, budget.text, *known, time.monotonic() - started, options.out
    )


def cut_run(runs: LogRuns, run: int, normal: Normal, reference_rows: int | None) -> Cut:
    """Return where a run is cut, and what scores it: with a reference, a scorer that knows the run's own levels."""
    edges = cut_at_gaps(runs, run, normal.max_gap, normal.runs)
    if reference_rows is None or max(np.diff(edges)) < normal.scorer.context:  # which has no score with one either
        return Cut(run, edges, normal.scorer, 0)
    stop, name = edges[0] + reference_rows, runs.ids[run].as_py()
    if stop > edges[-1]:
        raise Failure(
            f"{name} has {counted(edges[-1] - edges[0], 'row')}, but --reference-rows asks for its first "
            f"{reference_rows}: give a smaller number."
        )
    inner = [*(at for at in edges if at < stop), stop]
    try:
        scorer = refer(normal.scorer, *(runs.values(a, b) for a, b in pairwise(inner)))
    except TooFewWindows as error:
        why = error.sentence(runs.channels)
        raise Failure(f"the first {reference_rows} rows of {name} cannot be its reference: {why}") from error
    return Cut(run, edges, scorer, reference_rows)


def check_lengths(runs: LogRuns, cuts: list[Cut], normal: Normal) -> None:
    """Refuse a log without any score, and name runs without one."""
    context = normal.scorer.context
    short = [cut.run for cut in cuts if max(np.diff(cut.edges)) < context]
    if len(short) == len(cuts):
        longest = max(int(max(np.diff(cut.edges))) for cut in cuts)
        raise Failure(
            f"{runs.source} has at most {counted(longest, 'row')} without a gap in time, but a score needs {context}, "
            "the context of the model: give a longer log."
        )
    if short:
        say(
            f"note: no score for {counted(len(short), 'run')}, shorter than the {context} rows of the context: "
            f"{named(runs, short)}."
        )


def say_abnormal(runs: LogRuns, cuts: list[Cut]) -> None:
    """Name the runs whose references hold rows that a label calls abnormal.

    Such rows count as normal all the same: labels judge what was found, and so may have no part in it.
    """
    abnormal = runs.abnormal()
    if abnormal is None:
        return
    rows = [int((abnormal[cut.edges[0] : cut.edges[0] + cut.reference] == 1).sum()) for cut in cuts]
    if any(rows):
        say(
            f"note: {counted(sum(rows), 'row')} of the references, which are all taken for normal, "
            f"{'is' if sum(rows) == 1 else 'are'} called abnormal by {runs.columns.label!r}: "
            f"{named(runs, np.flatnonzero(rows))}."
        )


def named(runs: LogRuns, some: Sequence[int] | NDArray[np.int64]) -> str:
    """Return the names of some runs in one line, of many those of the first."""
    more = f" and {len(some) - NAMED} more" * (len(some) > NAMED)
    return ", ".join(str(runs.ids[int(run)].as_py()) for run in some[:NAMED]) + more


def score_runs(runs: LogRuns, cuts: list[Cut]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the score of each row, and of each measured channel (C, n_rows), in the order of the runs."""
    total, width = int(runs.offsets[-1]), len(cuts[0].scorer.channels)
    score, channels = np.empty(total, np.float32), np.empty((width, total), np.float32)
    with count_bar("rows", total) as report:
        for cut in cuts:
            for start, stop in pairwise(cut.edges):
                stream = Stream(cut.scorer)
                for low in range(start, stop, PIECE):
                    rows = slice(low, min(low + PIECE, stop))
                    part = stream.push(runs.values(rows.start, rows.stop))
                    score[rows], channels[:, rows] = part.score, part.channels
                    report(rows.stop)
    return score, channels


def check_scored(runs: LogRuns, cuts: list[Cut], score: NDArray[np.float32]) -> None:
    """Refuse a log of which no row has a score, and say so where many have none."""
    context, scored = cuts[0].scorer.context, int(np.isfinite(score).sum())
    lengths = np.concatenate([np.diff(cut.edges) for cut in cuts])
    full = int(np.maximum(lengths - context + 1, 0).sum())
    if scored >= (1 - UNSCORED) * full:
        return
    total = int(runs.offsets[-1])
    missing = missing_shares(runs.values(low, min(low + PIECE, total)) for low in range(0, total, PIECE))
    share = missing.max()
    names = ", ".join(repr(runs.channels[at]) for at in np.flatnonzero(missing == share))
    known = f"{names} is missing in {100 * share:.3g} % of all rows"
    why = f"a score needs every channel in the {context} rows before it, and {known}"
    if not scored:
        raise Failure(f"{runs.source}: no row has a score: {why}; fill the gaps, or train a model without it.")
    say(f"note: {runs.source}: {full - scored} of {full} rows with a full context before them have no score: {why}.")


def find_threshold(normal: Normal, cuts: list[Cut], budget: Budget, reference_rows: int | None) -> Threshold:
    """Return the threshold, by normal data or by the references of all runs; what is scored has no part in it."""
    scores, more = normal.scores, "give more normal data"
    if reference_rows is not None:
        # of each fifth of a reference by what is usual in the others
        scores = [Scores.of(cut.scorer.usual).score for cut in cuts if cut.reference]
        more = "give a larger number by --reference-rows"
        say(f"note: the threshold comes from the first {reference_rows} rows of each run, which are taken for normal.")
    with told():
        return fit_threshold(scores, normal.interval(budget), normal.scorer.patch_length, more)


def find_events(
    cuts: list[Cut],
    score: NDArray[np.float32],
    channels: NDArray[np.float32],
    threshold: Threshold,
    patch_length: int,
) -> tuple[NDArray[np.int64], list[Event]]:
    """Return the number of each row's event, 0 for none, and the events; none goes across a gap in time."""
    numbers, events = np.zeros(len(score), np.int64), list[Event]()
    for cut in cuts:
        for start, stop in pairwise(cut.edges):
            alarms = Alarms(threshold.value, GAP * patch_length, number=len(events), row=start)
            numbers[start:stop] = alarms.push(score[start:stop], channels[:, start:stop])
            events += alarms.take(last=True)
    return numbers, events


def by_beginning(
    numbers: NDArray[np.int64], events: list[Event], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[Event]]:
    """Return events, and the number of each row's, numbered in the order in which they begin in the files.

    Examples
    --------
    >>> late, soon = (Event(number, row, row, row, 9.0, np.zeros(1)) for number, row in ((1, 0), (2, 1)))
    >>> numbers, events = by_beginning(np.array([1, 2]), [late, soon], order=np.array([1, 0]))
    >>> numbers.tolist(), [(event.number, event.start) for event in events]
    ([2, 1], [(1, 1), (2, 0)])
    """
    line = np.argsort(order)
    first = sorted(events, key=lambda event: line[event.start])
    renamed = np.zeros(len(events) + 1, np.int64)
    renamed[[event.number for event in first]] = np.arange(1, len(events) + 1)
    return renamed[numbers], [event._replace(number=int(renamed[event.number])) for event in first]


def judge(runs: LogRuns, numbers: NDArray[np.int64]) -> AlarmScore:
    """Compare alarms with labels, where there are some."""
    abnormal = runs.abnormal()
    if (guess := runs.guessed_normal) is not None:
        say(f"note: no label is called normal (0, false, normal or no), so the most frequent, {guess!r}, counts as it.")
    return AlarmScore(None, None, None) if abnormal is None else score_alarms(numbers > 0, abnormal)
