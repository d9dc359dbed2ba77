"""Simulated plants with inputs, of which everything is known: two coupled tanks and a DC motor."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRAVITY = 9.81


class Plant(NamedTuple):
    """A plant with a state that is measured.

    Attributes
    ----------
    name : str
    inputs, sensors : tuple of str
        Names, with units.
    bounds : float64 array of shape (U, 2)
        Least and largest value of each input.
    interval : float
        Seconds between rows.
    rest : float64 array of shape (S,)
        State that it starts from.
    scale : float64 array of shape (S,)
        Usual size of each state, the unit of its noise.
    slope : callable
        (state [S], inputs [U]) -> time derivative of the state [S].
    """

    name: str
    inputs: tuple[str, ...]
    sensors: tuple[str, ...]
    bounds: Floats
    interval: float
    rest: Floats
    scale: Floats
    slope: Callable[[Floats, Floats], Floats]


def tanks_slope(state: Floats, inputs: Floats) -> Floats:
    """Return how fast the levels of two coupled tanks change [m/s]; the pump feeds the first, the second drains.

    Torricelli's law through pipes of 5e-5 m2; tanks of 0.0154 m2; a pump of at most 1e-4 m3/s.
    """
    area, pipe, pump = 0.0154, 0.5 * 5e-5, 1e-4
    first, second = np.maximum(state, 0.0)
    across = pipe * np.sign(first - second) * np.sqrt(2 * GRAVITY * abs(first - second))
    out = pipe * np.sqrt(2 * GRAVITY * second)
    return np.array([pump * inputs[0] - across, across - out]) / area


def motor_slope(state: Floats, inputs: Floats) -> Floats:
    """Return how fast speed [rad/s2] and current [A/s] of a DC motor change under a voltage."""
    inertia, friction, constant, resistance, inductance = 0.01, 0.1, 0.1, 1.0, 0.5
    speed, current = state
    return np.array(
        [
            (constant * current - friction * speed) / inertia,
            (inputs[0] - resistance * current - constant * speed) / inductance,
        ]
    )


TANKS = Plant(
    "tanks",
    ("pump [share]",),
    ("level 1 [m]", "level 2 [m]"),
    np.array([[0.0, 1.0]]),
    5.0,
    np.array([0.2, 0.1]),
    np.array([0.3, 0.2]),
    tanks_slope,
)
MOTOR = Plant(
    "motor",
    ("voltage [V]",),
    ("speed [rad/s]", "current [A]"),
    np.array([[-12.0, 12.0]]),
    0.05,
    np.zeros(2),
    np.array([8.0, 8.0]),
    motor_slope,
)


def simulate(plant: Plant, inputs: Floats, state: Floats | None = None) -> Floats:
    """Return the state after each of T intervals in which inputs are constant, by Runge-Kutta's classical method.

    Parameters
    ----------
    plant : Plant
    inputs : array of shape (U, ..., T)
        Of one plant, or of many that run side by side.
    state : array of shape (S, ...), optional
        By default the plant's rest.

    Returns
    -------
    float64 array of shape (S, ..., T)

    Examples
    --------
    >>> simulate(MOTOR, np.full((1, 200), 6.0))[:, -1].round(2)
    array([5.45, 5.45])
    """
    rest = np.broadcast_to(plant.rest.reshape(-1, *[1] * (inputs.ndim - 2)), (len(plant.rest), *inputs.shape[1:-1]))
    state, h = rest if state is None else state, plant.interval
    states = np.empty((len(plant.sensors), *inputs.shape[1:]))
    for row, told in enumerate(np.moveaxis(inputs, -1, 0)):
        first = plant.slope(state, told)
        second = plant.slope(state + h / 2 * first, told)
        third = plant.slope(state + h / 2 * second, told)
        fourth = plant.slope(state + h * third, told)
        state = state + h / 6 * (first + 2 * second + 2 * third + fourth)
        states[..., row] = state
    return states


def record(plant: Plant, inputs: Floats, *, noise: float = 0.01, seed: int = 0, state: Floats | None = None) -> Floats:
    """Return the log [U + S, ..., T] of a run: inputs, then sensors with noise in units of the plant's scale."""
    states = simulate(plant, inputs, state)
    rng = np.random.default_rng(seed)
    scale = plant.scale.reshape(-1, *[1] * (inputs.ndim - 1))
    return np.concatenate([inputs, states + noise * scale * rng.normal(size=states.shape)])


def steps(plant: Plant, n: int, hold: int, seed: int) -> Floats:
    """Return inputs [U, n] that are drawn anew within their bounds every `hold` rows."""
    low, high = plant.bounds.T
    drawn = np.random.default_rng(seed).uniform(low, high, (-(-n // hold), len(low)))
    return np.repeat(drawn, hold, 0)[:n].T
