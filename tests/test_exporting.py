"""The embedding as a graph: against `embed` in torch, and as an ONNX file in ONNX Runtime."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjepa.arrays import as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.calibrator import calibrate
from tsjepa.embedding import embed
from tsjepa.encoder import Encoder
from tsjepa.exporting import (
    ANSWERS,
    SMALLEST_COSINE,
    TOLERANCE,
    Agreement,
    EmbeddingGraph,
    ExportError,
    agreement,
    compare,
    ends_of,
    example_values,
    export_graph,
    quantize,
    with_thresholds,
)
from tsjepa.normalization import TrainingStatistics, channel_moments
from tsjepa.sections import ProbeConfig
from tsjepa.sketch import STEPS, rounded
from tsjepa.tokenizers import ConvStem, LinearPatches, SpectralPatches

PATCH, LENGTH = 6, 40
ALL = ProbeConfig(scale_features=True)


def mixing() -> Encoder:
    return Encoder(SpectralPatches(PATCH, 8, channels=2), depth=1, heads=2).eval()


def standardising() -> Encoder:
    rng = np.random.default_rng(0)
    statistics = TrainingStatistics(2)
    statistics.set(channel_moments(as_series(rng.normal([[[50.0], [-3.0]]], [[[0.2], [9.0]]], (5, 2, LENGTH)))))
    tokenizer = ConvStem(PATCH, 8, filters=3, dilations=(1, 4))
    return Encoder(tokenizer, depth=2, heads=2, normalize="none", statistics=statistics, registers=2).eval()


def causal() -> Encoder:
    tokenizer = ConvStem(PATCH, 8, filters=3, dilations=(1, 4), causal=True)
    return Encoder(tokenizer, depth=1, heads=2, normalize="none", causal=True).eval()


def plain() -> Encoder:
    return Encoder(LinearPatches(PATCH, 8), depth=1, heads=2).eval()


def counting(*settings: str, level: float = 0.0, scale: float = 1.0) -> tuple[Encoder, ProbeConfig]:
    """Return an encoder whose embedding has steps: shares count points, and a sketch is rounded."""
    torch.manual_seed(0)
    shares = ["probe.levels=blocks", "probe.shares=true", "probe.scale_features=true"]
    config = resolve(configure("tiny", None, [*shares, *settings]), LENGTH)
    encoder = build_model(config, 2).encoder.eval()
    calibrate(encoder, as_series(np.random.default_rng(0).normal(level, scale, (20, 2, LENGTH))), config.probe)
    return encoder, config.probe


@pytest.mark.parametrize("make", [mixing, standardising, causal, plain])
@pytest.mark.parametrize("channels", ["concat", "mean", "max"])
def test_the_graph_gives_what_embed_gives(make: Callable[[], Encoder], channels: str) -> None:
    encoder = make()
    probe = ALL.model_copy(update={"channels": channels})
    for values in example_values(encoder, 2, LENGTH):
        with torch.no_grad():
            found = EmbeddingGraph(encoder, probe)(torch.from_numpy(values)).numpy()
        np.testing.assert_allclose(found, embed(encoder, as_series(values), probe), rtol=1e-5, atol=1e-5)


def test_examples_hold_what_is_hard() -> None:
    encoder = plain()
    found = example_values(encoder, 2, LENGTH)
    assert [values.shape for values in found] == [(1, 2, 40), (4, 2, 40), (2, 4, 44), (3, 1, 5), (3, 2, 40)]
    hard = found[1]
    assert np.isnan(hard[0]).any()
    assert np.isnan(hard[1, -1]).all()
    assert np.isnan(hard[2]).all()
    assert np.ptp(hard[3, 0]) == 0
    assert np.ptp(found[-1][0]) > 50 * np.ptp(found[-1][1:])
    assert all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(found, example_values(encoder, 2, LENGTH), strict=True)
    )
    fixed = example_values(standardising(), 2, LENGTH)
    assert {values.shape[1] for values in fixed} == {2}
    assert [round(float(values), -1) for values in fixed[2].mean((0, 2))] == [50, 0]


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 1000))
def test_agreement_is_that_of_float64(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 4, 5)).astype(np.float32)
    found = agreement(a, b)
    rows = zip(a.astype(float), b.astype(float), strict=True)
    each = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in rows]
    assert found.cosine == pytest.approx(min(each))
    assert found.max_difference == pytest.approx(np.abs(a.astype(float) - b).max())
    assert not found.within
    assert agreement(a, a * (1 + 1e-6)).within


def test_what_is_no_number_agrees_with_nothing() -> None:
    good = np.ones((2, 3), np.float32)
    bad = good * np.array([[1, 1, np.nan]], np.float32)
    assert not agreement(bad, good).within
    assert not agreement(bad, good).cosine >= SMALLEST_COSINE
    assert agreement(np.zeros((1, 3)), np.zeros((1, 3))) == (True, 0.0, 1.0)
    assert agreement(np.zeros((1, 3)), np.ones((1, 3))).cosine == 0.0


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Encoder, ProbeConfig]:
    """Export an encoder that has everything which is not alike in a graph."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs the extra onnx")
    torch.manual_seed(0)
    encoder, path = standardising(), tmp_path_factory.mktemp("graph") / "graph.onnx"
    probe = ALL.model_copy(update={"channels": "mean"})
    export_graph(encoder, probe, 2, path, {"made": "here"})
    return path, encoder, probe


