from typing import get_args

import numpy as np
import pytest
import torch

from tsjepa.arrays import as_series
from tsjepa.embedding import Precision, batch_size, embed, embed_source, n_features, pool, resolve_device
from tsjepa.encoder import Encoder
from tsjepa.sections import ProbeConfig
from tsjepa.tokenizers import ConvStem, LinearPatches

STATISTICS = {"mean": np.mean, "std": np.std, "max": np.max}


def encoder(kind=LinearPatches, channels=1, depth=2):
    torch.manual_seed(0)
    return Encoder(kind(5, 8, channels), depth=depth, heads=2).eval()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("levels", ["all", "last", 1])
def test_pooling_equals_a_plain_loop(levels):
    X, net = noise(3, 2, 42), encoder()
    numbers = {"all": (0, 1, 2), "last": (2,), 1: (1,)}[levels]
    wanted = []
    with torch.no_grad():
        for case in X:
            row = []
            for channel in case:
                for tokens in net(torch.from_numpy(channel)[None, None], levels=numbers):
                    row += [STATISTICS[s](tokens[0].numpy(), 0) for s in ("mean", "std", "max")]
            wanted.append(np.concatenate(row))
    np.testing.assert_allclose(embed(net, as_series(X), ProbeConfig(levels=levels)), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", [LinearPatches, ConvStem])
def test_missing_patches_take_no_part(kind):
    """What stands at missing points, and how much of it, changes nothing."""
    X, net = noise(4, 1, 40), encoder(kind)
    X[1, 0, 10:20] = np.nan
    X[2, 0, 33:] = np.nan
    series = as_series(X)
    changed = series._replace(values=np.where(series.valid, series.values, 99).astype(np.float32))
    reference = embed(net, series, ProbeConfig())
    np.testing.assert_array_equal(embed(net, changed, ProbeConfig()), reference)
    longer = np.concatenate([X, np.full((4, 1, 25), np.nan, np.float32)], 2)
    np.testing.assert_array_equal(embed(net, as_series(longer), ProbeConfig())[1:3], reference[1:3])
    np.testing.assert_array_equal(embed(net, as_series(longer), ProbeConfig())[0], reference[0])


def test_masked_pooling_equals_pooling_of_what_is_valid():
    tokens = torch.randn(3, 6, 4)
    valid = torch.tensor([[1, 1, 0, 1, 0, 1]] * 3, dtype=torch.bool)
    for statistic in STATISTICS:
        torch.testing.assert_close(pool(tokens, valid, statistic), pool(tokens[:, valid[0]], None, statistic))


@pytest.mark.parametrize("precision", get_args(Precision))
def test_more_than_a_batch_and_one_alone_are_equal(precision):
    size = batch_size(precision, 40)
    X, net = noise(2 * size + 3, 1, 40), encoder()
    together = embed(net, as_series(X), ProbeConfig(), precision=precision)
    for case in (0, size - 1, size, 2 * size + 2):
        alone = embed(net, as_series(X[[case]]), ProbeConfig(), precision=precision)
        np.testing.assert_array_equal(alone[0], together[case])


def test_channels_are_concatenated_or_averaged():
    X, net = noise(5, 3, 40), encoder()
    apart = embed(net, as_series(X), ProbeConfig()).reshape(5, 3, -1)
    alone = embed(net, as_series(X[:, [1]]), ProbeConfig())
    np.testing.assert_allclose(apart[:, 1], alone, atol=1e-6)
    np.testing.assert_allclose(embed(net, as_series(X), ProbeConfig(channels="mean")), apart.mean(1), atol=1e-6)


def test_a_channel_without_values_is_zeros_and_counts_not_in_the_mean():
    X, net = noise(2, 2, 40), encoder()
    X[0, 1] = np.nan
    apart = embed(net, as_series(X), ProbeConfig())
    assert (apart[0, apart.shape[1] // 2 :] == 0).all()
    mean = embed(net, as_series(X), ProbeConfig(channels="mean"))
    np.testing.assert_array_equal(mean[0], apart[0, : apart.shape[1] // 2])


def test_the_largest_of_the_channels_and_those_without_values():
    X, net = noise(4, 3, 40), encoder()
    X[0, 1] = X[1] = np.nan
    apart = embed(net, as_series(X), ProbeConfig()).reshape(4, 3, -1)
    largest = embed(net, as_series(X), ProbeConfig(channels="max"))
    np.testing.assert_array_equal(largest[0], apart[0, [0, 2]].max(0))
    assert (largest[1] == 0).all()
    np.testing.assert_array_equal(largest[2:], apart[2:].max(1))


@pytest.mark.parametrize("channels", ["concat", "mean", "max"])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("scale", [False, True])
def test_the_number_of_features_is_known_before(channels, mixed, scale):
    probe = ProbeConfig(channels=channels, scale_features=scale, pool=("mean", "max"), levels="last")
    net = encoder(channels=3 if mixed else 1)
    Z = embed(net, as_series(noise(2, 3, 40)), probe)
    assert Z.shape[1] == n_features(net, probe, 3)
    joined = 1 if mixed or channels != "concat" else 3
    assert Z.shape[1] == joined * (2 * 8 + (2 * (3 if mixed else 1) if scale else 0))


def test_a_mixing_encoder_takes_its_own_number_of_channels():
    net = encoder(channels=3)
    assert embed(net, as_series(noise(2, 3, 40)), ProbeConfig()).shape == (2, 3 * 3 * 8)
    with pytest.raises(ValueError, match="mixes the 3 channels"):
        embed(net, as_series(noise(2, 2, 40)), ProbeConfig())


def test_a_level_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"levels 0 \(tokenizer\) to 2, but probe.levels is 3"):
        embed(encoder(), as_series(noise(1, 1, 40)), ProbeConfig(levels=3))


def test_devices():
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    assert resolve_device(torch.device("cpu")) == resolve_device(torch.device("cpu", 0)) == torch.device("cpu")
    with pytest.raises(ValueError, match="cpu:1 is not the first cpu device"):
        resolve_device("cpu:1")
    with pytest.raises(ValueError, match="'tpu' is not available here"):
        resolve_device("tpu")


@pytest.mark.parametrize("held", [1, 300, 10**6])
def test_series_that_are_read_some_at_a_time_are_embedded_alike(held, monkeypatch):
    """Memory is set by how much is read at a time: never more numbers than HELD, but one series at least."""
    X, net, probe, asked = noise(30, 2, 42), encoder(), ProbeConfig(), []
    X[3, 1] = np.nan
    X[7, :, 20:] = np.nan
    series = as_series(X)

    class Source:
        n_cases, n_channels, n_timepoints = 30, 2, 42

        def take(self, cases):
            asked.append(cases.tolist())
            return series.take(cases)

    monkeypatch.setattr("tsjepa.embedding.HELD", held)
    np.testing.assert_array_equal(embed_source(net, Source(), probe), embed(net, series, probe))
    assert [case for cases in asked for case in cases] == list(range(30))
    assert max(map(len, asked)) == max(1, min(30, held // max(2 * 42, n_features(net, probe, 2))))
