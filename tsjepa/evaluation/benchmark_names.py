"""What is one thing under several spellings: data sets by their files, recipes and checkpoints by their paths."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tsjepa.datasets.loading import full_name, identity
from tsjepa.evaluation.benchmark_methods import Method, method_identity
from tsjepa.evaluation.benchmark_run import Job
from tsjepa.evaluation.benchmark_table import Result
from tsjepa.evaluation.benchmark_transfer import BETWEEN, Transferred
from tsjepa.evaluation.benchmark_transfer import Job as TransferJob


def each_once(names: Sequence[str], data_dir: Path | None) -> tuple[str, ...]:
    """Return the names of data sets in full, each set once, however its name or path was spelled.

    Examples
    --------
    >>> each_once(["gunpoint", "GunPoint", "pump.csv", "./pump.csv"], None)
    ('GunPoint', 'pump.csv')
    """
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(identity(name, data_dir), full_name(name, data_dir))
    return tuple(found.values())


def named_before(jobs: Sequence[Job], rows: Iterable[Result]) -> list[Job]:
    """Return the runs by the names that a table has for the same data and methods, so that finished ones are found.

    Parameters
    ----------
    jobs : sequence of Job
    rows : iterable of Result
        Of the table.

    Returns
    -------
    list of Job
        What the table does not have keeps its name.

    Examples
    --------
    >>> from tsjepa.evaluation.benchmark_methods import find_method
    >>> row = Result("data/pump.csv", "raw", 0, 0, 0.5, *[None] * 8, False, "ok", "", "", "")
    >>> (job,) = named_before([Job("./data/pump.csv", find_method("raw"), 0)], [row])
    >>> job.data
    'data/pump.csv'
    """
    rows = list(rows)
    data = spellings([job.data for job in jobs], [row.data for row in rows], data_of(jobs))
    methods = spellings([job.method.name for job in jobs], [row.method for row in rows], method_identity)
    return [job._replace(data=data[job.data], method=renamed(job.method, methods)) for job in jobs]


def transfers_named_before(jobs: Sequence[TransferJob], rows: Iterable[Transferred]) -> list[TransferJob]:
    """Return the runs of a transfer by the names that a table has, as `named_before` does; the order of sources is its.

    Examples
    --------
    >>> from tsjepa.evaluation.benchmark_methods import find_method
    >>> from tsjepa.evaluation.benchmark_transfer import failures, transfer_jobs
    >>> first, second = (transfer_jobs(own, ["c"], [find_method("raw")], 1) for own in (("a", "b"), ("b", "a")))
    >>> transfers_named_before(second, failures(first[0], "no data.")) == first
    True
    """
    rows, same = list(rows), data_of(jobs)
    asked = [name for job in jobs for pair in job.pairs for name in pair]
    data = spellings(asked, [name for row in rows for name in (row.fit_on, row.target)], same)
    methods = spellings([job.method.name for job in jobs], [row.method for row in rows], method_identity)
    joined = {job.key[0]: job.pretrain_on for job in jobs}

    def of_sources(text: str) -> str:
        return os.pathsep.join(sorted(map(same, joined.get(text) or text.split(BETWEEN))))

    sources = spellings(joined, [row.pretrain_on for row in rows], of_sources)
    found = []
    for job in jobs:
        text = sources[job.key[0]]
        own = job.pretrain_on if text == job.key[0] else tuple(text.split(BETWEEN))
        pairs = tuple((data[fit_on], data[target]) for fit_on, target in job.pairs)
        found.append(job._replace(pretrain_on=own, pairs=pairs, method=renamed(job.method, methods)))
    return found


def data_of(jobs: Sequence[Job] | Sequence[TransferJob]) -> Callable[[str], str]:
    """Return what tells data sets from each other where these runs look for them."""
    data_dir = jobs[0].data_dir if jobs else None
    return lambda name: identity(name, data_dir)


def renamed(method: Method, names: dict[str, str]) -> Method:
    """Return a method by another name."""
    return method._replace(name=names[method.name])


def spellings(asked: Iterable[str], before: Iterable[str], identity: Callable[[str], str]) -> dict[str, str]:
    """Return, by each name that is asked for, the first one before that means the same, itself where there is none.

    Examples
    --------
    >>> spellings(["forda", "FordB"], ["FordA"], str.casefold)
    {'forda': 'FordA', 'FordB': 'FordB'}
    """
    kept = dict.fromkeys(before)
    fresh = [name for name in dict.fromkeys(asked) if name not in kept]
    known = {identity(name): name for name in reversed(kept)} if fresh else {}
    return {name: name if name in kept else known.get(identity(name), name) for name in dict.fromkeys(asked)}
