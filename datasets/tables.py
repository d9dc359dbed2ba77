"""Tables with one series a row, from .csv and .parquet files."""

import csv
import re
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjepa.column_names import LABEL, SIDE, called, points_of_channels
from tsjepa.containers import split_tensors
from tsjepa.datasets.dataset import Case, Collection, DataError, Labels, Part, UncutError
from tsjepa.datasets.labels import array_labels, class_name
from tsjepa.datasets.log_dialect import COMMENT, delimiters_of, is_comment, plain_names, rise_or_fall
from tsjepa.datasets.log_files import first_line
from tsjepa.datasets.naming import listed
from tsjepa.datasets.values import as_float32, stack_cases

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

LOG_NAMES = ("time", "timestamp", "date", "datetime")


def read_table(path: Path) -> Part:
    r"""Read a table whose rows are series.

    Parameters
    ----------
    path : Path
        A .csv or .parquet file. Number columns are the time points of a univariate series, in the table's
        order, or of several channels where all are called as ``flow__0``; list columns are channels, and so are the
        rows of Arrow's tensors (n_channels, n_timepoints). A column that is called like a label (label, class, target,
        y, fault, activity, see `tsjepa.column_names.LABEL`) is the label; one that says which series a row is (id,
        unit, index, case, fold, split, group, see `tsjepa.column_names.SIDE`) is not read.

    Returns
    -------
    Part
        The series and their labels; a row whose label is missing has none.

    Raises
    ------
    DataError
        If the table has a time column (then its rows are time points, not series), text where a number is
        needed, another separator than commas, no header line, no rows, two columns of one name, a row of a .csv file
        that was cut short, or channels of different lengths in one row.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pump.csv")
    ...     _ = path.write_text("t0,t1,t2,label\n1,2,3,ok\n4,,6,worn\n")
    ...     part = read_table(path)
    >>> part.X.tolist(), part.y.tolist()
    ([[[1.0, 2.0, 3.0]], [[4.0, nan, 6.0]]], ['ok', 'worn'])
    """
    table = _open(path)
    lists = [str(name) for name in table.columns if _holds_lists(table[name])]
    _check_columns(table, path)
    if path.suffix.lower() == ".csv":
        _check_cells(table, path)
    label = _label_name(table, lists, path)
    column = None if label is None else _bare(table[label], path)
    y = None if column is None else _labels(column, f"{path}, column {label}")
    written = None if column is None or y is None else _written(column, table.columns.get_loc(label), path)
    others = [str(name) for name in table.columns if name != label and name not in lists]
    if lists:
        notes = _ignored(others, path, "hold no lists")
        return Part(_from_lists(table[lists], path), y, notes=notes, channels=tuple(lists))
    aside = [name for name in others if called(name, SIDE)]
    others = [name for name in others if name not in aside]
    if not others:
        raise DataError(f"{path} has no column of values; give one column a time point, or list columns")
    _check_header([str(name) for name in table.columns], path)
    ignored = _ignored(aside, path, "are no time points")
    if places := points_of_channels(others):
        channels = list(dict.fromkeys(channel for channel, _ in places))
        ordered = sorted(range(len(others)), key=lambda at: (channels.index(places[at][0]), places[at][1]))
        X = _from_columns(table.loc[:, [others[at] for at in ordered]], path).reshape(len(table), len(channels), -1)
        note = f"{path.name}: each row is one series of {X.shape[2]} time points and {len(channels)} channels"
        return Part(X, y, written=written, notes=(f"{note}, {listed(channels)}", *ignored), channels=tuple(channels))
    note = f"{path.name}: each row is one series of {len(others)} time points, '{others[0]}' to '{others[-1]}'"
    return Part(_from_columns(table[others], path), y, written=written, notes=(note, *ignored), points=tuple(others))


