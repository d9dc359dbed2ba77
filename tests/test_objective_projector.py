"""The projector, and what stands behind it: tokens apart, statistics of valid ones, and what a regularizer sees."""

import pytest
import torch
from objectives import MASKS, build, its_own_target, plain_model, sines
from random_values import gen
from torch import nn
from torch.nn import functional as F

from tsjepa.layers import gather_tokens
from tsjepa.projector import Projector
from tsjepa.regularizers import VICReg


def test_a_projector_keeps_rows_apart_and_ignores_what_is_not_valid() -> None:
    projector, tokens = Projector(4, hidden=8, out=3), torch.randn(5, 6, 4)
    valid = torch.rand(5, 6, generator=gen()) < 0.6
    got = projector(tokens, valid)
    assert got.shape == (5, 6, 3)
    assert not got[~valid].any()
    plain = nn.Sequential.forward(projector, tokens[valid])
    torch.testing.assert_close(got[valid], plain)
    assert torch.equal(projector(torch.where(valid.unsqueeze(-1), tokens, 1e6), valid), got)
    assert torch.equal(projector(tokens, torch.ones_like(valid)), projector(tokens))
    by_hand = nn.Sequential.forward(projector.eval(), tokens.reshape(30, 4)).view(5, 6, 3)
    torch.testing.assert_close(projector(tokens), by_hand)


def test_running_statistics_come_from_valid_tokens() -> None:
    projector, tokens = Projector(4, hidden=8, out=3), torch.randn(5, 6, 4)
    valid = torch.rand(5, 6, generator=gen()) < 0.6
    projector(torch.where(valid.unsqueeze(-1), tokens, 1e6), valid)
    hidden = projector[0](tokens[valid])
    torch.testing.assert_close(projector[1].running_mean, 0.1 * hidden.mean(0))


@pytest.mark.parametrize("levels", [(-1,), (0, -1), (0,)])
def test_a_regularizer_beside_a_slow_target_acts_on_the_context(levels: tuple[int, ...]) -> None:
    model, x = plain_model(regularizer=VICReg(), weight=1.0, levels=levels), sines(6)
    mask = MASKS["random"](6, 10, gen(2))
    want = VICReg()(torch.cat(model.encoder(x, keep=mask.context, levels=levels), -1))
    torch.testing.assert_close(model(x, gen(2)).terms["regularizer"], want.detach())


def test_a_regularizer_of_the_context_stands_behind_the_projector_too() -> None:
    projector = Projector(8, hidden=16, out=4)
    model, x = plain_model(regularizer=VICReg(), projector=projector), sines(6)
    mask = MASKS["random"](6, 10, gen(2))
    want = VICReg()(projector(model.encoder(x, keep=mask.context)[0]))
    torch.testing.assert_close(model(x, gen(2)).terms["regularizer"], want.detach())


def test_a_bias_ahead_of_the_batch_norm_is_cancelled_and_its_gradient_is_rounding() -> None:
    projector, tokens = Projector(8, hidden=16, out=4).double(), torch.randn(5, 6, 8, dtype=torch.float64)
    before = projector(tokens)
    before.pow(3).sum().backward()
    first = projector[0]
    assert first.bias.grad.abs().max() < 1e-12 * first.weight.grad.abs().max()
    with torch.no_grad():
        first.bias.add_(1.0)
    torch.testing.assert_close(projector(tokens), before)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("stop_gradient", [False, True])
def test_a_regularizer_moves_the_targets_of_the_encoder_itself(stop_gradient: bool, centre: bool) -> None:
    model, x = its_own_target(stop_gradient, regularizer=VICReg(), centre_target=centre), sines(6)
    encoder = model.encoder
    (seen,) = encoder(x)
    seen = seen - seen.mean(0) if centre else seen
    torch.testing.assert_close(model(x, gen()).terms["regularizer"], VICReg()(seen).detach())
    model.distance = lambda predicted, goal, valid: predicted.detach().mean()
    model(x, gen()).loss.backward()
    assert encoder.tokenizer.proj.weight.grad.any()


def test_prediction_and_regularizer_stand_behind_the_projector() -> None:
    model, x = build("sigreg"), sines(8)
    model.eval()  # running statistics, so that the projector is the same function for all
    mask = model.mask(8, 10, gen(1), None)
    generator = gen(1)
    model.mask(8, 10, generator, None)
    latents = model.projector(model.encoder(x)[0])
    predicted = model.projector(model.predictor(model.encoder(x, keep=mask.context)[0], mask))
    terms = model(x, gen(1)).terms
    torch.testing.assert_close(terms["prediction"], F.mse_loss(predicted, gather_tokens(latents, mask.target)).detach())
    torch.testing.assert_close(terms["regularizer"], model.regularizer(latents, generator).detach())
