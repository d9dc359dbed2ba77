"""As many CPU threads for a while as `n_jobs` says, torch's and those of NumPy's and SciPy's linear algebra."""

import contextlib
import threading
from collections.abc import Iterator
from functools import cached_property

import torch
from threadpoolctl import ThreadpoolController

from tsjepa.process_lock import ProcessLock, when_forked


class LinearAlgebra:
    """The threads of NumPy's and SciPy's linear algebra, which are one setting of the whole process.

    One thread of Python at a time sets it, as often as it likes. For another one that asks meanwhile it stays as it is:
    what each restores would not be what was there before both.
    """

    def __init__(self) -> None:
        self.lock = ProcessLock()
        self.owner, self.depth = 0, 0
        when_forked(self.forget_others)

    def forget_others(self) -> None:
        """Go on in a process that was forked, where no other thread has the setting any more."""
        self.depth = self.depth if self.owner == threading.get_ident() else 0

    @cached_property
    def libraries(self) -> ThreadpoolController:
        """What sets them; to look for it takes some milliseconds."""
        # brings SciPy's own
        import scipy.linalg  # type: ignore[import-untyped]  # noqa: F401

        return ThreadpoolController().select(user_api="blas")

    @contextlib.contextmanager
    def limited(self, count: int) -> Iterator[None]:
        """Run with so many."""
        with self.lock:
            mine = not self.depth or self.owner == threading.get_ident()
            if mine:
                self.owner, self.depth = threading.get_ident(), self.depth + 1
        if not mine:
            yield
            return
        try:
            with self.libraries.limit(limits=count):
                yield
        finally:
            with self.lock:
                self.depth -= 1


class Torch:
    """The threads of torch, of which each thread of Python has a number of its own.

    torch's own setter changes with it what threads begin with that come later. That is put back at once, by a thread
    that has begun with it before: were it put back with this thread's number, of two that overlap the one that ends
    last could leave the other one's number for good.
    """

    def __init__(self) -> None:
        self.lock = ProcessLock()

    def take(self, count: int) -> None:
        """Give this thread of Python so many."""
        if torch.get_num_threads() == count:
            return
        begun, changed = threading.Event(), threading.Event()

        def keep() -> None:
            number = torch.get_num_threads()
            begun.set()
            changed.wait()
            torch.set_num_threads(number)

        keeper = threading.Thread(target=keep, daemon=True)
        with self.lock:
            try:
                keeper.start()
                begun.wait()
                torch.set_num_threads(count)
            finally:
                changed.set()
                if keeper.ident is not None:  # else it was stopped before it began
                    keeper.join()


LINEAR_ALGEBRA, TORCH = LinearAlgebra(), Torch()


@contextlib.contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Run with so many threads.

    Of torch's, this thread of Python has so many; others, and those that begin meanwhile, have as many as without it.
    Those of linear algebra go on looking for work for some milliseconds after it, in the way of torch's.

    Parameters
    ----------
    n_jobs : int, optional
        As joblib reads it: -1 takes all cores. None leaves all settings.

    Examples
    --------
    >>> with threads(1):
    ...     torch.get_num_threads()
    1
    """
    if n_jobs is None:
        yield
        return
    from joblib import effective_n_jobs

    before, count = torch.get_num_threads(), int(effective_n_jobs(n_jobs))
    try:
        TORCH.take(count)
        with LINEAR_ALGEBRA.limited(count):
            yield
    finally:
        TORCH.take(before)
