"""A sketch of an embedding: rotated at random, saturated and rounded, so that a standardising head reads it well."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

# Values that a number of a sketch may take on either side of zero
STEPS = 4
# How far a typical series lies from the centre, before saturation, in each direction
REACH = 2.0


class Sketch(nn.Module):
    r"""Project blocks of features together on random directions, and round what comes out.

    .. math:: s = \frac{1}{m} \operatorname{round}\Big(m \tanh(c R z)\Big),
              \qquad z = \bigoplus_b w_b \frac{x_b - \mu_b}{\sigma_b}, \quad \sum_b w_b^2 = 1

    Linear heads usually standardise each feature by the labelled series. With few of them the scale of a feature is
    noise, and one that hardly differs between them is blown up. Random directions share the spread of all features, so
    that standardising them changes next to nothing, and distances stay what they were (Johnson and Lindenstrauss 1984;
    signs for directions, Achlioptas 2003). Rounding makes differences that mean nothing exactly zero.

    Parameters
    ----------
    widths : sequence of int
        Features of each block.
    weights : sequence of float
        How much each block counts.
    size : int
        Length of a sketch.

    Examples
    --------
    >>> sketch = Sketch([3, 2], [1.0, 0.5], size=8)
    >>> rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    >>> sketch.measure(rows)
    >>> sketch(rows).shape, sketch(rows).unique().tolist()
    (torch.Size([20, 8]), [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0])
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, widths: Sequence[int], weights: Sequence[float], size: int) -> None:
        super().__init__()
        self.widths, self.weights, self.size = tuple(widths), tuple(weights), size
        self.register_buffer("centre", torch.zeros(sum(widths)))
        self.register_buffer("spread", torch.zeros(len(self.widths)))
        self.directions = draw_signs(sum(widths), size).float()

    @property
    def known(self) -> bool:
        """Whether `measure` has been called."""
        return bool(self.spread.any())

    def measure(self, rows: Tensor) -> None:
        """Take mean and root mean squared distance from it, block by block, of training series [n, F]."""
        self.centre.copy_(rows.mean(0))
        for at, block in enumerate((rows - self.centre).split(self.widths, 1)):
            distance = block.square().sum(1).mean().sqrt()
            self.spread[at] = distance if distance > 0 else 1.0

    def forward(self, rows: Tensor) -> Tensor:
        """Map features [n, F] to sketches [n, size]; the gradient is that before rounding."""
        total = sum(weight**2 for weight in self.weights) ** 0.5
        weights = REACH / total * torch.tensor(self.weights, device=rows.device) / self.spread
        scale = weights.repeat_interleave(torch.tensor(self.widths, device=rows.device), output_size=rows.shape[1])
        turned = ((rows - self.centre) * scale) @ self.directions.to(rows.device)
        steps = STEPS * turned.tanh()
        rounded = steps.round()
        if steps.requires_grad:
            rounded = rounded + (steps - steps.detach())
        return rounded / STEPS


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
