"""The benchmark: a kill costs one run, a bad data set costs itself, the same command goes on."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjepa.datasets import DataError
from tsjepa.evaluation.benchmark import Store, carry_out, failed, left_to_run, plan
from tsjepa.evaluation.benchmark_check import digest_of
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_methods import Method, find_method, find_methods
from tsjepa.evaluation.benchmark_process import RunError, call
from tsjepa.evaluation.benchmark_run import Job, Outcome, load_parts, measure
from tsjepa.evaluation.benchmark_table import BenchmarkError, FewLabels, Result, Table, as_text, from_text


def tiny(name: str) -> Method:
    return find_method(name, "tiny", epochs=1)


def job(method: str = "raw", data: str = "GunPoint", **more: Any) -> Job:
    return Job(data, tiny(method), 0, device="cpu", **more)


def row(data: str = "pump", method: str = "raw", seed: int = 0, accuracy: float | None = 0.5, **more: Any) -> Result:
    ok = accuracy is not None
    whole = Result(
        data, method, seed, 0, accuracy, accuracy, None, 1.0, 0.5, 100.0, 3.0, 10, 20,
        False, "ok" if ok else "failed", "" if ok else "no labels.", "digest", "tsjepa 0",
    )  # fmt: skip
    return whole._replace(**more)


# --- the table


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9), st.floats(0, 1)),
        max_size=5,
    ),
    st.integers(0, 400),
)
@settings(max_examples=50)
def test_a_table_survives_a_cut_at_any_byte(tmp_path_factory: pytest.TempPathFactory, pairs: Any, cut: int) -> None:
    rows = [row(re.sub("[\r\n]+", " ", name), seed=k, accuracy=value) for k, (name, value) in enumerate(pairs)]
    table = Table(tmp_path_factory.mktemp("table") / "results.csv", Result)
    table.append(rows)
    assert table.read() == rows
    if rows:
        content = table.path.read_bytes()[:cut]
        table.path.write_bytes(content)
        kept = table.read()
        assert kept == rows[: len(kept)]
        table.append(rows[len(kept) :])
        assert table.read() == rows


def test_values_go_through_text_and_others_are_refused(tmp_path: Path) -> None:
    for value, kind in ((None, float | None), (True, bool), (3, int), (0.1, float), ("a", str), (None, int | None)):
        assert from_text(as_text(value), kind) == value
    assert as_text("two\nlines") == as_text("two\r\nlines") == "two lines"
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BenchmarkError, match="columns are not those"):
        Table(path, Result).read()
    Table(path, FewLabels).path.write_text(",".join(FewLabels._fields) + "\nGunPoint,raw,x,0,1,1,0,0.5\n")
    with pytest.raises(BenchmarkError, match="cannot be gone on with"):
        Table(path, FewLabels).read()


def test_a_table_of_before_a_column_came_is_read_and_gone_on_with(tmp_path: Path) -> None:
    table = Table(tmp_path / "results.csv", Result)
    table.append([row(data_digest="0a1b")])
    lines = table.path.read_text().splitlines()
    table.path.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    assert table.read() == [row()]
    table.append([row(seed=1, data_digest="2c3d")])
    assert table.read() == [row(), row(seed=1, data_digest="2c3d")]


def test_rows_of_other_data_are_refused(tmp_path: Path) -> None:
    path, rng = tmp_path / "parts.npz", np.random.default_rng(0)
    store, y = Store.at(tmp_path), np.arange(12) % 2
    for turn in range(2):
        parts = {f"X_{part}": rng.normal(size=(12, 1, 20)) for part in ("train", "test")}
        np.savez(path, **parts, y_train=y, y_test=y)
        digest_of.cache_clear()
        jobs = plan([str(path)], [find_method("majority")], seeds=2)
        if turn:
            with pytest.raises(BenchmarkError, match=r"holds majority on .*parts.npz as the data were then"):
                left_to_run(jobs, store)
        else:
            list(carry_out(jobs[:1], store, measure))
            assert left_to_run(jobs, store) == jobs[1:]
    path.unlink()
    digest_of.cache_clear()
    assert left_to_run(jobs, store) == jobs[1:]  # what is not there is not compared


def save_parts(path: Path, seed: int) -> str:
    rng, y = np.random.default_rng(seed), np.arange(12) % 2
    np.savez(path, **{f"X_{part}": rng.normal(size=(12, 1, 20)) for part in ("train", "test")}, y_train=y, y_test=y)
    digest_of.cache_clear()
    return str(path)


def test_a_method_that_is_added_later_is_not_measured_on_other_data(tmp_path: Path) -> None:
    store, name = Store.at(tmp_path), save_parts(tmp_path / "parts.npz", 0)
    raw, majority = (plan([name], [find_method(method)], seeds=1) for method in ("raw", "majority"))
    list(carry_out(majority, store, measure))
    before = store.results.read()
    assert left_to_run(raw, store) == raw
    save_parts(tmp_path / "parts.npz", 1)
    with pytest.raises(BenchmarkError, match=r"holds majority on .*parts.npz as the data were then"):
        left_to_run(raw, store)
    assert left_to_run(plan(["GunPoint"], find_methods(("raw",)), 1), store) != []  # other sets are not in question
    (found,) = carry_out(raw, store, measure)  # as of data that were not there before they were measured
    assert (found.status, found.accuracy) == ("failed", None)
    assert "holds rows on" in found.reason
    assert store.results.read() == [*before, found]


def test_data_that_would_have_to_be_downloaded_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def refuse(*where: Any, **_: Any) -> Any:
        asked.append(where)
        raise OSError("offline")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.delenv("TSJEPA_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    digest_of.cache_clear()
    jobs, store = plan(["FordA"], [find_method("raw")], seeds=3), Store.at(tmp_path)
    store.results.append([finish(one).result._replace(data_digest="0a1b") for one in jobs])
    assert left_to_run(jobs, store) == []
    assert not asked
    with pytest.raises(DataError, match="could not be downloaded"):
        load_parts("FordA")
    assert asked
    digest_of.cache_clear()


def test_rows_of_a_run_can_be_dropped(tmp_path: Path) -> None:
    table = Table(tmp_path / "results.csv", Result)
    table.append([row(seed=0), row(seed=1)])
    table.keep(lambda key: key[2] != 0)
    assert [one.seed for one in table.read()] == [1]


# --- going on


def finish(one: Job) -> Outcome:
    result = row(one.data, one.method.name, one.seed, recipe=one.method.digest(), fold=one.fold)
    few = [FewLabels(*one.key, str(budget), 4, draw, 0.5) for budget in one.budgets for draw in range(2)]
    return Outcome(result, tuple(few))


def test_every_run_is_made_once_and_a_stopped_benchmark_goes_on(tmp_path: Path) -> None:
    jobs = plan(["a", "b"], find_methods(("raw", "majority")), seeds=2, folds=2)
    assert len({one.key for one in jobs}) == len(jobs) == 16
    store = Store.at(tmp_path)
    runs = carry_out(left_to_run(jobs, store), store, finish)
    for _ in range(5):
        next(runs)
    runs.close()
    left = left_to_run(jobs, store)
    assert [one.key for one in left] == [one.key for one in jobs[5:]]
    assert len(list(carry_out(left, store, finish))) == 11
    assert left_to_run(jobs, store) == []
    keys = [one[:4] for one in store.results.read()]
    assert sorted(keys) == sorted(one.key for one in jobs)


def test_a_run_that_failed_is_made_again_and_replaces_its_row(tmp_path: Path) -> None:
    jobs, store = plan(["a", "b"], find_methods(("raw",)), seeds=1), Store.at(tmp_path)

    def broken(one: Job) -> Outcome:
        if one.data == "a":
            raise RunError("a is broken.")
        return finish(one)

    found = list(carry_out(left_to_run(jobs, store), store, broken))
    assert [(one.status, one.accuracy, one.reason) for one in found] == [
        ("failed", None, "a is broken."),
        ("ok", 0.5, ""),
    ]
    left = left_to_run(jobs, store)
    assert [one.data for one in left] == ["a"]
    list(carry_out(left, store, finish))
    assert sorted((one.data, one.status) for one in store.results.read()) == [("a", "ok"), ("b", "ok")]


def test_rows_of_a_run_without_its_result_are_dropped(tmp_path: Path) -> None:
    jobs, store = plan(["a"], find_methods(("raw",)), seeds=1, budgets=(LabelBudget("share", 0.5),)), Store.at(tmp_path)
    store.few_labels.append(finish(jobs[0]).few_labels)  # killed before the result was written
    list(carry_out(left_to_run(jobs, store), store, finish))
    assert len(store.few_labels.read()) == 2


def test_draws_that_are_asked_for_later_are_made_and_rows_stay_single(tmp_path: Path) -> None:
    methods, store = find_methods(("raw",)), Store.at(tmp_path)
    list(carry_out(plan(["a"], methods, 1), store, finish))
    more = plan(["a"], methods, 1, budgets=(LabelBudget("per_class", 5),))
    assert left_to_run(more, store) == more
    list(carry_out(more, store, finish))
    assert (len(store.results.read()), len(store.few_labels.read())) == (1, 2)
    assert left_to_run(more, store) == []
    other = plan(["a"], methods, 1, budgets=(LabelBudget("share", 0.2),))
    list(carry_out(left_to_run(other, store), store, finish))
    assert left_to_run(more, store) == left_to_run(other, store) == []  # what was drawn before is still there


@pytest.mark.parametrize("budget", [LabelBudget("share", 0.3333333), LabelBudget("per_class", 1234567)])
def test_draws_of_a_number_of_many_digits_are_made_once(tmp_path: Path, budget: LabelBudget) -> None:
    assert LabelBudget.parse(str(budget)) == budget
    jobs, store = plan(["a"], find_methods(("raw",)), 1, budgets=(budget,)), Store.at(tmp_path)
    store.results.append([finish(jobs[0]).result])
    old = FewLabels(*jobs[0].key, "0.333333", 4, 0, 0.5)  # as it was written before
    store.few_labels.append([old])
    (left,) = left_to_run(jobs, store)
    assert left.budgets == (LabelBudget("share", 0.333333), budget)
    list(carry_out([left], store, finish))
    assert left_to_run(jobs, store) == []
    assert len(store.few_labels.read()) == 4


def test_data_are_told_apart_by_blanks_in_their_paths(tmp_path: Path) -> None:
    jobs, store = plan(["pump  a.npz", "pump a.npz"], find_methods(("raw",)), 1), Store.at(tmp_path)
    list(carry_out(jobs[:1], store, finish))
    assert left_to_run(jobs, store) == jobs[1:]


def test_a_failure_takes_no_result_away(tmp_path: Path) -> None:
    def broken(one: Job) -> Outcome:
        raise RunError("the file is gone.")

    methods, store = find_methods(("raw",)), Store.at(tmp_path)
    list(carry_out(plan(["a"], methods, 1, budgets=(LabelBudget("share", 0.2),)), store, finish))
    before = [table.read() for table in store]
    (found,) = carry_out(
        left_to_run(plan(["a"], methods, 1, budgets=(LabelBudget("per_class", 1),)), store), store, broken
    )
    assert found.status == "failed"
    assert [table.read() for table in store] == before


def test_rows_of_another_recipe_are_not_mixed_in(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    list(carry_out(plan(["a"], [tiny("tiny")], 1), store, finish))
    with pytest.raises(BenchmarkError, match="holds tiny on a made with another recipe"):
        left_to_run(plan(["a"], [find_method("tiny", epochs=2)], 1), store)
    seeds = plan(["a"], [tiny("tiny")], 2)
    assert [one.seed for one in left_to_run(seeds, store)] == [1]


PROGRAM = """
import sys
from pathlib import Path
from tsjepa.evaluation.benchmark import Store, carry_out, plan
from tsjepa.evaluation.benchmark_methods import find_methods
from tsjepa.evaluation.benchmark_run import measure

