"""The encoder: values in, one [B, N, D] tensor of token latents a level out."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from tsjepa.layers import Block, gather_tokens, init_weights, instance_normalize, sincos_positions
from tsjepa.tokenizers import ConvStem, LinearPatches, n_patches, to_patches

Tokenizer = LinearPatches | ConvStem


class Encoder(nn.Module):
    """Transformer encoder over patch tokens that runs on the visible tokens only.

    Level 0 is the tokenizer's output, level k the output of block k; the last level passes a final layer norm.

    Parameters
    ----------
    tokenizer : Tokenizer
        Maps [B, C, T] to [B, N, D].
    depth : int
        Number of blocks.
    heads : int
        Attention heads per block.
    normalize : {"instance", "none"}, default="instance"
        Whether each channel of each series is brought to zero mean and unit standard deviation first.

    Examples
    --------
    >>> encoder = Encoder(LinearPatches(50, 8), depth=1, heads=2)
    >>> [level.shape for level in encoder(torch.randn(4, 1, 500), levels=(0, -1))]
    [torch.Size([4, 10, 8]), torch.Size([4, 10, 8])]
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        depth: int,
        heads: int,
        normalize: Literal["instance", "none"] = "instance",
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.normalize = normalize
        self.blocks = nn.ModuleList(Block(tokenizer.dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(tokenizer.dim)
        self.blocks.apply(init_weights)

    @property
    def dim(self) -> int:
        """Width D of the tokens."""
        return self.tokenizer.dim

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def channels(self) -> int:
        """Number of channels that one token sequence holds: 1 means that each channel is a sequence of its own."""
        return self.tokenizer.channels

    def n_tokens(self, n_timepoints: int) -> int:
        """Return the number of tokens of a series of `n_timepoints` points."""
        return n_patches(n_timepoints, self.tokenizer.patch_length)

    def token_valid(self, valid: Tensor) -> Tensor:
        """Return which tokens hold a valid point: bool [B, C, T] -> bool [B, N]."""
        return to_patches(valid, self.tokenizer.patch_length).any(-1).any(1)

    def forward(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        levels: Sequence[int] = (-1,),
        valid: Tensor | None = None,
        attend: Tensor | None = None,
    ) -> list[Tensor]:
        """Encode series, or the tokens of them that `keep` names.

        Parameters
        ----------
        x : Tensor of shape (B, C, T)
            Values, C equal to `channels`.
        keep : int64 Tensor of shape (B, K), optional
            Visible tokens; None means all N. Hidden values reach nothing but the instance normalisation.
        levels : sequence of int, default=(-1,)
            Which levels to return, negative from the end: 0 is the tokenizer, -1 the last.
        valid : bool Tensor of shape (B, C, T), optional
            Which points were measured; None means all.
        attend : bool Tensor of shape (B, K) or (B, N), optional
            Which of the tokens that are run take part in attention; None means all.

        Returns
        -------
        list of Tensor of shape (B, K, D) or (B, N, D)
            One for each entry of `levels`.

        Raises
        ------
        ValueError
            If the number of channels is not the encoder's.
        IndexError
            If a level does not exist.
        """
        if x.shape[1] != self.channels:
            raise ValueError(f"the encoder takes {self.channels} channels a series, but got {x.shape[1]}.")
        if self.normalize == "instance":
            x = instance_normalize(x, valid)
        elif valid is not None:
            x = torch.where(valid, x, 0.0)
        tokens = self.tokenize(x, keep, attend)
        position = torch.arange(tokens.shape[1], device=x.device) if keep is None else keep
        states = [tokens]
        h = tokens + sincos_positions(position, self.dim).to(tokens.dtype)
        if attend is not None:  # a row without a valid token attends to all, lest its softmax be undefined
            attend = attend | ~attend.any(1, keepdim=True)
        for block in self.blocks:
            h = block(h, attend)
            states.append(h)
        states[-1] = self.norm(h)
        return [states[level] for level in levels]

    def tokenize(self, x: Tensor, keep: Tensor | None, attend: Tensor | None) -> Tensor:
        """Return the kept tokens [B, K, D]; a tokenizer that sees neighbours gets hidden patches as zeros.

        The entries of `keep` that `attend` excludes are padding: they may name hidden tokens, and stay hidden.
        """
        if keep is None:
            return self.tokenizer(x)
        if self.tokenizer.sees_neighbours:
            visible = torch.zeros(x.shape[0], self.n_tokens(x.shape[-1]), dtype=torch.bool, device=x.device)
            visible.scatter_(1, keep, torch.ones_like(keep, dtype=torch.bool) if attend is None else attend)
            shown = visible.repeat_interleave(self.tokenizer.patch_length, 1)[:, None, : x.shape[-1]]
            x = torch.where(shown, x, 0.0)
        return gather_tokens(self.tokenizer(x), keep)
