"""A sketch of an embedding: rotated at random, saturated and rounded, so that a standardising head reads it well."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tsjepa.whitening import Whitening

# Values that a number of a sketch may take on either side of zero
STEPS = 4
# How far a typical series lies from the centre, before saturation, in each direction
REACH = 2.0


class Sketch(nn.Module):
    r"""Project blocks of features together on random directions, and round what comes out.

    .. math:: s = \frac{1}{m} \operatorname{round}\Big(m \tanh(c R z)\Big),
              \qquad z = \bigoplus_b w_b \frac{W_b (x_b - \mu_b)}{\sigma_b}

    where W_b shrinks what the patches of a series disagree on, or what speed and noise change, once that is known
    (`tsjepa.whitening`), and c is such that a typical training series lies `REACH` from the centre.

    Linear heads usually standardise each feature by the labelled series. With few of them the scale of a feature is
    noise, and one that hardly differs between them is blown up. Random directions share the spread of all features, so
    that standardising them changes next to nothing, and distances stay what they were (Johnson and Lindenstrauss 1984;
    signs for directions, Achlioptas 2003). Rounding makes differences that mean nothing exactly zero.

    Parameters
    ----------
    widths : sequence of int
        Features of each block.
    size : int
        Length of a sketch.

    Examples
    --------
    >>> sketch = Sketch([3, 2], size=8)
    >>> rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    >>> sketch.measure(rows, weights=[1.0, 0.5])
    >>> sketch(rows).shape, sketch(rows).unique().tolist()
    (torch.Size([20, 8]), [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0])
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, widths: Sequence[int], size: int) -> None:
        super().__init__()
        self.widths, self.size = tuple(widths), size
        self.register_buffer("centre", torch.zeros(sum(widths)))
        self.register_buffer("scale", torch.zeros(sum(widths)))
        self.whitenings = nn.ModuleList(Whitening(width) for width in widths)
        self.directions = draw_signs(sum(widths), size).float()

    @property
    def known(self) -> bool:
        """Whether `measure` has been called."""
        return bool(self.scale.any())

    def measure(self, rows: Tensor, weights: Sequence[float], smallest: Sequence[float] = ()) -> None:
        """Take mean and root mean squared distance from it, block by block, of training series [n, F], whitened.

        Each block counts its weight. Where less than `smallest`, which is of the last blocks, a distance is taken to
        be that: such a block counts for next to nothing, and the others for as much as without it.
        """
        floors = [0.0] * (len(self.widths) - len(smallest)) + list(smallest)
        self.centre.copy_(rows.mean(0))
        blocks = self.whitened(rows - self.centre).split(self.widths, 1)
        distances = [float(block.square().sum(1).mean().sqrt()) for block in blocks]
        taken = [max(distance, floor) or 1.0 for distance, floor in zip(distances, floors, strict=True)]
        heard = [w * distance / usual for w, distance, usual in zip(weights, distances, taken, strict=True)]
        total = sum(weight**2 for weight in heard) ** 0.5 or 1.0
        for weight, scale, usual in zip(weights, self.scale.split(self.widths), taken, strict=True):
            scale.fill_(REACH * weight / total / usual)

    def whiten(self, first: int, within: Sequence[tuple[Tensor, int]]) -> None:
        """Learn of the blocks from `first` on what to shrink, from `scatter_within` of each; `measure` comes after."""
        for block, (scatter, freedom) in enumerate(within, first):
            whitening = self.whitenings[block]
            assert isinstance(whitening, Whitening)
            whitening.measure(scatter, freedom)

    def whitened(self, centred: Tensor) -> Tensor:
        """Shrink, block by block of centred features [n, F], what the patches of a series disagree on."""
        blocks = centred.split(self.widths, 1)
        return torch.cat([whiten(block) for whiten, block in zip(self.whitenings, blocks, strict=True)], 1)

    def project(self, rows: Tensor) -> Tensor:
        """Map features [n, F] to what is not yet saturated and rounded [n, size]."""
        return (self.whitened(rows - self.centre) * self.scale) @ self.directions.to(rows.device)

    def forward(self, rows: Tensor) -> Tensor:
        """Map features [n, F] to sketches [n, size]; the gradient is that before rounding."""
        return rounded(self.project(rows))


def rounded(turned: Tensor) -> Tensor:
    """Saturate and round to multiples of 1 / STEPS; the gradient is that before rounding.

    Examples
    --------
    >>> rounded(torch.tensor([-9.0, 0.1, 0.2, 0.6]))
    tensor([-1.0000,  0.0000,  0.2500,  0.5000])
    """
    if not turned.requires_grad:  # one array of many series is written once, and not at each operation
        return turned.tanh().mul_(STEPS).round_().div_(STEPS)
    steps = STEPS * turned.tanh()
    return (steps.round() + (steps - steps.detach())) / STEPS


def mixed(turned: Tensor, measured: Tensor) -> Tensor:
    """Join the projections of channels [B, C, size] to one [B, size], each channel on directions of its own.

    Channel c takes the directions of the first one, c places further on: signs of different places have nothing to do
    with each other. The sum is divided by the root of the number of channels that have a value.

    Parameters
    ----------
    turned : Tensor of shape (B, C, size)
    measured : bool Tensor of shape (B, C, 1)
        Which channels have a value.

    Examples
    --------
    >>> mixed(torch.tensor([[[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]]), torch.tensor([[[True], [False]]]))
    tensor([[1., 2., 3.]])
    """
    channels, size = turned.shape[1:]
    if channels == 1:
        return torch.where(measured[:, 0], turned[:, 0], 0.0)
    place = torch.arange(size, device=turned.device) - torch.arange(channels, device=turned.device).unsqueeze(1)
    own = torch.where(measured, turned, 0.0).gather(2, (place % size).expand(turned.shape[0], -1, -1))
    return own.sum(1) / measured.sum(1).clamp(min=1).sqrt()


def draw_signs(rows: int, columns: int) -> Tensor:
    """Return signs [rows, columns], the same ones for ever, as int8.

    Examples
    --------
    >>> draw_signs(2, 5).tolist()
    [[1, 1, 1, 1, 1], [-1, 1, -1, -1, 1]]
    """
    words = np.random.PCG64(0).random_raw(-(-rows * columns // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), count=rows * columns, bitorder="little")
    return torch.from_numpy(bits.astype(np.int8).reshape(rows, columns) * 2 - 1)
