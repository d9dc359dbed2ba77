"""The collapse study: claims from curves made by hand, a table that survives a stop, and the command end to end."""

import base64
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from matplotlib.axes import Axes
from typer.testing import CliRunner, Result

from tsjepa.arrays import as_series
from tsjepa.build import build_model
from tsjepa.cli import study as command
from tsjepa.cli.locking import LOCK
from tsjepa.cli.main import app
from tsjepa.evaluation import study
from tsjepa.evaluation.claims import NO_PROBE, Claim, judge_claims
from tsjepa.evaluation.curves import by_probe, escape_step, in_phase, label_free, mean_gap, phase_steps, spearman
from tsjepa.evaluation.recorder import PROBED, Subject, choose
from tsjepa.evaluation.rows import BASE, Arm, Measurement, Run, StudyError, from_csv, runs_of, to_csv
from tsjepa.evaluation.study import FULL, QUICK, Settings, carry_out, make_schedule, plan
from tsjepa.evaluation.study_figures import figures, image, safe
from tsjepa.evaluation.study_page import page
from tsjepa.evaluation.votes import settle, vote, wider
from tsjepa.objective import JEPA

NAMES = (
    "exists",
    "ends",
    "gap_over_time",
    "gap_over_arms",
    "decay_prolongs",
    "decay_shrinks_gap",
    "decay_matters",
    "ratio_delays",
    "block_varies",
)
DECAYS = (0.9, 0.99, 0.996, 0.998, 0.999)


def make_run(
    arm: Arm = BASE,
    seed: int = 0,
    probe: Sequence[float] = (0.8, 0.8, 0.8, 0.8, 0.8),
    gap: Sequence[float] = (0.0, 1.0, 1.0, 1.0, 1.0),
    loss: Sequence[float] = (math.nan, 1.0, 0.8, 0.6, 0.5),
    rank: Sequence[float] = (10.0, 10.0, 10.0, 10.0, 10.0),
    every: int = 1000,
    data: str = "pump",
) -> Run:
    rows = zip(loss, probe, gap, rank, strict=True)
    curve = [
        Measurement(data, *arm, seed, 10 * k, every * k, one, p, g, g, r, 0.01 * (k > 0))
        for k, (one, p, g, r) in enumerate(rows)
    ]
    return Run(data, arm, seed, tuple(curve))


def dip(length: int, points: int = 6) -> dict[str, Any]:
    """Return curves whose probe is below its start for `length` measurements from the second one on."""
    probe = [0.8, 0.8, *[0.7] * length, *[0.85] * (points - 2 - length)]
    loss = [math.nan, *np.linspace(1, 0.5, points - 1)]
    return {"probe": probe, "loss": loss, "gap": [0.0, *[1.0] * (points - 1)], "rank": [10.0] * points}


def judged(runs: Sequence[Run]) -> dict[str, Claim]:
    return dict(zip(NAMES, judge_claims(runs), strict=True))


def by_decay(make: Callable[[int, Arm, int], Run]) -> list[Run]:
    return [make(place, Arm(decay), seed) for seed in range(3) for place, decay in enumerate(DECAYS)]


def test_the_phase_begins_once_the_loss_has_fallen_and_ends_with_the_probe() -> None:
    run = make_run(probe=(0.8, 0.7, 0.7, 0.7, 0.81))
    assert by_probe(run) == [False, False, True, True, False]
    assert (phase_steps(run), escape_step(run)) == (2000, 4000)
    # a loss that does not fall is no phase, however bad the probe
    assert not any(by_probe(make_run(probe=(0.8, 0.7, 0.7, 0.7, 0.7), loss=(math.nan, 1, 1, 1.1, 1.2))))
    # nor is a probe within the margin
    assert not any(by_probe(make_run(probe=(0.8, 0.8, 0.791, 0.8, 0.8))))
    assert (phase_steps(make_run()), escape_step(make_run())) == (0, 0)
    assert escape_step(make_run(probe=(0.8, 0.7, 0.7, 0.7, 0.7))) == 4000


