"""What a configuration must say so that no token sees a later one, and the next ones can be predicted."""

from collections.abc import Sequence

from tsjepa.config import Config, ConfigError, did_you_mean
from tsjepa.sections import MaskConfig


def check_direction(config: Config) -> None:
    """Check that a causal encoder sees nothing of what comes later, and that a world model has all that it needs.

    Raises
    ------
    ConfigError
        If a setting does not go with `encoder.causal`, or with `world.horizons`.

    Examples
    --------
    >>> check_direction(Config(tokenizer={"n_patches": 10}, encoder={"causal": True}))
    Traceback (most recent call last):
    tsjepa.config.ConfigError: encoder.causal=true needs normalize=train or none.
    """
    encoder, target, world = config.encoder, config.target, config.world
    if world.inputs and not world.horizons:
        raise ConfigError("world.inputs only serve to predict what comes next: set world.horizons, too.")
    if encoder.causal:
        fits = {
            "normalize=train or none": config.normalize != "instance",
            "encoder.registers=0": not encoder.registers,
            "encoder.conditioned=false": not encoder.conditioned,
            "train.shift=false": not config.train.shift,
            "probe.shares=false": not config.probe.shares,
        }
        refuse("encoder.causal=true needs", fits)
    if world.horizons:
        fits = {
            "encoder.causal=true": encoder.causal,
            "tokenizer.channels=mixed": config.tokenizer.channels == "mixed",
            "target.kind=self or ema": target.kind in ("self", "ema"),
            "target.levels=[-1]": target.levels in ((-1,), (encoder.depth,)),
            "loss.normalize_target=false": not config.loss.normalize_target,
            "loss.centre_target=false": not config.loss.centre_target,
            "loss.context_weight=0": not config.loss.context_weight,
            "predictor.residual=false": not config.predictor.residual,
            "target.perturbation=0 unless target.kind=ema": target.kind == "ema" or not target.perturbation,
        }
        refuse("a world model (world.horizons) needs", fits)
        if config.mask != MaskConfig():
            own = ", ".join(f"mask.{key}" for key in config.mask.model_dump(exclude_defaults=True))
            raise ConfigError(
                f"a world model hides nothing: leave out mask.* (here {own}), or set mask={{}} if a recipe has it."
            )


def refuse(text: str, fits: dict[str, bool]) -> None:
    """Raise ConfigError with the settings that do not fit, if there are any."""
    misfits = [setting for setting, holds in fits.items() if not holds]
    if misfits:
        raise ConfigError(f"{text} {', '.join(misfits)}.")


def numbered(channels: Sequence[int | str], names: Sequence[str]) -> tuple[int, ...]:
    """Return channels by their numbers, those that are named by their place among `names`; none may stand twice.

    Examples
    --------
    >>> numbered(["valve", 0], ["flow", "valve"])
    (1, 0)
    """
    unknown = [channel for channel in channels if isinstance(channel, str) and channel not in names]
    if unknown and not names:
        raise ConfigError(f"world.inputs names {unknown[0]!r}, but these data have no channel names: give its number.")
    if unknown:
        raise ConfigError(f"world.inputs names {unknown[0]!r}, which is no channel{did_you_mean(unknown[0], names)}")
    found = tuple(names.index(channel) if isinstance(channel, str) else channel for channel in channels)
    for at, channel in enumerate(channels):
        if found[at] in found[:at]:
            raise ConfigError(f"world.inputs holds channel {channel!r} twice: give each input once.")
    return found
