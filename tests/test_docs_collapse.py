"""docs/collapse.md names all columns of diagnostics.csv, and what an objective's name sets."""

import re
from pathlib import Path

import pytest

from tsjepa.build import OBJECTIVES, configure
from tsjepa.history import EpochDiagnostics

PAGE = (Path(__file__).parents[1] / "docs" / "collapse.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table whose first row begins with a heading."""
    table = PAGE.split(f"\n| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_all_columns_of_the_diagnostics_are_in_the_table() -> None:
    named = [name for row in rows("column") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(EpochDiagnostics._fields)


def test_all_objectives_are_in_the_table_of_plain_forms() -> None:
    assert [row[0].strip("`") for row in rows("NAME")] == list(OBJECTIVES)


@pytest.mark.parametrize("row", rows("NAME"), ids=list(OBJECTIVES))
def test_a_plain_form_sets_what_the_table_says(row: list[str]) -> None:
    config = configure("ts-jepa-paper", row[0].strip("`"))
    loss, projected = config.loss, "projected form" in row[3]
    assert row[1].startswith(f"`{config.target.kind}`")
    kind = config.regularizer.kind
    assert row[2] == ("`none`" if kind == "none" else f"`{kind}`, {config.regularizer.weight:g}")
    assert (loss.kind, loss.normalize_target, config.projector.out) == (
        ("mse", False, 64) if projected else ("l1", True, 0)
    )
    assert loss.centre_target == ("loss.centre_target=true" in row[3])
    assert loss.context_weight == (0.1 if "loss.context_weight=0.1" in row[3] else 0)
    assert config.target.levels == ((0, -1) if "target.levels=[0, -1]" in row[3] else (-1,))
