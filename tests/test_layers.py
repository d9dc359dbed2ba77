"""Normalisation, position code, attention block and gathering, each against an independent reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tsjepa.layers import (
    ROUNDING,
    SCALE_FLOOR,
    Block,
    gather_tokens,
    init_weights,
    instance_normalize,
    plain_attention,
    sincos_positions,
    softmax,
)


def normalized(x: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Normalise in float64, a channel at a time."""
    out = np.zeros(x.shape)
    for place in np.ndindex(x.shape[:2]):
        there = np.ones(x.shape[2], bool) if valid is None else valid[place]
        values = x[place][there].astype(np.float64)
        if len(values):
            largest = max(np.abs(values).max(), 1e-300)
            scale = values.std() if values.std() > ROUNDING * largest else SCALE_FLOOR * largest
            out[place][there] = (values - values.mean()) / scale
    return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("offset", "scale"), [(0, 1), (5, 0.1), (-300, 20), (1e6, 1e4), (1e6, 300), (2e4, 1.8), (1e6, 1e-3)]
)
def test_normalisation_equals_float64(masked: bool, offset: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    x = (offset + scale * rng.standard_normal((4, 3, 200))).astype(np.float32)
    valid = rng.random(x.shape) < 0.7 if masked else None
    got = instance_normalize(torch.from_numpy(x), None if valid is None else torch.from_numpy(valid))
    np.testing.assert_allclose(got.numpy(), normalized(x, valid), atol=2e-3)


def test_what_stands_at_invalid_points_is_irrelevant() -> None:
    x, valid = torch.randn(5, 2, 30), torch.rand(5, 2, 30) < 0.6
    valid[0, 0] = False
    want = instance_normalize(x, valid)
    assert torch.equal(want[~valid], torch.zeros(int((~valid).sum())))
    for junk in (1e30, float("nan"), float("inf")):
        assert torch.equal(instance_normalize(torch.where(valid, x, junk), valid), want)


def test_all_valid_equals_no_mask() -> None:
    x = torch.randn(3, 2, 40)
    torch.testing.assert_close(instance_normalize(x, torch.ones_like(x, dtype=torch.bool)), instance_normalize(x))


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -7.3, 1e6 / 3, 1e-20])
@pytest.mark.parametrize("masked", [False, True])
def test_constant_channels_become_zeros(value: float, masked: bool) -> None:
    x = torch.full((2, 1, 501), value)
    valid = torch.rand(2, 1, 501) < 0.5 if masked else None
    assert instance_normalize(x, valid).abs().max() < 0.02


@pytest.mark.parametrize("masked", [False, True])
def test_a_sensor_on_a_large_offset_is_normalised_and_its_rounding_is_not(masked: bool) -> None:
    pressure = 101325 + torch.sin(torch.arange(200) / 5)[None, None]
    valid = torch.ones(1, 1, 200, dtype=torch.bool) if masked else None
    assert instance_normalize(pressure, valid).std().item() == pytest.approx(1, abs=0.01)
    rounded = torch.nextafter(torch.full((1, 1, 200), 101325.0), torch.tensor(0.0))
    rounded[..., ::2] = 101325.0
    assert instance_normalize(rounded, valid).abs().max() < 0.01


@settings(deadline=None, derandomize=True, max_examples=30)
@given(exponent=st.integers(-80, 80), seed=st.integers(0, 1000), masked=st.booleans())
def test_scale_does_not_matter(exponent: int, seed: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 2, 50, generator=generator)
    valid = torch.rand(2, 2, 50, generator=generator) < 0.7 if masked else None
    torch.testing.assert_close(
        instance_normalize(x * 2.0**exponent, valid), instance_normalize(x, valid), rtol=1e-4, atol=1e-5
    )


def test_each_channel_of_each_series_is_on_its_own() -> None:
    x = torch.randn(3, 2, 20)
    whole = instance_normalize(x)
    for b in range(3):
        for c in range(2):
            torch.testing.assert_close(instance_normalize(x[b : b + 1, c : c + 1])[0, 0], whole[b, c])


