"""The embedding as one ONNX graph, which gives what `embed` gives for any number of series of any length."""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tsjepa.arrays import Series, as_series
from tsjepa.batches import tensors
from tsjepa.embedding import channel_rows, join_channels
from tsjepa.encoder import Encoder, normalized
from tsjepa.finetuning import embed_batch
from tsjepa.sections import ProbeConfig

OPSET = 20
INPUT, OUTPUT = "values", "embedding"
# How far numbers of the graph may lie from torch's, absolutely and relatively: float32 sums in another order; what is
# rounded, before that
TOLERANCE = 1e-4
# How far answers of the filters may, whose sums are of nine values, by the largest value or 1
ANSWERS = 1e-6
# What quantised weights may at most turn an embedding by
SMALLEST_COSINE = 0.99

# How many times as far from its usual level the largest example goes
LARGE = 100


class ExportError(ValueError):
    """A graph that does not compute what torch does."""


class EmbeddingGraph(nn.Module):
    """Maps values [B, C, T], NaN where nothing was measured, to embeddings [B, F], by operations that can be exported.

    Parameters
    ----------
    encoder : Encoder
        On the CPU and in evaluation mode.
    probe : ProbeConfig
        Levels, statistics over tokens, and how channels are joined.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> graph = EmbeddingGraph(Encoder(LinearPatches(5, 4), depth=1, heads=1), ProbeConfig())
    >>> graph(torch.tensor([[[1.0, float("nan"), 2.0]]])).shape
    torch.Size([1, 24])
    """

    def __init__(self, encoder: Encoder, probe: ProbeConfig) -> None:
        super().__init__()
        self.encoder, self.probe = encoder, probe

    def forward(self, values: Tensor) -> Tensor:
        """Embed series."""
        valid = ~values.isnan()
        return embed_batch(self.encoder, torch.where(valid, values, 0.0), valid, self.probe)


class Agreement(NamedTuple):
    """How close a graph comes to torch.

    Attributes
    ----------
    within : bool
        Whether every number lies within TOLERANCE of torch's, or of what steps make of numbers as close, see `ends_of`.
    max_difference : float
        Largest absolute difference.
    cosine : float
        Smallest cosine between an embedding and torch's.
    """

    within: bool
    max_difference: float
    cosine: float


def export_graph(
    encoder: Encoder, probe: ProbeConfig, n_channels: int, path: Path, metadata: Mapping[str, str]
) -> None:
    """Write the embedding as an ONNX file whose batch and length are free, and its channels where the encoder's are.

    Parameters
    ----------
    encoder : Encoder
        On the CPU and in evaluation mode.
    probe : ProbeConfig
    n_channels : int
        Channels of the training series.
    path : Path
    metadata : mapping of str to str
        Stored in the file's model properties.
    """
    # sizes of 0 or 1 would become constants
    shape = (2, max(n_channels, 2) if encoder.any_channels else n_channels, 4 * encoder.tokenizer.patch_length + 1)
    free = {0: "batch", 2: "length", **({1: "channels"} if encoder.any_channels else {})}
    with quiet():
        program = torch.onnx.export(
            EmbeddingGraph(encoder, probe).eval(),
            (torch.zeros(shape),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: free},
        )
    assert program is not None
    model: Any = program.model
    model.producer_name = "tsjepa"
    model.metadata_props.update(metadata)
    for node in model.graph.all_nodes():  # stack traces, with the paths of this machine
        node.metadata_props.clear()
    program.save(path, external_data=False)


def quantize(path: Path, out: Path) -> None:
    """Write a copy of a graph whose weight matrices are 8-bit integers, and are multiplied as float32.

    Activations stay as they are: in 8 bits they would share a scale over the batch, and a series would get another
    embedding beside others.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    used = {node.input[1] for node in graph.node if node.op_type in ("MatMul", "Gemm")}
    tensors = list(graph.initializer)
    del graph.initializer[:]
    for tensor in tensors:
        if tensor.name in used and len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT:
            integers, scale = to_int8(np.asarray(onnx.numpy_helper.to_array(tensor), np.float32))
            parts: dict[str, NDArray[Any]] = {f"{tensor.name}.int8": integers, f"{tensor.name}.scale": scale}
            graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in parts.items())
            graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", list(parts), [tensor.name], axis=1))
        else:
            graph.initializer.append(tensor)
    onnx.save(model, out)


def to_int8(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return weights [rows, columns] as integers, and the step of each column.

    Examples
    --------
    >>> to_int8(np.array([[127.0, 0.0], [-254.0, 0.0]], np.float32))
    (array([[  64,    0],
           [-127,    0]], dtype=int8), array([2., 1.], dtype=float32))
    """
    largest = np.abs(weights).max(0)
    step = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(weights / step).astype(np.int8), step


