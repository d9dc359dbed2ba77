"""How much learned levels count beside shares, where that is measured."""

import numpy as np
import pytest
import torch
from sketched import config_of, series_of

from tsjepa.arrays import Series
from tsjepa.build import build_model
from tsjepa.calibrator import Calibrator
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


def weights_of(config: Config, series: Series, *, whiten: bool = True) -> tuple[Encoder, list[float]]:
    """Return an untrained encoder, and how much each block of its sketch counts, shares 1."""
    torch.manual_seed(0)
    encoder = build_model(config, series.n_channels).encoder.eval()
    calibrator = Calibrator(encoder, series, config.probe, whiten=whiten)
    calibrator("cpu")
    sketch, batch = calibrator.sketch, calibrator.sample[0]
    assert sketch is not None
    with torch.inference_mode():
        blocks = [*calibrator.shares, *calibrator.blocks(batch)]
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
    found = signal(tokens.mean(1), *scatter_within(tokens), torch.zeros(40, dtype=torch.long))
    assert found == pytest.approx((between - within) / between)


def test_means_of_fewer_patches_are_noisier() -> None:
    tokens = tokens_of(40, 8, 3)
    rows, place = tokens.mean(1), torch.zeros(40, dtype=torch.long)
    scatter, freedom = scatter_within(tokens)
    both = [signal(rows, scatter * share, int(freedom * share), place) for share in (1.0, 1 / 7)]  # of 8, of 2 patches
    assert both[0] is not None
    assert both[1] is not None
    assert (1 - both[1]) / (1 - both[0]) == pytest.approx(4)


def test_channels_may_differ_without_saying_anything_of_their_series() -> None:
    tokens, place = tokens_of(40, 5, 3), torch.arange(40) % 2
    apart = tokens + 100.0 * place[:, None, None]
    found = [signal(part.mean(1), *scatter_within(part), place) for part in (tokens, apart)]
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_nothing_to_compare_has_no_signal() -> None:
    place, same = torch.zeros(4, dtype=torch.long), tokens_of(1, 3, 2).expand(4, 3, 2)
    alone = tokens_of(4, 1, 2)
    assert signal(alone.mean(1), *scatter_within(alone), place) is None
    assert signal(same.mean(1), *scatter_within(same), place) is None


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


@pytest.mark.parametrize("override", ["probe.stretch=2", "probe.pool=[mean,max]"])
def test_where_patches_are_not_compared_levels_count_as_much_as_without_measuring(override) -> None:
    found = [weights_of(config_of(override, *more), series_of(30))[1] for more in ((MEASURED,), ())]
    assert found[0] == pytest.approx(found[1])


def test_an_untrained_encoder_is_read_without_measuring() -> None:
    found = [weights_of(config_of(*more), series_of(30), whiten=False)[1] for more in ((MEASURED,), ())]
    assert found[0] == pytest.approx(found[1])


def test_levels_without_shares_beside_them_are_never_lost() -> None:
    probe = ProbeConfig(sketch=64, level_weight=None)
    assert block_weights(probe, 2, 60, [-1.0, -1.0]) == block_weights(ProbeConfig(sketch=64), 2, 60)
