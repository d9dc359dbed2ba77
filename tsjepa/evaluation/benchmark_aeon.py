"""The accuracies of a benchmark in aeon's layout; its readers take only names of methods that they know."""

from collections import defaultdict
from collections.abc import Sequence

from tsjepa.evaluation.benchmark_summary import compared, rounded
from tsjepa.evaluation.benchmark_table import Result


def aeon_tables(results: Sequence[Result]) -> dict[str, str]:
    """Return accuracy tables in aeon's layout, by method: a row a data set, a column a resample.

    Of each data set the same seeds and folds count as in a `Board`.

    Examples
    --------
    >>> row = Result("pump", "raw", 0, 0, 0.5, *[None] * 8, False, "ok", "", "", "")
    >>> print(aeon_tables([row])["raw"], end="")
    Resamples:,0
    pump,0.5
    """
    kept = compared(results)
    folds, tables = sorted({row.fold for row in kept}), dict[str, list[str]]()
    cells = defaultdict[tuple[str, str, int], list[float]](list)
    for row in kept:
        if row.accuracy is not None:
            cells[row.method, row.data, row.fold].append(row.accuracy)
    for method, name in dict.fromkeys((row.method, row.data) for row in results):
        lines = tables.setdefault(method, [",".join(["Resamples:", *map(str, folds)])])
        own = [cells.get((method, name, fold)) for fold in folds]
        lines.append(",".join([name.replace(",", " "), *("" if of is None else repr(rounded(of)) for of in own)]))
    return {method: "\n".join(lines) + "\n" for method, lines in tables.items()}
