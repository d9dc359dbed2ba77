"""What a pretraining run is going to do: a new run, or one that goes on from its checkpoint."""

import json
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from tsjepa.arrays import counted
from tsjepa.build import OBJECTIVES, TEACHERS, bounded, configure, match_teacher, resolve
from tsjepa.checkpoint import Header, read_checkpoint, read_header
from tsjepa.cli.data import Data, check_there, data_of, load_data, trained_channels
from tsjepa.cli.errors import USAGE, Failure, say
from tsjepa.cli.inputs import OTHER_FOLDER, refuse_input, refuse_run
from tsjepa.cli.normal_windows import learnt
from tsjepa.cli.options import PretrainOptions, TuneOptions
from tsjepa.cli.outdir import (
    CHECKPOINT,
    CONFIG,
    TEACHER,
    check_run_folder,
    files_of_run,
    resumable,
    unfinished,
    writing,
)
from tsjepa.config import Config, load_config
from tsjepa.datasets.log_fingerprint import difference
from tsjepa.resuming import LENGTH, changes, check_resumable, finished_epochs, flat
from tsjepa.stages import stages, taught_epochs, teaches, with_architecture

# Real smartwatch sensors that ship inside aeon: nothing is downloaded
DEFAULT_DATA = "BasicMotions"


class RunPlan(NamedTuple):
    """A resolved run, of which `finished` epochs are in its folder already, those of a teacher among them.

    A run that goes on keeps the names of channels of its checkpoint, `named`, which may have blanks that data lost.
    """

    config: Config
    data: Data
    out: Path
    finished: int = 0
    named: tuple[str, ...] | None = None

    @property
    def header(self) -> Header:
        """What the checkpoint says of itself; nothing of a test part but in the fingerprint of a log."""
        data, series = self.data, self.data.train.series
        shape = series.n_channels, series.n_timepoints
        return Header(self.config, self.config.data, *shape, self.named or data.channel_names, data.fingerprint)

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint is written."""
        return self.out / CHECKPOINT


def planned_run(options: PretrainOptions) -> tuple[RunPlan, Data]:
    """Plan a run, and return with it all data there are: those of the plan are what the run learns from.

    Every process of a run on several asks here, since all of them have to train on the same series.
    """
    plan = resumed_run(options) if options.resume else new_run(options)
    return plan._replace(data=learnt(plan.data, plan.config)), plan.data


def new_run(options: PretrainOptions) -> RunPlan:
    """Plan a run from nothing, and refuse a folder that holds another one."""
    config = configure(options.config, options.objective, options.overrides())
    config = config.model_copy(update={"data": named_data(config)})
    if options.out is not None:
        check_out(config, options.out, options.overwrite)
    data = load_run_data(str(config.data), config, options)
    config = resolved(config, data)
    check_settings(config, data, options.settings)
    stages(config)  # refuses epochs that are too few for both
    out = options.out or default_out(data)
    check_out(config, out, options.overwrite)
    refuse_own_teacher(config, out)
    return RunPlan(config, data, out)


def check_out(config: Config, out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds a run already, or data in a file that is called like one of a run."""
    with writing(out):
        names = files_of_run(out)
    for name in names:
        refuse_input(out / name, config.data, config.log.test, advice=OTHER_FOLDER)
    refuse_run(out, config.data, config.log.test)
    check_run_folder(out, overwrite)


def refuse_own_teacher(config: Config, out: Path) -> None:
    """Refuse a teacher that the new run would delete with the run in its folder."""
    if teaches(config, (out / name for name in files_of_run(out))):
        raise Failure(
            f"the teacher {config.target.teacher} belongs to the run in {out}, which --overwrite would delete: "
            "name another folder with --out.",
            USAGE,
        )


def named_data(config: Config) -> str:
    """Return the data of a configuration, those of aeon where it names none; an empty name is refused as it is read."""
    return DEFAULT_DATA if config.data is None else config.data


def load_run_data(name: str, config: Config, options: PretrainOptions | TuneOptions) -> Data:
    """Load the data of a run as its configuration says."""
    given, cache_dir = options.logs.given(), options.logs.cache_dir
    settings = config.log.model_dump(exclude_defaults=True)
    asked = given | {f"log.{key}": value for key, value in settings.items() if key not in given}
    return load_data(name, options.data_dir, config.log, cache_dir, config.train.seed, asked=asked)


def resolved(config: Config, data: Data) -> Config:
    """Return the configuration with all that a teacher and the data decide."""
    series, config = data.train.series, with_architecture(config)
    config = resolve(config, series.n_timepoints, data.channel_names, len(series.measured()), series.n_channels)
    return config if data.log is None else config.model_copy(update={"log": data.log})


