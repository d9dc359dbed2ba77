import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import tsjepa

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "tsjepa": "tsjepa",
    "tsjepa.adapters": "tsjepa/adapters",
    "tsjepa.evaluation": "tsjepa/evaluation",
    "tsjepa.cli": "cli",
    "tsjepa.datasets": "datasets",
    "tsjepa.configs": "configs",
    "tsjepa.configs.suites": "configs/suites",
}


BESIDE = ("tests", "docs", "benchmarks")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build wheel and source archive from a copy, so that nothing is left in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "constraints.txt"):
        shutil.copy(ROOT / name, source)
    for folder in (*FOLDERS.values(), *BESIDE, ".ci"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
    shutil.copytree(ROOT / "typings", source / "typings", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-P", "-m", "build", "--sdist", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (out / "said.txt").write_text(done.stdout + done.stderr)
    return out


def test_the_build_warns_of_no_package(built):
    assert "absent from the `packages` configuration" not in (built / "said.txt").read_text()


@pytest.fixture(scope="module")
def wheel(built):
    return next(built.glob("*.whl"))


def test_the_source_archive_holds_what_its_tests_and_its_readme_name(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = [path for folder in BESIDE for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md")]
    expected = {str(path.relative_to(ROOT)) for path in files}
    assert {"tests/conftest.py", "docs/collapse.md"} <= expected
    assert expected | {"constraints.txt", ".ci/run", "README.md"} <= names


def test_mypy_finds_the_packages_in_the_unpacked_source_archive(built, tmp_path):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    typings = unpacked / "typings" / "tsjepa"
    for folder in ("cli", "datasets", "configs"):
        sources = {path.relative_to(unpacked): path.read_bytes() for path in (unpacked / folder).rglob("*.py")}
        assert sources
        assert sources == {path.relative_to(typings): path.read_bytes() for path in (typings / folder).rglob("*.py")}
    # the others are found in the same way, and take minutes to be checked
    command = [sys.executable, "-P", "-m", "mypy", "--follow-imports=skip", "-p", "tsjepa.configs"]
    done = subprocess.run(command, cwd=unpacked, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_has_one_top_level_name_and_every_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"tsjepa"}
    expected = {"tsjepa/py.typed"}
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).iterdir():
            if path.suffix in (".py", ".yaml"):
                expected.add(f"{package.replace('.', '/')}/{path.name}")
    assert expected == set(names)


def test_the_wheel_works_without_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import tsjepa, tsjepa.cli, tsjepa.datasets, tsjepa.config as c; "
        f"assert tsjepa.__file__.startswith({str(tmp_path)!r}), tsjepa.__file__; print(*c.recipe_names())"
    )
    # -S -P leaves the editable install out; the dependencies come back by their path
    paths = os.pathsep.join([str(tmp_path), *(p for p in sys.path if p.endswith("site-packages"))])
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert "ts-jepa-paper" in done.stdout.split()


def test_the_folder_datasets_is_not_taken_for_another_package():
    done = subprocess.run([sys.executable, "-c", "import datasets"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "this folder is tsjepa.datasets" in done.stderr


def test_every_dependency_has_a_lower_bound_and_a_pin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    for extra, requirements in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        for requirement in requirements:
            assert ">=" in requirement, requirement
            # the tested set is pinned, and no test logs to Weights & Biases, which needs an account
            assert (name_of(requirement).lower() in pins) == (extra != "wandb"), requirement


def test_every_package_that_the_source_imports_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [listed for extra, listed in project["optional-dependencies"].items() if extra != "test"]
    declared = {name_of(requirement) for listed in (project["dependencies"], *extras) for requirement in listed}
    called_otherwise = {"scikit-learn": "sklearn", "PyYAML": "yaml"}
    imported = {name.partition(".")[0] for _, name in imports()}
    assert "sklearn" in imported
    assert imported - {"tsjepa", *sys.stdlib_module_names} <= {called_otherwise.get(name, name) for name in declared}


def test_nothing_private_is_imported():
    # another package may take it away without notice, and what imports it could not be imported any more
    assert not [(place, name) for place, name in imports() if re.search(r"(^|\.)_(?!_future__)", name)]


def name_of(requirement):
    return re.match(r"[\w-]+", requirement)[0]


def imports():
    """Yield where the source imports something, and its whole name."""
    for path in (path for folder in FOLDERS.values() for path in (ROOT / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                yield from ((f"{path.relative_to(ROOT)}:{node.lineno}", module + alias.name) for alias in node.names)


def test_the_version_stands_in_one_form():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == tsjepa.__version__


def test_the_public_names_exist_and_are_listed_alike():
    for name in tsjepa.__all__:
        assert getattr(tsjepa, name) is not None
    source = (ROOT / "tsjepa" / "__init__.py").read_text()
    block = source.split("if TYPE_CHECKING:")[1].split("__version__")[0]
    typed = {name.strip() for line in block.strip().splitlines() for name in line.split("import ")[1].split(",")}
    assert typed == set(tsjepa.__all__) - {"__version__"}
    assert set(tsjepa._HOME) == typed
    with pytest.raises(AttributeError, match="no attribute 'TSJEPAEmbeder'"):
        _ = tsjepa.TSJEPAEmbeder


def test_the_public_names_are_spelled_out_for_type_checkers():
    tree = ast.parse((ROOT / "tsjepa" / "__init__.py").read_text())
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ast.literal_eval(values["__all__"]) == tsjepa.__all__
