"""How a CSV file is written: what stands between its cells and before its decimals, by its first lines."""

import csv
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

# a comma comes last: it stands in names (Flow, l/min) and before decimals, too
MARKS = ";\t|,"
# among which the names of columns are looked for
LINES = 100
WITH_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
WITH_POINT = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?")
NUMBER = re.compile(r"\s*[-+.,]*\d")
STAMP = re.compile(r"\s*(\d{4}-\d\d-\d\d|\d\d?[./]\d\d?[./]\d{4})([ T]\d.*)?")
PLAIN = re.compile(r"\s*[-+]?\d*[.,]?\d+([eE][-+]?\d+)?\s*")
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")
# said of a file that begins so
COMMENT = "begins with a comment, '{}': delete all lines above the values but that of the names of columns"
# what pandas calls an index without a name where it makes a column of it
UNNAMED = "index"


class Dialect(NamedTuple):
    """How a CSV file is written.

    Attributes
    ----------
    delimiter : str
        What stands between two cells.
    decimal : str
        A point, or a comma.
    names : tuple of str
        Of the columns, as they are written.
    """

    delimiter: str
    decimal: str
    names: tuple[str, ...]


def cells_in(line: str, delimiter: str) -> int:
    """Count the cells of a line; what stands in quotes divides none.

    Examples
    --------
    >>> cells_in('time;"Flow; l/min"', ";"), cells_in('time;5" pipe', ";")
    (2, 2)
    """
    mark = re.escape(delimiter)
    return 1 + re.sub(rf'(?:^|(?<={mark}))"(?:[^"]|"")*"', "", line).count(delimiter)


def delimiters_of(header: str) -> list[str]:
    """Tell what may stand between two names of a header, the likeliest first.

    Examples
    --------
    >>> delimiters_of("time;flow"), delimiters_of("time;Flow, l/min"), delimiters_of("flow")
    ([';'], [';', ','], [','])
    """
    counts = {mark: cells_in(header, mark) for mark in MARKS}
    return sorted((mark for mark in MARKS if counts[mark] > 1), key=lambda mark: -counts[mark]) or [","]


def delimiter_of(header: str, lines: Sequence[str]) -> str:
    """Tell what stands between two cells, by the names of columns and, where these leave a choice, by other lines.

    Examples
    --------
    >>> delimiter_of("time;Flow, l/min", ["0;20,13"]), delimiter_of("time,lo;hi;mid", ["0,2.5"])
    (';', ',')
    """
    marks = delimiters_of(header)
    rows = [row for row in (line.rstrip("\r") for line in lines) if row] if len(marks) > 1 else []
    fitting = [mark for mark in marks if 2 * sum(_fits(row, mark, cells_in(header, mark)) for row in rows) > len(rows)]
    return min(fitting, key=MARKS.index, default=marks[0])


def _fits(row: str, delimiter: str, cells: int) -> bool:
    """Tell whether a row has as many cells as there are names, or one more that is empty."""
    return cells_in(row, delimiter) in (cells, cells + row.endswith(delimiter))


def names_of(header: str, delimiter: str) -> list[str]:
    r"""Return the names in a header as they are written.

    Examples
    --------
    >>> names_of('time, flow,"Temp, C"\r', ",")
    ['time', ' flow', 'Temp, C']
    """
    return next(csv.reader([header.split("\r")[0]], delimiter=delimiter), [])


def plain_names(names: Sequence[str]) -> list[str]:
    """Take blanks off names, and the hash by which NumPy makes a comment of their line off the first one.

    It stays where it is all of the name, where another name begins with one, too, and where one is called so without.

    Examples
    --------
    >>> plain_names(["# time", " a "]), plain_names(["#", "a"]), plain_names(["#1", "#2"]), plain_names(["#a", "a"])
    (['time', 'a'], ['#', 'a'], ['#1', '#2'], ['#a', 'a'])
    """
    if not names:
        return []
    first, *others = (name.strip() for name in names)
    bare = re.sub(r"^#\s*(?=\S)", "", first)
    keeps = bare in others or any(name.startswith("#") for name in others)
    return [first if keeps else bare, *others]


