"""The flags of the commands that take a checkpoint: each is declared once, as a field of its command's options."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from tsjepa.cli.arguments import (
    DATA,
    LOG,
    Checkpoint,
    DataDir,
    DataOfCheckpoint,
    DeviceOption,
    Draws,
    Layers,
    named_path,
    parse_fractions,
    parse_layers,
)
from tsjepa.cli.log_options import LogOptions

EngineName = Literal["local", "ray", "spark"]
EmbedPrecision = Literal["32", "bf16"]
ProbeKind = Literal["ridge", "logistic", "knn"]


class ProbeOptions(NamedTuple):
    """Options of `tsjepa probe`."""

    checkpoint: Checkpoint
    data: DataOfCheckpoint = None
    kind: Annotated[ProbeKind, typer.Option("--probe", help="The probe that reads frozen embeddings.")] = "ridge"
    fractions: Annotated[
        tuple[float, ...],
        typer.Option(
            "--labels", metavar="SHARES", help="Shares of labels, as in 0.01,0.1,1; repeatable. By default 1."
        ),
        parse_fractions,
    ] = (1.0,)
    layers: Annotated[
        Layers | None,
        typer.Option(
            metavar="last|all|blocks|K",
            help="Read pooled levels of the encoder instead of the whole embedding, without shares, sketch and scale "
            "features: the last, all, all but the tokenizer's, or one by its number; 0 is the tokenizer.",
        ),
        parse_layers,
    ] = None
    seeds: Draws = None
    device: DeviceOption = "auto"
    data_dir: DataDir = None
    logs: LogOptions = LogOptions()


class FinetuneOptions(NamedTuple):
    """Options of `tsjepa finetune`; None where a flag is not given."""

    checkpoint: Checkpoint
    data: DataOfCheckpoint = None
    fractions: Annotated[
        tuple[float, ...],
        typer.Option("--labels", metavar="SHARES", help="Shares of labels, as in 0.05,1; repeatable. By default 1."),
        parse_fractions,
    ] = (1.0,)
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the labelled series; by default 20.")] = None
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate of the head, by default 0.001; the encoder's is a tenth of it, from scratch the same."
        ),
    ] = None
    choose: Annotated[
        bool,
        typer.Option(
            "--choose",
            help="Tune only if cross-validation on training labels finds it better; takes about three times as long. "
            "With fewer than 3 labels of a class nothing can be compared, and it tunes.",
        ),
    ] = False
    supervised: Annotated[
        bool,
        typer.Option(
            "--supervised/--no-supervised", help="Whether to train the same architecture from random weights too."
        ),
    ] = True
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=named_path,
            help="Folder for finetuned.ckpt, which is that of the largest share of labels.",
        ),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace finetuned.ckpt in DIR.")] = False
    seeds: Draws = None
    device: DeviceOption = "auto"
    data_dir: DataDir = None
    logs: LogOptions = LogOptions()


class EmbedOptions(NamedTuple):
    """Options of `tsjepa embed`."""

    checkpoint: Checkpoint
    data: Annotated[str, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} {LOG}")]
    out: Annotated[
        Path,
        typer.Option(metavar="FILE.parquet", parser=named_path, help="Table to write, one row per series or window."),
    ]
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.parquet.")] = False
    pool_windows: Annotated[
        bool, typer.Option("--pool-windows", help="Log: one row per id, the mean over its windows.")
    ] = False
    engine: Annotated[
        EngineName,
        typer.Option(help="Where embeddings are computed: in this process, in Ray (RAY_ADDRESS), or in Spark."),
    ] = "local"
    precision: Annotated[
        EmbedPrecision,
        typer.Option(help="Precision of matrix products; bf16 is faster for many series where the device has it."),
    ] = "32"
    device: DeviceOption = "auto"
    data_dir: DataDir = None
    logs: LogOptions = LogOptions()


class DetectOptions(NamedTuple):
    """Options of `tsjepa detect`; None where a flag is not given."""

    checkpoint: Checkpoint
    data: Annotated[
        str, typer.Option(metavar="LOG", help="Sensor log: file, folder or glob; with --follow a CSV file, or -.")
    ]
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE.parquet",
            parser=named_path,
            help="Table to write, one line per log row; .csv with --follow.",
        ),
    ]
    reference_rows: Annotated[
        int | None,
        typer.Option(min=1, help="The first N rows of each run are normal: they set its levels and the threshold."),
    ] = None
    normal: Annotated[
        str | None,
        typer.Option(metavar="LOG", help="Log of normal operation that was not trained on, for the threshold."),
    ] = None
    false_alarms: Annotated[
        str, typer.Option(metavar="N/TIME|N/ROWS", help="Budget of false alarms, as in 2/week, or 1/10000 (rows).")
    ] = "1/day"
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column that marks abnormal rows (default: `anomaly` or `label`); '' for none."
        ),
    ] = None
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|FILE.svg", parser=named_path, help="Picture of log, score, threshold and events."
        ),
    ] = None
    follow: Annotated[
        bool, typer.Option("--follow", help="Score rows as they are appended to a file or come on standard input.")
    ] = False
    idle_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="--follow ends after this time without a row.")
    ] = None
    id: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the machine or run; '' for none.")] = None
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of time; '' for none.")] = None
    max_gap: Annotated[
        str | None,
        typer.Option("--max-gap", metavar="N|TIME", help="A longer step of time is a gap; by default as in training."),
    ] = None
    cache_dir: Annotated[
        Path | None, typer.Option("--cache-dir", metavar="DIR", help="Folder in which logs are kept.")
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.parquet and events.csv.")] = False


class ExportOptions(NamedTuple):
    """Options of `tsjepa export`."""

    checkpoint: Checkpoint
    onnx: Annotated[Path, typer.Option(metavar="FILE.onnx", parser=named_path, help="File to write.")]
    int8: Annotated[bool, typer.Option("--int8", help="Store weight matrices as 8-bit integers.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.onnx.")] = False


class DiagnoseOptions(NamedTuple):
    """Options of `tsjepa diagnose`."""

    target: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_OR_RUN", help="A checkpoint.ckpt of pretrain, or its folder.")
    ]
    data: Annotated[
        str | None, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} By default the checkpoint's.")
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            parser=named_path,
            help="Page to write, replacing an old one; by default diagnose.html in the run's folder.",
        ),
    ] = None
    supervised: Annotated[
        bool,
        typer.Option("--supervised/--no-supervised", help="Train the same architecture on the labels, for comparison."),
    ] = True
    seed: Annotated[int, typer.Option(min=0, help="Seed of masks, perturbations and drawn series.")] = 0
    device: DeviceOption = "auto"
    data_dir: DataDir = None