def test_without_labels_the_rank_tells_the_phase() -> None:
    run = make_run(probe=[math.nan] * 5, rank=(10, 10, 8, 8, 10))
    assert in_phase(run) == label_free(run) == [False, False, True, True, False]
    assert in_phase(make_run(rank=(10, 10, 8, 8, 10))) == [False] * 5


def test_without_labels_claims_about_a_probe_say_so_and_nothing_is_nan() -> None:
    blind = [make_run(Arm(decay), seed, [math.nan] * 5) for decay in DECAYS for seed in range(3)]
    found = judged(blind)
    about = {name for name, claim in found.items() if claim.evidence == NO_PROBE}
    assert about == {"gap_over_time", "gap_over_arms", "decay_matters", "block_varies"}
    assert {found[name].verdict for name in about} == {"undecided"}
    text = page(blind, list(found.values()), {})
    assert "There is no probe on data without two classes of two series or more (pump)" in text
    assert "<td>-</td><td>-</td>" in text
    seen = [make_run(Arm(decay), seed, data="fan") for decay in DECAYS for seed in range(3)]
    both = [*blind, *seen]
    assert "pump 0.9: -, 0.99: -" in judged(both)["decay_matters"].evidence
    assert "fan 0.9: 0.800" in judged(both)["decay_matters"].evidence
    assert "nan" not in text + page(both, judge_claims(both), {})
    assert "no probe" not in page(seen, judge_claims(seen), {})
    probes = [figures(runs)[f"curves-{runs[0].data}"].axes[1] for runs in (blind, seen)]
    assert [[drawn.get_text() for drawn in axes.texts] for axes in probes] == [["not measured"], []]


def test_a_study_without_labels_says_so(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", QUICK._replace(arms=(BASE,)))
    monkeypatch.setattr(command, "figures", lambda runs: {})
    np.save("bare.npy", np.load(pump)["X_train"])
    result = invoke("--out", "s", "--quick", "--steps", "2", "--data", "bare.npy")
    assert "note: there is no probe on data without two classes of two series or more (bare)" in result.stderr


def test_rank_correlation_equals_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 5, 9), rng.normal(size=9)
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
    assert math.isnan(spearman([1, 2], [1, 2]))
    assert spearman([1, 2, 3, math.nan], [3, 2, 1, 9]) == -1


def test_the_mean_distance_leaves_out_the_initialisation() -> None:
    run = make_run(gap=(0, 1, 2, 3, 4))
    assert (mean_gap(run), mean_gap(run, 0.25), mean_gap(run, 0.01)) == (2.5, 1, 1)


@pytest.mark.parametrize(("steps", "decay", "decided"), [(10, 0.9, True), (999, 0.999, False), (1000, 0.999, True)])
def test_a_run_shorter_than_the_memory_of_its_target_is_undecided(steps: int, decay: float, decided: bool) -> None:
    run = make_run(Arm(decay))
    run = run._replace(curve=(run.curve[0], run.curve[1]._replace(step=steps)))
    assert run.decided is decided


def test_votes() -> None:
    assert [vote(rho) for rho in (0.9, 0.5, 0.3, 0.0, -0.7, math.nan)] == [1, 1, 0, -1, -1, 0]
    assert settle([]) == settle([1, 1]) == settle([0, 0, 1]) == settle([], least=1) == "undecided"
    assert settle([1, 1, -1]) == "confirmed"
    assert settle([1], least=1) == "confirmed"


def test_nothing_is_claimed_of_nothing_or_of_arms_that_are_too_short() -> None:
    too_short = [make_run(Arm(0.9999), seed, **dip(3)) for seed in range(3)]
    for runs in ([], too_short):
        assert {claim.verdict for claim in judge_claims(runs)} == {"undecided"}


def test_a_phase_that_is_there_and_is_left() -> None:
    found = judged([make_run(seed=seed, **dip(2)) for seed in range(3)])
    assert found["exists"].verdict == found["ends"].verdict == "confirmed"
    assert "3 of 3 runs" in found["exists"].evidence
    assert "at step 4000" in found["ends"].evidence
    assert judged([make_run(seed=seed) for seed in range(3)])["exists"].verdict == "refuted"
    # one measurement alone is neither
    assert judged([make_run(seed=seed, **dip(1)) for seed in range(3)])["exists"].verdict == "undecided"


