"""The JEPA objective: predict the latents of hidden tokens, and keep latents from collapsing."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsjepa.encoder import Encoder
from tsjepa.layers import gather_tokens
from tsjepa.masking import Mask
from tsjepa.predictor import Predictor
from tsjepa.regularizers import Regularizer
from tsjepa.targets import EMATarget, Target

DrawMask = Callable[[int, int, torch.Generator, Tensor | None], Mask]
Loss = Literal["l1", "smooth_l1", "mse"]
LOSSES = {"l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss, "mse": F.mse_loss}


class JEPAOutput(NamedTuple):
    """What a step gives.

    Attributes
    ----------
    loss : Tensor of shape ()
        Prediction plus weighted regularizer, with its gradient.
    terms : dict of str to Tensor of shape ()
        "prediction" and, where there is one, "regularizer" (not weighted), detached.
    """

    loss: Tensor
    terms: dict[str, Tensor]


class Projector(nn.Sequential):
    """Linear, BatchNorm, ReLU, Linear: where loss and regularizer live; thrown away after training.

    Examples
    --------
    >>> Projector(8, hidden=16, out=4)(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, dim: int, *, hidden: int, out: int) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Map tokens [B, N, D] to [B, N, out].

        Every token is a sample to the batch norm, but those that `valid` [B, N] excludes: they come out as zeros.
        """
        if valid is None:
            return super().forward(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        chosen = tokens[valid]
        if self.training and len(chosen) == 1:  # batch statistics need two
            projected = super().forward(chosen.repeat(2, 1))[:1]
        else:
            projected = super().forward(chosen)
        return projected.new_zeros(*valid.shape, projected.shape[-1]).index_put((valid,), projected)


class JEPA(nn.Module):
    """Joint-embedding predictive architecture for time series (TS-JEPA, Ennadir et al. 2025, arXiv 2509.25449).

    The target encodes the whole series; the encoder sees the visible tokens only; the predictor has to find the
    target's latents at the hidden positions.

    Parameters
    ----------
    encoder : Encoder
    predictor : Predictor
        Its output is as wide as all levels together.
    mask : callable
        (rows, N, generator, valid) -> Mask, for example `functools.partial(block_mask, ratio=0.5)`.
    target : EMATarget, SelfTarget or FrozenTarget, optional
        By default an EMATarget of the encoder.
    levels : sequence of int, default=(-1,)
        Encoder levels whose latents are predicted.
    regularizer : SIGReg or VICReg, optional
        With a target that trains the encoder it acts on the target's latents, else on the context's.
    weight : float, default=1.0
        Weight of the regularizer, at least 0.
    projector : Module, optional
        Maps predictions and targets to the space of loss and regularizer.
    loss : {"l1", "smooth_l1", "mse"}, default="l1"
    normalize_target : bool, default=True
        Whether each level of a target token is layer-normed, without affine map.

    Raises
    ------
    ValueError
        If the weight is negative.

    Examples
    --------
    >>> from functools import partial
    >>> from tsjepa.masking import random_mask
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(50, 16), depth=1, heads=2)
    >>> model = JEPA(encoder, Predictor(16, dim=16, depth=1, heads=2), mask=partial(random_mask, ratio=0.7))
    >>> out = model(torch.randn(4, 1, 500), torch.Generator().manual_seed(0))
    >>> out.loss.requires_grad, sorted(out.terms)
    (True, ['prediction'])
    """

    def __init__(
        self,
        encoder: Encoder,
        predictor: Predictor,
        *,
        mask: DrawMask,
        target: Target | None = None,
        levels: Sequence[int] = (-1,),
        regularizer: Regularizer | None = None,
        weight: float = 1.0,
        projector: nn.Module | None = None,
        loss: Loss = "l1",
        normalize_target: bool = True,
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"regularizer.weight must be at least 0, but is {weight}.")
        self.encoder, self.predictor, self.draw_mask = encoder, predictor, mask
        self.target = EMATarget(encoder) if target is None else target
        self.levels, self.regularizer, self.weight = tuple(levels), regularizer, weight
        self.projector = projector
        self.loss, self.normalize_target = loss, normalize_target

    def forward(self, x: Tensor, generator: torch.Generator, valid: Tensor | None = None) -> JEPAOutput:
        """Compute the loss of one batch.

        Parameters
        ----------
        x : Tensor of shape (B, C, T)
            Values; with an encoder of one channel each channel is a series of its own.
        generator : torch.Generator
            Source of masks and slices, on the CPU.
        valid : bool Tensor of shape (B, C, T), optional
            Which points were measured; None means all.

        Returns
        -------
        JEPAOutput
        """
        x, valid = self.sequences(x), None if valid is None else self.sequences(valid)
        attend = None if valid is None else self.encoder.token_valid(valid)
        n_tokens = self.encoder.n_tokens(x.shape[-1])
        drawn = self.draw_mask(x.shape[0], n_tokens, generator, None if attend is None else attend.cpu())
        mask = drawn.to(x.device)
        (context,) = self.encoder(x, keep=mask.context, valid=valid, attend=mask.context_valid)
        latents = self.project(self.latents(x, valid, attend), attend)
        goal = gather_tokens(latents.detach() if self.target.stop_gradient else latents, mask.target)
        predicted = self.project(self.predictor(context, mask), mask.target_valid)
        prediction = self.distance(predicted, goal, mask.target_valid)
        if self.regularizer is None:
            return JEPAOutput(prediction, {"prediction": prediction.detach()})
        if self.target.trains_encoder:
            penalty = self.regularizer(latents, generator, attend)
        else:
            penalty = self.regularizer(self.project(context, mask.context_valid), generator, mask.context_valid)
        terms = {"prediction": prediction.detach(), "regularizer": penalty.detach()}
        return JEPAOutput(prediction + self.weight * penalty, terms)

    def sequences(self, x: Tensor) -> Tensor:
        """Return [B, C, T] as the encoder takes it: with an encoder of one channel as [B * C, 1, T]."""
        return x.flatten(0, 1).unsqueeze(1) if self.encoder.channels == 1 else x

    def latents(self, x: Tensor, valid: Tensor | None, attend: Tensor | None) -> Tensor:
        """Return the target's latents [B, N, L * D] of the whole series."""
        levels = self.target(x, self.levels, valid, attend)
        if self.normalize_target:
            levels = [F.layer_norm(level, level.shape[-1:]) for level in levels]
        return torch.cat(levels, -1)

    def project(self, tokens: Tensor, valid: Tensor | None) -> Tensor:
        """Map tokens to the space of loss and regularizer; without a projector that is their own."""
        return tokens if self.projector is None else self.projector(tokens, valid)

    def distance(self, predicted: Tensor, goal: Tensor, valid: Tensor | None) -> Tensor:
        """Return the mean loss over the valid targets [B, M]."""
        if valid is not None:
            if not valid.any():  # no row has two tokens: nothing to predict, and nothing to learn
                return 0.0 * (predicted.sum() + goal.sum())
            predicted, goal = predicted[valid], goal[valid]
        return LOSSES[self.loss](predicted, goal)
