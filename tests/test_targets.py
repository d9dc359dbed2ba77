"""Targets: the slow copy, the encoder itself, a frozen teacher."""

import copy
import math
import pickle
from functools import partial

import pytest
import torch
from random_values import gen
from torch import nn

from tsjepa.encoder import Encoder, patch_values
from tsjepa.masking import random_mask
from tsjepa.objective import JEPA
from tsjepa.predictor import Predictor
from tsjepa.readout import Readout
from tsjepa.shares import Shares
from tsjepa.targets import EMATarget, FrozenTarget, Momentum, SelfTarget, ValuesTarget
from tsjepa.tokenizers import LinearPatches

TARGETS = {
    "ema": EMATarget,
    "self": SelfTarget,
    "frozen": lambda encoder: FrozenTarget(copy.deepcopy(encoder)),
}
kinds = pytest.mark.parametrize("kind", TARGETS)
still = pytest.mark.parametrize("kind", ["ema", "frozen"])


def make_encoder() -> Encoder:
    return Encoder(LinearPatches(5, 8), depth=1, heads=2)


def make(kind: str, **options) -> JEPA:
    encoder = make_encoder()
    target = TARGETS[kind](encoder, **options)
    predictor = Predictor(8, dim=8, depth=1, heads=2)
    return JEPA(encoder, predictor, mask=partial(random_mask, ratio=0.5), target=target)


def perturb(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize(
    "momentum", [Momentum("fixed", 0.9), Momentum("linear", 0.5, 1.0), Momentum("cosine", 0.0, 0.8)]
)
def test_ema_formula_over_three_updates(momentum: Momentum) -> None:
    encoder = make_encoder().double()
    target = EMATarget(encoder, momentum)
    want = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    for step in range(3):
        perturb(encoder)
        target.update(encoder, step, 3)
        m = {
            "fixed": momentum.start,
            "linear": momentum.start + (momentum.end - momentum.start) * step / 3,
            "cosine": momentum.end - (momentum.end - momentum.start) * (math.cos(math.pi * step / 3) + 1) / 2,
        }[momentum.kind]
        for name, p in encoder.named_parameters():
            want[name] = m * want[name] + (1 - m) * p.detach()
    for name, p in target.module.named_parameters():
        torch.testing.assert_close(p, want[name], rtol=1e-12, atol=1e-12)


def test_ema_starts_as_a_copy_of_its_own() -> None:
    encoder = make_encoder()
    target = EMATarget(encoder)
    before = copy.deepcopy(target.module.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), encoder.state_dict().values(), strict=True))
    perturb(encoder)
    assert all(torch.equal(v, before[k]) for k, v in target.module.state_dict().items())


def test_a_perturbed_target_starts_off_by_a_share_of_each_weights_root_mean_square() -> None:
    encoder = Encoder(LinearPatches(50, 64), depth=1, heads=2)
    target = EMATarget(encoder, perturbation=0.1)
    for name in ("tokenizer.proj.weight", "blocks.0.mlp.0.weight"):
        mine, its = encoder.get_parameter(name), target.module.get_parameter(name)
        share = (its - mine).detach().std() / mine.detach().square().mean().sqrt()
        assert share.item() == pytest.approx(0.1, rel=0.05)


def test_ema_buffers_are_copied() -> None:
    encoder = make_encoder()
    encoder.register_buffer("scale", torch.ones(3))
    encoder.register_buffer("count", torch.tensor(1))
    target = EMATarget(encoder, Momentum("fixed", 0.9))
    encoder.scale.fill_(5.0)
    encoder.count.fill_(7)
    target.update(encoder, 0, 10)
    assert target.module.scale.tolist() == [5.0] * 3
    assert target.module.count.item() == 7


