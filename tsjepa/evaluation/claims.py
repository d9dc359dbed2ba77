"""What the early-collapse paper claims, put to the runs of a study: confirmed, refuted or undecided.

Ennadir, Zólyomi and Smirnov 2026, "Understanding Early Collapse in Predictive World-Model Pretraining". Each claim is
put to the vote: a run, or one seed on one data set over arms, speaks for it, against it, or neither. Two thirds of all
votes decide, and fewer than three nothing, except on the final accuracy: there a vote is that of all runs on a data
set, and one is enough. A correlation speaks for a claim from 0.5 on and against it from 0 down, and neither way where
nothing varies; of fewer than three arms there is none. Runs on data without a probe have no vote on what claims say of
one, those that are shorter than 1 / (1 - decay) steps, the memory of their EMA, none at all, and those with few
measurements none on what happens over them: whether there is a phase, how long it is, whether it ends, and whether a
small distance goes with a bad probe.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tsjepa.evaluation.curves import (
    PROBE_MARGIN,
    escape_step,
    final_probe,
    in_phase,
    label_free,
    mean_gap,
    phase_steps,
    spearman,
)
from tsjepa.evaluation.rows import BASE, Measurement, Run
from tsjepa.evaluation.votes import (
    Outcome,
    at_base,
    by_arm,
    decay,
    decay_arms,
    grouped,
    known,
    listed,
    over_arms,
    probed,
    ratio,
    seeds_of,
    separation,
    settle,
    told,
    votes,
    wider,
)

# Measurements after initialisation that show a phase, or that it is left: the first has no loss to have fallen from
FEWEST = 3
# Why a correlation over the measurements of a run may not be known
OVER_TIME = f"there are not {FEWEST} measurements over which both vary"
# The paper saw phases of thousands of steps: a run that is still in one speaks against an end of it from here on
LONG = 3000
# Range of five means of three seeds each, in standard deviations between seeds: chance gives 1.3, and an F test at 5 %
# asks for about 2.5
APART, ALIKE = 3.0, 1.5
# Standard deviation over seeds with block masks against random ones
WIDER = 1.5
# Share of a run that counts as early
EARLY = 0.25
NO_PROBE = "Not known: it is about a probe, which needs two classes of two series or more to tell apart."


class Claim(NamedTuple):
    """An entry of `claims.json`."""

    claim: str
    source: str
    verdict: Outcome
    evidence: str


def judge_claims(runs: Sequence[Run]) -> list[Claim]:
    """Put every claim to the runs of a study.

    Parameters
    ----------
    runs : sequence of Run
        From `tsjepa.evaluation.rows.runs_of`; runs that are too short to tell are left out here.

    Returns
    -------
    list of Claim

    Examples
    --------
    >>> {claim.verdict for claim in judge_claims([])}
    {'undecided'}
    """
    decided = [run for run in runs if run.decided]
    judges: tuple[Callable[[Sequence[Run]], Claim], ...] = (
        exists,
        ends,
        gap_over_time,
        gap_over_arms,
        decay_prolongs,
        decay_shrinks_gap,
        decay_matters,
        ratio_delays,
        block_varies,
    )
    claims = [judge(decided) for judge in judges]
    if not decided or any(run.probed for run in decided):
        return claims
    by_probe = (gap_over_time, gap_over_arms, decay_matters, block_varies)
    return [
        claim._replace(evidence=NO_PROBE) if judge in by_probe else claim
        for judge, claim in zip(judges, claims, strict=True)
    ]


def exists(runs: Sequence[Run]) -> Claim:
    """Judge that the loss falls while representations are worse than random ones."""
    asked = telling(runs)
    counts = [sum(in_phase(run)) for run in asked]
    free = sum(any(label_free(run)) for run in asked)
    return Claim(
        "There is a collapse phase on sensor data: the loss falls while representations are worse than random ones",
        "Section 5.1, Figure 3",
        settle([1 if count > 1 else count - 1 for count in counts]),
        f"{sum(count > 1 for count in counts)} of {len(asked)} runs had two or more measurements at which the loss had "
        f"fallen while the probe was more than {PROBE_MARGIN} below its accuracy at initialisation (without labels: "
        f"while rank or cross-series share were below), {counts.count(0)} had none; by those label-free measures "
        f"{free} had a phase.{untold(runs)}",
    )


def ends(runs: Sequence[Run]) -> Claim:
    """Judge that runs leave the phase."""
    inside = [run for run in telling(runs) if any(in_phase(run))]
    left = [run for run in inside if not in_phase(run)[-1]]
    ended = [1 if run in left else -1 if run.steps >= LONG else 0 for run in inside]
    when = f", at step {np.median([escape_step(run) for run in left]):.0f} in the median" if left else ""
    return Claim(
        "The collapse phase is transient: training recovers from it",
        "Section 6, Figure 3",
        settle(ended),
        f"{len(left)} of {len(inside)} runs with a phase had left it by their end{when}; the others count against the "
        f"claim if they are {LONG} steps or longer.{untold(runs)}",
    )


def telling(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that were measured often enough to show a phase and its end."""
    return [run for run in runs if len(run.curve[1:]) >= FEWEST]


def untold(runs: Sequence[Run]) -> str:
    """Say how many runs were not; empty if all were."""
    few = len(runs) - len(telling(runs))
    said = f" Measured fewer than {FEWEST} times after initialisation, and so without a vote: {few} of {len(runs)}."
    return said if few else ""


