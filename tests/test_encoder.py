"""The encoder: what it keeps it computes as if the rest were not there, and the rest does not leak."""

import pytest
import torch
from random_values import gen
from torch import Tensor

from tsjepa.encoder import Encoder
from tsjepa.layers import instance_normalize, sincos_positions
from tsjepa.masking import Mask, block_mask, random_mask
from tsjepa.tokenizers import ConvStem, LinearPatches, SpectralPatches

PATCH, DIM = 5, 8
KINDS = {"linear": LinearPatches, "spectral": SpectralPatches, "conv": ConvStem}
kinds = pytest.mark.parametrize("kind", KINDS)


def make(kind: str = "linear", channels: int = 1, depth: int = 2, normalize: str = "none") -> Encoder:
    encoder = Encoder(KINDS[kind](PATCH, DIM, channels), depth=depth, heads=2, normalize=normalize)
    with torch.no_grad():
        for block in encoder.blocks:  # larger than the initial weights, so that attention matters
            for parameter in block.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return encoder


def dense_reference(encoder: Encoder, x: Tensor, visible: Tensor) -> list[Tensor]:
    """Run all tokens at full length, keys of hidden tokens weighted with zero: one [B, N, D] tensor a level."""
    tokens = encoder.tokenizer(x)
    h = tokens + sincos_positions(torch.arange(tokens.shape[1]), encoder.dim)
    states = [tokens]
    for block in encoder.blocks:
        query, key, value = (part.unflatten(-1, (block.heads, -1)) for part in block.qkv(block.norm1(h)).chunk(3, -1))
        score = torch.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
        weight = score.exp() * visible[:, None, None, :]
        weight = weight / weight.sum(-1, keepdim=True)
        h = h + block.proj(torch.einsum("bhqk,bkhd->bqhd", weight, value).flatten(2))
        h = h + block.mlp(block.norm2(h))
        states.append(h)
    states[-1] = encoder.norm(h)
    return states


@pytest.mark.parametrize("kind", ["linear", "spectral"])
def test_kept_tokens_equal_a_dense_run_with_restricted_attention(kind: str) -> None:
    encoder, x = make(kind), torch.randn(4, 1, 38)
    mask = random_mask(4, 8, gen(), ratio=0.5)
    visible = torch.zeros(4, 8).scatter(1, mask.context, 1.0)
    levels = encoder(x, keep=mask.context, levels=(0, 1, 2))
    for got, want in zip(levels, dense_reference(encoder, x, visible), strict=True):
        for b in range(4):
            torch.testing.assert_close(got[b], want[b, mask.context[b]], rtol=1e-4, atol=1e-5)


def test_positions_are_those_of_the_kept_tokens() -> None:
    encoder, x = make(depth=1), torch.randn(1, 1, PATCH).repeat(1, 1, 6)  # all patches are alike
    first, last = (encoder(x, keep=torch.tensor([[i]]))[0] for i in (0, 5))
    assert (first - last).abs().max() > 1e-2
    every = torch.arange(6)[None]
    torch.testing.assert_close(encoder(x, keep=every)[0], encoder(x)[0])
    permuted = torch.tensor([[4, 0, 5, 2, 1, 3]])
    torch.testing.assert_close(encoder(x, keep=permuted)[0], encoder(x)[0][:, permuted[0]])


@kinds
@pytest.mark.parametrize("draw", [random_mask, block_mask])
def test_a_hidden_patch_does_not_reach_the_context(kind: str, draw) -> None:
    encoder, x = make(kind, channels=2), torch.randn(3, 2, 58)
    mask = draw(3, 12, gen(1), ratio=0.5)
    want = encoder(x, keep=mask.context, levels=(0, 1, -1))
    hidden = torch.zeros(3, 12, dtype=torch.bool).scatter(1, mask.target, True).repeat_interleave(PATCH, 1)
    for junk in (100.0, -3.0, float("nan")):
        changed = torch.where(hidden[:, None, :58], junk, x)
        for a, b in zip(encoder(changed, keep=mask.context, levels=(0, 1, -1)), want, strict=True):
            assert torch.equal(a, b)


