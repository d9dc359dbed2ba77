"""Which columns of a log that is followed are ids and times, where no row is there yet by which to guess them."""

from typing import NamedTuple

from tsjepa.checkpoint import Header
from tsjepa.cli.checkpoint_options import DetectOptions
from tsjepa.cli.detect_lines import Layout, is_date, read_line
from tsjepa.cli.errors import Failure
from tsjepa.column_names import ID, LIKE_TIME, TIME, called
from tsjepa.datasets.log_runs import LogRuns

NO_TIMES = (
    "the model was trained without times, by which --follow would know a gap: add --time '' to count rows, or leave "
    "out --follow."
)


class Wanted(NamedTuple):
    """Columns that a log is to have.

    Attributes
    ----------
    id, time : str or None
        "" where somebody said that there is none, None where nobody said anything.
    channels : tuple of str
    """

    id: str | None
    time: str | None
    channels: tuple[str, ...]

    @property
    def names(self) -> tuple[str | None, str | None, tuple[str, ...]]:
        """Id, time and channels, None where there is none."""
        return self.id or None, self.time or None, self.channels


def wanted_columns(options: DetectOptions, header: Header, runs: LogRuns) -> Wanted:
    """Return the columns that flags name, else training, else the normal log."""
    log, found = header.config.log, runs.columns
    named = ((options.id, log.id, found.id), (options.time, log.time, found.time))
    identity, time = (next((name for name in names if name is not None), None) for names in named)
    if time and runs.counted:
        raise Failure(f"{options.data}: {time!r} (--time) cannot be followed, since {NO_TIMES}")
    return Wanted(identity, time, runs.channels)


def refuse_unsure(source: str, layout: Layout, wanted: Wanted) -> None:
    """Refuse columns that are called like ids or times where nobody said what they are: a batch would read all rows."""
    names = beside(layout)
    identity = next((name for name in names if called(name, ID)), None)
    if wanted.id is None and identity is not None:
        raise Failure(
            f"{source} has a column {identity!r}, which may tell runs apart, but the log of training has none that "
            "does: name it by --id, or add --id '' if all rows are of one run."
        )
    time = next((name for name in names if called(name, TIME, LIKE_TIME)), None)
    if wanted.time is None and time is not None:
        raise Failure(f"{source} has a column {time!r}, which may hold times, but {NO_TIMES}")


def refuse_dates(source: str, lines: list[tuple[int, str]], layout: Layout) -> None:
    """Refuse dates in the first row without a column of times, which a batch would take for one whatever its name."""
    row = next(filter(None, (read_line(source, *line, layout) for line in lines)), [])
    cells = dict(zip(layout.names, row, strict=False))  # of empty lines there are none
    dated = next((name for name in beside(layout) if is_date(cells.get(name, "").strip())), None)
    if dated is not None:
        raise Failure(f"{source} has a column {dated!r}, which may hold times, but {NO_TIMES}")


def beside(layout: Layout) -> list[str]:
    """Return the columns that are neither id, time nor channels.

    Examples
    --------
    >>> beside(Layout(None, 0, [2], False, ",", ["time", "run", "flow"]))
    ['run']
    """
    taken = {layout.id, layout.time, *layout.channels}
    return [name for at, name in enumerate(layout.names) if at not in taken]
