"""The encoder: values in, one [B, N, D] tensor of token latents a level out."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from tsjepa.gaps import bridge
from tsjepa.layers import Block, check_width, init_weights, instance_normalize, sincos_positions
from tsjepa.normalization import TrainingStatistics
from tsjepa.readout import Readout
from tsjepa.tokenizers import ConvStem, LinearPatches, n_patches, to_patches

Tokenizer = LinearPatches | ConvStem
Normalize = Literal["instance", "none"]


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
    statistics : TrainingStatistics, optional
        Of the training series, by which `sequences` standardises each channel.
    registers : int, default=0
        Learned tokens that every sequence carries through the blocks and that are dropped afterwards: never hidden,
        predicted or pooled (T-JEPA's [REG] token, Thimonier et al. 2025, arXiv 2410.05016).
    conditioned : bool, default=False
        Whether `forward` takes `hint`, the positions that the other branch sees (EC-IJEPA, Littwin et al. 2024,
        arXiv 2410.10773).
    causal : bool, default=False
        Whether a token is a function of its own patch and of earlier ones only.
    inputs : sequence of int, default=()
        Channels that `sequences` leaves out: what a plant is told, not what it does.

    Attributes
    ----------
    readout : Readout, optional
        What else makes the embedding; training does not look at it.

    Raises
    ------
    ValueError
        If a causal encoder would see what comes later, the width of tokens is odd, or `normalize` is another word.
    TypeError
        If the tokenizer does not say what an encoder has to know of it.

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
        normalize: Normalize = "instance",
        statistics: TrainingStatistics | None = None,
        registers: int = 0,
        conditioned: bool = False,
        causal: bool = False,
        inputs: Sequence[int] = (),
    ) -> None:
        super().__init__()
        check_normalize(normalize)
        check_tokenizer(tokenizer, causal=causal)
        check_width(tokenizer.dim, "tokens")
        if causal and (normalize == "instance" or registers or conditioned or tokenizer.sees_later):
            raise ValueError(
                "a causal encoder must not see what comes later: no instance normalisation, no registers, no "
                "conditioning on the whole series, and a tokenizer that looks back only."
            )
        self.tokenizer = tokenizer
        self.normalize, self.statistics, self.inputs = normalize, statistics, tuple(inputs)
        self.causal = causal
        self.blocks = nn.ModuleList(Block(tokenizer.dim, heads, causal=causal) for _ in range(depth))
        self.norm = nn.LayerNorm(tokenizer.dim)
        self.blocks.apply(init_weights)
        self.registers = nn.Parameter(0.02 * torch.randn(registers, self.dim)) if registers else None
        self.readout: Readout | None = None
        self.hint_token = nn.Parameter(0.02 * torch.randn(self.dim)) if conditioned else None

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

    @property
    def any_channels(self) -> bool:
        """Whether it takes series with another number of channels than it was trained on."""
        return self.channels == 1 and self.statistics is None

    def n_tokens(self, n_timepoints: int) -> int:
        """Return the number of tokens of a series of `n_timepoints` points."""
        return n_patches(n_timepoints, self.tokenizer.patch_length)

    def sequences(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return series as `forward` takes them.

        They are standardised by the statistics of the training series, where the encoder has some, its inputs are left
        out, and with an encoder of one channel each channel becomes a sequence of its own.

        Parameters
        ----------
        x : Tensor of shape (B, C, T)
        valid : bool Tensor of shape (B, C, T), optional
            Which points were measured; None means all.

        Returns
        -------
        x : Tensor of shape (B, C, T) or (B * C, 1, T)
        valid : bool Tensor of the same shape, optional

        Raises
        ------
        ValueError
            If x has other dimensions, or channels that are not those that the encoder mixes or has statistics of.

        Examples
        --------
        >>> encoder = Encoder(LinearPatches(50, 8), depth=1, heads=2)
        >>> encoder.sequences(torch.zeros(4, 3, 500))[0].shape
        torch.Size([12, 1, 500])
        """
        if x.ndim != 3:
            raise ValueError(
                f"series must be (n_cases, n_channels, n_timepoints), but their shape is {tuple(x.shape)}."
            )
        wanted = self.channels + len(self.inputs)
        if self.channels > 1 and x.shape[1] != wanted:
            raise ValueError(
                f"this encoder mixes the {wanted} channels that it was trained on, but the series have "
                f"{x.shape[1]}: give the same channels, or pretrain with tokenizer.channels=independent."
            )
        if self.statistics is not None:
            x = self.statistics(x)
        if self.inputs:
            measured = self.measured(x.shape[1])
            x, valid = x[:, measured], None if valid is None else valid[:, measured]
        if self.channels > 1:
            return x, valid
        return x.flatten(0, 1).unsqueeze(1), None if valid is None else valid.flatten(0, 1).unsqueeze(1)

    def measured(self, n_channels: int) -> list[int]:
        """Return which of the channels of series the encoder sees: all but its inputs."""
        return [channel for channel in range(n_channels) if channel not in self.inputs]

    def token_valid(self, valid: Tensor | None) -> Tensor | None:
        """Return which tokens hold a valid point: bool [B, C, T] -> bool [B, N]; None, for all, stays None."""
        return None if valid is None else to_patches(valid, self.tokenizer.patch_length).any(-1).any(1)

    def forward(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        levels: Sequence[int] = (-1,),
        valid: Tensor | None = None,
        attend: Tensor | None = None,
        hint: Tensor | None = None,
        hint_valid: Tensor | None = None,
    ) -> list[Tensor]:
        """Encode series, or the tokens of them that `keep` names.

        Parameters
        ----------
        x : Tensor of shape (B, C, T)
            Values as `sequences` returns them, C equal to `channels`.
        keep : int64 Tensor of shape (B, K), optional
            Visible tokens; None means all N. Hidden values reach nothing but the instance normalisation.
        levels : sequence of int, default=(-1,)
            Which levels to return, negative from the end: 0 is the tokenizer, -1 the last.
        valid : bool Tensor of shape (B, C, T), optional
            Which points were measured; None means all.
        attend : bool Tensor of shape (B, K) or (B, N), optional
            Which of the tokens that are run take part in attention; None means all.
        hint : int64 Tensor of shape (B, M), optional
            Positions that the other branch sees, for a conditioned encoder; others ignore it.
        hint_valid : bool Tensor of shape (B, M), optional
            Which entries of `hint` are real; None means all.

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
        x = normalized(x, valid, self.normalize, self.tokenizer.patch_length)
        tokens = self.tokenize(x, keep, attend)
        position = torch.arange(tokens.shape[1], device=x.device) if keep is None else keep
        states = [tokens]
        h = tokens + sincos_positions(position, self.dim).to(tokens.dtype)
        if attend is not None:  # a row without a valid token attends to all, lest its softmax be undefined
            attend = attend | ~attend.any(1, keepdim=True)
        n_tokens = h.shape[1]
        h, attend = self.accompanied(h, attend, hint, hint_valid)
        for block in self.blocks:
            h = block(h, attend)
            states.append(h[:, :n_tokens])
        states[-1] = self.norm(states[-1])
        return [states[level] for level in levels]

    def accompanied(
        self, h: Tensor, attend: Tensor | None, hint: Tensor | None, hint_valid: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return h [B, N, D] with the tokens that go through the blocks beside it, and which of all take part."""
        parts, there = [h], [attend]
        if self.registers is not None:
            parts.append(self.registers.expand(h.shape[0], -1, -1))
            there.append(None)
        if self.hint_token is not None and hint is not None:
            parts.append(self.hint_token + sincos_positions(hint, self.dim).to(h.dtype))
            there.append(hint_valid)
        return (h, attend) if len(parts) == 1 else (torch.cat(parts, 1), joined_flags(parts, there))

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
        return self.tokenizer(x, keep)

    def shares(self, x: Tensor, valid: Tensor | None = None, *, of_patches: bool = False) -> Tensor:
        """Return the shares [B, S] of whole series, see `tsjepa.shares.Shares`; parameters as in `forward`.

        With `of_patches` those [B, N, S] of each patch, of series of whole patches.

        Raises
        ------
        ValueError
            If the encoder has none.
        """
        if self.readout is None or self.readout.shares is None:
            raise ValueError("this encoder was built without shares: pretrain it with probe.shares=true.")
        patch, shares = self.tokenizer.patch_length, self.readout.shares
        values, points = normalized(x, valid, self.normalize, patch), None if valid is None else valid.any(1)
        return shares.of_patches(values, patch, points) if of_patches else shares(values, points)

    def scales(self, x: Tensor, valid: Tensor | None, place: Tensor) -> Tensor:
        """Return the levels and log scales [B, 2 * C] of sequences, see `tsjepa.scales.Scales.forward`.

        Raises
        ------
        ValueError
            If the encoder was built without.
        """
        if self.readout is None or self.readout.scales is None:
            raise ValueError("this encoder was built without scales in its sketch: pretrain it with scale_features.")
        found: Tensor = self.readout.scales(x, valid, place)
        return found