if __name__ == "__main__":
    jobs = plan(["GunPoint", "ItalyPowerDemand"], find_methods(("raw", "majority")), seeds=2, device="cpu")
    for row in carry_out(jobs, Store.at(Path(sys.argv[1])), measure):
        print(row.data, flush=True)
"""


def test_a_kill_in_the_middle_costs_one_run_at_most_and_the_rest_goes_on(tmp_path: Path) -> None:
    program, store = tmp_path / "program.py", Store.at(tmp_path)
    program.write_text(PROGRAM)
    process = subprocess.Popen([sys.executable, "-P", str(program), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as told:
        for _ in range(3):
            assert told.readline()
        process.kill()
        process.wait()
    before = store.results.read()
    assert len(before) >= 3
    with store.results.path.open("ab") as file:
        file.write(b"ItalyPowerDemand,raw,1,0,0.93")  # as a kill in the middle of a line would leave it
    jobs = plan(["GunPoint", "ItalyPowerDemand"], find_methods(("raw", "majority")), seeds=2, device="cpu")
    list(carry_out(left_to_run(jobs, store), store, measure))
    after = store.results.read()
    assert after[: len(before)] == before
    assert sorted(one[:4] for one in after) == sorted(one.key for one in jobs)
    # neither method has anything random
    for one in after:
        assert {other.accuracy for other in after if other[:2] == one[:2]} == {one.accuracy}


# --- processes


def test_a_run_has_a_process_of_its_own() -> None:
    assert call(abs, -2) == 2
    with pytest.raises(RunError, match="invalid literal for int"):
        call(int, "pump")
    with pytest.raises(RunError, match="ended early with exit code 3"):
        call(os._exit, 3)
    with pytest.raises(RunError, match="ended by SIGKILL, perhaps for lack of memory"):
        call(signal.raise_signal, signal.SIGKILL)


def test_data_that_fail_are_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    broken = tmp_path / "Broken" / "Broken_TRAIN.ts"
    broken.parent.mkdir()
    broken.write_text("@problemName Broken\n@data\nthis is no number:1\n")
    jobs, store = (
        plan([str(broken.parent), "GunPoint"], find_methods(("majority",)), 1, device="cpu"),
        Store.at(tmp_path),
    )
    found = list(carry_out(left_to_run(jobs, store), store))
    assert [one.status for one in found] == ["failed", "ok"]
    assert "Broken_TRAIN.ts" in found[0].reason
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [line["status"] for line in csv.DictReader(file)] == ["failed", "ok"]


def test_a_numeric_target_and_a_missing_test_part_are_refused(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(8, 1, 20))
    np.savez(tmp_path / "pump.npz", X_train=X, y_train=np.linspace(0.1, 1, 8), X_test=X, y_test=np.linspace(0.1, 1, 8))
    with pytest.raises(BenchmarkError, match="numeric target"):
        load_parts(str(tmp_path / "pump.npz"))
    np.savez(tmp_path / "pump.npz", X_train=X, y_train=np.arange(8) % 2)
    with pytest.raises(BenchmarkError, match="without a test part: put it beside the training part"):
        load_parts(str(tmp_path / "pump.npz"))
    np.savez(tmp_path / "pump.npz", X_train=X, y_train=np.arange(8) % 2, X_test=X)
    with pytest.raises(BenchmarkError, match="both parts need labels"):
        load_parts(str(tmp_path / "pump.npz"))


def test_a_failed_row_holds_no_number() -> None:
    found = failed(job(), "no labels.")
    assert (found.status, found.accuracy, found.fit_seconds) == ("failed", None, None)
