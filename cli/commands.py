"""What the commands do: data, encoder, scores and files wired together; main.py imports this only when one runs."""

from tsjepa.build import build_model
from tsjepa.calibrator import calibrate
from tsjepa.checkpoint import Header, load_checkpoint
from tsjepa.cli import scoring
from tsjepa.cli.arguments import Layers
from tsjepa.cli.checkpoint_options import FinetuneOptions, ProbeKind, ProbeOptions
from tsjepa.cli.data import Data, check_test_part, check_there, data_of, load_data, say_labels_seen, say_remarks
from tsjepa.cli.errors import USAGE, Failure, say
from tsjepa.cli.log_data import of_log, trained_log
from tsjepa.cli.options import PretrainOptions
from tsjepa.cli.plan import named_data, planned_run
from tsjepa.cli.render import busy
from tsjepa.cli.report import PretrainReport, ProbeReport
from tsjepa.cli.training import check_logger, check_processes, pick_device, train
from tsjepa.config import Config
from tsjepa.encoder import Encoder
from tsjepa.normalization import take_statistics, too_large
from tsjepa.probe import ProbeError, Score
from tsjepa.probe import probe as fit_probe
from tsjepa.sections import ProbeConfig
from tsjepa.untrained import build_untrained


def pretrain(options: PretrainOptions) -> PretrainReport:
    """Pretrain on the training part; the test part is scored once before it and once after."""
    plan, data = planned_run(options)
    device = pick_device(options.device)
    check_logger(options.logger)
    check_processes(plan, options, device)
    check_test_part(data, plan.config)
    check_values(data, plan.config)
    say_remarks(data, plan.config)
    say_resampled(data, plan.config)
    model = build_model(plan.config, plan.data.train.series.n_channels).eval()
    scored = scoring.scored_windows(data, model.encoder, plan.config.probe)
    labels = labels_or_reason(scored)
    take_statistics(model, plan.data.train.series)
    random_init = []
    if labels is not None:  # scored before training, so that the embeddings of one encoder only are in memory
        calibrate(model.encoder, plan.data.train.series, plan.config.probe, whiten=False)
        random_init = score_one(model.encoder, scored, plan.config.probe, device, labels)
    trained = train(plan, model, options, device)
    scores = None
    if labels is not None:
        found = score_one(trained.model.encoder, scored, plan.config.probe, device, labels)
        scores = scoring.compare(labels, found, random_init)
    return PretrainReport(
        plan.checkpoint,
        data.name,
        plan.data.train.series.n_cases,
        trained.epochs,
        trained.kept,
        trained.seconds,
        trained.loss,
        scores,
        trained.verdict,
        options.data_dir,
        named_data(plan.config),
        bool(plan.config.world.horizons) and data.log is not None and data.log.resample is None,
    )


def say_resampled(data: Data, config: Config) -> None:
    """Tell before training that detect will refuse a world model of a resampled log."""
    if config.world.horizons and data.log is not None and data.log.resample is not None:
        say(
            "note: detect will refuse this model, since it scores rows as they are in the log: to detect, resample the "
            "log beforehand, and train without --resample."
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
        return scoring.Embedded(*(scoring.embed_part(encoder, part, config, device) for _, part in data.parts()))


def score_one(
    encoder: Encoder,
    data: Data,
    config: ProbeConfig,
    device: str,
    labels: scoring.Labels,
    kind: ProbeKind = "ridge",
    fractions: tuple[float, ...] = (1.0,),
    seeds: int | None = None,
) -> list[list[Score]]:
    """Embed both parts, and score probes that are fitted on shares of the labels, the same draws for every encoder."""
    Z = embed_both(encoder, data, config, device)
    parts = Z.train, labels.train, Z.test, labels.test
    with busy("fitting probes"):
        return [fit_probe(*parts, kind=kind, fraction=share, seeds=scoring.draws(share, seeds)) for share in fractions]


def probe(options: ProbeOptions) -> ProbeReport:
    """Score a checkpoint's encoder beside its own random initialisation."""
    device = pick_device(options.device)
    model, header = load_checkpoint(options.checkpoint)
    config = probe_config(header, options.layers, model.encoder.depth)
    data = probe_data(options, header)
    say_remarks(data, header.config)
    say_labels_seen(options.checkpoint, model, data, options.fractions)
    # by all series, as in pretraining: those without a label are left out behind it
    untrained = build_untrained(header.config, header.n_channels, model, data.train.series)
    data = scoring.scored_windows(data, model.encoder, config)
    labels = scoring.labels_of(data)
    trained, random_init = (
        score_one(each.encoder, data, config, device, labels, options.kind, options.fractions, options.seeds)
        for each in (model, untrained)
    )
    scores = scoring.compare(labels, trained, random_init, options.fractions)
    report = ProbeReport(options.checkpoint, data.name, options.kind, len(labels.train), len(labels.test), scores)
    say(report.statement(config))
    return report


def probe_data(options: ProbeOptions | FinetuneOptions, header: Header) -> Data:
    """Load the data that are named, or the checkpoint's, a log with the checkpoint's columns and windows."""
    log = trained_log(header, options.logs, options.data)
    name = data_of(header, options.checkpoint, options.data)
    if options.data is None:
        test = None if options.logs.test else log.test
        check_there(name, test, str(options.checkpoint), options.data_dir)
    seed, asked = header.config.train.seed, options.logs.given()
    data = load_data(name, options.data_dir, log, options.logs.cache_dir, seed, asked=asked, logged=of_log(header))
    check_test_part(data)
    check_values(data, header.config)
    return data


def check_values(data: Data, config: Config) -> None:
    """Refuse values that are too large to be taken as they are, where they are, before anything is done with them."""
    for name, part in data.parts() if config.normalize == "none" else ():
        if said := too_large(part.series, f"the {name} part of {data.name}"):
            raise Failure(said)


def probe_config(header: Header, layers: Layers | None, depth: int) -> ProbeConfig:
    """Return how the checkpoint is read; where levels are asked for, they are pooled and nothing else."""
    if layers is None:
        return header.config.probe
    if isinstance(layers, int) and layers > depth:
        raise Failure(f"--layers {layers} is too high: the encoder has levels 0 (tokenizer) to {depth}.", USAGE)
    if layers == "blocks" and not depth:
        raise Failure("--layers blocks: the encoder has no level but 0 (tokenizer).", USAGE)
    return header.config.probe.plain(layers)
