"""What detection rests on: a world model, the normal log that says what is usual, and how logs have to be sampled."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import counted
from tsjepa.checkpoint import Header, load_checkpoint
from tsjepa.cli.checkpoint_options import DetectOptions
from tsjepa.cli.data import is_here, trained_channels
from tsjepa.cli.errors import Failure, say, told
from tsjepa.cli.log_data import TEST_SHARE, has_series_of_its_own, is_trained_on, loaded
from tsjepa.cli.render import busy
from tsjepa.column_names import called
from tsjepa.datasets.log_fingerprint import difference
from tsjepa.datasets.log_runs import LogRuns, load_runs
from tsjepa.datasets.log_settings import OWN_ID
from tsjepa.datasets.log_time import NANOSECONDS
from tsjepa.datasets.logs import Columns, as_held, column_names, in_test_part
from tsjepa.held_out import TooFewToHoldOut, fit_held_out
from tsjepa.surprise import Scorer, TooFewWindows, check_windows, fit_scorer
from tsjepa.thresholds import Budget
from tsjepa.world import WorldModel

LABELS = re.compile("anomaly|label")
# Share by which the step of time of a log may differ from that of the training data
STEP_TOLERANCE = 0.2


class Normal(NamedTuple):
    """What is normal.

    Attributes
    ----------
    scorer : Scorer
    scores : list of array
        Of normal stretches that the scorer was not fitted to; none where each run has a reference.
    runs : LogRuns
        The normal log.
    step : float
        Its median step of time, in its own unit.
    pace : float
        The mean one without gaps: the time that a row stands for where steps differ.
    max_gap : float, str or None
        The longest step that is no gap, as a flag says it.
    """

    scorer: Scorer
    scores: list[NDArray[np.float32]]
    runs: LogRuns
    step: float
    pace: float
    max_gap: float | str | None

    def interval(self, budget: Budget) -> float:
        """Return the rows between two allowed alarms."""
        with told():
            return budget.interval(None if self.runs.tick is None else self.pace * self.runs.tick)


def load_world(path: Path) -> tuple[WorldModel, Header]:
    """Load a checkpoint of a world model."""
    model, header = load_checkpoint(path)
    if not isinstance(model, WorldModel):
        raise Failure(f"{path} is not a world model: pretrain one with --config lewm-sensor.")
    if header.channel_names is None:
        raise Failure(f"{path} was not trained on a sensor log, so its channels have no names: pretrain on a log.")
    if header.config.log.resample is not None:
        raise Failure(
            f"{path} was trained on a log that was resampled to {header.config.log.resample}; detect scores rows "
            "as they are in the log: resample the log beforehand, and train without --resample."
        )
    return model, header


def open_data(header: Header, options: DetectOptions, said: list[str]) -> LogRuns:
    """Open the log that is to be scored."""
    log = header.config.log
    names = column_names(options.data)
    identity = trained_id(options.data, names, log.id) if options.id is None else options.id
    time = log.time if options.time is None else options.time
    label = label_column(names, header, options)
    return open_runs(options.data, Columns(identity, time, header.channel_names, label), options.cache_dir, said)


def open_normal(source: str, header: Header, options: DetectOptions, said: list[str]) -> LogRuns:
    """Open a normal log, read like the one of training, or by the flags where those name columns that it has."""
    log, names = header.config.log, column_names(source)
    label = normal_label(beside_channels(names, header), log.label, options)
    if is_trained_on(header, source):
        group = None if log.group is None else as_held(log.group, names)
        columns = Columns(log.id, log.time, header.channel_names, label, group if group in (*names, OWN_ID) else None)
    else:
        identity = trained_id(source, names, log.id) if options.id is None else meant(names, options.id, log.id)
        columns = Columns(identity, meant(names, options.time, log.time), header.channel_names, label)
    return open_runs(source, columns, options.cache_dir, said)


def trained_id(source: str, names: Sequence[str], trained: str | None) -> str | None:
    """Return training's column of ids, or None, so that each file may be a run, where no file of several has it."""
    return None if trained and alike(trained, names) is None and has_series_of_its_own(source) else trained


