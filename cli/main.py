"""The command `tsjepa`: options and help. Nothing heavy is imported before a command runs."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from tsjepa.cli.arguments import (
    DATA,
    LOG,
    Checkpoint,
    DataDir,
    DeviceOption,
    Json,
    Settings,
    named_path,
    results_only,
)
from tsjepa.cli.detect_command import detect
from tsjepa.cli.embed_command import embed
from tsjepa.cli.errors import SentenceGroup
from tsjepa.cli.export_command import export
from tsjepa.cli.finetune_command import finetune
from tsjepa.cli.log_options import LogOptions, with_log_options
from tsjepa.cli.options import (
    BenchmarkOptions,
    DiagnoseOptions,
    LoggerName,
    Masking,
    Objective,
    PretrainOptions,
    ProbeKind,
    ProbeOptions,
    Strategy,
    StudyOptions,
    TuneOptions,
    parse_counts,
    parse_fractions,
    parse_layers,
    parse_names,
)
from tsjepa.cli.process import collect_seldom, end_without_collecting, escape_characters, open_streams, share_cores
from tsjepa.cli.recipes_command import recipes

app = typer.Typer(
    cls=SentenceGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


@app.command(short_help="Pretrain an encoder without labels.")
@with_log_options
def pretrain(
    logs: LogOptions,
    data: Annotated[str | None, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} {LOG}")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.yaml",
            help="Recipe, by default `default` or that of --objective; see `tsjepa recipes`. Or a file of your own.",
        ),
    ] = None,
    objective: Annotated[
        Objective | None, typer.Option(help="Method: the recipe ts-jepa-NAME; with --config, the plain form of NAME.")
    ] = None,
    masking: Annotated[Masking | None, typer.Option(help="Which patches are hidden (mask.kind).")] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Log: channels given to a world model, not predicted (world.inputs); written as in --channels.",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Frozen teacher of --objective distill or salt (target.teacher).",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training series (train.epochs).")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Series in each step (train.batch_size).")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate (train.lr).")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=named_path, help="Folder of the run; by default runs/<data>."),
    ] = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in DIR.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in DIR.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random (train.seed).")] = None,
    device: DeviceOption = "auto",
    logger: Annotated[LoggerName, typer.Option(help="csv writes metrics.csv; the others log there as well.")] = "csv",
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs, or processes on the CPU; they share the batches of train.batch_size.")
    ] = 1,
    nodes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Machines; start the command on each, with NODE_RANK, MASTER_ADDR and MASTER_PORT set, or use "
            "torchrun or SLURM.",
        ),
    ] = 1,
    strategy: Annotated[Strategy, typer.Option(help="How several processes train; auto is ddp.")] = "auto",
    stop_on_collapse: Annotated[
        bool, typer.Option("--stop-on-collapse", help="End a run whose collapse lasts, and keep its best epoch.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Pretrain an encoder without labels, and score it next to its random initialisation.

    Data sets are named as in the UCR and UEA archives: FordA, FordB, FaultDetectionA, FaultDetectionB and so on.
    Without --data the data are BasicMotions, smartwatch data that need no download.
    """
    options = PretrainOptions(
        data, config, objective, masking, inputs, teacher, epochs, batch_size, lr, seed, tuple(settings or ()),
        out, resume, overwrite, device, logger, stop_on_collapse, data_dir, logs, devices, nodes, strategy,
    )  # fmt: skip
    with results_only():
        from tsjepa.cli import commands, render
        from tsjepa.cli.other_processes import check_nodes, is_other, train_along

        check_nodes(options.nodes)
        if is_other(options):
            train_along(options)
            return
        report = commands.pretrain(options)
    render.show(report, as_json, render.show_pretrain)


@app.command(short_help="Score a frozen encoder beside its random initialisation.")
@with_log_options
def probe(
    checkpoint: Checkpoint,
    logs: LogOptions,
    data: Annotated[
        str | None, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} {LOG} By default the checkpoint's.")
    ] = None,
    kind: Annotated[ProbeKind, typer.Option("--probe", help="The probe that reads frozen embeddings.")] = "ridge",
    labels: Annotated[
        list[str] | None,
        typer.Option(metavar="SHARES", help="Shares of labels, as in 0.01,0.1,1; repeatable. By default 1."),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="last|all|blocks|K",
            help="Read pooled levels of the encoder instead of the whole embedding, without shares, sketch and scale "
            "features: the last, all, all but the tokenizer's, or one by its number; 0 is the tokenizer.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Draws of labels; by default 5, and 1 for all labels.")
    ] = None,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Score a checkpoint's frozen encoder, next to the majority class and its random initialisation."""
    shares, levels = parse_fractions(labels) or (1.0,), parse_layers(layers)
    options = ProbeOptions(checkpoint, data, kind, shares, levels, seeds, device, data_dir, logs)
    with results_only():
        from tsjepa.cli import commands, render

        report = commands.probe(options)
    render.show(report, as_json, render.show_probe)


app.command(short_help="Fine-tune an encoder with labels.")(with_log_options(finetune))
app.command(short_help="Write embeddings of series, or of windows, to a table.")(with_log_options(embed))
app.command(short_help="Score rows of a log by surprise, and find its events.")(detect)
app.command(short_help="Write what embed computes as an ONNX graph.")(export)


