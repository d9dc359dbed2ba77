"""SKAB's table: our detector beside isolation forest, PCA and a convolutional autoencoder, over its 34 runs.

    TSJEPA_LOGS=.. python benchmarks/skab.py --draws 5

(a) the first 400 rows of each run are its normal reference; (b) all is learnt from the separate normal run. F1,
false-alarm and missed-alarm rate are those of SKAB, over all rows of all runs. `held out`: thresholds from normal rows
that a detector was not fitted to, for budgets of false alarms, the same way for all. `in sample`: the 99th percentile
of the scores of the rows that a detector was fitted to, for each run its own, as is customary on SKAB. `--draws N` cuts
a random 0 to 150 rows from the head of every run, N times, and from its reference as many, and scores protocol (a)
again. Rules that look at no sensor are oracles: their bounds are the best ones by the labels.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from program import log_file, parser_of, run
from skab_baselines import baselines, judge, union

from tsjepa import SurpriseDetector
from tsjepa.evaluation.alarms import score_alarms
from tsjepa.held_out import fit_held_out
from tsjepa.stream import score_series
from tsjepa.surprise import Scores, refer
from tsjepa.thresholds import Budget, fit_threshold

REFERENCE, CUT = 400, 150
BUDGETS = ("1/day", "1/h", "6/h")
CUSTOMARY = 0.99
OTHERS = ("run", "timestamp", "anomaly", "changepoint")


def read(folder, name):
    """Return the runs of a file: name, rows [T, C] and labels [T] each."""
    table = pq.read_table(log_file(folder, name))
    run = np.array(table["run"].to_pylist())
    rows = np.stack([table[column].to_numpy() for column in table.column_names if column not in OTHERS], 1)
    label = table["anomaly"].to_numpy() if "anomaly" in table.column_names else np.zeros(len(rows), int)
    return [(str(at), rows[run == at].astype(float), label[run == at]) for at in np.unique(run)]


def rates(alarms, runs):
    """Return F1, false-alarm and missed-alarm rate of alarms, one array a run."""
    found = score_alarms(np.concatenate(alarms), np.concatenate([label for _, _, label in runs]))
    return found._asdict()


def held_out(scored, normal, runs, patch):
    """Return the rates at thresholds from normal scores, one a budget; rows are a second apart.

    `patch` is that of our model for all detectors, since it says which alarms are one: a detector whose alarms were
    joined over fewer rows would have more of them for the same budget, and so a stricter threshold.
    """
    rows = {}
    for budget in BUDGETS:
        threshold = fit_threshold(normal, Budget.parse(budget).interval(1.0), patch).value
        rows[budget] = rates([np.nan_to_num(score, nan=-np.inf) > threshold for score in scored], runs)
    return rows


def in_sample(scored, known, runs):
    """Return the rates at each run's 99th percentile of the scores of rows that were fitted to."""
    return rates(
        [
            np.nan_to_num(score, nan=-np.inf) > np.nanquantile(rows, CUSTOMARY)
            for score, rows in zip(scored, known, strict=True)
        ],
        runs,
    )


def by_reference(scorer, runs, cuts):
    """Return our rates by protocol (a), the reference of each run shortened by what is cut from its head."""
    scored, usual, known = [], [], []
    for (_, rows, _), cut in zip(runs, cuts, strict=True):
        x = rows[cut:].T.astype(np.float32)
        own = refer(scorer, x[:, : REFERENCE - cut])
        scored.append(score_series(own, x).score)
        usual.append(Scores.of(own.usual).score)
        known.append(scored[-1][: REFERENCE - cut])
    left = [(name, rows[cut:], label[cut:]) for (name, rows, label), cut in zip(runs, cuts, strict=True)]
    found = held_out(scored, usual, left, scorer.patch_length)
    return {**found, "in sample": in_sample(scored, known, left)}


def by_normal_run(model, normal, runs, context):
    """Return our rates by protocol (b)."""
    x = normal.T.astype(np.float32)
    scorer, usual = fit_held_out(model, [x], context=context)
    scored = [score_series(scorer, rows.T.astype(np.float32)).score for _, rows, _ in runs]
    found = held_out(scored, usual, runs, scorer.patch_length)
    return {**found, "in sample": in_sample(scored, [score_series(scorer, x).score] * len(runs), runs)}


