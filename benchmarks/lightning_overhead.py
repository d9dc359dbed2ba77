"""What Lightning costs a training step: `fit` against a bare loop of the same steps, on series of FordA's shape.

Both draw the same batches and masks, and end with the same weights. An epoch of the one follows an epoch of the other,
so that both meet the same machine; compared are the medians over epochs, the first of which does not count, of the
time that a step takes. Time of the processor is disturbed less by other programs; time on the wall stands beside it.
What the monitor costs, which measures the model once an epoch, is told apart, by turns of `fit` with it.

    OMP_NUM_THREADS=1 python benchmarks/lightning_overhead.py --json
"""

import argparse
import json
import time

import numpy as np
import torch

from tsjepa import Options, as_series, build_model, configure, fit, resolve
from tsjepa.batches import Batches, ShuffledBatches, keyed_generator
from tsjepa.checkpoint import Header
from tsjepa.schedule import lr_factor

CASES, POINTS = 577, 500


def clocks():
    """Return the seconds of processor and wall."""
    return np.array([time.process_time(), time.perf_counter()])


def make(recipe, epochs):
    """Return model, header and series."""
    series = as_series(np.random.default_rng(0).normal(size=(CASES, POINTS)))
    config = resolve(configure(recipe, overrides=[f"train.epochs={epochs}"]), POINTS)
    return build_model(config, 1), Header(config, "noise", 1, POINTS), series


def bare(recipe, epochs):
    """Train with a loop that holds nothing but the steps; yield after each epoch, the weights in the end."""
    model, header, series = make(recipe, epochs)
    section, batches = header.config.train, Batches(series)
    sampler = ShuffledBatches(len(batches), section.batch_size, section.seed)
    total = epochs * len(sampler)
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": section.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=section.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, total, section.warmup))
    model.train()
    step = 0
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for index in sampler:
            x, valid, share = batches[index]
            model.advance(step, total)
            optimizer.zero_grad()
            model(x, keyed_generator(section.seed, step, 1), valid, share).loss.backward()
            if section.clip:
                torch.nn.utils.clip_grad_norm_([*decayed, *others], section.clip)
            optimizer.step()
            schedule.step()
            model.update_target(step, total)
            step += 1
        yield model


def take_turns(recipe, epochs, diagnose):
    """Run `fit` and the bare loop by turns; return the seconds of their epochs but the first, and both models."""
    other, times, mark = bare(recipe, epochs), {"fit": [], "bare": []}, clocks()

    def turn(_progress):
        nonlocal mark
        end = clocks()
        reference.append(next(other))
        times["fit"].append(end - mark)
        mark = clocks()
        times["bare"].append(mark - end)

    reference = []
    model, header, series = make(recipe, epochs)
    fit(model, series, header, Options(device="cpu", diagnose=diagnose, report=turn))
    return {name: np.array(taken[1:]) for name, taken in times.items()}, (model, reference[-1])


def same(first, second):
    """Return whether two models have the same weights."""
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def measure(recipe, epochs):
    """Return milliseconds a step and what is on top of the bare loop, in per cent."""
    plain, models = take_turns(recipe, epochs, diagnose=False)
    watched, _ = take_turns(recipe, epochs, diagnose=True)
    steps = len(ShuffledBatches(CASES, configure(recipe).train.batch_size, 0))
    result = {"recipe": recipe, "epochs": epochs, "steps_per_epoch": steps, "same_weights": same(*models)}
    for which, clock in enumerate(("cpu", "wall")):
        step = {name: 1000 * float(np.median(taken[:, which])) / steps for name, taken in plain.items()}
        result |= {f"{name}_{clock}_ms": value for name, value in step.items()}
        overheads = [100 * np.median((one["fit"] / one["bare"] - 1)[:, which]) for one in (plain, watched)]
        result[f"overhead_{clock}_percent"] = float(overheads[0])
        result[f"monitor_{clock}_percent"] = float(overheads[1] - overheads[0])
    return result


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="ts-jepa-paper")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.recipe, options.epochs)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:30} {value:.3f}" if isinstance(value, float) else f"{name:30} {value}")


if __name__ == "__main__":
    main()
