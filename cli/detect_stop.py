"""Ctrl-C and SIGTERM, which end a follower between two of its steps and never inside one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Raises KeyboardInterrupt when a signal comes, or as soon as what must not be interrupted is over."""

    def __init__(self) -> None:
        self.asked, self.busy = False, False

    def __call__(self, *_: Any) -> None:
        self.asked = True
        if not self.busy:
            raise KeyboardInterrupt

    @contextmanager
    def later(self) -> Iterator[None]:
        """Let what is inside be done first."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Take signals for as long as this lasts."""
    stop = Stop()
    before = {each: signal.signal(each, stop) for each in SIGNALS}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
