"""Probe accuracy of recipes against their own random initialisation, with all labels and with few.

For each recipe and seed: pretrain on the training part without labels, embed, fit the ridge probe on all training
labels and on a stratified 5 % of them (20 draws, the same for both encoders), score on the test part.

    python benchmarks/recipes.py --data FordA --seeds 3 ts-jepa-paper ts-jepa-ema ts-jepa-sigreg

With `--keep FILE` each row is appended to a file of JSON lines, and rows that it holds already are not measured again.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from tsjepa import as_series, build_model, configure, fit_stages, resolve
from tsjepa.calibrator import calibrate
from tsjepa.checkpoint import Header
from tsjepa.datasets import load
from tsjepa.embedding import embed
from tsjepa.monitor import Monitor
from tsjepa.probe import cross_validate, probe

DRAWS = tuple(range(20))


def accuracies(encoder, config, data):
    """Return accuracy with all labels, cross-validated accuracy, and the accuracies of 20 draws of 5 %."""
    train, test = (embed(encoder, as_series(X), config.probe) for X in (data.X_train, data.X_test))
    everything = probe(train, data.y_train, test, data.y_test)[0].accuracy
    few = probe(train, data.y_train, test, data.y_test, fraction=0.05, seeds=DRAWS)
    return everything, cross_validate(train, data.y_train), np.array([score.accuracy for score in few])


def measure(recipe, overrides, data, seed):
    """Train one recipe with one seed and return its row."""
    series = as_series(data.X_train)
    config = resolve(configure(recipe, overrides=[*overrides, f"train.seed={seed}"]), series.n_timepoints)
    model = build_model(config, series.n_channels).eval()
    calibrate(model.encoder, series, config.probe, whiten=False)
    before = accuracies(model.encoder, config, data)
    start = time.process_time()
    result = fit_stages(model, series, Header(config, data.name, series.n_channels, series.n_timepoints))
    seconds = time.process_time() - start
    after = accuracies(model.encoder, config, data)
    gain = after[2] - before[2]
    monitor = Monitor(model, series)
    monitor.measure(result.epochs)
    return {
        "recipe": recipe,
        "seed": seed,
        "random_init": before[0],
        "trained": after[0],
        "random_init_cv": before[1],
        "trained_cv": after[1],
        "random_init_few": before[2].mean(),
        "trained_few": after[2].mean(),
        "gain_few": gain.mean(),
        "gain_few_interval": 1.96 * gain.std(ddof=1) / np.sqrt(len(gain)),
        "gains_few": gain.tolist(),
        "effective_rank": monitor.history[-1].effective_rank,
        "verdict": result.verdict.verdict,
        "loss": result.loss,
        "seconds": seconds,
    }


def summary(rows):
    """Return the means over seeds of one recipe, and the paired 95 % interval of the gain with few labels."""
    keys = ("random_init", "trained", "random_init_cv", "trained_cv", "random_init_few", "trained_few")
    keys += ("effective_rank", "seconds")
    mean = {key: float(np.mean([row[key] for row in rows])) for key in keys}
    deviation = {f"{key}_std": float(np.std([row[key] for row in rows])) for key in keys}
    verdicts = " ".join(sorted({row["verdict"] for row in rows}))
    gains = np.mean([row["gains_few"] for row in rows], 0)  # a draw of labels is the same for every seed
    mean["gain_few"] = float(gains.mean())
    mean["gain_few_interval"] = float(1.96 * gains.std(ddof=1) / np.sqrt(len(gains)))
    return {**mean, **deviation, "verdict": verdicts}


def line(name, row):
    """Return one row of the table."""
    return (
        f"{name:24s} all {row['random_init']:.4f} -> {row['trained']:.4f}   "
        f"cv {row['random_init_cv']:.4f} -> {row['trained_cv']:.4f}   "
        f"5 % {row['random_init_few']:.4f} -> {row['trained_few']:.4f} "
        f"(gain {row['gain_few']:+.4f} +- {row['gain_few_interval']:.4f})   rank {row['effective_rank']:.1f}   "
        f"{row['seconds']:.0f} s of a core   {row['verdict']}"
    )


def kept(path):
    """Return the rows of a file of JSON lines by recipe, seed, data and overrides."""
    if path is None or not path.exists():
        return {}
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    return {(row["recipe"], row["seed"], row["data"], tuple(row["overrides"])): row for row in rows}


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--data", default="FordA")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data, old = load(options.data), kept(options.keep)
    table = {}
    for recipe in options.recipes:
        rows = []
        for seed in range(options.seeds):
            key = recipe, seed, data.name, tuple(options.overrides)
            made = {"data": data.name, "overrides": options.overrides}
            rows.append(old.get(key) or measure(recipe, options.overrides, data, seed) | made)
            if options.keep is not None and key not in old:
                with options.keep.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
            print(line(f"{recipe} seed {seed}", rows[-1]), file=sys.stderr, flush=True)
        table[recipe] = summary(rows)
    if options.json:
        print(json.dumps(table))
        return
    print(f"{data.name}: {len(data.y_train)} training series, {len(data.y_test)} test series, {options.seeds} seeds")
    for recipe, row in table.items():
        print(line(recipe, row))


if __name__ == "__main__":
    main()
