"""The configuration of a run: sections whose YAML keys are argument names; an unknown key is an error."""

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from tsjepa.sections import (
    EncoderConfig,
    LogConfig,
    LossConfig,
    MaskConfig,
    PredictorConfig,
    ProbeConfig,
    ProjectorConfig,
    RegularizerConfig,
    Section,
    TargetConfig,
    TokenizerConfig,
    TrainConfig,
    WorldConfig,
)

# words that a hint names at most, where there may be many
NAMED = 3


class ConfigError(ValueError):
    """A configuration that cannot be used, said in one sentence."""


class Config(Section):
    """Everything that a run depends on but the data themselves.

    The keys are those of docs/settings.md, which says what each means; a section may be given as a dict.

    Raises
    ------
    ConfigError
        If a key is unknown (the nearest known one is offered) or a value does not fit.

    Examples
    --------
    >>> config = Config(tokenizer={"n_patches": 10})
    >>> config.mask.ratio
    0.7
    """

    data: str | None = None
    log: LogConfig = LogConfig()
    normalize: Literal["instance", "train", "none"] = "instance"
    tokenizer: TokenizerConfig
    encoder: EncoderConfig = EncoderConfig()
    predictor: PredictorConfig = PredictorConfig()
    mask: MaskConfig = MaskConfig()
    world: WorldConfig = WorldConfig()
    target: TargetConfig = TargetConfig()
    regularizer: RegularizerConfig = RegularizerConfig()
    projector: ProjectorConfig = ProjectorConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    probe: ProbeConfig = ProbeConfig()

    def __init__(self, /, **values: Any) -> None:  # a key may be called self
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(explain(error)) from error

    @model_validator(mode="after")
    def _levels_exist(self) -> "Config":
        for level in self.target.levels:
            if not -self.encoder.depth - 1 <= level <= self.encoder.depth:
                raise ValueError(f"target.levels names level {level}, but the last level is {self.encoder.depth}")
        if isinstance(self.probe.levels, int) and self.probe.levels > self.encoder.depth:
            raise ValueError(f"probe.levels is {self.probe.levels}, but the last level is {self.encoder.depth}")
        if self.probe.levels == "blocks" and not self.encoder.depth:
            raise ValueError("probe.levels is blocks, but encoder.depth is 0")
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> "Config":
        for name, part in (("encoder", self.encoder), ("predictor", self.predictor)):
            if part.dim % part.heads:
                raise ValueError(f"{name}.dim must be divisible by {name}.heads, but {part.dim} is not by {part.heads}")
        return self


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, which also refuses a key that stands twice, and tells what is no value of its type."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping whose keys, as they are written, are all different; a merge may bring one of them again."""
        node = super().compose_mapping_node(anchor)
        keys = [(key.tag, str(key.value)) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                line = node.value[i][0].start_mark.line + 1
                raise ConfigError(f"the key {key[1]!r} stands twice, the second time in line {line}")
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; a word that looks like a date and is none is an error of Python's own in the loader."""
        try:
            return super().construct_object(node, deep)
        except ConfigError:  # of a value in this one
            raise
        except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
            word, kind = str(node.value)[:40], node.tag.rpartition(":")[2]
            line = node.start_mark.line + 1
            raise ConfigError(f"{word!r} in line {line} reads as {kind}, but is none: put it in quotes") from error


def _plain(text: str) -> Any:
    """Return the plain values of a YAML text."""
    try:
        return yaml.load(text, _StrictLoader)
    except RecursionError as error:
        raise ConfigError("it is nested too deeply") from error


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package.

    Examples
    --------
    >>> "ts-jepa-paper" in recipe_names()
    True
    """
    return sorted(f.name.removesuffix(".yaml") for f in files("tsjepa.configs").iterdir() if f.name.endswith(".yaml"))


def recipe_descriptions() -> dict[str, str]:
    """Return what the recipes say of themselves: the comment at the head of each, up to its command.

    Examples
    --------
    >>> recipe_descriptions()["tiny"]
    'A small model for tests and first steps.'
    """
    found = {}
    for name in recipe_names():
        text = files("tsjepa.configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        head = takewhile(lambda line: line.startswith("# ") and not line.startswith("# tsjepa "), text.splitlines())
        found[name] = " ".join(line.removeprefix("# ") for line in head)
    return found


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe by name, or a YAML file, and apply `key.path=value` overrides.

    Parameters
    ----------
    source : str or Path
        A name of `recipe_names`, or a path that ends in .yaml or .yml.
    overrides : sequence of str
        For example ``["train.lr=1e-4", "mask.kind=block"]``.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        If there is no such recipe or file, it is no YAML mapping, or a key or value does not fit.

    Examples
    --------
    >>> load_config("ts-jepa-paper", ["mask.ratio=0.5"]).mask.ratio
    0.5
    """
    name = str(source)
    if name.endswith((".yaml", ".yml")):
        text = read_text(name, "configuration", "recipe", recipe_names())
    elif name in recipe_names():
        text = files("tsjepa.configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    elif name.endswith(".ckpt"):
        where = "its settings are in config.yaml beside it, and TSJEPAEmbedder.load reads it in Python"
        raise ConfigError(f"{name!r} is a checkpoint and no recipe: {where}.")
    else:
        raise ConfigError(f"there is no recipe {name!r}{did_you_mean(name, recipe_names())} A file must end in .yaml.")
    values = parse_yaml(text, name)
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must be a mapping of sections, but holds {type(values).__name__}.")
    try:
        return parse_config(values, overrides)
    except ConfigError as error:
        if str(error) != _fault(values):  # an override's
            raise
        raise ConfigError(f"{name}: {error}") from error


def read_text(path: str, what: str, own: str, names: Sequence[str]) -> str:
    """Return the text of a file that the user named, called `what`; one of the package is `own`, and has no ending.

    Raises
    ------
    ConfigError
        If it cannot be read, or is not UTF-8.

    Examples
    --------
    >>> read_text("ford.yaml", "suite", "suite", ["ford", "bearings"])
    Traceback (most recent call last):
    tsjepa.config.ConfigError: cannot read the suite ford.yaml: No such file or directory; the suite is called ford.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        stem = Path(path).stem
        hint = f"; the {own} is called {stem}" if stem in names else "; check the path"
        raise ConfigError(f"cannot read the {what} {path}: {error.strerror or error}{hint}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read the {what} {path}: {error}.") from error


def _fault(values: dict[str, Any]) -> str | None:
    """Return what is wrong with plain values without any override, None if nothing is."""
    try:
        parse_config(values)
    except ConfigError as error:
        return str(error)
    return None


def parse_yaml(text: str, name: str) -> Any:
    r"""Return the plain values of a YAML text, which the message calls `name`.

    Raises
    ------
    ConfigError
        If it is no YAML, a key stands twice in one mapping, or a value is none of its type.

    Examples
    --------
    >>> parse_yaml("data: [FordA]\ndata: [FordB]", "mine.yaml")
    Traceback (most recent call last):
    tsjepa.config.ConfigError: mine.yaml is not usable YAML: the key 'data' stands twice, the second time in line 2.
    """
    try:
        return _plain(text)
    except (yaml.YAMLError, ConfigError) as error:
        raise ConfigError(f"{name} is not usable YAML: {' '.join(str(error).split())}.") from error


def parse_config(values: dict[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Build a Config from plain values; see `load_config`.

    Raises
    ------
    ConfigError
        If a key is unknown (the nearest known one is offered) or a value does not fit.

    Examples
    --------
    >>> parse_config({"tokenizer": {"n_patches": 10}, "mask": {"ratoi": 0.5}})
    Traceback (most recent call last):
    tsjepa.config.ConfigError: unknown key mask.ratoi: did you mean mask.ratio?
    """
    for override in overrides:
        values = apply_override(values, override)
    return Config(**{str(key): value for key, value in values.items()})


def apply_override(values: dict[str, Any], override: str) -> dict[str, Any]:
    """Return a copy of nested `values` in which ``a.b=c`` is set."""
    path, equals, text = override.partition("=")
    if not equals or not all(path.split(".")):
        raise ConfigError(f"an override is written key.path=value, but got {override!r}.")
    *parents, key = path.split(".")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes of a file name that the system let through
        raise ConfigError(
            f"the value of {path}, {text}, is not UTF-8, so that it cannot be stored: give the file another name."
        ) from error
    try:
        value = _plain(text)
    except (yaml.YAMLError, ConfigError) as error:
        because = f": {error}" if isinstance(error, ConfigError) else ""
        raise ConfigError(f"the value of {override!r} is not YAML{because}.") from error
    result = inner = dict(values)
    for parent in parents:
        child = inner.get(parent) or {}
        if not isinstance(child, dict):
            raise ConfigError(f"{override!r} takes {parent!r} for a section, but it is a single value.")
        inner[parent] = dict(child)
        inner = inner[parent]
    # the two sizes exclude each other: to set one on the command line replaces the other
    other = {"n_patches": "patch_length", "patch_length": "n_patches"}
    if parents == ["tokenizer"] and key in other and value is not None:
        inner.pop(other[key], None)
    inner[key] = value
    return result


def explain(error: ValidationError) -> str:
    """Say the first thing that is wrong with a configuration in one sentence."""
    # an unknown key may be why another one is missing, so it is told first
    order = {"extra_forbidden": 0, "missing": 2}
    first = min(error.errors(), key=lambda found: order.get(found["type"], 1))
    place = _place(first)
    if first["type"] == "extra_forbidden":
        inside = [] if place[1:] else keys_called(place[0])
        if inside:
            return f"unknown key {place[0]}: did you mean {' or '.join(inside)}?"
        known = known_keys(place[:-1])
        return f"unknown key {'.'.join(place)}{did_you_mean(place[-1], known, '.'.join([*place[:-1], '']))}"
    if first["type"] == "missing":
        return f"{'.'.join(place)} is missing: a file must hold every setting without a default; start from a recipe."
    where = ".".join(place)
    if first["type"] == "too_short":
        return f"{where} is empty: give at least one."
    if first["type"] == "model_type":
        return f"{where} is a section: set one of its keys, as in {where}.{known_keys(place)[0]}."
    if first["type"] == "tuple_type":
        given = first["input"]
        entries = re.split(r"[,\s]+", str(given).strip()) if isinstance(given, str | int | float) else [""]
        # what a list of these would be, unless one is empty or was begun
        shown = all(entries) and not any(mark in entry for entry in entries for mark in "[]{}'\"")
        example = f" such as [{', '.join(entries)}]" if shown else ""
        return f"{where} must be a list{example}, but got {given!r}."
    branches = [found for found in error.errors() if _place(found) == place]
    if len(branches) > 1:  # each of a union, none of which takes the value
        wanted = [re.split(", (?:got|unable) ", found["msg"])[0].removeprefix("Input should be ") for found in branches]
        text = "a time such as 10s" if place[0] == "log" else "a name"
        ways = " or ".join(text if way == "a valid string" else way for way in wanted)
        return f"{where}: input should be {ways}, but got {first['input']!r}."
    return f"{where + ': ' if where else ''}{fault(first)}."


def _place(found: Mapping[str, Any]) -> list[str]:
    """Return section, key and positions in a list: the rest names branches of pydantic's unions, not the user's."""
    return [str(part) for depth, part in enumerate(found["loc"]) if depth < 2 or isinstance(part, int)]


def fault(found: Mapping[str, Any]) -> str:
    """Say what is wrong with a value, in a part of a sentence."""
    message = found["msg"].removeprefix("Value error, ")
    got = "" if found["type"] == "value_error" else f", but got {found['input']!r}"
    return f"{message[0].lower()}{message[1:]}{got}"


def known_keys(section: Sequence[str]) -> list[str]:
    """Return the names of the keys of a section."""
    model: type[BaseModel] = Config
    for part in section:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def keys_called(name: str) -> list[str]:
    """Return the keys of this name in all sections, each with its section.

    Examples
    --------
    >>> keys_called("lr"), keys_called("depth")
    (['train.lr'], ['encoder.depth', 'predictor.depth'])
    """
    return [f"{section}.{name}" for section in Config.model_fields if name in known_keys([section])]


def did_you_mean(word: str, known: Sequence[str], prefix: str = "") -> str:
    """Return the end of a sentence, ': did you mean ...?' with the nearest known words, each after `prefix`, or all.

    Those that are the word and more are near, too, unless there are too many to name.

    Examples
    --------
    >>> did_you_mean("ratoi", ["kind", "ratio"], "mask."), did_you_mean("x", ["kind", "ratio"])
    (': did you mean mask.ratio?', ': known are kind, ratio.')
    >>> did_you_mean("ema", ["tiny", "ts-jepa-ema", "ts-jepa-paper"])
    ': did you mean ts-jepa-ema?'
    """
    longer = [key for key in known if word and (key.startswith(word) or key.endswith(f"-{word}"))]
    near = longer if 0 < len(longer) <= NAMED else difflib.get_close_matches(word, known, n=NAMED, cutoff=0.6)
    close = [prefix + key for key in near]
    known = [prefix + key for key in known]
    return f": did you mean {' or '.join(close)}?" if close else f": known are {', '.join(known)}."


def dump_config(config: Config) -> str:
    """Return the configuration as YAML that `load_config` reads back.

    Examples
    --------
    >>> print(dump_config(Config(tokenizer={"n_patches": 10})).splitlines()[0])
    data: null
    """
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
