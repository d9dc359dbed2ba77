"""Labels as files have them: which case lacks one, and what a class is called."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsjepa.datasets import DataError, Dataset, load
from tsjepa.datasets.labels import array_labels, class_name


@pytest.mark.parametrize("lacking", [np.inf, -np.inf])
def test_the_case_without_a_finite_label_is_counted_from_one(lacking: float) -> None:
    with pytest.raises(DataError, match=r"^y: case 2 has an infinite label; give a finite one, or none$"):
        array_labels(np.array([1.5, lacking, 2.0]), 3, "y")


def test_a_whole_number_with_a_point_and_nothing_behind_it_is_that_number() -> None:
    assert class_name("1.") == "1"


def saved(folder: Path, form: str, labels: list[object], **kind: object) -> Dataset:
    """Write a training and a test part, each with the same labels, and read them."""
    X = np.arange(4.0 * len(labels)).reshape(-1, 4)
    column = pd.Series(labels, **kind)  # type: ignore[call-overload]
    if form == ".npz":
        names = np.array(["" if label is None else str(label) for label in labels])
        y = column.to_numpy(np.float64, na_value=np.nan) if column.dtype.kind == "f" else names
        np.savez(folder / "pump.npz", X_train=X, y_train=y, X_test=X, y_test=y)
        return load(folder / "pump.npz")
    wide = pd.DataFrame(X, columns=[f"t{place}" for place in range(4)])
    table = pd.DataFrame({"flow": list(X)}) if form == "lists" else wide
    suffix = ".csv" if form == ".csv" else ".parquet"
    for part in ("TRAIN", "TEST"):
        path = folder / f"pump_{part}{suffix}"
        _ = table.assign(label=column).pipe(lambda t: t.to_csv if suffix == ".csv" else t.to_parquet)(path, index=False)
    return load(folder / f"pump_TRAIN{suffix}")


@pytest.mark.parametrize("form", [".csv", ".parquet", "lists", ".npz"])
@pytest.mark.parametrize(
    ("labels", "kind", "classes", "codes"),
    [
        (["worn", None, "calm", "worn"], {}, ("calm", "worn"), [1, -1, 0, 1]),
        ([10, None, 9, 10], {}, ("9", "10"), [1, -1, 0, 1]),
        ([0.5, None, 2.0, 3.0], {}, None, [0.5, np.nan, 2, 3]),
        ([10, None, 9, 10], {"dtype": "Int64"}, ("9", "10"), [1, -1, 0, 1]),
        ([True, None, False, True], {"dtype": "boolean"}, ("False", "True"), [1, -1, 0, 1]),
        ([0.5, None, 2.0, 3.0], {"dtype": "Float64"}, None, [0.5, np.nan, 2, 3]),
        ([True, None, False, True], {}, ("False", "True"), [1, -1, 0, 1]),
    ],
)
def test_a_series_may_be_without_a_label(
    tmp_path: Path,
    form: str,
    labels: list[object],
    kind: dict[str, object],
    classes: tuple[str, ...] | None,
    codes: list[float],
) -> None:
    data = saved(tmp_path, form, labels, **kind)
    assert data.classes == classes
    for y in (data.y_train, data.y_test):
        np.testing.assert_array_equal(y, codes)
    assert "3 of 4 training series have a label" in data.notes
    assert "3 of 4 test series have a label" in data.test_notes
    assert len(data.X_train) == 4


@pytest.mark.parametrize("form", [".csv", ".parquet", "lists", ".npz"])
@pytest.mark.parametrize("kind", [{"dtype": "object"}, {"dtype": "float"}])
def test_series_of_which_none_has_a_label_are_unlabelled(tmp_path: Path, form: str, kind: dict[str, object]) -> None:
    data = saved(tmp_path, form, [None] * 3, **kind)
    assert (data.y_train, data.y_test, data.classes) == (None, None, None)
