"""Roll-outs of a latent world model on simulated plants: error against horizon, and seconds for a plan.

    python benchmarks/rollouts.py --plant tanks

A model is trained on a log of the plant under inputs that are drawn anew every 24 rows. From contexts of another log,
with the inputs that follow, values are foreseen: by the latents rolled out and a linear probe, by persistence (nothing
changes) and by a linear state-space model, whose state is the last 8 rows of sensors and inputs and whose matrices are
least squares over the log of training. Errors are root mean squares in units of the deviation of each sensor.
"""

import time

import numpy as np
import torch
from program import parser_of, run

from tsjepa import SurpriseDetector
from tsjepa.evaluation.plants import MOTOR, TANKS, record, steps
from tsjepa.evidence import decode, ridge
from tsjepa.planning import plan
from tsjepa.sight import see

PLANTS = {"motor": MOTOR, "tanks": TANKS}
PATCH, CONTEXT, HOLD, ORDER = 4, 64, 24, 8
HORIZONS = (1, 2, 4, 8, 16)
AHEAD = HORIZONS[-1] * PATCH


def train(log, epochs, seed):
    """Return a world model of a log [C, T] whose first channel is an input."""
    detector = SurpriseDetector(
        window=CONTEXT,
        stride=2,
        max_epochs=epochs,
        contamination=0.5,
        random_state=seed,
        device="cpu",
        overrides=["world.inputs=[0]", f"tokenizer.patch_length={PATCH}", "regularizer.weight=0.02"],
    )
    return detector.fit(log.T).scorer_.model


def probe(model, log):
    """Return the linear probe from latents to the sensors at the end of a patch."""
    windows = np.stack([log[:, at : at + CONTEXT] for at in range(0, log.shape[1] - CONTEXT, 4)]).astype(np.float32)
    return ridge(see(model, windows).latents[:, -1], windows[:, 1:, -1])


@torch.inference_mode()
def foreseen(model, decoder, x):
    """Return sensors [B, steps, S] at the end of each patch behind contexts of windows [B, C, CONTEXT + AHEAD]."""
    x = torch.from_numpy(x.astype(np.float32))
    latents = model.rollout(model.belief(x[..., :CONTEXT]), x[:, :1, CONTEXT:], steps=AHEAD // PATCH)
    return decode(latents.numpy(), decoder)


def linear(log):
    """Return the matrix from the last rows of sensors and inputs, the next input and a constant to the next sensors."""
    past = [log[:, at : log.shape[1] - ORDER + at] for at in range(ORDER)]
    design = np.concatenate([*past, log[:1, ORDER:], np.ones((1, log.shape[1] - ORDER))])
    return np.linalg.lstsq(design.T, log[1:, ORDER:].T, rcond=None)[0]


def simulated(matrix, x):
    """Return what the linear model foresees, as `foreseen`."""
    rows = [x[:, :, CONTEXT - ORDER + at] for at in range(ORDER)]
    for at in range(AHEAD):
        told = x[:, :1, CONTEXT + at]
        state = np.concatenate([*rows[-ORDER:], told, np.ones((len(x), 1))], 1)
        rows.append(np.concatenate([told, state @ matrix], 1))
    return np.stack(rows[ORDER:], 1)[:, PATCH - 1 :: PATCH, 1:]


def measure(options):
    """Return the figures of one plant."""
    plant = PLANTS[options.plant]
    log = record(plant, steps(plant, options.rows, HOLD, options.seed), seed=options.seed)
    model = train(log, options.epochs, options.seed)
    decoder, matrix = probe(model, log), linear(log)
    test = record(plant, steps(plant, 6000, HOLD, options.seed + 100), seed=options.seed + 100)
    starts = range(0, test.shape[1] - CONTEXT - AHEAD, 10)
    x = np.stack([test[:, at : at + CONTEXT + AHEAD] for at in starts])
    truth = x[:, 1:, CONTEXT + PATCH - 1 :: PATCH].swapaxes(1, 2)
    held = np.repeat(x[:, None, 1:, CONTEXT - 1], truth.shape[1], 1)
    guesses = {"ours": foreseen(model, decoder, x), "persistence": held, "linear": simulated(matrix, x)}
    scale = test[1:].std(1)
    errors = {
        name: {h: float(np.sqrt(np.square((guess - truth)[:, h - 1] / scale).mean())) for h in HORIZONS}
        for name, guess in guesses.items()
    }
    target, context = np.array([truth[:, :, 0].mean(), np.nan]), test[:, -CONTEXT:].astype(np.float32)
    times = []
    for seed in range(options.plans):
        start = time.perf_counter()
        plan(model, context, decoder, target, plant.bounds, steps=8, seed=seed)
        times.append(time.perf_counter() - start)
    return {"plant": plant.name, "rows_a_step": PATCH, "error": errors, "seconds_per_plan": float(np.median(times))}


def lines(figures):
    """Yield the figures as people read them."""
    yield f"{figures['plant']}: error by rows ahead, in units of the sensors' deviation"
    for name, row in figures["error"].items():
        yield f"    {name:12}" + "".join(f"{h * PATCH:>5} {error:.3f}" for h, error in row.items())
    yield f"seconds per plan of 8 patches: {figures['seconds_per_plan']:.3f}"


def main():
    """Run from the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--plant", choices=tuple(PLANTS), default="tanks")
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--plans", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    run(parser, measure, lines)


if __name__ == "__main__":
    main()
