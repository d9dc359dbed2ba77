"""What the command line gives to the commands, as plain values."""

import json
from pathlib import Path
from typing import Literal, NamedTuple

import typer

Objective = Literal["ema", "cjepa", "sigreg", "vicreg", "visreg", "deep", "distill", "salt"]
Masking = Literal["bernoulli", "random", "block", "future"]
Device = Literal["auto", "cpu", "cuda", "mps"]
LoggerName = Literal["csv", "tensorboard", "wandb"]
ProbeKind = Literal["ridge", "logistic", "knn"]
Layers = Literal["last", "all"] | int


class PretrainOptions(NamedTuple):
    """Options of `tsjepa pretrain`; None where a flag is not given."""

    data: str | None
    config: str | None
    objective: Objective | None
    masking: Masking | None
    teacher: Path | None
    epochs: int | None
    batch_size: int | None
    lr: float | None
    seed: int | None
    settings: tuple[str, ...]
    out: Path | None
    resume: bool
    overwrite: bool
    device: Device
    logger: LoggerName
    stop_on_collapse: bool
    data_dir: Path | None

    def overrides(self) -> list[str]:
        """Return the flags as `key.path=value`, those of --set last, so that they win."""
        flags = {
            "data": self.data,
            "mask.kind": self.masking,
            "target.teacher": None if self.teacher is None else str(self.teacher),
            "train.epochs": self.epochs,
            "train.batch_size": self.batch_size,
            "train.lr": self.lr,
            "train.seed": self.seed,
        }
        # JSON is YAML, and its quotes keep a data set called `no` or `007` a name
        given = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in flags.items() if value is not None]
        return [*given, *self.settings]


class ProbeOptions(NamedTuple):
    """Options of `tsjepa probe`."""

    checkpoint: Path
    data: str | None
    kind: ProbeKind
    fractions: tuple[float, ...]
    layers: Layers | None
    seeds: int | None
    device: Device
    data_dir: Path | None


class EmbedOptions(NamedTuple):
    """Options of `tsjepa embed`."""

    checkpoint: Path
    data: str
    out: Path
    overwrite: bool
    device: Device
    data_dir: Path | None


class DiagnoseOptions(NamedTuple):
    """Options of `tsjepa diagnose`."""

    target: Path
    data: str | None
    out: Path | None
    supervised: bool
    seed: int
    device: Device
    data_dir: Path | None


class StudyOptions(NamedTuple):
    """Options of `tsjepa collapse-study`."""

    out: Path
    quick: bool
    data: tuple[str, ...]
    seeds: int | None
    steps: int | None
    device: Device
    data_dir: Path | None


class TuneOptions(NamedTuple):
    """Options of `tsjepa tune-lambda`; None where a flag is not given."""

    data: str | None
    config: str | None
    low: float
    high: float
    runs: int
    epochs: int
    seed: int | None
    settings: tuple[str, ...]
    device: Device
    data_dir: Path | None

    def overrides(self) -> list[str]:
        """Return the flags as `key.path=value`, those of --set last, so that they win."""
        flags = {"data": self.data, "train.epochs": self.epochs, "train.seed": self.seed}
        given = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in flags.items() if value is not None]
        return [*given, *self.settings]


def parse_fractions(text: str) -> tuple[float, ...]:
    """Return the shares of labels in `0.01,0.1,1`, ascending, each once."""
    try:
        fractions = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list like 0.01,0.1,1", param_hint="--labels") from None
    if not all(0 < fraction <= 1 for fraction in fractions):
        raise typer.BadParameter(
            f"a share of the labels lies above 0 and up to 1, but got {text!r}", param_hint="--labels"
        )
    return fractions


def parse_layers(text: str | None) -> Layers | None:
    """Return `last`, `all` or the number of a layer."""
    if text is None:
        return None
    if text in ("last", "all"):
        return "last" if text == "last" else "all"
    if text.isdecimal():
        return int(text)
    raise typer.BadParameter(f"{text!r} is neither last, all nor a number: 0 is the tokenizer", param_hint="--layers")
