"""docs/detection.md names what `tsjepa detect` writes, prints and takes, no more and no less."""

import re
from pathlib import Path

import pytest

from tsjepa.cli.detect_tables import EVENT_COLUMNS
from tsjepa.cli.report import DetectReport
from tsjepa.thresholds import SECONDS

PAGE = (Path(__file__).parents[1] / "docs" / "detection.md").read_text(encoding="utf-8")
FILES = PAGE.split("## Output files\n")[1].split("\n## ")[0]


def test_the_first_command_names_no_column_that_a_log_may_lack() -> None:
    first, *_ = re.findall(r"^    (tsjepa pretrain .*)$", PAGE, re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", first)) == {"--data", "--config", "--out"}
    assert re.search(r"`--inputs \w+", PAGE)


def test_the_table_of_events_has_their_columns() -> None:
    table = FILES.split("`events.csv` beside it")[1]
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    assert tuple(re.findall(r"`(\w+)`", " ".join(cells))) == EVENT_COLUMNS


def test_the_keys_of_json_are_named() -> None:
    sentence = re.search(r"`--json` prints (.*?);", FILES, re.DOTALL)
    assert sentence is not None
    report = DetectReport(1, 0, 0.0, "1/day", None, None, None, 0.0, Path("scores.parquet"))
    assert re.findall(r"`(\w+)`", sentence[1]) == list(report.values())


def test_the_units_of_a_budget_are_named() -> None:
    sentence = re.search(r"Units are (.*?), as in", PAGE, re.DOTALL)
    assert sentence is not None
    assert re.findall(r"`(\w+)`", sentence[1]) == list(SECONDS)


@pytest.mark.parametrize("flag", ["--reference-rows 400", "--false-alarms 1/h"])
def test_the_command_behind_the_score_on_skab_has_its_flags(flag: str) -> None:
    (command,) = re.findall(r"^    (tsjepa detect .*skab_test.*)$", PAGE, re.MULTILINE)
    assert flag in command
