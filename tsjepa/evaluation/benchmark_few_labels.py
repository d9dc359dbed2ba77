"""What draws of few labels say: means over draws with their intervals, and methods paired on the same draws."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

import numpy as np

from tsjepa.arrays import counted
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_markdown import markdown, mean, up_to
from tsjepa.evaluation.benchmark_table import FewLabels, shared_runs

# Fold, and number of the draw of labels within it
Draw = tuple[int, int]
Draws = dict[Draw, float]
# Every data set has draws of its own
APART: Mapping[str, str] = MappingProxyType({})


def few_labels_note(few: Sequence[FewLabels], thing: str = "data set") -> str:
    """Say how few labels were drawn, and of what there are means."""
    draws = max(row.draw for row in few) + 1
    once = draws > 1 and any(LabelBudget.parse(row.labels).n_draws() == 1 for row in few)
    folds = up_to((((row.data, row.labels, row.seed), row.fold) for row in few), "fold")
    apart = len({row.fold for row in few}) > 1
    several = f", {folds}" * apart
    numbers = counted(draws, "draw") + " a fold" * apart + " (one of all labels)" * once
    return (
        f"Means over {thing}s, seeds{several} and {numbers}, stratified, at least one a class, the same for every "
        f"method. In brackets, how many {thing}s have so many labels of every class and a result of every method."
    )


def few_labels_gaps(few: Sequence[FewLabels], thing: str = "data set") -> str:
    """Say which numbers of labels were asked for and are in no table, nothing where all are.

    Examples
    --------
    >>> few_labels_gaps([FewLabels("pump", "raw", 0, 0, "50/class", 0, 0, None)])
    'No data set has so many labels of every class: 50/class.'
    """
    asked = sort_labels({row.labels for row in few})
    drawn = {row.labels for row in few if row.accuracy is not None}
    shared = {row.labels for row in shared_draws(few)}
    said = []
    if absent := [labels for labels in asked if labels not in drawn]:
        said.append(f"No {thing} has so many labels of every class: {', '.join(absent)}.")
    if apart := [labels for labels in asked if labels in drawn - shared]:
        said.append(f"No {thing} has draws of so many labels of every method: {', '.join(apart)}.")
    return " ".join(said)


def shared_draws(few: Sequence[FewLabels]) -> list[FewLabels]:
    """Return the rows of draws of labels that every method has an accuracy of."""
    return draws_alike(few, {row.method for row in few})


def draws_alike(few: Sequence[FewLabels], methods: Collection[str] = ()) -> list[FewLabels]:
    """Return the rows with an accuracy of draws that, of their data and number of labels, every method there has.

    Where methods are named, all of them have to be there.

    Examples
    --------
    >>> row = FewLabels("pump", "raw", 0, 0, "5/class", 10, 0, 0.5)
    >>> rows = [row, row._replace(fold=1), row._replace(method="tiny"), row._replace(method="tiny", labels="0.1")]
    >>> [(row.method, row.labels, row.fold) for row in draws_alike(rows)]
    [('raw', '5/class', 0), ('tiny', '5/class', 0), ('tiny', '0.1', 0)]
    """
    scored = [row for row in few if row.accuracy is not None]
    return shared_runs(scored, lambda row: (row.data, row.labels), lambda row: (row.seed, row.fold, row.draw), methods)


def few_labels_means(few: Iterable[FewLabels]) -> dict[str, dict[str, dict[str, Draws]]]:
    """Return the accuracies of all draws by method, number of labels as it was asked for, and data set.

    A draw of labels is the same for every seed, so that of several seeds there is the mean.

    Examples
    --------
    >>> row = FewLabels("pump", "raw", 0, 0, "5/class", 10, 0, 0.5)
    >>> few_labels_means([row, row._replace(seed=1, accuracy=1.0), row._replace(fold=1)])
    {'raw': {'5/class': {'pump': {(0, 0): 0.75, (1, 0): 0.5}}}}
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


def over_seeds(draws: Mapping[Draw, list[float]]) -> Draws:
    """Return the mean over seeds of each draw of labels."""
    return {draw: mean(values) for draw, values in draws.items()}


