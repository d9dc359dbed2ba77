"""Bytes from the web to a file: whole, or a sentence that tells what failed."""

import hashlib
import io
import socketserver
import threading
from pathlib import Path
from typing import Any

import pytest

from tsjepa.datasets import transfer
from tsjepa.datasets.transfer import TransferError, WriteError, get_json, opened, save

BODY = b"abcdefghijklmnopqrst"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_an_https_address_is_one() -> None:
    with pytest.raises(TransferError, match=r"^https://127\.0\.0\.1:9/x cannot be reached"):
        get_json("https://127.0.0.1:9/x")  # nothing listens there


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_file_of_several_chunks_is_written_and_hashed_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    monkeypatch.setattr(transfer, "CHUNK", 8)
    (tmp_path / "pump.ts").write_bytes(b"what was there before")
    response: Any = io.BytesIO(BODY)
    assert save(response, tmp_path / "pump.ts", size, "sha256") == hashlib.sha256(BODY).hexdigest()
    assert (tmp_path / "pump.ts").read_bytes() == BODY


@pytest.mark.parametrize(
    "answer", [b"no HTTP at all\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc"]
)
def test_an_answer_that_breaks_the_protocol_is_told_in_a_sentence(tmp_path: Path, answer: bytes) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as broken:
        thread = threading.Thread(target=broken.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://127.0.0.1:{broken.server_address[1]}/x"
            with pytest.raises(TransferError, match=f"^{url} cannot be reached"), opened(url) as response:
                save(response, tmp_path / "x", None, "md5")
        finally:
            broken.shutdown()
            thread.join()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("times", [1, 100_000])  # what fits into a buffer, and what does not
def test_a_full_disk_is_told_with_the_file(times: int) -> None:
    response: Any = io.BytesIO(BODY * times)
    with pytest.raises(WriteError, match=r"^/dev/full cannot be written \(No space left on device\)$"):
        save(response, Path("/dev/full"), None, "md5")


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    response: Any = io.BytesIO(BODY)
    with pytest.raises(WriteError, match=rf"^{tmp_path} cannot be written \(Is a directory\)$"):
        save(response, tmp_path, None, "md5")
