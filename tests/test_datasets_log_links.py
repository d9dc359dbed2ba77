"""Links in a folder of logs: what they lead to is read once, and a link to nothing is told."""

import os
import re
from pathlib import Path

import pytest
from bad_logs import refused
from steady_logs import saved, steady

from tsjepa.datasets.log_files import find_files
from tsjepa.datasets.logs import Windowing, load_log

pytestmark = [
    pytest.mark.usefixtures("quick_disk"),
    pytest.mark.skipif(os.name == "nt", reason="links need a privilege there"),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two machines, one of them in a folder of its own."""
    saved(steady(units="a").drop(columns="unit"), tmp_path / "log/p1.csv")
    saved(steady(units="b").drop(columns="unit"), tmp_path / "log/old/p2.csv")
    return tmp_path / "log"


def found(source: Path | str) -> tuple[list[str], list[str]]:
    """Return the names of the files and the notes, with paths as from the folder of the log."""
    root = f"{source}/".removeprefix("file://").partition("/log/")[0] + "/"
    files, notes = find_files(source)
    return [file.key.replace(root, "") for file in files], [note.replace(root, "") for note in notes]


@pytest.mark.parametrize(
    ("link", "to", "note"),
    [
        ("latest.csv", "p1.csv", "log/latest.csv is a link to log/p1.csv: read once"),
        ("0.csv", "old/p2.csv", "log/0.csv is a link to log/old/p2.csv: read once"),
        ("new", "old", "log/new is a link to log/old: read once"),
        ("old/self", ".", "log/old/self is a link to log/old: read once"),
        ("self", ".", "log/self is a link to log: read once"),
        ("p3.csv", "gone.csv", "log/p3.csv is a link to nothing: passed over"),
        ("2026", "/gone", "log/2026 is a link to nothing: passed over"),
    ],
)
def test_a_link_in_the_folder(log: Path, link: str, to: str, note: str) -> None:
    (log / link).symlink_to(to)
    for source in (log, f"file://{log}"):
        assert found(source) == (["log/old/p2.csv", "log/p1.csv"], [note])
    windows = load_log(log, windowing=Windowing(10), cache_dir=log.parent / "cache")
    assert (windows.n_cases, windows.n_series) == (20, 2)
    assert note in [said.replace(f"{log.parent}/", "") for said in windows.notes]


def test_links_that_lead_out_of_the_folder_are_followed(log: Path) -> None:
    saved(steady(units="c"), log.parent / "far/p3.csv")
    (log / "far").symlink_to("../far")
    (log / "up").symlink_to("..")
    files, notes = found(log)
    assert files == ["log/far/p3.csv", "log/old/p2.csv", "log/p1.csv"]
    assert notes == [
        "log/up/far is the same as log/far: read once",
        "log/up/log is a link to log: read once",
    ]


@pytest.mark.parametrize(
    ("links", "files", "note"),
    [
        (
            {"a": "../far/sub", "b": "../far"},
            ["log/a/x.csv", "log/b/p3.csv"],
            "log/b/sub is the same as log/a: read once",
        ),
        (
            {"a": "../far", "b": "../far/sub"},
            ["log/a/p3.csv", "log/a/sub/x.csv"],
            "log/b is the same as log/a/sub: read once",
        ),
    ],
)
def test_links_to_a_folder_and_to_one_in_it(log: Path, links: dict[str, str], files: list[str], note: str) -> None:
    for name in ("p3.csv", "sub/x.csv"):
        saved(steady(units="c").drop(columns="unit"), log.parent / "far" / name)
    for link, to in links.items():
        (log / link).symlink_to(to)
    assert found(log) == ([*files, "log/old/p2.csv", "log/p1.csv"], [note])


@pytest.mark.parametrize(
    ("latest", "to", "says"), [("latest", "machine=1", "a link to"), ("a", "../disk1", "the same as")]
)
@pytest.mark.parametrize("pattern", ["", "*/*.csv"])
@pytest.mark.parametrize("above", ["plant", "site=3"])
def test_a_link_to_a_link_is_not_preferred_nor_one_without_a_column(
    tmp_path: Path, latest: str, to: str, says: str, pattern: str, above: str
) -> None:
    tmp_path /= above
    (tmp_path / "log").mkdir(parents=True)
    for n in (1, 2):
        saved(steady(units="a").drop(columns="unit"), tmp_path / f"disk{n}/p.csv")
        (tmp_path / f"log/machine={n}").symlink_to(f"../disk{n}")
    (tmp_path / "log" / latest).symlink_to(to)
    files, notes = found(f"{tmp_path}/log/{pattern}")
    assert files == ["log/machine=1/p.csv", "log/machine=2/p.csv"]
    name = "/p.csv" if pattern else ""
    assert notes == [f"log/{latest}{name} is {says} log/machine=1{name}: read once"]
    windows = load_log(f"{tmp_path}/log/{pattern}", windowing=Windowing(10), cache_dir=tmp_path / "cache")
    assert (windows.columns.id, windows.n_series) == ("machine", 2)


@pytest.mark.parametrize("pattern", ["", "**/*.csv"])
def test_a_folder_whose_own_name_gives_a_column_is_read_by_it(tmp_path: Path, pattern: str) -> None:
    for n in (1, 2):
        saved(steady(units="a").drop(columns="unit"), tmp_path / f"far/machine={n}/p.csv")
    (tmp_path / "log").mkdir()
    (tmp_path / "log/0").symlink_to("../far/machine=1")
    (tmp_path / "log/a").symlink_to("../far")
    files, notes = found(f"{tmp_path}/log/{pattern}")
    assert files == ["log/a/machine=1/p.csv", "log/a/machine=2/p.csv"]
    assert notes == ["log/0/p.csv is the same as log/a/machine=1/p.csv: read once"]


def test_links_that_lead_through_links_count_these(tmp_path: Path) -> None:
    saved(steady(units="a").drop(columns="unit"), tmp_path / "disk/p.csv")
    (tmp_path / "log").mkdir()
    (tmp_path / "log/m").symlink_to("../disk")
    (tmp_path / "log/a").symlink_to("m/../disk/.")
    (tmp_path / "log/0.csv").symlink_to("m/p.csv")
    (tmp_path / "log/loop.csv").symlink_to("loop.csv")
    files, notes = found(tmp_path / "log")
    assert files == ["log/m/p.csv"]
    assert notes == [
        "log/loop.csv is a link to nothing: passed over",
        "log/a is a link to log/m: read once",
        "log/0.csv is a link to log/m/p.csv: read once",
    ]


def test_a_pattern_may_name_links_alone(log: Path) -> None:
    (log / "latest.csv").symlink_to("p1.csv")
    (log / "lost.csv").symlink_to("gone.csv")
    for source in (log / "l*.csv", f"file://{log}/l*.csv", log / "latest.csv"):
        assert found(source)[0] == ["log/latest.csv"]
    files, notes = found(log / "*.csv")
    assert files == ["log/p1.csv"]
    assert notes == [
        "log/lost.csv is a link to nothing: passed over",
        "log/latest.csv is a link to log/p1.csv: read once",
    ]


def test_many_links_are_counted(log: Path) -> None:
    (log / "self").symlink_to(".")
    (log / "p3.csv").symlink_to("gone.csv")
    files, notes = found(log / "**/*.csv")
    assert files == ["log/old/p2.csv", "log/p1.csv"]
    assert (notes[0], notes[4]) == (
        "log/p3.csv is a link to nothing: passed over",
        "log/self/old/p2.csv is a link to log/old/p2.csv: read once",
    )
    assert [re.sub(r"\d+", "many", notes[at]) for at in (3, 7)] == [
        "many more links to nothing",
        "many more links to what is read anyway",
    ]


def test_folders_that_link_to_each_other_come_to_an_end(log: Path) -> None:
    for name in "abcd":
        (log / name).symlink_to(".")
    assert found(log)[0] == ["log/old/p2.csv", "log/p1.csv"]


def test_links_to_nothing_are_no_log(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log/p1.csv").symlink_to("gone.csv")
    assert "holds no file that a log can be read from" in refused(tmp_path / "log")
    assert "does not exist; check the spelling" in refused(tmp_path / "log/p1.csv")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    for name in ("a*b.parquet", "aQb.parquet"):
        saved(steady(), tmp_path / "log" / name)
    assert found(tmp_path / "log/a*b.parquet") == (["log/a*b.parquet"], [])
    (tmp_path / "log*").mkdir()
    saved(steady(), tmp_path / "log*/c.parquet")
    assert [file.key for file in find_files(tmp_path / "log*")[0]] == [f"{tmp_path}/log*/c.parquet"]
