"""The .ts format of the UCR, UEA and TSML archives, read strictly and in one pass.

aeon's reader keeps float64 values, drops time stamps in silence and names no line; this one holds the
file to its own header, so that a transfer that was cut never passes as data.
"""

from pathlib import Path

import numpy as np

from tsjepa.arrays import counted
from tsjepa.datasets.dataset import Case, DataError, Labels, Part
from tsjepa.datasets.labels import UNLABELLED, text_labels
from tsjepa.datasets.ts_header import Lines, TsHeader, read_header
from tsjepa.datasets.values import parse_row, stack_cases


def read_ts(path: Path) -> Part:
    r"""Read one .ts file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Part
        Series, and labels with the file's own spelling (aeon's reader lowers their case).

    Raises
    ------
    DataError
        If the file is not what its header says; the message names the line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pump.ts")
    ...     _ = path.write_text("@classLabel true ok worn\n@data\n1,2,3:ok\n1,?,9:worn\n")
    ...     part = read_ts(path)
    >>> part.X.shape, part.y.tolist()
    ((2, 1, 3), ['ok', 'worn'])
    """
    where = str(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines: Lines = enumerate(file, 1)
            header = read_header(lines, where)
            cases, labels = _read_cases(lines, header, where)
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not a text file; copy or export it again") from error
    if not cases:
        raise DataError(f"{where} has no series after '@data'; it was cut short, copy or export it again")
    y = _labels(labels, header, where)
    return Part(stack_cases(cases), y, numeric=header.numeric, notes=_undeclared(y, header, path))


def _read_cases(lines: Lines, header: TsHeader, where: str) -> tuple[list[Case], list[str]]:
    cases: list[Case] = []
    labels: list[str] = []
    for number, line in lines:
        row = line.strip()
        if not row:
            continue
        channels = row.split(":")
        if header.labelled:
            labels.append(channels.pop().strip())
        case = _case(channels, header, f"{where}, line {number}")
        _compare(case, cases, header, f"{where}, line {number}")
        cases.append(case)
    return cases, labels


def _case(channels: list[str], header: TsHeader, where: str) -> Case:
    if not channels:
        raise DataError(f"{where}: no ':label' at the end; the row was cut short, or write '@classLabel false'")
    rows = [parse_row(text, ",", where) for text in channels]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise DataError(f"{where}: channels of {sorted(lengths)} values; all channels of a case need one length")
    if header.channels is not None and len(rows) != header.channels:
        raise DataError(
            f"{where}: {counted(len(rows), 'channel')} where the header says {header.channels}; mend the row"
        )
    return np.stack(rows)


def _compare(case: Case, before: list[Case], header: TsHeader, where: str) -> None:
    channels, length = case.shape
    if before and channels != len(before[0]):
        raise DataError(
            f"{where}: {counted(channels, 'channel')} where the first case has {len(before[0])}; mend the row"
        )
    if not header.equal_length:
        return
    if header.length is not None and length != header.length:
        raise DataError(f"{where}: {counted(length, 'value')} where '@seriesLength' says {header.length}; mend the row")
    if before and length != before[0].shape[1]:
        raise DataError(
            f"{where}: {counted(length, 'value')} where the first case has {before[0].shape[1]}; mend the row, or "
            "write '@equalLength false' if lengths differ on purpose"
        )


def _labels(labels: list[str], header: TsHeader, where: str) -> Labels | None:
    if not header.labelled:
        return None
    if header.numeric and not all(label in UNLABELLED for label in labels):
        return np.array([_target(label, f"{where}, case {case}") for case, label in enumerate(labels, 1)])
    return text_labels(labels, where)


def _target(label: str, where: str) -> float:
    try:
        value = float(label)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{where}: target {label!r} is no finite number; '@targetLabel true' needs one a case")
    return value


def _undeclared(y: Labels | None, header: TsHeader, path: Path) -> tuple[str, ...]:
    if y is None or not header.classes:
        return ()
    # a row cut inside its label still looks whole: this is how it shows
    extra = sorted(set(y.tolist()) - set(header.classes))
    names = ", ".join(f"'{name}'" for name in extra)
    return (f"{path.name} has labels that its header does not declare: {names}",) if extra else ()