@contextmanager
def quiet() -> Iterator[None]:
    """Keep away what the exporter says of its own deprecations and of libraries that are not installed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def compare(path: Path, encoder: Encoder, probe: ProbeConfig, examples: Sequence[NDArray[np.float32]]) -> Agreement:
    """Run a graph with ONNX Runtime and compare it with `embed`.

    Parameters
    ----------
    path : Path
        Of the graph.
    encoder, probe
        What the graph was made of.
    examples : sequence of float32 arrays of shape (B, C, T)
        See `example_values`.

    Returns
    -------
    Agreement

    Raises
    ------
    ExportError
        If the graph's embeddings have another shape.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    parts = []
    for values in examples:
        series = as_series(values)
        rows, valid = channel_rows(encoder, series, probe)
        want = join_channels(rows, valid, probe)
        (found,) = session.run([OUTPUT], {INPUT: values})
        if found.shape != want.shape:
            raise ExportError(f"the graph gives embeddings of shape {found.shape}, but torch {want.shape}.")
        ends = [join_channels(end, valid, probe) for end in ends_of(encoder, series, probe, rows)]
        parts.append(agreement(found, want, ends))
    within, differences, cosines = zip(*parts, strict=True)
    return Agreement(all(within), max(differences), min(cosines))


def agreement(
    found: NDArray[np.float32],
    want: NDArray[np.float32],
    ends: Sequence[NDArray[np.float32]] | None = None,
) -> Agreement:
    """Compare embeddings (B, F); a number between its two `ends` (B, F), too, is as good as the one that is wanted.

    Examples
    --------
    >>> agreement(np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [0.0, 0.0]])).cosine
    0.96
    """
    a, b = found.astype(np.float64), want.astype(np.float64)
    nearest = b if ends is None else np.clip(a, *ends)
    within = bool(np.isclose(a, nearest, rtol=TOLERANCE, atol=TOLERANCE).all())
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.where((a == b).all(1), 1.0, (a * b).sum(1) / np.where(norms > 0, norms, 1.0))
    # NaN compares as not within, and must not pass as a difference of nothing
    return Agreement(within, float(np.max(np.abs(a - b))), float(np.min(cosine)))


