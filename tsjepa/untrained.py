"""Models with random weights that are ready to embed: what results are compared with."""

from tsjepa.arrays import SeriesSource
from tsjepa.build import build_model
from tsjepa.calibrator import calibrate
from tsjepa.config import Config
from tsjepa.normalization import copy_statistics, take_statistics
from tsjepa.objective import JEPA
from tsjepa.sections import ProbeConfig
from tsjepa.trainable import check_trainable


def build_untrained(config: Config, n_channels: int, trained: JEPA, series: SeriesSource) -> JEPA:
    """Build the random initialisation that a trained model is compared with, normalised like that one.

    Its sketch, where it has one, is centred by `series`, and nothing that is learned is in it: neither whitening nor
    weights of levels.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.build import resolve
    >>> config = resolve(Config(tokenizer={"n_patches": 10}), 500)
    >>> trained = build_model(config, n_channels=1)
    >>> build_untrained(config, 1, trained, as_series([[0.0] * 500] * 2)).training
    False
    """
    untrained = build_model(config, n_channels)
    copy_statistics(trained, untrained)
    calibrate(untrained.eval().encoder, series, config.probe, whiten=False)
    return untrained


def leave_untrained(model: JEPA, series: SeriesSource, probe: ProbeConfig) -> None:
    """Make a new model ready to embed as its weights are, normalised by series that it could be trained on.

    Raises
    ------
    TrainingError, TypeError
        See `check_trainable`.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.build import resolve
    >>> config = resolve(Config(tokenizer={"n_patches": 10}), 500)
    >>> model = build_model(config, n_channels=1)
    >>> leave_untrained(model, as_series([[0.0] * 500] * 2), config.probe)
    >>> model.training
    False
    """
    check_trainable(model, series)
    take_statistics(model, series)
    calibrate(model.eval().encoder, series, probe, whiten=False)
