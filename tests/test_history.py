"""The collapse phase in a history."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from tsjepa.history import EpochDiagnostics, below_start, phase
from tsjepa.monitor import read_history
from tsjepa.run_files import EpochTable, TableError
from tsjepa.verdict import judge

# measured on FordA, an EMA target of decay 0.998: (epoch, loss, effective rank, cross-series share)
MEASURED = (
    (0, math.nan, 21.1, 0.002),
    (1, 0.761, 21.2, 0.000),
    (2, 0.620, 20.7, -0.001),
    (3, 0.571, 18.3, 0.000),
    (4, 0.552, 16.4, 0.009),
    (5, 0.543, 18.5, 0.018),
    (7, 0.528, 18.5, 0.028),
    (10, 0.488, 22.0, 0.096),
    (14, 0.434, 24.4, 0.173),
    (30, 0.319, 28.0, 0.259),
)


def records(losses: Sequence[float], ranks: Sequence[float]) -> list[EpochDiagnostics]:
    pairs = zip(losses, ranks, strict=True)
    return [EpochDiagnostics(epoch, loss, effective_rank=rank) for epoch, (loss, rank) in enumerate(pairs)]


def test_what_was_not_measured_is_nan() -> None:
    assert all(math.isnan(value) for value in EpochDiagnostics(3)[1:])


def test_a_measured_run_enters_and_leaves_the_phase() -> None:
    history = [EpochDiagnostics(e, loss, effective_rank=r, cross_series_share=s) for e, loss, r, s in MEASURED]
    inside = [record.epoch for record, within in zip(history, phase(history), strict=True) if within]
    assert inside == [3, 4, 5, 7]


def test_the_loss_has_to_fall() -> None:
    ranks = [20, 10, 10, 10, 10]
    assert not any(phase(records([math.nan, 0.5, 0.5, 0.5, 0.5], ranks)))
    assert not any(phase(records([math.nan, 0.5, 0.6, 0.7, 0.8], ranks)))
    assert not any(phase(records([math.nan, 0.5, 0.498, 0.499, 0.497], ranks)))
    assert phase(records([math.nan, 0.5, 0.3, 0.4, 0.6], ranks)) == [False, False, True, True, False]


def test_a_measure_has_to_be_below_its_start() -> None:
    losses = [math.nan, 0.5, 0.4, 0.3, 0.2]
    assert not any(phase(records(losses, [20, 21, 22, 25, 20])))
    assert not any(phase(records(losses, [20, 19, 18.5, 19, 18.1])))


def test_a_phase_ends_higher_than_it_begins() -> None:
    losses = [math.nan, 0.6, 0.5, 0.4, 0.3, 0.2]
    assert phase(records(losses, [20, 20, 17.9, 18.5, 19.1, 18.5])) == [False, False, True, True, False, False]


def test_what_predictions_carry_counts_as_well() -> None:
    shares = (0.3, 0.3, 0.2, 0.2, 0.29)
    history = [EpochDiagnostics(e, 1 / (1 + e), 20.0, cross_series_share=s) for e, s in enumerate(shares)]
    assert phase(history) == [False, False, True, True, False]
    assert "0.20, is below its 0.30" in below_start(history[0], history[2], already=True)


@pytest.mark.parametrize("losses", [[math.nan, math.nan, math.nan], [math.nan, math.nan, 0.5]])
def test_without_losses_there_is_no_phase(losses: list[float]) -> None:
    assert not any(phase(records(losses, [20, 10, 10])))


def test_a_loss_that_is_missing_once_does_not_hide_the_fall() -> None:
    assert phase(records([math.nan, 0.9, math.nan, 0.5], [20, 10, 10, 10])) == [False, False, False, True]


@pytest.mark.parametrize("missing", [3, 4, 5])
def test_an_epoch_without_a_loss_neither_ends_nor_begins_a_phase(missing: int) -> None:
    losses = [math.nan, 0.9, 0.5, 0.5, 0.5, 0.5]
    for rank in (10, 20):
        history = records(losses, [20, 20, *[rank] * 4])
        known = phase(history)
        history[missing] = history[missing]._replace(loss=math.nan)
        assert phase(history) == known == [False, False, *[rank < 20] * 4]


def test_a_verdict_of_a_phase_outlives_a_loss_that_is_missing_at_the_end() -> None:
    history = [
        record._replace(relative_spread=0.8) for record in records([math.nan, 0.9, 0.5, math.nan], [20, 20, 15, 15])
    ]
    assert (judge(history, dim=32).verdict, judge(history, dim=32).onset_epoch) == ("collapse-phase", 2)


def test_a_loss_below_zero_falls_by_its_size() -> None:
    ranks = [20, 10, 10, 10, 10]
    assert not any(phase(records([math.nan, -0.5, -0.5, -0.502, -0.499], ranks)))  # within noise
    assert phase(records([math.nan, -0.1, -0.5, -0.4, -0.1], ranks)) == [False, False, True, True, False]
    assert phase(records([math.nan, 0.2, -0.1, -0.3, 0.3], ranks)) == [False, False, True, True, False]


def test_without_ranks_there_is_no_phase() -> None:
    assert phase([EpochDiagnostics(0), EpochDiagnostics(1, 0.9), EpochDiagnostics(2, 0.1)]) == [False] * 3


@pytest.mark.parametrize(("share", "inside"), [(0.1, True), (0.2, False), (math.nan, True)])
def test_a_lower_rank_is_no_phase_while_predictions_see_the_series(share: float, inside: bool) -> None:
    start = EpochDiagnostics(0, effective_rank=90.0, cross_series_share=0.0)
    epochs = [
        EpochDiagnostics(k, loss, effective_rank=75.0, cross_series_share=share)
        for k, loss in enumerate((1.0, 0.5, 0.4), start=1)
    ]
    assert phase([start, *epochs])[-1] is inside


def test_a_table_takes_columns_that_its_older_rows_have_not(tmp_path: Path) -> None:
    table = EpochTable(tmp_path / "diagnostics.csv")
    table.append({"epoch": 0, "probe": 0.5})
    table.append({"epoch": 1, "probe": 0.6, "lidar": 3.0})
    table.append({"epoch": 2, "lidar": 4.0})
    read = [[row[name] for name in ("epoch", "probe", "lidar")] for row in table.rows()]
    assert read == [["0", "0.5", "nan"], ["1", "0.6", "3.0"], ["2", "nan", "4.0"]]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"epoch,loss\n0,nan\ngarbage\n", 3),
        (b"epoch,loss\n0,nan\n1\n", 3),
        (b"epoch,loss\n0,nan,1\n", 2),
        (b"epoch,loss\n1,much\n", 2),
        (b"epoch,loss\n1.5,0\n", 2),
        (b"garbage\n0,nan\n", 2),
        (b"epoch,lass\n0,nan\n", 2),
        (b"\xff\xfe", 1),
    ],
)
def test_a_damaged_table_says_where(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "diagnostics.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=rf"diagnostics\.csv is damaged in line {line}: repair it, or move"):
        read_history(EpochTable(path))
