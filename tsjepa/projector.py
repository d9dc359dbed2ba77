"""The projector: from tokens to the space of loss and regularizer."""

from torch import Tensor, nn

from tsjepa.ranks import JoinedBatchNorm


class Projector(nn.Sequential):
    """Linear, BatchNorm, ReLU, Linear: where loss and regularizer live; thrown away after training.

    Parameters
    ----------
    dim : int
        Width D of the tokens.
    hidden : int
        Width of the layer between.
    out : int
        Width of what comes out.

    Examples
    --------
    >>> import torch
    >>> Projector(8, hidden=16, out=4)(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, dim: int, *, hidden: int, out: int) -> None:
        super().__init__(nn.Linear(dim, hidden), JoinedBatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Map tokens [B, N, D] to [B, N, out].

        Every token is a sample to the batch norm, but those that `valid` [B, N] excludes: they come out as zeros.
        """
        if valid is None:
            return super().forward(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        projected = super().forward(tokens[valid])
        return projected.new_zeros(*valid.shape, projected.shape[-1]).index_put((valid,), projected)
