"""The benchmark: a kill costs one run, a bad data set costs itself, the same command goes on."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_rows import job, row, tiny

from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header, save_checkpoint
from tsjepa.datasets import DataError
from tsjepa.evaluation.benchmark import Store, carry_out, failed, left_to_run, plan
from tsjepa.evaluation.benchmark_check import digest_of
from tsjepa.evaluation.benchmark_labels import LabelBudget
from tsjepa.evaluation.benchmark_methods import find_method, find_methods
from tsjepa.evaluation.benchmark_process import RunError, call
from tsjepa.evaluation.benchmark_run import Job, Outcome, load_parts, measure
from tsjepa.evaluation.benchmark_table import BenchmarkError, FewLabels

# --- going on


def finish(one: Job) -> Outcome:
    result = row(one.data, one.method.name, recipe=one.method.digest, seed=one.seed, fold=one.fold)
    few = [FewLabels(*one.key, str(budget), 4, draw, 0.5) for budget in one.budgets for draw in range(2)]
    return Outcome(result, tuple(few))


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


def test_rows_of_another_recipe_are_not_mixed_in_on_other_data_or_seeds(tmp_path: Path) -> None:
    """The mean over data sets and seeds would be one of two recipes."""
    store, methods, longer = Store.at(tmp_path), find_methods(("tiny", "raw"), epochs=1), find_method("tiny", epochs=2)
    list(carry_out(plan(["a"], methods, 1), store, finish))
    store.results.append([row("b", "tiny", None, recipe="of before")])  # a failure has no part in a mean
    for jobs in (plan(["b"], [longer], 1), plan(["a"], [longer], 2)[1:]):
        with pytest.raises(BenchmarkError, match="holds tiny on a made with another recipe"):
            left_to_run(jobs, store)
    others = (plan(["b"], methods, 1), plan(["a"], methods, 2)[2:], plan(["b"], find_methods(("raw", "majority")), 1))
    assert all(left_to_run(jobs, store) == jobs for jobs in others)


def test_the_order_of_methods_and_data_is_that_of_the_command_whatever_failed_before(tmp_path: Path) -> None:
    """The first method is what all others are compared with."""
    store, budgets = Store.at(tmp_path), (LabelBudget("per_class", 1),)
    jobs = plan(["a", "b"], find_methods(("tiny", "raw")), 1, budgets=budgets)

    def broken(one: Job) -> Outcome:
        if one.key[:2] == ("a", "tiny"):
            raise RunError("no memory.")
        return finish(one)

    store.commit(finish(plan(["c"], find_methods(("majority",)), 1)[0]), again=False)
    for carry in (broken, finish):
        list(carry_out(left_to_run(jobs, store), store, carry))
        results, few, levels = store.read(jobs)
        asked = [("a", "tiny"), ("b", "tiny"), ("a", "raw"), ("b", "raw")]
        assert [one[:2] for one in results] == [*asked, ("c", "majority")]
    assert list(dict.fromkeys(one[:2] for one in few)) == asked
    assert levels == []


def test_a_run_that_is_killed_while_its_rows_are_written_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, store = plan(["a"], find_methods(("raw",)), seeds=1, budgets=(LabelBudget("share", 0.5),)), Store.at(tmp_path)

    def killed(rows: Any) -> None:
        raise KeyboardInterrupt

    for table in store:
        with monkeypatch.context() as patch:
            patch.setattr(table, "append", killed)
            with pytest.raises(KeyboardInterrupt):
                store.commit(finish(jobs[0]), again=False)
        assert left_to_run(jobs, store) == jobs
    list(carry_out(jobs, store, finish))
    assert (len(store.results.read()), len(store.few_labels.read())) == (1, 2)


def save_encoder(path: Path, seed: int) -> None:
    config = resolve(configure("tiny", overrides=[f"train.seed={seed}"]), 150)
    save_checkpoint(path, build_model(config, 1), Header(config, None, 1, 150))


@pytest.mark.parametrize("when", ["between the runs", "during a run"])
def test_a_checkpoint_that_is_written_over_fails_the_runs_that_would_mix_two_encoders(
    tmp_path: Path, when: str
) -> None:
    path, store, made = tmp_path / "a.ckpt", Store.at(tmp_path), []
    save_encoder(path, 0)
    jobs = plan(["GunPoint", "ItalyPowerDemand"], find_methods((str(path), "majority")), 1, device="cpu")

    def carry(one: Job) -> Outcome:
        made.append(one.key[:2])
        outcome = measure(one) if one.data == "GunPoint" else finish(one)
        if one.key == jobs[0 if when == "during a run" else 1].key:
            save_encoder(path, 1)
        return outcome

    found = list(carry_out(jobs, store, carry))
    bad = ["failed", "ok", "failed", "ok"] if when == "during a run" else ["ok", "ok", "failed", "ok"]
    assert [one.status for one in found] == bad
    assert f"{path} has changed since the benchmark began" in found[2].reason
    assert jobs[2].key[:2] not in made  # nor is anything computed in vain
    assert {one.recipe for one in found if one.method == str(path)} == {jobs[0].method.digest}
    if when == "between the runs":
        with pytest.raises(BenchmarkError, match=r"a.ckpt on GunPoint made with another recipe, checkpoint or number"):
            left_to_run(plan(["GunPoint", "ItalyPowerDemand"], find_methods((str(path),)), 1), store)


def test_a_checkpoint_that_is_gone_fails_its_own_runs_and_the_rest_goes_on(tmp_path: Path) -> None:
    path, store = tmp_path / "a.ckpt", Store.at(tmp_path)
    save_encoder(path, 0)
    jobs = plan(["a", "b"], find_methods((str(path), "raw")), 1)

    def carry(one: Job) -> Outcome:
        path.unlink(missing_ok=True)
        if one.method.checkpoint:
            raise RunError(f"there is no checkpoint {path}.")
        return finish(one)

    found = list(carry_out(jobs, store, carry))
    assert [one.status for one in found] == ["failed", "ok", "failed", "ok"]
    assert found[0].reason == f"there is no checkpoint {path}."
    assert found[2].reason == f"{path} cannot be read any more: No such file or directory."
    assert store.results.read() == found


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
