"""The predictor: one prediction a target position, out of what the context says and nothing else."""

import pytest
import torch

from tsjepa.layers import sincos_positions
from tsjepa.masking import Mask, random_mask
from tsjepa.predictor import Predictor

DIM = 8


def make(**options: int) -> Predictor:
    predictor = Predictor(DIM, **{"dim": 12, "depth": 2, "heads": 2} | options)
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return predictor


@pytest.mark.parametrize(("options", "width"), [({}, DIM), ({"out_dim": 24}, 24), ({"depth": 0}, DIM)])
def test_shape(options: dict[str, int], width: int) -> None:
    mask = random_mask(4, 10, torch.Generator(), ratio=0.3)
    assert make(**options)(torch.randn(4, 7, DIM), mask).shape == (4, 3, width)


def test_a_model_in_bfloat16_stays_so() -> None:
    mask = random_mask(4, 10, torch.Generator(), ratio=0.3)
    predictor, context = make(), torch.randn(4, 7, DIM)
    found = predictor.bfloat16()(context.bfloat16(), mask)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), predictor.float()(context, mask), rtol=0.1, atol=0.1)


def test_positions_of_context_and_targets_are_added() -> None:
    predictor, context = make(), torch.randn(1, 2, DIM)
    mask = Mask(torch.tensor([[1, 4]]), torch.tensor([[0, 2, 3]]))
    seen = predictor.embed(context) + sincos_positions(torch.tensor([[1, 4]]), 12)
    asked = predictor.mask_token + sincos_positions(torch.tensor([[0, 2, 3]]), 12)
    h = torch.cat([seen, asked], 1)
    for block in predictor.blocks:
        h = block(h)
    torch.testing.assert_close(predictor(context, mask), predictor.head(predictor.norm(h[:, 2:])))
    moved = predictor(context, mask._replace(context=torch.tensor([[0, 4]])))
    assert (moved - predictor(context, mask)).abs().max() > 1e-3


def test_rows_do_not_mix() -> None:
    predictor, context = make(), torch.randn(5, 6, DIM)
    mask = random_mask(5, 9, torch.Generator(), ratio=1 / 3)
    whole = predictor(context, mask)
    for b in range(5):
        alone = predictor(context[b : b + 1], Mask(mask.context[b : b + 1], mask.target[b : b + 1]))
        torch.testing.assert_close(alone[0], whole[b], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", ["context", "target"])
def test_padding_that_one_part_alone_has_changes_nothing(part: str) -> None:
    predictor, context = make(), torch.randn(2, 2, DIM)
    whole = Mask(torch.tensor([[1, 4], [0, 2]]), torch.tensor([[0, 2], [1, 3]]))
    padding, flags = torch.tensor([[2], [3]]), torch.tensor([[True, True, False]]).expand(2, -1)
    padded = whole._replace(**{part: torch.cat([getattr(whole, part), padding], 1), f"{part}_valid": flags})
    latents = torch.cat([context, torch.full((2, 1, DIM), 50.0)], 1) if part == "context" else context
    torch.testing.assert_close(predictor(latents, padded)[:, :2], predictor(context, whole), rtol=1e-4, atol=1e-5)


def test_padding_of_ragged_masks_changes_nothing() -> None:
    predictor, context = make(), torch.randn(1, 2, DIM)
    want = predictor(context, Mask(torch.tensor([[1, 4]]), torch.tensor([[0, 2]])))
    padded = Mask(
        torch.tensor([[1, 4, 7]]),
        torch.tensor([[0, 2, 5, 6]]),
        torch.tensor([[True, True, False]]),
        torch.tensor([[True, True, False, False]]),
    )
    got = predictor(torch.cat([context, torch.full((1, 1, DIM), 50.0)], 1), padded)
    torch.testing.assert_close(got[:, :2], want, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    predictor = Predictor(DIM, dim=12, depth=1, heads=2)
    predictor(torch.randn(3, 5, DIM), random_mask(3, 10, torch.Generator(), ratio=0.5)).square().sum().backward()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad.any(), name
