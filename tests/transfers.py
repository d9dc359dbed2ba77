"""What the tests of transfers share: small data sets, and a run on them."""

from typing import Any

import numpy as np

from tsjepa.arrays import Series
from tsjepa.evaluation.benchmark_methods import Method, find_method
from tsjepa.evaluation.benchmark_run import Known, Parts, content_digest
from tsjepa.evaluation.benchmark_transfer import Job

TINY = find_method("tiny", epochs=1)


def parts(n: int = 12, channels: int = 1, length: int = 40, seed: int = 0) -> Parts:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.normal(size=(2, n, channels, length)).astype(np.float32)
    X[:, y == 1] += 3 * np.sin(np.arange(length), dtype=np.float32)
    X[:, y == 2] += 3 * np.sin(0.3 * np.arange(length), dtype=np.float32)
    return Parts(Known(Series(X[0]), y, Series(X[1]), Series(X[0])), y, False, content_digest(X))


def named(name: str, **_: Any) -> Parts:
    """Return a small data set of its own for every name."""
    return parts(seed=sum(map(ord, name)), length=60 if name == "long" else 40, channels=1 + (name == "pair"))


def job(method: Method = TINY, **more: Any) -> Job:
    return Job(("a",), (("b", "b"),), False, method, 0, (1,), None, "cpu")._replace(**more)
