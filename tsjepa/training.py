"""Training: what a step computes, and runs of one or two stages."""

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from tsjepa.arrays import SeriesSource
from tsjepa.batches import Batch, Batches, ShuffledBatches, circular_shift, keyed_generator, whole
from tsjepa.build import build_model
from tsjepa.calibrator import Calibrator
from tsjepa.callbacks import Cooldown, EpochEnd, SaveEpoch
from tsjepa.checkpoint import FORMAT, OWN, Header, mark_of, model_state, read_checkpoint, take_mark, write_atomically
from tsjepa.config import Config
from tsjepa.monitor import Monitor, latents_check, teacher_verdict
from tsjepa.normalization import take_statistics
from tsjepa.objective import JEPA, JEPAOutput
from tsjepa.own_parts import own_part
from tsjepa.ranks import rank
from tsjepa.resuming import check_same_run, finished_epochs
from tsjepa.run_files import BEST, CHECKPOINT, METRICS, TEACHER, EpochTable, run_folders
from tsjepa.schedule import lr_factor
from tsjepa.sections import TrainConfig
from tsjepa.stages import check_place, clear, find_teacher, primary_epochs, stages, take_teacher, taught_epochs
from tsjepa.targets import EMATarget, FrozenTarget, SelfTarget
from tsjepa.trainable import check_header, check_series, check_trainable
from tsjepa.trainer import Options, SameSeries, check_processes, checked, make_trainer, run
from tsjepa.training_error import TrainingError
from tsjepa.verdict import Verdict, of_both

# What torch adds to a norm before it divides by it
CLIP_ROUNDING = 1e-6


class FitResult(NamedTuple):
    """What a run ended with: the last epoch's mean loss, epochs trained, seconds spent, and the verdict.

    `kept` is the epoch, of the last stage, that the model and its checkpoint are of where the run was ended for a
    collapse, and `to_be_ended` whether the verdict is a reason for that. In a distributed run every rank has one, and
    the first rank's counts.
    """

    loss: float
    epochs: int
    seconds: float
    verdict: Verdict | None = None
    kept: int | None = None
    to_be_ended: bool = False


