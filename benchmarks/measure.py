"""What the speed programs share: rounds in which everything compared runs in turn, a floor of products, the report."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

clock = time.perf_counter


def options_of(description: str) -> argparse.ArgumentParser:
    """Return a parser with what all programs take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", action="store_true")
    return parser


class Product(NamedTuple):
    """One matrix product [m, k] x [k, n]: its sizes, the strides of its factors, its type."""

    sizes: tuple[tuple[int, ...], tuple[int, ...]]
    strides: tuple[tuple[int, ...], tuple[int, ...]]
    dtype: torch.dtype

    @property
    def flops(self):
        """Multiplications and additions."""
        (m, k), (_, n) = self.sizes
        return 2 * m * k * n


class ProductRecorder(TorchDispatchMode):
    """Notes every product of two matrices that runs inside, forward and backward; not the batched ones of attention."""

    def __init__(self):
        super().__init__()
        self.products = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Note it and run it."""
        factors = None
        if func is torch.ops.aten.mm.default:
            factors = args[:2]
        elif func is torch.ops.aten.addmm.default:
            factors = args[1:3]
        elif func is torch.ops.aten.linear.default:  # as it comes in inference mode
            factors = args[0].flatten(0, -2), args[1].t()
        if factors is not None:
            a, b = factors
            self.products.append(
                Product((tuple(a.shape), tuple(b.shape)), (tuple(a.stride()), tuple(b.stride())), a.dtype)
            )
        return func(*args, **(kwargs or {}))


def products_of(run):
    """Return the matrix products of one call of `run`."""
    with ProductRecorder() as recorder:
        run()
    return recorder.products


def floor(products):
    """Return a function that computes the same products back to back with torch.mm, laid out as they were."""
    factors = [
        tuple(
            torch.randn(size).to(p.dtype).as_strided(size, stride)
            if sorted(stride) == sorted(torch.empty(size).stride())
            else torch.randn(size).to(p.dtype).t().contiguous().t()
            for size, stride in zip(p.sizes, p.strides, strict=True)
        )
        for p in products
    ]

    def run():
        for a, b in factors:
            torch.mm(a, b)

    return run


def choose_clock(name: str, threads: int | None) -> None:
    """Choose what time is: "wall", or "cpu", this process's, for one thread on a machine that is busy otherwise."""
    global clock
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[name]
    if threads:
        torch.set_num_threads(threads)


def seconds(run: Callable[[], object], repeats: int = 1) -> float:
    """Return the time of one call, the mean over `repeats`."""
    start = clock()
    for _ in range(repeats):
        run()
    return (clock() - start) / repeats


def medians(rounds: Iterable[dict[str, float]]) -> dict[str, float]:
    """Return the median of each quantity over the rounds."""
    rounds = list(rounds)
    return {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}


def machine() -> dict[str, object]:
    """Return what a figure depends on besides the program."""
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def processor() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def report(figures: dict[str, object], as_json: bool) -> None:
    """Print one JSON object, or a table."""
    if as_json:
        print(json.dumps({**figures, **machine()}))
        return
    for name, value in {**figures, **machine()}.items():
        print(f"{name:32} {f'{value:,.4g}' if isinstance(value, float) else value}")
