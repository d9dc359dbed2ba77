"""Checkpoints: self-describing, of plain types and tensors, written whole or not at all, loaded without pickle."""

import errno
import io
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tsjepa.arrays import counted
from tsjepa.build import build_model
from tsjepa.config import Config, ConfigError, parse_config
from tsjepa.interruption import uninterrupted
from tsjepa.objective import JEPA
from tsjepa.own_parts import own_part
from tsjepa.targets import FrozenTarget
from tsjepa.whole_file import whole_file

FORMAT, VERSION = "tsjepa", 5
# where a checkpoint keeps the head of a classifier, if it has one
HEAD = "head"
# where it says whether labels had a part in its weights, by tuning or by its teacher, and whether by tuning
LABELLED, TUNED = "labelled", "tuned"
# and which weight or module, if one, of the model that was trained its configuration does not build
OWN = "own_part"


class CheckpointError(ValueError):
    """A file that is no checkpoint, or not one that this version can use."""


class Header(NamedTuple):
    """What a checkpoint says of itself.

    Attributes
    ----------
    config : Config
        Resolved configuration.
    data : str or None
        Name or path of the training data.
    n_channels : int
        Channels of the training series.
    n_timepoints : int
        Length of the longest training series.
    channel_names : tuple of str, optional
        Names of the channels in their order; None where the data name none.
    fingerprint : dict, optional
        Plain types that tell the training data from others; None for series in memory, and in older checkpoints.

    Examples
    --------
    >>> Header(Config(tokenizer={"n_patches": 10}), "pump.csv", 3, 500, ("flow", "heat", "speed")).n_channels
    3
    """

    config: Config
    data: str | None
    n_channels: int
    n_timepoints: int
    channel_names: tuple[str, ...] | None = None
    fingerprint: dict[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as plain types."""
        return {
            "format": FORMAT,
            "version": VERSION,
            **self._asdict(),
            "config": self.config.model_dump(mode="json"),
            "channel_names": None if self.channel_names is None else list(self.channel_names),
        }


def write_atomically(content: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint under a temporary name in the same folder, then rename it.

    A crash or a full disk leaves the old file as it was and nothing half written.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    with uninterrupted():
        write_packed(packed(content, path), path)


def packed(content: dict[str, Any], path: Path) -> memoryview:
    """Return the bytes of a checkpoint: torch writes them into memory, since it hides why a disk takes no more."""
    buffer = io.BytesIO()
    try:
        torch.save(content, buffer)
    except RuntimeError as error:  # torch reports a failed write of its zip archive so
        raise OSError(f"cannot write {path}: {str(error).splitlines()[0]}") from error
    return buffer.getbuffer()


def write_packed(content: memoryview, path: Path) -> None:
    """Write what `packed` returned, whole or not at all, and have it on the disk when this returns."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def copy_atomically(source: str | Path, path: str | Path) -> None:
    """Copy a checkpoint's file as it is, whole or not at all as by `write_atomically`.

    A copy, not a link: what damages or changes one of them leaves the other as it was.

    Raises
    ------
    OSError
        If a file cannot be read or written.
    """
    with uninterrupted(), whole_file(Path(path)) as temporary:
        shutil.copyfile(source, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())


def save_checkpoint(path: str | Path, model: JEPA, header: Header, head: dict[str, Any] | None = None) -> None:
    """Save a model without optimizer state: it can be probed and embed, not resumed.

    Parameters
    ----------
    path : str or Path
        Its folder is created where there is none.
    model : JEPA
        As `build_model` makes it of the header's configuration. `torch.save` keeps the weights of any other.
    header : Header
    head : dict, optional
        Plain types and tensors of a classifier's head, see `tsjepa.heads`.

    Raises
    ------
    CheckpointError
        If the header's configuration does not build the model, so that the file could not be loaded.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from tsjepa import build_model, load_config, resolve
    >>> config = resolve(load_config("tiny"), n_timepoints=60)
    >>> path = Path(tempfile.mkdtemp(), "small.ckpt")
    >>> save_checkpoint(path, build_model(config, n_channels=1), Header(config, None, 1, 60))
    >>> load_checkpoint(path)[1].n_timepoints
    60
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    check_buildable(path, model, header)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    content = {FORMAT: header.plain(), "state_dict": {f"model.{k}": v for k, v in state.items()}, **mark_of(model)}
    write_atomically(content if head is None else {**content, HEAD: head}, path)


def mark_of(model: JEPA) -> dict[str, bool]:
    """Return what a checkpoint's content says of whether, and how, labels had a part in the model's weights."""
    return {LABELLED: model.labelled, TUNED: model.tuned}


def saw_labels(content: dict[str, Any]) -> bool:
    """Return whether labels had a part in a checkpoint's weights: it was fine-tuned, or its teacher was.

    Where it does not say so itself, a head tells of tuning.

    Examples
    --------
    >>> saw_labels({"state_dict": {}}), saw_labels({"head": {}}), saw_labels({"head": {}, "labelled": False})
    (False, True, False)
    """
    return bool(content.get(LABELLED, HEAD in content))


def was_tuned(content: dict[str, Any], model: JEPA) -> bool:
    """Return whether labels tuned a checkpoint's encoder itself, of which `model` is built.

    Earlier versions do not say so: labels had a part by tuning where there is a head, or no teacher to have it from.
    """
    guess = saw_labels(content) and (HEAD in content or not isinstance(model.target, FrozenTarget))
    return bool(content.get(TUNED, guess))


def take_mark(model: JEPA, content: dict[str, Any]) -> None:
    """Let a model know whether, and how, labels had a part in the weights that it takes from a checkpoint's content."""
    model.labelled, model.tuned = saw_labels(content), was_tuned(content, model)


def check_buildable(path: str | Path, model: JEPA, header: Header) -> None:
    """Refuse to save a model that is not, but for the values of its weights, the one that the header describes."""
    try:
        differing = own_part(model, header.config, header.n_channels)
    except ValueError as error:
        raise CheckpointError(f"{path} is not written, since its header describes no model: {error}") from error
    if differing:
        raise CheckpointError(
            f"{path} is not written, since its header's configuration builds another model, which differs in "
            f"{differing}: save the state_dict of a model of your own with torch.save."
        )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's plain content and check what it is.

    Raises
    ------
    CheckpointError
        If the file is missing, cannot be read, is cut, holds code, is of another kind or of a newer format.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: name the checkpoint in it, {path / 'checkpoint.ckpt'}.")
    if not path.exists() and path.name == "checkpoint.ckpt" and path.parent.is_dir():
        others = sorted([*path.parent.glob("*.ckpt"), *path.parent.glob("*/" + path.name)])
        raise CheckpointError(
            f"the folder {path.parent} holds no {path.name}, which pretrain writes after its first epoch (not before a "
            f"teacher's last one): name another, as {others[0] if others else f'runs/NAME/{path.name}'}."
        )
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint {path}: check the path, or make one by `tsjepa pretrain`.")
    check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a tsjepa checkpoint: it holds something else than plain types and tensors, "
            "which is not loaded since it could run code."
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # what a damaged pickle ends in has no common class
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: it is damaged or another kind of file."
        ) from error
    header = content.get(FORMAT) if isinstance(content, dict) else None
    if not isinstance(header, dict) or header.get("format") != FORMAT or "state_dict" not in content:
        raise CheckpointError(
            f"{path} is not a tsjepa checkpoint, though it can be read: it comes from another program."
        )
    if not isinstance(header.get("version"), int) or not is_state(content["state_dict"]):
        raise CheckpointError(f"{path} is damaged: its version is no number, or its weights are no tensors with names.")
    if header["version"] > VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {header.get('version')}, newer than {VERSION}, the newest that this "
            "version knows: upgrade tsjepa."
        )
    return content


