"""`tsjepa diagnose`: numbers as direct calls have them, perturbations, ablations, and a page that stands alone."""

import copy
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch

from tsjepa.arrays import Series, as_series
from tsjepa.batches import keyed_generator
from tsjepa.build import build_model, configure, resolve
from tsjepa.diagnostics import effective_rank, lidar, participation_ratio, spectrum
from tsjepa.embedding import embed
from tsjepa.evaluation.ablation import activation_sparsity, pieces, sparsity, without
from tsjepa.evaluation.accuracy import CURVE_SERIES, Reader, Split, draw_shown
from tsjepa.evaluation.diagnosis import diagnose, plane
from tsjepa.evaluation.diagnosis_page import Subject, page
from tsjepa.evaluation.explanations import EXPLANATIONS
from tsjepa.evaluation.perturbation import add_noise, drop_channel, drop_samples, perturbations, shift_time
from tsjepa.evaluation.quality import measure
from tsjepa.finetuning import Tuning, finetune
from tsjepa.history import EpochDiagnostics
from tsjepa.layers import instance_normalize, sincos_positions
from tsjepa.positional import predictor_sensitivity
from tsjepa.probe import majority, probe
from tsjepa.spread import self_cluster, uniformity
from tsjepa.verdict import Verdict


def waves(n: int, channels: int = 1, length: int = 60, missing: bool = False) -> tuple[Series, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, channels, length)).astype(np.float32)
    X[y == 1] += 2 * np.sin(np.arange(length) * 0.8, dtype=np.float32)
    if missing:
        X[0, :, 20:] = np.nan
        X[1, 0, 3] = np.nan
    return as_series(X), y


WORLD = ("encoder.causal=true", "normalize=none", "tokenizer.channels=mixed", "world.horizons=[1, 2]", "mask={}")


def models(channels: int = 1, **changed: Any) -> list[Any]:
    config = resolve(configure("tiny", changed.get("objective"), changed.get("settings", ())), 60)
    return [build_model(config, channels).eval(), build_model(config, channels).eval(), config]


def split_of(n: int = 40, channels: int = 1, missing: bool = False) -> Split:
    series, y = waves(n, channels, missing=missing)
    half = n // 2
    parts = [
        Series(series.values[part], None if series.valid is None else series.valid[part])
        for part in (slice(half), slice(half, n))
    ]
    return Split(parts[0], y[:half], parts[1], y[half:])


# Perturbations


