"""Statistics of the training series against float64, their way through a model, and the features of level and scale."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sketched import config_of, series_of

from tsjepa import normalization
from tsjepa.arrays import Series, as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.calibrator import calibrate
from tsjepa.checkpoint import CheckpointError, Header, load_checkpoint, save_checkpoint
from tsjepa.embedding import embed
from tsjepa.encoder import Encoder
from tsjepa.layers import SCALE_FLOOR
from tsjepa.normalization import (
    Moments,
    TrainingStatistics,
    all_statistics,
    channel_moments,
    copy_statistics,
    level_and_scale,
    take_statistics,
    too_large,
)
from tsjepa.tokenizers import LinearPatches
from tsjepa.training import Options, fit, fit_stages
from tsjepa.untrained import build_untrained

NAN = np.nan


def gappy(seed: int, n: int = 7, channels: int = 3, length: int = 20, share: float = 0.4) -> Series:
    """Return series with missing points, of different level and scale a channel."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, channels, length)) * 10.0 ** rng.integers(-3, 4, (1, channels, 1))
    X += rng.standard_normal((1, channels, 1)) * 1e3
    return as_series(np.where(rng.random(X.shape) < share, NAN, X))


def measured(series: Series, channel: int) -> np.ndarray:
    """Return the values of one channel that were measured, in float64."""
    valid = np.ones(series.values.shape, bool) if series.valid is None else series.valid
    return series.values[:, channel].astype(np.float64)[valid[:, channel]]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=st.integers(0, 10_000), chunk=st.sampled_from([1, 61, 130, 10**6]), share=st.sampled_from([0.0, 0.4, 0.99]))
def test_moments_in_chunks_equal_those_of_all_points_together(seed: int, chunk: int, share: float) -> None:
    series = gappy(seed, share=share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalization, "CHUNK", chunk)
        found = channel_moments(series)
    for c in range(3):
        points = measured(series, c)
        assert found.n_points[c] == len(points)
        if len(points):
            np.testing.assert_allclose(found.mean[c], points.mean(), rtol=1e-12)
            np.testing.assert_allclose(found.std[c], points.std(), rtol=1e-9, atol=1e-9 * np.abs(points).max())
            assert found.largest[c] == np.abs(points).max()


def test_series_are_read_in_chunks_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Source:
        n_cases, n_channels, n_timepoints = 10, 2, 30

        def __init__(self) -> None:
            self.read: list[list[int]] = []

        def take(self, cases: np.ndarray) -> Series:
            self.read.append(cases.tolist())
            return Series(np.ones((len(cases), 2, 30), np.float32))

        def measured(self) -> np.ndarray:
            return np.arange(10)

    source = Source()
    monkeypatch.setattr(normalization, "CHUNK", 4 * 60)
    assert channel_moments(source).n_points.tolist() == [300, 300]
    assert source.read == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_what_stands_at_missing_points_is_no_statistic() -> None:
    series = gappy(0)
    assert series.valid is not None
    junk = series._replace(values=np.where(series.valid, series.values, np.float32(NAN)))
    for a, b in zip(channel_moments(series), channel_moments(junk), strict=True):
        np.testing.assert_array_equal(a, b)


def test_scale_has_a_floor_and_unseen_channels_are_left_alone() -> None:
    X = np.zeros((2, 4, 8), np.float32)
    X[:, 1] = 5.0
    X[:, 2] = NAN
    X[:, 3] = np.arange(8)
    part = TrainingStatistics(4)
    assert not part.known
    x = torch.full((1, 4, 1), 7.0)
    assert torch.equal(part(x), x)
    part.set(channel_moments(as_series(X)))
    assert part.known
    wanted = [7.0, (7 - 5) / (SCALE_FLOOR * 5), 7.0, (7 - 3.5) / np.arange(8).std()]
    np.testing.assert_allclose(part(x).flatten().numpy(), wanted, rtol=1e-6)


def test_training_series_come_out_standardised() -> None:
    series = gappy(3, n=50)
    part, moments = TrainingStatistics(3), channel_moments(series)
    part.set(moments)
    out = Series(part(torch.from_numpy(series.values)).numpy(), series.valid)
    found = channel_moments(out)
    np.testing.assert_allclose(found.mean, 0, atol=1e-3)
    np.testing.assert_allclose(found.std, moments.std / np.maximum(moments.std, 1e-4 * moments.largest), atol=1e-3)


@pytest.mark.parametrize("channels", ["independent", "mixed"])
def test_each_channel_has_its_own_statistics(channels: str) -> None:
    series, config = toy(), configured(f"tokenizer.channels={channels}", "normalize=train")
    model = build_model(config, 3).eval()
    take_statistics(model, series)
    x = torch.from_numpy(series.values)
    points = series.values.astype(np.float64)
    by_hand = (points - points.mean((0, 2))[:, None]) / points.std((0, 2))[:, None]
    folded, _ = model.encoder.sequences(x)
    assert folded.shape == ((24, 1, 60) if channels == "independent" else (8, 3, 60))
    np.testing.assert_allclose(folded.numpy().reshape(8, 3, 60), by_hand, atol=1e-5)
    plain = build_model(configured(f"tokenizer.channels={channels}", "normalize=none"), 3).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "statistics" not in k})
    np.testing.assert_allclose(
        embed(model.encoder, series, config.probe),
        embed(plain.encoder, Series(by_hand.astype(np.float32)), config.probe),
        atol=1e-4,
    )


