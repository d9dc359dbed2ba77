"""The figures of a collapse study, drawn without a display."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from tsjepa.evaluation.claims import FEWEST, telling
from tsjepa.evaluation.curves import escape_step, phase_steps
from tsjepa.evaluation.diagnosis_figures import say_nothing
from tsjepa.evaluation.drawn_text import plain_text
from tsjepa.evaluation.rows import BASE, Arm, Run
from tsjepa.evaluation.votes import at_base, decay_arms, grouped

# What a picture's file says of where it comes from
DRAWN_BY = "tsjepa"
PANELS = (
    ("loss", "loss", "linear"),
    ("probe", "probe accuracy", "linear"),
    ("gap", "encoder-EMA distance", "log"),
    ("effective_rank", "effective rank", "linear"),
)


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draw all figures of a study by the names of their files.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    dict of str to Figure
        `curves-<data>` and `masks-<data>` for each data set, `phase` and `masking`; nothing without runs.

    Examples
    --------
    >>> figures([])
    {}
    """
    if not runs:
        return {}
    found, names = {}, file_names(run.data for run in runs)
    for group in grouped(runs, lambda run: run.data):
        name, data = names[group[0].data], group[0].data
        found[f"curves-{name}"] = curves(decay_arms(group), f"{data}: each EMA decay", lambda arm: f"{arm.decay:g}")
        title = f"{data}: each mask at decay {BASE.decay:g}"
        found[f"masks-{name}"] = curves(at_base(group), title, lambda arm: f"{arm.masking} {arm.ratio:g}")
    return {**found, "phase": phase_figure(runs), "masking": masking_figure(runs)}


def safe(name: str) -> str:
    """Return a name that is fit for a file: that of a data set may be anything.

    Examples
    --------
    >>> safe("pump 7/a")
    'pump_7_a'
    """
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Return what each name is called in a file; where two would be called alike, each ends in a digest of its name.

    Examples
    --------
    >>> file_names(["pump 7", "fan", "fan"])
    {'pump 7': 'pump_7', 'fan': 'fan'}
    """
    each = list(dict.fromkeys(names))
    # some file systems do not tell capitals from small letters
    alike = Counter(safe(name).casefold() for name in each)
    return {
        name: safe(name) if alike[safe(name).casefold()] == 1 else f"{safe(name)}-{short_digest(name)}" for name in each
    }


def short_digest(name: str) -> str:
    """Return a few signs that another name does not share."""
    return hashlib.sha256(name.encode()).hexdigest()[:6]


def image(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Return the content of a file, which says by whom it was drawn; the same figure gives the same bytes."""
    content = io.BytesIO()
    metadata = {"Software": DRAWN_BY} if kind == "png" else {"Creator": DRAWN_BY, "Date": None}
    with mpl.rc_context({"svg.hashsalt": "tsjepa"}):
        figure.savefig(content, format=kind, dpi=120, metadata=metadata)
    return content.getvalue()


def curves(runs: Sequence[Run], title: str, label: Callable[[Arm], str]) -> Figure:
    """Draw loss, probe, distance and rank over training, a line an arm: mean over seeds, and their range."""
    figure = Figure(figsize=(15, 3.8), layout="constrained")
    figure.suptitle(plain_text(f"{title}, mean and range over seeds"))
    arms = sorted(grouped(runs, lambda run: run.arm), key=lambda arm: arm[0].arm)
    for axes, (name, measure, scale) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for place, arm in enumerate(arms):
            colour = mpl.colormaps["viridis"](0.9 * place / max(len(arms) - 1, 1))
            draw_curve(axes, arm, name, label(arm[0].arm), colour)
        axes.set(xlabel="steps", title=measure, yscale=scale)
        # at least two ticks of a single step would be fractions
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        if empty(axes):
            say_nothing(axes, "not measured" if runs else "no such run")
        elif scale == "log":
            write_plainly(axes)
    if arms:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def draw_curve(
    axes: Axes, runs: Sequence[Run], name: str, label: str, colour: tuple[float, float, float, float]
) -> None:
    """Draw one measure of the seeds of an arm; an arm that is too short to tell is dashed."""
    # at initialisation there is no loss, and a distance of zero, which a logarithm does not show
    start = 1 if name in ("loss", "gap") else 0
    steps = [row.step for row in runs[0].curve[start:]]
    values = np.array([[getattr(row, name) for row in run.curve[start:]] for run in runs])
    line, marker = "-" if runs[0].decided else "--", "o" if len(steps) == 1 else ""  # one point makes no line
    axes.plot(steps, values.mean(0), line, marker=marker, markersize=4, color=colour, label=label)
    axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)


def empty(axes: Axes) -> bool:
    """Tell whether nothing is to be seen, since nothing was drawn, or what is no number."""
    return not any(np.isfinite(np.asarray(line.get_ydata(), float)).any() for line in axes.lines)


def write_plainly(axes: Axes) -> None:
    """Write numbers without powers of ten on a scale of logarithms that spans less than one."""
    low, high = axes.get_ylim()
    if high < 10 * low:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))


def phase_figure(runs: Sequence[Run]) -> Figure:
    """Draw the length of the phase against the memory of the EMA target."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    chosen = [run for run in telling(decay_arms(runs)) if run.decided]
    for group in grouped(chosen, lambda run: run.data):
        points(axes, group, lambda arm: 1 / (1 - arm.decay), phase_steps, group[0].data)
    # limits that hold all decays of a study, set first: a logarithm finds none for a single one
    axes.set(xlim=(5, 20_000), xscale="log")
    axes.set(xlabel="memory of the EMA, 1 / (1 - decay) steps", ylabel="steps in the collapse phase")
    finish(axes, "Corollary 4.3: a longer phase with a larger decay?")
    return figure


def masking_figure(runs: Sequence[Run]) -> Figure:
    """Draw the step of escape against the mask ratio, a line a kind of mask."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    chosen = [run for run in telling(at_base(runs)) if run.decided]
    for group in grouped(chosen, lambda run: (run.data, run.arm.masking)):
        points(axes, group, lambda arm: arm.ratio, escape_step, f"{group[0].data}, {group[0].arm.masking}")
    axes.set(xlabel="mask ratio", ylabel="step at which the phase was left")
    finish(axes, f"Section 4.3: masks at decay {BASE.decay:g}")
    return figure


def points(axes: Axes, runs: Sequence[Run], x: Callable[[Arm], float], y: Callable[[Run], float], label: str) -> None:
    """Draw a point a run and a line through the means of the arms."""
    arms = sorted(grouped(runs, lambda run: run.arm), key=lambda arm: x(arm[0].arm))
    means = [np.mean([y(run) for run in arm]) for arm in arms]
    (line,) = axes.plot([x(arm[0].arm) for arm in arms], means, "o-", markersize=3, label=plain_text(label))
    axes.plot([x(run.arm) for run in runs], [y(run) for run in runs], ".", color=line.get_color(), alpha=0.4)


def finish(axes: Axes, title: str) -> None:
    """Add title and grid, and a legend if there is something to name, else the reason why there is not."""
    axes.set_title(title)
    axes.grid(alpha=0.3)
    if empty(axes):
        say_nothing(
            axes, f"no such run was as long as the memory of its EMA\nand measured {FEWEST} times after initialisation"
        )
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")
