"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import tsjepa
import tsjepa.adapters
import tsjepa.cli
import tsjepa.datasets
import tsjepa.evaluation

OPTIONS = doctest.ELLIPSIS
# walk_packages would import what it lists; the subpackages from elsewhere in the tree are walked on their own
MODULES = sorted(
    {
        f"{package.__name__}.{found.name}"
        for package in (tsjepa, tsjepa.adapters, tsjepa.datasets, tsjepa.evaluation, tsjepa.cli)
        for found in pkgutil.iter_modules(package.__path__)
    }
    | {"tsjepa", "tsjepa.adapters", "tsjepa.datasets", "tsjepa.evaluation", "tsjepa.cli"}
)
WITH_EXAMPLES = (
    *("adapters.aeon", "adapters.sktime", "containers"),
    *("arrays", "build", "config", "encoder", "layers", "masking", "objective", "regularizers", "targets"),
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0
    if name.removeprefix("tsjepa.") in WITH_EXAMPLES:
        assert result.attempted > 0


def test_modules_are_found() -> None:
    assert {"tsjepa.masking", "tsjepa.training", "tsjepa.datasets.ts"} <= set(MODULES)
