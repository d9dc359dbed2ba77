"""The flags of `tsjepa export`; nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from tsjepa.cli.arguments import Checkpoint, Json, named_path, results_only
from tsjepa.cli.options import ExportOptions


def export(
    checkpoint: Checkpoint,
    onnx: Annotated[Path, typer.Option(metavar="FILE.onnx", parser=named_path, help="File to write.")],
    int8: Annotated[bool, typer.Option("--int8", help="Store weight matrices as 8-bit integers.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.onnx.")] = False,
    as_json: Json = False,
) -> None:
    """Write what embed computes as one ONNX graph, and check it against torch with ONNX Runtime.

    Its input is values (batch, channels, length) in float32, NaN where nothing was measured; its output is embedding
    (batch, features). Batch and length are free, and so are channels where the encoder takes each by itself.
    It needs the extra onnx: pip install 'tsjepa[onnx]'.
    """
    with results_only():
        from tsjepa.cli import render
        from tsjepa.cli.export import export as run

        report = run(ExportOptions(checkpoint, onnx, int8, overwrite))
    render.show(report, as_json, render.show_export)
