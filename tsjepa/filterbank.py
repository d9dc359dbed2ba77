"""A bank of dilated filters pooled inside patches: value and gradient without ever holding all responses."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsjepa.elementwise import in_place
from tsjepa.loops import TAPS, by_loop

# Responses that are held at a time: about the second-level cache of a core; a GPU wants few large kernels
BLOCK = {"cpu": 2**17, "cuda": 2**26, "mps": 2**26}


class LoopedResponses(torch.autograd.Function):
    """Share of positive values, smoothed by a sigmoid, and maximum of each filter's responses inside each patch.

    By compiled loops, for filters of nine taps, in float32 on a CPU. Inputs have no gradient.
    """

    @staticmethod
    def forward(ctx: Any, windows: Tensor, weight: Tensor, dilations: tuple[int, ...], patch_length: int) -> Tensor:
        """Return share and maximum [R, 2, G, F]; weight [G, F, C * 9 + 1], see `pooled_responses`."""
        from tsjepa.filter_loops import interleaved, pool_patches  # compile

        x, rows = interleaved(windows), len(windows)
        pooled = pool_patches(x, weight, dilations, patch_length)
        ctx.save_for_backward(x, weight, pooled)
        ctx.dilations, ctx.patch_length = dilations, patch_length
        return pooled.permute(0, 4, 3, 1, 2).flatten(0, 1)[:rows]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
        """Return the gradient with respect to the weights; equal maxima share theirs evenly."""
        from tsjepa.filter_loops import in_lanes, weight_gradients

        x, weight, pooled = ctx.saved_tensors
        given = in_lanes(grad).permute(0, 3, 4, 2, 1).contiguous()
        return None, weight_gradients(x, weight, ctx.dilations, pooled, given, ctx.patch_length), None, None


class PooledResponses(torch.autograd.Function):
    """Share of positive values, smoothed by a sigmoid, and maximum of each filter's responses inside each patch.

    By products of what all taps see in blocks that stay in the processor's cache. The responses, by far the largest
    array, are never held whole: the backward pass computes them again. Inputs have no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, windows: Tensor, weight: Tensor, dilations: tuple[int, ...], patch_length: int
    ) -> tuple[Tensor, Tensor]:
        """Return share and maximum [G, R, F]; see `pooled_responses`."""
        shape = weight.shape[0], windows.shape[0], weight.shape[2]
        share, peak = weight.new_empty(shape), weight.new_empty(shape)
        for rows, _, response in blocks(windows, weight, dilations, patch_length):
            torch.amax(response, 2, out=peak[:, rows])
            torch.mean(in_place(torch.Tensor.sigmoid_, response), 2, out=share[:, rows])
        ctx.save_for_backward(windows, weight)
        ctx.dilations, ctx.patch_length = dilations, patch_length
        return share, peak

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_share: Tensor, grad_peak: Tensor) -> tuple[None, Tensor, None, None]:
        """Return the gradient with respect to the weights; equal maxima share theirs evenly."""
        windows, weight = ctx.saved_tensors
        grad = torch.zeros_like(weight)
        grad_share, grad_peak = (grad_share / ctx.patch_length).unsqueeze(2), grad_peak.unsqueeze(2)
        for rows, taps, response in blocks(windows, weight, ctx.dilations, ctx.patch_length):
            # 1 at the maximum, else 0: comparing would make booleans, which are slow to count with
            at_peak = (response - response.amax(2, keepdim=True)).sign_().add_(1)
            share = response.sigmoid_()
            torch.ops.aten.sigmoid_backward.grad_input(grad_share[:, rows].expand_as(share), share, grad_input=share)
            share.addcmul_(at_peak, grad_peak[:, rows] / at_peak.sum(2, keepdim=True))
            grad.baddbmm_(taps.transpose(1, 2), share.flatten(1, 2))
        return None, grad, None, None


def pooled_responses(
    windows: Tensor, weight: Tensor, bias: Tensor, dilations: tuple[int, ...], patch_length: int
) -> tuple[Tensor, Tensor]:
    """Filter patches with their surroundings, and pool the responses inside each patch.

    Parameters
    ----------
    windows : Tensor of shape (R, C, W)
        Patches with as many points on either side as the longest filter reaches.
    weight : Tensor of shape (G, F, C, K)
        F filters of K taps, K odd, for each of G dilations.
    bias : Tensor of shape (G, F)
    dilations : tuple of int
        G distances between taps.
    patch_length : int
        P, in time points.

    Returns
    -------
    share : Tensor of shape (R, G, F)
        Mean sigmoid of the responses of a patch.
    peak : Tensor of shape (R, G, F)
        Their maximum.

    Examples
    --------
    >>> windows = torch.tensor([[[0.0, 1.0, 2.0, 0.0]]])  # a patch of 2 points, 1 on either side
    >>> weight, bias = torch.tensor([[[[0.0, 1.0, -1.0]]]]), torch.zeros(1, 1)
    >>> pooled_responses(windows, weight, bias, (1,), 2)[1]
    tensor([[[2.]]])
    """
    # the bias is the weight of a tap that is always 1
    joined = torch.cat([weight.flatten(2), bias.unsqueeze(2)], 2)
    with torch.autocast(windows.device.type, enabled=False):
        windows = windows.to(joined.dtype)
        if weight.shape[3] == TAPS and by_loop(windows, joined):
            share, peak = LoopedResponses.apply(windows, joined, dilations, patch_length).unbind(1)
            return share, peak
        share, peak = PooledResponses.apply(windows, joined.transpose(1, 2).contiguous(), dilations, patch_length)
    return share.transpose(0, 1), peak.transpose(0, 1)


def blocks(
    windows: Tensor, weight: Tensor, dilations: tuple[int, ...], patch_length: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield rows, their taps [G, r * P, C * K + 1] and responses [G, r, P, F], block by block."""
    n_dilations, n_taps, n_filters = weight.shape
    step = max(BLOCK[windows.device.type] // (n_dilations * patch_length * n_filters), 1)
    taps = windows.new_ones(n_dilations, min(step, len(windows)), patch_length, n_taps)
    for start in range(0, len(windows), step):
        part = windows[start : start + step]
        fill(taps, part, dilations)
        rows = taps[:, : len(part)].flatten(1, 2)
        yield slice(start, start + step), rows, torch.bmm(rows, weight).unflatten(1, (-1, patch_length))


def fill(taps: Tensor, windows: Tensor, dilations: tuple[int, ...]) -> None:
    """Write what each tap of each dilation sees into the first rows of taps [G, R, P, C * K + 1]; the last stays 1."""
    channels, patch_length = windows.shape[1], taps.shape[2]
    size = (taps.shape[3] - 1) // channels
    reach = (windows.shape[2] - patch_length) // 2
    for seen, dilation in zip(taps[:, : len(windows)], dilations, strict=True):
        start, length = reach - dilation * (size // 2), patch_length + dilation * (size - 1)
        view = windows[:, :, start : start + length].unfold(2, length - patch_length + 1, 1)[..., ::dilation]
        seen[..., :-1].unflatten(2, (channels, size)).copy_(view.transpose(1, 2))