def test_a_compiled_encoder_is_followed_buffers_too() -> None:
    encoder = make_encoder()
    encoder.tokenizer.register_buffer("window", torch.ones(3))
    target = EMATarget(encoder, Momentum("fixed", 0.5))
    encoder.readout = Readout(Shares(1), None)  # of no target
    wanted = [(weight + 1) for weight in encoder.parameters()]
    with torch.no_grad():
        encoder.tokenizer.window.fill_(5.0)
        for weight in encoder.parameters():
            weight.add_(2.0)
    target.update(torch.compile(encoder, backend="eager"), 0, 10)
    assert target.module.tokenizer.window.tolist() == [5.0] * 3
    for got, want in zip(target.module.parameters(), wanted, strict=True):
        torch.testing.assert_close(got, want)


def test_an_encoder_in_half_precision_is_followed_in_full() -> None:
    encoder = make_encoder()
    target = EMATarget(encoder, Momentum("fixed", 0.999))
    start = [weight.clone() for weight in target.module.parameters()]
    encoder.bfloat16()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(1.0)
    target.update(encoder, 0, 10)
    for got, first, its in zip(target.module.parameters(), start, encoder.parameters(), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, first.lerp(its.float(), 0.001))


@still
def test_never_in_train_mode_and_without_gradient(kind: str) -> None:
    model = make(kind)
    for _ in range(2):
        model.train()
        assert model.encoder.training
        assert not any(module.training for module in model.target.modules())
    model.target.train(True)
    assert not model.target.module.training
    ids = {id(p) for p in model.target.parameters()}
    assert ids
    assert not ids & {id(p) for p in model.parameters() if p.requires_grad}
    out = model(torch.randn(4, 1, 40), gen())
    out.loss.backward()
    assert all(p.grad is None for p in model.target.parameters())
    assert not model.target(torch.randn(2, 1, 40), (-1,), None, None)[0].requires_grad


@kinds
def test_what_trains_is_encoder_and_predictor(kind: str) -> None:
    model = make(kind)
    want = {id(p) for part in (model.encoder, model.predictor) for p in part.parameters()}
    assert {id(p) for p in model.parameters() if p.requires_grad} == want


@pytest.mark.parametrize(
    ("kind", "at"),
    [("fixed", (0.9, 0.9, 0.9)), ("linear", (0.9, 0.95, 1.0)), ("cosine", (0.9, 0.95, 1.0))],
)
def test_momentum_at_start_middle_and_end(kind: str, at: tuple[float, float, float]) -> None:
    momentum = Momentum(kind, 0.9, 1.0)
    assert [momentum(step, 200) for step in (0, 100, 200)] == pytest.approx(at, abs=1e-12)
    assert momentum(300, 200) == pytest.approx(at[2])
    assert 0.9 <= momentum(0, 0) <= 1


def test_cosine_is_slower_at_both_ends() -> None:
    linear, cosine = Momentum("linear", 0.9, 1.0), Momentum("cosine", 0.9, 1.0)
    assert cosine(20, 200) < linear(20, 200)
    assert cosine(180, 200) > linear(180, 200)


@pytest.mark.parametrize("values", [(-0.1, 1.0), (0.9, 1.1), (float("nan"), 1.0)])
def test_momentum_range(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\]"):
        Momentum("fixed", *values)


def test_a_momentum_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kind is one of fixed, linear, cosine, but got 'Linear'\.$"):
        Momentum("Linear", 0.9, 1.0)


def test_a_number_is_no_momentum() -> None:
    with pytest.raises(TypeError, match=r'^momentum is 0\.99: give a schedule, such as Momentum\("fixed", 0\.99\)\.$'):
        EMATarget(make_encoder(), 0.99)


@kinds
def test_state_dict_round_trip(kind: str) -> None:
    model, other = make(kind), make(kind)
    perturb(model.encoder)
    model.target.update(model.encoder, 0, 10)
    other.load_state_dict(model.state_dict())
    x = torch.randn(3, 1, 40)
    assert torch.equal(model(x, gen()).loss, other(x, gen()).loss)
    for target in (model.target, other.target):
        target.update(model.encoder, 1, 10)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in model.state_dict().items())


