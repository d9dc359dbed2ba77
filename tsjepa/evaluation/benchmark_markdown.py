"""What tables of a benchmark are written with: means, numbers of things, Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tsjepa.arrays import counted


def mean(values: Sequence[float]) -> float:
    """Return the mean, nan of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")


def up_to(things: Iterable[tuple[Any, Any]], name: str) -> str:
    """Say how many different things, each told with its place, a place has, and `up to` where places differ in that.

    Examples
    --------
    >>> up_to([("pump", 0), ("pump", 1), ("fan", 0)], "fold"), up_to([("pump", 0), ("fan", 1)], "fold")
    ('up to 2 folds', '1 fold')
    """
    found: dict[Any, set[Any]] = {}
    for place, thing in things:
        found.setdefault(place, set()).add(thing)
    numbers = {len(own) for own in found.values()}
    return "up to " * (len(numbers) > 1) + counted(max(numbers, default=0), name)


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
