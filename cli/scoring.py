"""Probe scores of a trained encoder beside those of its random initialisation and of a guess."""

from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from tsjepa.cli.data import Data, Part
from tsjepa.cli.errors import say, told
from tsjepa.cli.report import Row, Scores
from tsjepa.datasets.logs import LogWindows
from tsjepa.embedding import embed_source, n_features
from tsjepa.encoder import Encoder
from tsjepa.probe import ProbeError, Score, check_labels, draw_labels, majority
from tsjepa.sections import ProbeConfig

Array = NDArray[Any]
# Numbers in the embeddings of one part of a log that are held at a time
HELD = 40_000_000
# Draws of a share of the labels where none are asked for
FEW_DRAWS = 5


class Embedded(NamedTuple):
    """Embeddings of both parts."""

    train: Array
    test: Array


class Labels(NamedTuple):
    """Labels of both parts."""

    train: Array
    test: Array


def labels_of(data: Data) -> Labels:
    """Return the labels that a probe is fitted and scored on, or raise ProbeError."""
    try:
        y = check_labels(data.train.y)
    except ProbeError as error:
        if data.log is not None and not data.log.label:
            raise ProbeError(f"{str(error)[:-1]}: if a column holds them, name it with --label.") from error
        rows = data.train.series.classes if isinstance(data.train.series, LogWindows) else None
        if data.log is None or rows is None or len(rows) < 2:
            raise
        # a window has one label, whatever its rows have
        ways = f"--window-label says which rows give a window its label (now: {data.log.window_label})"
        raise ProbeError(f"{str(error)[:-1]}: {ways}, and a shorter --window gives more windows.") from error
    if data.test is None and data.log is not None:
        raise ProbeError(
            f"{data.name} has no test part to score a probe on: name one with --test FILE or --group COLUMN."
        )
    if data.test is None:
        raise ProbeError(
            f"{data.name} has no test part, and a probe is scored on it: put it beside the training part, as in "
            "pump_TRAIN.csv and pump_TEST.csv, or save X_train, y_train, X_test and y_test as .npz."
        )
    if data.test.y is None:
        raise ProbeError(f"the test part of {data.name} has no labels, and a probe is scored on them.")
    return Labels(y, data.test.y)


def scored_windows(data: Data, encoder: Encoder, config: ProbeConfig) -> Data:
    """Return what probes are fitted and scored on: the cases that have a label, of a large log a drawn share of them.

    Embeddings of all windows have to be in memory for a probe, so it is their number that bounds how much it takes.
    """
    data = data.labelled()
    limit = max(HELD // n_features(encoder, config, data.train.series.n_channels), 2)
    train, test = at_most(data.train, limit, "training"), data.test and at_most(data.test, limit, "test")
    return data._replace(train=train, test=test)


def at_most(part: Part, limit: int, name: str) -> Part:
    """Draw a stratified sample of the windows of a log, and say so, where there are more than `limit`."""
    n_cases = part.series.n_cases
    if part.y is None or not isinstance(part.series, LogWindows) or n_cases <= limit:
        return part
    cases = draw_labels(part.y, (limit + 0.5) / n_cases, seed=0)  # a share that rounds down to the limit
    say(f"note: probes use {len(cases):,} of {n_cases:,} {name} windows, drawn by label, so that memory stays bounded.")
    return part.some(cases)


def embed_part(encoder: Encoder, part: Part, config: ProbeConfig, device: str) -> Array:
    """Embed one part; the encoder is on the CPU afterwards."""
    try:
        with told():
            return embed_source(encoder.to(torch.device(device)), part.series, config, device)
    finally:
        encoder.cpu()


def draws(fraction: float, seeds: int | None) -> tuple[int, ...]:
    """Return the seeds of the draws of a share of the labels, by default one of all and several of fewer."""
    return tuple(range(seeds or (1 if fraction == 1 else FEW_DRAWS)))


def compare(
    labels: Labels, trained: list[list[Score]], random_init: list[list[Score]], fractions: tuple[float, ...] = (1.0,)
) -> Scores:
    """Put the scores of both encoders at each share of the labels side by side."""
    counts = [
        tuple(len(draw_labels(labels.train, fraction, seed)) for seed in range(len(scores)))
        for fraction, scores in zip(fractions, trained, strict=True)
    ]
    rows = [Row(*row) for row in zip(fractions, counts, trained, random_init, strict=True)]
    return Scores(rows, majority(labels.train, labels.test))
