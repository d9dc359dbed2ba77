"""The embedder as estimators of other libraries, in modules that load on first use, since these libraries are heavy."""

from importlib import import_module
from typing import Any

_MODULES = ("aeon", "arrow", "sktime")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(_MODULES)
