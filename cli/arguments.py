"""Arguments and options that several commands share, and how what is given to them as text is read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

Device = Literal["auto", "cpu", "cuda", "mps"]
NamedLayers = Literal["last", "all", "blocks"]
Layers = NamedLayers | int


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
Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint.ckpt of pretrain.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of everything random (train.seed).")]
Draws = Annotated[int | None, typer.Option(min=1, help="Draws of labels; by default 5, and 1 for all labels.")]
Settings = Annotated[
    tuple[str, ...],
    typer.Option(
        "--set", metavar="KEY.PATH=VALUE", parser=without_blanks, help="Any key of the configuration; repeatable."
    ),
    tuple,
]
DATA = "Name in the UCR or UEA archive, file (.ts, .tsv, .npz, .npy, .csv, .parquet), or folder."
LOG = "Or a sensor log: a file, a folder of files, or a pattern."
AnyData = Annotated[str | None, typer.Option("--data", metavar="NAME|FILE|FOLDER", help=f"{DATA} {LOG}")]
DataOfCheckpoint = Annotated[
    str | None, typer.Option("--data", metavar="NAME|FILE|FOLDER", help=f"{DATA} {LOG} By default the checkpoint's.")
]


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


def parse_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the names in `A,B`, or in several such texts, each once."""
    return tuple(dict.fromkeys(name.strip() for name in ",".join(texts).split(",") if name.strip()))


def parse_counts(texts: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of labels a class in `1,5,20`, or in several such texts, ascending, each once."""
    text = ",".join(texts)
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text!r} is not a list of numbers like 1,5,20", param_hint="--per-class")
    return tuple(sorted({int(part) for part in parts}))


def parse_fractions(texts: Sequence[str]) -> tuple[float, ...]:
    """Return the shares of labels in `0.01,0.1,1`, or in several such texts, ascending, each once."""
    text = ",".join(texts)
    try:
        fractions = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list like 0.01,0.1,1", param_hint="--labels") from None
    if not all(0 < fraction <= 1 for fraction in fractions):
        raise typer.BadParameter(
            f"a share of the labels lies above 0 and up to 1, but got {text!r}", param_hint="--labels"
        )
    return fractions


def parse_layers(text: str) -> Layers:
    """Return `last`, `all`, `blocks` or the number of a layer."""
    if text in get_args(NamedLayers):
        return cast(NamedLayers, text)
    if text.isdecimal():
        return int(text)
    raise typer.BadParameter(
        f"{text!r} is not {', '.join(get_args(NamedLayers))} or a number: 0 is the tokenizer", param_hint="--layers"
    )
