"""The search for the regularizer's weight: bisection over stubbed runs, real short runs, and the command."""

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pumps import make_log
from typer.testing import CliRunner, Result

from tsjepa.arrays import SeriesSource, as_series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header
from tsjepa.cli import tune as command
from tsjepa.cli.main import app
from tsjepa.config import Config, ConfigError
from tsjepa.evaluation.tune import THRESHOLD, Trial, TuneError, bisect_weight, check_tunable, try_weight
from tsjepa.trainer import Options
from tsjepa.training import fit


def enough_from(weight: float) -> Callable[[float], Trial]:
    """Return runs whose score reaches the threshold at a weight."""
    # a little less than the threshold, so that the weight itself is enough whatever the rounding
    return lambda tried: Trial(tried, 0.999 * THRESHOLD * weight / tried, "healthy", 1.0)


@pytest.mark.parametrize("weight", [2e-4, 0.003, 0.05, 0.9])
@pytest.mark.parametrize("runs", [6, 12])
def test_bisection_brackets_the_threshold_in_few_runs(weight: float, runs: int) -> None:
    found = bisect_weight(enough_from(weight), runs=runs)
    assert len(found.trials) == runs
    factor = 1e4 ** (0.5 ** (runs - 2))
    assert 0.999 * weight <= found.weight <= weight * factor
    assert found.weight == min(trial.weight for trial in found.trials if trial.enough)


def test_the_number_of_runs_grows_with_the_logarithm_of_the_grid() -> None:
    fine = bisect_weight(enough_from(0.01), low=1e-6, high=1e6, runs=22)
    assert fine.weight / 0.01 < (1e12) ** (1 / 2**20) * 1.0001


def test_both_ends_are_tried_first() -> None:
    assert [trial.weight for trial in bisect_weight(enough_from(0.01), runs=3).trials] == [1, 1e-4, pytest.approx(0.01)]
    found = bisect_weight(enough_from(1e-9))
    assert (found.weight, len(found.trials)) == (1e-4, 2)
    with pytest.raises(TuneError, match=r"even a weight of 1 is not enough \(healthy, score 0\.200 of 0\.1 at most"):
        bisect_weight(lambda weight: Trial(weight, 0.2, "healthy", 1.0))


def test_a_collapse_is_not_enough_whatever_the_score_and_a_phase_is_no_collapse() -> None:
    states = {"collapsed", "positional-collapse", "dimensional-collapse", "collapse-phase", "healthy"}
    assert {s for s in states if Trial(1, 0.01, s, 1.0).enough} == {"healthy", "collapse-phase"}  # type: ignore[arg-type]
    assert not Trial(1, math.nan, "healthy", 1.0).enough


NO_SEARCH = [(0, 1, 6), (1, 1, 6), (2, 1, 6), (-1, 1, 6), (1e-4, math.inf, 6), (math.nan, 1, 6), (1e-4, 1, 2)]


@pytest.mark.parametrize(("low", "high", "runs"), NO_SEARCH)
def test_what_is_no_search_is_refused_before_a_run(low: float, high: float, runs: int) -> None:
    def never(weight: float) -> Trial:
        raise AssertionError

    with pytest.raises(TuneError):
        bisect_weight(never, low, high, runs)


def test_only_sigreg_has_the_score() -> None:
    with pytest.raises(ConfigError, match=r"regularizer\.kind is none"):
        check_tunable(configure("ts-jepa-paper"))
    for kind, what in (("frozen", "a frozen teacher"), ("values", "a target of values")):
        with pytest.raises(ConfigError, match=f"{what} cannot collapse, .*: set target.kind to self or ema"):
            check_tunable(configure("tiny", None, [f"target.kind={kind}", "projector.out=0"]))


def wave(n: int = 32) -> np.ndarray:
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 6, (n, 1, 1))
    return (np.sin(np.arange(60) * 0.3 + phase) + 0.3 * rng.normal(size=(n, 1, 60))).astype(np.float32)


def test_a_larger_weight_scores_nearer_to_a_normal_law() -> None:
    series = as_series(wave())
    config = resolve(configure("tiny", None, ["train.epochs=6"]), 60)
    epochs: list[int] = []
    trials = [try_weight(config, series, weight, report=epochs.append) for weight in (0.0, 0.01, 1.0)]
    assert trials[0].score > trials[1].score > trials[2].score
    assert epochs == [1, 2, 3, 4, 5, 6] * 3
    assert try_weight(config, series, 0.01) == trials[1]


