"""What the rows of a benchmark say: means, ranks, wins and losses, as numbers and as Markdown."""

from collections.abc import Collection, Sequence
from itertools import compress
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

from tsjepa.arrays import counted
from tsjepa.evaluation.benchmark_few_labels import (
    few_labels_gaps,
    few_labels_note,
    few_labels_table,
    paired_table,
    shared_draws,
)
from tsjepa.evaluation.benchmark_markdown import finished_page, markdown, mean, up_to
from tsjepa.evaluation.benchmark_table import FewLabels, LevelScore, Result, shared_runs

# Level of the tests of a critical-difference diagram, aeon's default
ALPHA = 0.1
Scores = NDArray[np.float64]
Run = TypeVar("Run", Result, LevelScore)


class Board(NamedTuple):
    """Accuracies of methods on data sets, means over seeds and folds; nan where there is none.

    Attributes
    ----------
    data, methods : tuple of str
        Rows and columns, in the order of the table.
    accuracy : float array of shape (n_data, n_methods)
    partial : frozenset of str
        Data sets whose training part is short of the archive's.
    uneven : tuple of str
        Data sets on which not every method has the same seeds and folds.
    """

    data: tuple[str, ...]
    methods: tuple[str, ...]
    accuracy: Scores
    partial: frozenset[str] = frozenset()
    uneven: tuple[str, ...] = ()

    def common(self) -> "Board":
        """Return the data sets that every method has an accuracy on; methods without any are left aside."""
        some = [not np.isnan(column).all() for column in self.accuracy.T]
        methods, accuracy = tuple(compress(self.methods, some)), self.accuracy[:, some]
        whole = [any(some) and not np.isnan(cells).any() for cells in accuracy]
        return self._replace(data=tuple(compress(self.data, whole)), methods=methods, accuracy=accuracy[whole])


def board_of(results: Sequence[Result]) -> Board:
    """Gather the results of finished runs; methods that failed everywhere on a data set have no number there.

    Of a data set only the seeds and folds count that all others have: means over different splits do not compare.
    Means are rounded where the order of a sum would tell: methods of the same accuracies are equal.

    Examples
    --------
    >>> row = Result("pump", "raw", 0, 0, 0.5, *[None] * 8, False, "ok", "", "", "")
    >>> board_of([row, row._replace(seed=1, accuracy=1.0)]).accuracy
    array([[0.75]])
    """
    data = tuple(dict.fromkeys(row.data for row in results))
    methods = tuple(dict.fromkeys(row.method for row in results))
    kept, found = compared(results), dict[tuple[str, str], list[float]]()
    for row in kept:
        if row.accuracy is not None:
            found.setdefault((row.data, row.method), []).append(row.accuracy)
    cells = [[rounded(found.get((name, method), [])) for method in methods] for name in data]
    left_out = {row.data for row in set(results) - set(kept) if row.accuracy is not None}
    partial = frozenset(row.data for row in results if row.partial)
    accuracy = np.array(cells, np.float64).reshape(len(data), len(methods))
    return Board(data, methods, accuracy, partial, tuple(name for name in data if name in left_out))


def compared(rows: Sequence[Run], methods: Collection[str] = ()) -> list[Run]:
    """Return the rows that count: of each data set those of the seeds and folds that every method there has.

    Where methods are named, only data sets count that all of them have.
    """
    scored = [row for row in rows if row.accuracy is not None]
    return shared_runs(scored, lambda row: row.data, lambda row: (row.seed, row.fold), methods)


def rounded(values: Sequence[float]) -> float:
    """Return the mean without the last digits, which depend on the order of the values.

    Examples
    --------
    >>> rounded([0.1, 0.2, 0.3]) == rounded([0.3, 0.2, 0.1])
    True
    """
    return round(mean(values), 12)


def mean_ranks(accuracy: Scores) -> Scores:
    """Return each method's mean rank over data sets, 1 the best, ties sharing theirs.

    Examples
    --------
    >>> mean_ranks(np.array([[0.9, 0.8], [0.7, 0.7]])).tolist()
    [1.25, 1.75]
    """
    ranks: Scores = rankdata(-accuracy, axis=1).mean(0)
    return ranks


def ranked(board: Board) -> bool:
    """Tell whether there is a critical-difference diagram: its tests rank three methods that are not all equal."""
    return len(board.methods) > 2 and len(board.data) > 1 and bool(np.ptp(board.accuracy, axis=1).any())


def wins(accuracy: Scores, column: int) -> tuple[int, int, int]:
    """Return on how many data sets a method is above the first one, equal to it, and below it.

    Examples
    --------
    >>> wins(np.array([[0.9, 0.8], [0.7, 0.7], [0.5, 0.6]]), 1)
    (1, 1, 1)
    """
    difference = accuracy[:, column] - accuracy[:, 0]
    return int((difference > 0).sum()), int((difference == 0).sum()), int((difference < 0).sum())


