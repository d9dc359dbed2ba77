"""What makes an embedding out of a frozen encoder, besides pooled tokens."""

from torch import nn

from tsjepa.scales import Scales
from tsjepa.shares import Shares
from tsjepa.sketch import Sketch

# Name of the encoder's attribute, with which the names of its weights begin
PREFIX = "readout."


class Readout(nn.Module):
    """Shares of random filters, scales of channels and the sketch, any of which may be absent; nothing is trained.

    Parameters
    ----------
    shares : Shares, optional
        Features besides pooled tokens.
    sketch : Sketch, optional
        What turns all features into the embedding.
    scales : Scales, optional
        Levels and scales of channels, which are part of the sketch.

    Examples
    --------
    >>> sorted(Readout(None, Sketch([3], size=8)).state_dict())
    ['sketch.centre', 'sketch.scale', 'sketch.whitenings.0.basis', 'sketch.whitenings.0.loss']
    """

    def __init__(self, shares: Shares | None, sketch: Sketch | None, scales: Scales | None = None) -> None:
        super().__init__()
        self.shares, self.sketch, self.scales = shares, sketch, scales

    def take_channels(self, n_channels: int) -> None:
        """Make series of so many channels the usual ones: where they were not, nothing is known of their levels."""
        if self.scales is not None and self.scales.n_channels != n_channels:
            self.scales = Scales(n_channels)
