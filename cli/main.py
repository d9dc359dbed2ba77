"""The command `tsjepa`: options and help. Nothing heavy is imported before a command runs."""

import sys
from contextlib import AbstractContextManager, redirect_stdout
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from tsjepa.cli.errors import SentenceGroup
from tsjepa.cli.options import (
    Device,
    DiagnoseOptions,
    EmbedOptions,
    LoggerName,
    Masking,
    Objective,
    PretrainOptions,
    ProbeKind,
    ProbeOptions,
    StudyOptions,
    TuneOptions,
    parse_fractions,
    parse_layers,
)

app = typer.Typer(
    cls=SentenceGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="TSJEPA_DATA",
        metavar="DIR",
        help="Folder of <Name>/<Name>_TRAIN.ts and _TEST.ts, looked in first.",
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint.ckpt of pretrain.")]
DATA = "Name of the UCR or UEA archive, file (.ts, .tsv, .npz, .npy, .csv, .parquet), or folder."


def results_only() -> AbstractContextManager[object]:
    """Keep standard output for the result: whatever a library prints meanwhile goes to standard error."""
    return redirect_stdout(sys.stderr)


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"tsjepa {version('tsjepa')}")
        raise typer.Exit


@app.callback()
def tsjepa(
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Joint-embedding predictive pretraining for time series and sensors."""


@app.command()
def pretrain(
    data: Annotated[str | None, typer.Option(metavar="NAME|FILE|FOLDER", help=DATA)] = None,
    config: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.yaml", help="Recipe, see `tsjepa recipes`, or own file.")
    ] = None,
    objective: Annotated[Objective | None, typer.Option(help="What keeps latents from collapsing.")] = None,
    masking: Annotated[Masking | None, typer.Option(help="Which patches are hidden (mask.kind).")] = None,
    teacher: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Frozen teacher of --objective distill (target.teacher).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="train.epochs")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="train.batch_size")] = None,
    lr: Annotated[float | None, typer.Option(help="train.lr")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the run; by default runs/<data>.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Any key of the configuration; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in DIR.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in DIR.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="train.seed")] = None,
    device: DeviceOption = "auto",
    logger: Annotated[LoggerName, typer.Option(help="metrics.csv, and what else to log to.")] = "csv",
    stop_on_collapse: Annotated[
        bool, typer.Option("--stop-on-collapse", help="End a run whose collapse lasts, and keep its best epoch.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Pretrain an encoder without labels, and score it beside its random initialisation.

    Data sets are named as in the UCR and UEA archives: FordA, FordB, FaultDetectionA, FaultDetectionB and so on.
    Without --data it is BasicMotions, smartwatch sensors that need no download.
    """
    options = PretrainOptions(
        data, config, objective, masking, teacher, epochs, batch_size, lr, seed, tuple(settings or ()),
        out, resume, overwrite, device, logger, stop_on_collapse, data_dir,
    )  # fmt: skip
    with results_only():
        from tsjepa.cli import commands, render

        report = commands.pretrain(options)
    if as_json:
        render.print_json(report.values())
    else:
        render.show_pretrain(report)


@app.command()
def probe(
    checkpoint: Checkpoint,
    data: Annotated[
        str | None, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} By default the checkpoint's.")
    ] = None,
    kind: Annotated[ProbeKind, typer.Option("--probe", help="The head on frozen embeddings.")] = "ridge",
    labels: Annotated[str, typer.Option(metavar="SHARES", help="Shares of labels, as in 0.01,0.1,1.")] = "1",
    layers: Annotated[
        str | None, typer.Option(metavar="last|all|K", help="Levels to pool; 0 is the tokenizer.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Draws of labels; by default 5, and 1 for all labels.")
    ] = None,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Score a checkpoint's frozen encoder, beside the majority class and the encoder's random initialisation."""
    shares, levels = parse_fractions(labels), parse_layers(layers)
    options = ProbeOptions(checkpoint, data, kind, shares, levels, seeds, device, data_dir)
    with results_only():
        from tsjepa.cli import commands, render

        report = commands.probe(options)
    if as_json:
        render.print_json(report.values())
    else:
        render.show_probe(report)


@app.command()
def embed(
    checkpoint: Checkpoint,
    data: Annotated[str, typer.Option(metavar="NAME|FILE|FOLDER", help=DATA)],
    out: Annotated[Path, typer.Option(metavar="FILE.parquet", help="Table to write, one row a series.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.parquet.")] = False,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write the embedding of each series to a Parquet table."""
    with results_only():
        from tsjepa.cli import commands, render

        report = commands.embed(EmbedOptions(checkpoint, data, out, overwrite, device, data_dir))
    if as_json:
        render.print_json(report.values())
    else:
        render.show_embed(report)


@app.command()
def diagnose(
    target: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_OR_RUN", help="A checkpoint.ckpt of pretrain, or its folder.")
    ],
    data: Annotated[
        str | None, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} By default the checkpoint's.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Page to write, replacing an old one; by default diagnose.html beside it."
        ),
    ] = None,
    supervised: Annotated[
        bool, typer.Option("--supervised", help="Train the same architecture on the labels, to compare with.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of masks, perturbations and drawn series.")] = 0,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Look for collapse and its quiet cousins in one model, beside its random initialisation.

    Numbers with and without labels, accuracy as test series are spoilt and as parts of the encoder are taken out,
    and one HTML page with figures that needs no network.
    """
    with results_only():
        from tsjepa.cli import render
        from tsjepa.cli.diagnose import diagnose as run

        report = run(DiagnoseOptions(target, data, out, supervised, seed, device, data_dir))
    if as_json:
        render.print_json(report.values())
    else:
        render.show_diagnose(report)


@app.command("collapse-study")
def collapse_study(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the study; one that is there goes on.")],
    data: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE|FOLDER...", help=f"{DATA} Several may follow.")
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="DATA", help="Further data sets.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter runs: some minutes.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each arm; by default 3, quick 1.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length of a run; by default 3600, quick 600.")] = None,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put the claims of the early-collapse paper to the test: many runs over EMA decays and masks.

    Without --data it is FordA, and FaultDetectionA and PaderbornKAT where they are on this machine. A study that was
    stopped goes on when the same command is given again.
    """
    names = (*(data or ()), *(more or ()))
    options = StudyOptions(out, quick, names, seeds, steps, device, data_dir)
    with results_only():
        from tsjepa.cli import render, study

        report = study.collapse_study(options)
    if as_json:
        render.print_json(report.values())
    else:
        render.show_study(report)


