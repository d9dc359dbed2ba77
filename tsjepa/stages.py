"""Training in stages: a frozen teacher first, from a checkpoint or of the same run; a cooldown last."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tsjepa.build import match_teacher
from tsjepa.checkpoint import CheckpointError, load_checkpoint, read_checkpoint, read_header
from tsjepa.config import Config, ConfigError
from tsjepa.encoder import Encoder
from tsjepa.normalization import copy_statistics
from tsjepa.objective import JEPA
from tsjepa.readout import PREFIX
from tsjepa.resuming import finished_epochs
from tsjepa.run_files import CHECKPOINT, TEACHER, trained_files
from tsjepa.targets import EMATarget, FrozenTarget
from tsjepa.training_error import TrainingError

# Said where an encoder cannot take a teacher's weights, or would see its series in another way than the teacher did
ANOTHER = (
    "the teacher's encoder has another architecture than the student's: give the student the teacher's tokenizer, "
    "encoder and normalize settings, and series with the same channels."
)


def needs_teacher(config: Config) -> bool:
    """Return whether a run has a stage before its own: a frozen target that no checkpoint gives."""
    return config.target.kind == "frozen" and config.target.teacher is None


def teacher_config(config: Config, taught: int | None = None) -> Config:
    """Return the configuration of the teacher's stage: the same encoder, trained for `teacher_share` of the epochs.

    It has no cooldown: that is the student's. A stage that is over has the epochs that it had, `taught`.

    Examples
    --------
    >>> from tsjepa.build import configure
    >>> stage = teacher_config(configure("tiny", "salt", ["train.epochs=60"]))
    >>> stage.target.kind, stage.train.epochs
    ('values', 10)
    """
    section, epochs = config.target, config.train.epochs
    share = min(max(round(section.teacher_share * epochs), 1), max(epochs - 1, 1)) if taught is None else taught
    changes: dict[str, Any] = {
        "target": section.model_copy(update={"kind": section.teacher_kind, "levels": (-1,)}),
        "train": config.train.model_copy(update={"epochs": share, "cooldown_share": 0.0}),
    }
    if section.teacher_kind == "values":  # values cannot collapse: nothing has to keep them from it
        changes["loss"] = config.loss.model_copy(update={"kind": "mse"})
        changes["regularizer"] = config.regularizer.model_copy(update={"kind": "none"})
        changes["projector"] = config.projector.model_copy(update={"out": 0})
    return config.model_copy(update=changes)


def student_config(config: Config, taught: int | None = None) -> Config:
    """Return the configuration of the student's stage: the epochs that the teacher leaves.

    Raises
    ------
    ConfigError
        If none is left.
    """
    teacher = teacher_config(config, taught).train.epochs
    left = config.train.epochs - teacher
    if left < 1:
        least = f"at least {teacher + 1} where a teacher is trained first: "
        why = "one for each stage." if taught is None else f"that has had {teacher}."
        raise ConfigError(f"train.epochs must be {least}{why}")
    return config.model_copy(update={"train": config.train.model_copy(update={"epochs": left})})


def teacher_encoder(teacher: JEPA) -> Encoder:
    """Return the encoder that a teacher teaches with: its EMA target's where it has one."""
    if isinstance(teacher.target, EMATarget):
        module = teacher.target.module
        assert isinstance(module, Encoder)
        return module
    return teacher.encoder


def check_place(model: JEPA, config: Config) -> None:
    """Refuse a model without a place for the frozen teacher that its configuration asks for.

    Raises
    ------
    TrainingError
        If its target was replaced by one that no teacher's weights can be put into.

    Examples
    --------
    >>> from tsjepa.build import build_model, configure, resolve
    >>> config = resolve(configure("tiny", "salt"), 60)
    >>> check_place(build_model(config, 1), config)
    """
    if config.target.kind == "frozen" and not isinstance(model.target, FrozenTarget):
        raise TrainingError(
            f"the configuration asks for a frozen teacher, but model.target is a {type(model.target).__name__}, which "
            "takes none: call tsjepa.fit, which trains under the target that the model has."
        )


