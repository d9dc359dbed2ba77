"""The verdict on histories of each kind, made up and measured."""

import math

import numpy as np
import pytest

from tsjepa import verdict
from tsjepa.history import EpochDiagnostics
from tsjepa.verdict import Verdict, judge

DIM = 128
START = EpochDiagnostics(
    0,
    effective_rank=21.1,
    relative_spread=0.79,
    latent_spread=0.79,
    latent_effective_rank=21.1,
    cross_series_share=0.002,
    position_share=0.22,
    encoder_target_gap=0.0,
    relative_gap=0.0,
)
GOAL = {  # what every kind of run arrives at, measured on FordA after 30 epochs but for "dimensional"
    "healthy": {"effective_rank": 28.0, "relative_spread": 0.47, "cross_series_share": 0.26, "position_share": 0.15},
    "sigreg": {"effective_rank": 30.5, "latent_spread": 0.94, "cross_series_share": 0.37, "position_share": 0.47},
    "no regularizer": {
        "effective_rank": 22.2,
        "relative_spread": 0.023,
        "latent_spread": 0.022,
        "position_share": 0.55,
    },
    "weight 0": {"effective_rank": 9.9, "relative_spread": 0.97, "latent_spread": 0.058, "position_share": 0.76},
    "decay 0": {"effective_rank": 19.6, "relative_spread": 0.08, "latent_spread": 0.08},
    "position, token SIGReg": {"effective_rank": 30.5, "latent_spread": 0.92, "position_share": 0.535},
    "position": {"effective_rank": 22.1, "relative_spread": 0.67, "latent_spread": 0.65, "position_share": 0.92},
    "dimensional": {"effective_rank": 2.5, "relative_spread": 0.9, "cross_series_share": 0.2},
}


def course(kind: str, epochs: int = 30, noise: float = 0.0, seed: int = 0) -> list[EpochDiagnostics]:
    """Return a run whose loss decays and whose measures go from START to the goal of their kind within ten epochs."""
    rng = np.random.default_rng(seed)
    history = [START]
    for epoch in range(1, epochs + 1):
        way = min(epoch / 10, 1)
        factors = {name: 1 + noise * rng.uniform(-1, 1) for name in GOAL[kind]}
        values = {n: ((1 - way) * getattr(START, n) + way * goal) * factors[n] for n, goal in GOAL[kind].items()}
        loss = 0.3 + 0.7 * math.exp(-epoch / 5)
        history.append(START._replace(epoch=epoch, loss=loss, **values))
    return history


def phased(ranks: list[float]) -> list[EpochDiagnostics]:
    trained = [START._replace(epoch=e, loss=1 / e, effective_rank=r) for e, r in enumerate(ranks, 1)]
    return [START, *trained]


EXPECTED = [
    ("healthy", "healthy"),
    ("sigreg", "healthy"),
    ("no regularizer", "collapsed"),
    ("weight 0", "collapsed"),
    ("decay 0", "collapsed"),
    ("position, token SIGReg", "positional-collapse"),
    ("position", "positional-collapse"),
    ("dimensional", "dimensional-collapse"),
]


@pytest.mark.parametrize(("kind", "want"), EXPECTED)
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_each_kind_is_called_by_its_name(kind: str, want: str, noise: float) -> None:
    for seed in range(5):
        got = judge(course(kind, noise=noise, seed=seed), dim=DIM)
        assert got.verdict == want
        assert got.escape_epoch is None
        assert (got.onset_epoch is None) == (want == "healthy")


@pytest.mark.parametrize(("kind", "want"), EXPECTED)
def test_a_lasting_state_has_its_first_epoch_as_onset(kind: str, want: str) -> None:
    history = course(kind)
    got = judge(history, dim=DIM)
    if got.onset_epoch is not None:
        assert judge(history[: got.onset_epoch], dim=DIM).verdict != want
        assert judge(history[: got.onset_epoch + verdict.SUSTAINED], dim=DIM).verdict == want


