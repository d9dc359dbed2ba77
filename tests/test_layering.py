"""Who imports whom, read off the syntax trees; what an import costs; what is packaged, documented and short."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tsjepa

ROOT = Path(tsjepa.__file__).parents[1]
PLACES = {"tsjepa": ROOT / "tsjepa", "tsjepa.cli": ROOT / "cli", "tsjepa.datasets": ROOT / "datasets"}
NOT_IN_CORE = ("tsjepa.datasets", "tsjepa.cli", "aeon", "sktime", "pandas", "polars", "pyarrow", "typer", "rich")
# The command as `python -m tsjepa`, which has to stand here: it alone imports the command line, and nothing imports it
ENTRY_POINT = "tsjepa.__main__"
# what else these may import, besides what every file of the core may
ALLOWED = {
    "tsjepa.column_guesses": ("pandas",),
    "tsjepa.columns": ("pandas",),
    "tsjepa.containers": ("pandas", "polars", "sktime"),
    "tsjepa.evaluation": ("aeon", "tsjepa.datasets"),
    "tsjepa.adapters.aeon": ("aeon",),
    "tsjepa.adapters.aeon_anomalies": ("aeon",),
    "tsjepa.adapters.arrow": ("pyarrow",),
    "tsjepa.adapters.sktime": ("sktime", "pandas"),
}
# a file imports from files further left only
ORDER = (
    "arrays",
    "column_names",
    "column_guesses",
    "columns",
    "containers",
    "layers",
    "tokenizers",
    "encoder",
    "predictor",
    "objective",
    "build",
    "training",
    "embedder",
)
TORCH_AND_NUMPY_ONLY = ("masking", "targets", "regularizers", "diagnostics", "ranks")


def paths() -> dict[str, Path]:
    """Return the source files by the names that they are imported under."""
    found = {}
    for package, folder in PLACES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


FILES = paths()
BESIDE = {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


class Import(NamedTuple):
    target: str
    line: int


def imports(name: str) -> Iterator[Import]:
    """Yield everything that a file imports, wherever in it; `from a import b` may mean a.b."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} is a relative import"
            for alias in node.names:
                joined = f"{node.module}.{alias.name}"
                yield Import(joined if joined in FILES else str(node.module), node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            # a name put together at run time is not seen; the test of what an import loads sees it
            yield from (Import(str(a.value), node.lineno) for a in node.args[:1] if isinstance(a, ast.Constant))


def inside(target: str, packages: tuple[str, ...]) -> bool:
    return any(target == package or target.startswith(f"{package}.") for package in packages)


def core(name: str) -> bool:
    return not inside(name, ("tsjepa.cli", "tsjepa.datasets"))


every_file = pytest.mark.parametrize("name", FILES)


def test_the_files_are_found() -> None:
    assert {"tsjepa", "tsjepa.encoder", "tsjepa.training", "tsjepa.datasets.loading", "tsjepa.cli"} <= set(FILES)
    assert {"tests/conftest.py", "tests/test_layering.py", "benchmarks/measure.py"} <= set(BESIDE)
    assert "torch" in {found.target for found in imports("tsjepa.encoder")}
    assert "lightning.pytorch" in {found.target for found in imports("tsjepa.training")}


@every_file
def test_imports_follow_the_design(name: str) -> None:
    if name == ENTRY_POINT:
        assert [found.target for found in imports(name)] == ["tsjepa.cli.main"]
        return
    forbidden: tuple[str, ...] = ("tsjepa.cli", ENTRY_POINT) if not inside(name, ("tsjepa.cli",)) else ()
    if core(name):
        extra = next((value for key, value in ALLOWED.items() if inside(name, (key,))), ())
        forbidden += tuple(package for package in NOT_IN_CORE if package not in extra)
        if not inside(name, ("tsjepa.evaluation",)):
            forbidden += ("tsjepa.evaluation",)
    if name not in ("tsjepa.training", "tsjepa.trainer", "tsjepa.callbacks"):
        forbidden += ("lightning", "pytorch_lightning")
    if name != "tsjepa.cli.render":
        forbidden += ("rich",)
    bad = [found for found in imports(name) if inside(found.target, forbidden)]
    assert not bad, f"{name} must not import {bad}"


@pytest.mark.parametrize("name", [name for name in FILES if inside(name, ("tsjepa.datasets",))])
def test_datasets_import_arrays_containers_and_names_only(name: str) -> None:
    own = [found for found in imports(name) if inside(found.target, ("tsjepa",))]
    allowed = ("tsjepa.datasets", "tsjepa.arrays", "tsjepa.column_names", "tsjepa.containers")
    bad = [found for found in own if not inside(found.target, allowed)]
    assert not bad, f"{name} must not import {bad}"


@pytest.mark.parametrize("name", [f"tsjepa.{part}" for part in TORCH_AND_NUMPY_ONLY if f"tsjepa.{part}" in FILES])
def test_mathematics_import_torch_and_numpy_only(name: str) -> None:
    # what sums over ranks and waves is torch only, too, but for loops that are imported as they run
    allowed = ("torch", "numpy", "tsjepa.ranks", "tsjepa.waves", *sys.stdlib_module_names)
    bad = [found for found in imports(name) if not inside(found.target, allowed)]
    assert not bad, f"{name} must not import {bad}"


def test_the_core_is_in_layers() -> None:
    for place, name in enumerate(ORDER):
        later = tuple(f"tsjepa.{other}" for other in ORDER[place + 1 :])
        bad = [found for found in imports(f"tsjepa.{name}") if inside(found.target, later)]
        assert not bad, f"tsjepa.{name} must not import {bad}"


def test_no_import_goes_in_a_circle() -> None:
    left = {name: {f.target for f in imports(name) if f.target in FILES and f.target != name} for name in FILES}
    left["tsjepa"] = set()  # the public names are imported on demand
    while free := [name for name, needs in left.items() if not needs & set(left)]:
        for name in free:
            del left[name]
    assert not left


def run(program: str, folder: Path = ROOT) -> str:
    # without -P, as a user in a clone would
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = ("lightning", "pytorch_lightning", "torchmetrics", "aeon", "sktime", "pandas", "polars", "pyarrow", "sklearn")


@pytest.mark.parametrize(
    ("module", "heavy"), [("tsjepa", (*HEAVY, "typer", "rich")), ("tsjepa.cli.main", (*HEAVY, "torch", "numpy"))]
)
def test_what_answers_at_once_imports_nothing_heavy(module: str, heavy: tuple[str, ...]) -> None:
    assert run(f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_the_subpackages_are_there_from_the_root_of_a_clone() -> None:
    program = "import tsjepa.cli, tsjepa.datasets, tsjepa.configs as c; print(c.__name__, c.__file__)"
    name, file = run(program).split()
    assert name == "tsjepa.configs"
    assert Path(file).resolve() == ROOT / "configs" / "__init__.py"


def test_packages_are_the_folders_on_disk() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    places = PLACES | {"tsjepa.configs": ROOT / "configs"}
    on_disk = {
        ".".join([package, *path.parent.relative_to(folder).parts])
        for package, folder in places.items()
        for path in folder.rglob("__init__.py")
    }
    assert sorted(settings["packages"]) == sorted(on_disk)
    assert {name: (ROOT / folder).resolve() for name, folder in settings["package-dir"].items()} == places
    for package, folder in places.items():
        for inner in (path for path in folder.rglob("*.py")):
            assert (inner.parent / "__init__.py").exists(), f"{inner} is in no package of {package}"


@every_file
def test_what_is_public_is_documented(name: str) -> None:
    tree, kinds = TREES[name], (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert ast.get_docstring(tree), name
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    members = [
        node
        for owner in public
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
        if isinstance(node, kinds) and not node.name.startswith("_")
    ]
    bare = [f"{node.name} (line {node.lineno})" for node in (*public, *members) if not ast.get_docstring(node)]
    assert not bare


def test_compiled_loops_call_loops_of_their_own_file_only() -> None:
    # what is kept on disk of a loop is not made anew when a loop changes that it calls in another file
    for name, tree in TREES.items():
        foreign = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tsjepa")
            for alias in node.names
        }
        loops = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and compiled_by_numba(node)]
        bodies = [statement for loop in loops for statement in loop.body]
        called = {call.func.id for body in bodies for call in ast.walk(body) if called_by_name(call)}
        assert not called & foreign, name
    assert any(compiled_by_numba(node) for node in ast.walk(TREES["tsjepa.filter_kernels"]))


def compiled_by_numba(node: ast.AST) -> bool:
    calls = [made.func for made in getattr(node, "decorator_list", []) if isinstance(made, ast.Call)]
    return any(isinstance(call, ast.Name) and call.id == "compiled" for call in calls)


def called_by_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("name", [*FILES, *BESIDE])
def test_files_stay_short(name: str) -> None:
    assert len((FILES | BESIDE)[name].read_text(encoding="utf-8").splitlines()) <= 400
