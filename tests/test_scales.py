"""Level and scale of channels in a sketch: what is usual, what counts for nothing, and what must not drown the rest."""

import numpy as np
import pandas as pd
import pytest
import torch
from sketched import SKETCHED, config_of

from tsjepa import TSJEPAEmbedder
from tsjepa.arrays import Series
from tsjepa.build import build_model, configure, resolve
from tsjepa.calibrator import calibrate
from tsjepa.embedding import embed
from tsjepa.finetuning import embed_batch
from tsjepa.level_weights import block_weights
from tsjepa.readout import Readout
from tsjepa.scales import CLIP, FARTHEST, Scales

# a temperature, a pressure in pascal, a vibration that has no level, and a current
LEVELS, SCALES = np.array([20.0, 1e5, 0.0, 1.0]), np.array([2.0, 300.0, 0.1, 1.0])


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
    scales.measure(scales.seen(sequences, None), place)
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
    away /= np.sqrt(np.square(away.clip(-CLIP, CLIP)).mean((0, 1)))
    np.testing.assert_allclose(measured(x)[1], away * np.exp(-np.square(away / 6) / 2), atol=2e-3)


def test_what_was_normalised_before_counts_for_nothing() -> None:
    x = plant().astype(np.float64)
    x = (x - x.mean(2, keepdims=True)) / x.std(2, keepdims=True)
    scales, z = measured(x.astype(np.float32))
    assert z.abs().max() < 0.01
    # nor does what a little noise makes of it
    x += 0.05 * np.random.default_rng(1).normal(size=x.shape)
    sequences = torch.from_numpy(x.astype(np.float32)).flatten(0, 1).unsqueeze(1)
    assert scales(sequences, None, scales.places(len(x), sequences)).square().mean().sqrt() < 0.1


@pytest.mark.parametrize(("usual", "counted"), [(0.05, 0.5), (0.08, 0.8), (0.12, 1.0), (0.15, 1.0)])
def test_what_differs_by_a_tenth_of_a_deviation_counts_fully(usual: float, counted: float) -> None:
    # within series the deviation is 1, and `usual` is a share of that within and between them
    scales, level = Scales(1), torch.tensor([-1.0, 1.0]) * usual / np.sqrt(1 - usual**2)
    rows, place = torch.stack([level, torch.zeros(2)], 1).unsqueeze(1), torch.zeros(2, dtype=torch.long)
    scales.measure(rows, place)
    # so few usual deviations away, and each of them counts by the same share
    z = counted**2 * np.exp(-0.5 * (counted / FARTHEST) ** 2)
    np.testing.assert_allclose(scales.standardised(rows, place)[:, 0], [-z, z], rtol=1e-4)


