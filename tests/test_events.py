"""Events: joined over short gaps, and the same however scores arrive."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from tsjepa.events import Alarms, Event

scores = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, np.nan]), min_size=1, max_size=60)


def reference(score: np.ndarray, threshold: float, gap: int) -> list[tuple[int, int, int, float]]:
    """Join rows one by one."""
    found: list[list[int]] = []
    for row, value in enumerate(score):
        if value > threshold:
            if found and row - found[-1][-1] - 1 <= gap:
                found[-1].append(row)
            else:
                found.append([row])
    return [(rows[0], rows[-1], max(rows, key=lambda at: (score[at], -at)), max(score[rows])) for rows in found]


@given(scores, st.integers(0, 5), st.lists(st.integers(0, 60), max_size=5))
@example([3.0, 1.0, 2.0, 2.0], 2, [2])  # the first part of an event has its highest score
@example([2.0, 2.0], 1, [1])  # both parts have it, and the first row is the peak
@example([2.0, 0.0, 2.0, 0.0], 1, [2])  # parts a gap apart are joined
def test_events_are_joined_rows_whatever_the_pieces(values: list[float], gap: int, cuts: list[int]) -> None:
    score = np.array(values)
    row = np.arange(len(score))
    channels = np.stack([score, -score, row, np.where(row % 2, np.nan, -score)]).astype(np.float32)
    alarms, numbers, events = Alarms(1.0, gap), [], []
    for part in np.split(row, sorted(cuts)):
        numbers.append(alarms.push(score[part], channels[:, part]))
        events += alarms.take()
    events += alarms.take(last=True)
    assert [(e.start, e.end, e.peak, e.score) for e in events] == reference(score, 1.0, gap)
    assert [e.number for e in events] == list(range(1, len(events) + 1))
    joined = np.concatenate(numbers)
    np.testing.assert_array_equal(joined > 0, score > 1)
    for e in events:
        rows = np.arange(e.start, e.end + 1)
        over = rows[score[rows] > 1]
        assert set(joined[over]) == {e.number}
        np.testing.assert_array_equal(e.channels, np.fmax.reduce(channels[:, over], 1, initial=-np.inf))


def test_an_event_is_told_as_soon_as_it_is_over() -> None:
    alarms = Alarms(1.0, gap=2)
    none = np.empty((0, 1), np.float32)
    told = []
    for value in (2.0, 0.0, 0.0, 0.0, 0.0):
        alarms.push(np.array([value]), none)
        told.append(len(alarms.take()))
    assert told == [0, 0, 0, 1, 0]


def test_the_highest_channel_is_to_blame_in_any_case() -> None:
    assert Event(1, 0, 1, 0, 2.0, np.array([0.5, 0.9], np.float32)).blamed(1.0) == [1]
    assert Event(1, 0, 1, 0, 2.0, np.array([3.0, 5.0, 2.0], np.float32)).blamed(1.0) == [1, 0]


def test_a_channel_at_the_threshold_is_not_to_blame_and_of_equals_the_first_is_first() -> None:
    assert Event(1, 0, 1, 0, 2.0, np.array([3.0, 5.0], np.float32)).blamed(3.0) == [1]
    alternate = np.tile(np.float32([5.0, 4.0]), 20)
    assert Event(1, 0, 1, 0, 2.0, alternate).blamed(3.0) == [*range(0, 40, 2), *range(1, 40, 2)]
