"""The programs of docs/data.md, run on small folders that are laid out as the sources lay them out."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DOCS = Path(__file__).parents[1] / "docs" / "data.md"


def program(section: str) -> str:
    """Return the program of a section."""
    text = DOCS.read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    (found,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return str(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_uci_har(folder: Path) -> None:
    for part, n in (("train", 3), ("test", 2)):
        signals = folder / "UCI HAR Dataset" / part / "Inertial Signals"
        signals.mkdir(parents=True)
        for k, name in enumerate(("total_acc_x", "body_acc_x")):
            np.savetxt(signals / f"{name}_{part}.txt", np.full((n, 128), k))
        np.savetxt(signals.parent / f"y_{part}.txt", np.arange(n) % 2 + 1, fmt="%d")
    exec(program("UCI HAR"), {})
    with np.load("UCIHAR.npz", allow_pickle=False) as parts:
        assert (parts["X_train"].shape, parts["X_test"].shape) == ((3, 2, 128), (2, 2, 128))
        assert parts["X_train"][0, :, 0].tolist() == [1, 0]
        assert parts["y_train"].tolist() == ["1", "2", "1"]


def test_skab(folder: Path) -> None:
    for name in ("anomaly-free/anomaly-free", "other/1", "valve1/0"):
        file = folder / "SKAB" / "data" / f"{name}.csv"
        file.parent.mkdir(parents=True)
        labels = ";anomaly;changepoint" if name != "anomaly-free/anomaly-free" else ""
        values = ";0;0" if labels else ""
        file.write_text(f"datetime;Current{labels}\n2020-03-01 15:44:06;1.5{values}\n")
    exec(program("SKAB"), {})
    train, test = (pd.read_parquet(f"skab_{part}.parquet") for part in ("train", "test"))
    assert list(train.columns) == ["run", "timestamp", "Current"]
    assert list(test.run) == ["other/1.csv", "valve1/0.csv"]
    assert test.timestamp[0] == pd.Timestamp("2020-03-01 15:44:06")


def test_cmapss(folder: Path) -> None:
    for part in ("train", "test"):
        (folder / f"{part}_FD001.txt").write_text(" ".join(["1", "2", *["0.5"] * 24]) + "  \n")
    (folder / "RUL_FD001.txt").write_text("112 \n98 \n")
    exec(program("C-MAPSS"), {})
    assert pd.read_parquet("cmapss_fd001_train.parquet").shape == (1, 26)
    assert pd.read_parquet("cmapss_fd001_test_rul.parquet").to_dict("list") == {"unit": [1, 2], "rul": [112, 98]}
