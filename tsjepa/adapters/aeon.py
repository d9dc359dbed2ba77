"""The embedder as a collection transformer of aeon, and the detector as one of its anomaly detectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from aeon.anomaly_detection.series.base import BaseSeriesAnomalyDetector
from aeon.transformations.collection import BaseCollectionTransformer
from numpy.typing import NDArray

from tsjepa.config import Config
from tsjepa.detect import SurpriseDetector
from tsjepa.embedder import TSJEPAEmbedder


class TSJEPACollectionTransformer(BaseCollectionTransformer):
    """Embed a collection with an encoder that is pretrained on it without labels.

    A shell over `TSJEPAEmbedder`, for aeon's pipelines. Parameters left at None are the recipe's.

    Parameters
    ----------
    recipe : str, Path or Config, optional
        Name of a recipe, a YAML file, or a configuration. By default the objective's recipe, or `ts-jepa-ema`.
    objective : str, optional
        How collapse is prevented: "ema", "sigreg" or another that `TSJEPAEmbedder` knows.
    masking : str, optional
        How tokens are hidden: "random", "block" or another that `TSJEPAEmbedder` knows.
    mask_ratio : float, optional
        Share of hidden tokens.
    n_patches, patch_length : int, optional
        Number of patches a series, or points a patch.
    overrides : sequence of str, default=()
        Any other setting, as ``"encoder.depth=3"``.
    max_epochs : int, optional
        Passes over the series.
    batch_size : int, optional
        Series a training step.
    lr : float, optional
        Largest learning rate.
    device : {"auto", "cpu", "cuda", "mps"}, default="auto"
        Where to train and to embed.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, masks and order. None draws a new one at each fit.
    n_jobs : int, default=1
        CPU threads: -1 takes all cores, None leaves torch's setting.
    diagnose : bool, default=True
        Whether to watch for collapse while training.
    verbose : int, default=0
        1 writes a line an epoch to standard error.

    Attributes
    ----------
    embedder_ : TSJEPAEmbedder
        The fitted embedder, whose `save` writes a checkpoint.

    See Also
    --------
    tsjepa.TSJEPAEmbedder : The same for scikit-learn, with every container that the package knows.

    Notes
    -----
    Series may have several channels, lengths that differ and missing values.

    Examples
    --------
    >>> from aeon.testing.data_generation import make_example_3d_numpy
    >>> from tsjepa.adapters.aeon import TSJEPACollectionTransformer
    >>> X, _ = make_example_3d_numpy(n_cases=8, n_channels=2, n_timepoints=50, random_state=0)
    >>> TSJEPACollectionTransformer("tiny", max_epochs=1, random_state=0).fit_transform(X).shape[0]
    8
    """

    _tags: ClassVar[dict[str, Any]] = {
        "X_inner_type": ["numpy3D", "np-list"],
        "output_data_type": "Tabular",
        "algorithm_type": "deeplearning",
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
        "capability:multithreading": True,
        "removes_unequal_length": True,
        "removes_missing_values": True,
        "python_dependencies": "torch",
    }

    def __init__(
        self,
        recipe: str | Path | Config | None = None,
        *,
        objective: str | None = None,
        masking: str | None = None,
        mask_ratio: float | None = None,
        n_patches: int | None = None,
        patch_length: int | None = None,
        overrides: Sequence[str] = (),
        max_epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = 1,
        diagnose: bool = True,
        verbose: int = 0,
    ) -> None:
        self.recipe = recipe
        self.objective = objective
        self.masking = masking
        self.mask_ratio = mask_ratio
        self.n_patches = n_patches
        self.patch_length = patch_length
        self.overrides = overrides
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.device = device
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.diagnose = diagnose
        self.verbose = verbose
        super().__init__()

    def _fit(self, X: Any, y: Any = None) -> "TSJEPACollectionTransformer":
        self.embedder_ = TSJEPAEmbedder(**self.get_params(deep=False)).fit(X)
        return self

    def _transform(self, X: Any, y: Any = None) -> NDArray[Any]:
        return self.embedder_.transform(X)

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """Return parameters with which aeon's own checks are fast."""
        small = ("encoder.dim=8", "predictor.dim=8")
        return {"recipe": "tiny", "overrides": small, "max_epochs": 1, "n_patches": 4, "device": "cpu"}


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
    overrides : sequence of str, default=()
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

    _tags: ClassVar[dict[str, Any]] = {
        "X_inner_type": "np.ndarray",
        "algorithm_type": "deeplearning",
        "capability:univariate": True,
        "capability:multivariate": True,
        "capability:missing_values": True,
        "fit_is_empty": False,
        "anomaly_output_type": "anomaly_scores",
        "learning_type:unsupervised": True,
        "learning_type:semi_supervised": True,
        "python_dependencies": "torch",
    }

    def __init__(
        self,
        recipe: str | Path | Config = "lewm-sensor",
        *,
        window: int | None = None,
        stride: int | None = None,
        max_epochs: int | None = None,
        overrides: Sequence[str] = (),
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
        self.detector_ = SurpriseDetector(**self.get_params(deep=False), contamination=0.5).fit(X)
        return self

    def _predict(self, X: Any) -> NDArray[Any]:
        score = self.detector_.scores(X).score
        return np.where(np.isnan(score), 0.0, score).astype(np.float64)

    def _fit_predict(self, X: Any, y: Any = None) -> NDArray[Any]:
        return self._fit(X)._predict(X)

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """Return parameters with which aeon's own checks are fast."""
        small = ("tokenizer.patch_length=1", "world.horizons=[1]", "encoder.dim=8", "predictor.dim=8")
        return {"overrides": small, "max_epochs": 1, "window": 2, "stride": 1, "device": "cpu", "random_state": 0}
