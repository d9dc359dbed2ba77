"""The pictures of a benchmark: those that mean something, of what compares, and no text over another."""

import numpy as np
import pytest
from benchmark_rows import ROWS, draw, row
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredText
from matplotlib.text import Text

from tsjepa.evaluation.benchmark_figures import few_labels_figures, picture, pictures
from tsjepa.evaluation.benchmark_table import Result


def test_methods_and_sets_without_a_draw_leave_the_pictures_of_the_others() -> None:
    few = [draw("first", k, 0.5 + 0.1 * k) for k in range(3)]  # another was asked for other numbers of labels
    few += [draw("second", k, 0.4, "0.1") for k in range(3)] + [draw("first", 0, None, "50/class", data="b")]
    figures = pictures(ROWS, few).figures
    assert "few-labels-a" in figures
    assert "few-labels-b" not in figures


def test_a_curve_over_few_labels_has_only_draws_that_all_methods_have_there() -> None:
    few = [draw(method, k, accuracy, labels)._replace(fold=fold, seed=seed)
           for method, folds, seeds in (("first", (0, 1), (0, 1)), ("second", (0,), (0,)))
           for fold, of_fold in zip(folds, (0.9, 0.5), strict=False)
           for seed, accuracy in zip(seeds, (of_fold, 0.1), strict=False)
           for labels in ("1/class", "5/class") for k in range(3)]  # fmt: skip
    few += [draw("third", k, 0.3, "0.1") for k in range(3)]  # numbers of labels that one method has alone
    few += [draw("first", k, 0.2, data="b") for k in range(3)]
    few += [draw(name, 0, 0.6, data="c")._replace(fold=fold) for fold, name in enumerate(("first", "second"))]
    figures = few_labels_figures(few)
    assert set(figures) == {"few-labels-a", "few-labels-b"}  # on c there is nothing to compare
    drawn = [(line.get_label(), list(line.get_ydata())) for axes in figures["few-labels-a"].axes
             for line in axes.get_legend_handles_labels()[0]]  # fmt: skip
    assert drawn == [
        ("third", [pytest.approx(0.3)]),
        ("first", [pytest.approx(0.9)] * 2),
        ("second", [pytest.approx(0.9)] * 2),
    ]


@pytest.mark.parametrize("more", [{}, {"1": 1}])
def test_an_interval_at_one_number_of_labels_alone_is_a_bar(more: dict[str, int]) -> None:
    """A band over one number would have no width; all labels have one draw, and so no interval."""
    few = [draw(method, k, accuracy, labels) for method, spread in (("first", 0.1), ("second", 0.02))
           for labels, n in {"0.1": 3, **more}.items()
           for k, accuracy in enumerate((0.7 - spread, 0.7, 0.7 + spread)[:n])]  # fmt: skip
    (axes,) = few_labels_figures(few)["few-labels-a"].axes
    bars = [bar for one in axes.containers if isinstance(one, ErrorbarContainer) for bar in one.lines[2]]
    ends = [path.vertices[:, 1] for bar in bars for path in bar.get_paths() if np.isfinite(path.vertices).all()]
    half = [1.96 * spread / 3**0.5 for spread in (0.1, 0.02)]  # the deviation of three draws is the spread
    assert np.array(ends) == pytest.approx(np.array([[0.7 - one, 0.7 + one] for one in half]))


@pytest.mark.parametrize("n_methods", [2, 12])
def test_one_legend_of_few_label_curves_covers_none_of_them(n_methods: int) -> None:
    names = ["runs/2026-11-29-sweep/FordA-seed-0/checkpoint.ckpt", *(f"method{k}" for k in range(1, n_methods))]
    few = [draw(name, k, 0.7, labels) for name in names for k in range(3) for labels in ("0.05", "0.1", "1/class")
           if name != "method1" or "/" in labels]  # fmt: skip
    figure = few_labels_figures(few)["few-labels-a"]
    (legend,) = figure.legends
    figure.draw_without_rendering()
    assert [text.get_text() for text in legend.get_texts()] == names
    for axes in figure.axes:
        assert axes.get_legend() is None
        assert not legend.get_window_extent().overlaps(axes.bbox)
        assert axes.bbox.width > 0.4 * figure.bbox.width  # two panels
    looks = {(line.get_label(), line.get_color(), line.get_marker())
             for axes in figure.axes for line in axes.get_legend_handles_labels()[0]}  # fmt: skip
    assert len(looks) == len({look[1:] for look in looks}) == n_methods  # each its own, in both panels


