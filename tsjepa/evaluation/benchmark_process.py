"""A function in a process of its own: thread pools of torch and numba never meet, and memory is a run's own.

Two pools in one process spin against each other and make either 15 times as slow. A crash, or the system's end to a
process that takes too much memory, ends one run and not the benchmark.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, TypeVar

from tsjepa.evaluation.benchmark_table import BenchmarkError

Argument = TypeVar("Argument")
Found = TypeVar("Found")
# Imported once, by the server that the processes are forked from
PRELOAD = ["tsjepa.evaluation.benchmark_run", "aeon.transformations.collection.feature_based"]
# For a process that has answered to end by itself, and leave nothing behind
GRACE_SECONDS = 10


class RunError(BenchmarkError):
    """A run that failed, with the reason in one sentence."""


def call(function: Callable[[Argument], Found], argument: Argument, *, fork: bool = True) -> Found:
    """Call a function in a process of its own.

    Parameters
    ----------
    function : callable
        Of a module's top level; it gets the one argument.
    argument : object
        What can be sent to another process.
    fork : bool, default=True
        Whether the process is forked from a server that has imported everything, where the system can; else it starts
        from nothing, as CUDA needs.

    Returns
    -------
    object
        What the function returns.

    Raises
    ------
    RunError
        If the function raises, or its process ends early.

    Examples
    --------
    >>> call(abs, -3, fork=False)
    3
    """
    context: SpawnContext | ForkServerContext = SpawnContext()
    if fork and "forkserver" in multiprocessing.get_all_start_methods():
        context = ForkServerContext()
        context.set_forkserver_preload(PRELOAD)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(theirs, function, argument))
    if isinstance(context, ForkServerContext):
        with interrupts_held():
            forkserver.ensure_running()
        process.start()  # waits until the server has imported everything, and may be interrupted
    else:
        with interrupts_held():
            process.start()
    theirs.close()
    try:
        good, found = ours.recv()
        process.join(GRACE_SECONDS)
    except EOFError:
        process.join()
        raise RunError(ending(process.exitcode)) from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if not good:
        raise RunError(found)
    return found


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back here; processes that are launched meanwhile never see it, even while they import."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # before, since it lets Ctrl-C through once it has started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(connection: Connection, function: Callable[[Any], Any], argument: Any) -> None:
    """Call the function and send back what it returns, or why it did not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the benchmark's to handle, which ends this process
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        answer = True, function(argument)
    except Exception as error:
        if not isinstance(error, ValueError | OSError | MemoryError):
            traceback.print_exc()  # a defect, which a sentence would hide
        answer = False, sentence(error)
    with suppress(BrokenPipeError):
        connection.send(answer)


def sentence(error: Exception) -> str:
    """Return an error on one line, by its type where it is not the library's own.

    Examples
    --------
    >>> sentence(BenchmarkError("no labels.")), sentence(KeyError("x"))
    ('no labels.', "KeyError: 'x'")
    """
    said = " ".join(str(error).split())
    own = type(error).__module__.startswith("tsjepa.") or type(error) is ValueError
    return said if own and said else f"{type(error).__name__}: {said}"


def ending(code: int | None) -> str:
    """Say how a process ended that gave no answer.

    Examples
    --------
    >>> ending(-9)
    'the process of the run was ended by SIGKILL, perhaps for lack of memory.'
    """
    if code is not None and code < 0:
        return f"the process of the run was ended by {signal.Signals(-code).name}, perhaps for lack of memory."
    return f"the process of the run ended early with exit code {code}."


def end_with_parent() -> None:
    """End this process once the one that started it is gone: nobody waits for its answer any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
