"""The flags that say how a sensor log is read: declared once, for every command that takes a log."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from tsjepa.cli.errors import USAGE, Failure

WindowLabel = Literal["last", "majority", "any"]


class LogOptions(NamedTuple):
    """Flags of a sensor log, None where one is not given: those of `config.LogConfig`, and where windows are kept."""

    id: Annotated[
        str | None,
        typer.Option("--id", metavar="COLUMN", help="Log: the column that names the machine or run; '' for none."),
    ] = None
    time: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="Log: the column of time; '' for none.")
    ] = None
    channels: Annotated[
        str | None,
        typer.Option(
            "--channels",
            metavar="A,B,...",
            help="Log: columns of sensors, by default all unused columns of numbers; a name with a comma in quotes: "
            "'\"Flow, l/min\",temp'.",
        ),
    ] = None
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="Log: the column of labels; '' for none.")
    ] = None
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="COLUMN",
            help="Log: a column; a fifth of its values becomes the test part. Without ids: id, for whole files.",
        ),
    ] = None
    test: Annotated[str | None, typer.Option("--test", metavar="FILE", help="Log: a second log, the test part.")] = None
    window: Annotated[
        str | None, typer.Option("--window", metavar="N|TIME", help="Log: window length, as in 256 (points) or 10s.")
    ] = None
    stride: Annotated[
        str | None,
        typer.Option("--stride", metavar="N|TIME", help="Log: distance between window starts; by default --window."),
    ] = None
    max_gap: Annotated[
        str | None,
        typer.Option("--max-gap", metavar="N|TIME", help="Log: no window crosses a larger gap; by default 10 steps."),
    ] = None
    resample: Annotated[
        str | None,
        typer.Option(
            "--resample",
            metavar="TIME",
            help="Log: step of a regular grid to interpolate to, as in 1s; a number where times are plain numbers.",
        ),
    ] = None
    window_label: Annotated[
        WindowLabel | None, typer.Option("--window-label", help="Log: which rows give a window its label.")
    ] = None
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            "--cache-dir",
            metavar="DIR",
            help="Log: folder in which its values and windows are kept, by default tsjepa/logs in XDG_CACHE_HOME or "
            "~/.cache; delete it when you like.",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Return the keys of section `log` that are given, with their values."""
        values = {key: value for key, value in self._asdict().items() if key != "cache_dir" and value is not None}
        if self.channels is not None:
            values["channels"] = split_names(self.channels)
        return {key: int(text) if is_count(key, text) else text for key, text in values.items()}

    def overrides(self) -> list[str]:
        """Return the given keys as `log.key=value`.

        Examples
        --------
        >>> LogOptions(window="60", stride="10s", channels="a, b").overrides()
        ['log.channels=["a", "b"]', 'log.window=60', 'log.stride="10s"']
        """
        return as_settings({f"log.{key}": value for key, value in self.given().items()})


def as_settings(flags: Mapping[str, Any]) -> list[str]:
    """Return the given flags as `key.path=value`; JSON is YAML, and its quotes keep a name like `no` or `007` one.

    Examples
    --------
    >>> as_settings({"data": "no", "train.epochs": 3, "train.lr": None})
    ['data="no"', 'train.epochs=3']
    """
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in flags.items() if value is not None]


def split_names(text: str) -> list[str]:
    """Return the names in ``A,B``; one that holds a comma stands in quotes.

    Examples
    --------
    >>> split_names('flow, "Setpoint, l/min"'), split_names("")
    (['flow', 'Setpoint, l/min'], [''])
    """
    try:
        return [name.strip() for name in next(csv.reader([text], skipinitialspace=True))] or [""]
    except csv.Error:
        raise Failure(f"{text!r} is no list of names like A,B: write it in one line.", USAGE) from None


def is_count(key: str, text: Any) -> bool:
    """Return whether a value of a window's size is a number of points rather than a time."""
    return key in ("window", "stride") and text.isdecimal()
