"""The example of docs/sensors.md runs and says what the page says, and all kinds of files are named."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from command_line import tsjepa

from tsjepa.datasets.log_files import KINDS

PAGE = (Path(__file__).parents[1] / "docs" / "sensors.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.split("## An example\n")[1].split("\n## ")[0]


def test_the_example_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log, notes = re.findall(r"```\n(.*?)```", EXAMPLE, re.DOTALL)
    Path("pumps.csv").write_text(log, encoding="utf-8")
    pretrain, embed = (shlex.split(line)[1:] for line in re.findall(r"^    (tsjepa .*)$", EXAMPLE, re.MULTILINE))
    trained = tsjepa(*pretrain)
    assert trained.exit_code == 0, trained.output
    assert [line for line in trained.stderr.splitlines() if line.startswith("note: ")] == notes.splitlines()
    assert tsjepa(*embed).exit_code == 0
    table = pd.read_parquet("pumps.parquet")
    rows = [f"| {row.id} | {row.start} | {row.end} | {len(row.embedding)} numbers |" for row in table.itertuples()]
    assert "\n".join(["|---|---|---|---|", *rows]) in EXAMPLE


def test_all_kinds_of_files_are_named() -> None:
    (sentence,) = re.findall(r"Files are\s(.*?\))\. A table", PAGE, re.DOTALL)
    assert set(re.findall(r"`(\.[\w.]+)`", sentence)) == set(KINDS)