@app.command(short_help="Look for collapse in one model, and write a page.")
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
            metavar="FILE.html",
            parser=named_path,
            help="Page to write, replacing an old one; by default diagnose.html in the run's folder.",
        ),
    ] = None,
    supervised: Annotated[
        bool,
        typer.Option("--supervised/--no-supervised", help="Train the same architecture on the labels, for comparison."),
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of masks, perturbations and drawn series.")] = 0,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Look for collapse and related problems in one model, next to its random initialisation.

    Gives numbers with and without labels, accuracy as test series are perturbed and as parts of the encoder are taken
    out, and one HTML page with figures that needs no network.
    """
    with results_only():
        from tsjepa.cli import render
        from tsjepa.cli.diagnose import diagnose as run

        report = run(DiagnoseOptions(target, data, out, supervised, seed, device, data_dir))
    render.show(report, as_json, render.show_diagnose)


@app.command("collapse-study", short_help="Test the claims of the early-collapse paper.")
def collapse_study(
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", parser=named_path, help="Folder of the study; a study that is there continues."),
    ],
    data: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE|FOLDER...", help=f"{DATA} Several may follow.")
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="DATA", help="Further data sets.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter runs: a few minutes.")] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each setting; by default 3, with --quick 1.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of a run; by default 3600, with --quick 600.")] = None,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Test the claims of the early-collapse paper by many runs over EMA decays and masks.

    Without --data the data are FordA, and FaultDetectionA and PaderbornKAT if they are on this machine. A study that
    was stopped continues when the same command is given again.
    """
    names = (*(data or ()), *(more or ()))
    options = StudyOptions(out, quick, names, seeds, steps, device, data_dir)
    with results_only():
        from tsjepa.cli import render, study

        report = study.collapse_study(options)
    render.show(report, as_json, render.show_study)


@app.command("tune-lambda", short_help="Find SIGReg's weight (lambda) without labels.")
@with_log_options
def tune_lambda(
    logs: LogOptions,
    data: Annotated[str | None, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} {LOG}")] = None,
    config: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.yaml", help="Recipe with SIGReg; by default ts-jepa-sigreg.")
    ] = None,
    low: Annotated[float, typer.Option(help="Smallest weight to try.")] = 1e-4,
    high: Annotated[float, typer.Option(help="Largest weight to try.")] = 1.0,
    runs: Annotated[int, typer.Option(help="At most this many runs, 3 or more.")] = 6,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of a run.")] = 10,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random (train.seed).")] = None,
    settings: Settings = None,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Find SIGReg's weight (lambda) by bisection over short runs, without labels.

    It is the smallest weight whose run ends without a lasting collapse (a short run may end in a collapse phase) and
    with a normalised SIGReg score (0 normal, 1 collapsed) below 0.1. Larger weights drown the prediction.
    """
    options = TuneOptions(data, config, low, high, runs, epochs, seed, tuple(settings or ()), device, data_dir, logs)
    with results_only():
        from tsjepa.cli import render, tune

        report = tune.tune_lambda(options)
    render.show(report, as_json, render.show_tune)


@app.command(short_help="Compare methods on many data sets.")
def benchmark(
    suite: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.yaml", help="Data sets: ucr-shared, ucr-112, uea-30, a file of your own ..."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} Repeatable, instead of --suite.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="default, a recipe, a checkpoint, random-init, raw, catch22, minirocket, supervised or majority; "
            "repeatable. Without it: default, random-init, minirocket and majority.",
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.yaml", help="Recipe of the methods random-init and supervised.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes of every pretraining (train.epochs).")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method on each data set.")] = 1,
    folds: Annotated[int, typer.Option(min=1, help="Splits: the default one, and resamples of it.")] = 1,
    labels: Annotated[
        list[str] | None,
        typer.Option(metavar="SHARES", help="Few labels: shares, as in 0.01,0.05,0.1,0.5,1; repeatable."),
    ] = None,
    per_class: Annotated[
        list[str] | None,
        typer.Option(metavar="NUMBERS", help="Few labels: numbers per class, as in 1,5,10,20,50; repeatable."),
    ] = None,
    pretrain_on: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B", help="Transfer: pretrain on the training parts of these sets (repeatable) ..."),
    ] = None,
    probe_on: Annotated[
        list[str] | None, typer.Option(metavar="C,D", help="... and probe on each of these (repeatable).")
    ] = None,
    transfer: Annotated[
        str | None, typer.Option(metavar="bearings", help="Transfer between the four Paderborn conditions.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", parser=named_path, help="Folder of the tables; runs that are in them are not repeated."
        ),
    ] = Path("runs", "benchmark"),
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Compare methods on many data sets: one table of data sets x methods x seeds, with summary and pictures.

    One ridge head reads the features of all methods. Rows are kept as they come: a stopped benchmark continues when the
    same command is given again. A data set that fails is reported, and the rest goes on. Exit code 1: every run failed.
    Sensor logs are not read: save labelled windows of a log as .npz, or see pretrain and probe.
    """
    options = BenchmarkOptions(
        out, suite, tuple(data or ()), tuple(method or ()), config, epochs, seeds, folds, parse_fractions(labels),
        parse_counts(per_class), parse_names(pretrain_on), parse_names(probe_on), transfer, device, data_dir,
    )  # fmt: skip
    with results_only():
        from tsjepa.cli import render
        from tsjepa.cli.benchmark import benchmark as run

        report = run(options)
    render.show(report, as_json, render.show_benchmark)


app.command(short_help="List the recipes of --config, or print one.")(recipes)


def main() -> None:
    """Run the command line."""
    open_streams()
    escape_characters()
    share_cores()
    collect_seldom()
    end_without_collecting()
    app(prog_name="tsjepa")
