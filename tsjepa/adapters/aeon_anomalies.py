"""Anomaly detectors of aeon: by how little was expected, and by how far windows are from normal ones."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from aeon.anomaly_detection.series.base import BaseSeriesAnomalyDetector
from numpy.typing import NDArray
from sklearn.random_projection import SparseRandomProjection

from tsjepa.arrays import DataWarning, Series
from tsjepa.build import configure
from tsjepa.config import Config, ConfigError
from tsjepa.detect import SurpriseDetector
from tsjepa.embedder import TSJEPAEmbedder
from tsjepa.embedding import chunk_size, some_cases
from tsjepa.estimators import check_counts
from tsjepa.novelty import elsewhere, nearest, over_points, standardised, usual_spread
from tsjepa.sections import ProbeConfig

# Windows of the normal series that others are held against, and those that say how much a feature usually scatters:
# drawn, since at equal distances they would all have one phase of what repeats itself
MOST, SAMPLE = 8192, 512
# Most features that are kept of a window
WIDE = 2048
# What both detectors tell aeon of themselves
TAGS = {
    "X_inner_type": "np.ndarray",
    "algorithm_type": "deeplearning",
    "capability:univariate": True,
    "capability:multivariate": True,
    "fit_is_empty": False,
    "anomaly_output_type": "anomaly_scores",
    "learning_type:unsupervised": True,
    "learning_type:semi_supervised": True,
    "python_dependencies": "torch",
}


class SurpriseAnomalyDetector(BaseSeriesAnomalyDetector):
    """Score the points of a series by how little a latent world model expected them.

    A shell over `SurpriseDetector`, for aeon's benchmarks. It learns from the series of `fit`, which is normal or has
    few anomalies; `fit_predict` learns from the very series that it scores. Parameters left at None are the recipe's.

    Parameters
    ----------
    recipe : str, Path or Config, default="lewm-sensor"
        Name of a recipe of a world model, a YAML file, or a configuration.
    window : int, optional
        Points of a window: the past that a score looks at.
    stride : int, optional
        Points from one training window to the next.
    max_epochs : int, optional
        Passes over the windows.
    overrides : sequence of str or None, default=()
        Any other setting, as ``"encoder.depth=3"``.
    device : {"auto", "cpu", "cuda", "mps"}, default="auto"
        Where to train.
    random_state : int, RandomState instance or None, default=None
        Seed of weights and order. None draws a new one at each fit.

    Attributes
    ----------
    detector_ : SurpriseDetector
        The fitted detector.

    See Also
    --------
    tsjepa.SurpriseDetector : The same for scikit-learn, with a calibrated threshold.

    Notes
    -----
    To aeon an array or table is (n_channels, n_timepoints): give a log of rows x sensors with ``axis=0``, in each call.

    Scores are 0 where they are usual, and larger the more surprising a point is. Points of the first window cannot be
    judged and count as usual.

    Examples
    --------
    >>> from tsjepa.adapters.aeon import SurpriseAnomalyDetector
    >>> X = np.sin(np.arange(400) / 5) + 0.05 * np.random.default_rng(0).normal(size=400)
    >>> X[300:310] = 2.0
    >>> scores = SurpriseAnomalyDetector(window=80, max_epochs=1, random_state=0).fit_predict(X)
    >>> scores.shape, 300 <= scores.argmax() < 330
    ((400,), np.True_)
    """

    _tags: ClassVar[dict[str, Any]] = {**TAGS, "capability:missing_values": True}

    def __init__(
        self,
        recipe: str | Path | Config = "lewm-sensor",
        *,
        window: int | None = None,
        stride: int | None = None,
        max_epochs: int | None = None,
        overrides: Sequence[str] | None = (),
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.recipe = recipe
        self.window = window
        self.stride = stride
        self.max_epochs = max_epochs
        self.overrides = overrides
        self.device = device
        self.random_state = random_state
        super().__init__(axis=0)

    def _fit(self, X: Any, y: Any = None) -> "SurpriseAnomalyDetector":
        # scores need no threshold, and so no rows held out to calibrate one
        with upright(X):
            self.detector_ = SurpriseDetector(**self.get_params(deep=False), contamination=0.5).fit(X)
        return self

    def _predict(self, X: Any) -> NDArray[Any]:
        with upright(X):
            score = self.detector_.scores(X).score
        return np.where(np.isnan(score), 0.0, score).astype(np.float64)

    def _fit_predict(self, X: Any, y: Any = None) -> NDArray[Any]:
        return self._fit(X)._predict(X)

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """Return parameters with which aeon's own checks are fast."""
        small = ("tokenizer.patch_length=1", "world.horizons=[1]", "encoder.dim=8", "predictor.dim=8")
        return {"overrides": small, "max_epochs": 1, "window": 2, "stride": 1, "device": "cpu", "random_state": 0}


