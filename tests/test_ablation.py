"""Encoders without one of their parts, and how sparse activations are."""

import copy
import math

import pytest
import torch
from diagnosed import models

from tsjepa.evaluation.ablation import activation_sparsity, pieces, sparsity, without
from tsjepa.layers import instance_normalize, sincos_positions


def test_taking_a_piece_out_equals_zeroed_weights_and_leaves_no_hook() -> None:
    encoder = models(settings=["encoder.depth=2", "encoder.registers=1"])[0].encoder
    x = torch.randn(3, 1, 60)
    with torch.no_grad():
        whole = encoder(x)[0]
        for piece in pieces(encoder):
            manual = copy.deepcopy(encoder)
            block = manual.blocks[piece.block]
            if piece.head is None:
                block.mlp[-1].weight.zero_()
                block.mlp[-1].bias.zero_()
            else:
                width = manual.dim // block.heads
                block.proj.weight[:, piece.head * width : (piece.head + 1) * width] = 0
            with without(encoder, piece):
                ablated = encoder(x)[0]
            torch.testing.assert_close(ablated, manual(x)[0])
            assert not torch.allclose(ablated, whole)
            torch.testing.assert_close(encoder(x)[0], whole, rtol=0, atol=0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


def test_hooks_go_when_something_fails() -> None:
    encoder = models()[0].encoder
    for piece in pieces(encoder):
        with pytest.raises(RuntimeError, match="stop"), without(encoder, piece):
            raise RuntimeError("stop")
    with pytest.raises(ValueError, match="channels"):
        activation_sparsity(encoder, torch.zeros(1, 2, 60))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


def test_sparsity_of_known_activations() -> None:
    even, one = sparsity(torch.ones(5, 16)), sparsity(torch.eye(16))
    assert even.hoyer == pytest.approx(0)
    assert even.silent == 0
    assert one.hoyer == pytest.approx(1)
    assert one.silent == pytest.approx(15 / 16)
    assert sparsity(torch.zeros(2, 16)) == (1, 1)
    z = torch.randn(8, 16)
    assert sparsity(100 * z).hoyer == pytest.approx(sparsity(z).hoyer)


def test_sparsity_is_that_of_the_activations_behind_gelu_at_valid_tokens() -> None:
    encoder = models()[0].encoder
    x, valid = torch.randn(3, 1, 60), torch.ones(3, 1, 60, dtype=torch.bool)
    valid[0, :, 30:] = False
    attend = encoder.token_valid(valid)
    with torch.no_grad():
        h = encoder.tokenizer(instance_normalize(x, valid))
        h = h + sincos_positions(torch.arange(h.shape[1]), encoder.dim)
        block = encoder.blocks[0]
        h = h + block.attention(block.norm1(h), attend, None)
        activations = torch.nn.functional.gelu(block.mlp[0](block.norm2(h)))[attend].double()
    hoyer = (math.sqrt(128) - activations.norm(p=1, dim=1) / activations.norm(dim=1)) / (math.sqrt(128) - 1)
    assert activation_sparsity(encoder, x, valid).hoyer == pytest.approx(float(hoyer.mean()), abs=1e-5)
