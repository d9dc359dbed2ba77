"""The programs of docs/objectives.md run as they stand."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs" / "objectives.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def run(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(program, str(DOCS), "exec"), names)
    return names


def test_a_regularizer_of_ones_own_is_trained_watched_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run(PROGRAMS[0], tmp_path, monkeypatch)
    assert names["result"].verdict is not None
    assert names["Z"].shape[0] == 64
    assert (tmp_path / "runs" / "whiten" / "diagnostics.csv").exists()


def test_a_target_of_ones_own_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(PROGRAMS[1], tmp_path, monkeypatch)
    assert names["Z"].shape == (64, 32)
    assert names["out"].loss.item() > 0
