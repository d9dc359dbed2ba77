"""Parts of an encoder taken out, and how sparse its activations are: by hooks that are gone afterwards.

Modular networks lose one function with one part, others lose a little of everything; accuracy lost by part shows which.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tsjepa.encoder import Encoder
from tsjepa.layers import Block

# Of a token's root mean square activation: below it, a unit counts as silent
SILENT = 0.05


class Piece(NamedTuple):
    """An attention head of a block, or its MLP where `head` is None; both count from 0."""

    block: int
    head: int | None

    @property
    def name(self) -> str:
        """Return its part of a number's name."""
        return f"block{self.block}_" + ("mlp" if self.head is None else f"head{self.head}")


def pieces(encoder: Encoder) -> list[Piece]:
    """Return what can be taken out of an encoder, block by block.

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> [piece.name for piece in pieces(Encoder(LinearPatches(5, 4), depth=1, heads=2))]
    ['block0_head0', 'block0_head1', 'block0_mlp']
    """
    return [Piece(index, head) for index, block in enumerate(blocks(encoder)) for head in (*range(block.heads), None)]


def blocks(encoder: Encoder) -> list[Block]:
    """Return the transformer blocks of an encoder."""
    return [block for block in encoder.blocks if isinstance(block, Block)]


def without(encoder: Encoder, piece: Piece) -> AbstractContextManager[None]:
    """Zero what a head or an MLP adds to the tokens, for as long as the context lasts.

    A head is zeroed before the projection that joins heads, so the projection's bias stays; an MLP after its own bias.

    Parameters
    ----------
    encoder : Encoder
    piece : Piece

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> with without(encoder, Piece(0, None)):
    ...     encoder.blocks[0].mlp(torch.ones(1, 1, 4)).tolist()
    [[[0.0, 0.0, 0.0, 0.0]]]
    """
    block = blocks(encoder)[piece.block]
    if piece.head is None:
        return hooked([block.mlp.register_forward_hook(zeros)])
    width = encoder.dim // block.heads
    return hooked([block.proj.register_forward_pre_hook(blank(piece.head * width, (piece.head + 1) * width))])


def zeros(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """Return zeros in place of a module's output."""
    return torch.zeros_like(output)


def blank(start: int, end: int) -> Any:
    """Return a hook that zeroes the features from `start` up to `end` of a module's input."""

    def hook(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        changed = inputs[0].clone()
        changed[..., start:end] = 0
        return (changed,)

    return hook


@contextmanager
def hooked(handles: list[Any]) -> Iterator[None]:
    """Remove hooks at the end, whatever happens."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Sparsity(NamedTuple):
    """How sparse the MLPs' activations are, mean over tokens and blocks; both are blind to scale.

    Attributes
    ----------
    hoyer : float
        0 if all units answer alike, 1 if one does.
    silent : float
        Share of the units below `SILENT` times their token's root mean square.
    """

    hoyer: float
    silent: float


def activation_sparsity(encoder: Encoder, x: Tensor, valid: Tensor | None = None) -> Sparsity:
    r"""Measure how sparse the activations behind the MLPs' GELU are.

    .. math:: (\sqrt n - \|a\|_1 / \|a\|_2) / (\sqrt n - 1)

    over the n units of a token (Hoyer 2004, "Non-negative matrix factorization with sparseness constraints").

    Parameters
    ----------
    encoder : Encoder
        In evaluation mode, on the device of `x`.
    x : Tensor of shape (B, C, T)
        C equal to the encoder's channels.
    valid : bool Tensor of shape (B, C, T), optional
        Which points were measured; None means all.

    Returns
    -------
    Sparsity

    Examples
    --------
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> 0 < activation_sparsity(encoder, torch.randn(2, 1, 20)).hoyer < 1
    True
    """
    attend = encoder.token_valid(valid)
    seen: list[Tensor] = []
    handles = [block.mlp[1].register_forward_hook(lambda *call: seen.append(call[-1])) for block in blocks(encoder)]
    with hooked(handles), torch.inference_mode():
        encoder(x, valid=valid, attend=attend)
    n_tokens = encoder.n_tokens(x.shape[-1])
    found = []
    for activations in seen:
        tokens = activations[:, :n_tokens]  # registers stand behind them
        found.append(sparsity(tokens.flatten(0, 1) if attend is None else tokens[attend]))
    return Sparsity(*(float(column) for column in torch.tensor(found).mean(0)))


def sparsity(activations: Tensor) -> Sparsity:
    """Return the mean sparsity of activations [n, units]; silent tokens count as sparse.

    Examples
    --------
    >>> sparsity(torch.tensor([[0.0, 0.0, 0.0, 2.0]]))
    Sparsity(hoyer=1.0, silent=0.75)
    """
    a = activations.detach().cpu().double()
    units = a.shape[-1] ** 0.5
    length = a.norm(dim=-1)
    ratio = torch.where(length > 0, a.abs().sum(-1) / length.clamp(min=torch.finfo(a.dtype).tiny), 1.0)
    hoyer = (units - ratio) / (units - 1)
    silent = (a.abs() <= SILENT * length[:, None] / units).double().mean(-1)
    return Sparsity(float(hoyer.mean()), float(silent.mean()))
