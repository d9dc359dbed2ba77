"""The figures of a diagnosis, each a matplotlib Figure to be written by `tsjepa.evaluation.svg`."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tsjepa.evaluation.accuracy import Curve, Labels
from tsjepa.evaluation.diagnosis import ENCODERS, Diagnosis
from tsjepa.evaluation.drawn_text import plain_text, shortened
from tsjepa.history import EpochDiagnostics

# Tones that stand out from white and from black, apart for those who see few colours, too (after Okabe and Ito)
COLOURS = {"trained": "#2f8fd8", "random_init": "#e08a1e", "supervised": "#2aa583"}
CLASSES = ("#2f8fd8", "#e08a1e", "#2aa583", "#c96aa6", "#8f7be0", "#b7a21f", "#4fb8c9", "#d9604c", "#7f9a3a", "#9a8478")
NAMES = {"trained": "trained", "random_init": "random initialisation", "supervised": "supervised"}
# Lines that lie on each other still show, and points over channels stand side by side
DASHES = {"trained": "-", "random_init": "--", "supervised": ":"}
ASIDE = {"trained": -0.12, "random_init": 0.0, "supervised": 0.12}
# Letters of a class's name that a legend has room for, and of a channel's below a panel
LONGEST_NAME, LONGEST_CHANNEL = 24, 14
# Numbers of channels that fit side by side below a panel
MOST_TICKS = 10
# Inches of a figure for a block's name above its parts, and for a part's, which is turned where there are many
BLOCK_WIDTH, PART_WIDTH = 0.8, 0.2
# Inches above and below a panel, so that a title is not taken for the label of the panel above it
ROOM = 0.1
Channels = Sequence[str] | None
TRAINING = (
    ("loss", ("loss",), "training loss"),
    ("accuracy", ("probe",), "online probe, in training series"),
    ("distance", ("encoder_target_gap", "relative_gap"), "encoder to EMA target"),
    ("directions", ("effective_rank", "latent_effective_rank"), "effective rank"),
    ("share", ("cross_series_share", "position_share"), "what series and position explain"),
    ("spread", ("relative_spread", "latent_spread"), "spread"),
)

# Measures that stand in one panel and are of different units
UNITS = {"relative_spread": "relative spread (share)", "latent_spread": "latent spread (own unit)"}


def training(history: Sequence[EpochDiagnostics]) -> Figure:
    """Draw loss, probe, distance to the target, rank, shares and spread over epochs."""
    figure = Figure(figsize=(10, 5.4), layout=ConstrainedLayoutEngine(h_pad=ROOM))
    epochs = [record.epoch for record in history]
    for axes, (label, fields, title) in zip(figure.subplots(2, 3).flat, TRAINING, strict=True):
        axes.set(title=title, xlabel="epoch", ylabel=label)
        drawn = [field for field in fields if over_epochs(axes, epochs, history, field)]
        if not drawn:
            # what is recorded beside it is never missing
            without_target = "relative_gap" in fields and not all(math.isnan(row.effective_rank) for row in history)
            say_nothing(axes, "there is no EMA target" if without_target else "not measured")
        elif len(fields) > 1:
            axes.legend(fontsize=8)
    return figure


def over_epochs(axes: Axes, epochs: list[int], history: Sequence[EpochDiagnostics], field: str) -> bool:
    """Draw one measure, unless it was never taken."""
    values = [getattr(record, field) for record in history]
    if all(math.isnan(value) for value in values):
        return False
    who = "random_init" if axes.lines else "trained"
    label = UNITS.get(field, field.replace("_", " "))
    axes.plot(epochs, values, DASHES[who], marker="o", markersize=3, color=COLOURS[who], label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # two of one epoch would be fractions
    return True


def say_nothing(axes: Axes, text: str = "not measured") -> None:
    """Say that, or why, there is nothing to draw."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
    axes.minorticks_off()  # a scale of logarithms has some


def spectrum(found: Diagnosis) -> Figure:
    """Draw the eigenvalues of the covariance, as shares of the variance."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set(title="spectrum of the covariance", xlabel="direction", ylabel="share of the variance", yscale="log")
    for who, quality in found.quality.items():
        share = quality.spectrum / max(quality.spectrum.sum(), np.finfo(float).tiny)
        positive = share > 0  # what is zero has no place on a scale of logarithms
        directions = np.arange(1, len(share) + 1)[positive]
        axes.plot(directions, share[positive], DASHES[who], color=COLOURS[who], label=NAMES[who])
    axes.legend(fontsize=8)
    return figure


def positions(found: Diagnosis) -> Figure:
    """Draw the variance over series at each position."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set(title="variance over series", xlabel="position of the token", ylabel="mean over dimensions")
    if all(np.isnan(quality.position_variance).all() for quality in found.quality.values()):
        say_nothing(axes)
        return figure
    for who, quality in found.quality.items():
        variance = quality.position_variance
        places = np.arange(len(variance))
        axes.plot(places, variance, DASHES[who], color=COLOURS[who], marker="o", markersize=3, label=NAMES[who])
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    return figure


