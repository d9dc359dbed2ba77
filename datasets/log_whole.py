"""Types of CSV columns by the whole of a file, where its first block says too little."""

from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tsjepa.datasets.dataset import DataError
from tsjepa.datasets.log_cache import digest, place
from tsjepa.datasets.log_cells import BadCell
from tsjepa.datasets.log_columns import Layout
from tsjepa.datasets.log_files import LogFile
from tsjepa.datasets.log_reading import PIECE_ROWS, batches, pieces, read_schema
from tsjepa.datasets.log_settings import Columns
from tsjepa.datasets.log_store import read_json, write_json


class WholeTypes:
    """What was found of columns whose first block says too little, kept in the cache beside the rows.

    Parameters
    ----------
    files : list of LogFile
        The log.
    root : Path
        The folder of its cache.
    name : str
        What its rows are called there.
    columns : Columns
        What the user named: what is found of an id would make a channel of the same name text.
    """

    def __init__(self, files: list[LogFile], root: Path, name: str, columns: Columns) -> None:
        self._files = files
        key = digest([astuple(columns), [place(file) for file in files]])
        self._path = root / f"{name}-{key}.types"
        # of each file its state, and of columns the place of their type in `_kinds`
        self._found: dict[str, Any] = read_json(self._path) or {}

    def _of(self, file: LogFile) -> dict[str, int]:
        state, types = self._found.get(place(file), (None, {}))
        return types if state == [file.size, file.mtime] else {}

    def applied(self, file: LogFile, schema: pa.Schema) -> tuple[LogFile, pa.Schema]:
        """Return a file and its columns with the types that were found."""
        found, kinds = self._of(file), _kinds()
        for name, at in found.items():
            schema = schema.set(schema.get_field_index(name), schema.field(name).with_type(kinds[at]))
        return (replace(file, schema=schema) if found else file), schema

    def find(self, error: BadCell, layout: Layout) -> bool:
        """Look through a whole file for the type of a column that has a bad cell; return whether it is another one."""
        file, name, columns = error.file, error.column, layout.columns
        held = _type_of(file, name) or pa.null()
        # a word in a channel that has numbers, or true and false, is an error
        asked = name in (columns.id, columns.time, columns.group, columns.label)
        if file.kind != "csv" or not (asked or pa.types.is_null(held)):
            return False
        text = len(_kinds()) - 1
        at = text if error.is_text else _whole_kind(file, name)
        if _kinds()[at] == held or not _serves(name, held, _kinds()[at], columns):
            return False
        self._note(file, name, at)
        for other in self._files if at == text else ():  # each by itself would have all rows gone through once more
            if other.kind == "csv" and _type_of(other, name) == held:
                self._note(other, name, at)
        write_json(self._path, self._found)
        return True

    def _note(self, file: LogFile, name: str, at: int) -> None:
        self._found[place(file)] = [[file.size, file.mtime], {**self._of(file), name: at}]


def _type_of(file: LogFile, name: str) -> pa.DataType | None:
    schema = read_schema(file)
    return schema.field(name).type if schema is not None and name in schema.names else None


def _serves(name: str, held: pa.DataType, kind: pa.DataType, columns: Columns) -> bool:
    """Tell whether a column may be read as another type: a single odd cell makes no other id, and no other time."""
    if name in (columns.id, columns.group):
        return pa.types.is_string(kind)
    if name == columns.time and not pa.types.is_null(held):
        numbers = pa.types.is_integer(held) and pa.types.is_floating(kind)
        return numbers or (pa.types.is_timestamp(held) and pa.types.is_timestamp(kind))
    return True


def _kinds() -> list[pa.DataType]:
    """Return the types that pyarrow tries for a column without one, in its order; seconds may have fractions."""
    stamps = [pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC")]
    return [pa.int64(), pa.bool_(), pa.date32(), pa.time32("s"), *stamps, pa.float64(), pa.string()]


def _whole_kind(file: LogFile, name: str) -> int:
    """Return the place of the first type that fits all cells of a column; most fail at the first block."""
    *kinds, _ = _kinds()
    for at, kind in enumerate(kinds):
        try:
            for _ in batches(pieces(file)[0], [name], {name: kind}, PIECE_ROWS):
                pass
        except DataError as error:
            if not isinstance(error.__cause__, pa.ArrowInvalid):
                raise
        else:
            return at
    return len(kinds)
