"""Tables: each number stands in its row and column, and on narrow terminals none is cut or broken over two lines."""

from pathlib import Path

import pytest

from tsjepa.cli.render import show_benchmark, show_diagnose, show_finetune, show_pretrain, show_probe, show_tune
from tsjepa.cli.report import (
    BenchmarkReport,
    DiagnoseReport,
    FinetuneReport,
    FinetuneRow,
    PretrainReport,
    ProbeReport,
    Row,
    Scores,
    TuneReport,
)
from tsjepa.probe import Score

FEW = [Score(0.593), Score(0.627)]
SHOWN = "0.610 ± 0.024"


@pytest.fixture(autouse=True)
def _usual_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def rows(shown: list[str]) -> list[list[str]]:
    """Return the rows of the table in some lines, as their cells."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in shown if line.startswith("│")]


@pytest.mark.parametrize("columns", ["20", "40", "80"])
def test_numbers_keep_their_digits(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    scores = Scores([Row(0.05, (4, 5), FEW, FEW), Row(1, (40,), [Score(0.975)], [Score(0.9)])], Score(0.5))
    show_probe(ProbeReport(Path("run/checkpoint.ckpt"), "pump", "ridge", 40, 20, scores))
    shown = lines(capsys)
    assert any(line.count(SHOWN) == 2 and "│ 4 to 5 │" in line for line in shown)
    assert rows(shown)[-1] == ["1", "40", "0.500", "0.900", "0.975"]
    tuned = [FinetuneRow(0.05, (4, 5), FEW, FEW, FEW), FinetuneRow(1, (40,), [Score(0.7)], [Score(0.8)], [Score(0.6)])]
    show_finetune(FinetuneReport(Path("run/checkpoint.ckpt"), "pump", 40, 20, tuned, Score(0.5), None, "pump.npz"))
    shown = lines(capsys)
    assert any("0.05 " in line and "│ 4 to 5 │" in line and line.count(SHOWN) == 3 for line in shown)
    assert rows(shown)[-1] == ["1", "40", "0.500", "0.700", "0.800", "0.600"]
    assert not any("…" in line for line in shown)
    assert columns != "80" or max(map(len, shown)) <= 80
    show_benchmark(
        BenchmarkReport(Path("bench"), {"random-init": {"mean_accuracy": 0.91234, "n_data": 112}}, 112, 0, 9)
    )
    assert any("random-init" in line and "0.9123" in line and "112" in line for line in lines(capsys))


@pytest.mark.parametrize("kept", [None, 3])
def test_scores_of_pretraining_stand_in_their_rows(kept: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, scores = Path("run/checkpoint.ckpt"), Scores([Row(1, (40,), [Score(0.9)], [Score(0.7)])], Score(0.5))
    show_pretrain(PretrainReport(checkpoint, "pump", 40, 8, kept, 1.5, 0.5, scores, None, None, "pump", False))
    shown = lines(capsys)
    assert rows(shown) == [
        ["series", "40"],
        ["epochs", "8"],
        *([] if kept is None else [["epoch of the model", "3"]]),
        ["loss", "0.5000"],
        ["accuracy, majority class", "0.500"],
        ["accuracy, random initialisation", "0.700"],
        ["accuracy, trained", "0.900"],
        ["seconds", "1.5"],
    ]
    assert shown[-1] == "next: tsjepa probe run/checkpoint.ckpt"


def test_a_diagnosis_stands_beside_that_of_the_untrained_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = {"accuracy": 0.9, "random_init_accuracy": 0.7, "lidar": 4.0, "kept_epoch": 3}
    show_diagnose(DiagnoseReport("pump", numbers, None, Path("run/diagnosis.html")))
    shown = rows(lines(capsys))
    assert shown[0] == ["accuracy", "0.700", "0.900"]
    assert ["lidar", "-", "4.000"] in shown
    assert shown[-1] == ["epoch of the model", "-", "3"]


def test_runs_of_a_search_stand_in_the_order_of_their_weights(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        {"weight": 0.1, "score": 0.8, "verdict": "healthy", "loss": 0.25, "enough": True},
        {"weight": 0.01, "score": None, "verdict": "collapsed", "loss": None, "enough": False},
        {"weight": 0.03, "score": 0.7, "verdict": "healthy", "loss": 0.5, "enough": True},
    ]
    show_tune(TuneReport(0.03, runs, "tsjepa pretrain"))
    shown = lines(capsys)
    assert rows(shown) == [
        ["0.01", "-", "collapsed", "-", "no"],
        ["0.03", "0.7000", "healthy", "0.5000", "yes"],
        ["0.1", "0.8000", "healthy", "0.2500", "yes"],
    ]
    assert "0.01 is too small" in " ".join(shown)