def test_a_sensor_that_runs_away_counts_for_nothing() -> None:
    x = plant()
    scales, _ = measured(x)
    far = x[:2].copy()
    far[0, 0], far[1, 1] = 1e9, 0.0  # both stand still, too
    z = scales(torch.from_numpy(far).flatten(0, 1).unsqueeze(1), None, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert z.abs().max() <= FARTHEST * np.exp(-0.5)
    assert z[[0, 4], 0].abs().max() < 1e-6


def test_what_is_beyond_all_bounds_is_a_number() -> None:
    scales, place = Scales(1), torch.zeros(2, dtype=torch.long)
    scales.measure(torch.tensor([[[-1e-3, -7.0]], [[1e-3, -7.0]]]), place)
    assert not scales.standardised(torch.tensor([[[3e38, 88.0]], [[-3e38, -88.0]]]), place).any()


def test_of_one_training_series_it_is_not_known_what_usually_differs() -> None:
    scales, z = measured(plant(1))
    assert not z.any()
    assert scales.spread.isfinite().all()


def test_what_hardly_differed_in_training_decides_nothing_afterwards() -> None:
    x = plant(n_channels=1).astype(np.float64)
    x = ((x - x.mean(2, keepdims=True)) / x.std(2, keepdims=True)).astype(np.float32)
    config = resolve(configure("default"), 60)
    encoder = build_model(config, 1).encoder.eval()
    calibrate(encoder, Series(x), config.probe)
    Z = embed(encoder, Series(x), config.probe)
    for gain, offset in ((1.5, 0), (1.1, 0.2), (5, 20)):
        assert np.mean(embed(encoder, Series(np.float32(gain) * x + np.float32(offset)), config.probe) != Z) < 0.01


@pytest.mark.parametrize("unit", [1e-10, 1e36])
def test_units_have_no_limit(unit: float) -> None:
    x = plant(n_channels=1)
    scaled = (x.astype(np.float64) * unit).astype(np.float32)
    torch.testing.assert_close(measured(scaled)[1], measured(x)[1], rtol=1e-3, atol=1e-3)


def test_nothing_is_known_of_what_no_training_series_has_measured() -> None:
    x = plant()
    sequences = torch.from_numpy(x).flatten(0, 1).unsqueeze(1)
    valid = torch.ones(sequences.shape, dtype=torch.bool)
    valid[1::3] = False
    scales = Scales(3)
    place = scales.places(len(x), sequences)
    for _ in range(3):  # once more changes nothing
        scales.measure(scales.seen(sequences, valid), place)
    z = scales(sequences, None, place)
    assert not z[1::3].any()
    without = measured(x[:, [0, 2]])[1].flatten(0, 1)
    torch.testing.assert_close(z.unflatten(0, (-1, 3))[:, [0, 2]].flatten(0, 1), without)
    scales.measure(scales.seen(sequences, torch.zeros_like(valid)), place)
    assert not scales(sequences, None, place).any()


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


@pytest.mark.parametrize("n_channels", [2, 4])
def test_of_another_number_of_channels_nothing_is_known(n_channels: int) -> None:
    config = config_of("probe.scale_features=true")
    encoder = build_model(config, 3).encoder.eval()
    calibrate(encoder, Series(plant()), config.probe)
    x = plant(20, n_channels)
    rows = [embed(encoder, Series(part), config.probe) for part in (x, x + 1000, 4 * x)]
    assert np.mean(rows[0] != rows[2]) < 0.01
    assert np.mean(rows[0] != rows[1]) < 0.05  # rounding of values around 1000


@pytest.mark.parametrize("n_channels", [2, 3, 4])
def test_what_is_usual_is_forgotten_where_the_number_of_channels_changes(n_channels: int) -> None:
    readout = Readout(None, None, measured(plant())[0])
    readout.take_channels(n_channels)
    assert readout.scales is not None
    assert readout.scales.n_channels == n_channels
    assert readout.scales.spread.isfinite().tolist() == [[n_channels == 3] * 2] * n_channels


@pytest.mark.parametrize("mode", ["independent", "mixed"])
def test_missing_points_and_channels_have_no_part(mode: str) -> None:
    x = plant()
    valid = np.ones(x.shape, bool)
    valid[:5, 0], valid[5:9, 1, 20:40] = False, False
    config = config_of("probe.scale_features=true", f"tokenizer.channels={mode}", "probe.shares=false")
    found = []
    for fill in (0.0, 1e6):
        series = Series(np.where(valid, x, fill).astype(np.float32), valid)
        encoder = build_model(config, 3).encoder.eval()
        calibrate(encoder, series, config.probe)
        found.append(embed(encoder, series, config.probe))
    np.testing.assert_array_equal(*found)
    assert encoder.readout is not None
    assert encoder.readout.scales is not None
    np.testing.assert_allclose(encoder.readout.scales.centre[0, 0], x[5:, 0].mean(), rtol=1e-3)


def test_a_missing_channel_of_a_mixing_encoder_is_as_usual() -> None:
    x = plant()
    scales, _ = measured(x)
    valid = torch.ones(1, 3, 60, dtype=torch.bool)
    valid[0, 1] = False
    z = scales(torch.from_numpy(x[:1]), valid, torch.zeros(1, dtype=torch.long))
    assert (z[0] == 0).tolist() == [False, True, False, False, True, False]


def test_levels_come_first() -> None:
    x = plant()
    scales, z = measured(x)
    mixed = scales(torch.from_numpy(x), None, torch.zeros(len(x), dtype=torch.long))
    torch.testing.assert_close(mixed, z.transpose(1, 2).flatten(1))


def test_names_say_which_channel_is_which() -> None:
    frames = [pd.DataFrame(case.T, columns=["temperature", "pressure", "vibration"]) for case in plant(20)]
    overrides = [*SKETCHED, "probe.scale_features=true", "probe.channels=mean"]
    embedder = TSJEPAEmbedder("tiny", max_epochs=1, random_state=0, device="cpu", overrides=overrides).fit(frames)
    Z = embedder.transform(frames)
    np.testing.assert_array_equal(embedder.transform([frame[frame.columns[::-1]] for frame in frames]), Z)
    # others are other channels
    assert embedder.transform([frame.add_prefix("new ") for frame in frames]).shape == Z.shape
    assert embedder.transform([frame.iloc[:, :2] for frame in frames]).shape == Z.shape


def test_without_a_sketch_nothing_stands_beside_a_level() -> None:
    assert not configure("default").probe.plain().scale_features


def test_the_least_spread_of_levels_is_that_of_all_channels_that_are_mixed() -> None:
    x = np.random.default_rng(0).normal(size=(40, 4, 60)).astype(np.float32)
    series = Series((x - x.mean(2, keepdims=True)) / x.std(2, keepdims=True))  # no level, and all of one scale
    config = config_of("tokenizer.channels=mixed", "probe.scale_features=true", "probe.shares=false")
    encoder = build_model(config, 4).encoder.eval()
    calibrate(encoder, series, config.probe)
    assert encoder.readout is not None
    sketch = encoder.readout.sketch
    assert sketch is not None
    with torch.no_grad():
        rows = encoder(torch.from_numpy(series.values))[0].mean(1)
        tokens = sketch.whitenings[0](rows - rows.mean(0)).square().sum(1).mean().sqrt()
    counted = [float(part[0]) for part in sketch.scale.split(sketch.widths)]
    weight, level = block_weights(config.probe, 3, 40)[:2]
    assert counted[0] * float(tokens) / counted[1] == pytest.approx(weight / level * 4**0.5, rel=1e-3)
