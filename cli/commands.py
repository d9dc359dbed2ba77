"""What the commands do: data, encoder, scores and files wired together; main.py imports this only when one runs."""

import time
from pathlib import Path

from tsjepa.build import build_model
from tsjepa.checkpoint import Header, load_checkpoint
from tsjepa.cli import scoring
from tsjepa.cli.data import Data, load_data, say_remarks
from tsjepa.cli.errors import USAGE, Failure, say
from tsjepa.cli.options import EmbedOptions, Layers, PretrainOptions, ProbeOptions
from tsjepa.cli.outdir import make_writable
from tsjepa.cli.plan import DEFAULT_DATA, new_run, resumed_run
from tsjepa.cli.render import busy
from tsjepa.cli.report import EmbedReport, PretrainReport, ProbeReport
from tsjepa.cli.table import embedding_table, write_table
from tsjepa.cli.training import check_logger, pick_device, train
from tsjepa.config import ProbeConfig
from tsjepa.encoder import Encoder
from tsjepa.probe import ProbeError


def pretrain(options: PretrainOptions) -> PretrainReport:
    """Pretrain on the training part; the test part is scored once before it and once after."""
    plan = resumed_run(options) if options.resume else new_run(options)
    device = pick_device(options.device)
    check_logger(options.logger)
    say_remarks(plan.data, plan.config.tokenizer.patch_length)
    labels = labels_or_reason(plan.data)
    model = build_model(plan.config, plan.data.train.series.n_channels).eval()
    random_init = embed_both(model.encoder, plan.data, plan.config.probe, device) if labels else None
    trained = train(plan, model, options, device)
    scores = None
    if labels is not None and random_init is not None:
        embedded = embed_both(trained.model.encoder, plan.data, plan.config.probe, device)
        scores = scoring.score(labels, embedded, random_init)
    return PretrainReport(
        plan.checkpoint,
        plan.data.name,
        plan.data.train.series.n_cases,
        trained.epochs,
        trained.seconds,
        trained.loss,
        scores,
        trained.verdict,
        options.data_dir,
    )


def labels_or_reason(data: Data) -> scoring.Labels | None:
    """Return the labels to score on, or say why there will be no score: pretraining needs none."""
    try:
        return scoring.labels_of(data)
    except ProbeError as error:
        say(f"note: no accuracy will be shown: {error}")
        return None


def embed_both(encoder: Encoder, data: Data, config: ProbeConfig, device: str) -> scoring.Embedded:
    """Embed both parts, with a sign of life on a terminal."""
    with busy(f"embedding {data.name}"):
        return scoring.embed_data(encoder, data, config, device)


def probe(options: ProbeOptions) -> ProbeReport:
    """Score a checkpoint's encoder beside its own random initialisation."""
    device = pick_device(options.device)
    model, header = load_checkpoint(options.checkpoint)
    config = probe_config(header, options.layers, model.encoder.depth)
    data = load_data(options.data or header.data or DEFAULT_DATA, options.data_dir)
    say_remarks(data, header.config.tokenizer.patch_length)
    labels = scoring.labels_of(data)
    untrained = build_model(header.config, header.n_channels).eval()
    trained = embed_both(model.encoder, data, config, device)
    random_init = embed_both(untrained.encoder, data, config, device)
    with busy("fitting probes"):
        scores = scoring.score(labels, trained, random_init, options.kind, options.fractions, options.seeds)
    report = ProbeReport(options.checkpoint, data.name, options.kind, len(labels.train), len(labels.test), scores)
    say(report.statement(config))
    return report


def probe_config(header: Header, layers: Layers | None, depth: int) -> ProbeConfig:
    """Return how the checkpoint is pooled, with other levels where they are asked for."""
    if layers is None:
        return header.config.probe
    if isinstance(layers, int) and layers > depth:
        raise Failure(f"--layers {layers} is too high: the encoder has levels 0 (tokenizer) to {depth}.", USAGE)
    return header.config.probe.model_copy(update={"levels": layers})


def embed(options: EmbedOptions) -> EmbedReport:
    """Write one row a series."""
    started = time.monotonic()
    device = pick_device(options.device)
    check_table_path(options.out, options.overwrite)
    model, header = load_checkpoint(options.checkpoint)
    data = load_data(options.data, options.data_dir)
    say_remarks(data, header.config.tokenizer.patch_length)
    make_writable(options.out.parent)
    with busy(f"embedding {data.name}"):
        parts = [scoring.embed_part(model.encoder, part, header.config.probe, device) for _, part in data.parts()]
    table = embedding_table(data, parts)
    write_table(table, options.out)
    return EmbedReport(table.num_rows, time.monotonic() - started, options.out)


def check_table_path(out: Path, overwrite: bool) -> None:
    """Refuse another kind of file than Parquet, and one that exists."""
    if out.suffix != ".parquet":
        raise Failure(f"embeddings are written as Parquet, so --out must end in .parquet, but is {out}.", USAGE)
    if out.is_dir():
        raise Failure(f"{out} is a folder: name a file in it with --out.", USAGE)
    if out.exists() and not overwrite:
        raise Failure(f"{out} exists already: replace it with --overwrite, or name another file.", USAGE)
