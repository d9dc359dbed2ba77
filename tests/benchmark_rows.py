"""What the tests of a benchmark share: small runs, and rows of its tables."""

from typing import Any

from tsjepa.evaluation.benchmark_methods import Method, find_method
from tsjepa.evaluation.benchmark_run import Job
from tsjepa.evaluation.benchmark_table import FewLabels, Result


def tiny(name: str) -> Method:
    return find_method(name, "tiny", epochs=1)


def job(method: str = "raw", data: str = "GunPoint", **more: Any) -> Job:
    return Job(data, tiny(method), 0, device="cpu", **more)


def row(data: str = "pump", method: str = "raw", accuracy: float | None = 0.5, **more: Any) -> Result:
    ok = accuracy is not None
    whole = Result(
        data, method, 0, 0, accuracy, accuracy, None, 1.0, 0.5, 100.0, 3.0, 10, 20,
        False, "ok" if ok else "failed", "" if ok else "no labels.", "digest", "tsjepa 0",
    )  # fmt: skip
    return whole._replace(**more)


def draw(method: str, number: int, accuracy: float | None, labels: str = "5/class", data: str = "a") -> FewLabels:
    return FewLabels(data, method, 0, 0, labels, 10, number, accuracy)


ROWS = [
    row("a", "first", 0.9),
    row("a", "first", 0.7, seed=1),
    row("a", "second", 0.8),
    row("b", "first", 0.5, partial=True),
    row("b", "second", 0.6, partial=True),
    row("c", "first", 0.4),
    row("c", "second", None),
]
