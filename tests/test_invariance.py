"""What must not reach an embedding or a loss: padding, companions in the batch, and what stands at missing points."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjepa.arrays import Series, as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.calibrator import calibrate
from tsjepa.config import Config
from tsjepa.embedding import embed
from tsjepa.normalization import take_statistics
from tsjepa.objective import JEPA

PATCH, CHANNELS, LENGTH = 5, 2, 32
# tokenizers, and the stem whose tokens are read together with shares, in a sketch
KINDS = ("linear", "spectral", "conv", "sketch")
NORMALIZE = ("instance", "train", "none")
# how channels become tokens, and how they are joined afterwards
MODES = (("independent", "concat"), ("independent", "mean"), ("independent", "max"), ("mixed", "concat"))
JUNK = (np.nan, np.inf, -1e30, 7.0)


class Model(NamedTuple):
    config: Config
    model: JEPA

    def embed(self, series: Series) -> np.ndarray:
        return embed(self.model.encoder, series, self.config.probe)


@cache
def make(kind: str, normalize: str, mode: tuple[str, str], objective: str = "sigreg") -> Model:
    """Return a model with larger weights than the initial ones, so that attention matters."""
    probe = {"levels": "all", "pool": ["mean", "std", "max"], "channels": mode[1], "scale_features": True}
    if kind == "sketch":
        kind, probe = "conv", {**probe, "shares": True, "sketch": 48}
    settings = {
        "tokenizer": {"kind": kind, "patch_length": PATCH, "channels": mode[0], "filters": 4, "dilations": [1, 2]},
        "normalize": normalize,
        "encoder": {"dim": 16, "depth": 2, "heads": 2},
        "predictor": {"dim": 16, "depth": 1, "heads": 2},
        "mask": {"kind": "random", "ratio": 0.5},
        "probe": probe,
    }
    config = resolve(configure(Config(**settings), objective), LENGTH)
    model = build_model(config, CHANNELS).eval()
    take_statistics(model, draw(0, 20))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for parameter in model.encoder.blocks.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    calibrate(model.encoder, draw(0, 20), config.probe)
    return Model(config, model)


def draw(seed: int, n_cases: int) -> Series:
    """Return series with points, ends, channels and whole cases missing here and there."""
    rng = np.random.default_rng(seed)
    X = 3.0 + rng.standard_normal((n_cases, CHANNELS, LENGTH)) * np.array([1.0, 20.0])[:, None]
    share = rng.choice([0.0, 0.0, 0.2, 0.8, 1.0], (n_cases, CHANNELS, 1))
    gone = rng.random(X.shape) < share
    end = rng.choice([LENGTH, LENGTH, 30, 13, 2], (n_cases, 1, 1))
    return as_series(np.where(gone | (np.arange(LENGTH) >= end), np.nan, X))


def mask_of(series: Series) -> np.ndarray:
    return np.ones(series.values.shape, bool) if series.valid is None else series.valid


def padded(series: Series, n_points: int) -> Series:
    """Return series with missing points appended."""
    rest = (series.n_cases, CHANNELS, n_points)
    values = np.concatenate([series.values, np.full(rest, 5.0, np.float32)], 2)
    return Series(values, np.concatenate([mask_of(series), np.zeros(rest, bool)], 2))


def spoilt(series: Series, junk: float) -> Series:
    """Return series with something else at the missing points."""
    return Series(np.where(mask_of(series), series.values, np.float32(junk)), mask_of(series))


models = pytest.mark.parametrize(("kind", "normalize"), [(k, n) for k in KINDS for n in NORMALIZE])
examples = settings(deadline=None, derandomize=True, max_examples=8)


@models
@examples
@given(st.sampled_from(MODES), st.integers(0, 10_000), st.integers(1, 3 * PATCH + 1), st.sampled_from(JUNK))
def test_an_embedding_is_a_function_of_the_measured_points_alone(
    kind: str, normalize: str, mode: tuple[str, str], seed: int, more: int, junk: float
) -> None:
    model, series = make(kind, normalize, mode), draw(seed, 4)
    wanted = model.embed(series)
    assert np.isfinite(wanted).all()
    np.testing.assert_array_equal(model.embed(padded(series, more)), wanted)
    np.testing.assert_array_equal(model.embed(spoilt(series, junk)), wanted)
    np.testing.assert_array_equal(model.embed(spoilt(padded(series, more), junk)), wanted)


@models
@examples
@given(st.sampled_from(MODES), st.integers(0, 10_000), st.data())
def test_an_embedding_does_not_depend_on_its_companions(
    kind: str, normalize: str, mode: tuple[str, str], seed: int, data: st.DataObject
) -> None:
    model, series, others = make(kind, normalize, mode), draw(seed, 5), draw(seed + 1, 70)
    wanted = model.embed(series)
    order = np.array(data.draw(st.permutations(range(75))))
    values = np.concatenate([series.values, others.values])[order]
    together = model.embed(Series(values, np.concatenate([mask_of(series), mask_of(others)])[order]))
    np.testing.assert_array_equal(together[np.argsort(order)[:5]], wanted)
    case = data.draw(st.integers(0, 4))
    np.testing.assert_array_equal(model.embed(series.take(np.array([case])))[0], wanted[case])


@models
def test_measured_points_do_reach_an_embedding(kind: str, normalize: str) -> None:
    for mode in MODES:
        model, series = make(kind, normalize, mode), draw(1, 6)
        changed = spoilt(series._replace(values=series.values * np.linspace(1, 2, LENGTH, dtype=np.float32)), 0.0)
        some = mask_of(series).sum((1, 2)) > PATCH
        assert (np.abs(model.embed(changed) - model.embed(series)).max(1) > 1e-3)[some].all()


@pytest.mark.parametrize("objective", ["ema", "sigreg", "vicreg", "deep"])
@models
def test_a_loss_and_its_gradient_ignore_padding_and_missing_points(kind: str, normalize: str, objective: str) -> None:
    for mode in (MODES[0], MODES[3]):
        model, series = make(kind, normalize, mode, objective).model, draw(3, 6)
        wanted = step(model, series)
        assert np.isfinite(wanted).all()
        for junk in JUNK:
            np.testing.assert_array_equal(step(model, spoilt(series, junk)), wanted)
        np.testing.assert_allclose(step(model, padded(series, 2 * PATCH + 1)), wanted, rtol=1e-3, atol=1e-4)


def step(model: JEPA, series: Series) -> np.ndarray:
    """Return the loss and the gradient of one step, its masks drawn from the same seed."""
    model.train()
    model.zero_grad()
    x, valid = torch.from_numpy(series.values), torch.from_numpy(mask_of(series))
    loss = model(x, torch.Generator().manual_seed(0), valid).loss
    loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.eval()
    return torch.cat([loss.detach()[None], *gradients]).numpy()


def test_patches_without_a_valid_point_are_neither_context_nor_target_and_counts_are_the_rows_own() -> None:
    model, series = make("linear", "instance", MODES[0]).model, draw(5, 30)
    _, valid = model.encoder.sequences(torch.from_numpy(series.values), torch.from_numpy(mask_of(series)))
    assert valid is not None
    tokens = model.encoder.token_valid(valid)
    mask = model.branches(
        torch.from_numpy(series.values), torch.Generator().manual_seed(0), torch.from_numpy(mask_of(series))
    ).mask
    assert mask.context_valid is not None
    assert mask.target_valid is not None
    assert tokens.sum(1).unique().numel() > 3
    for row, there in enumerate(tokens):
        context, target = mask.context[row][mask.context_valid[row]], mask.target[row][mask.target_valid[row]]
        n = int(there.sum())
        if n > 1:
            assert sorted([*context.tolist(), *target.tolist()]) == there.nonzero().flatten().tolist()
            assert len(target) == min(max(round(0.5 * n), 1), n - 1)
        else:
            assert not len(target)
