"""Training on Lightning: the only file that imports it."""

import csv
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
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader

from tsjepa.arrays import Series
from tsjepa.batches import Batches, ShuffledBatches, circular_shift, keyed_generator
from tsjepa.build import build_model
from tsjepa.checkpoint import FORMAT, Header, read_checkpoint, read_header, write_atomically
from tsjepa.config import Config, TrainConfig
from tsjepa.embedding import resolve_device
from tsjepa.objective import JEPA, JEPAOutput
from tsjepa.stages import find_teacher, stages, take_teacher

LoggerName = Literal["csv", "tensorboard", "wandb"]
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}
CHECKPOINT, METRICS, TEACHER = "checkpoint.ckpt", "metrics.csv", "teacher"


class TrainingError(RuntimeError):
    """Training that cannot go on, with the reason and what to do."""


class Progress(NamedTuple):
    """What is known at the end of an epoch: its number from 1, and the means of loss and terms over its steps."""

    epoch: int
    epochs: int
    loss: float
    terms: dict[str, float]


class FitResult(NamedTuple):
    """What a run ended with: the last epoch's mean loss, the number of epochs in the model, and the seconds spent."""

    loss: float
    epochs: int
    seconds: float


class JEPATraining(pl.LightningModule):
    """Optimiser, schedule and step of one JEPA; draws everything random from (seed, step)."""

    def __init__(self, model: JEPA, header: Header) -> None:
        super().__init__()
        self.model, self.header = model, header
        self.train_config: TrainConfig = header.config.train
        self.sums: dict[str, Tensor] = {}

    def training_step(self, batch: tuple[Tensor, Tensor | None], batch_idx: int) -> Tensor:
        """Return the loss of one batch and add its terms to the epoch's sums."""
        x, valid = batch
        self.model.advance(self.global_step, int(self.trainer.estimated_stepping_batches))
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
        total = int(self.trainer.estimated_stepping_batches)
        self.model.target.update(self.model.encoder, self.global_step, total)

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
        total = int(self.trainer.estimated_stepping_batches)
        factor = partial(lr_factor, total=total, warmup=section.warmup)
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


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written whole or not at all."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write under a temporary name and rename."""
        write_atomically(checkpoint, path)


class EpochEnd(pl.Callback):
    """At the end of each epoch: check the loss, write metrics, report progress."""

    def __init__(self, out: Path | None, report: Callable[[Progress], None] | None) -> None:
        self.metrics = None if out is None else out / METRICS
        self.report = report
        self.loss = math.nan
        self.started = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start metrics.csv, or keep of an older one the epochs before the one that comes now."""
        if self.metrics is None or not trainer.is_global_zero or not self.metrics.exists():
            return
        with self.metrics.open(newline="") as file:
            lines = [line for line in file if not line[0].isdigit() or int(line.split(",")[0]) <= trainer.current_epoch]
        temporary = self.metrics.with_suffix(".csv.tmp")
        temporary.write_text("".join(lines), newline="")
        os.replace(temporary, self.metrics)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Do all of it; SaveEpoch comes after, so what a checkpoint holds has been logged."""
        assert isinstance(module, JEPATraining)
        terms = module.epoch_means()
        self.loss = terms.pop("loss")
        progress = Progress(trainer.current_epoch + 1, int(trainer.max_epochs or 0), self.loss, terms)
        check_finite(progress)
        values = {"loss": self.loss, **terms, "lr": trainer.optimizers[0].param_groups[0]["lr"]}
        for logger in trainer.loggers:
            logger.log_metrics(values, trainer.global_step)
        if trainer.is_global_zero:
            self.append({"epoch": progress.epoch, "step": trainer.global_step, **values})
        if self.report is not None:
            self.report(progress)

    def append(self, row: dict[str, float]) -> None:
        """Append a row to metrics.csv."""
        if self.metrics is None:
            return
        row = {**row, "seconds": round(time.monotonic() - self.started, 3)}
        fresh = not self.metrics.exists()
        with self.metrics.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)


def last_loss(metrics: Path) -> float:
    """Return the last loss of a metrics.csv."""
    with metrics.open(newline="") as file:
        return float(list(csv.DictReader(file))[-1]["loss"])


class SaveEpoch(pl.Callback):
    """Keep the last finished epoch as a checkpoint that can be resumed."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the checkpoint."""
        trainer.save_checkpoint(self.out / CHECKPOINT)


def check_finite(progress: Progress) -> None:
    """Raise TrainingError where the loss of an epoch is not a finite number."""
    if not math.isfinite(progress.loss):
        broken = [name for name, value in progress.terms.items() if not math.isfinite(value)]
        raise TrainingError(
            f"the loss is {progress.loss} in epoch {progress.epoch} (not finite: {', '.join(broken) or 'loss'}): "
            "lower train.lr or regularizer.weight"
            + ("." if progress.epoch == 1 else "; the checkpoint of the last good epoch is kept.")
        )


