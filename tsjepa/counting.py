"""How often filters answer above their thresholds, counted by a compiled loop, a filter and a series at a time."""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from tsjepa.filter_kernels import count_series
from tsjepa.loops import TAPS, divided

# Series that are worth a thread of their own
GRAIN = 8


def count_above(
    x: Tensor,
    weight: Tensor,
    levels: Tensor,
    dilations: tuple[int, ...],
    size: int,
    points: Tensor | None = None,
    noise: float | None = None,
) -> Tensor:
    """Count at how many points of each patch each filter answers above each of its levels.

    Parameters
    ----------
    x : float32 Tensor of shape (B, C, T)
        Values, on the CPU.
    weight : Tensor of shape (G, F, C, 9)
        F filters of nine taps for each of G dilations.
    levels : Tensor of shape (G, F, L)
    dilations : tuple of int
        G distances between taps.
    size : int
        Points of a patch; T for series that are taken whole.
    points : Tensor of shape (B, T), optional
        1 at points that count, 0 at others; None means all.
    noise : float, optional
        Add up the probabilities of being above with noise uniform within `noise` on either side of an answer.

    Returns
    -------
    Tensor of shape (B, N, G * L * F)

    Raises
    ------
    ValueError
        If filters have another number of taps, or series are not whole patches.

    Examples
    --------
    >>> import torch
    >>> first = torch.eye(9)[4].view(1, 1, 1, 9)  # a filter that answers with the value itself
    >>> count_above(torch.tensor([[[1.0, 3.0, 5.0, 7.0]]]), first, torch.tensor([[[2.0, 4.0]]]), (1,), size=2)
    tensor([[[1., 0.],
             [2., 2.]]])
    """
    n_series, _, n_timepoints = x.shape
    if weight.shape[3] != TAPS:
        raise ValueError(f"filters must have {TAPS} taps, but these have {weight.shape[3]}.")
    if n_timepoints % size:
        raise ValueError(f"series of {n_timepoints} points are not whole patches of {size}.")
    reach = TAPS // 2 * max(dilations)
    counts = x.new_empty(n_series, n_timepoints // size, len(dilations), levels.shape[2], levels.shape[1])
    arrays = [F.pad(x, (reach, reach)).numpy(), None if points is None else points.contiguous().numpy(), counts.numpy()]
    fixed = weight.numpy(), levels.numpy(), np.array(dilations), size
    slope = np.float32(0 if noise is None else 0.5 / noise)

    def run(part: slice) -> None:
        values, mask, out = (None if array is None else array[part] for array in arrays)
        count_series(values, *fixed, mask, slope, out)

    divided(run, n_series, GRAIN)
    return counts.flatten(2)
