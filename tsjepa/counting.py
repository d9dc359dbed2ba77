"""How often filters answer above their thresholds, counted by a compiled loop, a filter and a series at a time.

Answers stay in the processor's first-level cache.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tsjepa.loops import TAPS, compiled, divided

# Series that are worth a thread of their own
GRAIN = 8
Floats = NDArray[np.float32]
ONE, ZERO = np.float32(1), np.float32(0)


@compiled(fastmath={"contract", "nsz"})
def add_answers(x: Floats, dilation: int, taps: Floats, answers: Floats) -> None:
    """Add what a filter of nine taps answers to values; answers have the length of the series."""
    a, b, c, d, e, f, g, h, i = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8]
    x1, x2, x3, x4 = x[dilation:], x[2 * dilation :], x[3 * dilation :], x[4 * dilation :]
    x5, x6, x7, x8 = x[5 * dilation :], x[6 * dilation :], x[7 * dilation :], x[8 * dilation :]
    for t in range(len(answers)):
        first = a * x[t] + b * x1[t] + c * x2[t] + d * x3[t] + e * x4[t]
        answers[t] += first + f * x5[t] + g * x6[t] + h * x7[t] + i * x8[t]


@compiled(fastmath={"reassoc", "nsz"})  # whole numbers: their sum is exact in any order
def count(answers: Floats, level: np.float32) -> np.float32:
    """Return how many answers are above a level."""
    found = ZERO
    for t in range(len(answers)):
        found += ONE if answers[t] > level else ZERO
    return found


@compiled(fastmath={"reassoc", "nsz"})  # beside `count`, since reading ones would make all shares a sixth slower
def count_of(answers: Floats, level: np.float32, points: Floats) -> np.float32:
    """Return how many answers at points that count, 1 or 0, are above a level."""
    found = ZERO
    for t in range(len(answers)):
        found += points[t] if answers[t] > level else ZERO
    return found


@compiled()
def count_series(
    x: Floats, weight: Floats, levels: Floats, dilations: NDArray, size: int, points: Floats | None, counts: Floats
) -> None:
    """Fill counts [B, N, G, L, F], see `count_above`; values [B, C, T + 2 * reach] with zeros on either side."""
    n_groups, n_filters, n_channels = weight.shape[:3]
    reach = TAPS // 2 * dilations.max()
    answers = np.empty(x.shape[2] - 2 * reach, np.float32)
    for b in range(len(x)):
        for g in range(n_groups):
            first = reach - TAPS // 2 * dilations[g]
            for f in range(n_filters):
                answers[:] = ZERO
                for c in range(n_channels):
                    add_answers(x[b, c, first:], dilations[g], weight[g, f, c], answers)
                for n in range(counts.shape[1]):
                    start, stop = n * size, (n + 1) * size
                    for k in range(levels.shape[2]):
                        level = levels[g, f, k]
                        if points is None:
                            counts[b, n, g, k, f] = count(answers[start:stop], level)
                        else:
                            counts[b, n, g, k, f] = count_of(answers[start:stop], level, points[b, start:stop])


def count_above(
    x: Tensor, weight: Tensor, levels: Tensor, dilations: tuple[int, ...], size: int, points: Tensor | None = None
) -> Tensor:
    """Count at how many points of each patch each filter answers above each of its levels.

    Parameters
    ----------
    x : float32 Tensor of shape (B, C, T)
        Values, on the CPU.
    weight : Tensor of shape (G, F, C, 9)
        F filters of nine taps for each of G dilations.
    levels : Tensor of shape (G, F, L)
    dilations : tuple of int
        G distances between taps.
    size : int
        Points of a patch; T for series that are taken whole.
    points : Tensor of shape (B, T), optional
        1 at points that count, 0 at others; None means all.

    Returns
    -------
    Tensor of shape (B, N, G * L * F)

    Raises
    ------
    ValueError
        If filters have another number of taps, or series are not whole patches.

    Examples
    --------
    >>> import torch
    >>> first = torch.eye(9)[4].view(1, 1, 1, 9)  # a filter that answers with the value itself
    >>> count_above(torch.tensor([[[1.0, 3.0, 5.0, 7.0]]]), first, torch.tensor([[[2.0, 4.0]]]), (1,), size=2)
    tensor([[[1., 0.],
             [2., 2.]]])
    """
    n_series, _, n_timepoints = x.shape
    if weight.shape[3] != TAPS:
        raise ValueError(f"filters must have {TAPS} taps, but these have {weight.shape[3]}.")
    if n_timepoints % size:
        raise ValueError(f"series of {n_timepoints} points are not whole patches of {size}.")
    reach = TAPS // 2 * max(dilations)
    counts = x.new_empty(n_series, n_timepoints // size, len(dilations), levels.shape[2], levels.shape[1])
    arrays = [F.pad(x, (reach, reach)).numpy(), None if points is None else points.contiguous().numpy(), counts.numpy()]
    fixed = weight.numpy(), levels.numpy(), np.array(dilations), size

    def run(part: slice) -> None:
        values, mask, out = (None if array is None else array[part] for array in arrays)
        count_series(values, *fixed, mask, out)

    divided(run, n_series, GRAIN)
    return counts.flatten(2)