@app.command("tune-lambda")
def tune_lambda(
    data: Annotated[str | None, typer.Option(metavar="NAME|FILE|FOLDER", help=DATA)] = None,
    config: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.yaml", help="Recipe with SIGReg; by default ts-jepa-sigreg.")
    ] = None,
    low: Annotated[float, typer.Option(help="Smallest weight to try.")] = 1e-4,
    high: Annotated[float, typer.Option(help="Largest weight to try.")] = 1.0,
    runs: Annotated[int, typer.Option(help="At most this many runs, 3 or more.")] = 6,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of a run.")] = 10,
    seed: Annotated[int | None, typer.Option(min=0, help="train.seed")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Any key of the configuration; repeatable."),
    ] = None,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Find SIGReg's weight (lambda) by bisection over short runs, without labels.

    It is the smallest weight whose run ends in no collapse, and with latents close enough to a normal law: the
    normalised SIGReg score (0 normal, 1 collapsed) below 0.1. Larger weights drown the prediction.
    """
    options = TuneOptions(data, config, low, high, runs, epochs, seed, tuple(settings or ()), device, data_dir)
    with results_only():
        from tsjepa.cli import render, tune

        report = tune.tune_lambda(options)
    if as_json:
        render.print_json(report.values())
    else:
        render.show_tune(report)


@app.command()
def recipes() -> None:
    """List the recipes that --config takes by name."""
    for file in sorted(files("tsjepa.configs").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            first = file.read_text(encoding="utf-8").partition("\n")[0]
            typer.echo(f"{file.name.removesuffix('.yaml'):20} {first.lstrip('# ')}")


def main() -> None:
    """Run the command line."""
    app(prog_name="tsjepa")
