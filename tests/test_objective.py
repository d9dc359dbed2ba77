"""The whole objective: every method with every masking, and rows that stay rows."""

import pytest
import torch
from objectives import MASKS, build, maskings, objectives, ragged_valid, sines
from random_values import gen
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.encoder import Encoder
from tsjepa.masking import Mask
from tsjepa.objective import JEPA
from tsjepa.targets import EMATarget, FrozenTarget, SelfTarget
from tsjepa.tokenizers import LinearPatches


@objectives
@maskings
def test_the_loss_is_finite_and_falls(objective: str, masking: str) -> None:
    model, x = build(objective, masking), sines()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    held_out = [model(x, gen(100 + i)).loss.item() for i in range(5)]
    for step in range(30):
        out = model(x, gen(step))
        assert out.loss.ndim == 0
        assert out.loss.isfinite()
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        model.target.update(model.encoder, step, 30)
    assert sum(model(x, gen(100 + i)).loss.item() for i in range(5)) < 0.9 * sum(held_out)


@objectives
@maskings
def test_gradients_reach_the_encoder_and_not_the_target(objective: str, masking: str) -> None:
    model = build(objective, masking)
    out = model(sines(8), gen())
    assert not any(term.requires_grad for term in out.terms.values())
    assert set(out.terms) == ({"prediction"} if objective == "ema" else {"prediction", "regularizer"})
    out.loss.backward()
    for part in (model.encoder, model.predictor):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
    assert all(p.grad is None for p in model.target.parameters())


@objectives
@maskings
def test_training_and_evaluation_take_the_same_path(objective: str, masking: str) -> None:
    model, x = build(objective, masking, "projector.out=0"), sines(6)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in model.modules())
    trained = model.train()(x, gen(4))
    evaluated = model.eval()(x, gen(4))
    assert torch.equal(trained.loss, evaluated.loss)
    assert all(torch.equal(value, evaluated.terms[name]) for name, value in trained.terms.items())


@objectives
def test_the_same_generator_gives_the_same_loss(objective: str) -> None:
    model, x = build(objective), sines(6)
    assert torch.equal(model(x, gen(1)).loss, model(x, gen(1)).loss)
    assert not torch.equal(model(x, gen(1)).loss, model(x, gen(2)).loss)


@objectives
def test_channel_independent_sequences_are_series_of_their_own(objective: str) -> None:
    model, x, valid = build(objective, n_channels=3), sines(12).view(4, 3, 60), ragged_valid(4, 3)
    valid[1, 1] = True
    for v in (None, valid):
        joined = model(x, gen(), v).loss
        flat = model(x.reshape(12, 1, 60), gen(), None if v is None else v.reshape(12, 1, 60)).loss
        assert torch.equal(joined, flat)


N, ROWS = 10, 6
PATCH = N + ROWS


class Spy(JEPA):
    """A JEPA that keeps the mask, what the predictor is given, and the two sides of the loss."""

    def distance(self, predicted: Tensor, goal: Tensor, valid: Tensor | None) -> Tensor:
        self.predicted, self.goal = predicted, goal
        return super().distance(predicted, goal, valid)


class Echo(nn.Module):
    """A predictor that says which row it was given, at every target."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.zeros(()))

    def forward(self, context: Tensor, mask: Mask) -> Tensor:
        self.context, self.mask = context, mask
        return context.mean(1, keepdim=True).expand(-1, mask.target.shape[1], -1) + self.free


def telling_encoder() -> Encoder:
    """Return an encoder whose tokens are their patches, times ten."""
    encoder = Encoder(LinearPatches(PATCH, PATCH), depth=0, heads=1, normalize="none")
    with torch.no_grad():
        encoder.tokenizer.proj.weight.copy_(10 * torch.eye(PATCH))
        encoder.tokenizer.proj.bias.zero_()
    return encoder


@pytest.mark.parametrize("kind", ["ema", "self", "frozen"])
@pytest.mark.parametrize("ragged", [False, True])
@maskings
def test_row_b_comes_from_row_b(masking: str, ragged: bool, kind: str) -> None:
    encoder = telling_encoder()
    target = {"ema": EMATarget, "self": SelfTarget, "frozen": lambda e: FrozenTarget(telling_encoder())}[kind](encoder)
    model = Spy(encoder, Echo(), mask=MASKS[masking], target=target)
    # token n of row b says b and n
    x = torch.cat(
        [F.one_hot(torch.arange(ROWS), ROWS)[:, None].expand(-1, N, -1), torch.eye(N).expand(ROWS, -1, -1)], -1
    )
    valid = torch.ones(ROWS, 1, N * PATCH, dtype=torch.bool)
    if ragged:
        valid[0, :, 4 * PATCH :] = False
        valid[3, :, 7 * PATCH :] = False
    model(x.flatten(1)[:, None], gen(), valid if ragged else None)
    context, mask = model.predictor.context, model.predictor.mask
    assert (mask.context_valid is None) is not ragged
    for tokens, index, there in (
        (context, mask.context, mask.context_valid),
        (model.goal, mask.target, mask.target_valid),
    ):
        there = torch.ones_like(index, dtype=torch.bool) if there is None else there
        row = torch.arange(ROWS)[:, None].expand_as(index)
        assert torch.equal(tokens[..., :ROWS].argmax(-1)[there], row[there])
        assert torch.equal(tokens[..., ROWS:].argmax(-1)[there], index[there])
    if not ragged:
        assert (model.predicted[..., :ROWS].argmax(-1) == torch.arange(ROWS)[:, None]).all()


def test_wrong_number_of_channels_is_refused() -> None:
    model = build("ema", "random", "tokenizer.channels=mixed", n_channels=3)
    with pytest.raises(ValueError, match="mixes the 3 channels that it was trained on, but the series have 2"):
        model(torch.randn(4, 2, 60), gen())
