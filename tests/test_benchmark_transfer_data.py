"""Data that change while a transfer is under way: no mean is one of two versions of a data set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tsjepa.arrays import Series
from tsjepa.evaluation import benchmark_check, benchmark_transfer
from tsjepa.evaluation.benchmark_methods import Method, find_method
from tsjepa.evaluation.benchmark_run import Parts, load_parts
from tsjepa.evaluation.benchmark_transfer import (
    Job,
    TransferStore,
    carry_out_transfers,
    transfer_jobs,
    transfer_left,
)
from tsjepa.evaluation.benchmark_transfer_summary import transfer_means

TINY, RAW, MAJORITY = find_method("tiny", epochs=1), find_method("raw"), find_method("majority")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs in this process, of data sets `s.npz`, `t.npz` and `u.npz` in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark_transfer, "call", lambda function, one, fork: function(one))
    for seed, name in enumerate(("s.npz", "t.npz", "u.npz")):
        save(name, seed)


def save(name: str, seed: int) -> None:
    rng, y = np.random.default_rng(seed), np.arange(12) % 2
    np.savez(name, **{f"X_{part}": rng.normal(size=(12, 1, 40)) for part in ("train", "test")}, y_train=y, y_test=y)
    benchmark_check.digest_of.cache_clear()


def jobs_of(*methods: Method, seeds: int = 2, target: str = "t.npz") -> list[Job]:
    return transfer_jobs(("s.npz",), [target], methods, seeds, (1,), device="cpu")


@pytest.mark.parametrize(
    ("methods", "changed", "told"),
    [((RAW, MAJORITY), "t.npz", "t.npz"), ((TINY, RAW), "t.npz", "t.npz"), ((TINY,), "s.npz", "s.npz")],
)
def test_pairs_of_data_that_changed_meanwhile_fail(methods: tuple[Method, ...], changed: str, told: str) -> None:
    store = TransferStore.at(Path())
    runs = carry_out_transfers(jobs_of(*methods), store)
    first = next(runs)
    save(changed, 9)
    later = list(runs)
    assert first.status == "ok"
    assert {row.status for row in later} == {"failed"}
    assert {row.reason for row in later} == {
        f"transfer.csv holds rows on {told} as the data were then: name another folder with --out."
    }
    found = transfer_means(store.scores.read())
    assert found.pop(methods[0].name) == {"mean_accuracy": first.accuracy, "n_data": 1}
    assert all(own["mean_accuracy"] is None for own in found.values())


def test_a_source_that_changes_fails_the_runs_that_look_at_it() -> None:
    runs = carry_out_transfers(jobs_of(TINY, RAW), TransferStore.at(Path()))
    assert [next(runs).status, next(runs).status] == ["ok", "ok"]
    save("s.npz", 9)
    assert [row.status for row in runs] == ["failed", "ok"]


@pytest.mark.parametrize("before", [RAW, TINY])
def test_data_that_come_only_with_the_first_run_are_compared_with_the_rows(
    before: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TransferStore.at(Path())
    (first,) = carry_out_transfers(jobs_of(before, seeds=1), store)
    save("t.npz", 9)
    monkeypatch.setattr(benchmark_check, "at_hand", lambda *_: None)  # still to be downloaded
    (left,) = transfer_left(jobs_of(TINY)[1:], store)
    (found,) = carry_out_transfers([left], store)
    names = "t.npz" if before is RAW else "s.npz, t.npz"
    assert (first.status, found.status) == ("ok", "failed")
    assert f"holds rows on {names} as the data were then" in found.reason
    save("t.npz", 1)
    assert [row.status for row in carry_out_transfers([left], store)] == ["ok"]


def test_pairs_of_one_run_are_of_one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    def load(name: str, **more: Any) -> Parts:
        loads.append(name)
        if loads.count("t.npz") == 2:
            save("t.npz", 9)
        return load_parts(name, **more)

    monkeypatch.setattr(benchmark_transfer, "load_parts", load)
    (job,) = jobs_of(RAW, seeds=1)
    pairs = (("s.npz", "t.npz"), ("u.npz", "t.npz"), ("s.npz", "s.npz"))
    store = TransferStore.at(Path())
    assert [row.status for row in carry_out_transfers([job._replace(pairs=pairs)], store)] == ["ok", "failed", "ok"]
    assert {row.target for row in store.scores.read() if row.fit_on == "u.npz"} == {"t.npz"}


def test_data_of_which_there_is_no_row_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(fit: Callable[..., Any], method: Method, series: Series, *more: Any) -> Any:
        if method is MAJORITY:
            raise ValueError("no.")
        return fit(method, series, *more)

    real = benchmark_transfer.fit_method
    monkeypatch.setattr(benchmark_transfer, "fit_method", lambda *words: failing(real, *words))
    runs = carry_out_transfers(jobs_of(MAJORITY, RAW, seeds=1), TransferStore.at(Path()))
    assert next(runs).status == "failed"
    save("t.npz", 9)
    assert [row.status for row in runs] == ["ok"]


def test_the_fewest_data_sets_that_have_changed_are_named() -> None:
    for more in range(20):  # in whatever order a set has them
        rows = {((f"s{more}", "t"), benchmark_check.join_digests(["1", "2"])), (("t",), "2")}
        assert benchmark_check.Versions(Path("transfer.csv"), frozenset(rows), {f"s{more}": "1"}).others("t", "9") == (
            "t",
        )
