"""What the predictor has to hit: latents of a slow copy of the encoder, of itself, of a frozen teacher, or values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Schedule = Literal["fixed", "linear", "cosine"]


@dataclass(frozen=True)
class Momentum:
    """EMA momentum as a function of the step, so that a resumed run needs no replay.

    Parameters
    ----------
    kind : {"fixed", "linear", "cosine"}, default="fixed"
        Constant `start`, or a ramp from `start` to `end` (I-JEPA: linear from 0.996 to 1; BYOL: cosine).
    start, end : float
        Momentum at the first and after the last step, each in [0, 1].

    Raises
    ------
    ValueError
        If a momentum is outside [0, 1], or `kind` is another word.

    Examples
    --------
    >>> ramp = Momentum("linear", 0.996, 1.0)
    >>> ramp(0, 100), ramp(50, 100), ramp(100, 100)
    (0.996, 0.998, 1.0)
    """

    kind: Schedule = "fixed"
    start: float = 0.998
    end: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Schedule):
            raise ValueError(f"a momentum's kind is one of {', '.join(get_args(Schedule))}, but got {self.kind!r}.")
        for value in (self.start, self.end):
            if not 0 <= value <= 1:
                raise ValueError(f"the target's momentum must lie in [0, 1], but is {value}.")

    def __call__(self, step: int, total: int) -> float:
        """Return the momentum of step `step` of `total`."""
        share = min(step / max(total, 1), 1.0)
        if self.kind == "linear":
            return self.start + (self.end - self.start) * share
        if self.kind == "cosine":
            return self.end - (self.end - self.start) * (math.cos(math.pi * share) + 1) / 2
        return self.start


class Target(Protocol):
    """What is to be predicted: any module of this shape may be the target of a JEPA.

    Attributes
    ----------
    trains_encoder : bool
        Whether the encoder is trained through it; a regularizer then acts on its latents, else on the context's.
    stop_gradient : bool
        Whether the prediction loss takes it as a constant.
    """

    trains_encoder: bool
    stop_gradient: bool

    def __call__(
        self,
        x: Tensor,
        levels: Sequence[int],
        valid: Tensor | None,
        attend: Tensor | None,
        hint: Tensor | None = None,
        hint_valid: Tensor | None = None,
    ) -> list[Tensor]:
        """Return what is to be predicted of every token of series [B, C, T], a [B, N, E / L] tensor for each level.

        E is the width of all L levels side by side, which the predictor gives. The other parameters are those of
        `Encoder.forward`.
        """
        ...

    def update(self, encoder: nn.Module, step: int, total: int) -> None:
        """Follow the encoder after the optimiser's step `step` of `total`, or do nothing."""
        ...


