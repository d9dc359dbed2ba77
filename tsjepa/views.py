"""Masked views of series: what the encoder sees of them, and what the predictor then says of the rest."""

from typing import NamedTuple

import torch
from torch import Tensor

from tsjepa.embedding import pool
from tsjepa.masking import Mask, check_mask
from tsjepa.objective import JEPA
from tsjepa.positional import predictor_sensitivity
from tsjepa.ranks import Share, join_rows


class Views(NamedTuple):
    """Masked views of token sequences.

    Attributes
    ----------
    means : Tensor of shape (B, V, D)
        The mean visible token of each view.
    context : Tensor of shape (B, K, D)
        The visible tokens of the last view.
    mask : Mask
        Of the last view; in a distributed run of all ranks' rows, on the CPU.
    """

    means: Tensor
    context: Tensor
    mask: Mask


def masked_views(
    model: JEPA,
    x: Tensor,
    valid: Tensor | None,
    attend: Tensor | None,
    generator: torch.Generator,
    n: int,
    share: Share | None = None,
) -> Views:
    """Encode what masks leave, drawn as in training.

    Parameters
    ----------
    model : JEPA
        Of those that hide tokens: a world model has no such views.
    x, valid, attend : Tensor of shape (B, C, T), (B, C, T), (B, N)
        As from `Encoder.sequences` and `Encoder.token_valid`.
    generator : torch.Generator
        Source of the masks, on the CPU, equal on all ranks.
    n : int
        Number of views V.
    share : Share, optional
        Which rows of all ranks `x` holds; None means all.

    Returns
    -------
    Views
        Of the rows of `x`.

    Examples
    --------
    >>> from tsjepa.build import build_model, configure, resolve
    >>> model = build_model(resolve(configure("tiny"), 60), 1).eval()
    >>> masked_views(model, torch.randn(4, 1, 60), None, None, torch.Generator(), 3).means.shape
    torch.Size([4, 3, 32])
    """
    rows = Share(0, len(x), len(x)) if share is None else share
    n_tokens, joined = model.encoder.n_tokens(x.shape[-1]), None if attend is None else join_rows(attend).cpu()
    means = []
    for _ in range(n):
        drawn = model.mask(rows.total, n_tokens, generator, joined)
        check_mask(drawn, rows.total)
        mask = drawn.rows(rows.start, rows.stop).to(x.device)
        (context,) = model.encoder(
            x,
            keep=mask.context,
            valid=valid,
            attend=mask.context_valid,
            hint=mask.target,
            hint_valid=mask.target_valid,
        )
        means.append(pool(context, mask.context_valid, "mean"))
    return Views(torch.stack(means, 1), context, drawn)


def sensitivity(
    model: JEPA, views: Views, generator: torch.Generator, n: int = 30, rows: Tensor | None = None
) -> Tensor:
    """Return how strongly predictions answer to the context of the last view, see `predictor_sensitivity`.

    Parameters
    ----------
    model : JEPA
    views : Views
    generator : torch.Generator
        Source of the directions, on the CPU.
    n : int, default=30
        Number of directions.
    rows : bool Tensor of shape (B,), optional
        Which sequences count; None means all.

    Examples
    --------
    >>> from tsjepa.build import build_model, configure, resolve
    >>> model = build_model(resolve(configure("tiny"), 60), 1).eval()
    >>> views = masked_views(model, torch.randn(4, 1, 60), None, None, torch.Generator(), 1)
    >>> sensitivity(model, views, torch.Generator()).item() > 0
    True
    """
    mask, context = views.mask.to(views.context.device), views.context
    if rows is not None:
        mask, context = mask.pick(rows.to(context.device)), context[rows.to(context.device)]

    def predict(h: Tensor) -> Tensor:
        predicted = model.predictor(h, mask)
        return predicted if mask.target_valid is None else predicted * mask.target_valid.unsqueeze(-1)

    return predictor_sensitivity(predict, context, generator, n=n, valid=mask.context_valid)