def take_teacher(model: JEPA, teacher: JEPA) -> None:
    """Freeze a teacher's weights into the model's target; a student of an EMA teacher starts from them too.

    Raises
    ------
    CheckpointError
        If the teacher's encoder has another architecture.
    """
    assert isinstance(model.target, FrozenTarget)
    weights = teacher_encoder(teacher).state_dict()
    state = {name: value for name, value in weights.items() if not name.startswith(PREFIX)}
    try:
        model.target.module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(ANOTHER) from error
    if isinstance(teacher.target, EMATarget):
        model.encoder.load_state_dict(model.encoder.state_dict() | state)
    model.labelled = model.labelled or teacher.labelled
    copy_statistics(model.target.module, model.encoder)  # both see the values that the teacher was trained on


def with_architecture(config: Config) -> Config:
    """Return the configuration with the encoder of the frozen teacher that it names, if it names one.

    Raises
    ------
    CheckpointError
        If the teacher's file is no usable checkpoint.

    Examples
    --------
    >>> from tsjepa.build import configure
    >>> with_architecture(configure("tiny", "distill")) == configure("tiny", "distill")
    True
    """
    name = config.target.teacher
    return config if name is None else match_teacher(config, read_header(read_checkpoint(name), name).config)


def find_teacher(config: Config) -> JEPA | None:
    """Return the teacher that a configuration names, if it names one.

    Where labels tuned the encoder, with a head or without, it is what teaches: the average beside it is that of
    pretraining, which labels never moved.

    Parameters
    ----------
    config : Config
        Resolved, with the architecture of the teacher, see `with_architecture`.

    Raises
    ------
    CheckpointError
        If the file is no usable checkpoint, or the teacher has another tokenizer, encoder or normalisation: weights
        of the same shape may still be those of other heads, or of other patches.
    """
    name = config.target.teacher
    if name is None:  # as of each target but a frozen one
        return None
    teacher, header = load_checkpoint(name)
    if match_teacher(config, header.config) != config:
        raise CheckpointError(ANOTHER)
    if teacher.labelled and isinstance(teacher.target, EMATarget):
        teacher.target = EMATarget(teacher.encoder)
    return teacher


def teaches(config: Config, files: Iterable[Path]) -> bool:
    """Return whether one of some files is the teacher that a configuration names, by whatever name.

    Examples
    --------
    >>> from tsjepa.build import configure
    >>> teaches(configure("tiny", "distill"), [Path("checkpoint.ckpt")])
    False
    """
    name = config.target.teacher
    return name is not None and Path(name).exists() and any(file.samefile(name) for file in files)


def clear(folders: Iterable[Path], config: Config) -> None:
    """Delete what earlier training has left in folders, but not the teacher of the run that is to come."""
    files = trained_files(folders)
    if teaches(config, files):
        raise TrainingError(
            f"the teacher {config.target.teacher} belongs to the run that a new one in its folder would replace: name "
            "another folder for the new one."
        )
    for file in files:
        file.unlink(missing_ok=True)


def stages(config: Config, taught: int | None = None) -> tuple[Config | None, Config]:
    """Return the configurations of the teacher's stage, where there is one, and of the run's own.

    Of a run that goes on behind its teacher, `taught` are the epochs that the teacher has had: its share is not drawn
    again where the run is to be longer than it was planned.

    Examples
    --------
    >>> from tsjepa.build import configure
    >>> teacher, student = stages(configure("tiny", "distill", ["train.epochs=30"]))
    >>> teacher.train.epochs, student.train.epochs
    (15, 15)
    >>> stages(configure("tiny", "distill", ["train.epochs=40"]), taught=15)[1].train.epochs
    25
    """
    if not needs_teacher(config):
        return None, config
    return teacher_config(config, taught), student_config(config, taught)


def taught_epochs(config: Config, out: Path) -> int:
    """Return the epochs that the teacher of the run in `out` has had: by its checkpoint, or what was its share."""
    if not needs_teacher(config):
        return 0
    teacher, run = out / TEACHER / CHECKPOINT, out / CHECKPOINT
    if teacher.exists():
        return finished_epochs(read_checkpoint(teacher))
    return teacher_config(read_header(read_checkpoint(run), run).config).train.epochs


def primary_epochs(epochs: int, cooldown_share: float) -> int:
    """Return how many epochs come before the cooldown: all of them if its share is 0, else all but one or more.

    Examples
    --------
    >>> primary_epochs(50, 0.2), primary_epochs(3, 0.1), primary_epochs(3, 0.0)
    (40, 2, 3)
    """
    return epochs - max(round(cooldown_share * epochs), 1) if cooldown_share else epochs
