"""Surprise: how little of what came was predicted, how far the latents are from normal ones, and which channel it was.

What a world model sees of a patch gives evidence of several kinds (`tsjepa.evidence`). Each is held against the law of
normal patches (`tsjepa.normality`), so that all are in one unit: 0 is usual, 1 one standard deviation more than usual.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsjepa.evidence import fit_decoders, gather
from tsjepa.normality import SMALLEST, Floats, Law, fit_law
from tsjepa.sight import Array, Sight, see, windows_of
from tsjepa.world import WorldModel

# Windows that laws and decoders are fitted on, spread evenly over the normal data: memory does not grow with these, nor
# with a reference, whose further windows have laws of their own
MOST = 8192
# Windows without a blind patch that a law needs at least
FEWEST = 4
# Largest value, and score, that float32 holds
LARGEST = float(np.finfo(np.float32).max)
# Smallest scale of a reference, as a share of the training data's: where a sensor stood still, rounding must not become
# surprise
SCALE_LEFT = 1e-2


class TooFewWindows(ValueError):
    """Series that hold too few windows of a context without blind patches to say what is usual.

    Parameters
    ----------
    series : sequence of array of shape (n_channels, n_timepoints)
    context, patch_length : int
    """

    def __init__(self, series: Sequence[NDArray[Any]], context: int, patch_length: int) -> None:
        self.context, self.patch_length = context, patch_length
        self.are_long = n_windows(series, context) >= FEWEST
        self.missing = missing_shares(series)
        super().__init__(self.sentence())

    def sentence(self, names: Sequence[str] | None = None) -> str:
        """Say why: series are too short, or a channel, which may have a name, is missing too often."""
        if not self.are_long:
            rows = self.context + FEWEST - 1
            return f"normal data must hold {rows} rows without a gap: the {self.context} of a context and some more."
        return (
            f"too few windows of {self.context} rows say what is usual: each patch of {self.patch_length} rows in them "
            f"needs half of the values of every channel, and {most_missing(self.missing, names)}; fill the gaps, or "
            "train a model without it."
        )


class Scores(NamedTuple):
    """Scores of T rows, larger is more surprising; NaN where nothing is known.

    Attributes
    ----------
    score : float32 array of shape (T,)
        The larger one of surprise and distance.
    surprise : float32 array of shape (T,)
        Error of predicted latents, and of the values decoded from them, mean over horizons.
    distance : float32 array of shape (T,)
        Distance of latents, and of the level of the values, to normal ones, mean over window lengths.
    channels : float32 array of shape (C, T)
        The larger one of both for each measured channel's values alone: the largest names the sensor to blame.
    """

    score: Array
    surprise: Array
    distance: Array
    channels: Array

    @classmethod
    def of(cls, rows: Array) -> "Scores":
        """Return the scores in rows [T, 2 + C] of surprise, distance and channels."""
        surprise, distance, *channels = rows.T
        return cls(np.maximum(surprise, distance), surprise, distance, np.stack(channels))


class Laws(NamedTuple):
    """What is normal of each part of `tsjepa.evidence.Evidence`."""

    errors: tuple[Law, ...]
    forecasts: tuple[Law, ...]
    latents: tuple[Law, ...]
    levels: tuple[Law, ...]
    residuals: tuple[Law, ...]
    offsets: tuple[Law, ...]


Pieces = list[tuple[NDArray[np.int64], Sight]]
Look = Callable[[WorldModel, NDArray[Any], int, int, int], Pieces]


def see_part(model: WorldModel, x: NDArray[Any], context: int, hop: int, first: int) -> Pieces:
    """Return where windows of a series [C, T] begin, and what is seen of them, piece by piece; see `windows_of`."""
    cut = windows_of(np.asarray(x, np.float32), context, model.encoder.tokenizer.patch_length, hop, first)
    return [(starts, see(model, windows)) for starts, windows in cut]


class Scorer:
    """Scores of series by a world model; made by `fit_scorer`.

    Parameters
    ----------
    model : WorldModel
        In evaluation mode, on the CPU.
    context : int
        Length of a window in points, a multiple of the patch length.
    decoders : float64 array of shape (H, E + 1, C * P)
        See `tsjepa.evidence.fit_decoders`.
    laws : Laws
    usual : float32 array of shape (n, 2 + C)
        Scores of normal windows by laws that were not fitted on them, in the order of time; see `Scores.of`. Those of a
        reference are of the windows that begin with each of its rows, NaN where there is none.
    unit : float64 array of shape (2 + C,)
        Spread of these scores before they were divided by it.
    gain, offset : float64 array of shape (n_channels,)
        What brings a series to the level and scale of the training data; 1 and 0 where it has those.
    """

    def __init__(
        self,
        model: WorldModel,
        context: int,
        decoders: Floats,
        laws: Laws,
        usual: Array,
        unit: Floats,
        gain: Floats,
        offset: Floats,
    ) -> None:
        self.model, self.context, self.decoders, self.laws = model, context, decoders, laws
        self.usual, self.unit = usual, unit
        self.gain, self.offset = gain, offset
        self.patch_length = model.encoder.tokenizer.patch_length
        self.channels = tuple(model.encoder.measured(len(gain)))

    def adjusted(self, x: NDArray[Any]) -> Array:
        """Return a series [C, T] at the level and scale of the training data."""
        return adjusted(x, self.gain, self.offset)

    def judge(self, sight: Sight) -> Array:
        """Return surprise, distance and each channel's score of what is seen of n patches, [n, 2 + C]."""
        evidence = gather(sight, self.decoders)
        unusual = (
            [law.unusual(samples) for law, samples in zip(laws, part, strict=True)]
            for laws, part in zip(self.laws, evidence, strict=True)
        )
        judged = joined(*unusual) / self.unit
        # what was measured and is beyond all that can be computed is no less unusual than the largest number
        return np.nan_to_num(judged, nan=LARGEST, posinf=LARGEST).clip(max=LARGEST).astype(np.float32)


