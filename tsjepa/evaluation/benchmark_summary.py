"""What the rows of a benchmark say: means, ranks, wins and losses, as numbers and as Markdown."""

import math
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

from tsjepa.evaluation.benchmark_table import FewLabels, LevelScore, Result

Scores = NDArray[np.float64]
# Fold, and number of the draw of labels within it
Draw = tuple[int, int]


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
        some = ~np.isnan(self.accuracy).all(0)
        methods = tuple(compress(self.methods, some))
        accuracy = self.accuracy[:, some]
        whole = ~np.isnan(accuracy).any(1) & some.any()
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


def compared(results: Sequence[Result]) -> list[Result]:
    """Return the results that count: of each data set those of the seeds and folds that every method there has."""
    scored = [row for row in results if row.accuracy is not None]
    shared = shared_runs(scored)
    return [row for row in scored if (row.seed, row.fold) in shared[row.data]]


def shared_runs(rows: Sequence[Result] | Sequence[LevelScore]) -> dict[str, set[tuple[int, int]]]:
    """Return the seeds and folds of each data set that every method has which is there at all.

    Examples
    --------
    >>> row = LevelScore("pump", "default", 0, 0, "all", 0.9)
    >>> shared_runs([row, row._replace(seed=1), row._replace(method="tiny")])
    {'pump': {(0, 0)}}
    """
    runs: dict[str, dict[str, set[tuple[int, int]]]] = {}
    for row in rows:
        runs.setdefault(row.data, {}).setdefault(row.method, set()).add((row.seed, row.fold))
    return {data: set.intersection(*of_methods.values()) for data, of_methods in runs.items()}


def mean(values: Sequence[float]) -> float:
    """Return the mean, nan of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")


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
    if shared:
        parts += ["## Few labels", few_labels_note(shared), few_labels_table(shared), paired_table(shared)]
    if levels:
        parts += ["## Accuracy by level", "Level 0 is the tokenizer; means over data sets.", levels_table(levels)]
    failures = [
        f"- {row.data}, {row.method}, seed {row.seed}, fold {row.fold}: {row.reason}"
        for row in results
        if row.status != "ok"
    ]
    if failures:
        parts += ["## Failed", "\n".join(failures)]
    parts += [f"- {remark}" for remark in remarks]
    parts.append("Computed with " + "; ".join(dict.fromkeys(row.versions for row in results)) + ".")
    return "\n\n".join(part for part in parts if part) + "\n"


def overview(results: Sequence[Result], board: Board) -> str:
    """Return the table of methods, on the data sets that all of them have an accuracy on."""
    common = board.common()
    scored = [row for row in results if row.accuracy is not None and row.data in common.data]
    runs = {run for shared in shared_runs(scored).values() for run in shared}
    seeds, folds = len({seed for seed, _ in runs}), len({fold for _, fold in runs})
    numbers = f"{count(len(common.data), 'data set')}, {count(seeds, 'seed')} and {count(folds, 'fold')}"
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


def count(number: int, thing: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> count(1, "seed"), count(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number} {thing}{'s' * (number != 1)}"


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


def few_labels_note(few: Sequence[FewLabels]) -> str:
    """Say how few labels were drawn."""
    draws = max(row.draw for row in few) + 1
    return (
        f"Means over data sets, seeds and {draws} draws, stratified, at least one a class, the same for every method. "
        "In brackets, how many data sets have so many labels of every class and a result of every method."
    )


def shared_draws(few: Sequence[FewLabels]) -> list[FewLabels]:
    """Return the rows of draws of labels that every method has an accuracy of."""
    there: dict[tuple[str, str, int, int, int], set[str]] = {}
    for row in few:
        if row.accuracy is not None:
            there.setdefault((row.data, row.labels, row.seed, row.fold, row.draw), set()).add(row.method)
    n_methods = len({row.method for row in few})
    shared = {draw for draw, methods in there.items() if len(methods) == n_methods}
    return [row for row in few if (row.data, row.labels, row.seed, row.fold, row.draw) in shared]


def few_labels_means(few: Iterable[FewLabels]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return the accuracies of all draws by method, number of labels as it was asked for, and data set.

    A draw of labels is the same for every seed, so that of several seeds there is the mean.

    Examples
    --------
    >>> row = FewLabels("pump", "raw", 0, 0, "5/class", 10, 0, 0.5)
    >>> few_labels_means([row, row._replace(seed=1, accuracy=1.0)])
    {'raw': {'5/class': {'pump': [0.75]}}}
    """
    found: dict[str, dict[str, dict[str, dict[Draw, list[float]]]]] = {}
    for row in few:
        if row.accuracy is not None:
            by_data = found.setdefault(row.method, {}).setdefault(row.labels, {})
            by_data.setdefault(row.data, {}).setdefault((row.fold, row.draw), []).append(row.accuracy)
    return {
        method: {labels: {data: over_seeds(draws) for data, draws in by.items()} for labels, by in asked.items()}
        for method, asked in found.items()
    }


