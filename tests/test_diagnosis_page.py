"""The page of a diagnosis: every figure and number, escaped, and nothing that it would load."""

import re
from html.parser import HTMLParser

from diagnosed import models, split_of

from tsjepa.evaluation.diagnosis import diagnose
from tsjepa.evaluation.diagnosis_page import Subject, page
from tsjepa.evaluation.explanations import EXPLANATIONS
from tsjepa.history import EpochDiagnostics
from tsjepa.verdict import Verdict


class Checker(HTMLParser):
    """Sees tags that do not close, identifiers twice, and what a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.loads += [given[name] for name in ("src", "href", "xlink:href") if name in given]


HEADINGS = ("Training", "Latents of the last level", "Map of the embeddings", "Accuracy of the frozen probe",
            "Sparsity of activations", "Accuracy lost without single parts", "Numbers")  # fmt: skip


def check_page(text: str) -> Checker:
    seen = Checker(text)
    assert seen.open == []
    assert len(seen.ids) == len(set(seen.ids))
    assert not {"script", "link", "img", "iframe", "object"} & set(seen.tags)
    assert all(target.startswith("#") and target[1:] in seen.ids for target in seen.loads)
    referred = {target[1:] for target in seen.loads} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert referred == set(seen.ids)
    assert set(re.findall(r'https?://[^"\s<]*', text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "#010203" not in text
    return seen


def test_the_page_has_every_figure_and_stands_alone() -> None:
    model, untrained, config = models()
    found = diagnose(model, untrained, split_of(), config.probe)
    verdict = Verdict("dimensional-collapse", 3, None, "The last level uses 2.0 of 13.0 directions & <no> more.")
    history = [EpochDiagnostics(0, effective_rank=13.0), EpochDiagnostics(1, 0.5, effective_rank=2.0)]
    text = page(Subject("<run>", "waves", ("$calm$", "_worn"), verdict, history), found)
    assert check_page(text).tags.count("svg") == 7
    for heading in HEADINGS:
        assert f"<h2>{heading}" in text
    assert "13.0 directions &amp; &lt;no&gt; more." in text
    assert "Diagnosis of &lt;run&gt;" in text
    assert text.index("dimensional-collapse") < text.index("<svg")
    for name in EXPLANATIONS:
        assert f"<code>{name}</code>" in text
    without_run = page(Subject("x", "waves", None, None, ()), found)
    assert check_page(without_run).tags.count("svg") == 6
    assert "no verdict" in without_run


def test_every_explained_number_exists() -> None:
    model, untrained, config = models()
    assert set(EXPLANATIONS) <= set(diagnose(model, untrained, split_of(), config.probe).values())
