"""Level and scale of channels in a sketch: what is usual, what counts for nothing, and what must not drown the rest."""

import numpy as np
import pytest
import torch
from sketched import config_of

from tsjepa.arrays import Series
from tsjepa.build import build_model
from tsjepa.calibrator import calibrate
from tsjepa.embedding import embed
from tsjepa.finetuning import embed_batch
from tsjepa.normalization import level_and_scale
from tsjepa.scales import BOUND, LEAST, Scales

# a temperature, a pressure in pascal, and a vibration that has no level
LEVELS, SCALES = np.array([20.0, 1e5, 0.0]), np.array([2.0, 300.0, 0.1])


def plant(n_cases: int = 60, n_channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return series [n_cases, n_channels, 60] of channels in units of their own, whose level and scale differ."""
    rng = np.random.default_rng(seed)
    shape = (n_cases, n_channels, 1)
    level, scale = LEVELS[:n_channels, None], SCALES[:n_channels, None]
    x = level + scale * (
        rng.normal(size=shape) + np.exp(0.3 * rng.normal(size=shape)) * rng.normal(size=(*shape[:2], 60))
    )
    return x.astype(np.float32)


def measured(x: np.ndarray) -> tuple[Scales, torch.Tensor]:
    """Return scales that know series, and what they make of them [n_cases, n_channels, 2]."""
    sequences = torch.from_numpy(x).flatten(0, 1).unsqueeze(1)
    scales = Scales(x.shape[1])
    place = scales.places(len(x), sequences)
    scales.measure(level_and_scale(sequences), place)
    return scales, scales(sequences, None, place).unflatten(0, x.shape[:2])


def test_the_unit_of_a_channel_has_no_part() -> None:
    x = plant()
    z = measured(x)[1]
    for factor in (1e-3, 1e3):
        scaled = x.copy()
        scaled[:, 1] *= factor
        torch.testing.assert_close(measured(scaled)[1], z, rtol=1e-3, atol=1e-3)
    assert z[:, :, 0].std(0).min() > 0.3 * z[:, :, 0].std(0).max()
    torch.testing.assert_close(z.square().mean((0, 1)), torch.ones(2), rtol=0.3, atol=0)


def test_it_is_its_formula() -> None:
    x = plant()
    wide = x.astype(np.float64)
    level, log_scale = wide.mean(2), np.log(wide.std(2))
    within = np.exp(np.sort(log_scale, 0)[(len(x) - 1) // 2])
    away = np.stack([(level - level.mean(0)) / np.hypot(within, level.std(0)), log_scale - log_scale.mean(0)], 2)
    away /= np.sqrt(np.square(away.clip(-BOUND, BOUND)).mean((0, 1))).clip(LEAST)
    np.testing.assert_allclose(measured(x)[1], BOUND * np.tanh(away / BOUND), atol=2e-3)


def test_what_was_normalised_before_counts_for_nothing() -> None:
    x = plant().astype(np.float64)
    x = (x - x.mean(2, keepdims=True)) / x.std(2, keepdims=True)
    scales, z = measured(x.astype(np.float32))
    assert z.abs().max() < 0.01
    # nor does what a little noise makes of it
    x += 0.05 * np.random.default_rng(1).normal(size=x.shape)
    sequences = torch.from_numpy(x.astype(np.float32)).flatten(0, 1).unsqueeze(1)
    assert scales(sequences, None, scales.places(len(x), sequences)).square().mean().sqrt() < 0.1


def test_a_sensor_that_runs_away_counts_no_more_than_the_bound() -> None:
    x = plant()
    scales, _ = measured(x)
    x[0, 0], x[1, 1] = 1e9, 1e5  # stuck, one of them far away
    z = scales(torch.from_numpy(x[:2]).flatten(0, 1).unsqueeze(1), None, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert z.isfinite().all()
    assert z.abs().max() <= BOUND


def test_a_dead_series_among_the_training_ones_leaves_the_others_apart() -> None:
    x = plant(100)
    before = measured(x)[1]
    x[:2, 0] = 20.0
    after = measured(x)[1]
    assert (after[2:, 0, 1].std() / before[2:, 0, 1].std()) > 0.4


@pytest.mark.parametrize("mode", ["independent", "mixed"])
def test_each_channel_has_its_own_place(mode: str) -> None:
    config = config_of("probe.scale_features=true", f"tokenizer.channels={mode}", "probe.shares=false")
    encoder = build_model(config, 3).encoder.eval()
    x = plant()
    series = Series(x)
    calibrate(encoder, series, config.probe)
    Z = embed(encoder, series, config.probe)
    moved = x.copy()
    moved[:, 0] += 8.0  # four of its usual deviations, and nothing beside those of the pressure
    changed = np.abs(embed(encoder, Series(moved), config.probe) - Z).mean()
    moved = x.copy()
    moved[:, 1] += 8.0
    assert changed > 10 * np.abs(embed(encoder, Series(moved), config.probe) - Z).mean()
    again = embed_batch(encoder, torch.from_numpy(x), None, config.probe).detach().numpy()
    assert np.mean(again != Z) < 0.001
    # the place of a case has no part
    np.testing.assert_array_equal(embed(encoder, Series(x[7:8]), config.probe)[0], Z[7])


def test_of_another_number_of_channels_nothing_is_known() -> None:
    config = config_of("probe.scale_features=true")
    encoder = build_model(config, 3).encoder.eval()
    calibrate(encoder, Series(plant()), config.probe)
    x = plant(20, 2)
    rows = [embed(encoder, Series(part), config.probe) for part in (x, x + 1000, 4 * x)]
    assert np.mean(rows[0] != rows[2]) < 0.01
    assert np.mean(rows[0] != rows[1]) < 0.05  # rounding of values around 1000


def test_missing_points_and_channels_have_no_part() -> None:
    x = plant()
    valid = np.ones(x.shape, bool)
    valid[:5, 0], valid[5:9, 1, 20:40] = False, False
    config = config_of("probe.scale_features=true")
    encoder = build_model(config, 3).encoder.eval()
    calibrate(encoder, Series(x, valid), config.probe)
    found = [
        embed(encoder, Series(np.where(valid, x, fill).astype(np.float32), valid), config.probe) for fill in (0, 9)
    ]
    np.testing.assert_array_equal(*found)
