"""The methods beyond plain EMA: levels, context loss, register, residual predictor, hints, ramps, stages, VISReg."""

import numpy as np
import pytest
import torch
from random_values import gen

from tsjepa.arrays import as_series
from tsjepa.build import build_model, configure, match_teacher, resolve
from tsjepa.checkpoint import CheckpointError, Header, load_checkpoint
from tsjepa.config import ConfigError
from tsjepa.encoder import Encoder
from tsjepa.masking import Mask, RampedMask, random_mask
from tsjepa.objective import ContextLoss
from tsjepa.predictor import Predictor
from tsjepa.regularizers import SIGReg, VISReg, epps_pulley, random_slices, sliced_wasserstein
from tsjepa.stages import stages, take_teacher, teacher_encoder
from tsjepa.targets import EMATarget, ValuesTarget
from tsjepa.tokenizers import LinearPatches
from tsjepa.training import Options, fit_stages

OBJECTIVES = ("ema", "cjepa", "sigreg", "vicreg", "visreg", "deep", "distill", "salt")
MASKINGS = ("bernoulli", "random", "block", "future")


def toy(n=32):
    time = torch.arange(60) / 60
    frequency = 1 + 4 * torch.rand(n, 1, 1, generator=gen(1))
    return torch.sin(2 * torch.pi * frequency * time + 6 * torch.rand(n, 1, 1, generator=gen(2)))


