"""The step against the straightforward one of benchmarks/plain.py: losses, gradients, embeddings, moving average."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from random_values import gen

from tsjepa import build_model, configure, resolve
from tsjepa.arrays import as_series
from tsjepa.embedding import embed
from tsjepa.masking import random_mask
from tsjepa.precision import fast_float32


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plain = load("plain")


def batch():
    return torch.randn(16, 1, 500, generator=gen(1)).cumsum(-1)


def make(objective):
    config = resolve(configure("ts-jepa-paper", objective, ["train.lr=1e-3"]), 500)
    model = build_model(config, 1).train()
    for parameter in model.parameters():  # zeros would hide what a bias or a mask token does
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=gen(parameter.numel()))
    return config, model


@pytest.mark.parametrize("objective", ["ema", "cjepa", "sigreg", "vicreg", "visreg"])
def test_loss_and_gradients_equal_those_of_the_plain_step(objective):
    _, model = make(objective)
    other, x = copy.deepcopy(model), batch()
    mask = random_mask(16, 10, gen(2), ratio=0.7)
    model.mask = lambda *_: mask
    with fast_float32():
        loss = model(x, gen(3)).loss
        loss.backward()
    expected = plain.plain_loss(other, x, plain.PlainMask(mask.context, mask.target), gen(3))
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    # a bias ahead of a batch norm has a gradient of zero up to the rounding of the others
    largest = max(float(p.grad.abs().max()) for p in other.parameters() if p.grad is not None)
    for (name, mine), its in zip(model.named_parameters(), other.parameters(), strict=True):
        assert (mine.grad is None) == (its.grad is None), name
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, its.grad, rtol=1e-4, atol=1e-4 * largest, msg=name)


def test_embeddings_equal_those_of_the_plain_encoder():
    config, model = make("ema")
    encoder, x = model.encoder.eval(), batch()
    with torch.no_grad():
        expected = plain.encode(encoder, x).mean(1)
    got = torch.from_numpy(embed(encoder, as_series(x.numpy()), config.probe))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    half = torch.from_numpy(embed(encoder, as_series(x.numpy()), config.probe, precision="bf16"))
    assert torch.cosine_similarity(half, expected).min() > 0.999
    assert not torch.equal(half, got)


def test_the_moving_average_equals_that_of_the_loop():
    config, model = make("ema")
    loop = plain.PlainTraining(copy.deepcopy(model), batch(), 8, config.train, 10, 0.7)
    with torch.no_grad():
        for pair in (model, loop.model):
            for weight in pair.encoder.parameters():
                weight.mul_(1.5)
    model.target.update(model.encoder, 0, 10)
    loop.follow()
    for mine, its in zip(model.target.module.parameters(), loop.model.target.module.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-6, atol=1e-7)


def test_the_plain_loop_learns():
    config, model = make("ema")
    loop = plain.PlainTraining(model, batch(), 8, config.train, 10, 0.7)
    losses = [loop.step() for _ in range(20)]
    assert sum(losses[-4:]) < sum(losses[:4])
