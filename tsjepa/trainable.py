"""Which series a model may be trained on, or be fitted to with its weights as they are drawn."""

from tsjepa.arrays import SeriesSource
from tsjepa.normalization import too_large
from tsjepa.objective import JEPA
from tsjepa.training_error import TrainingError


def check_trainable(model: JEPA, series: SeriesSource) -> None:
    """Refuse series that a model cannot be trained on, before anything is done with them.

    Raises
    ------
    TrainingError
        If no series has a value, or a value is too large to be taken as it is.
    TypeError
        If the series are a plain array.

    Examples
    --------
    >>> from tsjepa import build_model, resolve
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.config import Config
    >>> model = build_model(resolve(Config(tokenizer={"n_patches": 10}), 500), n_channels=1)
    >>> check_trainable(model, as_series([[float("nan")] * 500]))
    Traceback (most recent call last):
    tsjepa.training_error.TrainingError: no series holds a single value, so there is nothing to train on.
    """
    check_series(series)
    if not len(series.measured()):
        raise TrainingError("no series holds a single value, so there is nothing to train on.")
    taken_as_they_are = model.encoder.normalize == "none" and model.encoder.statistics is None
    if taken_as_they_are and (said := too_large(series)):
        raise TrainingError(said)


def check_series(series: SeriesSource) -> None:
    """Refuse a plain array, of which nothing says what is missing."""
    if not hasattr(series, "measured"):
        raise TypeError(
            f"the series to train on are a {type(series).__name__}: bring them into shape with tsjepa.as_series(X), X "
            "of shape (n_cases, n_channels, n_timepoints)."
        )