def _open(path: Path) -> "pd.DataFrame":
    import pandas as pd

    kinds: dict[str, pa.DataType] = {}
    try:
        if path.suffix.lower() == ".csv":
            with warnings.catch_warnings():
                # cells beyond the names would be dropped, or make an index of the first ones
                warnings.simplefilter("error", pd.errors.ParserWarning)
                table = pd.read_csv(path, low_memory=False, float_precision="round_trip", index_col=False)
        else:
            import pyarrow.parquet as pq

            schema = pq.read_schema(path)
            kinds = dict(zip(schema.names, schema.types, strict=True))
            table = pd.read_parquet(path)
            table = table.reset_index() if any(name is not None for name in table.index.names) else table
    except pd.errors.ParserWarning as error:
        raise DataError(
            f"{path} has rows with more cells than its first line has names; name every column, and separate cells by "
            "commas, decimals by a point"
        ) from error
    except (ValueError, OSError, NotImplementedError) as error:  # pandas' and pyarrow's errors are among these
        raise DataError(f"{path} cannot be read as a table ({first_line(error)}); check or export it again") from error
    try:
        table = split_tensors(table, kinds)
    except ValueError as error:
        raise DataError(f"{path}: {str(error).removesuffix('.')}") from error
    names = [str(name) for name in table.columns]
    table.columns = plain_names(names) if path.suffix.lower() == ".csv" else [name.strip() for name in names]
    if len(table) == 0:
        raise DataError(f"{path} has no rows; give at least one series")
    if not table.columns.is_unique:
        raise DataError(f"{path} has two columns of the same name; rename one")
    return table


def _holds_lists(column: "pd.Series[Any]") -> bool:
    present = column.dropna() if column.dtype == object else column.iloc[:0]
    return len(present) > 0 and isinstance(present.iloc[0], (list, np.ndarray))


def _check_columns(table: "pd.DataFrame", path: Path) -> None:
    for name in table.columns:
        if name.strip().lower() in LOG_NAMES or table[name].dtype.kind == "M":
            raise UncutError(
                f"{path} looks like a log: column {name!r} is a time, and in a table each row must be one series; cut "
                "it into windows"
            )
        if name.startswith("Unnamed: "):
            raise DataError(
                f"{path}: column {name.removeprefix('Unnamed: ')} (counting from 0) has no name, as a saved "
                "row index has not; write the table without its index, or name the column"
            )


def _check_cells(table: "pd.DataFrame", path: Path) -> None:
    """Look for what pandas passes over: another separator, a second column of one name, a row that was cut short."""
    lines = _cells(path)
    names = next(lines)
    first = next(lines, [])
    if is_comment(names[0], "".join(first[:1])):
        raise DataError(f"{path} {COMMENT.format(','.join(names)[:40])}")
    mark = delimiters_of(names[0])[0]
    if len(names) == 1 and mark != "," and table.iloc[:, 0].dtype.kind not in "fiub":
        raise DataError(f"{path} separates its cells by {mark!r}; separate cells by commas, decimals by a point")
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        _check_header(names, path)
        raise DataError(f"{path} has two columns of the same name, {twice[0]!r}; rename one")
    if not table.iloc[:, -1].isna().any():  # a short row lacks the last cell, and few files need the second look
        return
    for row, cells in enumerate(chain([first], lines), 1):
        if len(cells) < len(names):
            raise DataError(
                f"{path}, row {row}: {len(cells)} cells where the first line has {len(names)}; it was cut short: copy "
                "or export it again, or leave the cells of missing values empty, each behind its comma"
            )


