"""A large table written as it comes: finished parts are kept, and joined to one Parquet file at the end."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsjepa.cli.outdir import replace_file, writing

KEY, JOINED = "key.json", "joined.parquet"
EMBEDDING = "embedding"


class PartFiles:
    """Finished parts of a table, in a hidden folder beside the file that they will become.

    Parameters
    ----------
    out : Path
        The file that they will become.
    key : dict
        All that the table depends on: parts of another key are thrown away.
    """

    def __init__(self, out: Path, key: dict[str, Any]) -> None:
        self.out, self.folder = out, out.with_name(f".{out.name}.parts")
        self.key = json.dumps(key, sort_keys=True)

    def start(self) -> int:
        """Return how many parts are finished already."""
        with writing(self.folder):
            if self.folder.exists() and self._stored_key() != self.key:
                shutil.rmtree(self.folder)
            self.folder.mkdir(exist_ok=True)
        replace_file(self.folder / KEY, self.key.encode())
        return next(number for number in range(len(os.listdir(self.folder)) + 1) if not self._is_whole(number))

    def _stored_key(self) -> str | None:
        path = self.folder / KEY
        return path.read_text() if path.exists() else None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.arrow"

    def _is_whole(self, number: int) -> bool:
        """Tell whether a part is there with its end, where its schema is: a power cut may have taken that."""
        try:
            self._schema(number)
        except (OSError, pa.ArrowInvalid):
            return False
        return True

    def add(self, number: int, table: pa.Table) -> None:
        """Write a part, whole or not at all."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        replace_file(self._path(number), memoryview(sink.getvalue()))

    def tables(self, count: int) -> Iterator[pa.Table]:
        """Read the parts in their order."""
        for number in range(count):
            with pa.OSFile(str(self._path(number))) as file:
                yield pa.ipc.open_file(file).read_all()

    def _schema(self, number: int) -> pa.Schema:
        with pa.OSFile(str(self._path(number))) as file:
            return pa.ipc.open_file(file).schema

    def join(self, count: int) -> int:
        """Write the file, a row group a part, and throw the parts away; return its number of rows."""
        joined, rows = self.folder / JOINED, 0
        with writing(self.out):
            # a later part may have finer times, or fractions
            schema = pa.unify_schemas([*map(self._schema, range(count))], promote_options="permissive")
            with open_writer(joined, schema) as writer:
                for table in self.tables(count):
                    writer.write_table(table.cast(schema))
                    rows += table.num_rows
            os.replace(joined, self.out)
            shutil.rmtree(self.folder)
        return rows


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file with zstd; bytes of embeddings are split by their place in a number, which packs best."""
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[name for name in schema.names if name != EMBEDDING],
        use_byte_stream_split=[f"{EMBEDDING}.list.element"],
    )


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
