"""The flags of `tsjepa detect`; nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from tsjepa.cli.arguments import Checkpoint, Json, named_path, results_only
from tsjepa.cli.options import DetectOptions


def detect(
    checkpoint: Checkpoint,
    data: Annotated[
        str, typer.Option(metavar="LOG", help="Sensor log: file, folder or glob; with --follow a CSV file, or -.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE.parquet",
            parser=named_path,
            help="Table to write, one line per log row; .csv with --follow.",
        ),
    ],
    reference_rows: Annotated[
        int | None,
        typer.Option(min=1, help="The first N rows of each run are normal: they set its levels and the threshold."),
    ] = None,
    normal: Annotated[
        str | None,
        typer.Option(metavar="LOG", help="Log of normal operation that was not trained on, for the threshold."),
    ] = None,
    false_alarms: Annotated[
        str, typer.Option(metavar="N/TIME|N/ROWS", help="Budget of false alarms, as in 2/week, or 1/10000 (rows).")
    ] = "1/day",
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column that marks abnormal rows (default: `anomaly` or `label`); '' for none."
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|FILE.svg", parser=named_path, help="Picture of log, score, threshold and events."
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Score rows as they are appended to a file or come on standard input.")
    ] = False,
    idle_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="--follow ends after this time without a row.")
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Column of the machine or run; '' for none.")
    ] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of time; '' for none.")] = None,
    max_gap: Annotated[
        str | None,
        typer.Option("--max-gap", metavar="N|TIME", help="A longer step of time is a gap; by default as in training."),
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option("--cache-dir", metavar="DIR", help="Folder in which logs are kept.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.parquet and events.csv.")] = False,
    as_json: Json = False,
) -> None:
    """Score every row of a log by a world model's surprise, and join rows over a threshold into events.

    FILE.parquet has the log's own columns of id and time, score, event (its number, if the row is over the threshold),
    and one score_<channel> per channel. events.csv beside it has one row per event, so each FILE needs a folder of its
    own. The threshold comes from normal data: the training data, those of --normal, or the first rows of each run. A
    score uses no later row; an event shows at most one patch late.
    """
    options = DetectOptions(
        checkpoint, data, out, overwrite, reference_rows, normal, false_alarms, label, picture, follow, idle_timeout,
        identity, time, max_gap, cache_dir,
    )  # fmt: skip
    with results_only():
        from tsjepa.cli import render
        from tsjepa.cli.detect import detect as run

        report = run(options)
    render.show(report, as_json, render.show_detect)
