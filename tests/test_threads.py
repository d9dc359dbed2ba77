"""Threads for a while: torch's, and those of linear algebra."""

import threading

import pytest
import torch
from threadpoolctl import threadpool_info

from tsjepa.threads import threads


def counts() -> set[int]:
    """Return how many threads torch and each library of linear algebra may use."""
    return {torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")}


def test_all_threads_are_set_and_as_before_afterwards() -> None:
    with threads(3):
        assert counts() == {3}
        with threads(1):
            assert counts() == {1}
        with threads(None):
            assert counts() == {3}
        with pytest.raises(KeyError), threads(2):
            raise KeyError
        assert counts() == {3}


def test_those_of_others_that_overlap_leave_all_as_it_was() -> None:
    before, began, ended = counts(), threading.Event(), threading.Event()

    def other() -> None:
        with threads(5):
            began.set()
            ended.wait(60)

    beside = threading.Thread(target=other)
    with threads(3):
        beside.start()
        assert began.wait(60)
        assert 3 in counts()
    ended.set()
    beside.join()
    assert counts() == before
    with threads(4):
        assert counts() == {4}
