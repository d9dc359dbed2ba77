"""Which series a model may be trained on, or be fitted to with its weights as they are drawn."""

from tsjepa.arrays import SeriesSource, counted
from tsjepa.build import UNRESOLVED
from tsjepa.checkpoint import Header
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


def check_header(header: Header, series: SeriesSource) -> None:
    """Refuse a header of series with another number of channels, or of a configuration that was not resolved.

    A checkpoint would be read by what it says.

    Raises
    ------
    TrainingError

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.config import Config
    >>> check_header(Header(Config(tokenizer={"n_patches": 10}), None, 1, 60), as_series([[[0.0] * 60] * 3]))
    Traceback (most recent call last):
    tsjepa.training_error.TrainingError: the header tells of 1 channel, but the series have 3: tell series.n_channels.
    """
    if header.n_channels != series.n_channels:
        raise TrainingError(
            f"the header tells of {counted(header.n_channels, 'channel')}, but the series have {series.n_channels}: "
            "tell series.n_channels."
        )
    if header.config.tokenizer.patch_length is None:
        raise TrainingError(f"no model could be loaded by this header: {UNRESOLVED}")