def means(results: Sequence[Result]) -> dict[str, dict[str, float | int | None]]:
    """Return `{method: {mean_accuracy, n_data}}`, each method on the data sets that it has an accuracy on.

    Examples
    --------
    >>> means([Result("pump", "raw", 0, 0, 0.5, *[None] * 8, False, "ok", "", "", "")])
    {'raw': {'mean_accuracy': 0.5, 'n_data': 1}}
    """
    board, table = board_of(results), {}
    for column, method in enumerate(board.methods):
        there = board.accuracy[:, column][~np.isnan(board.accuracy[:, column])]
        value = float(there.mean()) if len(there) else None
        table[method] = {"mean_accuracy": value, "n_data": len(there)}
    return table


def summary(
    results: Sequence[Result], few: Sequence[FewLabels], levels: Sequence[LevelScore], remarks: Sequence[str] = ()
) -> str:
    """Return everything as Markdown.

    Parameters
    ----------
    results, few, levels : sequence of rows
    remarks : sequence of str
        One sentence each, such as why a picture is missing.

    Returns
    -------
    str
    """
    board = board_of(results)
    parts = ["# Benchmark", overview(results, board), "## Accuracy by data set", by_data(board), partial_note(board)]
    shared = shared_draws(few)
    parts.append("## Few labels" if few else "")
    if shared:
        parts += [few_labels_note(shared), few_labels_table(shared), paired_table(shared)]
    parts.append(few_labels_gaps(few))
    if levels:
        parts += ["## Accuracy by level", "Level 0 is the tokenizer; means over data sets.", levels_table(levels)]
    failed = [
        f"{row.data}, {row.method}, seed {row.seed}, fold {row.fold}: {row.reason}"
        for row in results
        if row.status != "ok"
    ]
    return finished_page(parts, failed, remarks, (row.versions for row in results))


def overview(results: Sequence[Result], board: Board) -> str:
    """Return the table of methods, on the data sets that all of them have an accuracy on."""
    common = board.common()
    kept = compared([row for row in results if row.data in common.data])
    seeds = up_to(((row.data, row.seed) for row in kept), "seed")
    folds = up_to((((row.data, row.seed), row.fold) for row in kept), "fold")
    numbers = f"{counted(len(common.data), 'data set')}, {seeds} and {folds}"
    said = (
        f"Means over {numbers}. One ridge head reads the features of all, but supervised has a head of its own, and "
        f"majority no features. Wins, draws and losses are against {(common.methods or board.methods)[0]}; seconds are "
        "of one run."
    )
    if board.uneven:
        said += f" Only seeds and folds that every method has count on {', '.join(board.uneven)}."
    left_out = [name for name in board.data if name not in common.data]
    if left_out:
        said += f" Left out here, since not every method has a result on them: {', '.join(left_out)}."
    aside = [name for name in board.methods if name not in common.methods]
    if aside:
        said += f" Left aside, without a result on any data set: {', '.join(aside)}."
    if not common.data:
        return said
    if ranked(common):
        said += (
            " In critical-difference.png a bar reaches from a method over those behind it in mean rank, and ends "
            f"before the first that it beats with p of at most {ALPHA:g} / {len(common.methods) - 1} in a one-sided "
            f"Wilcoxon test; it joins all methods if a Friedman test has p of {ALPHA:g} or more."
        )
    ranks = mean_ranks(common.accuracy)
    rows = []
    for column, method in enumerate(common.methods):
        own = [row for row in results if row.method == method and row.data in common.data]
        fit = mean([row.fit_seconds for row in own if row.fit_seconds is not None])
        transform = mean([row.transform_seconds for row in own if row.transform_seconds is not None])
        against = "" if column == 0 else "/".join(map(str, wins(common.accuracy, column)))
        accuracy = f"{common.accuracy[:, column].mean():.4f}"
        rows.append([method, accuracy, f"{ranks[column]:.2f}", against, f"{fit:.2f}", f"{transform:.2f}"])
    head = ["method", "mean accuracy", "mean rank", "wins/draws/losses", "fit s", "transform s"]
    return f"{said}\n\n{markdown(head, rows)}"


def by_data(board: Board) -> str:
    """Return the table of data sets, partial ones marked with a star, the best of each in bold."""
    rows = []
    for name, cells in zip(board.data, board.accuracy, strict=True):
        best = np.nanmax(cells) if not np.isnan(cells).all() else None
        texts = ["-" if np.isnan(x) else f"**{x:.4f}**" if x == best else f"{x:.4f}" for x in cells]
        rows.append([name + "*" * (name in board.partial), *texts])
    return markdown(["data", *board.methods], rows)


def partial_note(board: Board) -> str:
    """Say what the star means, where there is one."""
    if not board.partial:
        return ""
    return "\\* Fewer training series than the archive's: not comparable with published numbers."


def levels_table(levels: Sequence[LevelScore]) -> str:
    """Return the table of methods by level: of data sets, seeds and folds that all have, means over data sets."""
    methods = dict.fromkeys(row.method for row in levels)
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in compared(levels, methods):
        found.setdefault((row.method, row.level), {}).setdefault(row.data, []).append(row.accuracy)
    names = sorted({row.level for row in levels}, key=lambda name: (not name.isdecimal(), name.zfill(3)))
    rows = []
    for method in methods:
        cells = [mean([mean(of_data) for of_data in found.get((method, name), {}).values()]) for name in names]
        rows.append([method, *("-" if np.isnan(cell) else f"{cell:.4f}" for cell in cells)])
    return markdown(["method", *names], rows)
