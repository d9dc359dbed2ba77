"""The programs that measure detection print one JSON object with what is promised, with tiny sizes."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
RATES = {"f1", "far", "mar"}
needs_logs = pytest.mark.skipif("TSJEPA_LOGS" not in os.environ, reason="TSJEPA_LOGS names no folder of logs")


def run(program, *options):
    command = [sys.executable, str(FOLDER / f"{program}.py"), *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def baselines(program):
    return program("skab_baselines")


@pytest.fixture
def violations(program, monkeypatch):
    violations = program("violations")

    monkeypatch.setattr(violations, "score_series", lambda scorer, x: SimpleNamespace(score=np.zeros(x.shape[1])))
    return violations


def test_each_event_is_drawn_on_its_own(violations):
    log, drawn = np.arange(4000.0)[None], []
    events = dict.fromkeys(("jump", "noise"), lambda site, rng: (drawn.append((site.x[0, 0], rng.random())), site.x)[1])
    scorer = SimpleNamespace(channels=(0,), context=16)
    for seed in (0, 1, 0):
        options = SimpleNamespace(events=50, seed=seed)
        violations.in_blocks([scorer] * 5, 1.0, [log] * 5, events, options)
    assert drawn[:100] == drawn[200:]
    for values in zip(*drawn[:200], strict=True):  # of 200 places of 3,700 some five fall together
        assert len(set(values)) > 180


def test_no_window_of_training_goes_from_one_engine_into_the_next(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import early_warning

    trained = []
    monkeypatch.setattr(early_warning, "fit", lambda model, windows, *_: trained.append(windows.values))
    early_warning.train([np.full((2, 70), 1.0), np.full((2, 90), 2.0)], SimpleNamespace(epochs=1, seed=0))
    (windows,) = trained
    assert len(windows) == 70 + 90 - 2 * (early_warning.WINDOW - 1)
    assert (windows == windows[:, :1, :1]).all()


@needs_logs
@pytest.mark.slow
def test_skab():
    figures = run("skab", "--runs", "2", "--epochs", "1", "--autoencoder-epochs", "1", "--draws", "1")
    names = ("isolation forest", "PCA T2", "PCA Q", "PCA T2 and Q", "convolutional autoencoder", "ours")
    for name in names:
        for protocol in ("(a)", "(b)"):
            row = figures["table"][f"{protocol} {name}"]
            assert set(row) == {"1/day", "1/h", "6/h", "in sample"}
            assert all(set(rates) == RATES for rates in row.values())
    assert figures["table"]["every row (oracle)"]["by labels"]["far"] == 1
    assert set(figures["f1_change_by_head_cut"]) == {"1/day", "1/h", "6/h"}


@needs_logs
@pytest.mark.slow
def test_violations():
    figures = run("violations", "--rows", "20000", "--train-rows", "10000", "--events", "5", "--epochs", "1")
    for part in ("motor", "skab"):
        assert len(figures[part]["noticed"]) == 9
        assert all(0 <= share <= 1 for share in figures[part]["noticed"].values())
    assert figures["expected"] == pytest.approx(0.0127, abs=1e-4)


@needs_logs
@pytest.mark.slow
def test_early_warning():
    figures = run("early_warning", "--units", "10", "--runs", "2", "--epochs", "1")
    assert {"latents", "mean and slope"} == set(figures["cmapss"]["rul_rmse"])
    assert all(0 <= row["warned"] <= 1 for row in figures["cmapss"]["warnings"].values())
    assert all(0 <= row["noticed"] <= 1 for row in figures["skab"].values())


@pytest.mark.slow
def test_anomalies():
    figures = run("anomalies", "--seeds", "1", "--epochs", "1", "--rows", "1500")
    assert {"ours, surprise", "ours, embedding", "values", "MERLIN"} <= set(figures["table"])
    assert set(figures["table"]["ours, embedding"]) == {"KDD-TSAD 135", "amplitude", "tempo", "noise", "flat"}
    assert all(0 < row["vus_pr"] <= 1 for rows in figures["table"].values() for row in rows.values())


def test_rollouts():
    figures = run("rollouts", "--plant", "motor", "--rows", "1500", "--epochs", "1", "--plans", "1")
    assert set(figures["error"]) == {"ours", "persistence", "linear"}
    assert figures["error"]["linear"]["1"] < figures["error"]["persistence"]["1"]
    assert figures["seconds_per_plan"] > 0


def test_every_baseline_scores_a_fault_higher_than_normal_rows(baselines):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 3)) @ np.array([[1.0, 0.9, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 1.0]])
    x[500:, 1] += 8.0
    found = {name: baselines.judge(fit, x[:400], [x])[0] for name, fit in baselines.baselines(np.ones(3), 2).items()}
    for name, judged in found.items():
        assert len(judged.score) == 700
        assert len(judged.held_out) == len(judged.in_sample) == 400
        assert np.median(judged.score[560:]) > np.median(judged.score[400:500]) + 1, name
        np.testing.assert_allclose([judged.held_out.mean(), judged.held_out.std()], [0, 1], atol=1e-6)
    both = baselines.union([found["PCA T2"]], [found["PCA Q"]])[0]
    assert (both.score >= found["PCA Q"].score).all()


def test_the_threshold_of_the_same_scores_is_the_same_for_all_detectors(program, monkeypatch):
    skab, rng = program("skab"), np.random.default_rng(0)
    usual, score = np.repeat(rng.normal(size=400), 8), np.repeat(rng.normal(size=500), 8)
    runs, scorer = [("a", np.zeros((4000, 1)), rng.integers(0, 2, 4000))], SimpleNamespace(patch_length=8)
    monkeypatch.setattr(
        skab, "judge", lambda fit, normal, runs: [program("skab_baselines").Judged(score, usual, usual)]
    )
    monkeypatch.setattr(skab, "baselines", lambda floor, epochs: dict.fromkeys(("PCA T2", "PCA Q")))
    monkeypatch.setattr(skab, "refer", lambda scorer, x: SimpleNamespace(usual=usual))
    monkeypatch.setattr(skab, "score_series", lambda scorer, x: SimpleNamespace(score=score))
    monkeypatch.setattr(skab, "Scores", SimpleNamespace(of=lambda usual: SimpleNamespace(score=usual)))
    ours = skab.by_reference(scorer, runs, [0])
    theirs = skab.of_baselines(np.zeros((400, 1)), runs, 1, scorer.patch_length)
    for budget in skab.BUDGETS:
        assert all(rows[budget] == ours[budget] for rows in theirs.values())


def test_early_warnings_are_joined_over_as_many_cycles_for_all_predictors(program, monkeypatch):
    early_warning, asked = program("early_warning"), []
    monkeypatch.setattr(
        early_warning, "fit_threshold", lambda *given: asked.append(given[1:]) or SimpleNamespace(value=1)
    )
    score = np.zeros(500)
    score[[100, 110, 300]] = 2.0
    rows = early_warning.at_budgets("any", [score], [score])
    assert asked == [(budget, early_warning.PATCH) for budget in early_warning.BUDGETS]
    assert [row["false_per_1000"] for row in rows.values()] == [2000 / 374] * 3


def test_a_window_of_the_autoencoder_ends_with_its_row(baselines):
    windows = baselines.windows_of(np.arange(100.0)[:, None])
    assert windows.shape == (100, 1, baselines.WINDOW)
    assert windows[:, 0, -1].tolist() == list(range(100))
    assert (windows[0] == 0).all()


def test_a_baseline_scores_a_run_by_its_own_rows(baselines):
    rng = np.random.default_rng(0)
    normal, run = rng.normal(size=(300, 2)), rng.normal(size=(100, 2))
    fit = baselines.baselines(np.ones(2), 1)["convolutional autoencoder"]
    alone, after = (baselines.judge(fit, normal, runs)[-1] for runs in ([run], [run + 50.0, run]))
    np.testing.assert_array_equal(alone.score, after.score)
