"""Training throughput against a straightforward step and against the step's own matrix products.

    python benchmarks/train_step.py --batch-size 32 --objective ema --precision 32

Each round trains one epoch as `tsjepa.fit` does, Lightning and data included, then runs the same step in a bare loop,
the straightforward step of `plain.py` (always float32), and the floor: the products of one step, forward and
backward, back to back with torch.mm. The floor is taken twice: with torch as it comes, and with oneDNN in the place
of MKL, as the step itself uses it (`onednn_floor_...`). The first round warms up; ratios are medians over the others.
"""

import collections
import sys

import measure
import torch
from measure import choose_clock, floor, medians, options_of, products_of, report, seconds
from plain import PlainTraining

from tsjepa import Options, as_series, build_model, configure, fit, resolve
from tsjepa.batches import keyed_generator
from tsjepa.checkpoint import Header
from tsjepa.training import JEPATraining

OBJECTIVES = ("ema", "cjepa", "sigreg", "vicreg", "visreg")


def regularizer_alone(config, model, batch_size, n_tokens):
    """Return a function that runs the regularizer by itself, forward and backward, on latents of the step's shape."""
    width = config.projector.out or config.encoder.dim
    z = torch.randn(batch_size, n_tokens, width, generator=torch.Generator().manual_seed(0), requires_grad=True)
    generator = torch.Generator().manual_seed(0)

    def run():
        z.grad = None
        model.regularizer(z, generator).backward()

    return run if model.regularizer is not None else lambda: None


class BareLoop:
    """Our step without Lightning and loader."""

    def __init__(self, header, values):
        section = header.config.train
        self.model = build_model(header.config, 1).train()
        self.module = JEPATraining(self.model, header)
        self.x, self.precision, self.clip = values[: section.batch_size], section.precision, section.clip
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=section.lr, fused=True)
        self.count = 0

    def step(self):
        """Take one step."""
        self.model.advance(self.count, 10_000)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            out = self.model(self.x, keyed_generator(0, self.count, 1))
        self.optimizer.zero_grad()
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.model.update_target(self.count, 10_000)
        self.count += 1


def compare_steps(options):
    """Return the figures of one setting."""
    overrides = [
        "train.epochs=1000000",
        "train.lr=1e-4",
        f"train.batch_size={options.batch_size}",
        f"train.precision='{options.precision}'",
        f"encoder.dim={options.dim}",
        f"predictor.dim={options.dim}",
        f"tokenizer.patch_length={options.patch_length}",
    ]
    config = resolve(configure("ts-jepa-paper", options.objective, overrides), options.length)
    header = Header(config, None, 1, options.length)
    n_series = options.steps * options.batch_size
    values = torch.randn(n_series, 1, options.length, generator=torch.Generator().manual_seed(0))
    bare = BareLoop(header, values)
    products = products_of(bare.step)
    n_tokens = bare.model.encoder.n_tokens(options.length)
    plain = PlainTraining(build_model(config, 1), values, options.batch_size, config.train, n_tokens, config.mask.ratio)
    lower = floor(products)
    alone = regularizer_alone(config, bare.model, options.batch_size, n_tokens)
    rounds, baseline_steps = [], max(options.steps // 4, 1)
    started = measure.clock()

    def compare(progress):
        nonlocal started
        fitted = (measure.clock() - started) / options.steps
        took = {"step": fitted, "bare": seconds(bare.step, options.steps)}
        took["regularizer"] = seconds(alone, options.steps)
        took["onednn_floor"] = seconds(lower, options.steps)
        setting = torch.backends.mkldnn.matmul
        inside, setting.fp32_precision = setting.fp32_precision, "none"
        took["floor"] = seconds(lower, options.steps)
        took["baseline"] = seconds(plain.step, baseline_steps)
        setting.fp32_precision = inside
        rounds.append(took)
        print(f"round {progress.epoch}: {options.batch_size / fitted:,.0f} series/s", file=sys.stderr, flush=True)
        started = measure.clock()

    model = build_model(config, 1)
    fit(
        model,
        as_series(values.numpy()),
        header,
        Options(device="cpu", report=compare, diagnose=False),
        epochs=options.rounds + 1,
    )
    return figures(rounds[1:], options, products)


def figures(rounds, options, products):
    """Return rates and ratios from the seconds of each round."""
    parts = ("step", "bare", "baseline", "floor", "onednn_floor")
    rates = medians({name: options.batch_size / took[name] for name in parts} for took in rounds)
    ratios = medians(
        {
            "ratio": took["baseline"] / took["step"],
            "floor_ratio": took["floor"] / took["step"],
            "onednn_floor_ratio": took["onednn_floor"] / took["step"],
            "lightning_overhead": took["step"] / took["bare"] - 1,
            "regularizer_share": took["regularizer"] / took["bare"],
        }
        for took in rounds
    )
    shapes = collections.Counter((*p.sizes[0], p.sizes[1][1]) for p in products)
    return {
        "objective": options.objective,
        "precision": options.precision,
        "batch_size": options.batch_size,
        "length": options.length,
        "dim": options.dim,
        "series_per_s": rates["step"],
        "baseline_series_per_s": rates["baseline"],
        "ratio": ratios["ratio"],
        "floor_series_per_s": rates["floor"],
        "floor_ratio": ratios["floor_ratio"],
        "onednn_floor_series_per_s": rates["onednn_floor"],
        "onednn_floor_ratio": ratios["onednn_floor_ratio"],
        "bare_series_per_s": rates["bare"],
        "lightning_overhead": ratios["lightning_overhead"],
        "regularizer_share": ratios["regularizer_share"],
        "mflop_per_series": sum(p.flops for p in products) / options.batch_size / 1e6,
        "products": [f"{count} x {m}x{k}x{n}" for (m, k, n), count in shapes.items()],
    }


def main():
    parser = options_of(__doc__)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--objective", choices=OBJECTIVES, default="ema")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--patch-length", type=int, default=50)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--steps", type=int, default=None, help="steps a round; by default about 1,000 series")
    options = parser.parse_args()
    options.steps = options.steps or max(1024 // options.batch_size, 2)
    choose_clock(options.clock, options.threads)
    report(compare_steps(options), options.json)


if __name__ == "__main__":
    main()
