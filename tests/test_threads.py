"""Threads for a while: torch's, and those of linear algebra."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from threadpoolctl import threadpool_info

from tsjepa.threads import TORCH, threads


def counts() -> set[int]:
    """Return how many threads torch and each library of linear algebra may use."""
    return {torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")}


def of_a_new_thread() -> int:
    """Return how many threads torch has in a thread of Python that has just begun."""
    found = list[int]()
    fresh = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    fresh.start()
    fresh.join()
    return found[0]


def test_all_threads_are_set_and_as_before_afterwards() -> None:
    with threads(3):
        assert counts() == {3}
        with threads(1):
            assert counts() == {1}
        with threads(None):
            assert counts() == {3}
        with pytest.raises(KeyError), threads(2):
            raise KeyError
        assert counts() == {3}


def test_those_of_others_that_overlap_leave_all_as_it_was() -> None:
    before, began, ended = counts(), threading.Event(), threading.Event()
    of_others, own = of_a_new_thread(), list[int]()

    def other() -> None:
        own.append(torch.get_num_threads())
        with threads(5):
            own.append(torch.get_num_threads())
            began.set()
            ended.wait(60)
        own.append(torch.get_num_threads())

    beside = threading.Thread(target=other)
    with threads(3):
        beside.start()
        assert began.wait(60)
        assert 3 in counts()
        assert of_a_new_thread() == of_others
    ended.set()
    beside.join()
    assert counts() == before
    assert of_a_new_thread() == of_others
    assert own == [of_others, 5, of_others]
    with threads(4):
        assert counts() == {4}


def test_a_thread_whose_number_is_its_own_has_it_again_and_others_theirs() -> None:
    of_others, own = of_a_new_thread(), list[int]()

    def use() -> None:
        torch.set_num_threads(of_others + 4)
        with threads(of_others + 2):
            own.append(of_a_new_thread())
        own.append(torch.get_num_threads())

    user = threading.Thread(target=use)
    try:
        user.start()
        user.join()
        assert own == [of_others + 4] * 2
        assert of_a_new_thread() == of_others + 4
    finally:
        torch.set_num_threads(of_others)


def test_ctrl_c_leaves_no_thread_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    before, number, start = threading.active_count(), torch.get_num_threads(), threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TORCH.take(number + 1)
    assert (threading.active_count(), torch.get_num_threads()) == (before, number)


# What a forked process does as another thread, or the one that forked, is inside of everything that is one for all
FORKS = """
import os, signal, sys, threading
from contextlib import ExitStack
import numpy as np
import torch
from tsjepa import TSJEPAEmbedder, precision
from tsjepa.build import SEEDING
from tsjepa.threads import LINEAR_ALGEBRA, TORCH, threads
from tsjepa.trainer import TRAINING
X = np.random.default_rng(0).normal(size=(6, 1, 60))
precision.exact, precision.intel = lambda: True, lambda: False
before = precision.SETTING.fp32_precision
assert before != "bf16"

def everything():
    inside = ExitStack()
    for lock in (TRAINING, SEEDING, TORCH.lock, LINEAR_ALGEBRA.lock, precision.fast_float32()):
        inside.enter_context(lock)
    return inside

def in_child(inside):
    lent = "bf16" if inside else before
    for _ in range(2):
        assert precision.SETTING.fp32_precision == lent
        with threads(torch.get_num_threads() + 1):
            TSJEPAEmbedder("tiny", max_epochs=1, device="cpu").fit(X).transform(X)
        if inside:
            inside.close()
        lent = before

def run_child(inside=None):
    child = os.fork()
    if child == 0:
        signal.alarm(90)  # ends a process that hangs
        try:
            in_child(inside)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
BY_ANOTHER_THREAD = """
held, done = threading.Event(), threading.Event()
def hold():
    with everything():
        held.set()
        done.wait()
holder = threading.Thread(target=hold)
holder.start()
try:
    held.wait()
    run_child()
    assert precision.SETTING.fp32_precision == "bf16"
finally:
    done.set()
    holder.join()
assert precision.SETTING.fp32_precision == before
"""
BY_THE_THREAD_ITSELF = """
with everything() as inside:
    run_child(inside)
    assert precision.SETTING.fp32_precision == "bf16"
assert precision.SETTING.fp32_precision == before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("held", [BY_ANOTHER_THREAD, BY_THE_THREAD_ITSELF], ids=["another", "itself"])
def test_a_process_that_is_forked_meanwhile_waits_for_no_thread_that_it_has_not(held: str) -> None:
    subprocess.run([sys.executable, "-c", FORKS + held], check=True, timeout=240)


# A thread that holds the lock of numba's compiler lets go of it after another thread has begun to fork
FORKS_DURING_A_COMPILATION = """
import os, signal, threading, time
import tsjepa.filter_kernels
from numba.core.compiler_lock import global_compiler_lock
held, forking = threading.Event(), threading.Event()
os.register_at_fork(before=forking.set)
def hold():
    with global_compiler_lock:
        held.set()
        forking.wait()
        time.sleep(0.5)  # a fork that does not wait is over by then
holder = threading.Thread(target=hold)
holder.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)  # ends a process that hangs
    with global_compiler_lock:
        os._exit(0)
holder.join()
with global_compiler_lock:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_is_not_forked_while_another_thread_compiles() -> None:
    subprocess.run([sys.executable, "-c", FORKS_DURING_A_COMPILATION], check=True, timeout=240)
