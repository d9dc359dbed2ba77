"""Detectors that the table on SKAB sets ours beside: each is fitted to normal rows and scores rows."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from torch import nn

from tsjepa.normality import left_out

Rows = NDArray[np.float64]
Score = Callable[[Rows], Rows]
# [n, C] normal rows in pieces -> a function from rows [T, C] to scores [T]
Fit = Callable[[Sequence[Rows]], Score]

SMALLEST = 1e-9
KEPT = 0.9
WINDOW = 60
SCALE_LEFT = 1e-2


class Judged(NamedTuple):
    """Scores of a run [T], of its normal rows held out, and of those rows by the detector that was fitted to them."""

    score: Rows
    held_out: Rows
    in_sample: Rows


def judge(fit: Fit, normal: Rows, runs: Sequence[Rows]) -> list[Judged]:
    """Fit to normal rows and score runs, each on its own; all is standardised by normal rows that were held out."""
    score = fit([normal])
    blocks = [fit([rest for rest in others if len(rest)])(block) for block, others in left_out(normal)]
    held_out = np.concatenate(blocks)
    centre, spread = held_out.mean(), max(held_out.std(), SMALLEST)
    usual, known = ((part - centre) / spread for part in (held_out, score(normal)))
    return [Judged((score(x) - centre) / spread, usual, known) for x in runs]


def standardiser(pieces: Sequence[Rows], floor: Rows) -> Score:
    """Return what brings rows to mean 0 and scale 1 of normal ones; a scale is at least a share of the usual one."""
    rows = np.concatenate(pieces)
    mean, scale = rows.mean(0), np.maximum(rows.std(0), SCALE_LEFT * floor)
    return lambda x: (x - mean) / scale


def principal(pieces: Sequence[Rows], floor: Rows, part: str) -> Score:
    """Return the logarithm of Hotelling's T2 in the subspace with 90 % of the variance, or of Q, what is left."""
    white = standardiser(pieces, floor)
    rows = white(np.concatenate(pieces))
    variance, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    variance, axes = variance[::-1], axes[:, ::-1]
    kept = int(np.searchsorted(np.cumsum(variance) / variance.sum(), KEPT)) + 1
    axes, variance = axes[:, :kept], variance[:kept]

    def score(x: Rows) -> Rows:
        x = white(x)
        inside = x @ axes
        found = (inside**2 / variance).sum(1) if part == "T2" else np.square(x - inside @ axes.T).sum(1)
        return np.log(found + SMALLEST)

    return score


def forest(pieces: Sequence[Rows], floor: Rows) -> Score:
    """Return the anomaly score of scikit-learn's isolation forest."""
    white = standardiser(pieces, floor)
    trees = IsolationForest(n_estimators=100, random_state=0).fit(white(np.concatenate(pieces)))
    return lambda x: -trees.score_samples(white(x))


def autoencoder(pieces: Sequence[Rows], floor: Rows, epochs: int) -> Score:
    """Return how badly a convolutional autoencoder gives back the 60 rows up to each row, as a logarithm."""
    white = standardiser(pieces, floor)
    windows = torch.cat([windows_of(white(piece)) for piece in pieces if len(piece)])
    channels = windows.shape[1]
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv1d(channels, 32, 7, stride=2, padding=3),
            nn.ReLU(),
            nn.Conv1d(32, 16, 7, stride=2, padding=3),
            nn.ReLU(),
            nn.ConvTranspose1d(16, 32, 8, stride=2, padding=3),
            nn.ReLU(),
            nn.ConvTranspose1d(32, channels, 8, stride=2, padding=3),
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(windows), generator=generator)[: 64 * 64].split(64):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(windows[batch]), windows[batch]).backward()
            optimizer.step()

    @torch.inference_mode()
    def score(x: Rows) -> Rows:
        seen = windows_of(white(x))
        error = torch.cat([(model(part) - part).abs().mean((1, 2)) for part in seen.split(1024)])
        return np.log(error.double().numpy() + SMALLEST)

    return score


def windows_of(rows: Rows) -> torch.Tensor:
    """Return the window that ends with each row [T, C, 60]; before the first row it stood still."""
    padded = np.concatenate([np.repeat(rows[:1], WINDOW - 1, 0), rows]).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=0)))


def baselines(floor: Rows, epochs: int) -> dict[str, Fit]:
    """Return the detectors by name; `floor` is the usual scale of each channel."""
    return {
        "isolation forest": partial(forest, floor=floor),
        "PCA T2": partial(principal, floor=floor, part="T2"),
        "PCA Q": partial(principal, floor=floor, part="Q"),
        "convolutional autoencoder": partial(autoencoder, floor=floor, epochs=epochs),
    }


def union(first: Sequence[Judged], second: Sequence[Judged]) -> list[Judged]:
    """Return the larger one of two detectors' scores."""
    return [Judged(*(np.maximum(a, b) for a, b in zip(*pair, strict=True))) for pair in zip(first, second, strict=True)]
