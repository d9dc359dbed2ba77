"""What the programs of detection share: options in, one JSON object or lines out."""

import argparse
import json
from pathlib import Path


def parser_of(description):
    """Return a parser that shows a program's description as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def log_file(folder, name):
    """Return the path of a log, or end with a sentence where it is not there."""
    path = Path(folder) / f"{name}.parquet"
    if not path.exists():
        raise SystemExit(f"{path} is not there: TSJEPA_LOGS must name the folder of logs that docs/data.md describes.")
    return path


def run(parser, measure, lines):
    """Print what `measure` makes of the command line: one JSON object with --json, else these lines."""
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options)
    print(json.dumps(figures) if options.json else "\n".join(lines(figures)))
