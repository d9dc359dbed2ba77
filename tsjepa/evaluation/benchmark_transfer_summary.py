"""What the rows of a transfer say: means by method, by pair, by number of labels and by recording."""

from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure

from tsjepa.evaluation.benchmark_few_labels import (
    few_labels_gaps,
    few_labels_note,
    few_labels_table,
    paired_table,
    shared_draws,
)
from tsjepa.evaluation.benchmark_figures import Pictures, few_labels_figures
from tsjepa.evaluation.benchmark_markdown import finished_page, markdown, mean
from tsjepa.evaluation.benchmark_table import FewLabels, shared_runs
from tsjepa.evaluation.benchmark_transfer import ALL, Recording, Transferred
from tsjepa.evaluation.study_figures import file_names

Row = TypeVar("Row", Transferred, Recording)
# What was pretrained on, what the head was fitted on, and the target
PairName = tuple[str, str, str]


def pair_of(row: Transferred | Recording) -> PairName:
    """Return the pair of a row, with the source."""
    return row.pretrain_on, row.fit_on, row.target


def sections(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return rows by the source that they compare methods on.

    Heads that were fitted on another set than the target are one section: in the bearing protocol each target has
    sources of its own.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        own = f"Pretrained on {row.pretrain_on}" if row.fit_on == row.target else "Head fitted on another set"
        found.setdefault(own, []).append(row)
    return found


def shared_seeds(rows: Sequence[Row], methods: Collection[str] = ()) -> list[Row]:
    """Return the rows of the seeds that, on their pair, every method has: all that are named, or there at all."""
    return shared_runs(rows, pair_of, lambda row: row.seed, methods)


def with_result(rows: Sequence[Transferred]) -> list[Transferred]:
    """Return the rows of all labels that have an accuracy."""
    return [row for row in rows if row.labels == ALL and row.accuracy is not None]


def scored(rows: Sequence[Transferred]) -> list[Transferred]:
    """Return those of them whose seeds compare."""
    return shared_seeds(with_result(rows))


def shared_pairs(rows: Sequence[Transferred]) -> list[Transferred]:
    """Return those of them whose pair every method has that has a result at all."""
    found = with_result(rows)
    return shared_seeds(found, {row.method for row in found})


def over_pairs(values: Iterable[tuple[PairName, float | None]]) -> float | None:
    """Return the mean over pairs of the mean over seeds, None where there is no value.

    Examples
    --------
    >>> over_pairs([(("a", "b", "b"), 0.5), (("a", "b", "b"), 1.0), (("a", "c", "c"), 0.25)])
    0.5
    """
    found: dict[PairName, list[float]] = {}
    for pair, value in values:
        if value is not None:
            found.setdefault(pair, []).append(value)
    return mean([mean(of_pair) for of_pair in found.values()]) if found else None


def transfer_means(rows: Sequence[Transferred]) -> dict[str, dict[str, float | int | None]]:
    """Return `{method: {mean_accuracy, n_data}}` with all labels; `n_data` counts pairs of a head's data and target.

    Only pairs and seeds count that every method has; a method without any result is left aside.

    Examples
    --------
    >>> transfer_means([])
    {}
    """
    found: dict[str, dict[str, float | int | None]] = {}
    kept = shared_pairs(rows)
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in kept if row.method == method]
        accuracy = over_pairs((pair_of(row), row.accuracy) for row in own)
        found[method] = {"mean_accuracy": accuracy, "n_data": len({pair_of(row) for row in own})}
    return found


def draws_of(rows: Sequence[Transferred]) -> list[FewLabels]:
    """Return the draws of few labels in the form of a benchmark's; see `few_data` for what they call their data."""
    return [
        FewLabels(few_data(row), row.method, row.seed, 0, row.labels, row.n_labels or 0, row.draw, row.accuracy)
        for row in rows
        if row.labels != ALL
    ]


def few_data(row: Transferred) -> str:
    """Return what tables of few labels call the data of a row: the target, or the pair where they are two sets."""
    return row.target if row.fit_on == row.target else f"{row.fit_on} to {row.target}"


