"""The command in a process of its own: start-up, help, and what goes to which stream."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml
from command_line import trained_run
from typer.testing import CliRunner

from tsjepa.cli.main import app
from tsjepa.cli.process import escape_characters
from tsjepa.config import load_config, parse_config, recipe_names

# typer itself brings pydantic
HEAVY = ("torch", "lightning", "numpy", "pandas", "sklearn", "aeon", "rich", "yaml", "pyarrow")


def tsjepa(*words: str, cwd: Path | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "TSJEPA_DATA"}
    return subprocess.run(
        [sys.executable, "-P", "-m", "tsjepa.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**environment, "OMP_NUM_THREADS": "1", **variables},
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
    assert (
        result.stderr
        == "error: there is no checkpoint absent.ckpt: check the path, or make one by `tsjepa pretrain`.\n"
    )


def test_a_table_is_not_lost_to_a_stream_that_cannot_encode_it(tmp_path: Path) -> None:
    trained_run(tmp_path)
    words = ("probe", "run/checkpoint.ckpt", "--labels", "0.2", "--device", "cpu")
    result = tsjepa(*words, cwd=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.returncode == 0, result.stderr
    assert " \\xb1 0." in result.stdout


@pytest.mark.parametrize(
    ("errors", "written"),
    [
        ("strict", b"m\\xfcll"),
        ("surrogateescape", b"m\\xfcll"),
        ("replace", b"m?ll"),
        ("xmlcharrefreplace", b"m&#252;ll"),
    ],
)
def test_characters_are_escaped_unless_another_way_out_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, errors: str, written: bytes
) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors) for _ in range(2)]
    monkeypatch.setattr("sys.stdout", streams[0])
    monkeypatch.setattr("sys.stderr", streams[1])
    escape_characters()
    for stream in streams:
        stream.write("müll")
        stream.flush()
        assert stream.buffer.getvalue() == written  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name == "nt", reason="the shell of Windows closes no stream")
@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        ("benchmark --data GunPoint --method majority --out bench", "<&- >&- 2>&-", 0),
        ("pretrain --data BasicMotions --out file", "2>&-", 2),
    ],
)
def test_a_command_ends_as_ever_without_a_stream(tmp_path: Path, words: str, closed: str, code: int) -> None:
    (tmp_path / "file").touch()
    command = f"'{sys.executable}' -P -m tsjepa.cli {words} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("words", ["--help", "--version", "pretrain -h", "recipes", "recipes tiny"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_that_cannot_be_written_to_is_a_sentence(words: str, unbuffered: str) -> None:
    command = f"'{sys.executable}' -P -m tsjepa.cli {words} >/dev/full"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
    sentence = "error: standard output cannot be written to (No space left on device): send it elsewhere.\n"
    assert (done.returncode, done.stderr) == (1, sentence)


def test_a_file_that_cannot_be_written_is_not_taken_for_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "table")

    monkeypatch.setattr("tsjepa.cli.commands.probe", full)
    result = CliRunner().invoke(app, ["probe", "a.ckpt"])
    assert (result.exit_code, result.stderr) == (1, "error: [Errno 28] No space left on device: 'table'\n")


def test_no_file_gets_the_number_of_a_stream_that_is_closed(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom tsjepa.cli.process import open_streams\n"
        "for number, name in enumerate(('stdin', 'stdout', 'stderr')):\n"
        "    os.close(number)\n    setattr(sys, name, None)\n"
        "open_streams()\n"
        "result = open('numbers', 'w')\n"
        "print(*(file.fileno() for file in (sys.stdin, sys.stdout, sys.stderr)), result.fileno() > 2, file=result)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "numbers").read_text() == "0 1 2 True\n"


def serving(group: int) -> bool:
    """Return whether a process of the group is the server that runs are forked from, and has loaded numpy already."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getpgid(int(folder.name)) == group and b"forkserver" in (folder / "cmdline").read_bytes():
                return "numpy" in (folder / "maps").read_text()
    return False


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="other processes cannot be looked into")
def test_a_benchmark_that_is_stopped_while_its_runs_still_import_says_so_in_a_sentence(tmp_path: Path) -> None:
    words = ["benchmark", "--data", "GunPoint", "--method", "catch22", "--out", "out", "--device", "cpu"]
    command = [sys.executable, "-P", "-m", "tsjepa.cli", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True) as started:
        assert started.stderr is not None
        while started.poll() is None and not serving(started.pid):
            time.sleep(0.01)
        os.killpg(started.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
        said = started.stderr.read()  # until the last process of the group has closed it
    assert started.returncode == 130, said
    assert said.startswith("benchmark of 1 run on 1 data set")
    assert "stopped: all finished runs are kept" in said
    assert "Traceback" not in said


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="the system blocks no signals")
@pytest.mark.parametrize("fork", [True, False])
def test_what_the_process_of_a_run_imports_is_not_interrupted(tmp_path: Path, fork: bool) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, pathlib, time\npathlib.Path('pid').write_text(f'{os.getpid()}.')\ntime.sleep(1)\n"
    )
    (tmp_path / "caller.py").write_text(
        "from tsjepa.evaluation import benchmark_process as process\n"
        "if __name__ == '__main__':\n"
        "    process.PRELOAD[:] = ['slow']\n"
        f"    print(process.call(abs, -3, fork={fork}))\n"
        f"elif not {fork}:\n"
        "    import slow\n"
    )
    command, environment = [sys.executable, "caller.py"], os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment
    ) as caller:
        pid = tmp_path / "pid"
        while caller.poll() is None and not (pid.exists() and pid.read_text().endswith(".")):
            time.sleep(0.01)
        os.kill(int(pid.read_text()[:-1]), signal.SIGINT)
        assert caller.communicate()[0] == "3\n"