def fit_scorer(
    model: WorldModel,
    normal: Sequence[NDArray[Any]],
    calibration: Sequence[NDArray[Any]] | None = None,
    *,
    context: int,
    look: Look = see_part,
) -> Scorer:
    """Learn from normal series what is usual.

    Parameters
    ----------
    model : WorldModel
        In evaluation mode, on the CPU.
    normal : sequence of array of shape (n_channels, n_timepoints)
        Normal series, inputs included; NaN is missing.
    calibration : sequence of array, optional
        Normal series that the model was not trained on; they say which scores are usual. By default each fifth of
        `normal` is held against the others.
    context : int
        Length in points of the windows that the model was trained on; of these the whole patches are looked at.
    look : callable, default=see_part
        What looks at a series; one that remembers saves time where several scorers are fitted to the same ones.

    Returns
    -------
    Scorer

    Raises
    ------
    TooFewWindows
        If too few windows of normal data are without blind patches.

    Examples
    --------
    >>> from tsjepa.build import build_model, configure, resolve
    >>> model = build_model(resolve(configure("lewm-sensor"), 128), 2).eval()
    >>> scorer = fit_scorer(model, [np.random.default_rng(0).normal(size=(2, 600))], context=128)
    >>> scorer.patch_length, scorer.channels
    (8, (0, 1))
    """
    n_channels = len(normal[0])
    context -= context % model.encoder.tokenizer.patch_length
    seen, _ = see_series(model, normal, context, look=look)
    decoders = fit_decoders(seen)
    held_out = None if calibration is None else see_series(model, calibration, context)[0]
    laws, usual, unit = fit_laws(seen, decoders, held_out)
    return Scorer(model, context, decoders, laws, usual, unit, np.ones(n_channels), np.zeros(n_channels))


