"""Matrix products at the processor's speed: float32 by oneDNN, where that is faster and loses nothing."""

import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from tsjepa.process_lock import ProcessLock, when_forked

# torch describes the setting to readers, not to type checkers
SETTING = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


class Lent:
    """Which threads use the setting, which is one for all of them, and what it was before the first one came."""

    def __init__(self) -> None:
        self.lock = ProcessLock()
        self.users: list[int] = []
        self.before: str | None = None  # from before the setting is touched until it is back
        when_forked(self.forget_others)

    def forget_others(self) -> None:
        """Go on in a process that was forked, and put the setting back where it was lent to other threads only."""
        self.users = [user for user in self.users if user == threading.get_ident()]
        if self.before is not None and not self.users:
            SETTING.fp32_precision, self.before = self.before, None


LENT = Lent()


@contextmanager
def fast_float32() -> Iterator[None]:
    """Let oneDNN compute float32 products on the CPU for as long as this lasts, if it does so in full precision.

    By default torch gives them to MKL, which on processors that are not Intel's reaches less than half of what oneDNN
    does; on Intel's own it is the faster one, and stays. The setting that hands products over permits oneDNN to round
    to bfloat16. It does that only on processors with units for whole tiles of bfloat16, and there everything stays as
    it was, too; see `exact`.

    Examples
    --------
    >>> with fast_float32():
    ...     product = torch.ones(2, 3) @ torch.ones(3, 2)
    >>> product[0].tolist()
    [3.0, 3.0]
    """
    user = threading.get_ident()
    with LENT.lock:
        if not LENT.users:
            LENT.before = SETTING.fp32_precision
            if not intel() and exact():
                SETTING.fp32_precision = "bf16"
        LENT.users.append(user)
    try:
        yield
    finally:
        with LENT.lock:
            LENT.users.remove(user)
            if not LENT.users:
                SETTING.fp32_precision, LENT.before = LENT.before, None


@cache
def intel() -> bool:
    """Return whether the processor is one of Intel's."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return "Intel" in platform.processor()


@cache
def exact() -> bool:
    """Return whether oneDNN's float32 products are exact under the setting of `fast_float32`, tried once.

    Each sum has one term other than zero, which bfloat16 would round and float32 does not.
    """
    before = SETTING.fp32_precision
    numbers = 1 + torch.arange(256 * 128).view(256, 128) / 2**16
    try:
        SETTING.fp32_precision = "bf16"
        products = numbers @ torch.eye(128), numbers.T @ torch.eye(256), (numbers[None] @ torch.eye(128)[None])[0]
    finally:
        SETTING.fp32_precision = before
    return all(torch.equal(p, n) for p, n in zip(products, (numbers, numbers.T, numbers), strict=True))
