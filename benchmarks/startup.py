"""What it costs to start: `tsjepa --help`, `import tsjepa`, each in processes of their own.

    python benchmarks/startup.py

`help_cpu_s` and `import_s` are medians over fresh processes, the first of which warms the disk's cache; an import is
timed inside its process, the command as a whole, with the interpreter's own start, which is given beside it.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

from measure import options_of, report

TIMED_IMPORT = "import time; t = time.perf_counter(); import tsjepa; print(time.perf_counter() - t)"


def cpu_and_wall(command):
    """Return CPU seconds, wall seconds and the output of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall, done.stdout


def compare(rounds):
    """Return the medians."""
    python = [sys.executable, "-P"]
    rows = []
    for _ in range(rounds + 1):
        help_cpu, help_wall, _ = cpu_and_wall([*python, "-m", "tsjepa.cli", "--help"])
        bare_cpu, _, _ = cpu_and_wall([*python, "-c", "pass"])
        training_cpu, training_wall, _ = cpu_and_wall([*python, "-c", "import tsjepa.training"])
        imported = float(cpu_and_wall([*python, "-c", TIMED_IMPORT])[2])
        rows.append(
            {
                "help_cpu_s": help_cpu,
                "help_wall_s": help_wall,
                "import_s": imported,
                "interpreter_cpu_s": bare_cpu,
                "training_import_cpu_s": training_cpu,
                "training_import_wall_s": training_wall,
            }
        )
    return {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]}


def main():
    options = options_of(__doc__).parse_args()
    figures = compare(options.rounds)
    if options.json:
        print(json.dumps(figures))
    else:
        report(figures, as_json=False)


if __name__ == "__main__":
    main()
