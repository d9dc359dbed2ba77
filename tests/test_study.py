"""Runs of a collapse study: measured from start to end, planned once each, and kept in a table."""

import math
from pathlib import Path

import numpy as np
import pytest
from studies import make_run, subject

from tsjepa.arrays import as_series
from tsjepa.evaluation.benchmark_table import Table
from tsjepa.evaluation.claims import judge_claims
from tsjepa.evaluation.recorder import PROBED, Subject, choose
from tsjepa.evaluation.rows import BASE, Arm, Measurement, StudyError, runs_of
from tsjepa.evaluation.study import FULL, QUICK, Settings, carry_out, make_schedule, plan


def test_the_table_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [row for run in (make_run(), make_run(Arm(0.9, "block", 0.3), 1)) for row in run.curve]
    table = Table(tmp_path / "study.csv", Measurement)
    table.append(rows)
    back = table.read()
    assert repr(back) == repr(rows)  # nan is not itself
    assert [run[:3] for run in runs_of(back)] == [("pump", BASE, 0), ("pump", Arm(0.9, "block", 0.3), 1)]


TINY = Settings(4, 2, 2, (Arm(0.5), Arm(0.9, "block", 0.5)))


def test_steps_become_epochs() -> None:
    assert make_schedule(subject(n=100), Settings(10, 4, 1, ())) == (3, 1, 4)
    assert make_schedule(subject(n=100), FULL).steps == 3600
    assert len(FULL.arms) == len(set(FULL.arms))
    assert set(QUICK.arms) <= set(FULL.arms)


def test_a_run_is_measured_from_the_start_to_the_end() -> None:
    (rows,) = carry_out(plan([subject()], TINY._replace(seeds=1, arms=(Arm(0.9, "bernoulli", 0.5),), steps=5)))
    assert [row.step for row in rows] == [0, 2, 4, 5]
    assert math.isnan(rows[0].loss)
    assert rows[0].gap == 0 < rows[1].gap
    assert all(0.3 <= row.probe <= 1 and row.effective_rank > 1 and row.loss > 0 for row in rows[1:])
    assert {row[:5] for row in rows} == {("pump", 0.9, "bernoulli", 0.5, 0)}


def test_arms_of_a_seed_start_from_the_same_weights_and_seeds_differ() -> None:
    first, second, other, _ = carry_out(plan([subject()], TINY))
    assert first[0].effective_rank == second[0].effective_rank != other[0].effective_rank
    assert first[0].probe == second[0].probe
    assert first[1].loss != second[1].loss


def test_without_labels_the_probe_is_unknown() -> None:
    (rows,) = carry_out(plan([subject()._replace(labels=None)], TINY._replace(seeds=1, arms=(BASE,), steps=1)))
    assert all(math.isnan(row.probe) for row in rows)
    assert judge_claims(runs_of(rows))


def test_the_probe_looks_at_series_that_have_a_label() -> None:
    whole = subject()
    labels = np.where(np.arange(24) % 3 == 0, -1, whole.labels)
    found = choose(whole._replace(labels=labels))
    assert found.labels is not None
    assert found.labels.tolist() == labels[labels >= 0].tolist()
    np.testing.assert_array_equal(found.series.values, whole.series.values[labels >= 0])


def test_the_probe_looks_at_so_many_series() -> None:
    many = Subject("many", as_series(np.zeros((PROBED + 5, 4))), np.arange(PROBED + 5))
    chosen = choose(many)
    assert chosen.labels is not None
    assert (chosen.series.n_cases, len(set(chosen.labels))) == (PROBED, PROBED)


def test_a_rare_class_is_among_the_series_that_the_probe_looks_at() -> None:
    labels = np.repeat(["calm", "worn", "torn"], [6 * PROBED - 12, 10, 2])
    many = Subject("many", as_series(np.zeros((len(labels), 4))), labels)
    chosen, again = choose(many), choose(many)
    assert chosen.labels is not None
    assert again.labels is not None
    assert [int((chosen.labels == name).sum()) for name in ("calm", "worn", "torn")] == [PROBED - 3, 2, 1]
    np.testing.assert_array_equal(chosen.labels, again.labels)


def test_a_class_of_one_series_does_not_end_the_probe() -> None:
    made = subject()
    assert made.labels is not None
    labels = np.where(np.arange(len(made.labels)) == 3, 2, made.labels)
    (rows,) = carry_out(plan([made._replace(labels=labels)], TINY._replace(seeds=1, arms=(BASE,), steps=1)))
    assert all(0 < row.probe <= 1 for row in rows)


def test_finished_runs_are_not_planned_again() -> None:
    every = plan([subject()], TINY)
    assert [(job.arm, job.seed) for job in every] == [(arm, seed) for seed in (0, 1) for arm in TINY.arms]
    rows = next(carry_out(every))
    left = plan([subject()], TINY, rows)
    assert [(job.arm, job.seed) for job in left] == [(job.arm, job.seed) for job in every[1:]]
    # more seeds make a study longer, other lengths make it another one
    assert len(plan([subject()], TINY._replace(seeds=5), rows)) == 9
    with pytest.raises(StudyError, match="holds runs of 4 steps on pump, but those now asked for have 9"):
        plan([subject()], TINY._replace(steps=9), rows)
    with pytest.raises(StudyError, match="measured after 2 steps, but those now asked for are after 4"):
        plan([subject()], TINY._replace(interval=4), rows)
    with pytest.raises(StudyError, match="two data sets have the same name"):
        plan([subject(), subject()], TINY)


def test_runs_on_other_data_of_the_same_name_are_not_taken_for_finished(tmp_path: Path) -> None:
    pump, settings = subject(), TINY._replace(seeds=1, steps=1)
    rows = next(carry_out(plan([pump], settings)))
    table = Table(tmp_path / "study.csv", Measurement)
    table.append(rows)
    assert len(plan([pump], settings, table.read())) == 1
    labels = pump.labels
    assert labels is not None
    for other in (pump._replace(series=as_series(-pump.series.values)), pump._replace(labels=1 - labels)):
        with pytest.raises(StudyError, match="on pump that were trained on other series or labels than pump has"):
            plan([other], settings, rows)
        assert len(plan([other._replace(name="fan")], settings, rows)) == 2
    # a table without digests goes on as it is
    old = [line.rpartition(",")[0] + "\n" for line in table.path.read_text().splitlines()]
    table.path.write_text("".join(old))
    assert len(plan([pump._replace(labels=1 - labels)], settings, table.read())) == 1