def toy(n: int = 8, channels: int = 3) -> Series:
    rng = np.random.default_rng(0)
    level = np.arange(channels)[:, None] * 10
    return Series((level + (1 + level) * rng.standard_normal((n, channels, 60))).astype(np.float32))


def configured(*overrides: str, objective: str | None = None):
    return resolve(configure("tiny", objective, ["train.epochs=2", *overrides]), 60)


@pytest.mark.parametrize("objective", ["ema", "sigreg", "distill", "salt"])
def test_training_keeps_the_statistics_in_every_encoder_and_in_the_checkpoint(tmp_path, objective: str) -> None:
    series, config = toy(), configured("normalize=train", objective=objective)
    model = build_model(config, 3)
    header = Header(config, "toy", 3, 60)
    fit_stages(model, series, header, Options(tmp_path, device="cpu", diagnose=False))
    loaded = load_checkpoint(tmp_path / "checkpoint.ckpt")[0]
    untrained = build_untrained(config, 3, loaded, series)
    wanted = series.values.astype(np.float64).mean((0, 2))
    parts = [part for one in (model, loaded, untrained) for part in all_statistics(one)]
    assert len(parts) == (3 if objective == "sigreg" else 6)
    for part in parts:
        np.testing.assert_allclose(part.mean, wanted, rtol=1e-5)
    assert not torch.equal(untrained.encoder.norm.weight, loaded.encoder.norm.weight)
    np.testing.assert_array_equal(
        embed(loaded.encoder, series, config.probe), embed(model.encoder, series, config.probe)
    )


def test_a_student_sees_the_values_that_its_teacher_was_trained_on(tmp_path) -> None:
    config = configured("normalize=train", objective="ema")
    teacher = build_model(config, 3)
    take_statistics(teacher, toy())
    save_checkpoint(tmp_path / "teacher.ckpt", teacher, Header(config, "toy", 3, 60))
    own = configured("normalize=train", f"target.teacher={tmp_path / 'teacher.ckpt'}", objective="distill")
    student = build_model(own, 3)
    fit_stages(student, Series(toy().values + 50), Header(own, "toy", 3, 60), Options(device="cpu", diagnose=False))
    for part in all_statistics(student):
        assert torch.equal(part.mean, teacher.encoder.statistics.mean)
    with pytest.raises(CheckpointError, match="the same channels"):
        fit_stages(build_model(own, 2), toy(channels=2), Header(own, "toy", 2, 60), Options(device="cpu"))


def test_statistics_are_taken_once() -> None:
    model = build_model(configured("normalize=train"), 3)
    take_statistics(model, toy())
    before = model.encoder.statistics.mean.clone()
    take_statistics(model, Series(toy().values + 100))
    assert torch.equal(model.encoder.statistics.mean, before)


def test_without_statistics_nothing_is_copied() -> None:
    models = [build_model(configured(), 3) for _ in range(2)]
    copy_statistics(*models)
    assert not all_statistics(models[0])
    assert not any("statistics" in name for name in models[0].state_dict())


@pytest.mark.parametrize("normalize", ["instance", "none"])
def test_an_encoder_of_single_channels_embeds_any_number(normalize: str) -> None:
    config = configured(f"normalize={normalize}", "probe.channels=mean")
    encoder = build_model(config, 3).eval().encoder
    assert embed(encoder, toy(channels=8), config.probe).shape == embed(encoder, toy(), config.probe).shape
    apart = config.probe.model_copy(update={"channels": "concat"})
    wide = embed(encoder, toy(channels=8), apart)
    np.testing.assert_array_equal(
        wide[:, : wide.shape[1] * 3 // 8], embed(encoder, Series(toy(channels=8).values[:, :3]), apart)
    )


def test_an_encoder_with_statistics_says_that_it_cannot() -> None:
    config = configured("normalize=train", "probe.channels=mean")
    encoder = build_model(config, 3).eval().encoder
    with pytest.raises(ValueError, match=r"statistics of the channels .* 3 in number, .* have 8.*normalize=instance"):
        embed(encoder, toy(channels=8), config.probe)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=st.integers(0, 10_000), exponent=st.integers(-25, 25), masked=st.booleans())
