"""How results look: tables on standard output, progress on standard error; the only file that imports rich."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from tsjepa.arrays import counted
from tsjepa.cli.outdir import EMBEDDINGS
from tsjepa.cli.report import (
    BenchmarkReport,
    DetectReport,
    DiagnoseReport,
    EmbedReport,
    ExportReport,
    FinetuneReport,
    PretrainReport,
    ProbeReport,
    StudyReport,
    TuneReport,
    ranging,
    spread,
)
from tsjepa.datasets.files import SUFFIXES
from tsjepa.datasets.log_files import KINDS
from tsjepa.probe import Score

Report = Callable[[Any], None]


class HasValues(Protocol):
    """A report that JSON can hold."""

    def values(self) -> Mapping[str, Any]:
        """Return the JSON object."""


ReportT = TypeVar("ReportT", bound=HasValues)


def show(report: ReportT, as_json: bool, shown: Callable[[ReportT], None]) -> None:
    """Print a report as one JSON object, or as `shown` does for who reads it."""
    if as_json:
        print_line(json.dumps(report.values(), allow_nan=False))
    else:
        shown(report)


def print_line(text: str) -> None:
    """Write a line to standard output, however long it is."""
    sys.stdout.write(text + "\n")


def print_numbers(table: Table) -> None:
    """Write a table of numbers to standard output: where that is narrow, heads and names are folded, numbers never."""
    console, (first, *others) = Console(), table.columns
    first.min_width = widest(word for cell in first.cells for word in str(cell).split())
    for column in table.columns:
        column.overflow = "fold"
    for level in range(3):  # heads in one line, folded between words, folded anywhere
        for column in others:
            head = str(column.header)
            least = (cell_len(head), widest(head.split()), 0)[level]
            column.width = max(least, widest(map(str, column.cells)))
        needed = console.measure(table, options=console.options.update(max_width=1000))
        if needed.maximum <= console.width:
            break
    Console(width=max(needed.minimum, console.width)).print(table)


def widest(texts: Iterable[str]) -> int:
    """Return the number of a terminal's cells that the widest text takes."""
    return max(map(cell_len, texts), default=0)


def busy(text: str) -> AbstractContextManager[Any]:
    """Show that something is going on, on a terminal only."""
    return Console(stderr=True).status(text) if sys.stderr.isatty() else nullcontext()


@contextmanager
def epoch_bar(finished: int, epochs: int) -> Iterator[Report | None]:
    """Show epochs and loss on a terminal; give None elsewhere, where a log would fill with lines."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("epoch {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=epochs, completed=finished, state="")
        yield lambda progress: bar.update(task, completed=progress.epoch, state=state(progress))


@contextmanager
def count_bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many of something are done, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    columns = (TextColumn(f"{text} {{task.completed}}/{{task.total}}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def phase_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show how far each phase of a longer work is, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda phase, done, total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def report(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase)
            bar.update(tasks[phase], completed=done, total=total)

        yield report


def state(progress: Any) -> str:
    """Write an epoch's loss and what is known of a collapse."""
    verdict = f", {progress.verdict.verdict}" if progress.verdict is not None else ""
    return f"loss {progress.loss:.4f}{verdict}"


def show_score(scores: list[Score]) -> str:
    """Write the mean over seeds, with the standard deviation where there are several.

    Examples
    --------
    >>> show_score([Score(0.593), Score(0.627)]), show_score([Score(None, 0.5, 2.0)])
    ('0.610 ± 0.024', '0.500, RMSE 2')
    """
    key = "r2" if scores[0].accuracy is None else "accuracy"
    mean, deviation = spread(scores, key)
    if mean is None:
        return "-"
    text = f"{mean:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")
    rmse = spread(scores, "rmse")[0]
    return text if rmse is None else f"{text}, RMSE {rmse:.3g}"


