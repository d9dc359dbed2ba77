"""Configuration files: what fits is read as written, what does not is said in one sentence."""

import math
import re
from inspect import signature
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import tsjepa.config
from tsjepa.build import DEFAULT_RECIPE, OBJECTIVES, configure
from tsjepa.config import Config, ConfigError, apply_override, dump_config, load_config, parse_config, recipe_names
from tsjepa.masking import block_mask
from tsjepa.objective import JEPA
from tsjepa.regularizers import SIGReg, VICReg
from tsjepa.targets import EMATarget, Momentum, SelfTarget
from tsjepa.tokenizers import ConvStem

ROOT = Path(tsjepa.config.__file__).parents[1]
MINIMAL = {"tokenizer": {"n_patches": 10}}
CONFIG = Config.model_validate(MINIMAL)


def message(values: dict[str, object], *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(values, overrides)
    text = str(caught.value)
    assert "\n" not in text
    assert text[-1] in ".?"
    return text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("mask.ratoi=0.5", "unknown key mask.ratoi: did you mean mask.ratio?"),
        ("maks.ratio=0.5", "unknown key maks: did you mean mask?"),
        ("tokenizer.patch_lenght=5", "unknown key tokenizer.patch_lenght: did you mean tokenizer.patch_length?"),
        ("train.learning_rate=1", "unknown key train.learning_rate"),
        ("epochs=3", "unknown key epochs"),
        ("self=1", "unknown key self: known are data, log, "),
    ],
)
def test_unknown_keys(override: str, said: str) -> None:
    assert said in message(MINIMAL if not override.startswith("tokenizer") else {}, override)


def test_what_python_gives_is_told_as_what_a_file_does() -> None:
    for values in (
        {"foo": 1},
        {"self": {"epochs": 3}},
        MINIMAL | {"maks": {"ratio": 0.5}},
        MINIMAL | {"mask": {"ratoi": 0.5}},
        MINIMAL | {"mask": {"ratio": 7}},
        {},
    ):
        with pytest.raises(ConfigError) as caught:
            Config(**values)
        assert str(caught.value) == message(values)
    assert message({"foo": 1}).startswith("unknown key foo: known are data, log, ")
    assert message(MINIMAL | {1: 2}).startswith("unknown key 1: known are data, log, ")


def test_a_key_below_a_value() -> None:
    assert "takes 'ratio' for a section" in message(MINIMAL | {"mask": {"ratio": 0.5}}, "mask.ratio.low=1")
    assert "mask.ratio" in message(MINIMAL, "mask.ratio.low=1")


def test_an_unknown_key_without_a_neighbour_gets_the_list() -> None:
    assert "known are mask.kind, mask.ratio, mask.final_ratio, mask.block_length" in message(MINIMAL, "mask.qqqq=1")


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("mask.ratio=high", "mask.ratio"),
        ("mask.ratio=0", "mask.ratio"),
        ("mask.ratio=1", "mask.ratio"),
        ("mask.kind=blocks", "mask.kind"),
        ("mask.block_length=0", "mask.block_length"),
        ("train.epochs=2.5", "train.epochs"),
        ("train.epochs=-1", "train.epochs"),
        ("train.lr=.nan", "train.lr"),
        ("train.lr=.inf", "train.lr"),
        ("train.lr=0", "train.lr"),
        ("train.seed=-1", "train.seed"),
        ("train.precision=64", "train.precision"),
        ("regularizer.weight=-0.1", "regularizer.weight"),
        ("regularizer.weight=.inf", "regularizer.weight"),
        ("target.momentum=1.1", "target.momentum"),
        ("encoder.dim=7", "encoder.dim"),
        ("encoder.dim=10", None),  # heads=2 divides it
        ("encoder.heads=3", "encoder.heads"),
        ("predictor.heads=5", "predictor.heads"),
        ("encoder=big", "encoder"),
        ("encoder=[1, 2]", "encoder"),
        ("normalize=batch", "normalize"),
        ("tokenizer.n_patches=0", "tokenizer.n_patches"),
        ("tokenizer.n_patches=ten", "tokenizer.n_patches"),
        ("tokenizer.dilations=[1, 0]", "tokenizer.dilations.1"),
        ("probe.pool=[mean, median]", "probe.pool.1"),
        ("probe.channels=median", "probe.channels"),
        ("probe.scale_features=maybe", "probe.scale_features"),
        ("probe.levels=3", "probe.levels"),  # the encoder has two blocks
        ("probe.levels=-1", "probe.levels"),
        ("probe.level_weight=.inf", "probe.level_weight"),
        ("probe.level_weight=.nan", "probe.level_weight"),
        ("regularizer.slices=99999999999999999999", "regularizer.slices"),
        ("encoder.registers=99999999999999999999", "encoder.registers"),
        ("probe.sketch=99999999999999999999", "probe.sketch"),
        ("loss.kind=huber", "loss.kind"),
        ("loss.normalize_target=perhaps", "loss.normalize_target"),
    ],
)
def test_wrong_values(override: str, place: str | None) -> None:
    if place is None:
        parse_config(MINIMAL, [override])
    else:
        assert place in message(MINIMAL, override)