@pytest.mark.parametrize("labels", [("0.1",), ("0.1", "0.2")])
def test_methods_over_one_number_of_labels_stand_side_by_side(labels: tuple[str, ...]) -> None:
    few = [draw(f"method{m}", k, 0.7, one) for m in range(3) for k in range(3) for one in labels]
    (axes,) = few_labels_figures(few)["few-labels-a"].axes
    low, high = axes.get_xlim()
    places = [line.get_xdata()[0] for line in axes.get_legend_handles_labels()[0]]
    assert len(set(places)) == (3 if len(labels) == 1 else 1)
    assert all(low < place < high for place in places)
    assert list(axes.get_xticks()) == [float(one) for one in labels]


def test_one_draw_has_no_interval() -> None:
    (axes,) = few_labels_figures([draw("first", 0, 0.7)])["few-labels-a"].axes
    assert not axes.containers


def test_labels_of_a_table_are_found_however_they_are_spelt() -> None:
    few = [draw("first", k, 0.7, labels) for k in range(3) for labels in ("0.10", "5.0/class")]
    shares, classes = few_labels_figures(few)["few-labels-a"].axes
    for axes, amount in ((shares, 0.1), (classes, 5)):
        assert [list(line.get_xdata()) for line in axes.get_lines()[:1]] == [[amount]]


def test_the_time_of_a_method_is_that_on_the_sets_that_all_have() -> None:
    rows = [row("a", name, 0.5, fit_seconds=3.0, transform_seconds=1.0) for name in ("first", "second")]
    slow = row("b", "first", 0.5, fit_seconds=1000.0)
    (line, _) = pictures([*rows, slow], []).figures["time"].axes[0].lines
    assert list(line.get_xdata()) == [4.0]