class StillTarget(nn.Module):
    """What targets without gradient have in common: they stay in evaluation mode, and their module is only read."""

    trains_encoder = False
    stop_gradient = True

    @property
    def module(self) -> nn.Module:
        """The encoder whose latents are predicted."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "StillTarget":
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self,
        x: Tensor,
        levels: Sequence[int],
        valid: Tensor | None,
        attend: Tensor | None,
        hint: Tensor | None = None,
        hint_valid: Tensor | None = None,
    ) -> list[Tensor]:
        """Encode the whole series, one [B, N, D] tensor a level."""
        return self.module(x, levels=levels, valid=valid, attend=attend, hint=hint, hint_valid=hint_valid)

    def update(self, encoder: nn.Module, step: int, total: int) -> None:
        """Do nothing: only an average moves."""


class EMATarget(StillTarget):
    """Exponential moving average of the encoder, without gradient and always in evaluation mode.

    It moves as `JEPA.update_target(step, total)`, or `update`, is called after each step; `tsjepa.fit` does so.

    Parameters
    ----------
    encoder : Encoder
        The encoder to follow; the target starts as its copy.
    momentum : Momentum, optional
        By default the constant 0.998 of TS-JEPA.
    perturbation : float, default=0.0
        Noise on the weights that the target starts from, as a share of each tensor's root mean square. The average
        forgets it at the rate of its momentum: the controlled perturbation of the encoder-target gap early in
        training that the early-collapse paper suggests (Ennadir, Zolyomi and Smirnov 2026).

    Raises
    ------
    TypeError
        If the momentum is a number, not a schedule.

    Examples
    --------
    >>> from tsjepa.encoder import Encoder
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> target = EMATarget(encoder, Momentum("fixed", 0.9))
    >>> target.update(encoder, step=0, total=10)
    >>> any(p.requires_grad for p in target.parameters())
    False
    """

    def __init__(self, encoder: nn.Module, momentum: Momentum | None = None, perturbation: float = 0.0) -> None:
        super().__init__()
        if not (momentum is None or callable(momentum)):
            raise TypeError(f'momentum is {momentum!r}: give a schedule, such as Momentum("fixed", 0.99).')
        self.momentum = Momentum() if momentum is None else momentum
        self.average = AveragedModel(encoder)  # a copy under the names that checkpoints have
        self.average.requires_grad_(False)
        with torch.no_grad():
            for weight in self.module.parameters() if perturbation else ():
                weight.add_(perturbation * weight.square().mean().sqrt() * torch.randn_like(weight))
        self.eval()
        self._followed = weighted(encoder)  # in a tuple they are not registered a second time

    @property
    def module(self) -> nn.Module:
        """The averaged encoder."""
        return self.average.module

    def follows(self, encoder: nn.Module) -> bool:
        """Return whether the average is that of an encoder: it was made of the very same modules.

        Examples
        --------
        >>> layer = nn.Linear(2, 2)
        >>> EMATarget(layer).follows(layer), EMATarget(layer).follows(nn.Linear(2, 2))
        (True, False)
        """
        return [id(module) for module in self._followed] == [id(module) for module in weighted(encoder)]

    def update(self, encoder: nn.Module, step: int, total: int) -> None:
        """Move towards `encoder`: average = m * average + (1 - m) * encoder, m the momentum at this step."""
        with torch.no_grad():
            mine: list[Tensor] = list(self.module.parameters())
            its = [theirs.to(weight) for weight, theirs in zip(mine, encoder.parameters(), strict=True)]
            torch._foreach_lerp_(mine, its, 1 - self.momentum(step, total))
            # by order, since a compiled encoder has other names; its readout, which the average has not, comes last
            for buffer, other in zip(self.module.buffers(), encoder.buffers(), strict=False):
                buffer.copy_(other)


class SelfTarget(nn.Module):
    """The encoder itself; the gradient flows through both branches unless `stop_gradient` is set.

    With `stop_gradient` the objective takes the predicted latents as constants; a regularizer still moves them.

    The encoder is not registered here a second time, so that a state dict holds it once.

    Parameters
    ----------
    encoder : Encoder
    stop_gradient : bool, default=False
        Whether targets are constants to the prediction loss, as in SimSiam (Chen and He 2021).

    Examples
    --------
    >>> from tsjepa.encoder import Encoder
    >>> from tsjepa.tokenizers import LinearPatches
    >>> encoder = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> SelfTarget(encoder)(torch.randn(2, 1, 10), (-1,), None, None)[0].requires_grad
    True
    """

    trains_encoder = True

    def __init__(self, encoder: nn.Module, *, stop_gradient: bool = False) -> None:
        super().__init__()
        self.stop_gradient = stop_gradient
        self.held = (encoder,)

    def forward(
        self,
        x: Tensor,
        levels: Sequence[int],
        valid: Tensor | None,
        attend: Tensor | None,
        hint: Tensor | None = None,
        hint_valid: Tensor | None = None,
    ) -> list[Tensor]:
        """Encode the whole series, one [B, N, D] tensor a level."""
        return self.held[0](x, levels=levels, valid=valid, attend=attend, hint=hint, hint_valid=hint_valid)

    def update(self, encoder: nn.Module, step: int, total: int) -> None:
        """Do nothing: the target is the encoder."""


class FrozenTarget(StillTarget):
    """A teacher that never changes (SALT, Li et al. 2026), without gradient and always in evaluation mode.

    Parameters
    ----------
    teacher : Encoder
        The teacher, taken over, not copied: its parameters stop requiring gradients.
    taught : bool, default=True
        Whether it has the weights that it is to teach with; else it waits for others, and `tsjepa.fit` refuses to train
        under it before.

    Examples
    --------
    >>> from tsjepa.encoder import Encoder
    >>> from tsjepa.tokenizers import LinearPatches
    >>> teacher = Encoder(LinearPatches(5, 4), depth=1, heads=1)
    >>> FrozenTarget(teacher)(torch.randn(2, 1, 10), (-1,), None, None)[0].requires_grad
    False
    """

    def __init__(self, teacher: nn.Module, *, taught: bool = True) -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(False)
        self.untaught: float | None = None if taught else sum_of_weights(teacher)
        if not taught:
            teacher.register_load_state_dict_post_hook(self.note_weights)
        self.eval()

    def note_weights(self, _: nn.Module, left_out: Any) -> None:
        """Note that all weights were loaded, which may be those that it was made with."""
        if not left_out.missing_keys:
            self.untaught = None

    @property
    def taught(self) -> bool:
        """Whether it has weights to teach with: other ones than it was made with, however they came."""
        return self.untaught is None or sum_of_weights(self.teacher) != self.untaught

    @property
    def module(self) -> nn.Module:
        """The teacher."""
        return self.teacher


class ValuesTarget(nn.Module):
    """The values themselves: masked reconstruction, which cannot collapse (the first stage of SALT, Li et al. 2026).

    The single level holds the values of each patch, normalised as the encoder normalises them.

    Parameters
    ----------
    prepare : callable
        (values [B, C, T], valid) -> what is to be reconstructed, [B, N, C * P].

    Examples
    --------
    >>> ValuesTarget(lambda x, valid: x.transpose(1, 2))(torch.ones(2, 1, 10), (-1,), None, None)[0].shape
    torch.Size([2, 10, 1])
    """

    trains_encoder = False
    stop_gradient = True

    def __init__(self, prepare: Callable[[Tensor, Tensor | None], Tensor]) -> None:
        super().__init__()
        self.prepare = prepare

    def forward(
        self,
        x: Tensor,
        levels: Sequence[int],
        valid: Tensor | None,
        attend: Tensor | None,
        hint: Tensor | None = None,
        hint_valid: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the values of all patches."""
        return [self.prepare(x, valid)]

    def update(self, encoder: nn.Module, step: int, total: int) -> None:
        """Do nothing: values do not change."""


