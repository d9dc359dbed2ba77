"""The predictor: latents of the hidden tokens from those of the visible ones."""

import torch
from torch import Tensor, nn

from tsjepa.layers import Block, init_weights, sincos_positions
from tsjepa.masking import Mask


class Predictor(nn.Module):
    """Transformer over the context's latents and one mask token a target position (Assran et al. 2023).

    Parameters
    ----------
    encoder_dim : int
        Width D of the encoder's tokens.
    dim : int
        Width inside the predictor.
    depth : int
        Number of blocks.
    heads : int
        Attention heads per block.
    out_dim : int, optional
        Width of a prediction: the number of levels times D. By default D.

    Examples
    --------
    >>> mask = Mask(context=torch.tensor([[0, 2]]), target=torch.tensor([[1, 3, 4]]))
    >>> Predictor(8, dim=4, depth=1, heads=2)(torch.zeros(1, 2, 8), mask).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, encoder_dim: int, *, dim: int, depth: int, heads: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Linear(encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, encoder_dim if out_dim is None else out_dim)
        self.apply(init_weights)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, context: Tensor, mask: Mask) -> Tensor:
        """Predict the latents at the mask's targets.

        Parameters
        ----------
        context : Tensor of shape (B, K, D)
            Latents of the visible tokens, in the order of `mask.context`.
        mask : Mask
            Positions of context and targets.

        Returns
        -------
        Tensor of shape (B, M, out_dim)
        """
        dim = self.mask_token.shape[0]
        seen = self.embed(context) + sincos_positions(mask.context, dim)
        asked = self.mask_token + sincos_positions(mask.target, dim)
        h = torch.cat([seen, asked], 1)
        attend = mask.attend()
        for block in self.blocks:
            h = block(h, attend)
        return self.head(self.norm(h[:, context.shape[1] :]))
