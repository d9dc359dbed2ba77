"""The simulated plants: equilibria in closed form, an integrator that has converged, noise and inputs as asked."""

import numpy as np
import pytest

from tsjepa.evaluation.plants import GRAVITY, MOTOR, TANKS, Plant, record, simulate, steps

both = pytest.mark.parametrize("plant", [MOTOR, TANKS], ids=lambda plant: plant.name)


def test_the_motor_settles_where_its_equations_are_at_rest() -> None:
    speed, current = simulate(MOTOR, np.full((1, 400), 6.0))[:, -1]
    assert speed == pytest.approx(0.1 * 6 / (0.1**2 + 0.1 * 1.0))
    assert current == pytest.approx(6 - 0.1 * speed)


def test_the_tanks_settle_where_as_much_drains_as_is_pumped() -> None:
    first, second = simulate(TANKS, np.full((1, 4000), 0.6))[:, -1]
    head = (1e-4 * 0.6 / (0.5 * 5e-5)) ** 2 / (2 * GRAVITY)
    assert second == pytest.approx(head, rel=1e-3)
    assert first == pytest.approx(2 * head, rel=1e-3)


@both
def test_the_integrator_has_converged(plant: Plant) -> None:
    told = steps(plant, 60, hold=12, seed=0)
    fine = simulate(plant._replace(interval=plant.interval / 10), np.repeat(told, 10, 1))[:, 9::10]
    np.testing.assert_allclose(simulate(plant, told) / plant.scale[:, None], fine / plant.scale[:, None], atol=2e-3)


@both
def test_a_run_can_be_continued(plant: Plant) -> None:
    told = steps(plant, 60, hold=12, seed=0)
    first = simulate(plant, told[:, :25])
    rest = simulate(plant, told[:, 25:], first[:, -1])
    np.testing.assert_array_equal(np.concatenate([first, rest], 1), simulate(plant, told))


@both
def test_a_log_holds_inputs_as_they_are_and_sensors_with_noise(plant: Plant) -> None:
    told = steps(plant, 4000, hold=20, seed=1)
    low, high = plant.bounds.T
    assert (told >= low[:, None]).all()
    assert (told <= high[:, None]).all()
    assert len(np.unique(told)) == 200
    log = record(plant, told, noise=0.02, seed=3)
    np.testing.assert_array_equal(log[:1], told)
    noise = (log[1:] - simulate(plant, told)) / plant.scale[:, None]
    np.testing.assert_allclose(noise.std(1), 0.02, rtol=0.05)
    np.testing.assert_array_equal(log, record(plant, told, noise=0.02, seed=3))
