"""A log larger than memory, from files to embeddings: seconds and peak memory of each process, and what a kill costs.

    python benchmarks/larger_than_memory.py --gigabytes 5 --out DIR
    python benchmarks/larger_than_memory.py --gigabytes 0.5 --epochs 2 --kill --out DIR

The log that `logs.py` makes is cached and trained on by `tsjepa pretrain` and embedded by `tsjepa embed`. With
``--kill`` the same is done once more in another folder, each phase killed (SIGKILL) after a third of its time and
started again: caching, the first epoch, each later epoch, embedding. Its cache, weights and embeddings have to be those
of the run that nobody killed.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

HERE = Path(__file__).parent
PAUSE = 0.02
# A phase is killed after this share of the time that it took before: a machine may have become quicker since
SHARE = 1 / 3


class Phase(NamedTuple):
    """A part of a process's work: patterns of what is there once it has begun, and once it has ended."""

    name: str
    begun: str
    ended: str


CACHE = Phase("cache", "cache/*.partial/values", "cache/*/manifest.json")
FIRST = Phase("first epoch", "run/config.yaml", "run/checkpoint.ckpt")
EMBED = Phase("embed", ".Z.parquet.parts/000000.arrow", "Z.parquet")


class Ended(NamedTuple):
    """How a process ended: seconds, peak megabytes, and the seconds that each phase took."""

    code: int
    seconds: float
    peak_mb: float
    phases: dict[str, float]


def is_there(folder: Path, pattern: str) -> bool:
    """Return whether a file or folder is there."""
    return next(folder.glob(pattern), None) is not None


def watch(command: Sequence[str], folder: Path, phases: Sequence[Phase], kill: tuple[Phase, float] | None) -> Ended:
    """Run a command and note when its phases begin and end; kill it so many seconds after one has begun."""
    started, begun, ended = time.monotonic(), {}, {}
    with (folder / "output.txt").open("ab") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    while not (found := os.wait4(process.pid, os.WNOHANG))[0]:
        now = time.monotonic() - started
        for phase in phases:
            if phase not in begun and is_there(folder, phase.begun):
                begun[phase] = now
            if phase in begun and phase not in ended and is_there(folder, phase.ended):
                ended[phase] = now
        if kill is not None and kill[0] in begun and now > begun[kill[0]] + kill[1]:
            process.send_signal(signal.SIGKILL)
        time.sleep(PAUSE)
    total = time.monotonic() - started
    if kill is not None and kill[0] in ended:
        sys.exit(f"{kill[0].name} was over before it could be killed: take a larger log")
    lasted = {phase.name: ended.get(phase, total) - begun[phase] for phase in phases if phase in begun}
    code = os.waitstatus_to_exitcode(found[1])
    process.returncode = code
    return Ended(code, total, found[2].ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), lasted)


class Work(NamedTuple):
    """What is run, in a folder."""

    folder: Path
    log: Path
    options: argparse.Namespace

    def pretrain(self, *more: str) -> list[str]:
        """Return the command that caches and trains."""
        asked = self.options
        words = ["pretrain", "--data", str(self.log), "--config", asked.config, "--epochs", str(asked.epochs)]
        words += ["--window", asked.window, "--stride", asked.stride or asked.window, "--device", "cpu"]
        words += ["--group", "machine"] if asked.scored else ["--label", ""]
        return self.tsjepa(*words, "--cache-dir", str(self.folder / "cache"), "--out", str(self.folder / "run"), *more)

    def embed(self) -> list[str]:
        """Return the command that embeds."""
        checkpoint, out = self.folder / "run/checkpoint.ckpt", self.folder / "Z.parquet"
        words = ["embed", str(checkpoint), "--data", str(self.log), "--out", str(out), "--device", "cpu"]
        return self.tsjepa(*words, "--cache-dir", str(self.folder / "cache"))

    def tsjepa(self, *words: str) -> list[str]:
        """Return a command of this Python's tsjepa."""
        return [sys.executable, "-P", "-m", "tsjepa.cli", *words]

    def finish(self, command: list[str], *phases: Phase) -> Ended:
        """Run a command to its end."""
        found = watch(command, self.folder, phases, None)
        if found.code:
            sys.exit(f"{' '.join(command)} ended with {found.code}: see {self.folder / 'output.txt'}")
        return found

    def die(self, command: list[str], phase: Phase, lasted: float) -> None:
        """Run a command and kill it in the middle of a phase."""
        found = watch(command, self.folder, [phase], (phase, SHARE * lasted))
        if found.code != -signal.SIGKILL:
            sys.exit(f"{' '.join(command)} was to be killed in {phase.name}, but ended with {found.code}")
        print(f"killed in {phase.name} after {found.seconds:.0f} s", file=sys.stderr)


