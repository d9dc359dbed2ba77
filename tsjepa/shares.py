"""How much of a series answers to fixed random filters: exact shares above several thresholds."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.loops import TAPS, by_loop

# Thresholds in standard deviations of a series, spread over two decades: responses to a smooth series are small
LARGEST, SMALLEST = 1.5, 0.015
# Responses that are held at a time where no loop counts them: about the second-level cache of a core; a GPU wants few
# large kernels
BLOCK = {"cpu": 2**18, "cuda": 2**26, "mps": 2**26}


class Shares(nn.Module):
    """The share of points at which dilated random filters answer above each of several thresholds.

    The statistics of the ROCKET family (Dempster et al. 2020, 2021), of filters and thresholds that are drawn once,
    whatever the data. Nothing is learned: of local shape, which a token keeps as far as it can be predicted, shares
    keep what can not. They are returned as arcsines of square roots, for which small and large shares vary alike.

    Parameters
    ----------
    channels : int, default=1
        Number of input channels C.
    filters : int, default=32
        Filters per dilation.
    dilations : tuple of int, default=(1, 2, 4, 8, 16)
        Distances between the nine points that a filter weighs.
    thresholds : int, default=4
        Of each filter, one half above zero and the other below.
    noise : float, optional
        Each point counts as the probability of being above once noise, uniform within `noise` on either side, is added
        to the answer: it grows steadily from 0 to 1 within `noise` of a threshold. White noise in a series, which has
        the same deviation in its answers since filters have unit norm, then changes shares less. By default a point is
        above a threshold or is not.

    Examples
    --------
    >>> shares = Shares()
    >>> shares(torch.zeros(2, 1, 500)).shape, shares.size
    (torch.Size([2, 640]), 640)
    """

    weight: Tensor
    thresholds: Tensor

    def __init__(
        self,
        channels: int = 1,
        filters: int = 32,
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16),
        thresholds: int = 4,
        noise: float | None = None,
    ) -> None:
        super().__init__()
        self.dilations, self.noise = tuple(dilations), noise
        self.register_buffer("weight", draw_filters((len(dilations), filters, channels, TAPS)))
        self.register_buffer("thresholds", draw_thresholds(len(dilations), filters, thresholds))

    @property
    def size(self) -> int:
        """Number of shares S: dilations, filters and thresholds multiplied."""
        return self.thresholds.numel()

    @torch.no_grad()
    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the shares [B, S] of values [B, C, T].

        Parameters
        ----------
        x : Tensor of shape (B, C, T)
        valid : bool Tensor of shape (B, T), optional
            Points that count; None means all. Without any the shares are 0.
        """
        if torch.compiler.is_exporting():
            return self.of(x, valid)
        if by_loop(x, self.weight):
            return self.of_patches(x, x.shape[2], valid).squeeze(1)
        step = max(BLOCK[x.device.type] // (self.weight.shape[1] * x.shape[2]), 1)
        masks = [None] * len(x) if valid is None else valid.split(step)
        return torch.cat([self.of(part, mask) for part, mask in zip(x.split(step), masks, strict=False)])

    def of(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return the shares of one block of series."""
        points = None if valid is None else valid.to(x.dtype)
        counts = torch.cat([hits.sum(2) for hits in self.hits(x, points)], 1)
        return angle(counts, x.shape[2] if points is None else points.sum(1, keepdim=True))

    @torch.no_grad()
    def of_patches(self, x: Tensor, patch_length: int, valid: Tensor | None = None) -> Tensor:
        """Return the shares [B, N, S] of each patch of `patch_length` points of values [B, C, T], T = N * patch_length.

        Filters see beyond a patch. Where patches are of one size and all points count, the sines of their shares,
        squared, have those of the series as their mean.
        """
        points = None if valid is None else valid.to(x.dtype)
        if by_loop(x, self.weight):
            from tsjepa.counting import count_above  # compiles

            fixed = self.weight, self.thresholds, self.dilations, patch_length
            counts = count_above(x, *fixed, points, self.noise)
        else:
            hits = [hits.unflatten(2, (-1, patch_length)).sum(3) for hits in self.hits(x, points)]
            counts = torch.cat(hits, 1).transpose(1, 2)
        if points is None:
            return angle(counts, patch_length)
        return angle(counts, points.unflatten(1, (-1, patch_length)).sum(2, keepdim=True))

    def hits(self, x: Tensor, points: Tensor | None) -> Iterator[Tensor]:
        """Yield, filters' dilations and thresholds in turn, where answers [B, F, T] to `points` [B, T] are above."""
        with torch.autocast(x.device.type, enabled=False):
            for weight, levels, dilation in zip(self.weight, self.thresholds, self.dilations, strict=True):
                answer = filtered(x, weight, dilation)
                for level in levels.unbind(1):
                    hits = above(answer, level, self.noise)
                    yield hits if points is None else hits * points.unsqueeze(1)


def angle(counts: Tensor, total: Tensor | int) -> Tensor:
    """Return the arcsines of the roots of shares, for which small and large shares vary alike; 0 of nothing.

    Examples
    --------
    >>> angle(torch.tensor([0.0, 2.0]), 4)
    tensor([0.0000, 0.7854])
    """
    total = total if isinstance(total, int) else total.clamp(min=1)
    return (counts / total).clamp(max=1).sqrt().arcsin()


def filtered(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Return the answers [B, F, T] of filters [F, C, K] to values [B, C, T], zero outside.

    Examples
    --------
    >>> filtered(torch.tensor([[[1.0, 2.0, 4.0]]]), torch.tensor([[[1.0, 0.0, -1.0]]]), 1)
    tensor([[[-2., -3.,  2.]]])
    """
    reach = dilation * (weight.shape[2] // 2)
    if torch.compiler.is_exporting():
        return F.conv1d(x, weight, padding=reach, dilation=dilation)
    taps = F.pad(x, (reach, reach)).unfold(2, x.shape[2], 1)[:, :, ::dilation]
    return weight.flatten(1) @ taps.flatten(1, 2)  # several times as fast as a convolution of so few channels


def above(answer: Tensor, level: Tensor, noise: float | None = None) -> Tensor:
    """Return 1 where answers [B, F, T] are above their filter's level [F], else 0, as floats.

    With noise, uniform within `noise` on either side of an answer, return the probability that it is.

    Examples
    --------
    >>> answers, level = torch.tensor([[[0.0, 1.0, 2.0]]]), torch.tensor([1.0])
    >>> above(answers, level).tolist(), above(answers, level, noise=2.0).tolist()
    ([[[0.0, 0.0, 1.0]]], [[[0.25, 0.5, 0.75]]])
    """
    level = level[:, None]
    if noise is not None:
        return ((answer - level) * (0.5 / noise) + 0.5).clamp(0, 1)
    if torch.compiler.is_exporting():
        return (answer > level).to(answer.dtype)
    return torch.gt(answer, level, out=torch.empty_like(answer))  # at once: booleans are slow to convert


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