def refer(scorer: Scorer, *stretches: NDArray[Any]) -> Scorer:
    """Return a scorer for a run of which one or several stretches are known to be normal.

    No window goes from one stretch into the next, as no score rests on rows of both sides of a gap in time.

    Level and scale of each measured channel and all laws become those of the reference; what latents stand for stays.
    The laws so far are the prior, but for levels: how far these wander is a matter of the run. Inputs keep their level
    and scale, which have a meaning.

    Parameters
    ----------
    scorer : Scorer
    *stretches : array of shape (n_channels, n_timepoints)
        In the order of time.

    Returns
    -------
    Scorer

    Raises
    ------
    TooFewWindows
        If too few windows of the stretches are without blind patches.

    Examples
    --------
    >>> from tsjepa.build import build_model, configure, resolve
    >>> model = build_model(resolve(configure("lewm-sensor"), 128), 2).eval()
    >>> log = np.random.default_rng(0).normal(size=(2, 900))
    >>> own = refer(fit_scorer(model, [log], context=128), log[:, :200], log[:, 300:500])
    >>> int(np.isfinite(own.usual).all(1).sum()), 2 * (200 - 128 + 1)
    (146, 146)
    """
    reference = np.concatenate(stretches, 1)
    statistics, gain, offset = scorer.model.encoder.statistics, scorer.gain.copy(), scorer.offset.copy()
    if statistics is not None:
        mean, scale = (part.numpy().astype(np.float64) for part in (statistics.mean, statistics.scale))
        for channel in scorer.channels:
            known = reference[channel][np.isfinite(reference[channel])].astype(np.float64)
            if len(known):
                gain[channel] = scale[channel] / max(known.std(), SCALE_LEFT * scale[channel])
                offset[channel] = mean[channel] - gain[channel] * known.mean()
    series = [adjusted(stretch, gain, offset) for stretch in stretches]
    parts = []
    for first in range(hop_over(series, scorer.context)):
        with suppress(TooFewWindows):  # others may hold enough
            seen, starts = see_series(scorer.model, series, scorer.context, first)
            parts.append((starts, *fit_laws(seen, scorer.decoders, prior=scorer.laws)))
    if not parts:
        raise TooFewWindows(series, scorer.context, scorer.patch_length)
    begun, laws, usual, unit = zip(*parts, strict=True)
    in_order = np.full((reference.shape[1] - scorer.context + 1, usual[0].shape[1]), np.nan, np.float32)
    in_order[np.concatenate(begun)] = np.concatenate(usual)
    return Scorer(scorer.model, scorer.context, scorer.decoders, laws[0], in_order, unit[0], gain, offset)


def adjusted(x: NDArray[Any], gain: Floats, offset: Floats) -> Array:
    """Return a series [C, T] with each channel multiplied by its gain and moved by its offset, as float32 holds it."""
    if x.ndim != 2 or len(x) != len(gain):
        raise ValueError(f"a series of {len(gain)} channels (C, T) is needed, but its shape is {x.shape}.")
    return np.clip(x * gain[:, None] + offset[:, None], -LARGEST, LARGEST).astype(np.float32)