def meant(names: Sequence[str], asked: str | None, trained: str | None) -> str | None:
    """Return which column of a normal log is meant: the one asked for, or training's, where the log has it.

    What is asked for is said of the log that is scored, whose columns may have other names.

    Examples
    --------
    >>> meant(["time", "unit"], "unit", "machine"), meant(["time", "machine"], "unit", "machine")
    ('unit', 'machine')
    >>> meant(["time", "machine"], "", "machine"), meant(["time"], "", "machine")
    ('machine', '')
    """
    held = (own for name in (asked, trained) if (own := alike(name, names)))
    return next(held, trained if asked is None or not trained else asked)


def open_runs(source: str, columns: Columns, cache_dir: Path | None, said: list[str]) -> LogRuns:
    """Open a log, and say what was guessed about it, unless it was said of the same log before."""
    load = partial(load_runs, source, columns, cache_dir=cache_dir)
    with trained_channels():
        return loaded(load, source, unsaid=("columns left out",), said=said)


def label_column(names: Sequence[str], header: Header, options: DetectOptions) -> str:
    """Return the column of labels of the log that is scored, which is no channel, "" for none."""
    if options.label is None:
        return next(called_labels(beside_channels(names, header)), "")
    if not options.label:
        return ""
    if (own := alike(options.label, names)) is not None:
        return own
    if not any(alike(options.label, column_names(source)) for source in normal_sources(header, options)):
        return options.label  # which is refused as the log is opened
    say(
        f"note: {options.data} has no column {options.label!r}, so F1 and rates are not known; the labels of normal "
        "data are read."
    )
    return ""


def normal_sources(header: Header, options: DetectOptions) -> list[str]:
    """Return the logs that may say what is normal."""
    return [source for source in (header.data, options.normal) if source is not None and is_here(source)]


def normal_label(names: list[str], trained: str | None, options: DetectOptions) -> str:
    """Return the column that may call rows of a normal log abnormal, "" for none.

    Training may have read no labels, but faults are not to be taken for normal without a word: so only this command's
    own `--label ''` leaves them unread.
    """
    if options.label == "":
        return ""
    wanted = (alike(options.label, names), *called_labels(names), alike(trained, names))
    return next(filter(None, wanted), "")


def alike(name: str | None, names: Sequence[str]) -> str | None:
    """Return how a log calls a column: as it is named or with other blanks around it; None where it has none.

    Examples
    --------
    >>> alike("state", ["time", " state"]), alike("state", [" state", "state"]), alike("state", ["time"])
    (' state', 'state', None)
    """
    own = (other for other in names if name and other.strip() == name.strip())
    return name if name in names else next(own, None)


def beside_channels(names: Sequence[str], header: Header) -> list[str]:
    """Return those columns of a log that are no channels of the model."""
    return [name for name in names if name not in (header.channel_names or ())]


def called_labels(names: list[str]) -> Iterator[str]:
    """Yield the columns that are called like labels."""
    return (name for name in names if called(name, LABELS))


def fit_normal(model: WorldModel, header: Header, options: DetectOptions, said: list[str]) -> Normal:
    """Fit a scorer to the data that the checkpoint was trained on, and hold normal data against it.

    What was `said` of logs is not said again.
    """
    trained = open_trained(header, options, said)
    given = None if options.normal is None else open_normal(options.normal, header, options, said)
    logs = [log for log in (trained, given) if log is not None]
    for log in logs[1:]:
        check_step(log, logs[0], header.n_timepoints)
    max_gap = header.config.log.max_gap if options.max_gap is None else options.max_gap
    outs = [left_out(log, header, options.label) for log in logs]
    parts = [stretches_of(log, max_gap, logs[0], out) for log, out in zip(logs, outs, strict=True)]
    context = header.n_timepoints
    for log, part in zip(logs[1:], parts[1:], strict=True):
        with telling_of(log):
            check_windows(part, context, model.encoder.tokenizer.patch_length)
    with busy("scoring normal data"), told(), telling_of(logs[0]):
        if options.reference_rows is not None:
            scorer, scores = fit_scorer(model, *parts, context=context), list[NDArray[np.float32]]()
        else:
            say_source([log.source for log in logs], trained=trained is not None)
            scorer, scores = fit_held_out(model, *parts, context=context)
    return Normal(scorer, scores, logs[0], usual_step(logs[0]), mean_step(logs[0], max_gap), max_gap)