def maps(found: Diagnosis, classes: tuple[str, ...] | None) -> Figure:
    """Draw the first two principal components of the embeddings, coloured by class."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    places = figure.subplots(1, len(found.maps), squeeze=False).flat
    for axes, (who, points) in zip(places, found.maps.items(), strict=True):
        axes.set(title=NAMES[who], xlabel="first component", ylabel="second component")
        scatter(axes, points, found.map_labels, classes)
    return figure


def scatter(axes: Axes, points: NDArray[np.float64], y: Labels | None, classes: tuple[str, ...] | None) -> None:
    """Draw points, a colour a class; numbers on a scale; one colour without labels."""
    across, up = points.T
    axes.xaxis.set_major_locator(MaxNLocator(4))  # of more, long labels of small numbers run into each other
    size = 8 if len(points) > 200 else 24
    if y is None:
        axes.scatter(across, up, s=size, alpha=0.6, color=COLOURS["trained"], linewidths=0)
    elif y.dtype.kind == "f":
        axes.scatter(across, up, s=size, c=y, cmap="viridis", linewidths=0)
    else:
        codes = np.unique(y)
        for index, code in enumerate(codes):
            name = plain_text(shortened(str(code) if classes is None else classes[code], LONGEST_NAME))
            colour, own = CLASSES[index % len(CLASSES)], y == code
            axes.scatter(across[own], up[own], s=size, alpha=0.6, color=colour, label=name, linewidths=0)
        if len(codes) <= len(CLASSES):  # of more, a legend could not tell one from the other
            axes.legend(fontsize=8)


def perturbed(found: Diagnosis, channels: Channels = None) -> Figure:
    """Draw accuracy over the strength of each perturbation, of data that have one."""
    assert found.majority is not None
    figure, places = panels(found.curves)
    for axes, curve in zip(places, found.curves, strict=True):
        axes.set(title=curve.title, xlabel=curve.unit, ylabel="accuracy")
        for who in ENCODERS:
            if who in curve.accuracy:
                line(axes, curve, curve.accuracy[who], found.accuracy_clean[who], who, channels)
        axes.axhline(found.majority, color="#808080", linewidth=1, linestyle=":", label="majority class")
    return finish(figure, places[0])


def sparsity(found: Diagnosis, channels: Channels = None) -> Figure:
    """Draw the sparsity of activations over the strength of each perturbation."""
    figure, places = panels(found.curves)
    for axes, curve in zip(places, found.curves, strict=True):
        axes.set(title=curve.title, xlabel=curve.unit, ylabel="Hoyer sparsity")
        for who in ENCODERS:
            if who in curve.sparsity:
                hoyer = [one.hoyer for one in curve.sparsity[who]]
                line(axes, curve, hoyer, found.sparsity[who].hoyer, who, channels)
    return finish(figure, places[0])


def panels(curves: list[Curve]) -> tuple[Figure, list[Axes]]:
    """Return a figure with a place for each curve, all with the same scale."""
    rows = -(-len(curves) // 2)
    figure = Figure(figsize=(10, 2.9 * rows), layout=ConstrainedLayoutEngine(h_pad=ROOM))
    places = list(figure.subplots(rows, 2, squeeze=False, sharey=True).flat)
    for empty in places[len(curves) :]:
        empty.remove()
    return figure, places[: len(curves)]


def finish(figure: Figure, axes: Axes) -> Figure:
    """Put one legend above all panels."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def line(axes: Axes, curve: Curve, values: list[float], start: float, who: str, channels: Channels = None) -> None:
    """Draw one encoder's curve from the clean series on; channels have no order, so theirs are points."""
    if curve.clean is None:
        axes.axhline(start, color=COLOURS[who], linewidth=0.8, linestyle="--")
        places = np.arange(len(curve.levels))
        axes.plot(places + ASIDE[who], values, "o", color=COLOURS[who], label=NAMES[who])
        some = places[:: -(-len(places) // MOST_TICKS)]
        axes.set_xticks(some, [f"{curve.levels[place]:g}" for place in some])
        names = [plain_text(shortened(name, LONGEST_CHANNEL)) for name in channels or ()]
        if len(set(names)) == len(places) <= MOST_TICKS:  # all channels, by names that tell them apart
            axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
        return
    pairs = sorted(zip([curve.clean, *curve.levels], [start, *values], strict=True))
    strengths, heights = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    axes.plot(strengths, heights, DASHES[who], marker="o", markersize=3, color=COLOURS[who], label=NAMES[who])
    if curve.clean > 0:  # factors
        axes.set_xscale("log", base=2)
        axes.set_xticks(strengths, [f"{strength:g}" for strength in strengths])


def ablation(found: Diagnosis) -> Figure:
    """Draw the accuracy that is lost with each head and MLP, of data that have one."""
    parts = list(found.ablation)
    blocks = np.array([piece.block for piece in parts])
    each = np.unique(blocks)
    width = max(10, BLOCK_WIDTH * len(each), PART_WIDTH * len(parts))
    figure = Figure(figsize=(width, 3), layout="constrained")
    axes = figure.subplots()
    names = ["MLP" if piece.head is None else f"head {piece.head}" for piece in parts]
    colours = [COLOURS["supervised" if piece.head is None else "trained"] for piece in parts]
    axes.bar(range(len(names)), [lost or 0.0 for lost in found.ablation.values()], color=colours, width=0.6)
    axes.axhline(0, color="#808080", linewidth=0.8)
    axes.set_xticks(range(len(names)), names, rotation=0 if len(names) < 16 else 90)
    axes.set(ylabel="accuracy lost", xlim=(-0.5, len(names) - 0.5))
    above = axes.secondary_xaxis("top")
    above.set_xticks([np.flatnonzero(blocks == block).mean() for block in each], [f"block {block}" for block in each])
    above.tick_params(length=0)
    above.spines["top"].set_visible(False)
    for place in np.flatnonzero(np.diff(blocks)):
        axes.axvline(place + 0.5, color="#808080", linewidth=0.8, linestyle=":")
    axes.grid(visible=False, axis="x")
    return figure
