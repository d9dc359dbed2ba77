"""The only place where a name becomes an object."""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from tsjepa.arrays import counted
from tsjepa.batches import ShuffledBatches
from tsjepa.config import Config, ConfigError, did_you_mean, load_config, parse_config
from tsjepa.direction import check_direction, numbered, refuse
from tsjepa.embedding import chosen_levels
from tsjepa.encoder import Encoder, Tokenizer, patch_values
from tsjepa.masking import RampedMask, bernoulli_mask, block_mask, check_count, future_mask, random_mask
from tsjepa.normalization import TrainingStatistics
from tsjepa.objective import JEPA, ContextLoss, DrawMask
from tsjepa.predictor import Predictor
from tsjepa.process_lock import ProcessLock
from tsjepa.projector import Projector
from tsjepa.readout import Readout
from tsjepa.regularizers import Regularizer, SIGReg, VICReg, VISReg
from tsjepa.scales import Scales
from tsjepa.sections import ProbeConfig, TrainConfig
from tsjepa.shares import Shares
from tsjepa.sketch import Sketch
from tsjepa.targets import EMATarget, FrozenTarget, Momentum, SelfTarget, Target, ValuesTarget
from tsjepa.tokenizers import ConvStem, LinearPatches, SpectralPatches, n_patches
from tsjepa.world import Dynamics, WorldModel

# What an objective's name does to a recipe that is named beside it: the seams that make the bare method
LATENT = ("loss.kind=l1", "loss.normalize_target=true", "projector.out=0")
PROJECTED = ("loss.kind=mse", "loss.normalize_target=false", "projector.out=64")
MASKED = ("world.horizons=[]", "world.inputs=[]")
PLAIN = (*MASKED, "regularizer.kind=none", "target.levels=[-1]", "loss.context_weight=0", "loss.centre_target=false")
# variance and covariance of all tokens are those of a code of the position, too
CENTRED = ("target.kind=self", *PLAIN, *PROJECTED, "loss.centre_target=true")
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "ema": ("target.kind=ema", *PLAIN, *LATENT),
    "cjepa": ("target.kind=ema", *PLAIN, *LATENT, "regularizer.kind=vicreg", "regularizer.weight=0.001"),
    "sigreg": ("target.kind=self", *PLAIN, *PROJECTED, "regularizer.kind=sigreg", "regularizer.weight=0.05"),
    "vicreg": (*CENTRED, "regularizer.kind=vicreg", "regularizer.weight=0.04"),
    "visreg": (*CENTRED, "regularizer.kind=visreg", "regularizer.weight=1"),
    "deep": ("target.kind=ema", *PLAIN, *LATENT, "target.levels=[0, -1]", "loss.context_weight=0.1"),
    "distill": ("target.kind=frozen", "target.teacher_kind=ema", "target.teacher_share=0.5", *PLAIN, *LATENT),
    "salt": ("target.kind=frozen", "target.teacher_kind=values", "target.teacher_share=0.16666667", *PLAIN, *LATENT),
}
DEFAULT_RECIPE = "default"
UNRESOLVED = "resolve the configuration first: tsjepa.resolve(config, n_timepoints)."
# torch's generator is one for all threads: who seeds it for a while keeps the others waiting
SEEDING = ProcessLock()


