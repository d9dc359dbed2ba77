"""The command in a process of its own: start-up, help, and what goes to which stream."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tsjepa.cli.main import app
from tsjepa.config import load_config, parse_config, recipe_names

# typer itself brings pydantic
HEAVY = ("torch", "lightning", "numpy", "pandas", "sklearn", "aeon", "rich", "yaml", "pyarrow")


def tsjepa(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "TSJEPA_DATA"}
    return subprocess.run(
        [sys.executable, "-P", "-m", "tsjepa.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("words", [["--help"], ["pretrain", "-h"], ["--version"], ["pretrain", "--masking", "blok"]])
def test_an_answer_without_work_takes_no_time(words: list[str]) -> None:
    before = cpu_seconds()
    tsjepa(*words)
    assert cpu_seconds() - before < 0.5


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tsjepa.cli.main import app\n"
        "try:\n    app(['pretrain', '--help'])\nexcept SystemExit:\n    pass\n"
        f"loaded = sorted(set({HEAVY!r}) & set(sys.modules))\nsys.exit(f'loaded: {{loaded}}' if loaded else 0)"
    )
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_json_is_the_only_thing_on_standard_output(tmp_path: Path) -> None:
    result = tsjepa("pretrain", "--config", "tiny", "--epochs", "1", "--json", "--device", "cpu", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout)["epochs"] == 1
    # without a terminal there is one line at the start, and no library warns
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("pretraining on BasicMotions")


def test_a_failure_is_one_sentence_on_standard_error(tmp_path: Path) -> None:
    result = tsjepa("probe", "absent.ckpt", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: there is no checkpoint absent.ckpt.\n"


def test_help_names_the_data_sets_and_every_command() -> None:
    runner = CliRunner()
    assert all(word in runner.invoke(app, ["-h"]).stdout for word in ("pretrain", "probe", "embed", "recipes"))
    pretrain = " ".join(runner.invoke(app, ["pretrain", "--help"]).stdout.split())
    for word in ("FordA", "FordB", "FaultDetectionA", "FaultDetectionB", "TSJEPA_DATA", "--set", "--resume"):
        assert word in pretrain


def test_no_arguments_show_the_help_as_a_usage_error() -> None:
    assert CliRunner().invoke(app, []).exit_code == 2


def test_recipes_are_listed_with_what_they_are() -> None:
    result = CliRunner().invoke(app, ["recipes"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    assert "tiny                   A small model for tests and first steps." in lines
    assert all(line.endswith((".", ")")) for line in lines), "sentences are whole"
    found = json.loads(CliRunner().invoke(app, ["recipes", "--json"]).stdout)
    assert [f"{name:22} {text}" for name, text in found.items()] == lines


def test_a_recipe_is_printed_as_a_file_of_its_own() -> None:
    printed = CliRunner().invoke(app, ["recipes", "tiny"]).stdout
    assert parse_config(yaml.safe_load(printed)) == load_config("tiny")
    assert json.loads(CliRunner().invoke(app, ["recipes", "tiny", "--json"]).stdout) == yaml.safe_load(printed)
    wrong = CliRunner().invoke(app, ["recipes", "tiyn"])
    assert wrong.exit_code == 2
    assert "did you mean 'tiny'?" in wrong.stderr or "did you mean tiny?" in wrong.stderr


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("tsjepa 0.")


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr("tsjepa.cli.commands.probe", broken)
    assert isinstance(CliRunner().invoke(app, ["probe", "x.ckpt"]).exception, ValueError)


@pytest.mark.parametrize(
    ("given", "found"), [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_waiting_threads_sleep_soon_unless_told_otherwise(given: dict[str, str], found: str) -> None:
    code = (
        "import os, sys; from tsjepa.cli import main as m; early = 'torch' not in sys.modules; m.share_cores(); "
        "print(early, os.environ.get('GOMP_SPINCOUNT'))"
    )
    without = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=without | given, check=True)
    assert done.stdout.split() == ["True", found]
