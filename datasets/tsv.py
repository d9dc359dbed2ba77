"""The tab-separated text of the UCR archive of 2018: label first, then the values."""

from pathlib import Path

from tsjepa.datasets.dataset import Case, DataError, Part
from tsjepa.datasets.labels import text_labels
from tsjepa.datasets.values import parse_row, stack_cases


def read_tsv(path: Path) -> Part:
    r"""Read one .tsv file of the UCR archive.

    Shorter series are padded with NaN at their end in this format. The padding is kept as missing values
    of a rectangular array, because the file cannot say where padding begins and a gap ends.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Part
        Series of shape (n_cases, 1, n_timepoints), and class names.

    Raises
    ------
    DataError
        If the file is empty, a row has no values or another number of them than the first, or an entry is
        not a finite number; the message names the line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pump.tsv")
    ...     _ = path.write_text("1\t0.5\t0.25\n-1\t0.75\tNaN\n")
    ...     part = read_tsv(path)
    >>> part.X.tolist(), part.y.tolist()
    ([[[0.5, 0.25]], [[0.75, nan]]], ['1', '-1'])
    """
    cases: list[Case] = []
    labels: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    label, case = _row(line.rstrip("\r\n"), cases, f"{path}, line {number}")
                    labels.append(label)
                    cases.append(case)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file; copy or export it again") from error
    if not cases:
        raise DataError(f"{path} is empty; copy or export it again")
    return Part(stack_cases(cases), text_labels(labels, str(path)))


def _row(line: str, before: list[Case], where: str) -> tuple[str, Case]:
    label, tab, values = line.partition("\t")
    if not tab:
        raise DataError(f"{where}: no tab; a row is a label and its values with tabs between them")
    case = parse_row(values, "\t", where)[None]
    if before and case.shape != before[0].shape:
        raise DataError(
            f"{where}: {case.shape[1]} values where the first row has {before[0].shape[1]}; mend the row, or "
            "pad shorter series with NaN"
        )
    return label.strip(), case