def over_seeds(draws: dict[Draw, list[float]]) -> list[float]:
    """Return the mean over seeds of each draw of labels."""
    return [mean(values) for values in draws.values()]


def interval(by_data: dict[str, list[float]]) -> tuple[float, float]:
    """Return the mean over data sets of the mean over draws, and the half width of its 95 % interval over draws.

    Examples
    --------
    >>> interval({"pump": [0.25, 0.75], "fan": [1.0, 1.0]})[0]
    0.75
    """
    several = [values for values in by_data.values() if len(values) > 1]
    variances = [float(np.var(values, ddof=1)) / len(values) for values in several]
    middle = mean([mean(values) for values in by_data.values()])
    return middle, 1.96 * math.sqrt(sum(variances)) / len(by_data)


def few_labels_table(few: Sequence[FewLabels]) -> str:
    """Return the table of methods by number of labels."""
    found = few_labels_means(few)
    asked = sort_labels({row.labels for row in few})
    n_data = [len({row.data for row in few if row.labels == labels}) for labels in asked]
    head = ["method", *(f"{labels} ({n})" for labels, n in zip(asked, n_data, strict=True))]
    rows = [[method, *(f"{interval(by[labels])[0]:.4f}" for labels in asked)] for method, by in found.items()]
    return markdown(head, rows)


def paired_table(few: Sequence[FewLabels]) -> str:
    """Return by how much the first method is above each other on the same draws, with its 95 % interval."""
    methods = list(dict.fromkeys(row.method for row in few))
    if len(methods) < 2:
        return ""
    draws: dict[tuple[str, str], dict[tuple[str, int, int, int], float]] = {}
    for row in few:
        if row.accuracy is not None:
            draw = row.data, row.seed, row.fold, row.draw
            draws.setdefault((row.method, row.labels), {})[draw] = row.accuracy
    asked, rows = sort_labels({row.labels for row in few}), []
    for other in methods[1:]:
        cells = []
        for labels in asked:
            first, second = draws.get((methods[0], labels), {}), draws.get((other, labels), {})
            by_data: dict[str, dict[Draw, list[float]]] = {}
            for shared in sorted(first.keys() & second.keys()):
                data, _, *drawn = shared
                of_data = by_data.setdefault(data, {})
                of_data.setdefault((drawn[0], drawn[1]), []).append(first[shared] - second[shared])
            gains = {data: over_seeds(of_draws) for data, of_draws in by_data.items()}
            cells.append("{:+.4f} ± {:.4f}".format(*interval(gains)) if gains else "-")
        rows.append([other, *cells])
    said = f"By how much {methods[0]} is above each other method, paired over draws, with the 95 % interval:"
    return f"{said}\n\n{markdown(['method', *asked], rows)}"


def sort_labels(asked: Iterable[str]) -> list[str]:
    """Return shares by size, then numbers a class by size.

    Examples
    --------
    >>> sort_labels(["5/class", "0.1", "1/class", "0.05"])
    ['0.05', '0.1', '1/class', '5/class']
    """
    return sorted(asked, key=lambda text: (text.endswith("/class"), float(text.removesuffix("/class"))))


def levels_table(levels: Sequence[LevelScore]) -> str:
    """Return the table of methods by level: of data sets, seeds and folds that all have, means over data sets."""
    n_methods, shared = len({row.method for row in levels}), shared_runs(levels)
    there: dict[str, set[str]] = {}
    for row in levels:
        there.setdefault(row.data, set()).add(row.method)
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in levels:
        if len(there[row.data]) == n_methods and (row.seed, row.fold) in shared[row.data]:
            found.setdefault((row.method, row.level), {}).setdefault(row.data, []).append(row.accuracy)
    names = sorted({row.level for row in levels}, key=lambda name: (not name.isdecimal(), name.zfill(3)))
    rows = []
    for method in dict.fromkeys(row.method for row in levels):
        cells = [mean([mean(of_data) for of_data in found.get((method, name), {}).values()]) for name in names]
        rows.append([method, *("-" if np.isnan(cell) else f"{cell:.4f}" for cell in cells)])
    return markdown(["method", *names], rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Return a table in Markdown; a path may hold the sign that parts its cells.

    Examples
    --------
    >>> print(markdown(["method", "accuracy"], [["raw", "0.5"]]))
    | method | accuracy |
    |---|---|
    | raw | 0.5 |
    >>> print(markdown(["a|b"], []).splitlines()[0])
    | a\|b |
    """
    escaped = ([cell.replace("|", r"\|") for cell in row] for row in (head, *rows))
    lines = ["|".join(["", *(f" {cell} " for cell in row), ""]) for row in escaped]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