def show_pretrain(report: PretrainReport) -> None:
    """Print the closing table and the next command to type."""
    table = Table("", report.data)
    table.add_row("series", str(report.n_series))
    table.add_row("epochs", str(report.epochs))
    if report.kept_epoch is not None:
        table.add_row("epoch of the model", str(report.kept_epoch))
    table.add_row("loss", "-" if report.loss is None else f"{report.loss:.4f}")
    if report.scores is not None:
        last, guess = report.scores.rows[-1], report.scores.guess
        name = "R2" if guess.accuracy is None else "accuracy"
        table.add_row(f"{name}, {guess_name(guess)}", show_score([guess]))
        table.add_row(f"{name}, random initialisation", show_score(last.random_init))
        table.add_row(f"{name}, trained", show_score(last.trained))
    table.add_row("seconds", f"{report.seconds:.1f}")
    if report.verdict is not None:
        table.add_row("collapse", report.verdict.verdict)
    print_numbers(table)
    if report.verdict is not None:
        print_line(f"{report.verdict.verdict}: {report.verdict.evidence}")
    print_line(f"checkpoint: {report.checkpoint}")
    print_line(f"next: {next_command(report)}")


def guess_name(guess: Score) -> str:
    """Name the guess that needs no features."""
    return "mean of training" if guess.accuracy is None else "majority class"


def next_command(report: PretrainReport) -> str:
    """Return the command that uses the checkpoint: probes it where there are labels, else scores rows or embeds."""
    words = ["tsjepa", "probe", str(report.checkpoint)]
    if report.scores is None:
        command, table = ("detect", "scores.parquet") if report.world else ("embed", EMBEDDINGS)
        out = report.checkpoint.with_name(table)
        source = another_file(report.source) if report.world else report.source
        words = ["tsjepa", command, str(report.checkpoint), "--data", source, "--out", str(out)]
        if report.world:
            return shlex.join(words)
    return shlex.join([*words, *data_dir_words(report.data_dir)])


def another_file(source: str) -> str:
    """Return a name, to be replaced, of a file of the same kind: what is said of data that were learnt says little.

    Examples
    --------
    >>> another_file("plant/*.csv.gz"), another_file("pump.npz"), another_file("plant")
    ('NEW.csv.gz', 'NEW.npz', 'NEW.parquet')
    """
    return "NEW" + next((suffix for suffix in (*KINDS, *SUFFIXES) if source.lower().endswith(suffix)), ".parquet")


def data_dir_words(data_dir: Path | None) -> list[str]:
    """Return the option that names the folder of data sets; what the environment says needs no repeating."""
    if data_dir is None or str(data_dir) == os.environ.get("TSJEPA_DATA"):
        return []
    return ["--data-dir", str(data_dir)]


def show_probe(report: ProbeReport) -> None:
    """Print one row a share of the labels."""
    guess = report.scores.guess
    measure = "R2" if report.numeric else "accuracy"
    table = Table("share", "labels", guess_name(guess), "random init", "trained")
    table.title = f"{measure}, {report.kind} probe, {report.data}"
    for row in report.scores.rows:
        table.add_row(
            f"{row.fraction:g}",
            ranging(row.n_labels),
            show_score([guess]),
            show_score(row.random_init),
            show_score(row.trained),
        )
    print_numbers(table)


def show_finetune(report: FinetuneReport) -> None:
    """Print one row a share of the labels, and where the checkpoint is."""
    supervised = report.rows[0].supervised is not None
    table = Table("share", "labels", guess_name(report.guess), "frozen", "fine-tuned")
    table.title = f"test accuracy, {report.data}"
    if supervised:
        table.add_column("supervised from scratch")
    for row in report.rows:
        scores = [[report.guess], row.frozen, row.tuned, *([] if row.supervised is None else [row.supervised])]
        table.add_row(f"{row.fraction:g}", ranging(row.n_labels), *map(show_score, scores))
    print_numbers(table)
    if report.out is not None:
        print_line(f"checkpoint: {report.out}")
        out = report.out.with_name(EMBEDDINGS)
        words = ["tsjepa", "embed", str(report.out), "--data", another_file(report.source), "--out", str(out)]
        print_line(f"next: {shlex.join(words)}")