@kinds
@pytest.mark.parametrize("way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_stand_on_their_own(kind: str, way) -> None:
    model, x = make(kind), torch.randn(3, 1, 40)
    model.target.update(model.encoder, 0, 10)
    twin = way(model)
    assert torch.equal(model(x, gen()).loss, twin(x, gen()).loss)
    before = model(x, gen()).loss
    perturb(twin.encoder)
    twin.target.update(twin.encoder, 1, 10)
    assert torch.equal(model(x, gen()).loss, before)
    if kind == "self":
        assert twin.target.held[0] is twin.encoder
    else:
        assert not any(p.requires_grad for p in twin.target.parameters())


def test_the_encoder_stands_once_in_the_state_dict_of_a_self_target() -> None:
    model = make("self")
    assert not [name for name in model.state_dict() if name.startswith("target")]
    assert len(list(model.parameters())) == len(list(model.encoder.parameters())) + len(
        list(model.predictor.parameters())
    )
    model.double()
    assert model.target(torch.randn(1, 1, 20).double(), (-1,), None, None)[0].dtype == torch.float64


def encoder_gradient(model: JEPA, x: torch.Tensor, blocked: str | None = None) -> torch.Tensor:
    """Return the gradient of the loss to the encoder, one of its two runs (context or target) made constant."""

    def block(module: nn.Module, args: object, kwargs: dict[str, object], output: list[torch.Tensor]):
        run = "target" if kwargs.get("keep") is None else "context"
        return [level.detach() for level in output] if run == blocked else output

    handle = model.encoder.register_forward_hook(block, with_kwargs=True)
    model.zero_grad()
    model(x, gen()).loss.backward()
    handle.remove()
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in model.encoder.parameters()]
    )


@pytest.mark.parametrize("stop_gradient", [False, True])
def test_the_gradient_of_a_self_target_flows_through_both_runs_unless_stopped(stop_gradient: bool) -> None:
    model, x = make("self", stop_gradient=stop_gradient).double(), torch.randn(4, 1, 40, dtype=torch.float64)
    perturb(model.predictor)
    both = encoder_gradient(model, x)
    context, target = encoder_gradient(model, x, "target"), encoder_gradient(model, x, "context")
    assert context.abs().max() > 1e-4
    assert bool((target.abs() > 1e-4).any()) is not stop_gradient
    torch.testing.assert_close(both, context + target)


@kinds
def test_targets_are_those_of_their_encoder(kind: str) -> None:
    model, x = make(kind), torch.randn(3, 1, 40)
    valid = torch.ones(3, 1, 40, dtype=torch.bool)
    valid[0, :, 21:] = False
    attend = model.encoder.token_valid(valid)
    got = model.target(x, (0, -1), valid, attend)
    want = model.encoder(x, levels=(0, -1), valid=valid, attend=attend)
    assert len(got) == 2
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_a_frozen_target_never_changes() -> None:
    model = make("frozen")
    before = copy.deepcopy(model.target.state_dict())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 1, 40), gen(step)).loss.backward()
        optimizer.step()
        model.target.update(model.encoder, step, 3)
    assert all(torch.equal(v, before[k]) for k, v in model.target.state_dict().items())
    assert any(
        not torch.equal(p, q) for p, q in zip(model.encoder.parameters(), model.target.parameters(), strict=True)
    )


def test_values_that_were_not_measured_have_no_part_in_what_is_reconstructed() -> None:
    target = ValuesTarget(partial(patch_values, patch_length=5, normalize="instance"))
    x, valid = torch.randn(3, 1, 20), torch.rand(3, 1, 20) < 0.7
    (found,), (other,) = (target(values, (-1,), valid, None) for values in (x, torch.where(valid, x, 9.0)))
    assert torch.equal(found, other)
    assert found.shape == (3, 4, 5)
