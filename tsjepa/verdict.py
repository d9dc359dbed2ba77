"""The collapse verdict: which of five states a run is in, read off its diagnostics epoch by epoch.

In this order, each from the last epochs of the history:

==================== ================================================================================================
collapsed            Latents have lost their spread, of the last level or of the objective, against initialisation.
                     The effective rank does not enter: a collapsed run keeps that of its initialisation, scaled down.
positional-collapse  Position explains more of the latents than at initialisation, and predictions nothing else; or
                     position explains next to all of the latents, so that there is nothing else; also from the start
                     on, where there is one series only, or all of them are the same to the encoder.
dimensional-collapse Spread remains, but in a small part of the directions that the width allows and that the
                     initialisation had. The encoder's own last level decides; what a projector leaves of it is quoted
                     beside it, in the evidence of every state, where it is as little.
collapse-phase       The loss has fallen while the effective rank or what predictions carry of the series is below its
                     value at initialisation: an early phase that runs leave or not, see `tsjepa.history`.
healthy              None of these, with the epochs at which a phase began and ended if there was one.
==================== ================================================================================================

The distance between encoder and EMA target has no part in it: it is small for a small learning rate or a small decay,
too. Nor has the probe: labels are quoted in the evidence, as confirmation only.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple

from tsjepa.history import EpochDiagnostics, below_start, phase

State = Literal["healthy", "collapse-phase", "collapsed", "dimensional-collapse", "positional-collapse"]
# States that runs do not come back from
HOPELESS: tuple[State, ...] = ("collapsed", "dimensional-collapse", "positional-collapse")

# "Measured" means on FordA: 577 series, 30 epochs, encoders of width 128 over 10 patches.
# A state has to hold for this many epochs in a row at the end: in their first epochs healthy EMA runs lose two thirds
# of their spread for an epoch or two, and every run's predictions are blind.
SUSTAINED = 5
# Blind predictions beside a position code have to last for so many optimiser steps, too: they are blind in the first
# steps of every run, and small data have two or three an epoch. Measured on sets of 40 to 67 series: healthy runs
# looked so for up to 123 steps.
STEPS = 200
# Share of the possible cross-series gap below which predictions carry nothing of the series. Measured: below 0.01 in
# broken runs (but -0.2 to 0.3 behind a projector of rank 1, where cosines are signs and the share is noise), 0.18 to
# 0.4 at the end of healthy ones, which pass this value in epoch 3 (SIGReg) to 10 (slow EMA).
BLIND = 0.05
# Spread left of that at initialisation. Together with blind predictions it is a collapse from here on. Measured:
# healthy runs never went below 0.35, broken ones ended at 0.11 and less. Not where latents stand still: a frozen
# teacher goes on pulling, and its student came back from 0.14.
SHRUNK = 0.2
# Below this it is a collapse whatever predictions carry: a target that follows its encoder may shrink evenly, so that
# the remainder still tells series apart. Not where latents stand still, either. Measured: 0.15 and more in 104 runs of
# 13 recipes on eight data sets, 30 epochs each.
FADED = 0.1
# Below this, latents are constant for all that follows, a frozen teacher or not.
CONSTANT = 0.02
# What position leaves unexplained of the latents' variance, as a share of that at initialisation. Together with blind
# predictions it is a positional collapse from here on. Measured: 0.02 to 0.66 in broken runs; 0.66 in a healthy SIGReg
# run, so that blindness decides, and 1 and more with an EMA target, which may be blind for many epochs.
UNEXPLAINED_LEFT = 0.8
# Below this, latents are a code of the position for all that follows, whatever predictions tell of their remainder.
# Measured: 0.003 behind a projector of rank 1.
CODE = 0.02
# Position share of series that are all the same, but for rounding.
ALL = 1 - 1e-9
# Effective rank, as a share of min(width, initialisation). Measured: healthy runs fall to 0.77 in the collapse phase.
RANK_LEFT = 0.25


class Verdict(NamedTuple):
    """The state of a run.

    Attributes
    ----------
    verdict : {"healthy", "collapse-phase", "collapsed", "dimensional-collapse", "positional-collapse"}
    onset_epoch : int or None
        The epoch in which the state began; of a healthy run that in which its collapse phase did.
    escape_epoch : int or None
        The first epoch after a collapse phase that was left.
    evidence : str
        The reason, in one sentence.
    """

    verdict: State
    onset_epoch: int | None
    escape_epoch: int | None
    evidence: str


def judge(history: Sequence[EpochDiagnostics], *, dim: int) -> Verdict:
    """Say which state a run is in.

    Parameters
    ----------
    history : sequence of EpochDiagnostics
        In the order of training, the initialisation first.
    dim : int
        Width D of the encoder's last level.

    Returns
    -------
    Verdict

    Raises
    ------
    ValueError
        If the history is empty or does not begin with the initialisation, or the last epoch has no spread: nothing is
        known of it, or it is not finite.

    Examples
    --------
    >>> start = EpochDiagnostics(0, effective_rank=20, relative_spread=0.8, latent_spread=0.8)
    >>> later = EpochDiagnostics(1, 0.1, effective_rank=21, relative_spread=0.01, latent_spread=0.01)
    >>> judge([start, later], dim=128).verdict
    'collapsed'
    """
    if not history:
        raise ValueError("a verdict needs at least the diagnostics at initialisation, but the history is empty.")
    if history[0].epoch:
        raise ValueError(
            f"a verdict compares with the initialisation, but the history begins in epoch {history[0].epoch}."
        )
    if math.isnan(history[-1].relative_spread):
        raise ValueError(f"a verdict needs the spread of the last level, but in epoch {history[-1].epoch} it is nan.")
    for rule in rules(dim):
        onset = since(history, rule)
        if onset is not None:
            return Verdict(rule.state, onset, None, sentence(rule.holds(history[0], history[-1]), history, dim))
    return judge_phase(history, dim)


def since(history: Sequence[EpochDiagnostics], rule: "Rule") -> int | None:
    """Return the epoch since which a rule has held in a row, None if it does not, or not for long enough."""
    first = len(history)
    while first > 1 and rule.holds(history[0], history[first - 1]):
        first -= 1
    epochs, steps = len(history) - first, history[-1].step - history[first - 1].step
    least = min(SUSTAINED, len(history) - 1) if rule.brief else SUSTAINED
    if not epochs or epochs < least or (rule.slow and steps < STEPS):  # unknown steps are not too few
        return None
    return history[first].epoch


def judge_phase(history: Sequence[EpochDiagnostics], dim: int) -> Verdict:
    """Tell a collapse phase that lasts, one that was left, and none."""
    inside = phase(history)
    start, now = history[0], history[-1]
    if not any(inside):
        spread, rank = (now.relative_spread, start.relative_spread), (now.effective_rank, start.effective_rank)
        text = f"the last level has {ratio(*spread):.0%} of the spread and {ratio(*rank):.0%} of the rank at the start"
        text += "; predictions carry nothing of the series yet" if now.cross_series_share < BLIND else ""
        return Verdict("healthy", None, None, sentence(text, history, dim))
    if inside[-1]:
        onset = history[len(inside) - inside[::-1].index(False)].epoch  # of the phase that lasts; the start is in none
        text = f"since epoch {onset}, while the loss has fallen, {below_start(start, now, already=True)}"
        return Verdict("collapse-phase", onset, None, sentence(text, history, dim))
    onset = history[inside.index(True)].epoch
    escape = history[len(inside) - inside[::-1].index(True)].epoch
    phases = sum(now and not before for before, now in pairwise(inside))
    text = f"a collapse phase began in epoch {onset} and was left in epoch {escape}"
    if phases > 1:
        text = f"of {phases} collapse phases the first began in epoch {onset} and the last was left in epoch {escape}"
    return Verdict("healthy", onset, escape, sentence(text, history, dim))


def collapsed(start: EpochDiagnostics, now: EpochDiagnostics) -> str:
    """Return the evidence that last level or latents have lost their spread, whichever has less of it left."""
    if never_spread(start, now):
        return "all tokens of the last level are the same, from the start on: look at the data"
    where, left = spread_left(start, now)
    pulled = still(start, now)
    if left < (CONSTANT if pulled else FADED):
        return f"the {where} kept {left:.1%} of the spread at the start, which is almost nothing"
    if left < SHRUNK and blind(now) and not pulled:
        return f"the {where} kept {left:.1%} of the spread at the start, and predictions carry nothing of the series"
    return ""


def spread_left(start: EpochDiagnostics, now: EpochDiagnostics) -> tuple[str, float]:
    """Return whichever of last level and latents has less of its spread at the start left, and how much; nan: unknown.

    Examples
    --------
    >>> start = EpochDiagnostics(0, relative_spread=0.8, latent_spread=0.5)
    >>> spread_left(start, EpochDiagnostics(1, relative_spread=0.8, latent_spread=0.25))
    ("objective's latents", 0.5)
    """
    shares = {
        "last level": ratio(now.relative_spread, start.relative_spread),
        "objective's latents": ratio(now.latent_spread, start.latent_spread),
    }
    where = min(shares, key=lambda name: math.inf if math.isnan(shares[name]) else shares[name])
    return where, shares[where]


def never_spread(start: EpochDiagnostics, now: EpochDiagnostics) -> bool:
    """Return whether all tokens of the last level are the same, and were so before training."""
    return start.relative_spread == now.relative_spread == 0


def alike(start: EpochDiagnostics, now: EpochDiagnostics) -> str:
    """Return the evidence that there never was more than the position: one series, or all of them the same."""
    if min(start.position_share, now.position_share) < ALL or math.isnan(start.position_share + now.position_share):
        return ""
    return (
        "position explains all of the latents, from the start on: there is one series only, or the series are the same "
        "to the encoder, as constant ones are; look at the data"
    )


def positional(start: EpochDiagnostics, now: EpochDiagnostics) -> str:
    """Return the evidence that latents have turned into a code of the position, which is all that predictions know."""
    if sure := coded(start, now):
        return sure
    if unexplained_left(start, now) < UNEXPLAINED_LEFT and blind(now):
        return f"{position_shares(start, now)} and predictions fit their own series no better than another one"
    return ""


def coded(start: EpochDiagnostics, now: EpochDiagnostics) -> str:
    """Return the evidence that position explains next to all of the latents, whatever predictions carry."""
    if unexplained_left(start, now) < CODE:
        return f"{position_shares(start, now)}, which is almost all of it"
    return ""


def unexplained_left(start: EpochDiagnostics, now: EpochDiagnostics) -> float:
    """Return what position leaves unexplained as a share of that at the start, nan where it left nothing then."""
    return ratio(1 - now.position_share, 1 - start.position_share)


def position_shares(start: EpochDiagnostics, now: EpochDiagnostics) -> str:
    """Say how much of the latents position explains."""
    shares = now.position_share, start.position_share
    return "position explains {:.1%} of the latents' variance ({:.1%} at the start)".format(*shares)


def dimensional(start: EpochDiagnostics, now: EpochDiagnostics, dim: int) -> str:
    """Return the evidence that the last level uses few of its directions."""
    allowed = allowed_rank(start, dim)
    few = now.effective_rank < RANK_LEFT * allowed
    return f"the last level uses {now.effective_rank:.1f} of {allowed:.1f} directions" if few else ""


class Rule(NamedTuple):
    """How a state is told.

    Attributes
    ----------
    state : State
    holds : callable
        Start, now -> the evidence, empty where an epoch by itself does not show the state.
    brief : bool
        Whether all epochs of a run of fewer than SUSTAINED are enough.
    slow : bool
        Whether it has to hold for STEPS optimiser steps, too.
    """

    state: State
    holds: Callable[[EpochDiagnostics, EpochDiagnostics], str]
    brief: bool = False
    slow: bool = False


def rules(dim: int) -> tuple[Rule, ...]:
    """Return the rules for a width, of which the first one that holds decides.

    Examples
    --------
    >>> [rule.state for rule in rules(128) if rule.brief]
    ['collapsed', 'positional-collapse']
    """
    return (
        # spread that is gone is gone in a run of one or two epochs, too, and what never was there does not come
        Rule("collapsed", collapsed, brief=True),
        Rule("positional-collapse", alike, brief=True),
        Rule("positional-collapse", positional, slow=True),
        Rule("positional-collapse", coded),
        Rule("dimensional-collapse", partial(dimensional, dim=dim)),
    )


def lost(start: EpochDiagnostics, now: EpochDiagnostics, dim: int) -> bool:
    """Tell whether an epoch by itself shows one of the states that runs do not come back from."""
    return any(rule.holds(start, now) for rule in rules(dim))


def allowed_rank(start: EpochDiagnostics, dim: int) -> float:
    """Return the effective rank that width and initialisation allow."""
    return dim if math.isnan(start.effective_rank) else min(dim, start.effective_rank)


def ranks(start: EpochDiagnostics, now: EpochDiagnostics, dim: int) -> str:
    """Return the ranks of latents and last level where either uses few of its directions."""
    latents, last = now.latent_effective_rank, now.effective_rank
    few = RANK_LEFT * allowed_rank(start, dim)
    if math.isnan(latents + last) or min(latents, last) >= few:
        return ""
    if latents < few <= last:
        return f"; dimensional where the loss is computed (rank {latents:.1f}), not in the encoder ({last:.1f})"
    return f"; the rank is {latents:.1f} where the loss is computed and {last:.1f} in the encoder"


def blind(now: EpochDiagnostics) -> bool:
    """Tell whether predictions carry nothing of the series; nan, so nothing to tell apart, counts as nothing."""
    return not now.cross_series_share >= BLIND


def still(start: EpochDiagnostics, now: EpochDiagnostics) -> bool:
    """Tell whether latents are those of the start, so that a shrinking encoder does not drag its target along."""
    return math.isclose(now.latent_spread, start.latent_spread, rel_tol=1e-6)


def ratio(now: float, start: float) -> float:
    """Return now / start, nan without a start to compare with."""
    return now / start if start > 0 else math.nan


def to_be_ended(history: Sequence[EpochDiagnostics], *, dim: int) -> bool:
    """Tell whether training has brought a run into a state that runs do not come back from.

    Data that never told anything apart do so before the first step, and training changes nothing in that.

    Parameters
    ----------
    history : sequence of EpochDiagnostics
        In the order of training, the initialisation first.
    dim : int
        Width D of the encoder's last level.

    Examples
    --------
    >>> start = EpochDiagnostics(0, effective_rank=20, relative_spread=0.8, latent_spread=0.8)
    >>> to_be_ended([start, start._replace(epoch=1, relative_spread=0.01)], dim=128)
    True
    """
    start, now = history[0], history[-1]
    nothing = never_spread(start, now) or alike(start, now)
    return judge(history, dim=dim).verdict in HOPELESS and not nothing


def of_both(teacher: Verdict | None, own: Verdict | None) -> Verdict | None:
    """Return the verdict on a run in two stages: the teacher's where it has collapsed, for a student learns it.

    Examples
    --------
    >>> own = Verdict("healthy", None, None, "The last level has 90% of the spread at the start.")
    >>> of_both(Verdict("collapsed", 3, None, "The last level kept 1% of it."), own).evidence
    'Of the teacher: the last level kept 1% of it.'
    """
    if teacher is None or own is None or teacher.verdict not in HOPELESS:
        return own
    return teacher._replace(evidence=f"Of the teacher: {teacher.evidence[0].lower()}{teacher.evidence[1:]}")


def sentence(text: str, history: Sequence[EpochDiagnostics], dim: int) -> str:
    """Make the evidence a sentence, with narrow ranks, and the probe's accuracy as confirmation where there is one."""
    first, last = history[0].probe, history[-1].probe
    quoted = "" if math.isnan(first + last) else f" (probe: {first:.3f} at the start, {last:.3f} now)"
    return f"{text[0].upper()}{text[1:]}{ranks(history[0], history[-1], dim)}{quoted}."
