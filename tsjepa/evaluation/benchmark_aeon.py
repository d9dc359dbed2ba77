"""The accuracies of a benchmark in the files that aeon's own tools read."""

from collections.abc import Sequence

from tsjepa.evaluation.benchmark_summary import compared, rounded
from tsjepa.evaluation.benchmark_table import Result


def aeon_tables(results: Sequence[Result]) -> dict[str, str]:
    """Return the accuracy tables that aeon's readers expect, by method: a row a data set, a column a resample.

    Of each data set the same seeds and folds count as in a `Board`.

    Examples
    --------
    >>> row = Result("pump", "raw", 0, 0, 0.5, *[None] * 8, False, "ok", "", "", "")
    >>> print(aeon_tables([row])["raw"], end="")
    Resamples:,0
    pump,0.5
    """
    kept = compared(results)
    folds, tables = sorted({row.fold for row in kept}), {}
    for method in dict.fromkeys(row.method for row in results):
        lines = [",".join(["Resamples:", *map(str, folds)])]
        for name in dict.fromkeys(row.data for row in results if row.method == method):
            cells = []
            for fold in folds:
                key = (name, method, fold)
                own = [r.accuracy for r in kept if (r.data, r.method, r.fold) == key and r.accuracy is not None]
                cells.append(repr(rounded(own)) if own else "")
            lines.append(",".join([name.replace(",", " "), *cells]))
        tables[method] = "\n".join(lines) + "\n"
    return tables
