"""The sections of a configuration: typed, frozen, and nothing unknown in them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

# Sizes and counts stay below what torch takes as one everywhere
BOUND = 2**31
Positive = Annotated[int, Field(ge=1, lt=BOUND)]
Count = Annotated[int, Field(ge=0, lt=BOUND)]
Width = Annotated[int, Field(ge=2, lt=BOUND, multiple_of=2)]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Base of all sections: nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"this must not be true or false, but got {value}")
        return value


class TokenizerConfig(Section):
    """How values become tokens; the patch length follows from `n_patches` where it is not given."""

    kind: Literal["linear", "spectral", "conv"] = "linear"
    n_patches: Positive | None = None
    patch_length: Positive | None = None
    channels: Literal["independent", "mixed"] = "independent"
    filters: Positive = 32
    dilations: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 4, 8)

    @model_validator(mode="after")
    def _one_size(self) -> "TokenizerConfig":
        if (self.n_patches is None) == (self.patch_length is None):
            raise ValueError("give either n_patches or patch_length")
        return self


class EncoderConfig(Section):
    """Transformer over the visible tokens."""

    dim: Width = 128
    depth: Count = 2
    heads: Positive = 2
    registers: Count = 0
    conditioned: bool = False
    causal: bool = False


class PredictorConfig(Section):
    """Transformer that predicts the latents of the hidden tokens."""

    dim: Width = 128
    depth: Count = 1
    heads: Positive = 2
    residual: bool = False


class MaskConfig(Section):
    """Which tokens are hidden; with `final_ratio` the ratio moves there over training."""

    kind: Literal["bernoulli", "random", "block", "future"] = "random"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.7
    final_ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    block_length: Positive = 2


class TargetConfig(Section):
    """What is predicted: latents of a slow copy of the encoder, of itself, of a frozen teacher, or the values.

    A frozen target is a `teacher` checkpoint, or else a teacher that is trained first, in the same run, for
    `teacher_share` of the epochs: with an EMA target, or by masked reconstruction of the values.
    """

    kind: Literal["ema", "self", "frozen", "values"] = "ema"
    levels: Annotated[tuple[int, ...], Field(min_length=1)] = (-1,)
    perturbation: NonNegative = 0.0
    teacher: str | None = None
    teacher_kind: Literal["ema", "values"] = "ema"
    teacher_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    schedule: Literal["fixed", "linear", "cosine"] = "fixed"
    momentum: Share = 0.998
    final_momentum: Share = 1.0
    stop_gradient: bool = False

    @model_validator(mode="after")
    def _only_frozen_targets_have_a_teacher(self) -> "TargetConfig":
        if self.teacher is not None and self.kind != "frozen":
            raise ValueError(f"a teacher needs target.kind=frozen, as in distill and salt, but kind is {self.kind}")
        return self


class WorldConfig(Section):
    """Prediction of the latents to come from those so far, instead of hidden ones from visible ones.

    `horizons` are numbers of patches ahead; none means that tokens are hidden, as `mask` says. `inputs` are channels
    that are not predicted but given, those of the predicted patches too: set-points, commands, operating conditions.
    They are named, or numbered from 0.
    """

    horizons: tuple[Positive, ...] = ()
    inputs: tuple[Count | str, ...] = ()


class RegularizerConfig(Section):
    """What keeps latents spread out."""

    kind: Literal["none", "sigreg", "vicreg", "visreg"] = "none"
    weight: NonNegative = 0.05
    placement: Literal["token", "position", "series", "dual"] = "token"
    slices: Positive = 256
    knots: Annotated[int, Field(ge=2, lt=BOUND)] = 17
    std_weight: NonNegative = 25.0
    cov_weight: NonNegative = 1.0
    scale_weight: NonNegative = 1.0
    centre_weight: NonNegative = 1.0
    shape_weight: NonNegative = 1.0


class ProjectorConfig(Section):
    """Where loss and regularizer live; thrown away after training. `out: 0` means that there is none."""

    hidden: Positive = 512
    out: Count = 0


class LossConfig(Section):
    """Distance between prediction and target, and the weight at which visible tokens are predicted too.

    With `centre_target`, what is predicted of a token is how it differs from the batch's mean at its position, so that
    a code of the position earns nothing.
    """

    kind: Literal["l1", "smooth_l1", "mse"] = "l1"
    normalize_target: bool = True
    centre_target: bool = False
    context_weight: NonNegative = 0.0
    context_warmup: Share = 0.25


class TrainConfig(Section):
    """Optimiser and schedule: AdamW, linear warm-up, then a cosine to zero.

    With `max_steps` there are fewer epochs where that many would be more steps, so that large sets take no longer.
    With `cooldown_share` there are two stages instead: a primary one at the full learning rate, during which an average
    of the trained weights is kept with `average_momentum`, and for that share of the epochs a cooldown, which starts
    from the average and in which the learning rate falls linearly to zero.
    """

    epochs: Positive = 200
    max_steps: Positive | None = None
    batch_size: Positive = 32
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    weight_decay: NonNegative = 0.01
    warmup: Share = 0.1
    cooldown_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    average_momentum: Share = 0.99
    clip: NonNegative = 1.0
    precision: Literal["32", "bf16", "16"] = "32"
    shift: bool = False
    seed: Count = 0

    @field_validator("precision", mode="before")
    @classmethod
    def _bits_are_a_name(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value  # 32 is a number in YAML

    @model_validator(mode="after")
    def _stages_fit(self) -> "TrainConfig":
        if self.warmup + self.cooldown_share > 1:
            raise ValueError("warmup and cooldown_share are shares of the epochs and may add up to 1 at most")
        return self


# Which levels are pooled: all of them, all but the tokenizer's, the last, or one
Levels = Literal["all", "blocks", "last"] | Count


class ProbeConfig(Section):
    """How tokens become one embedding a series.

    With `shares`, the shares of a series above the thresholds of fixed random filters stand before its pooled tokens
    (`tsjepa.shares`). With `sketch`, all of these are projected on so many random directions, saturated and rounded
    (`tsjepa.sketch`); beside shares, each level counts `level_weight`, less where series are few, or, where that is
    None, the more the better patches of one series agree on levels, if pretraining compares them. `whiten` says
    whether it learns what the patches of a series disagree on, which then counts less (`tsjepa.whitening`).
    With `stretch` f it learns in its place what changes as a series runs at 1 / f and at f times its speed: of what
    turns at a speed of its own, features then say less of the speed. With `noise` s what changes as white noise of s
    times a series' deviation is added counts less, too, and shares have no sharp thresholds: what lies within s of one
    counts in part.
    With `scale_features` the mean and the log standard deviation of each channel, which instance normalisation takes
    away, stand behind; in a sketch they are part of it.
    """

    levels: Levels = "all"
    pool: Annotated[tuple[Literal["mean", "std", "max"], ...], Field(min_length=1)] = ("mean", "std", "max")
    shares: bool = False
    sketch: Positive | None = None
    level_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 0.6
    whiten: bool = True
    stretch: Annotated[float, Field(gt=1, le=10)] | None = None
    noise: Annotated[float, Field(gt=0, le=1)] | None = None
    channels: Literal["concat", "mean", "max"] = "concat"
    scale_features: bool = False

    @model_validator(mode="after")
    def _what_whitens_has_a_use(self) -> "ProbeConfig":
        for name in ("stretch", "noise"):
            if getattr(self, name) is not None and (self.sketch is None or not self.whiten):
                raise ValueError(f"{name} acts on a whitened sketch: set sketch and whiten=true, or leave it out")
        return self

    def plain(self, levels: Levels = "all") -> "ProbeConfig":
        """Return how tokens are pooled, and nothing besides, where each level is looked at."""
        unread = {"shares": False, "sketch": None, "stretch": None, "noise": None, "scale_features": False}
        return self.model_copy(update={"levels": levels, **unread})


class LogConfig(Section):
    """How a sensor log is read: its columns, its windows, and what of it is the test part.

    `window` and `stride` are numbers of points, and `max_gap` a number of steps, or each a time such as ``10s``; where
    times of the log are plain numbers, only numbers. `resample` is a time, and there a number in their unit.
    """

    id: str | None = None
    time: str | None = None
    channels: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    label: str | None = None
    test: str | None = None
    group: str | None = None
    window: Positive | str | None = None
    stride: Positive | str | None = None
    max_gap: float | str | None = None
    resample: str | None = None
    fill: Literal["linear", "previous"] = "linear"
    window_label: Literal["last", "majority", "any"] = "last"

    @field_validator("resample", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if is_number else value
