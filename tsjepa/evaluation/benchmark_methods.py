"""The methods of a benchmark: encoders from recipes and checkpoints, and what a user would otherwise pick."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tsjepa.build import configure
from tsjepa.checkpoint import CheckpointError, read_checkpoint, read_header, saw_labels
from tsjepa.config import Config, ConfigError, did_you_mean, recipe_names
from tsjepa.datasets.loading import at_hand
from tsjepa.datasets.lookup import data_folder
from tsjepa.stages import with_architecture

Kind = Literal["pretrained", "checkpoint", "random-init", "supervised", "raw", "catch22", "minirocket", "majority"]
UNTRAINED: tuple[Kind, ...] = ("random-init", "supervised")
PLAIN: tuple[Kind, ...] = ("raw", "catch22", "minirocket", "majority")
# In the path of checkpoints, of which each run has one of its own
PLACES = ("{data}", "{seed}")


class Method(NamedTuple):
    """A way to make features of series.

    Attributes
    ----------
    name : str
        What tables call it.
    kind : str
        "pretrained" trains a recipe without labels, "checkpoint" reads one trained so, "random-init" does not train and
        "supervised" trains the same architecture on the labels. "raw" are the values, "catch22" and "minirocket" are
        aeon's, and "majority" makes no features at all.
    config : Config, optional
        Of an encoder.
    checkpoint : Path, optional
        Of a trained one; None of a path with PLACES, for which `for_run` finds it.
    digest : str
        Of everything that the method depends on but data and seed, as it was when `find_method` found it.
    """

    name: str
    kind: Kind
    config: Config | None = None
    checkpoint: Path | None = None
    digest: str = ""

    @property
    def file(self) -> Path | None:
        """What each run reads anew, if anything: a checkpoint, or the teacher of what is pretrained."""
        if self.kind != "pretrained" or self.config is None or self.config.target.teacher is None:
            return self.checkpoint
        return Path(self.config.target.teacher)

    def digest_now(self) -> str:
        """Return the digest as it would be found now.

        Raises
        ------
        OSError
            If the file cannot be read.
        """
        free: Any = {"data": True, "train": {"seed"}}
        values = None if self.config is None else self.config.model_dump(mode="json", exclude=free)
        content = b"" if self.file is None else self.file.read_bytes()
        text = json.dumps([self.kind, values], sort_keys=True).encode()
        return hashlib.sha256(text + content).hexdigest()[:12]


def find_method(name: str, recipe: str | None = None, epochs: int | None = None) -> Method:
    """Return the method that a name means.

    Parameters
    ----------
    name : str
        "default", "random-init", "supervised", "raw", "catch22", "minirocket", "majority", the name of a recipe, a
        .yaml file of one, a checkpoint, or a path of checkpoints with PLACES in it.
    recipe : str, optional
        Recipe of the untrained encoders, `random-init` and `supervised`; by default the default recipe.
    epochs : int, optional
        Epochs of pretraining, where they are not the recipe's.

    Returns
    -------
    Method
        A recipe that names a teacher has the teacher's architecture, as `tsjepa pretrain` gives it.

    Raises
    ------
    ConfigError
        If the name means nothing, or a recipe cannot be used.
    CheckpointError
        If a file is no checkpoint, or a fine-tuned one.

    Examples
    --------
    >>> find_method("raw")
    Method(name='raw', kind='raw', config=None, checkpoint=None, digest='d1c0b1c4d886')
    >>> find_method("tiny", epochs=3).config.train.epochs
    3
    """
    method = meant_by(name, recipe, [] if epochs is None else [f"train.epochs={epochs}"])
    return method._replace(digest=method.digest_now())


def meant_by(name: str, recipe: str | None, changed: Sequence[str]) -> Method:
    """Return the method that a name means, still without its digest."""
    kind = kind_of(name)
    if kind in PLAIN:
        return Method(name, kind)
    if kind in UNTRAINED:
        return Method(name, kind, with_architecture(configure(recipe)))
    if kind == "pretrained":
        config = with_architecture(configure(name, None, changed))
        if config.target.teacher is not None:
            pretrained_config(Path(config.target.teacher), student=name)
        return Method(name, kind, config)
    if has_places(name):
        return Method(name, kind)
    path = Path(name)
    if path.suffix == ".ckpt" or path.exists():
        return Method(name, kind, pretrained_config(path), path)
    known = [*UNTRAINED, *PLAIN, *recipe_names()]
    raise ConfigError(f"there is no method {name!r}{did_you_mean(name, known)} A recipe's file ends in .yaml.")


def for_run(method: Method, data: str, seed: int, data_dir: Path | None = None) -> Method:
    """Return a method as a run has it: by the same name, with the checkpoint that its path names for data and seed.

    Parameters
    ----------
    method : Method
    data : str
        Name or path; `{data}` stands for the name that `tsjepa.datasets.load` gives.
    seed : int
        What `{seed}` stands for.
    data_dir : Path, optional

    Returns
    -------
    Method
        The same one where its name has no PLACES.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, it cannot be used, or it is a fine-tuned one.

    Examples
    --------
    >>> for_run(find_method("raw"), "GunPoint", 0) == find_method("raw")
    True
    """
    if not has_places(method.name):
        return method
    try:
        found = at_hand(data, data_folder(data_dir))
    except (OSError, ValueError):  # no data are there, as the run will say
        found = None
    path = Path(method.name.replace("{seed}", str(seed)).replace("{data}", data if found is None else found[0].name))
    own = method._replace(config=pretrained_config(path), checkpoint=path)
    return own._replace(digest=own.digest_now())


def has_places(name: str) -> bool:
    """Tell whether a name is the path of checkpoints of which each run has one of its own.

    Examples
    --------
    >>> has_places("own/{data}/checkpoint.ckpt"), has_places("own/{data}.yaml"), has_places("own/{x}.ckpt")
    (True, False, False)
    """
    return kind_of(name) == "checkpoint" and any(place in name for place in PLACES)


def kind_of(name: str) -> Kind:
    """Return the kind of method that a name means, of a file as its ending tells it.

    Examples
    --------
    >>> kind_of("raw"), kind_of("tiny"), kind_of("mine.yaml"), kind_of("runs/a.ckpt")
    ('raw', 'pretrained', 'pretrained', 'checkpoint')
    """
    for kind in (*UNTRAINED, *PLAIN):
        if name == kind:
            return kind
    return "pretrained" if name in recipe_names() or name.endswith((".yaml", ".yml")) else "checkpoint"


def pretrained_config(path: Path, student: str | None = None) -> Config:
    """Return the configuration in a checkpoint, and refuse one whose encoder has learnt from labels.

    Parameters
    ----------
    path : Path
    student : str, optional
        The recipe whose teacher it is.

    Raises
    ------
    CheckpointError
        If it is no usable checkpoint, or it or its teacher was fine-tuned.
    """
    content = read_checkpoint(path)
    config = read_header(content, path).config
    if not saw_labels(content):
        return config
    said = (
        f"the encoder of {path} has learnt from labels, since it or its teacher was fine-tuned, and a benchmark reads "
        "encoders that have seen none"
    )
    if student is not None:
        raise CheckpointError(f"{student} has a teacher that cannot be used here: {said}; name another teacher.")
    raise CheckpointError(f"{said}: give one that was pretrained alone; `tsjepa finetune` tells what tuning adds.")


def find_methods(names: tuple[str, ...], recipe: str | None = None, epochs: int | None = None) -> list[Method]:
    """Return the methods in the order of their names, each once, however its path was spelled; see `find_method`.

    A recipe that cannot be used is refused even where no method uses it.

    Examples
    --------
    >>> [method.name for method in find_methods(("raw", "majority", "raw"))]
    ['raw', 'majority']
    """
    if recipe is not None:
        configure(recipe)
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(method_identity(name), name)
    return [find_method(name, recipe, epochs) for name in found.values()]


def method_identity(name: str) -> str:
    """Return what all spellings of a method share: its name, or the file of a recipe or checkpoint.

    Examples
    --------
    >>> method_identity("raw"), method_identity("runs/a.ckpt") == method_identity("./runs/a.ckpt")
    ('raw', True)
    """
    return name if name in (*UNTRAINED, *PLAIN, *recipe_names()) else os.path.realpath(name)