@pytest.mark.parametrize(("every", "verdict"), [(1000, "refuted"), (100, "undecided")])
def test_a_phase_that_lasts_refutes_its_end_in_long_runs_only(every: int, verdict: str) -> None:
    arm = Arm(0.99)
    runs = [make_run(arm, seed, **dip(4), every=every) for seed in range(3)]
    assert judged(runs)["ends"].verdict == verdict


@pytest.mark.parametrize(("sign", "verdict"), [(1, "confirmed"), (-1, "refuted")])
def test_distance_and_usefulness_over_a_run(sign: int, verdict: str) -> None:
    gap = [0.0, *[2 + sign * x for x in (-1, -0.5, 0.5, 1)]]
    runs = [make_run(seed=seed, probe=(0.8, 0.6, 0.7, 0.8, 0.9), gap=gap) for seed in range(3)]
    assert judged(runs)["gap_over_time"].verdict == verdict


@pytest.mark.parametrize(("sign", "verdict"), [(1, "confirmed"), (-1, "refuted")])
def test_distance_and_usefulness_over_decays(sign: int, verdict: str) -> None:
    def make(place: int, arm: Arm, seed: int) -> Run:
        return make_run(arm, seed, probe=[0.8] * 4 + [0.8 + 0.01 * sign * place], gap=[0.0] + [1.0 + place] * 4)

    found = judged(by_decay(make))
    assert found["gap_over_arms"].verdict == verdict
    assert found["decay_shrinks_gap"].verdict == "refuted"


def test_a_larger_decay_prolongs_the_phase_or_shortens_it() -> None:
    longer = by_decay(lambda place, arm, seed: make_run(arm, seed, **dip(place, 8)))
    shorter = by_decay(lambda place, arm, seed: make_run(arm, seed, **dip(4 - place, 8)))
    assert judged(longer)["decay_prolongs"].verdict == "confirmed"
    assert "pump 0.9: 0, 0.99: 1000, 0.996: 2000, 0.998: 3000" in judged(longer)["decay_prolongs"].evidence
    assert judged(shorter)["decay_prolongs"].verdict == "refuted"
    found = judged(by_decay(lambda place, arm, seed: make_run(arm, seed)))["decay_prolongs"]
    assert (found.verdict, "not known" in found.evidence) == ("undecided", True)


def test_a_smaller_distance_with_a_larger_decay_confirms_the_reason() -> None:
    runs = by_decay(lambda place, arm, seed: make_run(arm, seed, gap=[0.0] + [5.0 - place] * 4))
    assert judged(runs)["decay_shrinks_gap"].verdict == "confirmed"


@pytest.mark.parametrize(("step", "verdict"), [(0.05, "confirmed"), (0.0, "refuted"), (0.006, "undecided")])
def test_the_decay_matters_if_arms_are_further_apart_than_seeds(step: float, verdict: str) -> None:
    def make(place: int, arm: Arm, seed: int) -> Run:
        return make_run(arm, seed, probe=[0.8] * 4 + [0.7 + step * place + 0.01 * seed])

    assert judged(by_decay(make))["decay_matters"].verdict == verdict
    assert judged([run for run in by_decay(make) if run.seed == 0])["decay_matters"].verdict == "undecided"


@pytest.mark.parametrize(("order", "verdict"), [((0, 1, 2, 3), "confirmed"), ((3, 2, 1, 0), "refuted")])
def test_the_mask_ratio_delays_the_escape_or_hastens_it(order: tuple[int, ...], verdict: str) -> None:
    ratios = (0.3, 0.5, 0.7, 0.9)
    runs = [
        make_run(Arm(0.998, "random", ratio), seed, **dip(length))
        for seed in range(3)
        for ratio, length in zip(ratios, order, strict=True)
    ]
    assert judged(runs)["ratio_delays"].verdict == verdict


