"""Diagnostics of a model in training, on a fixed sample of its series, and the verdict on them.

In a distributed run each rank puts its share of the sample through the model, the latents are joined, rank 0 computes
the diagnostics, and all ranks take them over: the history is that of one process, and the same everywhere.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tsjepa.arrays import SeriesSource
from tsjepa.batches import keyed_generator, tensors
from tsjepa.best import best_epoch
from tsjepa.bounds import largest_mismatch
from tsjepa.config import Config
from tsjepa.embedding import pool, sample_cases
from tsjepa.history import EpochDiagnostics
from tsjepa.masking import RampedMask
from tsjepa.objective import JEPA
from tsjepa.probe import cross_validate
from tsjepa.ranks import Share, from_first_rank, join_rows, rank, share_of
from tsjepa.record import can_hide, measure
from tsjepa.run_files import DIAGNOSTICS, TEACHER, EpochTable
from tsjepa.stages import needs_teacher
from tsjepa.targets import EMATarget
from tsjepa.threads import threads
from tsjepa.training_error import TrainingError
from tsjepa.verdict import Verdict, judge, to_be_ended
from tsjepa.views import Views, masked_views, sensitivity
from tsjepa.world import WorldModel

# Token sequences that are looked at: enough for a rank of some dozens. With `default` on FordA they cost 0.3 s of a
# core an epoch, however many series there are
SEQUENCES = 128
# Those that are looked at where nothing is measured: weights that have gone astray show in any of them
FEW = 2
# Masks of the measurement, the same at each epoch; no training step has these keys
KEY, VIEWS_KEY = (0, 2**31, 0), (0, 2**31, 3)


class Monitor:
    """Measures a model on a fixed sample of training series, epoch by epoch.

    Parameters
    ----------
    model : JEPA
    series : SeriesSource
        Training series.
    labels : int array of shape (n_cases,), optional
        Classes of the training series, for an online probe by cross-validation inside the sample.
    out : Path, optional
        Folder of `diagnostics.csv`.

    Attributes
    ----------
    history : list of EpochDiagnostics

    Examples
    --------
    >>> import numpy as np
    >>> from tsjepa.arrays import as_series
    >>> from tsjepa.build import build_model, configure, resolve
    >>> series = as_series(np.random.default_rng(0).normal(size=(20, 60)))
    >>> monitor = Monitor(build_model(resolve(configure("tiny"), 60), 1), series)
    >>> monitor.measure(epoch=0)
    >>> monitor.verdict().verdict
    'healthy'
    """

    def __init__(
        self, model: JEPA, series: SeriesSource, labels: NDArray[Any] | None = None, out: Path | None = None
    ) -> None:
        self.model, self.history = model, list[EpochDiagnostics]()
        self.table = None if out is None else EpochTable(out / DIAGNOSTICS)
        chosen = sample_cases(series, model.encoder.channels, SEQUENCES)
        self.x, self.valid = tensors(series.take(chosen))
        self.labels = None if labels is None or labels.dtype.kind == "f" else labels[chosen]

    def start(self, finished: int) -> None:
        """Take over the history of the finished epochs, or measure the initialisation of a run that begins."""
        if self.table is not None and rank() == 0:
            self.table.keep_until(finished)
            self.history = read_history(self.table) if finished else []
            if not finished:
                self.table.path.unlink(missing_ok=True)
        self.history = from_first_rank(self.history)
        if not finished:
            self.measure(0, step=0)

    def measure(self, epoch: int, loss: float = math.nan, step: float = math.nan) -> None:
        """Add the record of an epoch to the history and to the table."""
        with torch.no_grad(), measuring(self.model):
            record = self.record(epoch, loss)._replace(step=step)
        self.history.append(record)
        if self.table is not None and rank() == 0:
            self.table.append(record._asdict())

    def begins(self) -> bool:
        """Return whether the initialisation is known, without which nothing can be compared with it."""
        return bool(self.history) and self.history[0].epoch == 0

    def verdict(self) -> Verdict | None:
        """Return the verdict on the history so far; None where its beginning was lost."""
        return judge(self.history, dim=self.model.encoder.dim) if self.begins() else None

    def best_epoch(self) -> int | None:
        """Return the trained epoch to keep, see `tsjepa.best.best_epoch`; None where the beginning was lost."""
        return best_epoch(self.history, dim=self.model.encoder.dim) if self.begins() else None

    def to_be_ended(self) -> bool:
        """Return whether the run is to be ended, see `tsjepa.verdict.to_be_ended`; not where its beginning was lost."""
        return self.begins() and to_be_ended(self.history, dim=self.model.encoder.dim)

    def record(self, epoch: int, loss: float) -> EpochDiagnostics:
        """Measure the model as it is."""
        tensors, views = self.sample()
        check_latents(epoch, tensors["last"], tensors["latents"])
        return EpochDiagnostics(epoch, loss, **from_first_rank(self.numbers(tensors, views) if rank() == 0 else {}))

    def sample(self) -> tuple[dict[str, Any], Views | None]:
        """Put this rank's share of the sample through the model, and join what comes out.

        Returns
        -------
        dict of str to Tensor or None
            What `tsjepa.record.measure` takes, one row a token sequence, those of all ranks.
        Views or None
            Two masked views of each; a world model has none.
        """
        device, share = next(self.model.parameters()).device, share_of(len(self.x))
        x, valid = share.of(self.x).to(device), None if self.valid is None else share.of(self.valid).to(device)
        branches = self.model.branches(x, keyed_generator(*KEY), valid, share)
        (x, valid), attend, slow = self.model.encoder.sequences(x, valid), branches.attend, None
        # what the target has encoded already is not encoded again
        whole, goal = branches.whole, self.model.target
        last = whole if goal.trains_encoder else None
        if last is None:
            (last,) = self.model.encoder(x, valid=valid, attend=attend)
        views = self.views(x, valid, attend, share)
        if isinstance(goal, EMATarget):
            slow = goal.module(x, valid=valid, attend=attend)[0] if whole is None else whole
        tensors = {
            "last": last,
            "latents": branches.latents,
            "target": self.model.goal(branches),
            "predicted": branches.predicted,
            "index": branches.mask.target,
            "predicted_valid": branches.mask.target_valid,
            "token_valid": attend,
            "slow": slow,
        }
        return {name: None if part is None else join_rows(part) for name, part in tensors.items()}, views

    def views(self, x: Tensor, valid: Tensor | None, attend: Tensor | None, share: Share) -> Views | None:
        """Return masked views of the sequences of this rank's share of the series, those of all ranks joined."""
        if isinstance(self.model, WorldModel):
            return None
        rows = share.times(self.x.shape[1] if self.model.encoder.channels == 1 else 1)
        views = masked_views(self.model, x, valid, attend, keyed_generator(*VIEWS_KEY), 2, rows)
        return views._replace(means=join_rows(views.means), context=join_rows(views.context))

    def numbers(self, tensors: dict[str, Any], views: Views | None) -> dict[str, float]:
        """Return what a record holds besides epoch and loss."""
        attend = tensors["token_valid"]
        means = None if views is None else views.means
        found = measure(**tensors, views=means, regularized=self.model.target.trains_encoder)
        with threads(1):  # of matrices as small as these a second thread takes longer to wake than it saves
            beside = {"probe": self.probe(tensors["last"], attend), **self.mismatch()}
        return {**found, **beside, **self.answer(views, attend)}

    def mismatch(self) -> dict[str, float]:
        """Return the largest norm of a weight of the encoder less the EMA target's; other targets have none."""
        if not isinstance(self.model.target, EMATarget):
            return {}
        weights = (dict(module.named_parameters()) for module in (self.model.encoder, self.model.target.module))
        return {"parameter_mismatch": largest_mismatch(*weights)}

    def answer(self, views: Views | None, attend: Tensor | None) -> dict[str, float]:
        """Return how strongly predictions answer to a change of what is visible."""
        if views is None:
            return {}
        alpha = sensitivity(self.model, views, keyed_generator(*VIEWS_KEY), n=1, rows=can_hide(attend))
        return {"predictor_sensitivity": float(alpha)}

    def probe(self, last: Tensor, attend: Tensor | None) -> float:
        """Return the accuracy on mean tokens of the last level, cross-validated in the sample; nan without labels."""
        if self.labels is None:
            return math.nan
        mean = pool(last, attend, "mean")
        # in float64, so that latents on their way to infinity can still be squared
        accuracy = cross_validate(mean.reshape(len(self.labels), -1).cpu().double().numpy(), self.labels, folds=3)
        return math.nan if accuracy is None else accuracy


