"""Transfer: what is pretrained on what, who is scored on what, and rows that go on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transfers import TINY, job, named, parts

from tsjepa.arrays import Series
from tsjepa.build import build_model, configure, resolve
from tsjepa.checkpoint import Header, save_checkpoint
from tsjepa.evaluation import benchmark_check, benchmark_features, benchmark_transfer
from tsjepa.evaluation.benchmark_features import warm_up
from tsjepa.evaluation.benchmark_join import join
from tsjepa.evaluation.benchmark_methods import Method, find_method
from tsjepa.evaluation.benchmark_run import Parts
from tsjepa.evaluation.benchmark_table import BenchmarkError
from tsjepa.evaluation.benchmark_transfer import (
    ALL,
    BEARINGS,
    Outcome,
    Recording,
    Transferred,
    TransferStore,
    bearing_jobs,
    carry_out_transfers,
    failures,
    measure_transfer,
    transfer_jobs,
    transfer_left,
)
from tsjepa.evaluation.benchmark_transfer_summary import draws_of, transfer_figures, transfer_means, transfer_summary
from tsjepa.finetuning import Tuning


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make every name a small data set of its own, and tell which were loaded."""
    names: list[str] = []

    def load(name: str, **_: Any) -> Parts:
        names.append(name)
        return named(name)

    monkeypatch.setattr(benchmark_transfer, "load_parts", load)
    return names


def test_the_bearing_protocol_has_twelve_pairs_and_never_pretrains_on_its_target() -> None:
    jobs = bearing_jobs([TINY], seeds=1)
    pairs = [pair for one in jobs for pair in one.pairs]
    assert len(set(pairs)) == len(pairs) == 12
    for one in jobs:
        targets = {target for _, target in one.pairs}
        assert len(targets) == 1
        assert set(one.pretrain_on) == set(BEARINGS) - targets == {fit_on for fit_on, _ in one.pairs}
        assert one.whole_target


def test_a_pretrained_encoder_sees_the_sources_alone(loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Series] = []
    real = benchmark_transfer.pretrain

    def pretrain(config: Any, series: Series, device: str, **more: Any) -> Any:
        seen.append(series)
        return real(config, series, device, **more)

    monkeypatch.setattr(benchmark_transfer, "pretrain", pretrain)
    found = measure_transfer(job())
    (series,) = seen
    np.testing.assert_array_equal(series.values, parts(seed=ord("a")).known.train.values)
    assert loaded == ["a", "b"]
    (everything, *few) = found.scores
    assert (everything.labels, everything.n_labels, everything.n_test) == ("all", 12, 12)
    assert [(one.labels, one.n_labels, one.draw) for one in few] == [("1/class", 3, draw) for draw in range(20)]


def test_methods_without_pretraining_load_no_source(loaded: list[str]) -> None:
    measure_transfer(job(find_method("raw"), per_class=()))
    assert loaded == ["b"]


def test_all_windows_of_a_bearing_target_are_scored_and_by_recording(loaded: list[str]) -> None:
    one = job(find_method("raw"), pairs=(("a", "c"), ("b", "c")), whole_target=True, per_class=())
    found = measure_transfer(one)
    assert [(row.fit_on, row.target, row.n_test) for row in found.scores] == [("a", "c", 24), ("b", "c", 24)]
    assert [row.n_windows for row in found.recordings] == [8] * 6
    for row in found.scores:
        own = [other.accuracy for other in found.recordings if other.fit_on == row.fit_on]
        assert np.mean(own) == pytest.approx(row.accuracy)


def test_sources_of_different_length_and_channels_are_joined(loaded: list[str]) -> None:
    found = measure_transfer(job(pretrain_on=("a", "long", "pair"), per_class=()))
    assert found.scores[0].pretrain_on == "a+long+pair"
    assert found.scores[0].accuracy is not None