@contextmanager
def telling_of(runs: LogRuns) -> Iterator[None]:
    """Say which log, and which of its channels, holds too few windows to say what is usual, and what helps."""
    try:
        yield
    except TooFewWindows as error:
        raise Failure(f"{runs.source}: {error.sentence(runs.channels)}") from error
    except TooFewToHoldOut as error:
        advice = "name further normal data by --normal LOG" if error.are_long else "train with a shorter --window"
        raise Failure(f"{runs.source}: {str(error)[:-1]}; {advice}.") from error


def open_trained(header: Header, options: DetectOptions, said: list[str]) -> LogRuns | None:
    """Open the log that was trained on; None where it is not to be had, and other normal data are named."""
    runs: LogRuns | None = None
    if header.data is not None and is_here(header.data):
        runs = open_normal(header.data, header, options, said)
    if runs is None:
        why = "the checkpoint does not name them" if header.data is None else f"{header.data} is not here"
    else:
        changed = None if header.fingerprint is None else difference(header.fingerprint, runs.fingerprint())
        if changed is None:
            return runs
        why = f"{header.data} is not the same log any more ({changed})"
    if options.normal is None:
        raise Failure(f"detect learns from the training data what is normal, but {why}: name normal data by --normal.")
    say(f"note: the training data are left out: {why}.")
    return None


def left_out(runs: LogRuns, header: Header, asked: str | None) -> NDArray[np.bool_]:
    """Return which rows of a normal log are not to say what is normal: abnormal ones, and groups of the test part.

    Where it lacks the column of labels that was `asked` for, which then another log has, this is said.
    """
    label, group, found = runs.columns.label, runs.columns.group, runs.told_abnormal()
    if label is None and asked:
        say(f"note: {runs.source} has no column {asked!r}, so none of its rows is left out as abnormal.")
    if label is not None and found is None:
        say(f"note: {runs.source}: {label!r} does not say which rows are normal, so all rows are taken for normal.")
    out = np.zeros(int(runs.offsets[-1]), bool) if found is None else found
    if out.any():
        rows = counted(out.sum(), "row")
        say(f"note: {runs.source}: left out of what is normal: {rows} that {label!r} calls abnormal.")
        if is_trained_on(header, runs.source) and header.config.log.label == "":
            say("note: the model has learnt such rows as normal (--label ''): pretrain it again without --label ''.")
    if group is not None:
        test = np.repeat(in_test_part(runs.groups, TEST_SHARE, header.config.train.seed), np.diff(runs.offsets))
        rows = f"{counted(test.sum(), 'row')} of the groups of {group!r} that were the test part"
        say(f"note: {runs.source}: left out of what is normal: {rows}.")
        out = out | test
    if out.all():
        raise Failure(f"{runs.source}: no row is left that is normal: name normal data by --normal, or add --label ''.")
    return out


def say_source(sources: list[str], *, trained: bool) -> None:
    """Say which normal data the threshold comes from."""
    if len(sources) > 1:
        say(f"note: what is usual is learnt from {sources[0]}, and the threshold comes from {sources[1]}.")
        return
    better = "; since the model was trained on it, normal data that it has not seen are better: --normal LOG"
    how = f"the threshold comes from {sources[0]}, cut into blocks, each of them compared with the others"
    say(f"note: {how}{better * trained}.")


def usual_step(runs: LogRuns) -> float:
    """Return the median step of time over runs."""
    return float(np.nanmedian(runs.steps)) if np.isfinite(runs.steps).any() else float("nan")


def mean_step(runs: LogRuns, max_gap: float | str | None) -> float:
    """Return the mean step of time over the stretches of all runs without a gap."""
    steps = np.concatenate([np.diff(runs.times(*part)) for part in between_gaps(runs, max_gap, runs)])
    return float(steps.mean()) if len(steps) else float("nan")


