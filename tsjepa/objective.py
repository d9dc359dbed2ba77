"""The JEPA objective: predict the latents of hidden tokens, and keep latents from collapsing."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.encoder import Encoder
from tsjepa.layers import gather_tokens
from tsjepa.masking import Mask, RampedMask, check_mask
from tsjepa.ranks import Share, SumOverRanks, join_rows, mean_over_ranks, sum_over_ranks
from tsjepa.regularizers import Regularizer, check_weight
from tsjepa.targets import EMATarget, SelfTarget, Target, check_context, check_levels, check_widths, encoder_of

DrawMask = Callable[[int, int, torch.Generator, Tensor | None], Mask]
Loss = Literal["l1", "smooth_l1", "mse"]
LOSSES = {"l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss, "mse": F.mse_loss}


class JEPAOutput(NamedTuple):
    """What a step gives.

    Attributes
    ----------
    loss : Tensor of shape ()
        Prediction, weighted regularizer and, where there is one, the loss of visible tokens, with its gradient.
    terms : dict of str to Tensor of shape ()
        "prediction" and, where there are such, "regularizer" (not weighted) and "context" (weighted), detached.
    """

    loss: Tensor
    terms: dict[str, Tensor]


class Branches(NamedTuple):
    """What encoder, predictor and target make of one batch.

    Attributes
    ----------
    mask : Mask
        Which tokens were visible.
    context : Tensor of shape (B, K, L * D)
        Latents of the visible tokens.
    predicted : Tensor of shape (B, M, E)
        Predictions at the hidden positions, in the space of loss and regularizer.
    repeated : Tensor of shape (B, K, E), optional
        Predictions at the visible positions, where they are supervised.
    latents : Tensor of shape (B, N, E)
        The target's latents of the whole series, in that space.
    attend : bool Tensor of shape (B, N), optional
        Which tokens hold a valid point; None means all.
    whole : Tensor of shape (B, N, D), optional
        The last level of the whole series as it is, of the encoder or of its average, where that is the target; None
        where that level is not among the target's, or where it was told what the other branch sees.
    """

    mask: Mask
    context: Tensor
    predicted: Tensor
    repeated: Tensor | None
    latents: Tensor
    attend: Tensor | None
    whole: Tensor | None = None

    @property
    def seen(self) -> Tensor | None:
        """Which visible tokens count, bool [B, K]; None means all."""
        return seen_tokens(self.mask, self.attend)


class ContextLoss(NamedTuple):
    """Supervision of the visible tokens too (V-JEPA 2.1, arXiv 2603.14482).

    A visible token weighs `weight` over the square root of its distance to the nearest hidden one, and the whole is
    warmed up over a share of training: without both a model may copy its context.

    Attributes
    ----------
    weight : float
        At least 0, and `warmup` in [0, 1]: `JEPA` refuses others.
    warmup : float
        Share of training over which the weight grows from zero, as `JEPA.advance` tells it before each step.
    """

    weight: float
    warmup: float = 0.25

    def at(self, mask: Mask, progress: float) -> Tensor:
        """Return the weights [B, K] of the visible tokens when a share `progress` of training is done.

        Those of a row without a hidden token are zero.
        """
        gap = (mask.context.unsqueeze(2) - mask.target.unsqueeze(1)).abs()
        if mask.target_valid is not None:
            gap = gap.float().masked_fill(~mask.target_valid.unsqueeze(1), torch.inf)
        ramp = min(progress / self.warmup, 1.0) if self.warmup else 1.0
        return self.weight * ramp / gap.amin(2).clamp(min=1).sqrt()


class JEPA(nn.Module):
    """Joint-embedding predictive architecture for time series (TS-JEPA, Ennadir et al. 2025, arXiv 2509.25449).

    The target encodes the whole series; the encoder sees the visible tokens only; the predictor has to find the
    target's latents at the hidden positions.

    Parameters
    ----------
    encoder : Encoder
    predictor : Predictor
        Called as `predictor(context, mask)`; its output [B, M, E] is as wide as all levels together. With a context
        loss it is given `everywhere=True`, too, and its output begins with predictions at the context's positions.
    mask : callable
        (rows, N, generator, valid) -> Mask, for example `functools.partial(block_mask, ratio=0.5)`.
    target : Target, optional
        By default an EMATarget of the encoder.
    levels : sequence of int, default=(-1,)
        Encoder levels whose latents are predicted, one or more.
    regularizer : SIGReg, VICReg or VISReg, optional
        With a target that trains the encoder it acts on the target's latents, else on the context's.
    weight : float, default=1.0
        Weight of the regularizer, at least 0.
    projector : Module, optional
        Maps predictions and targets to the space of loss and regularizer. Called as `projector(tokens)`, and where some
        tokens [B, N, D] do not count as `projector(tokens, valid)`, `valid` [B, N] saying which do: one of your own
        has a default for it.
    loss : {"l1", "smooth_l1", "mse"}, default="l1"
    normalize_target : bool, default=True
        Whether each level of a target token is layer-normed, without affine map.
    centre_target : bool, default=False
        Whether the batch's mean at each position is taken from the targets, see `centred`. A regularizer that acts on
        these sees them centred, too, so that a code of the position satisfies neither.
    context_loss : ContextLoss, optional
        Whether and how the visible tokens are predicted too.

    Attributes
    ----------
    progress : float
        Share of training that is done, from which schedules follow; `advance` sets it.
    labelled, tuned : bool
        Whether labels had a part in the weights, by fine-tuning or by a fine-tuned teacher, and whether the encoder was
        fine-tuned itself; checkpoints keep both.

    Raises
    ------
    ValueError
        If a weight, a warm-up, a level or `loss` is out of range; in a step, if predictions are not as wide as targets,
        or if these and what else the projector is to map, for a regularizer of the context, are not.

    Notes
    -----
    In a training loop of one's own, `advance` comes before each step and `update_target` after it: without the first,
    schedules stand still, and without the second, so does an EMA target.

    Examples
    --------
    >>> from functools import partial
    >>> from tsjepa.masking import random_mask
    >>> from tsjepa.predictor import Predictor
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(50, 16), depth=1, heads=2)
    >>> model = JEPA(encoder, Predictor(16, dim=16, depth=1, heads=2), mask=partial(random_mask, ratio=0.7))
    >>> optimizer = torch.optim.AdamW(model.parameters())
    >>> for step in range(2):
    ...     model.advance(step, total=2)
    ...     out = model(torch.randn(4, 1, 500), torch.Generator().manual_seed(step))
    ...     out.loss.backward()
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    ...     model.update_target(step, total=2)
    >>> sorted(out.terms)
    ['prediction']
    """

    labelled = tuned = False

    def __init__(
        self,
        encoder: Encoder,
        predictor: nn.Module,
        *,
        mask: DrawMask,
        target: Target | None = None,
        levels: Sequence[int] = (-1,),
        regularizer: Regularizer | None = None,
        weight: float = 1.0,
        projector: nn.Module | None = None,
        loss: Loss = "l1",
        normalize_target: bool = True,
        centre_target: bool = False,
        context_loss: ContextLoss | None = None,
    ) -> None:
        super().__init__()
        check_weight("regularizer.weight", weight)
        if context_loss is not None:
            check_weight("loss.context_weight", context_loss.weight)
            if not 0 <= context_loss.warmup <= 1:
                raise ValueError(f"loss.context_warmup must lie between 0 and 1, but is {context_loss.warmup}.")
        if loss not in LOSSES:
            raise ValueError(f"loss is one of {', '.join(LOSSES)}, but got {loss!r}.")
        self.encoder, self.predictor, self.mask = encoder, predictor, mask
        self.target = EMATarget(encoder) if target is None else target
        self.levels, self.regularizer, self.weight = tuple(levels), regularizer, weight
        check_levels(self.levels, encoder_of(self.target))
        check_levels((-1, *self.context_levels()), encoder)
        self.projector = projector
        self.loss, self.normalize_target, self.centre_target = loss, normalize_target, centre_target
        self.context_loss = context_loss
        self.progress = 0.0

    def forward(
        self, x: Tensor, generator: torch.Generator, valid: Tensor | None = None, share: Share | None = None
    ) -> JEPAOutput:
        """Compute the loss of one batch; in a distributed run that of the joined batch, on each rank.

        Parameters
        ----------
        x : Tensor of shape (B, C, T)
            Values; with an encoder of one channel each channel is a series of its own.
        generator : torch.Generator
            Source of masks and slices, on the CPU.
        valid : bool Tensor of shape (B, C, T), optional
            Which points were measured; None means all.
        share : Share, optional
            Which cases of the joined batch of all ranks `x` holds, see `tsjepa.ranks.share_of`: masks are drawn for the
            joined batch, from generators that are equal on all ranks. Without it each rank draws for its own cases,
            from a generator that should be its own, too.

        Returns
        -------
        JEPAOutput
        """
        branches = self.branches(x, generator, valid, share)
        mask, aim = branches.mask, self.goal(branches)
        goal = aim.detach() if self.target.stop_gradient else aim
        loss = self.distance(branches.predicted, gather_tokens(goal, mask.target), mask.target_valid)
        terms = {"prediction": loss.detach()}
        if self.context_loss is not None and branches.repeated is not None:
            weights = self.context_loss.at(mask, self.progress)
            visible = self.distance(branches.repeated, gather_tokens(goal, mask.context), branches.seen, weights)
            loss, terms["context"] = loss + visible, visible.detach()
        if self.regularizer is not None:
            if self.target.trains_encoder:
                penalty = self.regularizer(aim, generator, branches.attend)
            else:
                context = self.project(branches.context, branches.seen)
                penalty = self.regularizer(context, generator, branches.seen)
            loss, terms["regularizer"] = loss + self.weight * penalty, penalty.detach()
        return JEPAOutput(loss, terms)

    def branches(
        self, x: Tensor, generator: torch.Generator, valid: Tensor | None = None, share: Share | None = None
    ) -> Branches:
        """Draw a mask and run encoder, predictor and target; see `forward` for the parameters."""
        rows = None if share is None else share.times(x.shape[1] if self.encoder.channels == 1 else 1)
        x, valid = self.encoder.sequences(x, valid)
        attend = self.encoder.token_valid(valid)
        n_tokens = self.encoder.n_tokens(x.shape[-1])
        joined = None if attend is None else (attend if rows is None else join_rows(attend)).cpu()
        n_rows = len(x) if rows is None else rows.total
        drawn = self.mask(n_rows, n_tokens, generator, joined)
        check_mask(drawn, n_rows)
        mask = (drawn if rows is None else drawn.rows(rows.start, rows.stop)).to(x.device)
        levels = self.encoder(
            x,
            keep=mask.context,
            levels=(-1, *self.context_levels()),
            valid=valid,
            attend=mask.context_valid,
            hint=mask.target,
            hint_valid=mask.target_valid,
        )
        seen = seen_tokens(mask, attend)
        everywhere = self.context_loss is not None
        n_context = mask.context.shape[1] if everywhere else 0
        # only a predictor that is asked for the context's positions has to know of them
        predicted = self.predictor(levels[0], mask, everywhere=True) if everywhere else self.predictor(levels[0], mask)
        goal = self.target(x, self.levels, valid, attend, mask.context, seen)
        latents = self.joined(goal)
        check_widths(predicted, latents)
        context = side_by_side(levels[1:] or levels)
        if self.regularizer is not None and not self.target.trains_encoder:
            check_context(context, latents, self.projector)
        return Branches(
            mask,
            context,
            self.project(predicted[:, n_context:], mask.target_valid),
            self.project(predicted[:, :n_context], seen) if everywhere else None,
            self.project(latents, attend),
            attend,
            self.whole(goal),
        )

    def goal(self, branches: Branches) -> Tensor:
        """Return what is to be predicted of each token [B, N, E]."""
        return centred(branches.latents, branches.attend) if self.centre_target else branches.latents

    def whole(self, goal: list[Tensor]) -> Tensor | None:
        """Return the last level among the target's, where it is what the encoder or its average gives without a hint.

        What a target of one's own gives, of a subclass too, may be anything.
        """
        follows = type(self.target) in (SelfTarget, EMATarget) and self.encoder.hint_token is None
        return goal[-1] if follows and self.levels[-1] in (-1, self.encoder.depth) else None

    def context_levels(self) -> tuple[int, ...]:
        """Return the levels of the context that the regularizer needs besides the last, in the target's order."""
        acts_on_context = self.regularizer is not None and not self.target.trains_encoder
        return self.levels if acts_on_context and self.levels != (-1,) else ()

    def latents(self, x: Tensor, valid: Tensor | None, attend: Tensor | None) -> Tensor:
        """Return the target's latents [B, N, L * D] of the whole series."""
        return self.joined(self.target(x, self.levels, valid, attend))

    def joined(self, levels: list[Tensor]) -> Tensor:
        """Return levels of the target [B, N, D] side by side, each layer-normed where that is asked for."""
        if isinstance(levels, Tensor):
            raise TypeError("the target gives a Tensor: return a list of one [B, N, E / L] per level.")
        if self.normalize_target:
            levels = [F.layer_norm(level, level.shape[-1:]) for level in levels]
        return side_by_side(levels)

    def project(self, tokens: Tensor, valid: Tensor | None) -> Tensor:
        """Map tokens to the space of loss and regularizer; without a projector that is their own."""
        if self.projector is None:
            return tokens
        # of tokens that all count a plain module is a projector, too
        return self.projector(tokens) if valid is None else self.projector(tokens, valid)

    def distance(self, predicted: Tensor, goal: Tensor, valid: Tensor | None, weights: Tensor | None = None) -> Tensor:
        """Return the mean loss over the valid ones of tokens [B, M, E] of all ranks, weighted by weights [B, M]."""
        if valid is not None:
            predicted, goal = predicted[valid], goal[valid]
            weights = None if weights is None else weights[valid]
        count = predicted.numel() // predicted.shape[-1]
        if not count:  # no row has two tokens: nothing to predict, and nothing to learn
            mean = 0.0 * (predicted.sum() + goal.sum())
        elif weights is None:
            mean = LOSSES[self.loss](predicted, goal)
        else:
            mean = (LOSSES[self.loss](predicted, goal, reduction="none").mean(-1) * weights).mean()
        return mean_over_ranks(mean, count)

    def advance(self, step: int, total: int) -> None:
        """Set the share of training that is done, from which schedules follow, before step `step` of `total`."""
        self.progress = step / max(total, 1)
        if isinstance(self.mask, RampedMask):
            self.mask.progress = self.progress

    def update_target(self, step: int, total: int) -> None:
        """Let the target follow the encoder, after the optimiser's step `step` of `total`; only an average moves."""
        self.target.update(self.encoder, step, total)