def model_of(objective, *overrides, n_timepoints=60):
    return build_model(resolve(configure("tiny", objective, overrides), n_timepoints), 1)


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_learns_under_every_masking(objective, masking):
    model = model_of(objective, f"mask.kind={masking}")
    model.progress = 1.0
    if objective in ("distill", "salt"):  # a random teacher of other weights than the student's
        torch.manual_seed(5)
        for parameter in model.target.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    losses = []
    for step in range(30):
        loss = model(toy(), gen(step % 3)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert model.encoder.tokenizer.proj.weight.grad.abs().sum() > 0
    if objective not in ("sigreg", "vicreg", "visreg"):
        assert all(p.grad is None for p in model.target.parameters())


def test_levels_are_normed_apart_and_joined():
    model = model_of("deep", "loss.context_weight=0", "target.levels=[0, -1]")
    x = toy(4)
    levels = model.target.module(x, levels=(0, -1))
    wanted = torch.cat([torch.nn.functional.layer_norm(level, (32,)) for level in levels], -1)
    torch.testing.assert_close(model.latents(x, None, None), wanted)
    out = model.branches(x, gen())
    assert out.predicted.shape[-1] == out.latents.shape[-1] == 64


def test_context_loss_weighs_by_the_distance_to_the_nearest_hidden_token():
    mask = Mask(torch.tensor([[0, 1, 4]]), torch.tensor([[2, 3]]))
    weights = ContextLoss(2.0, warmup=0.5).at(mask, progress=0.25)
    torch.testing.assert_close(weights, torch.tensor([[2**-0.5, 1.0, 1.0]]))
    assert ContextLoss(2.0, warmup=0.5).at(mask, progress=0.0).sum() == 0
    torch.testing.assert_close(ContextLoss(2.0, warmup=0.0).at(mask, 0.0), 2 * weights)


def test_context_loss_counts_only_real_targets():
    mask = Mask(
        torch.tensor([[0, 1]]), torch.tensor([[4, 0]]), torch.tensor([[True, True]]), torch.tensor([[True, False]])
    )
    torch.testing.assert_close(ContextLoss(1.0, 0.0).at(mask, 0.0), torch.tensor([[0.5, 3**-0.5]]))


def test_padding_is_no_hidden_token_however_far_the_real_ones_are():
    there = torch.tensor([[True, False], [True, True], [False, False]])
    mask = Mask(torch.tensor([[0, 1]] * 3), torch.tensor([[9, 0], [8, 9], [0, 1]]), torch.ones_like(there), there)
    wanted = torch.tensor([[9, 8], [8, 7], [torch.inf, torch.inf]]) ** -0.5
    torch.testing.assert_close(ContextLoss(1.0, 0.0).at(mask, 1.0), wanted)


def test_the_weight_of_the_context_loss_stays_after_its_warm_up():
    mask, loss = Mask(torch.tensor([[0]]), torch.tensor([[1]])), ContextLoss(0.3, warmup=0.25)
    assert [round(loss.at(mask, progress).item(), 6) for progress in (0.125, 0.25, 0.5, 1.0)] == [0.15, 0.3, 0.3, 0.3]


def test_context_loss_is_the_weighted_mean_distance():
    model = model_of("deep", "loss.context_weight=1", "loss.context_warmup=0").eval()
    x = toy(4)
    out, branches = model(x, gen()), model.branches(x, gen())
    goal = torch.stack([row[index] for row, index in zip(branches.latents, branches.mask.context, strict=True)])
    distance = (branches.repeated - goal).abs().mean(-1)
    wanted = (distance * model.context_loss.at(branches.mask, 0.0)).mean()
    torch.testing.assert_close(out.terms["context"], wanted.detach())
    torch.testing.assert_close(out.loss, out.terms["prediction"] + out.terms["context"])


def test_registers_go_through_the_blocks_and_are_dropped():
    torch.manual_seed(0)
    encoder = Encoder(LinearPatches(5, 8), depth=2, heads=2, registers=2, normalize="none")
    x = torch.randn(3, 1, 30)
    levels = encoder(x, levels=(0, 1, 2))
    assert [level.shape for level in levels] == [(3, 6, 8)] * 3
    with torch.no_grad():
        encoder.registers.normal_()
    moved = encoder(x, levels=(0, 1, 2))
    assert torch.equal(moved[0], levels[0])
    assert not torch.allclose(moved[2], levels[2])
    attend = torch.tensor([[1, 1, 1, 1, 0, 0]] * 3, dtype=torch.bool)
    torch.testing.assert_close(encoder(x, attend=attend)[0][:, :4], encoder(x[..., :20])[0])


def test_hints_tell_a_conditioned_encoder_where_the_others_are():
    torch.manual_seed(0)
    encoder = Encoder(LinearPatches(5, 8), depth=1, heads=2, conditioned=True)
    x, keep = torch.randn(2, 1, 30), torch.tensor([[0, 1], [0, 1]])
    near, far = (encoder(x, keep=keep, hint=torch.tensor([[place]] * 2))[0] for place in (2, 5))
    assert near.shape == (2, 2, 8)
    assert not torch.allclose(near, far)
    plain = Encoder(LinearPatches(5, 8), depth=1, heads=2)
    assert torch.equal(plain(x, keep=keep, hint=keep)[0], plain(x, keep=keep)[0])


def test_the_residual_predictor_starts_near_the_identity_on_context():
    torch.manual_seed(0)
    mask = Mask(torch.tensor([[0, 2, 4]]), torch.tensor([[1, 3]]))
    predictor = Predictor(8, dim=8, depth=2, heads=2, residual=True)
    assert predictor.self_bias.tolist() == [10.0, 10.0]
    for block in predictor.blocks:
        assert not block.mlp[-1].weight.any()
    assert predictor.diagonal(0, 3, 2).tolist() == [10.0, 10.0, 10.0, 0.0, 0.0]
    tokens = torch.randn(1, 5, 8)
    block = predictor.blocks[0]
    alone = block.proj(block.qkv(tokens)[..., 16:])  # each token attends to itself only
    biased = block.attention(tokens, None, 10 * predictor.diagonal(0, 3, 2))
    torch.testing.assert_close(biased[:, :3], alone[:, :3])
    assert not torch.allclose(biased[:, 3:], alone[:, 3:])
    predictor(tokens[:, :3], mask).sum().backward()
    assert predictor.self_bias.grad is not None
    predictor.self_bias.data[1] = 2.0  # each block has its own
    assert predictor.diagonal(1, 3, 2).tolist() == [2.0, 2.0, 2.0, 0.0, 0.0]


def test_self_bias_and_attend_go_together():
    torch.manual_seed(0)
    block = Predictor(8, dim=8, depth=1, heads=2).blocks[0]
    tokens, bias = torch.randn(1, 4, 8), torch.tensor([3.0, 0.0, 0.0, 0.0])
    attend = torch.tensor([[True, True, False, False]])
    torch.testing.assert_close(block(tokens, attend, bias)[:, :2], block(tokens[:, :2], None, bias[:2]))


def test_the_mask_ratio_moves_with_progress():
    model = model_of("ema", "mask.ratio=0.3", "mask.final_ratio=0.7")
    counts = []
    for step in (0, 50, 100):
        model.advance(step, 100)
        counts.append(model.branches(toy(4), gen()).mask.target.shape[1])
    assert counts == [3, 5, 7]
    assert isinstance(model.mask, RampedMask)
    assert RampedMask(random_mask, 0.3, 0.7)(2, 10, gen(), None).target.shape == (2, 3)


def test_a_perturbed_target_starts_apart_and_the_average_forgets_it():
    torch.manual_seed(0)
    encoder = Encoder(LinearPatches(5, 8), depth=1, heads=2)
    target = EMATarget(encoder, perturbation=0.5)

    def distance():
        pairs = zip(encoder.parameters(), target.module.parameters(), strict=True)
        return sum((a - b).square().sum().item() for a, b in pairs) ** 0.5

    first = distance()
    size = sum(p.square().sum().item() for p in encoder.parameters()) ** 0.5
    assert first == pytest.approx(0.5 * size, rel=0.1)
    for step in range(1000):
        target.update(encoder, step, 1000)
    assert distance() == pytest.approx(first * 0.998**1000, rel=1e-3)


def test_values_are_predicted_as_the_encoder_normalises_them():
    model = model_of("ema", "target.kind=values", "loss.normalize_target=false")
    assert isinstance(model.target, ValuesTarget)
    x = 3 * toy(4) + 7
    z = (x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(model.latents(x, None, None), z.view(4, 10, 6), atol=1e-4, rtol=1e-4)


def test_stages_share_the_epochs():
    teacher, student = stages(configure("tiny", "salt", ["train.epochs=30"]))
    assert (teacher.target.kind, teacher.train.epochs, student.train.epochs) == ("values", 5, 25)
    teacher, student = stages(configure("tiny", "distill", ["train.epochs=30"]))
    assert (teacher.target.kind, teacher.train.epochs, student.train.epochs) == ("ema", 15, 15)
    assert stages(configure("tiny", "ema"))[0] is None
    with pytest.raises(ConfigError, match="at least 2"):
        stages(configure("tiny", "salt", ["train.epochs=1"]))


def fitted(objective, tmp_path, *overrides):
    series = as_series(toy().numpy())
    config = resolve(configure("tiny", objective, ["train.epochs=4", *overrides]), 60)
    model = build_model(config, 1)
    seen = []
    options = Options(tmp_path, device="cpu", report=lambda progress: seen.append(progress[:2]))
    result = fit_stages(model, series, Header(config, "toy", 1, 60), options)
    return model, result, seen


@pytest.mark.parametrize("objective", ["distill", "salt"])
def test_a_teacher_is_trained_first_and_then_frozen(objective, tmp_path):
    model, result, seen = fitted(objective, tmp_path)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert result.epochs == 4
    teacher = load_checkpoint(tmp_path / "teacher" / "checkpoint.ckpt")[0]
    frozen = model.target.module.state_dict()
    for name, value in teacher_encoder(teacher).state_dict().items():
        assert torch.equal(value, frozen[name]), name
    again = load_checkpoint(tmp_path / "checkpoint.ckpt")[0]
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert any(not torch.equal(a, b) for a, b in zip(model.encoder.parameters(), frozen.values(), strict=False))


def test_a_student_of_a_checkpoint_starts_from_its_average(tmp_path):
    teacher, *_ = fitted("ema", tmp_path)
    path = tmp_path / "checkpoint.ckpt"
    config = resolve(configure("tiny", "distill", [f"target.teacher={path}"]), 60)
    student = build_model(config, 1)
    take_teacher(student, load_checkpoint(path)[0])
    average = teacher.target.module.state_dict()
    for name, value in student.encoder.state_dict().items():
        assert torch.equal(value, average[name]), name
    other = build_model(config.model_copy(update={"encoder": config.encoder.model_copy(update={"dim": 16})}), 1)
    with pytest.raises(CheckpointError, match="another architecture"):
        take_teacher(other, teacher)
    assert match_teacher(configure("ts-jepa-paper", "distill"), config).encoder == config.encoder


@pytest.mark.parametrize("setting", ["encoder.heads=4", "tokenizer.patch_length=5", "normalize=none"])
def test_a_teacher_that_would_see_or_attend_otherwise_is_refused_though_its_weights_fit(setting, tmp_path):
    fitted("ema", tmp_path)
    teacher, out = f"target.teacher={tmp_path / 'checkpoint.ckpt'}", tmp_path / "student"
    with pytest.raises(CheckpointError, match="another architecture"):
        fitted("distill", out, teacher, setting)
    assert not out.exists()
    assert fitted("distill", out, teacher)[1].epochs == 4


def test_visreg_is_its_formula():
    z = 2 * torch.randn(4, 50, 3, dtype=torch.float64, generator=gen()) + 1
    got = VISReg(slices=5000)(z, gen(1)).item()
    flat = z.flatten(0, 1).numpy()
    std = np.sqrt(flat.var(0) + 1e-8)
    scale, centre = np.mean((1 - std) ** 2), np.mean(flat.mean(0) ** 2)
    directions = np.random.default_rng(0).normal(size=(3, 5000))
    directions /= np.linalg.norm(directions, axis=0)
    from scipy.stats import norm

    projected = np.sort((flat - flat.mean(0)) / (std + 1e-4) @ directions, 0)
    shape = np.mean((projected - norm.ppf(np.arange(1, 201) / 201)[:, None]) ** 2)
    assert got == pytest.approx(scale + centre + shape, rel=0.01)


def terms_of_visreg(z, directions):
    """Return scale, centre and shape of samples [N, D] in numpy."""
    from scipy.stats import norm

    std = np.sqrt(z.var(0) + 1e-8)
    projected = np.sort((z - z.mean(0)) / (std + 1e-4) @ directions, 0)
    quantiles = norm.ppf(np.arange(1, len(z) + 1) / (len(z) + 1))
    return np.mean((1 - std) ** 2), np.mean(z.mean(0) ** 2), np.mean((projected - quantiles[:, None]) ** 2)


@pytest.mark.parametrize("weights", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 3, 5)])
def test_each_term_of_visreg_is_its_formula(weights):
    z = 2 * torch.randn(4, 10, 3, dtype=torch.float64, generator=gen()) + 1
    directions = random_slices(3, 50, gen(1), z.device).double().numpy()
    wanted = np.dot(weights, terms_of_visreg(z.flatten(0, 1).numpy(), directions))
    scale, centre, shape = weights
    found = VISReg(slices=50, scale=scale, centre=centre, shape=shape)(z, gen(1)).item()
    assert found == pytest.approx(wanted, rel=1e-6)


