"""What happens at the end of each epoch: metrics, checkpoint, progress."""

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tsjepa.checkpoint import copy_atomically, packed, write_packed
from tsjepa.monitor import Monitor
from tsjepa.objective import JEPA
from tsjepa.run_files import BEST, CHECKPOINT, METRICS, EpochTable
from tsjepa.training_error import TrainingError
from tsjepa.verdict import Verdict

# For how many epochs a state that runs do not come back from has to last before a run is ended
PATIENCE = 5


class Progress(NamedTuple):
    """What is known at the end of an epoch: its number from 1, means of loss and terms over its steps, the verdict."""

    epoch: int
    epochs: int
    loss: float
    terms: dict[str, float]
    verdict: Verdict | None = None


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written whole or not at all by a thread, for which training does not wait.

    What a file holds is fixed when it is saved. Before another epoch is reported, and at the end of a run however it
    ends, `finish` is called: then the file is on the disk, or what went wrong is raised.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writer: ThreadPoolExecutor | None = None
        self.waiting: list[Future[None]] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write under a temporary name and rename."""
        self.finish()
        content, self.writer = packed(checkpoint, Path(path)), ThreadPoolExecutor(1, "checkpoint")
        self.waiting.append(self.writer.submit(write_packed, content, Path(path)))

    def copy(self, path: Path, other: Path) -> None:
        """Copy a file that is being written once it is there; if it could not be written, the other one stays."""
        *_, written = self.waiting

        def copy() -> None:
            written.result()
            copy_atomically(path, other)

        assert self.writer is not None
        self.waiting.append(self.writer.submit(copy))

    def finish(self) -> None:
        """Wait until all is written, and raise what went wrong."""
        if self.writer is not None:
            self.writer.shutdown()
        written, self.writer, self.waiting = self.waiting, None, []
        for file in written:
            file.result()


def files_of(trainer: pl.Trainer) -> AtomicCheckpointIO:
    """Return what writes the checkpoints of a Trainer that `tsjepa.trainer.make_trainer` made."""
    files = trainer.strategy.checkpoint_io
    assert isinstance(files, AtomicCheckpointIO)
    return files


class EpochEnd(pl.Callback):
    """At the end of each epoch: check the loss, measure, write metrics and diagnostics, report progress.

    It comes before SaveEpoch, so that what a checkpoint holds has been logged.
    """

    def __init__(
        self,
        means: Callable[[], dict[str, float]],
        out: Path | None,
        monitor: Monitor | None,
        report: Callable[[Progress], None] | None,
        check: Callable[[int], None] | None,
        stop_on_collapse: bool,
    ) -> None:
        self.means, self.monitor, self.report, self.check = means, monitor, report, check
        self.metrics = None if out is None else EpochTable(out / METRICS)
        self.stop_on_collapse = stop_on_collapse
        self.loss = math.nan
        self.started, self.spent = time.monotonic(), 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Keep of older tables the epochs before the one that comes now."""
        if self.metrics is not None and trainer.is_global_zero:
            self.metrics.keep_until(trainer.current_epoch)
            self.spent = self.metrics.last("seconds") or 0.0
        if self.monitor is not None:
            self.monitor.start(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Do all of it, once the epoch before is on the disk."""
        files_of(trainer).finish()
        terms, epoch = self.means(), trainer.current_epoch + 1
        self.loss = terms.pop("loss")
        check_finite(epoch, self.loss, terms)
        values = {"loss": self.loss, **terms, "lr": trainer.optimizers[0].param_groups[0]["lr"]}
        for logger in trainer.loggers:  # Lightning's loggers write on rank 0 only
            logger.log_metrics(values, trainer.global_step)
        if self.metrics is not None and trainer.is_global_zero:
            seconds = round(self.spent + time.monotonic() - self.started, 3)
            self.metrics.append({"epoch": epoch, "step": trainer.global_step, **values, "seconds": seconds})
        verdict = self.judge(trainer, epoch)
        if self.report is not None and trainer.is_global_zero:
            self.report(Progress(epoch, int(trainer.max_epochs or 0), self.loss, terms, verdict))

    def judge(self, trainer: pl.Trainer, epoch: int) -> Verdict | None:
        """Measure the epoch, and end a run whose collapse has lasted where that is asked for.

        `check` stands in for a monitor that is not asked for, and gets the epoch's number.
        """
        if self.check is not None:
            self.check(epoch)
        if self.monitor is None:
            return None
        self.monitor.measure(epoch, self.loss, trainer.global_step)
        verdict = self.monitor.verdict()
        if verdict is None:
            return None
        lasts = epoch - (verdict.onset_epoch or epoch) >= PATIENCE
        if self.stop_on_collapse and lasts and self.monitor.to_be_ended():
            trainer.should_stop = True
        return verdict


class SaveEpoch(pl.Callback):
    """Keep the last finished epoch as a checkpoint that can be resumed, and beside it the best one so far.

    The best, see `tsjepa.best.best_epoch`, needs no label: a run that is stopped for a collapse ends with it, and one
    that has collapsed otherwise can be taken back to it.
    """

    def __init__(self, out: Path, monitor: Monitor | None, prepare: Callable[[torch.device], None]) -> None:
        self.out, self.monitor, self.prepare = out, monitor, prepare

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the checkpoint, of which `prepare` is done before."""
        self.prepare(module.device)
        trainer.save_checkpoint(self.out / CHECKPOINT)
        best = None if self.monitor is None else self.monitor.best_epoch()
        if best == trainer.current_epoch + 1 and trainer.is_global_zero:
            files_of(trainer).copy(self.out / CHECKPOINT, self.out / BEST)


class Cooldown(pl.Callback):
    """Keep an average of the trained weights, and let the cooldown start from it.

    The optimiser's moments are kept, as in V-JEPA 2.1 (arXiv 2603.14482), whose last stage starts from a checkpoint.
    The average follows in the cooldown, too: a run that is made longer may begin another one with it.

    Parameters
    ----------
    model : JEPA
        Encoder, predictor and projector are averaged; the target is not.
    primary : int
        Epochs of the primary stage.
    momentum : float
        Share of the average that a step leaves.
    """

    def __init__(self, model: JEPA, primary: int, momentum: float) -> None:
        parts = (model.encoder, model.predictor, model.projector)
        self.trained, self.primary = nn.ModuleList(part for part in parts if isinstance(part, nn.Module)), primary
        self.average = AveragedModel(self.trained, multi_avg_fn=get_ema_multi_avg_fn(momentum))

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Follow the model to its device."""
        self.average.to(module.device)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Put the average in the place of the weights before the first epoch of the cooldown.

        Buffers are not averaged, and stay: the readout's are measured after an epoch's last step, which the copies in
        the average do not know of.
        """
        if trainer.current_epoch == self.primary:
            with torch.no_grad():
                for weight, mean in zip(self.trained.parameters(), self.average.module.parameters(), strict=True):
                    weight.copy_(mean)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the average follow the weights."""
        self.average.update_parameters(self.trained)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return self.average.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the average over from a checkpoint."""
        self.average.load_state_dict(state_dict)


def check_finite(epoch: int, loss: float, terms: dict[str, float]) -> None:
    """Raise TrainingError where the loss of an epoch is not a finite number."""
    if not math.isfinite(loss):
        broken = [name for name, value in terms.items() if not math.isfinite(value)]
        raise TrainingError(
            f"the loss is {loss} in epoch {epoch} (not finite: {', '.join(broken) or 'loss'}): "
            "start again with a lower train.lr or regularizer.weight"
            + ("." if epoch == 1 else "; the checkpoint of the last good epoch is kept.")
        )
