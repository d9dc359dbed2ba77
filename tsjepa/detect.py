"""The scikit-learn way to detect what should not have come: an outlier detector for the rows of a sensor log."""

from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tsjepa.arrays import Series, counted, refuse_type, unmasked
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import CheckpointError, Header, load_checkpoint, save_checkpoint
from tsjepa.config import Config, ConfigError
from tsjepa.estimators import settings, unless_it_fails
from tsjepa.held_out import fit_held_out
from tsjepa.kinds import is_table
from tsjepa.normal_rows import check_normal
from tsjepa.sensor_rows import in_order, one_series, sensors
from tsjepa.sight import cut_windows
from tsjepa.stream import score_series
from tsjepa.surprise import LARGEST, Scores, fit_scorer
from tsjepa.thresholds import Threshold, fit_threshold
from tsjepa.world import WorldModel


class SurpriseDetector(OutlierMixin, BaseEstimator):
    """Find the rows of a sensor log that a latent world model did not expect.

    X is one log: rows are points in time, evenly spaced and in order, columns are sensors. A world model learns from
    normal operation what comes next; rows are scored by how little of them it predicted and by how far they are from
    normal ones. A score uses no later row. Parameters left at None are the recipe's.

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
    false_alarms : int, default=10000
        Rows of normal operation in which one false alarm is allowed. Calibrated on blocks of X by what is normal in
        the other blocks; see `tsjepa.held_out` and `tsjepa.thresholds`.
    contamination : float, optional
        Share of the rows of X that are outliers, instead of `false_alarms`: for X that is not all normal.
    overrides : sequence of str or None, default=()
        Any other setting, as ``"encoder.depth=3"``.
    device : {"auto", "cpu", "cuda", "mps"}, default="auto"
        Where to train; rows are scored on the CPU.
    random_state : int, RandomState instance or None, default=None
        Seed of weights and order. None draws a new one at each fit.

    Attributes
    ----------
    scorer_ : Scorer
        What scores rows, for `tsjepa.stream.Stream` too.
    offset_ : float
        Rows with `score_samples` below it are outliers.
    threshold_ : Threshold or None
        What the offset rests on; None with `contamination`.
    config_ : Config
        The resolved configuration.
    n_features_in_ : int
        Number of sensors.
    feature_names_in_ : array of str
        Their names, where X has them.

    Notes
    -----
    The first rows, until a window is full, and rows behind missing values cannot be judged: `score_samples` takes them
    for usual, so that they are never outliers. `scores` tells them as NaN.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(600)
    >>> X = np.stack([np.sin(t / 5), np.cos(t / 5)], 1) + 0.05 * np.random.default_rng(0).normal(size=(600, 2))
    >>> detector = SurpriseDetector(max_epochs=1, window=80, false_alarms=1000, random_state=0).fit(X)
    >>> broken = X.copy()
    >>> broken[400:, 1] = 3.0
    >>> detector.predict(X)[-100:].min(), detector.predict(broken)[-100:].max()
    (np.int64(1), np.int64(-1))
    """

    def __init__(
        self,
        recipe: str | Path | Config = "lewm-sensor",
        *,
        window: int | None = None,
        stride: int | None = None,
        max_epochs: int | None = None,
        false_alarms: int = 10_000,
        contamination: float | None = None,
        overrides: Sequence[str] | None = (),
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.recipe = recipe
        self.window = window
        self.stride = stride
        self.max_epochs = max_epochs
        self.false_alarms = false_alarms
        self.contamination = contamination
        self.overrides = overrides
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "SurpriseDetector":
        """Train a world model on a log, and calibrate the threshold.

        Parameters
        ----------
        X : array of shape (n_rows, n_channels)
            Normal operation, NaN where nothing was measured. Columns of a table that by their names are labels, ids or
            times, and one that is a time by its type, are left out, with a `DataWarning`.
        y : ignored

        Returns
        -------
        SurpriseDetector
            Itself.

        Raises
        ------
        ValueError
            If X is too short, its times do not increase, or a parameter does not fit.
        """
        _check_budget(self.contamination, self.false_alarms)
        with unless_it_fails(self):
            x = self._series(X, reset=True)
            config = self._config()
            window, stride = _points(config, "window"), _points(config, "stride")
            config = resolve(config, window, self._names())
            self._check_normal(x, window, config.tokenizer.patch_length)
            windows = cut_windows([x], window, stride)
            self.config_ = resolve(config, window, n_cases=len(windows.measured()))
            return self._learn_normal(self._train(windows), x, window)

    def _train(self, windows: Series) -> WorldModel:
        from tsjepa.training import Options, fit_stages  # Lightning takes seconds to import, and only training needs it

        model = build_model(self.config_, windows.n_channels)
        assert isinstance(model, WorldModel)
        header = self._header(windows.n_timepoints)
        fit_stages(model, windows, header, Options(device=self.device, diagnose=False))
        return model

    def _learn_normal(self, model: WorldModel, x: NDArray[np.float32], context: int) -> "SurpriseDetector":
        """Fit what scores rows, and the threshold, to a log (n_channels, n_rows)."""
        self._window = context  # a scorer's is cut to whole patches, and normal rows are held out by blocks of this
        self.threshold_: Threshold | None = None
        if self.contamination is None:
            self.scorer_, held_out = fit_held_out(model, [x], context=context)
            self.threshold_ = fit_threshold(held_out, self.false_alarms, self.scorer_.patch_length)
            self.offset_ = -self.threshold_.value
        else:
            self.scorer_ = fit_scorer(model, [x], context=context)
            known = -score_series(self.scorer_, x).score.astype(np.float64)
            # rows that cannot be judged are no outliers
            known[np.isnan(known)] = np.nanmax(known)
            self.offset_ = float(np.quantile(known, self.contamination))
        return self

    def save(self, path: str | Path) -> None:
        """Save the world model as a checkpoint, the same kind as the command line's.

        What is normal is no part of it: `load`, or `tsjepa detect --normal`, learns that from a log.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        save_checkpoint(path, self.scorer_.model, self._header(self._window))

    @classmethod
    def load(
        cls, path: str | Path, X: Any, *, false_alarms: int = 10_000, contamination: float | None = None
    ) -> "SurpriseDetector":
        """Load a world model, of `save` or of the command line, and learn from a log what is normal.

        Parameters
        ----------
        path : str or Path
        X : array of shape (n_rows, n_channels)
            Normal operation, as `fit` takes it, at the time step of training; a table by the names of the sensors.
        false_alarms, contamination
            As of the class.

        Returns
        -------
        SurpriseDetector
            Fitted; a further fit trains a new model by the same configuration.

        Raises
        ------
        CheckpointError
            If the file is no usable checkpoint, or none of a world model.
        ValueError
            If X is too short, or has other sensors.
        """
        model, header = load_checkpoint(path)
        if not isinstance(model, WorldModel):
            raise CheckpointError(f"{path} is not a world model: pretrain one, as with the recipe lewm-sensor.")
        _check_budget(contamination, false_alarms)
        detector = cls(
            header.config,
            window=header.n_timepoints,
            false_alarms=false_alarms,
            contamination=contamination,
            overrides=(f"train.seed={header.config.train.seed}",),
        )
        detector.config_ = header.config
        x = detector._series(in_order(X, header.channel_names, path), reset=True, known=header.channel_names)
        if len(x) != header.n_channels:
            has = f"X has {counted(len(x), 'column')}"
            raise ValueError(f"{has}, but the model of {path} was trained on {header.n_channels}.")
        detector._check_normal(x, header.n_timepoints, model.encoder.tokenizer.patch_length)
        return detector._learn_normal(model, x, header.n_timepoints)

    def _check_normal(self, x: NDArray[np.float32], window: int, patch_length: int | None) -> None:
        """Refuse a log (n_channels, n_rows) from which what is normal cannot be learnt."""
        assert patch_length is not None  # a resolved configuration has one
        check_normal(x, self._names(), window, patch_length, held_out=self.contamination is None)

    def _names(self) -> tuple[str, ...] | None:
        return tuple(map(str, self.feature_names_in_)) if hasattr(self, "feature_names_in_") else None

    def _header(self, window: int) -> Header:
        return Header(self.config_, None, self.n_features_in_, window, self._names())

    def scores(self, X: Any) -> Scores:
        """Return all that is known of rows: larger is more surprising, NaN is not known.

        Parameters
        ----------
        X : array of shape (n_rows, n_channels)
            A log of its own: its first window of rows is not known.

        Returns
        -------
        Scores
            With the score of each sensor.
        """
        check_is_fitted(self)
        return score_series(self.scorer_, self._series(X, reset=False))

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return how normal rows are: larger is more normal, 0 is usual.

        Parameters
        ----------
        X : array of shape (n_rows, n_channels)

        Returns
        -------
        array of shape (n_rows,)
        """
        normality = -self.scores(X).score.astype(np.float64)
        return np.where(np.isnan(normality), max(0.0, self.offset_), normality)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return how far rows are from being outliers: below 0 they are.

        Parameters
        ----------
        X : array of shape (n_rows, n_channels)

        Returns
        -------
        array of shape (n_rows,)
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return -1 for outliers and 1 for other rows.

        Parameters
        ----------
        X : array of shape (n_rows, n_channels)

        Returns
        -------
        array of shape (n_rows,)
        """
        return np.where(self.decision_function(X) < 0, -1, 1).astype(np.int64)

    def _config(self) -> Config:
        """Return the recipe with this estimator's parameters."""
        given = {
            "log.window": self.window,
            "log.stride": self.stride,
            "train.epochs": self.max_epochs,
            "train.seed": check_random_state(self.random_state).randint(2**31 - 1),
        }
        config = configure(self.recipe, overrides=settings(given, self.overrides))
        if not config.world.horizons:
            raise ValueError(f"recipe {self.recipe!r} trains no world model: set world.horizons, or take lewm-sensor.")
        return config

    def _series(self, X: Any, *, reset: bool, known: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Return a log as channels (n_channels, n_rows); columns with names that are known are sensors in any case."""
        known = known if reset else getattr(self, "feature_names_in_", None)
        X = sensors(X, known) if is_table(X) else one_series(unmasked(X))
        if isinstance(X, np.ndarray):
            refuse_type(X, "X", "biufOc")  # of complex numbers scikit-learn has a sentence of its own
        X = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")
        return np.ascontiguousarray(np.clip(X.T, -LARGEST, LARGEST), np.float32)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _check_budget(share: Any, rows: Any) -> None:
    """Refuse a contamination or a number of rows that is none."""
    if share is not None and not (isinstance(share, Real) and 0 < float(share) <= 0.5):
        raise ValueError(f"contamination is a share above 0 and up to 0.5, or None, but got {share!r}.")
    if isinstance(rows, bool) or not (isinstance(rows, Integral) and int(rows) > 0):
        raise ValueError(f"false_alarms is a whole number of rows, at least 1, but got {rows!r}.")


def _points(config: Config, key: str) -> int:
    """Return a size of the configuration's windows in points."""
    value = getattr(config.log, key)
    if not isinstance(value, int):
        raise ConfigError(f"{key} is a number of points here, but it is {value!r}: give {key} as a whole number.")
    return value
