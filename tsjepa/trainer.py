"""How a run is carried out: Lightning's Trainer, its processes and loggers."""

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from tsjepa.arrays import SeriesSource, counted
from tsjepa.build import SEEDING
from tsjepa.callbacks import AtomicCheckpointIO, Progress, files_of
from tsjepa.config import did_you_mean
from tsjepa.embedding import resolve_device
from tsjepa.memory import keep_freed_memory
from tsjepa.precision import fast_float32
from tsjepa.probe import refuse_missing
from tsjepa.process_lock import ProcessLock
from tsjepa.ranks import from_all_ranks
from tsjepa.sections import TrainConfig
from tsjepa.training_error import TrainingError

# A thread that trains may be asked to train again, by what it reports to
TRAINING = ProcessLock()
LoggerName = Literal["csv", "tensorboard", "wandb"]
StrategyName = Literal["auto", "ddp"]
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}


class Options(NamedTuple):
    """How a run is carried out; nothing of it changes what is computed, but `stop_on_collapse` may end it early.

    With more than one process (`devices` times `nodes`) a batch is shared: `train.batch_size` is that of all of them
    together, order, masks and losses are those of one process, and results differ by rounding only, but for biases
    ahead of a batch norm, which it cancels: their gradient is rounding alone, of which Adam makes steps. Lightning
    starts the other processes of a machine by the command that started this one, so `fit` has to be called by a
    program, not by an interactive session; a machine of several has to be given NODE_RANK, MASTER_ADDR and MASTER_PORT,
    or be started by torchrun or SLURM. Each process needs the data and, to resume, the checkpoint.

    Attributes
    ----------
    out : Path, optional
        Folder for `checkpoint.ckpt`, `best.ckpt`, `metrics.csv` and `diagnostics.csv`, written after each epoch; made
        where it is missing. None writes nothing.
    resume : bool
        Whether to go on from the checkpoint in `out`, one of the same settings and series. Without it an earlier run's
        checkpoints, tables and curves there, and in the folder `teacher` of it, are deleted as training begins.
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
    devices : int
        Processes on this machine, one a GPU, or on the CPU as many as are asked for.
    nodes : int
        Machines.
    strategy : {"auto", "ddp"}
        "ddp" is Lightning's DistributedDataParallel; "auto" is that for more than one process.

    Examples
    --------
    >>> Options(out=Path("runs/pump"), stop_on_collapse=True).device
    'auto'
    """

    out: Path | None = None
    resume: bool = False
    device: str = "auto"
    logger: LoggerName = "csv"
    report: Callable[[Progress], None] | None = None
    labels: NDArray[Any] | None = None
    diagnose: bool = True
    stop_on_collapse: bool = False
    devices: int = 1
    nodes: int = 1
    strategy: StrategyName = "auto"


def checked(options: Options | None, series: SeriesSource) -> Options:
    """Return options as a run takes them: a folder given as text as a path, and labels given as a list as an array.

    Raises
    ------
    ValueError
        If there is not one label a series, or no logger or strategy has that name.

    Examples
    --------
    >>> from tsjepa.arrays import as_series
    >>> checked(Options(labels=["worn", "calm"]), as_series([[1.0, 2.0], [3.0, 4.0]])).labels
    array(['worn', 'calm'], dtype='<U4')
    """
    options = options or Options()
    labels = None if options.labels is None else checked_labels(options.labels, series.n_cases)
    for kind, name, known in (
        ("logger", options.logger, get_args(LoggerName)),
        ("strategy", options.strategy, get_args(StrategyName)),
    ):
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}{did_you_mean(str(name), known)}")
    return options._replace(out=None if options.out is None else Path(options.out), labels=labels)


def checked_labels(labels: Any, n_cases: int) -> NDArray[Any]:
    """Return labels as an array of one a series; those of an object array are as a list of them would be.

    Raises
    ------
    ValueError
        If there are more or fewer, or some of texts or of mixed types are missing; numbers with NaN are no classes.

    Examples
    --------
    >>> checked_labels(np.array([0, 1], dtype=object), 2)
    array([0, 1])
    """
    found = np.asarray(labels)
    if found.dtype.kind == "O":
        found = np.asarray(found.tolist())
    if found.shape != (n_cases,):
        raise ValueError(f"labels have shape {found.shape}, for {n_cases} series: give each one label.")
    if found.dtype.kind in "OSUM":  # numbers with NaN are no classes
        refuse_missing(labels, "leave the labels out")
    return found


