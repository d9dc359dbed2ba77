"""Frozen embeddings: every level's tokens pooled into one row a series, whatever else is in the call."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsjepa.arrays import Series, last_valid
from tsjepa.config import ProbeConfig
from tsjepa.encoder import Encoder

# Every batch has this many sequences, the last one filled up: matrix products of another size round differently,
# and an embedding must not depend on its neighbours.
BATCH = 64


def embed(
    encoder: Encoder, series: Series, probe: ProbeConfig, device: str | torch.device = "cpu"
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

    Returns
    -------
    float32 array of shape (n_cases, n_features)
        Ordered by channel, level, statistic and unit; zeros for a channel without any value.

    Raises
    ------
    ValueError
        If a channel-mixing encoder gets another number of channels than it was trained on, or a level is missing.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1).eval()
    >>> embed(encoder, as_series(np.zeros((3, 20))), ProbeConfig()).shape
    (3, 24)
    """
    levels = chosen_levels(encoder, probe)
    n_cases, n_channels, n_timepoints = series.values.shape
    if encoder.channels > 1 and n_channels != encoder.channels:
        raise ValueError(
            f"this encoder mixes the {encoder.channels} channels that it was trained on, but the series have "
            f"{n_channels}: give the same channels, or pretrain with tokenizer.channels=independent."
        )
    shape = (-1, encoder.channels, n_timepoints)
    values = series.values.reshape(shape)
    valid = None if series.valid is None else series.valid.reshape(shape)
    rows = np.zeros((len(values), len(levels) * len(probe.pool) * encoder.dim), np.float32)
    with torch.inference_mode():
        for index, x, x_valid in batches(encoder, values, valid):
            pooled = pool_batch(encoder, x.to(device), None if x_valid is None else x_valid.to(device), levels, probe)
            rows[index] = pooled[: len(index)].cpu().numpy()
    return join_channels(rows.reshape(n_cases, -1, rows.shape[1]), valid, probe)


def chosen_levels(encoder: Encoder, probe: ProbeConfig) -> list[int]:
    """Return the levels to pool as non-negative numbers."""
    if probe.levels == "all":
        return list(range(encoder.depth + 1))
    level = encoder.depth if probe.levels == "last" else probe.levels
    if level > encoder.depth:
        raise ValueError(f"the encoder has levels 0 (tokenizer) to {encoder.depth}, but probe.levels is {level}.")
    return [level]


def batches(
    encoder: Encoder, values: NDArray[np.float32], valid: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor | None]]:
    """Yield indices and batches of BATCH sequences [BATCH, C, T] of whole patches that are computed alike.

    A sequence ends with the patch of its last measured point, whatever stands behind it, and sequences with a missing
    point are batched apart: how an embedding is computed depends on the sequence alone.
    """
    patch, n_timepoints = encoder.tokenizer.patch_length, values.shape[2]
    end = np.full(len(values), n_timepoints) if valid is None else last_valid(valid).max(1)
    length = -(-end // patch) * patch
    for index, size, whole in groups(end, length, valid):
        inside = min(size, n_timepoints)
        for start in range(0, len(index), BATCH):
            chosen = index[start : start + BATCH]
            x = torch.zeros(BATCH, values.shape[1], size)
            x[: len(chosen), :, :inside] = torch.from_numpy(values[chosen, :, :inside])
            if whole:
                yield chosen, x, None
                continue
            measured = torch.ones(BATCH, values.shape[1], size, dtype=torch.bool)
            measured[: len(chosen), :, inside:] = False
            if valid is not None:
                measured[: len(chosen), :, :inside] = torch.from_numpy(valid[chosen, :, :inside])
            yield chosen, x, measured


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


def pool_batch(encoder: Encoder, x: Tensor, valid: Tensor | None, levels: Sequence[int], probe: ProbeConfig) -> Tensor:
    """Return the pooled levels [B, F] of one batch."""
    attend = None if valid is None else encoder.token_valid(valid)
    states = encoder(x, levels=levels, valid=valid, attend=attend)
    return torch.cat([pool(state, attend, statistic) for state in states for statistic in probe.pool], 1)


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
    return (torch.where(keep, tokens - mean.unsqueeze(1), 0.0).square().sum(1) / count).sqrt()


def join_channels(
    rows: NDArray[np.float32], valid: NDArray[np.bool_] | None, probe: ProbeConfig
) -> NDArray[np.float32]:
    """Join the embeddings of a case's channels, [n_cases, C, F] to [n_cases, C * F] or their mean [n_cases, F]."""
    if probe.channels == "concat":
        return rows.reshape(len(rows), -1)
    if valid is None:
        return rows.mean(1)
    measured = valid.any((1, 2)).reshape(rows.shape[:2])
    return rows.sum(1) / np.maximum(measured.sum(1, keepdims=True), 1).astype(np.float32)


def resolve_device(device: str) -> torch.device:
    """Return the device that a name means; "auto" is the GPU where there is one.

    Raises
    ------
    ValueError
        If the device is not there.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if available[name]))
    if not available.get(device, False):
        there = ", ".join(name for name, yes in available.items() if yes)
        raise ValueError(f"device {device!r} is not available here: choose auto or one of {there}.")
    return torch.device(device)
