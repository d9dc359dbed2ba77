"""The embedder as a collection transformer of aeon; its anomaly detectors can be imported from here, too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from aeon.transformations.collection import BaseCollectionTransformer
from numpy.typing import NDArray

from tsjepa.adapters.aeon_anomalies import EmbeddingAnomalyDetector, SurpriseAnomalyDetector
from tsjepa.config import Config
from tsjepa.embedder import TSJEPAEmbedder

__all__ = ["EmbeddingAnomalyDetector", "SurpriseAnomalyDetector", "TSJEPACollectionTransformer"]


class TSJEPACollectionTransformer(BaseCollectionTransformer):
    """Embed a collection with an encoder that is pretrained on it without labels.

    A shell over `TSJEPAEmbedder`, for aeon's pipelines. Parameters left at None are the recipe's.

    Parameters
    ----------
    recipe : str, Path or Config, optional
        Name of a recipe, a YAML file, or a configuration. By default the objective's recipe, or `default`.
    objective : str, optional
        How collapse is prevented: "ema", "sigreg" or another that `TSJEPAEmbedder` knows.
    masking : str, optional
        How tokens are hidden: "random", "block" or another that `TSJEPAEmbedder` knows.
    mask_ratio : float, optional
        Share of hidden tokens.
    n_patches, patch_length : int, optional
        Number of patches a series, or points a patch.
    overrides : sequence of str or None, default=()
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
        overrides: Sequence[str] | None = (),
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
        embedder = TSJEPAEmbedder(**self.get_params(deep=False))
        self.embedder_ = embedder.set_output(transform="default").fit(X)  # arrays, whatever scikit-learn is set to
        return self

    def _transform(self, X: Any, y: Any = None) -> NDArray[Any]:
        return self.embedder_.transform(X)

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """Return parameters with which aeon's own checks are fast."""
        small = ("encoder.dim=8", "predictor.dim=8")
        return {"recipe": "tiny", "overrides": small, "max_epochs": 1, "n_patches": 4, "device": "cpu"}
