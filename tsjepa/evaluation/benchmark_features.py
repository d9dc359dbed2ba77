"""Series to features: each method is fitted on the training part alone, and then reads series one by one."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tsjepa.arrays import Series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header, load_checkpoint
from tsjepa.config import Config
from tsjepa.embedding import resolve_device, row_width
from tsjepa.encoder import Encoder
from tsjepa.evaluation.accuracy import Labels, Reader
from tsjepa.evaluation.benchmark_methods import Method
from tsjepa.evaluation.benchmark_table import BenchmarkError
from tsjepa.finetuning import FROM_SCRATCH, finetune
from tsjepa.heads import LinearHead
from tsjepa.sections import ProbeConfig
from tsjepa.trainer import Options
from tsjepa.training import fit_stages
from tsjepa.untrained import leave_untrained

Features = NDArray[np.floating]
Transform = Callable[[Series], Features]
# With fewer points aeon's Catch22 divides by zero
CATCH22_POINTS = 3
# Of the noise that methods without an encoder read before the clock starts
WARM_UP_POINTS = 32


class Fitted(NamedTuple):
    """A method fitted on training series; `reader` is its encoder, and `head` a head of its own, where it has one.

    Test series enter through `transform` alone, after fitting, and no label goes into it: nothing of the test part can
    have a part in what was fitted.
    """

    transform: Transform
    reader: Reader | None = None
    head: LinearHead | None = None


class Levels(NamedTuple):
    """All levels of an encoder, embedded at once.

    Examples
    --------
    >>> from tsjepa.sections import ProbeConfig
    >>> from tsjepa.tokenizers import LinearPatches
    >>> reader = Reader(Encoder(LinearPatches(5, 4), depth=1, heads=1).eval(), ProbeConfig(pool=("mean",)), "cpu")
    >>> levels = Levels(reader)
    >>> levels.one(levels.embed(Series(np.zeros((3, 2, 20), np.float32))), 1).shape
    (3, 8)
    """

    reader: Reader

    @property
    def probe(self) -> ProbeConfig:
        """How they are pooled."""
        return self.reader.probe.plain()

    def embed(self, series: Series) -> Features:
        """Return the features of all levels."""
        return self.reader._replace(probe=self.probe).embed(series)

    def one(self, Z: Features, level: int) -> Features:
        """Return the features of one level among those of all: `embed` orders them by channel, level and statistic."""
        width, pooled = row_width(self.reader.encoder, self.probe), len(self.probe.pool) * self.reader.encoder.dim
        rows = Z.reshape(len(Z), -1, width)[:, :, level * pooled : (level + 1) * pooled]
        return rows.reshape(len(Z), -1)


def fit_method(method: Method, series: Series, y: Labels, seed: int, device: str) -> Fitted:
    """Fit a method on training series.

    Parameters
    ----------
    method : Method
    series : Series
        The training part.
    y : int array of shape (n_cases,)
        Its classes; only the supervised encoder looks at them.
    seed : int
        Of weights, batches, masks and kernels.
    device : str
        "auto", "cpu", "cuda" or "mps", for encoders.

    Returns
    -------
    Fitted

    Raises
    ------
    BenchmarkError
        If the series are too short for catch22.

    Examples
    --------
    >>> from tsjepa.evaluation.benchmark_methods import find_method
    >>> series = Series(np.zeros((3, 2, 4), np.float32))
    >>> fit_method(find_method("raw"), series, np.arange(3), 0, "cpu").transform(series).shape
    (3, 8)
    """
    if method.config is not None:
        encoder = fit_encoder(method, series, seed, device)
        if method.kind == "supervised":
            encoder, head = finetune(
                encoder, series, y, method.config.probe, FROM_SCRATCH, device=resolve_device(device), seed=seed
            )
            return Fitted(*reading(encoder, method.config, device), head)
        return Fitted(*reading(encoder, method.config, device))
    length = series.n_timepoints
    if method.kind == "raw":
        return Fitted(lambda other: filled(other, length).reshape(other.n_cases, -1))
    if method.kind == "majority":
        return Fitted(lambda other: np.zeros((other.n_cases, 0)))
    return Fitted(fit_aeon(method, series, seed))


def reading(encoder: Encoder, config: Config, device: str) -> tuple[Transform, Reader]:
    """Return how an encoder is read, on the device."""
    where = resolve_device(device)
    reader = Reader(encoder.to(where), config.probe, where.type)
    return reader.embed, reader


def fit_encoder(method: Method, series: Series, seed: int, device: str) -> Encoder:
    """Return the encoder of a method on the CPU, in evaluation mode and without labels; a supervised one untrained."""
    if method.kind == "checkpoint":
        assert method.checkpoint is not None
        return load_checkpoint(method.checkpoint)[0].encoder
    assert method.config is not None
    config = seeded(method.config, seed)
    if method.kind == "pretrained":
        return pretrain(config, series, device)
    model = build_model(resolve(config, series.n_timepoints), series.n_channels)
    leave_untrained(model, series, config.probe)
    return model.encoder


def seeded(config: Config, seed: int) -> Config:
    """Return a configuration with another seed."""
    return configure(config, None, [f"train.seed={seed}"])


def pretrain(config: Config, series: Series, device: str, *, n_timepoints: int | None = None) -> Encoder:
    """Return an encoder pretrained without labels, on the CPU and in evaluation mode.

    Parameters
    ----------
    config : Config
        With its seed.
    series : Series
    device : str
    n_timepoints : int, optional
        The length that is cut into patches, where it is not the series' own.
    """
    config = resolve(config, n_timepoints or series.n_timepoints, n_cases=len(series.measured()))
    model = build_model(config, series.n_channels)
    header = Header(config, None, series.n_channels, series.n_timepoints)
    fit_stages(model, series, header, Options(device=device, diagnose=False))
    return model.eval().encoder


def fit_aeon(method: Method, series: Series, seed: int) -> Transform:
    """Fit one of aeon's transformers."""
    length, values = series.n_timepoints, filled(series, series.n_timepoints)
    if method.kind == "catch22":
        if length < CATCH22_POINTS:
            raise BenchmarkError(f"catch22 needs series of {CATCH22_POINTS} points or more, but these have {length}.")
        from aeon.transformations.collection.feature_based import Catch22

        catch22 = Catch22(replace_nans=True)
        catch22.fit(values)
        return lambda other: np.asarray(catch22.transform(filled(other, length)))
    from aeon.transformations.collection.convolution_based import MiniRocket

    minirocket = MiniRocket(random_state=seed, n_jobs=torch.get_num_threads())
    minirocket.fit(values)
    return lambda other: np.asarray(minirocket.transform(filled(other, length)))