def _cells(path: Path) -> Iterator[list[str]]:
    """Yield the cells of each line but for the blank ones, which pandas passes over."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield from (cells for cells in csv.reader(file) if len(cells) > 1 or "".join(cells).strip())
        except csv.Error as error:
            raise DataError(f"{path} cannot be read as a table ({error}); check or export it again") from error


def _check_header(names: list[str], path: Path) -> None:
    """Refuse a first line of values: of nothing but numbers, and not such as name points, which rise or fall."""
    if path.suffix.lower() != ".csv" or not all(re.fullmatch(r"[-+\d.eE]*\d[-+\d.eE]*", name) for name in names):
        return
    try:
        numbers = [float(name) for name in names]
    except ValueError:  # a date
        numbers = [0.0, 0.0]
    if not rise_or_fall(numbers):
        raise DataError(f"{path} starts with a row of values; put a line with column names before it")


def _label_name(table: "pd.DataFrame", lists: list[str], path: Path) -> str | None:
    found = [name for name in table.columns if called(name, LABEL) and name not in lists]
    # what pandas calls a second label when it writes the table
    found += [name for name in table.columns if re.sub(r"\.\d+$", "", name) in found and name not in (*found, *lists)]
    if len(found) > 1:
        raise DataError(f"{path} has the label columns {', '.join(found)}; keep one")
    return found[0] if found else None


def _bare(column: "pd.Series[Any]", path: Path) -> "pd.Series[Any]":
    """Return labels of a .csv file without the blanks around them; what is blank is missing."""
    if path.suffix.lower() != ".csv" or column.dtype.kind in "fiub":
        return column
    import pandas as pd

    bare = column.map(lambda label: label.strip() or None if isinstance(label, str) else label)
    # pandas makes text of numbers where a cell holds blanks alone
    numbers = pd.to_numeric(bare.where(bare.map(lambda label: isinstance(label, str))), errors="coerce")
    return numbers if bare.isna().any() and numbers.notna().equals(bare.notna()) else bare


def _labels(column: "pd.Series[Any]", where: str) -> Labels | None:
    missing = column.isna().to_numpy()
    if column.dtype.kind == "f":
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    elif column.dtype.kind in "iub" and not missing.any():
        values = column.to_numpy()
    else:
        names = ("" if gone else class_name(str(value)) for value, gone in zip(column, missing, strict=True))
        values = np.array(list(names), dtype=np.str_)
    return array_labels(values, len(column), where)


def _written(column: "pd.Series[Any]", place: Any, path: Path) -> Labels | None:
    """Read labels as text where pandas made numbers, or true and false, of a .csv file's."""
    import pandas as pd

    # pandas leaves true and false as they are beside a cell that is empty
    if path.suffix.lower() != ".csv" or column.dropna().infer_objects().dtype.kind not in "fiub":
        return None
    texts = pd.read_csv(path, usecols=[place], index_col=False, dtype=str).iloc[:, 0].fillna("")
    return np.array([text.strip() for text in texts], dtype=np.str_)


def _ignored(names: list[str], path: Path, why: str) -> tuple[str, ...]:
    return (f"{path.name}: columns that {why} are not read: {listed(names)}",) if names else ()


def _from_columns(table: "pd.DataFrame", path: Path) -> "NDArray[np.float32]":
    values = np.empty((len(table), 1, table.shape[1]), dtype=np.float32)
    for index, name in enumerate(table.columns):
        values[:, 0, index] = as_float32(_numbers(table[name], f"{path}, column {name!r}"))
    return values


def _numbers(column: "pd.Series[Any]", where: str) -> np.ndarray[Any, Any]:
    if column.dtype.kind in "fiub":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = column.isna().to_numpy()
    values = np.full(len(column), np.nan)
    for row in np.flatnonzero(~missing):
        try:
            values[row] = float(column.iloc[row])
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{where}, row {row + 1}: {str(column.iloc[row])[:40]!r} is not a number; remove the column, "
                "or rename it to 'label' if it is one"
            ) from error
    return values


def _from_lists(table: "pd.DataFrame", path: Path) -> Collection:
    columns = [table[name].tolist() for name in table.columns]
    names = list(table.columns)
    return stack_cases([_case(row, names, f"{path}, row {n}") for n, row in enumerate(zip(*columns, strict=True), 1)])


def _case(row: tuple[Any, ...], names: list[str], where: str) -> Case:
    channels = []
    for name, cell in zip(names, row, strict=True):
        try:
            values = np.asarray([] if cell is None else cell, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: column {name!r} holds something else than numbers; mend it") from error
        if values.ndim != 1 or not len(values):
            raise DataError(f"{where}: column {name!r} holds no list of numbers; fill it or drop the row")
        channels.append(as_float32(values))
    lengths = {len(channel) for channel in channels}
    if len(lengths) > 1:
        raise DataError(f"{where}: channels of {sorted(lengths)} values; all channels of a row need one length")
    return np.stack(channels)
