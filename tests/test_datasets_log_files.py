"""The files of a log: folders of runs among them are passed over, and what is written there would be read."""

import os
import re
from pathlib import Path

import pytest
from steady_logs import saved, steady

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_files import find_files, would_take
from tsjepa.datasets.logs import Windowing, load_log
from tsjepa.history import EpochDiagnostics

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two machines, one of them in a folder of its own."""
    saved(steady(units="a").drop(columns="unit"), tmp_path / "log/p1.csv")
    saved(steady(units="b").drop(columns="unit"), tmp_path / "log/old/p2.csv")
    return tmp_path / "log"


def write(path: Path, text: str = "") -> None:
    """Write a file, by default what a run writes under its name."""
    columns = EpochDiagnostics._fields if path.name == "diagnostics.csv" else ("epoch", "step", "loss", "lr", "seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or ",".join(columns) + "\n")


def test_a_folder_that_names_a_column_is_read_though_its_name_begins_with_an_underscore(tmp_path: Path) -> None:
    write(tmp_path / "_unit=3/p.csv", "time,flow\n0,1.5\n")
    (file,), _ = find_files(tmp_path)
    assert file.partition == (("_unit", "3"),)


@pytest.mark.parametrize("name", ["checkpoint.ckpt", "metrics.csv", "diagnostics.csv"])
@pytest.mark.parametrize("folder", ["run", "runs/tiny", "old/run"])
def test_the_folder_of_a_run_is_no_part_of_a_log(log: Path, folder: str, name: str) -> None:
    windowing, cache = Windowing(10), log.parent / "cache"
    before = load_log(log, windowing=windowing, cache_dir=cache)
    write(log / folder / name)
    for other in ("embeddings.csv", "teacher/checkpoint.ckpt", "teacher/metrics.csv"):
        write(log / folder / other)
    for source in (str(log), f"file://{log}", f"file://{log}/*.csv"):
        files, notes = find_files(source)
        assert [Path(file.key).name for file in files] == ["p2.csv", "p1.csv"]
        assert notes == [f"1 folder of runs is read by a pattern only: {log / folder}"]
    after = load_log(log, windowing=windowing, cache_dir=cache)
    assert (after.key, after.n_cases) == (before.key, 20)
    assert [note for note in after.notes if note not in before.notes] == notes


def test_a_folder_that_holds_nothing_but_runs_is_said_to(tmp_path: Path) -> None:
    write(tmp_path / "runs/tiny/metrics.csv")
    passed = f"1 folder of runs is read by a pattern only: {tmp_path}/runs/tiny"
    sentence = f"no file that a log can be read from ({passed}); give one of"
    with pytest.raises(DataError, match=re.escape(sentence)):
        find_files(tmp_path / "runs")


def test_a_folder_of_logs_that_holds_a_run_itself_is_read_by_a_pattern_only(log: Path) -> None:
    write(log / "best.ckpt")
    for source in (str(log), f"{log}/", f"file://{log}"):
        sentence = f"name logs in it by a pattern such as '{source.rstrip('/')}/*.parquet', or move the run"
        with pytest.raises(DataError, match=re.escape(sentence)):
            find_files(source)
    for source in (f"{log}/*.csv", f"file://{log}/p*.csv"):
        assert [Path(file.key).name for file in find_files(source)[0]] == ["p1.csv"]


def test_a_cache_in_the_folder_of_its_log_is_no_part_of_it(log: Path) -> None:
    first, again = (load_log(log, windowing=Windowing(10), cache_dir=log / "cache") for _ in range(2))
    assert (again.key, again.n_cases) == (first.key, 20)


def test_a_log_may_be_called_like_the_table_of_a_run(log: Path) -> None:
    saved(steady(units="c").drop(columns="unit"), log / "p3/metrics.csv")
    files, notes = find_files(log)
    assert ([Path(file.key).name for file in files], notes) == (["p2.csv", "p1.csv", "metrics.csv"], [])


def test_a_table_of_a_run_that_is_named_itself_is_read(log: Path) -> None:
    write(log / "run/checkpoint.ckpt")
    write(log / "run/metrics.csv")
    for source in (log / "run/*.csv", log / "run/metrics.csv", log / "*/metrics.csv"):
        assert [file.key for file in find_files(source)[0]] == [str(log / "run/metrics.csv")]


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        ("log", {"z.csv", "Z.PARQUET", "old/z.csv", "new/year=1/z.csv"}),
        ("log/.", {"z.csv", "Z.PARQUET", "old/z.csv", "new/year=1/z.csv"}),
        ("file://log", {"z.csv", "Z.PARQUET", "old/z.csv", "new/year=1/z.csv"}),
        ("file://log/*.csv", {"z.csv", "old/z.csv", "new/year=1/z.csv"}),
        ("log/*", {"z.csv", "Z.PARQUET"}),
        ("log/[a-z].csv", {"z.csv"}),
        ("log/?.csv", {"z.csv"}),
        ("log/*/*.csv", {"old/z.csv", "run/z.csv", "_old/z.csv"}),
        ("log/**/z.csv", {"z.csv", "old/z.csv", "new/year=1/z.csv", "run/z.csv", "_old/z.csv"}),
        ("log/p1.csv", set()),
        ("log/old", {"old/z.csv"}),
        ("s3://bucket/log", set()),
    ],
)
def test_what_a_log_would_take(log: Path, source: str, taken: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(log.parent)
    write(log / "run/checkpoint.ckpt")
    write(log.parent / "z.csv")
    names = ("z.csv", "Z.PARQUET", "z.png", "old/z.csv", "new/year=1/z.csv", "run/z.csv", "_old/z.csv", ".z.csv")
    source = source.replace("file://", f"file://{log.parent}/")
    for path in (str(log), "log", "log/old/../../log"):
        assert {name for name in (*names, "../z.csv") if would_take(source, f"{path}/{name}")} == taken
    for name in names:
        write(log / name)
    if "s3" not in source:  # it is what is found, once it is there
        found = {os.path.relpath(file.key, log) for file in find_files(source)[0]}
        assert found & {*names} == taken


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_log_takes_what_its_links_lead_to(log: Path) -> None:
    write(log.parent / "far/p3.csv")
    (log / "new").symlink_to("../far")
    assert would_take(str(log), log.parent / "far/z.csv")
    assert would_take(str(log), log / "new/z.csv")
    assert not would_take(str(log), log.parent / "z.csv")
