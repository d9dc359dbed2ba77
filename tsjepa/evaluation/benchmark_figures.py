"""The pictures of a benchmark, drawn without a display; what is undefined is said instead."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, takewhile
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from scipy.stats import wilcoxon  # type: ignore[import-untyped]

from tsjepa.arrays import counted
from tsjepa.evaluation.benchmark_few_labels import draws_alike, few_labels_means, interval, shared_draws, sort_labels
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_markdown import mean
from tsjepa.evaluation.benchmark_summary import ALPHA, Board, Scores, board_of, ranked
from tsjepa.evaluation.benchmark_table import FewLabels, Result
from tsjepa.evaluation.drawn_text import plain_text, shortened
from tsjepa.evaluation.study_figures import file_names, image

# Data sets that differ: of fewer the two-sided p-value of a Wilcoxon test is above 0.05, whatever the differences
FEWEST = 6
# Letters of a method's name that a scatter has room for
LONGEST_NAME = 30
# One for ten methods each, whose colours differ
MARKERS = "os^D"


class Pictures(NamedTuple):
    """Figures by the names of their files, and one sentence for each that is missing."""

    figures: dict[str, Figure]
    missing: tuple[str, ...]


def pictures(results: Sequence[Result], few: Sequence[FewLabels]) -> Pictures:
    """Draw what the rows of a benchmark allow.

    Parameters
    ----------
    results, few : sequence of rows

    Returns
    -------
    Pictures
        `critical-difference`, `scatter-<method>` of the first method against each other, `few-labels` and
        `few-labels-<data>`, `time`.

    Examples
    --------
    >>> pictures([], []).figures
    {}
    """
    board = board_of(results).common()
    figures: dict[str, Figure] = {}
    missing = []
    size = f"there are {counted(len(board.methods), 'method')} and {counted(len(board.data), 'data set')} to compare"
    if len(board.methods) > 1 and len(board.data) > 1:
        figures |= scatters(board)
    else:
        missing.append(f"no scatter: it compares two methods on two or more data sets, but {size}.")
    if ranked(board):
        figures["critical-difference"] = diagram(board)
    else:
        missing.append(
            "no critical-difference diagram: its test ranks three or more methods that are not all equal on two or "
            f"more data sets, but {size}."
        )
    if few:
        figures |= few_labels_figures(few)
    if len(board.data):
        figures["time"] = time_figure(results, board)
    return Pictures(figures, tuple(missing))


def picture(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Return the content of a file, cut to what is drawn: aeon's diagram writes names beyond its own edges."""
    with mpl.rc_context({"savefig.bbox": "tight"}):
        return image(figure, kind)


@contextmanager
def pyplot() -> Iterator[None]:
    """Let aeon draw through pyplot: without a display, and with nothing left open.

    Of methods that are equal aeon and scipy warn, since their tests are undefined; the pictures show it themselves.
    """
    import matplotlib.pyplot as plt

    mpl.use("agg")
    before = plt.get_fignums()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        for number in set(plt.get_fignums()) - set(before):
            plt.close(number)


def diagram(board: Board) -> Figure:
    """Draw aeon's critical-difference diagram."""
    from aeon.visualisation import plot_critical_difference

    names = [plain_text(name) for name in board.methods]
    with pyplot():
        figure: Figure = plot_critical_difference(board.accuracy, names, alpha=ALPHA)[0]
    return figure


def scatters(board: Board) -> dict[str, Figure]:
    """Draw aeon's scatter of the first method against each other."""
    from aeon.visualisation import plot_pairwise_scatter

    names, first = board.methods, board.accuracy[:, 0]
    figures, files = {}, file_names(names)
    for name, second in zip(names[1:], board.accuracy.T[1:], strict=True):
        with pyplot():
            drawn = [plain_text(short) for short in short_names(names[0], name)]
            # aeon's tests are one-sided, for the method that turned out better
            figure, axes = plot_pairwise_scatter(first, second, *drawn, statistic_tests=False)
        for points in axes.collections:  # aeon ends its axes at 1.001, and writes its boxes over points
            points.set(clip_on=False, zorder=6)
        axes.set_title(tested(first - second), fontsize=10)
        axes.set_xlabel(axes.get_xlabel(), loc="left")  # at the right aeon's words on dashed lines would cover it
        figures[f"scatter-{files[name]}"] = figure
    return figures


def tested(differences: Scores) -> str:
    """Tell the two-sided p-value of a Wilcoxon test of differences, nothing where too few of them are not zero.

    Examples
    --------
    >>> tested(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.0]))
    'Wilcoxon signed-rank test, two-sided: p = 0.031'
    """
    differences = differences.round(12)  # so that equal ones have equal ranks
    differences = differences[differences != 0]
    if len(differences) < FEWEST:
        return ""
    return f"Wilcoxon signed-rank test, two-sided: p = {wilcoxon(differences).pvalue:.2g}"


