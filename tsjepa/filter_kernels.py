"""Loops over filters of nine taps that numba compiles: counts of answers, and pooled responses and their gradient.

All stand in one file, since what is kept on disk of a compiled loop is made anew when its own file changes, not when
another one does whose loops it calls. Answers to a filter stay in the processor's first-level cache.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsjepa.loops import TAPS, compiled

# Patches side by side: their responses to a filter, and what it sees of them, stay in the first-level cache
LANES = 64
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Grads = tuple[Floats, Floats] | None
ONE, ZERO = np.float32(1), np.float32(0)
# exp(y) is 2^n exp(r), n whole: adding ROUND leaves n in the lowest bits, and n ln 2 is taken off in two parts, of
# which the first has so few bits that n times it is exact
ROUND, LOG2_E = np.float32(1.5 * 2**23), np.float32(1 / np.log(2))
LN2, LN2_REST = np.float32(355 / 512), np.float32(np.log(2) - 355 / 512)
# Beyond, exp leaves float32; the sigmoid is 0 or 1 long before
FAR = np.float32(87)
# The series of exp(r) for |r| <= ln(2) / 2: the next term is below a tenth of float32's rounding
C2, C3, C4, C5, C6, C7 = (np.float32(1 / n) for n in (2, 6, 24, 120, 720, 5040))
LIGHT = {"contract", "nsz"}


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


@compiled(fastmath={"contract", "reassoc", "nsz"})
def count_partly(answers: Floats, level: np.float32, slope: np.float32, points: Floats) -> np.float32:
    """Add up, over points that count, by how much answers are above a level: from 0 to 1 within 1 / slope around it."""
    found, half = ZERO, np.float32(0.5)
    for t in range(len(answers)):
        part = (answers[t] - level) * slope + half
        part = ONE if part > ONE else part
        found += points[t] * (ZERO if part < ZERO else part)
    return found


@compiled()
def count_series(
    x: Floats,
    weight: Floats,
    levels: Floats,
    dilations: NDArray,
    size: int,
    points: Floats | None,
    slope: np.float32,
    counts: Floats,
) -> None:
    """Fill counts [B, N, G, L, F], see `count_above`; values [B, C, T + 2 * reach] with zeros on either side.

    With a slope above zero, points count in part, see `count_partly`.
    """
    n_groups, n_filters, n_channels = weight.shape[:3]
    reach = TAPS // 2 * dilations.max()
    answers = np.empty(x.shape[2] - 2 * reach, np.float32)
    ones = np.ones(size, np.float32)
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
                        there = ones if points is None else points[b, start:stop]
                        if slope > ZERO:
                            counts[b, n, g, k, f] = count_partly(answers[start:stop], level, slope, there)
                        elif points is None:
                            counts[b, n, g, k, f] = count(answers[start:stop], level)
                        else:
                            counts[b, n, g, k, f] = count_of(answers[start:stop], level, there)


@compiled(fastmath=LIGHT, inline="always", error_model="numpy")
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)) to some units of float32's last place; nan stays nan."""
    y = -x
    y = -FAR if y < -FAR else y
    y = FAR if y > FAR else y
    rounded = np.float32(y * LOG2_E + ROUND)
    n = rounded - ROUND
    r = y - n * LN2
    r = r - n * LN2_REST
    e = C7 * r + C6
    e = e * r + C5
    e = e * r + C4
    e = e * r + C3
    e = e * r + C2
    e = e * r + ONE
    e = e * r + ONE
    power = np.int32((rounded.view(np.int32) + np.int32(127)) << np.int32(23)).view(np.float32)
    return ONE / (ONE + e * power)


@compiled(fastmath=LIGHT, error_model="numpy")
def pool(response: Floats, share: Floats, peak: Floats) -> None:
    """Fill in the mean sigmoid and the maximum [LANES] of responses [P * LANES]."""
    share[:], peak[:] = ZERO, np.float32(-np.inf)
    size = len(response) // LANES
    for p in range(size):
        row = response[p * LANES :]
        for lane in range(LANES):
            peak[lane] = row[lane] if row[lane] > peak[lane] else peak[lane]
            share[lane] += sigmoid(row[lane])
    for lane in range(LANES):
        share[lane] /= np.float32(size)
        # no comparison with nan is true
        peak[lane] = peak[lane] if share[lane] == share[lane] else share[lane]


