"""One command at a time in a folder: a lock that is given up just now is no lock any more."""

from pathlib import Path
from typing import Any

import pytest

from tsjepa.cli.errors import Failure
from tsjepa.cli.locking import LOCK, locked

fcntl = pytest.importorskip("fcntl")


def test_a_lock_that_is_held_is_refused_and_nothing_stays_of_one_that_ended(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    with locked(path, "one is there"):
        with (
            pytest.raises(Failure, match="one is there: wait for it, or give another --out"),
            locked(path, "one is there"),
        ):
            pytest.fail("two hold the lock")
        assert path.exists()
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_removed_between_opening_and_locking_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, calls = tmp_path / LOCK, fcntl.flock, []

    def flock(descriptor: int, operation: int) -> Any:
        if not calls:
            path.unlink()  # another command has ended
        calls.append(descriptor)
        return real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(path, "another is there"):
        assert path.exists()
        with pytest.raises(Failure), locked(path, "this one is there"):
            pytest.fail("two hold the lock")