def transfer_figures(rows: Sequence[Transferred]) -> Pictures:
    """Draw the few-label curves of each target, of several sources each by itself.

    Examples
    --------
    >>> transfer_figures([]).missing
    ('no few-label curve: no head was fitted on few labels of its own target.',)
    """
    of_target = [row for row in rows if row.fit_on == row.target]
    by_source = {own[0].pretrain_on: few for own in sections(of_target).values() if (few := draws_of(own))}
    if not by_source:
        return Pictures({}, ("no few-label curve: no head was fitted on few labels of its own target.",))
    figures: dict[str, Figure] = {}
    files = file_names(by_source)
    for source, few in by_source.items():
        ending = f"-from-{files[source]}" if len(by_source) > 1 else ""
        drawn = few_labels_figures(few, f", pretrained on {source}")
        figures |= {f"{name}{ending}": figure for name, figure in drawn.items()}
    return Pictures(figures, ())


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
    apart, of_recordings = sections(rows), sections(recordings)
    parts = ["# Transfer"]
    for name, own in apart.items():
        several = len(apart) > 1
        parts.append(f"## {name}" if several else "")
        parts += section(own, of_recordings.get(name, []), "###" if several else "##")
    failed = [
        f"{row.pretrain_on}, head on {row.fit_on}, target {row.target}, {row.method}, seed {row.seed}: {row.reason}"
        for row in rows
        if row.reason
    ]
    return finished_page(parts, failed, remarks, (row.versions for row in rows))


def section(rows: Sequence[Transferred], recordings: Sequence[Recording], level: str) -> list[str]:
    """Return the tables of rows that compare, under headings of a level."""
    parts = [means_table(rows), f"{level} By pair", pairs_table(rows)]
    few = draws_of(rows)
    shared = shared_draws(few)
    parts.append(f"{level} Few labels a class" if few else "")
    if shared:
        drawn_from = {few_data(row): row.fit_on for row in rows}  # whatever the target
        note = few_labels_note(shared, "pair")
        parts += [note, few_labels_table(shared), paired_table(shared, drawn_from)]
    parts.append(few_labels_gaps(few, "pair"))
    if recordings:
        parts += [f"{level} By recording", recordings_note(), recordings_table(recordings)]
    return parts


def means_table(rows: Sequence[Transferred]) -> str:
    """Return the table of methods."""
    lines, kept = [], shared_pairs(rows)
    for method, found in transfer_means(rows).items():
        rank = over_pairs((pair_of(row), row.effective_rank) for row in kept if row.method == method)
        accuracy = found["mean_accuracy"]
        texts = ["-" if accuracy is None else f"{accuracy:.4f}", str(found["n_data"])]
        lines.append([method, *texts, "-" if rank is None else f"{rank:.1f}"])
    said = (
        "All labels of the set that the head is fitted on; means over seeds, then over pairs. Only pairs and seeds "
        "count that every method has; a method without any result is left aside."
    )
    return f"{said}\n\n{markdown(['method', 'mean accuracy', 'pairs', 'effective rank'], lines)}"


def pairs_table(rows: Sequence[Transferred]) -> str:
    """Return the table of pairs, one column a method."""
    methods = list(dict.fromkeys(row.method for row in rows))
    kept, lines = scored(rows), []
    for pair in dict.fromkeys(pair_of(row) for row in rows if row.labels == ALL):
        own = [row for row in kept if pair_of(row) == pair]
        values = [over_pairs((pair, row.accuracy) for row in own if row.method == method) for method in methods]
        lines.append([*pair, *("-" if value is None else f"{value:.4f}" for value in values)])
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
    recordings, lines = shared_seeds(recordings), []
    for key in dict.fromkeys((row.fit_on, row.target, row.recording, row.n_windows) for row in recordings):
        cells = []
        for method in methods:
            own = [r for r in recordings if (r.fit_on, r.target, r.recording, r.n_windows, r.method) == (*key, method)]
            value = mean([row.accuracy for row in own])
            cells.append("-" if np.isnan(value) else f"{value:.3f}")
        lines.append([*map(str, key), *cells])
    return markdown(["head fitted on", "target", "recording", "windows", *methods], lines)