def settings_of(kinds: tuple[type, ...]) -> list[str]:
    """Return the settings that take a number of these kinds, or a list of such."""
    return [
        f"{section}.{name}"
        for section, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name, setting in field.annotation.model_fields.items()
        if any(kind.__name__ in re.findall(r"\w+", repr(setting.annotation)) for kind in kinds)
    ]


def values_of(key: str, value: object) -> dict[str, dict[str, object]]:
    section, name = key.split(".")
    values: dict[str, dict[str, object]] = {"tokenizer": {} if name == "patch_length" else {"n_patches": 10}}
    values.setdefault(section, {})[name] = value
    return values


@pytest.mark.parametrize("key", settings_of((int,)))
def test_no_whole_number_is_too_large_for_torch(key: str) -> None:
    for value in (2**31, 10**20):
        refused = message(values_of(key, value)), message(values_of(key, [value]))
        assert all(key in text for text in refused)


# a gap of a log is refused where the log is read, in the words of its flag
@pytest.mark.parametrize("key", [key for key in settings_of((float,)) if key != "log.max_gap"])
def test_every_other_number_is_finite(key: str) -> None:
    for value in (math.inf, math.nan):
        assert message(values_of(key, value)).startswith(f"{key}: ")


@pytest.mark.parametrize("key", ["tokenizer.dilations", "probe.pool", "target.levels", "log.channels"])
def test_a_list_that_needs_an_entry_is_not_empty(key: str) -> None:
    assert message(MINIMAL, f"{key}=[]") == f"{key} is empty: give at least one."


def test_a_list_and_a_section_are_explained_in_words_of_their_own() -> None:
    assert message(MINIMAL, "target.levels=-1,1") == "target.levels must be a list such as [-1, 1], but got '-1,1'."
    assert message(MINIMAL, "probe.pool=mean") == "probe.pool must be a list such as [mean], but got 'mean'."
    assert message(MINIMAL, "world.horizons=2") == "world.horizons must be a list such as [2], but got 2."
    assert message(MINIMAL, "target.levels='[1'") == "target.levels must be a list, but got '[1'."
    assert message(MINIMAL, "target.levels=''") == "target.levels must be a list, but got ''."
    assert message(MINIMAL, "mask=1") == "mask is a section: set one of its keys, as in mask.kind."


def test_a_value_of_either_kind_is_explained_in_the_words_of_the_file() -> None:
    said = message(MINIMAL, "probe.levels=first")
    assert said.startswith("probe.levels: ")
    assert "literal[" not in said
    assert "constrained" not in said


def test_a_word_of_yes_or_no_is_no_number() -> None:
    message(MINIMAL, "train.epochs=true")


