"""The only place where a name becomes an object."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from tsjepa.config import Config, ConfigError, load_config, nearest, parse_config, recipe_names
from tsjepa.encoder import Encoder, Tokenizer
from tsjepa.masking import bernoulli_mask, block_mask, future_mask, random_mask
from tsjepa.objective import JEPA, DrawMask, Projector
from tsjepa.predictor import Predictor
from tsjepa.regularizers import Regularizer, SIGReg, VICReg
from tsjepa.targets import EMATarget, Momentum, SelfTarget, Target
from tsjepa.tokenizers import ConvStem, LinearPatches, SpectralPatches

# What an objective's name stands for: the seams of the configuration that make the method
SELF = ("target.kind=self", "loss.kind=mse", "loss.normalize_target=false", "projector.out=64")
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "ema": (
        "target.kind=ema",
        "regularizer.kind=none",
        "loss.kind=l1",
        "loss.normalize_target=true",
        "projector.out=0",
    ),
    "sigreg": (*SELF, "regularizer.kind=sigreg"),
    "vicreg": (*SELF, "regularizer.kind=vicreg"),
}
DEFAULT_RECIPE = "ts-jepa-ema"


def configure(
    recipe: str | Path | Config | None = None, objective: str | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Return the configuration that a recipe, an objective and overrides make, in this order.

    Parameters
    ----------
    recipe : str, Path or Config, optional
        Name, file, or a configuration to change. By default the recipe of the objective, `ts-jepa-<objective>`,
        where there is one, else the default recipe.
    objective : str, optional
        A key of `OBJECTIVES`; sets target, loss, projector and regularizer.
    overrides : sequence of str
        ``key.path=value`` each.

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
        raise ConfigError(f"unknown objective {objective!r}{nearest(objective, list(OBJECTIVES))}.")
    if recipe is None:
        own = f"ts-jepa-{objective}"
        recipe = own if own in recipe_names() else DEFAULT_RECIPE
    overrides = [*(OBJECTIVES[objective] if objective else ()), *overrides]
    if isinstance(recipe, Config):
        return parse_config(recipe.model_dump(mode="json"), overrides)
    return load_config(recipe, overrides)


def resolve(config: Config, n_timepoints: int) -> Config:
    """Return the configuration with the patch length that cuts series of `n_timepoints` into `n_patches`.

    The length is rounded up, so the last patch may be partly empty, and short series may get fewer patches.

    Raises
    ------
    ConfigError
        If a patch is longer than the series, or fewer than two patches are left to mask.

    Examples
    --------
    >>> resolve(Config(tokenizer={"n_patches": 10}), 500).tokenizer.patch_length
    50
    """
    size = config.tokenizer
    if size.n_patches is None:
        assert size.patch_length is not None  # the section's own check
        length = size.patch_length
    else:
        length = -(-n_timepoints // size.n_patches)
    if n_timepoints <= length:
        raise ConfigError(
            f"a patch of {length} points leaves one token of series of {n_timepoints}, and masking needs two: "
            "choose a shorter tokenizer.patch_length or a larger tokenizer.n_patches."
        )
    return config.model_copy(update={"tokenizer": size.model_copy(update={"n_patches": None, "patch_length": length})})


def build_tokenizer(config: Config, n_channels: int) -> Tokenizer:
    """Build the tokenizer of a resolved configuration."""
    section = config.tokenizer
    assert section.patch_length is not None, "resolve() comes first"
    channels = n_channels if section.channels == "mixed" else 1
    if section.kind == "conv":
        return ConvStem(
            section.patch_length,
            config.encoder.dim,
            channels,
            filters=section.filters,
            dilations=section.dilations,
        )
    kind = SpectralPatches if section.kind == "spectral" else LinearPatches
    return kind(section.patch_length, config.encoder.dim, channels)


def build_encoder(config: Config, n_channels: int) -> Encoder:
    """Build the encoder of a resolved configuration, its weights drawn from torch's generator."""
    return Encoder(
        build_tokenizer(config, n_channels),
        depth=config.encoder.depth,
        heads=config.encoder.heads,
        normalize=config.normalize,
    )


def build_mask(config: Config) -> DrawMask:
    """Build the function that draws masks."""
    section = config.mask
    if section.kind == "block":
        return partial(block_mask, ratio=section.ratio, block_length=section.block_length)
    draw = {"bernoulli": bernoulli_mask, "random": random_mask, "future": future_mask}[section.kind]
    return partial(draw, ratio=section.ratio)


def build_target(config: Config, encoder: Encoder) -> Target:
    """Build the target that follows, or is, the encoder."""
    section = config.target
    if section.kind == "self":
        return SelfTarget(encoder, stop_gradient=section.stop_gradient)
    return EMATarget(encoder, Momentum(section.schedule, section.momentum, section.final_momentum))


def build_regularizer(config: Config) -> Regularizer | None:
    """Build the regularizer, if there is one."""
    section = config.regularizer
    if section.kind == "sigreg":
        return SIGReg(slices=section.slices, knots=section.knots, placement=section.placement)
    if section.kind == "vicreg":
        return VICReg(std_weight=section.std_weight, cov_weight=section.cov_weight)
    return None


def build_model(config: Config, n_channels: int) -> JEPA:
    """Build encoder, predictor, target and regularizer of a resolved configuration.

    The weights depend on `config.train.seed` only; torch's global generator is left as it was.

    Examples
    --------
    >>> config = resolve(Config(tokenizer={"n_patches": 10}), 500)
    >>> build_model(config, n_channels=1).encoder.dim
    128
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        encoder = build_encoder(config, n_channels)
        width = config.encoder.dim
        predictor = Predictor(
            width, dim=config.predictor.dim, depth=config.predictor.depth, heads=config.predictor.heads
        )
        projector = config.projector
        return JEPA(
            encoder,
            predictor,
            mask=build_mask(config),
            target=build_target(config, encoder),
            regularizer=build_regularizer(config),
            weight=config.regularizer.weight,
            projector=Projector(width, hidden=projector.hidden, out=projector.out) if projector.out else None,
            loss=config.loss.kind,
            normalize_target=config.loss.normalize_target,
        )
