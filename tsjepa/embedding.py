"""Frozen embeddings: every level's tokens pooled into one row a series, whatever else is in the call."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tsjepa.arrays import Series, SeriesSource, last_valid
from tsjepa.batches import tensors
from tsjepa.encoder import Encoder
from tsjepa.memory import keep_freed_memory
from tsjepa.normalization import level_and_scale
from tsjepa.precision import fast_float32
from tsjepa.sections import ProbeConfig
from tsjepa.sketch import mixed, rounded

Precision = Literal["32", "bf16"]

# Every batch has this many sequences, the last one filled up: matrix products of another size round differently, and an
# embedding must not depend on its neighbours.
BATCH = 64
# In bfloat16, asked for to embed many series, products are so quick that larger batches gain a quarter, up to so many
# points of series; in float32, where they gain a tenth, one series alone would take twice as long
HALF_BATCH, HALF_POINTS = 192, 2**17
# Numbers, of series or of their embeddings, that are held at a time where series are read from a source
HELD = 2**22


def embed(
    encoder: Encoder,
    series: Series,
    probe: ProbeConfig,
    device: str | torch.device = "cpu",
    precision: Precision = "32",
) -> NDArray[np.float32]:
    """Embed series with a frozen encoder.

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode, on `device`.
    series : Series
        Shape (n_cases, n_channels, n_timepoints).
    probe : ProbeConfig
        Levels, statistics over tokens, and how channels are joined.
    device : str or torch.device, default="cpu"
    precision : {"32", "bf16"}, default="32"
        Of matrix products: bfloat16 is quicker where the device has it, and embeddings differ in the third digit.

    Returns
    -------
    float32 array of shape (n_cases, n_features)
        Ordered by channel, level, statistic and unit, shares before and scale features behind them; of a sketch in
        no order, and of all channels together. Zeros for a channel without any value.

    Raises
    ------
    ValueError
        If an encoder that mixes channels, or has statistics of them, gets another number than it was trained on, a
        level is missing, or a sketch was not calibrated.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1).eval()
    >>> embed(encoder, as_series(np.zeros((3, 20))), ProbeConfig()).shape
    (3, 24)
    """
    return join_channels(*channel_rows(encoder, series, probe, device, precision), probe)


def channel_rows(
    encoder: Encoder,
    series: Series,
    probe: ProbeConfig,
    device: str | torch.device = "cpu",
    precision: Precision = "32",
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return what `embed` joins: rows of channels [n_cases, C, F], of a sketch not yet rounded, and the valid points.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1).eval()
    >>> channel_rows(encoder, as_series(np.zeros((3, 2, 20))), ProbeConfig())[0].shape
    (3, 2, 24)
    """
    sketch = None if encoder.readout is None or probe.sketch is None else encoder.readout.sketch
    if sketch is not None and not sketch.known:
        raise ValueError("the encoder's sketch does not know its training series: call calibrate first.")
    keep_freed_memory()
    values, valid = sequences(encoder, series)
    width = features_width(encoder, probe)
    rows = np.zeros((len(values), row_width(encoder, probe)), np.float32)
    place = places(encoder, series.n_cases, torch.from_numpy(values))
    with torch.inference_mode(), fast_float32(), half_products(device, precision):
        for index, x, x_valid in batches(encoder, values, valid, precision):
            measured = None if x_valid is None else x_valid.to(device)
            own = batch_places(place, index, len(x)).to(device)
            found = embed_sequences(encoder, x.to(device), measured, probe, own)
            rows[index, :width] = found[: len(index)].float().cpu().numpy()
            if width < rows.shape[1]:
                rows[index, width:] = level_and_scale(x, x_valid)[: len(index)].numpy()
    return rows.reshape(series.n_cases, -1, rows.shape[1]), valid


