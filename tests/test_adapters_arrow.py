"""Record batch to record batch, against `embed`."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjepa.adapters.arrow import BatchEmbedder, to_lists, to_series
from tsjepa.arrays import as_series
from tsjepa.build import build_model, resolve
from tsjepa.checkpoint import Header, save_checkpoint
from tsjepa.config import load_config
from tsjepa.embedding import embed
from tsjepa.encoder import Encoder
from tsjepa.sections import ProbeConfig
from tsjepa.tokenizers import LinearPatches

PROBE = ProbeConfig(scale_features=True)


def embedder(n_channels: int = 2) -> BatchEmbedder:
    torch.manual_seed(0)
    return BatchEmbedder(Encoder(LinearPatches(5, 8), depth=1, heads=2).eval(), PROBE, n_channels)


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=shape).astype(np.float32)
    X[rng.random(shape) < 0.2] = np.nan
    return X


def numbers(column: pa.Array) -> np.ndarray:
    return np.array(column.to_pylist(), np.float32)


def test_embeddings_stand_in_the_place_of_values() -> None:
    X, names = drawn(4, 2, 23), pa.array(["a", "b", None, "d"])
    batch = pa.RecordBatch.from_pydict({"unit": names, "values": to_lists(X.reshape(4, -1)), "row": [3, 1, 2, 0]})
    found = embedder()(batch)
    assert found.schema.names == ["unit", "row", "embedding"]
    assert found.schema.field("embedding").type == pa.list_(pa.float32())
    assert (found["unit"], found["row"].to_pylist()) == (names, [3, 1, 2, 0])
    assert np.array_equal(numbers(found["embedding"]), embed(embedder().encoder, as_series(X), PROBE))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 99))
def test_lists_become_series(lengths: list[int], n_channels: int, seed: int) -> None:
    parts = [drawn(n_channels, length, seed=seed + i) for i, length in enumerate(lengths)]
    lists = pa.array(
        [[None if np.isnan(x) else float(x) for x in part.ravel()] for part in parts], pa.list_(pa.float32())
    )
    want = as_series(parts)
    for column in (lists, lists.cast(pa.large_list(pa.float64()))):
        found = to_series(column, n_channels)
        assert np.array_equal(found.values, want.values)
        assert found.valid is None if want.valid is None else np.array_equal(found.valid, want.valid)


def test_a_table_without_rows_has_embeddings_of_none() -> None:
    whole = pa.table({"unit": pa.array(["a", "b"]), "values": to_lists(drawn(2, 2, 23).reshape(2, -1))})
    for table in (whole.filter(pa.array([False, False])), whole.schema.empty_table()):
        found = embedder().table(table)
        assert (found.num_rows, found.schema.names) == (0, ["unit", "embedding"])
    assert embedder().table(whole).num_rows == 2


def test_a_slice_is_what_it_shows() -> None:
    X = drawn(5, 2, 20)
    batch = pa.RecordBatch.from_pydict({"values": to_lists(X.reshape(5, -1))})
    parts = [numbers(embedder()(batch.slice(start, 2))["embedding"]) for start in (0, 2, 4)]
    assert np.array_equal(np.concatenate(parts), numbers(embedder()(batch)["embedding"]))
    assert embedder()(batch.slice(0, 0)).num_rows == 0
    table = embedder().table(pa.Table.from_batches([batch.slice(0, 3), batch.slice(3)]))
    assert np.array_equal(numbers(table["embedding"]), np.concatenate(parts))


@pytest.mark.parametrize("values", [[[1.0, 2.0, 3.0]], [[]], [None]])
def test_what_is_no_series_is_said(values: list[list[float]]) -> None:
    batch = pa.RecordBatch.from_pydict({"values": pa.array(values, pa.list_(pa.float32()))})
    size = len(values[0] or [])
    with pytest.raises(ValueError, match=f"row 0 of the batch holds {size} values, which is no series of 2 channel"):
        embedder()(batch)


def test_lists_may_be_encoded_nested_or_tensors() -> None:
    X = drawn(3, 2, 20)
    flat, nested = to_lists(X.reshape(3, -1)), pa.array(X.tolist())
    want = as_series(X)
    for column in (
        nested,
        nested.cast(pa.large_list(pa.list_(pa.float32(), 20))),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), flat),
        pa.FixedShapeTensorArray.from_numpy_ndarray(X),
        pa.FixedShapeTensorArray.from_numpy_ndarray(X.reshape(3, -1)),
    ):
        found = to_series(column, 2)
        assert np.array_equal(found.with_nan(), want.with_nan(), equal_nan=True)
    assert np.array_equal(to_series(nested.slice(1, 1), 2).values, want.values[1:2])
    ragged = to_series(pa.array([[[1.0], [2.0]], [[3.0, 4.0], [5.0, 6.0]]]), 2)
    assert ragged.values.tolist() == [[[1, 0], [2, 0]], [[3, 4], [5, 6]]]


TENSORS = pa.FixedShapeTensorArray.from_numpy_ndarray


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (pa.array([[[1.0], [2.0]], [[1.0]]]), "row 1 of the batch holds 1 lists, but a series has 2"),
        (pa.array([None, [[1.0], [2.0]]]), "row 0 of the batch holds 0 lists, but a series has 2"),
        (pa.array([[[1.0], [2.0, 3.0]]]), "row 0 of the batch holds lists of different length"),
        (pa.array(["1, 2"]), "column 'values' of the batch must hold lists of numbers, but its type is string"),
        (TENSORS(np.zeros((1, 20, 2))), r"tensors of the batch must be \(2, n_timepoints\)"),
        (TENSORS(np.zeros((2, 2, 3, 2))), r"tensors of the batch must be \(2, n_timepoints\)"),
        (TENSORS(np.zeros((1, 20, 2)).transpose(0, 2, 1)), r"tensors of the batch must be \(2, n_timepoints\)"),
    ],
)
def test_what_holds_no_series_is_refused(values: pa.Array, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        embedder()(pa.RecordBatch.from_pydict({"values": values}))


def test_a_batch_with_embeddings_already_is_refused() -> None:
    batch = pa.RecordBatch.from_pydict({"embedding": [1.0], "values": [[1.0, 2.0]]})
    with pytest.raises(ValueError, match="the batch has a column 'embedding' already: rename or drop it"):
        embedder()(batch)


def test_a_batch_of_too_many_rows_is_refused_before_it_is_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pa.RecordBatch.from_pydict({"values": to_lists(drawn(3, 2, 20).reshape(3, -1))})
    width = len(embedder()(batch)["embedding"][0])
    monkeypatch.setattr("tsjepa.adapters.arrow.MOST", 3 * width)
    assert embedder()(batch).num_rows == 3
    monkeypatch.setattr("tsjepa.adapters.arrow.MOST", 3 * width - 1)
    monkeypatch.setattr("tsjepa.adapters.arrow.embed", None)
    with pytest.raises(ValueError, match=f"3 rows with embeddings of {width} numbers, .* batches of at most 2 rows"):
        embedder()(batch)


def test_it_travels_and_loads(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_pydict({"values": to_lists(drawn(3, 2, 40).reshape(3, -1))})
    assert pickle.loads(pickle.dumps(embedder()))(batch) == embedder()(batch)
    config = resolve(load_config("tiny"), 40)
    model = build_model(config, 2).eval()
    save_checkpoint(tmp_path / "a.ckpt", model, Header(config, "pump", 2, 40))
    loaded = BatchEmbedder.load(tmp_path / "a.ckpt")
    assert (loaded.n_channels, loaded.device) == (2, "cpu")
    assert loaded(batch) == BatchEmbedder(model.encoder, config.probe, 2)(batch)
