"""The loss as its formula has it: of plain and of centred targets, over those that are valid."""

import pytest
import torch
from objectives import MASKS, its_own_target, plain_model, sines
from random_values import gen

from tsjepa.build import build_model, configure, resolve
from tsjepa.encoder import Encoder
from tsjepa.layers import gather_tokens
from tsjepa.objective import JEPA, centred
from tsjepa.predictor import Predictor
from tsjepa.regularizers import SIGReg
from tsjepa.targets import SelfTarget
from tsjepa.tokenizers import LinearPatches

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


def test_without_a_weight_a_regularizer_counts_once() -> None:
    out = its_own_target(False, regularizer=SIGReg(slices=8))(sines(5), gen())
    torch.testing.assert_close(out.loss.detach(), out.terms["prediction"] + out.terms["regularizer"])


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"regularizer\.weight must be at least 0 and finite, but is -0\.1"):
        plain_model(weight=-0.1)


@pytest.mark.parametrize(
    ("recipe", "overrides", "there"),
    [
        ("tiny", [], True),
        ("tiny", ["encoder.conditioned=true"], False),
        ("tiny", ["target.kind=values", "projector.out=0"], False),
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


def test_a_loss_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^loss is one of l1, smooth_l1, mse, but got 'l2'\.$"):
        plain_model(loss="l2")
