"""One training run in its folder: validated first, then written, and its failures told with what is kept."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tsjepa.arrays import counted
from tsjepa.checkpoint import load_checkpoint
from tsjepa.cli.arguments import Device
from tsjepa.cli.errors import INTERRUPTED, Failure, out_of_memory, say, told
from tsjepa.cli.locking import LOCK, locked
from tsjepa.cli.options import LoggerName, PretrainOptions
from tsjepa.cli.outdir import CHECKPOINT, CONFIG, METRICS, TEACHER, make_writable, replace_file, start_run
from tsjepa.cli.plan import RunPlan, check_unchanged
from tsjepa.cli.render import Report, epoch_bar
from tsjepa.config import Config, dump_config
from tsjepa.embedding import resolve_device
from tsjepa.monitor import recorded_verdict, teacher_verdict
from tsjepa.objective import JEPA
from tsjepa.run_files import EpochTable
from tsjepa.stages import find_teacher, take_teacher
from tsjepa.verdict import Verdict, of_both

if TYPE_CHECKING:
    from tsjepa.trainer import Options

LOWER = "lower --batch-size, or a size of the model such as encoder.dim or regularizer.slices"


class Trained(NamedTuple):
    """What a run ended with; the loss is None where nothing tells it any more.

    `kept` is the epoch, of the last stage, that the model is of where the run was ended for a collapse.
    """

    model: JEPA
    loss: float | None
    epochs: int
    seconds: float
    verdict: Verdict | None
    kept: int | None = None


def pick_device(name: Device) -> str:
    """Return the device to compute on, and refuse one that is not there."""
    with told():
        return resolve_device(name).type


def check_logger(name: LoggerName) -> None:
    """Refuse a logger that is not installed before anything is written."""
    if name != "csv" and importlib.util.find_spec(name) is None:
        raise Failure(f"the {name} logger is not installed: pip install 'tsjepa[{name}]'.")


def train(plan: RunPlan, model: JEPA, options: PretrainOptions, device: str) -> Trained:
    """Train in the run's folder, or load what is finished there, while no other command may."""
    if not plan.finished:
        check_teacher(plan.config, model)
    make_writable(plan.out)
    with locked(plan.out / LOCK, f"another run is going on in {plan.out}"):
        check_unchanged(plan, options)
        if not plan.finished:
            start_run(plan.out, again=options.resume)
        return train_alone(plan, model, options, device)


def check_teacher(config: Config, model: JEPA) -> None:
    """Refuse a teacher that is named and does not fit the model, before anything is written or replaced."""
    teacher = find_teacher(config)
    if teacher is not None:
        take_teacher(model, teacher)
    if model.labelled:
        say(
            f"note: the teacher {config.target.teacher} has learnt from labels, and what it teaches depends on them: "
            "scores with few labels will not show what few labels give, and a benchmark refuses the encoder."
        )


def train_alone(plan: RunPlan, model: JEPA, options: PretrainOptions, device: str) -> Trained:
    """Train in a folder that is this run's own."""
    replace_file(plan.out / CONFIG, dump_config(plan.config).encode())
    if plan.finished == plan.config.train.epochs:
        epochs = "its one epoch is" if plan.finished == 1 else f"all {plan.finished} epochs are"
        say(f"nothing is left to train: {epochs} in {plan.checkpoint}.")
        model = load_checkpoint(plan.checkpoint)[0]
        return Trained(model, logged_loss(plan.out / METRICS), plan.finished, 0.0, logged_verdict(plan))
    say(summary(plan, model, device))
    return run_fit(plan, model, options, device)


def summary(plan: RunPlan, model: JEPA, device: str) -> str:
    """Say what is trained on what."""
    series = plan.data.train.series
    size = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    epochs = plan.config.train.epochs
    span = counted(epochs, "epoch")
    if plan.finished:
        first = plan.finished + 1
        span = f"epoch {first}" if first == epochs else f"epochs {first} to {epochs}"
    return (
        f"pretraining on {plan.data.name}, {span}: {series.n_cases} series, {counted(series.n_channels, 'channel')}, "
        f"{counted(series.n_timepoints, 'time point')}; {size:,} parameters on {device}."
    )


def logged_loss(metrics: Path) -> float | None:
    """Return the loss of the last finished epoch, where the file that tells it is still there."""
    return EpochTable(metrics).last("loss")


def logged_verdict(plan: RunPlan) -> Verdict | None:
    """Return the verdict on a finished run, where the file that tells it is still there."""
    dim = plan.config.encoder.dim
    return of_both(teacher_verdict(plan.config, plan.out, dim), recorded_verdict(plan.out, dim))


def run_fit(plan: RunPlan, model: JEPA, options: PretrainOptions, device: str) -> Trained:
    """Call `fit`, and say what is kept when it does not come to its end."""
    from tsjepa.training import fit_stages
    from tsjepa.training_error import TrainingError

    try:
        with epoch_bar(plan.finished, plan.config.train.epochs) as report:
            result = fit_stages(model, plan.data.train.series, plan.header, fit_options(plan, options, device, report))
    except KeyboardInterrupt as error:
        raise Failure(f"stopped: {kept(plan.out)}", INTERRUPTED) from error
    except TrainingError as error:
        raise Failure(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        if lost_process(error):
            raise Failure(
                f"another process of the run has ended, so that this one cannot go on: {kept(plan.out)}"
            ) from error
        short = out_of_memory(error, f"{LOWER}; {kept(plan.out)}")
        if short is None:
            raise
        raise short from error
    except OSError as error:
        raise Failure(f"cannot write into {plan.out} ({error.strerror or error}); {kept(plan.out)}") from error
    if result.kept is not None:
        say(f"stopped after epoch {result.epochs}, since the collapse lasted; the model is from epoch {result.kept}.")
    return Trained(model, result.loss, result.epochs, result.seconds, result.verdict, result.kept)


def lost_process(error: Exception) -> bool:
    """Return whether another process has ended, by all that gloo says of it."""
    return isinstance(error, RuntimeError) and "by peer" in str(error)


def fit_options(plan: RunPlan, options: PretrainOptions, device: str, report: Report | None) -> "Options":
    """Return how the run is carried out."""
    from tsjepa.trainer import Options

    return Options(
        plan.out,
        plan.finished > 0,
        device,
        options.logger,
        report,
        labels=plan.data.train.all_labels,
        stop_on_collapse=options.stop_on_collapse,
        devices=options.devices,
        nodes=options.nodes,
        strategy=options.strategy,
    )


def check_processes(plan: RunPlan, options: PretrainOptions, device: str) -> None:
    """Refuse more processes than there are devices or series in a batch, before anything is written."""
    if options.devices * options.nodes == 1:
        return
    from tsjepa import trainer

    try:
        trainer.check_processes(fit_options(plan, options, device, None), plan.config.train.batch_size)
    except trainer.TrainingError as error:
        raise Failure(str(error)) from error


def kept(out: Path) -> str:
    """Say what is left of a run that stopped early, and how to go on."""
    if (out / TEACHER / CHECKPOINT).exists() and not (out / CHECKPOINT).exists():
        return f"the teacher's last finished epoch is kept, and --resume --out {out} goes on from it."
    if (out / CHECKPOINT).exists():
        return f"the last finished epoch is kept in {out / CHECKPOINT}, and --resume --out {out} goes on from it."
    return f"no epoch was finished: --resume --out {out} starts from the beginning, --overwrite --out {out} a new run."
