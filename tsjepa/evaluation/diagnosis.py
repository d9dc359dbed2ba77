"""All that is known of one model on one data set: numbers, curves and maps, of it and of what it is compared with."""

from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from tsjepa.arrays import Series
from tsjepa.encoder import Encoder
from tsjepa.evaluation.ablation import Piece, Sparsity, pieces
from tsjepa.evaluation.accuracy import Curve, Labels, Reader, Split, draw_shown, losses_by_piece, perturbed, sparsity_of
from tsjepa.evaluation.finite import Number, number
from tsjepa.evaluation.perturbation import MISSING_CHANNEL
from tsjepa.evaluation.quality import Quality, measure
from tsjepa.finetuning import FROM_SCRATCH, finetune
from tsjepa.objective import JEPA
from tsjepa.probe import majority
from tsjepa.sections import ProbeConfig
from tsjepa.verdict import State, Verdict

TRAINED, RANDOM, SUPERVISED = "trained", "random_init", "supervised"
ENCODERS = (TRAINED, RANDOM, SUPERVISED)
# What the encoder has learnt is looked at: a probe of separable data would leave it nothing to learn
LEARNING = FROM_SCRATCH._replace(min_steps=300, probed=False)
STATES: tuple[State, ...] = get_args(State)


class Diagnosis(NamedTuple):
    """What was found.

    Attributes
    ----------
    quality : dict of str to Quality
        Label-free numbers of the trained model and of its random initialisation.
    accuracy, accuracy_last_level : dict of str to float
        By encoder, of all levels that the configuration pools and of the last alone; empty without labels.
    accuracy_clean : dict of str to float
        Like `accuracy`, of the series alone that curves are drawn on: where these begin.
    majority : float or None
        Accuracy of the most frequent class.
    sparsity : dict of str to Sparsity
        By encoder, of clean series.
    curves : list of Curve
    ablation : dict of Piece to float or None
        Accuracy lost at the last level by taking a piece out.
    maps : dict of str to float array of shape (n, 2)
        First two principal components of the last level's embeddings.
    map_labels : array of shape (n,) or None
    n_train, n_shown : int
        Series of the training part, and of the part that maps and curves show.
    n_channels : int
    """

    quality: dict[str, Quality]
    accuracy: dict[str, float]
    accuracy_last_level: dict[str, float]
    accuracy_clean: dict[str, float]
    majority: Number
    sparsity: dict[str, Sparsity]
    curves: list[Curve]
    ablation: dict[Piece, Number]
    maps: dict[str, NDArray[np.float64]]
    map_labels: Labels | None
    n_train: int
    n_shown: int
    n_channels: int

    @property
    def n_dropped(self) -> int:
        """Channels that were left out in turn."""
        return sum(len(curve.levels) for curve in self.curves if curve.name == MISSING_CHANNEL)

    def values(self) -> dict[str, Number]:
        """Return every number under a name of its own, None where it could not be had."""
        found: dict[str, Number] = {"n_train": self.n_train, "n_shown": self.n_shown}
        found |= {"n_channels": self.n_channels, "n_channels_dropped": self.n_dropped}
        for name in self.quality[TRAINED].numbers:
            found |= {prefix(who) + name: quality.numbers[name] for who, quality in self.quality.items()}
        found["majority_accuracy"] = self.majority
        for who in ENCODERS:
            found[prefix(who) + "accuracy"] = number(self.accuracy.get(who))
            found[prefix(who) + "accuracy_clean"] = number(self.accuracy_clean.get(who))
            found[prefix(who) + "accuracy_last_level"] = number(self.accuracy_last_level.get(who))
            found |= sparsity_values(prefix(who), "", self.sparsity.get(who))
        for curve in self.curves:
            found |= curve_values(curve)
        return found | {f"accuracy_lost_{piece.name}": lost for piece, lost in self.ablation.items()}


def prefix(encoder: str) -> str:
    """Return what the names of an encoder's numbers begin with: nothing for the trained one."""
    return "" if encoder == TRAINED else f"{encoder}_"


def curve_values(curve: Curve) -> dict[str, Number]:
    """Return the numbers of one curve, strength by strength."""
    found: dict[str, Number] = {}
    for who in ENCODERS:
        for index, level in enumerate(curve.levels):
            at = f"_{curve.name}_{level:g}"
            scores, sparse = curve.accuracy.get(who), curve.sparsity.get(who)
            found[f"{prefix(who)}accuracy{at}"] = number(scores[index]) if scores else None
            found |= sparsity_values(prefix(who), at, sparse[index] if sparse else None)
    return found


def sparsity_values(who: str, at: str, sparsity: Sparsity | None) -> dict[str, Number]:
    """Return both measures of sparsity under their names."""
    hoyer, silent = (None, None) if sparsity is None else sparsity
    return {f"{who}activation_sparsity{at}": number(hoyer), f"{who}silent_activations{at}": number(silent)}


