"""What latents and predictions owe to the position alone: the collapse that loss, rank and variance do not see.

A predictor that knows where a hidden token is, but nothing of the series, reaches a loss of zero if the target's
latents are a code of the position; they still have spread and rank (CAPI, Darcet et al. 2025, arXiv 2502.08769).
Pure functions like those of `tsjepa.diagnostics`: float64 on the CPU, without gradient, nothing gathered over ranks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tsjepa.diagnostics import as_float64, rounding
from tsjepa.layers import gather_tokens
from tsjepa.spread import normalize


def cross_series_gap(
    predicted: Tensor,
    target: Tensor,
    index: Tensor,
    valid: Tensor | None = None,
    token_valid: Tensor | None = None,
) -> Tensor:
    r"""Measure how much better a prediction fits its own series than another one at the same position.

    .. math:: E_{b, m} [\cos(\hat z_{bm}, z_{b p}) - \frac{1}{B - 1} \sum_{c \ne b} \cos(\hat z_{bm}, z_{c p})],
              \quad p = index_{bm}

    The idea is CAPI's (arXiv 2502.08769). Rows may be masked differently: every prediction is compared at the positions
    of its own row.

    Parameters
    ----------
    predicted : Tensor of shape (B, M, D)
        Predictions at the masked positions.
    target : Tensor of shape (B, N, D)
        The target's latents at all positions.
    index : int64 Tensor of shape (B, M)
        Positions of the predictions, `Mask.target`.
    valid : bool Tensor of shape (B, M), optional
        Which predictions count, `Mask.target_valid`; None means all.
    token_valid : bool Tensor of shape (B, N), optional
        Which of the target's latents count; None means all. A prediction at a position that its own series, or every
        other one, does not have does not count.

    Returns
    -------
    Tensor of shape ()
        0 if predictions carry nothing of the series, at most 2; see `cross_series_share` for how much was possible.

    Raises
    ------
    ValueError
        If there is only one series.

    Examples
    --------
    >>> target = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> index = torch.zeros(2, 1, dtype=torch.int64)
    >>> cross_series_gap(target, target, index).item(), cross_series_gap(torch.ones(2, 1, 2), target, index).item()
    (1.0, 0.0)
    """
    return cross_series(predicted, target, index, valid, token_valid)[0]


def cross_series_share(
    predicted: Tensor,
    target: Tensor,
    index: Tensor,
    valid: Tensor | None = None,
    token_valid: Tensor | None = None,
) -> Tensor:
    """Return the cross-series gap as a share of the gap that perfect predictions would have.

    The raw gap shrinks with the angle between series' targets, so it is small for good predictions, too, where latents
    have a large common part; the share is not.

    Parameters
    ----------
    predicted, target, index, valid, token_valid
        See `cross_series_gap`.

    Returns
    -------
    Tensor of shape ()
        1 for perfect predictions, about 0 if predictions carry nothing of the series; nan where the targets of all
        series are equal up to rounding, so that there is nothing to tell apart.

    Raises
    ------
    ValueError
        If there is only one series.

    Examples
    --------
    >>> target = torch.randn(8, 4, 16)
    >>> index = torch.arange(4).expand(8, 4)
    >>> round(cross_series_share(target, target, index).item(), 6)
    1.0
    """
    return cross_series(predicted, target, index, valid, token_valid)[1]


def cross_series(
    predicted: Tensor,
    target: Tensor,
    index: Tensor,
    valid: Tensor | None = None,
    token_valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return `cross_series_gap` and `cross_series_share`, what both need computed once.

    Parameters
    ----------
    predicted, target, index, valid, token_valid
        See `cross_series_gap`.

    Returns
    -------
    gap, share : Tensor of shape ()

    Raises
    ------
    ValueError
        If there is only one series.

    Examples
    --------
    >>> target = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> [value.item() for value in cross_series(2 * target, target, torch.zeros(2, 1, dtype=torch.int64))]
    [1.0, 1.0]
    """
    rows = target.shape[0]
    if rows < 2:
        raise ValueError(f"the cross-series gap compares series and needs at least 2, but got {rows}.")
    index = index.cpu()
    there = torch.ones(target.shape[:2], dtype=torch.bool) if token_valid is None else token_valid.cpu()
    whole = normalize(target)
    unit = whole if token_valid is None else torch.where(there.unsqueeze(-1), whole, 0.0)
    own = gather_tokens(unit, index)
    n_others, has_own = there.sum(0)[index] - 1, there.gather(1, index)
    others = (unit.sum(0)[index] - own) / n_others.clamp(min=1).unsqueeze(-1)
    counted = (n_others > 0) & has_own
    if valid is not None:
        counted &= valid.cpu()
    best = own if token_valid is None else gather_tokens(whole, index)
    gap, possible = (((guess * (own - others)).sum(-1))[counted].mean() for guess in (normalize(predicted), best))
    # 1 - cosine is of second order in the angle, which is off by the rounding of the targets; the cosine by its own
    noise = max(rounding(target) ** 2, rounding(possible))
    return gap, torch.where(possible > noise, gap / possible, torch.nan)


