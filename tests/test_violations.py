"""Events that are put into normal logs change what they say they do, and nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest

from tsjepa.evaluation.plants import MOTOR, record, steps
from tsjepa.evaluation.violations import HARMLESS, IMPOSSIBLE, Event, Site, scatter, sites

EVENTS = IMPOSSIBLE | HARMLESS
LENGTH, BEFORE = 30, 50
every_event = pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)


def log() -> np.ndarray:
    """An input and three sensors of different levels and scales."""
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(size=(4, 400)), 1) * np.array([[1.0], [10.0], [0.1], [1.0]]) + 5.0


def site(seed: int = 0) -> Site:
    return sites(log(), np.array([1, 2, 3]), 1, BEFORE, LENGTH, seed)[0]


def after(event: Event, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    place = site(seed)
    return place.x[:, BEFORE:], event(place, np.random.default_rng(seed))[:, BEFORE:]


@every_event
def test_nothing_before_the_event_changes_nor_the_input_nor_the_log(event: Event) -> None:
    place, kept = site(), site().x
    changed = event(place, np.random.default_rng(1))
    np.testing.assert_array_equal(changed[:, :BEFORE], kept[:, :BEFORE])
    np.testing.assert_array_equal(changed[0], kept[0])
    np.testing.assert_array_equal(place.x, kept)
    assert np.isfinite(changed).all()


@every_event
def test_the_event_depends_on_its_seed_alone(event: Event) -> None:
    np.testing.assert_array_equal(after(event, 3)[1], after(event, 3)[1])


def test_each_impossible_event_changes_rows() -> None:
    for name, event in IMPOSSIBLE.items():
        x, changed = after(event)
        assert (x != changed).any(1).sum() == (3 if name in ("reversed time", "replayed stretch") else 1) or (
            name == "swapped channels" and (x != changed).any(1).sum() == 2
        ), name


def test_a_jump_is_a_constant_of_4_to_8_times_the_scatter() -> None:
    x, changed = after(IMPOSSIBLE["jump"])
    moved = (changed - x)[(changed != x).any(1)]
    np.testing.assert_allclose(moved, moved[0, 0])
    size = abs(moved[0, 0]) / scatter(log())[(changed != x).any(1)]
    assert 4 <= size <= 8


def test_the_page_says_what_jumps_are_in_standard_deviations_of_the_motor() -> None:
    page = (Path(__file__).parents[1] / "docs" / "detection.md").read_text(encoding="utf-8")
    said = re.findall(r"motor, which move smoothly, these are ([\d.]+) to ([\d.]+) standard deviations", page)
    run = record(MOTOR, steps(MOTOR, 20_000, hold=40, seed=0))
    moved = []
    for at, place in enumerate(sites(run, np.array([1, 2]), 100, BEFORE, LENGTH, seed=0)):
        changed = IMPOSSIBLE["jump"](place, np.random.default_rng(at))
        moved.append(np.max(abs(changed - place.x).max(1) / run.std(1)))
    np.testing.assert_allclose([[min(moved), max(moved)]], np.array(said, float), atol=0.015)


def test_a_frozen_sensor_has_its_last_value() -> None:
    x, changed = after(IMPOSSIBLE["frozen sensor"])
    channel = (changed != x).any(1).argmax()
    assert (changed[channel] == site().x[channel, BEFORE - 1]).all()


def test_swapped_twice_is_as_before() -> None:
    place = site()
    once = IMPOSSIBLE["swapped channels"](place, np.random.default_rng(2))
    twice = IMPOSSIBLE["swapped channels"](place._replace(x=once), np.random.default_rng(2))
    np.testing.assert_allclose(twice, place.x)


def test_reversed_time_goes_on_from_where_it_is() -> None:
    x = site().x
    changed = IMPOSSIBLE["reversed time"](site(), np.random.default_rng(0))
    np.testing.assert_array_equal(changed[1:, BEFORE:], x[1:, BEFORE - LENGTH : BEFORE][:, ::-1])


def test_what_is_replayed_was_there() -> None:
    _, changed = after(IMPOSSIBLE["replayed stretch"])
    found = [np.array_equal(log()[1:, at : at + LENGTH], changed[1:]) for at in range(400 - LENGTH)]
    assert sum(found) == 1


def test_mirrored_values_have_the_log_s_mean_between_them() -> None:
    x, changed = after(IMPOSSIBLE["impossible pair"])
    channel = (changed != x).any(1).argmax()
    np.testing.assert_allclose((x + changed)[channel] / 2, log()[channel].mean())


def test_harmless_events_are_small() -> None:
    deviation = log().std(1, keepdims=True)
    for event in HARMLESS.values():
        x, changed = after(event)
        assert (abs(changed - x) <= 0.5 * deviation).all()
