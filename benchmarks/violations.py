"""Violation of expectation: how often impossible events in normal logs are noticed, and harmless ones, too.

    TSJEPA_LOGS=.. python benchmarks/violations.py --rows 1000000 --events 200

An event lasts 128 rows and is noticed if there is an alarm in them; the budget is one false alarm in 10,000 rows. On a
simulated DC motor (voltage, speed, current), whose voltage is held for 40 or 400 rows, half of the normal rows say
where the threshold is; in the other half alarms are counted and events put in. On SKAB's normal run each fifth is
scored by what is usual in the others, for the threshold as for events. `expected` is the share of harmless events that
the budget allows to be noticed; `limit` the 97.5 % point of its law.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from program import log_file, parser_of, run
from scipy.stats import binom

from tsjepa import SurpriseDetector
from tsjepa.evaluation.plants import MOTOR, record, steps
from tsjepa.evaluation.violations import HARMLESS, IMPOSSIBLE, nothing, sites
from tsjepa.held_out import fit_held_out
from tsjepa.stream import score_series
from tsjepa.surprise import fit_scorer
from tsjepa.thresholds import fit_threshold, peaks_over

INTERVAL, LENGTH = 10_000, 128
RUNS, HOLDS, BLOCKS = 50, (40, 400), 5


def motor(rows, seed):
    """Return runs [U + S, T] of the motor side by side, every other one with a voltage that is held for long."""
    told = [steps(MOTOR, rows // RUNS, HOLDS[run % 2], seed + run) for run in range(RUNS)]
    return list(record(MOTOR, np.stack(told, 1), seed=seed).swapaxes(0, 1))


def noticed(scorer, threshold, places, event, rng):
    """Return the share of events that are noticed."""
    found = []
    for site in places:
        score = score_series(scorer, event(site, rng).astype(np.float32)).score
        found.append((score[site.start :] > threshold).any())
    return float(np.mean(found))


def table(scorer, threshold, logs, events, count, key):
    """Return the share of each event that is noticed in the log of its name; `key` are numbers to draw by."""
    measured, before, found = np.array(scorer.channels), scorer.context + LENGTH, {}
    for at, (name, event) in enumerate(events.items()):
        rng = np.random.default_rng([*key, at])
        places = sites(logs[name], measured, count, before, LENGTH, rng)
        found[name] = noticed(scorer, threshold, places, event, rng)
    return found


def in_blocks(scorers, threshold, blocks, events, options):
    """Return the share of each event that is noticed in blocks of a log, each with a scorer of its own."""
    count = options.events // len(blocks)
    found = [
        table(scorer, threshold, dict.fromkeys(events, block), events, count, (options.seed, at))
        for at, (scorer, block) in enumerate(zip(scorers, blocks, strict=True))
    ]
    return {name: float(np.mean([part[name] for part in found])) for name in events}


def alarms_in(scorer, threshold, logs):
    """Return alarms and rows with a score of normal logs."""
    scores = [score_series(scorer, x.astype(np.float32)).score for x in logs]
    known = sum(int(np.isfinite(score).sum()) for score in scores)
    return len(peaks_over(scores, threshold, 4 * scorer.patch_length)), known


def fitted(rows, inputs, options):
    """Return a world model that was trained on a log [C, T]."""
    detector = SurpriseDetector(
        max_epochs=options.epochs,
        contamination=0.5,
        random_state=options.seed,
        device="cpu",
        overrides=[f"world.inputs={inputs}"],
    )
    return detector.fit(rows.T).scorer_


def simulated(options):
    """Return the figures of the motor."""
    trained = motor(options.train_rows, 10_000)
    model = fitted(np.concatenate(trained, 1), [0], options)
    normal, half = motor(options.rows, 20_000), RUNS // 2
    scorer, scores = fit_held_out(model.model, trained, normal[:half], context=model.context)
    threshold = fit_threshold(scores, INTERVAL, scorer.patch_length)
    alarms, known = alarms_in(scorer, threshold.value, normal[half:])
    # sites of events are in a run with short holds; another level is one that is held for long
    short, long = normal[half + half % 2], normal[half + 1 - half % 2]
    events = IMPOSSIBLE | HARMLESS | {"another normal level": nothing}
    logs = dict.fromkeys(events, short) | {"another normal level": long}
    return {
        "noticed": table(scorer, threshold.value, logs, events, options.events, (options.seed,)),
        "normal_rows": threshold.rows + known,
        "rows_per_false_alarm": known / max(alarms, 1),
    }


def skab(options):
    """Return the figures of SKAB's normal run."""
    file = pq.read_table(log_file(options.logs, "skab_train")).drop_columns(["run", "timestamp"])
    log = np.stack([column.to_numpy() for column in file.columns]).astype(float)
    model, blocks = fitted(log, [], options), np.array_split(log, BLOCKS, axis=1)
    scorers, scores = [], []
    for at, block in enumerate(blocks):
        others = [part for number, part in enumerate(blocks) if number != at]
        scorers.append(fit_scorer(model.model, others, context=model.context))
        scores.append(score_series(scorers[-1], block.astype(np.float32)).score)
    threshold = fit_threshold(scores, INTERVAL, model.patch_length)
    alarms = len(peaks_over(scores, threshold.value, 4 * model.patch_length))
    return {
        "noticed": in_blocks(scorers, threshold.value, blocks, IMPOSSIBLE | HARMLESS, options),
        "normal_rows": threshold.rows,
        "rows_per_false_alarm": threshold.rows / max(alarms, 1),
    }


def measure(options):
    """Return the figures."""
    figures = {"motor": simulated(options)}
    if options.logs is not None:
        figures["skab"] = skab(options)
    expected = 1 - (1 - 1 / INTERVAL) ** LENGTH
    limit = float(binom.ppf(0.975, options.events, expected)) / options.events
    return figures | {"expected": expected, "limit": limit, "events": options.events}


def lines(figures):
    """Yield the figures as people read them."""
    for name in ("motor", "skab"):
        if name in figures:
            found = figures[name]
            yield f"{name}: {found['normal_rows']} normal rows, one false alarm in {found['rows_per_false_alarm']:.0f}"
            for event, share in found["noticed"].items():
                yield f"    {event:24} {share:7.1%}{'' if event in IMPOSSIBLE else '   harmless'}"
    yield f"harmless events: {figures['expected']:.1%} expected, limit {figures['limit']:.1%} of {figures['events']}"


def main():
    """Run from the command line."""
    logs = os.environ.get("TSJEPA_LOGS")
    parser = parser_of(__doc__)
    parser.add_argument("--logs", type=Path, default=None if logs is None else Path(logs))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--train-rows", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    run(parser, measure, lines)


if __name__ == "__main__":
    main()
