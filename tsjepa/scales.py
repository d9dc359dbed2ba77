"""Level and scale of each channel, beside those that it had in the training series."""

import torch
from torch import Tensor, nn

from tsjepa.normalization import level_and_scale

# How many usual deviations count at most: a sensor that runs away must not drown what the others say
BOUND = 3.0
# Least unit, as a share of a channel's deviation, and of one for log scales: less is what noise makes of a mean, and where
# all series were normalised before, what is not quite so must not count for more than anything else
LEAST = 0.1


class Scales(nn.Module):
    r"""Level and log scale of each channel, standardised by the training series and bounded.

    .. math:: z = b \tanh\Big(\frac{x - \mu_c}{b \sigma_c}\Big)

    with the mean and the root mean squared deviation of channel c over training series. Of series with another number
    of channels nothing is known, and z is 0.

    Parameters
    ----------
    n_channels : int
        Channels of the training series.

    Examples
    --------
    >>> scales = Scales(n_channels=1)
    >>> x = torch.tensor([[[0.0, 2.0]], [[4.0, 6.0]]])
    >>> place = scales.places(2, x)
    >>> scales.measure(level_and_scale(x), place)
    >>> scales(x, None, place)
    tensor([[-0.9645,  0.0000],
            [ 0.9645,  0.0000]])
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.register_buffer("centre", torch.zeros(n_channels, 2))
        self.register_buffer("spread", torch.ones(n_channels, 2))

    def measure(self, rows: Tensor, place: Tensor) -> None:
        """Learn what is usual of rows of `level_and_scale` [n, 2 * C], of training series; `place` as in `forward`."""
        rows, channel = rows.unflatten(1, (-1, 2)), self.channel(rows, place)
        for number in range(self.n_channels):
            own = rows[channel == number]
            if len(own):
                self.centre[number] = own.mean(0)
                within, between = own[:, 1].median().exp(), own[:, 0].std(correction=0)
                self.spread[number] = torch.stack([(within.square() + between.square()).sqrt(), own.new_tensor(1.0)])
        away = self.away(rows, channel)[channel >= 0].clamp(-BOUND, BOUND)
        self.spread *= away.square().mean(0).sqrt().clamp(min=LEAST)

    def away(self, rows: Tensor, channel: Tensor) -> Tensor:
        """Return how far levels and log scales [n, C, 2] are from the usual ones of their channels [n, C]."""
        channel = channel.clamp(min=0)
        return (rows - self.centre[channel]) / self.spread[channel]

    def channel(self, rows: Tensor, place: Tensor) -> Tensor:
        """Return which channels of its series each of the rows [n, 2 * C] holds [n, C]; negative where not known."""
        return place[:, None] + torch.arange(rows.shape[1] // 2, device=rows.device)

    def forward(self, x: Tensor, valid: Tensor | None, place: Tensor) -> Tensor:
        """Return the levels of all channels of sequences, then their log scales [B, 2 * C].

        Parameters
        ----------
        x : Tensor of shape (B, C, T)
        valid : bool Tensor of shape (B, C, T), optional
            Which points were measured; None means all.
        place : int Tensor of shape (B,)
            See `places`.
        """
        return self.standardised(level_and_scale(x, valid), place)

    def standardised(self, rows: Tensor, place: Tensor) -> Tensor:
        """Standardise rows of `level_and_scale` [n, 2 * C]; levels come first."""
        channel = self.channel(rows, place)
        bounded = BOUND * (self.away(rows.unflatten(1, (-1, 2)), channel) / BOUND).tanh()
        return torch.where((channel >= 0).unsqueeze(-1), bounded, 0.0).transpose(1, 2).flatten(1)

    def places(self, n_cases: int, x: Tensor) -> Tensor:
        """Return which channel of its series each sequence begins with [n_sequences]; see `forward`.

        Parameters
        ----------
        n_cases : int
        x : Tensor of shape (n_sequences, C, T)
            Those of a case follow each other.

        Examples
        --------
        >>> [Scales(3).places(2, torch.zeros(shape)).tolist() for shape in [(6, 1, 5), (4, 1, 5), (2, 3, 5)]]
        [[0, 1, 2, 0, 1, 2], [-1, -1, -1, -1], [0, 0]]
        """
        ones = torch.ones_like(x[:, 0, 0], dtype=torch.long)  # sizes may be symbols, in an exported graph
        if x.shape[1] > 1:
            return ones - 1
        place = ones.unflatten(0, (n_cases, -1)).cumsum(1) - 1
        return torch.where(place.amax(1, keepdim=True) + 1 == self.n_channels, place, -1).flatten()