def configure(
    recipe: str | Path | Config | None = None, objective: str | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Return the configuration that a recipe, an objective and overrides make, in this order.

    Parameters
    ----------
    recipe : str, Path or Config, optional
        Name, file, or a configuration to change. By default the recipe of the objective, `ts-jepa-<objective>`, as it
        is; without an objective the default recipe.
    objective : str, optional
        A key of `OBJECTIVES`; sets target, loss, projector and regularizer of a recipe that is named beside it, to
        those of the bare method.
    overrides : sequence of str
        ``key.path=value`` each; one of `train.epochs` takes away `train.max_steps`.

    Raises
    ------
    ConfigError
        If a name, key or value does not fit.

    Examples
    --------
    >>> configure("ts-jepa-paper", "sigreg", ["train.epochs=3"]).regularizer.kind
    'sigreg'
    """
    if objective is not None and objective not in OBJECTIVES:
        raise ConfigError(f"unknown objective {objective!r}{did_you_mean(objective, list(OBJECTIVES))}")
    if recipe is None:
        recipe = DEFAULT_RECIPE if objective is None else f"ts-jepa-{objective}"
    elif objective is not None:
        overrides = [*OBJECTIVES[objective], *overrides]
    if any(override.startswith("train.epochs=") for override in overrides):  # asked for, so not to be cut short
        overrides = ["train.max_steps=null", *overrides]
    if isinstance(recipe, Config):
        return parse_config(recipe.model_dump(mode="json"), overrides)
    return load_config(recipe, overrides)


def resolve(
    config: Config,
    n_timepoints: int,
    channel_names: Sequence[str] | None = None,
    n_cases: int | None = None,
    n_channels: int = 1,
) -> Config:
    """Return the configuration with the patch length that cuts series of `n_timepoints` into `n_patches`.

    The length is rounded up, so the last patch may be partly empty, and short series may get fewer patches. Channels
    that are inputs by name get their number among `channel_names`. Where the number of training series is given,
    without those that hold no value, epochs are reduced to those that come nearest to `train.max_steps`. Of several
    channels without names, of one point each, the error says that the axes may be swapped.

    Parameters
    ----------
    config : Config
    n_timepoints : int
        Length of the longest training series.
    channel_names : sequence of str, optional
        Names of the channels in their order; None where the data name none.
    n_cases : int, optional
        Training series with a value; None leaves the epochs as they are.
    n_channels : int, optional
        Channels of the series, by which axes that were swapped are told.

    Raises
    ------
    ConfigError
        If a patch is longer than the series, fewer than two patches are left to mask, no patch lies the largest horizon
        ahead of another, the mask leaves nothing to see or nothing to predict at the start or at the end of training,
        an input is no channel or stands twice, or settings contradict each other (`tsjepa.direction`).

    Examples
    --------
    >>> resolve(Config(tokenizer={"n_patches": 10}), 500).tokenizer.patch_length
    50
    """
    check_direction(config)
    if config.target.kind == "values":  # a projector maps values then, and a regularizer acts on latents
        plain = not config.projector.out or config.regularizer.kind == "none"
        refuse("target.kind=values needs", {"projector.out=0 or regularizer.kind=none": plain})
    size = config.tokenizer
    if size.n_patches is None:
        assert size.patch_length is not None  # the section's own check
        length = size.patch_length
    else:
        length = -(-n_timepoints // size.n_patches)
    if n_timepoints == 1:  # as univariate series of other libraries, with the channel last, seem to have
        swapped = n_channels > 1 and channel_names is None
        meant = f"if these are series of {n_channels} points, swap the last two axes"
        advice = meant if swapped else "give longer ones, or cut a log into longer windows"
        raise ConfigError(f"each series has one point only, and masking needs two patches: {advice}.")
    if n_timepoints <= length:
        raise ConfigError(
            f"series of {counted(n_timepoints, 'point')} are one patch of {length}, and masking needs two: "
            "choose a shorter tokenizer.patch_length or a larger tokenizer.n_patches."
        )
    farthest = max(config.world.horizons, default=0)
    if n_timepoints <= farthest * length:
        raise ConfigError(
            f"a patch of {length} points and another {counted(farthest, 'patch', 'patches')} ahead do not fit into "
            f"series of {n_timepoints}: choose longer windows, shorter patches or smaller world.horizons."
        )
    check_mask(config, n_patches(n_timepoints, length))
    world = config.world.model_copy(update={"inputs": numbered(config.world.inputs, channel_names or ())})
    size = size.model_copy(update={"n_patches": None, "patch_length": length})
    return config.model_copy(update={"tokenizer": size, "world": world, "train": bounded(config.train, n_cases)})


def check_mask(config: Config, n_tokens: int) -> None:
    """Raise ConfigError where a mask that hides an exact number of tokens leaves no context or no target.

    At both ends of a ramp: between them the number lies between theirs.
    """
    section = config.mask
    if config.world.horizons or section.kind not in ("random", "block"):
        return
    try:
        check_count(n_tokens, section.ratio)
        if section.final_ratio is not None:
            check_count(n_tokens, section.final_ratio, "mask.final_ratio")
    except ValueError as error:
        raise ConfigError(str(error)) from error


def bounded(section: TrainConfig, n_cases: int | None) -> TrainConfig:
    """Return the schedule with the epochs whose steps come nearest to `max_steps`, at least 1, where these are fewer.

    Examples
    --------
    >>> [bounded(TrainConfig(epochs=100, batch_size=32, max_steps=2000), n).epochs for n in (577, 641, 7141, 10**6)]
    [100, 100, 9, 1]
    """
    if section.max_steps is None or n_cases is None:
        return section
    steps = len(ShuffledBatches(n_cases, section.batch_size, section.seed))
    nearest = max(round(section.max_steps / steps), 1)
    return section.model_copy(update={"epochs": min(section.epochs, nearest)})


# What a student has from its teacher
TEACHERS = ("tokenizer", "encoder", "normalize")


def match_teacher(config: Config, teacher: Config) -> Config:
    """Return the configuration with the tokenizer, encoder and normalisation of its teacher.

    Examples
    --------
    >>> teacher = resolve(configure("tiny"), 500)
    >>> match_teacher(configure("ts-jepa-paper", "distill"), teacher).encoder.dim
    32
    """
    return config.model_copy(update={name: getattr(teacher, name) for name in TEACHERS})


def build_tokenizer(config: Config, n_channels: int) -> Tokenizer:
    """Build the tokenizer of a resolved configuration."""
    section = config.tokenizer
    if section.patch_length is None:
        raise ConfigError(UNRESOLVED)
    channels = n_channels if section.channels == "mixed" else 1
    if section.kind == "conv":
        return ConvStem(
            section.patch_length,
            config.encoder.dim,
            channels,
            filters=section.filters,
            dilations=section.dilations,
            causal=config.encoder.causal,
        )
    kind = SpectralPatches if section.kind == "spectral" else LinearPatches
    return kind(section.patch_length, config.encoder.dim, channels)


def build_encoder(config: Config, n_channels: int) -> Encoder:
    """Build the encoder of a resolved configuration, its weights drawn from torch's generator."""
    section, inputs = config.encoder, numbered(config.world.inputs, ())
    if inputs and (max(inputs) >= n_channels or len(inputs) >= n_channels):
        told = counted(n_channels, "channel")
        raise ConfigError(
            f"world.inputs are {list(inputs)}, but the series have {told}, one of which is to be predicted."
        )
    return Encoder(
        build_tokenizer(config, n_channels - len(inputs)),
        depth=section.depth,
        heads=section.heads,
        normalize="instance" if config.normalize == "instance" else "none",
        statistics=TrainingStatistics(n_channels) if config.normalize == "train" else None,
        registers=section.registers,
        conditioned=section.conditioned,
        causal=section.causal,
        inputs=inputs,
    )


def build_mask(config: Config) -> DrawMask:
    """Build the function that draws masks."""
    section = config.mask
    draw = {"bernoulli": bernoulli_mask, "random": random_mask, "future": future_mask, "block": block_mask}[
        section.kind
    ]
    if section.kind == "block":
        draw = partial(block_mask, block_length=section.block_length)
    if section.final_ratio is not None:
        return RampedMask(draw, section.ratio, section.final_ratio)
    return partial(draw, ratio=section.ratio)


def build_target(config: Config, encoder: Encoder) -> Target:
    """Build what is predicted; a frozen teacher has the encoder's architecture and random weights to be loaded over."""
    section = config.target
    if section.kind == "self":
        return SelfTarget(encoder, stop_gradient=section.stop_gradient)
    if section.kind == "values":
        return ValuesTarget(
            partial(patch_values, patch_length=encoder.tokenizer.patch_length, normalize=encoder.normalize)
        )
    if section.kind == "frozen":
        return FrozenTarget(copy.deepcopy(encoder), taught=False)
    momentum = Momentum(section.schedule, section.momentum, section.final_momentum)
    return EMATarget(encoder, momentum, section.perturbation)


def build_regularizer(config: Config) -> Regularizer | None:
    """Build the regularizer, if there is one."""
    section = config.regularizer
    if section.kind == "sigreg":
        return SIGReg(slices=section.slices, knots=section.knots, placement=section.placement)
    if section.kind == "vicreg":
        return VICReg(std_weight=section.std_weight, cov_weight=section.cov_weight)
    if section.kind == "visreg":
        weights = section.scale_weight, section.centre_weight, section.shape_weight
        return VISReg(slices=section.slices, scale=weights[0], centre=weights[1], shape=weights[2])
    return None


def target_width(config: Config, encoder: Encoder) -> int:
    """Return the width of what is predicted: all levels together, or the values of a patch."""
    if config.target.kind == "values":
        return encoder.channels * encoder.tokenizer.patch_length
    return len(config.target.levels) * encoder.dim


def build_predictor(config: Config, encoder: Encoder) -> Predictor:
    """Build the predictor."""
    section = config.predictor
    return Predictor(
        encoder.dim,
        dim=section.dim,
        depth=section.depth,
        heads=section.heads,
        out_dim=target_width(config, encoder),
        residual=section.residual,
    )


def build_model(config: Config, n_channels: int) -> JEPA:
    """Build encoder, predictor, target and regularizer of a resolved configuration.

    The weights depend on `config.train.seed` only; torch's global generator is left as it was.

    Parameters
    ----------
    config : Config
        As `resolve` returns it.
    n_channels : int
        Channels of the training series.

    Raises
    ------
    ConfigError
        If the configuration is not resolved, or names inputs that the series do not have.

    Examples
    --------
    >>> config = resolve(Config(tokenizer={"n_patches": 10}), 500)
    >>> build_model(config, n_channels=1).encoder.dim
    128
    """
    with SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        encoder = build_encoder(config, n_channels)
        model = build_world(config, encoder) if config.world.horizons else build_masked(config, encoder)
        # behind all that is trained: targets are copies without it, and it changes no other weight
        encoder.readout = build_readout(config.probe, encoder, n_channels)
    return model


def build_masked(config: Config, encoder: Encoder) -> JEPA:
    """Build what predicts hidden latents, around an encoder."""
    predictor = build_predictor(config, encoder)
    width, projector, loss = target_width(config, encoder), config.projector, config.loss
    return JEPA(
        encoder,
        predictor,
        mask=build_mask(config),
        target=build_target(config, encoder),
        levels=config.target.levels,
        regularizer=build_regularizer(config),
        weight=config.regularizer.weight,
        projector=Projector(width, hidden=projector.hidden, out=projector.out) if projector.out else None,
        loss=loss.kind,
        normalize_target=loss.normalize_target,
        centre_target=loss.centre_target,
        context_loss=ContextLoss(loss.context_weight, loss.context_warmup) if loss.context_weight else None,
    )


def build_readout(probe: ProbeConfig, encoder: Encoder, n_channels: int) -> Readout | None:
    """Build what makes the embedding besides pooled tokens, None where that is nothing."""
    shares = Shares(encoder.channels, noise=probe.noise) if probe.shares else None
    if probe.sketch is None:
        return None if shares is None else Readout(shares, None)
    levels = [len(probe.pool) * encoder.dim] * len(chosen_levels(encoder, probe))
    widths = ([] if shares is None else [shares.size]) + levels
    if not probe.scale_features:
        return Readout(shares, Sketch(widths, probe.sketch))
    sketch = Sketch([*widths, *[encoder.channels] * 2], probe.sketch)  # level and log scale of each channel
    return Readout(shares, sketch, Scales(len(encoder.measured(n_channels))))


def build_world(config: Config, encoder: Encoder) -> WorldModel:
    """Build what predicts the latents to come, around an encoder."""
    predictor, width = config.predictor, config.projector.out or encoder.dim
    dynamics = Dynamics(
        width,
        dim=predictor.dim,
        depth=predictor.depth,
        heads=predictor.heads,
        n_inputs=len(encoder.inputs) * encoder.tokenizer.patch_length,
        projector=Projector(predictor.dim, hidden=config.projector.hidden, out=width) if config.projector.out else None,
    )
    return WorldModel(
        encoder,
        dynamics,
        horizons=config.world.horizons,
        target=build_target(config, encoder),
        regularizer=build_regularizer(config),
        weight=config.regularizer.weight,
        projector=Projector(encoder.dim, hidden=config.projector.hidden, out=width) if config.projector.out else None,
        loss=config.loss.kind,
    )
