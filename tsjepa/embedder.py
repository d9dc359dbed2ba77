"""The scikit-learn way: an estimator that learns embeddings of series without labels."""

import copy
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from tsjepa.arrays import Series, as_series, counted, warn
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header, load_checkpoint, save_checkpoint
from tsjepa.config import Config, ConfigError
from tsjepa.containers import Panel, to_panel, with_ids
from tsjepa.embedding import embed, n_features, resolve_device
from tsjepa.estimators import check_same, is_double, output_kind, settings, unless_it_fails, validated, warn_of_one
from tsjepa.kinds import holds_rows
from tsjepa.objective import JEPA
from tsjepa.remarks import other_channels, remarks
from tsjepa.stages import with_architecture
from tsjepa.threads import threads
from tsjepa.untrained import leave_untrained
from tsjepa.verdict import HOPELESS, Verdict


class CollapseWarning(UserWarning):
    """Training on several series ended in a collapse: the embeddings are not worth much."""


class TSJEPAEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Embed time series with an encoder that is pretrained on them without labels.

    Parameters left at None are the recipe's.

    Parameters
    ----------
    recipe : str, Path or Config, optional
        Name of a recipe, a YAML file, or a configuration. By default the objective's recipe, or `default`.
    objective : {"ema", "cjepa", "sigreg", "vicreg", "visreg", "deep", "distill", "salt"}, optional
        How collapse is prevented; beside a recipe the bare method, see `tsjepa.configure`.
    masking : {"bernoulli", "random", "block", "future"}, optional
        How tokens are hidden.
    mask_ratio : float, optional
        Share of hidden tokens.
    n_patches, patch_length : int, optional
        Number of patches a series, or points a patch; those of a teacher that `overrides` name (``target.teacher``).
    overrides : sequence of str or None, default=()
        Any other setting, as ``"encoder.depth=3"``.
    max_epochs : int, optional
        Passes over the series. 0 leaves weights as they are drawn, also with `warm_start`: the baseline.
    batch_size : int, optional
        Series a training step.
    lr : float, optional
        Largest learning rate.
    device : {"auto", "cpu", "cuda", "mps"}, default="auto"
        Where to train and to embed.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, masks and order. None draws a new one at each fit. The seed itself is drawn by it, as
        scikit-learn does: that of the command's ``--seed 3`` is ``overrides=["train.seed=3"]``.
    n_jobs : int, optional
        CPU threads: None leaves torch's setting, -1 takes all cores.
    diagnose : bool, default=True
        Whether to watch for collapse while training. It costs the same each epoch: some per cent of one of hundreds of
        series, as much again as one of a few dozens.
    warm_start : bool, default=False
        Whether a second fit goes on from the weights of the first; only how it trains (``train.``) may change. Where
        training fails, what was fitted stays as it was.
    verbose : int, default=0
        1 writes a line an epoch to standard error.

    Attributes
    ----------
    model_ : JEPA
        The trained model, on the CPU.
    config_ : Config
        The resolved configuration.
    loss_ : float
        Mean loss of the last epoch; nan untrained, not there after `load`.
    verdict_ : Verdict or None
        Whether training collapsed, with evidence; None untrained and with `diagnose=False`, not there after `load`.
    n_features_in_ : int
        Time points of 2-D input, channels of 3-D input.
    feature_names_in_ : array of str
        Their names, where X has them. Channels are then taken by name.

    Notes
    -----
    Input is (n_cases, n_timepoints), (n_cases, n_channels, n_timepoints) or a list of (n_channels, n_timepoints)
    arrays, what `tsjepa.as_series` makes of them, or a table of pandas, polars or pyarrow that holds series in one of
    the ways that `tsjepa.containers.to_panel` knows, or what that returns; NaN is missing. An embedding never depends
    on what else is in the call. After a fit on 2-D input, a 2-D array or a table of cases x time points has to have as
    many time points, as everywhere in scikit-learn; series of any length are a list, or ``X[:, None]``.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(20, 1, 100))
    >>> TSJEPAEmbedder("tiny", max_epochs=2, random_state=0).fit_transform(X).shape
    (20, 64)
    """

    _two_d: bool

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
        warm_start: bool = False,
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
        self.warm_start = warm_start
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "TSJEPAEmbedder":
        """Pretrain on series.

        Parameters
        ----------
        X : array of shape (n_cases, n_timepoints) or (n_cases, n_channels, n_timepoints), list of arrays, or table
        y : ignored

        Returns
        -------
        TSJEPAEmbedder
            Itself.

        Raises
        ------
        ValueError, TrainingError
            If X or a parameter does not fit; if there is nothing to learn, or loss or latents are not finite.
        """
        with unless_it_fails(self):
            return self._fit(X)

    def _fit(self, X: Any) -> "TSJEPAEmbedder":
        warm = self.warm_start and hasattr(self, "model_") and self.max_epochs != 0
        series, given = self._series(self._known_channels(X) if warm else to_panel(X), reset=True)
        n_timepoints = self._n_timepoints if warm else series.n_timepoints  # for which patches are cut
        config = self._config(n_timepoints, series)
        if warm:
            check_same(self.config_, config, series.n_channels == self._n_channels)
        # what training leaves when it fails is not what was fitted
        model = copy.deepcopy(self.model_) if warm else build_model(config, series.n_channels)
        self._announce(series, given, config, self._names())
        header = Header(config, None, series.n_channels, n_timepoints, self._names())
        with threads(self.n_jobs):
            self.loss_, self.verdict_ = self._pretrain(model, series, header)
        self._take(model, header)
        if len(series.measured()) > 1 and self.verdict_ is not None and self.verdict_.verdict in HOPELESS:
            warn(f"{self.verdict_.verdict}: {self.verdict_.evidence}", CollapseWarning)
        return self

    def _pretrain(self, model: JEPA, series: Series, header: Header) -> tuple[float, Verdict | None]:
        """Train in place, behind a teacher where the target is one, or leave the model untrained."""
        if self.max_epochs == 0:
            leave_untrained(model, series, header.config.probe)
            return math.nan, None
        warn_of_one(series)
        from tsjepa.training import Options, fit_stages  # Lightning takes seconds to import, and only training needs it

        report = self._report if self.verbose else None
        result = fit_stages(model, series, header, Options(device=self.device, report=report, diagnose=self.diagnose))
        return result.loss, result.verdict

    def transform(self, X: Any) -> Any:
        """Embed series with the frozen encoder.

        Parameters
        ----------
        X : as for `fit`
            With the channels of `fit`, and of any length; of a 2-D array after a fit on 2-D input give ``X[:, None]``.
            Another number of channels, without names, is embedded with ``probe.channels`` mean or max, and by a sketch,
            as that of `default`. Sketches of ``concat`` add up channels by their place, and leave out level and scale
            of another number than in `fit`: they compare with each other then, and not with those of `fit`.

        Returns
        -------
        array of shape (n_cases, n_features)
            float32 where X is float32, else float64; zeros for a series without any value. With
            ``set_output(transform="pandas")`` a table, its index the ids of the series where X has them.

        Raises
        ------
        ValueError
            If X does not fit.
        """
        check_is_fitted(self)
        rows, ids = self._embed(X, self, self._any_number())
        # scikit-learn would label them with the rows of X
        return with_ids(rows, ids) if output_kind(self) == "pandas" else rows

    def _embed(self, X: Any, asked: BaseEstimator, any_number: bool) -> tuple[NDArray[Any], Any]:
        """Return embeddings and the ids of their series; what does not fit is told in the name of who is asked."""
        panel = to_panel(X, keep=self._names())
        series, given = self._series(panel, reset=False, asked=asked)
        same, free = series.n_channels == self._n_channels, self._channels_alike()
        has = f"X has {counted(series.n_channels, 'channel')}, but"
        if not (same or any_number):
            way = other_channels(X, self._n_channels, mixed=self.model_.encoder.channels > 1)
            raise ValueError(f"{has} {type(asked).__name__} was fitted with {self._n_channels}: {way}")
        if not (same or free):
            compare = "sketches of concat compare with each other then, and not with those of fit"
            warn(f"{has} fit had {self._n_channels}: {compare}.")
        self._announce(series, given, self.config_, self._names() if same and not free else None)
        device = resolve_device(self.device)
        encoder = self.model_.encoder.to(device)
        try:
            with threads(self.n_jobs):
                embedding = embed(encoder, series, self.config_.probe, device)
        finally:
            self.model_.cpu()
        return embedding.astype(np.float64) if is_double(panel.series) else embedding, panel.ids

    def save(self, path: str | Path) -> None:
        """Save the model as a checkpoint, the same kind as the command line's.

        Parameters
        ----------
        path : str or Path
            Its folder is created where there is none.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        save_checkpoint(path, self.model_, self._header())

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> "TSJEPAEmbedder":
        """Load a checkpoint, of `save` or of the command line.

        Parameters
        ----------
        path : str or Path
        device : {"auto", "cpu", "cuda", "mps"}, default="auto"

        Returns
        -------
        TSJEPAEmbedder
            Fitted; a further fit starts from the same configuration, its seed among the overrides.

        Raises
        ------
        CheckpointError
            If the file is no usable checkpoint.
        """
        model, header = load_checkpoint(path)
        embedder = cls(header.config, device=device, overrides=(f"train.seed={header.config.train.seed}",))
        embedder._take(model, header)
        embedder._two_d = False
        embedder._name(header.channel_names)
        embedder.n_features_in_ = header.n_channels
        return embedder

    def _config(self, n_timepoints: int, series: Series) -> Config:
        """Return the recipe with this estimator's parameters, resolved for such series."""
        if self.n_patches is not None and self.patch_length is not None:
            raise ConfigError("give either n_patches or patch_length, not both.")
        given = {
            "mask.kind": self.masking,
            "mask.ratio": self.mask_ratio,
            "tokenizer.n_patches": self.n_patches,
            "tokenizer.patch_length": self.patch_length,
            "train.epochs": None if self.max_epochs == 0 else self.max_epochs,
            "train.batch_size": self.batch_size,
            "train.lr": self.lr,
            "train.seed": check_random_state(self.random_state).randint(2**31 - 1),
        }
        config = with_architecture(configure(self.recipe, self.objective, settings(given, self.overrides)))
        return resolve(config, n_timepoints, self._names(), len(series.measured()), series.n_channels)

    def _series(self, panel: Panel, *, reset: bool, asked: BaseEstimator | None = None) -> tuple[Series, Any]:
        """Validate series as scikit-learn does where it can; return them in one array, and what that was made of.

        A list of rows is a table to scikit-learn. One is fitted as such, but embedded at any length.
        """
        X = panel.series if reset else self._by_name(panel).series
        if reset and holds_rows(X):
            X = np.asarray(X)
        two_d = not isinstance(X, list | tuple) and (X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim) == 2
        X = validated(asked or self, X, table=two_d and (reset or self._two_d), reset=reset)
        series = as_series(X)
        if reset:
            self._two_d = two_d
            if not two_d:
                self.n_features_in_ = series.n_channels
                self._name(panel.channels)
        return series, X

    def _adopt(self, X: Any) -> Series:
        """Take over the form of X, dimensions and channels, where the model was trained on something else."""
        panel, encoder = to_panel(X, keep=self._names()), self.model_.encoder
        tied = not encoder.any_channels or self._known_names(panel)
        series, _ = self._series(self._by_name(panel) if tied else panel, reset=True)
        if encoder.readout is not None:
            encoder.readout.take_channels(series.n_channels)
        self._take(self.model_, Header(self.config_, None, series.n_channels, series.n_timepoints, self._names()))
        return series

    def _header(self) -> Header:
        """Return what a checkpoint says of the model."""
        return Header(self.config_, None, self._n_channels, self._n_timepoints, self._names())

    def _name(self, channels: tuple[str, ...] | None) -> None:
        """Keep the channels' names, as scikit-learn does those of columns."""
        if channels is not None:
            self.feature_names_in_ = np.array(channels, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _names(self) -> tuple[str, ...] | None:
        """Return the names of the channels, where there are some."""
        if self._two_d or not hasattr(self, "feature_names_in_"):
            return None
        return tuple(self.feature_names_in_.tolist())

    def _by_name(self, panel: Panel) -> Panel:
        """Choose and order channels as in `fit`, where both have names and the order counts."""
        names = self._names()
        free = self._channels_alike() and not self._known_names(panel)
        return panel if names is None or free else panel.select(list(names))

    def _known_channels(self, X: Any) -> Panel:
        """Return series to train on further, their channels those of the fit before."""
        panel = self._by_name(to_panel(X, keep=(names := self._names())))
        return panel if panel.channels is not None else panel._replace(channels=names)

    def _known_names(self, panel: Panel) -> bool:
        """Return whether a panel has the channels of `fit` by name, each of which has a usual level of its own."""
        readout = self.model_.encoder.readout
        placed = readout is not None and readout.scales is not None
        return placed and panel.channels is not None and set(panel.channels) == set(self._names() or ())

    def _any_number(self) -> bool:
        """Return whether series with another number of channels have an embedding of the same width."""
        probe = self.config_.probe
        apart = probe.channels == "concat" and probe.sketch is None
        return self.model_.encoder.any_channels and not apart

    def _channels_alike(self) -> bool:
        """Return whether channels may be more, fewer, or in another order, and embeddings compare all the same."""
        return self._any_number() and self.config_.probe.channels != "concat"

    def _take(self, model: JEPA, header: Header) -> None:
        """Set the fitted attributes."""
        self.model_, self.config_ = model, header.config
        self._n_channels, self._n_timepoints = header.n_channels, header.n_timepoints
        self._n_features_out = n_features(model.encoder, header.config.probe, header.n_channels)

    def _announce(self, series: Series, given: Any, config: Config, channels: tuple[str, ...] | None) -> None:
        """Warn of what a user should know of the data."""
        patch, scale = config.tokenizer.patch_length, config.probe.scale_features
        for remark in remarks(series, patch, channels, config.normalize, scale, given):
            warn(remark)

    def _report(self, progress: Any) -> None:
        sys.stderr.write(f"epoch {progress.epoch}/{progress.epochs}: loss {progress.loss:.4f}\n")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