@compiled(fastmath=LIGHT, error_model="numpy")
def unpool(response: Floats, peak: Floats, grads: Floats, each: Floats) -> None:
    """Overwrite responses by their gradients, where `grads` [2, LANES] are those of mean sigmoid and maximum.

    Equal maxima share theirs. In `each` [2, LANES] stands what a point has of both.
    """
    size = len(response) // LANES
    at_share, at_peak = each[0], each[1]
    at_peak[:] = ZERO
    for p in range(size):
        row = response[p * LANES :]
        for lane in range(LANES):
            at_peak[lane] += ONE if row[lane] == peak[lane] else ZERO
    for lane in range(LANES):
        at_share[lane], at_peak[lane] = grads[0, lane] / np.float32(size), grads[1, lane] / at_peak[lane]
    for p in range(size):
        row = response[p * LANES :]
        for lane in range(LANES):
            value = sigmoid(row[lane])
            further = at_peak[lane] if row[lane] == peak[lane] else ZERO
            row[lane] = at_share[lane] * value * (ONE - value) + further


@compiled(fastmath={"contract", "nsz", "reassoc"})
def fill_products(x: Floats, step: int, grad: Floats, taps: Floats) -> None:
    """Fill in the gradients of nine taps: the sums of what each has seen times the gradients of responses."""
    x1, x2, x3, x4 = x[step:], x[2 * step :], x[3 * step :], x[4 * step :]
    x5, x6, x7, x8 = x[5 * step :], x[6 * step :], x[7 * step :], x[8 * step :]
    a, b, c, d, e, f, g, h, i = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for t in range(len(grad)):
        a, b, c = a + grad[t] * x[t], b + grad[t] * x1[t], c + grad[t] * x2[t]
        d, e, f = d + grad[t] * x3[t], e + grad[t] * x4[t], f + grad[t] * x5[t]
        g, h, i = g + grad[t] * x6[t], h + grad[t] * x7[t], i + grad[t] * x8[t]
    taps[0], taps[1], taps[2], taps[3], taps[4] = a, b, c, d, e
    taps[5], taps[6], taps[7], taps[8] = f, g, h, i


@compiled(fastmath={"nsz", "reassoc"})
def total(numbers: Floats) -> np.float32:
    """Return the sum of numbers."""
    found = ZERO
    for t in range(len(numbers)):
        found += numbers[t]
    return found


@compiled()
def each_filter(
    x: Floats, weight: Floats, dilations: Ints, pooled: Floats, grads: Grads, size: int, begin: int, end: int
) -> None:
    """Fill `pooled` or, where `grads` are there, the gradients of the weights.

    Parameters
    ----------
    x : array of shape (N, C, W * LANES)
        What filters see of LANES patches, point by point.
    weight : array of shape (G, F, C * 9 + 1)
        Taps and bias of each filter.
    dilations : array of shape (G,)
    pooled : array of shape (N, G, F, 2, LANES)
        Mean sigmoid and maximum of each patch.
    grads : tuple of array of shape (N, G, F, 2, LANES) and array of shape (N, G, F, C * 9 + 1), optional
        Gradients of `pooled`, which is given then, and, to be filled, those of the weights.
    size : int
        Points of a patch.
    begin, end : int
        Which of the N * G dilations of LANES patches to go through.
    """
    n_dilations, n_filters, _ = weight.shape
    reach = TAPS // 2 * dilations.max()
    response, each = np.empty(size * LANES, np.float32), np.empty((2, LANES), np.float32)
    for which in range(begin, end):
        n, g = which // n_dilations, which % n_dilations
        first, step = (reach - TAPS // 2 * dilations[g]) * LANES, dilations[g] * LANES
        for f in range(n_filters):
            response[:] = weight[g, f, -1]
            for c in range(x.shape[1]):
                add_answers(x[n, c, first:], step, weight[g, f, c * TAPS :], response)
            share, peak = pooled[n, g, f, 0], pooled[n, g, f, 1]
            if grads is None:
                pool(response, share, peak)
            else:
                given, out = grads[0][n, g, f], grads[1][n, g, f]
                unpool(response, peak, given, each)
                for c in range(x.shape[1]):
                    fill_products(x[n, c, first:], step, response, out[c * TAPS :])
                out[-1] = total(response)