def test_pictures_are_those_that_mean_something() -> None:
    rng = np.random.default_rng(0)
    rows = [row(f"set{k}", name, rng.uniform(0.5, 1)) for k in range(6) for name in ("first", "second", "third")]
    few = [draw(name, k, rng.uniform(0.5, 1), labels) for name in ("first", "second") for k in range(3)
           for labels in ("1/class", "5/class", "0.05", "1")]  # fmt: skip
    drawn = pictures(rows, few)
    assert set(drawn.figures) == {
        *("critical-difference", "scatter-second", "scatter-third", "time", "few-labels-a"),
    }
    assert drawn.missing == ()
    figure = drawn.figures["few-labels-a"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["share of the training labels", "labels a class"]
    assert picture(drawn.figures["time"], "png").startswith(b"\x89PNG")
    assert b"<svg" in picture(drawn.figures["time"], "svg")


def test_names_that_differ_in_punctuation_have_pictures_of_their_own() -> None:
    rows = [row(data, name, 0.5) for data in ("p/q", "p_q") for name in ("raw", "c.1", "c_1")]
    few = [draw("raw", k, 0.5, data=data) for data in ("p/q", "p_q") for k in range(2)]
    drawn = set(pictures(rows, few).figures)
    assert len([name for name in drawn if name.startswith("scatter-c_1-")]) == 2
    assert len([name for name in drawn if name.startswith("few-labels-p_q-")]) == 2


@pytest.mark.parametrize("rows", [ROWS[:2], ROWS[:3], [row("a", "raw", None)]])
def test_pictures_that_are_undefined_are_said(rows: list[Result]) -> None:
    drawn = pictures(rows, [])
    assert set(drawn.figures) <= {"time"}
    assert [text.split(":")[0] for text in drawn.missing] == ["no scatter", "no critical-difference diagram"]
    size = "0 data sets to compare" if rows[0].accuracy is None else "1 data set to compare"
    assert all(size in text for text in drawn.missing)


@pytest.mark.parametrize(("names", "drawn"), [(("first", "second"), 1), (("first", "second", "third"), 2)])
def test_equal_methods_can_be_drawn(names: tuple[str, ...], drawn: int) -> None:
    """By a scatter, but the test of the diagram is undefined."""
    import matplotlib.pyplot as plt

    found = pictures([row(f"set{k}", name, 0.5 + 0.1 * k) for k in range(4) for name in names], [])
    assert len([name for name in found.figures if name.startswith("scatter-")]) == drawn
    assert "critical-difference" not in found.figures
    assert len(found.missing) == 1
    assert plt.get_fignums() == []


def test_the_test_of_a_scatter_is_two_sided_and_says_nothing_of_few_sets() -> None:
    def title(differences: list[float]) -> str:
        pairs = [(0.5, 0.5 + more) for more in differences]
        rows = [
            row(f"set{k}", *one) for k, pair in enumerate(pairs) for one in zip(("first", "second"), pair, strict=True)
        ]
        (axes,) = pictures(rows, []).figures["scatter-second"].axes
        return str(axes.get_title())

    differences = [0.1, 0.2, 0.3, 0.4, 0.15, 0.25, -0.05, 0.35]
    # of the 256 ways to sign eight ranks, that of 0.05, the smallest, alone or none of them is negative in two of them
    assert title(differences) == title([-one for one in differences])
    assert title(differences).endswith(f"two-sided: p = {2 * 2 / 256:.2g}")
    assert title([*differences, 0.0, 0.0]) == title(differences)
    for few in ([0.0] * 9, differences[:2], [*differences[:5], 0.0]):
        assert title(few) == ""


def test_points_of_a_scatter_are_whole_and_no_box_covers_them() -> None:
    """aeon's axes end at 1.001: its frame would cut sets with an accuracy of 1."""
    rows = [row(f"set{k}", *one) for k, low in enumerate((0.4, 0.5)) for one in (("first", 1.0), ("second", low))]
    (axes,) = pictures(rows, []).figures["scatter-second"].axes
    (points,) = axes.collections
    assert not points.get_clip_on()
    assert points.get_zorder() > max(box.get_zorder() for box in axes.findobj(AnchoredText))


def overlaps(figure: Figure, texts: list[Text]) -> list[tuple[str, str]]:
    """Return the pairs of texts that are written over each other."""
    figure.draw_without_rendering()
    seen = [(text.get_text(), text.get_window_extent()) for text in dict.fromkeys(texts) if text.get_text()]
    return [(a, b) for k, (a, box) in enumerate(seen) for b, other in seen[:k] if box.overlaps(other)]


@pytest.mark.parametrize("seconds", [1.0, 1.02, 4.0, 10.0, 40.0, 1e4, 1e6])
def test_no_text_of_the_time_figure_is_written_over_another(seconds: float) -> None:
    names = {"default": 1.0, "random-init": seconds, "runs/2026-11-29-sweep/FordA-seed-0/checkpoint.ckpt": seconds}
    rows = [row(f"set{k}", name, 0.5, fit_seconds=fit) for k in range(2) for name, fit in names.items()]
    figure = pictures(rows, []).figures["time"]
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert legend is not None
    figure.draw_without_rendering()
    sides = (axes.xaxis, axes.yaxis)
    ticks = [tick for side in sides for tick in (*side.get_major_ticks(), *side.get_minor_ticks())
             if side.get_view_interval()[0] <= tick.get_loc() <= side.get_view_interval()[1]]  # fmt: skip
    texts = [*legend.get_texts(), *axes.texts, axes.title, *(side.label for side in sides)]
    assert overlaps(figure, [*texts, *(tick.label1 for tick in ticks)]) == []
    assert [text.get_text() for text in legend.get_texts()] == list(names)
    assert not legend.get_window_extent().overlaps(axes.bbox)  # nor over points


def test_more_methods_than_colours_have_signs_of_their_own_in_the_time_figure() -> None:
    figure = pictures([row("a", f"method{k}", 0.5) for k in range(12)], []).figures["time"]
    assert len({(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}) == 12


def test_long_names_are_cut_in_scatters_and_stay_two_names() -> None:
    first, second = (f"runs/sweep-of-learning-rates/FordA-seed-{k}/checkpoint.ckpt" for k in range(2))
    rows = [row(f"set{k}", name, 0.5 + 0.03 * k + 0.01 * (k % 2) * (name == first)) for k in range(12)
            for name in (first, second, "archive/models/noise-tolerant-variants/run-17/checkpoint.ckpt")]  # fmt: skip
    scatters = [figure for name, figure in pictures(rows, []).figures.items() if name.startswith("scatter-")]
    assert len(scatters) == 2
    for figure in scatters:
        axes = figure.axes[0]
        assert axes.get_title()
        texts = [axes.xaxis.label, axes.yaxis.label, axes.title]
        texts += [text for box in axes.findobj(AnchoredText) for text in box.findobj(Text)]
        assert overlaps(figure, texts) == []
        names = {text.get_text().split(" accuracy")[0] for text in texts[:2]}
        assert len(names) == 2
        assert all(len(name) <= 30 for name in names)


def test_two_of_three_methods_may_be_equal() -> None:
    rows = [row(f"set{k}", name, 0.5 + 0.04 * k + 0.1 * (name == "third")) for k in range(8)
            for name in ("first", "second", "third")]  # fmt: skip
    assert "critical-difference" in pictures(rows, []).figures
