"""Arguments and options that several commands share, and where their results go."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tsjepa.cli.errors import Failure
from tsjepa.cli.options import Device


def without_blanks(setting: str) -> str:
    """Return `key.path=value` without blanks around key and value.

    Examples
    --------
    >>> without_blanks("mask.ratio = 0.5"), without_blanks("mask.ratio")
    ('mask.ratio=0.5', 'mask.ratio')
    """
    return "=".join(part.strip() for part in setting.split("=", 1))


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="TSJEPA_DATA",
        metavar="DIR",
        help="Folder of <Name>/<Name>_TRAIN.ts and _TEST.ts, searched first.",
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint.ckpt of pretrain.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY.PATH=VALUE", parser=without_blanks, help="Any key of the configuration; repeatable."
    ),
]
DATA = "Name in the UCR or UEA archive, file (.ts, .tsv, .npz, .npy, .csv, .parquet), or folder."
LOG = "Or a sensor log: a file, a folder of files, or a pattern."


def named_path(text: str | os.PathLike[str]) -> Path:
    """Return the path of a result; a name of nothing would be the current folder's, as where a variable is not set.

    Examples
    --------
    >>> named_path("runs/FordA").name
    'FordA'
    """
    if not os.fspath(text).strip():
        raise typer.BadParameter("it is empty: give a name.")
    return Path(text)


@contextmanager
def results_only() -> Iterator[None]:
    """Keep standard output for the result: whatever a library prints meanwhile goes to standard error.

    What the system refuses meanwhile is no fault of standard output, as it is for `SentenceGroup` later.
    """
    with redirect_stdout(sys.stderr):
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failure(str(error)) from error