def test_level_and_scale_equal_float64(seed: int, exponent: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    x = ((rng.standard_normal((4, 2, 30)) + rng.integers(-50, 50)) * 2.0**exponent).astype(np.float32)
    valid = rng.random(x.shape) < 0.5 if masked else np.ones(x.shape, bool)
    found = level_and_scale(torch.from_numpy(x), torch.from_numpy(valid) if masked else None).numpy()
    assert found.dtype == np.float32
    for b, c in np.ndindex(4, 2):
        points = x[b, c][valid[b, c]].astype(np.float64)
        if len(points) > 1:
            np.testing.assert_allclose(found[b, 2 * c : 2 * c + 2], [points.mean(), np.log(points.std())], rtol=1e-5)


def test_scale_features_are_finite_for_dead_channels() -> None:
    x = torch.tensor([[0.0] * 4, [1e-30] * 4, [3e38, -3e38, 3e38, -3e38], [1e6] * 4, [1.0] * 4])[:, None]
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[4] = False
    found = level_and_scale(x, valid)
    assert found.isfinite().all()
    assert found[0].tolist() == pytest.approx([0.0, np.log(1e-12)])
    assert found[3].tolist() == pytest.approx([1e6, np.log(1e6 * 2**-23)])


def test_scale_features_stand_behind_the_pooled_tokens() -> None:
    series = gappy(1, n=4, length=60)
    for channels, width in (("independent", 2), ("mixed", 6)):
        config = configured(f"tokenizer.channels={channels}", "probe.scale_features=true")
        encoder = build_model(config, 3).eval().encoder
        rows = embed(encoder, series, config.probe)
        plain = embed(encoder, series, config.probe.model_copy(update={"scale_features": False}))
        rows, plain = (Z.reshape(4, -1, Z.shape[1] // (3 if width == 2 else 1)) for Z in (rows, plain))
        np.testing.assert_array_equal(rows[:, :, :-width], plain)
        assert series.valid is not None
        wanted = level_and_scale(torch.from_numpy(series.values), torch.from_numpy(series.valid))
        np.testing.assert_allclose(rows[:, :, -width:].reshape(4, 6), wanted, rtol=1e-5)


def test_scale_features_tell_series_apart_that_instance_normalisation_makes_alike() -> None:
    X = np.random.default_rng(0).standard_normal((1, 1, 60)).astype(np.float32)
    series = Series(np.concatenate([X, 4 * X + 8]))
    config = configured("probe.scale_features=true")
    rows = embed(build_model(config, 1).eval().encoder, series, config.probe)
    np.testing.assert_allclose(rows[0, :-2], rows[1, :-2], atol=1e-4)
    np.testing.assert_allclose(rows[1, -2:] - rows[0, -2:], [3 * X.mean() + 8, np.log(4)], rtol=1e-4)


def test_a_researcher_may_build_it_by_hand() -> None:
    encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1, normalize="none", statistics=TrainingStatistics(2))
    take_statistics(encoder, toy(channels=2))
    assert [name for name in encoder.state_dict() if "statistics" in name] == [
        "statistics.mean",
        "statistics.scale",
        "statistics.count",
    ]


def test_a_sketch_is_measured_on_series_that_are_standardised_already(tmp_path: Path) -> None:
    series = Series(series_of(40).values * 50 + 300)
    config = config_of("normalize=train", "train.epochs=2")

    def trained(n_epochs: int, resume: bool) -> np.ndarray:
        model, header = build_model(config, 1), Header(config, "toy", 1, 60)
        fit(model, series, header, Options(tmp_path, resume, "cpu", diagnose=False), epochs=n_epochs)
        found = embed(model.encoder, series, config.probe)
        calibrate(model.encoder, series, config.probe)
        np.testing.assert_array_equal(found, embed(model.encoder, series, config.probe))
        return found

    assert (np.abs(trained(1, resume=False)) == 1).mean() < 0.8
    trained(2, resume=True)


def test_the_largest_value_that_has_no_square_is_named_and_what_is_missing_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = gappy(0).with_nan()
    assert too_large(as_series(X)) is None
    X[2, 1, 5], X[4, 0, 3], X[5, 2, 0] = 1e20, -9e36, 1e30
    for chunk in (1, 100, 2**20):
        monkeypatch.setattr(normalization, "CHUNK", chunk)
        said = too_large(as_series(X), "the log")
        assert said is not None
        assert said.startswith(
            "-9e+36 in the log (case 4, channel 0, time point 3) is too large for normalize=none: put"
        )
    X[X > 1e19], X[4, 0, 3] = NAN, 1e19
    assert too_large(as_series(X)) is None


def test_a_constant_has_the_scale_of_its_magnitude_whatever_its_sign() -> None:
    found = level_and_scale(torch.tensor([[[-1e6] * 4], [[1e6] * 4]]))
    assert found[0, 1] == found[1, 1]


def test_a_scale_below_all_that_float32_holds_leaves_finite_values() -> None:
    statistics = TrainingStatistics(1)
    statistics.set(Moments(*np.array([[4.0], [0.0], [4e-100], [1e-50]])))
    assert statistics(torch.tensor([[[0.0, 1e-30]]])).isfinite().all()