def check_settings(config: Config, data: Data, settings: Sequence[str]) -> None:
    """Refuse settings that would be lost, since the teacher's are taken over."""
    if config.target.teacher is None:
        return
    wished = resolve(configure(config, None, settings), data.train.series.n_timepoints, data.channel_names)
    others = {key for key in flat(config) if key.partition(".")[0] not in TEACHERS}
    if lost := changes(config, wished, others):
        raise Failure(
            f"a student has the tokenizer, encoder and normalisation of its teacher, but {lost[0]}: leave that out, or "
            "train a teacher of that form first.",
            USAGE,
        )


def default_out(data: Data) -> Path:
    """Return the folder of a run that names none."""
    return Path("runs", data.name)


def resumed_run(options: PretrainOptions) -> RunPlan:
    """Plan to go on: configuration and data are the checkpoint's, and only the number of epochs may change."""
    if options.overwrite:
        raise Failure("--resume goes on with a run and --overwrite replaces it: give one of them.", USAGE)
    wished = configure(options.config, options.objective, options.overrides())
    asked = named_data(wished)
    data, out = None, options.out
    if out is None:
        data = load_run_data(asked, wished, options)
        out = default_out(data)
    path, teacher = out / CHECKPOINT, out / TEACHER / CHECKPOINT
    taught = path.exists()  # or the run was stopped in its teacher's stage
    path = path if taught else teacher
    if not (path.exists() and resumable(out)):
        return restarted_run(options, out)
    content = read_checkpoint(path)
    check_resumable(content, path)
    header = read_header(content, path)
    if not taught:  # config.yaml says what was asked for
        header = header._replace(config=load_config(out / CONFIG))
    config, finished = resumed_config(options, header), finished_in(out, header.config)
    if data is None or asked != header.data or data.log not in (None, header.config.log):
        name = data_of(header, path, None)
        check_there(name, header.config.log.test, f"the run in {out}", options.data_dir, by_flag=False)
        with trained_channels():  # a run that goes on names no others
            data = load_run_data(name, header.config, options)
    check_same_data(data, header)
    config = config.model_copy(update={"train": bounded(config.train, len(data.train.series.measured()))})
    check_epochs(config, header.config, finished, taught)
    return RunPlan(config, data, out, finished, header.channel_names)


def restarted_run(options: PretrainOptions, out: Path) -> RunPlan:
    """Plan the run that a folder holds the configuration of, and no finished epoch: it starts from its beginning."""
    if not unfinished(out):
        instead = "give --overwrite instead" if files_of_run(out) else "leave --resume out"
        raise Failure(f"there is no checkpoint in {out} to resume: {instead} to start a run there.")
    planned = load_config(out / CONFIG)
    planned = planned.model_copy(update={"data": named_data(planned)})
    check_there(planned.data, planned.log.test, f"the run in {out}", options.data_dir, by_flag=False)
    with trained_channels():  # as of a run that goes on
        data = load_run_data(str(planned.data), planned, options)
    config = resumed_config(options, RunPlan(resolved(planned, data), data, out).header)
    config = config.model_copy(update={"train": bounded(config.train, len(data.train.series.measured()))})
    stages(config)
    say(f"note: no epoch of the run in {out} was finished, so it starts from its beginning.")
    return RunPlan(config, data, out)


def finished_in(out: Path, config: Config) -> int:
    """Return how many epochs a run in a folder has finished, those of both its stages."""
    run, teacher = out / CHECKPOINT, out / TEACHER / CHECKPOINT
    if run.exists():
        return taught_epochs(config, out) + finished_epochs(read_checkpoint(run))
    return finished_epochs(read_checkpoint(teacher)) if teacher.exists() else 0


def check_unchanged(plan: RunPlan, options: PretrainOptions) -> None:
    """Refuse a folder that another command wrote to since the run was planned: the plan is not for that."""
    if not options.resume:
        check_run_folder(plan.out, options.overwrite)
    elif finished_in(plan.out, plan.config) != plan.finished:
        raise Failure(f"another command went on with the run in {plan.out} meanwhile: run this command again.")


def resumed_config(options: PretrainOptions, header: Header) -> Config:
    """Return the run's configuration with the epochs that are asked for; refuse any other change."""
    wished = {override.partition("=")[0] for override in options.overrides()} & set(LENGTH)
    lost = []
    for base, objective in meant(options, header.config):
        asked = asked_config(options, header, base, objective)
        changed = changes(header.config, asked, free(asked, wished))
        if not changed:
            return lengthened(header.config, asked, wished)
        lost.append(changed)
    advice = to_leave_out(options, header.config, lost[-1])
    raise Failure(
        f"--resume goes on with the configuration of the run, but {lost[-1][0]}: {advice}, or start a new run with "
        "--overwrite instead of --resume or in another --out.",
        USAGE,
    )


