"""Values to tokens, each tokenizer against a reference in plain numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tsjepa.tokenizers import ConvStem, LinearPatches, SpectralPatches, n_patches, to_patches

TOKENIZERS = {"linear": LinearPatches, "spectral": SpectralPatches, "conv": ConvStem}
kinds = pytest.mark.parametrize("kind", TOKENIZERS)
lengths = pytest.mark.parametrize("n_timepoints", [20, 21, 24, 3])
channel_counts = pytest.mark.parametrize("channels", [1, 3])
PATCH = 5


def padded(x: Tensor) -> np.ndarray:
    """Cut into patches [B, C, N, P] in float64, filled up with zeros."""
    length = -(-x.shape[-1] // PATCH) * PATCH
    whole = np.zeros((*x.shape[:2], length))
    whole[..., : x.shape[-1]] = x.numpy()
    return whole.reshape(*x.shape[:2], -1, PATCH)


def through(proj: nn.Linear, features: np.ndarray) -> np.ndarray:
    """Apply a linear layer in float64."""
    return features @ proj.weight.detach().double().numpy().T + proj.bias.detach().double().numpy()


@kinds
@lengths
@channel_counts
def test_shape(kind: str, n_timepoints: int, channels: int) -> None:
    tokenizer = TOKENIZERS[kind](PATCH, 8, channels)
    tokens = tokenizer(torch.randn(2, channels, n_timepoints))
    assert tokens.shape == (2, -(-n_timepoints // PATCH), 8)
    assert tokens.isfinite().all()
    assert (tokenizer.patch_length, tokenizer.dim, tokenizer.channels) == (PATCH, 8, channels)


@kinds
@lengths
@channel_counts
def test_asked_for_some_tokens_it_gives_those_alone(kind: str, n_timepoints: int, channels: int) -> None:
    tokenizer, x = TOKENIZERS[kind](PATCH, 8, channels), torch.randn(2, channels, n_timepoints)
    whole = tokenizer(x)
    keep = torch.stack([torch.randperm(whole.shape[1])[:2].sort().values for _ in range(2)])
    expected = torch.stack([row[index] for row, index in zip(whole, keep, strict=True)])
    torch.testing.assert_close(tokenizer(x, keep), expected)


@pytest.mark.parametrize(("n_timepoints", "count"), [(1, 1), (4, 1), (5, 1), (6, 2), (500, 100), (501, 101)])
def test_patch_count(n_timepoints: int, count: int) -> None:
    assert n_patches(n_timepoints, PATCH) == count
    x = torch.randn(2, 3, n_timepoints)
    patches = to_patches(x, PATCH)
    assert patches.shape == (2, 3, count, PATCH)
    assert torch.equal(patches.flatten(2)[..., :n_timepoints], x)
    assert not patches.flatten(2)[..., n_timepoints:].any()


def test_a_mask_is_filled_up_with_false() -> None:
    patches = to_patches(torch.ones(1, 1, 3, dtype=torch.bool), 2)
    assert patches.dtype == torch.bool
    assert patches.flatten().tolist() == [True, True, True, False]


@lengths
@channel_counts
def test_linear_patches_are_a_matrix_product(n_timepoints: int, channels: int) -> None:
    x, tokenizer = torch.randn(2, channels, n_timepoints), LinearPatches(PATCH, 8, channels)
    flat = padded(x).transpose(0, 2, 1, 3).reshape(2, -1, channels * PATCH)
    np.testing.assert_allclose(tokenizer(x).detach(), through(tokenizer.proj, flat), atol=1e-5)


@lengths
@channel_counts
def test_spectral_patches_are_values_and_numpys_spectrum(n_timepoints: int, channels: int) -> None:
    x, tokenizer = torch.randn(2, channels, n_timepoints), SpectralPatches(PATCH, 8, channels)
    patches = padded(x)
    window = np.hanning(PATCH + 2)[1:-1]
    power = np.abs(np.fft.rfft(patches * window / np.linalg.norm(window))) ** 2
    features = np.concatenate([patches, np.log(power + 1e-3)], -1)
    np.testing.assert_allclose(tokenizer.features(torch.from_numpy(patches).float()), features, rtol=1e-4, atol=1e-4)
    flat = features.transpose(0, 2, 1, 3).reshape(2, features.shape[2], -1)
    np.testing.assert_allclose(tokenizer(x).detach(), through(tokenizer.proj, flat), atol=1e-3)


@pytest.mark.parametrize("patch_length", [1, 2, 7, 50])
def test_spectral_feature_count(patch_length: int) -> None:
    tokenizer = SpectralPatches(patch_length, 4)
    assert tokenizer(torch.randn(1, 1, 3 * patch_length)).shape == (1, 3, 4)
    assert tokenizer.window.square().sum().item() == pytest.approx(1)


def conv_reference(stem: ConvStem, x: Tensor) -> np.ndarray:
    """Compute share of positive values and maximum per filter and patch, point by point, in float64."""
    values = padded(x).reshape(*x.shape[:2], -1)
    n_timepoints, rows = values.shape[-1], []
    for conv in stem.convs:
        weight, bias = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
        size, step = weight.shape[-1], conv.dilation[0]
        response = np.tile(bias[None, :, None], (len(values), 1, n_timepoints))
        for t in range(n_timepoints):
            for k in range(size):
                source = t + (k - size // 2) * step - (0 if stem.sees_later else stem.reach)
                if 0 <= source < n_timepoints:
                    response[:, :, t] += values[:, :, source] @ weight[:, :, k].T
        rows.append(response)
    response = np.concatenate(rows, 1)
    share, largest = [], []
    for start in range(0, n_timepoints, PATCH):
        patch = response[..., start : start + PATCH]
        share.append((1 / (1 + np.exp(-4 * patch))).mean(-1))
        largest.append(patch.max(-1))
    return np.concatenate([np.stack(share, -1), np.stack(largest, -1)], 1).transpose(0, 2, 1)


@lengths
@channel_counts
@pytest.mark.parametrize("causal", [False, True])
def test_conv_stem_equals_a_loop(n_timepoints: int, channels: int, causal: bool) -> None:
    x = torch.randn(2, channels, n_timepoints)
    stem = ConvStem(PATCH, 8, channels, filters=3, dilations=(1, 4), causal=causal)
    want = conv_reference(stem, x)
    np.testing.assert_allclose(stem(x).detach(), through(stem.proj, want), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(stem.plain_statistics(x).detach(), want, rtol=1e-4, atol=1e-4)


@channel_counts
def test_conv_filters_start_zero_sum_and_unit_norm(channels: int) -> None:
    stem = ConvStem(PATCH, 8, channels)
    assert [conv.dilation[0] for conv in stem.convs] == [1, 2, 4, 8]
    for conv in stem.convs:
        assert conv.weight.sum((1, 2)).abs().max() < 1e-5
        torch.testing.assert_close(conv.weight.flatten(1).norm(dim=1), torch.ones(32))
        assert conv.bias.abs().max() <= 1


@kinds
def test_every_weight_gets_a_gradient(kind: str) -> None:
    tokenizer = TOKENIZERS[kind](PATCH, 8)
    tokenizer(torch.randn(3, 1, 23)).square().sum().backward()
    for name, parameter in tokenizer.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@kinds
def test_values_get_a_gradient(kind: str) -> None:
    tokenizer, keep = TOKENIZERS[kind](PATCH, 8).double(), torch.tensor([[3, 0], [1, 2]])
    x = torch.randn(2, 1, 18, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tokenizer, (x, keep))
    torch.testing.assert_close(tokenizer(x, keep), tokenizer(x.detach(), keep))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("keep", [None, torch.tensor([[3, 0], [1, 2]])])
def test_a_compiled_stem_has_the_same_value_and_gradient(keep: Tensor | None) -> None:
    stem, x = ConvStem(PATCH, 8, filters=3, dilations=(1, 4)), torch.randn(2, 1, 18)
    plain, compiled = stem(x, keep), torch.compile(stem, backend="aot_eager")(x, keep)
    torch.testing.assert_close(compiled, plain)
    upstream = torch.randn_like(plain)
    grads = [torch.autograd.grad(tokens, list(stem.parameters()), upstream) for tokens in (compiled, plain)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@kinds
def test_only_the_stem_sees_neighbours(kind: str) -> None:
    tokenizer, x = TOKENIZERS[kind](PATCH, 8), torch.randn(2, 1, 40)
    changed = x.clone()
    changed[..., 15:20] += 1
    moved = (tokenizer(x) - tokenizer(changed)).abs().amax((0, 2)) > 1e-6
    assert moved[3]
    assert moved.sum() == 1 or tokenizer.sees_neighbours
    assert bool(moved[2]) is tokenizer.sees_neighbours
