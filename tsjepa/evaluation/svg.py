"""Figures as SVG for a page of their own: no network, no script, the page's own colour of text, the same each time."""

import io
import re
import warnings
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

# Stands for the text's colour while matplotlib draws, and is the page's own afterwards, be that light or dark
INK = "#010203"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tsjepa",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#808080",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
# matplotlib writes who made a file and when, and where its vocabulary lies; a figure inside a page needs none of it
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def styled() -> Any:
    """Return the context that figures are made and written in."""
    return rc_context(STYLE)


def to_svg(figure: Figure, name: str, title: str) -> str:
    """Return a figure as an element to put into HTML.

    Parameters
    ----------
    figure : Figure
    name : str
        Unique in the page: what the identifiers inside begin with.
    title : str
        What is shown, for those who do not see it.

    Returns
    -------
    str

    Examples
    --------
    >>> text = to_svg(Figure(), "empty", "nothing")
    >>> text[:4], text[-6:], "http://www.w3.org/2000/svg" in text
    ('<svg', '</svg>', True)
    """
    stream = io.StringIO()
    with warnings.catch_warnings():
        # the page's fonts draw the text, so that it does not matter what matplotlib's own lacks
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(stream, format="svg", transparent=True, metadata=NO_METADATA)
    text = stream.getvalue()
    # an XML declaration and a document type have no place inside HTML
    text = text[text.index("<svg") : text.rindex("</svg>") + len("</svg>")]
    text = text.replace(INK, "currentColor")
    # inside one page identifiers have to be unique, and those that nothing refers to are not needed
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text))
    wanted = {one or other for one, other in used}
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in wanted else "", text)
    text = text.replace("url(#", f"url(#{name}-")
    text = text.replace('href="#', f'href="#{name}-')
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
