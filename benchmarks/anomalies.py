"""Anomalies in aeon's bundled series: our detector beside aeon's MERLIN, STOMP and LOF, by aeon's own metrics.

    python benchmarks/anomalies.py --seeds 3

KDD-TSAD 135 as it is: its training part is normal, its test part holds one anomaly. The bundled part of Daphnet has no
anomaly labelled, so four families of anomalies are planted in one of its sensors, 3 in each series, behind normal rows.
Ours learn from the normal rows and score the others: by surprise, which sees the past only, and by the distance of
embedded windows from normal ones, which as the peers sees both sides of a point. MERLIN and STOMP learn nothing
beforehand; LOF is fitted to the normal rows, and so is the distance of the windows' own values from normal ones, which
says what the embedding is worth. VUS-PR needs no threshold; range-F1 takes as many ranges as there are.
STOMP needs stumpy and LOF pyod; a peer that cannot be imported is left out and named. numba's
parallel code, which the peers use, and torch run in processes of their own.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

NORMAL, PLANTED, LENGTH, WINDOW, BUFFER = 2800, 3, 60, 64, 100
SENSOR = 1  # ankle, vertical


def amplitude(part, rng):
    """Go on with another amplitude."""
    return part.mean() + rng.choice([0.3, 2.0]) * (part - part.mean())


def tempo(part, rng):
    """Go on at twice the speed."""
    n = len(part)
    return np.interp(np.arange(n), np.arange(n) / 2, part, period=n / 2)


def noise(part, rng):
    """Add noise of the scale of the course."""
    return part + part.std() * rng.normal(size=len(part))


def flat(part, rng):
    """Stand still."""
    return np.full(len(part), part[0])


FAMILIES = {"amplitude": amplitude, "tempo": tempo, "noise": noise, "flat": flat}


def planted(base, family, seed):
    """Return a normal series, and another one with anomalies and its labels."""
    rng, x = np.random.default_rng(seed), base[NORMAL:].copy()
    y, part = np.zeros(len(x), int), len(x) // PLANTED
    for number in range(PLANTED):
        at = number * part + rng.integers(200, part - LENGTH)
        x[at : at + LENGTH], y[at : at + LENGTH] = FAMILIES[family](x[at : at + LENGTH], rng), 1
    return base[:NORMAL], x, y


def series(seeds, rows):
    """Return the series by name: normal part, part to score, labels."""
    from aeon.datasets import load_daphnet_s06r02e0, load_kdd_tsad_135

    test, y = load_kdd_tsad_135()
    found = {"KDD-TSAD 135": (load_kdd_tsad_135(split="train")[0], test, y.astype(int))}
    base = load_daphnet_s06r02e0()[0][:, SENSOR].astype(float)
    for family in FAMILIES:
        for seed in range(seeds):
            found[f"{family} {seed}"] = planted(base, family, seed)
    return {name: (normal, *around(x, y, rows)) for name, (normal, x, y) in found.items()}


def around(x, y, rows):
    """Return so many rows of a series and its labels, all for None, with the first anomaly in their middle."""
    first = 0 if rows is None else max(int(y.argmax()) - rows // 2, 0)
    return x[first:][:rows], y[first:][:rows]


def ours(epochs):
    """Return our detectors by name."""
    from tsjepa.adapters.aeon import EmbeddingAnomalyDetector, SurpriseAnomalyDetector

    same = {"random_state": 0, "device": "cpu"} | ({} if epochs is None else {"max_epochs": epochs})
    patch = ["tokenizer.patch_length=4"]
    return {
        "ours, surprise": SurpriseAnomalyDetector(window=128, stride=2, overrides=patch, **same),
        "ours, embedding": EmbeddingAnomalyDetector(window=WINDOW, **same),
    }


def work(folder, epochs):
    """Score all series of a folder with ours: the process with torch."""
    for path in sorted(folder.glob("*.npz")):
        parts = np.load(path)
        found = {name: detector.fit(parts["normal"]).predict(parts["x"]) for name, detector in ours(epochs).items()}
        np.savez(path.with_suffix(".scores"), **found)


def of_ours(everything, epochs):
    """Return our detectors' scores of all series by name, from another process."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (normal, x, _) in enumerate(everything.values()):
            np.savez(Path(folder) / f"{number:03d}.npz", normal=normal, x=x)
        given = [] if epochs is None else ["--epochs", str(epochs)]
        subprocess.run([sys.executable, __file__, "--work", folder, *given], check=True)
        found = {}
        for number, series_name in enumerate(everything):
            with np.load(Path(folder) / f"{number:03d}.scores.npz") as scores:
                for name in scores.files:
                    found.setdefault(name, {})[series_name] = scores[name]
        return found


