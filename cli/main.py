"""The command `tsjepa`: its commands and their help. Nothing heavy is imported before a command runs."""

from functools import partial
from importlib.metadata import version
from typing import Annotated

import typer

from tsjepa.cli.checkpoint_options import (
    DetectOptions,
    DiagnoseOptions,
    EmbedOptions,
    ExportOptions,
    FinetuneOptions,
    ProbeOptions,
)
from tsjepa.cli.command import Show, with_flags
from tsjepa.cli.errors import SentenceGroup
from tsjepa.cli.options import BenchmarkOptions, PretrainOptions, StudyOptions, TuneOptions
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
@with_flags
def pretrain(options: PretrainOptions) -> Show | None:
    """Pretrain an encoder without labels, and score it next to its random initialisation.

    Data sets are named as in the UCR and UEA archives: FordA, FordB, FaultDetectionA, FaultDetectionB and so on.
    Without --data the data are BasicMotions, smartwatch data that need no download.
    """
    from tsjepa.cli import commands, render
    from tsjepa.cli.other_processes import check_nodes, is_other, train_along

    check_nodes(options.nodes)
    if is_other(options):
        train_along(options)
        return None
    return partial(render.show, commands.pretrain(options), shown=render.show_pretrain)


@app.command(short_help="Score a frozen encoder beside its random initialisation.")
@with_flags
def probe(options: ProbeOptions) -> Show:
    """Score a checkpoint's frozen encoder, next to the majority class and its random initialisation."""
    from tsjepa.cli import commands, render

    return partial(render.show, commands.probe(options), shown=render.show_probe)


@app.command(short_help="Fine-tune an encoder with labels.")
@with_flags
def finetune(options: FinetuneOptions) -> Show:
    """Fine-tune a checkpoint's encoder with labels, next to the frozen encoder and one that starts at random weights.

    All three see the same draws of labels. finetuned.ckpt keeps encoder and head: embed predicts classes with it, in
    Python TSJEPAClassifier.load, whose classes are then the names of the data set's classes, as text.
    """
    if options.lr is not None and not 0 < options.lr < float("inf"):
        raise typer.BadParameter(f"a learning rate is above 0, but got {options.lr:g}", param_hint="--lr")
    from tsjepa.cli import render
    from tsjepa.cli.finetune import finetune as run

    return partial(render.show, run(options), shown=render.show_finetune)


@app.command(short_help="Write embeddings of series, or of windows, to a table.")
@with_flags
def embed(options: EmbedOptions) -> Show:
    """Write the embedding of each series, or of each window of a log, to a Parquet table.

    Columns: part (where there are training and test parts), id, start, end (times of first and last point), label
    (where there is one), predicted (the class, where the checkpoint is a fine-tuned one), embedding. A log is read with
    the columns and windows of the checkpoint, unless flags say otherwise. A call that was stopped continues when it is
    given again.
    """
    from tsjepa.cli import render
    from tsjepa.cli.embed import embed as run

    return partial(render.show, run(options), shown=render.show_embed)


@app.command(short_help="Score rows of a log by surprise, and find its events.")
@with_flags
def detect(options: DetectOptions) -> Show:
    """Score every row of a log by a world model's surprise, and join rows over a threshold into events.

    FILE.parquet has the log's own columns of id and time, score, event (its number, if the row is over the threshold),
    and one score_<channel> per channel. events.csv beside it has one row per event, so each FILE needs a folder of its
    own. The threshold comes from normal data: the training data, those of --normal, or the first rows of each run. A
    score uses no later row; an event shows at most one patch late.
    """
    from tsjepa.cli import render
    from tsjepa.cli.detect import detect as run

    return partial(render.show, run(options), shown=render.show_detect)


@app.command(short_help="Write what embed computes as an ONNX graph.")
@with_flags
def export(options: ExportOptions) -> Show:
    """Write what embed computes as one ONNX graph, and check it against torch with ONNX Runtime.

    Its input is values (batch, channels, length) in float32, NaN where nothing was measured; its output is embedding
    (batch, features). Batch and length are free, and so are channels where the encoder takes each by itself.
    It needs the extra onnx: pip install 'tsjepa[onnx]'.
    """
    from tsjepa.cli import render
    from tsjepa.cli.export import export as run

    return partial(render.show, run(options), shown=render.show_export)


@app.command(short_help="Look for collapse in one model, and write a page.")
@with_flags
def diagnose(options: DiagnoseOptions) -> Show:
    """Look for collapse and related problems in one model, next to its random initialisation.

    Gives numbers with and without labels, accuracy as test series are perturbed and as parts of the encoder are taken
    out, and one HTML page with figures that needs no network.
    """
    from tsjepa.cli import render
    from tsjepa.cli.diagnose import diagnose as run

    return partial(render.show, run(options), shown=render.show_diagnose)


@app.command("collapse-study", short_help="Test the claims of the early-collapse paper.")
@with_flags
def collapse_study(options: StudyOptions) -> Show:
    """Test the claims of the early-collapse paper by many runs over EMA decays and masks.

    Without --data the data are FordA, and FaultDetectionA and PaderbornKAT if they are on this machine. A study that
    was stopped continues when the same command is given again.
    """
    from tsjepa.cli import render
    from tsjepa.cli.study import collapse_study as run

    named = options._replace(data=options.data + options.more, more=())
    return partial(render.show, run(named), shown=render.show_study)


@app.command("tune-lambda", short_help="Find SIGReg's weight (lambda) without labels.")
@with_flags
def tune_lambda(options: TuneOptions) -> Show:
    """Find SIGReg's weight (lambda) by bisection over short runs, without labels.

    It is the smallest weight whose run ends without a lasting collapse (a short run may end in a collapse phase) and
    with a normalised SIGReg score (0 normal, 1 collapsed) below 0.1. Larger weights drown the prediction.
    """
    from tsjepa.cli import render
    from tsjepa.cli.tune import tune_lambda as run

    return partial(render.show, run(options), shown=render.show_tune)


@app.command(short_help="Compare methods on many data sets.")
@with_flags
def benchmark(options: BenchmarkOptions) -> Show:
    """Compare methods on many data sets: one table of data sets x methods x seeds, with summary and pictures.

    One ridge head reads the features of all methods. Rows are kept as they come: a stopped benchmark continues when the
    same command is given again. A data set that fails is reported, and the rest goes on. Exit code 1: every run failed.
    Sensor logs are not read: save labelled windows of a log as .npz, or see pretrain and probe.
    """
    from tsjepa.cli import render
    from tsjepa.cli.benchmark import benchmark as run

    return partial(render.show, run(options), shown=render.show_benchmark)


app.command(short_help="List the recipes of --config, or print one.")(recipes)


def main() -> None:
    """Run the command line."""
    open_streams()
    escape_characters()
    share_cores()
    collect_seldom()
    end_without_collecting()
    app(prog_name="tsjepa")
