"""The scikit-learn way to labels: an encoder that is pretrained without them, a head on it, and both fine-tuned."""

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, assert_all_finite, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from tsjepa.arrays import as_series, counted, warn
from tsjepa.checkpoint import read_checkpoint, save_checkpoint
from tsjepa.choice import Tune, fit_classifier
from tsjepa.config import Config
from tsjepa.containers import Panel, refuse_other_order, to_panel
from tsjepa.embedder import TSJEPAEmbedder
from tsjepa.embedding import resolve_device
from tsjepa.estimators import check_counts
from tsjepa.finetuning import Tuning
from tsjepa.heads import ClassWeight, LinearHead, read_head, refuse_other_kind, weigh_classes, without_values
from tsjepa.probe import refuse_missing
from tsjepa.threads import threads


class TSJEPAClassifier(ClassifierMixin, BaseEstimator):
    """Classify time series with an encoder that is pretrained without labels, and fine-tuned with them.

    The head is linear on the standardised embedding and begins as a ridge classifier on the frozen encoder; then
    encoder and head are trained together (Kumar et al. 2022, arXiv 2202.10054).

    Parameters
    ----------
    recipe, objective, masking, mask_ratio, n_patches, patch_length, overrides, max_epochs, batch_size, lr
        Of the pretraining, as in `TSJEPAEmbedder`; ``max_epochs=0`` trains on the labels alone.
    checkpoint : str or Path, optional
        A pretrained encoder to take instead; the parameters of the pretraining have no effect then.
    tune : {True, False, "auto"}, default=True
        Whether the encoder is fine-tuned, or stays frozen. "auto" keeps it frozen where 3-fold cross-validation on the
        training labels does not find fine-tuning better, at about three times the cost; with fewer than 3 labels of a
        class there is nothing to compare, and it fine-tunes.
    finetune_epochs : int, default=20
        Passes over the labelled series, more where these would be fewer than 100 steps.
    finetune_lr : float, default=1e-3
        Largest learning rate of the head; the encoder has a tenth of it.
    class_weight : {"balanced"}, dict of class to float, or None, default=None
        How much a label counts in the head, in the fine-tuning and in the accuracies that "auto" compares: "balanced"
        gives rare classes as much weight as frequent ones, and a class that a dict leaves out counts 1.
    device : {"auto", "cpu", "cuda", "mps"}, default="auto"
        Where to train and to predict.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, masks, order and folds. None draws a new one at each fit.
    n_jobs : int, optional
        CPU threads: None leaves torch's setting, -1 takes all cores.
    diagnose : bool, default=True
        Whether to watch for collapse while pretraining.
    verbose : int, default=0
        1 writes a line an epoch of the pretraining to standard error.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Sorted labels.
    embedder_ : TSJEPAEmbedder
        The encoder, fine-tuned where it was.
    head_ : LinearHead
        On its embeddings.
    tuned_ : bool
        Whether the encoder was fine-tuned; not there after `load`.
    comparison_ : Comparison or None
        Accuracies by cross-validation that "auto" went by, labels counted as `class_weight` says; not there after
        `load`.
    n_features_in_ : int
        Time points of 2-D input, channels of 3-D input.
    feature_names_in_ : array of str
        Their names, where X has them.

    See Also
    --------
    TSJEPAEmbedder : The encoder without labels, with what X may be.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["slow", "fast"], 10)
    >>> frequency = np.where(y == "slow", 2, 9)[:, None]
    >>> X = np.sin(2 * np.pi * (frequency * np.arange(60) / 60 + rng.random((20, 1))))
    >>> TSJEPAClassifier("tiny", max_epochs=2, random_state=0).fit(X, y).score(X, y)
    1.0
    """

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
        checkpoint: str | Path | None = None,
        tune: Tune = True,
        finetune_epochs: int = 20,
        finetune_lr: float = 1e-3,
        class_weight: ClassWeight = None,
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
        self.checkpoint = checkpoint
        self.tune = tune
        self.finetune_epochs = finetune_epochs
        self.finetune_lr = finetune_lr
        self.class_weight = class_weight
        self.device = device
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.diagnose = diagnose
        self.verbose = verbose

    def fit(self, X: Any, y: Any, X_unlabelled: Any = None) -> "TSJEPAClassifier":
        """Pretrain on the series, or take the checkpoint, then learn their labels.

        Parameters
        ----------
        X : array of shape (n_cases, n_timepoints) or (n_cases, n_channels, n_timepoints), list of arrays, or table
        y : array of shape (n_cases,)
            Of two classes or more, a label a series: in order of rows, or of first appearance in a log, which is that
            of ``tsjepa.containers.to_panel(X).ids``.
        X_unlabelled : as X, optional
            Further series, to pretrain on only.

        Returns
        -------
        TSJEPAClassifier
            Itself.

        Raises
        ------
        ValueError
            If X or y does not fit, among it a pandas Series that has the ids of a log in another order, or a parameter
            does not; if a label is missing, or no labelled series holds a value.
        TrainingError
            If the pretraining has nothing to learn from, or its loss or latents are not finite.
        CheckpointError
            If the checkpoint cannot be used.
        """
        self._check_parameters(X_unlabelled is not None)
        ready = self._loaded()
        labels = column_or_1d(y, warn=True)
        panel = to_panel(X, keep=None if ready is None else ready._names())
        check_consistent_length(panel.series, labels)
        refuse_other_order(y, panel, X)
        refuse_missing(y, "leave such series to X_unlabelled", "labels in y")
        classes, codes = encode(labels)
        weights = weigh_classes(self.class_weight, classes, labels)
        embedder = self._pretrained(panel, X_unlabelled) if ready is None else ready
        series = embedder._adopt(panel)
        model, config = embedder.model_, embedder.config_
        tuning = Tuning(epochs=self.finetune_epochs, lr=self.finetune_lr)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        tune: Tune = "auto" if self.tune == "auto" else bool(self.tune)
        with threads(self.n_jobs):
            device = resolve_device(self.device)
            fitted, comparison = fit_classifier(
                *(model.encoder, series, codes, config.probe, tuning),
                tune=tune,
                device=device,
                seed=seed,
                weights=weights,
            )
        self.tuned_, self.comparison_ = fitted.encoder is not model.encoder, comparison
        model.encoder.load_state_dict(fitted.encoder.state_dict())
        model.tuned = model.tuned or self.tuned_
        model.labelled = model.labelled or self.tuned_
        self._take(embedder, fitted.head._replace(classes=classes))
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return how far series are on the side of each class.

        Parameters
        ----------
        X : as for `fit`
            With the channels of `fit`, and of any length; of a 2-D array after a fit on 2-D input give ``X[:, None]``.

        Returns
        -------
        float64 array of shape (n_cases, n_classes) or (n_cases,)
            Logits; of two classes the logit of the second against the first.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, shape (n_cases, n_classes); X as for `decision_function`.

        Of a series without any value it is the share of the class among the labels of `fit`, as they count.
        """
        return torch.from_numpy(self._logits(X)).softmax(1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each series, shape (n_cases,); X as for `decision_function`."""
        codes = self._logits(X).argmax(1)
        return self.classes_[codes]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on series and their labels.

        Parameters
        ----------
        X : as for `decision_function`
        y : array of shape (n_cases,)
            In the order that `fit` says.
        sample_weight : array of shape (n_cases,), optional
            How much each series counts.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If X or y does not fit, among it numbers in y where the classes are text.
        """
        check_is_fitted(self)
        panel = to_panel(X, keep=self.embedder_._names())
        refuse_other_order(y, panel, X)
        refuse_missing(y, "leave such series out", "labels in y")
        refuse_other_kind(self.classes_, y)
        return super().score(panel, y, sample_weight)

    def save(self, path: str | Path) -> None:
        """Save encoder and head as a checkpoint, from which `tsjepa embed` works too.

        Parameters
        ----------
        path : str or Path
            Its folder is created where there is none.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If the labels are something else than text, numbers and times.
        """
        check_is_fitted(self)
        save_checkpoint(path, self.embedder_.model_, self.embedder_._header(), self.head_.plain())

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> "TSJEPAClassifier":
        """Load a checkpoint, of `save` or of `tsjepa finetune`, whose classes are the names in the data set, as text.

        Parameters
        ----------
        path : str or Path
        device : {"auto", "cpu", "cuda", "mps"}, default="auto"

        Returns
        -------
        TSJEPAClassifier
            Fitted; a further fit starts from the same configuration, its seed among the overrides.

        Raises
        ------
        CheckpointError
            If the file is no usable checkpoint, or has no head.
        """
        head = read_head(read_checkpoint(path), path)
        embedder = TSJEPAEmbedder.load(path, device=device)
        classifier = cls(embedder.config_, device=device, overrides=embedder.overrides)
        classifier._take(embedder, head)
        return classifier

    def _check_parameters(self, more: bool) -> None:
        """Refuse what would fail or be ignored after a long pretraining."""
        if not isinstance(self.tune, bool | np.bool_) and self.tune != "auto":
            raise ValueError(f"tune must be True, False or 'auto', but is {self.tune!r}.")
        check_counts(self, "finetune_epochs")
        if not (isinstance(self.finetune_lr, Real) and self.finetune_lr > 0):
            raise ValueError(f"finetune_lr must be a number above 0, but is {self.finetune_lr!r}.")
        if more and self.checkpoint is not None:
            raise ValueError(
                "X_unlabelled is for pretraining, but a checkpoint is pretrained already: give one of them."
            )

    def _loaded(self) -> TSJEPAEmbedder | None:
        """Return the embedder of the checkpoint, where one is given."""
        if self.checkpoint is None:
            return None
        return TSJEPAEmbedder.load(self.checkpoint, device=self.device).set_params(n_jobs=self.n_jobs)

    def _pretrained(self, panel: Panel, X_unlabelled: Any) -> TSJEPAEmbedder:
        """Return an embedder that is trained on all series."""
        own = self.get_params(deep=False)
        shared = {name: own[name] for name in TSJEPAEmbedder().get_params() if name in own}
        return TSJEPAEmbedder(**shared).fit(panel if X_unlabelled is None else joined(panel, X_unlabelled))

    def _take(self, embedder: TSJEPAEmbedder, head: LinearHead) -> None:
        """Set the fitted attributes."""
        self.embedder_, self.head_, self.classes_ = embedder, head, head.classes
        self.n_features_in_ = embedder.n_features_in_
        if hasattr(embedder, "feature_names_in_"):
            self.feature_names_in_ = embedder.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _logits(self, X: Any) -> NDArray[np.float64]:
        """Return the logits [n_cases, n_classes]."""
        check_is_fitted(self)
        Z, _ = self.embedder_._embed(X, self, self.embedder_._channels_alike())
        if empty := int(without_values(Z).sum()):
            text = f"without any value: {empty} of {len(Z)} series, answered by how frequent each class was in fit."
            warn(text)
        return self.head_.logits(Z)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.classifier_tags.poor_score = True  # on scikit-learn's series of two points, of which nothing is left
        return tags


def encode(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the sorted classes in labels, and the labels as their numbers.

    Examples
    --------
    >>> encode(np.array(["worn", "calm", "worn"]))
    (array(['calm', 'worn'], dtype='<U4'), array([1, 0, 1]))
    """
    if len(y) == 1:
        raise ValueError("there is one sample only, and a classifier needs two classes or more.")
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("y holds one class only, and a classifier needs two or more.")
    return classes, codes


def joined(X: Any, more: Any) -> list[NDArray[np.float32]]:
    """Return the series of two containers as one list, channels by name where both name them.

    Raises
    ------
    ValueError
        If one is no series, or they differ in their channels.

    Examples
    --------
    >>> [x.shape for x in joined(np.zeros((2, 1, 5)), [np.zeros((1, 7))])]
    [(1, 5), (1, 5), (1, 7)]
    """
    first, second = to_panel(X), to_panel(more)
    second = second if first.channels is None else second.select(first.channels, "X_unlabelled", "X does not have")
    one, other = as_series(first.series), as_series(second.series, "X_unlabelled")
    if other.n_channels != one.n_channels:
        raise ValueError(
            f"X_unlabelled has {counted(other.n_channels, 'channel')}, but X has {one.n_channels}: give both the same."
        )
    return [values for series in (one, other) for values in series.with_nan()]