def test_the_shape_of_visreg_pulls_as_it_is_with_its_scale_held():
    z = (2 * torch.randn(1, 6, 3, dtype=torch.float64, generator=gen()) + 1).requires_grad_()
    VISReg(slices=20, scale=0, centre=0)(z, gen(1)).backward()
    flat, directions = z.detach()[0], random_slices(3, 20, gen(1), z.device).double()
    unit = (flat.var(0, correction=0) + 1e-8).sqrt() + 1e-4

    def shape(samples):
        return sliced_wasserstein((samples - samples.mean(0)) / unit @ directions)

    steps = 1e-6 * torch.eye(18, dtype=torch.float64).view(18, 6, 3)
    wanted = torch.stack([(shape(flat + step) - shape(flat - step)) / 2e-6 for step in steps])
    torch.testing.assert_close(z.grad.flatten(), wanted, rtol=1e-5, atol=1e-8)


def test_visreg_pulls_at_collapse_where_sigreg_does_not():
    noise = torch.randn(8, 10, 16, generator=gen())
    gradients = {}
    for regularizer in (VISReg(), SIGReg()):
        z = (1e-3 * noise).requires_grad_()
        regularizer(z, gen()).backward()
        gradients[type(regularizer).__name__] = z.grad.norm().item()
    assert gradients["VISReg"] > 10 * gradients["SIGReg"]


def test_dual_placement_is_the_mean_of_position_and_series():
    z = torch.randn(6, 5, 8, generator=gen())
    position, series, dual = (SIGReg(placement=p)(z, gen(3)) for p in ("position", "series", "dual"))
    torch.testing.assert_close(dual, (position + series) / 2)


@pytest.mark.parametrize("placement", ["position", "series", "dual"])
def test_sets_without_samples_do_not_count(placement):
    z, valid = torch.randn(4, 6, 8, generator=gen()), torch.ones(4, 6, dtype=torch.bool)
    valid[:, 5], valid[3] = False, False
    regularizer = SIGReg(placement=placement)
    torch.testing.assert_close(regularizer(z, gen(3), valid), regularizer(z[:3, :5], gen(3)))


def test_a_second_derivative_is_refused_instead_of_wrong():
    x = torch.randn(1, 20, 2, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(epps_pulley(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"does not require grad|once_differentiable"):
        first.sum().backward()
