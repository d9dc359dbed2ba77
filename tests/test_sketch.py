"""The sketch of an embedding: its formula, what it keeps, and when it may be used."""

import numpy as np
import pytest
import torch
from sketched import config_of, series_of
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tsjepa.arrays import Series
from tsjepa.build import build_model, configure, resolve
from tsjepa.calibrator import Calibrator, calibrate
from tsjepa.config import Config
from tsjepa.embedding import embed, n_features
from tsjepa.encoder import Encoder
from tsjepa.finetuning import embed_batch
from tsjepa.level_weights import block_weights
from tsjepa.normalization import take_statistics
from tsjepa.sections import ProbeConfig
from tsjepa.sketch import REACH, Sketch, draw_signs, mixed
from tsjepa.whitening import scatter_within


def ready(config: Config, series: Series) -> Encoder:
    encoder = build_model(config, series.n_channels).encoder.eval()
    calibrate(encoder, series, config.probe)
    return encoder


def test_it_is_its_formula() -> None:
    rows = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 8) + 3
    sketch = Sketch([4, 3], 16)
    sketch.measure(rows, [1.0, 0.5])
    x = rows.double().numpy()
    centred = x - x.mean(0)
    blocks = [centred[:, :4], 0.5 * centred[:, 4:]]
    blocks = [
        block / np.sqrt(np.square(part).sum(1).mean())
        for block, part in zip(blocks, (centred[:, :4], centred[:, 4:]), strict=True)
    ]
    z = np.concatenate(blocks, 1) / np.sqrt(1.25)
    want = 4 * np.tanh(2 * z @ draw_signs(7, 16).double().numpy())
    clear = np.abs(want - np.floor(want) - 0.5) > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(sketch(rows).numpy()[clear], (want.round() / 4)[clear])


def test_a_typical_series_lies_as_far_from_the_centre_where_it_is_whitened() -> None:
    sketch, size = Sketch([6], size=8), torch.tensor([9.0, 1, 1, 1, 1, 1])
    sketch.whiten(0, [scatter_within(torch.randn(100, 4, 6) * size)])
    rows = torch.randn(400, 6) * size
    sketch.measure(rows, [1.0])
    away = (sketch.whitened(rows - sketch.centre) * sketch.scale).square().sum(1)
    torch.testing.assert_close(away.mean().sqrt(), torch.tensor(REACH))


def test_directions_are_the_same_for_ever_and_balanced() -> None:
    signs = draw_signs(300, 200)
    assert signs.dtype == torch.int8
    assert sorted(signs.unique().tolist()) == [-1, 1]
    assert abs(signs.float().mean()) < 0.02
    assert (signs.float() @ signs.float().T / 200 - torch.eye(300)).abs().max() < 0.4
    assert signs[0, :16].tolist() == draw_signs(1, 16)[0].tolist()
    # bits of the generator's first words, the lowest first
    words = [int(word) for word in np.random.PCG64(0).random_raw(4)]
    bits = [2 * (word >> place & 1) - 1 for word in words for place in range(64)]
    assert signs[0, :8].tolist() == bits[:8] == [1, 1, 1, 1, 1, -1, 1, -1]
    assert signs[1, :8].tolist() == bits[200:208]


def test_near_series_have_near_sketches() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(40, 500, generator=generator)
    sketch = Sketch([500], 2000)
    sketch.measure(rows, [1.0])
    near, far = rows[0] + 0.1 * torch.randn(500, generator=generator), rows[1]
    a, b, c = sketch(torch.stack([rows[0], near, far]))
    assert (a - b).norm() < 0.2 * (a - c).norm()
    distances = torch.pdist(sketch(rows))
    assert distances.std() < 0.1 * distances.mean()  # as those of the rows themselves, which are all alike


def test_the_gradient_is_that_before_rounding() -> None:
    rows = torch.randn(6, 5, requires_grad=True)
    sketch = Sketch([5], 8)
    sketch.measure(rows.detach(), [1.0])
    sketch(rows).sum().backward()
    assert rows.grad is not None
    again = rows.detach().clone().requires_grad_()
    (((again - sketch.centre) * sketch.scale) @ sketch.directions).tanh().sum().backward()
    torch.testing.assert_close(rows.grad, again.grad)
    assert torch.equal(sketch(rows).detach(), sketch(rows.detach()))