def is_comment(name: str, below: str) -> bool:
    """Tell a comment from names of columns, by the first cell of the first line and what stands below it.

    Examples
    --------
    >>> is_comment("#group", "#datatype,long"), is_comment("# time", "0,1.5"), is_comment("#", "#1,1.5")
    (True, False, False)
    """
    return name.startswith("#") and below.startswith("#") and name.strip() != "#"


def with_index(names: Sequence[str]) -> list[str]:
    """Give the first column without a name one, unless another column is called so.

    Examples
    --------
    >>> with_index(["", "flow", ""]), with_index(["time", "flow"]), with_index(["", "index"])
    (['index', 'flow', ''], ['time', 'flow'], ['', 'index'])
    """
    at = names.index("") if "" in names and UNNAMED not in names else -1
    return [UNNAMED if place == at else name for place, name in enumerate(names)]


def are_values(names: Sequence[str]) -> bool:
    """Tell a row of a log from names of columns: it holds a date and a number, or only numbers that are no names.

    One or two numbers always rise or fall: there, names have neither a sign nor a fraction.

    Examples
    --------
    >>> are_values(["P1", "2026-03-01 08:00:00", "0.5"]), are_values(["time", "1"]), are_values(["id", "2026-03-01"])
    (True, False, False)
    >>> are_values(["9", "40", "0.3"]), are_values(["400", "410", "420"]), are_values(["2.5"]), are_values(["2"])
    (True, False, True, False)
    """
    plain = [name for name in names if PLAIN.fullmatch(name)]
    if any(map(STAMP.fullmatch, names)):
        return bool(plain)
    if len(plain) < len(names):
        return False
    fractions = len(names) < 3 and not all(name.strip().isdecimal() for name in names)
    return fractions or not rise_or_fall([float(name.replace(",", ".")) for name in names])


def rise_or_fall(numbers: Sequence[float]) -> bool:
    """Tell numbers that may be names, as those of points or wavelengths, from a row of values.

    Examples
    --------
    >>> rise_or_fall([400, 410, 420]), rise_or_fall([1, 3, 2]), rise_or_fall([1, 1]), rise_or_fall([7])
    (True, False, False, True)
    """
    steps = [after - before for before, after in pairwise(numbers)]
    return not steps or min(steps) > 0 or max(steps) < 0


def line_of_names(lines: Sequence[str]) -> int | None:
    """Find the names of columns where other lines stand above them, by the rows below.

    Returns
    -------
    int or None
        Their place among the lines, from 0; None where they are not found.

    Examples
    --------
    >>> line_of_names(["Station: X", "", "time,flow", "0,1.5"]), line_of_names(["time", "0,1.5"])
    (2, None)
    """
    for at, line in enumerate(lines[1:LINES], 1):
        below = [row for row in lines[at + 1 : at + LINES] if row.strip()]
        mark = delimiter_of(line, below)
        width = cells_in(line, mark)
        fitting = sum(_fits(row.rstrip("\r"), mark, width) for row in below)
        if width not in (1, cells_in(lines[0], mark)) and 2 * fitting > len(below):
            return None if any(map(NUMBER.match, names_of(line, mark))) else at
    return None


def decimal_of(lines: Sequence[str], delimiter: str) -> str:
    """Tell what stands before decimals: a comma only where it cannot stand for anything else.

    Examples
    --------
    >>> decimal_of(["1;0,5", "2;1,25"], ";"), decimal_of(["1;0.5"], ";"), decimal_of(["1;12,500"], ";")
    (',', '.', '.')
    """
    if delimiter == ",":
        return "."
    cells = {cell.strip(' "\r') for line in lines for cell in line.split(delimiter)}
    commas = any(WITH_COMMA.fullmatch(cell) and not THOUSANDS.fullmatch(cell) for cell in cells)
    return "," if commas and not any(map(WITH_POINT.fullmatch, cells)) else "."