def warm_up(method: Method, series: Series, device: str) -> None:
    """Let what is slow once in a process pass before the clock starts: imports, compiled loops, the first call.

    Some noise is read by the method, by encoders that would be trained untrained. It is as long as the series for
    encoders, which may need so many points, and short for others, some of which take seconds for a long series. Nothing
    that a run computes depends on it, since each run sets its own seeds.

    Parameters
    ----------
    method : Method
    series : Series
        The training part.
    device : str
        As for `fit_method`.

    Examples
    --------
    >>> from tsjepa.evaluation.benchmark_methods import find_method
    >>> warm_up(find_method("raw"), Series(np.zeros((3, 2, 4), np.float32)), "cpu")
    """
    if method.kind in ("pretrained", "supervised"):
        method = method._replace(kind="random-init")
    length = WARM_UP_POINTS if method.config is None else series.n_timepoints
    noise = Series(np.random.default_rng(0).normal(size=(4, series.n_channels, length)).astype(np.float32))
    fit_method(method, noise, np.arange(4), 0, device).transform(noise)


def filled(series: Series, n_timepoints: int) -> NDArray[np.float64]:
    """Return values without gaps and of one length, for methods that can have no others.

    Missing points are interpolated, ends repeat the nearest measured point, and what is beyond `n_timepoints` is cut
    off; a channel without any value is zero.

    Examples
    --------
    >>> series = Series(np.array([[[1.0, 0.0, 3.0]]], np.float32), np.array([[[True, False, True]]]))
    >>> filled(series, 5)
    array([[[1., 2., 3., 3., 3.]]])
    """
    whole = series.values.astype(np.float64)
    if series.valid is None and series.n_timepoints == n_timepoints:
        return whole
    valid = np.ones(whole.shape, bool) if series.valid is None else series.valid
    times, result = np.arange(n_timepoints), np.zeros((*whole.shape[:2], n_timepoints))
    for case, channel in np.argwhere(valid.any(-1)):
        known = np.flatnonzero(valid[case, channel])
        result[case, channel] = np.interp(times, known, whole[case, channel, known])
    return result