def show_embed(report: EmbedReport) -> None:
    """Print what was written."""
    peak = "" if report.peak_mb is None else f", peak memory {report.peak_mb:.0f} MB"
    print_line(f"{counted(report.rows, 'embedding')} in {report.out} ({report.seconds:.1f} s{peak})")


def show_detect(report: DetectReport) -> None:
    """Print how many events there were, and how good they are where labels tell."""
    shown = (("F1", report.f1), ("false alarms", report.far), ("missed", report.mar))
    scores = "".join(f", {name} {value:.3f}" for name, value in shown if value is not None)
    events, rows = counted(report.events, "event"), counted(report.rows, "row")
    print_line(f"{events} in {rows}{scores}: {report.out} ({report.seconds:.1f} s)")


def show_export(report: ExportReport) -> None:
    """Print what was written, and how close to torch it comes."""
    weights = ", 8-bit weights" if report.int8 else ""
    print_line(f"{report.out}: {report.n_bytes / 1e3:.0f} kB, opset {report.opset}{weights} ({report.seconds:.1f} s)")
    print_line(
        f"compared with torch on {counted(report.n_shapes, 'shape')}: largest difference {report.max_difference:.2g}, "
        f"smallest cosine {report.cosine:.6f}"
    )


# What tells most at a glance; all others are on the page and in --json
GLANCE = (
    *("accuracy", "accuracy_last_level", "effective_rank", "lidar", "position_share", "cross_series_share"),
    *("dead_dimensions", "relative_gap", "activation_sparsity"),
)


def show_diagnose(report: DiagnoseReport) -> None:
    """Print a few numbers of the model beside its random initialisation, the verdict, and where the page is."""
    table = Table("", "random init", "trained", title=report.data)
    for name in GLANCE:
        row = [report.numbers.get(prefix + name) for prefix in ("random_init_", "")]
        table.add_row(name.replace("_", " "), *("-" if value is None else f"{value:.3f}" for value in row))
    if (kept := report.numbers.get("kept_epoch")) is not None:
        table.add_row("epoch of the model", "-", str(kept))
    print_numbers(table)
    if report.verdict is not None:
        print_line(f"{report.verdict.verdict}: {report.verdict.evidence}")
    print_line(f"page: {report.out}")


def show_study(report: StudyReport) -> None:
    """Print the claims with their verdicts, and where the page is."""
    table = Table("claim", "source", "verdict")
    table.title = f"{counted(report.n_runs, 'run')} on {', '.join(report.data)}"
    for claim in report.claims:
        table.add_row(claim["claim"], claim["source"], claim["verdict"])
    Console().print(table)
    print_line(f"page: {report.out / 'index.html'} ({report.seconds:.0f} s)")


def show_benchmark(report: BenchmarkReport) -> None:
    """Print the methods with their mean accuracies, and where the rest is."""
    table = Table("method", "mean accuracy", report.counted)
    for method, row in report.means.items():
        accuracy = row["mean_accuracy"]
        table.add_row(method, "-" if accuracy is None else f"{accuracy:.4f}", str(row["n_data"]))
    print_numbers(table)
    failed = f", {report.n_failed} failed" if report.n_failed else ""
    print_line(f"{counted(report.n_runs, 'run')}{failed} ({report.seconds:.0f} s): {report.out / 'summary.md'}")


def show_tune(report: TuneReport) -> None:
    """Print the runs in the order of their weights, and the weight that was found."""
    table = Table("weight", "score", "verdict", "loss", "enough")
    for run in sorted(report.runs, key=lambda run: run["weight"]):
        numbers = ["-" if run[key] is None else f"{run[key]:.4f}" for key in ("score", "loss")]
        table.add_row(f"{run['weight']:.3g}", numbers[0], run["verdict"], numbers[1], "yes" if run["enough"] else "no")
    print_numbers(table)
    less = max((run["weight"] for run in report.runs if not run["enough"]), default=None)
    below = "nothing below it was tried" if less is None else f"{less:.3g} is too small, and nothing between was tried"
    print_line(f"lambda: {report.weight:.3g}, the smallest weight tried that prevents a lasting collapse; {below}")
    print_line(f"next: {report.command}")
