"""Loops and parts of one's own: targets and schedules that are moved by hand, and how parts are called."""

import numpy as np
import pytest
import torch
from objectives import MASKS, build, plain_model, ragged_valid, sines
from random_values import gen
from torch import Tensor, nn

from tsjepa.arrays import as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header
from tsjepa.embedding import embed
from tsjepa.encoder import Encoder, normalized
from tsjepa.masking import Mask, RampedMask, random_mask
from tsjepa.objective import JEPA, ContextLoss
from tsjepa.predictor import Predictor
from tsjepa.regularizers import VICReg
from tsjepa.sections import ProbeConfig
from tsjepa.targets import EMATarget, SelfTarget, ValuesTarget
from tsjepa.tokenizers import LinearPatches
from tsjepa.training import Options, fit
from tsjepa.views import masked_views


def test_a_loop_of_ones_own_moves_target_and_schedules() -> None:
    model = build("ema", "random", "mask.final_ratio=0.7", "loss.context_weight=0.5", "target.momentum=0.9")
    start = [weight.clone() for weight in model.target.parameters()]
    optimizer, x = torch.optim.AdamW(model.parameters(), lr=1e-3), sines(4)
    hidden, context = [], []
    for step in range(3):
        model.advance(step, total=3)
        out = model(x, gen(step))
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.update_target(step, total=3)
        hidden.append(model.mask.progress)
        context.append(out.terms["context"].item())
    assert hidden == [0, 1 / 3, 2 / 3]
    assert context[0] == 0 < min(context[1:])
    assert all(not torch.equal(*pair) for pair in zip(start, model.target.parameters(), strict=True))


def test_a_ratio_that_moves_is_the_first_at_the_first_step_and_the_last_after_the_last() -> None:
    ratios = []

    def draw(rows: int, n: int, generator: torch.Generator, valid: Tensor | None, *, ratio: float) -> Mask:
        ratios.append(ratio)
        return random_mask(rows, n, generator, valid, ratio=ratio)

    model = plain_model()
    model.mask = RampedMask(draw, 0.2, 0.7)
    for step in (0, 9, 10):
        model.advance(step, 10)
        model(sines(2), gen())
    assert ratios == pytest.approx([0.2, 0.65, 0.7])


@pytest.mark.parametrize("diagnose", [True, False])  # where masked views are drawn first, and where they are not
def test_a_mask_of_one_row_is_not_taken_for_all_of_a_batch(diagnose: bool) -> None:
    config = resolve(configure("tiny", "ema"), 60)
    model = build_model(config, 1)
    model.mask = lambda rows, n, *_: Mask(torch.arange(0, n, 2)[None], torch.arange(1, n, 2)[None])
    series = as_series(sines().numpy())
    with pytest.raises(ValueError, match=r"^the mask's context has shape \(1, 5\) for (32|16) sequences: give"):
        fit(model, series, Header(config, None, 1, 60), Options(device="cpu", diagnose=diagnose))
    with pytest.raises(ValueError, match="for 8 sequences"):
        masked_views(model, torch.randn(8, 1, 60), None, None, gen(), 1)


@pytest.mark.parametrize("objective", ["ema", "sigreg"])  # without a projector and with one
@pytest.mark.parametrize("diagnose", [True, False])
def test_a_predictor_of_another_width_than_the_target_is_told(diagnose: bool, objective: str) -> None:
    config = resolve(configure("tiny", objective), 60)
    model = build_model(config, 1)
    model.predictor = Predictor(32, dim=16, depth=1, heads=2, out_dim=7)
    series = as_series(sines().numpy())
    with pytest.raises(ValueError, match=r"^the predictor gives 7 number\(s\) a token, but the target has 32: "):
        fit(model, series, Header(config, None, 1, 60), Options(device="cpu", diagnose=diagnose))


