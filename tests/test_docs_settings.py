"""The page of settings names every key of a configuration with its default, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tsjepa.config import Config
from tsjepa.sections import Section

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"


def keys(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_every_setting_is_on_the_page_with_its_default() -> None:
    config = Config.model_construct(tokenizer=Config.model_fields["tokenizer"].annotation.model_construct())
    assert isinstance(config, Section)
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([^`]+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    there = {key: value if key == "train.precision" else yaml.safe_load(value) for key, value in rows}
    assert len(there) == len(rows)
    assert there == dict(keys(config.model_dump(mode="json")))