class JEPATraining(pl.LightningModule):
    """Optimiser, schedule and step of one JEPA; draws everything random from (seed, step)."""

    def __init__(self, model: JEPA, header: Header) -> None:
        super().__init__()
        self.model, self.header, self.own = model, header, ""
        self.train_config: TrainConfig = header.config.train
        self.sums: dict[str, Tensor] = {}
        # both are known once Lightning asks for the optimiser; to look for what is trained at each step takes a while
        self.total_steps, self.trained = 0, list[nn.Parameter]()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch, joined over ranks, and add its terms to the epoch's sums."""
        x, valid, share = batch
        self.model.advance(self.global_step, self.total_steps)
        generator = keyed_generator(self.train_config.seed, self.global_step, 1)
        if self.train_config.shift:
            joined = x if valid is None else torch.cat([x, valid.to(x.dtype)], 1)
            joined = circular_shift(joined, generator, share)
            x, valid = (joined, None) if valid is None else (joined[:, : x.shape[1]], joined[:, x.shape[1] :] > 0)
        out: JEPAOutput = self.model(x, generator, valid, share)
        for name, value in (("loss", out.loss.detach()), *out.terms.items()):
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        return out.loss

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch without looking through it for what could be moved."""
        return batch.to(device)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the names that Lightning notes twice a hook are spared what torch does for tensors."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def on_train_start(self) -> None:
        """Set the rate of the first step, which a run that is made longer has in its checkpoint by its old length."""
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)
        factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
        scheduler._last_lr = [base * factor for base, factor in zip(scheduler.base_lrs, factors, strict=True)]
        for group, rate in zip(scheduler.optimizer.param_groups, scheduler._last_lr, strict=True):
            group["lr"] = rate

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums."""
        self.sums = {}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the target follow the encoder."""
        self.model.update_target(self.global_step - 1, self.total_steps)  # the step of this batch

    def epoch_means(self) -> dict[str, float]:
        """Return the means of loss and terms over the steps of this epoch."""
        steps = self.trainer.num_training_batches
        return {name: float(value) / steps for name, value in self.sums.items()}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW, whose decay spares vectors (biases, norms, the mask token), not registers, and the schedule."""
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        section = self.train_config
        groups = [
            {"params": [p for p in self.trained if p.ndim > 1], "weight_decay": section.weight_decay},
            {"params": [p for p in self.trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        # float16 is scaled, and a fused step would undo that only after clipping
        fused = self.device.type in ("cpu", "cuda") and section.precision != "16"
        optimizer = torch.optim.AdamW(groups, lr=section.lr, fused=fused)
        self.total_steps = int(self.trainer.estimated_stepping_batches)
        epochs = int(self.trainer.max_epochs or 0)
        primary = self.total_steps * primary_epochs(epochs, section.cooldown_share) // max(epochs, 1)
        factor = partial(lr_factor, total=self.total_steps, warmup=section.warmup, primary=primary)
        scheduler = LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Bring the gradient's norm down to `clip`; Lightning itself refuses to where a fused optimiser meets bf16."""
        if not gradient_clip_val:
            return
        norm = nn.utils.get_total_norm([p.grad for p in self.trained if p.grad is not None])
        # on a CPU it is known by now whether all would be multiplied by 1, and a GPU is not waited for
        if not (norm.is_cpu and norm + CLIP_ROUNDING <= gradient_clip_val):
            nn.utils.clip_grads_with_norm_(self.trained, gradient_clip_val, norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint say what it is."""
        checkpoint |= {FORMAT: self.header.plain(), OWN: self.own, **mark_of(self.model)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep in mind what the model, and a teacher, who is not asked again, had learnt from."""
        take_mark(self.model, checkpoint)


def fit(
    model: JEPA, series: SeriesSource, header: Header, options: Options | None = None, *, epochs: int | None = None
) -> FitResult:
    """Train a model in place, under the target that it has: see `fit_stages` where a teacher is to be trained first.

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
        If loss or latents are not finite, no series has a value, a value is too large to be taken as it is, the header
        tells of another number of channels or is not resolved, an optional logger is not installed, the target was made
        of another encoder or is a teacher that was not trained, there are not the devices or series in a batch for the
        processes that are asked for, or these have different series. With `resume` also if the checkpoint is of other
        settings or series, or has more epochs, and without it if the run that would be replaced holds the teacher that
        the configuration names.
    ValueError
        If there is not one label a series, or no logger has that name.
    CheckpointError
        If there is no checkpoint to go on from, or it is not usable for that.
    TypeError
        If the series are a plain array.
    KeyboardInterrupt
        If the user stops the run; the last finished epoch is kept.

    Examples
    --------
    >>> from tsjepa import as_series, build_model, load_config, resolve
    >>> series, config = as_series(torch.randn(16, 1, 60).numpy()), resolve(load_config("tiny"), 60)
    >>> fit(build_model(config, 1), series, Header(config, None, 1, 60), epochs=1).epochs
    1
    """
    check_series(series)
    options = checked(options, series)
    epochs = header.config.train.epochs if epochs is None else epochs
    replaced = () if isinstance(model.target, FrozenTarget) else run_folders(options.out)  # its teacher may lie there
    return fit_stage(model, series, header, options, epochs, replaced)


def fit_stage(
    model: JEPA, series: SeriesSource, header: Header, options: Options, epochs: int, replaced: Iterable[Path]
) -> FitResult:
    """Do what `fit` does, with options that are checked; a stage that begins clears its folder and those `replaced`."""
    started = time.monotonic()
    check_trainable(model, series)
    check_header(header, series)
    batches, section = Batches(series), header.config.train
    check_processes(options, section.batch_size)
    checkpoint = options.out / CHECKPOINT if options.resume and options.out is not None else None
    check_target(model, resume=checkpoint is not None)
    order = ShuffledBatches(len(batches), section.batch_size, section.seed)
    next_step = None if checkpoint is None else step_after(checkpoint, model, header, epochs, len(order))
    # the loader draws a seed, and must not draw it from the user's generator
    loader = DataLoader(batches, sampler=order, batch_size=None, collate_fn=whole, generator=torch.Generator())
    if checkpoint is None:
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
        take_statistics(model, series)  # before anything copies the model
    module = JEPATraining(model, header)
    module.own = own_part(model, header.config, header.n_channels) if options.out is not None else ""
    monitor = Monitor(model, series, options.labels, options.out) if options.diagnose else None
    check = None if options.diagnose else latents_check(model, series)
    end = EpochEnd(module.epoch_means, options.out, monitor, options.report, check, options.stop_on_collapse)
    prepare = Calibrator(model.encoder, series, header.config.probe)
    callbacks = make_callbacks(model, section, epochs, end, options, prepare)
    same = SameSeries(len(batches), header.fingerprint)
    trainer = make_trainer(section, epochs, [same, *callbacks], options, next_step)
    if checkpoint is None and options.out is not None and trainer.is_global_zero:
        clear((options.out, *replaced), header.config)
    model.train()
    run(trainer, module, loader, checkpoint)
    model.cpu().eval()
    prepare("cpu")
    kept = keep_best(model, options.out) if trainer.should_stop and options.stop_on_collapse else None
    verdict, hopeless = None, False
    if monitor is not None:
        if not monitor.history:  # the checkpoint was of a finished run
            monitor.start(trainer.current_epoch)
        verdict, hopeless = monitor.verdict(), monitor.to_be_ended()
    loss, seconds = final_loss(end, options.out), time.monotonic() - started
    return FitResult(loss, int(trainer.current_epoch), seconds, verdict, kept, hopeless)


def step_after(checkpoint: Path, model: JEPA, header: Header, epochs: int, steps: int) -> int:
    """Return the first step of a run that goes on from a checkpoint, and refuse one of another run."""
    content = read_checkpoint(checkpoint)
    check_same_run(content, checkpoint, header, model, epochs, steps)
    return int(content["global_step"]) + 1


def check_target(model: JEPA, resume: bool) -> None:
    """Refuse a target that was made of another encoder than the model's, and a teacher that nobody taught.

    The weights tell, not the object: a compiled encoder has those of the one that it was made of. A run that goes on
    has its teacher in the checkpoint.
    """
    target, weights = model.target, list(model.encoder.parameters())
    if isinstance(target, SelfTarget):
        same = [id(weight) for weight in target.held[0].parameters()] == [id(weight) for weight in weights]
    elif isinstance(target, EMATarget):
        same = target.follows(model.encoder)
    else:
        same = True
    if not same:
        raise TrainingError(
            "the model's target was made of another encoder than model.encoder: to replace the encoder, build a new "
            "model, tsjepa.JEPA(encoder, predictor, mask=..., target=...), with a target of the new one."
        )
    if isinstance(target, FrozenTarget) and not (target.taught or resume):
        raise TrainingError(
            "the model's frozen teacher has random weights: call tsjepa.fit_stages, which trains or loads the teacher "
            "first, or load a trained encoder's weights into model.target.module."
        )


def final_loss(end: EpochEnd, out: Path | None) -> float:
    """Return the last epoch's loss, out of metrics.csv where the checkpoint was of a finished run."""
    if out is None or not math.isnan(end.loss):
        return end.loss
    loss = EpochTable(out / METRICS).last("loss")
    return end.loss if loss is None else loss


def keep_best(model: JEPA, out: Path | None) -> int | None:
    """Make the best epoch of a run that was ended the model and its checkpoint; rank 0's model is the one kept."""
    if out is None or rank() > 0 or not (out / BEST).exists():
        return None
    content = read_checkpoint(out / BEST)
    write_atomically(content, out / CHECKPOINT)
    model.load_state_dict(model_state(content))
    return finished_epochs(content)


def fit_stages(model: JEPA, series: SeriesSource, header: Header, options: Options | None = None) -> FitResult:
    """Train a model in place, a frozen teacher first where its configuration asks for one.

    A teacher that is trained here has a run of its own in the folder `teacher` of `out`; with `resume` each stage goes
    on from its own checkpoint, if it has one, and without it no checkpoint, table or curve of an earlier run is left.
    See `fit` for the parameters.

    Returns
    -------
    FitResult
        Of the last stage, but with the epochs and seconds of both.

    Raises
    ------
    TrainingError
        See `fit`; also if the configuration asks for a teacher where the model has a target of its own.
    ValueError
        See `fit`.
    CheckpointError
        If a teacher that is named is no usable checkpoint, or of another architecture.
    """
    check_series(series)
    check_place(model, header.config)
    asked = checked(options, series)
    options, total = asked._replace(resume=asked.resume and has_checkpoint(asked.out)), header.config.train.epochs
    taught = taught_epochs(header.config, options.out) if options.resume and options.out is not None else None
    first, own = stages(header.config, taught)
    replaced = () if asked.resume else run_folders(asked.out)
    before = FitResult(math.nan, 0 if first is None else first.train.epochs, 0.0)
    if header.config.target.kind == "frozen" and not options.resume:
        teacher = find_teacher(header.config)
        if teacher is None and first is not None:
            teacher, before = fit_teacher(first, series, header, asked, replaced)
            check_teacher(before, options)
        assert teacher is not None
        take_teacher(model, teacher)
    replaced = replaced if first is None else ()  # by now the other folder is that of its own teacher
    result = fit_stage(model, series, header, shifted(options, before.epochs, total), own.train.epochs, replaced)
    learnt = before.verdict or teacher_verdict(header.config, options.out, model.encoder.dim)
    return result._replace(
        epochs=before.epochs + result.epochs,
        seconds=before.seconds + result.seconds,
        verdict=of_both(learnt, result.verdict),
        to_be_ended=before.to_be_ended or result.to_be_ended,
    )


def check_teacher(taught: FitResult, options: Options) -> None:
    """End a run whose teacher has collapsed, where runs are to be ended for that."""
    if options.stop_on_collapse and taught.to_be_ended and taught.verdict is not None:
        raise TrainingError(
            f"the teacher has collapsed, so no student was trained ({taught.verdict.verdict}): "
            f"{taught.verdict.evidence}"
        )


def has_checkpoint(folder: Path | None) -> bool:
    """Return whether a folder holds a checkpoint to go on from."""
    return folder is not None and (folder / CHECKPOINT).exists()


def fit_teacher(
    config: Config, series: SeriesSource, header: Header, options: Options, replaced: Iterable[Path]
) -> tuple[JEPA, FitResult]:
    """Train the teacher's stage, or go on with it where that is asked for and it was begun."""
    own = None if options.out is None else options.out / TEACHER
    teacher = build_model(config, series.n_channels)
    resume = options.resume and has_checkpoint(own)
    options = shifted(options, 0, header.config.train.epochs)._replace(out=own, resume=resume)
    return teacher, fit_stage(teacher, series, header._replace(config=config), options, config.train.epochs, replaced)


def shifted(options: Options, finished: int, total: int) -> Options:
    """Return options that report an epoch of a stage as one of the whole run."""
    report = options.report
    if report is None:
        return options
    return options._replace(report=lambda p: report(p._replace(epoch=finished + p.epoch, epochs=total)))


def make_callbacks(
    model: JEPA,
    section: TrainConfig,
    epochs: int,
    end: EpochEnd,
    options: Options,
    prepare: Callable[[torch.device], None],
) -> list[pl.Callback]:
    """Return what is done around steps and epochs; what saves comes last."""
    callbacks: list[pl.Callback] = [end]
    if section.cooldown_share:
        callbacks.append(Cooldown(model, primary_epochs(epochs, section.cooldown_share), section.average_momentum))
    if options.out is not None:
        callbacks.append(SaveEpoch(options.out, end.monitor, prepare))
    return callbacks