def short_names(first: str, second: str) -> tuple[str, str]:
    """Return two names as a scatter has room for them; where that would make them alike, from where they differ.

    Examples
    --------
    >>> short_names("default", "runs/2026-11-29/FordA/checkpoint.ckpt")
    ('default', 'runs/2026-11-2…checkpoint.ckpt')
    >>> short_names("runs/FordA-seed-0/checkpoint.ckpt", "runs/FordA-seed-1/checkpoint.ckpt")
    ('…-seed-0/checkpoint.ckpt', '…-seed-1/checkpoint.ckpt')
    """
    if shortened(first, LONGEST_NAME) == shortened(second, LONGEST_NAME):
        alike = takewhile(lambda letters: letters[0] == letters[1], zip(first, second, strict=False))
        start = len(list(alike)) - len("-seed-")
        first, second = f"…{first[start:]}", f"…{second[start:]}"
    return shortened(first, LONGEST_NAME), shortened(second, LONGEST_NAME)


def few_labels_figures(few: Sequence[FewLabels], of: str = "") -> dict[str, Figure]:
    """Draw accuracy against labels: a figure a data set, and one of the mean over data sets; `of` ends their titles."""
    figures, compared = {}, draws_alike(few)
    data = file_names(row.data for row in compared)
    for name, file in data.items():
        figures[f"few-labels-{file}"] = curves([row for row in compared if row.data == name], f"{name}{of}")
    shared = shared_draws(few)
    if len(data) > 1 and shared:
        figures["few-labels"] = curves(shared, f"mean over data sets, their number in brackets{of}")
    return figures


def curves(few: Sequence[FewLabels], title: str) -> Figure:
    """Draw a line a method, a panel a way to count labels, with 95 % intervals of the mean."""
    # by the text of the table, which may be spelt in another way than a budget is, as 0.10
    asked = {labels: LabelBudget.parse(labels) for labels in sort_labels({row.labels for row in few})}
    panels = [list(panel) for _, panel in groupby(asked, lambda labels: asked[labels].kind)]
    figure = Figure(figsize=(6.4 * len(panels), 4.2), layout="constrained")
    figure.suptitle(plain_text(title))
    found = few_labels_means(few)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for place, (method, by_labels) in enumerate(found.items()):
            there = [labels for labels in panel if labels in by_labels]
            if not there:
                continue
            # a little side by side where all methods stand over one number of labels
            aside = 1.1 ** ((2 * place + 1) / len(found) - 1) if len(panel) == 1 else 1.0
            x = [asked[labels].amount * aside for labels in there]
            middle, half = np.array([interval(by_labels[labels]) for labels in there]).T
            look = {"marker": MARKERS[place // 10 % len(MARKERS)], "color": f"C{place}"}  # the same in each panel
            (line,) = axes.plot(x, middle, markersize=3, label=plain_text(method), **look)
            if np.isfinite(half).sum() == 1:  # a band has no width over one number of labels
                axes.errorbar(x, middle, half, fmt="none", capsize=3, color=line.get_color())
            else:
                axes.fill_between(x, middle - half, middle + half, color=line.get_color(), alpha=0.15, linewidth=0)
        finish(axes, [asked[labels] for labels in panel])
        if len({row.data for row in few}) > 1:
            count = {labels: len({row.data for row in few if row.labels == labels}) for labels in panel}
            ticks = [f"{asked[labels].amount:g}\n({n})" for labels, n in count.items()]
            axes.set_xticks(axes.get_xticks(), ticks)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_legend_handles_labels()[0]}
    names = [plain_text(method) for method in found]
    # beside the figure, however long a name is: within, it would leave the panels no room
    figure.legend([lines[name] for name in names], names, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def finish(axes: Any, budgets: Sequence[LabelBudget]) -> None:
    """Name the axes of a few-label curve; labels are on a logarithmic axis, where they were asked for."""
    x = [budget.amount for budget in budgets]
    text = "labels a class" if budgets[0].kind == "per_class" else "share of the training labels"
    axes.set(xlabel=text, ylabel="accuracy", xscale="log", xlim=(min(x) / 1.3, max(x) * 1.3))
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def time_figure(results: Sequence[Result], board: Board) -> Figure:
    """Draw mean accuracy against the mean seconds of a run, on the data sets that all methods have a result on."""
    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.subplots()
    for column, method in enumerate(board.methods):
        own = [row for row in results if row.method == method and row.data in board.data]
        seconds = [(row.fit_seconds or 0.0) + (row.transform_seconds or 0.0) for row in own if row.status == "ok"]
        point = max(mean(seconds), 1e-4), board.accuracy[:, column].mean()
        axes.plot(*point, MARKERS[column // 10 % len(MARKERS)], color=f"C{column}", label=plain_text(method))
    axes.set(xlabel="seconds of a run, fitting and reading both parts", ylabel="mean accuracy", xscale="log")
    axes.set_title(f"{len(board.data)} data set{'s' * (len(board.data) > 1)}")
    axes.margins(x=0.2, y=0.15)
    low, high = axes.get_xlim()
    decades = LogLocator(subs=(1, 3) if high < 1000 * low else (1,), numticks=5)
    axes.minorticks_off()  # with few powers of ten in sight their numbers overlap
    axes.xaxis.set_major_locator(MaxNLocator(5) if high < 10 * low else decades)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1))  # beside the axes: covers no point
    return figure
