"""What patches of one series disagree on: the formula against float64, and what it is good for."""

import numpy as np
import pytest
import torch
from sketched import config_of, series_of
from sklearn.linear_model import RidgeClassifierCV

from tsjepa.arrays import Series
from tsjepa.build import build_model, configure, resolve
from tsjepa.calibrator import Calibrator, calibrate, played
from tsjepa.config import ConfigError
from tsjepa.embedding import embed, pool
from tsjepa.encoder import Encoder, normalized
from tsjepa.untrained import build_untrained
from tsjepa.whitening import Whitening, scatter_within


def whitenings_of(encoder: Encoder) -> list[Whitening]:
    assert encoder.readout is not None
    assert encoder.readout.sketch is not None
    return [module for module in encoder.readout.sketch.modules() if isinstance(module, Whitening)]


@pytest.mark.parametrize("holes", [False, True])
def test_the_scatter_is_that_around_the_mean_of_each_series(holes: bool) -> None:
    patches, valid = torch.randn(7, 5, 3), torch.rand(7, 5) < 0.6
    valid[0], valid[1, 1:] = False, False
    keep = valid if holes else torch.ones_like(valid)
    want, freedom = np.zeros((3, 3)), 0
    for row, mask in zip(patches.double().numpy(), keep.numpy(), strict=True):
        chosen = row[mask]
        if len(chosen):
            want += (chosen - chosen.mean(0)).T @ (chosen - chosen.mean(0))
            freedom += len(chosen) - 1
    scatter, count = scatter_within(torch.where(keep[..., None], patches, torch.nan), valid if holes else None)
    np.testing.assert_allclose(scatter, want, atol=1e-5)
    assert count == freedom


@pytest.mark.parametrize("width", [5, 40])
def test_it_is_its_formula(width: int) -> None:
    noise = torch.randn(60, 4, width) * torch.linspace(0.1, 3, width)
    scatter, freedom = scatter_within(noise)
    values, vectors = np.linalg.eigh(scatter.double().numpy())
    gains = np.ones(width)
    kept = min(width, 16)
    gains[-kept:] = 1 / np.sqrt(1 + values[-kept:] / (10 * values.mean()))
    rows, whitening = torch.randn(8, width), Whitening(width)
    whitening.measure(scatter, freedom)
    np.testing.assert_allclose(whitening(rows), rows.double().numpy() @ (vectors * gains) @ vectors.T, atol=1e-5)


def test_only_the_share_of_a_variance_counts_not_its_size() -> None:
    scatter, freedom = scatter_within(torch.randn(20, 4, 6))
    rows, whitening = torch.randn(3, 6), Whitening(6)
    whitening.measure(scatter, freedom)
    found = whitening(rows)
    whitening.measure(1e4 * scatter, 7 * freedom)
    torch.testing.assert_close(whitening(rows), found)


def test_without_anything_to_compare_nothing_is_shrunk() -> None:
    rows, whitening = torch.randn(3, 6), Whitening(6)
    assert torch.equal(whitening(rows), rows)
    whitening.measure(*scatter_within(torch.randn(20, 1, 6).expand(20, 3, 6)))  # not what rounding leaves
    assert torch.equal(whitening(rows), rows)
    whitening.measure(*scatter_within(torch.randn(20, 4, 6)))
    assert not torch.equal(whitening(rows), rows)
    for patches in (torch.randn(20, 1, 6), torch.ones(20, 4, 6)):
        whitening.measure(*scatter_within(patches))
        assert torch.equal(whitening(rows), rows)


def test_what_patches_disagree_on_counts_less_with_few_labels() -> None:
    """Two classes differ in weak features; a few strong ones change from patch to patch of a series."""
    rng, y = np.random.default_rng(0), np.arange(300) % 2
    patches = rng.normal(size=(300, 6, 400)) * 0.5
    patches[:, :, :3] += 15 * rng.normal(size=(300, 6, 3))
    patches[:, :, 3:] += 0.05 * np.where(y, 1.0, -1.0)[:, None, None]
    whitening = Whitening(400)
    whitening.measure(*scatter_within(torch.from_numpy(patches).float()))
    rows = patches.mean(1)
    accuracy = {}
    for name, Z in (("plain", rows), ("whitened", whitening(torch.from_numpy(rows).float()).numpy())):
        accuracy[name] = RidgeClassifierCV(np.logspace(-3, 5, 12)).fit(Z[:8], y[:8]).score(Z[8:], y[8:])
    assert accuracy["whitened"] > accuracy["plain"] + 0.1