def test_onnx_runtime_gives_what_embed_gives(graph: tuple[Path, Encoder, ProbeConfig]) -> None:
    path, encoder, probe = graph
    assert not encoder.any_channels
    found = compare(path, encoder, probe, example_values(encoder, 2, LENGTH, seed=1))
    assert found.within
    assert found.max_difference < 1e-4
    rng = np.random.default_rng(2)
    shapes = [(1, 2, 1), (7, 2, PATCH), (2, 2, 5 * PATCH), (1, 2, 333)]
    holes = [np.where(rng.random(shape) < 0.4, np.nan, rng.normal(20, 30, shape)) for shape in shapes]
    assert compare(path, encoder, probe, [values.astype(np.float32) for values in holes]).within


@pytest.mark.parametrize(
    ("channels", "level", "scale"), [("concat", 0.0, 1.0), ("mean", 0.0, 1.0), ("concat", 1013.0, 2.0)]
)
def test_a_sketch_becomes_a_graph_up_to_what_lies_between_two_steps(
    tmp_path: Path, channels: str, level: float, scale: float
) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs the extra onnx")
    encoder, probe = counting("probe.sketch=128", f"probe.channels={channels}", level=level, scale=scale)
    path = tmp_path / "graph.onnx"
    export_graph(encoder, probe, 2, path, {})
    for seed in range(4):
        assert compare(path, encoder, probe, example_values(encoder, 2, LENGTH, seed=seed)).within


@pytest.mark.parametrize("channels", ["concat", "mean", "max"])
@pytest.mark.parametrize("sketch", ["null", "256"])
def test_what_lies_at_a_step_may_be_on_either_side_and_what_lies_farther_may_not(
    sketch: str, channels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    encoder, probe = counting(f"probe.sketch={sketch}", f"probe.channels={channels}")

    def found(other: Encoder) -> Agreement:
        """Compare with the graph of an encoder that differs."""

        def run(_: Any, values: dict[str, np.ndarray]) -> list[np.ndarray]:
            with torch.no_grad():
                return [EmbeddingGraph(other, probe)(torch.from_numpy(values["values"])).numpy()]

        monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: SimpleNamespace(run=run))
        return compare(Path("graph.onnx"), encoder, probe, examples)

    # one series alone: a number of its sketch is more than a thousandth of all; answers to zeros lie at a threshold
    examples = [*(values[:1] for values in example_values(encoder, 2, LENGTH)), np.zeros((1, 2, LENGTH), np.float32)]
    encoder.get_buffer("readout.shares.thresholds").view(-1)[0] = 0.0
    assert found(encoder).within
    turned = [found(with_thresholds(encoder, by)) for by in (ANSWERS / 2, -ANSWERS / 2)]
    assert max(one.max_difference for one in turned) > 100 * TOLERANCE
    assert all(one.within for one in turned)
    assert not found(with_thresholds(encoder, 0.01)).within
    for factor in (1.02, 1.5):
        other = copy.deepcopy(encoder)
        with torch.no_grad():
            for weight in other.blocks.parameters():
                weight.mul_(factor)
        assert not found(other).within


