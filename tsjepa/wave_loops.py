"""The sums of `tsjepa.waves` by compiled loops, some columns at a time, so that all of a sample stays in registers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tsjepa.loops import compiled, divided

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_] | None
# One item a multiple: how many there are is then a part of the type, and the loop over them is written out
Each = tuple[int, ...]
ONE, ZERO = np.float32(1), np.float32(0)
# Columns at a time: a processor's widest registers hold so many
LANES = 16
# Samples whose float32 sum is taken before it joins that of all, in float64
RUN = 128
# Samples of LANES columns that are worth a thread of their own
GRAIN = 4096


@compiled(fastmath={"contract", "nsz"}, inline="always")
def add(cosine: Any, sine: Any, each: Each, total: Floats, lane: int) -> None:
    """Add the waves of one sample and column to their totals [K, 2, LANES]."""
    twice, c, s, c_before, s_before = cosine + cosine, cosine, sine, ONE, ZERO
    for k in range(len(each)):
        total[k, 0, lane] += c
        total[k, 1, lane] += s
        c, c_before = twice * c - c_before, c
        s, s_before = twice * s - s_before, s


@compiled(fastmath={"contract", "nsz"})
def fill_sums(first: Floats, keep: Flags, each: Each, begin: int, end: int, out: Floats) -> None:
    """Fill the blocks from `begin` to `end` of sums [K, 2, S, M], LANES columns of a set each."""
    _, _, samples, columns = first.shape
    blocks = (columns + LANES - 1) // LANES
    part, whole = np.empty((len(each), 2, LANES), np.float32), np.empty((len(each), 2, LANES), np.float64)
    for block in range(begin, end):
        at, start = block // blocks, block % blocks * LANES
        width = min(LANES, columns - start)
        whole[:] = 0.0
        for run in range(0, samples, RUN):
            part[:] = ZERO
            for n in range(run, min(run + RUN, samples)):
                if keep is not None and not keep[at, n]:
                    continue
                cosine, sine = first[0, at, n, start:], first[1, at, n, start:]
                if width == LANES:  # a number that the compiler knows
                    for lane in range(LANES):
                        add(cosine[lane], sine[lane], each, part, lane)
                else:
                    for lane in range(width):
                        add(cosine[lane], sine[lane], each, part, lane)
            whole += part
        for k in range(len(each)):
            for which in range(2):
                out[k, which, at, start : start + width] = whole[k, which, :width]


@compiled(fastmath={"contract", "nsz"}, inline="always")
def clenshaw(cosine: Any, sine: Any, each: Each, weights: Floats, lane: int) -> Any:
    """Return the mixture of the waves of one sample and column; weights [K, 2, LANES] have the last multiple first."""
    twice, u, v, u_before, v_before = cosine + cosine, ZERO, ZERO, ZERO, ZERO
    for k in range(len(each)):
        u, u_before = weights[k, 0, lane] + twice * u - u_before, u
        v, v_before = weights[k, 1, lane] + twice * v - v_before, v
    return u * cosine - u_before + v * sine


@compiled(fastmath={"contract", "nsz"})
def fill_mix(first: Floats, keep: Flags, each: Each, weights: Floats, begin: int, end: int, out: Floats) -> None:
    """Fill the blocks from `begin` to `end` of mixtures [S, N, M], LANES columns of a set each."""
    _, _, samples, columns = first.shape
    blocks = (columns + LANES - 1) // LANES
    backwards = np.empty((len(each), 2, LANES), np.float32)
    for block in range(begin, end):
        at, start = block // blocks, block % blocks * LANES
        width = min(LANES, columns - start)
        for k in range(len(each)):
            backwards[len(each) - 1 - k, :, :width] = weights[k, :, at, start : start + width]
        for n in range(samples):
            row = out[at, n, start:]
            if keep is not None and not keep[at, n]:
                row[:width] = ZERO
                continue
            cosine, sine = first[0, at, n, start:], first[1, at, n, start:]
            if width == LANES:
                for lane in range(LANES):
                    row[lane] = clenshaw(cosine[lane], sine[lane], each, backwards, lane)
            else:
                for lane in range(width):
                    row[lane] = clenshaw(cosine[lane], sine[lane], each, backwards, lane)


def sum_samples(first: Tensor, count: int, keep: Tensor | None) -> Tensor:
    """Return what `tsjepa.waves.sums_of_waves` does."""
    out = first.new_empty(count, 2, first.shape[1], first.shape[3])
    given, into = (*arrays_of(first, keep), (0,) * count), out.numpy()
    each_block(first, lambda part: fill_sums(*given, part.start, part.stop, into))
    return out


def mix_multiples(first: Tensor, weights: Tensor, keep: Tensor | None) -> Tensor:
    """Return what `tsjepa.waves.mix_of_waves` does, by Clenshaw's recurrence (1955, Math. Comp. 9, 118)."""
    out = first.new_empty(first.shape[1:])
    given, into = (*arrays_of(first, keep), (0,) * len(weights), weights.contiguous().numpy()), out.numpy()
    each_block(first, lambda part: fill_mix(*given, part.start, part.stop, into))
    return out


def arrays_of(first: Tensor, keep: Tensor | None) -> tuple[Floats, Flags]:
    """Return tensors as dense arrays, as the loops take them."""
    return first.contiguous().numpy(), None if keep is None else keep.contiguous().numpy()


def each_block(first: Tensor, run: Callable[[slice], None]) -> None:
    """Run on all blocks of LANES columns of all sets of [2, S, N, M]."""
    _, sets, samples, columns = first.shape
    divided(run, sets * (-(-columns // LANES)), max(GRAIN // max(samples, 1), 1))
