"""Events: scores over a threshold, joined where they are close, one after the other as scores arrive."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Patches of quiet after which an alarm is a new one
GAP = 4


class Event(NamedTuple):
    """Rows over the threshold with no more than a short quiet between them.

    Attributes
    ----------
    number : int
        From 1, in the order in which they begin.
    start, end, peak : int
        First and last row over the threshold, and the row of the highest score, from 0.
    score : float
        The highest score.
    channels : float32 array of shape (C,)
        The highest score of each channel in the event.
    """

    number: int
    start: int
    end: int
    peak: int
    score: float
    channels: NDArray[np.float32]

    def blamed(self, threshold: float) -> list[int]:
        """Return the channels to blame, the highest first: over the threshold, and half as high as the highest.

        The highest is to blame in any case.

        Examples
        --------
        >>> Event(1, 0, 9, 5, 7.0, np.array([3.2, 5.0, 7.0], np.float32)).blamed(3.0)
        [2, 1]
        """
        order = np.argsort(-self.channels, kind="stable")
        least = max(threshold, self.channels[order[0]] / 2)
        return [int(at) for place, at in enumerate(order) if place == 0 or self.channels[at] > least]


class Alarms:
    """Finds events in scores as they arrive.

    Parameters
    ----------
    threshold : float
    gap : int
        Rows up to which two alarms are one event.
    number : int, default=0
        Events before the first one.
    row : int, default=0
        Rows before the first one.

    Examples
    --------
    >>> alarms = Alarms(1.0, gap=2)
    >>> score = np.array([0, 2, 0, 3, 0, 0, 0, 5, np.nan])
    >>> alarms.push(score, score[None]).tolist()
    [0, 1, 0, 1, 0, 0, 0, 2, 0]
    >>> [(event.start, event.end, event.peak) for event in alarms.take(last=True)]
    [(1, 3, 3), (7, 7, 7)]
    """

    def __init__(self, threshold: float, gap: int, number: int = 0, row: int = 0) -> None:
        self.threshold, self.gap, self.number, self.row = threshold, gap, number, row
        self.open: Event | None = None
        self._closed: list[Event] = []

    def push(self, score: NDArray[Any], channels: NDArray[Any]) -> NDArray[np.int64]:
        """Return the number of the event of each row over the threshold, 0 for other rows.

        Parameters
        ----------
        score : array of shape (n,)
            NaN is no alarm.
        channels : array of shape (C, n)
        """
        over = np.flatnonzero(score > self.threshold)
        numbers = np.zeros(len(score), np.int64)
        for part in np.split(over, np.flatnonzero(np.diff(over) > self.gap + 1) + 1) if len(over) else ():
            event = self._event(part, score, channels)
            numbers[part] = event.number
            self.open = event
        self.row += len(score)
        return numbers

    def _event(self, rows: NDArray[np.intp], score: NDArray[Any], channels: NDArray[Any]) -> Event:
        """Return the event of rows over the threshold, which may go on with the open one."""
        peak = rows[score[rows].argmax()]
        highest = np.asarray(np.nan_to_num(channels[:, rows], nan=-np.inf).max(1), np.float32)
        first, last, top = (int(self.row + at) for at in (rows[0], rows[-1], peak))
        new = Event(self.number + 1, first, last, top, float(score[peak]), highest)
        old = self.open
        if old is None or new.start - old.end > self.gap + 1:
            self._close()
            self.number += 1
            return new
        higher = new if new.score > old.score else old
        return Event(old.number, old.start, new.end, higher.peak, higher.score, np.maximum(old.channels, highest))

    def _close(self) -> None:
        if self.open is not None:
            self._closed.append(self.open)
            self.open = None

    def over(self, event: Event) -> int:
        """Return the row that shows that an event is over, if the series goes on so far."""
        return event.end + self.gap + 1

    def take(self, *, last: bool = False) -> list[Event]:
        """Return the events that are over since the last call; the `last` one ends with the series."""
        if last or (self.open is not None and self.row > self.over(self.open)):
            self._close()
        taken, self._closed = self._closed, []
        return taken
