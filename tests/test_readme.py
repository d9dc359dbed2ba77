"""The README is true: its commands and programs run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tsjepa import EMATarget
from tsjepa.cli.main import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SETUP = ("python3 -m venv",)  # these two are run by .ci/run and by a person


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands():
    joined = "\n".join(blocks("sh")).replace("&&\n", "&& ")
    return [line for line in joined.splitlines() if line and not line.startswith(SETUP)]


@pytest.mark.parametrize("program", blocks("python"), ids=["estimator", "pytorch"])
def test_programs_run(program, tmp_path):
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_training_loop_moves_the_target_and_the_schedules(monkeypatch):
    moved, update = [], EMATarget.update
    monkeypatch.setattr(EMATarget, "update", lambda *given: (moved.append(given[2:]), update(*given)))
    names = {}
    exec(compile(blocks("python")[1], "README.md", "exec"), names)
    assert moved == [(step, names["steps"]) for step in range(names["steps"])]
    assert names["model"].progress == (names["steps"] - 1) / names["steps"]


def test_commands_run(tmp_path):
    """All of them, in their order, in one folder; shortened to two epochs."""
    if "TSJEPA_DATA" not in os.environ:
        pytest.skip("TSJEPA_DATA names no folder with FordA")
    assert len(commands()) >= 3
    for command in commands():
        words = shlex.split(command)
        assert words[0] == "tsjepa", command
        if words[1] == "pretrain":
            words += ["--epochs", "2"]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tsjepa.cli", *words[1:]], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, (command, done.stderr)
    assert {"runs", "FordA.parquet"} <= {path.name for path in tmp_path.iterdir()}


def test_commands_that_are_only_named_are_complete():
    """Those in sentences and tables, and all of the docs: the command line takes their words as they stand."""
    pages = {page.name: page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
    found = {
        (name, command.removesuffix(" [--quick]").partition(" > ")[0])  # where output goes is the shell's matter
        for name, page in pages.items()
        for pattern in (r"`(tsjepa [a-z][^`]*)`", r"^    (tsjepa .*)$")
        for command in re.findall(pattern, page, re.MULTILINE)
    }
    assert len(found) > 30
    commands, wrong = typer.main.get_command(app), []
    for name, line in sorted(found):
        _, command, *words = shlex.split(line)
        if not words:  # the name alone
            assert command in commands.commands, (name, line)
            continue
        try:
            commands.commands[command].make_context(command, words)
        except Exception as error:  # whatever keeps the line from running
            wrong.append((name, line, str(error)))
    assert not wrong


def test_ci_runs_the_readme_command():
    script = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in script
    assert any("[test]" in block and "pytest" in block for block in blocks("sh"))
