"""Where commands write: what each of them says of a file in the place of its folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tsjepa.cli.errors import USAGE, Failure
from tsjepa.cli.finetune import checkpoint_path
from tsjepa.cli.outdir import check_run_folder
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
