"""What `tsjepa diagnose` does: model, data and the run's own records brought together, a page written."""

from pathlib import Path
from typing import Any

from tsjepa.arrays import counted
from tsjepa.checkpoint import Header, load_checkpoint, read_checkpoint
from tsjepa.cli.checkpoint_options import DiagnoseOptions
from tsjepa.cli.data import Data, check_there, data_of, load_data, names_of_channels, say_remarks
from tsjepa.cli.errors import USAGE, Failure, say
from tsjepa.cli.inputs import refuse_input
from tsjepa.cli.log_data import of_log, trained_log
from tsjepa.cli.log_options import LogOptions
from tsjepa.cli.outdir import CHECKPOINT, METRICS, PAGE, check_file, make_writable, replace_file
from tsjepa.cli.render import busy
from tsjepa.cli.report import DiagnoseReport
from tsjepa.cli.training import pick_device
from tsjepa.config import Config
from tsjepa.datasets.loading import identity
from tsjepa.datasets.log_fingerprint import difference
from tsjepa.encoder import Encoder
from tsjepa.evaluation.accuracy import Split
from tsjepa.evaluation.diagnosis import diagnose as find
from tsjepa.evaluation.diagnosis import verdict_values
from tsjepa.evaluation.diagnosis_page import Subject, page
from tsjepa.history import EpochDiagnostics
from tsjepa.monitor import read_history, teacher_verdict
from tsjepa.run_files import DIAGNOSTICS, EpochTable, TableError
from tsjepa.untrained import build_untrained
from tsjepa.verdict import Verdict, judge, of_both


def diagnose(options: DiagnoseOptions) -> DiagnoseReport:
    """Measure one model on one data set and write the page."""
    device = pick_device(options.device)
    checkpoint = options.target / CHECKPOINT if options.target.is_dir() else options.target
    out = options.out or checkpoint.parent / PAGE
    check_page_path(out)
    refuse_input(out, checkpoint)
    model, header = load_checkpoint(checkpoint)
    log = trained_log(header, LogOptions(), options.data)
    name = data_of(header, checkpoint, options.data)
    if options.data is None:
        check_there(name, log.test, str(checkpoint), options.data_dir)
    data = load_data(name, options.data_dir, log, seed=header.config.train.seed, logged=of_log(header))
    check_fit(model.encoder, header, data)
    say_remarks(data, header.config)
    known = data.labelled()
    split, partly = split_of(known), known.train.series.n_cases < data.train.series.n_cases
    make_writable(out.parent)
    history, reason = run_history(checkpoint)
    verdict, reason = (None, reason) if reason else run_verdict(history, checkpoint.parent, header.config)
    kept = kept_epoch(read_checkpoint(checkpoint), history)
    other = run_data(header, data, options) if history else None
    remarks = (*([reason] if reason else []), *run_remarks(history, kept, other, model.tuned))
    if split.unscorable is not None:
        remarks = (*remarks, f"there are no accuracies, since {data.name} {split.unscorable}.")
    for remark in remarks:
        say(f"note: {remark}")
    channels = names_of_channels(header, data)
    untrained = build_untrained(header.config, header.n_channels, model, data.train.series)
    with busy(f"diagnosing {checkpoint} on {data.name}"):
        found = find(
            model,
            untrained,
            split,
            header.config.probe,
            seed=options.seed,
            device=device,
            supervised=options.supervised,
            tuned=model.tuned,
            unlabelled=data.train.in_memory() if partly else None,
        )
        subject = Subject(str(checkpoint), data.name, data.classes, verdict, history, remarks, other, channels)
        html = page(subject, found)
    replace_file(out, html.encode())
    values = {**verdict_values(verdict), "kept_epoch": kept, **found.values()}
    return DiagnoseReport(data.name, values, verdict, out)


def check_page_path(out: Path) -> None:
    """Refuse another kind of file than HTML."""
    if out.suffix not in (".html", ".htm"):
        raise Failure(f"the page is HTML, so --out must end in .html, but is {out}.", USAGE)
    check_file(out, True, "--out")