@kinds
def test_every_visible_patch_reaches_the_context(kind: str) -> None:
    encoder, x = make(kind), torch.randn(3, 1, 60)
    mask = random_mask(3, 12, gen(), ratio=0.5)
    want = encoder(x, keep=mask.context)[0]
    for i in range(6):
        changed = x.clone()
        for b in range(3):
            start = PATCH * int(mask.context[b, i])
            changed[b, :, start : start + PATCH] += torch.randn(PATCH)
        assert ((encoder(changed, keep=mask.context)[0] - want).abs().amax((1, 2)) > 1e-4).all()


@kinds
def test_padding_of_ragged_context_does_not_show_a_hidden_patch(kind: str) -> None:
    encoder, x = make(kind), torch.randn(2, 1, 40)
    there = torch.tensor([[True] * 4 + [False] * 4, [True] * 8])
    valid = there.repeat_interleave(PATCH, 1)[:, None]
    mask = Mask(
        torch.tensor([[1, 0, 2, 3], [0, 2, 4, 6]]),  # row 0 sees token 1 only, the rest is padding
        torch.tensor([[0, 2, 3, 1], [1, 3, 5, 7]]),
        torch.tensor([[True, False, False, False], [True] * 4]),
        torch.tensor([[True, True, True, False], [True] * 4]),
    )
    changed = x.clone()
    changed[0, :, :PATCH] += 5
    changed[0, :, 2 * PATCH :] -= 5
    want, got = (encoder(v, keep=mask.context, valid=valid, attend=mask.context_valid)[0] for v in (x, changed))
    assert torch.equal(got[0, 0], want[0, 0])
    assert torch.equal(got[1], want[1])


def test_levels() -> None:
    encoder, x = make(depth=3), torch.randn(2, 1, 20)
    every = encoder(x, levels=(0, 1, 2, 3))
    torch.testing.assert_close(every[0], encoder.tokenizer(x))
    h = every[0] + sincos_positions(torch.arange(4), DIM)
    for level, block in enumerate(encoder.blocks, start=1):
        h = block(h)
        torch.testing.assert_close(every[level], encoder.norm(h) if level == 3 else h)
    for negative, positive in ((-1, 3), (-2, 2), (-4, 0)):
        assert torch.equal(encoder(x, levels=(negative,))[0], every[positive])
    assert [torch.equal(a, b) for a, b in zip(encoder(x, levels=(2, 0)), (every[2], every[0]), strict=True)]
    assert (encoder.depth, encoder.dim, encoder.channels, len(encoder(x, levels=()))) == (3, DIM, 1, 0)
    for level in (4, -5):
        with pytest.raises(IndexError):
            encoder(x, levels=(level,))


def test_tokens_out_of_attention_might_as_well_not_be_there() -> None:
    encoder, x = make(), torch.randn(3, 1, 40)
    mask = random_mask(3, 8, gen(), ratio=0.5)
    attend = torch.zeros(3, 8, dtype=torch.bool).scatter(1, mask.context, True)
    dense, dropped = encoder(x, attend=attend)[0], encoder(x, keep=mask.context)[0]
    for b in range(3):
        torch.testing.assert_close(dense[b, mask.context[b]], dropped[b], rtol=1e-4, atol=1e-5)


@kinds
@pytest.mark.parametrize("normalize", ["instance", "none"])
def test_a_row_with_nothing_valid_gives_finite_output(kind: str, normalize: str) -> None:
    encoder, x = make(kind, normalize=normalize), torch.randn(3, 1, 40)
    valid = torch.ones(3, 1, 40, dtype=torch.bool)
    valid[1] = False
    valid[2, :, 22:] = False
    attend = encoder.token_valid(valid)
    assert attend.tolist() == [[True] * 8, [False] * 8, [True] * 5 + [False] * 3]
    want = encoder(x, valid=valid, attend=attend)[0]
    assert want.isfinite().all()
    want.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    for junk in (9.0, float("nan")):
        assert torch.equal(encoder(torch.where(valid, x, junk), valid=valid, attend=attend)[0], want)
    torch.testing.assert_close(encoder(x[:1])[0], want[:1], rtol=1e-4, atol=1e-5)


