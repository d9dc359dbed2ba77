"""Arguments and options that several commands share, and where their results go."""

import sys
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tsjepa.cli.options import Device

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
DATA = "Name in the UCR or UEA archive, file (.ts, .tsv, .npz, .npy, .csv, .parquet), or folder."
LOG = "Or a sensor log: a file, a folder of files, or a pattern."


def results_only() -> AbstractContextManager[object]:
    """Keep standard output for the result: whatever a library prints meanwhile goes to standard error."""
    return redirect_stdout(sys.stderr)
