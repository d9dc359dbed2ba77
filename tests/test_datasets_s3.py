"""Logs in an object store: a server in this process answers what pyarrow asks of Amazon S3."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from pyarrow import fs
from typer.testing import CliRunner

from tsjepa.cli.main import app
from tsjepa.datasets import DataError
from tsjepa.datasets.logs import Windowing, load_log

pytestmark = pytest.mark.skipif(not hasattr(fs, "S3FileSystem"), reason="this pyarrow cannot read S3")
WHEN = "2026-01-01T00:00:00.000Z"


class Store(ThreadingHTTPServer):
    """Objects by their keys, bucket first."""

    objects: dict[str, bytes]


class Handler(BaseHTTPRequestHandler):
    """Answers HEAD and GET of an object, and lists those below a prefix."""

    protocol_version = "HTTP/1.1"
    server: Store

    def do_HEAD(self) -> None:
        self.answer(head=True)

    def do_GET(self) -> None:
        self.answer(head=False)

    def answer(self, head: bool) -> None:
        parts = urlsplit(self.path)
        key, query = unquote(parts.path).strip("/"), parse_qs(parts.query)
        if "list-type" in query:
            self.reply(200, self.listing(key, query), head)
        elif key in self.server.objects:
            self.content(self.server.objects[key], head)
        else:
            self.reply(404, b"", head)

    def content(self, content: bytes, head: bool) -> None:
        asked = self.headers.get("Range")
        if asked is None:
            self.reply(200, content, head)
            return
        first, last = (int(at) for at in asked.removeprefix("bytes=").split("-"))
        self.reply(206, content[first : last + 1], head)

    def listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        prefix = f"{bucket}/{query.get('prefix', [''])[0]}"
        below = [key for key in sorted(self.server.objects) if key.startswith(prefix)]
        found = "".join(
            f"<Contents><Key>{key.removeprefix(f'{bucket}/')}</Key><LastModified>{WHEN}</LastModified>"
            f"<Size>{len(self.server.objects[key])}</Size></Contents>"
            for key in below
        )
        return (
            f"<ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>"
            f"<KeyCount>{len(below)}</KeyCount>{found}</ListBucketResult>"
        ).encode()

    def reply(self, status: int, content: bytes, head: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if not head:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Bucket(NamedTuple):
    """What is stored, and the rest of an address that leads to the server."""

    objects: dict[str, bytes]
    query: str


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = Store(("127.0.0.1", 0), Handler)
    store.objects = {}
    thread = threading.Thread(target=store.serve_forever, daemon=True)
    thread.start()
    place = f"127.0.0.1:{store.server_port}"
    yield Bucket(store.objects, f"?scheme=http&endpoint_override={place}&region=us-east-1")
    store.shutdown()
    store.server_close()


def make_log(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    time = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.tile(np.arange(40), 2), "s")
    return pd.DataFrame({"unit": np.repeat(["a", "b"], 40), "time": time, "flow": rng.normal(size=80).astype("f4")})


def as_parquet(log: pd.DataFrame) -> bytes:
    sink = BytesIO()
    log.to_parquet(sink, index=False)
    return sink.getvalue()


def test_a_file_a_folder_and_a_pattern_in_a_store(bucket: Bucket, tmp_path: Path) -> None:
    log = make_log()
    for unit, rows in log.groupby("unit"):
        bucket.objects[f"plant/2026/log/{unit}.parquet"] = as_parquet(rows)
    bucket.objects["plant/2026/log/c.csv"] = make_log(1).replace({"a": "c", "b": "d"}).to_csv(index=False).encode()
    bucket.objects["plant/2026/other/a.parquet"] = b"not asked for"
    log.to_parquet(tmp_path / "log.parquet", index=False)
    local = load_log(tmp_path / "log.parquet", windowing=Windowing(10), cache_dir=tmp_path / "cache")
    for place, cases in (("log/a.parquet", 4), ("log/*.parquet", 8), ("log", 16)):
        address = f"s3://plant/2026/{place}{bucket.query}"
        found = load_log(address, windowing=Windowing(10), cache_dir=tmp_path / "cache")
        assert (found.n_cases, found.channels) == (cases, ("flow",))
        np.testing.assert_array_equal(found.take(np.arange(4)).values, local.take(np.arange(4)).values)
        assert found.name == ("a" if place == "log/a.parquet" else "log")
    assert {path.name.split("-")[0] for path in (tmp_path / "cache").glob("*-*-*")} == {"a", "log"}


def test_what_is_not_in_a_store_is_told(bucket: Bucket, tmp_path: Path) -> None:
    bucket.objects["plant/log/a.parquet"] = b"damaged"
    with pytest.raises(DataError, match=r"s3://plant/log/a\.parquet cannot be read \("):
        load_log(f"s3://plant/log{bucket.query}", cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match=r"s3://plant/none.* does not exist; check the spelling"):
        load_log(f"s3://plant/none{bucket.query}", cache_dir=tmp_path / "cache")


def test_a_log_in_a_store_is_trained_on_and_embedded(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bucket.objects["plant/log/all.parquet"] = as_parquet(make_log())
    address = f"s3://plant/log{bucket.query}"
    words = ["pretrain", "--config", "tiny", "--epochs", "1", "--device", "cpu", "--data", address, "--window", "20"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    words = ["embed", "runs/log/checkpoint.ckpt", "--data", address, "--out", "z.parquet"]
    assert CliRunner().invoke(app, words).exit_code == 0
    table = pd.read_parquet("z.parquet")
    assert table["id"].tolist() == ["a", "a", "b", "b"]
