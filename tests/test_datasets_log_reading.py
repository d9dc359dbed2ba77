"""How the files of a log are read: what goes on in pyarrow's threads while they are."""

import io
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from tsjepa.datasets import log_reading
from tsjepa.datasets.log_files import find_files
from tsjepa.datasets.log_reading import read_schema

LINES = b"id,flow\n" + b"1,2.5\n" * 100


class Slow(io.RawIOBase):
    """A file whose third block takes as long to read as one wants; it notes whether it was closed meanwhile."""

    def __init__(self) -> None:
        self.content, self.blocks, self.lost = io.BytesIO(LINES), 0, False
        self.asked, self.go_on, self.done = threading.Event(), threading.Event(), threading.Event()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.blocks += 1
        if self.blocks == 3:
            self.asked.set()
            self.go_on.wait(60)
            self.lost = self.closed
            self.done.set()
        return self.content.read(size)


def test_a_csv_file_that_is_left_stays_open_while_pyarrow_reads_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a closed file's descriptor the next file is opened, from which a block would be taken then."""
    (tmp_path / "log.csv").write_bytes(LINES)
    slow = Slow()
    monkeypatch.setattr(log_reading, "CSV_BLOCK", 64)
    monkeypatch.setattr(log_reading, "_text", lambda file: pa.PythonFile(slow, "r"))
    monkeypatch.setattr(log_reading, "_head", lambda file: LINES.decode().split("\n")[:-1])
    (file,), _ = find_files(tmp_path)
    try:
        assert read_schema(file) == pa.schema({"id": pa.int64(), "flow": pa.float64()})
        assert slow.asked.wait(60)
    finally:
        slow.go_on.set()
    assert slow.done.wait(60)
    assert not slow.lost