@pytest.mark.parametrize(("n_cases", "channels"), [(12, 1), (12, 2), (100, 1)])
def test_an_encoder_learns_it_from_shares_and_tokens_of_its_patches(n_cases: int, channels: int) -> None:
    config, series = config_of(), series_of(n_cases, channels)  # more than 64 come in several batches
    encoder = build_model(config, channels).encoder.eval()
    calibrate(encoder, series, config.probe)
    x, _ = encoder.sequences(torch.from_numpy(series.values), None)
    with torch.no_grad():
        parts = [encoder.shares(x, of_patches=True), *encoder(x, levels=range(1, encoder.depth + 1))]
    found = whitenings_of(encoder)
    assert len(found) == len(parts)
    for whitening, patches in zip(found, parts, strict=True):
        want = Whitening(patches.shape[-1])
        want.measure(*scatter_within(patches))
        assert want.loss.max() > 0.1
        rows = torch.randn(5, patches.shape[-1])
        torch.testing.assert_close(whitening(rows), want(rows), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("noise", ["null", "0.1"])
def test_missing_patches_and_what_stands_in_them_have_no_part(noise: str) -> None:
    config, values = config_of(f"probe.noise={noise}"), series_of(12).values
    valid = np.random.default_rng(1).random(values.shape) < 0.9
    valid[:4, :, 20:41], valid[5] = False, False
    states = []
    for junk in (0.0, 50.0):
        encoder = build_model(config, 1).encoder.eval()
        calibrate(encoder, Series(np.where(valid, values, np.float32(junk)), valid), config.probe)
        states.append(encoder.state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_an_untrained_encoder_is_read_without() -> None:
    config, series = config_of(), series_of()
    trained = build_model(config, 1).eval()
    calibrate(trained.encoder, series, config.probe)
    untrained = build_untrained(config, 1, trained, series)
    assert all(not whitening.loss.any() for whitening in whitenings_of(untrained.encoder))
    assert all(whitening.loss.any() for whitening in whitenings_of(trained.encoder))
    assert not np.array_equal(
        embed(trained.encoder, series, config.probe), embed(untrained.encoder, series, config.probe)
    )


def test_measured_again_it_is_as_if_measured_once() -> None:
    config, series = config_of(), series_of()
    encoder, fresh = build_model(config, 1).encoder, build_model(config, 1).encoder
    again = Calibrator(encoder, series, config.probe)
    again("cpu")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with torch.no_grad():
        for module in (encoder, fresh):
            for weight in module.parameters():
                weight.mul_(1.5)
    again("cpu")
    calibrate(fresh, series, config.probe)
    torch.testing.assert_close(encoder.state_dict(), fresh.state_dict(), rtol=0, atol=0)
    assert not torch.equal(before["readout.sketch.centre"], encoder.state_dict()["readout.sketch.centre"])


def test_statistics_other_than_means_are_left_alone() -> None:
    config, series = config_of("probe.pool=[mean, max]"), series_of()
    encoder = build_model(config, 1).encoder.eval()
    calibrate(encoder, series, config.probe)
    shares, *levels = whitenings_of(encoder)
    assert shares.loss.any()
    assert not any(level.loss.any() for level in levels)


@pytest.mark.parametrize("holes", [False, True])
def test_with_a_stretch_it_is_learned_from_other_speeds_in_the_place_of_patches(holes: bool) -> None:
    config, series = config_of("probe.stretch=1.5", "probe.pool=[mean, max]"), series_of(12)
    valid = np.random.default_rng(1).random(series.values.shape) < 0.9
    valid[3, :, :54] = False  # nothing is left of it at the higher speed, where the last 4 points fill no patch
    if holes:
        series = Series(np.where(valid, series.values, np.float32(0)), valid)
    encoder = build_model(config, 1).encoder.eval()
    calibrate(encoder, series, config.probe)
    x, mask = encoder.sequences(torch.from_numpy(series.values), None if series.valid is None else torch.tensor(valid))
    patch, views, there = encoder.tokenizer.patch_length, [], []
    for factor in (1, 2 / 3, 3 / 2):
        other, measured = (
            (x, mask) if factor == 1 else played(normalized(x, mask, "instance", patch), mask, factor, patch)
        )
        assert other.shape[2] == round(60 * factor) // patch * patch
        attend = encoder.token_valid(measured)
        there.append(torch.ones(12, dtype=torch.bool) if attend is None else attend.any(1))
        with torch.no_grad():
            levels = encoder(other, levels=range(1, encoder.depth + 1), valid=measured, attend=attend)
            pooled = [torch.cat([pool(h, attend, "mean"), pool(h, attend, "max")], 1) for h in levels]
            views.append([encoder.shares(other, measured), *pooled])
    assert torch.stack(there).all() != holes
    for whitening, rows in zip(whitenings_of(encoder), zip(*views, strict=True), strict=True):
        want = Whitening(rows[0].shape[1])
        want.measure(*scatter_within(torch.stack(rows, 1), torch.stack(there, 1)))
        assert want.loss.max() > 0.1
        some = torch.randn(5, rows[0].shape[1])
        torch.testing.assert_close(whitening(some), want(some), atol=1e-3, rtol=1e-3)


def test_what_was_measured_at_another_speed_is_what_lies_nearest() -> None:
    x, valid = torch.arange(8.0).view(1, 1, 8), torch.ones(1, 1, 8, dtype=torch.bool)
    valid[..., 5] = False
    values, measured = played(x, valid, 2.0, 4)
    assert measured is not None
    assert measured.flatten().tolist() == [True] * 10 + [False] * 2 + [True] * 4
    torch.testing.assert_close(values[0, 0, 1:-1], torch.arange(0.25, 7, 0.5))


def test_of_series_measured_at_every_second_point_a_stretch_learns_what_it_can() -> None:
    config, values = config_of("probe.stretch=1.5", "probe.pool=[mean, max]"), series_of(6).values
    valid = np.ones_like(values, bool)
    valid[:2, :, 1::2] = False
    encoder = build_model(config, 1).encoder.eval()
    calibrate(encoder, Series(np.where(valid, values, np.float32(0)), valid), config.probe)
    assert np.isfinite(embed(encoder, Series(values), config.probe)).all()
    assert all(whitening.loss.max() > 0.1 for whitening in whitenings_of(encoder))


def test_machines_that_differ_in_speed_alone_are_told_apart_less() -> None:
    """The same wave at two speeds, and one of another shape: with a stretch, the distance between speeds shrinks."""
    rng, time = np.random.default_rng(0), np.arange(300) / 300

    def waves(speed: float, harmonic: int) -> Series:
        turned = 2 * np.pi * (speed * time + rng.random((20, 1, 1)))
        return Series((np.sin(turned) + 0.5 * np.sin(harmonic * turned)).astype(np.float32))

    slow, fast, other = waves(20, 2), waves(30, 2), waves(20, 3)
    ratio = {}
    for stretch in ("null", "1.5"):
        config = resolve(configure("default", None, [f"probe.stretch={stretch}"]), 300)
        encoder = build_model(config, 1).encoder.eval()
        calibrate(encoder, Series(np.concatenate([slow.values, fast.values, other.values])), config.probe)
        a, b, c = (embed(encoder, part, config.probe).mean(0) for part in (slow, fast, other))
        ratio[stretch] = np.linalg.norm(a - b) / np.linalg.norm(a - c)
    assert ratio["1.5"] < 0.9 * ratio["null"]


@pytest.mark.parametrize("without", ["probe.whiten=false", "probe.sketch=null"])
def test_a_stretch_that_would_do_nothing_is_refused(without: str) -> None:
    with pytest.raises(ConfigError, match=r"probe: stretch acts on a whitened sketch"):
        config_of("probe.stretch=1.5", without)


def test_a_series_that_is_shorter_than_a_patch_when_played_faster_keeps_what_there_is() -> None:
    assert played(torch.zeros(1, 1, 60), None, 2 / 3, 45)[0].shape[2] == 40
