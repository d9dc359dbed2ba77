"""Statistics of channels: those of the training series, which a checkpoint keeps, and those of each series by itself.

There are three ways to normalise:

======== ============================================================================================================
instance Each channel of each series gets zero mean and unit standard deviation over its own valid points
         (`layers.instance_normalize`). Level and scale are lost to the encoder; `level_and_scale` gives them back.
train    Each channel gets the mean and the standard deviation of all training series, so that level and scale stay
         comparable between series.
none     Values are taken as they are.
======== ============================================================================================================
"""

from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tsjepa.arrays import Series, SeriesSource
from tsjepa.layers import SCALE_FLOOR

# Values that are held in float64 at a time
CHUNK = 2**20
# Standard deviations beyond which a value counts as this far: its square has to fit float32, whatever was read
FARTHEST = 1e6
# The largest value that an encoder can take as it is, by the same token
LARGEST = 1e19
# A standard deviation that no sensor's unit goes below: the floor where all values are zero
SMALLEST_SCALE = 1e-12


class Moments(NamedTuple):
    """Statistics of the valid points of each channel, float64 arrays of shape (n_channels,).

    Attributes
    ----------
    n_points : number of valid points
    mean : their mean
    squares : their summed squared deviation from the mean
    largest : their largest magnitude
    """

    n_points: NDArray[np.float64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    largest: NDArray[np.float64]

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation (biased) of each channel, 0 where no point is valid."""
        return np.sqrt(self.squares / np.maximum(self.n_points, 1))


def channel_moments(source: SeriesSource) -> Moments:
    """Return the statistics of each channel over the valid points of all series, read once and in order.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> moments = channel_moments(as_series([[1.0, 3.0], [5.0, float("nan")]]))
    >>> moments.n_points.tolist(), moments.mean.tolist(), moments.squares.tolist()
    ([3.0], [3.0], [8.0])
    """
    nothing = Moments(*(np.zeros(source.n_channels) for _ in Moments._fields))
    return reduce(merge, (moments_of(part) for _, part in in_parts(source)), nothing)


def in_parts(source: SeriesSource) -> Iterator[tuple[int, Series]]:
    """Yield the number of a case, and the series from there on: CHUNK values at a time, but one series whole."""
    n_cases = max(1, CHUNK // (source.n_channels * source.n_timepoints))
    for start in range(0, source.n_cases, n_cases):
        yield start, source.take(np.arange(start, min(start + n_cases, source.n_cases)))


def moments_of(series: Series) -> Moments:
    """Return the statistics of each channel of series in memory, in two passes."""
    values = series.values.astype(np.float64)
    valid = np.ones(values.shape, bool) if series.valid is None else series.valid
    values = np.where(valid, values, 0.0)
    count = valid.sum((0, 2)).astype(np.float64)
    mean = values.sum((0, 2)) / np.maximum(count, 1)
    centred = np.where(valid, values - mean[:, None], 0.0)
    return Moments(count, mean, np.square(centred).sum((0, 2)), np.abs(values).max((0, 2)))


def merge(a: Moments, b: Moments) -> Moments:
    """Return the statistics of both parts together (Chan, Golub and LeVeque 1983, Am. Stat. 37, 242-247)."""
    count = a.n_points + b.n_points
    share = b.n_points / np.maximum(count, 1)
    step = b.mean - a.mean
    squares = a.squares + b.squares + np.square(step) * a.n_points * share
    return Moments(count, a.mean + step * share, squares, np.maximum(a.largest, b.largest))


def too_large(source: SeriesSource, where: str = "the series") -> str | None:
    """Say which value an encoder cannot take as it is, since it is beyond `LARGEST`; None where all fit.

    Of a value without a square in float32 no latent is finite, whatever the weights.

    Parameters
    ----------
    source : SeriesSource
        Read once and in order.
    where : str, default="the series"
        What they are called.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> too_large(as_series([[1.0, 2.0], [3.0, -1e30]])).partition(":")[0]
    '-1e+30 in the series (case 1, channel 0, time point 1) is too large for normalize=none'
    """
    largest, place = LARGEST, None
    for start, (values, _) in in_parts(source):
        case, channel, time = (int(i) for i in np.unravel_index(np.abs(values).argmax(), values.shape))
        if abs(values[case, channel, time]) > abs(largest):
            largest, place = float(values[case, channel, time]), (start + case, channel, time)
    if place is None:
        return None
    return (
        f"{largest:g} in {where} (case {place[0]}, channel {place[1]}, time point {place[2]}) is too large for "
        "normalize=none: put NaN there to mark it missing, or choose normalize=train or normalize=instance."
    )


class TrainingStatistics(nn.Module):
    """Brings each channel to the mean and the scale that it had in the training series; part of the state dict.

    The scale is the standard deviation with a floor of 1e-4 of the channel's largest magnitude, below which the
    rounding of the mean would count. A channel that held no value, or only zeros, is left as it is; so is every channel
    before `set`.

    Parameters
    ----------
    n_channels : int

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> statistics = TrainingStatistics(n_channels=1)
    >>> statistics.set(channel_moments(as_series([[2.0, 4.0], [2.0, 4.0]])))
    >>> statistics(torch.tensor([[[3.0, 5.0]]]))
    tensor([[[0., 2.]]])
    """

    mean: Tensor
    scale: Tensor
    count: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("scale", torch.ones(n_channels))
        self.register_buffer("count", torch.zeros(n_channels, dtype=torch.int64))

    @property
    def known(self) -> bool:
        """Whether any value has been seen."""
        return bool(self.count.any())

    def set(self, moments: Moments) -> None:
        """Take over the statistics of training series."""
        scale = np.maximum(moments.std, SCALE_FLOOR * moments.largest)
        scale = np.where(scale > 0, np.maximum(scale, torch.finfo(self.scale.dtype).tiny), 1.0)
        for buffer, values in ((self.mean, moments.mean), (self.scale, scale), (self.count, moments.n_points)):
            buffer.copy_(torch.from_numpy(values))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise values [B, C, T]; none comes out beyond a million deviations.

        Raises
        ------
        ValueError
            If there are other channels than in the training series.
        """
        n_channels = len(self.mean)
        if x.shape[1] != n_channels:
            raise ValueError(
                f"this encoder normalises by the statistics of the channels that it was trained on, {n_channels} in "
                f"number, but the series have {x.shape[1]}: give the same channels, or pretrain with "
                "normalize=instance."
            )
        standard = (x - self.mean.to(x.device)[:, None]) / self.scale.to(x.device)[:, None]
        return standard.clamp(-FARTHEST, FARTHEST)


def take_statistics(model: nn.Module, source: SeriesSource) -> None:
    """Give every encoder in a model the statistics of its training series, where it wants some and has none yet.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> model = nn.Sequential(TrainingStatistics(n_channels=1))
    >>> take_statistics(model, as_series([[1.0, 3.0]]))
    >>> float(model[0].mean)
    2.0
    """
    missing = [part for part in all_statistics(model) if not part.known]
    if missing:
        moments = channel_moments(source)
        for part in missing:
            part.set(moments)


def copy_statistics(model: nn.Module, other: nn.Module) -> None:
    """Give every encoder in `other` the statistics of the first one in `model`.

    Examples
    --------
    >>> model, other = TrainingStatistics(1), TrainingStatistics(1)
    >>> model.set(Moments(*np.array([[4.0], [3.0], [16.0], [5.0]])))
    >>> copy_statistics(model, other)
    >>> float(other.mean), float(other.scale)
    (3.0, 2.0)
    """
    known = all_statistics(model)
    for part in all_statistics(other):
        part.load_state_dict(known[0].state_dict())


def all_statistics(model: nn.Module) -> list[TrainingStatistics]:
    """Return the training statistics in a model, none where it normalises otherwise."""
    return [part for part in model.modules() if isinstance(part, TrainingStatistics)]


def level_and_scale(x: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the mean and the logarithm of the standard deviation of each channel over its valid points.

    Computed in float64. The standard deviation has a floor of 2^-23 of the largest magnitude, the rounding of float32,
    and of 1e-12, so that the logarithm of a constant channel is finite.

    Parameters
    ----------
    x : Tensor of shape (B, C, T)
    valid : bool Tensor of shape (B, C, T), optional
        Which points were measured; None means all.

    Returns
    -------
    float32 Tensor of shape (B, 2 * C)
        Mean and log standard deviation of the first channel, then of the next.

    Examples
    --------
    >>> level_and_scale(torch.tensor([[[2.0, 4.0], [5.0, 5.0]]]))
    tensor([[  3.0000,   0.0000,   5.0000, -14.3329]])
    """
    device = x.device
    if device.type == "mps":  # which has no float64
        x, valid = x.cpu(), None if valid is None else valid.cpu()
    valid = torch.ones_like(x, dtype=torch.bool) if valid is None else valid
    x = torch.where(valid, x.double(), 0.0)
    count = valid.sum(-1, keepdim=True).clamp(min=1)
    mean = x.sum(-1, keepdim=True) / count
    variance = torch.where(valid, x - mean, 0.0).square().sum(-1, keepdim=True) / count
    floor = (torch.finfo(torch.float32).eps * x.abs().amax(-1, keepdim=True)).clamp(min=SMALLEST_SCALE)
    return torch.cat([mean, variance.sqrt().maximum(floor).log()], -1).flatten(1).float().to(device)