def test_a_row_with_nothing_to_attend_to_attends_to_all() -> None:
    encoder, x = make(), torch.randn(2, 1, 20)
    attend = torch.tensor([[False] * 4, [True, False, True, True]])
    got = encoder(x, attend=attend)[0]
    torch.testing.assert_close(got[0], encoder(x)[0][0])
    assert (got[1] - encoder(x)[0][1]).abs().max() > 1e-4
    assert not attend[0].any()  # the caller's tensor is left alone


def test_a_token_is_valid_where_any_channel_holds_a_point() -> None:
    valid = torch.zeros(1, 2, 13, dtype=torch.bool)
    valid[0, 0, 4] = valid[0, 1, 12] = True
    assert make(channels=2).token_valid(valid).tolist() == [[True, False, True]]


def test_instance_normalisation_comes_first() -> None:
    x = 3 + 7 * torch.randn(2, 2, 30)
    encoder, plain = make(channels=2, normalize="instance"), make(channels=2)
    plain.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(encoder(x)[0], plain(instance_normalize(x))[0])
    assert (plain(x)[0] - encoder(x)[0]).abs().max() > 1e-2


@pytest.mark.parametrize(("takes", "gets"), [(1, 2), (3, 1), (2, 3)])
def test_wrong_number_of_channels(takes: int, gets: int) -> None:
    with pytest.raises(ValueError, match=f"takes {takes} channels a series, but got {gets}"):
        make(channels=takes)(torch.randn(2, gets, 20))


def test_an_odd_width_and_series_of_two_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"width of tokens must be even.*: it is 15"):
        Encoder(LinearPatches(PATCH, 15), depth=1, heads=3)
    with pytest.raises(ValueError, match=r"series must be \(n_cases, n_channels, n_timepoints\).* is \(4, 20\)"):
        make().sequences(torch.zeros(4, 20))


@kinds
def test_a_case_does_not_depend_on_the_others(kind: str) -> None:
    encoder, x = make(kind, normalize="instance"), torch.randn(5, 1, 33)
    whole = encoder(x)[0]
    for b in range(5):
        torch.testing.assert_close(encoder(x[b : b + 1])[0][0], whole[b], rtol=1e-4, atol=1e-5)


def test_sequences_are_channels_or_whole_series() -> None:
    x, valid = torch.randn(4, 3, 20), torch.rand(4, 3, 20) < 0.5
    apart, apart_valid = make().sequences(x, valid)
    assert torch.equal(apart[7, 0], x[2, 1])
    assert torch.equal(apart_valid[7, 0], valid[2, 1])
    assert make().sequences(x)[1] is None
    together, together_valid = make(channels=3).sequences(x, valid)
    assert torch.equal(together, x)
    assert torch.equal(together_valid, valid)
    with pytest.raises(ValueError, match="mixes the 3 channels that it was trained on, but the series have 2"):
        make(channels=3).sequences(x[:, :2])


def test_inputs_are_left_out_of_the_values_and_of_what_was_measured() -> None:
    encoder = Encoder(LinearPatches(PATCH, DIM, 2), depth=1, heads=2, normalize="none", inputs=(0, 2))
    x, valid = torch.randn(4, 4, 20), torch.rand(4, 4, 20) < 0.5
    seen, there = encoder.sequences(x, valid)
    assert torch.equal(seen, x[:, [1, 3]])
    assert torch.equal(there, valid[:, [1, 3]])


def test_another_way_to_normalise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^normalize is instance or none, but got 'instnce'\.$"):
        make(normalize="instnce")
    with pytest.raises(
        ValueError, match=r"got 'train'; to use the training series, give .none. and statistics=Training"
    ):
        make(normalize="train")
