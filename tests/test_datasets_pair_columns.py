"""Columns of a test table are those of the training table by their names, in whatever order they stand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsjepa.datasets import DataError, Dataset, load
from tsjepa.datasets.labels import Encoded, has_label
from tsjepa.datasets.logs import Windowing, encode_labels, load_log

VALUES = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def pair(folder: Path, suffix: str, train: list[str], test: list[str]) -> str:
    """Write a pair of tables with one number in each column of the training part, and return its name."""
    for part, names in (("TRAIN", train), ("TEST", test)):
        table = pd.DataFrame([[float(place) for place in range(len(names))]] * 2, columns=names)
        table.insert(0 if part == "TEST" else len(names), "label", ["a", "b"])
        path = folder / f"p_{part}{suffix}"
        _ = table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path, index=False)
    return str(folder / f"p_TRAIN{suffix}")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "names", [["t0", "t1", "t2"], ["low", "mid", "high"], ["0.0 s", "0.1 s", "0.2 s"], ["9", "8", "7"]]
)
def test_time_points_in_another_order_are_put_into_that_of_training(
    tmp_path: Path, suffix: str, names: list[str]
) -> None:
    data = load(pair(tmp_path, suffix, names, [names[2], names[0], names[1]]))
    assert isinstance(data.X_test, np.ndarray)
    assert data.X_test.tolist() == [[[1, 2, 0]]] * 2
    assert "time points of the test part were put into the order of the training part, by their names" in data.notes


@pytest.mark.parametrize("ragged", [False, True])
def test_channels_in_another_order_are_put_into_that_of_training(tmp_path: Path, ragged: bool) -> None:
    flow, temp = [[1.0, 2.0], [3.0] if ragged else [3.0, 4.0]], [[8.0, 8.0], [9.0] if ragged else [9.0, 9.0]]
    pd.DataFrame({"flow": flow, "temp": temp, "label": ["a", "b"]}).to_parquet(tmp_path / "p_TRAIN.parquet")
    pd.DataFrame({"temp": temp, "label": ["a", "b"], "flow": flow}).to_parquet(tmp_path / "p_TEST.parquet")
    data = load(tmp_path / "p_TRAIN.parquet")
    assert data.X_test is not None
    for found, expected in zip(data.X_test, data.X_train, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert "channels of the test part were put into the order of the training part, by their names" in data.notes


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["t0", "t1", "t2"], ["0", "1", "2"]),
        (["t0", "t1", "t2"], ["u0", "u1", "u2"]),
        (["t0", "t1", "t2"], [" t0", " t1", " t2"]),
        (["t0", "t1", "t2"], ["t0", "t1"]),
        (["t0", "t1", "t2"], ["t1", "t2", "t3"]),
        (["low", "mid", "high"], ["1", "2", "3"]),
        (["1", "2", "3"], ["low", "mid", "high"]),
        (["-0.1", "0.0", "0.1"], ["0.0", "0.1", "0.2"]),
        (["w4000.5", "w3998.5", "w3996.5"], ["w4000.1", "w3998.1", "w3996.1"]),
        (["5.0", "6.5", "7.0"], ["4.5", "6.0", "9.25"]),
        (["30/01/2024", "31/01/2024", "01/02/2024"], ["28/02/2024", "29/02/2024", "01/03/2024"]),
        (["23:00", "00:00", "01:00"], ["22:00", "23:00", "00:00"]),
        (["t-2", "t-1", "t"], ["t-3", "t-2", "t-1", "t"]),
        (["V", "V1", "V2"], ["V", "V1"]),
        (["Low", "Mid"], ["low", "mid"]),
        (["0.0", "1e-05", "2e-05"], ["9e-05", "0.0001", "0.00011"]),
        (["t_2", "t_1", "t"], ["t_3", "t_2", "t_1", "t"]),
    ],
)
def test_names_that_only_count_leave_columns_as_they_are(tmp_path: Path, train: list[str], test: list[str]) -> None:
    data = load(pair(tmp_path, ".csv", train, test))
    assert data.X_test is not None
    assert [case.tolist() for case in data.X_test] == [[list(range(len(test)))]] * 2
    assert not any("were put into the order" in note for note in data.notes)


@pytest.mark.parametrize(
    ("train", "test", "others"),
    [
        (["low", "mid", "high"], ["low", "mid", "top"], "'high', 'top'"),
        (["low", "mid", "high"], ["low", "mid"], "'high'"),
        (["t0", "t1", "t2"], ["t3", "t1", "t0"], "'t2', 't3'"),
        (["t0", "t1", "t2"], ["t0", "t1", "t2", "mean"], "'mean'"),
        (["t0", "t1"], ["u1", "u0"], "'t0', 't1', 'u1', 'u0'"),
        (["30/01", "31/01", "01/02"], ["01/02", "30/01", "02/02"], "'31/01', '02/02'"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, train: list[str], test: list[str], others: str) -> None:
    words = (
        f"p_TRAIN.csv and p_TEST.csv have time points of different names: only one of the two has {others}; give both"
    )
    with pytest.raises(DataError, match=words):
        load(pair(tmp_path, ".csv", train, test))


def test_a_test_part_of_another_quantity_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"flow": VALUES}).to_parquet(tmp_path / "p_TRAIN.parquet")
    pd.DataFrame({"temp": VALUES}).to_parquet(tmp_path / "p_TEST.parquet")
    with pytest.raises(DataError, match="have channels of different names: only one of the two has 'flow', 'temp'"):
        load(tmp_path / "p_TRAIN.parquet")
    pd.DataFrame({f"t{place}": [0.0, 1.0] for place in range(3)}).to_parquet(tmp_path / "p_TEST.parquet")
    assert load(tmp_path / "p_TRAIN.parquet").X_test is not None


def labelled(folder: Path, train: str, test: str) -> Dataset:
    """Write a pair of tables with some labels each, and read it."""
    for part, labels in (("TRAIN", train), ("TEST", test)):
        rows = "".join(f"{at},{at + 1},{label}\n" for at, label in enumerate(labels.split()))
        (folder / f"p_{part}.csv").write_text("t0,t1,label\n" + rows)
    return load(folder / "p_TRAIN.csv")


def partly_labelled(folder: Path, train: str, test: str) -> Dataset:
    """Read the same pair with rows between the others that have no label, and return it without their codes."""
    for part, labels in (("TRAIN", train), ("TEST", test)):
        rows = "".join(f"{at},{at + 1},{label}\n0,1,{' ' * (at % 2)}\n" for at, label in enumerate(labels.split()))
        (folder / f"p_{part}.csv").write_text("t0,t1,label\n" + rows)
    data = load(folder / "p_TRAIN.csv")
    y_train, y_test = data.y_train, data.y_test
    assert y_train is not None
    assert y_test is not None
    assert not has_label(y_train)[1::2].any()
    return replace(data, y_train=y_train[::2], y_test=y_test[::2])


def labelled_logs(folder: Path, train: str, test: str) -> Encoded:
    """Write a pair of logs of some machines with a label each, and bring their labels together."""
    logs = []
    for part, labels in (("TRAIN", train), ("TEST", test)):
        rows = [f"m{at},{time},{time}.5,{label}\n" for at, label in enumerate(labels.split()) for time in range(4)]
        (folder / f"l_{part}.csv").write_text("machine,time,flow,label\n" + "".join(rows))
        logs.append(load_log(folder / f"l_{part}.csv", windowing=Windowing(4), cache_dir=folder / "cache"))
    return encode_labels(*logs)


@pytest.mark.parametrize("read", [labelled, partly_labelled, labelled_logs])
@pytest.mark.parametrize(
    ("train", "test", "classes", "codes"),
    [
        ("01 02 A1 01", "01 02 01", ("01", "02", "A1"), [0, 1, 0]),
        ("01 02 01", "01 A1", ("01", "02", "A1"), [0, 2]),
        ("1.0 2.0 unknown", "1.0 2.0", ("1", "2", "unknown"), [0, 1]),
        ("1e3 5 B", "1e3 5 5", ("1e3", "5", "B"), [0, 1, 1]),
        ("true false true", "true maybe", ("false", "true", "maybe"), [1, 2]),
        ("1 2 B", "1.0 2.0 1.0", ("1", "2", "B"), [0, 1, 0]),
        ("1 2 1", "1.0 2.0", ("1", "2"), [0, 1]),
        ("01 02 01", "1 2", ("01", "02", "1", "2"), [2, 3]),
        ("01 1 2", "1 01", ("01", "1", "2"), [1, 0]),
        ("01 1 2", "1 x", ("01", "1", "2", "x"), [1, 3]),
        ("01 02", "1 x", ("01", "02", "1", "x"), [2, 3]),
        ("1 2 x", "01 02", ("1", "2", "x", "01", "02"), [3, 4]),
        ("1.0 2.0", "1 x", ("1", "2", "x"), [0, 2]),
        ("1.0 2.0", "1.0 x", ("1", "2", "x"), [0, 2]),
        ("1 x", "1.0 2.0", ("1", "x", "2"), [0, 2]),
        ("1.0 2.0 x", "1 2 y", ("1", "2", "x", "y"), [0, 1, 3]),
        ("+1 -1", "1 -1 x", ("-1", "1", "x"), [1, 0, 2]),
        ("1E3 2A4", "1E3 3E5", ("1E3", "2A4", "3E5"), [0, 2]),
        ("1e3 5", "1000 5", ("5", "1000"), [1, 0]),
        ("0 1", "-0 1", ("0", "1"), [0, 1]),
    ],
)
def test_the_same_text_is_the_same_class(
    tmp_path: Path,
    train: str,
    test: str,
    classes: tuple[str, ...],
    codes: list[int],
    read: Callable[[Path, str, str], Dataset | Encoded],
) -> None:
    data = read(tmp_path, train, test)
    assert data.classes == classes
    assert data.y_test is not None
    assert data.y_test.tolist() == codes


def test_a_point_in_one_label_changes_no_other(tmp_path: Path) -> None:
    assert labelled(tmp_path, "007 7 8", "007 7.0 8").classes == ("007", "7", "8")


@pytest.mark.parametrize("text", ["1e3 2e3", "1E3 5"])
def test_exponents_in_the_text_of_another_log_are_found(tmp_path: Path, text: str) -> None:
    written = "".join(f"m{at},{time},{time}.5,{label}\n" for at, label in enumerate(text.split()) for time in range(4))
    (tmp_path / "a.csv").write_text("machine,time,flow,label\n" + written)
    table = pd.read_csv(tmp_path / "a.csv", dtype={"label": str})
    table.to_parquet(tmp_path / "b.parquet")
    logs = [
        load_log(tmp_path / name, windowing=Windowing(4), cache_dir=tmp_path / "c") for name in ("a.csv", "b.parquet")
    ]
    found = encode_labels(*logs)
    assert set(found.classes or ()) == set(text.split())
    assert found.y_train is not None
    assert found.y_test is not None
    assert found.y_train.tolist() == found.y_test.tolist()


@pytest.mark.parametrize(("train", "test"), [("1 2 3.5", "1 2 2"), ("1 2 2", "1 2 3.5"), ("1.0 2.5", "1e1 2")])
@pytest.mark.parametrize("read", [labelled, partly_labelled])
def test_whole_numbers_beside_a_target_are_one(
    tmp_path: Path, train: str, test: str, read: Callable[[Path, str, str], Dataset]
) -> None:
    data = read(tmp_path, train, test)
    for y, labels in ((data.y_train, train), (data.y_test, test)):
        assert y is not None
        assert (y.dtype, y.tolist()) == (np.float64, [float(label) for label in labels.split()])
    assert data.classes is None


@pytest.mark.parametrize("test", ["1 b 2", "true false"])
def test_words_beside_a_target_are_refused(tmp_path: Path, test: str) -> None:
    with pytest.raises(DataError, match="one part has a numeric target, the other class names"):
        labelled(tmp_path, "1 2 3.5", test)