def of_baselines(normal, runs, epochs, patch):
    """Return the rates of the baselines by both protocols."""
    fits = baselines(normal.std(0), epochs)
    judged = {"(a)": {}, "(b)": {}}
    for name, fit in fits.items():
        judged["(a)"][name] = [judge(fit, rows[:REFERENCE], [rows])[0] for _, rows, _ in runs]
        judged["(b)"][name] = judge(fit, normal, [rows for _, rows, _ in runs])
    found = {}
    for protocol, detectors in judged.items():
        detectors["PCA T2 and Q"] = union(detectors["PCA T2"], detectors["PCA Q"])
        for name, parts in detectors.items():
            scored, usual, known = (list(part) for part in zip(*parts, strict=True))
            rows = held_out(scored, usual if protocol == "(a)" else usual[:1], runs, patch)
            found[f"{protocol} {name}"] = {**rows, "in sample": in_sample(scored, known, runs)}
    return found


def without_sensors(runs):
    """Return the rates of rules that know nothing but the number of a row, the best ones by the labels."""

    def at(low, high):
        return rates([(np.arange(len(y)) >= low) & (np.arange(len(y)) < high) for _, _, y in runs], runs)

    later = [at(low, 10**9) for low in range(0, 1000, 10)]
    between = [at(low, high) for low in range(500, 640, 10) for high in range(850, 1100, 10)]
    best = {"every row": at(0, 10**9)}
    for name, found in (("row >= a", later), ("a <= row < b", between)):
        best[name] = max(found, key=lambda row: row["f1"] or 0.0)
    return {f"{name} (oracle)": {"by labels": row} for name, row in best.items()}


def head_cuts(scorer, runs, whole, draws, seed):
    """Return how much F1 changes where heads are cut: mean and worst over draws, one a budget."""
    rng, changes = np.random.default_rng(seed), {budget: [] for budget in BUDGETS}
    for _ in range(draws):
        found = by_reference(scorer, runs, rng.integers(0, CUT + 1, len(runs)))
        for budget in BUDGETS:
            changes[budget].append(found[budget]["f1"] - whole[budget]["f1"])
    return {
        budget: {"mean": float(np.mean(change)), "worst": float(max(change, key=abs))}
        for budget, change in changes.items()
        if change
    }


def measure(options):
    """Return the figures."""
    normal = read(options.logs, "skab_train")[0][1]
    runs = read(options.logs, "skab_test")[: options.runs]
    detector = SurpriseDetector(
        max_epochs=options.epochs, contamination=0.5, random_state=options.seed, device="cpu"
    ).fit(normal)
    scorer = detector.scorer_
    whole = by_reference(scorer, runs, np.zeros(len(runs), int))
    table = {"(a) ours": whole, "(b) ours": by_normal_run(scorer.model, normal, runs, scorer.context)}
    if not options.ours_only:
        table |= of_baselines(normal, runs, options.autoencoder_epochs, scorer.patch_length) | without_sensors(runs)
    inside = [name for name, _, label in runs if label[:REFERENCE].any()]
    cuts = head_cuts(scorer, runs, whole, options.draws, options.seed)
    return {"table": table, "f1_change_by_head_cut": cuts, "fault_inside_reference": inside}


def lines(figures):
    """Yield the figures as people read them."""
    for name, rows in figures["table"].items():
        for way, row in rows.items():
            shown = "  ".join(f"{key} {value:.3f}" for key, value in row.items())
            yield f"{name:30} {way:10} {shown}"
    for budget, change in figures["f1_change_by_head_cut"].items():
        yield f"head cut, {budget}: F1 {change['mean']:+.4f} in the mean, {change['worst']:+.4f} in the worst draw"
    yield f"runs with a fault inside the first {REFERENCE} rows: {', '.join(figures['fault_inside_reference'])}"


def main():
    """Run from the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--logs", type=Path, default=os.environ.get("TSJEPA_LOGS", "."))
    parser.add_argument("--runs", type=int, default=None, help="only the first ones")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--autoencoder-epochs", type=int, default=40)
    parser.add_argument("--draws", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ours-only", action="store_true", help="without the baselines")
    run(parser, measure, lines)


if __name__ == "__main__":
    main()
