import errno
import os
import pickle
import resource
import shutil
import zipfile
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from tsjepa.arrays import Series
from tsjepa.build import build_model, configure, resolve
from tsjepa.calibrator import calibrate
from tsjepa.checkpoint import (
    CheckpointError,
    Header,
    copy_atomically,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    write_atomically,
)
from tsjepa.embedding import embed
from tsjepa.normalization import take_statistics
from tsjepa.untrained import build_untrained


def saved(tmp_path, *overrides):
    config = resolve(configure("tiny", overrides=overrides), 60)
    header = Header(config, "toy", 1, 60)
    model = build_model(config, 1)
    save_checkpoint(tmp_path / "model.ckpt", model, header)
    return tmp_path / "model.ckpt", model, header


def changed(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


@pytest.mark.parametrize("objective", ["ema", "sigreg", "vicreg"])
def test_round_trip_is_exact(tmp_path, objective):
    config = resolve(configure("tiny", objective), 60)
    header = Header(config, "toy", 1, 60)
    model = build_model(config, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    save_checkpoint(tmp_path / "model.ckpt", model, header)
    again, header_again = load_checkpoint(tmp_path / "model.ckpt")
    assert header_again == header
    assert not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_only_plain_types_and_tensors_are_stored(tmp_path):
    path, _, header = saved(tmp_path)
    content = torch.load(path, weights_only=True)
    assert content["tsjepa"] == header.plain()
    assert content["tsjepa"]["version"] == 5


@pytest.mark.parametrize("fingerprint", [None, {"rows": 20, "first": "0"}])
def test_a_fingerprint_of_the_data_is_kept_and_may_be_missing(tmp_path, fingerprint):
    path, model, header = saved(tmp_path)
    save_checkpoint(path, model, header._replace(fingerprint=fingerprint))
    assert load_checkpoint(path)[1].fingerprint == fingerprint
    changed(path, lambda content: content["tsjepa"].pop("fingerprint"))
    assert load_checkpoint(path)[1].fingerprint is None
    changed(path, lambda content: content["tsjepa"].update(fingerprint=7))
    with pytest.raises(CheckpointError, match="its fingerprint of the data is 7"):
        load_checkpoint(path)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_is_not_executed(tmp_path, zipped):
    path, marker = tmp_path / "bomb.ckpt", tmp_path / "exploded"
    if zipped:
        torch.save({"tsjepa": Bomb(str(marker))}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(str(marker))))
    with pytest.raises(CheckpointError, match=r"bomb\.ckpt"):
        read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 0.999])
def test_a_cut_file_is_refused(tmp_path, share):
    path, *_ = saved(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="cut, damaged or another kind"):
        read_checkpoint(path)


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "missing.ckpt")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="comes from another program"):
        read_checkpoint(tmp_path / "other.ckpt")
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(CheckpointError, match="damaged or another kind"):
        read_checkpoint(tmp_path / "zip.ckpt")


@pytest.mark.parametrize("code", [b"Nt.", b"}}Ns."])
def test_a_pickle_that_is_damaged_within_a_whole_archive_is_refused(tmp_path, code):
    path, *_ = saved(tmp_path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "other.ckpt", "w") as other:
        for name in whole.namelist():
            other.writestr(name, b"\x80\x02" + code if name.endswith("data.pkl") else whole.read(name))
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_a_newer_format_is_refused(tmp_path):
    path, *_ = saved(tmp_path)
    changed(path, lambda content: content["tsjepa"].update(version=6))
    with pytest.raises(CheckpointError, match="format 6, newer than 5"):
        load_checkpoint(path)


