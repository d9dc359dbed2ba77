"""What errors of a configuration say: in which file, and what is near a key or a recipe that does not exist."""

from pathlib import Path

import pytest

from tsjepa.config import ConfigError, load_config, parse_config
from tsjepa.evaluation.benchmark_suites import load_suite


def message(values: dict[str, object], *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(values, overrides)
    return str(caught.value)


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
    key = override.partition("=")[0].partition(".")[0]
    assert message({"tokenizer": {"n_patches": 10}}, override) == f"unknown key {key}: did you mean {near}?"


@pytest.mark.parametrize(
    ("override", "ways"),
    [
        ("probe.levels=-1", "'all', 'blocks' or 'last' or greater than or equal to 0, but got -1"),
        ("probe.levels=some", "'all', 'blocks' or 'last' or a valid integer, but got 'some'"),
        ("log.window=1.5", "a valid integer or a time such as 10s, but got 1.5"),
        ("log.stride=0", "greater than or equal to 1 or a time such as 10s, but got 0"),
        ("log.max_gap=[1]", "a valid number or a time such as 10s, but got [1]"),
        ("world.inputs=[-1]", "greater than or equal to 0 or a name, but got -1"),
        ("mask.ratio=7", "less than 1, but got 7"),
    ],
)
def test_all_that_a_key_may_be_is_told(override: str, ways: str) -> None:
    where = override.partition("=")[0] + (".0" if override.startswith("world") else "")
    assert message({"tokenizer": {"n_patches": 10}}, override) == f"{where}: input should be {ways}."


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


def test_a_checkpoint_is_no_recipe() -> None:
    with pytest.raises(ConfigError, match=r"^'run/best.ckpt' is a checkpoint and no recipe: .*TSJEPAEmbedder.load"):
        load_config("run/best.ckpt")


def test_a_file_that_cannot_be_read_is_named_once_and_a_recipe_is_offered_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").mkdir()
    for load, what, hint in (
        (load_config, "configuration tiny.yaml", "; the recipe is called tiny"),
        (load_config, "configuration none.yaml", "; check the path"),
        (load_suite, "suite ford.yaml", "; the suite is called ford"),
        (load_suite, "suite none.yaml", "; check the path"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(what.partition(" ")[2])
        assert str(caught.value) == f"cannot read the {what}: No such file or directory{hint}."
        with pytest.raises(ConfigError) as caught:
            load(str(tmp_path / "own.yaml"))
        assert (
            str(caught.value)
            == f"cannot read the {what.partition(' ')[0]} {tmp_path / 'own.yaml'}: Is a directory; check the path."
        )


def test_of_many_names_with_one_beginning_the_nearest_are_offered() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'ts-jepa': did you mean [^ ]+ or [^ ]+ or [^ ]+\?"):
        load_config("ts-jepa")


def test_what_does_not_fit_in_a_file_is_told_with_its_name_and_an_override_without(tmp_path: Path) -> None:
    def written(text: str) -> Path:
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "mine.yaml"

    def said(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(written(text), overrides)
        return str(caught.value)

    name, good = str(tmp_path / "mine.yaml"), "tokenizer: {n_patches: 5}\n"
    for text in ("mask: {ratio: 7}", "mask: {ratoi: 0.5}", "encoder: {dim: 63}", "mask: 3"):
        assert said(good + text).startswith(f"{name}: ")
        assert said(good + text, "train.epochs=3") == said(good + text)
    assert said("mask: {ratio: 0.5}") == f"{name}: {message({})}"
    for override in ("mask.ratio=7", "mask.ratoi=0.5", "encoder.dim=63", "mask.ratio"):
        assert said(good, override) == message({"tokenizer": {"n_patches": 5}}, override)
        assert "mine.yaml" not in said(good + "mask: {ratio: 9}", override)  # which is told first
    assert load_config(written("mask: {ratio: 7}"), ["tokenizer.n_patches=5", "mask.ratio=0.5"])
