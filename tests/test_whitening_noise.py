"""What noise changes counts less, where the readout is told to tolerate it."""

import numpy as np
import pytest
import torch
from sketched import config_of, series_of

from tsjepa import configure, resolve
from tsjepa.arrays import Series
from tsjepa.build import build_model
from tsjepa.calibrator import Batch, Block, Calibrator, View, block_of, calibrate, combined, played
from tsjepa.config import ConfigError
from tsjepa.embedding import embed
from tsjepa.encoder import normalized
from tsjepa.normalization import take_statistics
from tsjepa.sketch import Sketch
from tsjepa.whitening import Whitening, scatter_within


def unit(scatter: torch.Tensor) -> torch.Tensor:
    return scatter / scatter.trace()


@pytest.mark.parametrize("stretch", ["null", "1.5"])
def test_it_is_learned_from_noise_as_much_as_from_patches_or_speeds(stretch: str) -> None:
    config, series = config_of("probe.noise=0.2", f"probe.stretch={stretch}", "probe.pool=[mean]"), series_of(12)
    encoder = build_model(config, 1).encoder.eval()
    calibrate(encoder, series, config.probe)
    x, _ = encoder.sequences(torch.from_numpy(series.values), None)
    patch = encoder.tokenizer.patch_length
    x = normalized(x, None, "instance", patch)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    changed = x + 0.2 * x.std(2, keepdim=True, correction=0) * noise
    with torch.no_grad():
        rows, other = (encoder.shares(values) for values in (x, changed))
        if stretch == "null":
            base, _ = scatter_within(encoder.shares(x, of_patches=True))
        else:
            speeds = [encoder.shares(played(x, None, factor, patch)[0]) for factor in (1 / 1.5, 1.5)]
            base, _ = scatter_within(torch.stack([rows, *speeds], 1))
    want = Whitening(rows.shape[1])
    want.measure(unit(base) + unit(scatter_within(torch.stack([rows, other], 1))[0]), 1)
    assert encoder.readout is not None
    assert isinstance(encoder.readout.sketch, Sketch)
    some = torch.randn(5, rows.shape[1])
    torch.testing.assert_close(encoder.readout.sketch.whitenings[0](some), want(some), atol=1e-3, rtol=1e-3)


def test_noise_moves_embeddings_less() -> None:
    rng, time = np.random.default_rng(0), np.arange(300) / 20
    clean = np.sin(time * (1 + rng.random((40, 1, 1)))).astype(np.float32)
    noisy = clean + rng.normal(scale=0.1, size=clean.shape).astype(np.float32)
    moved = {}
    for noise in ("null", "0.1"):
        config = resolve(configure("default", None, [f"probe.noise={noise}"]), 300)
        encoder = build_model(config, 1).encoder.eval()
        calibrate(encoder, Series(clean), config.probe)
        a, b = (embed(encoder, Series(values), config.probe) for values in (clean, noisy))
        moved[noise] = np.linalg.norm(a - b, axis=1).mean() / np.linalg.norm(a - a.mean(0), axis=1).mean()
    assert moved["0.1"] < 0.7 * moved["null"]


@pytest.mark.parametrize("normalize", ["instance", "train", "none"])
def test_noise_is_a_share_of_what_was_measured_whatever_is_missing(normalize: str) -> None:
    config, series = config_of("probe.noise=0.1", f"normalize={normalize}"), series_of(12)
    values = series.values * 3 + 100 * np.arange(12, dtype=np.float32)[:, None, None]
    valid = np.ones_like(values, bool)
    valid[:, :, 12:40] = False
    valid[11, :, 1:] = False  # a point has no deviation
    model = build_model(config, 1).eval()
    part = Series(np.where(valid, values, np.float32(0)), valid)
    take_statistics(model, part)
    x, there = model.encoder.sequences(torch.from_numpy(part.values), torch.from_numpy(valid))
    calibrator = Calibrator(model.encoder, part, config.probe)
    noisy = calibrator.with_noise(x, there, torch.Generator().manual_seed(0))
    assert noisy is not None
    before = normalized(x, there, normalize, model.encoder.tokenizer.patch_length)
    for case in range(11):
        known = torch.from_numpy(valid[case])
        assert 0.06 < (noisy.x - before)[case][known].std() / before[case][known].std() < 0.14
    assert (noisy.x - before)[11].abs().max() < 1e-3


