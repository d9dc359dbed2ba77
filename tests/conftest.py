"""What all tests share, and runs that the tests of several files copy."""

import os
import shutil
import signal
import sys
from pathlib import Path

# before torch is imported, here and in the processes that tests start: tests run side by side, one thread each
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# A shell starts what runs in its background with Ctrl-C ignored, and so would be what tests start and interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Make weights and inputs drawn from torch's global generator independent of the order of tests."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait until what is written is on the disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(scope="session")  # here and not beside its helpers: one that files import is made anew for each of them
def trained_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import detecting

    return detecting.train(tmp_path_factory.mktemp("detector"))


@pytest.fixture
def with_detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained_detector: Path) -> None:
    """Work in a folder of one's own with a world model, its training log, and a log to score."""
    import detecting

    go_to_copy(trained_detector, tmp_path, monkeypatch)
    detecting.write_test_log()


@pytest.fixture(scope="session")
def trained_pumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pumps

    return pumps.train(tmp_path_factory.mktemp("pumps"))


@pytest.fixture
def with_pumps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained_pumps: Path) -> None:
    """Work in a folder of one's own with logs of pumps and a run on one of them."""
    monkeypatch.delenv("TSJEPA_DATA", raising=False)
    go_to_copy(trained_pumps, tmp_path, monkeypatch)


def go_to_copy(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    shutil.copytree(source, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
