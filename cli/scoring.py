"""Probe scores of a trained encoder beside those of its random initialisation and of a guess."""

from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from tsjepa.cli.data import Data, Part
from tsjepa.cli.errors import told
from tsjepa.cli.options import ProbeKind
from tsjepa.cli.report import Row, Scores
from tsjepa.embedding import embed_source
from tsjepa.encoder import Encoder
from tsjepa.probe import ProbeError, check_labels, draw_labels, majority, probe
from tsjepa.sections import ProbeConfig

Array = NDArray[Any]


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
    y = check_labels(data.train.y)
    if data.test is None:
        raise ProbeError(f"{data.name} has no test part, and a probe is scored on it.")
    if data.test.y is None:
        raise ProbeError(f"the test part of {data.name} has no labels, and a probe is scored on them.")
    return Labels(y, data.test.y)


def embed_part(encoder: Encoder, part: Part, config: ProbeConfig, device: str) -> Array:
    """Embed one part; the encoder is on the CPU afterwards."""
    try:
        with told():
            return embed_source(encoder.to(torch.device(device)), part.series, config, device)
    finally:
        encoder.cpu()


def embed_data(encoder: Encoder, data: Data, config: ProbeConfig, device: str) -> Embedded:
    """Embed the training and the test part of data that have both."""
    return Embedded(*(embed_part(encoder, part, config, device) for _, part in data.parts()))


def score(
    labels: Labels,
    trained: Embedded,
    random_init: Embedded,
    kind: ProbeKind = "ridge",
    fractions: tuple[float, ...] = (1.0,),
    seeds: int | None = None,
) -> Scores:
    """Fit probes on shares of the training labels and score each on the whole test part.

    Both encoders see the same draws of labels. All labels can be drawn in one way only, so one seed does there
    unless `seeds` says otherwise.
    """
    rows = []
    for fraction in fractions:
        drawn = tuple(range(seeds or (1 if fraction == 1 else 5)))
        found = [
            probe(Z.train, labels.train, Z.test, labels.test, kind=kind, fraction=fraction, seeds=drawn)
            for Z in (trained, random_init)
        ]
        rows.append(Row(fraction, len(draw_labels(labels.train, fraction, seed=0)), *found))
    return Scores(rows, majority(labels.train, labels.test))
