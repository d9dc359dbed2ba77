"""Probe accuracy with missing points: masked, beside series whose gaps are filled with their mean.

Of every channel of every series of both parts a share of the points is taken out, at random or in blocks. Then, once
with these points missing and once with the mean of the channel's other points in their place: pretrain without labels,
embed, fit the ridge probe on the training labels and score it on the test part. What is missing in the data themselves,
or behind the end of a shorter series, stays missing.

    python benchmarks/missing.py --data FordA --recipe default --epochs 10
    python benchmarks/missing.py --data FordA --epochs 10 --kinds block --shares 0.3 0.5
"""

import argparse
import json
import sys
import time

import numpy as np
import torch

from tsjepa import as_series, build_model, configure, fit_stages, resolve
from tsjepa.arrays import last_valid
from tsjepa.batches import keyed_generator
from tsjepa.calibrator import calibrate
from tsjepa.checkpoint import Header
from tsjepa.datasets import load
from tsjepa.embedding import embed
from tsjepa.masking import blocks, exactly
from tsjepa.normalization import take_statistics
from tsjepa.probe import majority, probe
from tsjepa.training import Options

KINDS, SHARES = ("random", "block"), (0.1, 0.3, 0.5)
BLOCK = 40
ROUTES = ("masked", "filled")


def spoil(X, kind, share, key):
    """Return a copy of X [n, C, T] with a share of the points of each channel up to its last one missing."""
    rows, generator = X.reshape(-1, X.shape[2]).copy(), keyed_generator(*key)
    ends = last_valid(~np.isnan(rows))
    for end in np.unique(ends):
        chosen, count = np.flatnonzero(ends == end), min(round(share * end), end - 1)
        if not count:
            continue
        size = len(chosen), int(end), generator
        gone = exactly(count, *size) if kind == "random" else blocks(count, BLOCK, *size)
        rows[chosen, :end] = np.where(gone.numpy(), np.nan, rows[chosen, :end])
    return rows.reshape(X.shape)


def filled(X, whole):
    """Return X with the mean of what is left of a channel where `whole` has a value that X has not."""
    gone = np.isnan(X) & ~np.isnan(whole)
    left = np.where(gone.any(-1, keepdims=True), X, 0)  # numpy warns of the mean of a channel without any value
    return np.where(gone, np.nanmean(left, -1, keepdims=True), X)


def measure(recipe, overrides, name, X_train, y_train, X_test, y_test):
    """Return the probe's accuracy before and after training, and the seconds that training took."""
    train, test = as_series(X_train), as_series(X_test)
    config = resolve(configure(recipe, overrides=overrides), train.n_timepoints)
    model = build_model(config, train.n_channels).eval()
    take_statistics(model, train)
    calibrate(model.encoder, train, config.probe, whiten=False)

    def accuracy():
        Z_train, Z_test = (embed(model.encoder, part, config.probe) for part in (train, test))
        return probe(Z_train, y_train, Z_test, y_test)[0].accuracy

    before, started = accuracy(), time.perf_counter()
    header = Header(config, name, train.n_channels, train.n_timepoints)
    fit_stages(model, train, header, Options(device="cpu", diagnose=False))
    seconds = time.perf_counter() - started
    return {"random_init": before, "trained": accuracy(), "seconds": seconds}


def curve(data, recipe, overrides, seed, kinds=KINDS, shares=SHARES):
    """Yield a row for each kind and share of missing points and each way to go on."""
    whole = [as_series(X).with_nan() for X in (data.X_train, data.X_test)]
    overrides = [*overrides, f"train.seed={seed}"]
    found = measure(recipe, overrides, data.name, whole[0], data.y_train, whole[1], data.y_test)
    yield {"kind": "none", "share": 0.0, "route": "whole", "seed": seed, **found}
    for kind in kinds:
        for share in shares:
            parts = [spoil(X, kind, share, (seed, place)) for place, X in enumerate(whole)]
            for route in ROUTES:
                train, test = parts if route == "masked" else map(filled, parts, whole)
                found = measure(recipe, overrides, data.name, train, data.y_train, test, data.y_test)
                yield {"kind": kind, "share": share, "route": route, "seed": seed, **found}


def table(rows):
    """Return the lines of the table, means over seeds, random initialisation before the arrow."""
    cells = {}
    for row in rows:
        cells.setdefault((row["kind"], row["share"]), {}).setdefault(row["route"], []).append(row)
    yield f"{'missing':14s}" + "".join(f"{route:>20s}" for route in ROUTES)
    for (kind, share), routes in cells.items():
        found = [
            " -> ".join(f"{np.mean([row[key] for row in rows]):.4f}" for key in ("random_init", "trained"))
            for rows in routes.values()
        ]
        yield f"{kind + f' {share:.0%}':14s}" + "".join(f"{text:>20s}" for text in found)


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="FordA")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    epochs = [] if options.epochs is None else [f"train.epochs={options.epochs}"]
    data, rows = load(options.data), []
    for seed in range(options.seeds):
        overrides = [*options.overrides, *epochs]
        for row in curve(data, options.recipe, overrides, seed, options.kinds, options.shares):
            rows.append(row)
            print(*(f"{value:.4f}" if isinstance(value, float) else value for value in row.values()), file=sys.stderr)
    if options.json:
        print(json.dumps(rows))
        return
    guess = majority(data.y_train, data.y_test).accuracy
    print(f"{data.name}, {options.recipe}: {options.seeds} seed(s), blocks of {BLOCK} points, majority {guess:.4f}")
    print(*table(rows), sep="\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
