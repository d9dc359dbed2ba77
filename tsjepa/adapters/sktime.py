"""The embedder as a panel transformer of sktime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sktime.transformations.base import BaseTransformer

from tsjepa.config import Config
from tsjepa.embedder import TSJEPAEmbedder


class TSJEPAPanelTransformer(BaseTransformer):
    """Embed a panel with an encoder that is pretrained on it without labels.

    A shell over `TSJEPAEmbedder`, for sktime's pipelines. Parameters left at None are the recipe's.

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
    n_jobs : int, optional
        CPU threads: None leaves torch's setting, -1 takes all cores.
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
    tsjepa.TSJEPAEmbedder : The same for scikit-learn.

    Notes
    -----
    Series may have several channels, lengths that differ and missing values. As everywhere in sktime, a 2-D array
    is **one** series of shape (n_timepoints, n_channels): give cases as (n_cases, 1, n_timepoints).

    Examples
    --------
    >>> from sktime.utils._testing.panel import _make_panel
    >>> from tsjepa.adapters.sktime import TSJEPAPanelTransformer
    >>> X = _make_panel(n_instances=8, n_columns=2, n_timepoints=50, random_state=0)
    >>> TSJEPAPanelTransformer("tiny", max_epochs=1, random_state=0).fit_transform(X).shape[0]
    8
    """

    _tags: ClassVar[dict[str, Any]] = {
        "scitype:transform-input": "Series",
        "scitype:transform-output": "Primitives",
        "scitype:instancewise": True,
        # all of these are converted by tsjepa.containers, which keeps the instances' names
        "X_inner_mtype": ["pd-multiindex", "nested_univ", "df-list", "numpy3D"],
        "y_inner_mtype": "None",
        "fit_is_empty": False,
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:unequal_length:removes": True,
        "capability:missing_values": True,
        "capability:missing_values:removes": True,
        "capability:random_state": True,
        "capability:inverse_transform": False,
        "capability:categorical_in_X": False,
        "property:randomness": "derandomized",
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
        n_jobs: int | None = None,
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

    def _fit(self, X: Any, y: Any = None) -> "TSJEPAPanelTransformer":
        embedder = TSJEPAEmbedder(**self.get_params(deep=False))
        self.embedder_ = embedder.set_output(transform="pandas").fit(X)
        return self

    def _transform(self, X: Any, y: Any = None) -> pd.DataFrame:
        return self.embedder_.transform(X)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return parameters with which sktime's own checks are fast.

        Parameters
        ----------
        parameter_set : str, default="default"
            The same ones for every name.

        Returns
        -------
        list of dict
        """
        small = ("encoder.dim=8", "predictor.dim=8")
        fast = {"recipe": "tiny", "overrides": small, "max_epochs": 1, "n_patches": 4, "device": "cpu"}
        return [fast, {**fast, "masking": "block", "random_state": 0}]
