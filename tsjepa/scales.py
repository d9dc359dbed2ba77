"""Level and scale of each channel, beside those that it had in the training series."""

import torch
from torch import Tensor, nn

from tsjepa.normalization import level_and_scale

# How many usual deviations count most, exp(-1/2) of their number; what is far beyond them counts for nothing
FARTHEST = 6.0
# Deviations of a channel, or logarithms, beyond which training series say no more of what is usual
CLIP = 3.0
# Deviations that are usual, as a share of a channel's own and of one for log scales, below which they count less than
# fully: noise alone makes a mean differ so much, and what hardly differed in training must not decide afterwards
LEAST = 0.1


class Scales(nn.Module):
    r"""Level and log scale of each channel of a series, standardised by the training series and bounded.

    .. math:: z = g \, u \exp\Big(-\frac{u^2}{2 b^2}\Big), \qquad u = \frac{x - \mu_c}{\kappa \, \sigma_c}

    with the mean :math:`\mu_c` over training series. For a level, :math:`\sigma_c` is the deviation of the channel,
    within series (the median) and between them; for a log scale it is 1. The usual deviation :math:`\kappa`, in these
    units, is one number for the levels of all channels and one for their log scales, so that a channel whose level
    says little counts little. Where :math:`\kappa` is below a least one, as in series that were normalised before, it
    is taken to be that, and g, otherwise 1, is its share of it. What training never came near says that a sensor ran
    away rather than what the series is, and goes back to 0 (a redescending influence, Dennis and Welsch 1978, Commun.
    Stat. Simul. Comput. 7, 345). Of a channel that no training series has measured, of one without a measured point,
    and of series with another number of channels nothing is known, and z is 0.

    Parameters
    ----------
    n_channels : int
        Channels of the training series.

    Examples
    --------
    >>> scales = Scales(n_channels=1)
    >>> x = torch.tensor([[[0.0, 2.0]], [[4.0, 6.0]]])
    >>> place = scales.places(2, x)
    >>> scales.measure(scales.seen(x, None), place)
    >>> scales(x, None, place)
    tensor([[-0.9862,  0.0000],
            [ 0.9862,  0.0000]])
    """

    centre: Tensor
    spread: Tensor
    gain: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.register_buffer("centre", torch.zeros(n_channels, 2))
        self.register_buffer("spread", torch.full((n_channels, 2), torch.inf))
        self.register_buffer("gain", torch.ones(2))

    def seen(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return level and log scale of each channel of sequences [B, C, 2], NaN of one without a measured point."""
        rows = level_and_scale(x, valid).unflatten(1, (-1, 2))
        return rows if valid is None else torch.where(valid.any(-1, keepdim=True), rows, torch.nan)

    def measure(self, rows: Tensor, place: Tensor) -> None:
        """Learn what is usual from what is `seen` of training sequences [n, C, 2]; `place` as in `forward`."""
        rows, channel = rows.double(), self.channel(rows, place)  # squares of large units overflow float32
        self.centre.zero_()
        self.spread.fill_(torch.inf)
        away = []
        for number in range(self.n_channels):
            own = rows[channel == number]
            own = own[~own.isnan().any(1)]
            if len(own):
                centre, within = own.mean(0), own[:, 1].median().exp()
                unit = torch.stack([torch.hypot(within, own[:, 0].std(correction=0)), within.new_tensor(1.0)])
                self.centre[number], self.spread[number] = centre, unit
                away.append(((own - centre) / unit).clamp(-CLIP, CLIP))
        if away:
            usual = torch.cat(away).square().mean(0).sqrt()
            self.spread *= usual.clamp(min=LEAST)
            self.gain.copy_((usual / LEAST).clamp(max=1))

    def channel(self, rows: Tensor, place: Tensor) -> Tensor:
        """Return which channels of its series each of the rows [n, C, 2] holds [n, C]; negative where not known."""
        return place[:, None] + torch.arange(rows.shape[1], device=rows.device)

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
        return self.standardised(self.seen(x, valid), place)

    def standardised(self, rows: Tensor, place: Tensor) -> Tensor:
        """Standardise what is `seen` of sequences [n, C, 2], and return all levels, then all log scales [n, 2 * C]."""
        channel = self.channel(rows, place)
        known, channel = (channel >= 0).unsqueeze(-1) & ~rows.isnan(), channel.clamp(min=0)
        # what is beyond all bounds counts for nothing, too, and infinity times zero would not
        away = ((rows - self.centre[channel]) / self.spread[channel]).clamp(-100 * FARTHEST, 100 * FARTHEST)
        counted = self.gain * away * (-0.5 * (away / FARTHEST).square()).exp()
        return torch.where(known, counted, 0.0).transpose(1, 2).flatten(1)

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
