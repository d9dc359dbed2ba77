"""How much learned levels count in a sketch beside shares: by how well the patches of a series agree on them."""

import math
from collections.abc import Sequence

from torch import Tensor

from tsjepa.sections import ProbeConfig

# How much level and log scale count in a sketch: together as much as shares
SCALE_WEIGHT = 0.5**0.5
# Weight of a level beside shares where it is not measured, and training series of which it counts 1 / sqrt(2)
LEVEL_WEIGHT, FEW = 0.6, 200
# Where it is measured: how much the square of signal over noise counts, the largest weight, and such a number of series
GAIN, LARGEST, FEW_MEASURED = 0.2, 1.5, 60
# Beyond this share of signal no level counts more
CLEAREST = 0.95


def block_weights(
    probe: ProbeConfig, n_blocks: int, n_cases: int, signals: Sequence[float] | None = None
) -> list[float]:
    """Return how much each block of a sketch counts: shares, levels, and the two of scale features.

    What is learned from few series is little more than noise, so the weight of levels beside shares grows with the
    number of training series. Where `probe.level_weight` is None it also grows with what `signals` say, those of
    shares and levels (`signal`); without these, or without shares, it is `LEVEL_WEIGHT`.

    Examples
    --------
    >>> block_weights(ProbeConfig(shares=True, sketch=64, level_weight=0.5), 3, n_cases=600)
    [1.0, 0.4330127018922193, 0.4330127018922193]
    >>> probe = ProbeConfig(shares=True, sketch=64, level_weight=None)
    >>> [round(weight, 3) for weight in block_weights(probe, 3, n_cases=600, signals=[0.1, 0.7, 0.7])]
    [1.0, 0.934, 0.934]
    """
    before, behind = [1.0] * probe.shares, [SCALE_WEIGHT] * 2 * probe.scale_features
    few, weight = FEW, LEVEL_WEIGHT if probe.level_weight is None else probe.level_weight
    if probe.level_weight is None and probe.shares and signals is not None:
        few, weight = FEW_MEASURED, measured_weight(signals[0], signals[1:])
    weight *= (n_cases / (n_cases + few)) ** 0.5
    return [*before, *[weight] * (n_blocks - len(before) - len(behind)), *behind]


def measured_weight(shares: float, levels: Sequence[float]) -> float:
    r"""Return how much levels count beside shares, from the `signal` of each.

    .. math:: w = \min\big(0.2 \, \bar r^2 (1 - s_0), 1.5\big), \qquad \bar r = \frac{1}{L} \sum_l \frac{s_l}{1 - s_l}

    with the signals s_0 of shares and s_l of levels, of which one below 0 is taken for 0. Levels on which patches do
    not agree count for nothing, and for the less the better patches agree on shares.

    Examples
    --------
    >>> measured_weight(0.5, [0.5, 0.5]), measured_weight(0.0, [0.9, 0.8]), measured_weight(0.0, [-1.0, -3.0])
    (0.1, 1.5, 0.0)
    """
    held = [min(max(level, 0.0), CLEAREST) for level in levels]
    ratio = math.fsum(share / (1 - share) for share in held) / len(held)
    return min(GAIN * ratio**2 * (1 - max(shares, 0.0)), LARGEST)


def signal(rows: Tensor, scatter: Tensor, freedom: int, counts: Tensor, channel: Tensor) -> float | None:
    r"""Return which share of the variance between series is not there because their patches differ.

    Patches that vary by W around the mean of their series leave W / N of noise in the mean of N patches; the rest of
    the variance B of these means says what a series is:

    .. math:: s = 1 - \frac{W}{N B}

    with 1 / N the mean over series. Of many series of one length it is the intraclass correlation of a mean of N
    (Shrout and Fleiss 1979, Psychological Bulletin, ICC(1, k)). It is below 0 where patches differ more than by chance,
    as where position in a series decides most.

    Parameters
    ----------
    rows : Tensor of shape (n, F)
        Means over patches.
    scatter : Tensor of shape (F, F)
        What patches scatter around them, see `tsjepa.whitening.scatter_within`.
    freedom : int
        Its degrees of freedom.
    counts : Tensor of shape (n,)
        Patches that each row is the mean of.
    channel : int64 Tensor of shape (n,)
        The channel of each row: channels differ without saying anything of their series.

    Returns
    -------
    float or None
        At most 1; None where no two patches of a series can be compared, or rows do not vary at all.

    Examples
    --------
    >>> import torch
    >>> from tsjepa.whitening import scatter_within
    >>> patches = torch.tensor([[[1.0], [3.0]], [[7.0], [9.0]]])
    >>> counts, channel = torch.tensor([2, 2]), torch.tensor([0, 0])
    >>> round(signal(patches.mean(1), *scatter_within(patches), counts, channel), 3)
    0.889
    """
    channels, own = channel.to(rows.device).unique(return_inverse=True)
    centre = rows.new_zeros(len(channels), rows.shape[1]).index_add(0, own, rows) / own.bincount().unsqueeze(1)
    between = float((rows - centre[own]).square().sum(1).mean())
    if not freedom or not between:
        return None
    noise = float(scatter.trace()) / freedom * float(counts.clamp(min=1).reciprocal().mean())
    return 1 - noise / between
