"""What all tests share."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Make weights and inputs drawn from torch's global generator independent of the order of tests."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
