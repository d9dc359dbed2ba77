"""Draws runs side by side: what the loss says, and what the diagnostics say. Makes docs/collapse.png.

    python benchmarks/collapse_picture.py "with SIGReg" runs/sigreg "weight 0" runs/nothing --out collapse.png

Runs are folders that `tsjepa pretrain` has made; docs/collapse.md has the commands of these two.
"""

from pathlib import Path

from matplotlib.figure import Figure
from program import parser_of

from tsjepa.evaluation.svg import styled
from tsjepa.monitor import read_history
from tsjepa.run_files import DIAGNOSTICS, EpochTable

PANELS = {
    "loss": ("what the loss says", "training loss"),
    "effective_rank": ("directions in use", "effective rank"),
    "cross_series_share": ("what predictions carry", "cross-series share"),
}


def draw(runs):
    """Return the figure of runs {name: folder}, a line each."""
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    for axes, (column, (title, label)) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        axes.set(title=title, ylabel=label, xlabel="epoch")
        for name, folder in runs.items():
            history = read_history(EpochTable(Path(folder) / DIAGNOSTICS))
            epochs = [row.epoch for row in history]
            axes.plot(epochs, [getattr(row, column) for row in history], label=name)
        axes.set_yscale("log" if column == "loss" else "linear")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(runs))
    return figure


def main():
    """Draw what the command line names."""
    parser = parser_of(__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME RUN", help="pairs of a name and the folder of a finished run")
    parser.add_argument("--out", required=True, help="picture to write, .png or .svg")
    options = parser.parse_args()
    if len(options.runs) % 2:
        parser.error(f"runs are pairs of a name and a folder, but {len(options.runs)} words are given")
    for folder in options.runs[1::2]:
        if not (Path(folder) / DIAGNOSTICS).is_file():
            parser.error(f"{folder} holds no {DIAGNOSTICS}: name the folder of a run")
    if len(set(options.runs[::2])) < len(options.runs) // 2:
        parser.error("two runs have the same name: give each one of its own")
    with styled():
        figure = draw(dict(zip(options.runs[::2], options.runs[1::2], strict=True)))
        figure.savefig(options.out, dpi=110, facecolor="white")


if __name__ == "__main__":
    main()
