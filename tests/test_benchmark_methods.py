"""What methods and suites are called."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tsjepa.build import DEFAULT_RECIPE, build_model, configure, resolve
from tsjepa.checkpoint import CheckpointError, Header, save_checkpoint
from tsjepa.config import ConfigError
from tsjepa.evaluation.benchmark_methods import Method, find_method, find_methods
from tsjepa.evaluation.benchmark_suites import load_suite, suite_names
from tsjepa.heads import fit_linear_head


def test_methods_are_found_by_their_names(tmp_path: Path) -> None:
    assert find_method("default").config == configure(DEFAULT_RECIPE)
    assert find_method("random-init").config == configure(DEFAULT_RECIPE)
    assert find_method("supervised", "tiny").config == configure("tiny")
    assert find_method("tiny", epochs=5).config == configure("tiny", overrides=["train.epochs=5"])
    with pytest.raises(ConfigError, match="did you mean minirocket"):
        find_method("minirockt")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        find_method("missing.ckpt")
    other = tmp_path / "notes.txt"
    other.write_text("no checkpoint")
    with pytest.raises(CheckpointError):
        find_method(str(other))


def test_a_file_is_one_method_however_its_path_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = resolve(configure("tiny"), 40)
    save_checkpoint(Path("a.ckpt"), build_model(config, 1), Header(config, None, 1, 40))
    shutil.copy("a.ckpt", "b.ckpt")
    Path("mine.yaml").write_text(yaml.safe_dump(configure("tiny").model_dump(mode="json")))
    names = ("a.ckpt", "raw", "./a.ckpt", str(tmp_path / "a.ckpt"), "b.ckpt", "mine.yaml", "./mine.yaml", "raw")
    assert [method.name for method in find_methods(names)] == ["a.ckpt", "raw", "b.ckpt", "mine.yaml"]


def test_a_fine_tuned_checkpoint_is_refused(tmp_path: Path) -> None:
    config, path = resolve(configure("tiny"), 40), tmp_path / "checkpoint.ckpt"
    model, header = build_model(config, 1), Header(config, None, 1, 40)
    save_checkpoint(path, model, header)
    assert find_method(str(path)) == Method(str(path), "checkpoint", config, path)
    head = fit_linear_head(np.arange(4.0)[:, None], np.array(["calm", "calm", "worn", "worn"]))
    save_checkpoint(path, model, header, head.plain())
    with pytest.raises(CheckpointError, match="is fine-tuned on labels, and a benchmark reads encoders that have seen"):
        find_method(str(path))


def test_a_digest_names_what_a_method_depends_on() -> None:
    base = find_method("tiny").digest()
    assert find_method("tiny").digest() == base
    assert find_method("tiny", epochs=7).digest() != base
    assert find_method("random-init", "tiny").digest() != base
    assert base == Method("other", "pretrained", configure("tiny", overrides=["train.seed=9"])).digest()


def test_suites_are_lists_of_names() -> None:
    assert len(load_suite("ucr-shared")) == 34
    assert {"FordA", "OSULeaf", "ACSF1"} <= set(load_suite("ucr-shared"))
    assert not {"PaderbornKAT", "CWRU48k", "PLAID", "DodgerLoopDay"} & set(load_suite("ucr-shared"))
    assert set(suite_names()) == {"bearings", "ford", "ucr-112", "ucr-sensors", "ucr-shared", "uea-30", "uea-shared"}
    for name in suite_names():
        assert len(set(load_suite(name))) == len(load_suite(name))


def test_the_archives_lists_are_aeons() -> None:
    from aeon.datasets.tsc_datasets import multivariate, univariate_equal_length

    assert set(load_suite("ucr-112")) == set(univariate_equal_length)
    assert set(load_suite("uea-30")) == set(multivariate)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [GunPoint, GunPoint]", "names GunPoint twice"),
        ("dta: [GunPoint]", "unknown key dta: did you mean data"),
        ("- GunPoint", "must be a mapping"),
        ("data: []", "needs a list of names"),
        ("data: [007]", "needs a list of names"),
        ("data: {", "not usable YAML"),
        ("data: [GunPoint]\ndata: [FordA]", "not usable YAML: the key 'data' stands twice, .* in line 2"),
    ],
)
def test_a_bad_suite_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_suite(str(tmp_path / "mine.yaml"))


def test_unknown_suites_and_missing_files_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean ucr-shared"):
        load_suite("ucr-share")
    with pytest.raises(ConfigError, match="cannot read the suite"):
        load_suite("missing.yaml")
