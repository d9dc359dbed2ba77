"""Names of sensors, data sets, methods and classes are drawn to the letter, whatever they hold."""

import io
from html import unescape

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from studies import by_decay, dip, make_run

from tsjepa.evaluation.benchmark_figures import pictures
from tsjepa.evaluation.benchmark_table import FewLabels, Result
from tsjepa.evaluation.benchmark_transfer import Transferred
from tsjepa.evaluation.benchmark_transfer_summary import transfer_figures
from tsjepa.evaluation.detection_figure import Detection, draw
from tsjepa.evaluation.diagnosis_figures import scatter
from tsjepa.evaluation.drawn_text import shortened
from tsjepa.evaluation.study_figures import figures

# What matplotlib would take for a formula that it cannot read, and leave out of a legend
NAME = r"_$\frac$"


def written(figure: Figure) -> str:
    """Return what is written in a figure, one text behind another."""
    content = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(content, format="svg")
    return unescape(content.getvalue())


@pytest.mark.parametrize("name", [NAME, "$x_1$", r"5$ and \$6"])
def test_a_detection_has_the_names_of_sensors_and_file(name: str) -> None:
    x = np.arange(100)
    text = written(draw(Detection(x, np.sin(x)[None], [f"{name} flow"], np.abs(np.sin(x)), 0.9, []), f"{name}.csv"))
    assert f"{name} flow<" in text
    assert f"{name}.csv<" in text


def test_a_study_has_the_names_of_data_sets() -> None:
    runs = by_decay(lambda place, arm, seed: make_run(arm, seed, **dip(place, 8))._replace(data=NAME))
    drawn = {kind.split("-")[0]: written(figure) for kind, figure in figures(runs).items()}
    assert f"{NAME}: each EMA decay, mean" in drawn["curves"]
    assert f"{NAME}: each mask at decay" in drawn["masks"]
    assert f"{NAME}<" in drawn["phase"]
    assert f"{NAME}, random<" in drawn["masking"]


def test_a_benchmark_has_the_names_of_data_sets_and_methods() -> None:
    rng, methods = np.random.default_rng(0), (NAME, "second", "third")
    rows = [
        Result(f"set{k}", method, 0, 0, rng.uniform(0.5, 1), 0.5, None, 1.0, 0.5, 100.0, 3.0, 10, 20,
               False, "ok", "", "digest", "tsjepa 0")
        for k in range(6) for method in methods
    ]  # fmt: skip
    few = [FewLabels(NAME, method, 0, 0, "5/class", 10, k, 0.5) for method in methods for k in range(3)]
    drawn = {kind: written(figure) for kind, figure in pictures(rows, few).figures.items()}
    assert len(drawn) == 5
    assert all(f"{NAME}<" in drawn[kind] for kind in ("critical-difference", "time"))
    assert all(f"{NAME} wins here<" in drawn[kind] for kind in ("scatter-second", "scatter-third"))
    (curves,) = (text for kind, text in drawn.items() if kind.startswith("few-labels-"))
    assert curves.count(f"{NAME}<") == 2  # title and legend


def test_a_transfer_has_the_name_of_the_source() -> None:
    rows = [Transferred(NAME, "raw", 0, "b", "b", "5/class", k, 10, 20, 0.5, 3.0, 1.0, "ok", "", "d", "tsjepa 0")
            for k in range(3)]  # fmt: skip
    assert f"b, pretrained on {NAME}<" in written(transfer_figures(rows).figures["few-labels-b"])


def test_long_names_of_classes_that_differ_in_their_ends_stay_apart() -> None:
    figure = Figure()
    names = tuple(f"bearing, outer race, damage {level}" for level in ("slight", "severe"))
    scatter(figure.subplots(), np.eye(2), np.array([0, 1]), names)
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert shown == ["bearing, ou…amage slight", "bearing, ou…amage severe"]
    assert {len(name) for name in shown} == {24}
    assert [len(shortened("x" * n, longest)) for n, longest in ((7, 7), (8, 7), (9, 8), (1, 1), (3, 2))] == [
        7,
        7,
        8,
        1,
        2,
    ]


def test_a_map_has_the_names_of_classes() -> None:
    figure = Figure()
    scatter(figure.subplots(), np.eye(2), np.array([0, 1]), (NAME, "other"))
    assert f"{NAME}<" in written(figure)