def test_format_1_is_still_read(tmp_path):
    """It knew no names of channels, no scale features and no statistics of training series."""
    path, model, header = saved(tmp_path)

    def age(content):
        old = content["tsjepa"]
        old["version"] = 1
        del old["channel_names"], old["config"]["probe"]["scale_features"]

    again, header_again = load_checkpoint(changed(path, age))
    assert header_again == header
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_format_2_is_still_read(tmp_path):
    """Its sketches were not whitened."""
    config = resolve(configure("tiny", None, ["probe.shares=true", "probe.sketch=16", "probe.pool=[mean]"]), 60)
    model, series = build_model(config, 1), Series(np.random.default_rng(0).normal(size=(9, 1, 60)).astype(np.float32))
    calibrate(model.encoder, series, config.probe, whiten=False)
    path = tmp_path / "model.ckpt"
    save_checkpoint(path, model, Header(config, "toy", 1, 60))

    def age(content):
        content["tsjepa"]["version"] = 2
        del content["tsjepa"]["config"]["probe"]["whiten"]
        for name in [name for name in content["state_dict"] if ".whitenings." in name]:
            del content["state_dict"][name]

    again, _ = load_checkpoint(changed(path, age))
    want, found = (embed(each.encoder.eval(), series, config.probe) for each in (model, again))
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("noise", ["null", "0.1"])
def test_format_4_is_read_unless_its_shares_had_sharp_thresholds_where_noise_is_tolerated(tmp_path, noise):
    config = resolve(configure("tiny", None, ["probe.shares=true", "probe.sketch=16", f"probe.noise={noise}"]), 60)
    save_checkpoint(tmp_path / "model.ckpt", build_model(config, 1), Header(config, "toy", 1, 60))
    path = changed(tmp_path / "model.ckpt", lambda content: content["tsjepa"].update(version=4))
    with nullcontext() if noise == "null" else pytest.raises(CheckpointError, match="sharp thresholds"):
        load_checkpoint(path)


def test_format_3_is_read_unless_its_sketch_held_levels_in_another_way(tmp_path):
    for scaled in ("false", "true"):
        config = resolve(configure("tiny", None, ["probe.sketch=16", f"probe.scale_features={scaled}"]), 60)
        save_checkpoint(tmp_path / "model.ckpt", build_model(config, 1), Header(config, "toy", 1, 60))
        path = changed(tmp_path / "model.ckpt", lambda content: content["tsjepa"].update(version=3))
        if scaled == "false":
            assert load_checkpoint(path)[1].config == config
            continue
        with pytest.raises(CheckpointError, match="format 3, whose sketches held levels in another way"):
            load_checkpoint(path)


def test_names_of_channels_and_training_statistics_are_kept(tmp_path):
    config = resolve(configure("tiny", "ema", ["normalize=train"]), 60)
    header, model = Header(config, "toy", 2, 60, ("flow", "power")), build_model(config, 2)
    series = Series(np.arange(240, dtype=np.float32).reshape(2, 2, 60))
    take_statistics(model, series)
    save_checkpoint(tmp_path / "model.ckpt", model, header)
    again, header_again = load_checkpoint(tmp_path / "model.ckpt")
    assert header_again.channel_names == ("flow", "power")
    assert again.encoder.statistics.mean.tolist() == [89.5, 149.5]
    for part in (again.target.module, build_untrained(config, 2, again, series).encoder):
        assert torch.equal(part.statistics.scale, model.encoder.statistics.scale)


