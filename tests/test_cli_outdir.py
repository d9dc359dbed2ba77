"""Where commands write: what each of them says of a file in the place of its folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import refused

from tsjepa.cli.errors import USAGE, Failure
from tsjepa.cli.finetune import checkpoint_path
from tsjepa.cli.outdir import check_run_folder, start_run
from tsjepa.cli.study import finished_rows


@pytest.mark.parametrize(
    "check",
    [lambda out: check_run_folder(out, True), lambda out: checkpoint_path(out, True), finished_rows],
    ids=["pretrain", "finetune", "collapse-study"],
)
def test_a_file_is_no_folder_to_write_to(check: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "runs"
    path.write_text("mine")
    with pytest.raises(Failure, match="runs is a file: name a folder with --out") as caught:
        check(path)
    assert caught.value.code == USAGE
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("pretrain",), "--out"),
        (("embed", "a.ckpt", "--data", "GunPoint"), "--out"),
        (("finetune", "a.ckpt"), "--out"),
        (("detect", "a.ckpt", "--data", "log.csv"), "--out"),
        (("detect", "a.ckpt", "--data", "log.csv", "--out", "z.parquet"), "--picture"),
        (("export", "a.ckpt"), "--onnx"),
        (("diagnose", "a.ckpt"), "--out"),
        (("collapse-study",), "--out"),
        (("benchmark", "--data", "GunPoint"), "--out"),
    ],
    ids=lambda words: words if isinstance(words, str) else words[0],
)
@pytest.mark.parametrize("name", ["", " "])
def test_a_name_of_nothing_is_not_the_current_folder(
    words: tuple[str, ...], flag: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(USAGE, *words, flag, name).endswith(f"Invalid value for '{flag}': it is empty: give a name.")
    assert not any(tmp_path.iterdir())


def test_a_new_run_leaves_no_curves_of_the_old_one_for_tensorboard(tmp_path: Path) -> None:
    curves = tmp_path / "events.out.tfevents.1.host.2.0"
    curves.write_bytes(b"somebody's")
    start_run(tmp_path, again=False)  # there was no run here
    assert curves.exists()
    (tmp_path / "metrics.csv").write_text("epoch,step,loss\n1,1,0.5\n")
    start_run(tmp_path, again=False)
    assert not list(tmp_path.iterdir())