def test_the_evidence_is_a_sentence_with_the_number_that_decided() -> None:
    texts = {kind: judge(course(kind), dim=DIM).evidence for kind in GOAL}
    assert "last level kept 2.9%" in texts["no regularizer"] or "latents kept 2.8%" in texts["no regularizer"]
    assert "objective's latents kept 7.3%" in texts["weight 0"]
    assert "92.0%" in texts["position"]
    assert "2.5 of 21.1 directions; the rank is 21.1 where the loss is computed" in texts["dimensional"]
    assert "rank" not in texts["position"]
    for text in texts.values():
        assert text[0].isupper()
        assert text.endswith(".")
        assert ". " not in text
        assert "nan" not in text


def test_a_rank_like_that_of_the_start_does_not_save_a_collapsed_run() -> None:
    assert judge(course("no regularizer"), dim=DIM).verdict == "collapsed"
    zeros = START._replace(epoch=1, loss=0.0, relative_spread=0.0, latent_spread=0.0, effective_rank=0.0)
    assert judge([START, zeros._replace(cross_series_share=math.nan)], dim=DIM).verdict == "collapsed"


def test_a_constant_is_collapsed_whatever_its_remainder_predicts() -> None:
    last = START._replace(epoch=1, loss=0.1, latent_spread=0.01, cross_series_share=0.9)
    assert judge([START, last], dim=DIM).verdict == "collapsed"
    shrunk = last._replace(latent_spread=0.1)  # a code of a smaller scale that predictions can read
    assert judge([START, shrunk], dim=DIM).verdict == "healthy"


def test_a_phase_that_was_left_and_one_that_lasts() -> None:
    ranks = [21.2, 20.7, 18.3, 16.4, 18.5, 18.5, 22.0, 24.0]
    left = judge(phased(ranks), dim=DIM)
    assert left[:3] == ("healthy", 3, 7)
    lasting = judge(phased(ranks[:6]), dim=DIM)
    assert lasting[:3] == ("collapse-phase", 3, None)
    assert "18.5, is below its 21.1" in lasting.evidence
    assert judge(phased(ranks[:2]), dim=DIM)[:3] == ("healthy", None, None)


def test_of_two_phases_the_first_onset_and_the_last_escape_count() -> None:
    assert judge(phased([21, 15, 22, 15, 22]), dim=DIM)[:3] == ("healthy", 2, 5)


def test_a_second_phase_that_lasts_began_when_it_did() -> None:
    found = judge(phased([21, 15, 22, 22, 15, 15]), dim=DIM)
    assert found[:3] == ("collapse-phase", 5, None)
    assert found.evidence.startswith("Since epoch 5")


def test_a_constant_loss_is_no_phase() -> None:
    history = [record._replace(loss=0.5) for record in phased([21, 15, 15, 15])]
    assert judge(history, dim=DIM).verdict == "healthy"


@pytest.mark.parametrize("gap", [0.0, 1e-9, 100.0])
def test_the_gap_to_the_target_decides_nothing(gap: float) -> None:
    for kind, want in EXPECTED:
        history = [r._replace(encoder_target_gap=gap, relative_gap=gap) for r in course(kind)]
        assert judge(history, dim=DIM) == judge(course(kind), dim=DIM)
        assert judge(history, dim=DIM).verdict == want


@pytest.mark.parametrize("probe", [0.5, 1.0])
def test_the_probe_confirms_and_decides_nothing(probe: float) -> None:
    for kind, want in EXPECTED:
        history = [START._replace(probe=0.8), *(r._replace(probe=probe) for r in course(kind)[1:])]
        got = judge(history, dim=DIM)
        assert got.verdict == want
        assert f"(probe: 0.800 at the start, {probe:.3f} now)" in got.evidence


