"""What the tests of the collapse study share: runs with curves made by hand, judged, and series to train on."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tsjepa.arrays import as_series
from tsjepa.evaluation.claims import Claim, judge_claims
from tsjepa.evaluation.recorder import Subject
from tsjepa.evaluation.rows import BASE, Arm, Measurement, Run

NAMES = (
    "exists",
    "ends",
    "gap_over_time",
    "gap_over_arms",
    "decay_prolongs",
    "decay_shrinks_gap",
    "decay_matters",
    "ratio_delays",
    "block_varies",
)
DECAYS = (0.9, 0.99, 0.996, 0.998, 0.999)


def make_run(
    arm: Arm = BASE,
    seed: int = 0,
    probe: Sequence[float] = (0.8, 0.8, 0.8, 0.8, 0.8),
    gap: Sequence[float] = (0.0, 1.0, 1.0, 1.0, 1.0),
    loss: Sequence[float] = (math.nan, 1.0, 0.8, 0.6, 0.5),
    rank: Sequence[float] = (10.0, 10.0, 10.0, 10.0, 10.0),
    every: int = 1000,
    data: str = "pump",
) -> Run:
    rows = zip(loss, probe, gap, rank, strict=True)
    curve = [
        Measurement(data, *arm, seed, 10 * k, every * k, one, p, g, g, r, 0.01 * (k > 0))
        for k, (one, p, g, r) in enumerate(rows)
    ]
    return Run(data, arm, seed, tuple(curve))


def dip(length: int, points: int = 6) -> dict[str, Any]:
    """Return curves whose probe is below its start for `length` measurements from the second one on."""
    probe = [0.8, 0.8, *[0.7] * length, *[0.85] * (points - 2 - length)]
    loss = [math.nan, *np.linspace(1, 0.5, points - 1)]
    return {"probe": probe, "loss": loss, "gap": [0.0, *[1.0] * (points - 1)], "rank": [10.0] * points}


def judged(runs: Sequence[Run]) -> dict[str, Claim]:
    return dict(zip(NAMES, judge_claims(runs), strict=True))


def by_decay(make: Callable[[int, Arm, int], Run]) -> list[Run]:
    return [make(place, Arm(decay), seed) for seed in range(3) for place, decay in enumerate(DECAYS)]


def subject(name: str = "pump", n: int = 24) -> Subject:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, 1, 40)), np.arange(n) % 2
    X[y == 1] += 2 * np.sin(np.arange(40) * 0.8)
    return Subject(name, as_series(X), y)