def test_the_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        CONFIG.mask.ratio = 0.2
    with pytest.raises(ValidationError, match="frozen"):
        CONFIG.mask = CONFIG.mask


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mask: {ratio: 0.5}\ntokenizer: {n_patches: 5}\nmask: {ratio: 0.6}\n", "'mask' stands twice.*line 3"),
        ("tokenizer:\n  n_patches: 5\n  n_patches: 6\n", "'n_patches' stands twice.*line 3"),
        ("- a\n- b\n", "must be a mapping of sections, but holds list"),
        ("", "must be a mapping of sections, but holds NoneType"),
        ("just words", "must be a mapping of sections, but holds str"),
        ("a: [1, 2\n", "not usable YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "not usable YAML"),
        ("? [1, 2]\n: 3\n", "not usable YAML"),
        ("1: 2\ntokenizer: {n_patches: 5}\n", "1"),
        ("tokenizer: {n_patches: 5}\nmask:\n", "mask"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_section_may_be_merged_into_another_and_keys_still_stand_once(tmp_path: Path) -> None:
    shared = "tokenizer: {n_patches: 5}\nencoder: &size {dim: 32, depth: 1, heads: 2}\n"
    config = load_config(write(tmp_path, shared + "predictor: {<<: *size, depth: 2}\n"))
    assert (config.predictor.dim, config.predictor.depth, config.predictor.heads) == (32, 2, 2)
    for twice in ("{<<: *size, depth: 2, depth: 3}", "{<<: *size, <<: *size}"):
        with pytest.raises(ConfigError, match="stands twice, the second time in line 3"):
            load_config(write(tmp_path, shared + f"predictor: {twice}\n"))
    # a merge that is merged itself stands in its mapping by then
    nested = "tokenizer: {n_patches: 5}\nencoder: &all {<<: {dim: 32, heads: 2}, dim: 64}\npredictor: {<<: *all}\n"
    assert load_config(write(tmp_path, nested)).predictor.dim == 64


def test_missing_files_folders_and_other_encodings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*none\.yaml"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*folder\.yaml"):
        load_config(tmp_path / "folder.yaml")
    path = tmp_path / "latin.yml"
    path.write_bytes("# Größe".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*latin\.yml"):
        load_config(path)


def test_unknown_recipes_get_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'ts-jepa-papre'.*did you mean ts-jepa-paper"):
        load_config("ts-jepa-papre")
    with pytest.raises(ConfigError, match=r"no recipe 'qqq'.*known are .*tiny.*\. A file must end in \.yaml"):
        load_config("qqq")


def test_yaml_reads_1e_3_as_text_which_is_a_number_here(tmp_path: Path) -> None:
    assert yaml.safe_load("1e-3") == "1e-3"
    assert load_config(write(tmp_path, "tokenizer: {n_patches: 5}\ntrain: {lr: 1e-3}\n")).train.lr == 1e-3
    assert parse_config(MINIMAL, ["train.lr=1e-4", "train.weight_decay=5E-2"]).train.lr == 1e-4


@pytest.mark.parametrize("text", ["mask.ratio", "=0.5", ".ratio=0.5", "mask.=0.5", "mask..ratio=1", ""])
def test_override_syntax(text: str) -> None:
    with pytest.raises(ConfigError, match=r"an override is written key\.path=value"):
        apply_override(MINIMAL, text)


def test_override_values_are_yaml() -> None:
    assert apply_override({}, "a.b=[1, x]") == {"a": {"b": [1, "x"]}}
    assert apply_override({}, "a=b=c") == {"a": "b=c"}
    assert apply_override({}, "a=null") == {"a": None}
    assert apply_override({"a": None}, "a.b=1") == {"a": {"b": 1}}
    for text in ("a=[1", "a={b: 1, b: 2}"):
        with pytest.raises(ConfigError, match="is not YAML"):
            apply_override({}, text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2001-13-45", "'2001-13-45' in line 1 reads as timestamp, but is none: put it in quotes."),
        ("[2024-02-28, {day: 2024-02-30}]", "'2024-02-30' in line 1 reads as timestamp, but is none"),
        ("!!timestamp soon", "'soon' in line 1 reads as timestamp"),
        ("!!int abc", "'abc' in line 1 reads as int"),
        ("!!int ''", "'' in line 1 reads as int"),
        ("!!bool perhaps", "'perhaps' in line 1 reads as bool"),
        ("0x_", "'0x_' in line 1 reads as int"),
        ("9" * 5000, f"{'9' * 40!r} in line 1 reads as int"),
        ("[" * 3000, "it is nested too deeply."),
    ],
)
def test_a_word_that_is_no_value_of_its_type(tmp_path: Path, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, f"data: {value}\n"))
    assert f"mine.yaml is not usable YAML: {said}" in str(caught.value)
    assert f"is not YAML: {said}" in message(MINIMAL, f"data={value}")


def test_overrides_come_in_order_and_leave_the_source_alone() -> None:
    values = {"tokenizer": {"n_patches": 10}, "mask": {"ratio": 0.4}}
    config = parse_config(values, ["mask.ratio=0.5", "mask.kind=block", "mask.ratio=0.6"])
    assert (config.mask.ratio, config.mask.kind) == (0.6, "block")
    assert values == {"tokenizer": {"n_patches": 10}, "mask": {"ratio": 0.4}}


