"""`tsjepa embed`: its table, what a call that was stopped leaves, and the sentences of what cannot be done."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import arrays, found, refused, trained_run, tsjepa, write_data
from filelock import FileLock
from typer.testing import CliRunner

from tsjepa.arrays import as_series
from tsjepa.checkpoint import load_checkpoint
from tsjepa.cli import part_files, table
from tsjepa.cli.main import app
from tsjepa.embedding import embed

CKPT = "run/checkpoint.ckpt"
WORDS = ("embed", CKPT, "--data", "pump.npz", "--out", "z.parquet")
PARTS = Path(".z.parquet.parts")
pytestmark = pytest.mark.usefixtures("with_trained")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one run that all tests copy."""
    return trained_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let 7 series be held at a time, so that 60 series become 9 parts: 6 of the training and 3 of the test part."""
    monkeypatch.setattr("tsjepa.cli.table.chunk_size", lambda *_: 7)
    return 9


def test_one_row_a_series() -> None:
    values = found("embed", CKPT, "--data", "pump.npz", "--out", "new/z.parquet")
    assert set(values) == {"rows", "seconds", "peak_mb", "out"}
    assert (values["rows"], values["out"]) == (60, "new/z.parquet")
    assert 50 < values["peak_mb"] < 100_000
    rows = pq.read_table("new/z.parquet")
    assert rows.column_names == ["part", "id", "start", "end", "label", "embedding"]
    assert rows["part"].to_pylist() == ["train"] * 40 + ["test"] * 20
    assert rows["id"].to_pylist() == [*range(40), *range(20)]
    assert set(rows["start"].to_pylist()) == {0}
    assert set(rows["end"].to_pylist()) == {39}
    assert rows["label"].to_pylist() == [*arrays()["y_train"], *arrays()["y_test"]]
    model, header = load_checkpoint(CKPT)
    want = [embed(model.encoder, as_series(arrays()[key]), header.config.probe) for key in ("X_train", "X_test")]
    assert rows.schema.field("embedding").type == pa.list_(pa.field("element", pa.float32()), want[0].shape[1])
    assert np.array_equal(np.array(rows["embedding"].to_pylist(), np.float32), np.concatenate(want))
    assert [path.name for path in Path("new").iterdir()] == ["z.parquet"]


def test_half_precision_is_asked_for_and_close() -> None:
    rows = []
    for precision in ("32", "bf16"):
        out = f"{precision}.parquet"
        found("embed", CKPT, "--data", "pump.npz", "--out", out, "--precision", precision)
        rows.append(np.array(pq.read_table(out)["embedding"].to_pylist(), np.float32))
    whole, half = rows
    assert not np.array_equal(whole, half)
    cosine = (whole * half).sum(1) / np.linalg.norm(whole, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.999
    assert "--precision" in refused(2, "embed", CKPT, "--data", "pump.npz", "--out", "z.parquet", "--precision", "8")


def test_the_file_is_packed_for_floats_and_opens_everywhere() -> None:
    found(*WORDS)
    group = pq.ParquetFile("z.parquet").metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert "BYTE_STREAM_SPLIT" in columns["embedding.list.element"].encodings
    want = np.array(pq.read_table("z.parquet")["embedding"].to_pylist(), np.float32)
    assert np.array_equal(np.stack(pd.read_parquet("z.parquet")["embedding"].to_numpy()), want)
    frame = pl.read_parquet("z.parquet")
    assert frame.schema["embedding"] == pl.Array(pl.Float32, want.shape[1])
    assert np.array_equal(frame["embedding"].to_numpy(), want)


def test_series_of_different_length_end_at_their_last_point() -> None:
    Path("gait.ts").write_text(
        "@univariate true\n@equalLength false\n@classLabel true a b\n@data\n1,2,3,4,5:a\n1,2,3,4,5,6,7,8:b\n"
    )
    found("embed", CKPT, "--data", "gait.ts", "--out", "z.parquet")
    rows = pq.read_table("z.parquet")
    assert rows.column_names == ["id", "start", "end", "label", "embedding"]
    assert rows["end"].to_pylist() == [4, 7]


def test_without_labels_or_with_numbers() -> None:
    write_data("bare", y_train=None, X_test=None, y_test=None)
    assert found("embed", CKPT, "--data", "bare.npz", "--out", "a.parquet")["rows"] == 40
    assert pq.read_table("a.parquet").column_names == ["id", "start", "end", "embedding"]
    y = np.random.default_rng(0).normal(size=40)
    found("embed", CKPT, "--data", write_data("wear", y_train=y, y_test=None), "--out", "b.parquet")
    assert pq.read_table("b.parquet")["label"].to_pylist() == [*y, *[None] * 20]


def test_chunks_change_no_number(small_chunks: int) -> None:
    found(*WORDS)
    assert pq.ParquetFile("z.parquet").num_row_groups == small_chunks
    model, header = load_checkpoint(CKPT)
    want = [embed(model.encoder, as_series(arrays()[key]), header.config.probe) for key in ("X_train", "X_test")]
    rows = np.array(pq.read_table("z.parquet")["embedding"].to_pylist(), np.float32)
    assert np.array_equal(rows, np.concatenate(want))


class Killed(BaseException):
    """Stands for a process that ends without clearing up."""


@contextmanager
def chunks(most: int = 10**6, error: type[BaseException] = Killed) -> Iterator[list[int]]:
    """Count the chunks that are embedded, and end with an error after `most`."""
    made, whole = list[int](), table.Embedder.table

    def counted(self: table.Embedder, data: Any, chunk: table.Chunk) -> pa.Table:
        if len(made) == most:
            raise error
        made.append(len(chunk.cases))
        return whole(self, data, chunk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table.Embedder, "table", counted)
        yield made


def killed_after(most: int) -> None:
    with chunks(most), pytest.raises(Killed):
        CliRunner().invoke(app, WORDS, catch_exceptions=False)


@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_a_call_that_was_killed_goes_on(count: int, small_chunks: int) -> None:
    found(*WORDS)
    want = Path("z.parquet").read_bytes()
    Path("z.parquet").unlink()
    killed_after(count)
    assert not Path("z.parquet").exists()
    assert len(list(PARTS.glob("*.arrow"))) == count
    with chunks() as made:
        result = tsjepa(*WORDS)
    assert (f"going on after {count} of {small_chunks} parts" in result.stderr) == (count > 0)
    assert len(made) == small_chunks - count
    assert Path("z.parquet").read_bytes() == want
    assert not PARTS.exists()


def test_a_part_that_a_power_cut_left_short_is_made_again(small_chunks: int) -> None:
    found(*WORDS)
    want = Path("z.parquet").read_bytes()
    Path("z.parquet").unlink()
    killed_after(3)
    part = PARTS / "000001.arrow"
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with chunks() as made:
        assert f"going on after 1 of {small_chunks} parts" in tsjepa(*WORDS).stderr
    assert len(made) == small_chunks - 1
    assert Path("z.parquet").read_bytes() == want


@pytest.mark.usefixtures("small_chunks")
def test_a_call_that_was_killed_while_joining_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    found(*WORDS)
    want = Path("z.parquet").read_bytes()

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda a, b: killed() if str(b) == "z.parquet" else shutil.move(a, b))
        with pytest.raises(Killed):
            CliRunner().invoke(app, [*WORDS, "--overwrite"], catch_exceptions=False)
    assert Path("z.parquet").read_bytes() == want
    assert "going on after 9 of 9 parts" in tsjepa(*WORDS, "--overwrite").stderr
    assert Path("z.parquet").read_bytes() == want
    assert not PARTS.exists()


@pytest.mark.usefixtures("small_chunks")
def test_ctrl_c_says_that_the_work_is_kept() -> None:
    with chunks(3, KeyboardInterrupt):
        assert "the same command goes on" in refused(130, *WORDS)
    assert len(list(PARTS.glob("*.arrow"))) == 3


@pytest.mark.parametrize("change", ["data", "checkpoint", "precision"])
def test_parts_of_something_else_are_not_taken(change: str, small_chunks: int) -> None:
    killed_after(3)
    if change == "data":
        write_data("pump", X_train=arrays()["X_train"] + 1)
    elif change == "checkpoint":
        words = (
            "--config",
            "tiny",
            "--epochs",
            "1",
            "--data",
            "pump.npz",
            "--out",
            "run",
            "--overwrite",
            "--seed",
            "9",
        )
        assert tsjepa("pretrain", *words, "--device", "cpu").exit_code == 0
    with chunks() as made:
        other = ("--precision", "bf16") if change == "precision" else ()
        assert "going on" not in tsjepa(*WORDS, *other).stderr
    assert len(made) == small_chunks


def test_a_file_is_never_replaced_unasked() -> None:
    Path("z.parquet").write_text("mine")
    assert "--overwrite" in refused(2, *WORDS)
    refused(1, "embed", CKPT, "--data", "absent.npz", "--out", "z.parquet", "--overwrite")
    assert Path("z.parquet").read_text() == "mine"
    assert "60 embeddings in z.parquet" in tsjepa(*WORDS, "--overwrite").stdout
    assert pq.read_table("z.parquet").num_rows == 60


@pytest.mark.parametrize(
    ("out", "code", "part"),
    [("z.csv", 2, ".parquet"), ("pump.npz/z.parquet", 1, "cannot write pump.npz"), ("d.parquet", 2, "is a folder")],
)
def test_places_where_no_table_can_be_written(out: str, code: int, part: str) -> None:
    Path("d.parquet").mkdir()
    assert part in refused(code, "embed", CKPT, "--data", "pump.npz", "--out", out)


def test_a_second_command_for_the_same_file_is_refused() -> None:
    with FileLock(".z.parquet.lock"):
        assert "another command is writing z.parquet: wait for it, or give another --out" in refused(1, *WORDS)
    assert not PARTS.exists()
    assert tsjepa(*WORDS).exit_code == 0
    assert not list(Path().glob(".z.parquet*"))


def test_a_file_that_another_command_wrote_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsjepa.cli.embed.say_remarks", lambda *_: Path("z.parquet").write_text("its"))
    assert "z.parquet exists already" in refused(2, *WORDS)
    assert Path("z.parquet").read_text() == "its"


def test_flags_of_logs_are_refused_where_there_is_none() -> None:
    assert "--pool-windows joins the windows" in refused(2, *WORDS, "--pool-windows")
    assert "--window says how a sensor log is read" in refused(2, *WORDS, "--window", "10")


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("small_chunks")
def test_a_full_disk_keeps_the_old_table_and_the_finished_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("z.parquet").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr(part_files, "open_writer", no_space)
        assert "cannot write z.parquet: No space left on device" in refused(1, *WORDS, "--overwrite")
    assert Path("z.parquet").read_text() == "mine"
    assert "going on after 9 of 9 parts" in tsjepa(*WORDS, "--overwrite").stderr
    assert pq.read_table("z.parquet").num_rows == 60
    monkeypatch.setattr(Path, "write_bytes", no_space)
    assert "No space left on device" in refused(1, *WORDS, "--overwrite")
    assert pq.read_table("z.parquet").num_rows == 60


def test_sketches_of_other_channels_are_said_to_compare_with_each_other_only() -> None:
    words = ("--config", "tiny", "--epochs", "1", "--set", "probe.sketch=64", "--data", "pump.npz", "--device", "cpu")
    assert tsjepa("pretrain", *words, "--out", "sketched").exit_code == 0
    one = write_data("one", **{name: arrays()[name][:, :1] for name in ("X_train", "X_test")})
    for data, said in (("pump.npz", False), (one, True)):
        result = tsjepa("embed", "sketched/checkpoint.ckpt", "--data", data, "--out", f"{data}.parquet")
        assert result.exit_code == 0, result.output
        note = (
            "has not the 2 that were trained on: embeddings of 1 channel compare with each other, and not with others"
        )
        assert (note in " ".join(result.stderr.split())) == said
