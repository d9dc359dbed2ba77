"""Data sets as the commands need them: both parts as series, and what to know of them told on standard error."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import Series, SeriesSource, as_series
from tsjepa.checkpoint import Header
from tsjepa.cli.errors import USAGE, Failure, say, told
from tsjepa.cli.log_data import LogParts, no_log, read_log, reads_as_log
from tsjepa.config import Config
from tsjepa.datasets import load
from tsjepa.datasets.dataset import DataError, UncutError
from tsjepa.datasets.files import looks_like_path
from tsjepa.datasets.home import user_path
from tsjepa.datasets.labels import Encoded, has_label
from tsjepa.datasets.log_columns import ChannelError
from tsjepa.datasets.log_files import is_address
from tsjepa.datasets.logs import LogWindows, encode_labels
from tsjepa.datasets.lookup import data_folder, is_known
from tsjepa.evaluation.digest import content_digest
from tsjepa.objective import JEPA
from tsjepa.remarks import remarks
from tsjepa.sections import LogConfig


class Part(NamedTuple):
    """Series and labels of the training or the test part.

    Attributes
    ----------
    series : SeriesSource
        In memory, or windows of a log.
    y : array of shape (n_cases,), optional
        Codes of classes, or a numeric target; a series without a label has -1 or NaN.
    lengths : int64 array of shape (n_cases,), optional
        Time points of each series, where they differ.
    """

    series: SeriesSource
    y: NDArray[Any] | None
    lengths: NDArray[np.int64] | None = None

    def in_memory(self) -> Series:
        """Return all series in one array."""
        return self.series if isinstance(self.series, Series) else self.series.take(np.arange(self.series.n_cases))

    @property
    def all_labels(self) -> NDArray[Any] | None:
        """Labels, where every case has one."""
        found = self.labelled()
        return found.y if found.series.n_cases == self.series.n_cases else None

    def labelled(self) -> "Part":
        """Return the cases that have a label; all, and no labels, where none has."""
        cases = np.arange(0) if self.y is None else np.flatnonzero(has_label(self.y))
        if len(cases) == self.series.n_cases:
            return self
        return self.some(cases) if len(cases) else self._replace(y=None)

    def some(self, cases: NDArray[np.int64]) -> "Part":
        """Return some of the labelled cases; windows of a log are not copied."""
        assert self.y is not None
        series = self.series.subset(cases) if isinstance(self.series, LogWindows) else self.series.take(cases)
        return Part(series, self.y[cases], None if self.lengths is None else self.lengths[cases])


class Data(NamedTuple):
    """A data set.

    Attributes
    ----------
    name : str
    train : Part
    test : Part or None
    classes : tuple of str or None
        Names behind the codes in `y`.
    log : LogConfig, optional
        How a log was read.
    test_notes : tuple of str
        What there is to know of the test part alone, for `say_remarks`.
    """

    name: str
    train: Part
    test: Part | None
    classes: tuple[str, ...] | None
    log: LogConfig | None = None
    test_notes: tuple[str, ...] = ()

    def parts(self) -> list[tuple[str, Part]]:
        """Return the parts that there are, with their names."""
        return [("train", self.train), *([] if self.test is None else [("test", self.test)])]

    def labelled(self) -> "Data":
        """Return the cases that have a label, of each part."""
        return self._replace(train=self.train.labelled(), test=None if self.test is None else self.test.labelled())

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the channels, where the data name any."""
        return self.train.series.channels if isinstance(self.train.series, LogWindows) else None

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What tells these data from others, as a checkpoint keeps it: of a log all rows, else the training series."""
        if isinstance(self.train.series, LogWindows):
            return self.train.series.fingerprint()
        return {"values": content_digest(*self.train.in_memory())}


def load_data(
    name: str,
    data_dir: Path | None,
    log: LogConfig | None = None,
    cache_dir: Path | None = None,
    seed: int = 0,
    *,
    asked: Mapping[str, object] | None = None,
    logged: bool = False,
    lone: bool = False,
) -> Data:
    """Load a data set by name, file or folder.

    Parameters
    ----------
    name : str
    data_dir : Path, optional
        Folder of data sets.
    log : LogConfig, optional
        How a log is read.
    cache_dir : Path, optional
        Folder in which windows of a log are kept.
    seed : int, default=0
        Of the split by groups.
    asked : mapping, optional
        What of `log` the user asked for with these data: with anything, other data than logs are refused. None for a
        command without flags that say how a log is read.
    logged : bool, default=False
        Whether the data are for a checkpoint that was trained on a log.
    lone : bool, default=False
        Whether a log may be a single whole series.
    """
    try:
        return load_cut(name, data_dir, log or LogConfig(), cache_dir, seed, asked or {}, logged=logged, lone=lone)
    except UncutError as error:
        if asked is None:  # of a command that has no such flag
            advice = "save these as X_train, y_train, X_test and y_test in an .npz file, and give that file"
            raise Failure(f"{error}; {advice}.") from error
        raise Failure(f"{error} with --window.") from error


def load_cut(
    name: str,
    data_dir: Path | None,
    log: LogConfig,
    cache_dir: Path | None,
    seed: int,
    asked: Mapping[str, object],
    *,
    logged: bool,
    lone: bool,
) -> Data:
    """Load a data set whose rows are series, or a log cut into windows."""
    if reads_as_log(name, log, asked, data_folder(data_dir), logged=logged):
        with trained_channels(named=not asked.keys().isdisjoint(("channels", "log.channels"))):
            return log_data(read_log(name, log, cache_dir, seed, lone=lone))
    there = os.path.exists(user_path(name))
    if asked and (there or is_known(name, data_folder(data_dir))):
        raise Failure(no_log(name, list(asked)), USAGE)
    if not looks_like_path(name) and not there:
        check_data_dir(data_dir)
    dataset = load(name, data_dir, announce=say)
    for note in dataset.notes:
        if note not in dataset.test_notes:
            say(f"note: {note}")
    train = make_part(dataset.X_train, dataset.y_train, "the training part")
    test = None if dataset.X_test is None else make_part(dataset.X_test, dataset.y_test, "the test part")
    return Data(dataset.name, train, test, dataset.classes, test_notes=dataset.test_notes)


@contextmanager
def trained_channels(*, named: bool = False) -> Iterator[None]:
    """Say of a channel that a log lacks that it was trained on, unless the user `named` the channels."""
    try:
        yield
    except ChannelError as error:
        if named:
            raise
        raise DataError(error.trained) from error


def check_data_dir(data_dir: Path | None) -> None:
    """Refuse a file in the place of the folder of data sets, and say so where there is no folder (yet)."""
    folder = data_folder(data_dir)
    if folder is None or folder.is_dir():
        return
    if folder.exists():
        raise Failure(f"{folder} is a file: give a folder of data sets by --data-dir or TSJEPA_DATA.", USAGE)
    say(f"note: there is no folder {folder}, where data sets are looked for first: check --data-dir or TSJEPA_DATA.")


def data_of(header: Header, checkpoint: Path, asked: str | None) -> str:
    """Return the data that are asked for, or those that a checkpoint was trained on."""
    if asked is not None:
        return asked
    if header.data is None:
        raise Failure(f"{checkpoint} was trained on series in memory: name data with --data.", USAGE)
    return header.data


def names_of_channels(header: Header, data: Data) -> tuple[str, ...] | None:
    """Return how the channels of data are called: as these say, else as a checkpoint of as many channels does."""
    return data.channel_names or (header.channel_names if data.train.series.n_channels == header.n_channels else None)


def check_there(name: str | None, test: str | None, whose: str, data_dir: Path | None, *, by_flag: bool = True) -> None:
    """Refuse data, or a test part of its own, that are not found and that this command did not name, but `whose`.

    Other data can be named instead `by_flag`.
    """
    for source, part in ((name, ""), (test, "the test part of ")):
        if source is None or is_here(source) or is_known(source, data_folder(data_dir)):
            continue
        place = "run this in the folder that it was trained in"
        if user_path(source).is_absolute():
            place = "put it back there"
        elif not looks_like_path(source):
            place += ", with the same --data-dir"
        place += ", or name the data with --data" if by_flag else ""
        raise Failure(f"{source} does not exist: that is {part}what {whose} was trained on; {place}.")


def is_here(source: str) -> bool:
    """Return whether there is a log of that name, or files of that pattern; an address is taken for one."""
    path = user_path(source)
    return is_address(source) or path.exists() or any(glob.iglob(str(path), recursive=True))


def log_data(parts: LogParts) -> Data:
    """Put the labels of both parts of a log on one scale."""
    log, train, test = parts
    found = encode_labels(train, test) if train.has_labels else Encoded(None, None, None)
    test_part = None if test is None else Part(test, found.y_test)
    return Data(train.name, Part(train, found.y_train), test_part, found.classes, log, found.notes)


def make_part(X: Any, y: NDArray[Any] | None, name: str) -> Part:
    """Bring one part into an array and a mask."""
    lengths = np.array([x.shape[-1] for x in X]) if isinstance(X, list) else None
    with told():
        return Part(as_series(X, name), y, lengths)


def check_test_part(data: Data, config: Config | None = None) -> None:
    """Refuse a labelled log of which nothing is kept for scoring.

    A world model that is to be trained by a configuration uses labels without a test part, too.
    """
    if config is not None and config.world.horizons:
        return
    if isinstance(data.train.series, LogWindows) and data.test is None and data.train.y is not None:
        own = data.train.series.columns.id is None and data.train.series.n_series > 1
        raise Failure(
            f"{data.name} has labels, but no test part to score on: name a second file with --test FILE, or with "
            "--group COLUMN a column whose values stay on one side of the split"
            f"{', or give --group id, which keeps each series on one side' if own else ''} (or read no labels: "
            "--label '').",
            USAGE,
        )


def say_remarks(data: Data, config: Config | None, *, test: bool = True) -> None:
    """Tell of constant channels, empty series and series that are shorter than a patch.

    What there is to know of a log was told when its windows were cut. Of the test part nothing is told without `test`,
    for a command that never looks at it.
    """
    for note in data.test_notes if test else ():
        say(f"note: {note}")
    known: tuple[Any, ...] = ()
    if config is not None:
        known = (config.tokenizer.patch_length, None, config.normalize, config.probe.scale_features)
    for name, part in data.parts():
        if isinstance(part.series, Series) and (test or part is data.train):
            for remark in remarks(part.series, *known):
                say(f"note: {name} part: {remark}")


def say_labels_seen(checkpoint: Path, model: JEPA, data: Data, fractions: Sequence[float]) -> None:
    """Tell that a share of the labels is not all that a fine-tuned encoder, or a student of one, has learnt from."""
    if model.labelled and min(fractions) < 1:
        say(
            f"note: the encoder of {checkpoint} has learnt from labels, since it or its teacher was fine-tuned: if "
            f"these are labels of {data.name}, scores with few labels do not show what few labels give."
        )
