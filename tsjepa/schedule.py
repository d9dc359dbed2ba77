"""The learning rate over a run, for pretraining and fine-tuning alike."""

import math


def lr_factor(step: int, total: int, warmup: float, primary: int | None = None) -> float:
    """Return the learning rate factor of a step: linear warm-up over a share of the steps, then a cosine to zero.

    Where only the first `primary` steps are before a cooldown, it is 1 until then and falls linearly to zero.

    Examples
    --------
    >>> [round(lr_factor(step, total=10, warmup=0.2), 2) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    >>> [lr_factor(step, total=10, warmup=0.2, primary=6) for step in (0, 2, 6, 8, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warm = int(warmup * total)
    if step < warm:
        return (step + 1) / warm
    if primary is not None and primary < total:
        return min((total - step) / (total - primary), 1.0)
    return (1 + math.cos(math.pi * min((step - warm) / max(total - warm, 1), 1))) / 2