def test_joined_series_are_filled_up_with_missing_points() -> None:
    short, long = parts(channels=2, length=5).known.train, parts(length=8).known.train
    joined = join([short, long])
    assert joined.values.shape == (36, 1, 8)
    assert joined.valid is not None
    np.testing.assert_array_equal(joined.values[:24, 0, :5], short.values.reshape(24, 5))
    assert joined.valid[:24, 0].sum(1).tolist() == [5] * 24
    assert joined.valid[24:].all()
    assert join([long, long]).valid is None
    assert join([short, short], mixed=True).values.shape == (24, 2, 5)
    with pytest.raises(BenchmarkError, match="1 and 2 channels"):
        join([short, long], mixed=True)


def test_a_transfer_goes_on_and_does_not_mix_recipes(tmp_path: Path, loaded: list[str]) -> None:
    store, raw = TransferStore.at(tmp_path), find_method("raw")
    jobs = transfer_jobs(("a",), ["b", "c"], [raw, find_method("majority")], seeds=1, per_class=(1,), device="cpu")
    assert transfer_left(jobs, store) == jobs
    store.scores.append(measure_transfer(jobs[0]).scores)
    assert transfer_left(jobs, store) == jobs[1:]
    assert transfer_left([jobs[0]._replace(per_class=(1, 2))], store) != []
    other = jobs[0]._replace(method=Method("raw", "catch22"))
    for one in (other, other._replace(seed=1), other._replace(pairs=(("d", "d"),)), other._replace(pretrain_on=("e",))):
        with pytest.raises(BenchmarkError, match="made with another recipe"):  # the mean would be one of two recipes
            transfer_left([one], store)
    assert transfer_left([jobs[0]._replace(pairs=(("d", "d"),))], store) != []


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("per_class", [(1,), (1, 100)])
def test_a_write_that_was_cut_short_is_made_again(tmp_path: Path, per_class: tuple[int, ...]) -> None:
    store = TransferStore.at(tmp_path)
    jobs = transfer_jobs(("a",), ["b", "c"], [find_method("raw")], seeds=1, per_class=per_class, device="cpu")
    outcome = measure_transfer(jobs[0])
    store.commit(outcome)
    whole, rows = store.scores.path.read_bytes(), store.scores.read()
    assert transfer_left(jobs, store) == []
    lines = whole.splitlines(keepends=True)
    for n in range(1, len(lines)):
        for rest in (b"", lines[n][:-1]):
            store.scores.path.write_bytes(b"".join(lines[:n]) + rest)
            left = transfer_left(jobs, store)
            assert [target for job in left for _, target in job.pairs] == (["c"] if n > len(rows) // 2 else ["b", "c"])
    store.commit(Outcome(tuple(row for row in outcome.scores if row.target == "c")))
    assert store.scores.read() == rows


def test_a_transfer_is_not_mixed_with_one_of_other_data(
    tmp_path: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def now(seeds: dict[str, int]) -> None:
        digests = {name: parts(seed=seed).digest for name, seed in seeds.items()}
        monkeypatch.setattr(benchmark_check, "digest_of", lambda name, _: digests.get(name))

    store, raw = TransferStore.at(tmp_path), job(find_method("raw"))
    store.scores.append(measure_transfer(job()).scores)
    same = {"a": ord("a"), "b": ord("b")}
    for known in (same, {"a": ord("a")}, {"b": 0}):  # where one is not at hand, nothing is compared
        now(known)
        assert transfer_left([raw], store) == [raw]
    for changed in ("a", "b"):
        now({**same, changed: 0})
        with pytest.raises(BenchmarkError, match="holds tiny on a, b as the data were then"):
            transfer_left([raw], store)
        assert transfer_left([raw._replace(pairs=(("c", "c"),))], store) != []
    (tmp_path / "other").mkdir()
    other = TransferStore.at(tmp_path / "other")
    other.scores.append(measure_transfer(raw).scores)
    now({**same, "a": 0})
    assert transfer_left([job(), raw], other) == [job()]  # raw values do not look at the source


@pytest.mark.usefixtures("broken")
def test_a_checkpoint_that_changes_or_goes_fails_its_own_runs(tmp_path: Path) -> None:
    path, store = tmp_path / "a.ckpt", TransferStore.at(tmp_path)
    config = resolve(configure("tiny"), 40)
    save_checkpoint(path, build_model(config, 1), Header(config, None, 1, 40))
    jobs = transfer_jobs(("a",), ["b"], [find_method(str(path)), find_method("raw")], 3, (1,), device="cpu")
    runs = carry_out_transfers(jobs, store)
    assert [next(runs).status, next(runs).status] == ["ok", "ok"]
    path.write_bytes(path.read_bytes() + b"0")
    changed = next(runs)
    assert (changed.status, changed.recipe) == ("failed", jobs[0].method.digest)
    assert "has changed since the benchmark began" in changed.reason
    assert next(runs).status == "ok"
    path.unlink()
    gone, other = runs
    assert (gone.status, other.status) == ("failed", "ok")
    assert "cannot be read any more" in gone.reason


@pytest.mark.parametrize("name", ["tiny", "raw", "supervised"])
def test_the_first_call_of_a_method_is_made_before_the_clock_starts(
    name: str, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def noted(method: Method, series: Series, device: str) -> None:
        events.append(f"warm up behind {', '.join(loaded)}")
        warm_up(method, series, device)

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            events.append("clock")
            return 0.0

    monkeypatch.setattr(benchmark_features, "FROM_SCRATCH", Tuning(epochs=1, min_steps=1))
    monkeypatch.setattr(benchmark_transfer, "warm_up", noted)
    monkeypatch.setattr(benchmark_transfer, "time", Clock)
    measure_transfer(job(find_method(name, "tiny", epochs=1), per_class=()))
    assert events == [f"warm up behind {'a' if name == 'tiny' else 'b'}", "clock", "clock"]


def test_the_order_of_methods_and_pairs_is_that_of_the_command_whatever_failed_before(tmp_path: Path) -> None:
    store, methods = TransferStore.at(tmp_path), [TINY, find_method("raw")]
    jobs = transfer_jobs(("a",), ["b", "c"], methods, seeds=1, per_class=(), device="cpu")
    asked = [(method, pair) for method in ("tiny", "raw") for pair in ("bb", "cc")]
    for method, pair in (("raw", "dd"), asked[3], asked[1], asked[2], asked[0]):  # as they were made or repaired
        store.commit(Outcome((scored(method, 0.5, pair=pair),)))
    found, recordings = store.read(jobs)
    assert [(row.method, row.fit_on + row.target) for row in found] == [*asked, ("raw", "dd")]
    assert recordings == []


def test_failures_are_rows_and_run_again(tmp_path: Path) -> None:
    store, one = TransferStore.at(tmp_path), job()
    store.scores.append(tuple(failures(one, "no data.")))
    assert transfer_left([one], store) == [one]
    rows = store.scores.read()
    assert transfer_means(rows) == {"tiny": {"mean_accuracy": None, "n_data": 0}}
    assert "- a, head on b, target b, tiny, seed 0: no data." in transfer_summary(rows, [])


def test_the_summary_has_means_pairs_and_recordings(loaded: list[str]) -> None:
    one = job(find_method("raw"), pairs=(("a", "c"),), whole_target=True, per_class=())
    found: Outcome = measure_transfer(one)
    text = transfer_summary(found.scores, found.recordings, transfer_figures(found.scores).missing)
    accuracy = found.scores[0].accuracy
    assert f"| raw | {accuracy:.4f} | 1 |" in text
    assert f"| a | a | c | {accuracy:.4f} |" in text
    assert text.count("| a | c |") == 4
    assert "no few-label curve" in text
    few = measure_transfer(job(find_method("raw"))).scores
    assert set(transfer_figures(few).figures) == {"few-labels-b"}
    assert "1/class (1)" in transfer_summary(few, [])


def scored(
    method: str, accuracy: float, source: str = "a", pair: str = "bb", seed: int = 0, labels: str = ALL, draw: int = 0
) -> Transferred:
    where = (source, method, seed, pair[0], pair[1], labels, draw)
    return Transferred(*where, 10, 20, accuracy, 100 * accuracy, 1.0, "ok", "", "digest", "tsjepa 0")


def test_sources_are_not_mixed() -> None:
    rows = [scored(method, accuracy, source, labels=labels)
            for source, tiny, raw in (("a", 0.9, 0.8), ("c", 0.3, 0.5))
            for method, accuracy in (("tiny", tiny), ("raw", raw))
            for labels in (ALL, "1/class")]  # fmt: skip
    text = transfer_summary(rows, [])
    first, second = text.split("## Pretrained on c\n")
    assert "## Pretrained on a\n" in first
    for part, tiny, raw, gain in ((first, 0.9, 0.8, "+0.1000"), (second, 0.3, 0.5, "-0.2000")):
        assert f"| tiny | {tiny:.4f} | 1 |" in part
        assert f"| tiny | {tiny:.4f} |\n| raw | {raw:.4f} |" in part
        assert f"| raw | {gain} |" in part
    assert transfer_means(rows)["tiny"] == {"mean_accuracy": pytest.approx(0.6), "n_data": 2}
    assert set(transfer_figures(rows).figures) == {"few-labels-b-from-a", "few-labels-b-from-c"}


def test_the_bearing_protocol_is_one_section() -> None:
    text = transfer_summary([scored("raw", 0.5, "b", "ba"), scored("raw", 0.7, "a", "ab")], [])
    assert "| raw | 0.6000 | 2 | 60.0 |" in text
    assert "Pretrained on" not in text


def test_few_labels_of_the_bearing_protocol_are_told_by_pair() -> None:
    rows = [scored(method, accuracy, source, pair, labels=labels, draw=draw)
            for source, pair, shift in (("b+c", "ba", 0.0), ("b+c", "ca", 0.1), ("a+c", "ab", 0.2))
            for method, of_method in (("tiny", 0.5), ("raw", 0.4))
            for labels, draws in ((ALL, 1), ("1/class", 4), ("5/class", 4))
            for draw, accuracy in enumerate([of_method + shift] * draws)]  # fmt: skip
    text = transfer_summary(rows, [])
    few = text[text.index("## Few labels a class") :]
    note = few.split("\n\n")[1]
    assert note.startswith("Means over pairs, seeds and 4 draws, stratified, at least one a class, the same for every ")
    assert note.endswith("In brackets, how many pairs have so many labels of every class and a result of every method.")
    assert "| method | 1/class (3) | 5/class (3) |" in few
    assert "| tiny | 0.6000 | 0.6000 |\n| raw | 0.5000 | 0.5000 |" in few
    assert "| raw | +0.1000 ± 0.0000 | +0.1000 ± 0.0000 |" in few
    assert {row.data for row in draws_of(rows)} == {"b to a", "c to a", "a to b"}
    small = [row if row.labels == ALL else row._replace(accuracy=None) for row in rows]
    said = "No pair has so many labels of every class: 1/class, 5/class."
    assert f"## Few labels a class\n\n{said}\n" in transfer_summary(small, [])
    apart = [row for row in rows if row.labels != ("1/class" if row.method == "raw" else "5/class")]
    assert "No pair has draws of so many labels of every method: 1/class, 5/class." in transfer_summary(apart, [])


def test_targets_of_one_head_share_its_draws_so_that_more_of_them_make_no_interval_narrower() -> None:
    def told(*pairs: str) -> str:
        rows = [scored(method, accuracy, "s", pair, labels="1/class", draw=draw)
                for pair in pairs for method, slope in (("tiny", 0.05), ("raw", 0.03))
                for draw, accuracy in enumerate(0.5 + slope * np.arange(4))]  # fmt: skip
        return transfer_summary(rows, [])

    half = 1.96 * np.std(0.02 * np.arange(4), ddof=1) / 2
    for pairs in (["ba"], ["ba", "bc", "bd"]):
        text = told(*pairs)
        assert f"| method | 1/class ({len(pairs)}) |" in text
        assert f"| raw | +0.0300 ± {half:.4f} |" in text
    assert f"| raw | +0.0300 ± {half / np.sqrt(2):.4f} |" in told("ba", "bc", "ca", "cb")
    assert f"| raw | +0.0300 ± {half * np.hypot(2, 1) / 3:.4f} |" in told("ba", "bc", "ca")  # pairs count alike


def test_methods_are_compared_on_the_pairs_and_seeds_that_all_have() -> None:
    rows = [scored("tiny", 0.9), scored("tiny", 0.5, seed=1), scored("tiny", 0.1, pair="cc"), scored("raw", 0.8)]
    rows += [scored("tiny", 0.2, labels="1/class", draw=draw) for draw in range(20)]
    rows.append(scored("catch22", 0.0)._replace(accuracy=None, effective_rank=None, status="failed", reason="no."))
    assert transfer_means(rows)["catch22"] == {"mean_accuracy": None, "n_data": 0}
    text = transfer_summary(rows, [])
    assert "| tiny | 0.9000 | 1 | 90.0 |\n| raw | 0.8000 | 1 | 80.0 |" in text
    assert "| a | b | b | 0.9000 | 0.8000 | - |\n| a | c | c | 0.1000 | - | - |" in text
    even = [scored("tiny", 0.4, seed=seed) for seed in range(3)] + [scored("tiny", 0.8, pair="cc")]
    assert transfer_means(even)["tiny"]["mean_accuracy"] == pytest.approx(0.6)  # pairs count alike
    recordings = [Recording("b", method, seed, "b", "a", 0, 8, 0.5 + 0.2 * seed)
                  for method, seed in (("tiny", 0), ("tiny", 1), ("raw", 0))]  # fmt: skip
    bearing = [scored(method, 0.5, "b", "ba") for method in ("tiny", "raw")]
    assert "| b | a | 0 | 8 | 0.500 | 0.500 |" in transfer_summary(bearing, recordings)


@pytest.fixture
def broken(loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs in this process; the data set `bad` cannot be loaded."""
    load = benchmark_transfer.load_parts

    def refuse(name: str, **more: Any) -> Parts:
        if name == "bad":
            raise BenchmarkError("bad has one class.")
        return load(name, **more)

    monkeypatch.setattr(benchmark_transfer, "load_parts", refuse)
    monkeypatch.setattr(benchmark_transfer, "call", lambda function, one, fork: function(one))


@pytest.mark.usefixtures("broken")
def test_a_pair_that_fails_leaves_the_others_and_its_reason_is_its_own(tmp_path: Path) -> None:
    store, raw = TransferStore.at(tmp_path), find_method("raw")
    jobs = transfer_jobs(("a",), ["bad", "b"], [raw], seeds=1, per_class=(1,), device="cpu")
    assert [row.status for row in carry_out_transfers(jobs, store)] == ["failed", "ok"]
    (left,) = transfer_left(jobs, store)
    assert left.pairs == (("bad", "bad"),)
    text = transfer_summary(store.scores.read(), [])
    assert text.count("head on bad, target bad, raw, seed 0: bad has one class.") == 1
    assert "head on b," not in text


@pytest.mark.usefixtures("broken")
def test_a_failure_is_stored_beside_results_and_takes_none_away(tmp_path: Path) -> None:
    store, raw = TransferStore.at(tmp_path), find_method("raw")
    (good,) = transfer_jobs(("a",), ["b"], [raw], seeds=1, per_class=(1,), device="cpu")
    list(carry_out_transfers([good], store))
    before = store.scores.read()
    (bad,) = transfer_left([good._replace(pairs=(("bad", "bad"),))], store)
    assert [row.target for row in carry_out_transfers([bad], store)] == ["bad"]
    store.commit(Outcome(tuple(failures(good, "no data."))))
    rows = store.scores.read()
    assert rows[:-1] == before
    assert (rows[-1].target, rows[-1].reason) == ("bad", "bad has one class.")
    (more,) = transfer_left([good._replace(pairs=(("bad", "bad"), ("b", "b")), per_class=(2,))], store)
    assert more.per_class == (1, 2)  # what is there is made again, and not lost
    assert {row.labels for row in measure_transfer(more).scores if row.target == "b"} == {"all", "1/class", "2/class"}