def ends_of(
    encoder: Encoder, series: Series, probe: ProbeConfig, rows: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lowest and the highest that rows [n_cases, C, F] of `channel_rows` may be for the sake of steps.

    The numbers of a sketch are rounded afterwards, and shares count the answers above a threshold: what lies within
    TOLERANCE or ANSWERS of such a step may be on either side of it. Joining and rounding keep order: what lies between
    the ends still does so then.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder, series = Encoder(LinearPatches(5, 4), depth=1, heads=1), as_series(np.zeros((1, 20)))
    >>> lowest, highest = ends_of(encoder, series, ProbeConfig(), np.ones((1, 1, 24), np.float32))
    >>> bool((highest - lowest).any())
    False
    """
    off: NDArray[np.float32] = np.zeros_like(rows)
    if probe.sketch is not None:
        off += TOLERANCE * (1 + np.abs(rows))
    readout = encoder.readout
    if readout is None or readout.shares is None or not probe.shares:
        return rows - off, rows + off
    size, plain = readout.shares.size, probe.model_copy(update={"sketch": None})
    apart = ANSWERS * max(1.0, largest_value(encoder, series))
    most, least = (channel_rows(with_thresholds(encoder, by), series, plain)[0] for by in (-apart, apart))
    unsure = (most - least)[..., :size]
    if probe.sketch is None or readout.sketch is None:
        off[..., :size] = unsure
    else:  # shares are a sketch's first features, and what each adds to a projection is its own
        centre = readout.sketch.centre
        off += unsure @ readout.sketch.project(centre + torch.eye(size, len(centre))).abs().numpy()
    return rows - off, rows + off


def largest_value(encoder: Encoder, series: Series) -> float:
    """Return the largest magnitude that the filters of an encoder see of series, or had before a series was normalised.

    A mean is taken from values that may be far from zero, and what is left divided by a small deviation: the answers
    round as if they were as far away.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> round(largest_value(encoder, as_series([[99.0, 101.0] * 10])))
    101
    """
    x, valid = encoder.sequences(*tensors(series))
    seen = normalized(x, valid, encoder.normalize, encoder.tokenizer.patch_length)
    there = torch.ones_like(x, dtype=torch.bool) if valid is None else valid
    low, high = torch.where(there, x, torch.inf).amin((1, 2)), torch.where(there, x, -torch.inf).amax((1, 2))
    divided = (seen.amax((1, 2)) - seen.amin((1, 2))) / (high - low)  # by the deviation
    before = torch.maximum(low.abs(), high.abs()) * torch.where(high > low, divided, 0)
    return float(torch.cat([seen.abs().flatten(), before.nan_to_num(0)]).max())


def with_thresholds(encoder: Encoder, by: float) -> Encoder:
    """Return a copy of an encoder whose shares count points above thresholds that are so much higher."""
    moved = copy.deepcopy(encoder)
    moved.get_buffer("readout.shares.thresholds").add_(by)
    return moved


def example_values(encoder: Encoder, n_channels: int, n_timepoints: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Draw series of several shapes, at the level and scale of the training series, to try a graph on.

    Among them are gaps, a series and a channel without any value, a constant channel, other lengths than in training,
    one shorter than a patch, other numbers of channels where the encoder takes them, and one far larger than those
    beside it.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> [values.shape for values in example_values(encoder, n_channels=3, n_timepoints=20)]
    [(1, 3, 20), (4, 3, 20), (2, 5, 23), (3, 1, 4), (3, 3, 20)]
    """
    rng = np.random.default_rng(seed)
    patch, free = encoder.tokenizer.patch_length, encoder.any_channels
    other, one = (n_channels + 2, 1) if free else (n_channels, n_channels)
    shapes = [
        (1, n_channels, n_timepoints),
        (4, n_channels, n_timepoints),
        (2, other, n_timepoints + patch // 2 + 1),
        (3, one, max(patch - 1, 1)),
        (3, n_channels, n_timepoints),
    ]
    found = []
    for shape in shapes:
        time = np.arange(shape[2]) / patch
        waves = np.sin(rng.uniform(1, 10, shape[:2])[..., None] * time + rng.uniform(0, 7, shape[:2])[..., None])
        values = waves + 0.5 * rng.standard_normal(shape)
        level, scale = usual(encoder, shape[1])
        values = level[:, None] + scale[:, None] * values
        found.append(values.astype(np.float32))
    spoil(found[1], rng)
    found[-1][0] = level[:, None] + LARGE * (found[-1][0] - level[:, None])
    return found


def usual(encoder: Encoder, n_channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return level and scale that channels have in training series, as far as an encoder knows them, else 0 and 1.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> usual(Encoder(LinearPatches(5, 4), depth=1, heads=1), n_channels=2)
    (array([0., 0.], dtype=float32), array([1., 1.], dtype=float32))
    """
    if encoder.statistics is not None:
        return encoder.statistics.mean.numpy(), encoder.statistics.scale.numpy()
    scales = None if encoder.readout is None else encoder.readout.scales
    if scales is not None and scales.n_channels == n_channels:
        return scales.centre[:, 0].numpy(), scales.centre[:, 1].exp().numpy()
    return np.zeros(n_channels, np.float32), np.ones(n_channels, np.float32)


def spoil(values: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Take away points, the end, a channel and a whole one of four series, and make a channel constant, in place."""
    values[0][rng.random(values[0].shape) < 0.3] = np.nan
    values[0, :, values.shape[2] * 2 // 3 :] = np.nan
    values[1, -1] = np.nan
    values[2] = np.nan
    values[3, 0] = values[3, 0, 0]
