"""What of a model its configuration does not build: parts of one's own, of which a checkpoint stores weights only."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tsjepa.build import build_model
from tsjepa.config import Config
from tsjepa.objective import JEPA


def own_part(model: JEPA, config: Config, n_channels: int) -> str:
    """Return the first weight, else module, by name, that a configuration builds otherwise than a model has it, or "".

    Parts without weights are not looked at: loading a checkpoint restores those of its recipe.

    Raises
    ------
    ConfigError
        If the configuration builds no model.

    Examples
    --------
    >>> from tsjepa.build import configure, resolve
    >>> config = resolve(configure("tiny"), 60)
    >>> model = build_model(config, 1)
    >>> own_part(model, config, 1)
    ''
    >>> model.encoder.normalize = "none"
    >>> own_part(model, config, 1)
    'encoder'
    """
    with torch.device("meta"):
        built = build_model(config, n_channels)
    theirs, weights = dict(built.named_modules()), model.state_dict()
    parts = {name.partition(".")[0] for name in weights}
    differing = differing_weights(weights, built.state_dict()) or [
        name
        for name, module in model.named_modules()
        if name.partition(".")[0] in parts and (name not in theirs or is_other(module, theirs[name]))
    ]
    return differing[0] if differing else ""


def is_other(module: nn.Module, built: nn.Module) -> bool:
    """Return whether a module is of another class than a built one, or was told something else; it may have notes.

    Examples
    --------
    >>> mine, built = nn.Flatten(2), nn.Flatten(2)
    >>> mine.name = "mine"
    >>> is_other(mine, built), is_other(nn.Flatten(1), built)
    (False, True)
    """
    (kind, told), (wanted, asked) = kind_of(module), kind_of(built)
    return kind is not wanted or not asked.items() <= told.items()


def kind_of(module: nn.Module) -> tuple[type, dict[str, Any]]:
    """Return a module's class, and what it was told that no weight shows, such as its number of heads.

    Examples
    --------
    >>> kind_of(nn.Flatten(2))[1]
    {'start_dim': 2, 'end_dim': -1}
    """
    told = {name: value for name, value in vars(module).items() if name != "training" and not name.startswith("_")}
    return type(module), {name: value for name, value in told.items() if isinstance(value, bool | int | str | tuple)}


def differing_weights(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[str]:
    """Return the names of weights that only one of two models has, or that have another shape in each.

    Examples
    --------
    >>> one, two = torch.zeros(1), torch.zeros(2)
    >>> differing_weights({"a": one, "b": one, "c": one}, {"a": one, "b": two})
    ['b', 'c']
    """
    shapes = [{(name, tuple(value.shape)) for name, value in each.items()} for each in (some, others)]
    return sorted({name for name, _ in shapes[0] ^ shapes[1]})
