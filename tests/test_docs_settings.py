"""The page of settings names every key of a configuration with its default, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tsjepa import direction
from tsjepa.config import Config, ConfigError
from tsjepa.sections import MaskConfig, Section

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"


def keys(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_what_causal_encoders_and_world_models_need_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    page, needs = DOCS.read_text(encoding="utf-8"), {}
    monkeypatch.setattr(direction, "refuse", lambda text, fits: needs.update({text: set(fits)}))
    config = Config(tokenizer={"n_patches": 10}, encoder={"causal": True}, world={"horizons": [1]})
    direction.check_direction(config)
    assert len(needs) == 2
    for key, (text, settings) in zip(("encoder.causal", "world.horizons"), needs.items(), strict=True):
        assert key in text
        row_or_list = rf"^\| `{key}` \|.*needs.*$|^With `{key}`[^\n]*\n\n(?:[- ] .*\n)+"
        (said,) = re.findall(row_or_list, page, re.MULTILINE)
        assert {f"`{setting.partition('=')[0]}`" for setting in settings} <= set(re.findall(r"`[\w.]+`", said))
    with pytest.raises(ConfigError, match="hides nothing"):
        direction.check_direction(config.model_copy(update={"mask": MaskConfig(ratio=0.5)}))
    assert "each key of `mask` is at its default" in said


def test_every_setting_is_on_the_page_with_its_default() -> None:
    config = Config.model_construct(tokenizer=Config.model_fields["tokenizer"].annotation.model_construct())
    assert isinstance(config, Section)
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([^`]+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    there = {key: value if key == "train.precision" else yaml.safe_load(value) for key, value in rows}
    assert len(there) == len(rows)
    assert there == dict(keys(config.model_dump(mode="json")))