def side_by_side(levels: list[Tensor]) -> Tensor:
    """Return levels [B, N, D] as one tensor [B, N, L * D]; a single one as it is, without a copy."""
    return torch.cat(levels, -1) if len(levels) > 1 else levels[0]


def seen_tokens(mask: Mask, attend: Tensor | None) -> Tensor | None:
    """Return which visible tokens hold a valid point, bool [B, K]; None means all.

    Attention needs a token in every row, so that of a row without a valid point the mask shows one that holds none.

    Examples
    --------
    >>> from tsjepa.masking import random_mask
    >>> attend = torch.tensor([[True, True], [False, False]])
    >>> seen_tokens(random_mask(2, 2, torch.Generator(), attend), attend)
    tensor([[ True],
            [False]])
    """
    if mask.context_valid is None or attend is None:
        return mask.context_valid
    return mask.context_valid & attend.gather(1, mask.context)


def centred(latents: Tensor, attend: Tensor | None) -> Tensor:
    """Return latents [B, N, E] less their mean over the batch, of all ranks, at each position.

    The mean at a position is what a prediction can know without seeing anything of its series: where series are aligned
    it is most of a latent, and an encoder that codes positions would be right about nearly everything.

    Parameters
    ----------
    latents : Tensor of shape (B, N, E)
    attend : bool Tensor of shape (B, N), optional
        Which tokens count; None means all. Where one row alone has a token, there is no mean to take.

    Examples
    --------
    >>> centred(torch.tensor([[[1.0], [5.0]], [[3.0], [5.0]]]), None).flatten()
    tensor([-1.,  0.,  1.,  0.])
    """
    keep = torch.ones_like(latents[..., :1]) if attend is None else attend.unsqueeze(-1).to(latents.dtype)
    count = sum_over_ranks(keep.sum(0))
    total = SumOverRanks.apply((latents * keep).sum(0))
    return latents - torch.where(count > 1, total / count.clamp(min=1), 0.0)