def test_centred_targets_are_scored_as_sigreg_sees_them() -> None:
    time, rng = np.arange(60), np.random.default_rng(0)
    series = as_series((3 * np.sin(time / 8) + rng.normal(size=(48, 1, 60)).cumsum(-1) * 0.3).astype(np.float32))
    settings = ["loss.centre_target=true", "train.epochs=30", "train.lr=0.003"]
    config = resolve(configure("tiny", None, settings), 60)
    assert [try_weight(config, series, weight).enough for weight in (1e-4, 1.0)] == [False, True]


def test_a_run_of_the_search_ends_in_the_verdict_of_pretraining() -> None:
    series = as_series(wave(40))  # 3 steps an epoch: too few for a verdict that has to hold for many steps
    config = resolve(configure("tiny", None, ["train.epochs=8", "normalize=train"]), 60)
    trial = try_weight(config, series, 0.002)
    config = config.model_copy(update={"regularizer": config.regularizer.model_copy(update={"weight": 0.002})})
    model, monitored = build_model(config, 1), Options(device="cpu")
    result = fit(model, series, Header(config, None, 1, 60), monitored)
    assert result.verdict is not None
    assert (trial.verdict, trial.loss) == (result.verdict.verdict, result.loss)


@pytest.fixture(autouse=True)
def _data(alone: Path) -> None:
    np.savez("wave.npz", X_train=wave())


def invoke(*words: str) -> Result:
    line = ["tune-lambda", "--data", "wave.npz", "--config", "tiny", "--device", "cpu", *words]
    result = CliRunner().invoke(app, line)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def test_the_command_prints_lambda_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "try_weight", lambda config, series, weight, device, tell: enough_from(0.05)(weight))
    result = invoke("--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert set(found) == {"lambda", "runs"}
    assert len(found["runs"]) == 6
    assert set(found["runs"][0]) == {"weight", "score", "verdict", "loss", "enough"}
    assert found["lambda"] == min(run["weight"] for run in found["runs"] if run["enough"])
    assert "up to 6 runs of 10 epochs, for the smallest weight that ends in no lasting collapse" in result.stderr
    text = invoke("--runs", "3")
    assert (
        "lambda: 1, the smallest weight tried that prevents a lasting collapse; 0.01 is too small, and nothing"
        in text.stdout
    )
    assert "next: tsjepa pretrain --data wave.npz --config tiny --set regularizer.weight=1" in text.stdout
    other = invoke("--runs", "3", "--epochs", "5", "--set", "encoder.dim=16", "--set", "train.epochs=3")
    assert "up to 3 runs of 3 epochs" in other.stderr
    assert "--config tiny --set encoder.dim=16 --set train.epochs=3 --set regularizer.weight=1" in other.stdout


def test_the_next_command_finds_the_same_data_and_starts_from_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "try_weight", lambda config, series, weight, device, tell: enough_from(0.05)(weight))
    Path("my data/wave").mkdir(parents=True)
    np.savetxt("my data/wave/wave_TRAIN.tsv", np.insert(wave()[:, 0], 0, 1.0, axis=1), delimiter="\t")
    words = ("--runs", "3", "--data", "wave", "--data-dir", "my data", "--seed", "7")
    said = "next: tsjepa pretrain --data wave --config tiny --data-dir 'my data' --seed 7 --set regularizer.weight=1"
    assert said in invoke(*words).stdout
    monkeypatch.setenv("TSJEPA_DATA", "my data")
    assert "--config tiny --seed 7 --set" in invoke(*words).stdout


