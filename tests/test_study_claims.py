"""Claims of the collapse study from curves made by hand: the phase, votes, and what is not decided."""

import math

import numpy as np
import pytest
from studies import DECAYS, by_decay, dip, judged, make_run

from tsjepa.evaluation import claims
from tsjepa.evaluation.claims import NO_PROBE, judge_claims
from tsjepa.evaluation.curves import by_probe, escape_step, in_phase, label_free, mean_gap, phase_steps, spearman
from tsjepa.evaluation.rows import Arm, Run
from tsjepa.evaluation.study_figures import figures
from tsjepa.evaluation.study_page import page
from tsjepa.evaluation.votes import seeds_of, separation, settle, votes, wider


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
    assert votes((0.9, 0.5, 0.3, 0.0, -0.7, math.nan)) == [1, 1, 0, -1, -1, 0]
    assert votes((3, 2, 1.5), least=3, most=1.5) == [1, 0, -1]
    assert settle([]) == settle([1, 1]) == settle([0, 0, 1]) == settle([], least=1) == "undecided"
    assert settle([1, 1, -1]) == "confirmed"
    assert settle([1], least=1) == "confirmed"


@pytest.mark.parametrize(("sign", "verdict"), [(1, "confirmed"), (-1, "refuted")])
def test_runs_without_a_probe_change_no_verdict_on_one(sign: int, verdict: str) -> None:
    def make(place: int, arm: Arm, seed: int) -> Run:
        end = 0.8 + (0.01 * place + 0.001 * seed if sign > 0 else 0.001 * place + 0.02 * seed)
        gap = [3.0 + sign * (place + x) for x in (-1.5, -0.5, 0.5, 1.5)]
        return make_run(arm, seed, probe=[0.7, 0.71, 0.72, 0.73, end], gap=[0.0, *gap])

    def verdicts(runs: list[Run]) -> list[str]:
        return [judged(runs)[name].verdict for name in ("gap_over_time", "gap_over_arms", "decay_matters")]

    seen = by_decay(make)
    blind = [make_run(Arm(decay), seed, [math.nan] * 5, data="fan") for decay in DECAYS for seed in range(4)]
    assert verdicts(seen) == verdicts([*seen, *blind]) == [verdict] * 3
    two = [run for run in seen if run.seed < 2]  # two votes on arms, and runs enough for three on time
    assert verdicts(two) == verdicts([*two, *blind]) == [verdict, "undecided", verdict]
    assert verdicts(two[:2]) == verdicts([*two[:2], *blind]) == ["undecided"] * 3


def test_what_does_not_vary_speaks_neither_for_nor_against() -> None:
    grown = by_decay(lambda place, arm, seed: make_run(arm, seed, **dip(place)))
    same = [
        make_run(Arm(decay), seed, data=data, **dip(2))
        for data in ("fan", "mill")
        for seed in range(3)
        for decay in DECAYS
    ]
    assert judged(grown)["decay_prolongs"].verdict == "confirmed"
    claim = judged([*grown, *same])["decay_prolongs"]
    assert claim.verdict == "undecided"
    assert f", {len(grown) // len(DECAYS)} for and 0 against, 6 neither, since nothing varies or" in claim.evidence
    # of two arms there is no correlation, and of runs measured too seldom no phase
    two = [
        make_run(Arm(decay), seed, data="fan", **dip(place))
        for place, decay in enumerate(DECAYS[:2])
        for seed in range(3)
    ]
    seldom = [run._replace(curve=run.curve[:3]) for run in same]
    assert (
        judged([*grown, *two])["decay_prolongs"].verdict
        == judged([*grown, *seldom])["decay_prolongs"].verdict
        == "confirmed"
    )


def test_that_one_vote_decides_on_the_final_accuracy_is_said() -> None:
    runs = by_decay(lambda place, arm, seed: make_run(arm, seed, probe=[0.8] * 4 + [0.7 + 0.1 * place + 0.01 * seed]))
    assert judged(runs)["decay_matters"].verdict == "confirmed"  # by the one data set
    said = " ".join(page(runs, judge_claims(runs), {}).split())
    assert "of three at least, decide" in said
    assert "On the final accuracy each data set has one vote, and one is enough." in said
    assert "fewer than three nothing, except on the final accuracy" in " ".join(str(claims.__doc__).split())


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


