"""Data that do not count: what was not measured, padding, and batches with hardly a target."""

import pytest
import torch
from objectives import build, maskings, objectives, ragged_valid, sines
from random_values import gen
from torch.nn import functional as F

from tsjepa.layers import gather_tokens
from tsjepa.masking import Mask


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("tokenizer", ["linear", "spectral", "conv"])
@objectives
@maskings
def test_what_was_not_measured_does_not_count(objective: str, masking: str, tokenizer: str, n_channels: int) -> None:
    mixed = "mixed" if n_channels > 1 else "independent"
    overrides = (f"tokenizer.kind={tokenizer}", f"tokenizer.channels={mixed}", "tokenizer.filters=4")
    model = build(objective, masking, *overrides, n_channels=n_channels)
    x = sines(16).view(8, 2, 60)[:, :n_channels]
    valid = ragged_valid(8, n_channels)
    want = model(x, gen(), valid)
    assert want.loss.isfinite()
    want.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert any(p.grad is not None and p.grad.any() for p in model.encoder.parameters())
    for junk in (1000.0, float("nan")):
        got = model(torch.where(valid, x, junk), gen(), valid)
        assert torch.equal(got.loss, want.loss)


@objectives
def test_padding_at_the_end_changes_nothing(objective: str) -> None:
    model, x = build(objective, "random", "projector.out=0", "regularizer.placement=series"), sines(4)
    model.mask = lambda rows, n, generator, valid: Mask(
        torch.arange(0, 10, 2).expand(rows, -1),
        torch.arange(1, 10, 2).expand(rows, -1),
        *(torch.ones(rows, 5, dtype=torch.bool),) * 2,
    )
    valid = torch.ones(4, 1, 84, dtype=torch.bool)
    valid[..., 60:] = False
    got = model(F.pad(x, (0, 24), value=9.0), gen(), valid).loss
    torch.testing.assert_close(got, model(x, gen()).loss, rtol=1e-4, atol=1e-5)


@objectives
def test_a_mask_without_a_gap_is_as_no_mask(objective: str) -> None:
    model, x = build(objective), sines(6)
    torch.testing.assert_close(
        model(x, gen(), torch.ones_like(x, dtype=torch.bool)).loss, model(x, gen()).loss, rtol=1e-5, atol=1e-6
    )


@objectives
@pytest.mark.parametrize(("rows", "tokens"), [(3, 0), (3, 1), (1, 2), (2, 2)])
def test_a_batch_with_hardly_a_target_gives_a_finite_loss(objective: str, rows: int, tokens: int) -> None:
    model, x = build(objective), sines(3)
    valid = torch.zeros_like(x, dtype=torch.bool)
    valid[:rows, :, : 6 * tokens] = True
    out = model(x, gen(), valid)
    assert out.loss.isfinite()
    out.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_what_is_not_valid_stays_out_of_attention_and_batch_statistics() -> None:
    model, x, valid = build("sigreg").train(), sines(8), ragged_valid(8)
    attend = model.encoder.token_valid(valid)
    generator = gen(1)
    mask = model.mask(8, 10, generator, attend)
    latents = model.projector(model.encoder(x, valid=valid, attend=attend)[0], attend)
    context = model.encoder(x, keep=mask.context, valid=valid, attend=mask.context_valid)[0]
    predicted = model.projector(model.predictor(context, mask), mask.target_valid)
    there = mask.target_valid
    assert not there.all()
    assert not mask.context_valid.all()
    terms = model(x, gen(1), valid).terms
    want = F.mse_loss(predicted[there], gather_tokens(latents, mask.target)[there])
    torch.testing.assert_close(terms["prediction"], want.detach())
    torch.testing.assert_close(terms["regularizer"], model.regularizer(latents, generator, attend).detach())
