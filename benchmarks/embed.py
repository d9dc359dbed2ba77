"""Embedding throughput against MiniRocket's transform (aeon), each in a process of its own.

    python benchmarks/embed.py --recipe ts-jepa-paper

Both embed the same series (by default as many and as long as FordA's test part) and are asked in turn, after a round
that warms up. `floor_ratio` compares with the matrix products of the same embedding back to back with torch.mm;
`bf16_cosine` is the smallest cosine of a series' embeddings in both precisions. `single_ms` is the time of one series
alone, `peak_mb` the largest memory of the process beyond that of the series and the library.
"""

import json
import os
import resource
import subprocess
import sys

import numpy as np
from measure import choose_clock, medians, options_of, report, seconds


def series(options):
    """Return series [n, 1, T]."""
    return np.random.default_rng(0).normal(size=(options.series, 1, options.length)).astype(np.float32)


def minirocket(options):
    """Answer with the seconds of MiniRocket's transform, as often as asked."""
    from aeon.transformations.collection.convolution_based import MiniRocket

    X = series(options)
    transform = MiniRocket(n_jobs=options.threads or os.cpu_count(), random_state=0).fit(X[: min(len(X), 100)])
    serve(lambda: {"minirocket": seconds(lambda: transform.transform(X))})


def tsjepa(options):
    """Answer with the seconds of each way to embed, as often as asked."""
    import torch
    from measure import floor, products_of

    from tsjepa import as_series, build_model, configure, resolve
    from tsjepa.calibrator import calibrate
    from tsjepa.embedding import BATCH, embed

    choose_clock(options.clock, options.threads)
    X = as_series(series(options))
    config = resolve(configure(options.recipe), options.length)
    encoder = build_model(config, 1).encoder.eval()
    calibrate(encoder, X, config.probe)
    half = embed(encoder, X, config.probe, precision="bf16")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    full = embed(encoder, X, config.probe)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    cosines = (full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)
    one, batch = X.take(np.arange(1)), X.take(np.arange(min(BATCH, options.series)))
    lower = floor(products_of(lambda: embed(encoder, batch, config.probe)))
    batches = -(-options.series // BATCH)
    constants = {"bf16_cosine": float(cosines.min()), "peak_mb": grown, "threads": torch.get_num_threads()}

    def measure():
        return constants | {
            "fp32": seconds(lambda: embed(encoder, X, config.probe)),
            "bf16": seconds(lambda: embed(encoder, X, config.probe, precision="bf16")),
            "floor": seconds(lower, batches) * batches,
            "single": seconds(lambda: embed(encoder, one, config.probe), 5),
        }

    serve(measure)


def serve(measure):
    """Print what is measured as a line, once for each line that comes in."""
    measure()
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def compare(options):
    """Return the figures of both processes."""
    command = [sys.executable, *sys.argv, "--worker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([*command, name], **pipes) for name in ("tsjepa", "minirocket")]
    try:
        rounds = [ask(workers) for _ in range(options.rounds)]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    took = medians(rounds)
    ratios = medians(
        {
            "ratio": r["minirocket"] / r["fp32"],
            "bf16_ratio": r["minirocket"] / r["bf16"],
            "floor_ratio": r["floor"] / r["fp32"],
        }
        for r in rounds
    )
    rates = {name: options.series / took[name] for name in ("fp32", "bf16", "floor", "minirocket")}
    return {
        "recipe": options.recipe,
        "n_series": options.series,
        "length": options.length,
        "series_per_s": rates["fp32"],
        "minirocket_series_per_s": rates["minirocket"],
        "bf16_series_per_s": rates["bf16"],
        "floor_series_per_s": rates["floor"],
        **ratios,
        "bf16_cosine": took["bf16_cosine"],
        "single_ms": 1e3 * took["single"],
        "peak_mb": took["peak_mb"],
    }


def ask(workers):
    """Let one worker after the other measure."""
    answers = {}
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
        if not line:
            raise SystemExit("a worker ended early")
        answers |= json.loads(line)
    return answers


def main():
    parser = options_of(__doc__)
    parser.add_argument("--recipe", default="ts-jepa-paper")
    parser.add_argument("--series", type=int, default=1320)
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--worker", choices=("tsjepa", "minirocket"), help="for the program's own use")
    options = parser.parse_args()
    choose_clock(options.clock, None)
    if options.worker:
        {"tsjepa": tsjepa, "minirocket": minirocket}[options.worker](options)
    else:
        report(compare(options), options.json)


if __name__ == "__main__":
    main()
