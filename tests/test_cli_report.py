"""What commands report: which number stands under which name, and what a probe's sentence says of the embeddings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tsjepa.cli.report import FinetuneReport, FinetuneRow, ProbeReport, Row, Scores
from tsjepa.cli.scoring import Labels, compare
from tsjepa.probe import Score
from tsjepa.sections import ProbeConfig


def scores(*accuracies: float) -> list[Score]:
    return [Score(accuracy) for accuracy in accuracies]


def test_fine_tuning_reports_each_arm_and_the_largest_share() -> None:
    few = FinetuneRow(0.05, (4, 4), frozen=scores(0.5, 0.7), tuned=scores(0.8, 0.8), supervised=scores(0.1, 0.5))
    every = FinetuneRow(1, (40,), frozen=scores(0.85), tuned=scores(0.95), supervised=None)
    values = FinetuneReport(Path("a.ckpt"), "pump", 40, 20, [few, every], Score(0.55), Path("out"), "pump").values()
    below, whole = values.pop("fractions")
    assert values == {
        "checkpoint": "a.ckpt",
        "data": "pump",
        "n_train": 40,
        "n_test": 20,
        "accuracy": 0.95,
        "frozen_accuracy": 0.85,
        "supervised_accuracy": None,
        "majority_accuracy": 0.55,
        "out": "out",
    }
    assert below == {
        "fraction": 0.05,
        "n_labels": 4,
        "seeds": 2,
        "accuracy": pytest.approx(0.8),
        "accuracy_std": pytest.approx(0),
        "frozen_accuracy": pytest.approx(0.6),
        "frozen_std": pytest.approx(0.02**0.5),
        "supervised_accuracy": pytest.approx(0.3),
        "supervised_std": pytest.approx(0.08**0.5),
    }
    assert [whole[name] for name in ("accuracy", "frozen_accuracy", "frozen_std", "supervised_std")] == [
        *(0.95, 0.85, None, None),
    ]


def test_draws_of_several_numbers_of_labels_are_told_by_their_mean_and_their_range() -> None:
    y = np.repeat(range(4), [12, 4, 20, 4])  # at an eighth, chance tells whether a class is missed and then added
    several = [scores(*[0.5] * 5), scores(0.5)]
    found = compare(Labels(y, y), several, several, (0.125, 1))
    assert [row.n_labels for row in found.rows] == [(6, 6, 6, 5, 6), (40,)]
    probed = ProbeReport(Path("a.ckpt"), "pump", "ridge", 40, 40, found)
    rows = [FinetuneRow(row.fraction, row.n_labels, row.trained, row.trained, None) for row in found.rows]
    tuned = FinetuneReport(Path("a.ckpt"), "pump", 40, 40, rows, Score(0.5), None, "pump")
    for report, said in ((probed, probed.statement(ProbeConfig())), (tuned, tuned.statement())):
        assert json.dumps([row["n_labels"] for row in report.values()["fractions"]]) == "[5.8, 40]"
        assert "(5 to 6 labels with seeds 0-4; 40 labels with seed 0)" in said


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "; levels: all, pooled by mean, std, max, channels joined."),
        ({"channels": "mean", "levels": "last"}, "; levels: last, pooled by mean, std, max, channels averaged."),
        ({"channels": "max", "pool": ("std",)}, "; levels: all, pooled by std, channels by their maximum."),
        ({"shares": True}, "; shares, and levels: all, pooled by mean, std, max, channels joined."),
        ({"sketch": 512}, "pooled by mean, std, max, read as a sketch of 512 numbers in all, channels joined."),
    ],
)
def test_a_probe_says_what_it_was_fitted_to(settings: dict[str, Any], sentence: str) -> None:
    rows = [Row(0.05, (4, 4), scores(0.5, 0.7), scores(0.5, 0.6)), Row(1, (40,), scores(0.9), scores(0.8))]
    report = ProbeReport(Path("a.ckpt"), "pump", "ridge", 40, 20, Scores(rows, Score(0.5)))
    said = report.statement(ProbeConfig(**settings))
    assert said.startswith(
        "ridge probe of pump: fitted on the training part (4 labels with seeds 0-1; 40 labels with seed 0), scored on "
        "the whole test part (20 series); "
    )
    assert said.endswith(sentence)
