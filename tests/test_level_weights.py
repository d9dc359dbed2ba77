"""How much learned levels count beside shares, where that is measured."""

import numpy as np
import pytest
import torch
from sketched import config_of, series_of

from tsjepa.arrays import Series
from tsjepa.build import build_model
from tsjepa.calibrator import Calibrator, joined
from tsjepa.config import Config
from tsjepa.encoder import Encoder
from tsjepa.level_weights import block_weights, measured_weight, signal
from tsjepa.sections import ProbeConfig
from tsjepa.whitening import scatter_within

MEASURED = "probe.level_weight=null"


def tokens_of(n: int, n_patches: int, width: int) -> torch.Tensor:
    """Return tokens of which half of the variance is that of their series."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, n_patches, width, generator=generator) + torch.randn(n, 1, width, generator=generator)


def alike(n: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return counts and channels of n series of one channel with so many patches each."""
    return torch.full((n,), count), torch.zeros(n, dtype=torch.long)


def weights_of(config: Config, series: Series, *, whiten: bool = True) -> tuple[Encoder, list[float]]:
    """Return an untrained encoder, and how much each block of its sketch counts, shares 1."""
    torch.manual_seed(0)
    encoder = build_model(config, series.n_channels).encoder.eval()
    calibrator = Calibrator(encoder, series, config.probe, whiten=whiten)
    calibrator("cpu")
    sketch = calibrator.sketch
    assert sketch is not None
    with torch.inference_mode():
        own = [joined(parts) for parts in zip(*map(calibrator.blocks, calibrator.sample), strict=True)]
        blocks = [*calibrator.shares, *own, *calibrator.scaled]
        rows = torch.cat([block.rows for block in blocks], 1)
        parts = sketch.whitened(rows - rows.mean(0)).split(sketch.widths, 1)
    heard = [
        float(scale[0]) * float(part.square().sum(1).mean().sqrt())
        for scale, part in zip(sketch.scale.split(sketch.widths), parts, strict=True)
    ]
    return encoder, [each / heard[0] for each in heard]


def test_signal_is_the_intraclass_correlation_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(40, 5, 3)) + rng.normal(size=(40, 1, 3))
    means = patches.mean(1)
    between = 5 * np.square(means - means.mean(0)).sum() / 40
    within = np.square(patches - means[:, None]).sum() / (40 * 4)
    tokens = torch.from_numpy(patches)
    found = signal(tokens.mean(1), *scatter_within(tokens), *alike(40, 5))
    assert found == pytest.approx((between - within) / between)


def test_means_of_fewer_patches_are_noisier() -> None:
    tokens = tokens_of(40, 8, 3)
    both = [signal(tokens.mean(1), *scatter_within(tokens), *alike(40, count)) for count in (8, 2)]
    assert both[0] is not None
    assert both[1] is not None
    assert (1 - both[1]) / (1 - both[0]) == pytest.approx(4)


def test_series_of_different_length_seem_no_clearer_than_they_are() -> None:
    noise = torch.randn(2000, 10, 3, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([2, 10]).repeat(1000)
    there = torch.arange(10) < counts[:, None]
    rows = torch.where(there[..., None], noise, 0).sum(1) / counts[:, None]
    found = signal(rows, *scatter_within(noise, there), counts, torch.zeros_like(counts))
    assert found == pytest.approx(0, abs=0.05)


def test_channels_may_differ_without_saying_anything_of_their_series() -> None:
    tokens, channel = tokens_of(40, 5, 3), torch.arange(40) % 2
    apart = tokens + 100.0 * channel[:, None, None]
    found = [signal(part.mean(1), *scatter_within(part), alike(40, 5)[0], channel) for part in (tokens, apart)]
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_nothing_to_compare_has_no_signal() -> None:
    same, alone = torch.ones(4, 3, 2), tokens_of(4, 1, 2)
    assert signal(alone.mean(1), *scatter_within(alone), *alike(4, 1)) is None
    assert signal(same.mean(1), *scatter_within(same), *alike(4, 3)) is None


@pytest.mark.parametrize(
    ("shares", "levels", "weight"),
    [
        (-2.0, [0.6, 0.75], 0.2 * 2.25**2),
        (0.25, [0.6, 0.75], 0.15 * 2.25**2),
        (-2.0, [-4.0, 0.5], 0.2 * 0.5**2),
        (0.0, [0.75, 0.75], 1.5),
        (0.999, [1.0, 1.0], 0.2 * 19**2 * 0.001),
        (1.0, [0.9, 0.9], 0.0),
    ],
)
def test_levels_count_more_the_clearer_they_are_and_less_the_clearer_shares_are(shares, levels, weight) -> None:
    assert measured_weight(shares, levels) == pytest.approx(weight)


def test_a_sketch_weighs_levels_by_what_patches_of_its_training_series_agree_on() -> None:
    config = config_of(MEASURED)
    t = np.arange(60)
    waves = np.sin(t * np.linspace(0.1, 2, 30)[:, None])[:, None].astype(np.float32)
    _, clear = weights_of(config, Series(waves))
    _, noise = weights_of(config, series_of(30))
    assert max(noise[1:]) < 0.1 * min(clear[1:])


@pytest.mark.parametrize(("scaled", "behind"), [("true", 2), ("false", 0)])
def test_channels_of_their_own_frequency_are_no_signal(scaled, behind) -> None:
    rng, t = np.random.default_rng(0), np.arange(60)
    waves = np.sin(t * np.array([0.2, 0.5, 1.0, 2.0])[:, None] + rng.uniform(0, 6, (40, 4, 1)))
    series = Series((waves + rng.normal(size=waves.shape)).astype(np.float32))
    _, weights = weights_of(config_of(MEASURED, f"probe.scale_features={scaled}"), series)
    assert max(weights[1 : len(weights) - behind]) < 0.01


def test_gaps_and_lengths_are_counted_in_patches() -> None:
    values = np.random.default_rng(0).normal(size=(6, 1, 60)).astype(np.float32)
    valid = np.ones(values.shape, bool)
    valid[0, :, 30:], valid[1, :, :15] = False, False
    config = config_of(MEASURED)
    encoder = build_model(config, 1).encoder.eval()
    calibrator, patch = Calibrator(encoder, Series(values, valid), config.probe), encoder.tokenizer.patch_length
    counts = torch.cat([calibrator.n_patches(batch) for batch in calibrator.sample]).sort().values.tolist()
    assert counts == sorted([-(-30 // patch), encoder.n_tokens(60) - 15 // patch, *[encoder.n_tokens(60)] * 4])


@pytest.mark.parametrize(
    "settings", ["probe.stretch=2", "probe.pool=[mean,max]", "probe.pool=[mean,max] probe.noise=0.1"]
)
def test_where_patches_are_not_compared_levels_count_as_much_as_without_measuring(settings) -> None:
    found = [weights_of(config_of(*settings.split(), *more), series_of(30))[1] for more in ((MEASURED,), ())]
    assert found[0] == pytest.approx(found[1])


def test_an_untrained_encoder_is_read_without_measuring() -> None:
    found = [weights_of(config_of(*more), series_of(30), whiten=False)[1] for more in ((MEASURED,), ())]
    assert found[0] == pytest.approx(found[1])


def test_levels_without_shares_beside_them_are_never_lost() -> None:
    probe = ProbeConfig(sketch=64, level_weight=None)
    assert block_weights(probe, 2, 60, [-1.0, -1.0]) == block_weights(ProbeConfig(sketch=64), 2, 60)