def make_trainer(
    section: TrainConfig, epochs: int, callbacks: list[pl.Callback], options: Options, next_step: int | None = None
) -> pl.Trainer:
    """Return a quiet Trainer that writes nothing by itself; of a run that goes on, `next_step` is the first one."""
    device = resolve_device(options.device).type
    # torch scales no loss on a CPU, where Lightning takes bfloat16 instead, and says so in its own words
    precision = "bf16" if device == "cpu" and section.precision == "16" else section.precision
    distributed = options.strategy == "ddp" or options.devices * options.nodes > 1
    with alone():
        return pl.Trainer(
            accelerator="gpu" if device == "cuda" else device,
            devices=options.devices,
            num_nodes=options.nodes,
            strategy="ddp" if distributed else "auto",
            use_distributed_sampler=False,  # each rank takes its share of every batch
            max_epochs=epochs,
            precision=PRECISIONS[precision],
            gradient_clip_val=section.clip or None,
            callbacks=[BuildersWait(), *callbacks],
            plugins=[AtomicCheckpointIO()],
            logger=make_logger(options.logger, options.out, next_step),
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=options.out,
        )


@contextmanager
def alone() -> Iterator[None]:
    """Keep other threads' trainings waiting, and leave as it was what is one for all of a process.

    Lightning switches gradients on for good, and talks; warnings that are no news are filtered.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    with TRAINING, torch.enable_grad(), warnings.catch_warnings():
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class BuildersWait(pl.Callback):
    """Keeps other threads from drawing weights while Lightning sets torch's global generator back.

    It does so around its sanity check, which comes between these two hooks, and weights that another thread draws
    meanwhile would be those of another seed.
    """

    def __init__(self) -> None:
        self.held = False

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Hold them up."""
        SEEDING.acquire()
        self.held = True

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Let them go on."""
        self.release()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Let them go on where training did not come to its start."""
        self.release()

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Let them go on where nothing was left to train."""
        self.release()

    def release(self) -> None:
        """Let them go on, once."""
        if self.held:
            self.held = False
            SEEDING.release()


class SameSeries(pl.Callback):
    """Ends all processes of a run where they are not to train on the same series.

    They would mix batches that do not belong together, or wait for each other for ever where their steps differ.

    Parameters
    ----------
    n_series : int
        How many series this process trains on.
    fingerprint : dict, optional
        What tells their data from others, see `tsjepa.checkpoint.Header`.
    """

    def __init__(self, n_series: int, fingerprint: dict[str, Any] | None) -> None:
        self.n_series, self.fingerprint = n_series, fingerprint

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Compare them as soon as the processes can talk."""
        first, *others = from_all_ranks((self.n_series, self.fingerprint))
        for number, other in enumerate(others, 1):
            if other != first:
                held = f"has {other[0]}" if other[0] != first[0] else "has as many with other values"
                raise TrainingError(
                    f"the processes of the run have other series to train on: the first one has {first[0]}, and "
                    f"process {number} {held}: give all of them the same data."
                )


def check_processes(options: Options, batch_size: int) -> None:
    """Raise TrainingError where there are not the devices or the series in a batch for all processes."""
    device, processes = resolve_device(options.device).type, options.devices * options.nodes
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device, options.devices)
    if options.devices > there:
        raise TrainingError(
            f"the run asks for {counted(options.devices, device + ' device')}, but this machine has {there}: ask for "
            "fewer."
        )
    if processes > batch_size:
        raise TrainingError(
            f"{processes} processes cannot share batches of {batch_size} series: raise train.batch_size, the size "
            "over all processes, or use fewer processes."
        )


def make_logger(name: LoggerName, out: Path | None, next_step: int | None) -> Logger | bool:
    """Return the extra logger, in which TensorBoard's drops what is done again; `metrics.csv` needs none."""
    if name == "csv" or out is None:
        return False
    try:
        if name == "tensorboard":
            return pl.loggers.TensorBoardLogger(out, name=None, version="", purge_step=next_step)
        return pl.loggers.WandbLogger(save_dir=out, project="tsjepa")
    except ModuleNotFoundError as error:
        raise TrainingError(f"the {name} logger is not installed: pip install 'tsjepa[{name}]'.") from error


def run(trainer: pl.Trainer, module: pl.LightningModule, loader: DataLoader[Any], checkpoint: Path | None) -> None:
    """Run the Trainer; Lightning turns Ctrl-C into an exit and leaves the signal ignored, which is undone here."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        with alone():
            # data in memory needs no worker processes, and one core runs the step
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # the target is in evaluation mode on purpose
            warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
            # Lightning 2.6 asks torch 2.13 in a way that torch is about to retire
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            keep_freed_memory()
            try:
                with fast_float32():
                    trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
            finally:
                files_of(trainer).finish()
    except SystemExit as error:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from error
    finally:
        if handler is not None and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)
