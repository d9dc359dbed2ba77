"""SIGReg alone, forward and backward, against the textbook form that holds a tensor [N, slices, knots].

    python benchmarks/sigreg.py --samples 320 --dim 128

`peak_mb` is what a call allocates at most beyond its input, in MB of 2**20 bytes.
"""

import torch
from measure import choose_clock, floor, medians, options_of, products_of, report, seconds
from plain import textbook_sigreg
from torch.profiler import ProfilerActivity, profile

from tsjepa.memory import keep_freed_memory
from tsjepa.precision import fast_float32
from tsjepa.regularizers import SIGReg


def peak_mb(run):
    """Return the largest amount of memory that tensors made inside `run` hold at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    held = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 2**20


def measure(options):
    """Return the figures."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(options.samples, 1, options.dim, generator=generator, requires_grad=True)
    regularizer = SIGReg(slices=options.slices, knots=options.knots)

    def ours():
        z.grad = None
        regularizer(z, generator).backward()

    def textbook():
        z.grad = None
        textbook_sigreg(z, generator, options.slices, options.knots).backward()

    keep_freed_memory()  # as training does
    lower = floor(products_of(ours))
    with fast_float32():
        for run in (ours, textbook, lower):
            run()
        rounds = [
            {"ms": seconds(ours, 5), "textbook_ms": seconds(textbook), "floor_ms": seconds(lower, 5)}
            for _ in range(options.rounds)
        ]
        took = medians({name: 1e3 * value for name, value in r.items()} for r in rounds)
        ratios = medians({"ratio": r["textbook_ms"] / r["ms"], "floor_ratio": r["floor_ms"] / r["ms"]} for r in rounds)
        memory = {"peak_mb": peak_mb(ours), "textbook_peak_mb": peak_mb(textbook)}
    sizes = {"samples": options.samples, "dim": options.dim, "slices": options.slices, "knots": options.knots}
    return {**sizes, **took, **ratios, **memory, "array_mb": 4 * options.samples * options.slices / 2**20}


def main():
    parser = options_of(__doc__)
    parser.add_argument("--samples", type=int, default=320)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--slices", type=int, default=256)
    parser.add_argument("--knots", type=int, default=17)
    options = parser.parse_args()
    choose_clock(options.clock, options.threads)
    report(measure(options), options.json)


if __name__ == "__main__":
    main()
