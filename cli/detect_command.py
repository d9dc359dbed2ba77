"""The flags of `tsjepa detect`; nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from tsjepa.cli.arguments import Checkpoint, Json, results_only
from tsjepa.cli.options import DetectOptions


def detect(
    checkpoint: Checkpoint,
    data: Annotated[
        str, typer.Option(metavar="LOG", help="Sensor log: file, folder or glob; with --follow a CSV file, or -.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE.parquet", help="Table to write, one row a row; .csv with --follow.")
    ],
    reference_rows: Annotated[
        int | None,
        typer.Option(
            min=1, help="The first rows of each run are known to be normal: levels and thresholds are theirs."
        ),
    ] = None,
    normal: Annotated[
        str | None,
        typer.Option(metavar="LOG", help="Normal operation that was not trained on, for thresholds."),
    ] = None,
    false_alarms: Annotated[
        str, typer.Option(metavar="N/TIME|N/ROWS", help="Budget of false alarms, as in 2/week or 1/10000.")
    ] = "1/day",
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Labels of abnormal rows, by default anomaly or label; '' for none."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png|FILE.svg", help="Draw log, score, threshold and events.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Score rows as they are appended, or come on standard input.")
    ] = False,
    idle_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="--follow ends after so long without a row.")
    ] = None,
    identity: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="Machine or run; '' for none.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Time; '' for none.")] = None,
    max_gap: Annotated[
        str | None,
        typer.Option("--max-gap", metavar="N|TIME", help="Longer steps of time are gaps; by default as in training."),
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option("--cache-dir", metavar="DIR", help="Folder in which logs are kept.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.parquet and events.csv.")] = False,
    as_json: Json = False,
) -> None:
    """Score every row of a log by a world model's surprise, and join rows over a threshold to events.

    FILE.parquet has the log's own columns of id and time, score, event (its number where a row is over the threshold),
    and one score_<channel> a channel. events.csv beside it has one row an event, so each FILE needs a folder of its
    own. Thresholds come from normal data: the data of training, those of --normal, or the first rows of each run. A
    score uses no later row, and comes at most one patch after what it is about.
    """
    options = DetectOptions(
        checkpoint, data, out, overwrite, reference_rows, normal, false_alarms, label, picture, follow, idle_timeout,
        identity, time, max_gap, cache_dir,
    )  # fmt: skip
    with results_only():
        from tsjepa.cli import render
        from tsjepa.cli.detect import detect as run

        report = run(options)
    if as_json:
        render.print_json(report.values())
    else:
        render.show_detect(report)
