"""As many CPU threads for a while as `n_jobs` says, torch's and those of NumPy's and SciPy's linear algebra."""

import contextlib
from collections.abc import Iterator
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


@contextlib.contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Run with so many threads.

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
    torch.set_num_threads(count)
    try:
        with linear_algebra().limit(limits=count):
            yield
    finally:
        torch.set_num_threads(before)


@cache
def linear_algebra() -> ThreadpoolController:
    """Return what sets the threads of linear algebra; to look for its libraries takes some milliseconds."""
    # brings SciPy's own
    import scipy.linalg  # type: ignore[import-untyped]  # noqa: F401

    return ThreadpoolController().select(user_api="blas")
