"""The page of a diagnosis: every figure and number, escaped, and nothing that it would load."""

import itertools
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from diagnosed import models, split_of, waves
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tsjepa.evaluation import diagnosis_figures as draw
from tsjepa.evaluation.ablation import Piece
from tsjepa.evaluation.accuracy import Curve, Split
from tsjepa.evaluation.diagnosis import diagnose
from tsjepa.evaluation.diagnosis_page import Subject, page, repeated
from tsjepa.evaluation.explanations import EXPLANATIONS
from tsjepa.evaluation.svg import styled
from tsjepa.history import EpochDiagnostics
from tsjepa.verdict import Verdict


class Checker(HTMLParser):
    """Sees tags that do not close, identifiers twice, and what a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.loads += [given[name] for name in ("src", "href", "xlink:href") if name in given]


HEADINGS = ("Training", "Tokens of the last level", "Map of the embeddings", "Accuracy of the frozen probe",
            "Sparsity of activations", "Accuracy lost without single parts", "Numbers")  # fmt: skip


def check_page(text: str) -> Checker:
    seen = Checker(text)
    assert seen.open == []
    assert len(seen.ids) == len(set(seen.ids))
    assert not {"script", "link", "img", "iframe", "object"} & set(seen.tags)
    assert all(target.startswith("#") and target[1:] in seen.ids for target in seen.loads)
    referred = {target[1:] for target in seen.loads} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert referred == set(seen.ids)
    assert set(re.findall(r'https?://[^"\s<]*', text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "#010203" not in text
    return seen


def test_the_page_has_every_figure_and_stands_alone() -> None:
    model, untrained, config = models()
    found = diagnose(model, untrained, split_of(), config.probe)
    verdict = Verdict("dimensional-collapse", 3, None, "The last level uses 2.0 of 13.0 directions & <no> more.")
    history = [EpochDiagnostics(0, effective_rank=13.0), EpochDiagnostics(1, 0.5, effective_rank=2.0)]
    text = page(Subject("<run>", "waves", ("$calm$", "_worn"), verdict, history), found)
    assert check_page(text).tags.count("svg") == 7
    for heading in HEADINGS:
        assert f"<h2>{heading}" in text
    assert "13.0 directions &amp; &lt;no&gt; more." in text
    assert "Diagnosis of &lt;run&gt;" in text
    assert text.index("dimensional-collapse") < text.index("<svg")
    for name in EXPLANATIONS:
        assert f"<code>{name}</code>" in text
    without_run = page(Subject("x", "waves", None, None, ()), found)
    assert check_page(without_run).tags.count("svg") == 6
    assert "no verdict" in without_run


def test_every_explained_number_exists() -> None:
    model, untrained, config = models()
    assert set(EXPLANATIONS) <= set(diagnose(model, untrained, split_of(), config.probe).values())


def labels_of(axes: Axes) -> list[str]:
    """Return what stands along the horizontal axis of a drawn figure, within its limits."""
    axes.figure.draw_without_rendering()
    low, high = axes.get_xlim()
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    return [label.get_text() for place, label in ticks if low <= place <= high]


def test_epochs_are_whole_numbers_where_there_is_one_alone() -> None:
    figure = draw.training([EpochDiagnostics(0, effective_rank=3.0), EpochDiagnostics(1, 0.5, effective_rank=2.0)])
    shown = {axes.get_title(): labels_of(axes) for axes in figure.axes if axes.lines}
    assert shown == {"training loss": ["1"], "effective rank": ["0", "1"]}


def test_the_legend_of_spreads_has_their_units() -> None:
    axes = draw.training([EpochDiagnostics(0, relative_spread=0.5, latent_spread=2.0)]).axes[-1]
    assert axes.get_legend_handles_labels()[1] == ["relative spread (share)", "latent spread (own unit)"]


def test_a_curve_that_lies_on_another_shows() -> None:
    model, untrained, config = models()
    found = diagnose(model, untrained, split_of(), config.probe)
    over_epochs = draw.training([EpochDiagnostics(0, effective_rank=3.0, latent_effective_rank=3.0)]).axes[3]
    for axes in (over_epochs, *draw.spectrum(found).axes, *draw.positions(found).axes):
        assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.arange(12), " 12 classes: colours repeat, so there is no legend."),
        (np.arange(10), ""),
        (np.linspace(0, 1, 12), ""),
        (None, ""),
    ],
)
def test_a_map_of_more_classes_than_colours_says_so(labels: np.ndarray | None, said: str) -> None:
    assert repeated(labels) == said


@pytest.mark.parametrize(("rank", "reason"), [(3.0, "there is no EMA target"), (math.nan, "not measured")])
def test_an_empty_panel_of_the_target_says_whether_there_is_one(rank: float, reason: str) -> None:
    figure = draw.training([EpochDiagnostics(epoch, 0.5, effective_rank=rank) for epoch in range(2)])
    (panel,) = (axes for axes in figure.axes if axes.get_title() == "encoder to EMA target")
    assert [text.get_text() for text in panel.texts] == [reason]


@pytest.mark.parametrize(("channels", "step"), [(3, 1), (10, 1), (11, 2), (16, 2)])
def test_labels_of_many_channels_are_thinned(channels: int, step: int) -> None:
    levels = [1000.0 * channel for channel in range(channels)]
    curve = Curve("missing_channel", "missing channel", "channel", None, levels, {}, {})
    _, (axes,) = draw.panels([curve])
    draw.line(axes, curve, [0.5] * channels, 0.5, "trained")
    assert labels_of(axes) == [f"{level:g}" for level in levels[::step]]
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize(("low", "high"), [(-0.11, 0.046), (-0.0005, 0.0006), (-16, 14)])
def test_labels_of_maps_side_by_side_do_not_lie_over_each_other(low: float, high: float) -> None:
    with styled():
        panels = Figure(figsize=(10, 4), layout="constrained").subplots(1, 3)
        for axes in panels:
            draw.scatter(axes, np.array([[low, 0.0], [high, 1.0]]), None, None)
        shown = len(labels_of(panels[0]))
        boxes = [label.get_window_extent() for label in panels[0].get_xticklabels() if label.get_text()]
    assert shown > 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize(("channels", "named"), [(3, True), (10, True), (11, False)])
def test_a_few_channels_have_their_names(channels: int, named: bool) -> None:
    names = tuple(f"{k} temperature of the bearing" for k in range(channels))
    model, untrained, config = models(channels)
    found = diagnose(model, untrained, split_of(channels=channels), config.probe)
    for make in (draw.perturbed, draw.sparsity):
        (panel,) = (axes for axes in make(found, names).axes if axes.get_title() == "missing channel")
        assert (labels_of(panel) == [f"{k} temp…bearing" for k in range(channels)]) == named
    alike = [f"bearing {k} temperature" for k in range(channels)]  # what is left of these does not tell them apart
    assert not set(labels_of(draw.sparsity(found, alike).axes[-1])) & {"bearin…erature"}
    text = page(Subject("x", "waves", None, None, (), channels=names), found)
    assert text.count("Missing channel: dashed lines are with all channels.") == 2


@pytest.mark.parametrize(("depth", "heads"), [(2, 2), (6, 8), (20, 1)])
def test_labels_of_many_parts_do_not_lie_over_each_other(depth: int, heads: int) -> None:
    model, untrained, config = models(settings=["encoder.depth=1"])
    found = diagnose(model, untrained, split_of(), config.probe, supervised=False)
    pieces = [Piece(block, head) for block in range(depth) for head in (*range(heads), None)]
    with styled():
        figure = draw.ablation(found._replace(ablation={piece: 0.01 * piece.block for piece in pieces}))
        figure.draw_without_rendering()
    parts = figure.axes[0].get_xticklabels()
    blocks = figure.axes[0].child_axes[0].get_xticklabels()
    assert [label.get_text() for label in parts[: heads + 1]] == [*(f"head {head}" for head in range(heads)), "MLP"]
    assert [label.get_text() for label in blocks] == [f"block {block}" for block in range(depth)]
    for labels in (parts, blocks):
        boxes = [label.get_window_extent() for label in labels]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_the_variance_over_a_single_series_is_not_measured() -> None:
    model, untrained, config = models()
    series, _ = waves(1)
    found = diagnose(model, untrained, Split(series, None, None, None), config.probe)
    axes = draw.positions(found).axes[0]
    assert [text.get_text() for text in axes.texts] == ["not measured"]
    assert not axes.lines
