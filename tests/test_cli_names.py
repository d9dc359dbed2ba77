"""Files whose names are no UTF-8, as of an older system: a sentence wherever they cannot be used, before any work."""

import os
from pathlib import Path

import pytest
from command_line import refused, trained_run, write_data

ODD = os.fsdecode(b"a\xe9")
CKPT = "run/checkpoint.ckpt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained_run(tmp_path_factory.mktemp("trained"))
    try:
        (folder / ODD).mkdir()
    except OSError:
        pytest.skip("the file system has names in UTF-8 only")
    for path in (folder / f"{ODD}.csv", folder / ODD / "log.csv"):
        path.write_text("time,flow\n1,2\n2,3\n")
    (folder / "logs").mkdir()
    (folder / "logs" / f"{ODD}.csv").write_text("time,flow\n1,2\n2,3\n")
    return folder


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("option", ["--data", "--teacher"])
def test_what_a_configuration_cannot_hold_is_told_by_its_key(option: str) -> None:
    key = {"--data": "data", "--teacher": "target.teacher"}[option]
    said = refused(2, "pretrain", "--objective", "distill", option, f"{ODD}.csv", "--out", "new")
    assert (
        f'error: the value of {key}, "a\\udce9.csv", is not UTF-8, so that it cannot be stored: give the file' in said
    )
    assert not Path("new").exists()


@pytest.mark.parametrize("data", [f"{ODD}.csv", ODD, f"{ODD}/*.csv", "logs"])
def test_a_log_is_not_read_from_one(data: str) -> None:
    said = refused(1, "embed", CKPT, "--data", data, "--out", "z.parquet", "--cache-dir", "cache")
    assert "error: " + data.replace(ODD, "a\\udce9") in said
    assert "is no name in UTF-8, or holds a file without one; rename that" in said


@pytest.mark.parametrize("words", [("embed", CKPT, "--data", "pump.npz"), ("detect", CKPT, "--data", "pump.csv")])
def test_a_table_is_refused_before_there_is_anything_to_write(words: tuple[str, ...]) -> None:
    write_data("pump")
    said = refused(2, *words, "--out", f"{ODD}.parquet")
    assert "error: a\\udce9.parquet is no name in UTF-8: give the table another one with --out." in said