def peers(missing):
    """Return aeon's detectors by name, each a function of a normal series and one to score."""
    from aeon.anomaly_detection.series.distance_based import LOF, MERLIN, STOMP

    from tsjepa.novelty import nearest, over_points

    def lof(normal, x):
        return LOF(n_neighbors=20, window_size=WINDOW).fit(normal).predict(x)

    def values(normal, x):
        windows = [np.lib.stride_tricks.sliding_window_view(part.ravel().astype(float), WINDOW) for part in (normal, x)]
        return over_points(nearest(windows[1], windows[0]), WINDOW)

    found = {
        "values": values,
        "MERLIN": lambda normal, x: MERLIN(WINDOW - 8, WINDOW + 8).fit_predict(x).astype(float),
    }
    if "stumpy" not in missing:
        found["STOMP"] = lambda normal, x: STOMP(window_size=WINDOW).fit_predict(x)
    if "pyod" not in missing:
        found["LOF"] = lof
    return found


def judged(y, score):
    """Return VUS-PR and range-F1."""
    from aeon.benchmarking.metrics.anomaly_detection import range_f_score, range_pr_vus_score
    from aeon.benchmarking.metrics.anomaly_detection.thresholding import top_k_ranges_threshold

    score = np.nan_to_num(score)
    binary = score if set(np.unique(score)) <= {0.0, 1.0} else score >= top_k_ranges_threshold(y, score)
    f1 = range_f_score(y, np.asarray(binary, int)) if np.any(binary) else 0.0
    return {"vus_pr": float(range_pr_vus_score(y, score, max_buffer_size=BUFFER)), "range_f1": float(f1)}


def measure(options):
    """Return the figures: a row for each detector and kind of series, the mean over seeds."""
    warnings.simplefilter("ignore")
    everything = series(options.seeds, options.rows)
    missing = [name for name in ("stumpy", "pyod") if importlib.util.find_spec(name) is None]
    scores = of_ours(everything, options.epochs)
    for name, detector in peers(missing).items():
        scores[name] = {at: detector(normal, x) for at, (normal, x, _) in everything.items()}
    kinds = {name: [name] for name in everything if name.startswith("KDD")}
    kinds |= {family: [name for name in everything if name.split()[0] == family] for family in FAMILIES}
    table = {}
    for name, found in scores.items():
        rows = {at: judged(everything[at][2], score) for at, score in found.items()}
        table[name] = {
            kind: {key: float(np.mean([rows[at][key] for at in members])) for key in ("vus_pr", "range_f1")}
            for kind, members in kinds.items()
        }
    return {"table": table, "left_out": missing, "seeds": options.seeds}


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of ours; without it their own")
    parser.add_argument("--rows", type=int, default=None, help="only so many of each series, around its first anomaly")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.work is not None:
        work(options.work, options.epochs)
        return
    figures = measure(options)
    if options.json:
        print(json.dumps(figures))
        return
    for key in ("vus_pr", "range_f1"):
        print(key)
        for name, row in figures["table"].items():
            print(f"    {name:16}" + "".join(f"{kind:>14} {values[key]:.3f}" for kind, values in row.items()))
    print(f"left out, as not installed: {', '.join(figures['left_out']) or 'none'}")


if __name__ == "__main__":
    main()