def check_archive(path: Path) -> None:
    """Refuse a file that cannot be read, or whose bytes are not those that were written, which torch loads."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened: {error.strerror}.") from error
    with file:
        try:
            with zipfile.ZipFile(file) as archive:
                whole = archive.testzip() is None
        except MemoryError:
            raise
        except OSError as error:
            # damage sends the reader to places before the file's beginning, which is an invalid argument
            if error.errno not in (None, errno.EINVAL):
                raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
            whole = False
        except Exception:  # what zipfile and zlib raise on damage has no common class
            whole = False
    if not whole:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: it is cut, damaged or another kind of file.")


def is_state(state: Any) -> bool:
    """Return whether a state dict maps names to tensors."""
    return isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    )


def read_header(content: dict[str, Any], path: str | Path) -> Header:
    """Return what a checkpoint's content says of itself.

    Raises
    ------
    CheckpointError
        If a part of the header is missing or does not fit.
    """
    values = content[FORMAT]
    try:
        if not isinstance(values["config"], dict):
            raise ValueError(f"its configuration is {values['config']!r}.")
        if not isinstance(values["data"], str | None):
            raise ValueError(f"its data are called {values['data']!r}.")
        config = parse_config(values["config"])
        n_channels, n_timepoints = int(values["n_channels"]), int(values["n_timepoints"])
        if min(n_channels, n_timepoints) < 1:
            raise ValueError(f"there are {counted(n_channels, 'channel')} of {counted(n_timepoints, 'time point')}.")
        names = values["channel_names"] if values["version"] > 1 else None  # format 1 had no names
        if names is not None and not (len(names) == n_channels and all(isinstance(name, str) for name in names)):
            raise ValueError(f"there are {counted(n_channels, 'channel')}, but their names are {names}.")
        fingerprint = values.get("fingerprint")
        if not isinstance(fingerprint, dict | None):
            raise ValueError(f"its fingerprint of the data is {fingerprint!r}.")
        names = None if names is None else tuple(names)
        return Header(config, values["data"], n_channels, n_timepoints, names, fingerprint)
    except (ConfigError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise CheckpointError(f"the header of {path} is damaged: {error}") from error


def load_checkpoint(path: str | Path) -> tuple[JEPA, Header]:
    """Load a model, every weight of it, on the CPU and in evaluation mode.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    model : JEPA
    header : Header

    Raises
    ------
    CheckpointError
        If the file is no checkpoint, or its model is not, to the last weight, the one that its configuration builds.

    Examples
    --------
    >>> load_checkpoint("a.ckpt")
    Traceback (most recent call last):
    tsjepa.checkpoint.CheckpointError: there is no checkpoint a.ckpt: check the path, or make one by `tsjepa pretrain`.
    """
    content = read_checkpoint(path)
    header = read_header(content, path)
    probe, version = header.config.probe, content[FORMAT]["version"]
    if version < 4 and probe.sketch is not None and probe.scale_features:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, whose sketches held levels in another way, which this version "
            "does not compute: pretrain again."
        )
    if version < 5 and probe.shares and probe.noise is not None:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, whose shares had sharp thresholds where probe.noise is set, "
            "which this version does not compute: pretrain again."
        )
    if own := content.get(OWN):
        raise CheckpointError(
            f"{path} is of another model than its configuration builds, which differs in {own}: save the state_dict of "
            "a model of your own with torch.save."
        )
    try:
        model = build_model(header.config, header.n_channels)
    except ValueError as error:
        raise CheckpointError(f"the header of {path} describes no model that can be built: {error}") from error
    state = model_state(content)
    if version < 3:  # sketches were not whitened
        state = {name: value for name, value in model.state_dict().items() if ".whitenings." in name} | state
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights of {path} do not fit its configuration: {first_misfit(error)}") from error
    take_mark(model, content)
    return model.eval(), header


def model_state(content: dict[str, Any]) -> dict[str, Any]:
    """Return the weights in a checkpoint's content, as the model calls them.

    Examples
    --------
    >>> model_state({"state_dict": {"model.encoder.norm.bias": 0}})
    {'encoder.norm.bias': 0}
    """
    return {name.removeprefix("model."): value for name, value in content["state_dict"].items()}


def first_misfit(error: Exception) -> str:
    """Return the first informative line of torch's list of misfits."""
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1] if len(lines) > 1 else lines[0]
