"""Gaps inside a patch: what a tokenizer is given at the missing points of a patch that holds valid ones.

Zeros, the mean of a normalised series, would break what is left of a waveform: with half of FordA's points missing at
random, linear patches of zeros carry nothing of the class, and bridged ones most of it (`benchmarks/missing.py`).
"""

import torch
from torch import Tensor

from tsjepa.tokenizers import to_patches

# Time points over which a value that was measured tells of a missing one beside it
MEMORY = 4.0


def bridge(x: Tensor, valid: Tensor, patch_length: int) -> Tensor:
    """Put at each missing point what its nearest valid neighbours in the same patch make likely.

    That is the mean of an Ornstein-Uhlenbeck process given these neighbours (Rasmussen and Williams 2006, "Gaussian
    Processes for Machine Learning", sections 2.2 and 4.2.1): nearly a straight line over a short gap, and the mean of
    the process, zero, far away from any valid point. Nothing of another patch goes in, so that a hidden patch stays
    hidden; behind the last valid point of a series are zeros, as behind its end.

    Parameters
    ----------
    x : Tensor of shape (B, C, T)
        Normalised values, zero at invalid points.
    valid : bool Tensor of shape (B, C, T)
        Which points were measured.
    patch_length : int
        P, in time points.

    Returns
    -------
    Tensor of shape (B, C, T)
        Zero where neither side has a neighbour.

    Examples
    --------
    >>> x, valid = torch.tensor([[[9.0, 1.0, 9.0, 1.0, 9.0]]]), torch.tensor([[[False, True, False, True, False]]])
    >>> bridge(x, valid, patch_length=5)
    tensor([[[0.7788, 1.0000, 0.9695, 1.0000, 0.0000]]])
    """
    values, there = to_patches(x, patch_length), to_patches(valid, patch_length)
    time = torch.arange(x.shape[-1], device=x.device)
    goes_on = to_patches(time <= torch.where(valid, time, -1).amax(-1, keepdim=True), patch_length)
    place = torch.arange(patch_length, device=x.device)  # 64 bits: ONNX Runtime lacks some of this in 32
    before = running_max(torch.where(there, place, -1))
    after = patch_length - 1 - running_max(torch.where(there, patch_length - 1 - place, -1).flip(-1)).flip(-1)
    a = torch.where(before >= 0, place - before, patch_length)  # P stands for no neighbour
    b = torch.where(after < patch_length, after - place, patch_length)
    decay, growth = tables(patch_length, x)
    span = growth[(a + b).clamp(min=1)]
    left = values.gather(-1, before.clamp(min=0)) * decay[a] * growth[b] / span
    right = values.gather(-1, after.clamp(max=patch_length - 1)) * decay[b] * growth[a] / span
    bridged = torch.where(there, values, torch.where(goes_on, left + right, 0.0))
    return bridged.flatten(2)[..., : x.shape[-1]]


def running_max(x: Tensor) -> Tensor:
    """Return the largest value so far along the last axis: `cummax`, of operations that can be exported.

    Examples
    --------
    >>> running_max(torch.tensor([-1, 1, -1, 3, -1])).tolist()
    [-1, 1, 1, 3, 3]
    """
    step = 1
    while step < x.shape[-1]:
        x = torch.cat([x[..., :step], torch.maximum(x[..., step:], x[..., :-step])], -1)
        step *= 2
    return x


def tables(patch_length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return exp(-d) and 1 - exp(-2 d) of distances d = 0 ... 2 P in units of MEMORY, those from P on being infinite.

    With them the weight of a neighbour at distance a, the other at b, sinh(b) / sinh(a + b), cannot overflow.
    """
    steps = torch.arange(2 * patch_length + 1, device=like.device, dtype=like.dtype)
    distance = torch.where(steps < patch_length, steps / MEMORY, torch.inf)
    return torch.exp(-distance), -torch.expm1(-2 * distance)