@pytest.mark.parametrize("part", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(tmp_path, part):
    path, *_ = saved(tmp_path)
    name = "model.encoder.norm.weight"

    def change(content):
        state = content["state_dict"]
        if part == "missing":
            del state[name]
        elif part == "extra":
            state["model.encoder.other"] = torch.zeros(1)
        else:
            state[name] = torch.zeros(3)

    with pytest.raises(CheckpointError, match="do not fit its configuration"):
        load_checkpoint(changed(path, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("n_channels"),
        lambda header: header.update(data=["FordA"]),
        lambda header: header.update(config=None),
        lambda header: header.update(config=["tiny"]),
        lambda header: header["config"].pop("tokenizer"),
        lambda header: header["config"]["mask"].update(ratoi=0.5),
        lambda header: header.pop("channel_names"),
        lambda header: header.update(channel_names=["flow", "power"]),
        lambda header: header.update(channel_names=[7]),
        lambda header: header.update(n_channels=0),
        lambda header: header.update(n_channels=float("inf")),
        lambda header: header.update(n_timepoints=0),
        lambda header: header["config"]["tokenizer"].update(n_patches=10, patch_length=None),
        lambda header: header["config"]["world"].update(inputs=[5], horizons=[1]),
    ],
)
def test_a_damaged_header_is_refused(tmp_path, change):
    path, *_ = saved(tmp_path)
    with pytest.raises(CheckpointError, match="header"):
        load_checkpoint(changed(path, lambda content: change(content["tsjepa"])))


def test_a_header_that_is_not_resolved_is_not_called_damaged(tmp_path):
    path, *_ = saved(tmp_path)
    change = {"n_patches": 10, "patch_length": None}
    with pytest.raises(CheckpointError, match=r"describes no model that can be built: resolve the configuration first"):
        load_checkpoint(changed(path, lambda content: content["tsjepa"]["config"]["tokenizer"].update(change)))


@pytest.mark.parametrize("part", ["missing", "extra", "shape"])
def test_what_could_not_be_loaded_is_not_saved(tmp_path, part):
    path, model, header = saved(tmp_path)
    before = path.read_bytes()
    if part == "missing":
        model.encoder.norm = torch.nn.Identity()
    elif part == "extra":
        model.encoder.norm.register_buffer("other", torch.zeros(1))
    else:
        model.encoder.norm = torch.nn.LayerNorm(3)
    with pytest.raises(CheckpointError, match=r"model.ckpt is not written, .* differs in encoder\.norm\.[a-z]+: save"):
        save_checkpoint(path, model, header)
    assert path.read_bytes() == before


def test_a_model_is_not_saved_under_a_configuration_that_is_not_resolved(tmp_path):
    path, model, header = saved(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"not written, since its header describes no model: resolve the config"):
        save_checkpoint(path, model, header._replace(config=configure("tiny")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("state", [None, [1], {1: torch.zeros(1)}, {"model.encoder.norm.weight": "x"}])
def test_weights_that_are_no_tensors_with_names_are_refused(tmp_path, state):
    path, *_ = saved(tmp_path)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(changed(path, lambda content: content.update(state_dict=state)))


@pytest.mark.parametrize("version", ["4", None])
def test_a_version_that_is_no_number_is_damage(tmp_path, version):
    path, *_ = saved(tmp_path)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(changed(path, lambda content: content["tsjepa"].update(version=version)))


def test_every_changed_bit_of_a_weight_is_found(tmp_path):
    path, model, _ = saved(tmp_path)
    content = bytearray(path.read_bytes())
    weight = model.encoder.blocks[0].mlp[0].weight.detach().numpy().tobytes()
    content[content.index(weight) + len(weight) // 2] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cut, damaged"):
        load_checkpoint(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path, *_ = saved(tmp_path)

    def refuse(self, mode):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match=r"model.ckpt cannot be opened: Permission denied\.$"):
        load_checkpoint(path)


def test_what_keeps_a_file_from_being_read_is_not_called_damage(tmp_path, monkeypatch):
    path, *_ = saved(tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "testzip", Mock(side_effect=OSError(errno.EIO, "Input/output error")))
    with pytest.raises(CheckpointError, match=r"model.ckpt cannot be read: Input/output error\.$"):
        load_checkpoint(path)
    monkeypatch.setattr(zipfile.ZipFile, "testzip", Mock(side_effect=MemoryError))
    with pytest.raises(MemoryError):
        load_checkpoint(path)


def test_damage_that_leads_before_the_beginning_of_the_file_is_called_so(tmp_path):
    path, *_ = saved(tmp_path)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\6\6") + 48  # of the table of contents, which all other places are counted from
    content[place : place + 8] = (1 << 32).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cut, damaged"):
        load_checkpoint(path)


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path, model, header = saved(tmp_path)
    before = path.read_bytes()

    def full(content, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, model, header)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.ckpt"]


def test_a_write_that_torch_reports_as_runtime_error_is_an_oserror(tmp_path, monkeypatch):
    def broken(content, file):
        raise RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="cannot write"):
        write_atomically({}, tmp_path / "model.ckpt")
    assert not list(tmp_path.iterdir())


def test_what_the_disk_refuses_is_told_in_its_words(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            write_atomically({"x": torch.zeros(500_000)}, tmp_path / "model.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())


def test_a_copy_is_whole_or_not_there_and_a_file_of_its_own(tmp_path, monkeypatch):
    path, *_ = saved(tmp_path)
    before, synced, fsync = path.read_bytes(), [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (synced.append(os.fstat(number).st_ino), fsync(number)))
    copy_atomically(path, tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").read_bytes() == before
    assert synced == [(tmp_path / "best.ckpt").stat().st_ino]
    with path.open("rb+") as file:
        file.write(b"damaged")
    assert (tmp_path / "best.ckpt").read_bytes() == before

    def full(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        copy_atomically(path, tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.ckpt", "model.ckpt"]


def test_the_file_has_ordinary_permissions(tmp_path):
    path, *_ = saved(tmp_path)
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