def read_history(table: EpochTable) -> list[EpochDiagnostics]:
    """Return the records of a table."""
    return table.records(
        lambda row: EpochDiagnostics(int(row.pop("epoch")), **{name: float(value) for name, value in row.items()})
    )


def recorded_verdict(folder: Path, dim: int) -> Verdict | None:
    """Return the verdict on what was trained in a folder, None where no history is there from its beginning on."""
    history = read_history(EpochTable(folder / DIAGNOSTICS))
    return judge(history, dim=dim) if history and not history[0].epoch else None


def teacher_verdict(config: Config, out: Path | None, dim: int) -> Verdict | None:
    """Return the verdict on the teacher's stage of a run, None where it has none or nothing is there that tells it."""
    return recorded_verdict(out / TEACHER, dim) if out is not None and needs_teacher(config) else None


def latents_check(model: JEPA, series: SeriesSource) -> Callable[[int], None]:
    """Return what is called after each epoch that nothing measures, see `check_latents`.

    A loss is that of the weights before its step, so a last step that diverges shows in none, and weights that are
    finite themselves may be too large for any latent.
    """
    x, there = tensors(series.take(sample_cases(series, model.encoder.channels, FEW)))

    def check(epoch: int) -> None:
        device, encoder = next(model.parameters()).device, model.encoder
        with torch.no_grad(), measuring(model):
            rows, valid = encoder.sequences(x.to(device), None if there is None else there.to(device))
            (last,) = encoder(rows, valid=valid, attend=encoder.token_valid(valid))
        check_latents(epoch, last)

    return check


