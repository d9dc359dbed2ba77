"""Training on Lightning: the only file that imports it."""

import logging
import math
import os
import signal
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from tsjepa.arrays import SeriesSource
from tsjepa.batches import Batches, ShuffledBatches, circular_shift, keyed_generator
from tsjepa.build import build_model
from tsjepa.callbacks import (
    AtomicCheckpointIO,
    EpochEnd,
    Progress,
    SaveEpoch,
    TrainingError,
)
from tsjepa.checkpoint import FORMAT, Header, load_checkpoint, read_checkpoint, read_header
from tsjepa.config import Config, TrainConfig
from tsjepa.embedding import resolve_device
from tsjepa.logs import BEST, CHECKPOINT, METRICS, TEACHER, EpochTable
from tsjepa.monitor import Monitor
from tsjepa.objective import JEPA, JEPAOutput
from tsjepa.stages import find_teacher, stages, take_teacher
from tsjepa.verdict import Verdict

LoggerName = Literal["csv", "tensorboard", "wandb"]
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}


class FitResult(NamedTuple):
    """What a run ended with: the last epoch's mean loss, epochs in the model, seconds spent, and the verdict."""

    loss: float
    epochs: int
    seconds: float
    verdict: Verdict | None = None


class JEPATraining(pl.LightningModule):
    """Optimiser, schedule and step of one JEPA; draws everything random from (seed, step)."""

    def __init__(self, model: JEPA, header: Header) -> None:
        super().__init__()
        self.model, self.header = model, header
        self.train_config: TrainConfig = header.config.train
        self.sums: dict[str, Tensor] = {}
        self.total_steps = 0  # known once Lightning asks for the optimiser

    def training_step(self, batch: tuple[Tensor, Tensor | None], batch_idx: int) -> Tensor:
        """Return the loss of one batch and add its terms to the epoch's sums."""
        x, valid = batch
        self.model.advance(self.global_step, self.total_steps)
        generator = keyed_generator(self.train_config.seed, self.global_step, 1 + self.global_rank)
        if self.train_config.shift:
            joined = x if valid is None else torch.cat([x, valid.to(x.dtype)], 1)
            joined = circular_shift(joined, generator)
            x, valid = (joined, None) if valid is None else (joined[:, : x.shape[1]], joined[:, x.shape[1] :] > 0)
        out: JEPAOutput = self.model(x, generator, valid)
        for name, value in (("loss", out.loss.detach()), *out.terms.items()):
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        return out.loss

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums."""
        self.sums = {}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the target follow the encoder."""
        self.model.target.update(self.model.encoder, self.global_step, self.total_steps)

    def epoch_means(self) -> dict[str, float]:
        """Return the means of loss and terms over the steps of this epoch."""
        steps = self.trainer.num_training_batches
        return {name: float(value) / steps for name, value in self.sums.items()}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW without decay on biases, norms and single tokens, warm-up and cosine by step."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        section = self.train_config
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": section.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=section.lr, fused=self.device.type in ("cpu", "cuda"))
        self.total_steps = int(self.trainer.estimated_stepping_batches)
        factor = partial(lr_factor, total=self.total_steps, warmup=section.warmup)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint say what it is."""
        checkpoint[FORMAT] = self.header.plain()


def lr_factor(step: int, total: int, warmup: float) -> float:
    """Return the learning rate factor of a step: linear warm-up over a share of the steps, then a cosine to zero.

    Examples
    --------
    >>> [round(lr_factor(step, total=10, warmup=0.2), 2) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warm = int(warmup * total)
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * min((step - warm) / max(total - warm, 1), 1))) / 2


class Options(NamedTuple):
    """How a run is carried out; nothing of it changes what is computed.

    Attributes
    ----------
    out : Path, optional
        An existing folder for `checkpoint.ckpt`, `best.ckpt`, `metrics.csv` and `diagnostics.csv`, written after each
        epoch; None writes nothing.
    resume : bool
        Whether to go on from the checkpoint in `out`.
    device : str
        "auto", "cpu", "cuda" or "mps".
    logger : {"csv", "tensorboard", "wandb"}
        `metrics.csv` is always written; the others in addition.
    report : callable, optional
        Called with the Progress of each epoch.
    labels : int array of shape (n_cases,), optional
        Classes of the training series, for the online probe; training itself never sees them.
    diagnose : bool
        Whether to measure the model each epoch, for `diagnostics.csv` and the verdict.
    stop_on_collapse : bool
        Whether a run whose collapse has lasted some epochs is ended, and its best epoch kept as the checkpoint.
    """

    out: Path | None = None
    resume: bool = False
    device: str = "auto"
    logger: LoggerName = "csv"
    report: Callable[[Progress], None] | None = None
    labels: NDArray[Any] | None = None
    diagnose: bool = True
    stop_on_collapse: bool = False