def verdict_values(verdict: Verdict | None) -> dict[str, Number]:
    """Return the verdict as numbers: 1 for the state that holds and 0 for the others; None without a verdict.

    Examples
    --------
    >>> values = verdict_values(Verdict("collapsed", 3, None, "Latents are constant."))
    >>> values["verdict_collapsed"], values["verdict_healthy"], values["onset_epoch"], values["escape_epoch"]
    (1.0, 0.0, 3.0, None)
    """
    names = {state: "verdict_" + state.replace("-", "_") for state in STATES}
    if verdict is None:
        return dict.fromkeys((*names.values(), "onset_epoch", "escape_epoch"))
    found: dict[str, Number] = {name: float(state == verdict.verdict) for state, name in names.items()}
    return {**found, "onset_epoch": number(verdict.onset_epoch), "escape_epoch": number(verdict.escape_epoch)}


def diagnose(
    model: JEPA,
    untrained: JEPA,
    split: Split,
    probe: ProbeConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
    supervised: bool = False,
    tuned: bool = False,
    unlabelled: Series | None = None,
) -> Diagnosis:
    """Measure a model beside its random initialisation, and beside a supervised encoder where that is asked for.

    Parameters
    ----------
    model, untrained : JEPA
        In evaluation mode; moved to the device.
    split : Split
        Series of at least two patches, three in all.
    probe : ProbeConfig
        How tokens become embeddings.
    seed : int, default=0
        Of masks, perturbations and the choice of series for curves.
    device : str, default="cpu"
    supervised : bool, default=False
        Whether to train the same architecture on the labels, where there are classes.
    tuned : bool, default=False
        Whether the model's encoder was fine-tuned, see `tsjepa.evaluation.quality.measure`.
    unlabelled : Series, optional
        All training series, also those without a label, where `split` has only those with one: what needs no label is
        measured on them.

    Returns
    -------
    Diagnosis

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.build import build_model, configure, resolve
    >>> config = resolve(configure("tiny"), 60)
    >>> model, untrained = (build_model(config, 1).eval() for _ in range(2))
    >>> series = as_series(np.random.default_rng(0).normal(size=(20, 60)))
    >>> values = diagnose(model, untrained, Split(series, None, None, None), config.probe).values()
    >>> values["accuracy"], values["n_train"]
    (None, 20)
    """
    series = split.train if unlabelled is None else unlabelled
    quality = {
        TRAINED: measure(model.to(device), series, seed, tuned=tuned),
        RANDOM: measure(untrained.to(device), series, seed),
    }
    encoders = {TRAINED: model.encoder, RANDOM: untrained.encoder}
    if supervised and split.scorable and split.y_train is not None:
        fitted = finetune(untrained.encoder, split.train, split.y_train, probe, LEARNING, device=device, seed=seed)
        encoders[SUPERVISED] = fitted.encoder.to(device)
    return look(quality, encoders, split, probe, seed, device)._replace(n_train=series.n_cases)


def look(
    quality: dict[str, Quality],
    encoders: dict[str, Encoder],
    split: Split,
    probe: ProbeConfig,
    seed: int,
    device: str,
) -> Diagnosis:
    """Read frozen encoders: accuracies, curves, ablations and maps."""
    readers = {who: Reader(encoder, probe, device) for who, encoder in encoders.items()}
    ends = {who: reader.last() for who, reader in readers.items()}
    heads = {who: reader.fit(split) for who, reader in readers.items()} if split.scorable else {}
    last_heads = {who: reader.fit(split) for who, reader in ends.items()} if split.scorable else {}
    series, y = draw_shown(split, seed)
    test, y_test = split.shown
    lost: dict[Piece, Number] = dict.fromkeys(pieces(encoders[TRAINED]))
    if split.scorable and y is not None:
        lost |= losses_by_piece(ends[TRAINED], last_heads[TRAINED], series, y)
    return Diagnosis(
        quality,
        {who: readers[who].accuracy(head, test, np.asarray(y_test)) for who, head in heads.items()},
        {who: ends[who].accuracy(head, test, np.asarray(y_test)) for who, head in last_heads.items()},
        {who: readers[who].accuracy(head, series, np.asarray(y)) for who, head in heads.items()},
        number(majority(np.asarray(split.y_train), np.asarray(y_test)).accuracy) if split.scorable else None,
        {who: sparsity_of(reader, series) for who, reader in readers.items()},
        perturbed(readers, heads, series, y, seed),
        lost,
        {who: plane(reader.embed(series)) for who, reader in ends.items()},
        y,
        split.train.n_cases,
        series.n_cases,
        series.n_channels,
    )


def plane(Z: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the first two principal components [n, 2] of embeddings [n, F], zeros where there are fewer.

    Examples
    --------
    >>> plane(np.array([[0, 0, 0], [2, 0, 0]], np.float32)).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    centred = Z.astype(np.float64) - Z.mean(0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    # a component's sign is arbitrary: its largest weight is made positive, so that maps repeat
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1, keepdims=True), 1)
    found = centred @ (axes * np.where(largest < 0, -1.0, 1.0)).T
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1]))) + 0.0
