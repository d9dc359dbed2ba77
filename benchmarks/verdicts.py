"""Whether the collapse verdict calls deliberately broken runs by their name, and no healthy recipe collapsed.

python benchmarks/verdicts.py broken --data FordA --seeds 5
python benchmarks/verdicts.py healthy --data FordA --seeds 20
"""

import argparse
import json
import sys
from collections import Counter

import torch

from tsjepa import Options, as_series, build_model, configure, fit_stages, resolve
from tsjepa.checkpoint import Header
from tsjepa.datasets import load

SELF = ("target.kind=self", "loss.kind=mse", "loss.normalize_target=false")
# name -> (overrides of ts-jepa-paper, what it is to be called; None where the question is open)
BROKEN = {
    "self target, nothing else": ((*SELF,), "collapsed"),
    "SIGReg of weight 0": (
        (*SELF, "regularizer.kind=sigreg", "regularizer.weight=0", "projector.out=64"),
        "collapsed",
    ),
    "EMA decay 1": (("target.momentum=1.0",), None),
    "EMA decay 0": (("target.momentum=0.0",), None),
    "projector of rank 1": ((*SELF, "regularizer.kind=sigreg", "projector.out=1"), None),
    "position-only predictor": ((*SELF, "regularizer.kind=sigreg"), "positional-collapse"),
}
HEALTHY = (
    "ts-jepa-ema",
    "ts-jepa-cjepa",
    "ts-jepa-sigreg",
    "ts-jepa-vicreg",
    "ts-jepa-visreg",
    "ts-jepa-deep",
    "ts-jepa-distill",
    "ts-jepa-salt",
)


def blind_predictor(model):
    """Make the predictor see positions only."""
    with torch.no_grad():
        model.predictor.embed.weight.zero_()
    model.predictor.embed.requires_grad_(False)


def verdict(recipe, overrides, data, seed, epochs):
    """Train one run and return its verdict."""
    series = as_series(data.X_train)
    config = resolve(configure(recipe, None, [*overrides, f"train.epochs={epochs}", f"train.seed={seed}"]), 500)
    model = build_model(config, series.n_channels)
    if overrides and overrides == BROKEN["position-only predictor"][0]:
        blind_predictor(model)
    header = Header(config, data.name, series.n_channels, series.n_timepoints)
    return fit_stages(model, series, header, Options(labels=data.y_train)).verdict


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["broken", "healthy"])
    parser.add_argument("--data", default="FordA")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data, table = load(options.data), {}
    runs = (
        [(name, "ts-jepa-paper", *rest) for name, rest in BROKEN.items()]
        if options.which == "broken"
        else [(name, name, (), "not a collapse") for name in HEALTHY]
    )
    for name, recipe, overrides, expected in runs:
        found = []
        for seed in range(options.seeds):
            found.append(verdict(recipe, overrides, data, seed, options.epochs))
            print(f"{name}, seed {seed}: {found[-1].verdict}: {found[-1].evidence}", file=sys.stderr, flush=True)
        table[name] = {"expected": expected, "found": dict(Counter(v.verdict for v in found))}
    if options.json:
        print(json.dumps(table))
        return
    for name, row in table.items():
        print(f"{name:28s} expected {row['expected']}: {row['found']}")


if __name__ == "__main__":
    main()
