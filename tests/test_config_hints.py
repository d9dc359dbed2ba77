"""What the error of a key or a recipe that does not exist offers instead."""

import pytest

from tsjepa.config import ConfigError, load_config, parse_config


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("ratio=0.5", "mask.ratio"),
        ("lr=1e-4", "train.lr"),
        ("dim=8", "encoder.dim or predictor.dim"),
        ("ratio.low=1", "mask.ratio"),
    ],
)
def test_a_key_without_its_section_is_offered_with_it(override: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"tokenizer": {"n_patches": 10}}, [override])
    key = override.partition("=")[0].partition(".")[0]
    assert str(caught.value) == f"unknown key {key}: did you mean {near}?"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ema", "did you mean lewm-sensor-ema or ts-jepa-ema?"),
        ("paper", "did you mean ts-jepa-paper?"),
        ("noise", "did you mean noise-tolerant?"),
        ("", "known are default, "),
    ],
)
def test_a_recipe_is_offered_by_the_short_form_of_its_name(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    assert str(caught.value).startswith(f"there is no recipe {name!r}: {hint}")


def test_of_many_names_with_one_beginning_the_nearest_are_offered() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'ts-jepa': did you mean [^ ]+ or [^ ]+ or [^ ]+\?"):
        load_config("ts-jepa")