@pytest.mark.parametrize("normalize", [True, False])
def test_a_target_that_gives_a_tensor_is_told_to_give_a_list(normalize: bool) -> None:
    model = plain_model(target=ValuesTarget(lambda x, valid: x), normalize_target=normalize)
    model.target.forward = lambda x, *_: x.new_zeros(len(x), 10, 8)
    with pytest.raises(TypeError, match=r"^the target gives a Tensor: return a list of one \[B, N, E / L\] per"):
        model(sines(4), gen())


class Recurrent(Encoder):
    """An encoder of one's own, as the page on objectives says it is made; what `attend` excludes comes last."""

    def __init__(self) -> None:
        super().__init__(LinearPatches(6, 32), depth=0, heads=1)
        self.gru = nn.GRU(32, 32, batch_first=True)

    def forward(self, x, keep=None, levels=(-1,), valid=None, attend=None, hint=None, hint_valid=None) -> list[Tensor]:
        x = normalized(x, valid, self.normalize, self.tokenizer.patch_length)
        tokens = self.tokenize(x, keep, attend)
        return [self.norm(self.gru(tokens)[0]) for _ in levels]


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("kind", [EMATarget, SelfTarget])
def test_an_encoder_of_ones_own_is_trained_and_embeds(kind: type, gaps: bool) -> None:
    encoder, config = Recurrent(), resolve(configure("tiny", "ema", ["train.epochs=2"]), 60)
    model = JEPA(encoder, Predictor(32, dim=16, depth=1, heads=2), mask=MASKS["random"], target=kind(encoder))
    series = as_series(torch.where(ragged_valid(8), sines(8), torch.nan).numpy() if gaps else sines(8).numpy())
    before = [weight.clone() for weight in encoder.gru.parameters()]
    result = fit(model, series, Header(config, None, 1, 60), Options(device="cpu"))
    assert result.verdict is not None
    assert not any(torch.equal(*pair) for pair in zip(before, encoder.gru.parameters(), strict=True))
    for levels in ("last", "all"):
        found = embed(encoder, series, ProbeConfig(levels=levels, pool=("mean",)))
        assert found.shape == (8, 32)
        assert np.isfinite(found).all()


class Ahead(nn.Module):
    """A predictor of one's own: the mean of what is seen, at each position that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.asked = nn.Linear(8, 8), []

    def forward(self, context: Tensor, mask: Mask, *, everywhere: bool = False) -> Tensor:
        self.asked.append(everywhere)
        count = mask.target.shape[1] + everywhere * mask.context.shape[1]
        return self.map(context.mean(1, keepdim=True)).expand(-1, count, -1)


class Unaware(Ahead):
    """The same for an objective without a context loss."""

    def forward(self, context: Tensor, mask: Mask) -> Tensor:  # type: ignore[override]
        return super().forward(context, mask)


class Counting(nn.Module):
    """A projector of one's own that notes which tokens it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.told = nn.Linear(8, 5), []

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        assert tokens.ndim == 3
        assert valid is None or valid.shape == tokens.shape[:2]
        self.told.append(valid)
        return self.map(tokens)


@pytest.mark.parametrize("regularizer", [None, VICReg()])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
def test_parts_of_ones_own_are_called_as_is_documented(
    everywhere: bool, gaps: bool, regularizer: nn.Module | None
) -> None:
    encoder, x = Encoder(LinearPatches(6, 8), depth=1, heads=2), sines(8)
    predictor, projector = Ahead() if everywhere else Unaware(), Counting() if gaps else nn.Linear(8, 5)
    loss = ContextLoss(0.5, warmup=0.0) if everywhere else None
    parts = {"projector": projector, "regularizer": regularizer, "context_loss": loss}
    model = JEPA(encoder, predictor, mask=MASKS["random"], **parts)
    out = model(x, gen(), ragged_valid(8) if gaps else None)
    out.loss.backward()
    assert out.loss.isfinite()
    assert all(p.grad.any() for part in (encoder, predictor, projector) for p in part.parameters())
    assert predictor.asked == [everywhere]
    assert not gaps or all(valid is not None for valid in projector.told)
