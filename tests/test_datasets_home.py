"""No home folder, as for a process without HOME whose user the system does not list."""

import shutil
from pathlib import Path

import pytest
from command_line import refused, tsjepa, write_data

from tsjepa.datasets import DataError, load
from tsjepa.datasets.home import cache_folder, user_path
from tsjepa.datasets.loading import full_name, identity
from tsjepa.datasets.logs import Windowing, is_log, load_log

pwd = pytest.importorskip("pwd")


def unlisted(*_: object) -> None:
    raise KeyError


@pytest.fixture(autouse=True)
def _homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "TSJEPA_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unlisted)
    monkeypatch.chdir(tmp_path)


def test_there_is_no_cache_but_a_named_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "tsjepa"


def test_data_at_hand_are_loaded() -> None:
    assert load("BasicMotions").X_train.shape == (40, 6, 100)
    assert load(write_data("pump")).name == "pump"
    assert not is_log("BasicMotions")
    with pytest.raises(DataError, match="no data set is called 'BasicMotion'; the nearest names are BasicMotions"):
        load("BasicMotion")


def test_a_run_on_the_default_data_needs_no_home() -> None:
    result = tsjepa("pretrain", "--config", "tiny", "--epochs", "1", "--device", "cpu")
    assert result.exit_code == 0, result.output


def test_what_has_to_be_kept_in_a_cache_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "there is no home folder to keep a cache in; set HOME or XDG_CACHE_HOME, or give "
    monkeypatch.setattr("tsjepa.datasets.loading.download", lambda *_: pytest.fail("a download begins"))
    with pytest.raises(DataError, match=f"{said}a --data-dir that can be written to"):
        load("Adiac")
    Path("log.csv").write_text("time,flow\n" + "".join(f"{row},{row % 7}\n" for row in range(40)))
    with pytest.raises(DataError, match=f"{said}--cache-dir"):
        load_log("log.csv")
    assert load_log("log.csv", windowing=Windowing(window=8), cache_dir="cache").n_cases == 5


def test_a_tilde_is_a_sentence_and_no_folder_of_that_name_is_made() -> None:
    said = "~ in ~/pump.npz is no folder, since HOME is not set; write the path without it"
    assert said in refused(1, "pretrain", "--data", "~/pump.npz")
    assert said.replace("pump.npz", "logs") in refused(1, "pretrain", "--data", "Adiac", "--data-dir", "~/logs")
    with pytest.raises(DataError, match="write the path without it"):
        load_log("~/*.csv")
    assert (full_name("~/pump.npz"), identity("~/pump.npz")[-6:]) == ("~/pump.npz", "mp.npz")
    assert not list(Path().iterdir())


def test_a_file_may_be_called_like_a_user_that_is_not_there() -> None:
    shutil.move(write_data("pump"), "~pump.npz")
    assert user_path("~pump.npz") == Path("~pump.npz")
    assert load("~pump.npz").name == "~pump"