def whole(work: Work) -> dict[str, Ended]:
    """Run both commands to their end."""
    return {"pretrain": work.finish(work.pretrain(), CACHE, FIRST), "embed": work.finish(work.embed(), EMBED)}


def broken(work: Work, reference: dict[str, Ended]) -> dict[str, Ended]:
    """Run both commands, killed in each phase and started again."""
    trained, later = reference["pretrain"], max(work.options.epochs - 1, 0)
    work.die(work.pretrain(), CACHE, trained.phases[CACHE.name])
    work.die(work.pretrain(), FIRST, trained.phases[FIRST.name])
    command = work.pretrain("--overwrite")
    for epoch in range(2, later + 2):
        # the file of the epoch before is there already when the command is given again
        last = Phase(f"epoch {epoch}", "run/checkpoint.ckpt", f"run/no-epoch-{epoch}")
        if epoch > 2:
            last = last._replace(begun="run/config.yaml")
        work.die(command, last, trained.phases[FIRST.name])
        command = work.pretrain("--resume")
    ends = {"pretrain": work.finish(command)}
    work.die(work.embed(), EMBED, reference["embed"].phases[EMBED.name])
    return {**ends, "embed": work.finish(work.embed())}


def digests(folder: Path) -> dict[str, str]:
    """Return a hash of each file of the cache and of the embeddings."""
    found = {}
    for path in [*sorted((folder / "cache").rglob("*")), folder / "Z.parquet"]:
        if path.is_file() and path.suffix != ".lock":
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def compare(one: Path, other: Path) -> dict[str, bool]:
    """Return whether two folders hold the same cache, weights and embeddings."""
    hashes = [digests(folder) for folder in (one, other)]
    rows = [{name: found for name, found in each.items() if name != "Z.parquet"} for each in hashes]
    weights = [torch.load(folder / "run/checkpoint.ckpt", weights_only=True)["state_dict"] for folder in (one, other)]
    same = weights[0].keys() == weights[1].keys()
    return {
        "same_cache": rows[0] == rows[1],
        "same_weights": same and all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]),
        "same_embeddings": hashes[0]["Z.parquet"] == hashes[1]["Z.parquet"],
    }


def make_log(options: argparse.Namespace) -> Path:
    """Make the log, unless it is there."""
    log = options.log or options.out / "log"
    if not log.is_dir():
        words = ["--gigabytes", str(options.gigabytes), "--machines", str(options.machines), "--layout", options.layout]
        command = [sys.executable, str(HERE / "logs.py"), *words, "--out", str(log)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return log


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.5)
    parser.add_argument("--machines", type=int, default=2000)
    parser.add_argument("--layout", choices=("machines", "days"), default="machines")
    parser.add_argument("--log", type=Path, help="a log that is there already")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="ts-jepa-paper")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--window", default="512")
    parser.add_argument("--stride")
    parser.add_argument("--scored", action="store_true", help="keep machines apart to score the fault label on")
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log = make_log(options)
    works = [Work(options.out / name, log, options) for name in ("whole", "killed")]
    for work in works:
        work.folder.mkdir(exist_ok=True)
    found = whole(works[0])
    figures = {"log_gb": sum(path.stat().st_size for path in log.iterdir()) / 1e9, "whole": plain(found)}
    if options.kill:
        figures |= {"killed": plain(broken(works[1], found)), **compare(*(work.folder for work in works))}
    print(json.dumps(figures, indent=1))


def plain(found: dict[str, Ended]) -> dict[str, object]:
    """Return figures for JSON."""
    return {command: ended._asdict() for command, ended in found.items()}


if __name__ == "__main__":
    main()
