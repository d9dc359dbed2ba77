"""Loops that numba compiles, and how their work is divided among threads.

numba's own threads are not used: beside torch's they wait for each other. Threads of any other kind would, too, since
those that OpenMP keeps for torch look for work for a while after an operation. So the loops, which let go of the
interpreter, run in these.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tsjepa.interruption import uninterrupted

# Taps of the filters that loops take, those of shares too: what they do with each is written out
TAPS = 9
# What a thread of a parallel region calls
WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
# Processes in which loops have run in torch's threads. One that is forked from another of them has lost these threads;
# behind a parallel operation of torch's own it has, too, and these never end there
RUN_IN: set[int] = set()


def by_loop(*tensors: Tensor) -> bool:
    """Return whether compiled loops take tensors; else a GPU, float64 or a graph of torch's own is asked for."""
    plain = all(tensor.is_cpu and tensor.dtype == torch.float32 for tensor in tensors)
    return plain and not torch.compiler.is_compiling()


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles once a machine, once a process where nothing can be kept on disk."""
    numba = compiler()

    def wrap(function: Callable) -> Callable:
        try:
            return numba.njit(function, nogil=True, cache=True, **options)
        except RuntimeError:  # no folder for it can be written
            return numba.njit(function, nogil=True, **options)

    return wrap


@cache
def compiler() -> Any:
    """Return numba, where a process that is forked waits until no other thread compiles.

    The lock that numba compiles under is copied as it is, and nobody would release there what another thread held.
    """
    import numba  # takes a second
    from numba.core.compiler_lock import global_compiler_lock as lock

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return numba


def divided(run: Callable[[slice], None], count: int, grain: int) -> None:
    """Run on parts of `count` things, as many as torch has threads, but of `grain` things at least."""
    most = torch.get_num_threads()
    workers = min(most, count // grain)
    if workers < 2:
        run(slice(0, count))
        return
    edges = [count * worker // workers for worker in range(workers + 1)]
    parts, process, parallel = list(map(slice, edges, edges[1:])), os.getpid(), parallel_region()
    if parallel is None or RUN_IN - {process}:
        list(threads(process, most).map(run, parts))
    else:
        RUN_IN.add(process)
        in_team(parallel, run, parts)


def in_team(parallel: Any, run: Callable[[slice], None], parts: list[slice]) -> None:
    """Run on each part, in the threads that OpenMP keeps for torch."""
    left, failed = iter(parts), list[BaseException]()

    def work(_: None = None) -> None:
        try:
            for part in left:  # each thread takes the next one
                run(part)
        except BaseException as error:  # nothing is raised through C
            failed.append(error)

    with uninterrupted():
        parallel(WORK(work), None, len(parts), 0)
    if not failed:
        work()  # what no thread took, should there have been fewer
    if failed:
        raise failed[0]


@cache
def parallel_region() -> Any:
    """Return OpenMP's entry to a parallel region, of the runtime that torch uses; None where it has none.

    `GOMP_parallel(function, data, threads, flags)` is what GCC compiles a region to; LLVM's runtime has it, too.
    """
    try:
        found = ctypes.CDLL(torch._C.__file__).GOMP_parallel
    except (AttributeError, OSError):
        return None
    found.restype, found.argtypes = None, [WORK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return found


@cache
def threads(process: int, count: int) -> ThreadPoolExecutor:
    """Return the threads of a process; those of the one that it was forked from are not there any more."""
    return ThreadPoolExecutor(count, thread_name_prefix="tsjepa")
