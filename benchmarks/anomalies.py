"""Anomalies in aeon's bundled series: our detector beside aeon's MERLIN, STOMP and LOF, by aeon's own metrics.

    python benchmarks/anomalies.py --seeds 3

KDD-TSAD 135 as it is: its training part is normal, its test part holds one anomaly. The bundled part of Daphnet has no
anomaly labelled, so four families of anomalies are planted in one of its sensors, 3 in each series, behind normal rows.
Ours learns from the normal rows and scores the others; the peers see the others, as they learn nothing beforehand, but
LOF, which is fitted to the normal rows. VUS-PR needs no threshold; range-F1 takes as many ranges as there are.
STOMP needs stumpy and LOF pyod; a peer that cannot be imported is left out and named. numba and torch run in processes
of their own.
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
    return {name: (normal, x[:rows], y[:rows]) for name, (normal, x, y) in found.items()}


def work(folder, epochs):
    """Score all series of a folder with ours: the process with torch."""
    from tsjepa.adapters.aeon import SurpriseAnomalyDetector

    for path in sorted(folder.glob("*.npz")):
        parts = np.load(path)
        detector = SurpriseAnomalyDetector(
            window=128,
            stride=2,
            max_epochs=epochs,
            overrides=["tokenizer.patch_length=4"],
            random_state=0,
            device="cpu",
        )
        np.save(path.with_suffix(".npy"), detector.fit(parts["normal"]).predict(parts["x"]))


def of_ours(everything, epochs):
    """Return our scores of all series, from another process."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (normal, x, _) in enumerate(everything.values()):
            np.savez(Path(folder) / f"{number:03d}.npz", normal=normal, x=x)
        subprocess.run([sys.executable, __file__, "--work", folder, "--epochs", str(epochs)], check=True)
        return {name: np.load(Path(folder) / f"{number:03d}.npy") for number, name in enumerate(everything)}


def peers(missing):
    """Return aeon's detectors by name, each a function of a normal series and one to score."""
    from aeon.anomaly_detection.series.distance_based import LOF, MERLIN, STOMP

    def lof(normal, x):
        return LOF(n_neighbors=20, window_size=WINDOW).fit(normal).predict(x)

    found = {"MERLIN": lambda normal, x: MERLIN(WINDOW - 8, WINDOW + 8).fit_predict(x).astype(float)}
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
    scores = {"ours": of_ours(everything, options.epochs)}
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
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--rows", type=int, default=None, help="only the first ones of each series")
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
            print(f"    {name:10}" + "".join(f"{kind:>14} {values[key]:.3f}" for kind, values in row.items()))
    print(f"left out, as not installed: {', '.join(figures['left_out']) or 'none'}")


if __name__ == "__main__":
    main()
