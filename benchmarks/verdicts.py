"""Whether the collapse verdict calls deliberately broken runs by their name, and no healthy recipe collapsed.

python benchmarks/verdicts.py broken --data FordA --seeds 5 --keep DIR
python benchmarks/verdicts.py healthy --data FordA --seeds 20 --keep DIR
python benchmarks/verdicts.py judge DIR

With `--keep` each run's diagnostics become DIR/NAME/SEED/diagnostics.csv, and a run that is there is not trained again:
a folder belongs to one data set and one number of epochs. `judge` reads such a folder and trains nothing.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

from tsjepa import Options, as_series, build_model, configure, fit_stages, resolve
from tsjepa.checkpoint import Header
from tsjepa.datasets import load
from tsjepa.monitor import read_history
from tsjepa.run_files import DIAGNOSTICS, EpochTable
from tsjepa.verdict import HOPELESS, judge


class Run(NamedTuple):
    """A recipe with overrides, what it is to be called (None where the question is open), and its predictor's sight."""

    recipe: str
    overrides: tuple[str, ...] = ()
    expected: str | None = "no collapse"
    blind: bool = False


SELF = ("target.kind=self", "loss.kind=mse", "loss.normalize_target=false")
SIGREG = (*SELF, "regularizer.kind=sigreg")
BROKEN = {
    "self target, nothing else": Run("ts-jepa-paper", SELF, "collapsed"),
    "SIGReg of weight 0": Run("ts-jepa-paper", (*SIGREG, "regularizer.weight=0", "projector.out=64"), "collapsed"),
    "EMA decay 1": Run("ts-jepa-paper", ("target.momentum=1.0",), None),
    "EMA decay 0": Run("ts-jepa-paper", ("target.momentum=0.0",), None),
    "projector of rank 1": Run("ts-jepa-paper", (*SIGREG, "projector.out=1"), "positional-collapse"),
    "position-only predictor": Run("ts-jepa-paper", SIGREG, "positional-collapse", blind=True),
}
HEALTHY = {
    name: Run(name)
    for name in (
        "ts-jepa-ema",
        "ts-jepa-cjepa",
        "ts-jepa-sigreg",
        "ts-jepa-vicreg",
        "ts-jepa-visreg",
        "ts-jepa-deep",
        "ts-jepa-distill",
        "ts-jepa-salt",
    )
}
RUNS = BROKEN | HEALTHY


def blind_predictor(model):
    """Make the predictor see positions only."""
    with torch.no_grad():
        model.predictor.embed.weight.zero_()
    model.predictor.embed.requires_grad_(False)


def train(run, data, seed, epochs, folder):
    """Train one run and put its diagnostics into a folder, whole or not at all."""
    series = as_series(data.X_train)
    overrides = [*run.overrides, f"train.epochs={epochs}", f"train.seed={seed}"]
    config = resolve(configure(run.recipe, None, overrides), series.n_timepoints)
    model = build_model(config, series.n_channels)
    if run.blind:
        blind_predictor(model)
    header = Header(config, data.name, series.n_channels, series.n_timepoints)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        fit_stages(model, series, header, Options(out=Path(out), labels=data.y_train))
        os.replace(Path(out) / DIAGNOSTICS, folder / DIAGNOSTICS)


def stored_verdict(name, folder):
    """Return the verdict on the history in a folder."""
    return judge(read_history(EpochTable(folder / DIAGNOSTICS)), dim=configure(RUNS[name].recipe).encoder.dim)


def train_all(names, options, folder):
    """Train the runs that the folder does not hold yet."""
    data = load(options.data)
    for name in names:
        for seed in range(options.seeds):
            place = folder / name / str(seed)
            if not (place / DIAGNOSTICS).exists():
                train(RUNS[name], data, seed, options.epochs, place)
                print(f"{name}, seed {seed}: {stored_verdict(name, place).verdict}", file=sys.stderr, flush=True)


def judge_all(folder):
    """Return of each run in a folder what it was to be called and what it is, seed by seed with the evidence."""
    table = {}
    for name in (name for name in RUNS if any((folder / name).glob(f"*/{DIAGNOSTICS}"))):
        places = sorted((p.parent for p in (folder / name).glob(f"*/{DIAGNOSTICS}")), key=lambda p: int(p.name))
        found = {place.name: stored_verdict(name, place)._asdict() for place in places}
        counts = Counter(verdict["verdict"] for verdict in found.values())
        table[name] = {
            "expected": RUNS[name].expected,
            "found": dict(counts),
            "called_collapsed": sum(counts[state] for state in HOPELESS),
            "seeds": found,
        }
    return table


def parse():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="which", required=True)
    for which, runs, seeds in (("broken", BROKEN, 5), ("healthy", HEALTHY, 20)):
        command = commands.add_parser(which)
        command.add_argument("--data", default="FordA")
        command.add_argument("--seeds", type=int, default=seeds)
        command.add_argument("--epochs", type=int, default=30)
        command.add_argument("--recipes", nargs="+", choices=list(runs), default=list(runs), metavar="NAME")
        command.add_argument("--keep", type=Path, metavar="DIR")
        command.add_argument("--json", action="store_true")
    command = commands.add_parser("judge")
    command.add_argument("folder", type=Path)
    command.add_argument("--json", action="store_true")
    return parser.parse_args()


def main():
    """Run from the command line."""
    options = parse()
    if options.which == "judge":
        table = judge_all(options.folder)
        if not table:
            sys.exit(f"{options.folder} holds no run: give the folder that --keep named, of NAME/SEED/{DIAGNOSTICS}.")
    else:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.keep or Path(temporary)
            train_all(options.recipes, options, folder)
            table = {name: row for name, row in judge_all(folder).items() if name in options.recipes}
    if options.json:
        print(json.dumps(table))
        return
    for name, row in table.items():
        for seed, found in row["seeds"].items():
            print(f"{name}, seed {seed}: {found['verdict']}: {found['evidence']}", file=sys.stderr)
    print(f"{'run':28s} {'expected':20s} {'called collapsed':>17s}  found")
    for name, row in table.items():
        called = f"{row['called_collapsed']} of {len(row['seeds'])}"
        found = ", ".join(f"{count} {state}" for state, count in row["found"].items())
        print(f"{name:28s} {row['expected'] or 'open':20s} {called:>17s}  {found}")


if __name__ == "__main__":
    main()