@pytest.mark.parametrize("way", perturbations(3), ids=lambda way: way.name)
@pytest.mark.parametrize("missing", [False, True])
def test_a_perturbation_is_seeded_and_leaves_its_input_alone(way: Any, missing: bool) -> None:
    series, _ = waves(6, 3, missing=missing)
    values, valid = series.values.copy(), None if series.valid is None else series.valid.copy()
    once, again = (way.apply(series, way.levels[-1], np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(once.values, again.values)
    np.testing.assert_array_equal(series.values, values)
    if series.valid is not None:
        np.testing.assert_array_equal(series.valid, valid)
        assert way.name == "shift" or not (once.valid & ~series.valid).any()
    assert (once.values[~once.valid] == 0).all() if once.valid is not None else True
    assert not np.array_equal(once.values, values)


@pytest.mark.parametrize("way", [way for way in perturbations(1) if way.clean is not None], ids=lambda way: way.name)
def test_the_clean_strength_changes_nothing(way: Any) -> None:
    series, _ = waves(4)
    same = way.apply(series, way.clean, np.random.default_rng(0))
    np.testing.assert_array_equal(same.values, series.values)


def test_noise_is_in_units_of_each_series() -> None:
    series = Series(np.stack([np.sin(np.arange(5000)), 100 * np.sin(np.arange(5000))])[:, None].astype(np.float32))
    change = add_noise(series, 0.5, np.random.default_rng(0)).values - series.values
    np.testing.assert_allclose(change.std(-1) / series.values.std(-1), 0.5, rtol=0.05)


def test_noise_takes_its_unit_from_measured_points_only() -> None:
    X = np.array([[[1.0, 3.0, np.nan, np.nan]]])
    noisy = add_noise(as_series(X), 1.0, np.random.default_rng(0))
    expected = np.random.default_rng(0).standard_normal((1, 1, 4), np.float32)[0, 0, :2] + [1, 3]
    np.testing.assert_allclose(noisy.values[0, 0], [*expected, 0, 0], rtol=1e-6)


def test_samples_are_dropped_at_the_share_that_is_asked_for() -> None:
    lost = drop_samples(Series(np.ones((20, 1, 500), np.float32)), 0.3, np.random.default_rng(0))
    assert lost.valid is not None
    assert abs((~lost.valid).mean() - 0.3) < 0.02
    assert set(np.unique(lost.values)) == {0, 1}


def test_a_short_series_is_rotated_within_its_own_length() -> None:
    series = as_series([np.arange(1.0, 5.0), np.arange(1.0, 9.0)])
    moved = shift_time(series, 0.25, np.random.default_rng(0))
    assert moved.values[0, 0].tolist() == [4, 1, 2, 3, 0, 0, 0, 0]
    assert moved.values[1, 0].tolist() == [7, 8, 1, 2, 3, 4, 5, 6]
    assert moved.valid is not None
    assert moved.valid.sum(-1).tolist() == [[4], [8]]


def test_one_channel_goes_missing() -> None:
    series, _ = waves(2, 3)
    lost = drop_channel(series, 1.0, np.random.default_rng(0))
    assert lost.valid is not None
    assert lost.valid.all(-1).tolist() == [[True, False, True]] * 2
    np.testing.assert_array_equal(lost.values[:, [0, 2]], series.values[:, [0, 2]])


# Ablations and sparsity


def test_taking_a_piece_out_equals_zeroed_weights_and_leaves_no_hook() -> None:
    encoder = models(settings=["encoder.depth=2", "encoder.registers=1"])[0].encoder
    x = torch.randn(3, 1, 60)
    with torch.no_grad():
        whole = encoder(x)[0]
        for piece in pieces(encoder):
            manual = copy.deepcopy(encoder)
            block = manual.blocks[piece.block]
            if piece.head is None:
                block.mlp[-1].weight.zero_()
                block.mlp[-1].bias.zero_()
            else:
                width = manual.dim // block.heads
                block.proj.weight[:, piece.head * width : (piece.head + 1) * width] = 0
            with without(encoder, piece):
                ablated = encoder(x)[0]
            torch.testing.assert_close(ablated, manual(x)[0])
            assert not torch.allclose(ablated, whole)
            torch.testing.assert_close(encoder(x)[0], whole, rtol=0, atol=0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


def test_hooks_go_when_something_fails() -> None:
    encoder = models()[0].encoder
    for piece in pieces(encoder):
        with pytest.raises(RuntimeError, match="stop"), without(encoder, piece):
            raise RuntimeError("stop")
    with pytest.raises(ValueError, match="channels"):
        activation_sparsity(encoder, torch.zeros(1, 2, 60))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


def test_sparsity_of_known_activations() -> None:
    even, one = sparsity(torch.ones(5, 16)), sparsity(torch.eye(16))
    assert even.hoyer == pytest.approx(0)
    assert even.silent == 0
    assert one.hoyer == pytest.approx(1)
    assert one.silent == pytest.approx(15 / 16)
    assert sparsity(torch.zeros(2, 16)) == (1, 1)
    z = torch.randn(8, 16)
    assert sparsity(100 * z).hoyer == pytest.approx(sparsity(z).hoyer)


def test_sparsity_is_that_of_the_activations_behind_gelu_at_valid_tokens() -> None:
    encoder = models()[0].encoder
    x, valid = torch.randn(3, 1, 60), torch.ones(3, 1, 60, dtype=torch.bool)
    valid[0, :, 30:] = False
    attend = encoder.token_valid(valid)
    with torch.no_grad():
        h = encoder.tokenizer(instance_normalize(x, valid))
        h = h + sincos_positions(torch.arange(h.shape[1]), encoder.dim)
        block = encoder.blocks[0]
        h = h + block.attention(block.norm1(h), attend, None)
        activations = torch.nn.functional.gelu(block.mlp[0](block.norm2(h)))[attend].double()
    hoyer = (math.sqrt(128) - activations.norm(p=1, dim=1) / activations.norm(dim=1)) / (math.sqrt(128) - 1)
    assert activation_sparsity(encoder, x, valid).hoyer == pytest.approx(float(hoyer.mean()), abs=1e-5)


# Numbers


def test_label_free_numbers_equal_direct_calls() -> None:
    model, _, _ = models(objective="ema")
    series, _ = waves(30)
    with torch.no_grad():  # so that encoder and target differ
        for weight in model.target.parameters():
            weight.mul_(1.1)
    found = measure(model, series, seed=3)
    x = torch.from_numpy(series.values)
    with torch.no_grad():
        last, slow = model.encoder(x)[0], model.target(x, (-1,), None, None)[0]
    tokens, means = last.flatten(0, 1), last.mean(1)
    numbers = {
        "effective_rank": effective_rank(tokens, centred=True),
        "effective_rank_uncentred": effective_rank(tokens, centred=False),
        "participation_ratio": participation_ratio(tokens),
        "uniformity": uniformity(means),
        "self_cluster": self_cluster(means),
        "encoder_target_gap": (last - slow).norm(dim=-1).mean(),
        "relative_gap": (last - slow).norm() / (tokens - tokens.mean(0)).norm(),
    }
    for name, value in numbers.items():
        assert found.numbers[name] == pytest.approx(float(value), rel=1e-5), name
    np.testing.assert_allclose(found.spectrum, spectrum(tokens).numpy(), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.position_variance, last.var(0).mean(-1).numpy(), rtol=1e-4)
    assert set(found.numbers) <= set(EXPLANATIONS)
    assert all(value is not None for value in found.numbers.values())


def test_lidar_and_alignment_see_masked_views() -> None:
    model, _, _ = models()
    series, _ = waves(30)
    x, generator, views = torch.from_numpy(series.values), keyed_generator(3, 2**31, 2), []
    with torch.no_grad():
        for _ in range(10):
            mask = model.draw_mask(30, 10, generator, None)
            views.append(model.encoder(x, keep=mask.context)[0].mean(1))
    z = torch.stack(views, 1)
    u, v = (torch.nn.functional.normalize(z[:, k]) for k in (0, 1))
    found = measure(model, series, seed=3).numbers
    assert found["lidar"] == pytest.approx(float(lidar(z)), rel=1e-5)
    assert found["alignment"] == pytest.approx(float((u - v).square().sum(1).mean()), rel=1e-4)


def test_accuracies_equal_direct_calls() -> None:
    model, untrained, config = models()
    model.encoder.requires_grad_(False)
    split = split_of(80)
    values = diagnose(model, untrained, split, config.probe).values()
    Z = [embed(model.encoder, part, config.probe) for part in (split.train, split.test)]
    assert values["accuracy"] == probe(Z[0], split.y_train, Z[1], split.y_test)[0].accuracy
    last = config.probe.model_copy(update={"levels": "last"})
    L = [embed(model.encoder, part, last) for part in (split.train, split.test)]
    assert values["accuracy_last_level"] == probe(L[0], split.y_train, L[1], split.y_test)[0].accuracy
    assert values["majority_accuracy"] == majority(split.y_train, split.y_test).accuracy
    assert values["accuracy_clean"] == values["accuracy"]
    # the second model is an equal one here
    assert values["random_init_accuracy_noise_1"] == values["accuracy_noise_1"]
    assert values["supervised_accuracy"] is None
    noisy = add_noise(split.test, 1.0, np.random.default_rng((0, 0, 2)))
    reader = Reader(model.encoder, config.probe, "cpu")
    head = reader.fit(split)
    assert values["accuracy_noise_1"] == np.mean(
        head.predict(embed(model.encoder, noisy, config.probe)) == split.y_test
    )


def test_a_diagnosis_is_repeatable_and_leaves_the_model_as_it_was() -> None:
    model, untrained, config = models()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    once, again = (diagnose(model, untrained, split_of(), config.probe, seed=5) for _ in range(2))
    assert once.values() == again.values()
    subject = Subject("run/checkpoint.ckpt", "waves", ("calm", "worn"), None, ())
    assert page(subject, once) == page(subject, again)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("channels", ["independent", "mixed"])
def test_several_channels_and_missing_points(channels: str) -> None:
    model, untrained, config = models(3, settings=[f"tokenizer.channels={channels}"])
    values = diagnose(model, untrained, split_of(20, 3, missing=True), config.probe).values()
    assert {f"accuracy_missing_channel_{k}" for k in range(3)} <= set(values)
    assert all(values[name] is not None for name in ("accuracy", "lidar", "accuracy_dropped_0.8", "effective_rank"))


@pytest.mark.parametrize("inputs", ["[]", "[1]"])
@pytest.mark.parametrize("missing", [False, True])
def test_a_world_model_is_diagnosed_but_has_no_masked_views(missing: bool, inputs: str) -> None:
    settings = [*WORLD, f"world.inputs={inputs}"]
    model, untrained, config = models(3, settings=settings)
    values = diagnose(model, untrained, split_of(20, 3, missing=missing), config.probe).values()
    assert values["lidar"] is values["alignment"] is None
    assert values["predictor_sensitivity"] is not None
    assert values["predictor_sensitivity"] > 0
    assert all(values[name] is not None for name in ("accuracy", "uniformity", "cross_series_share"))


def test_a_world_model_answers_to_its_latents_as_its_dynamics_do() -> None:
    model, _, _ = models(3, settings=[*WORLD, "world.inputs=[1]", "projector.out=0"])
    series, _ = waves(20, 3)
    x = torch.from_numpy(series.values)
    with torch.no_grad():
        latents = model.encoder(model.encoder.sequences(x)[0])[0]
        want = predictor_sensitivity(
            lambda z: model.predictor(z, model.inputs(x), horizons=(1, 2)), latents, keyed_generator(3, 2**31, 1)
        )
    assert measure(model, series, seed=3).numbers["predictor_sensitivity"] == pytest.approx(want.item(), rel=1e-5)


def test_curves_see_no_more_series_than_they_need() -> None:
    series, y = waves(CURVE_SERIES + 20, length=10)
    drawn, labels = draw_shown(Split(series, y, series, y), seed=0)
    assert drawn.n_cases == CURVE_SERIES
    assert labels is not None
    other, _ = draw_shown(Split(series, y, series, y), seed=1)
    assert not np.array_equal(drawn.values, other.values)


def test_supervised_training_learns_and_leaves_its_start_alone() -> None:
    model, untrained, config = models()
    before = copy.deepcopy(untrained.encoder.state_dict())
    split = split_of(80)
    found = diagnose(model, untrained, split, config.probe, supervised=True).values()
    assert found["supervised_accuracy"] is not None
    assert found["supervised_accuracy"] >= 0.9
    for name, value in untrained.encoder.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert split.y_train is not None
    short = Tuning(epochs=2, min_steps=1)
    once, again = (finetune(untrained.encoder, split.train, split.y_train, config.probe, short) for _ in range(2))
    torch.testing.assert_close(once.encoder.state_dict(), again.encoder.state_dict(), rtol=0, atol=0)


def test_the_plane_holds_most_of_the_variance() -> None:
    Z = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * [1, 5, 3, 0.1]
    variances = plane(Z.astype(np.float32)).var(0)
    np.testing.assert_allclose(variances, np.sort(np.linalg.eigvalsh(np.cov(Z.T, bias=True)))[:-3:-1], rtol=1e-5)
    assert plane(np.ones((3, 1), np.float32)).tolist() == [[0, 0]] * 3


# The page


class Checker(HTMLParser):
    """Sees tags that do not close, identifiers twice, and what a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.loads += [given[name] for name in ("src", "href", "xlink:href") if name in given]


HEADINGS = ("Training", "Latents of the last level", "Map of the embeddings", "Accuracy of the frozen probe",
            "Sparsity of activations", "Accuracy lost without single parts", "Numbers")  # fmt: skip


def check_page(text: str) -> Checker:
    seen = Checker(text)
    assert seen.open == []
    assert len(seen.ids) == len(set(seen.ids))
    assert not {"script", "link", "img", "iframe", "object"} & set(seen.tags)
    assert all(target.startswith("#") and target[1:] in seen.ids for target in seen.loads)
    referred = {target[1:] for target in seen.loads} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert referred == set(seen.ids)
    assert set(re.findall(r'https?://[^"\s<]*', text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "#010203" not in text
    return seen


def test_the_page_has_every_figure_and_stands_alone() -> None:
    model, untrained, config = models()
    found = diagnose(model, untrained, split_of(), config.probe)
    verdict = Verdict("dimensional-collapse", 3, None, "The last level uses 2.0 of 13.0 directions & <no> more.")
    history = [EpochDiagnostics(0, effective_rank=13.0), EpochDiagnostics(1, 0.5, effective_rank=2.0)]
    text = page(Subject("<run>", "waves", ("$calm$", "_worn"), verdict, history), found)
    assert check_page(text).tags.count("svg") == 7
    for heading in HEADINGS:
        assert f"<h2>{heading}" in text
    assert "13.0 directions &amp; &lt;no&gt; more." in text
    assert "Diagnosis of &lt;run&gt;" in text
    assert text.index("dimensional-collapse") < text.index("<svg")
    for name in EXPLANATIONS:
        assert f"<code>{name}</code>" in text
    without_run = page(Subject("x", "waves", None, None, ()), found)
    assert check_page(without_run).tags.count("svg") == 6
    assert "no verdict" in without_run


def test_every_explained_number_exists() -> None:
    model, untrained, config = models()
    assert set(EXPLANATIONS) <= set(diagnose(model, untrained, split_of(), config.probe).values())
