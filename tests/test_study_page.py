"""Figures and the page of the collapse study."""

import base64
import math
import re

from matplotlib.axes import Axes
from studies import NAMES, by_decay, dip, make_run

from tsjepa.evaluation.claims import judge_claims
from tsjepa.evaluation.rows import Arm, Run
from tsjepa.evaluation.study_figures import figures, image, safe
from tsjepa.evaluation.study_page import page


def test_figures_are_the_same_bytes_each_time() -> None:
    runs = [*by_decay(lambda place, arm, seed: make_run(arm, seed, **dip(place, 8))), make_run(Arm(0.9999), **dip(2))]
    drawn = figures(runs)
    assert set(drawn) == {"curves-pump", "masks-pump", "phase", "masking"}
    lines = [axes.lines for axes in drawn["curves-pump"].axes]
    assert [[line.get_linestyle() for line in each].count("--") for each in lines] == [1] * 4  # the one too short
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
    neither = ["no such run was as long as the memory of its EMA\nand measured 3 times after initialisation"]
    assert said(drawn["phase"].axes[0]) == said(drawn["masking"].axes[0]) == neither
    assert [said(axes) for axes in figures([short(0.9, 8.9)])["masks-pump"].axes] == [["no such run"]] * 4


def test_figures_of_the_phase_show_the_runs_that_have_a_vote_on_it() -> None:
    whole = [make_run(arm, **dip(2)) for arm in (Arm(0.9), Arm(0.998), Arm(0.998, ratio=0.3))]
    seldom = [run._replace(data="fan", curve=run.curve[:3]) for run in whole]
    for name, label in (("phase", "pump"), ("masking", "pump, random")):
        for runs in (whole, [*seldom, *whole]):
            assert figures(runs)[name].axes[0].get_legend_handles_labels()[1] == [label]


def test_a_single_step_has_a_whole_number_and_any_name_is_drawn() -> None:
    run = make_run(Arm(0.9), every=1, probe=(0.8, 0.7), gap=(0.0, 9.0), loss=(math.nan, 0.5), rank=(9.0, 8.0))
    drawn = figures([run._replace(data="cost$^$"), run._replace(data="_pump")])
    for figure in drawn.values():
        assert image(figure, "svg")
    loss = drawn["curves-cost___"].axes[0]
    low, high = loss.get_xlim()
    assert [tick for tick in loss.get_xticks() if low <= tick <= high] == [1]


def said(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_page_escapes_names_and_needs_nothing_beside_it() -> None:
    run = make_run(data="<b>&pump")
    text = page([run, make_run(Arm(0.9999))], judge_claims([run]), {"phase": b"<svg/>"})
    assert "<b>&pump" not in text
    assert "&lt;b&gt;&amp;pump" in text
    assert base64.b64encode(b"<svg/>").decode() in text
    assert not re.search(r"(src|href)=\"(?!data:)|<script|url\(", text)
    assert "dashed in the figures and left out of every claim: pump at decay 0.9999, random 0.7." in text
    assert text.count("<article") == len(NAMES)


def test_the_step_of_escape_is_of_runs_with_a_phase_and_marked_if_one_was_not_left() -> None:
    never, left, still = (make_run(seed=k, **dip(length)) for k, length in enumerate((0, 2, 4)))
    for runs, cell in (
        ((never,), "-"),
        ((left,), "4000"),
        ((never, left), "4000"),
        ((still,), "&gt; 5000"),
        ((never, left, still), "&gt; 4500"),
    ):
        cells = re.findall("<td>(.*?)</td>", page(runs, [], {}))
        assert cells[4] == cell