def interval(by_data: Mapping[str, Draws], drawn_from: Mapping[str, str] = APART) -> tuple[float, float]:
    """Return the mean over data sets of the mean over folds and draws, and the half width of its 95 % interval.

    The interval is over draws within a fold; how folds and data sets differ has no part in it. The half width is nan
    where a fold has one draw only, which does not say how draws differ.

    Parameters
    ----------
    by_data : mapping of str to dict
        Value of each draw by data set.
    drawn_from : mapping of str to str, optional
        What the labels of a data set are drawn from, where that is another set. Data sets of one such set share its
        draws, so that a draw counts once, by its mean over them; each of them is taken to have all these draws.

    Returns
    -------
    tuple of float

    Examples
    --------
    >>> interval({"pump": {(0, 0): 0.25, (0, 1): 0.75}, "fan": {(0, 0): 1.0, (1, 0): 0.5}})[0]
    0.625
    """
    middle = mean([mean([mean(values) for values in folds(draws)]) for draws in by_data.values()])
    together: dict[str, list[Draws]] = {}
    for data, draws in by_data.items():
        together.setdefault(drawn_from.get(data, data), []).append(draws)
    variances = [len(several) ** 2 * variance_of_mean(over_data(several)) for several in together.values()]
    return middle, 1.96 * math.sqrt(sum(variances)) / len(by_data)


def over_data(several: Sequence[Draws]) -> Draws:
    """Return the mean of each draw over the data sets that share it.

    Examples
    --------
    >>> over_data([{(0, 0): 0.25, (0, 1): 0.5}, {(0, 0): 0.75}])
    {(0, 0): 0.5, (0, 1): 0.5}
    """
    every = dict.fromkeys(chain(*several))
    return {draw: mean([draws[draw] for draws in several if draw in draws]) for draw in every}


def folds(draws: Draws) -> list[list[float]]:
    """Return the values of draws, fold by fold."""
    found: dict[int, list[float]] = {}
    for (fold, _), value in draws.items():
        found.setdefault(fold, []).append(value)
    return list(found.values())


def variance_of_mean(draws: Draws) -> float:
    """Return the variance of the mean over folds of the mean over draws, nan where a fold has one draw.

    Examples
    --------
    >>> variance_of_mean({(0, 0): 0.0, (0, 1): 1.0}), variance_of_mean({(0, 0): 1.0})
    (0.25, nan)
    """
    own = folds(draws)
    return sum(float(np.var(v, ddof=1)) / len(v) if len(v) > 1 else math.nan for v in own) / len(own) ** 2


def few_labels_table(few: Sequence[FewLabels]) -> str:
    """Return the table of methods by number of labels."""
    found = few_labels_means(few)
    asked = sort_labels({row.labels for row in few})
    n_data = [len({row.data for row in few if row.labels == labels}) for labels in asked]
    head = ["method", *(f"{labels} ({n})" for labels, n in zip(asked, n_data, strict=True))]
    rows = [[method, *(f"{interval(by[labels])[0]:.4f}" for labels in asked)] for method, by in found.items()]
    return markdown(head, rows)


def paired_table(few: Sequence[FewLabels], drawn_from: Mapping[str, str] = APART) -> str:
    """Return by how much the first method is above each other on the same draws, with the 95 % `interval`."""
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
            cells.append(with_interval(*interval(gains, drawn_from)) if gains else "-")
        rows.append([other, *cells])
    said = f"By how much {methods[0]} is above each other method, paired over draws, with the 95 % interval:"
    return f"{said}\n\n{markdown(['method', *asked], rows)}"


def with_interval(middle: float, half: float) -> str:
    """Return a difference with the half width of its interval, if there is one.

    Examples
    --------
    >>> with_interval(0.1, 0.02), with_interval(-0.1, math.nan)
    ('+0.1000 ± 0.0200', '-0.1000')
    """
    return f"{middle:+.4f}" + ("" if math.isnan(half) else f" ± {half:.4f}")


def sort_labels(asked: Iterable[str]) -> list[str]:
    """Return shares by size, then numbers a class by size.

    Examples
    --------
    >>> sort_labels(["5/class", "0.1", "1/class", "0.05"])
    ['0.05', '0.1', '1/class', '5/class']
    """
    budgets = {text: LabelBudget.parse(text) for text in asked}
    return sorted(budgets, key=lambda text: (budgets[text].kind == "per_class", budgets[text].amount))