@pytest.mark.parametrize(("widths", "verdict"), [((0.04, 0.01), "confirmed"), ((0.01, 0.04), "refuted")])
def test_block_masks_vary_more_or_less(widths: tuple[float, float], verdict: str) -> None:
    runs = [
        make_run(Arm(0.998, kind, ratio), seed, probe=[0.8] + [0.8 + width * seed] * 4)
        for kind, width in zip(("block", "random"), widths, strict=True)
        for ratio in (0.3, 0.5, 0.7)
        for seed in range(3)
    ]
    assert judged(runs)["block_varies"].verdict == verdict
    assert math.isnan(wider([run for run in runs if (run.seed, run.arm.ratio) == (0, 0.3)]))


def test_bernoulli_masks_are_held_against_block_masks_too() -> None:
    def of(kind: str, width: float, ratio: float) -> list[Run]:
        return [make_run(Arm(0.998, kind, ratio), s, probe=[0.8] + [0.8 + width * s] * 4) for s in range(3)]

    blocks = [run for ratio in (0.5, 0.7) for run in of("block", 0.04, ratio)]
    runs = [*blocks, *of("random", 0.01, 0.5), *of("random", 0.01, 0.7)]
    assert judged(runs)["block_varies"].verdict == "undecided"  # two votes
    claim = judged([*runs, *of("bernoulli", 0.02, 0.7)])["block_varies"]
    assert claim.verdict == "confirmed"
    assert claim.evidence.endswith("4.00, 4.00, 2.00.")


def test_the_table_comes_back_as_it_was() -> None:
    rows = [row for run in (make_run(), make_run(Arm(0.9, "block", 0.3), 1)) for row in run.curve]
    back = from_csv(to_csv(rows))
    assert to_csv(back) == to_csv(rows)
    assert [run[:3] for run in runs_of(back)] == [("pump", BASE, 0), ("pump", Arm(0.9, "block", 0.3), 1)]


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", to_csv([])[:-1] + b"\nFordA,0.9\n", b"\xff\xfe", b"\x00"])
def test_a_table_of_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(StudyError, match=r"^study\.csv is no table of a collapse study: .+\.$"):
        from_csv(content)


def subject(name: str = "pump", n: int = 24) -> Subject:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, 1, 40)), np.arange(n) % 2
    X[y == 1] += 2 * np.sin(np.arange(40) * 0.8)
    return Subject(name, as_series(X), y)


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


def test_latents_that_are_not_finite_end_a_study_as_a_loss_does(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Any, n_channels: int) -> JEPA:
        model = build_model(config, n_channels)
        torch.nn.init.constant_(next(model.encoder.parameters()), math.nan)
        return model

    monkeypatch.setattr(study, "build_model", broken)
    result = invoke("--out", "s", "--quick", "--steps", "2", "--data", pump)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        1,
        "error: the latents are not finite after epoch 0: lower train.lr.",
    )


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


def test_runs_on_other_data_of_the_same_name_are_not_taken_for_finished() -> None:
    pump, settings = subject(), TINY._replace(seeds=1, steps=1)
    rows = next(carry_out(plan([pump], settings)))
    assert len(plan([pump], settings, from_csv(to_csv(rows)))) == 1
    labels = pump.labels
    assert labels is not None
    for other in (pump._replace(series=as_series(-pump.series.values)), pump._replace(labels=1 - labels)):
        with pytest.raises(StudyError, match="on pump that were trained on other series or labels than pump has"):
            plan([other], settings, rows)
        assert len(plan([other._replace(name="fan")], settings, rows)) == 2
    # a table without digests goes on as it is
    old = b"\n".join(line.rpartition(b",")[0] for line in to_csv(rows).splitlines()) + b"\n"
    assert len(plan([pump._replace(labels=1 - labels)], settings, from_csv(old))) == 1


