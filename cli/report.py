"""What the commands found, as the plain values that --json prints."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsjepa.cli.checkpoint_options import ProbeKind
from tsjepa.evaluation.finite import Number, number
from tsjepa.probe import Score
from tsjepa.sections import ProbeConfig
from tsjepa.verdict import Verdict


class Row(NamedTuple):
    """Scores at one share of the labels, one a seed, and how many labels were drawn with it; seeds count from 0."""

    fraction: float
    n_labels: tuple[int, ...]
    trained: list[Score]
    random_init: list[Score]


class Scores(NamedTuple):
    """Rows by ascending share of the labels; `guess` is the majority class, or the mean of a numeric target."""

    rows: list[Row]
    guess: Score


def spread(scores: list[Score], key: str = "accuracy") -> tuple[Number, Number]:
    """Return mean and standard deviation over seeds, None where there is no such score; one has no deviation."""
    values = [getattr(score, key) for score in scores]
    if None in values:
        return None, None
    return number(np.mean(values)), number(np.std(values, ddof=1)) if len(values) > 1 else None


def mean_scores(row: Row, keys: tuple[str, ...]) -> dict[str, Number]:
    """Return the means of both encoders' scores."""
    trained = {key: spread(row.trained, key)[0] for key in keys}
    return {**trained, **{f"random_init_{key}": spread(row.random_init, key)[0] for key in keys}}


def accuracies(scores: Scores | None) -> dict[str, Number]:
    """Return the scores at the largest share of labels; a numeric target has R2 and RMSE in addition."""
    if scores is None:
        return {"random_init_accuracy": None, "accuracy": None, "majority_accuracy": None}
    last = scores.rows[-1]
    values = {**mean_scores(last, ("accuracy",)), "majority_accuracy": number(scores.guess.accuracy)}
    return {**values, **mean_scores(last, ("r2", "rmse"))} if scores.guess.accuracy is None else values


class PretrainReport(NamedTuple):
    """Result of `tsjepa pretrain`; checkpoint and scores are of `kept_epoch`, None where that is the last epoch.

    `source` is what --data named, and `world` says whether the model predicts what comes in a
    sensor log.
    """

    checkpoint: Path
    data: str
    n_series: int
    epochs: int
    kept_epoch: int | None
    seconds: float
    loss: float | None
    scores: Scores | None
    verdict: Verdict | None
    data_dir: Path | None
    source: str
    world: bool

    def values(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "checkpoint": str(self.checkpoint),
            "data": self.data,
            "n_series": self.n_series,
            "epochs": self.epochs,
            "kept_epoch": self.kept_epoch,
            "seconds": round(self.seconds, 3),
            "loss": number(self.loss),
            **accuracies(self.scores),
            "collapse": None if self.verdict is None else self.verdict._asdict(),
        }


class ProbeReport(NamedTuple):
    """Result of `tsjepa probe`."""

    checkpoint: Path
    data: str
    kind: ProbeKind
    n_train: int
    n_test: int
    scores: Scores

    def values(self) -> dict[str, Any]:
        """Return the JSON object."""
        values: dict[str, Any] = {
            "checkpoint": str(self.checkpoint),
            "data": self.data,
            "probe": self.kind,
            "n_train": self.n_train,
            "n_test": self.n_test,
            **accuracies(self.scores),
        }
        if self.numeric:
            values |= {"mean_r2": number(self.scores.guess.r2), "mean_rmse": number(self.scores.guess.rmse)}
        if self.scores.rows[0].fraction < 1:
            values["fractions"] = [self.fraction_values(row) for row in self.scores.rows]
        return values

    @property
    def numeric(self) -> bool:
        """Whether the target is a number."""
        return self.scores.guess.accuracy is None

    def fraction_values(self, row: Row) -> dict[str, Any]:
        """Return the JSON object of one share of the labels."""
        trained, random_init = spread(row.trained), spread(row.random_init)
        values = {
            "fraction": row.fraction,
            "n_labels": statistics.mean(row.n_labels),
            "seeds": len(row.trained),
            "accuracy": trained[0],
            "accuracy_std": trained[1],
            "random_init_accuracy": random_init[0],
            "random_init_std": random_init[1],
        }
        return {**values, **mean_scores(row, ("r2", "rmse"))} if self.numeric else values

    def statement(self, config: ProbeConfig) -> str:
        """Say what was fitted and scored on what."""
        drawn = seeds([row.n_labels for row in self.scores.rows])
        channels = {"concat": "joined", "mean": "averaged", "max": "by their maximum"}[config.channels]
        shares = "shares, and " if config.shares else ""
        form = f", read as a sketch of {config.sketch} numbers in all" if config.sketch is not None else ""
        return (
            f"{self.kind} probe of {self.data}: fitted on the training part ({drawn}), scored on the whole test part "
            f"({self.n_test} series); {shares}levels: {config.levels}, pooled by {', '.join(config.pool)}{form}, "
            f"channels {channels}."
        )


