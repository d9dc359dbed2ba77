"""A diagnosis as one HTML page that needs nothing else: no network, no script, light or dark as the reader has it."""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tsjepa.evaluation import diagnosis_figures as draw
from tsjepa.evaluation.accuracy import Labels
from tsjepa.evaluation.diagnosis import ENCODERS, Diagnosis, prefix
from tsjepa.evaluation.explanations import EXPLANATIONS
from tsjepa.evaluation.finite import Number
from tsjepa.evaluation.svg import styled, to_svg
from tsjepa.history import EpochDiagnostics
from tsjepa.verdict import Verdict

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
p { margin: .3rem 0 .8rem; max-width: 48rem; }
.facts { opacity: .75; }
.verdict { border: 1px solid #80808060; border-left: .4rem solid #808080; border-radius: .3rem; padding: .7rem 1rem; }
.verdict.good { border-left-color: #2aa583; }
.verdict.watch { border-left-color: #e0a01e; }
.verdict.bad { border-left-color: #d9604c; }
.verdict strong { font-size: 1.2rem; }
figure { margin: .5rem 0; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; }
.pair figure { flex: 1 1 24rem; }
svg { height: auto; max-width: 100%; width: 100%; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { border-bottom: 1px solid #80808040; padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
td.number, th.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
code { font-size: .9em; }
"""
TONES = {"healthy": "good", "collapse-phase": "watch"}


class Subject(NamedTuple):
    """What a page is about.

    Attributes
    ----------
    checkpoint, data : str
    classes : tuple of str, optional
        The names behind the codes of the labels.
    verdict, history
        Of the run.
    remarks : tuple of str
        Sentences about the verdict, or why there is none, and about numbers that are missing.
    run_data : str, optional
        What the run was on, where it is not `data`.
    channels : tuple of str, optional
        Names of the channels, where they are known.
    """

    checkpoint: str
    data: str
    classes: tuple[str, ...] | None
    verdict: Verdict | None
    history: Sequence[EpochDiagnostics]
    remarks: tuple[str, ...] = ()
    run_data: str | None = None
    channels: tuple[str, ...] | None = None


class Section(NamedTuple):
    """A heading, what the figures below it show, and the figures by name."""

    title: str
    text: str
    figures: dict[str, Callable[[], Figure]]


def page(subject: Subject, found: Diagnosis) -> str:
    """Return the page.

    Parameters
    ----------
    subject : Subject
    found : Diagnosis

    Returns
    -------
    str
        HTML that ends with a line break; the same for the same arguments.
    """
    with styled():
        sections = "\n".join(show(section) for section in plan(subject, found))
    title = escape(f"Diagnosis of {subject.checkpoint}")
    verdict = show_verdict(subject.verdict, subject.remarks)
    facts = f"Data: {subject.data}, {found.n_train} training series; {found.n_shown} series in maps and curves."
    if 0 < found.n_dropped < found.n_channels:
        facts += f" {found.n_dropped} of {found.n_channels} channels, evenly spaced, are left out in turn."
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f'<p class="facts">{escape(facts)}</p>\n{verdict}\n{sections}\n{table(found)}\n'
        "</body>\n</html>\n"
    )


def show_verdict(verdict: Verdict | None, remarks: Sequence[str]) -> str:
    """Return the verdict with its evidence."""
    said = "".join(f" {remark[0].upper()}{remark[1:]}" for remark in remarks)
    if verdict is None:
        return f'<p class="verdict"><strong>no verdict</strong><br>{escape(said.lstrip())}</p>'
    tone = TONES.get(verdict.verdict, "bad")
    text = f"<strong>{escape(verdict.verdict)}</strong><br>{escape(verdict.evidence + said)}"
    return f'<p class="verdict {tone}">{text}</p>'


def plan(subject: Subject, found: Diagnosis) -> list[Section]:
    """Return the sections in their order: of the training where a run tells of it, of accuracy where there is one."""
    dashed = " Missing channel: dashed lines are with all channels." if found.n_dropped else ""
    sections = [
        Section(
            "Tokens of the last level",
            "A curve that drops after a few directions means a dimensional collapse. A variance over series near 0 at "
            "all positions means that tokens tell no series from another. A collapse behind the projector does not "
            "show here, but in the curves of latents over epochs.",
            {
                "Spectrum of the covariance of tokens": lambda: draw.spectrum(found),
                "Variance over series by position": lambda: draw.positions(found),
            },
        ),
        Section(
            "Map of the embeddings",
            "First two principal components of the last level, pooled as for the probe." + repeated(found.map_labels),
            {"Embeddings by class": lambda: draw.maps(found, subject.classes)},
        ),
    ]
    spoilt = Section(
        "Accuracy of the frozen probe on spoilt series",
        "Fitted once on clean training series, then scored on test series that are spoilt more and more. "
        "Curves that fall steeply mark features that the probe can use and a sensor cannot keep." + dashed,
        {"Accuracy under perturbations": lambda: draw.perturbed(found, subject.channels)},
    )
    sparse = Section(
        "Sparsity of activations on spoilt series",
        "Behind the GELU of each block's MLP: 0 if all units answer alike, 1 if a single one does." + dashed,
        {"Sparsity under perturbations": lambda: draw.sparsity(found, subject.channels)},
    )
    parts = Section(
        "Accuracy lost without single parts",
        "Each attention head and each MLP is zeroed in turn, and the probe of the last level stays as it is. "
        "One high bar is a part that much depends on; below 0 the part did harm.",
        {"Accuracy lost by part": lambda: draw.ablation(found)},
    )
    sections += [sparse] if found.majority is None else [spoilt, sparse, parts]
    if not subject.history:
        return sections
    whose = "" if subject.run_data is None else f" of {escape(subject.run_data)}"
    text = f"Epoch 0 is the initialisation. Measured on a fixed sample of training series{whose}."
    return [Section("Training", text, {"Training by epoch": lambda: draw.training(subject.history)}), *sections]


def repeated(y: Labels | None) -> str:
    """Say that classes share colours, where there are more than the map has colours."""
    n_classes = 0 if y is None or y.dtype.kind == "f" else len(np.unique(y))
    return f" {n_classes} classes: colours repeat, so there is no legend." if n_classes > len(draw.CLASSES) else ""


def show(section: Section) -> str:
    """Return a section as HTML."""
    figures = "\n".join(
        f"<figure>{to_svg(make(), name.lower().replace(' ', '-'), name)}</figure>"
        for name, make in section.figures.items()
    )
    return f'<h2>{section.title}</h2>\n<p>{section.text}</p>\n<div class="pair">\n{figures}\n</div>'


def table(found: Diagnosis) -> str:
    """Return the numbers that have an explanation, a column an encoder."""
    values = found.values()
    shown = [who for who in ENCODERS if who in found.maps]
    head = "".join(f'<th class="number">{draw.NAMES[who]}</th>' for who in shown)
    rows = []
    for name, explanation in EXPLANATIONS.items():
        numbers = "".join(f'<td class="number">{write(values.get(prefix(who) + name))}</td>' for who in shown)
        rows.append(f"<tr><td><code>{name}</code></td>{numbers}<td>{escape(explanation)}</td></tr>")
    return (
        '<h2>Numbers</h2>\n<div class="scroll"><table>\n'
        f"<thead><tr><th>name</th>{head}<th>what it is</th></tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody>\n</table></div>"
    )


def write(value: Number) -> str:
    """Return a number for reading, a dash where there is none.

    Examples
    --------
    >>> write(0.125), write(12.0), write(None)
    ('0.125', '12', '-')
    """
    return "-" if value is None else f"{value:.4g}"