def encoder_of(target: Target) -> nn.Module | None:
    """Return the encoder whose levels are predicted; None of another target, which may give anything."""
    if type(target) is SelfTarget:
        return target.held[0]
    return target.module if type(target) is EMATarget or type(target) is FrozenTarget else None


def check_levels(levels: Sequence[int], encoder: nn.Module | None) -> None:
    """Raise ValueError unless there are levels, and an encoder that tells its depth has them."""
    if encoder is None:
        return
    if not levels:
        raise ValueError("levels is empty: give at least one, such as -1, the last.")
    last = getattr(encoder, "depth", None)
    for level in levels:
        if isinstance(last, int) and not -last - 1 <= level <= last:
            raise ValueError(f"levels names level {level}, but the last level is {last}.")


def check_widths(predicted: Tensor, goal: Tensor) -> None:
    """Raise ValueError where predictions [B, M, E] and targets [B, N, E] differ in width, which torch may broadcast."""
    if predicted.shape[-1] != goal.shape[-1]:
        raise ValueError(
            f"the predictor gives {predicted.shape[-1]} number(s) a token, but the target has {goal.shape[-1]}: give "
            "the predictor, as out_dim of tsjepa.Predictor, the width of all levels of the target together."
        )


def check_context(context: Tensor, goal: Tensor, projector: object) -> None:
    """Raise ValueError where a projector of targets [B, N, E] is to map a context [B, K, L * D] of another width, too.

    One without weights may map any width.
    """
    weighs = isinstance(projector, nn.Module) and next(projector.parameters(), None) is not None
    if weighs and context.shape[-1] != goal.shape[-1]:
        raise ValueError(
            f"the regularizer acts on visible tokens of {context.shape[-1]} number(s), behind the projector, but the "
            f"target, which the projector maps too, has {goal.shape[-1]}: leave out the projector or the regularizer."
        )


def weighted(encoder: nn.Module) -> tuple[nn.Module, ...]:
    """Return the modules that hold weights themselves; which weights they hold may change, as by `load_state_dict`.

    Examples
    --------
    >>> weighted(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    (Linear(in_features=2, out_features=2, bias=True),)
    """
    return tuple(module for module in encoder.modules() if next(module.parameters(recurse=False), None) is not None)


def sum_of_weights(module: nn.Module) -> float:
    """Return the sum of all parameters, by which those of a module are known again; nan of those without values.

    Examples
    --------
    >>> sum_of_weights(nn.LayerNorm(3))
    3.0
    """
    weights = [weight.detach() for weight in module.parameters()]
    return math.nan if any(weight.is_meta for weight in weights) else sum(float(w.double().sum()) for w in weights)
