"""What methods and suites are called."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tsjepa import TSJEPAClassifier, TSJEPAEmbedder
from tsjepa.arrays import Series
from tsjepa.build import DEFAULT_RECIPE, build_model, configure, resolve
from tsjepa.checkpoint import (
    LABELLED,
    CheckpointError,
    Header,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    write_atomically,
)
from tsjepa.config import ConfigError
from tsjepa.evaluation import benchmark_features, benchmark_run
from tsjepa.evaluation.accuracy import Labels
from tsjepa.evaluation.benchmark_features import Features, Fitted, fit_method, warm_up
from tsjepa.evaluation.benchmark_methods import Method, find_method, find_methods
from tsjepa.evaluation.benchmark_suites import load_suite, suite_names
from tsjepa.finetuning import Tuning
from tsjepa.heads import fit_linear_head
from tsjepa.stages import with_architecture
from tsjepa.training import Options, fit_stages

REFUSED = "has learnt from labels, since it or its teacher was fine-tuned, and a benchmark reads encoders that have"


def test_methods_are_found_by_their_names(tmp_path: Path) -> None:
    assert find_method("default").config == configure(DEFAULT_RECIPE)
    assert find_method("random-init").config == configure(DEFAULT_RECIPE)
    assert find_method("supervised", "tiny").config == configure("tiny")
    assert find_method("tiny", epochs=5).config == configure("tiny", overrides=["train.epochs=5"])
    for name in ("minirockt", "mini"):
        with pytest.raises(ConfigError, match="did you mean minirocket"):
            find_method(name)
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
    method = Method(str(path), "checkpoint", config, path)
    assert find_method(str(path)) == method._replace(digest=method.digest_now())
    head = fit_linear_head(np.arange(4.0)[:, None], np.array(["calm", "calm", "worn", "worn"]))
    save_checkpoint(path, model, header, head.plain())
    assert find_method(str(path)).kind == "checkpoint"  # a head on an encoder as it was
    for labelled in (True, None):  # None: of a version before, which did not say so
        model.labelled = True
        save_checkpoint(path, model, header, head.plain())
        if labelled is None:
            content = read_checkpoint(path)
            del content[LABELLED]
            write_atomically(content, path)
        with pytest.raises(CheckpointError, match=REFUSED):
            find_method(str(path))


def test_an_encoder_whose_teacher_is_fine_tuned_is_refused(student: str) -> None:
    model, header = load_checkpoint("teacher.ckpt")
    model.labelled = True
    head = fit_linear_head(np.arange(4.0)[:, None], np.array(["calm", "calm", "worn", "worn"]))
    save_checkpoint("teacher.ckpt", model, header, head.plain())
    with pytest.raises(
        CheckpointError,
        match=rf"student.yaml has a teacher .* here: the encoder of teacher.ckpt {REFUSED}.*; name another teacher\.",
    ):
        find_method(student)
    assert find_method("random-init", student).config is not None  # of the teacher's form, with none of its weights
    config = resolve(with_architecture(configure(student, overrides=["train.epochs=1"])), 40)
    series = Series(np.random.default_rng(0).normal(size=(8, 1, 40)).astype(np.float32))
    learner = build_model(config, 1)
    fit_stages(learner, series, Header(config, None, 1, 40), Options(device="cpu", diagnose=False))
    save_checkpoint("student.ckpt", learner, Header(config, None, 1, 40))
    shutil.copy("student.ckpt", "again.ckpt")
    Path("teacher.ckpt").unlink()
    for name in ("student.ckpt", "again.ckpt"):
        with pytest.raises(CheckpointError, match=f"of {name} has learnt from labels"):
            find_method(name)
    shutil.move("student.ckpt", "teacher.ckpt")
    with pytest.raises(CheckpointError, match=r"student\.yaml .*: the encoder of teacher\.ckpt has"):
        find_method(student)


def test_a_fine_tuned_encoder_is_refused_without_its_head_too(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(12, 1, 40)), np.arange(12) % 2
    path, whole = tmp_path / "encoder.ckpt", tmp_path / "classifier.ckpt"

    def save(tune: bool) -> None:
        classifier = TSJEPAClassifier("tiny", max_epochs=0, tune=tune, finetune_epochs=1, random_state=0)
        classifier.fit(X, y).embedder_.save(path)
        TSJEPAEmbedder.load(path).save(path)
        classifier.save(whole)
        assert load_checkpoint(path)[0].labelled == load_checkpoint(whole)[0].labelled == tune

    save(tune=False)
    assert find_method(str(path)).kind == "checkpoint"
    save(tune=True)
    with pytest.raises(CheckpointError, match=REFUSED):
        find_method(str(path))


def test_a_digest_names_what_a_method_depends_on() -> None:
    base = find_method("tiny").digest
    assert find_method("tiny").digest == base
    assert find_method("tiny", epochs=7).digest != base
    assert find_method("random-init", "tiny").digest != base
    assert base == Method("other", "pretrained", configure("tiny", overrides=["train.seed=9"])).digest_now()


@pytest.fixture
def student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the file of a recipe that names a teacher, of another width than its own, in the working folder."""
    monkeypatch.chdir(tmp_path)
    save_teacher(0)
    config = configure("tiny", "distill", ["target.teacher=teacher.ckpt", "encoder.dim=16"])
    Path("student.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    return "student.yaml"


def save_teacher(seed: int) -> None:
    config = resolve(configure("tiny", overrides=[f"train.seed={seed}"]), 40)
    save_checkpoint("teacher.ckpt", build_model(config, 1), Header(config, None, 1, 40))


def test_another_teacher_is_another_method(student: str) -> None:
    own, untrained = find_method(student), find_method("random-init", student)
    assert find_method(student) == own
    assert own.file == Path("teacher.ckpt")
    save_teacher(1)
    assert find_method(student).digest != own.digest
    assert find_method("random-init", student) == untrained  # its weights are no teacher's
    Path("teacher.ckpt").unlink()
    for name, recipe in ((student, None), ("supervised", student)):
        with pytest.raises(CheckpointError, match=r"there is no checkpoint teacher.ckpt: check the path"):
            find_method(name, recipe)


@pytest.mark.usefixtures("student")
def test_a_method_without_a_teacher_has_the_digest_that_older_tables_hold() -> None:
    method = find_method("teacher.ckpt")
    assert method.config is not None
    values = method.config.model_dump(mode="json", exclude={"data": True, "train": {"seed"}})
    text = json.dumps(["checkpoint", values], sort_keys=True).encode()
    assert method.digest == hashlib.sha256(text + Path("teacher.ckpt").read_bytes()).hexdigest()[:12]


def test_a_student_has_the_architecture_of_its_teacher(student: str) -> None:
    series = Series(np.random.default_rng(0).normal(size=(8, 1, 40)).astype(np.float32))
    for name in (student, "random-init"):
        method = find_method(name, student, epochs=1 if name == student else None)
        reader = fit_method(method, series, np.arange(8) % 2, 0, "cpu").reader
        assert reader is not None
        assert reader.encoder.dim == configure("tiny").encoder.dim != 16


def test_a_student_that_is_pretrained_needs_no_teacher_any_more(student: str) -> None:
    config = find_method(student).config
    assert config is not None
    save_checkpoint("student.ckpt", build_model(config, 1), Header(config, None, 1, 40))
    Path("teacher.ckpt").unlink()
    assert find_method("student.ckpt").file == Path("student.ckpt")


@pytest.mark.parametrize("name", ["tiny", "random-init", "supervised", "a.ckpt", "raw", "majority"])
def test_the_first_call_of_a_method_is_made_before_the_clock_starts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config, events = resolve(configure("tiny"), 150), []
    save_checkpoint(Path("a.ckpt"), build_model(config, 1).eval(), Header(config, None, 1, 150))
    method = find_method(name, "tiny", epochs=1)

    def noted(method: Method, series: Series, y: Labels, seed: int, device: str) -> Fitted:
        fitted = fit_method(method, series, y, seed, device)

        def transform(other: Series) -> Features:
            events.append((method, other.values.shape))
            return fitted.transform(other)

        return fitted._replace(transform=transform)

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            events.append("clock")
            return 0.0

    monkeypatch.setattr(benchmark_features, "fit_method", noted)
    monkeypatch.setattr(benchmark_run, "time", Clock)
    monkeypatch.setattr(benchmark_features, "FROM_SCRATCH", Tuning(epochs=1, min_steps=1))
    benchmark_run.measure(benchmark_run.Job("GunPoint", method, 0, device="cpu"))
    untrained = method._replace(kind="random-init") if name in ("tiny", "supervised") else method
    assert events[:2] == [(untrained, (4, 1, 150 if method.config else 32)), "clock"]


@pytest.mark.parametrize("name", ["default", "random-init", "supervised"])
def test_a_first_call_leaves_no_random_state_behind(name: str) -> None:
    before = torch.get_rng_state()
    warm_up(find_method(name), Series(np.zeros((3, 2, 60), np.float32)), "cpu")
    assert torch.equal(torch.get_rng_state(), before)


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