WORLD_RECIPE = """
log: {window: 20, stride: 10}
normalize: none
tokenizer: {patch_length: 5, channels: mixed}
encoder: {dim: 16, depth: 1, heads: 2, causal: true}
predictor: {dim: 16, depth: 1, heads: 2}
world: {horizons: [1, 2]}
target: {kind: self}
regularizer: {kind: sigreg, weight: 0.1, placement: position, slices: 16}
loss: {normalize_target: false}
"""


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (("--config", "tiny", "--set", "log.window=20", "--set", "log.stride=10", "--set", "log.id=unit"), False),
        (("--config", "tiny", "--window", "20", "--stride", "5", "--group", "unit", "--seed", "3"), True),
        (("--config", "world.yaml"), True),  # which learns from normal windows alone
    ],
)
def test_a_weight_is_tuned_on_the_windows_that_the_next_command_trains_on(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], labels: bool
) -> None:
    seen: list[SeriesSource] = []

    def tried(config: Config, series: SeriesSource, weight: float, device: str, tell: object) -> Trial:
        seen.append(series)
        return enough_from(0.05)(weight)

    monkeypatch.setattr(command, "try_weight", tried)
    log = make_log().assign(label=lambda rows: (rows["state"] == "worn").astype(int)).drop(columns="state")
    (log if labels else log.drop(columns="label")).to_csv("log.csv", index=False)
    Path("world.yaml").write_text(WORLD_RECIPE)
    result = invoke("--data", "log.csv", "--runs", "3", *words)
    assert result.exit_code == 0, result.output
    following = shlex.split(result.stdout.split("next: tsjepa ")[1].replace("\n", " "))
    trained = CliRunner().invoke(app, [*following, "--epochs", "1", "--device", "cpu", "--out", "run"])
    assert trained.exit_code == 0, trained.output
    series = seen[0]
    assert series.n_cases > 10
    shape = f"{series.n_cases} series, {series.n_channels} channels, {series.n_timepoints} time points"
    assert shape in " ".join(trained.stderr.split())
    assert f"on {series.n_cases} series of log.csv" in " ".join(result.stderr.split())


def test_a_labelled_log_needs_a_test_part_for_pretraining_alone() -> None:
    make_log().rename(columns={"state": "label"}).to_csv("log.csv", index=False)
    result = invoke("--data", "log.csv", "--window", "20")
    said = " ".join(result.stderr.split())
    assert "pretrain will need more: log has labels, but no test part to score on" in said
    assert "bisecting regularizer.weight" in said


def test_nothing_is_said_of_a_test_part_that_no_run_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "try_weight", lambda config, series, weight, device, tell: enough_from(0.05)(weight))
    X, y = wave(), np.arange(32) % 2
    X[0] = 1.0
    np.savez("wave.npz", X_train=X, y_train=y, X_test=np.ones_like(X), y_test=y + 1)
    said = invoke("--runs", "3").stderr
    assert "note: train part: 1 of 32 series is constant" in " ".join(said.split())
    assert "test" not in said
    log = make_log().rename(columns={"state": "label"})
    log.to_csv("train.csv", index=False)
    log.assign(label=log["label"].replace("worn", "burst")).to_csv("test.csv", index=False)
    result = invoke("--data", "train.csv", "--set", "log.test=test.csv", "--window", "20", "--runs", "3")
    assert (result.exit_code, "burst" in result.stderr) == (0, False), result.output


def test_the_low_end_may_be_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "try_weight", lambda config, series, weight, device, tell: enough_from(1e-9)(weight))
    result = invoke("--low", "0.5", "--json")
    assert json.loads(result.stdout)["lambda"] == 0.5
    assert "the low end, 0.5, prevents a lasting collapse already" in result.stderr
    text = invoke("--low", "0.5").stdout
    assert "lambda: 0.5, the smallest weight tried that prevents a lasting collapse; nothing" in text


def test_it_runs_for_real() -> None:
    result = invoke("--runs", "3", "--epochs", "2", "--high", "20", "--seed", "1", "--json")
    if result.exit_code == 0:
        assert len(json.loads(result.stdout)["runs"]) in (2, 3)
    else:
        assert "even a weight of 20 is not enough" in result.stderr


# in the one step of an epoch, after a loss that was finite
DIVERGES = ("--epochs", "2", *("--set", "train.lr=1e20", "--set", "train.clip=0", "--set", "train.batch_size=64"))


def test_what_is_no_search_ends_in_a_sentence() -> None:
    for code, sentence, words in (
        (2, "from a low weight above 0 to a higher one, but got 2 and 1", ("--low", "2")),
        (2, "takes 3 runs or more", ("--runs", "2")),
        (2, "regularizer.kind is none", ("--config", "ts-jepa-paper")),
        (2, "a target of values cannot collapse", ("--set", "target.kind=values", "--set", "projector.out=0")),
        (2, "unknown key", ("--set", "regularizer.wait=1")),
        (2, "weight is what the search looks for: leave it out, and bound", ("--set", "regularizer.weight=0.3")),
        (2, "weight is what the search looks for: leave it out, and bound", ("--set", " regularizer.weight = 0.3")),
        (1, "'' cannot name a data set", ("--data", "")),
        (1, "even a weight of 0.0002 is not enough", ("--high", "0.0002", "--epochs", "1")),
        (1, "latents are not finite after epoch 1: start again with a lower train.lr.", DIVERGES),
    ):
        result = invoke(*words, "--json")
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert sentence in " ".join(result.stderr.split())