def gap_over_time(runs: Sequence[Run]) -> Claim:
    """Judge that within a run the probe is bad when encoder and target are close."""
    seen = probed(telling(runs))
    rhos, early = [together(run.curve[1:]) for run in seen], [together(first_half(run)) for run in seen]
    return Claim(
        "Over training a small encoder-EMA distance goes with useless representations",
        "Section 5.2, Figure 4",
        settle(votes(rhos)),
        f"Rank correlation of distance (eq. 3) and probe over the measurements of a run, one vote a run: "
        f"{told(rhos, OVER_TIME)}; over the first half of the run, {told(early, OVER_TIME)}. Late in a run the "
        "learning rate goes to zero and takes the distance with it, whatever the representations."
        f"{untold(runs)}",
    )


def together(curve: Sequence[Measurement]) -> float:
    """Return the rank correlation of distance and probe."""
    return spearman([row.gap for row in curve], [row.probe for row in curve])


def first_half(run: Run) -> Sequence[Measurement]:
    """Return the measurements up to half of a run, without the initialisation."""
    return [row for row in run.curve[1:] if row.step <= run.steps / 2]


def gap_over_arms(runs: Sequence[Run]) -> Claim:
    """Judge that runs with a smaller distance end with worse representations."""
    rhos = [over_arms(group, mean_gap, final_probe) for group in seeds_of(probed(decay_arms(runs)))]
    return Claim(
        "Between decays a smaller encoder-EMA distance goes with less useful representations",
        "Definition 4.1, Figure 4",
        settle(votes(rhos)),
        "Rank correlation over decays of a run's mean distance and its final probe, one vote a seed and data set: "
        f"{told(rhos)}.",
    )


def decay_prolongs(runs: Sequence[Run]) -> Claim:
    """Judge Corollary 4.3, as an empirical claim."""
    arms = decay_arms(runs)
    chosen = telling(arms)
    groups = seeds_of(chosen)
    rhos = [over_arms(group, decay, phase_steps) for group in groups]
    free = [over_arms(group, decay, lambda run: phase_steps(run, label_free)) for group in groups]
    return Claim(
        "A larger EMA decay prolongs the collapse phase",
        "Corollary 4.3",
        settle(votes(rhos)),
        f"Rank correlation of decay and steps in the phase, one vote a seed and data set: {told(rhos)}; by the "
        f"label-free phase {told(free)}. Mean steps in the phase: {by_arm(chosen, decay, phase_steps, '.0f')}."
        f"{untold(arms)}",
    )


def decay_shrinks_gap(runs: Sequence[Run]) -> Claim:
    """Judge the reason that Corollary 4.3 gives; on a fixed trajectory of weights it is the other way round."""
    chosen = decay_arms(runs)
    rhos = [-over_arms(group, decay, lambda run: mean_gap(run, EARLY)) for group in seeds_of(chosen)]
    return Claim(
        "A larger EMA decay keeps encoder and EMA target closer early in training",
        "Corollary 4.3 (its reason)",
        settle(votes(rhos)),
        f"Rank correlation of decay and nearness (minus the mean distance in the first {EARLY:.0%} of a run), one vote "
        f"a seed and data set: {told(rhos)}. Early distance: "
        f"{by_arm(chosen, decay, lambda run: mean_gap(run, EARLY), '.3g')}. For a fixed trajectory of weights the "
        "bound of Theorem 4.2 grows with the decay, so that the corollary reads it the other way round.",
    )


def decay_matters(runs: Sequence[Run]) -> Claim:
    """Judge that the final accuracy depends on the decay, by more than chance."""
    chosen = decay_arms(runs)
    ratios = [separation(group) for group in grouped(chosen, lambda run: run.data)]
    return Claim(
        "The EMA decay makes a substantial difference to the final accuracy",
        "Section 5.3, Figure 5",
        settle(votes(known(ratios), APART, ALIKE), least=1),
        "Range of the mean final probe over decays in standard deviations between seeds, one vote a data set, for the "
        f"claim from {APART:g} on and against it up to {ALIKE:g}: {listed(ratios) or 'not known'}. "
        f"Mean final probe: {by_arm(chosen, decay, final_probe, '.3f')}.",
    )


def ratio_delays(runs: Sequence[Run]) -> Claim:
    """Judge that hiding more keeps a run in the phase for longer."""
    arms = [run for run in at_base(runs) if run.arm.masking == BASE.masking]
    chosen = telling(arms)
    rhos = [over_arms(group, ratio, escape_step) for group in seeds_of(chosen)]
    return Claim(
        "A higher mask ratio delays the escape from the collapse phase",
        "Section 4.3, Proposition 4.4",
        settle(votes(rhos)),
        f"Rank correlation of mask ratio and step of escape at decay {BASE.decay}, one vote a seed and data set: "
        f"{told(rhos)}. Mean step of escape: {by_arm(chosen, ratio, escape_step, '.0f')}.{untold(arms)}",
    )


def block_varies(runs: Sequence[Run]) -> Claim:
    """Judge that runs differ more from seed to seed under block masks."""
    groups = grouped(at_base(runs), lambda run: (run.data, run.arm.ratio))
    ratios = [wider(group, other) for group in groups for other in ("random", "bernoulli")]
    return Claim(
        "Block masking makes the collapse dynamics vary more from run to run",
        "Section 4.3, Remark B.2",
        settle(votes(known(ratios), WIDER, 1)),
        "Standard deviation of the probe over seeds, mean over training, with block masks over that with random or "
        "Bernoulli ones of the same ratio; one vote for each of these on a data set, for the claim from "
        f"{WIDER:g} on and against it up to 1: "
        f"{listed(ratios) or 'not known, which takes two seeds'}.",
    )
