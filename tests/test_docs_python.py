"""docs/python.md names what the package offers, no more and no less, and its program runs."""

import builtins
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import tsjepa

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w.]+)`", "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")))
# modules are named, too
CALLABLE = [name for name in NAMED if name.rpartition(".")[2][:1].isupper() or name.rpartition(".")[0] != "tsjepa"]


def test_all_public_names_are_in_the_tables() -> None:
    assert sorted(name for name in NAMED if "." not in name) == sorted(set(tsjepa.__all__) - {"__version__"})


def public(name: str) -> Any:
    module, _, member = name.rpartition(".")
    return getattr(import_module(module or "tsjepa"), member)


def docstrings(found: Any) -> Iterator[str]:
    members = vars(found).values() if inspect.isclass(found) else ()
    for each in (found, *(member for member in members if not getattr(member, "__name__", "_").startswith("_"))):
        yield inspect.getdoc(each) or ""


@pytest.mark.parametrize("name", CALLABLE)
def test_every_error_that_a_docstring_names_is_in_the_tables(name: str) -> None:
    sections = [text for doc in docstrings(public(name)) for text in re.findall(r"^Raises\n-+\n(.*)", doc, re.M | re.S)]
    raised = {word for text in sections for line in re.findall(r"^[\w, ]+$", text, re.M) for word in line.split(", ")}
    own = {error for error in raised if error.endswith("Error") and not hasattr(builtins, error)}
    assert own <= {each.rpartition(".")[2] for each in NAMED}


@pytest.mark.parametrize("name", CALLABLE)
def test_every_parameter_is_documented(name: str) -> None:
    found = public(name)
    if inspect.isclass(found) and issubclass(found, BaseException):
        return
    text = inspect.getdoc(found) or ""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [key for key, each in inspect.signature(found).parameters.items() if each.kind not in several]
    missing = [key for key in named if not re.search(rf"^(\w+, )*{key}(, \w+)*( :|$)", text, re.MULTILINE)]
    assert not missing or re.search(r"See `\w+` for|The keys are those of docs/settings\.md", text), missing


@pytest.mark.parametrize("name", ["fit", "save_checkpoint", "Header", "Options", "Mask"])
def test_there_is_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(public(name)) or "")


@pytest.mark.parametrize("name", [name for name in NAMED if "." in name])
def test_what_stands_in_modules_is_there(name: str) -> None:
    module, _, member = name.rpartition(".")
    assert import_module(name) if module == "tsjepa" else hasattr(import_module(module), member)


def test_whoever_imports_the_package_has_what_stands_in_modules() -> None:
    names = [name for name in NAMED if "." in name]
    modules = {name.split(".")[1] for name in names}
    program = f"import tsjepa; assert {modules} <= set(dir(tsjepa)); print(len([eval(name) for name in {names}]))"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(len(names))], done.stderr


def test_the_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    program, frozen = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert program.count("(0, 20)") == frozen.count("max_epochs=20") == 1
    names: dict[str, object] = {"__name__": "program"}
    exec(compile(program.replace("(0, 20)", "(0, 1)"), "docs/python.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["0", "1"]
    assert len(names["Z"]) == 40  # type: ignore[arg-type]
    exec(compile(frozen.replace("max_epochs=20", "max_epochs=1"), "docs/python.md", "exec"), names)
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0.5  # of four classes