def fit(
    model: JEPA, series: SeriesSource, header: Header, options: Options | None = None, *, epochs: int | None = None
) -> FitResult:
    """Train a model in place.

    Parameters
    ----------
    model : JEPA
        Trained in place; on the CPU and in evaluation mode afterwards.
    series : SeriesSource
    header : Header
        Configuration and description that go into the checkpoint.
    options : Options, optional
    epochs : int, optional
        Epochs of this stage, where they are not those of the configuration.

    Returns
    -------
    FitResult

    Raises
    ------
    TrainingError
        If the loss is not finite, no series has a value, or an optional logger is not installed.
    KeyboardInterrupt
        If the user stops the run; the last finished epoch is kept.
    """
    started, options = time.monotonic(), options or Options()
    batches, section = Batches(series), header.config.train
    if not len(batches):
        raise TrainingError("no series holds a single value, so there is nothing to train on.")
    loader = DataLoader(
        batches,
        sampler=ShuffledBatches(len(batches), section.batch_size, section.seed),
        batch_size=None,
        generator=torch.Generator(),  # the loader draws a seed, and must not draw it from the user's generator
    )
    module = JEPATraining(model, header)
    monitor = Monitor(model, series, options.labels, options.out) if options.diagnose else None
    end = EpochEnd(module.epoch_means, options.out, monitor, options.report, stop_on_collapse=options.stop_on_collapse)
    trainer = make_trainer(header, section.epochs if epochs is None else epochs, end, options)
    checkpoint = options.out / CHECKPOINT if options.resume and options.out is not None else None
    if checkpoint is not None:
        read_header(read_checkpoint(checkpoint), checkpoint)
    model.train()
    run(trainer, module, loader, checkpoint)
    model.cpu().eval()
    if trainer.should_stop and options.stop_on_collapse:
        keep_best(model, options.out)
    if monitor is not None and not monitor.history:  # the checkpoint was of a finished run
        monitor.start(trainer.current_epoch)
    verdict = None if monitor is None else monitor.verdict()
    return FitResult(final_loss(end, options.out), int(trainer.current_epoch), time.monotonic() - started, verdict)


def final_loss(end: EpochEnd, out: Path | None) -> float:
    """Return the last epoch's loss, out of metrics.csv where the checkpoint was of a finished run."""
    rows = EpochTable(out / METRICS).rows() if math.isnan(end.loss) and out is not None else []
    return float(rows[-1]["loss"]) if rows else end.loss


def keep_best(model: JEPA, out: Path | None) -> None:
    """Make the best epoch of a run that was ended the model and its checkpoint."""
    if out is None or not (out / BEST).exists():
        return
    os.replace(out / BEST, out / CHECKPOINT)
    model.load_state_dict(load_checkpoint(out / CHECKPOINT)[0].state_dict())


def fit_stages(model: JEPA, series: SeriesSource, header: Header, options: Options | None = None) -> FitResult:
    """Train a model in place, a frozen teacher first where its configuration asks for one.

    A teacher that is trained here has a run of its own in the folder `teacher` of `out`; with `resume` each stage goes
    on from its own checkpoint, if it has one. See `fit` for the parameters.

    Returns
    -------
    FitResult
        Of the last stage, but with the epochs and seconds of both.

    Raises
    ------
    TrainingError
        See `fit`.
    CheckpointError
        If a teacher that is named is no usable checkpoint, or of another architecture.
    """
    options = options or Options()
    started, total = has_checkpoint(options.out), header.config.train.epochs
    options = options._replace(resume=options.resume and started)
    first, own = stages(header.config)
    before = FitResult(math.nan, 0 if first is None else first.train.epochs, 0.0)
    if header.config.target.kind == "frozen" and not options.resume:
        teacher = find_teacher(header.config)
        if teacher is None and first is not None:
            teacher, before = fit_teacher(first, series, header, options)
        assert teacher is not None
        take_teacher(model, teacher)
    result = fit(model, series, header, shifted(options, before.epochs, total), epochs=own.train.epochs)
    return result._replace(epochs=before.epochs + result.epochs, seconds=before.seconds + result.seconds)


def has_checkpoint(folder: Path | None) -> bool:
    """Return whether a folder holds a checkpoint to go on from."""
    return folder is not None and (folder / CHECKPOINT).exists()


def fit_teacher(config: Config, series: SeriesSource, header: Header, options: Options) -> tuple[JEPA, FitResult]:
    """Train the teacher's stage, or go on with it."""
    own = None if options.out is None else options.out / TEACHER
    if own is not None:
        own.mkdir(exist_ok=True)
    teacher = build_model(config, series.n_channels)
    options = shifted(options, 0, header.config.train.epochs)._replace(out=own, resume=has_checkpoint(own))
    return teacher, fit(teacher, series, header._replace(config=config), options)


def shifted(options: Options, finished: int, total: int) -> Options:
    """Return options that report an epoch of a stage as one of the whole run."""
    report = options.report
    if report is None:
        return options
    return options._replace(report=lambda p: report(p._replace(epoch=finished + p.epoch, epochs=total)))


def make_trainer(header: Header, epochs: int, end: EpochEnd, options: Options) -> pl.Trainer:
    """Return a quiet Trainer that writes nothing by itself."""
    callbacks: list[pl.Callback] = [end] if options.out is None else [end, SaveEpoch(options.out, end.monitor)]
    device = resolve_device(options.device).type
    section = header.config.train
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return pl.Trainer(
        accelerator="gpu" if device == "cuda" else device,
        devices=1,
        max_epochs=epochs,
        precision=PRECISIONS[section.precision],
        gradient_clip_val=section.clip or None,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        logger=make_logger(options.logger, options.out),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=options.out,
    )


def make_logger(name: LoggerName, out: Path | None) -> Logger | bool:
    """Return the extra logger; `metrics.csv` needs none."""
    if name == "csv" or out is None:
        return False
    try:
        if name == "tensorboard":
            return pl.loggers.TensorBoardLogger(out, name=None, version="")
        return pl.loggers.WandbLogger(save_dir=out, project="tsjepa")
    except ModuleNotFoundError as error:
        raise TrainingError(f"the {name} logger is not installed: pip install 'tsjepa[{name}]'.") from error


def run(trainer: pl.Trainer, module: JEPATraining, loader: DataLoader[Any], checkpoint: Path | None) -> None:
    """Run the Trainer; Lightning turns Ctrl-C into an exit and leaves the signal ignored, which is undone here."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            # data in memory needs no worker processes, and one core runs the step
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # the target is in evaluation mode on purpose
            warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
            # Lightning 2.6 asks torch 2.13 in a way that torch is about to retire
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as error:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from error
    finally:
        if handler is not None and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)
