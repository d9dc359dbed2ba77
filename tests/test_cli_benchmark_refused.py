"""What `tsjepa benchmark` refuses before it runs anything."""

from pathlib import Path

import command_line
import pytest


def refused(code: int, *words: str) -> str:
    return command_line.refused(code, "benchmark", *words)


@pytest.mark.parametrize(
    ("table", "words"),
    [("results.csv", ("--data", "GunPoint")), ("transfer.csv", ("--pretrain-on", "GunPoint", "--probe-on", "ECG200"))],
)
def test_a_folder_in_the_place_of_a_table_is_told(tmp_path: Path, table: str, words: tuple[str, ...]) -> None:
    (tmp_path / table).mkdir()
    said = refused(1, *words, "--method", "majority", "--out", str(tmp_path))
    assert f"{tmp_path / table} cannot be gone on with: Is a directory; name another folder." in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name the data in one way"),
        (("--suite", "ford", "--data", "GunPoint"), "name the data in one way"),
        (("--suite", "frod"), "did you mean ford"),
        (("--data", "GunPoint", "--method", "minirockt"), "did you mean minirocket"),
        (("--data", "GunPoint", "--method", "raw", "--config", "tinny"), "no recipe 'tinny': did you mean tiny"),
        (("--data", "GunPoint", "--labels", "2"), "a share of the labels lies above 0"),
        (("--data", "GunPoint", "--per-class", "0,1"), "is not a list of numbers"),
        (("--data", "GunPoint,no, such"), "give --data once for each data set: --data GunPoint --data no --data such."),
        (
            ("--data", "GunPoint", "--method", "raw", "--method", "majority,raw"),
            "give --method once for each method: --method majority --method raw.",
        ),
        (("--pretrain-on", "GunPoint"), "go together"),
        (("--transfer", "gears"), "the only protocol of --transfer is bearings"),
        (("--transfer", "bearings", "--folds", "2"), "--folds does not go with transfer"),
        (("--transfer", "bearings", "--labels", "0.1"), "--labels does not go with transfer"),
    ],
)
def test_usage_errors(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    assert said in refused(2, *words, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("a file")
    said = refused(2, "--data", "GunPoint", "--method", "raw", "--out", str(out))
    assert f"{out} is a file: name a folder with --out." in said