def position_share(target: Tensor, valid: Tensor | None = None) -> Tensor:
    r"""Return the share of the latents' variance that their position explains.

    .. math:: \sum_p B_p \|\bar z_p - \bar z\|^2 / \sum_{b, p} \|z_{bp} - \bar z\|^2

    with the mean over series at a position, of which there are B_p. Latents that know nothing of the position come out
    at about 1 / B, not at 0.

    Parameters
    ----------
    target : Tensor of shape (B, N, D)
        Latents of whole series.
    valid : bool Tensor of shape (B, N), optional
        Which tokens count; None means all.

    Returns
    -------
    Tensor of shape ()
        Between 0 and 1; 1 for a pure code of the position, nan if all latents are equal up to rounding.

    Examples
    --------
    >>> position_share(torch.eye(3).expand(5, 3, 3)).item()
    1.0
    """
    z = as_float64(target)
    counts = torch.ones(z.shape[:2], dtype=torch.float64) if valid is None else valid.cpu().double()
    weight = counts.unsqueeze(-1)
    z = torch.where(weight > 0, z, 0.0)
    mean = z.sum((0, 1)) / counts.sum()
    at_position = z.sum(0) / counts.sum(0).clamp(min=1).unsqueeze(-1)
    between = (weight.sum(0) * (at_position - mean).square()).sum()
    total = (weight * (z - mean).square()).sum()
    return torch.where(total > (rounding(target) * z.norm()) ** 2, between / total, torch.nan)


def predictor_sensitivity(
    predict: Callable[[Tensor], Tensor],
    context: Tensor,
    generator: torch.Generator,
    *,
    n: int = 30,
    size: float = 0.1,
    valid: Tensor | None = None,
) -> Tensor:
    r"""Measure how strongly predictions answer to a small change of the context.

    .. math:: \alpha = E_\delta \|P(h + \delta) - P(h)\| / \|\delta\|

    over `n` random directions for each row ("Drive vs Decay", arXiv 2610.02344, whose strength of the coupling is about
    1 / alpha). Near 0 the predictor ignores the context.

    Parameters
    ----------
    predict : callable
        Context -> predictions, row by row and deterministic: the predictor in evaluation mode with its mask filled in.
    context : Tensor of shape (B, ...)
        Latents of the visible tokens.
    generator : torch.Generator
        Source of the directions, on the CPU.
    n : int, default=30
        Number of directions.
    size : float, default=0.1
        Norm of a row's change, in the unit of the latents: about a hundredth of what layer-normed tokens have together.
        So the answer in float32 is within 1 % of that in float64 and of the limit of small changes; a hundredth of it
        is up to four times as much as it should be, of predictors that answer little, by rounding alone.
    valid : bool Tensor of shape (B, K), optional
        Which tokens of a context of shape (B, K, D) are no padding, one a row at least; the others stay as they are.

    Returns
    -------
    Tensor of shape ()

    Examples
    --------
    >>> alpha = predictor_sensitivity(lambda h: 3 * h, torch.zeros(2, 5, 4), torch.Generator().manual_seed(0))
    >>> round(alpha.item(), 4)
    3.0
    """
    ratios = []
    with torch.no_grad():
        still = as_float64(predict(context)).flatten(1)
        for _ in range(n):
            direction = torch.randn(context.shape, generator=generator)
            if valid is not None:
                direction = direction * valid.cpu().unsqueeze(-1)
            direction = direction.flatten(1)
            step = (size * direction / direction.norm(dim=1, keepdim=True)).view(context.shape)
            moved = context + step.to(context)
            # as rounded to the context's dtype
            change = (as_float64(moved) - as_float64(context)).flatten(1).norm(dim=1)
            ratios.append((as_float64(predict(moved)).flatten(1) - still).norm(dim=1) / change)
    return torch.stack(ratios).mean()
