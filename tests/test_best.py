"""Which epoch is kept, on histories that are made up and on one that was measured."""

import math

import pytest

from tsjepa.best import best_epoch
from tsjepa.history import EpochDiagnostics

START = EpochDiagnostics(
    0,
    effective_rank=13.1,
    relative_spread=0.386,
    latent_spread=0.386,
    latent_effective_rank=13.1,
    cross_series_share=-0.004,
    position_share=0.72,
)
# FordA, recipe tiny, the encoder its own target and nothing else: spread, what predictions carry, share of the position
COLLAPSING = (
    (0.0480, 0.0013, 0.800),
    (0.0234, -0.0006, 0.832),
    (0.0202, 0.0071, 0.850),
    (0.0186, 0.0078, 0.863),
    (0.0175, 0.0122, 0.872),
    (0.0166, 0.0148, 0.880),
)
HEALTHY = {"relative_spread": 0.3, "latent_spread": 0.3, "position_share": 0.6}


def after(*changes: dict[str, float]) -> list[EpochDiagnostics]:
    return [START, *(START._replace(epoch=k, loss=1.0, **change) for k, change in enumerate(changes, 1))]


def test_what_a_collapsed_epoch_seems_to_predict_is_noise() -> None:
    history = after(
        *(
            {"relative_spread": left, "latent_spread": left, "cross_series_share": carried, "position_share": position}
            for left, carried, position in COLLAPSING
        )
    )
    assert best_epoch(history, dim=32) == 1


def test_an_epoch_that_is_not_lost_goes_before_one_that_is() -> None:
    lost = {"relative_spread": 0.001, "latent_spread": 0.001, "cross_series_share": 0.6}
    narrow = {**HEALTHY, "effective_rank": 1.5, "cross_series_share": 0.6}
    code = {**HEALTHY, "position_share": 0.999, "cross_series_share": 0.6}
    for state in (lost, narrow, code):
        assert best_epoch(after(state, {**HEALTHY, "cross_series_share": 0.06}, state), dim=32) == 2


@pytest.mark.parametrize(("carried", "best"), [((0.1, 0.3, 0.2), 2), ((0.3, 0.1, 0.3), 1), ((0.01, 0.02, 0.06), 3)])
def test_of_sound_epochs_the_one_that_predicts_most_is_best(carried: tuple[float, ...], best: int) -> None:
    assert best_epoch(after(*({**HEALTHY, "cross_series_share": share} for share in carried)), dim=32) == best


def test_what_predictions_carry_goes_before_the_spread_that_is_left() -> None:
    rows = ((0.1, 0.35), (0.3, 0.25), (0.2, 0.3))  # what predictions carry, spread
    epochs = [
        {**HEALTHY, "cross_series_share": carried, "relative_spread": left, "latent_spread": left}
        for carried, left in rows
    ]
    assert best_epoch(after(*epochs), dim=32) == 2


def test_where_predictions_carry_nothing_the_spread_decides() -> None:
    spreads = (0.2, 0.35, 0.3)
    epochs = [{"relative_spread": left, "cross_series_share": 0.01 * k} for k, left in enumerate(spreads)]
    assert best_epoch(after(*epochs), dim=32) == 2
    unknown = [{"relative_spread": math.nan, "cross_series_share": math.nan}, {"cross_series_share": math.nan}]
    assert best_epoch(after(*unknown), dim=32) == 2


def test_the_spread_is_that_of_what_has_less_of_it_left() -> None:
    rows = ((0.4, 0.34), (0.41, 0.3), (0.43, 0.2), (0.33, 0.35), (0.42, 0.1))  # of the last level, of the latents
    epochs = [{"relative_spread": last, "latent_spread": latents, "cross_series_share": 0.0} for last, latents in rows]
    assert best_epoch(after(*epochs), dim=32) == 1
    assert best_epoch(after(*epochs[1:]), dim=32) == 3


@pytest.mark.parametrize("probe", [0.0, 1.0])
def test_labels_have_no_part_in_it(probe: float) -> None:
    history = after({**HEALTHY, "cross_series_share": 0.2}, {**HEALTHY, "cross_series_share": 0.3})
    assert best_epoch([history[0], history[1]._replace(probe=1 - probe), history[2]._replace(probe=probe)], dim=32) == 2
