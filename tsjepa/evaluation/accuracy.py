"""What a frozen encoder's probe gets right: on clean test series, on spoilt ones, and without parts of the encoder."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from tsjepa.arrays import Series
from tsjepa.embedding import embed, some_cases
from tsjepa.encoder import Encoder
from tsjepa.evaluation.ablation import Piece, Sparsity, activation_sparsity, pieces, without
from tsjepa.evaluation.perturbation import perturbations
from tsjepa.probe import is_numeric, make_head
from tsjepa.sections import ProbeConfig

Labels = NDArray[Any]
# Test series that are spoilt, and that parts of the encoder are taken out for: each costs an embedding of them all
CURVE_SERIES = 500
# Channels of all these series together: of many channels fewer series are shown, but FEWEST_SERIES where they are there
CURVE_CHANNELS = 8000
FEWEST_SERIES = 100
# Series whose activations are looked at
SPARSITY_SERIES = 64


class Split(NamedTuple):
    """Both parts of a data set; labels are classes, numbers, or not there."""

    train: Series
    y_train: Labels | None
    test: Series | None
    y_test: Labels | None

    @property
    def unscorable(self) -> str | None:
        """What is missing for an accuracy, which takes classes in both parts, two or more to learn; None if nothing."""
        if self.test is None:
            return "has no test part"
        if self.y_train is None or self.y_test is None:
            return f"has no labels in its {'training' if self.y_train is None else 'test'} part"
        if is_numeric(self.y_train):
            return "has numbers for labels, and no classes"
        return None if len(np.unique(self.y_train)) > 1 else "has one class only in its training part"

    @property
    def scorable(self) -> bool:
        """Whether accuracy means something."""
        return self.unscorable is None

    @property
    def shown(self) -> tuple[Series, Labels | None]:
        """Return the part that is shown and spoilt: the test part where there is one."""
        return (self.train, self.y_train) if self.test is None else (self.test, self.y_test)


class Reader(NamedTuple):
    """A frozen encoder with what its embeddings need."""

    encoder: Encoder
    probe: ProbeConfig
    device: str

    def embed(self, series: Series) -> NDArray[np.float32]:
        """Return one row a series."""
        return embed(self.encoder, series, self.probe, self.device)

    def last(self) -> "Reader":
        """Return the same encoder, read at its last level alone."""
        return self._replace(probe=self.probe.plain("last"))

    def fit(self, split: Split) -> Pipeline:
        """Return the ridge probe on the training part."""
        return make_head("ridge").fit(self.embed(split.train), split.y_train)

    def accuracy(self, head: Pipeline, series: Series, y: Labels) -> float:
        """Return the share of the series that a fitted probe gets right."""
        return float(np.mean(head.predict(self.embed(series)) == y))


class Curve(NamedTuple):
    """What perturbations of one kind and growing strength do.

    Attributes
    ----------
    name, title, unit, clean
        See `tsjepa.evaluation.perturbation.Perturbation`.
    levels : list of float
    accuracy : dict of str to list of float
        By encoder, one number a level; empty without labels.
    sparsity : dict of str to list of Sparsity
        By encoder.
    """

    name: str
    title: str
    unit: str
    clean: float | None
    levels: list[float]
    accuracy: dict[str, list[float]]
    sparsity: dict[str, list[Sparsity]]


def draw_shown(split: Split, seed: int) -> tuple[Series, Labels | None]:
    """Return at most CURVE_SERIES series of the part that is shown, of many channels fewer, and their labels."""
    series, y = split.shown
    wanted = min(CURVE_SERIES, max(CURVE_CHANNELS // series.n_channels, FEWEST_SERIES))
    chosen = some_cases(series.n_cases, wanted, seed)
    return series.take(chosen), None if y is None else y[chosen]


def perturbed(
    readers: dict[str, Reader], heads: dict[str, Pipeline], series: Series, y: Labels | None, seed: int
) -> list[Curve]:
    """Spoil series in each way and strength, and score frozen probes on them; every encoder sees the same.

    Parameters
    ----------
    readers : dict of str to Reader
        By name.
    heads : dict of str to Pipeline
        Fitted on clean training series; empty without labels.
    series : Series
    y : array of shape (n_cases,), optional
    seed : int

    Returns
    -------
    list of Curve
    """
    curves = []
    for kind, way in enumerate(perturbations(series.n_channels)):
        accuracy: dict[str, list[float]] = {name: [] for name in heads}
        sparsity: dict[str, list[Sparsity]] = {name: [] for name in readers}
        for strength, level in enumerate(way.levels):
            spoilt = way.apply(series, level, np.random.default_rng((seed, kind, strength)))
            for name, reader in readers.items():
                sparsity[name].append(sparsity_of(reader, spoilt))
                if name in heads and y is not None:
                    accuracy[name].append(reader.accuracy(heads[name], spoilt, y))
        curves.append(Curve(way.name, way.title, way.unit, way.clean, list(way.levels), accuracy, sparsity))
    return curves


def sparsity_of(reader: Reader, series: Series) -> Sparsity:
    """Return the sparsity of an encoder's activations on the first series."""
    x = torch.from_numpy(series.values[:SPARSITY_SERIES]).to(reader.device)
    valid = None if series.valid is None else torch.from_numpy(series.valid[:SPARSITY_SERIES]).to(reader.device)
    return activation_sparsity(reader.encoder, *reader.encoder.sequences(x, valid))


def losses_by_piece(reader: Reader, head: Pipeline, series: Series, y: Labels) -> dict[Piece, float]:
    """Return the accuracy that a frozen probe loses as each head and MLP is taken out; below 0 where it gains.

    Parameters
    ----------
    reader : Reader
        At its last level: others would still hold what the missing piece had no part in.
    head : Pipeline
        Fitted on the whole encoder.
    series : Series
    y : array of shape (n_cases,)

    Returns
    -------
    dict of Piece to float
    """
    whole, lost = reader.accuracy(head, series, y), {}
    for piece in pieces(reader.encoder):
        with without(reader.encoder, piece):
            lost[piece] = whole - reader.accuracy(head, series, y)
    return lost
