"""What the programs of detection share: options in, one JSON object or lines out."""

import argparse
import json


def parser_of(description):
    """Return a parser that shows a program's description as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(parser, measure, lines):
    """Print what `measure` makes of the command line: one JSON object with --json, else these lines."""
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options)
    print(json.dumps(figures) if options.json else "\n".join(lines(figures)))
