"""The parts that encoder and predictor share: attention block, position code, instance normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.elementwise import GELU

# Up to this share of the largest magnitude a standard deviation is rounding noise of float32, not signal, ...
ROUNDING = 2.0**-20
# ... and this share is what its values are divided by, so that they stay near zero
SCALE_FLOOR = 1e-4
# Up to this many tokens attention as plain products is quicker on a CPU than torch's fused kernel, whose products are
# small ones that oneDNN is slow at, the more so backward in bfloat16; beyond, its logits would fill the memory
SHORT = 512
# Rows of attention that are filled up to a vector of AVX-512, by their numbers: float32 ones shorter than half of one
# take as long as they are
FILLED = {torch.bfloat16: range(1, 32), torch.float32: range(8, 16)}


def instance_normalize(x: Tensor, valid: Tensor | None = None) -> Tensor:
    """Give each channel of each series zero mean and unit standard deviation over its valid points.

    A standard deviation of up to 2^-20 of the largest magnitude is taken for rounding, and 1e-4 of that magnitude for
    the scale, so that a constant channel becomes zeros instead of amplified noise.

    Parameters
    ----------
    x : Tensor of shape (B, C, T)
        Values; what stands at invalid points is ignored.
    valid : bool Tensor of shape (B, C, T), optional
        Which points were measured; None means all.

    Returns
    -------
    Tensor of shape (B, C, T)
        Normalised values, zero at invalid points.

    Examples
    --------
    >>> instance_normalize(torch.tensor([[[2.0, 4.0], [5.0, 5.0]]]))
    tensor([[[-1.,  1.],
             [ 0.,  0.]]])
    """
    if valid is not None:
        x = torch.where(valid, x, 0.0)
    # first to a largest magnitude of 1: squares of very small or large values leave the range of float32
    x = x / x.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    if valid is None:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
    else:
        count = valid.sum(-1, keepdim=True).clamp(min=1)
        centred = torch.where(valid, x - x.sum(-1, keepdim=True) / count, 0.0)
        variance = centred.square().sum(-1, keepdim=True) / count
    deviation = variance.sqrt()
    return centred / torch.where(deviation > ROUNDING, deviation, SCALE_FLOOR)


def sincos_positions(positions: Tensor, dim: int) -> Tensor:
    """Return the fixed sine-cosine position code (Vaswani et al. 2017, section 3.5).

    Parameters
    ----------
    positions : Tensor of shape (...)
        Token positions.
    dim : int
        Width of the code, even.

    Returns
    -------
    Tensor of shape (..., dim)
        Sines of dim/2 frequencies, then their cosines.

    Examples
    --------
    >>> sincos_positions(torch.tensor([0]), 4)
    tensor([[0., 0., 1., 1.]])
    """
    whole = not positions.is_floating_point() and positions.ndim > 1 and positions.numel() > 0
    if whole and positions.is_cpu and not torch.compiler.is_compiling():
        first, last = (int(bound) for bound in positions.aminmax())  # a GPU would be waited for
        if first >= 0 and last + 1 < positions.numel():  # sines are dear, and most positions come more than once
            codes = sincos_positions(torch.arange(last + 1), dim)
            return codes.index_select(0, positions.flatten().long()).unflatten(0, positions.shape)
    half = dim // 2
    exponent = torch.arange(half, dtype=torch.float32, device=positions.device) / half
    angle = positions.unsqueeze(-1).float() * torch.pow(10_000.0, -exponent)
    return torch.cat([angle.sin(), angle.cos()], -1)


def check_width(dim: int, of: str) -> None:
    """Raise ValueError unless there is a position code as wide as `of`, which it is added to."""
    if dim % 2:
        raise ValueError(f"the width of {of} must be even, for sines and cosines of positions: it is {dim}.")


class Block(nn.Module):
    """Pre-norm transformer block: attention, then an MLP of four times the width.

    Parameters
    ----------
    dim : int
        Width D, divisible by `heads`.
    heads : int
        Number of attention heads.
    causal : bool, default=False
        Whether a token attends to itself and to earlier ones only.

    Raises
    ------
    ValueError
        If `dim` is not divisible by `heads`.

    Examples
    --------
    >>> Block(8, heads=2)(torch.zeros(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, dim: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim must be divisible by heads, but dim={dim} and heads={heads}.")
        self.heads, self.causal = heads, causal
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), GELU(), nn.Linear(4 * dim, dim))

    def forward(
        self, x: Tensor, attend: Tensor | None = None, self_bias: Tensor | None = None, first: int = 0
    ) -> Tensor:
        """Transform tokens.

        Parameters
        ----------
        x : Tensor of shape (B, N, D)
            Tokens.
        attend : bool Tensor of shape (B, N), optional
            Which tokens may be attended to; None means all. Every row needs at least one.
        self_bias : Tensor of shape (N,), optional
            What is added to the attention logit of each token to itself; not together with `first`.
        first : int, default=0
            From which token on results are wanted; the others are attended to only.

        Returns
        -------
        Tensor of shape (B, N - first, D)
        """
        x = x[:, first:] + self.attention(self.norm1(x), attend, self_bias, first)
        return x + self.mlp(self.norm2(x))

    def attention(self, x: Tensor, attend: Tensor | None, self_bias: Tensor | None, first: int = 0) -> Tensor:
        """Multi-head attention of the tokens from `first` on to all of `x` [B, N, D]."""
        if first:
            sizes = x.shape[-1], 2 * x.shape[-1]
            weights, biases = self.qkv.weight.split(sizes), self.qkv.bias.split(sizes)
            (query,) = self.split(F.linear(x[:, first:], weights[0], biases[0]), 1)
            key, value = self.split(F.linear(x, weights[1], biases[1]), 2)
        else:
            query, key, value = self.split(self.qkv(x), 3)
        mask = None if attend is None else attend[:, None, None, :]
        if self.causal:
            mask = causal_mask(x.shape[1], x.device, mask)[..., first:, :]
        if self_bias is not None:
            bias = torch.diag(self_bias).to(x.dtype)
            mask = bias if mask is None else torch.where(mask, bias, -torch.inf)
        if torch.compiler.is_exporting() or (x.is_cpu and x.shape[1] <= SHORT):  # a graph holds for every length
            mixed = plain_attention(query, key, value, mask)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Return [B, N, parts * D] as `parts` tensors [B, H, N, D/H]."""
        heads = x.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # one copy of all parts, where plain products would make one of each
        return (heads.contiguous() if x.is_cpu else heads).unbind(0)


def plain_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of tokens [B, H, N, D/H] as two batched products; `mask` as for torch's `scaled_dot_product_attention`.

    Examples
    --------
    >>> plain_attention(torch.zeros(1, 1, 2, 1), torch.zeros(1, 1, 2, 1), torch.tensor([[[[1.0], [3.0]]]])).flatten()
    tensor([2., 2.])
    """
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    return softmax(logits) @ value


def softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension, also of short rows at the processor's speed.

    Torch computes a row at a time, and one that is shorter than a vector number by number: it is filled up with what
    weighs nothing.

    Examples
    --------
    >>> softmax(torch.zeros(2, 2, dtype=torch.bfloat16)).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    n, lengths = logits.shape[-1], FILLED.get(logits.dtype, range(0))
    if not logits.is_cpu or torch.compiler.is_compiling() or n not in lengths:
        return torch.softmax(logits, -1)
    return torch.softmax(F.pad(logits, (0, lengths.stop - n), value=-torch.inf), -1)[..., :n]


def causal_mask(n_tokens: int, device: torch.device, mask: Tensor | None = None) -> Tensor:
    """Return which tokens each token attends to, bool [N, N] or [B, 1, N, N]: itself, and earlier ones in `mask`.

    Examples
    --------
    >>> causal_mask(3, torch.device("cpu"), torch.tensor([False, True, True])).int()
    tensor([[1, 0, 0],
            [0, 1, 0],
            [0, 1, 1]], dtype=torch.int32)
    """
    earlier = torch.ones(n_tokens, n_tokens, dtype=torch.bool, device=device).tril()
    if mask is None:
        return earlier
    return mask & earlier | torch.eye(n_tokens, dtype=torch.bool, device=device)


def init_weights(module: nn.Module) -> None:
    """Initialise linear layers with truncated normals of standard deviation 0.02 and zero bias, as ViTs are."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Pick tokens by position, row b of the result from row b of the input.

    Parameters
    ----------
    tokens : Tensor of shape (B, N, D)
    index : int64 Tensor of shape (B, K)

    Returns
    -------
    Tensor of shape (B, K, D)

    Raises
    ------
    IndexError
        If a row has no such position; on a GPU, which would be waited for, it is not looked at.

    Examples
    --------
    >>> gather_tokens(torch.tensor([[[1], [2]], [[3], [4]]]), torch.tensor([[1], [0]])).flatten()
    tensor([2, 3])
    """
    if index.is_cpu and index.numel() and not torch.compiler.is_compiling():
        first, last = (int(bound) for bound in index.aminmax())
        if first < 0 or last >= tokens.shape[1]:
            raise IndexError(f"tokens have positions 0 to {tokens.shape[1] - 1}, but {first} to {last} are asked for.")
    # whole rows are copied several times as fast as the single numbers that `gather` looks up
    starts = torch.arange(len(index), device=tokens.device) * tokens.shape[1]
    rows = (index + starts.unsqueeze(1)).flatten()
    return tokens.flatten(0, 1).index_select(0, rows).unflatten(0, index.shape)
