"""The flags of `tsjepa embed`; nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from tsjepa.cli.arguments import DATA, LOG, Checkpoint, DataDir, DeviceOption, Json, named_path, results_only
from tsjepa.cli.log_options import LogOptions
from tsjepa.cli.options import EmbedOptions, EmbedPrecision, EngineName


def embed(
    checkpoint: Checkpoint,
    logs: LogOptions,
    data: Annotated[str, typer.Option(metavar="NAME|FILE|FOLDER", help=f"{DATA} {LOG}")],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE.parquet", parser=named_path, help="Table to write, one row per series or window."),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.parquet.")] = False,
    pool_windows: Annotated[
        bool, typer.Option("--pool-windows", help="Log: one row per id, the mean over its windows.")
    ] = False,
    engine: Annotated[
        EngineName,
        typer.Option(help="Where embeddings are computed: in this process, in Ray (RAY_ADDRESS), or in Spark."),
    ] = "local",
    precision: Annotated[
        EmbedPrecision,
        typer.Option(help="Precision of matrix products; bf16 is faster for many series where the device has it."),
    ] = "32",
    device: DeviceOption = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write the embedding of each series, or of each window of a log, to a Parquet table.

    Columns: part (where there are training and test parts), id, start, end (times of first and last point), label
    (where there is one), embedding. A log is read with the columns and windows of the checkpoint, unless flags say
    otherwise. A call that was stopped continues when it is given again.
    """
    options = EmbedOptions(checkpoint, data, out, overwrite, pool_windows, device, data_dir, logs, engine, precision)
    with results_only():
        from tsjepa.cli import render
        from tsjepa.cli.embed import embed as run

        report = run(options)
    render.show(report, as_json, render.show_embed)