def check_latents(epoch: int, *latents: Tensor) -> None:
    """Raise TrainingError where latents after an epoch, 0 before the first, are not finite."""
    if all(bool(part.isfinite().all()) for part in latents):
        return
    if not epoch:  # no step was made
        raise TrainingError(
            "the latents are not finite before training: look for weights of the model that are not finite, or values "
            "of the series that are too large."
        )
    raise TrainingError(f"the latents are not finite after epoch {epoch}: start again with a lower train.lr.")


@contextmanager
def measuring(model: JEPA) -> Iterator[None]:
    """Put a model in evaluation mode but for its projector's batch norm, and leave it as it was.

    Running statistics mix predictions and targets, so in evaluation mode a batch norm shows neither as the loss sees
    them; in training mode it would learn from the measurement, which is undone. A mask ratio that moves is the last
    one, so that epochs can be compared with each other, and a model that was loaded with them.
    """
    training, projector, mask = model.training, model.projector, model.mask
    progress = mask.progress if isinstance(mask, RampedMask) else 0.0
    buffers = []
    model.eval()
    if isinstance(projector, nn.Module):  # a plain function has neither buffers nor a mode
        buffers = [(b, b.clone()) for b in projector.buffers()]
        projector.train()
    if isinstance(mask, RampedMask):
        mask.progress = 1.0
    try:
        yield
    finally:
        model.train(training)
        if isinstance(mask, RampedMask):
            mask.progress = progress
        for buffer, before in buffers:
            buffer.copy_(before)
