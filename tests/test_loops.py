"""How the work of compiled loops is divided: each part once, by torch's own threads or by others."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from tsjepa import loops
from tsjepa.loops import divided, parallel_region


@pytest.fixture(params=["team", "pool"])
def _threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "pool":
        monkeypatch.setattr(loops, "parallel_region", lambda: None)
    elif parallel_region() is None:
        pytest.skip("torch's OpenMP has no entry to a parallel region here")
    elif int(os.environ.get("OMP_THREAD_LIMIT", 3)) < 3:
        pytest.skip("OMP_THREAD_LIMIT allows no team of three")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(("count", "grain", "expected"), [(0, 1, 1), (5, 3, 1), (6, 3, 2), (7, 1, 3), (100, 2, 3)])
def test_each_thing_is_done_once_in_parts_of_a_grain_at_least(count: int, grain: int, expected: int) -> None:
    parts: list[slice] = []
    divided(parts.append, count, grain)
    assert len(parts) == expected
    assert sorted(i for part in parts for i in range(count)[part]) == list(range(count))


@pytest.mark.usefixtures("_threads")
def test_parts_run_in_threads_of_their_own() -> None:
    seen, together = set(), threading.Barrier(3)

    def run(_: slice) -> None:
        seen.add(threading.get_ident())
        together.wait(timeout=60)  # for nothing, were they not to run at the same time

    divided(run, 3, 1)
    assert len(seen) == 3


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("error", [ZeroDivisionError, IndexError, KeyboardInterrupt])
def test_what_goes_wrong_in_a_thread_is_raised(error: type[BaseException]) -> None:
    def run(part: slice) -> None:
        if part.start == 1:
            raise error

    with pytest.raises(error):
        divided(run, 3, 1)


def test_what_no_thread_took_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "parallel_region", lambda: lambda *_: None)  # a team of no thread
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    parts: list[slice] = []
    divided(parts.append, 4, 1)
    assert parts == [slice(0, 2), slice(2, 4)]


def test_another_runtime_than_openmp_is_told_by_its_lack_of_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops.ctypes, "CDLL", lambda _: object())
    assert parallel_region.__wrapped__() is None


def test_ctrl_c_is_never_lost() -> None:
    program = """
import os, random, signal, sys, threading, time, torch
from tsjepa.loops import divided
torch.set_num_threads(2)
lost, seen, sent = [], 0, 0
sys.unraisablehook = lost.append
while sent < 200:
    sent, until = sent + 1, time.monotonic() + 20
    timer = threading.Timer(random.uniform(0.001, 0.003), os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while time.monotonic() < until:  # one that is lost is told, and not waited for
            divided(lambda part: None, 4, 1)
    except KeyboardInterrupt:
        seen += 1
    timer.join()
assert (seen, lost) == (200, []), (seen, lost)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_ctrl_c_on_the_way_into_a_thread_is_raised_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def parallel(work: Callable[[None], None], *_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        work(None)

    monkeypatch.setattr(loops, "parallel_region", lambda: parallel)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    parts: list[slice] = []
    with pytest.raises(KeyboardInterrupt):
        divided(parts.append, 4, 1)
    assert parts == [slice(0, 2), slice(2, 4)]
