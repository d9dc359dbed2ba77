"""What the tests of the command line share: calls of it in this process, small data, and a run on them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sketched import MEASURED
from typer.testing import CliRunner, Result

from tsjepa.cli.main import app


def tsjepa(*words: str, text: str | None = None) -> Result:
    """Run a command, with `text` on its standard input; whatever it ends with is no traceback."""
    result = CliRunner().invoke(app, list(words), input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def found(*words: str, text: str | None = None) -> dict[str, Any]:
    """Return the one JSON object of a command that succeeds."""
    result = tsjepa(*words, "--json", text=text)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def refused(code: int, *words: str) -> str:
    """Return what a command that fails with `code` says, on standard error alone."""
    result = tsjepa(*words)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    return " ".join(result.stderr.split())


def arrays() -> dict[str, Any]:
    """Return 40 training and 20 test series of two channels and two classes."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, 2, 40)).astype(np.float32)
    X[y == 1] += 2 * np.sin(np.arange(40) * 0.8, dtype=np.float32)
    names = np.array(["calm", "worn"])[y]
    return {"X_train": X[:40], "y_train": names[:40], "X_test": X[40:], "y_test": names[40:]}


def write_data(name: str, **changed: Any) -> str:
    """Write them to a file here, some parts changed or, where None, left out, and return its name."""
    values = {**arrays(), **changed}
    np.savez(f"{name}.npz", **{key: value for key, value in values.items() if value is not None})
    return f"{name}.npz"


def trained_run(folder: Path, make: Callable[[str], str] = write_data, epochs: int = 1) -> Path:
    """Train on them in a folder, so that it holds pump.npz and run."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        words = ("--config", "tiny", "--epochs", str(epochs), "--data", make("pump"), "--out", "run", "--device", "cpu")
        assert tsjepa("pretrain", *words).exit_code == 0
    finally:
        os.chdir(before)
    return folder


def measured_run(data: str) -> dict[str, Any]:
    """Pretrain on data in such a way that all that can be measured on series is, into the folder measured."""
    words = [word for setting in MEASURED for word in ("--set", setting)]
    return found("pretrain", "--config", "tiny", *words, "--data", data, "--out", "measured", "--device", "cpu")
