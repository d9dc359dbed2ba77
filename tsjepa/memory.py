"""How much memory a process took, and what the C library does with memory that is freed."""

import ctypes
import sys

# of glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# The largest block that glibc takes from its heap, and how much of the heap's end may lie idle, in bytes
LARGEST_BLOCK, IDLE = 2**25, 2**29


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory, up to 512 MB, for what is allocated next.

    By default it gives large blocks back to the system, so that each training step, and each batch that is embedded,
    pays for every page again. It holds for the rest of the process, whose largest size it does not change.

    Returns
    -------
    bool
        Whether the C library is one that can be told.

    Examples
    --------
    >>> keep_freed_memory() in (True, False)
    True
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        [mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) == 1, mallopt(M_TRIM_THRESHOLD, IDLE) == 1]
    )


def peak_megabytes() -> float | None:
    """Return the largest memory of this process so far in megabytes, None where the system does not tell.

    Examples
    --------
    >>> peak = peak_megabytes()
    >>> peak is None or peak > 1
    True
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
