"""Suites of data sets: a YAML mapping with the one key `data`, a list of names or paths."""

from importlib.resources import files
from typing import Any

from tsjepa.config import ConfigError, did_you_mean, parse_yaml, read_text

FOLDER = "suites"


def suite_names() -> list[str]:
    """Return the names of the suites that come with the package.

    Examples
    --------
    >>> "ucr-112" in suite_names()
    True
    """
    found = files("tsjepa.configs").joinpath(FOLDER).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in found if file.name.endswith(".yaml"))


def load_suite(source: str) -> tuple[str, ...]:
    """Read a suite by name, or from a YAML file.

    Parameters
    ----------
    source : str
        A name of `suite_names`, or a path that ends in .yaml or .yml.

    Returns
    -------
    tuple of str
        Names or paths of data sets, in the order of the file.

    Raises
    ------
    ConfigError
        If there is no such suite or file, it is no mapping with the one key `data`, or the key stands twice.

    Examples
    --------
    >>> load_suite("ford")
    ('FordA', 'FordB')
    """
    if source.endswith((".yaml", ".yml")):
        text = read_text(source, "suite", "suite", suite_names())
    elif source in suite_names():
        text = files("tsjepa.configs").joinpath(FOLDER, f"{source}.yaml").read_text(encoding="utf-8")
    else:
        hint = did_you_mean(source, suite_names())
        raise ConfigError(f"there is no suite {source!r}{hint} A file must end in .yaml.")
    return parse_suite(parse_yaml(text, f"the suite {source}"), source)


def parse_suite(values: Any, source: str) -> tuple[str, ...]:
    """Return the data sets of a suite's content; see `load_suite`.

    Examples
    --------
    >>> parse_suite({"dta": ["FordA"]}, "mine.yaml")
    Traceback (most recent call last):
    tsjepa.config.ConfigError: the suite mine.yaml has the unknown key dta: did you mean data?
    """
    if not isinstance(values, dict):
        raise ConfigError(f"the suite {source} must be a mapping with the key data, but is {type(values).__name__}.")
    unknown = [str(key) for key in values if key != "data"]
    if unknown:
        raise ConfigError(f"the suite {source} has the unknown key {unknown[0]}{did_you_mean(unknown[0], ['data'])}")
    names = values.get("data")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigError(f"the suite {source} needs a list of names or paths under data, numbers in quotes.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"the suite {source} names {twice[0]} twice.")
    return tuple(names)
