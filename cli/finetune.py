"""What `tsjepa finetune` does: the encoder trained with labels, beside the frozen one and one without pretraining."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsjepa.arrays import counted
from tsjepa.checkpoint import Header, load_checkpoint, save_checkpoint
from tsjepa.choice import FOLDS, Tune, comparable, fit_classifier
from tsjepa.cli.checkpoint_options import FinetuneOptions
from tsjepa.cli.commands import embed_both, probe_data
from tsjepa.cli.data import Data, data_of, names_of_channels, say_labels_seen, say_remarks
from tsjepa.cli.errors import say, told
from tsjepa.cli.inputs import refuse_input
from tsjepa.cli.outdir import check_file, make_writable, refuse_file, writing
from tsjepa.cli.render import count_bar
from tsjepa.cli.report import FinetuneReport, FinetuneRow, ranging
from tsjepa.cli.scoring import Array, Labels, draws, embed_part, labels_of, scored_windows
from tsjepa.cli.training import pick_device
from tsjepa.encoder import Encoder
from tsjepa.finetuning import DEFAULT, FROM_SCRATCH, Tuned, Tuning
from tsjepa.heads import check_classes
from tsjepa.objective import JEPA
from tsjepa.probe import Score, draw_labels, majority, probe
from tsjepa.sections import ProbeConfig
from tsjepa.untrained import build_untrained

FINETUNED = "finetuned.ckpt"


class Task(NamedTuple):
    """Labelled data with their trained and untrained model, and how they are fine-tuned."""

    data: Data
    labels: Labels
    config: ProbeConfig
    model: JEPA
    untrained: JEPA
    options: FinetuneOptions
    device: str

    def fit(self, encoder: Encoder, tune: Tune, tuning: Tuning, drawn: Array, seed: int) -> Tuned:
        """Fine-tune an encoder on the drawn training cases; options stand above how it is done."""
        series, y = self.data.train.series.take(drawn), self.labels.train[drawn]
        tuning = tuning._replace(epochs=self.options.epochs or tuning.epochs, lr=self.options.lr or tuning.lr)
        with told():
            return fit_classifier(encoder, series, y, self.config, tuning, tune=tune, device=self.device, seed=seed)[0]

    def score(self, fitted: Tuned) -> Score:
        """Score a classifier on the whole test part."""
        assert self.data.test is not None  # its labels have been found
        Z = embed_part(fitted.encoder, self.data.test, self.config, self.device)
        return Score(float(np.mean(fitted.head.predict(Z) == self.labels.test)))


def finetune(options: FinetuneOptions) -> FinetuneReport:
    """Fine-tune on shares of the training labels, and score each model once on the whole test part."""
    device = pick_device(options.device)
    checkpoint = None
    if options.out is not None:
        refuse_input(options.out / FINETUNED, options.checkpoint, advice="name another folder with --out")
        checkpoint = checkpoint_path(options.out, options.overwrite)
    model, header = load_checkpoint(options.checkpoint)
    whole = probe_data(options, header)
    say_remarks(whole, header.config)
    say_labels_seen(options.checkpoint, model, whole, options.fractions)
    data = scored_windows(whole, model.encoder, header.config.probe)
    labels = labels_of(data)
    check_classes(labels.train)
    if checkpoint is not None:
        make_writable(checkpoint.parent)
    untrained = build_untrained(header.config, header.n_channels, model, data.train.series)
    task = Task(data, labels, header.config.probe, model, untrained, options, device)
    rows, largest = fit_rows(task)
    if checkpoint is not None:
        save_finetuned(checkpoint, task, header, largest, whole.fingerprint)
    guess = majority(labels.train, labels.test)
    source, n_train, n_test = data_of(header, options.checkpoint, options.data), len(labels.train), len(labels.test)
    report = FinetuneReport(options.checkpoint, data.name, n_train, n_test, rows, guess, checkpoint, source)
    say(report.statement())
    if checkpoint is None:
        say("note: no model was kept: --out DIR keeps encoder and head.")
    return report


def checkpoint_path(out: Path, overwrite: bool) -> Path:
    """Return where the fine-tuned checkpoint goes, and refuse what is there already."""
    path = out / FINETUNED
    with writing(out):
        refuse_file(out)
        check_file(path, overwrite, "--out")
    return path


def fit_rows(task: Task) -> tuple[list[FinetuneRow], Tuned]:
    """Return the scores at each share of the labels, and the first classifier at the largest share."""
    seeds_of = {fraction: draws(fraction, task.options.seeds) for fraction in task.options.fractions}
    arms = 2 if task.options.supervised else 1
    frozen = embed_both(task.model.encoder, task.data, task.config, task.device)
    with count_bar("trainings", arms * sum(map(len, seeds_of.values()))) as show:
        done = 0

        def finished() -> None:
            nonlocal done
            done += 1
            show(done)

        rows = []
        for fraction, seeds in seeds_of.items():
            drawn = [draw_labels(task.labels.train, fraction, seed) for seed in seeds]
            y = task.labels
            if task.options.choose:
                say_uncompared([y.train[cases] for cases in drawn])
            probed = probe(frozen.train, y.train, frozen.test, y.test, fraction=fraction, seeds=seeds)
            tune: Tune = "auto" if task.options.choose else True
            first, tuned = fit_draws(task, task.model.encoder, tune, DEFAULT, drawn, finished)
            supervised = None
            if task.options.supervised:
                supervised = fit_draws(task, task.untrained.encoder, True, FROM_SCRATCH, drawn, finished)[1]
            rows.append(FinetuneRow(fraction, tuple(map(len, drawn)), probed, tuned, supervised))
    return rows, first


def say_uncompared(drawn: list[Array]) -> None:
    """Tell in how many draws of labels `--choose` has no choice."""
    few = sum(not comparable(y) for y in drawn)
    if few:
        all_draws = f"{counted(len(drawn), 'draw')} of {ranging([*map(len, drawn)])} labels"
        say(f"note: in {few} of {all_draws} a class has fewer than {FOLDS}: --choose cannot compare there, and tunes.")


def fit_draws(
    task: Task, encoder: Encoder, tune: Tune, tuning: Tuning, drawn: list[Array], finished: Callable[[], None]
) -> tuple[Tuned, list[Score]]:
    """Return the classifier of the first draw of labels, and the scores of all."""
    first, scores = None, []
    for seed, cases in enumerate(drawn):
        fitted = task.fit(encoder, tune, tuning, cases, seed)
        scores.append(task.score(fitted))
        first = first or fitted
        finished()
    assert first is not None
    return first, scores


def save_finetuned(path: Path, task: Task, header: Header, fitted: Tuned, fingerprint: dict[str, Any]) -> None:
    """Write the fine-tuned encoder with its head; the checkpoint is then one of the data that it was tuned on.

    Their fingerprint is that of all series, also of those without a label, which the task does not hold.
    """
    data, series = task.data, task.data.train.series
    config = header.config if data.log is None else header.config.model_copy(update={"log": data.log})
    name = data_of(header, task.options.checkpoint, task.options.data)
    names = names_of_channels(header, data)
    tuned = fitted.encoder is not task.model.encoder
    task.model.tuned, task.model.labelled = task.model.tuned or tuned, task.model.labelled or tuned
    task.model.encoder.load_state_dict(fitted.encoder.state_dict())
    if task.model.encoder.readout is not None:
        task.model.encoder.readout.take_channels(series.n_channels)
    classes = fitted.head.classes
    head = fitted.head._replace(classes=classes if data.classes is None else np.array(data.classes)[classes])
    header = Header(config, name, series.n_channels, series.n_timepoints, names, fingerprint)
    with writing(path):
        save_checkpoint(path, task.model, header, head.plain())
