"""The whole objective: every method with every masking, rows that stay rows, and data that do not count."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa import objective
from tsjepa.build import build_model, configure, resolve
from tsjepa.encoder import Encoder
from tsjepa.layers import gather_tokens
from tsjepa.masking import Mask, RampedMask, bernoulli_mask, block_mask, future_mask, random_mask
from tsjepa.objective import JEPA, ContextLoss, centred
from tsjepa.predictor import Predictor
from tsjepa.projector import Projector
from tsjepa.regularizers import SIGReg, VICReg
from tsjepa.targets import EMATarget, FrozenTarget, SelfTarget
from tsjepa.tokenizers import LinearPatches

OBJECTIVES = ("ema", "sigreg", "vicreg")
MASKS = {
    "bernoulli": partial(bernoulli_mask, ratio=0.5),
    "random": partial(random_mask, ratio=0.5),
    "block": partial(block_mask, ratio=0.5, block_length=2),
    "future": partial(future_mask, ratio=0.5),
}
objectives = pytest.mark.parametrize("objective", OBJECTIVES)
maskings = pytest.mark.parametrize("masking", MASKS)
SMALL = ["encoder.dim=16", "encoder.depth=1", "predictor.dim=16", "regularizer.slices=32", "projector.hidden=32"]


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(objective: str, masking: str = "random", *overrides: str, n_channels: int = 1) -> JEPA:
    config = configure(
        f"ts-jepa-{objective}", objective, [*SMALL, f"mask.kind={masking}", "mask.ratio=0.5", *overrides]
    )
    return build_model(resolve(config, 60), n_channels)


def sines(cases: int = 32, seed: int = 0) -> Tensor:
    generator = gen(seed)
    frequency, phase = (
        1 + 5 * torch.rand(cases, 2, 1, generator=generator),
        torch.rand(cases, 2, 1, generator=generator),
    )
    t = torch.linspace(0, 1, 60)
    x = torch.sin(2 * torch.pi * (frequency * t + phase)).sum(1, keepdim=True)
    return x + 0.05 * torch.randn(x.shape, generator=generator)


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


def ragged_valid(cases: int, n_channels: int = 1) -> Tensor:
    """Return series that end early, with a gap, with one token, without any point, and complete ones."""
    valid = torch.ones(cases, n_channels, 60, dtype=torch.bool)
    valid[0, :, 33:] = False
    valid[1, :, 10:31] = False
    valid[2, :, 4:] = False
    valid[3] = False
    return valid


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
    model.draw_mask = lambda rows, n, generator, valid: Mask(
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


def test_models_that_were_pickled_before_find_their_projector() -> None:
    assert objective.Projector is Projector


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


def plain_model(**options) -> JEPA:
    encoder = Encoder(LinearPatches(6, 8), depth=1, heads=2)
    levels = options.get("levels", (-1,))
    predictor = Predictor(8, dim=8, depth=1, heads=2, out_dim=8 * len(levels))
    return JEPA(encoder, predictor, mask=MASKS["random"], **options)


def its_own_target(stop_gradient: bool, **options) -> JEPA:
    encoder = Encoder(LinearPatches(6, 8), depth=1, heads=2)
    target = SelfTarget(encoder, stop_gradient=stop_gradient)
    predictor = Predictor(8, dim=8, depth=1, heads=2)
    return JEPA(encoder, predictor, mask=MASKS["random"], target=target, normalize_target=False, **options)


FORMULAS = {
    "l1": lambda d: d.abs(),
    "mse": lambda d: d**2,
    "smooth_l1": lambda d: torch.where(d.abs() < 1, d**2 / 2, d.abs() - 0.5),
}


@pytest.mark.parametrize("loss", FORMULAS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("levels", [(-1,), (0, -1)])
def test_the_loss_is_its_formula(loss: str, normalize: bool, levels: tuple[int, ...]) -> None:
    model, x = plain_model(loss=loss, normalize_target=normalize, levels=levels), sines(5)
    mask = MASKS["random"](5, 10, gen(3))
    goal = []
    for level in model.encoder(x, levels=levels):
        if normalize:
            centred = level - level.mean(-1, keepdim=True)
            level = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        goal.append(gather_tokens(level, mask.target))
    predicted = model.predictor(model.encoder(x, keep=mask.context)[0], mask)
    want = FORMULAS[loss](predicted - torch.cat(goal, -1)).mean()
    torch.testing.assert_close(model(x, gen(3)).loss, want)


@pytest.mark.parametrize("missing", [False, True])
def test_a_centred_target_is_what_a_token_has_beyond_the_mean_at_its_position(missing: bool) -> None:
    latents = torch.randn(6, 4, 3)
    attend = torch.rand(6, 4) < 0.7 if missing else None
    if attend is not None:
        attend[:, 2], attend[1:, 3] = False, False  # nobody there, and one alone
    found = centred(latents, attend)
    for n in range(4):
        rows = [b for b in range(6) if attend is None or attend[b, n]]
        mean = latents[rows, n].mean(0) if len(rows) > 1 else torch.zeros(3)
        torch.testing.assert_close(found[rows, n], latents[rows, n] - mean)
    assert torch.equal(centred(latents[:1], None), latents[:1])


def test_a_code_of_the_position_earns_nothing_where_targets_are_centred() -> None:
    """All series are one, so that position says everything: a plain target is learned by heart, of a centred one
    nothing is left, and predictions of nothing are right."""
    x = sines(1).repeat(5, 1, 1)
    for centre, right in ((False, False), (True, True)):
        model = plain_model(loss="mse", normalize_target=False, centre_target=centre)
        with torch.no_grad():
            model.predictor.head.weight.zero_()
            model.predictor.head.bias.zero_()
        assert bool(model(x, gen(1)).loss < 1e-10) is right


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_the_loss_of_centred_targets_is_its_formula(stop_gradient: bool) -> None:
    model = its_own_target(stop_gradient, loss="mse", centre_target=True)
    encoder = model.encoder
    x, mask = sines(5), MASKS["random"](5, 10, gen(3))
    (goal,) = encoder(x)
    goal = goal - goal.mean(0)
    predicted = model.predictor(encoder(x, keep=mask.context)[0], mask)
    want = (predicted - gather_tokens(goal.detach() if stop_gradient else goal, mask.target)).square().mean()
    wanted = torch.autograd.grad(want, list(encoder.parameters()))
    out = model(x, gen(3))
    torch.testing.assert_close(out.loss, want)
    torch.testing.assert_close(torch.autograd.grad(out.loss, list(encoder.parameters())), wanted)


def test_the_loss_is_the_mean_over_valid_targets() -> None:
    model = plain_model(loss="mse")
    predicted, goal = torch.randn(3, 4, 8), torch.randn(3, 4, 8)
    valid = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    want = torch.stack([(predicted[b, m] - goal[b, m]).square().mean() for b, m in valid.nonzero()]).mean()
    torch.testing.assert_close(model.distance(predicted, goal, valid), want)


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_the_total_is_prediction_plus_weighted_regularizer(weight: float) -> None:
    encoder = Encoder(LinearPatches(6, 8), depth=1, heads=2)
    predictor = Predictor(8, dim=8, depth=1, heads=2)
    options = {"mask": MASKS["random"], "target": SelfTarget(encoder), "regularizer": SIGReg(slices=8)}
    out = JEPA(encoder, predictor, weight=weight, **options)(sines(5), gen())
    torch.testing.assert_close(out.loss.detach(), out.terms["prediction"] + weight * out.terms["regularizer"])
    out.loss.backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"regularizer\.weight must be at least 0, but is -0\.1"):
        plain_model(weight=-0.1)


def test_a_regularizer_beside_a_slow_target_acts_on_the_context() -> None:
    model, x = plain_model(regularizer=VICReg(), weight=1.0), sines(6)
    mask = MASKS["random"](6, 10, gen(2))
    want = VICReg()(model.encoder(x, keep=mask.context)[0])
    torch.testing.assert_close(model(x, gen(2)).terms["regularizer"], want.detach())


def test_a_regularizer_of_the_context_stands_behind_the_projector_too() -> None:
    projector = Projector(8, hidden=16, out=4)
    model, x = plain_model(regularizer=VICReg(), projector=projector), sines(6)
    mask = MASKS["random"](6, 10, gen(2))
    want = VICReg()(projector(model.encoder(x, keep=mask.context)[0]))
    torch.testing.assert_close(model(x, gen(2)).terms["regularizer"], want.detach())


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
    mask = model.draw_mask(8, 10, gen(1), None)
    generator = gen(1)
    model.draw_mask(8, 10, generator, None)
    latents = model.projector(model.encoder(x)[0])
    predicted = model.projector(model.predictor(model.encoder(x, keep=mask.context)[0], mask))
    terms = model(x, gen(1)).terms
    torch.testing.assert_close(terms["prediction"], F.mse_loss(predicted, gather_tokens(latents, mask.target)).detach())
    torch.testing.assert_close(terms["regularizer"], model.regularizer(latents, generator).detach())


def test_what_is_not_valid_stays_out_of_attention_and_batch_statistics() -> None:
    model, x, valid = build("sigreg").train(), sines(8), ragged_valid(8)
    attend = model.encoder.token_valid(valid)
    generator = gen(1)
    mask = model.draw_mask(8, 10, generator, attend)
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


def test_wrong_number_of_channels_is_refused() -> None:
    model = build("ema", "random", "tokenizer.channels=mixed", n_channels=3)
    with pytest.raises(ValueError, match="mixes the 3 channels that it was trained on, but the series have 2"):
        model(torch.randn(4, 2, 60), gen())


@pytest.mark.parametrize(
    ("recipe", "overrides", "there"),
    [
        ("tiny", [], True),
        ("tiny", ["encoder.conditioned=true"], False),
        ("tiny", ["target.kind=values"], False),
        ("tiny", ["target.levels=[0, -1]"], True),
        ("tiny", ["target.levels=[0]"], False),
        ("ts-jepa-sigreg", [], True),
    ],
)
def test_the_whole_last_level_is_what_the_target_gives_anyway(recipe: str, overrides: list[str], there: bool) -> None:
    config = resolve(configure(recipe, None, overrides), 60)
    model, x = build_model(config, 1).eval(), torch.randn(4, 1, 60)
    branches = model.branches(x, torch.Generator().manual_seed(0))
    assert (branches.whole is not None) is there
    if branches.whole is not None:
        (want,) = model.target(x, (-1,), None, None)
        assert torch.equal(branches.whole, want)


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
        hidden.append(model.draw_mask.progress)
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
    model.draw_mask = RampedMask(draw, 0.2, 0.7)
    for step in (0, 9, 10):
        model.advance(step, 10)
        model(sines(2), gen())
    assert ratios == pytest.approx([0.2, 0.65, 0.7])


def test_a_loss_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^loss is one of l1, smooth_l1, mse, but got 'l2'\.$"):
        plain_model(loss="l2")


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
