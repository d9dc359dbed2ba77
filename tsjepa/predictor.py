"""The predictor: latents of the hidden tokens from those of the visible ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.layers import Block, check_width, init_weights, sincos_positions
from tsjepa.masking import Mask


class Predictor(nn.Module):
    """Transformer over the context's latents and one mask token a target position (Assran et al. 2023).

    Parameters
    ----------
    encoder_dim : int
        Width D of the encoder's tokens.
    dim : int
        Width inside the predictor, even and divisible by `heads`.
    depth : int
        Number of blocks.
    heads : int
        Attention heads per block.
    out_dim : int, optional
        Width of a prediction: the number of levels times D. By default D.
    residual : bool, default=False
        Start near the identity on the context, so that early predictions carry what the encoder found: a learned
        bias, at first 10, on each context token's attention to itself, and zeros in the last layer of each MLP
        (ResidualPred, arXiv 2610.02344).

    Raises
    ------
    ValueError
        If `dim` is odd or not divisible by `heads`.

    Examples
    --------
    >>> mask = Mask(context=torch.tensor([[0, 2]]), target=torch.tensor([[1, 3, 4]]))
    >>> Predictor(8, dim=4, depth=1, heads=2)(torch.zeros(1, 2, 8), mask).shape
    torch.Size([1, 3, 8])
    """

    def __init__(
        self,
        encoder_dim: int,
        *,
        dim: int,
        depth: int,
        heads: int,
        out_dim: int | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_width(dim, "a predictor")
        self.embed = nn.Linear(encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, encoder_dim if out_dim is None else out_dim)
        self.apply(init_weights)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.self_bias = nn.Parameter(torch.full((depth,), 10.0)) if residual else None
        if residual:
            for block in self.blocks:
                assert isinstance(block, Block)
                last = block.mlp[-1]
                assert isinstance(last, nn.Linear)
                nn.init.zeros_(last.weight)

    def forward(self, context: Tensor, mask: Mask, *, everywhere: bool = False) -> Tensor:
        """Predict the latents at the mask's targets.

        Parameters
        ----------
        context : Tensor of shape (B, K, D)
            Latents of the visible tokens, in the order of `mask.context`.
        mask : Mask
            Positions of context and targets.
        everywhere : bool, default=False
            Whether to predict at the context's positions too, ahead of the targets.

        Returns
        -------
        Tensor of shape (B, M, out_dim), or (B, K + M, out_dim) everywhere
        """
        n_context, token = context.shape[1], self.mask_token
        seen = self.embed(context) + sincos_positions(mask.context, len(token)).to(token.dtype)
        asked = token + sincos_positions(mask.target, len(token)).to(token.dtype)
        h = torch.cat([seen, asked], 1)
        attend = mask.attend()
        n_target, last = mask.target.shape[1], len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            # the last block spares the tokens that nobody asks for; with a bias the diagonal needs them all
            first = n_context if i == last and not everywhere and self.self_bias is None else 0
            h = block(h, attend, self.diagonal(i, n_context, n_target), first)
        return self.head(self.norm(h if everywhere else h[:, -n_target:]))

    def diagonal(self, block: int, n_context: int, n_target: int) -> Tensor | None:
        """Return what block `block` adds to each token's attention to itself: its bias on context tokens only."""
        if self.self_bias is None:
            return None
        return F.pad(self.self_bias[block].expand(n_context), (0, n_target))
