"""What all tests share, and runs that the tests of several files copy."""

import os
import shutil
import signal
import sys
from pathlib import Path

# before torch is imported, here and in the processes that tests start: tests run side by side, one thread each
os.environ.setdefault("OMP_NUM_THREADS", "1")
# numba's parallel code (MiniRocket's) would let OpenMP's regions nest, torch's too: its attention then takes minutes
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

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


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Work in an empty folder with a cache of its own, and without a folder of data sets."""
    monkeypatch.delenv("TSJEPA_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")  # here and not beside its helpers: one that files import is made anew for each of them
def trained_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import detecting

    return detecting.train(tmp_path_factory.mktemp("detector"))


@pytest.fixture
def with_detector(alone: Path, trained_detector: Path) -> None:
    """Work alone with a world model, its training log, and a log to score."""
    import detecting

    shutil.copytree(trained_detector, alone, dirs_exist_ok=True)
    detecting.write_test_log()


@pytest.fixture(scope="session")
def trained_pumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pumps

    return pumps.train(tmp_path_factory.mktemp("pumps"))


@pytest.fixture
def with_pumps(alone: Path, trained_pumps: Path) -> None:
    """Work alone with logs of pumps and a run on one of them."""
    shutil.copytree(trained_pumps, alone, dirs_exist_ok=True)


@pytest.fixture
def with_trained(alone: Path, trained: Path) -> None:
    """Work alone with a copy of what the fixture `trained` of a file made."""
    shutil.copytree(trained, alone, dirs_exist_ok=True)