class EmbeddingAnomalyDetector(BaseSeriesAnomalyDetector):
    """Score the points of a series by how far the embeddings of the windows around them are from normal ones.

    An embedder is pretrained on the windows of the series of `fit`, which is normal or has few anomalies. A window is
    as anomalous as it is far from the nearest window of that series, and a point as the mean of the windows that hold
    it: unlike `SurpriseAnomalyDetector`, this looks at what comes after a point, too. `fit_predict` holds each fifth of
    a series against the rest of it.

    Parameters
    ----------
    recipe : str, Path or Config, default="default"
        Name of a recipe, a YAML file, or a configuration.
    window : int, default=64
        Points of a window: about the length of the anomalies that are looked for, or of a period.
    stride : int, default=4
        Points from one training window to the next.
    n_neighbors : int, default=1
        Nearest normal windows whose mean distance counts. More than 1 where an anomaly may come again in `fit_predict`.
    max_epochs : int, default=20
        Passes over the windows.
    overrides : sequence of str or None, default=()
        Any other setting, as ``"encoder.depth=3"``. Windows are standardised by the whole series, so that level and
        amplitude count, unless this has ``"normalize=instance"``, and read as mean, standard deviation and maximum of
        the tokens of all levels, unless this has other settings of ``probe``.
    device : {"auto", "cpu", "cuda", "mps"}, default="auto"
        Where to train and to embed.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, masks and order. None draws a new one at each fit.

    Attributes
    ----------
    embedder_ : TSJEPAEmbedder
        The fitted embedder, whose `save` writes a checkpoint.
    spread_ : float32 array of shape (n_features,)
        Unit of each feature: its standard deviation over at most 512 normal windows, at least a tenth of the median of
        those that are not 0.
    projection_ : SparseRandomProjection or None
        What brings more than 2,048 features, as many channels have, to so many, which hardly changes distances.
    reference_ : float32 array of shape (n_windows, n_features)
        Embeddings of normal windows in these units, projected if they are, in the order of time.
    usual_ : float64 array of shape (n_timepoints - window + 1,)
        Distances of the windows of the series, one a point, from the nearest ones of other fifths of it.

    Notes
    -----
    To aeon an array or table is (n_channels, n_timepoints): give a log of rows x sensors with ``axis=0``, in each call.

    Scores are in units of the spread of `usual_`, whose mean is 0. The score is novelty as distance to the nearest
    neighbour (Knorr and Ng 1998), of embeddings.

    Examples
    --------
    >>> from tsjepa.adapters.aeon import EmbeddingAnomalyDetector
    >>> X = np.sin(np.arange(400) / 5) + 0.05 * np.random.default_rng(0).normal(size=400)
    >>> X[300:310] = 2.0
    >>> detector = EmbeddingAnomalyDetector("tiny", window=32, max_epochs=1, random_state=0)
    >>> scores = detector.fit_predict(X)
    >>> scores.shape, 300 <= scores.argmax() < 310
    ((400,), np.True_)
    """

    _tags: ClassVar[dict[str, Any]] = {**TAGS, "capability:missing_values": False}

    def __init__(
        self,
        recipe: str | Path | Config = "default",
        *,
        window: int = 64,
        stride: int = 4,
        n_neighbors: int = 1,
        max_epochs: int = 20,
        overrides: Sequence[str] | None = (),
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.recipe = recipe
        self.window = window
        self.stride = stride
        self.n_neighbors = n_neighbors
        self.max_epochs = max_epochs
        self.overrides = overrides
        self.device = device
        self.random_state = random_state
        super().__init__(axis=0)

    def _fit(self, X: Any, y: Any = None) -> "EmbeddingAnomalyDetector":
        check_counts(self, "window", "stride", "n_neighbors")
        with upright(X):
            windows = self._windows(X)
            starts = some_cases(len(windows), MOST)
            # before training: it tells a series that is too short
            apart = list(elsewhere(len(windows), starts, self.window))
        embedder = TSJEPAEmbedder(
            for_windows(self.recipe),
            overrides=self.overrides,
            max_epochs=self.max_epochs,
            device=self.device,
            random_state=self.random_state,
            diagnose=False,
        )
        # arrays, whatever scikit-learn is set to
        self.embedder_ = embedder.set_output(transform="default").fit(windows[:: self.stride])
        self.spread_ = usual_spread(self._read(windows[some_cases(len(windows), SAMPLE)]))
        wide = len(self.spread_) > WIDE
        projection = SparseRandomProjection(WIDE, random_state=0).set_output(transform="default")
        self.projection_ = projection.fit(self.spread_[None]) if wide else None
        self.reference_ = np.concatenate(list(self._embed(windows[starts])))
        whole = len(starts) == len(windows)  # then these are the embeddings of all windows
        self.usual_ = np.concatenate(
            [
                nearest(self.reference_[fifth], self.reference_[others], self.n_neighbors)
                if whole
                else self._distances(windows[fifth], self.reference_[others])
                for fifth, others in apart
            ]
        )
        return self

    def _predict(self, X: Any) -> NDArray[np.float64]:
        with upright(X):
            return self._scores(self._distances(self._windows(X), self.reference_))

    def _fit_predict(self, X: Any, y: Any = None) -> NDArray[np.float64]:
        return self._fit(X)._scores(self.usual_)

    def _distances(self, windows: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        return np.concatenate([nearest(rows, reference, self.n_neighbors) for rows in self._embed(windows)])

    def _scores(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        size = float(np.linalg.norm(self.reference_, axis=1).mean())
        return over_points(standardised(distances, self.usual_, size), self.window)

    def _windows(self, X: Any) -> NDArray[Any]:
        """Return the windows [n, C, window] of a series (n_timepoints, n_channels), one a point."""
        if len(X) < self.window:
            few = f"a window has {self.window} points, but the series has {len(X)}"
            raise ValueError(f"{few}: give a smaller window.")
        return np.lib.stride_tricks.sliding_window_view(np.reshape(X, (len(X), -1)), self.window, axis=0)

    def _read(self, windows: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the features of windows as the embedder reads them, part by part, so that memory is bounded."""
        size = chunk_size(self.embedder_.model_.encoder, Series(windows), self.embedder_.config_.probe)
        for start in range(0, len(windows), size):
            with warnings.catch_warnings():  # that a sensor stands still in some windows is for the score to say
                warnings.simplefilter("ignore", DataWarning)
                rows = self.embedder_.transform(windows[start : start + size])
            yield rows

    def _embed(self, windows: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the features of windows in their units, projected where they are many."""
        for rows in self._read(windows):
            own = rows / self.spread_
            yield (own if self.projection_ is None else self.projection_.transform(own)).astype(np.float32)

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """Return parameters with which aeon's own checks are fast."""
        small = ("encoder.dim=8", "predictor.dim=8", "tokenizer.n_patches=2")
        return {"recipe": "tiny", "overrides": small, "max_epochs": 1, "window": 4, "device": "cpu", "random_state": 0}


@contextmanager
def upright(X: NDArray[Any]) -> Iterator[None]:
    """Say of a series (n_timepoints, n_channels) that lies on its side, beside what is wrong with it, that it does."""
    try:
        yield
    except ValueError as error:
        points, channels = len(X), X.size // max(len(X), 1)
        if channels <= points or isinstance(error, ConfigError):  # a setting is wrong either way
            raise
        lies = f"X is read as {points} points of {channels} channels: a log of rows x sensors needs axis=0"
        raise ValueError(f"{str(error).removesuffix('.')}; {lies}.") from error


def for_windows(recipe: str | Path | Config) -> Config:
    """Return the configuration of a recipe for the windows of one series.

    They are standardised by the whole series, so that the encoder sees level and scale and need not be told them; and
    read without a sketch, which saturates, and so does not tell far from farther.
    """
    config = configure(recipe, None, ["normalize=train"])
    probe = config.probe.plain().model_copy(update={"pool": ProbeConfig().pool})
    return config.model_copy(update={"probe": probe})