def test_a_sketch_may_be_rounded_up_or_down_where_it_lies_between_two_steps() -> None:
    encoder, probe = counting("probe.sketch=128")
    series = as_series(np.zeros((1, 1, LENGTH)))
    between = float(np.arctanh(1.5 / STEPS))
    rows = np.full((1, 1, 128), between, np.float32) + np.linspace(-0.01, 0.01, 128, dtype=np.float32)
    lowest, highest = (rounded(torch.from_numpy(end)).numpy() for end in ends_of(encoder, series, probe, rows))
    near = np.abs(rows - between) < TOLERANCE
    assert near.any()
    np.testing.assert_array_equal(highest - lowest, np.where(near, 1 / STEPS, 0))


def test_another_encoder_is_told_apart(graph: tuple[Path, Encoder, ProbeConfig]) -> None:
    path, encoder, probe = graph
    examples = example_values(encoder, 2, LENGTH)
    torch.manual_seed(1)
    assert not compare(path, standardising(), probe, examples).within
    with pytest.raises(ExportError, match=r"gives embeddings of shape \(1, 74\), but torch \(1, 148\)"):
        compare(path, encoder, ALL, examples)


def test_the_file_says_what_it_takes(graph: tuple[Path, Encoder, ProbeConfig]) -> None:
    import onnx

    model = onnx.load(graph[0])
    onnx.checker.check_model(model)
    (values,), (embedding,) = model.graph.input, model.graph.output
    assert (values.name, embedding.name) == ("values", "embedding")
    assert [size.dim_param or size.dim_value for size in values.type.tensor_type.shape.dim] == ["batch", 2, "length"]
    assert {prop.key: prop.value for prop in model.metadata_props}["made"] == "here"
    assert str(Path(__file__).parents[1]).encode() not in graph[0].read_bytes()


def test_quantised_weights_keep_the_direction(graph: tuple[Path, Encoder, ProbeConfig], tmp_path: Path) -> None:
    import onnx

    path, encoder, probe = graph
    quantize(path, tmp_path / "int8.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "int8.onnx"))
    assert (tmp_path / "int8.onnx").stat().st_size < path.stat().st_size
    found = compare(tmp_path / "int8.onnx", encoder, probe, example_values(encoder, 2, LENGTH))
    assert not found.within
    assert found.cosine > SMALLEST_COSINE


def test_an_embedding_of_quantised_weights_does_not_depend_on_the_series_beside_it(
    graph: tuple[Path, Encoder, ProbeConfig], tmp_path: Path
) -> None:
    import onnxruntime

    path, encoder, _ = graph
    quantize(path, tmp_path / "int8.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    values = example_values(encoder, 2, LENGTH)[-1]
    together = session.run(["embedding"], {"values": values})[0]
    alone = [session.run(["embedding"], {"values": row[None]})[0] for row in values]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("make", [mixing, causal, plain])
@pytest.mark.parametrize("channels", ["concat", "max"])
def test_other_encoders_too(make: Callable[[], Encoder], channels: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    encoder, probe = make(), ALL.model_copy(update={"channels": channels})
    export_graph(encoder, probe, 2, tmp_path / "graph.onnx", {})
    assert compare(tmp_path / "graph.onnx", encoder, probe, example_values(encoder, 2, LENGTH)).within
