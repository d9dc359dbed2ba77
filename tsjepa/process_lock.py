"""A lock for what is one for all threads of a process, which a process that is forked from it can take, too."""

import os
import threading
from collections.abc import Callable


def when_forked(forget: Callable[[], None]) -> None:
    """Have something called in each process that is forked from this one, before anything else runs there.

    Only the thread that forks goes on there: what is known of others is to be forgotten.

    Examples
    --------
    >>> others = ["of a thread that a forked process has not"]
    >>> when_forked(others.clear)
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)


class ProcessLock:
    """A lock that its thread may take again, and that is free in a forked process where another thread had it.

    It is there until the process ends. Were it copied as it is, nobody would release there what another thread held.

    Examples
    --------
    >>> lock = ProcessLock()
    >>> with lock, lock:
    ...     "held"
    'held'
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        when_forked(self.forget_others)

    def forget_others(self) -> None:
        """Take a new lock, unless the thread that forked holds this one itself, or none does."""
        if self.lock.acquire(blocking=False):
            self.lock.release()
        else:
            self.lock = threading.RLock()

    def acquire(self) -> None:
        """Take the lock, as soon as no other thread has it."""
        self.lock.acquire()

    def release(self) -> None:
        """Give the lock back."""
        self.lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()
