"""Early warning: how long before an event there is an alarm, against false alarms.

    TSJEPA_LOGS=.. python benchmarks/early_warning.py

C-MAPSS FD001: engines run until they fail. Cycles with more than 125 left are normal; the model learns from those of
engines 1 to 60, thresholds come from those of 61 to 80, and the others are judged: `warned` is the share of engines
with an alarm in their last 125 cycles, `lead` the cycles from the first such alarm to the failure (10th and 50th
percentile), `false` alarms per 1000 normal cycles. Two predictors: the score, and how few cycles a ridge probe on
frozen latents gives (capped at 125). The probe is also judged on the test part, beside ridge on mean and slope of the
same windows. SKAB: the first 400 rows of each run are its reference; `delay` is the rows from the start of a fault to
the first alarm in it (50th and 90th percentile of those noticed), `false` alarms are those between reference and fault,
per hour.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from program import log_file

from tsjepa import SurpriseDetector
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header
from tsjepa.events import GAP
from tsjepa.evidence import decode, ridge
from tsjepa.held_out import fit_held_out
from tsjepa.sight import cut_windows, see
from tsjepa.stream import score_series
from tsjepa.surprise import Scores, refer
from tsjepa.thresholds import fit_threshold, peaks_over
from tsjepa.training import Options, fit

CAP, WINDOW, PATCH = 125, 32, 4
FITTED, CALIBRATED = 60, 80
BUDGETS = (200, 1000, 5000)
REFERENCE = 400


def engines(logs, part, units):
    """Return the sensors [C, cycles] of each engine that change at all."""
    table = pq.read_table(log_file(logs, f"cmapss_fd001_{part}"))
    names = [name for name in table.column_names if name not in ("unit", "cycle")]
    rows, unit = np.stack([table[name].to_numpy() for name in names], 1).astype(float), table["unit"].to_numpy()
    return [rows[unit == at].T for at in np.unique(unit)[:units]]


def windows(x):
    """Return the windows [n, C, WINDOW] of an engine, one a cycle from the first full one on."""
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=1).swapaxes(0, 1), np.float32)


def left(x):
    """Return the cycles that are left at the end of each window, at most 125."""
    return np.minimum(np.arange(x.shape[1])[::-1], CAP)[WINDOW - 1 :]


def latents(model, x):
    """Return features of each window of an engine: its last latent, and the mean of all."""
    seen = see(model, windows(x)).latents
    return np.concatenate([seen[:, -1], seen.mean(1)], 1)


def plain(x):
    """Return mean and slope of each sensor in each window of an engine."""
    part, time = windows(x).astype(float), np.linspace(-1, 1, WINDOW)
    return np.concatenate([part.mean(2), part @ time / WINDOW], 1)


def warnings_of(scores, threshold):
    """Return share of engines warned, lead and false alarms where scores [cycles] of engines are over a threshold."""
    leads, false, normal = [], 0, 0
    for score in scores:
        remaining = np.arange(len(score))[::-1]
        late = np.flatnonzero((score > threshold) & (remaining <= CAP))
        leads.append(remaining[late[0]] if len(late) else 0)
        false += len(peaks_over([score[remaining > CAP]], threshold, GAP * PATCH))
        normal += int(np.isfinite(score[remaining > CAP]).sum())
    low, median = np.percentile(leads, [10, 50])
    share = float(np.mean(np.array(leads) > 0))
    return {"warned": share, "lead_10": low, "lead_50": median, "false_per_1000": 1000 * false / max(normal, 1)}


def train(series, options):
    """Return a world model of series [C, cycles]; no window goes from one into the next."""
    windows = cut_windows(series, WINDOW, 1)
    overrides = [f"tokenizer.patch_length={PATCH}", "world.horizons=[1,2,4]", f"train.seed={options.seed}"]
    if options.epochs is not None:
        overrides.append(f"train.epochs={options.epochs}")
    config = resolve(configure("lewm-sensor", overrides=overrides), WINDOW, None, len(windows.measured()))
    model = build_model(config, windows.n_channels)
    fit(model, windows, Header(config, None, windows.n_channels, WINDOW), Options(device="cpu", diagnose=False))
    return model


def at_budgets(name, scores, usual):
    """Return the figures of a predictor at each budget; alarms are joined over as many cycles for each of them."""
    return {
        f"{name}, 1 in {budget}": warnings_of(scores, fit_threshold(usual, budget, PATCH).value) for budget in BUDGETS
    }


def cmapss(options):
    """Return the figures of the turbofans."""
    units = engines(options.logs, "train", options.units)
    moving = np.concatenate(units, 1).std(1) > 1e-6
    units = [x[moving] for x in units]
    cuts = [round(len(units) * share / 100) for share in (FITTED, CALIBRATED)]
    fitted, held, judged = units[: cuts[0]], units[cuts[0] : cuts[1]], units[cuts[1] :]
    normal = [[x[:, :-CAP] for x in part if x.shape[1] - CAP > WINDOW + 8] for part in (fitted, held)]
    model = train(normal[0], options)
    scorer, usual = fit_held_out(model, *normal, context=WINDOW)
    scored = [score_series(scorer, x.astype(np.float32)).score for x in judged]
    rows = at_budgets("score", scored, usual)
    found = {"latents": lambda x: latents(model, x), "mean and slope": plain}
    probes = {}
    for name, features in found.items():
        known = np.concatenate([features(x) for x in fitted])
        mean, scale = known.mean(0), known.std(0) + 1e-9
        weights = ridge((known - mean) / scale, np.concatenate([left(x) for x in fitted])[:, None])

        def guess(x, features=features, mean=mean, scale=scale, weights=weights):
            return decode((features(x) - mean) / scale, weights)[:, 0]

        probes[name] = guess
        few = [np.concatenate([np.full(WINDOW - 1, np.nan), -guess(x)]) for x in judged]
        calm = [
            np.concatenate([np.full(WINDOW - 1, np.nan), -guess(x)])[:-CAP] for x in held if x.shape[1] > CAP + WINDOW
        ]
        rows |= at_budgets(name, few, calm)
    tests = [x[moving] for x in engines(options.logs, "test", None)]
    truth = pq.read_table(log_file(options.logs, "cmapss_fd001_test_rul")).to_pandas().iloc[:, -1].to_numpy()
    enough = [at for at, x in enumerate(tests) if x.shape[1] >= WINDOW]
    rmse = {
        name: float(np.sqrt(np.mean([(guess(tests[at])[-1] - min(truth[at], CAP)) ** 2 for at in enough])))
        for name, guess in probes.items()
    }
    return {"warnings": rows, "rul_rmse": rmse, "test_engines": len(enough)}


def skab(options):
    """Return the figures of SKAB's faults."""
    train, test = (pq.read_table(log_file(options.logs, f"skab_{part}")).to_pandas() for part in ("train", "test"))
    names = list(train.columns[2:])
    detector = SurpriseDetector(max_epochs=options.epochs, contamination=0.5, random_state=options.seed, device="cpu")
    scorer = detector.fit(train[names].to_numpy()).scorer_
    runs, usual = [], []
    for _, run in list(test.groupby("run"))[: options.runs]:
        x, fault = run[names].to_numpy(np.float32).T, int(np.flatnonzero(run["anomaly"])[0])
        if fault >= REFERENCE:
            own = refer(scorer, x[:, :REFERENCE])
            usual.append(Scores.of(own.usual).score)
            runs.append((score_series(own, x).score, fault, run["anomaly"].to_numpy() == 1))
    rows = {}
    for budget in (600, 3600, 86_400):
        threshold = fit_threshold(usual, budget, scorer.patch_length).value
        first = [np.flatnonzero((score > threshold) & fault) for score, _, fault in runs]
        delays = [at[0] - start for at, (_, start, _) in zip(first, runs, strict=True) if len(at)]
        quiet = [score[REFERENCE:start] for score, start, _ in runs]
        false = len(peaks_over(quiet, threshold, GAP * scorer.patch_length))
        median, late = np.percentile(delays, [50, 90]) if delays else (None, None)
        hours = sum(map(len, quiet)) / 3600
        rows[f"1 in {budget} s"] = {
            "noticed": len(delays) / len(runs),
            "delay_50": median,
            "delay_90": late,
            "false_per_hour": false / hours,
        }
    return rows


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, default=os.environ.get("TSJEPA_LOGS", "."))
    parser.add_argument("--units", type=int, default=None, help="only the first engines")
    parser.add_argument("--runs", type=int, default=None, help="only the first runs of SKAB")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = {"cmapss": cmapss(options), "skab": skab(options)}
    if options.json:
        print(json.dumps(figures))
        return
    for part, rows in (("C-MAPSS FD001", figures["cmapss"]["warnings"]), ("SKAB", figures["skab"])):
        print(part)
        for name, row in rows.items():
            print(f"    {name:26}" + "  ".join(f"{key} {value or 0:.2f}" for key, value in row.items()))
    for name, error in figures["cmapss"]["rul_rmse"].items():
        print(f"remaining useful life by {name}: RMSE {error:.1f} on {figures['cmapss']['test_engines']} test engines")


if __name__ == "__main__":
    main()
