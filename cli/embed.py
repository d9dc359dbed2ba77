"""What `tsjepa embed` does: rows are embedded and written as they come, and go on where an earlier call stopped."""

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tsjepa.arrays import counted
from tsjepa.checkpoint import HEAD, Header, load_checkpoint, read_checkpoint
from tsjepa.cli.checkpoint_options import EmbedOptions
from tsjepa.cli.data import Data, Part, load_data, say_remarks
from tsjepa.cli.engines import check_engine, open_engine
from tsjepa.cli.errors import INTERRUPTED, USAGE, Failure, say
from tsjepa.cli.inputs import refuse_input
from tsjepa.cli.locking import LOCK, locked
from tsjepa.cli.log_data import of_log, trained_log, without_missing
from tsjepa.cli.outdir import check_file, check_parquet_name, make_writable
from tsjepa.cli.part_files import PartFiles, file_hash
from tsjepa.cli.render import count_bar
from tsjepa.cli.report import EmbedReport
from tsjepa.cli.table import Chunk, Embedder, check_joined
from tsjepa.cli.training import pick_device
from tsjepa.datasets.logs import LogWindows
from tsjepa.evaluation.digest import content_digest
from tsjepa.heads import LinearHead, read_head
from tsjepa.memory import peak_megabytes


def embed(options: EmbedOptions) -> EmbedReport:
    """Write one row a series, or a window."""
    started = time.monotonic()
    device = pick_device(options.device)
    refuse_input(options.out, options.data, options.logs.test, options.checkpoint)
    check_table_path(options.out, options.overwrite)
    check_engine(options.engine)
    model, header = load_checkpoint(options.checkpoint)
    data = load_source(options, header)
    say_remarks(data, header.config)
    say_other_channels(data, header)
    head = head_for(data, header, options.checkpoint)
    check_joined(data)
    make_writable(options.out.parent)
    lock = options.out.with_name(f".{options.out.name}{LOCK}")
    with locked(lock, f"another command is writing {options.out}"), open_engine(options.engine) as engine:
        check_table_path(options.out, options.overwrite)  # another may have written it meanwhile
        embedder = Embedder(
            model.encoder, header.config.probe, device, options.pool_windows, engine, options.precision, head
        )
        chunks = list(embedder.chunks(data))
        key = table_key(options, data, len(chunks), embedder)
        rows = write_rows(embedder, data, chunks, PartFiles(options.out, key))
    return EmbedReport(rows, time.monotonic() - started, peak_megabytes(), options.out)


def say_other_channels(data: Data, header: Header) -> None:
    """Say that sketches of another number of channels than was trained on compare with each other only."""
    n_channels, probe = data.train.series.n_channels, header.config.probe
    if n_channels != header.n_channels and probe.sketch is not None and probe.channels == "concat":
        compare = f"embeddings of {counted(n_channels, 'channel')} compare with each other, and not with others"
        say(f"note: {data.name} has not the {header.n_channels} that were trained on: {compare}.")


def head_for(data: Data, header: Header, path: Path) -> LinearHead | None:
    """Return a checkpoint's head, where it has one that was trained on embeddings of as many channels."""
    content, n_channels = read_checkpoint(path), data.train.series.n_channels
    if HEAD not in content:
        return None
    if n_channels != header.n_channels and header.config.probe.channels == "concat":
        trained = counted(header.n_channels, "channel")
        say(f"note: no class is predicted: the head was trained on {trained}, and {data.name} has {n_channels}.")
        return None
    return read_head(content, path)


def check_table_path(out: Path, overwrite: bool) -> None:
    """Refuse another kind of file than Parquet, and one that exists."""
    if out.suffix != ".parquet":
        raise Failure(f"embeddings are written as Parquet, so --out must end in .parquet, but is {out}.", USAGE)
    check_parquet_name(out)
    check_file(out, overwrite, "--out")


def load_source(options: EmbedOptions, header: Header) -> Data:
    """Load the data, a log with the checkpoint's columns and windows."""
    logged = of_log(header)
    log = without_missing(options.data, trained_log(header, options.logs, options.data), options.logs, logged=logged)
    seed, asked = header.config.train.seed, options.logs.given()
    whole, cache_dir = logged and header.config.log.window is None, options.logs.cache_dir
    data = load_data(options.data, options.data_dir, log, cache_dir, seed, asked=asked, logged=logged, lone=whole)
    if options.pool_windows and data.log is None:
        raise Failure(
            f"--pool-windows joins the windows of a sensor log, and {data.name} is not one: leave it out.", USAGE
        )
    return data


def table_key(options: EmbedOptions, data: Data, n_chunks: int, embedder: Embedder) -> dict[str, object]:
    """Return all that the table depends on."""
    return {
        "version": version("tsjepa"),
        "checkpoint": file_hash(options.checkpoint),
        "data": {name: part_key(part) for name, part in data.parts()},
        "classes": data.classes,
        "chunks": n_chunks,
        "pool_windows": options.pool_windows,
        "device": embedder.device,
        "precision": embedder.precision,
        "shares": embedder.engine.shares,
    }


def part_key(part: Part) -> str:
    """Return what tells a part from others, labels included."""
    return part.series.key if isinstance(part.series, LogWindows) else content_digest(*part.in_memory(), part.y)


def write_rows(embedder: Embedder, data: Data, chunks: Sequence[Chunk], parts: PartFiles) -> int:
    """Embed the chunks that no finished part holds, then join the parts; return the number of rows."""
    finished = parts.start()
    if finished:
        say(f"going on after {finished} of {len(chunks)} parts that an earlier call finished.")
    done = sum(len(chunk.cases) for chunk in chunks[:finished])
    try:
        with count_bar("embedding", sum(len(chunk.cases) for chunk in chunks)) as report:
            for number, chunk in enumerate(chunks[finished:], finished):
                parts.add(number, embedder.table(data, chunk))
                done += len(chunk.cases)
                report(done)
        return parts.join(len(chunks))
    except KeyboardInterrupt as error:
        raise Failure("stopped: what is finished is kept, and the same command goes on.", INTERRUPTED) from error
