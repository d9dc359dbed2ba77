"""How much of a series answers to fixed random filters: exact shares above several thresholds."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.filterbank import exceedances
from tsjepa.tokenizers import around, to_patches

# Thresholds in standard deviations of a series, spread over two decades: responses to a smooth series are small
LARGEST, SMALLEST = 1.5, 0.015


class Shares(nn.Module):
    """Count, patch by patch, the points at which dilated random filters answer above each of several thresholds.

    The statistics of the ROCKET family (Dempster et al. 2020, 2021), of filters and thresholds that are drawn once,
    whatever the data. Nothing is learned: of local shape, which a token keeps as far as it can be predicted, shares
    keep what can not.

    Parameters
    ----------
    patch_length : int
        P, in time points.
    channels : int, default=1
        Number of input channels C.
    filters : int, default=32
        Filters per dilation.
    kernel_size : int, default=9
        Points that one filter weighs, odd.
    dilations : tuple of int, default=(1, 2, 4, 8, 16)
        Distances between these points.
    thresholds : int, default=4
        Of each filter, one half above zero and the other below.

    Examples
    --------
    >>> shares = Shares(50)
    >>> shares(torch.zeros(2, 1, 500)).shape, shares.size
    (torch.Size([2, 10, 640]), 640)
    """

    weight: Tensor
    thresholds: Tensor

    def __init__(
        self,
        patch_length: int,
        channels: int = 1,
        filters: int = 32,
        kernel_size: int = 9,
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16),
        thresholds: int = 4,
    ) -> None:
        super().__init__()
        self.patch_length, self.dilations = patch_length, tuple(dilations)
        self.register_buffer("weight", draw_filters((len(dilations), filters, channels, kernel_size)))
        self.register_buffer("thresholds", draw_thresholds(len(dilations), filters, thresholds))

    @property
    def size(self) -> int:
        """Number of shares S: dilations, thresholds and filters multiplied."""
        return self.thresholds.numel()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the counts [B, N, S], whole numbers from 0 to P as floats, of values [B, C, T]."""
        if torch.compiler.is_exporting():
            return self.plain(x)
        reach = max(self.dilations) * (self.weight.shape[3] // 2)
        windows = around(x, self.patch_length, reach, reach)
        rows = windows.transpose(1, 2).flatten(0, 1)
        found = exceedances(rows, self.weight, self.thresholds, self.dilations, self.patch_length)
        return found.flatten(1).unflatten(0, (windows.shape[0], windows.shape[2]))

    def plain(self, x: Tensor) -> Tensor:
        """Return the counts by plain operations, for graphs; all responses are held."""
        padded, counts = to_patches(x, self.patch_length).flatten(2), []
        for weight, thresholds, dilation in zip(self.weight, self.thresholds, self.dilations, strict=True):
            response = F.conv1d(padded, weight, padding=dilation * (weight.shape[2] // 2), dilation=dilation)
            above = response[:, None] > thresholds.T[..., None]
            counts.append(above.to(x.dtype).unflatten(3, (-1, self.patch_length)).sum(4).flatten(1, 2))
        return torch.cat(counts, 1).transpose(1, 2)

    def pool(self, counts: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the shares [B, S] of whole series as arcsines of square roots, for which all shares vary alike.

        Parameters
        ----------
        counts : Tensor of shape (B, N, S)
        valid : bool Tensor of shape (B, N), optional
            Which patches count; None means all. Without any the shares are 0.
        """
        if valid is None:
            points = torch.full_like(counts[:, :1, 0], counts.shape[1] * self.patch_length)
            total = counts.sum(1)
        else:
            points = self.patch_length * valid.sum(1, keepdim=True).clamp(min=1)
            total = torch.where(valid.unsqueeze(-1), counts, 0.0).sum(1)
        return (total / points).sqrt().clamp(max=1).arcsin()


def draw_filters(shape: tuple[int, int, int, int]) -> Tensor:
    """Draw zero-sum unit-norm filters [G, F, C, K]."""
    weight = torch.randn(shape)
    weight -= weight.mean((2, 3), keepdim=True)
    return weight / weight.flatten(2).norm(dim=2)[..., None, None]


def draw_thresholds(n_dilations: int, n_filters: int, n: int) -> Tensor:
    """Draw thresholds [G, F, n] of both signs, one of each sign in each part of the range of sizes, by logarithm."""
    place = (torch.arange(n // 2) + torch.rand(n_dilations, n_filters, n // 2)) / (n // 2)
    size = LARGEST * (SMALLEST / LARGEST) ** place
    return torch.cat([size, -size], -1)
