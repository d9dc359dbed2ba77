"""What tables of a benchmark are written with: means, numbers of things, Markdown."""

from collections.abc import Iterable, Sequence

import numpy as np


def mean(values: Sequence[float]) -> float:
    """Return the mean, nan of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")


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


def finished_page(parts: Sequence[str], failed: Sequence[str], remarks: Iterable[str], versions: Iterable[str]) -> str:
    r"""Return a summary: its parts but empty ones, what failed, remarks, and what it was computed with.

    Examples
    --------
    >>> finished_page(["# Benchmark", ""], [], ["No picture."], ["numpy 2", "numpy 2"]).split("\n\n")
    ['# Benchmark', '- No picture.', 'Computed with numpy 2.\n']
    """
    listed = ["## Failed", "\n".join(f"- {run}" for run in failed)] if failed else []
    end = "Computed with " + "; ".join(dict.fromkeys(versions)) + "."
    every = [*parts, *listed, *(f"- {remark}" for remark in remarks), end]
    return "\n\n".join(part for part in every if part) + "\n"
