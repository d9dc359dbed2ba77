"""Cosines and sines of multiples of angles: their sums over samples, and their sums over multiples.

Both follow f((k + 1) a) = 2 cos(a) f(k a) - f((k - 1) a), so that only those of the angles themselves are computed.
Nothing of the size [samples, multiples] is ever built. In float32 on the CPU a compiled loop does it
(`tsjepa.wave_loops`), else torch.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from tsjepa.loops import by_loop

# Numbers that torch works on at a time, so that they stay in a core's cache
BLOCK = 2**17


def sums_of_waves(first: Tensor, count: int, keep: Tensor | None = None) -> Tensor:
    """Sum the cosines and sines of 1, 2, ... `count` times some angles over samples, without a gradient.

    Parameters
    ----------
    first : Tensor of shape (2, S, N, M)
        Cosines and sines of the angles of S sets of N samples of M variables.
    count : int
        K, at least 1.
    keep : bool Tensor of shape (S, N), optional
        Which samples count; None means all.

    Returns
    -------
    Tensor of shape (K, 2, S, M)

    Examples
    --------
    >>> angles = torch.tensor([0.0, torch.pi / 3]).view(1, 2, 1)
    >>> sums_of_waves(torch.stack([angles.cos(), angles.sin()]), count=2).flatten(1).round(decimals=2)
    tensor([[1.5000, 0.8700],
            [0.5000, 0.8700]])
    """
    if by_loop(first):
        from tsjepa.wave_loops import sum_samples  # compiles

        return sum_samples(first, count, keep)
    total = first.new_empty(count, 2, first.shape[1], first.shape[3])
    for columns in column_blocks(first):
        for k, wave in enumerate(multiples(first[..., columns], keep, count)):
            total[k, ..., columns] = wave.sum(2)
    return total * signs(total)


def mix_of_waves(first: Tensor, weights: Tensor, keep: Tensor | None = None) -> Tensor:
    """Sum weighted cosines and sines of 1, 2, ... K times some angles over these multiples, without a gradient.

    Parameters
    ----------
    first : Tensor of shape (2, S, N, M)
    weights : Tensor of shape (K, 2, S, M)
        Of cosines and sines.
    keep : bool Tensor of shape (S, N), optional
        Samples of which the sum is not 0; None means all.

    Returns
    -------
    Tensor of shape (S, N, M)

    Examples
    --------
    >>> angles = torch.tensor([0.0, torch.pi / 2]).view(1, 2, 1)
    >>> weights = torch.tensor([[1.0, 10.0], [100.0, 1000.0]]).view(2, 2, 1, 1)
    >>> mix_of_waves(torch.stack([angles.cos(), angles.sin()]), weights).flatten().round()
    tensor([101., -90.])
    """
    if by_loop(first):
        from tsjepa.wave_loops import mix_multiples

        return mix_multiples(first, weights, keep)
    out = torch.zeros_like(first[0])
    weights = (weights * signs(weights)).unsqueeze(3)
    for columns in column_blocks(first):
        part = out.new_zeros(out[..., columns].shape)
        waves = multiples(first[..., columns], keep, len(weights))
        for (cosine, sine), (of_cosine, of_sine) in zip(waves, weights[..., columns], strict=True):
            part.addcmul_(cosine, of_cosine).addcmul_(sine, of_sine)
        out[..., columns] = part
    return out


def column_blocks(first: Tensor) -> Iterator[slice]:
    """Yield slices of the columns of [2, S, N, M] that hold about BLOCK numbers each."""
    _, sets, samples, columns = first.shape
    width = max(BLOCK // max(sets * samples, 1), 16) if first.is_cpu else columns
    for start in range(0, columns, width):
        yield slice(start, start + width)


def multiples(first: Tensor, keep: Tensor | None, count: int) -> Iterator[Tensor]:
    """Yield cosines and sines [2, S, N, M] of 1, 2, ... `count` times the angles whose own are `first`.

    They have the signs that make a step one pass over memory, see `signs`; each is overwritten by the next but one.
    Those of samples that `keep` [S, N] leaves out are zeros.
    """
    wave = first.clone() if keep is None else torch.where(keep.unsqueeze(-1), first, 0.0)
    twice, before = 2 * wave[0], torch.zeros_like(wave)
    before[0] = 1.0 if keep is None else keep.unsqueeze(-1).to(wave)
    for k in range(1, count + 1):
        yield wave
        wave, before = before.addcmul_(twice, wave, value=(-1) ** k), wave


def signs(like: Tensor) -> Tensor:
    """Return +1, -1, -1, +1, +1, -1, ... [K, 1, 1, 1], each minus the last but one: those of `multiples`."""
    return like.new_tensor([(1, -1, -1, 1)[k % 4] for k in range(len(like))]).view(-1, 1, 1, 1)