@pytest.mark.parametrize(("measured", "few"), [(1, True), (2, True), (3, False)])
def test_runs_measured_too_seldom_to_show_a_phase_say_nothing_of_it(measured: int, few: bool) -> None:
    runs = [make_run(seed=seed) for seed in range(3)]
    runs = [run._replace(curve=run.curve[: measured + 1]) for run in runs]
    said = "Measured fewer than 3 times after initialisation, and so without a vote: 3 of"
    claim = judged(runs)["exists"]
    assert (claim.verdict, said in claim.evidence) == ("undecided" if few else "refuted", few)
    # nor do they count beside others
    claim = judged([*runs, *(make_run(seed=seed, **dip(2), data="fan") for seed in range(3))])["exists"]
    assert (claim.verdict, said in claim.evidence) == ("confirmed" if few else "undecided", few)


def test_too_few_measurements_are_the_reason_why_no_correlation_over_them_is_known() -> None:
    whole = [
        make_run(Arm(decay), seed, (0.8, 0.6, 0.7, 0.8, 0.9), (0, 1, 2, 3, 4)) for decay in DECAYS for seed in (0, 1)
    ]
    said = judged([run._replace(curve=run.curve[:3]) for run in whole])["gap_over_time"].evidence
    reason = "not known, since there are not 3 measurements over which both vary"
    assert f"one vote a run: {reason}; over the first half of the run, {reason}. " in said
    assert said.endswith("Measured fewer than 3 times after initialisation, and so without a vote: 10 of 10.")
    assert "arms" not in said
    said = judged(whole)["gap_over_time"].evidence
    assert f"1.00 in the median of 10, 10 for and 0 against; over the first half of the run, {reason}. " in said
    assert "Measured fewer" not in said


def test_too_few_measurements_are_the_reason_why_arms_have_no_vote_on_how_long_a_phase_is() -> None:
    arms = {"decay_prolongs": [Arm(decay) for decay in DECAYS],
            "ratio_delays": [Arm(0.998, "random", ratio) for ratio in (0.3, 0.5, 0.7, 0.9)]}  # fmt: skip
    for name, several in arms.items():
        whole = [make_run(arm, seed, **dip(place)) for place, arm in enumerate(several) for seed in range(3)]
        other = [make_run(Arm(0.99, "block"), seed) for seed in range(3)]  # the claim is not about
        seldom = [run._replace(curve=run.curve[:3]) for run in (*whole, *other)]
        said = judged(seldom)[name].evidence
        assert "not known, since nothing varies or too few arms have a vote" in said
        n_runs = len(whole)
        assert said.endswith(f" and so without a vote: {n_runs} of {n_runs}.")
        assert "Measured fewer" not in judged([*whole, *seldom[n_runs:]])[name].evidence


def test_long_runs_measured_too_seldom_to_leave_a_phase_say_nothing_of_its_end() -> None:
    runs = [make_run(seed=seed, **dip(1, 3), every=2000) for seed in range(3)]
    assert [in_phase(run)[-1] for run in runs] == [True] * 3
    assert judged(runs)["ends"].verdict == "undecided"
    assert judged(runs)["ends"].evidence.endswith("and so without a vote: 3 of 3.")


@pytest.mark.parametrize(("every", "verdict"), [(1000, "refuted"), (600, "refuted"), (100, "undecided")])
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


@pytest.mark.parametrize(
    ("widths", "verdict"), [((0.04, 0.01), "confirmed"), ((0.02, 0.02), "refuted"), ((0.01, 0.04), "refuted")]
)
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
        # how far apart they begin has no part
        return [make_run(Arm(0.998, kind, ratio), s, probe=[0.7 + 0.1 * s, *[0.8 + width * s] * 4]) for s in range(3)]

    blocks = [run for ratio in (0.5, 0.7) for run in of("block", 0.04, ratio)]
    runs = [*blocks, *of("random", 0.01, 0.5), *of("random", 0.01, 0.7)]
    assert judged(runs)["block_varies"].verdict == "undecided"  # two votes
    claim = judged([*runs, *of("bernoulli", 0.02, 0.7)])["block_varies"]
    assert claim.verdict == "confirmed"
    assert claim.evidence.endswith("4.00, 4.00, 2.00.")


def test_two_arms_are_compared_and_seeds_of_two_data_sets_are_not_the_same() -> None:
    runs = [
        make_run(Arm(decay), seed, probe=[0.8] * 4 + [probe + 0.01 * seed], data=data)
        for data in ("pump", "fan")
        for decay, probe in ((0.9, 0.7), (0.99, 0.8), (0.998, 0.9))
        for seed in range(3)
    ]
    two = [run for run in runs if run.data == "pump" and run.arm.decay < 0.998]
    assert separation(two) == pytest.approx(0.1 / 0.01)
    assert seeds_of(two) == []
    assert [{(run.data, run.seed) for run in arms} for arms in seeds_of(runs)] == [
        {(data, seed)} for data in ("pump", "fan") for seed in range(3)
    ]