def fit(
    model: JEPA,
    series: Series,
    header: Header,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    logger: LoggerName = "csv",
    report: Callable[[Progress], None] | None = None,
    epochs: int | None = None,
) -> FitResult:
    """Train a model in place.

    Parameters
    ----------
    model : JEPA
        Trained in place; on the CPU and in evaluation mode afterwards.
    series : Series
    header : Header
        Configuration and description that go into the checkpoint.
    out : str or Path, optional
        An existing folder for `checkpoint.ckpt` and `metrics.csv`, written after each epoch; None writes nothing.
    resume : bool, default=False
        Whether to go on from the checkpoint in `out`.
    device : str, default="auto"
        "auto", "cpu", "cuda" or "mps".
    logger : {"csv", "tensorboard", "wandb"}, default="csv"
        `metrics.csv` is always written; the others in addition.
    report : callable, optional
        Called with the Progress of each epoch.
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
    started = time.monotonic()
    folder = None if out is None else Path(out)
    batches = Batches(series)
    if not len(batches):
        raise TrainingError("no series holds a single value, so there is nothing to train on.")
    section = header.config.train
    loader = DataLoader(
        batches,
        sampler=ShuffledBatches(len(batches), section.batch_size, section.seed),
        batch_size=None,
        generator=torch.Generator(),  # the loader draws a seed, and must not draw it from the user's generator
    )
    end = EpochEnd(folder, report)
    model.train()
    callbacks: list[pl.Callback] = [end] if folder is None else [end, SaveEpoch(folder)]
    epochs = section.epochs if epochs is None else epochs
    trainer = make_trainer(header, epochs, folder, callbacks, resolve_device(device).type, logger)
    checkpoint = folder / CHECKPOINT if resume and folder is not None else None
    if checkpoint is not None:
        read_header(read_checkpoint(checkpoint), checkpoint)
    run(trainer, JEPATraining(model, header), loader, checkpoint)
    model.cpu().eval()
    if (
        math.isnan(end.loss) and folder is not None and (folder / METRICS).exists()
    ):  # the checkpoint was of a finished run, nothing was left to do
        end.loss = last_loss(folder / METRICS)
    return FitResult(end.loss, int(trainer.current_epoch), time.monotonic() - started)


def fit_stages(
    model: JEPA,
    series: Series,
    header: Header,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    logger: LoggerName = "csv",
    report: Callable[[Progress], None] | None = None,
) -> FitResult:
    """Train a model in place, a frozen teacher first where its configuration asks for one.

    The parameters are those of `fit`. A teacher that is trained here has a run of its own in the folder `teacher`
    of `out`; with `resume` each stage goes on from its own checkpoint, if it has one.

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
    folder = None if out is None else Path(out)
    resume = resume and folder is not None and (folder / CHECKPOINT).exists()
    first, own = stages(header.config)
    before = FitResult(math.nan, 0, 0.0)
    if first is not None:
        before = before._replace(epochs=first.train.epochs)
    if header.config.target.kind == "frozen" and not resume:
        teacher = find_teacher(header.config)
        if teacher is None and first is not None:
            teacher, before = fit_teacher(first, series, header, folder, device, logger, report)
        assert teacher is not None
        take_teacher(model, teacher)
    shifted = None if report is None else partial(report_shifted, report, before.epochs, header.config.train.epochs)
    result = fit(
        model,
        series,
        header,
        out=folder,
        resume=resume,
        device=device,
        logger=logger,
        report=shifted,
        epochs=own.train.epochs,
    )
    return FitResult(result.loss, before.epochs + result.epochs, before.seconds + result.seconds)


def fit_teacher(
    config: Config,
    series: Series,
    header: Header,
    folder: Path | None,
    device: str,
    logger: LoggerName,
    report: Callable[[Progress], None] | None,
) -> tuple[JEPA, FitResult]:
    """Train the teacher's stage, or go on with it."""
    own = None if folder is None else folder / TEACHER
    if own is not None:
        own.mkdir(exist_ok=True)
    teacher = build_model(config, series.n_channels)
    shifted = None if report is None else partial(report_shifted, report, 0, header.config.train.epochs)
    resume = own is not None and (own / CHECKPOINT).exists()
    stage = header._replace(config=config)
    result = fit(teacher, series, stage, out=own, resume=resume, device=device, logger=logger, report=shifted)
    return teacher, result


def report_shifted(report: Callable[[Progress], None], finished: int, epochs: int, progress: Progress) -> None:
    """Report an epoch of a stage as one of the whole run."""
    report(progress._replace(epoch=finished + progress.epoch, epochs=epochs))


def make_trainer(
    header: Header, epochs: int, out: Path | None, callbacks: list[pl.Callback], device: str, logger: LoggerName
) -> pl.Trainer:
    """Return a quiet Trainer that writes nothing by itself."""
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
        logger=make_logger(logger, out),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
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