def test_constant_series_have_no_noise() -> None:
    config = config_of("probe.noise=0.1")
    encoder = build_model(config, 1).encoder.eval()
    calibrate(encoder, Series(np.ones((6, 1, 60), np.float32)), config.probe)
    assert np.isfinite(embed(encoder, series_of(), config.probe)).all()


def test_a_kind_of_scatter_that_says_nothing_is_left_out() -> None:
    rows, known = torch.randn(4, 3), torch.randn(3, 3)
    known = known @ known.T
    nothing = torch.zeros(3, 3)
    assert torch.equal(combined(Block(rows, []))[0], nothing)
    assert combined(Block(rows, []))[1] == 0
    whole, freedom = combined(Block(rows, [(known, 5), (nothing, 4)]))
    torch.testing.assert_close(whole, unit(known))
    assert freedom == 5
    # alone it is as it is
    assert combined(Block(rows, [(known, 5)]))[0] is known


def test_what_fills_a_batch_up_has_no_part() -> None:
    rows, patches, changed = torch.randn(6, 3), torch.randn(6, 4, 3), torch.randn(6, 3)
    attend = torch.ones(6, 4, dtype=torch.bool)
    attend[1] = False
    first = torch.zeros(6, dtype=torch.long)
    batch = Batch([View(torch.zeros(6, 1, 8), None, attend)], None, n=4, place=first, channel=first)
    found = block_of([rows[:4]], patches, batch, changed)
    (by_patch, _), (by_noise, freedom) = found.scatters
    torch.testing.assert_close(by_patch, scatter_within(patches[[0, 2, 3]])[0])
    torch.testing.assert_close(by_noise, scatter_within(torch.stack([rows, changed], 1)[[0, 2, 3]])[0])
    assert freedom == 3


@pytest.mark.parametrize("without", ["probe.whiten=false", "probe.sketch=null"])
def test_noise_that_would_do_nothing_is_refused(without: str) -> None:
    with pytest.raises(ConfigError, match=r"probe: noise acts on a whitened sketch"):
        config_of("probe.noise=0.1", without)


def test_noise_is_a_share_of_each_channel_where_they_are_mixed() -> None:
    config = config_of("probe.noise=0.1", "tokenizer.channels=mixed", "normalize=none", "probe.shares=false")
    series = Series(series_of(12, 2).values * np.array([[1.0], [100.0]], np.float32))
    encoder = build_model(config, 2).encoder.eval()
    x, _ = encoder.sequences(torch.from_numpy(series.values), None)
    noisy = Calibrator(encoder, series, config.probe).with_noise(x, None, torch.Generator().manual_seed(0))
    share = (noisy.x - x).std((0, 2)) / x.std((0, 2))
    assert ((share > 0.08) & (share < 0.12)).all()


def test_shares_of_noisy_series_are_counted_over_what_was_measured() -> None:
    config, values = config_of("probe.noise=0.1", "probe.pool=[mean, max]"), series_of(12).values
    valid = np.ones_like(values, bool)
    valid[:, :, 20:40] = False
    series = Series(np.where(valid, values, np.float32(0)), valid)
    encoder = build_model(config, 1).encoder.eval()
    calibrator = Calibrator(encoder, series, config.probe)
    [batch] = calibrator.sample
    assert batch.noisy is not None
    with torch.no_grad():
        rows = [encoder.shares(view.x, view.valid)[: batch.n] for view in (batch.views[0], batch.noisy)]
        _, (found, _) = calibrator.share_block(batch).scatters
    torch.testing.assert_close(found, scatter_within(torch.stack(rows, 1))[0])
