"""What a command sets for its process before anything heavy is imported."""

import atexit
import gc
import io
import os
import sys


def share_cores() -> None:
    """Let threads that wait for each other go to sleep soon, before the library that they belong to is loaded.

    By default they spin for milliseconds, and beside another busy program a step takes many times as long. With fewer
    rounds than these a program that is alone becomes slower, too, since its threads are woken at each operation.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "4000"


def open_streams() -> None:
    """Open nothing in the place of each standard stream that the process was started without, as by `>&-`.

    Writing to one would fail. In this order each takes the number of its own, which no file of a result gets then.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


def escape_characters() -> None:
    r"""Write what a stream's encoding does not have as `\xb1`, rather than lose a result for one character.

    Where PYTHONIOENCODING asks for another way out, that stays.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def collect_seldom() -> None:
    """Look for garbage less often: Python goes through all that imports leave behind, for a fifth of their time."""
    gc.set_threshold(20_000, *gc.get_threshold()[1:])


def end_without_collecting() -> None:
    """Skip the last look for garbage as the process ends, since all memory goes with it.

    Beside torch and aeon it takes a quarter of the time of their import, in which a command that was stopped stands
    still. What has to be done at the end is registered for it, and no file is left to be closed by chance.
    """
    atexit.register(gc.freeze)