def to_leave_out(options: PretrainOptions, trained: Config, changed: list[str]) -> str:
    """Say which flag asks for changes: one of its own, or a recipe that was itself changed as the run was started."""
    key = changed[0].partition(" ")[0]
    given = {override.partition("=")[0] for override in options.overrides()}
    if "tokenizer.n_patches" in given:  # which the length follows from
        given.add("tokenizer.patch_length")
    if any(f"{key}.".startswith(f"{name}.") for name in given):
        return "leave that out"
    laid = {setting.partition("=")[0] for setting in OBJECTIVES.get(options.objective or "", ())}
    by_objective = options.config is None or key in laid
    flag = f"--objective {options.objective}" if by_objective else f"--config {shlex.quote(str(options.config))}"
    if len(changed) > 1:
        return f"leave out {flag}"
    value = flat(trained)[key]
    setting = f"{key}={value if isinstance(value, str) else json.dumps(value)}"
    return f"leave out {flag}, or repeat --set {shlex.quote(setting)}"


def asked_config(options: PretrainOptions, header: Header, base: Config, objective: str | None) -> Config:
    """Return what flags of a run that goes on ask for, with a configuration and an objective that they stand for."""
    asked = configure(base, objective, options.overrides())
    if options.config is not None and asked.target.teacher is not None and asked.target == header.config.target:
        # as when the run was started, and with settings laid over it, so that none is passed over
        asked = configure(match_teacher(asked, header.config), None, options.settings)
    return resolve(asked, header.n_timepoints, header.channel_names)


def lengthened(config: Config, asked: Config, wished: Collection[str]) -> Config:
    """Return the run's configuration with the epochs that are asked for.

    A recipe's epochs are no wish of the user's: they may have been overridden when the run was started.
    """
    if "train.epochs" not in wished:
        return config
    length = {"epochs": asked.train.epochs, "max_steps": asked.train.max_steps}
    return config.model_copy(update={"train": config.train.model_copy(update=length)})


def free(asked: Config, wished: Collection[str]) -> set[str]:
    """Return the keys that may differ: epochs, steps where no number is wished for, and what is not asked of data."""
    values = flat(asked)
    unasked = {key for key in values if values[key] is None and (key == "data" or key.startswith("log."))}
    steps = "train.max_steps" in wished and asked.train.max_steps is not None
    return {*unasked, *(LENGTH[:1] if steps else LENGTH)}


def check_epochs(config: Config, planned: Config, finished: int, taught: bool) -> None:
    """Refuse fewer epochs than there are, and others for a teacher that is not done, and say what others change."""
    epochs, before = config.train.epochs, planned.train.epochs
    if epochs < finished:
        raise Failure(
            f"{finished} epochs are finished already, so --epochs {epochs} cannot be resumed.",
            USAGE,
        )
    if epochs == before:
        return
    if not taught:
        raise Failure("the teacher's epochs cannot change: leave --epochs out, or start again.", USAGE)
    say(
        f"note: the run was planned for {counted(before, 'epoch')} and now for {epochs}: its learning-rate schedule "
        "changes, so the result is not that of an uninterrupted run."
    )


def meant(options: PretrainOptions, trained: Config) -> list[tuple[Config, str | None]]:
    """Return configurations, and objectives laid over them, that flags of a run that goes on may stand for.

    An objective alone is that of its recipe, and in older runs the bare one.
    """
    if options.config is not None:
        return [(load_config(options.config), options.objective)]
    if options.objective is None:
        return [(trained, None)]
    own = configure(None, options.objective)
    parts = {name: getattr(own, name) for name in ("target", "regularizer", "projector", "loss")}
    return [(trained, options.objective), (trained.model_copy(update=parts), None)]


def check_same_data(data: Data, header: Header) -> None:
    """Refuse to go on with data that are not those the run was started on."""
    now = (data.train.series.n_channels, data.train.series.n_timepoints)
    if now != (header.n_channels, header.n_timepoints):
        raise Failure(
            f"{data.name} has {counted(now[0], 'channel')} of {counted(now[1], 'point')} now, but the run was started "
            f"on {header.n_channels} of {header.n_timepoints}: give the same data to resume it."
        )
    held, trained = data.channel_names or (), header.channel_names or ()
    # blanks around names in a CSV file do not count, and stand in older checkpoints
    if held and trained and [name.strip() for name in held] != [name.strip() for name in trained]:
        own, known = (", ".join(map(repr, names)) for names in (held, trained))
        raise Failure(
            f"{data.name} has the channels {own} now, but the run was started on {known}: give the same data to resume "
            "it, or start a new run."
        )
    changed = None if header.fingerprint is None else difference(header.fingerprint, data.fingerprint)
    if changed is not None:
        raise Failure(
            f"{data.name} is not the same as when the run was started ({changed}): give the same data to resume it, "
            "or start a new run."
        )