def test_help_names_the_data_sets_and_every_command() -> None:
    runner = CliRunner()
    assert all(word in runner.invoke(app, ["-h"]).stdout for word in ("pretrain", "probe", "embed", "recipes"))
    pretrain = " ".join(runner.invoke(app, ["pretrain", "--help"]).stdout.split())
    for word in ("FordA", "FordB", "FaultDetectionA", "FaultDetectionB", "TSJEPA_DATA", "--set", "--resume"):
        assert word in pretrain


def test_each_command_is_described_by_a_whole_sentence() -> None:
    described = CliRunner().invoke(app, ["--help"]).stdout.split("Commands:\n")[1].splitlines()
    assert len(described) == len(app.registered_commands)
    assert [line for line in described if not re.fullmatch(r"  [a-z-]+ +[A-Z].*[^.]\.", line)] == []


def test_an_option_is_described_by_more_than_its_key() -> None:
    for name, command in typer.main.get_group(app).commands.items():
        for option in command.params:
            assert not re.match(r"[a-z_]+\.[a-z_]+", str(getattr(option, "help", ""))), (name, option.name)
    pretrain = " ".join(CliRunner().invoke(app, ["pretrain", "--help"]).stdout.split())
    assert "Recipe, by default `default` or that of --objective" in pretrain


def test_no_arguments_show_the_help_as_a_usage_error() -> None:
    assert CliRunner().invoke(app, []).exit_code == 2


def test_recipes_are_listed_with_what_they_are() -> None:
    result = CliRunner().invoke(app, ["recipes"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    width = max(map(len, recipe_names()))
    assert f"{'tiny':{width}} A small model for tests and first steps." in lines
    assert all(line.endswith((".", ")")) for line in lines), "sentences are whole"
    found = json.loads(CliRunner().invoke(app, ["recipes", "--json"]).stdout)
    assert [f"{name:{width}} {text}" for name, text in found.items()] == lines


def test_a_recipe_is_printed_as_a_file_of_its_own() -> None:
    printed = CliRunner().invoke(app, ["recipes", "tiny"]).stdout
    assert parse_config(yaml.safe_load(printed)) == load_config("tiny")
    assert json.loads(CliRunner().invoke(app, ["recipes", "tiny", "--json"]).stdout) == yaml.safe_load(printed)
    wrong = CliRunner().invoke(app, ["recipes", "tiyn"])
    assert wrong.exit_code == 2
    assert "did you mean 'tiny'?" in wrong.stderr or "did you mean tiny?" in wrong.stderr


def test_a_recipe_of_ones_own_is_printed_as_the_help_says(tmp_path: Path) -> None:
    assert "Usage: tsjepa recipes [OPTIONS] [NAME|FILE.yaml]\n" in tsjepa("recipes", "--help").stdout
    (tmp_path / "own.yaml").write_text(tsjepa("recipes", "tiny").stdout)
    assert tsjepa("recipes", "own.yaml", cwd=tmp_path).stdout == tsjepa("recipes", "tiny").stdout


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("tsjepa 0.")


@pytest.mark.parametrize("error", [ValueError("a defect"), RuntimeError("a defect")])
def test_a_defect_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("tsjepa.cli.commands.probe", broken)
    assert isinstance(CliRunner().invoke(app, ["probe", "x.ckpt"]).exception, type(error))


def too_much_of_torch() -> None:
    torch.empty(2**60, dtype=torch.uint8)  # more than a processor can address: nothing is allocated


def too_much_of_numpy() -> None:
    np.empty(2**60, np.uint8)


def too_much_of_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def too_much_of_apples() -> None:
    raise RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB). Tried to allocate 2.00 GB on private pool.")


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (too_much_of_torch, "error: cpu ran out of memory: use a smaller model, for example with a lower encoder.dim"),
        (too_much_of_numpy, "error: cpu ran out of memory: use a smaller model, for example with a lower encoder.dim"),
        (too_much_of_a_gpu, "error: cuda ran out of memory: choose --device cpu, or use a smaller model"),
        (too_much_of_apples, "error: mps ran out of memory: choose --device cpu, or use a smaller model"),
    ],
)
def test_memory_that_is_short_is_one_sentence(
    use: Callable[[], None], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsjepa.cli.commands.probe", lambda *_: use())
    result = CliRunner().invoke(app, ["probe", "x.ckpt"])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(sentence)


@pytest.mark.parametrize(
    ("given", "found"), [({}, "4000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_waiting_threads_sleep_soon_unless_told_otherwise(given: dict[str, str], found: str) -> None:
    code = (
        "import os, sys; from tsjepa.cli import main as m; early = 'torch' not in sys.modules; m.share_cores(); "
        "print(early, os.environ.get('GOMP_SPINCOUNT'))"
    )
    without = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=without | given, check=True)
    assert done.stdout.split() == ["True", found]


def test_a_command_looks_for_garbage_less_often() -> None:
    code = (
        "import gc, sys; from tsjepa.cli.main import main; sys.argv = ['tsjepa', 'recipes']\n"
        "try: main()\n"
        "except SystemExit: print(gc.isenabled(), *gc.get_threshold(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split()[:2] == ["True", "20000"]


def test_a_command_ends_without_a_last_look_for_garbage() -> None:
    code = (
        "import atexit, gc, sys; from tsjepa.cli.main import main; sys.argv = ['tsjepa', 'recipes']\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000, file=sys.stderr))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "True True\n"


def test_the_package_runs_as_its_command_does() -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "tsjepa", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, tsjepa("--help").stdout)
