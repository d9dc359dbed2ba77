"""Loops that numba compiles, and how their work is divided among threads.

numba's own threads are not used: beside torch's they wait for each other. Ours are plain ones, and the loops let go of
the interpreter.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Taps of the filters that loops take: what they do with each is written out
TAPS = 9


def by_loop(*tensors: Tensor) -> bool:
    """Return whether compiled loops take tensors; else a GPU, float64 or a graph of torch's own is asked for."""
    plain = all(tensor.is_cpu and tensor.dtype == torch.float32 for tensor in tensors)
    return plain and not torch.compiler.is_compiling()


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles once a machine, once a process where nothing can be kept on disk."""
    import numba  # takes a second

    def wrap(function: Callable) -> Callable:
        try:
            return numba.njit(function, nogil=True, cache=True, **options)
        except RuntimeError:  # no folder for it can be written
            return numba.njit(function, nogil=True, **options)

    return wrap


def divided(run: Callable[[slice], None], count: int, grain: int) -> None:
    """Run on parts of `count` things, as many as torch has threads, but of `grain` things at least."""
    most = torch.get_num_threads()
    workers = min(most, count // grain)
    if workers < 2:
        run(slice(0, count))
    else:
        edges = [count * worker // workers for worker in range(workers + 1)]
        list(threads(os.getpid(), most).map(run, map(slice, edges, edges[1:])))


@cache
def threads(process: int, count: int) -> ThreadPoolExecutor:
    """Return the threads of a process; those of the one that it was forked from are not there any more."""
    return ThreadPoolExecutor(count, thread_name_prefix="tsjepa")