def sample_cases(source: SeriesSource, channels: int, sequences: int) -> NDArray[np.int64]:
    """Return cases with a value that make about so many token sequences; a smaller sample is part of a larger one."""
    measured = source.measured()
    return measured[some_cases(len(measured), max(sequences // (1 if channels > 1 else source.n_channels), 2))]


def some_cases(n_cases: int, wanted: int, seed: int = 0) -> NDArray[np.int64]:
    """Return so many cases, the same ones for a seed; a smaller sample is part of a larger one."""
    return np.sort(np.random.default_rng(seed).permutation(n_cases)[:wanted])


def half_products(device: str | torch.device, precision: Precision) -> torch.autocast:
    """Return a context in which matrix products are in bfloat16 where that is asked for."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def embed_source(
    encoder: Encoder,
    source: SeriesSource,
    probe: ProbeConfig,
    device: str | torch.device = "cpu",
) -> NDArray[np.float32]:
    """Embed all series of a source, read some at a time; see `embed`.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1).eval()
    >>> embed_source(encoder, as_series(np.zeros((3, 20))), ProbeConfig()).shape
    (3, 24)
    """
    rows = np.empty((source.n_cases, n_features(encoder, probe, source.n_channels)), np.float32)
    size = chunk_size(encoder, source, probe)
    for start in range(0, source.n_cases, size):
        cases = np.arange(start, min(start + size, source.n_cases))
        rows[cases] = embed(encoder, source.take(cases), probe, device)
    return rows


def chunk_size(encoder: Encoder, source: SeriesSource, probe: ProbeConfig) -> int:
    """Return how many series of a source are read and embedded at a time, so that memory does not grow with the data.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.tokenizers import LinearPatches
    >>> chunk_size(Encoder(LinearPatches(5, 4), depth=1, heads=1), as_series(np.zeros((3, 2048))), ProbeConfig())
    2048
    """
    numbers = source.n_channels * max(source.n_timepoints, row_width(encoder, probe))
    return max(1, HELD // numbers)


def sequences(encoder: Encoder, series: Series) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return values and mask as the encoder takes them, see `Encoder.sequences`."""
    x, valid = encoder.sequences(*tensors(series))
    return x.numpy(), None if valid is None else valid.numpy()


def row_width(encoder: Encoder, probe: ProbeConfig) -> int:
    """Return the number of features of one sequence, before channels are joined."""
    beside = 2 * encoder.channels if probe.scale_features and probe.sketch is None else 0
    return features_width(encoder, probe) + beside


def features_width(encoder: Encoder, probe: ProbeConfig) -> int:
    """Return the number of features of one sequence but for its scale features."""
    if probe.sketch is not None:
        return probe.sketch
    shares = encoder.readout.shares if probe.shares and encoder.readout is not None else None
    pooled = len(probe.pool) * len(chosen_levels(encoder, probe)) * encoder.dim
    return pooled + (0 if shares is None else shares.size)


def n_features(encoder: Encoder, probe: ProbeConfig, n_channels: int) -> int:
    """Return the number of features of series of `n_channels` channels.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> n_features(encoder, ProbeConfig(pool=("mean",), scale_features=True), n_channels=3)
    30
    """
    apart = encoder.channels == 1 and probe.channels == "concat" and probe.sketch is None
    return (n_channels - len(encoder.inputs) if apart else 1) * row_width(encoder, probe)


def chosen_levels(encoder: Encoder, probe: ProbeConfig) -> list[int]:
    """Return the levels to pool as non-negative numbers."""
    if probe.levels == "all":
        return list(range(encoder.depth + 1))
    if probe.levels == "blocks":
        return list(range(1, encoder.depth + 1))
    level = encoder.depth if probe.levels == "last" else probe.levels
    if level > encoder.depth:
        raise ValueError(f"the encoder has levels 0 (tokenizer) to {encoder.depth}, but probe.levels is {level}.")
    return [level]


def batches(
    encoder: Encoder,
    values: NDArray[np.float32],
    valid: NDArray[np.bool_] | None,
    precision: Precision = "32",
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor | None]]:
    """Yield indices and batches of sequences [B, C, T] of whole patches that are computed alike, see `batch_size`.

    A sequence ends with the patch of its last measured point, whatever stands behind it, and sequences with a missing
    point are batched apart: how an embedding is computed depends on the sequence alone.
    """
    patch, n_timepoints = encoder.tokenizer.patch_length, values.shape[2]
    end = np.full(len(values), n_timepoints) if valid is None else last_valid(valid).max(1)
    length = -(-end // patch) * patch
    for index, size, whole in groups(end, length, valid):
        inside, n = min(size, n_timepoints), batch_size(precision, size)
        for start in range(0, len(index), n):
            chosen = index[start : start + n]
            x = torch.zeros(n, values.shape[1], size)
            x[: len(chosen), :, :inside] = torch.from_numpy(values[chosen, :, :inside])
            if whole:
                yield chosen, x, None
                continue
            measured = torch.ones(n, values.shape[1], size, dtype=torch.bool)
            measured[: len(chosen), :, inside:] = False
            if valid is not None:
                measured[: len(chosen), :, :inside] = torch.from_numpy(valid[chosen, :, :inside])
            yield chosen, x, measured


def batch_size(precision: Precision, n_timepoints: int) -> int:
    """Return how many sequences of a length are embedded together: nothing but precision and length decides it.

    Examples
    --------
    >>> [batch_size("32", 500), batch_size("bf16", 500), batch_size("bf16", 1000), batch_size("bf16", 20_000)]
    [64, 192, 131, 64]
    """
    return BATCH if precision == "32" else max(BATCH, min(HALF_BATCH, HALF_POINTS // n_timepoints))


def groups(
    end: NDArray[np.int64], length: NDArray[np.int64], valid: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray[np.int64], int, bool]]:
    """Yield indices of like sequences, their length in whole patches, and whether every point of it was measured.

    Sequences without any value are left out.
    """
    whole = end == length
    if valid is not None:
        inside = np.arange(valid.shape[2]) < end[:, None]
        whole &= (valid | ~inside[:, None]).all((1, 2))
    for key in np.unique(np.stack([length, whole], 1)[length > 0], axis=0):
        yield np.flatnonzero((length == key[0]) & (whole == bool(key[1]))), int(key[0]), bool(key[1])


def places(encoder: Encoder, n_cases: int, x: Tensor) -> Tensor:
    """Return which channel of its series each sequence begins with, see `Scales.places`; where none asks for it, 0."""
    if encoder.readout is None or encoder.readout.scales is None:
        return torch.zeros_like(x[:, 0, 0], dtype=torch.long)
    return encoder.readout.scales.places(n_cases, x)


def batch_places(place: Tensor, index: NDArray[np.int64], size: int) -> Tensor:
    """Return those of the sequences of a batch, which is filled up to so many."""
    return F.pad(place[torch.from_numpy(index)], (0, size - len(index)))


def embed_sequences(encoder: Encoder, x: Tensor, valid: Tensor | None, probe: ProbeConfig, place: Tensor) -> Tensor:
    """Return what sequences [B, C, T] give to an embedding [B, F], see `join_rows`; scale features in sketches only.

    `place` is what `places` returns of the sequences.

    Raises
    ------
    ValueError
        If the probe asks for shares or a sketch, and the encoder was built without.
    """
    rows = features(encoder, x, valid, probe, place)
    if probe.sketch is None:
        return rows
    if encoder.readout is None or encoder.readout.sketch is None:
        raise ValueError("this encoder was built without a sketch: pretrain it with probe.sketch.")
    return encoder.readout.sketch.project(rows)


def features(encoder: Encoder, x: Tensor, valid: Tensor | None, probe: ProbeConfig, place: Tensor) -> Tensor:
    """Return shares and pooled levels [B, F] of one batch, for a sketch its scale features, too."""
    attend = encoder.token_valid(valid)
    states = encoder(x, levels=chosen_levels(encoder, probe), valid=valid, attend=attend)
    parts = [level_rows(state, attend, probe) for state in states]
    if probe.scale_features and probe.sketch is not None:
        parts.append(encoder.scales(x, valid, place))
    return torch.cat([encoder.shares(x, valid), *parts] if probe.shares else parts, 1)


def level_rows(tokens: Tensor, attend: Tensor | None, probe: ProbeConfig) -> Tensor:
    """Return the statistics of one level's tokens [B, N, D] side by side."""
    return torch.cat([pool(tokens, attend, statistic) for statistic in probe.pool], 1)


def pool(tokens: Tensor, valid: Tensor | None, statistic: str) -> Tensor:
    """Return mean, std (biased) or max [B, D] over the valid ones of tokens [B, N, D]; means are 0 where none is valid.

    Examples
    --------
    >>> pool(torch.tensor([[[1.0], [3.0]]]), None, "std")
    tensor([[1.]])
    """
    if valid is None:
        if statistic == "max":
            return tokens.amax(1)
        return tokens.mean(1) if statistic == "mean" else tokens.std(1, correction=0)
    keep = valid.unsqueeze(-1)
    if statistic == "max":
        return torch.where(keep, tokens, -torch.inf).amax(1)
    count = keep.sum(1).clamp(min=1)
    mean = torch.where(keep, tokens, 0.0).sum(1) / count
    if statistic == "mean":
        return mean
    variance = torch.where(keep, tokens - mean.unsqueeze(1), 0.0).square().sum(1) / count
    return torch.where(variance > 0, variance, 1.0).sqrt() * (variance > 0)  # the root has no gradient at 0


def join_channels(
    rows: NDArray[np.float32], valid: NDArray[np.bool_] | None, probe: ProbeConfig
) -> NDArray[np.float32]:
    """Join the embeddings of cases' channels [n_cases, C, F], of sequences whose points are `valid` or not."""
    measured = np.ones(rows.shape[:2], bool)
    if valid is not None:
        measured[:] = valid.any((1, 2)).reshape(measured.shape)
    return join_rows(torch.from_numpy(rows), torch.from_numpy(measured).unsqueeze(-1), probe).numpy()


def join_rows(rows: Tensor, measured: Tensor, probe: ProbeConfig) -> Tensor:
    """Join what the channels of cases give [B, C, F] to one embedding a case.

    Side by side it is [B, C * F], as their mean or maximum [B, F]. Sketches side by side would be as long as there are
    channels: their projections are added up, each on directions of its own, and then rounded. A channel without any
    value, of which `measured` [B, C, 1] tells, takes no part.
    """
    if probe.sketch is None:
        return joined(rows, measured, probe.channels)
    if probe.channels == "concat":
        return rounded(mixed(rows, measured))
    return joined(rounded(rows), measured, probe.channels)


def joined(rows: Tensor, measured: Tensor, how: str) -> Tensor:
    """Put the rows of channels [B, C, F] side by side [B, C * F], or return their mean or maximum [B, F]."""
    if how == "concat":
        return rows.flatten(1)
    if how == "max":
        largest = torch.where(measured, rows, -torch.inf).amax(1)
        return torch.where(measured.any(1), largest, 0.0)
    return rows.sum(1) / measured.sum(1).clamp(min=1)


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that a name means, or that is given; "auto" is the GPU where there is one.

    Raises
    ------
    ValueError
        If the device is not there, or is not the first one of its kind.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    device, _, index = str(device).partition(":")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if available[name]))
    if not available.get(device, False):
        there = ", ".join(name for name, yes in available.items() if yes)
        raise ValueError(f"device {device!r} is not available here: choose auto or one of {there}.")
    if index not in ("", "0"):
        raise ValueError(
            f"device {device}:{index} is not the first {device} device: let the process see that one alone, as by "
            f"CUDA_VISIBLE_DEVICES={index}, and choose {device}."
        )
    return torch.device(device)
