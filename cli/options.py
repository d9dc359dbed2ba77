"""The flags of the commands that train: each is declared once, as a field of its command's options."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from tsjepa.cli.arguments import (
    DATA,
    AnyData,
    DataDir,
    DeviceOption,
    Seed,
    Settings,
    named_path,
    parse_counts,
    parse_fractions,
    parse_names,
)
from tsjepa.cli.log_options import LogOptions, as_settings, split_names

Objective = Literal["ema", "cjepa", "sigreg", "vicreg", "visreg", "deep", "distill", "salt"]
Masking = Literal["bernoulli", "random", "block", "future"]
LoggerName = Literal["csv", "tensorboard", "wandb"]
Strategy = Literal["auto", "ddp"]


class PretrainOptions(NamedTuple):
    """Options of `tsjepa pretrain`; None where a flag is not given."""

    data: AnyData = None
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.yaml",
            help="Recipe, by default `default` or that of --objective; see `tsjepa recipes`. Or a file of your own.",
        ),
    ] = None
    objective: Annotated[
        Objective | None, typer.Option(help="Method: the recipe ts-jepa-NAME; with --config, the plain form of NAME.")
    ] = None
    masking: Annotated[Masking | None, typer.Option(help="Which patches are hidden (mask.kind).")] = None
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Log: channels given to a world model, not predicted (world.inputs); written as in --channels.",
        ),
    ] = None
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Frozen teacher of --objective distill or salt (target.teacher).",
        ),
    ] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training series (train.epochs).")] = None
    batch_size: Annotated[int | None, typer.Option(min=1, help="Series in each step (train.batch_size).")] = None
    lr: Annotated[float | None, typer.Option(help="Learning rate (train.lr).")] = None
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=named_path, help="Folder of the run; by default runs/<data>."),
    ] = None
    settings: Settings = ()
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in DIR.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in DIR.")] = False
    seed: Seed = None
    device: DeviceOption = "auto"
    logger: Annotated[LoggerName, typer.Option(help="csv writes metrics.csv; the others log there as well.")] = "csv"
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs, or processes on the CPU; they share the batches of train.batch_size.")
    ] = 1
    nodes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Machines; start the command on each, with NODE_RANK, MASTER_ADDR and MASTER_PORT set, or use "
            "torchrun or SLURM.",
        ),
    ] = 1
    strategy: Annotated[Strategy, typer.Option(help="How several processes train; auto is ddp.")] = "auto"
    stop_on_collapse: Annotated[
        bool, typer.Option("--stop-on-collapse", help="End a run whose collapse lasts, and keep its best epoch.")
    ] = False
    data_dir: DataDir = None
    logs: LogOptions = LogOptions()

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


class TuneOptions(NamedTuple):
    """Options of `tsjepa tune-lambda`; None where a flag is not given."""

    data: AnyData = None
    config: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.yaml", help="Recipe with SIGReg; by default ts-jepa-sigreg.")
    ] = None
    low: Annotated[float, typer.Option(help="Smallest weight to try.")] = 1e-4
    high: Annotated[float, typer.Option(help="Largest weight to try.")] = 1.0
    runs: Annotated[int, typer.Option(help="At most this many runs, 3 or more.")] = 6
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of a run.")] = 10
    seed: Seed = None
    settings: Settings = ()
    device: DeviceOption = "auto"
    data_dir: DataDir = None
    logs: LogOptions = LogOptions()

    def overrides(self) -> list[str]:
        """Return the flags as `key.path=value`, those of --set last, so that they win."""
        flags = {"data": self.data, "train.epochs": self.epochs, "train.seed": self.seed}
        return [*as_settings(flags), *self.logs.overrides(), *self.settings]


class StudyOptions(NamedTuple):
    """Options of `tsjepa collapse-study`."""

    out: Annotated[
        Path,
        typer.Option(metavar="DIR", parser=named_path, help="Folder of the study; a study that is there continues."),
    ]
    data: Annotated[
        tuple[str, ...], typer.Option(metavar="NAME|FILE|FOLDER...", help=f"{DATA} Several may follow."), tuple
    ] = ()
    more: Annotated[tuple[str, ...], typer.Argument(metavar="DATA", help="Further data sets."), tuple] = ()
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter runs: a few minutes.")] = False
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each setting; by default 3, with --quick 1.")] = None
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of a run; by default 3600, with --quick 600.")] = None
    device: DeviceOption = "auto"
    data_dir: DataDir = None


class BenchmarkOptions(NamedTuple):
    """Options of `tsjepa benchmark`; None or nothing where a flag is not given."""

    suite: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.yaml", help="Data sets: ucr-shared, ucr-112, uea-30, a file of your own ..."),
    ] = None
    data: Annotated[
        tuple[str, ...],
        typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} Repeatable, instead of --suite."),
        tuple,
    ] = ()
    methods: Annotated[
        tuple[str, ...],
        typer.Option(
            "--method",
            metavar="METHOD",
            help="default, a recipe, a checkpoint ({data} in its path is the name of each set), random-init, raw, "
            "catch22, minirocket, supervised or majority; repeatable. Without it: default, random-init, minirocket and "
            "majority.",
        ),
        tuple,
    ] = ()
    config: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.yaml", help="Recipe of the methods random-init and supervised.")
    ] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes of every pretraining (train.epochs).")] = None
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method on each data set.")] = 1
    folds: Annotated[int, typer.Option(min=1, help="Splits: the default one, and resamples of it.")] = 1
    fractions: Annotated[
        tuple[float, ...],
        typer.Option("--labels", metavar="SHARES", help="Few labels: shares, as in 0.01,0.05,0.1,0.5,1; repeatable."),
        parse_fractions,
    ] = ()
    per_class: Annotated[
        tuple[int, ...],
        typer.Option(metavar="NUMBERS", help="Few labels: numbers per class, as in 1,5,10,20,50; repeatable."),
        parse_counts,
    ] = ()
    pretrain_on: Annotated[
        tuple[str, ...],
        typer.Option(metavar="A,B", help="Transfer: pretrain on the training parts of these sets (repeatable) ..."),
        parse_names,
    ] = ()
    probe_on: Annotated[
        tuple[str, ...], typer.Option(metavar="C,D", help="... and probe on each of these (repeatable)."), parse_names
    ] = ()
    transfer: Annotated[
        str | None, typer.Option(metavar="bearings", help="Transfer between the four Paderborn conditions.")
    ] = None
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", parser=named_path, help="Folder of the tables; runs that are in them are not repeated."
        ),
    ] = Path("runs", "benchmark")
    device: DeviceOption = "auto"
    data_dir: DataDir = None
