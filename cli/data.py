"""Data sets as the commands need them: both parts as series, and what to know of them told on standard error."""

from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from tsjepa.arrays import Series, as_series, remarks
from tsjepa.cli.errors import say, told
from tsjepa.datasets import load


class Part(NamedTuple):
    """Series and labels of the training or the test part."""

    series: Series
    y: NDArray[Any] | None


class Data(NamedTuple):
    """A data set; `classes` are the names behind the codes in `y`."""

    name: str
    train: Part
    test: Part | None
    classes: tuple[str, ...] | None

    def parts(self) -> list[tuple[str, Part]]:
        """Return the parts that there are, with their names."""
        return [("train", self.train), *([] if self.test is None else [("test", self.test)])]


def load_data(name: str, data_dir: Path | None) -> Data:
    """Load a data set by name, file or folder."""
    dataset = load(name, data_dir, announce=say)
    for note in dataset.notes:
        say(f"note: {note}")
    train = make_part(dataset.X_train, dataset.y_train, "the training part")
    test = None if dataset.X_test is None else make_part(dataset.X_test, dataset.y_test, "the test part")
    return Data(dataset.name, train, test, dataset.classes)


def make_part(X: Any, y: NDArray[Any] | None, name: str) -> Part:
    """Bring one part into an array and a mask."""
    with told():
        return Part(as_series(X, name), y)


def say_remarks(data: Data, patch_length: int | None) -> None:
    """Tell of constant channels, empty series and series that are shorter than a patch."""
    for name, part in data.parts():
        for remark in remarks(part.series, patch_length):
            say(f"note: {name} part: {remark}")
