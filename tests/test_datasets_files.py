"""numpy files, tables and folders."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shaped_tensors import registered, shaped

from tsjepa.datasets import DataError, load
from tsjepa.datasets.files import Pair, find_path
from tsjepa.datasets.logs import is_log

TS = "@classLabel true 1 2\n@data\n1,2,3:1\n4,5,6:2\n"


def test_npz_with_both_parts(tmp_path: Path) -> None:
    path, rng = tmp_path / "pump.npz", np.random.default_rng(0)
    train, test = rng.normal(size=(4, 2, 9)), rng.normal(size=(3, 2, 9))
    np.savez(path, X_train=train, y_train=[10, 9, 10, 9], X_test=test, y_test=[9, 9, 10])
    data = load(path)
    assert (data.name, data.source, data.classes) == ("pump", str(path), ("9", "10"))
    np.testing.assert_array_equal(data.X_train, train.astype(np.float32))
    np.testing.assert_array_equal(data.X_test, test.astype(np.float32))
    assert data.y_train is not None
    assert data.y_test is not None
    assert (data.y_train.dtype, data.y_train.tolist(), data.y_test.tolist()) == (
        np.int64,
        [1, 0, 1, 0],
        [0, 0, 1],
    )


def test_npz_and_npy_with_one_part(tmp_path: Path) -> None:
    X = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.savez(tmp_path / "a.npz", X=X, y=np.array([0.5, 2.0]))
    np.save(tmp_path / "b.npy", X)
    numeric, plain = load(tmp_path / "a.npz"), load(tmp_path / "b.npy")
    assert numeric.y_train is not None
    assert (numeric.y_train.tolist(), numeric.classes, numeric.X_test) == ([0.5, 2.0], None, None)
    assert isinstance(plain.X_train, np.ndarray)
    assert (plain.X_train.tolist(), plain.X_train.dtype, plain.y_train) == (
        [[[0, 1, 2]], [[3, 4, 5]]],
        np.float32,
        None,
    )


GOOD = np.zeros((2, 4))
BAD_NPZ = {
    "objects": ({"X": np.array([[1], [2, 3]], dtype=object)}, "holds Python objects"),
    "keys": ({"data": GOOD}, "has the keys data; it needs X and y"),
    "both": ({"X": GOOD, "X_train": GOOD}, "has both X and X_train"),
    "dimensions": ({"X": np.zeros(4)}, r"key X has shape \(4,\)"),
    "type": ({"X": np.array([["a", "b"]])}, "key X has type <U1"),
    "count": ({"X": GOOD, "y": [1, 2, 3]}, r"key y has shape \(3,\) for 2 series"),
    "label": ({"X": GOOD, "y": [1.5, np.inf]}, "key y: case 2 has an infinite label"),
    "complex label": ({"X": GOOD, "y": [1j, 2j]}, "key y has type complex128"),
    "no series": ({"X": np.zeros((0, 4))}, "holds no series"),
    "no time points": ({"X": np.zeros((2, 0))}, "every value is missing"),
    "infinite": (
        {"X": np.array([[1.0, 2], [3, np.inf]])},
        r"case 1 \(counting from 0\) holds an infinite value",
    ),
    "too large": ({"X": np.array([[1e39, 2]])}, "case 0 .* infinite value"),
    "channels": ({"X_train": np.zeros((2, 2, 4)), "X_test": GOOD}, "2 channels, but its test part 1"),
    "mixed labels": (
        {"X_train": GOOD, "y_train": [1.5, 2], "X_test": GOOD, "y_test": ["a", "b"]},
        "one part has a numeric target",
    ),
    "a test part beside X": (
        {"X": GOOD, "y": [0, 1], "X_test": GOOD, "y_test": [0, 1]},
        r"pump\.npz: X_test, y_test would not be read beside X, y; keep X and y, or X_train, y_train, X_test",
    ),
    "labels by another name": ({"X": GOOD, "labels": [0, 1]}, "labels would not be read beside X; keep"),
    "two arrays of labels": ({"X": GOOD, "y": [0, 1], "Class": [0, 1]}, "Class would not be read beside X, y; keep"),
    "labels of which part": (
        {"X_train": GOOD, "X_test": GOOD, "y": [0, 1]},
        "y would not be read beside X_train, X_test; keep",
    ),
    "labels without series": (
        {"X_train": GOOD, "y_train": [0, 1], "y_test": [0, 1]},
        "y_test would not be read beside X_train, y_train; keep",
    ),
    "a third part": (
        {"X_train": GOOD, "y_train": [0, 1], "X_val": GOOD, "target_val": [0, 1]},
        "X_val, target_val would not be read beside X_train, y_train; keep",
    ),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_npz_refuses(tmp_path: Path, case: str) -> None:
    arrays, message = BAD_NPZ[case]
    np.savez(tmp_path / "pump.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        load(tmp_path / "pump.npz")


def test_arrays_of_other_names_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "pump.npz", X=GOOD, y=[0, 1], subject=[7, 8], class_names=["a", "b"], yaw=[0.5])
    data = load(tmp_path / "pump.npz")
    assert data.y_train is not None
    assert data.notes == ("pump.npz: arrays of other names are not read: 'subject', 'class_names', 'yaw'",)


def test_broken_numpy_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", X=np.random.default_rng(0).normal(size=(50, 50)))
    whole = (tmp_path / "whole.npz").read_bytes()
    for name, content in {"a.npz": whole[: len(whole) // 2], "b.npy": b"", "c.npz": b"no array"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            load(tmp_path / name)
    (tmp_path / "whole.npz").rename(tmp_path / "whole.npy")
    with pytest.raises(DataError, match=r"call it \.npz"):
        load(tmp_path / "whole.npy")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_of_numbers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pump{suffix}"
    table = pd.DataFrame({"t0": [1, 2, 3], "Label": ["b", "a", "b"], "t1": [0.1, np.nan, 0.3]})
    _ = table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    data = load(path)
    expected = np.array([[[1, 0.1]], [[2, np.nan]], [[3, 0.3]]], dtype=np.float32)
    np.testing.assert_array_equal(data.X_train, expected)
    assert data.y_train is not None
    assert (data.y_train.tolist(), data.classes) == ([1, 0, 1], ("a", "b"))
    assert data.notes == (f"pump{suffix}: each row is one series of 2 time points, 't0' to 't1'",)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_that_say_which_series_a_row_is_are_no_time_points(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pump{suffix}"
    table = pd.DataFrame({"ID": [1, 2], "t0": [1.0, 2], "t1": [3.0, 4], "fold": [0, 1], "split": ["a", "b"]})
    table.insert(0, "unit", [7, 8])
    table["machine_id"] = table["unit"]
    _ = table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    data = load(path)
    np.testing.assert_array_equal(data.X_train, [[[1, 3]], [[2, 4]]])
    assert data.notes == (
        f"pump{suffix}: each row is one series of 2 time points, 't0' to 't1'",
        f"pump{suffix}: columns that are no time points are not read: 'unit', 'ID', 'fold', 'split', 'machine_id'",
    )


@pytest.mark.parametrize("name", ["fault", "Activity", "is_anomaly", "rul"])
def test_labels_of_tables_are_called_as_in_logs(tmp_path: Path, name: str) -> None:
    pd.DataFrame({name: [1, 0], "t0": [1.0, 2], "t1": [3.0, 4]}).to_csv(tmp_path / "pump.csv", index=False)
    data = load(tmp_path / "pump.csv")
    np.testing.assert_array_equal(data.X_train, [[[1, 3]], [[2, 4]]])
    assert data.y_train is not None
    assert (data.y_train.tolist(), data.classes) == ([1, 0], ("0", "1"))


@pytest.mark.parametrize(
    ("labels", "classes", "y"),
    [
        ([3, 1, 3], ("1", "3"), [1, 0, 1]),
        ([3.0, 1.0, 3.0], ("1", "3"), [1, 0, 1]),
        ([0.5, 1.0, 3.0], None, [0.5, 1.0, 3.0]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_label_types_of_tables(
    tmp_path: Path, suffix: str, labels: list[float], classes: tuple[str, ...] | None, y: list[float]
) -> None:
    path, table = tmp_path / f"pump{suffix}", pd.DataFrame({"t0": [1.0, 2, 3], "target": labels})
    _ = table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    data = load(path)
    assert data.y_train is not None
    assert (data.classes, data.y_train.tolist()) == (classes, y)


def test_parquet_lists_are_channels(tmp_path: Path) -> None:
    path = tmp_path / "pump.parquet"
    lists = {"x": [[1.0, 2.0], [3.0]], "y": [[5.0, None], [6.0]]}
    pd.DataFrame({**lists, "subject": [7, 8], "class": ["a", "b"]}).to_parquet(path)
    data = load(path)
    assert isinstance(data.X_train, list)
    np.testing.assert_array_equal(data.X_train[0], np.array([[1, 2], [5, np.nan]], dtype=np.float32))
    np.testing.assert_array_equal(data.X_train[1], np.array([[3], [6]], dtype=np.float32))
    assert data.classes == ("a", "b")  # a list column called y is a channel
    assert data.notes == ("pump.parquet: columns that hold no lists are not read: 'subject'",)


def test_parquet_tensors_are_channels(tmp_path: Path) -> None:
    X = np.arange(40, dtype=np.float32).reshape(5, 2, 4)
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(X)
    pq.write_table(pa.table({"flow": tensors, "class": list("ababa")}), tmp_path / "pump.parquet")
    data = load(tmp_path / "pump.parquet")
    np.testing.assert_array_equal(data.X_train, X)
    assert data.classes == ("a", "b")
    cubes = pa.FixedShapeTensorArray.from_numpy_ndarray(X.reshape(5, 2, 2, 2))
    pq.write_table(pa.table({"flow": cubes}), tmp_path / "cubes.parquet")
    with pytest.raises(DataError, match=r"cubes.parquet: column 'flow' holds tensors of .*: reshape them$"):
        load(tmp_path / "cubes.parquet")


def test_parquet_tensors_of_another_library_are_channels(tmp_path: Path) -> None:
    X = np.arange(40, dtype=np.float32).reshape(5, 2, 4)
    pq.write_table(pa.table({"flow": shaped(X)}), tmp_path / "pump.parquet")
    with registered():
        np.testing.assert_array_equal(load(tmp_path / "pump.parquet").X_train, X)


BAD_CSV = {
    "a log": (
        "Timestamp,current\n1,2\n",
        "looks like a log: column 'Timestamp' .* each row must be one series; cut it into windows$",
    ),
    "text": ("t0,t1\n1,2\n3,high\n", "column 't1', row 2: 'high' is not a number"),
    "semicolons": (
        "t0;t1;label\n1;2;a\n3;4;b\n",
        "pump.csv separates its cells by ';'; separate cells by commas, decimals",
    ),
    "tabs": ("t0\tt1\n1\t2\n", "separates its cells by .*t'; separate cells by commas"),
    "index": (",t0,t1\n0,1,2\n", "column 0 .counting from 0. has no name"),
    "annotations": (
        "#group,false,false\n#default,,\n,t0,t1\n,1,2\n",
        "begins with a comment, '#group,false,false': delete",
    ),
    "no header": ("0.5,0.25,0.5\n1,2,3\n", "starts with a row of values"),
    "no header, of one value": ("1.0,1.00,1.000\n1,2,3\n", "starts with a row of values"),
    "no rows": ("t0,t1\n", "has no rows"),
    "empty": ("", "cannot be read as a table"),
    "ragged": ("t0,t1\n1,2\n1,2,3\n", "cannot be read as a table"),
    "only labels": ("label\na\n", "has no column of values"),
    "two labels": ("t0,label,class\n1,a,b\n", "label columns label, class; keep one"),
    "a label twice": ("label,t0,t1,label\n0,1,2,0\n1,3,4,1\n", "two columns of the same name, 'label'; rename one"),
    "a label twice, saved by pandas": ("label,t0,label.1\n0,1,0\n1,3,1\n", "columns label, label.1; keep one"),
    "an id twice": ("id,t0,id,t1\n0,1,0,2\n", "two columns of the same name, 'id'; rename one"),
    "infinite": ("t0,t1\n1,2\n1,inf\n", "case 1 .* infinite value"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_csv_refuses(tmp_path: Path, case: str) -> None:
    text, message = BAD_CSV[case]
    (tmp_path / "pump.csv").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path / "pump.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("names", ["0.0,0.1,0.2", "4000,3998,3996", "label,4000,3998,3996", "id,4,9,2"])
def test_csv_with_numbers_as_column_names(tmp_path: Path, names: str) -> None:
    row = "1,5,6,7" if names.count(",") == 3 else "5,6,7"
    (tmp_path / "pump.csv").write_text(f"{names}\n{row}\n")
    np.testing.assert_array_equal(load(tmp_path / "pump.csv").X_train, [[[5, 6, 7]]])


def test_a_single_column_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "pump.csv").write_text('"flow; l/min"\n5\n6\n')
    np.testing.assert_array_equal(load(tmp_path / "pump.csv").X_train, [[[5]], [[6]]])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"when": pd.to_datetime(["2024-01-01"]), "t0": [1.0]}, "column 'when' is a time"),
        ({"a": [[1.0, 2.0]], "b": [[1.0]]}, r"row 1: channels of \[1, 2\] values"),
        ({"a": [[1.0], None]}, "row 2: column 'a' holds no list of numbers"),
        ({"a": [["x"]]}, "row 1: column 'a' holds something else"),
        ({"t0": [1.0, 2.0], "name": ["a", "b"]}, "column 'name', row 1: 'a' is not a number"),
    ],
)
def test_parquet_refuses(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    pd.DataFrame(columns).to_parquet(tmp_path / "pump.parquet")
    with pytest.raises(DataError, match=message):
        load(tmp_path / "pump.parquet")


def test_parquet_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "pump.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match="cannot be read as a table"):
        load(tmp_path / "pump.parquet")


@pytest.mark.parametrize(("suffix", "text"), [(".ts", TS), (".tsv", "1\t1\t2\t3\n2\t4\t5\t6\n")])
def test_a_training_file_brings_its_test_file(tmp_path: Path, suffix: str, text: str) -> None:
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Pump_{part}{suffix}").write_text(text)
    data = load(tmp_path / f"Pump_TRAIN{suffix}")
    assert data.name == "Pump"
    np.testing.assert_array_equal(data.X_test, [[[1, 2, 3]], [[4, 5, 6]]])
    alone = load(tmp_path / f"Pump_TEST{suffix}")
    assert (alone.name, alone.X_test) == ("Pump_TEST", None)
    assert alone.notes == (f"Pump_TEST{suffix} was read as the training part",)
    (tmp_path / f"Pump_TEST{suffix}").unlink()
    (note,) = load(tmp_path / f"Pump_TRAIN{suffix}").notes
    assert note == f"Pump_TRAIN{suffix} has no Pump_TEST beside it: no test part"


def _save(path: Path, X: list[list[float]], y: list[str]) -> None:
    match path.suffix:
        case ".npz":
            np.savez(path, X=X, y=y)
        case ".npy":
            np.save(path, X)
        case ".csv":
            pd.DataFrame(X).assign(label=y).to_csv(path, index=False)
        case _:
            pd.DataFrame(X, columns=["t0", "t1"]).assign(label=y).to_parquet(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz", ".npy"])
def test_tables_and_arrays_come_in_pairs_too(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    train, test = (folder / f"Pump_{part}{suffix}" for part in ("TRAIN", "TEST"))
    _save(train, [[1, 2], [3, 4]], ["ok", "worn"])
    assert f"Pump_TRAIN{suffix} has no Pump_TEST beside it: no test part" in load(train).notes
    _save(test, [[5, 6]], ["worn"])
    for data in (load(train), load(folder)):
        assert data.name == "Pump"
        np.testing.assert_array_equal(data.X_train, [[[1, 2]], [[3, 4]]])
        np.testing.assert_array_equal(data.X_test, [[[5, 6]]])
        assert suffix == ".npy" or (data.y_test is not None and data.y_test.tolist() == [1])
        assert not any("beside" in note for note in data.notes)
    assert not is_log(folder)


def test_one_file_of_a_pair_holds_one_part(tmp_path: Path) -> None:
    both = {"X_train": GOOD, "X_test": GOOD}
    np.savez(tmp_path / "Pump_TRAIN.npz", **both)  # type: ignore[arg-type]
    assert load(tmp_path / "Pump_TRAIN.npz").notes == ()
    np.savez(tmp_path / "Pump_TEST.npz", X=GOOD)
    with pytest.raises(DataError, match=r"Pump_TRAIN\.npz holds both parts, but is one of two files"):
        load(tmp_path / "Pump_TRAIN.npz")


def test_a_pair_of_logs_is_a_log(tmp_path: Path) -> None:
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"pump_{part}.csv").write_text("time,flow\n1,2.5\n2,3.5\n")
    assert is_log(tmp_path)


def test_folders(tmp_path: Path) -> None:
    folder = tmp_path / "Pump"
    folder.mkdir()
    with pytest.raises(DataError, match=r"neither Pump_TRAIN\.ts and Pump_TEST\.ts .* nor another pair"):
        load(folder)
    for name in ("Fan_TRAIN.ts", "Fan_TEST.ts"):
        (folder / name).write_text(TS)
    assert load(folder).name == "Fan"
    for name in ("Belt_TRAIN.ts", "Belt_TEST.ts"):
        (folder / name).write_text(TS)
    with pytest.raises(DataError, match="Pump holds 2 data sets: name one"):
        load(folder)
    for name in ("Pump_TRAIN.ts", "Pump_TEST.ts"):
        (folder / name).write_text(TS)
    assert load(folder).name == "Pump"


def test_one_unequal_part_makes_both_lists(tmp_path: Path) -> None:
    (tmp_path / "Pump_TRAIN.ts").write_text(TS)
    (tmp_path / "Pump_TEST.ts").write_text("@equalLength false\n@classLabel true 1\n@data\n1,2:1\n1:1\n")
    data = load(tmp_path / "Pump_TRAIN.ts")
    assert [type(X) for X in (data.X_train, data.X_test)] == [list, list]
    assert [case.shape for case in data.X_train] == [(1, 3), (1, 3)]


def test_a_series_without_a_value_may_be_the_last_one(tmp_path: Path) -> None:
    np.save(tmp_path / "pump.npy", [[[1.0, 2.0]], [[np.nan, np.nan]]])
    assert len(load(tmp_path / "pump.npy").X_train) == 2


def test_a_file_is_no_training_part_of_what_is_called_test(tmp_path: Path) -> None:
    for name in ("pump.csv", "pump_TEST.csv"):
        (tmp_path / name).touch()
    assert find_path(tmp_path / "pump.csv") == Pair("pump", tmp_path / "pump.csv", None)


def test_missing_paths_offer_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "pump.csv").write_text("t0\n1\n")
    with pytest.raises(DataError, match=r"pmup\.csv does not exist; its folder has pump\.csv"):
        load(tmp_path / "pmup.csv")
    with pytest.raises(DataError, match="its folder does not exist either"):
        load(tmp_path / "no" / "pump.csv")
    (tmp_path / "pump.xlsx").write_text("")
    with pytest.raises(DataError, match=r"cannot be read; give one of \.ts"):
        find_path(tmp_path / "pump.xlsx")
