"""The flags of `tsjepa finetune`; nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from tsjepa.cli.arguments import DATA, LOG, Checkpoint, DataDir, DeviceOption, Json, named_path, results_only
from tsjepa.cli.log_options import LogOptions
from tsjepa.cli.options import FinetuneOptions, parse_fractions


def finetune(
    checkpoint: Checkpoint,
    logs: LogOptions,
    data: Annotated[
        str | None, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} {LOG} By default the checkpoint's.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(metavar="SHARES", help="Shares of labels, as in 0.05,1; repeatable. By default 1."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the labelled series; by default 20.")] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate of the head, by default 0.001; the encoder's is a tenth of it, from scratch the same."
        ),
    ] = None,
    choose: Annotated[
        bool,
        typer.Option(
            "--choose",
            help="Tune only if cross-validation on training labels finds it better; takes about three times as long. "
            "With fewer than 3 labels of a class nothing can be compared, and it tunes.",
        ),
    ] = False,
    supervised: Annotated[
        bool,
        typer.Option(
            "--supervised/--no-supervised", help="Whether to train the same architecture from random weights too."
        ),
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=named_path,
            help="Folder for finetuned.ckpt, which is that of the largest share of labels.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace finetuned.ckpt in DIR.")] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Draws of labels; by default 5, and 1 for all labels.")
    ] = None,
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a checkpoint's encoder with labels, next to the frozen encoder and one that starts at random weights.

    All three see the same draws of labels. finetuned.ckpt keeps encoder and head: embed takes it, and in Python
    TSJEPAClassifier.load, whose classes are then the names of the data set's classes, as text.
    """
    if lr is not None and not 0 < lr < float("inf"):
        raise typer.BadParameter(f"a learning rate is above 0, but got {lr:g}", param_hint="--lr")
    shares = parse_fractions(labels) or (1.0,)
    options = FinetuneOptions(
        checkpoint, data, shares, epochs, lr, choose, supervised, out, overwrite, seeds, device, data_dir, logs
    )
    with results_only():
        from tsjepa.cli import render
        from tsjepa.cli.finetune import finetune as run

        report = run(options)
    render.show(report, as_json, render.show_finetune)
