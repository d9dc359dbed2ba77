"""What the rows of a transfer say: means by method, by pair, by number of labels and by recording."""

from collections.abc import Sequence

import numpy as np

from tsjepa.evaluation.benchmark_figures import Pictures, few_labels_figures
from tsjepa.evaluation.benchmark_summary import few_labels_table, markdown, mean, paired_table, shared_draws
from tsjepa.evaluation.benchmark_table import FewLabels
from tsjepa.evaluation.benchmark_transfer import ALL, Recording, Transferred


def transfer_means(rows: Sequence[Transferred]) -> dict[str, dict[str, float | int | None]]:
    """Return `{method: {mean_accuracy, n_data}}` with all labels; `n_data` counts pairs of a head's data and target.

    Examples
    --------
    >>> transfer_means([])
    {}
    """
    found: dict[str, dict[str, float | int | None]] = {}
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if (row.method, row.labels) == (method, ALL) and row.accuracy is not None]
        pairs = {(row.fit_on, row.target) for row in own}
        accuracy = mean([row.accuracy for row in own if row.accuracy is not None])
        found[method] = {"mean_accuracy": None if np.isnan(accuracy) else accuracy, "n_data": len(pairs)}
    return found


def draws_of(rows: Sequence[Transferred]) -> list[FewLabels]:
    """Return the draws of few labels in the form of a benchmark's, by target."""
    return [
        FewLabels(row.target, row.method, row.seed, 0, row.labels, row.n_labels or 0, row.draw, row.accuracy)
        for row in rows
        if row.labels != ALL and row.fit_on == row.target
    ]


def transfer_figures(rows: Sequence[Transferred]) -> Pictures:
    """Draw the few-label curves of each target.

    Examples
    --------
    >>> transfer_figures([]).missing
    ('no few-label curve: no head was fitted on few labels of its own target.',)
    """
    few = draws_of(rows)
    if not few:
        return Pictures({}, ("no few-label curve: no head was fitted on few labels of its own target.",))
    return Pictures(few_labels_figures(few), ())


def transfer_summary(rows: Sequence[Transferred], recordings: Sequence[Recording], remarks: Sequence[str] = ()) -> str:
    """Return everything as Markdown.

    Parameters
    ----------
    rows, recordings : sequence of rows
    remarks : sequence of str
        One sentence each.

    Returns
    -------
    str
    """
    parts = ["# Transfer", means_table(rows), "## By pair", pairs_table(rows)]
    few = shared_draws(draws_of(rows))
    if few:
        parts += ["## Few labels a class", few_labels_table(few), paired_table(few)]
    if recordings:
        parts += ["## By recording", recordings_note(), recordings_table(recordings)]
    failed = {f"- {row.pretrain_on}, {row.method}, seed {row.seed}: {row.reason}": None for row in rows if row.reason}
    if failed:
        parts += ["## Failed", "\n".join(failed)]
    parts += [f"- {remark}" for remark in remarks]
    parts.append("Computed with " + "; ".join(dict.fromkeys(row.versions for row in rows)) + ".")
    return "\n\n".join(part for part in parts if part) + "\n"


def means_table(rows: Sequence[Transferred]) -> str:
    """Return the table of methods."""
    lines = []
    for method, found in transfer_means(rows).items():
        ranks = [row.effective_rank for row in rows if row.method == method and row.effective_rank is not None]
        accuracy = found["mean_accuracy"]
        texts = ["-" if accuracy is None else f"{accuracy:.4f}", str(found["n_data"])]
        lines.append([method, *texts, f"{mean(ranks):.1f}" if ranks else "-"])
    said = "All labels of the set that the head is fitted on; means over pairs and seeds."
    return f"{said}\n\n{markdown(['method', 'mean accuracy', 'pairs', 'effective rank'], lines)}"


def pairs_table(rows: Sequence[Transferred]) -> str:
    """Return the table of pairs, one column a method."""
    methods = list(dict.fromkeys(row.method for row in rows))
    own = [row for row in rows if row.labels == ALL]
    lines = []
    for key in dict.fromkeys((row.pretrain_on, row.fit_on, row.target) for row in own):
        cells = []
        for method in methods:
            here = [row for row in own if (row.pretrain_on, row.fit_on, row.target, row.method) == (*key, method)]
            value = mean([row.accuracy for row in here if row.accuracy is not None])
            cells.append("-" if np.isnan(value) else f"{value:.4f}")
        lines.append([*key, *cells])
    return markdown(["pretrained on", "head fitted on", "target", *methods], lines)


def recordings_note() -> str:
    """Say what a recording is."""
    return (
        "A condition holds one recording a class (0 healthy, 1 inner race, 2 outer race), cut into windows: so few "
        "recordings decide each score. Shares of a recording's windows told right, means over seeds."
    )


def recordings_table(recordings: Sequence[Recording]) -> str:
    """Return the table of pairs and recordings, one column a method."""
    methods = list(dict.fromkeys(row.method for row in recordings))
    lines = []
    for key in dict.fromkeys((row.fit_on, row.target, row.recording, row.n_windows) for row in recordings):
        cells = []
        for method in methods:
            own = [r for r in recordings if (r.fit_on, r.target, r.recording, r.n_windows, r.method) == (*key, method)]
            value = mean([row.accuracy for row in own])
            cells.append("-" if np.isnan(value) else f"{value:.3f}")
        lines.append([*map(str, key), *cells])
    return markdown(["head fitted on", "target", "recording", "windows", *methods], lines)
