"""docs/python.md names what the package offers, no more and no less, and its program runs."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import tsjepa

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w.]+)`", "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")))


def test_all_public_names_are_in_the_tables() -> None:
    assert sorted(name for name in NAMED if "." not in name) == sorted(set(tsjepa.__all__) - {"__version__"})


@pytest.mark.parametrize("name", [name for name in NAMED if "." in name])
def test_what_stands_in_modules_is_there(name: str) -> None:
    module, _, member = name.rpartition(".")
    assert import_module(name) if module == "tsjepa" else hasattr(import_module(module), member)


def test_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert program.count("(0, 20)") == 1
    names: dict[str, object] = {"__name__": "program"}
    exec(compile(program.replace("(0, 20)", "(0, 1)"), "docs/python.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["0", "1"]
    assert len(names["Z"]) == 40  # type: ignore[arg-type]
