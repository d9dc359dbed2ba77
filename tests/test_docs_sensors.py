"""The example of docs/sensors.md runs and says what the page says, and all kinds of files are named."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import tsjepa
from typer.testing import Result

from tsjepa.cli.log_options import LogOptions
from tsjepa.datasets.files import SUFFIXES
from tsjepa.datasets.home import cache_folder
from tsjepa.datasets.log_cache import log_root
from tsjepa.datasets.log_files import KINDS
from tsjepa.datasets.logs import is_log

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "sensors.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.split("## An example\n")[1].split("\n## ")[0]


LATER, ELSEWHERE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run_the_example() -> tuple[Result, list[str], str]:
    """Train on the log of the page, and return what was printed, the command that embeds it, and what is to be said."""
    log, notes = re.findall(r"```\n(.*?)```", EXAMPLE, re.DOTALL)
    Path("pumps.csv").write_text(log, encoding="utf-8")
    pretrain, embed = (shlex.split(line)[1:] for line in re.findall(r"^    (tsjepa .*)$", EXAMPLE, re.MULTILINE))
    return tsjepa(*pretrain), embed, notes


def test_the_example_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained, embed, notes = run_the_example()
    assert trained.exit_code == 0, trained.output
    assert [line for line in trained.stderr.splitlines() if line.startswith("note: ")] == notes.splitlines()
    assert tsjepa(*embed).exit_code == 0
    table = pd.read_parquet("pumps.parquet")
    rows = [f"| {row.id} | {row.start} | {row.end} | {len(row.embedding)} numbers |" for row in table.itertuples()]
    assert "\n".join(["|---|---|---|---|", *rows]) in EXAMPLE


@pytest.mark.parametrize("dated", [True, False])
def test_labels_that_come_later_make_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dated: bool) -> None:
    monkeypatch.chdir(tmp_path)
    end = pd.date_range("2026", periods=8, freq="1s", tz="UTC") if dated else np.arange(8)
    windows = pd.DataFrame({"id": ["01", "02"] * 4, "end": end, "embedding": [*np.eye(8, 3)], "label": "unknown"})
    windows.to_parquet("plant-embeddings.parquet")
    windows[:2].assign(label=["good", "worn"]).drop(columns="embedding").to_csv("known.csv", index=False)
    names: dict[str, Any] = {}
    exec(compile(LATER, "sensors.md", "exec"), names)
    assert len(names["labelled"]) == 2
    assert names["windows"]["label"][:2].to_list() == ["good", "worn"]


def test_an_exported_encoder_is_run_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    run_the_example()
    exported = tsjepa("export", "runs/pumps/checkpoint.ckpt", "--onnx", "plant.onnx")
    assert exported.exit_code == 0, exported.output
    names: dict[str, Any] = {}
    exec(compile(ELSEWHERE.replace("256", "4"), "sensors.md", "exec"), names)
    assert names["embeddings"].shape == (1, 128)


def test_all_kinds_of_files_are_named() -> None:
    (sentence,) = re.findall(r"Files are\s(.*?\))\. A table", PAGE, re.DOTALL)
    assert set(re.findall(r"`(\.[\w.]+)`", sentence)) == set(KINDS)


def test_where_data_are_kept_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache/tsjepa"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    assert (cache_folder(), log_root(None)) == (tmp_path / "kept/tsjepa", tmp_path / "kept/tsjepa/logs")
    assert "folder of `--cache-dir`, by default `tsjepa/logs` in `XDG_CACHE_HOME`, or else in `~/.cache`." in PAGE
    data = " ".join((DOCS / "data.md").read_text(encoding="utf-8").split())
    assert "it cannot be written to, in `tsjepa` in `XDG_CACHE_HOME`, or else in `~/.cache`." in data
    (option,) = LogOptions.__annotations__["cache_dir"].__metadata__
    assert "by default tsjepa/logs in XDG_CACHE_HOME or ~/.cache; delete it when you like" in option.help


def test_a_file_without_times_is_no_log_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plant").mkdir()
    for kind in KINDS:
        path = f"plant/pump{kind}"
        table = pd.DataFrame({"flow": [1.0, 2.0], "heat": [3.0, 4.0]})
        if KINDS[kind] == "csv":
            table.to_csv(path, index=False)
        else:
            (table.to_parquet if KINDS[kind] == "parquet" else table.to_feather)(path)
        assert not is_log(path)
    assert is_log("plant")
    assert is_log("plant/*.csv")
    series = re.findall(r"`(\.\w+)`", PAGE.split("without one, each row of a")[1].split("file is a series")[0])
    assert set(series) == {kind for kind in KINDS if kind in SUFFIXES}