def test_a_probe_that_is_missing_is_not_quoted() -> None:
    history = course("healthy")
    history[-1] = history[-1]._replace(probe=0.9)
    assert "probe" not in judge(history, dim=DIM).evidence


def test_one_bad_epoch_is_no_collapse() -> None:
    bad = {"relative_spread": 0.01, "effective_rank": 1.0, "position_share": 0.99, "cross_series_share": 0.0}
    for at in (3, 20, 30):
        history = course("healthy")
        history[at] = history[at]._replace(**bad)
        assert judge(history, dim=DIM).verdict in ("healthy", "collapse-phase")


def test_a_run_of_one_epoch_and_none() -> None:
    assert judge([START], dim=DIM)[:3] == ("healthy", None, None)
    assert judge([START, START._replace(epoch=1, loss=0.5)], dim=DIM).verdict == "healthy"
    last = course("no regularizer")[-1]._replace(epoch=1)
    assert judge([START, last], dim=DIM)[:3] == ("collapsed", 1, None)


def test_a_strong_position_code_from_the_start_is_not_a_collapse() -> None:
    start = START._replace(position_share=0.85)
    for share, want in ((0.85, "healthy"), (0.87, "healthy"), (0.93, "positional-collapse")):
        history = [start, *(start._replace(epoch=e, loss=0.5, position_share=share) for e in range(1, 6))]
        assert judge(history, dim=DIM).verdict == want


def test_blind_predictions_are_no_collapse_in_the_first_epochs_nor_without_a_position_code() -> None:
    blind = {"cross_series_share": 0.0, "position_share": 0.6}
    history = [START, *(START._replace(epoch=e, loss=1 / e, **blind) for e in range(1, verdict.SUSTAINED + 1))]
    found = [judge(history[:n], dim=DIM).verdict for n in range(2, len(history) + 1)]
    assert found == ["healthy"] * (verdict.SUSTAINED - 1) + ["positional-collapse"]
    without_code = [record._replace(position_share=START.position_share) for record in history]
    assert judge(without_code, dim=DIM).verdict == "healthy"


def test_predictions_that_tell_series_apart_are_no_positional_collapse() -> None:
    history = [record._replace(cross_series_share=0.3) for record in course("position")]
    assert judge(history, dim=DIM).verdict == "healthy"


# measured on FordA behind a projector of rank 1, where the share of the gap is noise: (epoch, rank of the last level,
# cross-series share, position share)
RANK_ONE = (
    (0, 19.3, 0.021, 0.038),
    (2, 19.8, -0.011, 0.853),
    (5, 18.8, -0.101, 0.990),
    (10, 18.3, 0.130, 0.994),
    (14, 18.4, -0.179, 0.995),
    (22, 18.6, -0.040, 0.997),
    (25, 18.7, 0.171, 0.998),
    (27, 18.7, 0.253, 0.998),
    (28, 18.7, 0.178, 0.998),
    (30, 18.7, 0.283, 0.998),
)


@pytest.mark.parametrize("noise", [0.0, -0.2, 0.5])
def test_a_pure_position_code_is_one_whatever_predictions_tell_of_its_remainder(noise: float) -> None:
    history = [
        START._replace(
            epoch=epoch,
            loss=1 / (1 + epoch),
            effective_rank=rank,
            latent_effective_rank=1.0,
            cross_series_share=share + noise * (epoch > 0),
            position_share=position,
        )
        for epoch, rank, share, position in RANK_ONE
    ]
    got = judge(history, dim=DIM)
    assert got.verdict == "positional-collapse"
    assert "99.8%" in got.evidence
    assert "dimensional where the loss is computed (rank 1.0), not in the encoder (18.7)" in got.evidence


