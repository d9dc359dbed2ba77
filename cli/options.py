"""What the command line gives to the commands, as plain values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

import typer

from tsjepa.cli.log_options import LogOptions, as_settings, split_names

Objective = Literal["ema", "cjepa", "sigreg", "vicreg", "visreg", "deep", "distill", "salt"]
Masking = Literal["bernoulli", "random", "block", "future"]
Device = Literal["auto", "cpu", "cuda", "mps"]
LoggerName = Literal["csv", "tensorboard", "wandb"]
Strategy = Literal["auto", "ddp"]
EngineName = Literal["local", "ray", "spark"]
EmbedPrecision = Literal["32", "bf16"]
ProbeKind = Literal["ridge", "logistic", "knn"]
NamedLayers = Literal["last", "all", "blocks"]
Layers = NamedLayers | int


class PretrainOptions(NamedTuple):
    """Options of `tsjepa pretrain`; None where a flag is not given."""

    data: str | None
    config: str | None
    objective: Objective | None
    masking: Masking | None
    inputs: str | None
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
    logs: LogOptions = LogOptions()
    devices: int = 1
    nodes: int = 1
    strategy: Strategy = "auto"

    def overrides(self) -> list[str]:
        """Return the flags as `key.path=value`, those of --set last, so that they win."""
        flags = {
            "data": self.data,
            "mask.kind": self.masking,
            "world.inputs": None if self.inputs is None else split_names(self.inputs),
            "target.teacher": None if self.teacher is None else str(self.teacher),
            "train.epochs": self.epochs,
            "train.batch_size": self.batch_size,
            "train.lr": self.lr,
            "train.seed": self.seed,
        }
        return [*as_settings(flags), *self.logs.overrides(), *self.settings]


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
    logs: LogOptions = LogOptions()


class FinetuneOptions(NamedTuple):
    """Options of `tsjepa finetune`; None where a flag is not given."""

    checkpoint: Path
    data: str | None
    fractions: tuple[float, ...]
    epochs: int | None
    lr: float | None
    choose: bool
    supervised: bool
    out: Path | None
    overwrite: bool
    seeds: int | None
    device: Device
    data_dir: Path | None
    logs: LogOptions = LogOptions()


class EmbedOptions(NamedTuple):
    """Options of `tsjepa embed`."""

    checkpoint: Path
    data: str
    out: Path
    overwrite: bool
    pool_windows: bool
    device: Device
    data_dir: Path | None
    logs: LogOptions = LogOptions()
    engine: EngineName = "local"
    precision: EmbedPrecision = "32"


class DetectOptions(NamedTuple):
    """Options of `tsjepa detect`; None where a flag is not given."""

    checkpoint: Path
    data: str
    out: Path
    overwrite: bool
    reference_rows: int | None
    normal: str | None
    false_alarms: str
    label: str | None
    picture: Path | None
    follow: bool
    idle_timeout: float | None
    id: str | None
    time: str | None
    max_gap: str | None
    cache_dir: Path | None


class ExportOptions(NamedTuple):
    """Options of `tsjepa export`."""

    checkpoint: Path
    onnx: Path
    int8: bool
    overwrite: bool


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
    logs: LogOptions = LogOptions()

    def overrides(self) -> list[str]:
        """Return the flags as `key.path=value`, those of --set last, so that they win."""
        flags = {"data": self.data, "train.epochs": self.epochs, "train.seed": self.seed}
        return [*as_settings(flags), *self.logs.overrides(), *self.settings]


class BenchmarkOptions(NamedTuple):
    """Options of `tsjepa benchmark`; None or nothing where a flag is not given."""

    out: Path
    suite: str | None
    data: tuple[str, ...]
    methods: tuple[str, ...]
    config: str | None
    epochs: int | None
    seeds: int
    folds: int
    fractions: tuple[float, ...]
    per_class: tuple[int, ...]
    pretrain_on: tuple[str, ...]
    probe_on: tuple[str, ...]
    transfer: str | None
    device: Device
    data_dir: Path | None


def parse_names(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names in `A,B`, or in several such texts, each once."""
    return tuple(dict.fromkeys(name.strip() for name in ",".join(texts or ()).split(",") if name.strip()))


def parse_counts(texts: Sequence[str] | None) -> tuple[int, ...]:
    """Return the numbers of labels a class in `1,5,20`, or in several such texts, ascending, each once."""
    if not texts:
        return ()
    text = ",".join(texts)
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text!r} is not a list of numbers like 1,5,20", param_hint="--per-class")
    return tuple(sorted({int(part) for part in parts}))


def parse_fractions(texts: Sequence[str] | None) -> tuple[float, ...]:
    """Return the shares of labels in `0.01,0.1,1`, or in several such texts, ascending, each once."""
    if not texts:
        return ()
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


def parse_layers(text: str | None) -> Layers | None:
    """Return `last`, `all`, `blocks` or the number of a layer."""
    if text is None or text in get_args(NamedLayers):
        return cast(NamedLayers | None, text)
    if text.isdecimal():
        return int(text)
    raise typer.BadParameter(
        f"{text!r} is not {', '.join(get_args(NamedLayers))} or a number: 0 is the tokenizer", param_hint="--layers"
    )
