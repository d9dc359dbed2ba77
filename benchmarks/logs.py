"""Make a log of sensors of a given size: Parquet files with machines, gaps in time and sensors that drop out.

    python benchmarks/logs.py --gigabytes 0.5 --out DIR
    python benchmarks/logs.py --gigabytes 5 --out DIR --layout days

With ``--layout machines`` each file holds some machines from start to end; with ``days`` each holds a stretch of time
of all machines, their rows in turn, as a historian exports them.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CHANNELS = 8
ROW_BYTES = 31  # on disk: noise does not shrink, missing values, times, ids and labels do
START = np.datetime64("2026-01-01", "us")
FILES = 40
# noise does not repeat, so a dictionary of values would only cost
STORED: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["machine", "fault"]}


def machine(number: int, rows: int, seed: int) -> pa.Table:
    """Make one machine's rows: 1 Hz with pauses, smooth sensors with noise, some values missing, a fault at the end."""
    random = np.random.default_rng([seed, number])
    step = np.ones(rows, np.int64)
    pauses = random.integers(0, rows, max(rows // 5000, 1))
    step[pauses] += random.integers(60, 3600, len(pauses))
    time = START + np.cumsum(step) * np.timedelta64(1_000_000, "us")
    phase = 2 * np.pi * np.cumsum(step)[:, None] / random.uniform(20, 400, CHANNELS)
    fault = np.arange(rows) > rows * 0.8
    values = np.sin(phase) * (1 + 0.5 * fault[:, None]) + 0.1 * random.standard_normal((rows, CHANNELS))
    for channel in range(CHANNELS):
        first = int(random.integers(0, rows))
        values[first : first + rows // 50, channel] = np.nan
    columns = {"machine": pa.array(np.full(rows, number, np.int32)), "timestamp": pa.array(time)}
    columns |= {f"s{at}": pa.array(values[:, at].astype(np.float32)) for at in range(CHANNELS)}
    return pa.table(columns | {"fault": pa.array(fault.astype(np.int8))})


def by_machines(out: Path, machines: int, rows: int, seed: int) -> None:
    """Write some machines a file."""
    for file, numbers in enumerate(np.array_split(np.arange(machines), min(FILES, machines))):
        table = pa.concat_tables([machine(int(number), rows, seed) for number in numbers])
        pq.write_table(table, out / f"part-{file:03d}.parquet", row_group_size=1 << 18, **STORED)


def by_days(out: Path, machines: int, rows: int, seed: int) -> None:
    """Write stretches of time, each with the rows of all machines in turn."""
    bounds = np.linspace(0, rows, FILES + 1).astype(int)
    for file, (low, high) in enumerate(pairwise(bounds)):
        tables = [machine(number, rows, seed).slice(low, high - low) for number in range(machines)]
        table = pa.concat_tables(tables)
        turn = np.arange(table.num_rows).reshape(machines, high - low).T.reshape(-1)
        pq.write_table(table.take(pa.array(turn)), out / f"day-{file:03d}.parquet", row_group_size=1 << 18, **STORED)


def main() -> None:
    """Write the log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--machines", type=int, default=2000)
    parser.add_argument("--layout", choices=("machines", "days"), default="machines")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = max(int(asked.gigabytes * 1e9 / ROW_BYTES / asked.machines), 2)
    write = by_machines if asked.layout == "machines" else by_days
    write(asked.out, asked.machines, rows, asked.seed)
    size = sum(path.stat().st_size for path in asked.out.glob("*.parquet"))
    print(f"{asked.machines} machines of {rows} rows: {size / 1e9:.2f} GB in {asked.out}")


if __name__ == "__main__":
    main()
