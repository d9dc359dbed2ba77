"""Series of different lengths in one batch: padding, and series without a point, count nowhere in the objective."""

from typing import Any

import pytest
import torch
from random_values import gen
from torch import Tensor, nn

from tsjepa.build import build_model, configure, resolve
from tsjepa.layers import gather_tokens
from tsjepa.masking import random_mask
from tsjepa.objective import JEPA
from tsjepa.regularizers import VICReg
from tsjepa.views import masked_views


def build(objective: str, *overrides: str) -> JEPA:
    small = ("encoder.dim=16", "encoder.heads=2", "predictor.dim=16", "predictor.heads=2")
    return build_model(resolve(configure("tiny", objective, [*small, *overrides]), 60), 1)


def batch() -> tuple[Tensor, Tensor]:
    """Return series that end early, have a gap, one token, no point, and complete ones."""
    x = torch.randn(8, 1, 60, generator=gen())
    valid = torch.ones(8, 1, 60, dtype=torch.bool)
    valid[0, :, 33:] = False
    valid[1, :, 10:31] = False
    valid[2, :, 4:] = False
    valid[3] = False
    return x, valid


@pytest.mark.parametrize("out", [0, 4])
def test_a_regularizer_of_the_context_counts_what_it_saw(out: int) -> None:
    model, (x, valid) = build("cjepa", f"projector.out={out}", "projector.hidden=8").train(), batch()
    attend = model.encoder.token_valid(valid)
    mask = model.mask(8, 10, gen(1), attend)
    assert mask.context_valid is not None
    there = mask.context_valid & attend.any(1, keepdim=True)
    assert there.sum() < mask.context_valid.sum() < there.numel()
    tokens = model.encoder(x, keep=mask.context, valid=valid, attend=mask.context_valid)[0][there]
    if model.projector is not None:
        assert isinstance(model.projector, nn.Sequential)
        tokens = nn.Sequential.forward(model.projector, tokens)
    found = model(x, gen(1), valid).terms["regularizer"]
    torch.testing.assert_close(found, VICReg()(tokens.unsqueeze(0)).detach())


def test_the_loss_of_the_context_is_the_mean_over_what_it_saw() -> None:
    model, (x, valid) = build("deep").eval(), batch()
    model.progress = 1.0
    out, branches = model(x, gen(1), valid), model.branches(x, gen(1), valid)
    mask, attend = branches.mask, branches.attend
    assert mask.context_valid is not None
    assert attend is not None
    assert branches.repeated is not None
    assert model.context_loss is not None
    distance = (branches.repeated - gather_tokens(branches.latents, mask.context)).abs().mean(-1)
    there = mask.context_valid & attend.any(1, keepdim=True)
    want = (distance * model.context_loss.at(mask, 1.0))[there].mean()
    torch.testing.assert_close(out.terms["context"], want.detach())


@pytest.mark.parametrize(
    ("objective", "overrides"),
    [("ema", ("regularizer.kind=sigreg",)), ("cjepa", ()), ("deep", ()), ("deep", ("projector.out=4",))],
)
def test_series_without_a_point_change_no_term(objective: str, overrides: tuple[str, ...]) -> None:
    """Channels are series of their own, and a case may lack some."""
    model, x = build(objective, *overrides).train(), batch()[0]
    model.progress = 1.0
    alone = model(x, gen(1)).terms
    valid = torch.zeros(8, 3, 60, dtype=torch.bool)
    valid[:, 1] = True
    beside = model(torch.cat([torch.zeros_like(x), x, torch.zeros_like(x)], 1), gen(1), valid).terms
    for name, term in alone.items():
        torch.testing.assert_close(beside[name], term, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("registers", [0, 2])
def test_padding_is_no_hint(registers: int) -> None:
    encoder = build("ema", "encoder.conditioned=true", f"encoder.registers={registers}").encoder.eval()
    assert encoder.hint_token is not None
    with torch.no_grad():  # hints that weigh something
        encoder.hint_token.mul_(50)
    x, valid = torch.randn(2, 1, 60, generator=gen()), torch.ones(2, 1, 60, dtype=torch.bool)
    valid[0, :, 18:] = False
    mask = random_mask(2, 10, gen(), encoder.token_valid(valid), ratio=0.5)
    assert mask.context_valid is not None
    assert mask.target_valid is not None
    seen, hidden = int(mask.context_valid[0].sum()), int(mask.target_valid[0].sum())
    assert hidden < mask.target.shape[1]
    hints = {"hint": mask.target, "hint_valid": mask.target_valid}
    (both,) = encoder(x, keep=mask.context, valid=valid, attend=mask.context_valid, **hints)
    (alone,) = encoder(x[:1], keep=mask.context[:1, :seen], valid=valid[:1], hint=mask.target[:1, :hidden])
    torch.testing.assert_close(both[:1, :seen], alone)
    # whether all tokens are attended to or none is left out, hints that are not real are
    (whole,) = encoder(x, hint=mask.target, hint_valid=mask.target_valid)
    (single,) = encoder(x[:1], hint=mask.target[:1, :hidden])
    torch.testing.assert_close(whole[:1], single)


def test_each_branch_of_a_conditioned_model_is_told_what_the_other_sees() -> None:
    model, (x, valid) = build("ema", "encoder.conditioned=true"), batch()
    told: dict[str, tuple[Any, Any]] = {}
    for name, module in (("encoder", model.encoder), ("target", model.target.module)):
        module.register_forward_pre_hook(
            lambda _, __, given, name=name: told.update({name: (given["hint"], given["hint_valid"])}), with_kwargs=True
        )
    branches = model.branches(x, gen(1), valid)
    mask = branches.mask
    for name, (index, there) in {
        "encoder": (mask.target, mask.target_valid),
        "target": (mask.context, branches.seen),
    }.items():
        assert torch.equal(told[name][0], index), name
        assert torch.equal(told[name][1], there), name
    model.branches(x, gen(1))
    assert told["encoder"][1] is told["target"][1] is None


def test_a_masked_view_of_a_conditioned_model_is_told_what_is_hidden_from_it() -> None:
    model, (x, valid) = build("ema", "encoder.conditioned=true").eval(), batch()
    told: dict[str, Tensor] = {}
    model.encoder.register_forward_pre_hook(lambda _, __, given: told.update(given), with_kwargs=True)
    mask = masked_views(model, x, valid, model.encoder.token_valid(valid), gen(1), 1).mask
    assert mask.target_valid is not None
    assert torch.equal(told["hint"], mask.target)
    assert torch.equal(told["hint_valid"], mask.target_valid)


def test_padding_is_no_part_of_a_view() -> None:
    model, (x, valid) = build("ema").eval(), batch()
    views = masked_views(model, x, valid, model.encoder.token_valid(valid), gen(1), 1)
    mask = views.mask
    assert mask.context_valid is not None
    for row in (0, 1):
        keep = mask.context[row : row + 1, mask.context_valid[row]]
        (alone,) = model.encoder(x[row : row + 1], keep=keep, valid=valid[row : row + 1])
        torch.testing.assert_close(views.means[row, 0], alone[0].mean(0))
    assert not mask.context_valid[:2].all()