def test_number_and_length_of_patches_exclude_each_other() -> None:
    assert "give either n_patches or patch_length" in message({"tokenizer": {"n_patches": 3, "patch_length": 5}})
    assert "give either n_patches or patch_length" in message({"tokenizer": {}})
    assert "tokenizer" in message({})
    replaced = parse_config(MINIMAL, ["tokenizer.patch_length=7"]).tokenizer
    assert (replaced.n_patches, replaced.patch_length) == (None, 7)
    back = parse_config(MINIMAL, ["tokenizer.patch_length=7", "tokenizer.n_patches=4"]).tokenizer
    assert (back.n_patches, back.patch_length) == (4, None)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    lr=st.floats(1e-12, 1e6),
    ratio=st.floats(0.001, 0.999),
    kind=st.sampled_from(["bernoulli", "random", "block", "future"]),
    data=st.none() | st.text(),
    levels=st.sampled_from(["all", "last"]) | st.integers(0, 2),
)
def test_a_dumped_configuration_is_read_back(
    lr: float, ratio: float, kind: str, data: str | None, levels: object
) -> None:
    values = MINIMAL | {"train": {"lr": lr}, "mask": {"ratio": ratio, "kind": kind}}
    config = parse_config(values | {"data": data, "probe": {"levels": levels}})
    assert parse_config(yaml.safe_load(dump_config(config))) == config


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_are_read_back(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    assert load_config(write(tmp_path, dump_config(config))) == config
    assert load_config(ROOT / "configs" / f"{name}.yaml") == config


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_are_headed_by_their_command(name: str) -> None:
    lines = (ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    header = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert re.search(rf"^# tsjepa pretrain .*--config {name}\b(?!-)", header, re.MULTILINE)
    number = header.splitlines()[-1]
    assert re.search(r"\b0\.\d\d", number), f"{name} does not say what it reached"


def test_the_number_at_a_recipes_head_is_that_of_the_docs() -> None:
    page = (ROOT / "docs" / "collapse.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(ts-jepa-[a-z-]+)` \|.*?(0\.\d{3}) ± 0\.\d{3} \| (0\.\d{3}) ±", page, re.MULTILINE)
    assert len(rows) == 18
    for name, accuracy, few in rows:
        number = f"# FordA with 577 training series: accuracy {accuracy}, with 28 labels {few} (three seeds)."
        assert number in (ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()


def test_recipe_names_are_the_files() -> None:
    assert recipe_names() == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    assert DEFAULT_RECIPE in recipe_names()
    assert configure() == load_config(DEFAULT_RECIPE)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_alone_is_its_recipe(objective: str) -> None:
    assert configure(objective=objective) == load_config(f"ts-jepa-{objective}")


def default(function: object, name: str) -> object:
    return signature(function).parameters[name].default


@pytest.mark.parametrize(
    ("section", "key", "function", "name"),
    [
        ("mask", "block_length", block_mask, "block_length"),
        ("regularizer", "slices", SIGReg, "slices"),
        ("regularizer", "knots", SIGReg, "knots"),
        ("regularizer", "placement", SIGReg, "placement"),
        ("regularizer", "std_weight", VICReg, "std_weight"),
        ("regularizer", "cov_weight", VICReg, "cov_weight"),
        ("target", "schedule", Momentum, "kind"),
        ("target", "momentum", Momentum, "start"),
        ("target", "final_momentum", Momentum, "end"),
        ("target", "stop_gradient", SelfTarget, "stop_gradient"),
        ("tokenizer", "filters", ConvStem, "filters"),
        ("tokenizer", "dilations", ConvStem, "dilations"),
        ("loss", "kind", JEPA, "loss"),
        ("loss", "normalize_target", JEPA, "normalize_target"),
        ("loss", "centre_target", JEPA, "centre_target"),
    ],
)
def test_defaults_agree_with_the_constructors(section: str, key: str, function: object, name: str) -> None:
    assert getattr(getattr(CONFIG, section), key) == default(function, name)


def test_the_default_target_is_the_constructors() -> None:
    assert CONFIG.target.kind == "ema"
    assert default(JEPA, "target") is default(EMATarget, "momentum") is None
    assert list(OBJECTIVES) == ["ema", "cjepa", "sigreg", "vicreg", "visreg", "deep", "distill", "salt"]


def test_an_unknown_section_is_told_before_what_is_missing_for_it(tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text("trian: {epochs: 3}\n")
    with pytest.raises(ConfigError, match="unknown key trian: did you mean train"):
        load_config(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text("train: {epochs: 3}\n")
    with pytest.raises(ConfigError, match="tokenizer is missing: a file must hold every setting"):
        load_config(tmp_path / "mine.yaml")
