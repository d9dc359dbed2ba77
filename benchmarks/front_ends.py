"""What encoders find, untrained or pretrained: cross-validation and few labels inside the training parts of a suite.

No test series is looked at, so that choices may be made by it.

    python benchmarks/front_ends.py --suite ucr-shared raw minirocket ts-jepa-paper default
    python benchmarks/front_ends.py --suite ucr-shared default --set probe.sketch=640
    python benchmarks/front_ends.py --suite ucr-shared default --pretrain --set loss.centre_target=false

For each data set at most 400 training series, drawn by label: accuracy of the ridge head by five-fold
cross-validation, and fitted on one, five and ten labels a class, ten draws, scored on the other series. Printed are
means over the data sets that have enough of each class.
"""

import argparse
import json
import sys

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from tsjepa import as_series, configure
from tsjepa.datasets import DataError, load
from tsjepa.evaluation.benchmark_features import fit_method
from tsjepa.evaluation.benchmark_methods import PLAIN, Method, find_method
from tsjepa.evaluation.benchmark_suites import load_suite
from tsjepa.probe import make_head

LARGEST, DRAWS = 400, 10


def read(name):
    """Return at most LARGEST training series of a data set, and their classes."""
    data = load(name)
    X, y = data.X_train, np.asarray(data.y_train)
    if len(y) > LARGEST:
        chosen, _ = train_test_split(np.arange(len(y)), train_size=LARGEST, stratify=y, random_state=0)
        chosen.sort()
        X, y = ([X[case] for case in chosen] if isinstance(X, list) else X[chosen]), y[chosen]
    return as_series(X), y


def cross_validated(Z, y):
    """Return the share of series that five-fold cross-validation gets right; nan with too few of a class."""
    return cross_validated_on(Z, y, [Z])[0]


def cross_validated_on(Z, y, scored):
    """Return that share for each of several features of the same series, which are scored in the place of Z."""
    folds = min(5, np.bincount(y).min())
    if folds < 2:
        return [float("nan")] * len(scored)
    right = np.zeros(len(scored))
    for a, b in StratifiedKFold(folds, shuffle=True, random_state=0).split(Z, y):
        head = make_head().fit(Z[a], y[a])
        right += [(head.predict(rows[b]) == y[b]).sum() for rows in scored]
    return (right / len(y)).tolist()


def few(Z, y, per_class):
    """Return the mean accuracy with so many labels a class; nan where a class has hardly more."""
    if np.bincount(y).min() < per_class + 2:
        return float("nan")
    accuracies = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        chosen = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:per_class] for label in np.unique(y)])
        rest = np.setdiff1d(np.arange(len(y)), chosen)
        accuracies.append(make_head().fit(Z[chosen], y[chosen]).score(Z[rest], y[rest]))
    return float(np.mean(accuracies))


def method_of(name, overrides, pretrain):
    """Return a recipe's encoder as it starts or pretrained on those series, or features of others."""
    kind = "pretrained" if pretrain else "random-init"
    return find_method(name) if name in PLAIN else Method(name, kind, configure(name, None, overrides))


def measure(method, names, seed):
    """Return the numbers of one method on each data set."""
    rows = {}
    for name in names:
        try:
            series, y = read(name)
        except DataError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        Z = np.asarray(fit_method(method, series, y, seed, "cpu").transform(series))
        rows[name] = {
            "cv": cross_validated(Z, y),
            "one": few(Z, y, 1),
            "five": few(Z, y, 5),
            "ten": few(Z, y, 10),
            "features": Z.shape[1],
        }
    return rows


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--suite", default="ucr-shared")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pretrain", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    table = {}
    for name in options.methods:
        rows = measure(method_of(name, options.overrides, options.pretrain), load_suite(options.suite), options.seed)
        numbers = ("cv", "one", "five", "ten")
        table[name] = {key: float(np.nanmean([row[key] for row in rows.values()])) for key in numbers}
        table[name] |= {"n_data": len(rows), "data": rows}
        if not options.json:
            means = "   ".join(f"{key} {table[name][key]:.4f}" for key in numbers)
            print(f"{name:20s} {means}   {len(rows)} data sets", flush=True)
    if options.json:
        print(json.dumps(table))


if __name__ == "__main__":
    main()
