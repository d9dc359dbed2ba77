"""What `tsjepa export` does: write the embedding as an ONNX file, once ONNX Runtime gives the same numbers as torch."""

import json
import os
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tsjepa.checkpoint import Header, load_checkpoint
from tsjepa.cli.checkpoint_options import ExportOptions
from tsjepa.cli.errors import USAGE, Failure, told
from tsjepa.cli.extras import require_extra
from tsjepa.cli.inputs import refuse_input
from tsjepa.cli.outdir import check_file, make_writable, writing
from tsjepa.cli.render import busy
from tsjepa.cli.report import ExportReport
from tsjepa.encoder import Encoder
from tsjepa.exporting import (
    OPSET,
    SMALLEST_COSINE,
    Agreement,
    compare,
    example_values,
    export_graph,
    quantize,
)


def export(options: ExportOptions) -> ExportReport:
    """Write the file under a temporary name, try it, and only then give it its own."""
    started = time.monotonic()
    refuse_input(options.onnx, options.checkpoint, advice="name another file with --onnx")
    check_graph_path(options.onnx, options.overwrite)
    require_extra("onnx", "tsjepa export")
    model, header = load_checkpoint(options.checkpoint)
    make_writable(options.onnx.parent)
    with writing(options.onnx), tempfile.TemporaryDirectory(dir=options.onnx.parent, prefix=".export.") as folder:
        with busy("exporting"):
            path, found, n_shapes = checked_graph(model.encoder, header, Path(folder), options.int8)
        os.replace(path, options.onnx)
    return ExportReport(
        out=options.onnx,
        n_bytes=options.onnx.stat().st_size,
        opset=OPSET,
        any_channels=model.encoder.any_channels,
        n_shapes=n_shapes,
        max_difference=found.max_difference,
        int8=options.int8,
        cosine=found.cosine,
        seconds=time.monotonic() - started,
    )


def check_graph_path(out: Path, overwrite: bool) -> None:
    """Refuse another kind of file than ONNX, and one that exists."""
    if out.suffix != ".onnx":
        raise Failure(f"a graph is written as ONNX, so --onnx must end in .onnx, but is {out}.", USAGE)
    if file := next((folder for folder in out.parents if folder.is_file()), None):
        raise Failure(f"{out} cannot be written: {file} is a file, no folder.", USAGE)
    check_file(out, overwrite, "--onnx")


def checked_graph(encoder: Encoder, header: Header, folder: Path, int8: bool) -> tuple[Path, Agreement, int]:
    """Return a file that computes what torch does, how closely, and on how many shapes that was tried."""
    probe, path = header.config.probe, folder / "graph.onnx"
    examples = example_values(encoder, header.n_channels, header.n_timepoints)
    export_graph(encoder, probe, header.n_channels, path, metadata(header))
    with told():
        found = compare(path, encoder, probe, examples)
    if not found.within:
        raise Failure(
            f"ONNX Runtime's embeddings differ from torch's by up to {found.max_difference:.2g}, so nothing is "
            "written: try other versions of torch, onnxscript and onnxruntime, or use `tsjepa embed`."
        )
    if not int8:
        return path, found, len(examples)
    small = folder / "int8.onnx"
    quantize(path, small)
    with told():
        found = compare(small, encoder, probe, examples)
    if not found.cosine >= SMALLEST_COSINE:  # NaN fails too
        raise Failure(
            f"with 8-bit weights an embedding has a cosine of {found.cosine:.4f} with torch's, below "
            f"{SMALLEST_COSINE:g}, so nothing is written: leave out --int8."
        )
    return small, found, len(examples)


def metadata(header: Header) -> dict[str, str]:
    """Return what the file says of itself."""
    return {
        "tsjepa_version": version("tsjepa"),
        "recipe": header.config.model_dump_json(),
        "data": header.data or "",
        "n_channels": str(header.n_channels),
        "channels": json.dumps(header.channel_names),
        "n_timepoints": str(header.n_timepoints),
        "patch_length": str(header.config.tokenizer.patch_length),
    }