def test_a_student_that_shrinks_under_targets_that_do_not_is_no_collapse() -> None:
    blind = {"relative_spread": 0.14 * START.relative_spread, "cross_series_share": 0.0}
    frozen = [START, *(START._replace(epoch=e, loss=1 / e, **blind) for e in range(1, 9))]
    assert judge(frozen, dim=DIM).verdict == "healthy"
    for left in (0.14, 0.95):
        moving = [START, *(r._replace(latent_spread=left * START.latent_spread) for r in frozen[1:])]
        assert judge(moving, dim=DIM).verdict == "collapsed"
    constant = [START, *(r._replace(relative_spread=0.01 * START.relative_spread) for r in frozen[1:])]
    assert judge(constant, dim=DIM).verdict == "collapsed"


def test_targets_without_anything_to_tell_apart_count_as_positional() -> None:
    history = [START, *(r._replace(cross_series_share=math.nan) for r in course("position")[1:])]
    assert judge(history, dim=DIM).verdict == "positional-collapse"


def test_the_encoder_decides_on_dimensions_and_the_latents_are_quoted() -> None:
    behind_projector = [START, *(r._replace(latent_effective_rank=1.0) for r in course("healthy")[1:])]
    got = judge(behind_projector, dim=DIM)
    assert got.verdict == "healthy"
    assert "dimensional where the loss is computed (rank 1.0), not in the encoder (28.0)" in got.evidence
    unknown = [r._replace(latent_effective_rank=math.nan) for r in course("dimensional")]
    assert judge(unknown, dim=DIM).verdict == "dimensional-collapse"


def test_a_narrow_encoder_is_measured_by_its_width() -> None:
    history = [r._replace(effective_rank=3.5) for r in course("healthy")]
    assert judge(history, dim=4).verdict == "healthy"
    without_start = [history[0]._replace(effective_rank=math.nan), *history[1:]]
    assert judge(without_start, dim=4).verdict == "healthy"
    assert judge(without_start, dim=64).verdict == "dimensional-collapse"


def test_a_history_without_measures_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        judge([], dim=DIM)
    with pytest.raises(ValueError, match="epoch 1 it is nan"):
        judge([START, EpochDiagnostics(1, 0.5)], dim=DIM)


def test_healthy_runs_stay_healthy_under_noise() -> None:
    for seed in range(50):
        for kind in ("healthy", "sigreg"):
            assert judge(course(kind, noise=0.3, seed=seed), dim=DIM).verdict in ("healthy", "collapse-phase")


def test_thresholds_are_in_order() -> None:
    assert 0 < verdict.CONSTANT < verdict.FADED < verdict.SHRUNK < 1
    assert isinstance(judge([START], dim=DIM), Verdict)


@pytest.mark.parametrize("epochs", [1, 3, 12])
def test_series_that_are_all_the_same_are_never_healthy(epochs: int) -> None:
    alike = START._replace(position_share=1 - 1e-15, cross_series_share=math.nan)
    found = judge([alike._replace(epoch=epoch, loss=1 / (epoch + 1)) for epoch in range(epochs + 1)], dim=DIM)
    assert (found.verdict, found.onset_epoch) == ("positional-collapse", 1)
    assert "look at the data" in found.evidence
    one = alike._replace(relative_spread=0.0, latent_spread=0.0, effective_rank=0.0, position_share=math.nan)
    found = judge([one._replace(epoch=epoch, loss=1 / (epoch + 1)) for epoch in range(epochs + 1)], dim=DIM)
    assert (found.verdict, found.onset_epoch) == ("collapsed", 1)
    assert "nan" not in found.evidence


@pytest.mark.parametrize("same", [{"position_share": 1.0}, {"relative_spread": 0.0, "position_share": math.nan}])
def test_a_run_is_ended_for_what_training_did_and_not_for_its_data(same: dict[str, float]) -> None:
    broken = {"loss": 0.1, "relative_spread": 0.0, "latent_spread": 0.0}
    for start, ended in ((START, True), (START._replace(**same), False)):
        history = [start, *(start._replace(epoch=epoch, **broken) for epoch in (1, 2))]
        assert judge(history, dim=DIM).verdict == "collapsed"
        assert verdict.to_be_ended(history, dim=DIM) is ended
    assert not verdict.to_be_ended([START, START._replace(epoch=1)], dim=DIM)