def check_fit(encoder: Encoder, header: Header, data: Data) -> None:
    """Refuse data that the model cannot read: other channels for an encoder that mixes them, too few patches."""
    for name, part in data.parts():
        series = part.series
        if not encoder.any_channels and series.n_channels != header.n_channels:
            does = "mixes" if encoder.channels > 1 else "normalises by the statistics of"
            raise Failure(
                f"this encoder {does} the channels that it was trained on, {header.n_channels} in number, but the "
                f"{name} part of {data.name} has {series.n_channels}: give data with the same channels."
            )
    n_tokens = encoder.n_tokens(data.train.series.n_timepoints)
    if n_tokens < 3:
        raise Failure(
            f"the series of {data.name} hold {counted(n_tokens, 'patch', 'patches')} of "
            f"{counted(encoder.tokenizer.patch_length, 'point')}, and masking and statistics need three: give longer "
            "series."
        )


def split_of(data: Data) -> Split:
    """Return both parts as a diagnosis takes them."""
    test = data.test
    return Split(
        data.train.in_memory(),
        data.train.y,
        None if test is None else test.in_memory(),
        None if test is None else test.y,
    )


def run_history(checkpoint: Path) -> tuple[list[EpochDiagnostics], str | None]:
    """Return the diagnostics of the run that a checkpoint ended, or its losses alone and what is missing.

    Another file of the folder, such as that of the best epoch, is not what the run ended with.
    """
    none = "there is no verdict and no curve over epochs, since"
    if checkpoint.name != CHECKPOINT:
        return [], f"{none} {checkpoint.name} is not the last checkpoint of a run."
    folder = checkpoint.parent
    try:
        history = read_history(EpochTable(folder / DIAGNOSTICS))
        if history:
            return history, None
        metrics = EpochTable(folder / METRICS)
        losses = metrics.records(lambda row: EpochDiagnostics(int(row["epoch"]), float(row["loss"])))
    except TableError:
        return [], f"{none} the tables in {folder} are damaged."
    return losses, f"there is no verdict, and at most the curve of the loss, since {folder / DIAGNOSTICS} is missing."


def kept_epoch(content: dict[str, Any], history: list[EpochDiagnostics]) -> int | None:
    """Return the epoch of a checkpoint that its run went on from, as where that was ended for a collapse."""
    epoch, last = content.get("epoch"), history[-1].epoch if history else 0
    return None if epoch is None or epoch + 1 >= last else int(epoch) + 1


def run_data(header: Header, data: Data, options: DiagnoseOptions) -> str | None:
    """Return what a run was on, where other data were asked for: by what is in them, or else by their files."""
    if header.data is None or options.data is None:
        return None
    if header.fingerprint is not None:
        same = difference(header.fingerprint, data.fingerprint) is None
    else:
        same = identity(header.data, options.data_dir) == identity(options.data, options.data_dir)
    return None if same else header.data


def run_remarks(history: list[EpochDiagnostics], kept: int | None, other: str | None, tuned: bool) -> tuple[str, ...]:
    """Say what of a run's verdict and curves is not of this model and not of these data, and which numbers it lacks."""
    found = []
    if kept is not None:
        found.append(f"the model is from epoch {kept}, the verdict on the run up to epoch {history[-1].epoch}.")
    if other is not None:
        found.append(f"the verdict and the curves over epochs are those of the run on {other}.")
    if tuned:
        found.append(
            "the encoder was fine-tuned, so there are no numbers of latents, predictions and target: these parts are "
            "still those of its pretraining."
        )
    return tuple(found)


def run_verdict(history: list[EpochDiagnostics], folder: Path, config: Config) -> tuple[Verdict | None, str | None]:
    """Return the verdict on a run, which is its teacher's where that has collapsed, or why there is none."""
    dim = config.encoder.dim
    try:
        return of_both(teacher_verdict(config, folder, dim), judge(history, dim=dim)), None
    except ValueError as error:
        return None, f"there is no verdict: {error}"