class FinetuneRow(NamedTuple):
    """Scores at one share of the labels, one a draw of so many; None where no supervised encoder was asked for."""

    fraction: float
    n_labels: tuple[int, ...]
    frozen: list[Score]
    tuned: list[Score]
    supervised: list[Score] | None

    def values(self) -> dict[str, Any]:
        """Return the JSON object."""
        n_labels = statistics.mean(self.n_labels)
        values: dict[str, Any] = {"fraction": self.fraction, "n_labels": n_labels, "seeds": len(self.tuned)}
        for prefix, scores in (("", self.tuned), ("frozen_", self.frozen), ("supervised_", self.supervised)):
            mean, deviation = (None, None) if scores is None else spread(scores)
            values |= {f"{prefix}accuracy": mean, f"{prefix}std" if prefix else "accuracy_std": deviation}
        return values


class FinetuneReport(NamedTuple):
    """Result of `tsjepa finetune`; rows by ascending share of the labels, `out` is the checkpoint that was written.

    `source` is what names the data: --data, or else the checkpoint.
    """

    checkpoint: Path
    data: str
    n_train: int
    n_test: int
    rows: list[FinetuneRow]
    guess: Score
    out: Path | None
    source: str

    def values(self) -> dict[str, Any]:
        """Return the JSON object; accuracies are those at the largest share of labels."""
        last = self.rows[-1].values()
        return {
            "checkpoint": str(self.checkpoint),
            "data": self.data,
            "n_train": self.n_train,
            "n_test": self.n_test,
            **{key: last[key] for key in ("accuracy", "frozen_accuracy", "supervised_accuracy")},
            "majority_accuracy": number(self.guess.accuracy),
            "fractions": [row.values() for row in self.rows],
            "out": None if self.out is None else str(self.out),
        }

    def statement(self) -> str:
        """Say what was trained and scored on what."""
        drawn = seeds([row.n_labels for row in self.rows])
        return (
            f"fine-tuned on the training part of {self.data} ({drawn}), scored on the whole test part "
            f"({self.n_test} series), each model once; nothing was chosen by these scores."
        )


class StudyReport(NamedTuple):
    """Result of `tsjepa collapse-study`."""

    out: Path
    data: tuple[str, ...]
    n_runs: int
    seconds: float
    claims: list[dict[str, str]]

    def values(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**self._asdict(), "out": str(self.out), "seconds": round(self.seconds, 3)}


class BenchmarkReport(NamedTuple):
    """Result of `tsjepa benchmark`; `means` are `{method: {mean_accuracy, n_data}}`, `counted` what `n_data` counts."""

    out: Path
    means: dict[str, dict[str, Number]]
    n_runs: int
    n_failed: int
    seconds: float
    counted: str = "data sets"

    def values(self) -> dict[str, Any]:
        """Return the JSON object."""
        return self.means


class TuneReport(NamedTuple):
    """Result of `tsjepa tune-lambda`; the command is what to type next."""

    weight: float
    runs: list[dict[str, Any]]
    command: str

    def values(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"lambda": self.weight, "runs": self.runs}


class DetectReport(NamedTuple):
    """Result of `tsjepa detect`; F1, false-alarm and missed-alarm rate are None without labels."""

    rows: int
    events: int
    threshold: float
    false_alarm_budget: str
    f1: Number
    far: Number
    mar: Number
    seconds: float
    out: Path

    def values(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "rows": self.rows,
            "events": self.events,
            "threshold": number(self.threshold),
            "false_alarm_budget": self.false_alarm_budget,
            "f1": number(self.f1),
            "far": number(self.far),
            "mar": number(self.mar),
        }


class EmbedReport(NamedTuple):
    """Result of `tsjepa embed`."""

    rows: int
    seconds: float
    peak_mb: Number
    out: Path

    def values(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**self._asdict(), "seconds": round(self.seconds, 3), "out": str(self.out)}


class ExportReport(NamedTuple):
    """Result of `tsjepa export`: what was written, and how far it is from torch on so many shapes."""

    out: Path
    n_bytes: int
    opset: int
    any_channels: bool
    n_shapes: int
    max_difference: float
    int8: bool
    cosine: float
    seconds: float

    def values(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**self._asdict(), "out": str(self.out), "seconds": round(self.seconds, 3)}


class DiagnoseReport(NamedTuple):
    """Result of `tsjepa diagnose`; `numbers` go by name, with a prefix for encoders that are compared with."""

    data: str
    numbers: dict[str, Number]
    verdict: Verdict | None
    out: Path

    def values(self) -> dict[str, Number]:
        """Return the JSON object: one flat object, name to number or null."""
        return self.numbers


def seeds(rows: Sequence[Sequence[int]]) -> str:
    """Say how many labels were drawn how often.

    Examples
    --------
    >>> seeds([[2] * 20, [10, 11], [100]])
    '2 labels with seeds 0-19; 10 to 11 labels with seeds 0-1; 100 labels with seed 0'
    """
    return "; ".join(
        f"{ranging(drawn)} labels with seed{f's 0-{len(drawn) - 1}' if len(drawn) > 1 else ' 0'}" for drawn in rows
    )


def ranging(n_labels: Sequence[int]) -> str:
    """Write how many labels were drawn each time.

    Examples
    --------
    >>> ranging([11, 10, 11]), ranging([10, 10])
    ('10 to 11', '10')
    """
    least, most = min(n_labels), max(n_labels)
    return f"{least} to {most}" if least < most else f"{most}"
