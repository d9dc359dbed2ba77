"""One command at a time writes to a place: locks that the system takes away when a process ends, however it does."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tsjepa.cli.errors import Failure
from tsjepa.cli.outdir import writing

LOCK = ".lock"
# A lock whose holder removes it just now is none, and is tried again
PATIENCE_SECONDS = 0.1


@contextmanager
def locked(path: Path, taken: str) -> Iterator[None]:
    """Hold a lock that is a file in an existing folder; where another process holds it, `taken` says what that does."""
    lock = FileLock(path)
    with writing(path.parent):
        try:
            lock.acquire(timeout=PATIENCE_SECONDS)
        except Timeout:  # an OSError, too
            raise Failure(f"{taken}: wait for it, or give another --out.") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file, but filelock does so there once it is closed
            path.unlink()
        lock.release()
