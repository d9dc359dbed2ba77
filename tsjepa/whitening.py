"""What patches, speeds, or noise make of one series counts less: covariance within series, learned unlabelled."""

import torch
from torch import Tensor, nn

# Directions that are shrunk at most, those in which patches disagree most
DIRECTIONS = 16
# How many times the mean variance within series a direction has to have to be shrunk by the root of two
LEVEL = 10.0


class Whitening(nn.Module):
    r"""Shrink the directions in which patches of one series disagree.

    Within-class covariance normalisation (Hatch, Kajarekar and Stolcke 2006, Interspeech), whose classes are the
    series themselves: what changes from patch to patch of a series says little of what the series is. Of the
    covariance within series, only the largest eigenvectors u_i are used, each shrunk as its eigenvalue w_i demands:

    .. math:: x - \sum_{i \le K} \Big(1 - \frac{1}{\sqrt{1 + w_i / (\ell \bar w)}}\Big) u_i u_i^\top x

    where :math:`\bar w` is the mean eigenvalue of all. To predict a hidden patch from visible ones by a linear map is
    to shrink the same directions: what patches do not share cannot be predicted.

    Parameters
    ----------
    width : int
        Features F.

    Examples
    --------
    >>> whitening = Whitening(3)
    >>> noisy = torch.randn(50, 4, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([9.0, 0.1, 0.1])
    >>> whitening.measure(*scatter_within(noisy))
    >>> whitening(torch.ones(1, 3)).round(decimals=1)
    tensor([[0.9000, 1.0000, 1.0000]])
    """

    basis: Tensor
    loss: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        kept = min(DIRECTIONS, width)
        self.register_buffer("basis", torch.zeros(width, kept))
        self.register_buffer("loss", torch.zeros(kept))

    def measure(self, scatter: Tensor, freedom: int) -> None:
        """Take the directions and their shrinkage from a scatter [F, F] within series, see `scatter_within`.

        Without two patches of a series to compare, or where they never disagree, nothing is shrunk.
        """
        self.basis.zero_()
        self.loss.zero_()
        total = float(scatter.trace())
        if not freedom or total <= 0:
            return
        values, vectors = torch.linalg.eigh(scatter.cpu().double())
        kept = self.loss.numel()
        large, mean = values[-kept:].clamp(min=0), total / len(values)
        self.basis.copy_(vectors[:, -kept:])
        self.loss.copy_(1 - (1 + large / (LEVEL * mean)).rsqrt())

    def forward(self, rows: Tensor) -> Tensor:
        """Map features [n, F] to features [n, F]."""
        return rows - (rows @ self.basis * self.loss) @ self.basis.T


def scatter_within(patches: Tensor, valid: Tensor | None = None) -> tuple[Tensor, int]:
    """Return the scatter of the features of patches [B, N, F] around the mean of their series.

    Parameters
    ----------
    patches : Tensor of shape (B, N, F)
    valid : bool Tensor of shape (B, N), optional
        Which patches count; None means all.

    Returns
    -------
    scatter : Tensor of shape (F, F)
        Sum over series and patches of the products of deviations.
    freedom : int
        Degrees of freedom: patches that count, less one a series that has any.

    Examples
    --------
    >>> scatter_within(torch.tensor([[[1.0], [3.0]], [[5.0], [5.0]]]))
    (tensor([[2.]]), 2)
    """
    if valid is None:
        valid = torch.ones_like(patches[..., 0], dtype=torch.bool)
    keep, count = valid.unsqueeze(-1), valid.sum(1)
    # from the first one that counts: patches that are equal then have a scatter of nothing, and not of rounding
    reference = patches.take_along_dim(valid.int().argmax(1)[:, None, None], 1)
    values = torch.where(keep, patches - reference, 0.0)
    mean = values.sum(1, keepdim=True) / count.clamp(min=1)[:, None, None]
    deviations = torch.where(keep, values - mean, 0.0).flatten(0, 1)
    return deviations.T @ deviations, int((count - 1).clamp(min=0).sum())