def step_in(runs: LogRuns, trained: LogRuns) -> float:
    """Return the usual step of the training data in the unit of another log's times."""
    return usual_step(trained) * unit_of(trained) / unit_of(runs)


def unit_of(runs: LogRuns) -> int:
    """Return the nanoseconds of the unit of a log's times, 1 where they are numbers without one."""
    return 1 if runs.tick is None else round(runs.tick * NANOSECONDS["s"])


def longest_step(runs: LogRuns, max_gap: float | str | None, step: float) -> float:
    """Return the longest step of time that is no gap where rows are `step` apart, in nanoseconds where it has a unit.

    Batch and follower compare with the same number, whatever the log that is scored counts its times in.
    """
    _, kept = runs.gap_limits(max_gap, step)
    # what floats round to less would make a step that is exactly as long a gap
    return kept * unit_of(runs) * (1 + 2**-50)


def stretches_of(
    runs: LogRuns, max_gap: float | str | None, trained: LogRuns, out: NDArray[np.bool_]
) -> list[NDArray[Any]]:
    """Return the stretches of all runs without a gap, and without rows that are left out, as channels (C, T)."""
    whole = between_gaps(runs, max_gap, trained)
    return [runs.values(*part) for start, stop in whole for part in kept_parts(out[start:stop], start)]


def between_gaps(runs: LogRuns, max_gap: float | str | None, trained: LogRuns) -> Iterator[tuple[int, int]]:
    """Return where the stretches of all runs without a gap in time begin and end."""
    return (part for run in range(len(runs.ids)) for part in pairwise(cut_at_gaps(runs, run, max_gap, trained)))


def kept_parts(out: NDArray[np.bool_], first: int) -> list[tuple[int, int]]:
    """Return where rows begin and end that are not left out, counted from a first row.

    Examples
    --------
    >>> kept_parts(np.array([False, False, True, False]), 100)
    [(100, 102), (103, 104)]
    """
    edges = np.flatnonzero(np.diff(out, prepend=True, append=True)) + first
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def cut_at_gaps(runs: LogRuns, run: int, max_gap: float | str | None, trained: LogRuns) -> list[int]:
    """Return where the stretches of a run without a gap in time begin, and where the last one ends.

    A gap is told by the step of the training data or, where these have no times, by the run's own.
    """
    start, stop = (int(at) for at in runs.offsets[run : run + 2])
    by_own = runs.counted or trained.counted
    known, step = (runs, float(runs.steps[run])) if by_own else (trained, usual_step(trained))
    # as floats: the nanoseconds between dates of far years are more than 64 bits hold
    steps = np.diff(runs.times(start, stop)) * float(unit_of(runs))
    gaps = np.flatnonzero(steps > longest_step(known, max_gap, step)) + 1
    return [start, *(start + int(at) for at in gaps), stop]


def check_step(runs: LogRuns, trained: LogRuns, context: int) -> None:
    """Refuse a log whose rows are further apart, or closer, than those of the training data.

    Runs that are shorter than the context have no score, so that their steps do not matter.
    """
    if runs.counted or trained.counted:
        return
    check_unit(runs, trained)
    step = step_in(runs, trained)
    for name, own, rows in zip(runs.ids.to_pylist(), runs.steps, np.diff(runs.offsets), strict=True):
        if rows >= context and abs(own / step - 1) > STEP_TOLERANCE:
            raise Failure(
                f"{runs.source}: {name} has a row every {runs.shown_step(own)}, but the checkpoint was trained on one "
                f"every {runs.shown_step(step)}: resample the log to that, or train on such rows.",
            )


def check_unit(runs: LogRuns, trained: LogRuns) -> None:
    """Refuse dates where times of the training data are numbers without a unit, and the other way round."""
    if (runs.tick is None) == (trained.tick is None):
        return
    kinds = ("numbers without a unit", "dates")
    own, known = kinds if runs.tick is None else kinds[::-1]
    raise Failure(
        f"{runs.source}: its times are {own}, but those of the normal log {trained.source} are {known}: write them "
        "alike."
    )
