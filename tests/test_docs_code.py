"""The page on the code names every file, in the section of its package, and none that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/code.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.+?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
LOGS = {path.stem.removeprefix("log_") for path in (ROOT / "datasets").glob("log_*.py")}
# backticked words that are no files
OTHERS = {"default", "load"}


def files(*folders: str) -> set[str]:
    """Return the names of the source files of some folders."""
    return {path.stem for folder in folders for path in (ROOT / folder).glob("*.py") if path.stem[:2] != "__"}


WANTED = {
    "A log": LOGS,
    "Series with one in a row": {name for name in files("datasets") - {"logs"} if not name.startswith("log_")},
    "A command": files("cli"),
    "Evaluations": files("tsjepa/evaluation"),
}
CORE = [title for title in SECTIONS if title not in WANTED]


@pytest.mark.parametrize("titles", [[title] for title in WANTED] + [CORE], ids=lambda titles: titles[0])
def test_every_file_is_on_the_page_once(titles: list[str]) -> None:
    named = [
        name
        for title in titles
        for name in re.findall(r"`([a-z][a-z_0-9]*[a-z0-9])`", SECTIONS[title])
        if name not in OTHERS
    ]
    wanted = WANTED.get(titles[0], files("tsjepa", "tsjepa/adapters"))
    assert wanted - set(named) == set(), "not named"
    assert set(named) - wanted == set(), "not there"
    assert len(named) == len(set(named)), "named twice"