def test_a_block_without_spread_is_zero() -> None:
    sketch = Sketch([2, 3], 8)
    rows = torch.cat([torch.randn(5, 2), torch.full((5, 3), 7.0)], 1)
    sketch.measure(rows, [1.0, 1.0])
    assert sketch(rows).isfinite().all()
    assert sketch.known
    sketch.measure(torch.ones(5, 5), [1.0, 1.0])
    assert not sketch(torch.ones(5, 5)).any()


def test_few_labels_are_read_better_than_from_features_of_unequal_spread() -> None:
    """Two classes differ in ten strong features of 500; a standardising head gives the others the same weight."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    rows = rng.normal(size=(400, 500)) * 0.2
    rows[:, :10] += rng.normal(size=(400, 10)) + np.where(y, 1.0, -1.0)[:, None]
    sketch = Sketch([500], 1000)
    sketch.measure(torch.from_numpy(rows).float(), [1.0])
    accuracy = {}
    for name, Z in (("plain", rows), ("sketch", sketch(torch.from_numpy(rows).float()).numpy())):
        head = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 5, 12))).fit(Z[:8], y[:8])
        accuracy[name] = head.score(Z[8:], y[8:])
    assert accuracy["sketch"] > accuracy["plain"] + 0.05


@pytest.mark.parametrize("overrides", [[], ["probe.shares=false"], ["probe.scale_features=true"], ["normalize=train"]])
@pytest.mark.parametrize("channels", ["concat", "mean", "max"])
def test_an_embedding_has_the_width_it_says_whatever_the_channels(overrides: list[str], channels: str) -> None:
    config, series = config_of(*overrides, f"probe.channels={channels}"), series_of(channels=3)
    model = build_model(config, 3).eval()
    take_statistics(model, series)
    calibrate(model.encoder, series, config.probe)
    Z = embed(model.encoder, series, config.probe)
    assert Z.shape == (9, 64)
    assert Z.shape[1] == n_features(model.encoder, config.probe, 3)
    if channels != "mean":
        assert set(np.unique(4 * Z)) <= set(range(-4, 5))
    with torch.no_grad():
        again = embed_batch(model.encoder, torch.from_numpy(series.values), None, config.probe).numpy()
    assert (np.abs(Z - again) > 1e-4).mean() < 1e-2


def test_channels_are_added_on_directions_of_their_own() -> None:
    turned = torch.randn(4, 3, 11)
    measured = torch.tensor([[True, True, True], [True, False, True], [False, False, True], [False] * 3]).unsqueeze(2)
    want = np.zeros((4, 11))
    for case in range(4):
        for channel in range(3):
            if measured[case, channel]:
                want[case] += np.roll(turned[case, channel].numpy(), channel)
        want[case] /= np.sqrt(max(int(measured[case].sum()), 1))
    np.testing.assert_allclose(mixed(turned, measured), want, atol=1e-6)
    alone = mixed(turned[:, :1], measured[:, :1])
    np.testing.assert_array_equal(alone, np.where(measured[:, 0], turned[:, 0], 0))


def test_channels_can_be_told_apart() -> None:
    config, series = config_of("probe.sketch=512"), series_of(channels=2)
    encoder = ready(config, series)
    swapped = Series(series.values[:, ::-1].copy())
    Z, other = embed(encoder, series, config.probe), embed(encoder, swapped, config.probe)
    cosine = (Z * other).sum(1) / np.linalg.norm(Z, axis=1) / np.linalg.norm(other, axis=1)
    assert np.abs(cosine).max() < 0.5


def test_without_a_sketch_shares_stand_before_the_levels() -> None:
    config, series = config_of("probe.sketch=null"), series_of()
    encoder = build_model(config, 1).encoder.eval()
    Z = embed(encoder, series, config.probe)
    assert Z.shape == (9, 640 + encoder.depth * encoder.dim)
    with torch.no_grad():
        want = encoder.shares(torch.from_numpy(series.values))
    np.testing.assert_array_equal(Z[:, :640], want)
    np.testing.assert_array_equal(Z[:, 640:], embed(encoder, series, ProbeConfig(levels="blocks", pool=("mean",))))


@pytest.mark.parametrize(
    ("n_cases", "channels", "held", "seen"),
    [(300, 1, 10**6, 128), (300, 3, 10**6, 128), (40, 1, 10**6, 40), (300, 2, 1200, 10)],
)
def test_it_is_calibrated_on_a_sample_of_cases_whatever_their_channels(
    n_cases: int, channels: int, held: int, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsjepa.calibrator.HELD", held)
    series, asked = series_of(n_cases, channels), []

    class Watched(Series):
        def take(self, cases: np.ndarray) -> Series:
            asked.append(len(cases))
            return Series(self.values[cases])

    first, second = ready(config_of(), Watched(series.values)), ready(config_of(), series)
    assert asked == [seen]
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_before_calibration_it_is_refused() -> None:
    config = config_of()
    encoder = build_model(config, 1).encoder.eval()
    with pytest.raises(ValueError, match="call calibrate first"):
        embed(encoder, series_of(), config.probe)


def test_an_encoder_without_one_says_so() -> None:
    encoder = build_model(resolve(configure("tiny"), 60), 1).encoder.eval()
    with pytest.raises(ValueError, match="built without a sketch"):
        embed(encoder, series_of(), ProbeConfig(sketch=8))


def test_calibration_leaves_the_mode_and_other_weights_alone() -> None:
    config, series = config_of(), series_of()
    encoder = build_model(config, 1).encoder.train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    calibrate(encoder, series, config.probe)
    assert encoder.training
    changed = [name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])]
    whitenings = [f"whitenings.{block}.{part}" for block in range(2) for part in ("basis", "loss")]
    assert changed == [f"readout.sketch.{name}" for name in ("centre", "scale", *whitenings)]


def test_weights_that_are_trained_start_alike_with_and_without() -> None:
    plain, config = resolve(configure("tiny"), 60), config_of()
    first, second = build_model(plain, 1).state_dict(), build_model(config, 1).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert {name.removeprefix("encoder.") for name in set(second) - set(first)} == {
        "readout.shares.weight",
        "readout.shares.thresholds",
        "readout.sketch.centre",
        "readout.sketch.scale",
        *(f"readout.sketch.whitenings.{block}.{part}" for block in range(2) for part in ("basis", "loss")),
    }


def test_a_channel_without_a_value_takes_no_part() -> None:
    config, series = config_of(), series_of(channels=2)
    valid = np.ones(series.values.shape, bool)
    valid[3, 1], valid[4] = False, False
    holed = Series(np.where(valid, series.values, 0), valid)
    encoder = ready(config, holed)
    Z = embed(encoder, holed, config.probe)
    np.testing.assert_array_equal(Z[3], embed(encoder, Series(series.values[3:4, :1]), config.probe)[0])
    assert not Z[4].any()


def test_level_and_scale_are_part_of_it_where_they_are_asked_for() -> None:
    series = series_of(40)
    moved, grown = Series(series.values + 3), Series(series.values * 4)
    several = Series(np.concatenate([series.values, moved.values, grown.values]))
    for overrides, seen in (([], False), (["probe.scale_features=true"], True)):
        config = config_of(*overrides)
        encoder = ready(config, several)
        Z = embed(encoder, several, config.probe)
        for other in (Z[40:80], Z[80:]):
            assert bool(np.abs(Z[:40] - other).mean() > 0.1) is seen


def test_levels_that_differ_by_rounding_are_nothing() -> None:
    values = series_of(40).values.astype(np.float64)
    values = (values - values.mean(2, keepdims=True)) / values.std(2, keepdims=True)
    series = Series(values.astype(np.float32))
    scaled = config_of("probe.scale_features=true")
    encoder = ready(scaled, series)
    shift = Series((values + 1e-6).astype(np.float32))
    a, b = embed(encoder, series, scaled.probe), embed(encoder, shift, scaled.probe)
    assert np.abs(a - b).mean() < 0.01


def test_what_counts_for_nothing_leaves_the_others_their_weight() -> None:
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    alone, beside = Sketch([3, 3], size=16), Sketch([3, 3, 2], size=16)
    alone.measure(rows, weights=[1.0, 0.5])
    beside.measure(torch.cat([rows, 1e-9 * rows[:, :2]], 1), weights=[1.0, 0.5, 1.0], smallest=[1e-3])
    torch.testing.assert_close(beside.scale[:6], alone.scale)
    heard = torch.cat([rows, rows[:, :2]], 1)
    beside.measure(heard, weights=[1.0, 0.5, 1.0], smallest=[1e-3])
    assert beside.scale[:6].max() < alone.scale.max()
    beside.measure(heard, weights=[1.0, 1.0, 1.0], smallest=[1e-3, 100.0])
    distance = (rows - rows.mean(0))[:, 3:].square().sum(1).mean().sqrt()
    torch.testing.assert_close(beside.scale[3] / beside.scale[6], 100 / distance)


def test_the_default_reads_normalised_series_as_without_level_and_scale() -> None:
    values = series_of(40).values.astype(np.float64)
    series = Series(((values - values.mean(2, keepdims=True)) / values.std(2, keepdims=True)).astype(np.float32))
    default = resolve(configure("default"), series.values.shape[2])
    without = resolve(configure("default", None, ["probe.scale_features=false"]), series.values.shape[2])
    assert default.probe.scale_features
    rows = [embed(ready(config, series), series, config.probe) for config in (default, without)]
    assert np.mean(rows[0] != rows[1]) < 0.001


@pytest.mark.parametrize(("n_cases", "share"), [(25, 1 / 3), (200, 0.5**0.5), (19_800, 0.995)])
def test_levels_count_less_where_series_are_few(n_cases: int, share: float) -> None:
    probe = config_of("probe.scale_features=true", "probe.level_weight=0.8").probe
    assert block_weights(probe, 5, n_cases) == pytest.approx(
        [1, 0.8 * share, 0.8 * share, 0.5**0.5, 0.5**0.5], rel=1e-3
    )
    assert block_weights(config_of("probe.shares=false").probe, 2, 200) == pytest.approx([0.6 * 0.5**0.5] * 2)


def test_series_without_a_value_are_no_part_of_the_sample() -> None:
    config = config_of()
    few, among = build_model(config, 1).encoder, build_model(config, 1).encoder
    values = series_of(6).values
    many = np.zeros((2000, 1, 60), np.float32)
    many[1000:1006] = values
    valid = np.zeros(many.shape, bool)
    valid[1000:1006] = True
    calibrate(few, Series(values), config.probe)
    calibrate(among, Series(many, valid), config.probe)
    assert few.readout is not None
    assert among.readout is not None
    for name in ("sketch.centre", "sketch.whitenings.0.loss"):
        torch.testing.assert_close(among.readout.state_dict()[name], few.readout.state_dict()[name])
    nothing = build_model(config, 1).encoder
    calibrate(nothing, Series(many, np.zeros_like(valid)), config.probe)
    assert nothing.readout is not None
    assert nothing.readout.sketch is not None
    assert not nothing.readout.sketch.known


def test_levels_count_by_the_number_of_training_series_not_of_those_looked_at() -> None:
    config, series = config_of(), series_of(300)
    encoder = build_model(config, 1).encoder.eval()
    calibrator = Calibrator(encoder, series, config.probe, whiten=False)
    calibrator("cpu")
    assert encoder.readout is not None
    sketch = encoder.readout.sketch
    assert isinstance(sketch, Sketch)
    x = torch.cat([batch.views[0].x[: batch.n] for batch in calibrator.sample])
    assert len(x) < 300
    with torch.no_grad():
        blocks = [encoder.shares(x), *(level.mean(1) for level in encoder(x, levels=range(1, encoder.depth + 1)))]
    away = [float((block - block.mean(0)).square().sum(1).mean().sqrt()) for block in blocks]
    weights = [float(part[0]) * size for part, size in zip(sketch.scale.split(sketch.widths), away, strict=True)]
    assert weights[1] / weights[0] == pytest.approx(0.6 * (300 / (300 + 200)) ** 0.5, rel=1e-3)