def check_normalize(normalize: str) -> None:
    """Raise ValueError unless this is a way in which an encoder normalises."""
    if normalize not in get_args(Normalize):
        hint = "; to use the training series, give 'none' and statistics=TrainingStatistics(n_channels)"
        raise ValueError(
            f"normalize is {' or '.join(get_args(Normalize))}, but got {normalize!r}{hint * (normalize == 'train')}."
        )


def check_tokenizer(tokenizer: Tokenizer, *, causal: bool) -> None:
    """Raise TypeError unless a tokenizer has the attributes that an encoder reads."""
    wanted = ("patch_length", "dim", "channels", "sees_neighbours", *["sees_later"] * causal)
    if missing := [name for name in wanted if not hasattr(tokenizer, name)]:
        raise TypeError(
            f"the tokenizer {type(tokenizer).__name__} lacks {', '.join(missing)}: give it the attributes "
            f"{', '.join(wanted)} (docs/objectives.md says what they mean)."
        )


def joined_flags(parts: Sequence[Tensor], there: Sequence[Tensor | None]) -> Tensor | None:
    """Return which of tokens [B, N, D], joined, are there, bool [B, sum of N]; None means all, of a part and in all."""
    if all(flags is None for flags in there):
        return None
    every = (part.new_ones(part.shape[:2], dtype=torch.bool) for part in parts)
    return torch.cat([full if flags is None else flags for full, flags in zip(every, there, strict=True)], 1)


def patch_values(x: Tensor, valid: Tensor | None, *, patch_length: int, normalize: str) -> Tensor:
    """Return the values of each patch [B, N, C * P] as an encoder sees them, for masked reconstruction.

    Examples
    --------
    >>> patch_values(torch.tensor([[[2.0, 4.0, 2.0, 4.0]]]), None, patch_length=2, normalize="instance")
    tensor([[[-1.,  1.],
             [-1.,  1.]]])
    """
    return to_patches(normalized(x, valid, normalize, patch_length), patch_length).transpose(1, 2).flatten(2)


def normalized(x: Tensor, valid: Tensor | None, normalize: str, patch_length: int) -> Tensor:
    """Return values [B, C, T] as a tokenizer takes them, gaps inside a patch bridged."""
    if normalize == "instance":
        x = instance_normalize(x, valid)
    return x if valid is None else bridge(torch.where(valid, x, 0.0), valid, patch_length)