def test_position_code_is_that_of_vaswani() -> None:
    positions, dim = np.array([[0, 3, 7], [1, 500, 4]]), 12
    angle = positions[..., None] / 10_000 ** (np.arange(dim // 2) / (dim // 2))
    want = np.concatenate([np.sin(angle), np.cos(angle)], -1)
    np.testing.assert_allclose(sincos_positions(torch.from_numpy(positions), dim).numpy(), want, atol=1e-4)


def test_positions_that_come_more_than_once_have_the_code_of_each_alone() -> None:
    positions = torch.arange(12).repeat(5, 1)
    want = sincos_positions(positions[0], 64)
    assert torch.equal(sincos_positions(positions, 64), want.expand(5, -1, -1))
    assert torch.equal(sincos_positions(positions[:, 3:] - 3, 64), want[:9].expand(5, -1, -1))
    for dtype in (torch.int16, torch.float64):
        assert torch.equal(sincos_positions(positions.to(dtype), 64), want.expand(5, -1, -1))
    below = positions - 4  # are no rows of a table
    torch.testing.assert_close(sincos_positions(below, 64), sincos_positions(below[0], 64).expand(5, -1, -1))


@pytest.mark.parametrize("n", [1, 3, 8, 10, 25, 31, 32, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_softmax_equals_torchs_in_float64(n: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(n)
    logits = (4 * torch.randn(6, 2, 5, n, generator=generator)).to(dtype)
    logits[..., 1:][torch.rand(6, 2, 5, n - 1, generator=generator) < 0.2] = -torch.inf
    weights, upstream = softmax(logits.requires_grad_()), torch.randn(6, 2, 5, n, generator=generator)
    weights.backward(upstream.to(dtype))
    exact = logits.detach().double().requires_grad_()
    want = torch.softmax(exact, -1)
    want.backward(upstream.to(dtype).double())
    assert weights.dtype == dtype
    close = {"rtol": 2e-2, "atol": 1e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(weights.double(), want, **close)
    torch.testing.assert_close(logits.grad.double(), exact.grad, **close)


def reference_block(block: Block, x: Tensor, attend: Tensor | None) -> Tensor:
    """Run a block head by head and query by query."""
    dim, size = x.shape[-1], x.shape[-1] // block.heads
    query, key, value = block.qkv(block.norm1(x)).split(dim, -1)
    mixed = torch.zeros_like(x)
    for b in range(len(x)):
        seen = torch.ones(x.shape[1], dtype=torch.bool) if attend is None else attend[b]
        for h in range(block.heads):
            part = slice(h * size, (h + 1) * size)
            for n in range(x.shape[1]):
                score = key[b, seen, part] @ query[b, n, part] / size**0.5
                mixed[b, n, part] = score.softmax(0) @ value[b, seen, part]
    x = x + block.proj(mixed)
    return x + block.mlp(block.norm2(x))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_block_equals_plain_attention(heads: int, masked: bool) -> None:
    block, x = Block(8, heads).double(), torch.randn(3, 5, 8, dtype=torch.float64)
    attend = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]]).bool() if masked else None
    torch.testing.assert_close(block(x, attend), reference_block(block, x, attend))


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="dim must be divisible by heads, but dim=8 and heads=3"):
        Block(8, 3)


def test_initial_weights() -> None:
    linear = torch.nn.Linear(400, 400)
    init_weights(linear)
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not linear.bias.any()
    init_weights(torch.nn.Linear(3, 3, bias=False))
    norm = torch.nn.LayerNorm(4)
    init_weights(norm)
    assert norm.weight.eq(1).all()


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.data())
def test_gathered_rows_come_from_their_own_row(data: st.DataObject) -> None:
    rows, n, k = (data.draw(st.integers(1, 6)) for _ in range(3))
    index = torch.tensor(
        data.draw(st.lists(st.lists(st.integers(0, n - 1), min_size=k, max_size=k), min_size=rows, max_size=rows))
    )
    tokens = torch.arange(rows)[:, None, None] * 100.0 + torch.arange(n)[:, None] * 10.0 + torch.arange(3)
    got = gather_tokens(tokens, index)
    assert got.shape == (rows, k, 3)
    for b in range(rows):
        for i in range(k):
            assert got[b, i].tolist() == [b * 100 + index[b, i].item() * 10 + d for d in range(3)]


def test_gathered_rows_and_their_gradients_are_those_of_gather() -> None:
    tokens, index = torch.randn(4, 6, 3, requires_grad=True), torch.tensor([[5, 0, 5], [1, 1, 1], [2, 3, 4], [0, 1, 2]])
    upstream = torch.randn(4, 3, 3)
    want = tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, 3))
    assert torch.equal(gather_tokens(tokens, index), want)
    (mine,) = torch.autograd.grad(gather_tokens(tokens, index), tokens, upstream)
    assert torch.equal(mine, torch.autograd.grad(want, tokens, upstream)[0])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("first", [1, 4])
def test_results_from_a_token_on_are_those_of_the_whole(first: int, causal: bool, masked: bool) -> None:
    torch.manual_seed(0)
    block, x = Block(8, heads=2, causal=causal).double(), torch.randn(3, 5, 8, dtype=torch.float64)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    attend = torch.tensor([[True, False, True, True, False]]).expand(3, -1) if masked else None
    whole, part = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.testing.assert_close(block(part, attend, first=first), block(whole, attend)[:, first:])
    block(part, attend, first=first).square().sum().backward()
    block(whole, attend)[:, first:].square().sum().backward()
    torch.testing.assert_close(part.grad, whole.grad)


@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_plain_attention_is_that_of_torch(mask: str | None) -> None:
    query, key, value = torch.randn(3, 2, 2, 7, 4, dtype=torch.float64).unbind(0)
    given = {"bool": torch.rand(2, 1, 1, 7) < 0.7, "float": torch.randn(7, 7, dtype=torch.float64)}.get(mask)
    if mask == "bool":
        given[..., 0] = True
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=given)
    torch.testing.assert_close(plain_attention(query, key, value, given), expected)


@pytest.mark.parametrize(
    ("n", "dtype"),
    [(3, torch.bfloat16), (10, torch.bfloat16), (31, torch.bfloat16), (8, torch.float32), (10, torch.float32)],
)
def test_a_row_has_the_same_weights_wherever_it_stands_and_however_many_threads_there_are(
    n: int, dtype: torch.dtype
) -> None:
    logits = torch.randn(70, 2, n, n).to(dtype)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found += [
                softmax(logits),
                softmax(logits.flip(0)).flip(0),
                torch.cat([softmax(one) for one in logits[:, None]]),
            ]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("index", [[[3], [0]], [[0], [-1]]])
def test_a_position_that_a_row_has_not_is_an_error(index: list[list[int]]) -> None:
    with pytest.raises(IndexError, match="tokens have positions 0 to 2"):
        gather_tokens(torch.arange(6.0).view(2, 3, 1), torch.tensor(index))
