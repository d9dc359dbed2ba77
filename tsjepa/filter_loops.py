"""A bank of dilated filters pooled inside patches by compiled loops, value and gradient, LANES patches side by side.

Patches lie side by side, point by point: so each loop is a long one, whatever the length of a patch, and the points of
a patch are added up without adding up inside a register. Responses are computed again for the gradient.
"""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from tsjepa.filter_kernels import LANES, Grads, each_filter
from tsjepa.loops import divided

# Times LANES patches and all filters of a dilation that are worth a thread of their own
GRAIN = 4


def in_lanes(rows: Tensor) -> Tensor:
    """Return rows [R, ...] as [N, LANES, ...], the last ones of zeros."""
    return F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, -len(rows) % LANES)).unflatten(0, (-1, LANES))


def interleaved(windows: Tensor) -> Tensor:
    """Return windows [R, C, W] as [N, C, W * LANES], LANES patches each, point by point."""
    return in_lanes(windows).permute(0, 2, 3, 1).flatten(2)


def pool_patches(x: Tensor, weight: Tensor, dilations: tuple[int, ...], size: int) -> Tensor:
    """Return mean sigmoid and maximum [N, G, F, 2, LANES] of the responses of each patch.

    Parameters
    ----------
    x : float32 Tensor of shape (N, C, W * LANES)
        See `interleaved`.
    weight : Tensor of shape (G, F, C * 9 + 1)
        Taps of each filter, channel by channel, and its bias.
    dilations : tuple of int
        G distances between taps.
    size : int
        Points of a patch.
    """
    pooled = x.new_empty(len(x), *weight.shape[:2], 2, LANES)
    run_loops(x, weight, dilations, pooled, None, size)
    return pooled


def weight_gradients(
    x: Tensor, weight: Tensor, dilations: tuple[int, ...], pooled: Tensor, grad: Tensor, size: int
) -> Tensor:
    """Return the gradients of the weights [G, F, C * 9 + 1]; `pooled` and its gradient as from `pool_patches`."""
    found = x.new_empty(len(x), *weight.shape)
    run_loops(x, weight, dilations, pooled, (grad.numpy(), found.numpy()), size)
    return found.sum(0)


def run_loops(x: Tensor, weight: Tensor, dilations: tuple[int, ...], pooled: Tensor, grads: Grads, size: int) -> None:
    """Run `each_filter` on all dilations of all patches."""
    arrays = x.numpy(), weight.detach().numpy(), np.array(dilations), pooled.numpy(), grads, size
    divided(lambda part: each_filter(*arrays, part.start, part.stop), len(x) * len(dilations), GRAIN)
