"""Each speed program runs with tiny sizes and prints one JSON object with what is promised."""

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toy_runs import run as pretrained

from tsjepa import as_series
from tsjepa.embedding import embed

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


def test_runs_are_drawn_side_by_side(program, tmp_path):
    pretrained(tmp_path / "run", epochs=2)
    picture = program("collapse_picture")
    figure = picture.draw({"one": tmp_path / "run", "two": tmp_path / "run"})
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss", "effective rank", "cross-series share"]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == ["one", "two"]
        assert all(list(line.get_xdata()) == [0, 1, 2] for line in axes.lines)
    command = [sys.executable, str(FOLDER / "collapse_picture.py"), "one", str(tmp_path / "run")]
    subprocess.run([*command, "--out", str(tmp_path / "picture.png")], check=True)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    twice = [*command, *command[-2:], "--out", str(tmp_path / "none.png")]
    done = subprocess.run(twice, capture_output=True, text=True)
    assert "two runs have the same name" in done.stderr
    command[-1] = str(tmp_path)
    done = subprocess.run([*command, "--out", str(tmp_path / "none.png")], capture_output=True, text=True)
    assert f"{tmp_path} holds no diagnostics.csv: name the folder of a run" in done.stderr
    assert not (tmp_path / "none.png").exists()


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


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def labelled(n_channels, lengths):
    """Return as many series of two classes as there are lengths, slow and fast sines far from zero, and the classes."""
    rng, y = np.random.default_rng(0), np.arange(len(lengths)) % 2
    phases = rng.uniform(0, 6, (len(lengths), n_channels, 1))
    X = [50 + np.sin(np.arange(n) / (9 - 2 * c) + p) + rng.normal(0, 0.5, (n_channels, n))
         for n, c, p in zip(lengths, y, phases, strict=True)]  # fmt: skip
    return X, y


@pytest.mark.parametrize("in_band", [False, True])
def test_series_of_unequal_length_get_noise_where_they_were_measured(program, monkeypatch, in_band):
    noise, (X, y) = program("noise"), labelled(2, range(40, 80))
    X[3][1] = np.nan
    series = as_series(X)
    monkeypatch.setattr(noise, "read", lambda name: (series, y))
    options = SimpleNamespace(recipe="tiny", overrides=["probe.levels=last"], pretrain=False, in_band=in_band)
    found = noise.measure(options, 0, "ragged")
    encoder, how = noise.encoder_of(options, 0, series)
    assert how.levels == "last"
    Z = embed(encoder, series, how)
    assert [found["noise 0"]] == noise.cross_validated_on(Z, y, [Z])
    noisy = noise.with_noise(series, 0.5, np.random.default_rng(0), in_band)
    np.testing.assert_array_equal(noisy.valid, series.valid)
    assert not noisy.values[~series.valid].any()
    added, kept = noisy.values - series.values, series.with_nan()[np.arange(len(y)) != 3]
    assert added[series.valid].std() == pytest.approx(0.5 * np.nanstd(kept, 2).mean(), rel=0.1)


def test_noise_in_band_has_the_spectrum_of_the_series(program):
    noise, t = program("noise"), np.arange(200)
    values = np.stack([np.sin(2 * np.pi * 7 * t / 200 + phase) for phase in range(5)])[:, None]
    found = noise.of_other_series(values, np.random.default_rng(0))
    np.testing.assert_allclose(found.std(2), 1)
    assert (np.abs(np.fft.rfft(found)).argmax(2) == 7).all()
    assert np.abs(found - values * 2**0.5).max(2).mean() > 0.5  # phases of their own


@pytest.mark.parametrize(("n_channels", "lengths"), [(3, [60] * 24), (1, range(37, 61))])
def test_points_are_taken_out_of_each_channel_of_any_series(program, n_channels, lengths):
    missing, (X, y) = program("missing"), labelled(n_channels, lengths)
    data = SimpleNamespace(name="any", X_train=X, y_train=y, X_test=X[:9], y_test=y[:9])
    rows = list(missing.curve(data, "tiny", ["train.epochs=1"], 0, ["random", "block"], [0.5]))
    assert [row["route"] for row in rows] == ["whole", *missing.ROUTES, *missing.ROUTES]
    assert all(0 <= row["trained"] <= 1 for row in rows)
    whole = as_series(X).with_nan()
    for kind in missing.KINDS:
        spoilt = missing.spoil(whole, kind, 0.5, (0, 0))
        gone = (np.isnan(spoilt) & ~np.isnan(whole)).sum(-1)
        np.testing.assert_array_equal(gone, np.repeat(np.rint(np.array(lengths) / 2)[:, None], n_channels, 1))
        full = missing.filled(spoilt, whole)
        np.testing.assert_array_equal(np.isnan(full), np.isnan(whole))
        np.testing.assert_allclose(np.nanmean(full, -1), np.nanmean(spoilt, -1), rtol=1e-6)


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


def test_a_folder_without_runs_to_judge_is_refused(program, monkeypatch, tmp_path, capsys):
    verdicts, run = program("verdicts"), tmp_path / "runs" / "EMA decay 0" / "0"
    pretrained(run, epochs=1)
    for folder in (tmp_path / "nowhere", run):
        monkeypatch.setattr("sys.argv", ["verdicts.py", "judge", str(folder)])
        with pytest.raises(SystemExit, match="holds no run: give the folder that --keep named"):
            verdicts.main()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("sys.argv", ["verdicts.py", "judge", str(tmp_path / "runs")])
    verdicts.main()
    assert "EMA decay 0" in capsys.readouterr().out