def stepped(history: list[EpochDiagnostics], steps: int) -> list[EpochDiagnostics]:
    return [record._replace(step=steps * record.epoch) for record in history]


def test_blind_predictions_are_no_collapse_for_their_first_steps() -> None:
    course_of = course("position, token SIGReg")
    onset = judge(course_of, dim=DIM).onset_epoch
    assert onset is not None
    held = 31 - onset
    few, enough = (judge(stepped(course_of, steps), dim=DIM) for steps in (200 // held - 1, 200 // held + 1))
    assert few.verdict != "positional-collapse"
    assert "predictions carry nothing of the series yet" in few.evidence
    assert enough == judge(course_of, dim=DIM)
    assert judge(stepped(course("position"), 2), dim=DIM).verdict != "positional-collapse"


def test_a_pure_position_code_and_lost_spread_need_no_steps() -> None:
    code = stepped([*course("position")[:20], *(r._replace(position_share=0.999) for r in course("position")[20:])], 1)
    assert judge(code, dim=DIM)[:2] == ("positional-collapse", 20)
    assert judge(stepped(course("no regularizer"), 1), dim=DIM).verdict == "collapsed"


def test_a_history_without_its_beginning_is_refused() -> None:
    with pytest.raises(ValueError, match="begins in epoch 12"):
        judge([START._replace(epoch=12)], dim=DIM)


@pytest.mark.parametrize(
    ("just", "over", "state"),
    [
        ({"relative_spread": 0.099}, {"relative_spread": 0.101}, "collapsed"),
        ({"relative_spread": 0.0199, "latent_spread": 1.0}, {"relative_spread": 0.0201}, "collapsed"),
        ({"relative_spread": 0.199, "cross_series_share": 0.049}, {"relative_spread": 0.201}, "collapsed"),
        ({"relative_spread": 0.199, "cross_series_share": 0.049}, {"cross_series_share": 0.051}, "collapsed"),
        ({"effective_rank": 0.249 * 21.1}, {"effective_rank": 0.251 * 21.1}, "dimensional-collapse"),
        ({"position_share": 1 - 0.0199 * 0.78}, {"position_share": 1 - 0.0201 * 0.78}, "positional-collapse"),
        (
            {"position_share": 1 - 0.799 * 0.78, "cross_series_share": 0.049},
            {"position_share": 1 - 0.801 * 0.78},
            "positional-collapse",
        ),
        (
            {"position_share": 1 - 0.799 * 0.78, "cross_series_share": 0.049},
            {"cross_series_share": 0.051},
            "positional-collapse",
        ),
    ],
)
def test_the_numbers_of_the_documents_are_those_of_the_rules(
    just: dict[str, float], over: dict[str, float], state: str
) -> None:
    start = START._replace(relative_spread=1.0, latent_spread=1.0, cross_series_share=0.3)
    for values, want in ((just, state), ({**just, **over}, None)):
        moved = {"latent_spread": 0.9, "loss": 1.0, **values}
        ends = [start._replace(epoch=epoch, **moved) for epoch in range(1, 6)]
        found = judge([start, *ends], dim=DIM).verdict
        assert (found == state) == (want == state), (values, found)
        if state != "collapsed":  # whose rule is content with fewer
            assert judge([start, *[start._replace(epoch=1, loss=1.0)], *ends[1:]], dim=DIM).verdict != state


def test_two_phases_are_counted() -> None:
    evidence = judge(phased([20.0, 15, 15, 22, 15, 22, 22]), dim=DIM).evidence
    assert evidence.startswith("Of 2 collapse phases the first began in epoch 2 and the last was left in epoch 6")


def test_the_initialisation_alone_has_not_collapsed() -> None:
    assert judge([START._replace(position_share=1.0)], dim=DIM).verdict == "healthy"
