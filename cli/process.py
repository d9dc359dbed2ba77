"""What a command sets for its process before anything heavy is imported."""

import gc
import os


def share_cores() -> None:
    """Let threads that wait for each other go to sleep soon, before the library that they belong to is loaded.

    By default they spin for milliseconds, and beside another busy program a step takes many times as long. With fewer
    rounds than these a program that is alone becomes slower, too, since its threads are woken at each operation.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "2000"


def collect_seldom() -> None:
    """Look for garbage less often: Python goes through all that imports leave behind, for a fifth of their time."""
    gc.set_threshold(20_000, *gc.get_threshold()[1:])
