"""Tables on narrow terminals: no number is cut, and none is broken over two lines."""

from pathlib import Path

import pytest

from tsjepa.cli.render import show_benchmark, show_finetune, show_probe
from tsjepa.cli.report import BenchmarkReport, FinetuneReport, FinetuneRow, ProbeReport, Row, Scores
from tsjepa.probe import Score

FEW = [Score(0.593), Score(0.627)]
SHOWN = "0.610 ± 0.024"


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", ["20", "40", "80"])
def test_numbers_keep_their_digits(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    rows = [Row(0.05, 4, FEW, FEW), Row(1, 40, [Score(0.975)], [Score(0.9)])]
    scores = Scores(rows, Score(0.5))
    show_probe(ProbeReport(Path("run/checkpoint.ckpt"), "pump", "ridge", 40, 20, scores))
    shown = lines(capsys)
    assert any(line.count(SHOWN) == 2 for line in shown)
    assert any("0.500" in line and "0.900" in line and "0.975" in line for line in shown)
    row = FinetuneRow(0.05, 4, FEW, FEW, FEW)
    show_finetune(FinetuneReport(Path("run/checkpoint.ckpt"), "pump", 40, 20, [row], Score(0.5), None))
    shown = lines(capsys)
    assert any("0.05 " in line and line.count(SHOWN) == 3 for line in shown)
    assert not any("…" in line for line in shown)
    assert columns != "80" or max(map(len, shown)) <= 80
    show_benchmark(
        BenchmarkReport(Path("bench"), {"random-init": {"mean_accuracy": 0.91234, "n_data": 112}}, 112, 0, 9)
    )
    assert any("random-init" in line and "0.9123" in line and "112" in line for line in lines(capsys))
