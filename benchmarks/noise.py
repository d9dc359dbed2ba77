"""How much accuracy noise costs, with a readout that was told to tolerate it and without; training parts alone.

    python benchmarks/noise.py --suite ucr-shared --tolerances 0 0.05 0.1 0.2
    python benchmarks/noise.py --suite ucr-shared --tolerances 0 --in-band --pretrain --set probe.level_weight=1.2

For each tolerance (`probe.noise`, 0 for none) an encoder of the recipe is built and its readout learned from a training
part, without labels. Five-fold cross-validation then fits the ridge head on clean series and scores series to which
noise of a share of their deviation was added: white noise, or with --in-band noise that has the spectrum of another
series of the set. Without --pretrain the encoder's weights are untrained. No test part is looked at.
"""

import argparse
import json
import sys

import numpy as np
from front_ends import cross_validated_on, few, read

from tsjepa import Options, build_model, configure, fit_stages, resolve
from tsjepa.arrays import Series
from tsjepa.calibrator import calibrate
from tsjepa.checkpoint import Header
from tsjepa.datasets import DataError
from tsjepa.embedding import embed
from tsjepa.evaluation.benchmark_suites import load_suite
from tsjepa.level_weights import LEVEL_WEIGHT

ADDED = (0.0, 0.05, 0.1, 0.2, 0.5)
LABELS = (1, 5, 10)


def encoder_of(options, tolerance, series):
    """Return an encoder whose readout has been learned from series, and how it is read."""
    # on tokens of random weights patches hardly agree: measured, these would count nothing
    fixed = [f"probe.level_weight={LEVEL_WEIGHT}"] * (not options.pretrain)
    overrides = fixed + options.overrides + [f"probe.noise={tolerance}"] * (tolerance > 0)
    config = resolve(configure(options.recipe, overrides=overrides), series.n_timepoints)
    model = build_model(config, series.n_channels)
    if options.pretrain:
        header = Header(config, None, series.n_channels, series.n_timepoints)
        fit_stages(model, series, header, Options(device="cpu", diagnose=False))
    else:
        calibrate(model.encoder, series, config.probe)
    return model.eval().encoder, config.probe


def with_noise(series, share, rng, in_band):
    """Return series with noise of a share of each channel's deviation; what is missing stays so."""
    values, valid = series
    there = True if valid is None else valid
    counted = True if valid is None else valid | ~valid.any(2, keepdims=True)  # zeros of a channel without any value
    noise = of_other_series(values, rng) if in_band else rng.normal(size=values.shape)
    noisy = values + share * values.std(2, keepdims=True, where=counted) * noise
    return Series(np.where(there, noisy, 0).astype(np.float32), valid)


def of_other_series(values, rng):
    """Return noise of deviation 1 that has the spectrum of another series, drawn for each, and random phases."""
    spectra = np.abs(np.fft.rfft(values[rng.permutation(len(values))]))
    noise = np.fft.irfft(spectra * np.exp(2j * np.pi * rng.random(spectra.shape)), values.shape[2])
    noise -= noise.mean(2, keepdims=True)
    return noise / np.maximum(noise.std(2, keepdims=True), np.finfo(np.float32).tiny)


def measure(options, tolerance, name):
    """Return accuracies by share of noise and by number of labels a class."""
    series, y = read(name)
    encoder, how = encoder_of(options, tolerance, series)
    rng = np.random.default_rng(0)
    rows = [embed(encoder, with_noise(series, share, rng, options.in_band), how) for share in ADDED]
    right = cross_validated_on(rows[0], y, rows)
    found = {f"noise {share:g}": value for share, value in zip(ADDED, right, strict=True)}
    return found | {f"{count} labels": few(rows[0], y, count) for count in LABELS}


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="ucr-shared")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--tolerances", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--in-band", action="store_true")
    parser.add_argument("--pretrain", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    table = {}
    for name in load_suite(options.suite):
        try:
            found = {t: measure(options, t, name) for t in options.tolerances}
        except DataError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        for tolerance, numbers in found.items():
            table.setdefault(str(tolerance), {})[name] = numbers
        print(name, file=sys.stderr, flush=True)
    means = {
        tolerance: {key: float(np.nanmean([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}
        for tolerance, rows in table.items()
    }
    if options.json:
        print(json.dumps({"means": means, "data": table}))
        return
    for tolerance, numbers in means.items():
        print(f"tolerance {tolerance:5s}" + "".join(f"   {key} {value:.4f}" for key, value in numbers.items()))
    print(f"{len(next(iter(table.values())))} data sets")


if __name__ == "__main__":
    main()