def test_figures_are_the_same_bytes_each_time() -> None:
    runs = [*by_decay(lambda place, arm, seed: make_run(arm, seed, **dip(place, 8))), make_run(Arm(0.9999), **dip(2))]
    drawn = figures(runs)
    assert set(drawn) == {"curves-pump", "masks-pump", "phase", "masking"}
    masks = [make_run(Arm(0.998, *kind), **dip(2)) for kind in (("block", 0.7), ("bernoulli", 0.7), ("random", 0.3))]
    (legend,) = figures([*masks, make_run(Arm(0.9), **dip(2))])["masks-pump"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["bernoulli 0.7", "block 0.7", "random 0.3"]
    assert image(drawn["phase"], "svg") == image(figures(runs)["phase"], "svg")
    assert image(drawn["phase"], "png").startswith(b"\x89PNG")
    assert safe("../a b") == "___a_b"


def test_two_data_sets_have_figures_of_their_own_however_alike_their_names() -> None:
    runs = [make_run(Arm(0.9), **dip(2))._replace(data=name) for name in ("p/q.npz", "p_q.npz", "pump")]
    drawn = set(figures(runs))
    assert len([name for name in drawn if name.startswith("curves-p_q_npz-")]) == 2
    assert "curves-pump" in drawn


def test_runs_of_two_measurements_are_drawn_and_empty_panels_say_why() -> None:
    def short(decay: float, gap: float) -> Run:
        curves = {"probe": (0.8, 0.7), "gap": (0.0, gap), "loss": (math.nan, 0.5), "rank": (9.0, 8.0)}
        return make_run(Arm(decay), every=20, **curves)

    drawn = figures([short(0.9, 8.9), short(0.998, 9.1)])
    loss, probe, gap, _ = drawn["curves-pump"].axes
    assert [line.get_marker() for line in (*loss.lines, *gap.lines)] == ["o"] * 4
    assert [line.get_marker() for line in probe.lines] == [""] * 2
    drawn["curves-pump"].canvas.draw()
    written = [text.get_text() for text in (*gap.get_yticklabels(), *gap.get_yticklabels(minor=True))]
    assert any(written)
    assert not any("10^" in text for text in written)
    assert said(drawn["phase"].axes[0]) == []
    assert said(drawn["masking"].axes[0]) == ["no such run was as long as the memory of its EMA"]
    assert [said(axes) for axes in figures([short(0.9, 8.9)])["masks-pump"].axes] == [["no such run"]] * 4


def said(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_page_escapes_names_and_needs_nothing_beside_it() -> None:
    run = make_run(data="<b>&pump")
    text = page([run, make_run(Arm(0.9999))], judge_claims([run]), {"phase": b"<svg/>"})
    assert "<b>&pump" not in text
    assert "&lt;b&gt;&amp;pump" in text
    assert base64.b64encode(b"<svg/>").decode() in text
    assert not re.search(r"(src|href)=\"(?!data:)|<script|url\(", text)
    assert "pump at decay 0.9999, random 0.7" in text
    assert text.count("<article") == len(NAMES)


def invoke(*words: str) -> Result:
    result = CliRunner().invoke(app, ["collapse-study", "--device", "cpu", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def pump(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.delenv("TSJEPA_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    made = subject()
    np.savez("pump.npz", X_train=made.series.values, y_train=np.array(["calm", "worn"])[made.labels])
    return "pump.npz"


def test_a_quick_study_from_data_to_page(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez("other.npz", **{**np.load(pump), "X_train": np.load(pump)["X_train"][::-1]})
    monkeypatch.setattr(command, "QUICK", QUICK._replace(arms=(Arm(0.9), Arm(0.9, "block", 0.7))))
    words = ("--out", "s", "--quick", "--steps", "12", "--json", "--data", pump, "other.npz")
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["data"], found["n_runs"], found["out"]) == (["pump", "other"], 4, "s")
    claims = json.loads(Path("s/claims.json").read_text())
    assert claims == found["claims"]
    assert all(set(claim) == {"claim", "source", "verdict", "evidence"} for claim in claims)
    assert {claim["verdict"] for claim in claims} <= {"confirmed", "refuted", "undecided"}
    drawn = ("curves-pump", "curves-other", "masks-pump", "masks-other", "phase", "masking")
    images = {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")}
    assert {path.name for path in Path("s").iterdir()} == {"study.csv", "claims.json", "index.html", *images}
    table = Path("s/study.csv").read_bytes()
    monkeypatch.setattr(command, "figures", lambda runs: {})
    again = invoke(*words)
    assert "nothing is left to train; 4 are finished already." in again.stderr
    assert Path("s/study.csv").read_bytes() == table


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_stopped_study_goes_on_without_losing_or_repeating_a_row(
    pump: str, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    words = ("--quick", "--steps", "2", "--data", pump, "--json")
    monkeypatch.setattr(command, "QUICK", QUICK._replace(arms=QUICK.arms[:4]))
    monkeypatch.setattr(command, "figures", lambda runs: {})  # drawing takes longer than these runs
    assert invoke("--out", "whole", *words).exit_code == 0
    train, calls = study.train, []

    def stopping(*arguments: Any) -> list[Measurement]:
        calls.append(arguments)
        if len(calls) == 3:
            raise stop
        return train(*arguments)

    monkeypatch.setattr(study, "train", stopping)
    result = CliRunner().invoke(app, ["collapse-study", "--device", "cpu", "--out", "s", *words])
    if stop is KeyboardInterrupt:
        assert result.exit_code == 130
        assert "stopped: 2 runs are kept in s/study.csv, and the same command goes on from there." in result.stderr
    assert len(runs_of(from_csv(Path("s/study.csv").read_bytes()))) == 2
    assert {path.name for path in Path("s").iterdir()} == {"study.csv"}
    assert invoke("--out", "s", *words).exit_code == 0
    assert len(calls) == 3 + 2
    assert Path("s/study.csv").read_bytes() == Path("whole/study.csv").read_bytes()


def test_a_second_study_in_the_folder_is_refused(pump: str) -> None:
    Path("s").mkdir()
    with FileLock(Path("s") / LOCK):
        result = invoke("--out", "s", "--quick", "--steps", "2", "--data", pump)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "another study is running in s: wait for it, or give another --out" in result.stderr
    assert not Path("s/study.csv").exists()


def test_runs_that_another_study_finished_meanwhile_are_kept(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", QUICK._replace(arms=(Arm(0.9), Arm(0.99))))
    monkeypatch.setattr(command, "figures", lambda runs: {})
    words = ("--out", "s", "--quick", "--steps", "2", "--data", pump)
    assert invoke(*words).exit_code == 0
    table = Path("s/study.csv").read_bytes()
    Path("s/study.csv").unlink()
    load = command.load_subject

    def while_another_ends(name: str, data_dir: Path | None) -> Subject:
        Path("s/study.csv").write_bytes(table)
        return load(name, data_dir)

    monkeypatch.setattr(command, "load_subject", while_another_ends)
    assert "nothing is left to train; 2 are finished already." in invoke(*words).stderr
    assert Path("s/study.csv").read_bytes() == table


def test_what_cannot_be_studied_is_refused(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    Path("bad").mkdir()
    Path("bad/study.csv").write_text("a,b\n")
    for code, sentence, words in (
        (2, "file is a file", ("--out", "file", "--data", pump)),
        (1, "no table of a collapse study", ("--out", "bad", "--data", pump)),
        (2, "two data sets have the same name", ("--out", "s", "--data", pump, pump)),
        (1, "missing.npz", ("--out", "s", "--data", "missing.npz")),
        (2, "--out", ("--data", pump)),
    ):
        result = invoke(*words, "--quick", "--json")
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert sentence in " ".join(result.stderr.split())
    assert not Path("s").exists()


def test_fault_detection_and_paderborn_join_where_they_are(pump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = command.StudyOptions(Path("s"), True, (), None, None, "cpu", None)
    assert command.data_names(options) == ["FordA"]
    monkeypatch.setattr(command, "find_local", lambda name, folder: name == "PaderbornKAT" or None)
    assert command.data_names(options) == ["FordA", "PaderbornKAT"]
    assert command.data_names(options._replace(data=("Car",))) == ("Car",)
    assert command.choose_settings(options._replace(seeds=2)) == QUICK._replace(seeds=2)
    assert command.choose_settings(options._replace(quick=False)) == FULL
