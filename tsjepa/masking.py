"""Which tokens are hidden: a generator in, rectangular index tensors out.

Four ways to draw them, all with the same signature, each row of a batch on its own:

=========== =======================================================================================================
bernoulli   Each token hidden with probability `ratio`. So that a batch stays rectangular, the number of hidden
            tokens is drawn once a batch from Binomial(N, ratio) and each row hides that many, chosen uniformly: a
            row on its own follows the Bernoulli law, rows of one batch share their count.
random      Exactly round(ratio * N) tokens, chosen uniformly.
block       Exactly round(ratio * N) tokens in contiguous blocks. The series counts as a ring, so that each position
            is hidden equally often; a block that crosses the end goes on at the beginning.
future      The last tokens. Their number is drawn like bernoulli's, so that the predictor meets many horizons.
=========== =======================================================================================================

A fifth, `next_mask`, hides nothing: it is for causal encoders.

A draw that leaves no context or no target is drawn again. Rows with different numbers of valid tokens each get counts
of their own, padded to the longest and marked by `context_valid` and `target_valid`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Mask(NamedTuple):
    """Positions of the visible and of the hidden tokens of each row, each in ascending order.

    Attributes
    ----------
    context : int64 Tensor of shape (B, K)
    target : int64 Tensor of shape (B, M)
    context_valid : bool Tensor of shape (B, K), optional
        Which entries of `context` are real; None means all.
    target_valid : bool Tensor of shape (B, M), optional
        Which entries of `target` are real; None means all.

    Examples
    --------
    >>> Mask(torch.tensor([[0, 2], [1, 2]]), torch.tensor([[1], [0]])).rows(1, 2).target
    tensor([[0]])
    """

    context: Tensor
    target: Tensor
    context_valid: Tensor | None = None
    target_valid: Tensor | None = None

    def attend(self) -> Tensor | None:
        """Return which of context and target, joined, are real: bool [B, K + M], or None where all are."""
        if self.context_valid is None and self.target_valid is None:
            return None
        pairs = zip(self[:2], self[2:], strict=True)
        return torch.cat([torch.ones_like(at, dtype=torch.bool) if real is None else real for at, real in pairs], 1)

    def rows(self, start: int, stop: int) -> "Mask":
        """Return the mask of some of the rows, padded as before."""
        return self.pick(slice(start, stop))

    def pick(self, rows: slice | Tensor) -> "Mask":
        """Return the mask of a slice of the rows, or of those that a bool Tensor [B] says, padded as before."""
        valid = self.context_valid, self.target_valid
        kept = (None if part is None else part[rows] for part in valid)
        return Mask(self.context[rows], self.target[rows], *kept)

    def to(self, device: torch.device) -> "Mask":
        """Return the mask on another device."""

        def move(part: Tensor) -> Tensor:
            return part.to(device, non_blocking=True)

        valid = self.context_valid, self.target_valid
        return Mask(move(self.context), move(self.target), *(None if part is None else move(part) for part in valid))


# Draws of a number of hidden tokens before one of those that leave both kinds is settled without. A ratio so near to 0
# or 1 that none of them does would have hidden, or shown, a single token in nearly every draw that does.
DRAWS = 1000

# (rows, N) -> which tokens are hidden, bool [rows, N], equally many in each row
Draw = Callable[[int, int], Tensor]


def bernoulli_mask(
    n_rows: int, n_tokens: int, generator: torch.Generator, valid: Tensor | None = None, *, ratio: float = 0.7
) -> Mask:
    """Hide each token with probability `ratio`; rows of one batch share the number of hidden tokens.

    Parameters
    ----------
    n_rows, n_tokens : int
        B and N.
    generator : torch.Generator
        Source of randomness, on the CPU.
    valid : bool Tensor of shape (B, N), optional
        Tokens that may be context or target; None means all.
    ratio : float, default=0.7
        Probability of being hidden. As draws without context or target are repeated, the rate is slightly nearer
        to one half: 0.691 for N = 10 and ratio 0.7.

    Returns
    -------
    Mask

    Raises
    ------
    ValueError
        If the ratio is not between 0 and 1, or fewer than two tokens are there.

    Examples
    --------
    >>> mask = bernoulli_mask(2, 10, torch.Generator().manual_seed(0))
    >>> sorted(mask.context[0].tolist() + mask.target[0].tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    check_ratio(ratio)
    return assemble(lambda rows, n: exactly(binomial(n, ratio, generator), rows, n, generator), n_rows, n_tokens, valid)


def random_mask(
    n_rows: int, n_tokens: int, generator: torch.Generator, valid: Tensor | None = None, *, ratio: float = 0.7
) -> Mask:
    """Hide exactly round(ratio * N) tokens, chosen uniformly. See `bernoulli_mask` for the parameters.

    Examples
    --------
    >>> random_mask(2, 10, torch.Generator().manual_seed(0)).target.shape
    torch.Size([2, 7])
    """
    check_ratio(ratio)
    check_count(n_tokens, ratio)
    return assemble(lambda rows, n: exactly(hidden_count(n, ratio), rows, n, generator), n_rows, n_tokens, valid)


def block_mask(
    n_rows: int,
    n_tokens: int,
    generator: torch.Generator,
    valid: Tensor | None = None,
    *,
    ratio: float = 0.7,
    block_length: int = 2,
) -> Mask:
    """Hide exactly round(ratio * N) tokens in blocks of `block_length`, the last one shorter where need be.

    Blocks do not overlap but may touch, all arrangements on the ring being equally likely. See `bernoulli_mask` for
    the other parameters.

    Examples
    --------
    >>> block_mask(1, 10, torch.Generator().manual_seed(0), ratio=0.3, block_length=3).target
    tensor([[7, 8, 9]])
    """
    check_ratio(ratio)
    if block_length < 1:
        raise ValueError(f"mask.block_length must be at least 1, but is {block_length}.")
    check_count(n_tokens, ratio)

    def draw(rows: int, n: int) -> Tensor:
        return blocks(hidden_count(n, ratio), block_length, rows, n, generator)

    return assemble(draw, n_rows, n_tokens, valid)


def future_mask(
    n_rows: int, n_tokens: int, generator: torch.Generator, valid: Tensor | None = None, *, ratio: float = 0.5
) -> Mask:
    """Hide the last tokens, their number drawn from Binomial(N, ratio). See `bernoulli_mask` for the parameters.

    Examples
    --------
    >>> mask = future_mask(1, 6, torch.Generator().manual_seed(0))
    >>> bool(mask.context.max() < mask.target.min())
    True
    """
    check_ratio(ratio)

    def draw(rows: int, n: int) -> Tensor:
        return (torch.arange(n) >= n - binomial(n, ratio, generator)).expand(rows, n)

    return assemble(draw, n_rows, n_tokens, valid)


def next_mask(
    n_rows: int, n_tokens: int, generator: torch.Generator, valid: Tensor | None = None, *, horizons: Sequence[int]
) -> Mask:
    """See every token and predict, from each place on, the token that lies each of `horizons` ahead of it.

    Nothing is random and nothing is hidden: that the token at t + h is predicted from those up to t is up to a causal
    encoder and predictor. Targets stand in the order of `horizons`, then of time; a target counts where both its token
    and that at t are valid. See `bernoulli_mask` for the other parameters.

    Raises
    ------
    ValueError
        If no token lies the largest horizon ahead of another.

    Examples
    --------
    >>> next_mask(1, 4, torch.Generator(), horizons=(1, 2)).target
    tensor([[1, 2, 3, 2, 3]])
    """
    if max(horizons) >= n_tokens:
        raise ValueError(
            f"of {n_tokens} tokens none lies {max(horizons)} ahead of another: choose longer windows, shorter patches "
            "or smaller world.horizons."
        )
    places = torch.arange(n_tokens)
    target = torch.cat([places[h:] for h in horizons])
    context, targets = (part.expand(n_rows, -1) for part in (places, target))
    if valid is None:
        return Mask(context, targets)
    origin = torch.cat([places[: n_tokens - h] for h in horizons])
    return Mask(context, targets, valid, valid[:, target] & valid[:, origin])


@dataclass
class RampedMask:
    """A masking whose ratio moves from one value to another over training.

    How the mask ratio governs the early collapse phase is an open question of the paper that describes it (Ennadir,
    Zolyomi and Smirnov 2026); with this it can be easy early and hard late, or the other way round.

    Parameters
    ----------
    draw : callable
        One of the four masking functions, or a partial of one, that takes `ratio`.
    start, end : float
        Ratio at the first and after the last step.

    Attributes
    ----------
    progress : float
        Share of training that is done; `JEPA.advance(step, total)`, called before each step, sets it.

    Examples
    --------
    >>> mask = RampedMask(random_mask, 0.3, 0.7, progress=0.5)
    >>> mask(1, 10, torch.Generator().manual_seed(0), None).target.shape
    torch.Size([1, 5])
    """

    draw: Callable[..., Mask]
    start: float
    end: float
    progress: float = 0.0

    def __call__(self, n_rows: int, n_tokens: int, generator: torch.Generator, valid: Tensor | None) -> Mask:
        """Draw with the ratio of this moment."""
        ratio = self.start + (self.end - self.start) * self.progress
        return self.draw(n_rows, n_tokens, generator, valid, ratio=ratio)


def check_mask(mask: Mask, n_rows: int) -> None:
    """Refuse what is no mask of `n_rows` sequences; types and shapes tell, so that a GPU is not waited for.

    Raises
    ------
    TypeError
        If it is no `Mask`, or has no positions.
    ValueError
        If positions do not have a row for each sequence, there are none at all, or what says which of them are real
        has another shape.

    Examples
    --------
    >>> check_mask(Mask(torch.tensor([[0, 2]]), torch.tensor([[1, 3]])), n_rows=2)
    Traceback (most recent call last):
    ValueError: the mask's context has shape (1, 2) for 2 sequences: give each a row, as in context.expand(n_rows, -1).
    """
    if not isinstance(mask, Mask):
        raise TypeError(f"the mask gives a {type(mask).__name__}: return a tsjepa.Mask(context, target).")
    for name, part, valid in zip(("context", "target"), mask[:2], mask[2:], strict=True):
        if not isinstance(part, Tensor) or part.dtype not in (torch.int64, torch.int32):
            kind = part.dtype if isinstance(part, Tensor) else type(part).__name__
            raise TypeError(f"the mask's {name} is {kind}: give positions of tokens, an int64 Tensor [n_rows, k].")
        if part.ndim != 2 or len(part) != n_rows:
            raise ValueError(
                f"the mask's {name} has shape {tuple(part.shape)} for {n_rows} sequences: give each a row, as in "
                f"{name}.expand(n_rows, -1)."
            )
        if not part.shape[1]:
            raise ValueError(f"the mask's {name} has no position: show a token of each sequence and hide another.")
        if valid is not None and (valid.dtype != torch.bool or valid.shape != part.shape):
            raise ValueError(f"the mask's {name}_valid has to be bool and of the shape of {name}, {tuple(part.shape)}.")


def check_ratio(ratio: float) -> None:
    """Raise ValueError unless 0 < ratio < 1."""
    if not 0 < ratio < 1:
        raise ValueError(
            f"mask.ratio must lie between 0 and 1 (both excluded), but is {ratio}: "
            "0 leaves nothing to predict and 1 nothing to predict from."
        )


def check_count(n: int, ratio: float, setting: str = "mask.ratio") -> None:
    """Raise ValueError where round(ratio * n) leaves no context or no target of a whole row."""
    count = round(ratio * n)
    if n >= 2 and not 0 < count < n:
        lacks = "nothing to predict" if count == 0 else "nothing to predict from"
        raise ValueError(
            f"{setting} {ratio} of {n} tokens hides {count}, which leaves {lacks}: choose another ratio "
            "or more patches."
        )


def hidden_count(n: int, ratio: float) -> int:
    """Return round(ratio * n), of a short row at least one and not all."""
    return min(max(round(ratio * n), 1), n - 1)


def binomial(n: int, ratio: float, generator: torch.Generator) -> int:
    """Draw from Binomial(n, ratio), again until at least one of each kind is left, but DRAWS times at most.

    Examples
    --------
    >>> binomial(10, 1e-9, torch.Generator()), binomial(10, 1 - 1e-9, torch.Generator())
    (1, 9)
    """
    for _ in range(DRAWS):
        count = int((torch.rand(n, generator=generator) < ratio).sum())
        if 0 < count < n:
            return count
    return 1 if ratio < 0.5 else n - 1


def exactly(count: int, rows: int, n: int, generator: torch.Generator) -> Tensor:
    """Hide `count` of `n` tokens in each row, all subsets equally likely: bool [rows, n]."""
    order = torch.rand(rows, n, generator=generator).argsort(1)
    return order < count


def blocks(count: int, length: int, rows: int, n: int, generator: torch.Generator) -> Tensor:
    """Hide `count` of `n` tokens on the ring in blocks of `length`: bool [rows, n].

    Blocks and single visible tokens are the items of a row; which items are blocks, and which of the blocks is the
    shorter one, is drawn uniformly, each item is expanded to its length, and the row is rotated by a uniform offset.
    """
    n_blocks = -(-count // length)
    order = torch.rand(rows, n - count + n_blocks, generator=generator).argsort(1)
    is_block = order < n_blocks
    lengths = torch.where(is_block, length, 1).masked_fill(order == 0, count - length * (n_blocks - 1))
    hidden = torch.repeat_interleave(is_block.flatten(), lengths.flatten()).view(rows, n)
    offset = torch.randint(n, (rows, 1), generator=generator)
    return hidden.gather(1, (torch.arange(n) + offset) % n)


def assemble(draw: Draw, n_rows: int, n_tokens: int, valid: Tensor | None) -> Mask:
    """Turn draws into index tensors, row by row where the rows' valid tokens differ in number."""
    if n_tokens < 2:
        raise ValueError(
            f"masking needs at least 2 tokens a series, one to see and one to predict, but there is {n_tokens}: "
            "choose shorter or more patches."
        )
    if valid is None or bool(valid.all()):
        hidden = draw(n_rows, n_tokens)
        order = hidden.to(torch.uint8).argsort(dim=1, stable=True)  # visible first, both parts ascending
        n_context = n_tokens - int(hidden[0].sum())
        return Mask(order[:, :n_context], order[:, n_context:])
    return assemble_ragged(draw, valid)


def assemble_ragged(draw: Draw, valid: Tensor) -> Mask:
    """Draw among each row's valid tokens only and pad the index tensors to the longest row.

    A row with one valid token has it as context and no target; one with none has its first token as context, so that
    attention stays defined, and no target.
    """
    state = torch.full(valid.shape, 2, dtype=torch.uint8)  # 0 context, 1 target, 2 neither
    counts = valid.sum(1)
    for n in counts.unique().tolist():
        rows = (counts == n).nonzero().squeeze(1)
        if n < 2:
            first = valid[rows].int().argmax(1)
            state[rows, first] = 0
            continue
        position = valid[rows].nonzero()[:, 1].view(-1, n)
        hidden = draw(len(rows), n).to(torch.uint8)
        state[rows] = state[rows].scatter(1, position, hidden)
    context, context_valid = positions(state == 0)
    target, target_valid = positions(state == 1)
    return Mask(context, target, context_valid, target_valid)


def positions(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positions of the chosen tokens, padded to the longest row, and which entries are real."""
    width = max(int(chosen.sum(1).max()), 1)
    order = (~chosen).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    return order, chosen.gather(1, order)
