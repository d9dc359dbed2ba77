"""What all tests share."""

import os
import sys

# before torch is imported, here and in the processes that tests start: tests run side by side, one thread each
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Make weights and inputs drawn from torch's global generator independent of the order of tests."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait until what is written is on the disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
