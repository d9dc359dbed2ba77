"""Going on with a run: what its checkpoint tells of it, and what has to have stayed the same."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from tsjepa.arrays import counted
from tsjepa.checkpoint import OWN, CheckpointError, Header, model_state, read_header
from tsjepa.config import Config
from tsjepa.objective import JEPA
from tsjepa.own_parts import differing_weights, own_part
from tsjepa.training_error import TrainingError

# How long a run is to be; all else of a configuration has to stay
LENGTH = ("train.epochs", "train.max_steps")


def finished_epochs(content: dict[str, Any]) -> int:
    """Return how many epochs are finished in a checkpoint's content.

    Examples
    --------
    >>> finished_epochs({"epoch": 1})  # Lightning counts from 0
    2
    """
    return int(content["epoch"]) + 1


def check_resumable(content: dict[str, Any], path: str | Path) -> None:
    """Raise CheckpointError where a checkpoint's content is a model alone, or does not tell how far it is trained."""
    if "optimizer_states" not in content or "epoch" not in content:
        raise CheckpointError(f"{path} holds a model without its optimizer state, so training cannot go on from it.")
    if not all(isinstance(content.get(name), int) for name in ("epoch", "global_step")):
        raise CheckpointError(
            f"{path} is damaged: its epochs and steps are no numbers, so training cannot go on from it."
        )


def check_same_run(content: dict[str, Any], path: Path, header: Header, model: JEPA, epochs: int, steps: int) -> None:
    """Refuse to go on with another run than the one that a checkpoint is of.

    Parameters
    ----------
    content : dict
        What `read_checkpoint` read.
    path : Path
        Where from.
    header : Header
        Of the run that is to go on. Its settings have to be those of the checkpoint but for `LENGTH`, and so have the
        form of the series, their channels and their fingerprint, where both headers tell them.
    model : JEPA
        What takes the checkpoint's weights.
    epochs : int
        How many there are to be.
    steps : int
        How many steps the series make an epoch.

    Raises
    ------
    CheckpointError
        If the checkpoint is a model alone, or one of another architecture.
    TrainingError
        If settings or series differ, or more epochs are finished than there are to be.
    """
    check_resumable(content, path)
    own, finished = read_header(content, path), finished_epochs(content)
    if changed := changes(own.config, header.config, LENGTH):
        raise TrainingError(f"{path} is of a run with other settings: {changed[0]}.")
    if told := other_series(own, header):
        raise TrainingError(f"{path} is of a run on other series: {told}.")
    if content["global_step"] != finished * steps:
        raise TrainingError(
            f"{path} is of a run on other series: an epoch of these has {counted(steps, 'step')}, and "
            f"{counted(finished, 'epoch')} had {content['global_step']}."
        )
    if finished > epochs:
        raise TrainingError(f"{finished} epochs are finished in {path}, so it cannot go on to {epochs}.")
    if differing := differing_weights(model_state(content), model.state_dict()):
        raise CheckpointError(f"{path} is of another model, which differs in {differing[0]}.")
    part = own_part(model, header.config, header.n_channels)
    if content.get(OWN, part) != part:
        raise CheckpointError(f"{path} is of another model, which differs in {part or content[OWN]}.")


def other_series(old: Header, new: Header) -> str | None:
    """Say what tells the series of a header from those of another, None where nothing does.

    Examples
    --------
    >>> from tsjepa.build import configure
    >>> first = Header(configure("tiny"), None, 1, 60)
    >>> other_series(first, first._replace(n_timepoints=50))
    'they have 1 channel of 50 points, and had 1 of 60'
    """
    if (was := (old.n_channels, old.n_timepoints)) != (now := (new.n_channels, new.n_timepoints)):
        return f"they have {counted(now[0], 'channel')} of {counted(now[1], 'point')}, and had {was[0]} of {was[1]}"
    if None not in (old.channel_names, new.channel_names) and old.channel_names != new.channel_names:
        return f"their channels are {', '.join(new.channel_names or ())}, and were {', '.join(old.channel_names or ())}"
    before, after = old.fingerprint or {}, new.fingerprint or {}
    if any(before[key] != after[key] for key in before.keys() & after.keys()):
        return "their values or times are not the same"
    return None


def changes(old: Config, new: Config, free: Collection[str] = ()) -> list[str]:
    """Say which keys of a configuration would change, but for those that are free to.

    Examples
    --------
    >>> from tsjepa.build import configure
    >>> changes(configure("tiny"), configure("tiny", None, ["train.seed=7", "train.epochs=9"]), LENGTH)
    ['train.seed would change from 0 to 7']
    """
    before, after = flat(old), flat(new)
    return [
        f"{key} would change from {before[key]!r} to {after[key]!r}"
        for key in before
        if key not in free and before[key] != after[key]
    ]


def flat(config: Config) -> dict[str, Any]:
    """Return the values of a configuration by their full keys.

    Examples
    --------
    >>> from tsjepa.build import configure
    >>> flat(configure("tiny"))["train.max_steps"] is None
    True
    """
    values: dict[str, Any] = {}
    for name, value in config.model_dump(mode="json").items():
        inner = value.items() if isinstance(value, dict) else ()
        values.update({f"{name}.{key}": one for key, one in inner} if inner else {name: value})
    return values
