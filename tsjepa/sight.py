"""What a world model sees of a long series, patch by patch: latents so far, what was predicted, what came.

A series is cut into patches from its start, and a patch is seen through the window of the model's context that ends
with it: what is seen of it depends on this window alone, not on where in the series it stands, nor on what comes later.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tsjepa.arrays import Series, as_series
from tsjepa.precision import fast_float32
from tsjepa.world import WorldModel

Array = NDArray[np.float32]

# Windows that are computed at a time, the last ones filled up: products of another size round differently, and a score
# must not depend on how rows arrive
BATCH = 32
# Share of its points that every channel of a patch needs; with fewer the patch is blind
MEASURED = 0.5


class Sight(NamedTuple):
    """What is seen of n patches.

    Attributes
    ----------
    latents : float32 array of shape (n, N, E)
        Of all patches of the window.
    predicted : float32 array of shape (n, H, E)
        What was predicted of the last patch, from each horizon away.
    values : float32 array of shape (n, C, N, P)
        The patches themselves, without inputs, standardised as the encoder does.
    """

    latents: Array
    predicted: Array
    values: Array


def cut_windows(series: Sequence[NDArray[Any]], length: int, stride: int) -> Series:
    """Cut series [C, T] into windows to train on, one every `stride` points; NaN is missing.

    Raises
    ------
    ValueError
        If no series is as long as a window, or a value is infinite.

    Examples
    --------
    >>> cut_windows([np.zeros((2, 100)), np.zeros((2, 40))], length=32, stride=4).values.shape
    (21, 2, 32)
    """
    windows = [x[:, start : start + length] for x in series for start in range(0, x.shape[1] - length + 1, stride)]
    if not windows:
        longest = max(x.shape[1] for x in series)
        raise ValueError(f"a window has {length} points, but the longest series has {longest}.")
    return as_series(np.stack(windows))


def bridge_patches(patches: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return patches [C, n, P] with missing points bridged inside their patch, and which patches [n] are blind.

    A line is drawn between measured neighbours in the same patch, and the outermost ones are held: nothing of another
    patch goes in. A patch is blind where a channel has less than half of its points; it comes out as zeros.

    Examples
    --------
    >>> patches, blind = bridge_patches(np.array([[[1, np.nan, 3, 4], [np.nan, np.nan, np.nan, 4]]], np.float32))
    >>> patches.tolist(), blind.tolist()
    ([[[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]]], [False, True])
    """
    there = np.isfinite(patches)
    blind = (there.mean(-1) < MEASURED).any(0)
    bridged = np.where(there & ~blind[:, None], patches, np.float32(0))
    place = np.arange(patches.shape[-1])
    for channel, patch in np.argwhere(~there.all(-1) & ~blind):
        known = there[channel, patch]
        bridged[channel, patch] = np.interp(place, place[known], patches[channel, patch, known])
    return bridged, blind


def see(model: WorldModel, windows: Array) -> Sight:
    """Put windows [n, C, T] without missing points through a model in evaluation mode."""
    patch = model.encoder.tokenizer.patch_length
    parts = []
    with torch.inference_mode(), fast_float32():
        for start in range(0, len(windows), BATCH):
            chosen = windows[start : start + BATCH]
            x = torch.zeros(BATCH, *windows.shape[1:])
            x[: len(chosen)] = torch.from_numpy(np.ascontiguousarray(chosen))
            latents, predicted = model.look(x)
            values = model.encoder.sequences(x)[0].unflatten(-1, (-1, patch))
            parts.append(Sight(*(part[: len(chosen)].numpy() for part in (latents, predicted, values))))
    return Sight(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def windows_of(
    x: Array, length: int, patch: int, hop: int, first: int = 0
) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Yield where windows begin, and the windows [n, C, length], of a series [C, T]: those without a blind patch.

    There is one every `hop` points from the point `first` on.

    Examples
    --------
    >>> starts, windows = next(windows_of(np.zeros((2, 10), np.float32), length=4, patch=2, hop=3))
    >>> starts.tolist(), windows.shape
    ([0, 3, 6], (3, 2, 4))
    """
    starts = np.arange(first, x.shape[1] - length + 1, hop)
    for some in np.array_split(starts, len(starts) // (8 * BATCH) + 1) if len(starts) else ():
        cut = np.stack([x[:, start : start + length] for start in some], 1)
        bridged, blind = bridge_patches(cut.reshape(len(x), -1, patch))
        kept = ~blind.reshape(len(some), -1).any(1)
        if kept.any():
            yield some[kept], bridged.reshape(cut.shape).transpose(1, 0, 2)[kept]
