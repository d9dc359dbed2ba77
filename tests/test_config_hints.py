"""What the error of a key that a configuration does not have offers instead."""

import pytest

from tsjepa.config import ConfigError, parse_config


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