def hop_over(series: Sequence[NDArray[Any]], context: int) -> int:
    """Return the rows from one window to the next, so that no more than `MOST` are looked at."""
    return max(-(-n_windows(series, context) // MOST), 1)


def n_windows(series: Sequence[NDArray[Any]], context: int) -> int:
    """Return how many windows series [C, T] hold, one from each row on, whatever is missing in them."""
    return sum(max(x.shape[1] - context + 1, 0) for x in series)


def missing_shares(series: Iterable[NDArray[Any]]) -> Floats:
    """Return the share of the rows of series [C, T] in which each channel is missing.

    Examples
    --------
    >>> missing_shares([np.array([[1.0, np.nan], [2.0, 3.0]]), np.array([[np.nan], [4.0]])]).round(2).tolist()
    [0.67, 0.0]
    """
    counts = [(np.isnan(x).sum(1), x.shape[1]) for x in series]
    return np.asarray(sum(missing for missing, _ in counts) / max(sum(rows for _, rows in counts), 1))


def most_missing(shares: Floats, names: Sequence[str] | None) -> str:
    """Say which channel, which may have a name, is missing most.

    Examples
    --------
    >>> most_missing(np.array([0.1, 0.667]), ["flow", "level"])
    "'level' is missing in 66.7 % of all rows"
    """
    channel = int(shares.argmax())
    shown = f"channel {channel}" if names is None else repr(names[channel])
    return f"{shown} is missing in {100 * shares[channel]:.3g} % of all rows"


def check_windows(series: Sequence[NDArray[Any]], context: int, patch_length: int) -> None:
    """Refuse series [C, T] that hold too few windows to say what is usual, which needs no model.

    Raises
    ------
    TooFewWindows

    Examples
    --------
    >>> check_windows([np.zeros((2, 100))], context=32, patch_length=4)
    """
    context -= context % patch_length
    found, hop = 0, hop_over(series, context)
    for x in series:
        for starts, _ in windows_of(np.asarray(x, np.float32), context, patch_length, hop):
            found += len(starts)
            if found >= FEWEST:
                return
    raise TooFewWindows(series, context, patch_length)


def see_series(
    model: WorldModel, series: Sequence[NDArray[Any]], context: int, first: int = 0, look: Look = see_part
) -> tuple[Sight, NDArray[np.int64]]:
    """Return what is seen of windows spread evenly over series [C, T], each from a point on, and where each begins.

    Where a window begins is counted over all series, one after the other.
    """
    hop = hop_over(series, context)
    before = np.cumsum([0, *(x.shape[1] for x in series)])
    found = [
        (starts + offset, sight)
        for x, offset in zip(series, before[:-1], strict=True)
        for starts, sight in look(model, x, context, hop, first)
    ]
    if sum(len(starts) for starts, _ in found) < FEWEST:
        raise TooFewWindows(series, context, model.encoder.tokenizer.patch_length)
    begun, seen = zip(*found, strict=True)
    return Sight(*(np.concatenate(part) for part in zip(*seen, strict=True))), np.concatenate(begun)


def fit_laws(
    seen: Sight, decoders: Floats, held_out: Sight | None = None, prior: Laws | None = None
) -> tuple[Laws, Array, Floats]:
    """Fit all laws, and return scores of normal windows that they do not know, and the unit of scores.

    Levels have no prior; see `refer`, and `tsjepa.normality.fit_law`.
    """
    parts = gather(seen, decoders)
    nothing = [[None] * len(part) for part in parts]
    others = nothing if held_out is None else gather(held_out, decoders)
    before = nothing if prior is None else prior._replace(levels=(None,) * len(prior.levels))  # type: ignore[arg-type]
    fitted = [
        [fit_law(*of_one) for of_one in zip(*of_part, strict=True)]
        for of_part in zip(parts, others, before, strict=True)
    ]
    usual = joined(*([away for _, away in part] for part in fitted))
    unit = usual.std(0, dtype=np.float64)
    unit[unit < SMALLEST] = 1.0  # nothing varies
    laws = Laws(*(tuple(law for law, _ in part) for part in fitted))
    return laws, (usual / unit).astype(np.float32), unit


def joined(*unusual: Sequence[Floats]) -> Array:
    """Return surprise, distance and each channel's score [n, 2 + C] of what is unusual in each part of the evidence."""
    errors, forecasts, latents, levels, residuals, offsets = map(np.stack, unusual)
    surprise, distance = np.concatenate([errors, forecasts]).mean(0), np.concatenate([latents, levels]).mean(0)
    return np.stack([surprise, distance, *np.maximum(residuals, offsets)], 1).astype(np.float32)
