"""Downloads against a server on this machine: whole, cut, wrong, refused, interrupted."""

import hashlib
import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from tsjepa.datasets import DataError, archives, download, fault_detection, load, transfer

RECORD = 11179788  # Adiac
TRAIN = b"@univariate true\n@classLabel true 1 2\n@data\n1,2,3:1\n4,5,6:2\n"
TEST = TRAIN.replace(b"6", b"7")


class Server:
    """What the addresses answer: a body, and the length that is claimed for it; or another address."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[bytes, int]] = {}
        self.moved: dict[str, str] = {}
        self.stalled: set[str] = set()
        self.closing = threading.Event()
        self.requests: list[str] = []
        self.url = ""

    def put(self, path: str, body: bytes, claimed: int | None = None) -> str:
        self.answers[path] = (body, len(body) if claimed is None else claimed)
        return self.url + path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.requests.append(self.path)
            if self.path in told.moved:
                self.send_response(302)
                self.send_header("Location", told.moved[self.path])
                self.end_headers()
                return
            if self.path not in told.answers:
                self.send_error(404)
                return
            body, claimed = told.answers[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(claimed))
            self.end_headers()
            self.wfile.write(body)
            if self.path in told.stalled:
                self.wfile.flush()
                told.closing.wait()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        told.url = f"http://127.0.0.1:{http.server_port}"
        monkeypatch.setattr(download, "ZENODO", told.url + "/records/{record}")
        monkeypatch.setattr(download, "ARCHIVE_ZIP", told.url + "/{name}.zip")
        yield told
        told.closing.set()
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TSJEPA_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")


def _publish(server: Server, **changes: object) -> None:
    files = []
    for name, body in {"Adiac_TRAIN.ts": TRAIN, "Adiac_TEST.ts": TEST, "Adiac.pdf": b"x"}.items():
        link = server.put(f"/files/{name}", body)
        checksum = "md5:" + hashlib.md5(body).hexdigest()
        entry = {"key": name, "checksum": checksum, "size": len(body), "links": {"self": link}}
        files.append(entry | (changes if name == "Adiac_TEST.ts" else {}))
    server.put(f"/records/{RECORD}", json.dumps({"files": files}).encode())


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, body in members.items():
            bundle.writestr(name, body)
    return buffer.getvalue()


def _fails(name: str, folder: Path, message: str) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=message) as error:
        load(name, folder / "data")
    target = str(folder / "data" / name / name)
    assert f"put {target}_TRAIN.ts and {target}_TEST.ts there" in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(folder.rglob("*")) == before


def test_a_good_download_is_announced_kept_and_used_again(server: Server, tmp_path: Path) -> None:
    _publish(server)
    said: list[str] = []
    data = load("adiac", tmp_path / "data", announce=said.append)
    folder = tmp_path / "data" / "Adiac"
    assert said == [f"downloading Adiac from Zenodo record {RECORD} (1 MB) to {folder}"]
    assert data.source == f"download from Zenodo record {RECORD}"
    np.testing.assert_array_equal(data.X_train, [[[1, 2, 3]], [[4, 5, 6]]])
    np.testing.assert_array_equal(data.X_test, [[[1, 2, 3]], [[4, 5, 7]]])
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "Adiac",
        "Adiac_TEST.ts",
        "Adiac_TRAIN.ts",
        "data",
    ]
    assert server.requests == [f"/records/{RECORD}", "/files/Adiac_TRAIN.ts", "/files/Adiac_TEST.ts"]
    again = load("Adiac", tmp_path / "data", announce=said.append)
    assert (again.source, len(said), len(server.requests)) == (str(folder), 1, 3)


def test_without_a_folder_the_cache_is_filled(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _publish(server)
    with caplog.at_level("INFO", "tsjepa"):
        load("Adiac")
    assert [line.split(" from ")[0] for line in caplog.messages] == ["downloading Adiac"]
    assert (tmp_path / "cache" / "tsjepa" / "Adiac" / "Adiac_TRAIN.ts").read_bytes() == TRAIN


def test_a_folder_that_cannot_be_written_is_left_alone(server: Server, tmp_path: Path) -> None:
    _publish(server)
    (tmp_path / "data").write_text("a file where a folder should be")
    load("Adiac", tmp_path / "data")
    assert (tmp_path / "cache" / "tsjepa" / "Adiac" / "Adiac_TRAIN.ts").is_file()


def test_half_a_set_in_the_folder_is_completed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(server)
    folder = tmp_path / "data" / "Adiac"
    folder.mkdir(parents=True)
    (folder / "Adiac_TEST.ts").write_text("an old part")
    moved = Mock(wraps=os.replace)
    monkeypatch.setattr(os, "replace", moved)
    load("Adiac", tmp_path / "data")
    assert moved.call_args.args[1] == folder / "Adiac_TRAIN.ts"
    assert (folder / "Adiac_TEST.ts").read_bytes() == TEST
    assert sorted(path.name for path in folder.parent.rglob("*")) == [
        "Adiac",
        "Adiac_TEST.ts",
        "Adiac_TRAIN.ts",
    ]


def test_a_cut_transfer_leaves_nothing(server: Server, tmp_path: Path) -> None:
    _publish(server)
    server.put("/files/Adiac_TEST.ts", TEST[:20], claimed=len(TEST))
    said = f"the transfer of Adiac_TEST.ts ended after 20 of {len(TEST)} bytes; try again, or put "
    _fails("Adiac", tmp_path, f"^Adiac could not be downloaded: {said}")


def test_a_server_that_stalls_leaves_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.2)
    _publish(server)
    server.put("/files/Adiac_TEST.ts", TEST[:20], claimed=len(TEST))
    server.stalled.add("/files/Adiac_TEST.ts")
    _fails("Adiac", tmp_path, r"/files/Adiac_TEST.ts cannot be reached \(timed out\)")


def test_a_file_that_moved_is_followed(server: Server, tmp_path: Path) -> None:
    _publish(server)
    del server.answers["/files/Adiac_TEST.ts"]
    server.put("/elsewhere", TEST)
    server.moved["/files/Adiac_TEST.ts"] = "/elsewhere"
    np.testing.assert_array_equal(load("Adiac", tmp_path / "data").X_test, [[[1, 2, 3]], [[4, 5, 7]]])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("/files/Adiac_TEST.ts", "answered 302 .* infinite loop"),
        ("file:///etc/hostname", "answered 302 .* not allowed"),
    ],
)
def test_a_file_that_moved_to_nowhere_leaves_nothing(server: Server, tmp_path: Path, where: str, message: str) -> None:
    _publish(server)
    server.moved["/files/Adiac_TEST.ts"] = where
    _fails("Adiac", tmp_path, f"/files/Adiac_TEST.ts {message}")


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    _publish(server)
    server.put("/files/Adiac_TEST.ts", TEST.replace(b"7", b"8"))
    (tmp_path / "data").mkdir()
    _fails("Adiac", tmp_path, "Adiac_TEST.ts has md5 .*, but Zenodo record 11179788 says")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "Adiac_eq_TEST.ts"}, "has no Adiac_TEST.ts"),
        ({"checksum": "sha1:00"}, "has no md5 checksum of Adiac_TEST.ts"),
        ({"links": {}}, "is not described as expected"),
        ({"size": "large"}, "is not described as expected"),
        ({"links": {"self": "file:///etc/hostname"}}, "is no web address"),
        ({"links": {"self": None}}, "None is no web address"),
        ({"links": {"self": "http://[::1/Adiac_TEST.ts"}}, "cannot be reached .*Invalid IPv6 URL"),
    ],
)
def test_odd_records_are_refused(server: Server, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    _publish(server, **changes)
    _fails("Adiac", tmp_path, message)


def test_a_missing_record_and_an_answer_that_is_no_json(server: Server, tmp_path: Path) -> None:
    _fails("Adiac", tmp_path, f"/records/{RECORD} answered 404")
    server.put(f"/records/{RECORD}", b"<html>")
    _fails("Adiac", tmp_path, "something else than JSON")


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ZENODO", "http://127.0.0.1:9/{record}")  # nothing listens there
    monkeypatch.setattr(download, "ARCHIVE_ZIP", "http://127.0.0.1:9/{name}.zip")
    _fails("Adiac", tmp_path, "could not be downloaded: .*refused")
    _fails("FaultDetectionA", tmp_path, "could not be downloaded: .*refused")


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    said = (
        f"^{file}/tsjepa, where Adiac would be downloaded to, cannot be written to .Not a directory.; choose another "
    )
    with pytest.raises(
        DataError, match=said + "folder by --data-dir or TSJEPA_DATA, or for the cache by XDG_CACHE_HOME$"
    ):
        load("Adiac")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_no_failure_of_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(server)
    monkeypatch.setattr(
        download, "save", lambda response, _, *given: transfer.save(response, Path("/dev/full"), *given)
    )
    said = r"/dev/full cannot be written \(No space left on device\); choose another folder by --data-dir"
    with pytest.raises(DataError, match=f"^Adiac could not be downloaded: {said}"):
        load("Adiac", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_set_should_be_is_no_failure_of_the_network(server: Server, tmp_path: Path) -> None:
    _publish(server)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Adiac").touch()
    with pytest.raises(
        DataError, match=r"^Adiac could not be downloaded: .*Not a directory.*; choose another folder by"
    ):
        load("Adiac", tmp_path / "data")
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "Adiac"]


def test_an_interruption_leaves_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(server)
    seen: list[Path] = []

    def interrupted(response: object, path: Path, size: int | None, algorithm: str) -> str:
        path.write_bytes(b"half")
        seen.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("Adiac", tmp_path / "deep" / "data")
    assert len(seen) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_detection, "LENGTH", 3)
    monkeypatch.setattr(fault_detection, "CLASSES", 2)
    monkeypatch.setitem(archives.SIZES, "FaultDetectionA", (2, 2))


MEMBERS = {"FaultDetectionA_TRAIN.ts": b"# one, two\n% three, four\n" + TRAIN, "FaultDetectionA_TEST.ts": TEST}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("prefix", ["", "FaultDetectionA/"])
def test_a_good_zip(server: Server, tmp_path: Path, prefix: str) -> None:
    body = _zip({prefix + name: text for name, text in MEMBERS.items()} | {"../evil.txt": b"x", "notes.txt": b"x"})
    server.put("/FaultDetectionA.zip", body)
    said: list[str] = []
    data = load("FaultDetectionA", tmp_path / "data", announce=said.append)
    assert len(said) == 1
    assert "no checksum is published" in said[0]
    assert data.source == f"download from {server.url}/FaultDetectionA.zip"
    np.testing.assert_array_equal(data.X_train, [[[1, 2, 3]], [[4, 5, 6]]])
    folder = tmp_path / "data" / "FaultDetectionA"
    kept = {path.name for path in tmp_path.rglob("*")} - {"data", "FaultDetectionA"}
    assert kept == {*MEMBERS, "FaultDetectionA.zip.sha256"}
    digest = hashlib.sha256(body).hexdigest()
    assert (folder / "FaultDetectionA.zip.sha256").read_text() == f"{digest}  FaultDetectionA.zip\n"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"FaultDetectionA_TEST.ts": None}, "FaultDetectionA.zip has no FaultDetectionA_TEST.ts"),
        ({"FaultDetectionA_TEST.ts": TEST + b"7,8,9:1\n"}, "FaultDetectionA_TEST.ts has 3 series, not 2"),
        ({"FaultDetectionA_TRAIN.ts": TRAIN.replace(b",3", b"")}, "a series of 2 values, not 3"),
        ({"FaultDetectionA_TEST.ts": TEST.replace(b":2", b":9")}, "has 3 classes, not 2"),
    ],
)
def test_zips_of_something_else_leave_nothing(
    server: Server, tmp_path: Path, changes: dict[str, bytes | None], message: str
) -> None:
    members = {name: body for name, body in (MEMBERS | changes).items() if body is not None}
    server.put("/FaultDetectionA.zip", _zip(members))
    _fails("FaultDetectionA", tmp_path, message)


@pytest.mark.usefixtures("small")
def test_members_outside_the_zips_folder_are_never_written(server: Server, tmp_path: Path) -> None:
    server.put("/FaultDetectionA.zip", _zip({"../" + name: body for name, body in MEMBERS.items()}))
    _fails("FaultDetectionA", tmp_path, "has no FaultDetectionA_TRAIN.ts")
    server.put("/FaultDetectionA.zip", _zip({str(tmp_path / name): body for name, body in MEMBERS.items()}))
    _fails("FaultDetectionA", tmp_path, "has no FaultDetectionA_TRAIN.ts")


@pytest.mark.usefixtures("small")
def test_cut_and_damaged_zips_leave_nothing(server: Server, tmp_path: Path) -> None:
    body = _zip(MEMBERS)
    server.put("/FaultDetectionA.zip", body[:50], claimed=len(body))
    _fails("FaultDetectionA", tmp_path, f"FaultDetectionA.zip ended after 50 of {len(body)} bytes")
    for other in (body[:-30], b"<html>moved</html>"):
        server.put("/FaultDetectionA.zip", other)
        _fails("FaultDetectionA", tmp_path, "is no sound zip file")


@pytest.mark.parametrize(("said", "size"), [(None, None), ("many", None), ("7", 7)])
def test_a_server_need_not_say_how_much_it_sends(said: str | None, size: int | None) -> None:
    response: Any = SimpleNamespace(headers={} if said is None else {"Content-Length": said})
    assert transfer.content_length(response) == size
