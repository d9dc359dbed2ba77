"""As many CPU threads for a while as `n_jobs` says."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Run with so many threads.

    Parameters
    ----------
    n_jobs : int, optional
        As joblib reads it: -1 takes all cores. None leaves torch's setting.

    Examples
    --------
    >>> with threads(1):
    ...     torch.get_num_threads()
    1
    """
    from joblib import effective_n_jobs

    before = torch.get_num_threads()
    if n_jobs is not None:
        torch.set_num_threads(int(effective_n_jobs(n_jobs)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
