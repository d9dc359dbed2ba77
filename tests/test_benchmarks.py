"""Each speed program runs with tiny sizes and prints one JSON object with what is promised."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
TINY = ("--rounds", "1", "--threads", "1")
STEP = ("--steps", "1", "--batch-size", "4", "--length", "60", "--patch-length", "10", "--dim", "16")
STEP_KEYS = "series_per_s baseline_series_per_s ratio floor_series_per_s floor_ratio"


def run(program, *options):
    command = [sys.executable, str(FOLDER / f"{program}.py"), *TINY, *options]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("program", "options", "keys"),
    [
        ("train_step", STEP, STEP_KEYS),
        ("train_step", (*STEP, "--objective", "sigreg", "--precision", "bf16"), STEP_KEYS),
        ("sigreg", ("--samples", "20", "--dim", "8", "--slices", "16"), "ms textbook_ms peak_mb"),
        ("startup", (), "help_cpu_s import_s"),
        pytest.param(
            "embed",
            ("--series", "70", "--length", "100"),
            "series_per_s minirocket_series_per_s ratio bf16_ratio bf16_cosine floor_ratio",
            marks=pytest.mark.slow,  # numba compiles MiniRocket
        ),
    ],
)
def test_one_object_with_the_keys(program, options, keys):
    figures = json.loads(run(program, *options, "--json"))
    for key in keys.split():
        assert math.isfinite(figures[key]), key
        assert figures[key] > 0, key


def test_without_json_a_table():
    lines = run("sigreg", "--samples", "20", "--dim", "8", "--slices", "16").splitlines()
    assert any(line.split()[0] == "textbook_ms" for line in lines)


def test_noise_costs_less_where_it_is_tolerated(tmp_path):
    (tmp_path / "one.yaml").write_text("data: [GunPoint]\n")
    command = [sys.executable, str(FOLDER / "noise.py"), "--suite", str(tmp_path / "one.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    means = json.loads(done.stdout)["means"]
    plain, tolerant = means["0.0"], means["0.1"]
    assert set(plain) == {*(f"noise {s}" for s in (0, 0.05, 0.1, 0.2, 0.5)), *(f"{n} labels" for n in (1, 5, 10))}
    assert plain["noise 0"] > plain["noise 0.5"]
    assert tolerant["noise 0.1"] > plain["noise 0.1"] + 0.05


@pytest.mark.parametrize("training", [(), ("--pretrain", "--set", "train.epochs=1")])
def test_front_ends_are_read_without_their_test_parts(tmp_path, training):
    (tmp_path / "two.yaml").write_text("data: [GunPoint, BasicMotions]\n")
    command = [sys.executable, str(FOLDER / "front_ends.py"), "--suite", str(tmp_path / "two.yaml"), "raw", "tiny"]
    done = subprocess.run(
        [*command, *training, "--json"], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert list(table) == ["raw", "tiny"]
    assert table["raw"]["data"]["GunPoint"]["features"] == 150
    for row in table.values():
        assert row["n_data"] == 2
        for key in ("cv", "one", "five"):
            assert 0.3 < row[key] <= 1, key
        assert row["five"] > row["one"]
