"""The page of a collapse study: one HTML file that needs nothing beside it."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from tsjepa.evaluation.claims import Claim
from tsjepa.evaluation.curves import escape_step, final_probe, in_phase, mean_gap, phase_steps
from tsjepa.evaluation.rows import Run
from tsjepa.evaluation.votes import grouped, mean

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430;
  background: #fff; }
table { border-collapse: collapse; font-size: 14px; }
th, td { border-bottom: 1px solid #d5dae1; padding: .25rem .7rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
article { border: 1px solid #d5dae1; border-left: .4rem solid var(--mark); border-radius: .3rem; padding: .2rem 1rem;
  margin: .8rem 0; }
article h3 { margin: .5rem 0 0; font-size: 1rem; }
.verdict { color: var(--mark); font-weight: 700; text-transform: uppercase; font-size: .8rem; }
.confirmed { --mark: #1a7f4b; } .refuted { --mark: #b3261e; } .undecided { --mark: #666e7a; }
.source { color: #59636f; font-size: .85rem; }
.wide { overflow-x: auto; } img { max-width: 100%; height: auto; }
"""
PAPER = (
    "Ennadir, Zólyomi and Smirnov 2026, <cite>Understanding Early Collapse in Predictive World-Model Pretraining</cite>"
)
COLUMNS = ("arm", "runs", "steps", "steps in phase", "step of escape", "probe at start", "probe at end", "distance")


def page(runs: Sequence[Run], claims: Sequence[Claim], images: Mapping[str, bytes]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    runs : sequence of Run
    claims : sequence of Claim
        From `tsjepa.evaluation.claims.judge_claims`.
    images : mapping of str to bytes
        SVG files by title.

    Returns
    -------
    str

    Examples
    --------
    >>> page([], [], {}).splitlines()[0]
    '<!doctype html>'
    """
    drawn = "".join(figure(title, content) for title, content in images.items())
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Collapse study</title>
<style>{STYLE}</style></head>
<body>
<h1>The early collapse phase, claim by claim</h1>
<p>The claims of {PAPER}, put to {len(runs)} training runs on {escape(names(runs))}. A probe is a ridge classifier on
the mean token of the last level, cross-validated inside the training part. A run is in the phase while its loss has
fallen and its probe is below that of its initialisation (without labels: its effective rank or what predictions carry
of the series). Each claim is put to the vote of runs or seeds: two thirds of them, and of three at least, decide, and
what is left is undecided. On the final accuracy each data set has one vote, and one is enough.
{escape(without_probe(runs))}</p>
<h2>Claims: {tally(claims)}</h2>
{"".join(map(article, claims))}
<h2>Figures</h2>
{drawn}
<h2>Arms</h2>
<p>Means over seeds. The step of escape is that of the runs that had a phase, - where none had one; &gt; marks arms with
a run that was still in it at its end, which counts as its step. {too_short(runs)}</p>
{"".join(map(table, grouped(runs, lambda run: run.data)))}
</body>
</html>
"""


def names(runs: Sequence[Run]) -> str:
    """Return the names of the data sets."""
    return ", ".join(dict.fromkeys(run.data for run in runs)) or "no data"


def tally(claims: Sequence[Claim]) -> str:
    """Count the verdicts."""
    verdicts = [claim.verdict for claim in claims]
    return ", ".join(f"{verdicts.count(kind)} {kind}" for kind in ("confirmed", "refuted", "undecided"))


def article(claim: Claim) -> str:
    """Return one claim with its verdict and evidence."""
    return (
        f'<article class="{claim.verdict}"><h3>{escape(claim.claim)}</h3>'
        f'<p><span class="verdict">{claim.verdict}</span> <span class="source">{escape(claim.source)}</span><br>'
        f"{escape(claim.evidence)}</p></article>\n"
    )


def figure(title: str, content: bytes) -> str:
    """Return an SVG file as an image inside the page: apart, so that the ids of several do not mix."""
    source = base64.b64encode(content).decode()
    return f'<p><img alt="{escape(title)}" src="data:image/svg+xml;base64,{source}"></p>\n'


def without_probe(runs: Sequence[Run]) -> str:
    """Say on which data there is no probe; nothing where there is one on all."""
    blind = [run for run in runs if not run.probed]
    if not blind:
        return ""
    return (
        f"There is no probe on data without two classes of two series or more ({names(blind)}): what claims ask of one "
        "is not known there."
    )


def too_short(runs: Sequence[Run]) -> str:
    """Say which arms are left out of every claim."""
    arms = dict.fromkeys(f"{run.data} at {run.arm}" for run in runs if not run.decided)
    if not arms:
        return "Every run was long enough to count."
    return (
        "Undecided, since shorter than 1 / (1 - decay) steps, dashed in the figures and left out of every claim: "
        f"{escape('; '.join(arms))}."
    )


def table(runs: Sequence[Run]) -> str:
    """Return the arms of one data set."""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    arms = sorted(grouped(runs, lambda run: run.arm), key=lambda arm: arm[0].arm)
    body = "\n".join(map(line, arms))
    return f'<h3>{escape(runs[0].data)}</h3><div class="wide"><table><tr>{head}</tr>\n{body}</table></div>\n'


def line(runs: Sequence[Run]) -> str:
    """Return the means of one arm."""
    means = (
        mean(map(phase_steps, runs), ".0f"),
        left_at(runs),
        mean((run.curve[0].probe for run in runs), ".3f"),
        mean(map(final_probe, runs), ".3f"),
        mean(map(mean_gap, runs), ".3g"),
    )
    cells = "".join(f"<td>{cell}</td>" for cell in (len(runs), runs[0].steps, *means))
    mark = "" if runs[0].decided else " (undecided)"
    return f"<tr><td>{escape(str(runs[0].arm))}{mark}</td>{cells}</tr>"


def left_at(runs: Sequence[Run]) -> str:
    """Return the mean step at which runs of one arm left the phase, as HTML."""
    inside = [run for run in runs if any(in_phase(run))]
    if not inside:
        return "-"
    still = any(in_phase(run)[-1] for run in inside)
    return f"{'&gt; ' if still else ''}{mean(map(escape_step, inside), '.0f')}"
