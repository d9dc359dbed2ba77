"""`detect --follow` over many rows: rows per second of one core, and memory as they go by.

    python benchmarks/follow.py CHECKPOINT --rows 10000000

Rows are lines of CSV on standard input, made of the normal log that the checkpoint was trained on, a Parquet file of
one row a second, over and over. Seconds are those of the processor that the follower itself used, start and calibration
left out: they are taken between a tenth of the rows and the last. `mb_start` is what the follower holds then, `mb_end`
at the last row.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from program import parser_of, run

from tsjepa.checkpoint import load_checkpoint

PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
START = 1_700_000_000


def used(pid):
    """Return processor seconds and MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(fields[11]) + int(fields[12])) / TICKS, pages * PAGE / 2**20


def lines_of(table, first):
    """Return rows as lines of CSV, one a second from a row's number on."""
    seconds = pa.array(range(START + first, START + first + table.num_rows), pa.int64()).cast(pa.timestamp("s"))
    whole = pa.table({"timestamp": seconds, **{name: table[name] for name in table.column_names}})
    text = io.BytesIO()
    pyarrow.csv.write_csv(whole, text, pyarrow.csv.WriteOptions(include_header=first == 0))
    return text.getvalue()


def feed(stream, table, rows):
    """Write rows, and close the stream."""
    with stream:
        for first in range(0, rows, table.num_rows):
            stream.write(lines_of(table.slice(0, min(table.num_rows, rows - first)), first))


def written(path):
    """Return the rows that were written."""
    with path.open("rb") as file:
        return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 22), b"")) - 1


def measure(options):
    """Return the figures."""
    header = load_checkpoint(options.checkpoint)[1]
    table = pq.read_table(header.data).select(list(header.channel_names))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scores.csv"
        command = [sys.executable, "-m", "tsjepa.cli", "detect", str(options.checkpoint), "--data", "-", "--follow"]
        command += ["--out", str(out), "--false-alarms", "1/day", "--id", "", "--json"]
        follower = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        feeder = threading.Thread(target=feed, args=(follower.stdin, table, options.rows), daemon=True)
        feeder.start()
        samples = []
        while follower.poll() is None:
            time.sleep(options.every)
            try:
                samples.append((*used(follower.pid), out.stat().st_size if out.exists() else 0))
            except (FileNotFoundError, ProcessLookupError, IndexError):
                break
        report = json.loads(follower.stdout.read())
        rows, size = written(out), out.stat().st_size
    # a process that has ended holds nothing any more
    behind = [(seconds, mb, held / size) for seconds, mb, held in samples if held >= size / 10 and mb]
    (first, mb_start, share), (last, mb_end, all_of) = behind[0], behind[-1]
    return {
        "rows": report["rows"],
        "rows_written": rows,
        "rows_per_s": rows * (all_of - share) / (last - first),
        "mb_start": mb_start,
        "mb_end": mb_end,
        "mb_most": max(mb for _, mb, _ in behind),
    }


def lines(figures):
    """Return the figures as people read them."""
    return [f"{name:14} {value:,.0f}" for name, value in figures.items()]


def main():
    """Run from the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between looks at memory")
    run(parser, measure, lines)


if __name__ == "__main__":
    main()
